"""A cluster of one's own: it takes jobs, hands out devices, listens on loopback alone and leaves nothing behind."""

import psutil
import pytest
from process_checks import gone, wait_for
from slurm_cluster import DAEMONS, Cluster, processes_of, script, why_not


def submit(slurm: Cluster, folder, name: str, line: str, *words: str) -> tuple[str, object]:
    """Number of a job that runs a line of shell, and where its output goes."""
    told = folder / f"{name}.txt"
    options = [f"--output={told}", f"--chdir={folder}", f"--job-name={name}", *words]
    return slurm.ask("sbatch", "--parsable", *options, f"--wrap={line}"), told


def test_a_job_waits_for_the_one_it_needs(slurm, tmp_path):
    first, told_first = submit(slurm, tmp_path, "first", "sleep 0.5; date +%s%N")
    _, told_second = submit(slurm, tmp_path, "second", "date +%s%N", f"--dependency=afterok:{first}")
    slurm.wait()
    assert int(told_first.read_text()) < int(told_second.read_text())


def test_jobs_at_a_time_see_one_device_each(slurm, tmp_path):
    seen = [submit(slurm, tmp_path, f"gpu{n}", "echo $CUDA_VISIBLE_DEVICES; sleep 1", "--gres=gpu:1") for n in (0, 1)]
    wait_for(lambda: len(slurm.ask("squeue", "--noheader", "--states=running").splitlines()) == 2)
    slurm.wait()
    assert sorted(told.read_text().strip() for _, told in seen) == ["0", "1"]


def test_daemons_listen_on_loopback_alone(slurm):
    for name, pid in slurm.pids().items():
        heard = [each for each in psutil.Process(pid).net_connections() if each.status == psutil.CONN_LISTEN]
        assert {each.laddr.ip for each in heard} <= {"127.0.0.1"}
        assert bool(heard) == (name != "munged")


def test_a_second_start_changes_nothing(slurm):
    before = slurm.pids()
    again = Cluster.start(slurm.folder)
    assert again.pids() == before
    assert again.variables["SLURM_CONF"] == slurm.variables["SLURM_CONF"] == str(slurm.folder / "slurm.conf")
    assert again.queue() == []
    told = script("status", "--folder", slurm.folder)
    assert told.returncode == 0
    assert all(f"{name}: process {before[name]}" in told.stdout for name in DAEMONS)
    assert "2 CPUs, 8000 MB, gpu:2" in told.stdout


@pytest.mark.usefixtures("slurm")
def test_it_ends_its_jobs_and_leaves_no_process(tmp_path):
    other = Cluster.start(tmp_path / "other", "--gpus", 0, "--cpus", 1)
    pids = other.pids()
    submit(other, tmp_path, "long", "sleep 300")
    wait_for(lambda: "sleep 300" in [" ".join(each.cmdline()) for each in processes_of(tmp_path)])
    other.stop()
    assert all(map(gone, pids.values()))
    wait_for(lambda: not processes_of(tmp_path))
    assert script("stop", "--folder", tmp_path / "other").returncode == 0  # nothing is left to stop
    told = script("status", "--folder", tmp_path / "other")
    assert (told.returncode, told.stdout.count("not running")) == (1, 3)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "expected install, start, stop or status, got ''"),
        (["stop"], "stop: expected --folder, as start was given it"),
        (["start", "--cpu", "2"], "--cpu: expected --folder, --cpus, --memory-mb or --gpus"),
        (["start", "--cpus", "two"], "two: expected a whole number"),
        (["start", "--folder"], "--folder: expected a value"),
    ],
)
def test_refusals_of_the_script_are_one_line(words, told):
    refused = script(*words)
    assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", f"slurm_loopback: {told}\n")


@pytest.mark.skipif(why_not() is not None, reason=f"{why_not()}")
def test_a_folder_that_has_no_room_for_a_socket_is_refused(tmp_path):
    folder = tmp_path / ("long" * 20)
    refused = script("start", "--folder", folder)
    assert refused.stderr == (
        f"slurm_loopback: {folder}: expected 85 or fewer plain characters (letters, digits, . _ - /)\n"
    )
    assert not folder.exists()
