#!/usr/bin/env bash
# A Slurm cluster of one node on this machine, for tests and for trying a study's cluster settings before a real queue.
#
#   slurm_loopback.sh install                 Debian's slurm-wlm and munge; starts no service
#   slurm_loopback.sh start  [--folder F] [--cpus 2] [--memory-mb 8000] [--gpus 2]
#                                             prints `export` lines for eval; a second start changes nothing
#   slurm_loopback.sh status --folder F       daemons, node and queue; exit code 0 when the node takes jobs
#   slurm_loopback.sh stop   --folder F       ends its jobs and its daemons, by their process ids; keeps the logs
#
# Everything lies below one folder (a fresh private one when none is given): key, socket, state, spool, logs, process
# ids. The daemons listen on loopback alone, on ports of their own, so that several clusters and a real one can share a
# machine; nothing needs systemd. The GPUs are made up: jobs are given indices in CUDA_VISIBLE_DEVICES and no device.
set -euo pipefail

say() { echo "slurm_loopback: $*" >&2; }
fail() { say "$*"; exit 1; }

folder="" cpus=2 memory_mb=8000 gpus=2
daemons=(slurmd slurmctld munged) # in the order in which they are stopped

missing() { # the first program that is not installed
    local program
    for program in munged slurmctld slurmd sbatch squeue scancel; do
        PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || { echo "$program"; return; }
    done
}

install_slurm() {
    [ -n "$(missing)" ] || { say "installed already"; return; }
    command -v apt-get >/dev/null || fail "expected apt-get to install slurm-wlm and munge with, found none"
    [ "$(id -u)" = 0 ] || fail "expected to be root to install slurm-wlm and munge"
    # Packages start their services where this file does not forbid it; here only `start` starts anything.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
}

