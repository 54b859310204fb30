"""Jobs are placed where they have room, run by one command that anyone can repeat, and cleared up behind."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from process_checks import gone, wait_for

from foldlight.cli import main
from foldlight.core.errors import DataError, EngineError, SettingsError
from foldlight.study import engine as engines
from foldlight.study import machine as machines
from foldlight.study.cluster import ClusterSettings, Trace, blocks_of, clear_leftovers, end_blocks
from foldlight.study.engine import ClusterEngine, Engine, ThreadsEngine, open_engine, run_command
from foldlight.study.job import run_recorded
from foldlight.study.machine import Budget, Machine, Resources, this_machine, visible_devices
from foldlight.study.plan import Plan, Task
from foldlight.study.records import Digests, TaskFolder, process_facts, running_process
from foldlight.study.state import asked, identities, states

ROOT = Path(__file__).parents[2]
SUPPORT = Path(__file__).parents[1] / "support"


def plan_of(root: Path, *tasks: Task) -> Plan:
    return Plan(title="toy", root=root, working_directory=SUPPORT, tasks=tasks)


def task(name: str, function: str, given: dict, **facts) -> Task:
    return Task(name=name, module="toy_jobs", arguments=(function, json.dumps(given)), **facts)


def asked_for(root: Path, made: Task) -> TaskFolder:
    """The folder of a task that nobody has started."""
    plan, folder = plan_of(root, made), TaskFolder(root, made.name)
    folder.ask(asked(plan, made, identities(plan)[made.name], Digests()))
    return folder


@pytest.fixture
def joins(tmp_path) -> tuple[Plan, TaskFolder]:
    """A task that reads and writes a file of the study."""
    root = tmp_path / "study"
    root.mkdir()
    (root / "in").write_text("first")
    (tmp_path / "write.py").write_text("import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('made')")
    words = (str(root / "out"),)
    made = Task(name="deep/er/a", module="write", arguments=words, inputs=(root / "in",), outputs=(root / "out",))
    plan, folder = Plan(title="t", root=root, working_directory=tmp_path, tasks=(made,)), TaskFolder(root, made.name)
    folder.ask(asked(plan, made, identities(plan)[made.name], Digests()))
    return plan, folder


# ---- what a machine has


def test_room_is_shared_out_and_given_back():
    budget = Budget(Machine(4, 10.0, ("5", "GPU-a")), places=3)
    first, second = Resources(2, 6.0, 1), Resources(1, 3.0, 1)
    assert budget.take(first) == ("5",)
    assert budget.take(second) == ("GPU-a",)
    assert budget.lacking(Resources(1, 1.5)) == "memory"
    assert budget.lacking(Resources(1, 0.5, 1)) == "devices"
    assert budget.lacking(Resources(2, 0.5)) == "cores"
    assert budget.lacking(Resources(1)) is None
    assert budget.take(Resources(1)) == ()
    assert budget.lacking(Resources(0)) == "cores", "no place is left"
    with pytest.raises(EngineError, match="expected room for a job, but cores are taken"):
        budget.take(Resources(1))
    budget.give_back(second, ("GPU-a",))
    budget.give_back(first, ("5",))
    assert budget.take(Resources(3, 10.0, 2)) == ("5", "GPU-a"), "in the order that the machine has them"


@pytest.mark.parametrize(
    ("visible", "names"),
    [("0,2", ["0", "2"]), ("GPU-a", ["GPU-a"]), ("", []), ("-1", []), ("1,-1,2", ["1"]), (" 3 , 4", ["3", "4"])],
)
def test_devices_are_those_that_a_child_would_see(monkeypatch, visible, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_devices() == names


def test_without_the_variable_the_driver_is_asked(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program(tmp_path / "nvidia-smi", "echo 0; echo 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert visible_devices() == ["0", "1"]
    program(tmp_path / "nvidia-smi", "exit 9")
    assert visible_devices() == []


def test_a_container_has_what_it_is_allowed(monkeypatch, tmp_path):
    monkeypatch.setattr(machines, "_CGROUP", tmp_path)
    free = this_machine()
    assert free.cores >= 1
    assert 0 < free.memory_gb * 1e9 <= psutil.virtual_memory().total
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text("100000000\n")
    (tmp_path / "memory.current").write_text("80000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 30000000\n")
    limited = this_machine()
    assert (limited.cores, limited.memory_gb) == (1, 0.05)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert this_machine().cores == free.cores
    assert this_machine().memory_gb > 0.05


# ---- one job, by hand


def test_a_job_is_run_by_hand_where_the_study_was_moved_to(joins, tmp_path):
    plan, folder = joins
    assert states(plan)["deep/er/a"].state == "queued", "this process has asked for it and still runs"
    moved = tmp_path / "elsewhere"
    plan.root.rename(moved)
    words = [sys.executable, "-m", "foldlight.study.job", str(moved / "jobs/deep/er/a")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{plan.tasks[0].title}: success, ")
    assert not plan.root.exists(), "arguments with paths of the study were moved with it"
    assert states(plan.at(moved))["deep/er/a"].state == "done"
    status = TaskFolder(moved, "deep/er/a").status()
    assert status["inputs"].keys() == {"in"}
    assert status["outputs"].keys() == {"out"}
    assert (moved / folder.heartbeat.relative_to(plan.root)).is_file()


def test_what_a_job_by_hand_reads_is_what_is_there_now(joins):
    plan, folder = joins
    (plan.root / "in").write_text("later")
    assert run_recorded(folder.path)[1]["state"] == "success"
    assert states(plan)["deep/er/a"].state == "done"
    (plan.root / "in").unlink()
    job, status = run_recorded(folder.path)
    assert job["name"] == "deep/er/a"
    assert status["error"] == f"{plan.root / 'in'}: expected a file, got No such file or directory"
    assert folder.log.read_text() == f"foldlight: {status['error']}\n"


def test_the_command_runs_a_job_and_its_exit_code_tells_the_end(tmp_path, capsys):
    given = {"line": "a", "path": str(tmp_path / "diary"), "fail": True}
    folder = asked_for(tmp_path, task("a", "note", given))
    with pytest.raises(SystemExit) as stop:
        main(["study", "job", str(folder.path)])
    assert stop.value.code == f"foldlight: a: the job did not succeed; log: {folder.log}"
    assert re.match(r"a: failed, \d s\n    exit code 1: toy_jobs: a: expected success", capsys.readouterr().out)
    folder = asked_for(tmp_path, task("b", "nothing_to_do", {"path": str(tmp_path / "diary")}))
    main(["study", "job", str(folder.path)])
    assert re.match(r"b: skipped, \d s\n    expected 4 frames, got 1\n", capsys.readouterr().out)


def test_a_job_that_cannot_be_run_by_hand_says_why(joins, tmp_path):
    plan, folder = joins
    with pytest.raises(DataError, match=r"nowhere/job\.json: expected a JSON file"):
        run_recorded(tmp_path / "nowhere")
    path = folder.path / "job.json"
    job = json.loads(path.read_text())
    path.write_text(json.dumps({**job, "version": "0.0"}))
    with pytest.raises(DataError, match=r"expected a job of foldlight .*, got one of 0\.0; run the study"):
        run_recorded(folder.path)
    path.write_text(json.dumps({"name": "a"}))
    with pytest.raises(DataError, match=r"expected a job with name, key, .*; it lacks key, identity"):
        run_recorded(folder.path)
    path.write_text(json.dumps({**job, "name": "another"}))
    with pytest.raises(DataError, match="expected the folder of job another, jobs/another of its study"):
        run_recorded(folder.path)
    assert plan.tasks[0].name == "deep/er/a"


def test_a_job_runs_once_at_a_time_and_ends_when_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("foldlight.study.job._SETTLE_S", 0.1)
    pids = tmp_path / "pids"
    folder = asked_for(tmp_path, task("a", "family", {"pids": str(pids)}))
    stop = threading.Event()
    ended: list[dict] = []
    first = threading.Thread(target=lambda: ended.append(run_command(str(folder.path), {}, stop.is_set)))
    first.start()
    family = wait_for(lambda: pids.is_file() and json.loads(pids.read_text()))
    with pytest.raises(DataError, match="expected a job that nobody runs, but another process does"):
        run_recorded(folder.path)
    assert folder.status()["child"]["pid"] == family[0]
    stop.set()
    first.join()
    assert ended == [{"returncode": 1, "told": ""}]
    assert folder.status()["state"] == "interrupted"
    assert all(wait_for(lambda pid=pid: gone(pid), 2) for pid in family)


def test_a_process_is_known_again_and_no_other_is_taken_for_it():
    facts = process_facts(os.getpid())
    assert running_process(facts).pid == os.getpid()
    assert running_process({**facts, "started": "another time"}) is None
    assert running_process({**facts, "host": "another"}) is None
    assert running_process({}) is None


# ---- this machine


def test_jobs_with_devices_have_them_to_themselves(tmp_path):
    engine = ThreadsEngine(tmp_path, Machine(4, 8.0, ("3", "7")), workers=4)
    assert isinstance(engine, Engine)
    need = Resources(gpus=1)
    seen = {}
    for name in "ab":
        text = f"import os, pathlib; pathlib.Path('{tmp_path}/{name}').write_text(os.environ['CUDA_VISIBLE_DEVICES'])"
        (tmp_path / f"tell_{name}.py").write_text(text)
        made = Task(name=name, module=f"tell_{name}", outputs=(tmp_path / name,))
        plan = Plan(title="t", root=tmp_path, working_directory=tmp_path, tasks=(made,))
        folder = TaskFolder(tmp_path, name)
        folder.ask(asked(plan, made, identities(plan)[name], Digests()))
        assert engine.lacking(need) is None
        seen[name] = engine.submit(folder.path, need)
    assert engine.lacking(need) == "devices"
    assert engine.lacking(Resources()) is None
    assert all(future.result(30)["returncode"] == 0 for future in seen.values())
    assert {(tmp_path / name).read_text() for name in "ab"} == {"3", "7"}
    assert engine.lacking(Resources(gpus=2)) is None
    assert engine.tend() is None
    engine.close()
    assert not (tmp_path / ".engine").exists()


def test_closing_ends_what_runs(tmp_path):
    pids = tmp_path / "pids"
    folder = asked_for(tmp_path, task("a", "family", {"pids": str(pids)}))
    engine = ThreadsEngine(tmp_path, Machine(1, 1.0))
    future = engine.submit(folder.path, Resources())
    family = wait_for(lambda: pids.is_file() and json.loads(pids.read_text()))
    engine.close()
    assert future.done()
    assert folder.status()["state"] == "interrupted"
    assert all(wait_for(lambda pid=pid: gone(pid), 2) for pid in family)


@pytest.mark.parametrize(
    ("name", "workers", "settings", "told"),
    [
        ("threads", 0, None, "--workers 0: expected 1 or more"),
        ("threads", None, "x.toml", "--engine-settings x.toml: expected --engine slurm or pbs with it"),
        ("slurm", None, None, "--engine slurm: expected --engine-settings FILE.toml"),
        ("pbs", None, "none.toml", "none.toml: expected a settings file"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(tmp_path, name, workers, settings, told):
    with pytest.raises(SettingsError, match=told):
        open_engine(name, tmp_path, workers, [Resources()], settings and Path(settings))


def test_without_parsl_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"expected the package parsl, .*pip install 'foldlight\[study\]'"):
        open_engine("threads", tmp_path, None, [Resources()])


# ---- a cluster


def test_the_example_describes_every_setting_with_its_default():
    path = ROOT / "studies" / "cluster.example.toml"
    assert ClusterSettings.read(path) == ClusterSettings()
    text = path.read_text()
    assert all(f"\n{name} = " in text or f"\n# {name} = " in text for name in ClusterSettings.model_fields)


def test_a_job_that_no_node_has_room_for_is_refused_in_words():
    settings = ClusterSettings(cores_per_node=4, memory_gb_per_node=16, gpus_per_node=2, walltime="01:00:00")
    assert settings.refusal(Resources(4, 16.0, 1, 3600.0)) is None
    assert settings.refusal(Resources(8)) == "8 threads where a node has cores_per_node = 4"
    assert settings.refusal(Resources(1, 17.0)) == "17 GB where a node has memory_gb_per_node = 16"
    assert "2 GPUs where a node has gpus_per_node = 2 and each job gets one" in settings.refusal(Resources(gpus=2))
    assert settings.refusal(Resources(time_limit_s=7200)) == "7200 s where a block lives for walltime = 01:00:00"
    assert settings.workers_per_node(1, 0.0, gpu=False) == 4
    assert settings.workers_per_node(1, 6.0, gpu=False) == 2
    assert settings.workers_per_node(1, 0.0, gpu=True) == 2
    assert settings.workers_per_node(8, 0.0, gpu=False) == 1


def test_a_cluster_is_asked_for_what_the_jobs_need(tmp_path, monkeypatch):
    """What Parsl is told, and the batch script that comes of it, without a cluster."""
    program(tmp_path / "sacct", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    given = {"partition": "c", "gpu_partition": "g", "cores_per_node": 8, "memory_gb_per_node": 32, "gpus_per_node": 2}
    settings = ClusterSettings(**given, worker_init="module load x", walltime="02:00:00", address="127.0.0.1")
    needs = [Resources(1, 2.0, 0, 60.0), Resources(2, 4.0, 0, 600.0), Resources(1, 1.0, 1)]
    engine = ClusterEngine("slurm", tmp_path, settings, None, needs)
    assert isinstance(engine, Engine)
    assert engine.places == 4 + 2
    cpu, gpu = engine._high_throughput("cpu"), engine._high_throughput("gpu")
    assert (cpu.cores_per_worker, cpu.mem_per_worker, cpu.max_workers_per_node) == (2, 4.0, 4)
    assert (cpu.encrypted, cpu.address, cpu.available_accelerators) == (True, "127.0.0.1", [])
    assert cpu.drain_period == 7200 - 600 - 30
    assert gpu.drain_period is None, "nobody said how long a job with a GPU takes"
    assert gpu.available_accelerators == ["0", "1"]
    assert cpu.label.endswith("-cpu")
    assert "#SBATCH --partition=c\n" in cpu.provider.scheduler_options
    assert "#SBATCH --partition=g\n" in gpu.provider.scheduler_options
    assert "#SBATCH --gpus-per-node=2" in gpu.provider.scheduler_options
    assert "gpus" not in cpu.provider.scheduler_options
    assert cpu.provider.worker_init.startswith("module load x\nexport PATH=")
    pbs = ClusterEngine("pbs", tmp_path, settings, 3, needs)
    assert pbs.places == 3
    asked_of = pbs._provider("gpu")
    assert (asked_of.queue, asked_of.cpus_per_node, asked_of.select_options) == ("g", 8, "mem=32gb:ngpus=2")
    several = ClusterEngine("slurm", tmp_path, settings.model_copy(update={"nodes_per_block": 2}), None, needs)
    assert type(several._launcher()).__name__ == "SrunLauncher"
    assert several.places == 2 * 4 + 2 * 2
    assert several.lacking(Resources()) is None
    several.close()
    assert not (tmp_path / "engine.json").exists(), "nothing was started"


def test_a_worker_has_the_device_that_the_cluster_gave_its_block(monkeypatch):
    monkeypatch.setenv("FOLDLIGHT_BLOCK_DEVICES", "4,6")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert engines._block_devices() == {}
    monkeypatch.setenv("PARSL_WORKER_RANK", "1")
    assert engines._block_devices() == {"CUDA_VISIBLE_DEVICES": "6"}


def program(path: Path, text: str) -> None:
    path.write_text(f"#!{shutil.which('bash')}\n{text}\n")
    path.chmod(0o755)


QUEUES = {
    "slurm": {
        "squeue": """sed 's/=/ /' "$QUEUE" 2>/dev/null || true""",
        "scancel": """for id in "$@"; do sed -i "/^$id=/d" "$QUEUE"; done""",
    },
    "pbs": {
        "qstat": """echo '{"Jobs": {'; sep=; while IFS== read -r id name; do
            echo "$sep\\"$id\\": {\\"Job_Name\\": \\"$name\\"}"; sep=,; done < "$QUEUE"; echo '}}'""",
        "qdel": """for id in "$@"; do sed -i "/^$id=/d" "$QUEUE"; done""",
    },
}


@pytest.fixture(params=QUEUES)
def queue(request, tmp_path, monkeypatch) -> tuple[str, Path]:
    """A cluster's commands, and the file that is its queue."""
    (tmp_path / "bin").mkdir()
    for name, text in QUEUES[request.param].items():
        program(tmp_path / "bin" / name, text)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    path = tmp_path / "queue"
    monkeypatch.setenv("QUEUE", str(path))
    path.write_text("11=parsl.foldlight-ab-cpu.block-0.1\n12=other\n13=parsl.foldlight-ab-gpu.block-0.2\n")
    return request.param, path


def test_blocks_are_found_and_ended_by_their_label_alone(queue):
    name, path = queue
    assert blocks_of(name, "foldlight-ab") == ["11", "13"]
    assert end_blocks(name, "foldlight-ab") == ["11", "13"]
    assert path.read_text() == "12=other\n"
    assert end_blocks(name, "foldlight-ab") == []


def test_a_killed_runner_is_cleared_up_behind(queue, tmp_path):
    name, path = queue
    root = tmp_path / "root"
    assert clear_leftovers(root) is None
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "interchange"])
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    trace = Trace(root, name, "foldlight-ab")
    trace.leave(interchanges=[process_facts(helper.pid), process_facts(bystander.pid)])
    (root / ".engine/000/x/certificates").mkdir(parents=True)
    told = clear_leftovers(root)
    assert told.startswith(f"cleared up behind process {os.getpid()} on ")
    assert told.endswith(f", which was killed: ended 2 blocks of {name}")
    assert helper.wait(10) < 0
    assert bystander.poll() is None, "its command line is not that of a helper"
    bystander.kill()
    bystander.wait()
    assert path.read_text() == "12=other\n"
    assert not (root / "engine.json").exists()
    assert not list(root.rglob("certificates"))


def test_a_cluster_that_does_not_answer_stops_the_next_run_in_a_line(tmp_path, monkeypatch):
    program(tmp_path / "squeue", "echo no controller >&2; exit 1")
    Trace(tmp_path, "slurm", "foldlight-ab").leave()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(EngineError, match=r"left in the queue, but squeue ended with 1: no controller; once no block"):
        clear_leftovers(tmp_path)
    assert (tmp_path / "engine.json").exists()
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(EngineError, match="squeue is not found on "):
        clear_leftovers(tmp_path)


def test_a_block_that_does_not_end_is_told(queue, monkeypatch):
    monkeypatch.setattr("foldlight.study.cluster._PATIENCE_S", 0.2)
    name, path = queue
    program(path.parent / "bin" / QUEUES_CANCEL[name], "true")
    with pytest.raises(EngineError, match=r"expected the blocks 11 13 to end within 0\.2 s"):
        end_blocks(name, "foldlight-ab")


QUEUES_CANCEL = {"slurm": "scancel", "pbs": "qdel"}