free_ports() { # how many: as many ports of loopback that nobody listens on, below those that clients are given
    local port found=()
    while [ ${#found[@]} -lt "$1" ]; do
        port=$((20000 + RANDOM % 10000))
        [[ " ${found[*]-} " == *" $port "* ]] || (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || found+=("$port")
    done
    echo "${found[*]}"
}

pid_of() { # daemon: its process id, when that process is still that daemon and of this folder
    local pid
    pid=$(cat "$folder/run/$1.pid" 2>/dev/null) || return 1
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] || return 1
    tr '\0' ' ' <"/proc/$pid/cmdline" | grep --quiet --fixed-strings "$folder/" || return 1
    echo "$pid"
}

within() { # seconds, command: wait until it succeeds
    local left=$(($1 * 10))
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.1
    done
}

node_ready() { [[ "$(timeout 5 sinfo --noheader --format=%t 2>/dev/null)" =~ ^(idle|mix|alloc)$ ]]; }
queue_empty() { [ -z "$(timeout 5 squeue --noheader 2>/dev/null)" ]; }
ended() { ! kill -0 "$1" 2>/dev/null || grep --quiet '^State:.Z' "/proc/$1/status" 2>/dev/null; }

write_settings() {
    local ports node index
    read -ra ports <<<"$(free_ports 2)"
    node=$(hostname -s)
    cat >"$folder/slurm.conf" <<CONF
ClusterName=loopback
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmdPort=${ports[1]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=$((memory_mb / cpus))
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_min_interval=100000
KillWait=3
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory_mb Gres=gpu:$gpus
PartitionName=main Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
    # Made-up GPUs have to be different files that exist.
    local files=(/dev/null /dev/zero /dev/full /dev/random /dev/urandom)
    : >"$folder/gres.conf"
    for ((index = 0; index < gpus; index++)); do
        echo "NodeName=$node Name=gpu File=${files[index]}" >>"$folder/gres.conf"
    done
    [ "$gpus" -gt 0 ] || sed -i -e '/^GresTypes/d' -e 's/ Gres=gpu:0//' "$folder/slurm.conf"
}

launch() { # daemon, words: start it unless it runs
    local name=$1
    shift
    pid_of "$name" >/dev/null && return
    rm -f "$folder/run/$name.pid"
    if ! "$name" "$@" >>"$folder/log/$name.start" 2>&1 </dev/null || ! within 10 pid_of "$name" >/dev/null; then
        fail "expected $name to start; see $folder/log/$name.start and $folder/log/$name.log"
    fi
}

start() {
    local program
    program=$(missing)
    [ -z "$program" ] || fail "expected $program, found none; 'slurm_loopback.sh install' installs it"
    [ "$(id -u)" = 0 ] || fail "expected to be root: slurmd starts its jobs as their users"
    [ "$gpus" -le 5 ] || fail "--gpus $gpus: expected 5 or fewer"
    [ -n "$folder" ] || folder=$(mktemp --directory --tmpdir slurm-XXXXXX)
    folder=$(realpath --canonicalize-missing "$folder")
    # A socket's path has room for 107 characters; Slurm takes commas, blanks and colons of a path for its own.
    [[ ${#folder} -le 85 && $folder =~ ^[A-Za-z0-9._/-]+$ ]] \
        || fail "$folder: expected 85 or fewer plain characters (letters, digits, . _ - /)"
    mkdir -p "$folder"/{run,log,state,spool} && chmod 700 "$folder"
    export SLURM_CONF="$folder/slurm.conf"
    [ -s "$folder/munge.key" ] || (umask 077 && head --bytes=1024 /dev/urandom >"$folder/munge.key")
    # The ports of an earlier start may be another's by now.
    pid_of slurmctld >/dev/null || pid_of slurmd >/dev/null || write_settings
    launch munged --force --key-file="$folder/munge.key" --socket="$folder/run/munge.socket" \
        --pid-file="$folder/run/munged.pid" --log-file="$folder/log/munged.log" --seed-file="$folder/munge.seed"
    launch slurmctld -f "$SLURM_CONF"
    launch slurmd -f "$SLURM_CONF" -N "$(hostname -s)"
    within 30 node_ready || fail "expected a ready node within 30 s; see $folder/log"
    echo "export SLURM_CONF='$SLURM_CONF'"
    echo "export MUNGE_SOCKET='$folder/run/munge.socket'"
}

stop() {
    local name pid
    if pid_of slurmctld >/dev/null && ! queue_empty; then
        timeout 10 scancel --user="$(id -un)" || true
        within 15 queue_empty || say "jobs that did not end: $(timeout 5 squeue --noheader --format=%i | xargs)"
    fi
    for name in "${daemons[@]}"; do
        pid=$(pid_of "$name") || continue
        kill "$pid" 2>/dev/null || continue
        within 10 ended "$pid" || kill -KILL "$pid" 2>/dev/null || true
        rm -f "$folder/run/$name.pid"
    done
    rm -f "$folder"/run/munge.socket*
}

status() {
    local name pid
    for name in munged slurmctld slurmd; do
        if pid=$(pid_of "$name"); then echo "$name: process $pid"; else echo "$name: not running"; fi
    done
    pid_of slurmctld >/dev/null || return 1
    timeout 5 sinfo --format='node %n: %t, %c CPUs, %m MB, %G'  --noheader || true
    timeout 5 squeue --format='job %i %j: %T, %M' --noheader || true
    node_ready
}

verb=${1:-}
shift || true
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1: expected a value"
    case $1 in
        --folder) folder=$2 ;;
        --cpus) cpus=$2 ;;
        --memory-mb) memory_mb=$2 ;;
        --gpus) gpus=$2 ;;
        *) fail "$1: expected --folder, --cpus, --memory-mb or --gpus" ;;
    esac
    shift 2
done
for value in "$cpus" "$memory_mb" "$gpus"; do
    [[ $value =~ ^[0-9]+$ ]] || fail "$value: expected a whole number"
done
[ "$cpus" -ge 1 ] || fail "--cpus $cpus: expected 1 or more"

export PATH="$PATH:/usr/sbin"
case $verb in
    install) install_slurm ;;
    start) start ;;
    stop | status)
        [ -n "$folder" ] || fail "$verb: expected --folder, as start was given it"
        folder=$(realpath --canonicalize-missing "$folder") && export SLURM_CONF="$folder/slurm.conf"
        "$verb"
        ;;
    *) fail "expected install, start, stop or status, got '$verb'" ;;
esac
