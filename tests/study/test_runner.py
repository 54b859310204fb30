"""A plan is run in order, goes on where it was stopped, and knows what is no longer true."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from process_checks import gone, wait_for

from foldlight.core.errors import DataError, SettingsError
from foldlight.study import engine, runner
from foldlight.study.machine import Machine
from foldlight.study.plan import Plan, Task, parse_filters
from foldlight.study.records import TaskFolder
from foldlight.study.runner import run_plan
from foldlight.study.state import states

SUPPORT = Path(__file__).parents[1] / "support"


class Study:
    """A toy study: tasks write a line into a diary and a file with their name."""

    def __init__(self, root: Path) -> None:
        self.root, self.tasks, self.lines = root, {}, []

    def add(self, name, *needs, function="note", inputs=(), weight=1.0, threads=1, labels=None, settings=None, **more):
        output = self.root / "files" / name
        words = {"line": name, "path": str(self.root / "diary")} if function == "note" else {}
        given = {**words, "output": str(output), **more} if function != "family" else more
        self.tasks[name] = Task(
            name=name,
            module="toy_jobs",
            arguments=(function, json.dumps(given)),
            settings=settings or {},
            needs=needs,
            inputs=(*(self.root / "files" / need for need in needs), *inputs),
            outputs=(output,) if function != "family" else (),
            weight=weight,
            threads=threads,
            labels=labels or {},
        )

    @property
    def plan(self) -> Plan:
        tasks = tuple(self.tasks.values())
        return Plan(title="toy", root=self.root, working_directory=SUPPORT, tasks=tasks)

    def run(self, only="", resume=True, workers=1):
        """Statuses by name; the diary holds what really ran."""
        (self.root / "diary").unlink(missing_ok=True)
        self.lines.clear()
        plan = self.plan
        part = plan.only(parse_filters(only))
        report = run_plan(plan, part, lambda *lines: self.lines.extend(lines), resume, workers)
        self.report = report
        return {name: result.status for name, result in report.results.items()}

    @property
    def diary(self) -> list[str]:
        path = self.root / "diary"
        return path.read_text().split() if path.is_file() else []

    def states(self) -> dict[str, str]:
        return {name: state.state for name, state in states(self.plan).items()}

    def reason(self, name) -> str:
        return states(self.plan)[name].reason


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(engine, "this_machine", lambda _: Machine(cores=2, memory_gb=4.0))


@pytest.fixture
def study(tmp_path) -> Study:
    """a -> b -> c and a -> d."""
    made = Study(tmp_path / "out")
    made.root.mkdir()
    made.add("a")
    made.add("b", "a")
    made.add("c", "b")
    made.add("d", "a")
    return made


def test_everything_runs_once_in_order_and_is_on_record(study):
    study.tasks["d"] = study.tasks["d"].model_copy(update={"weight": 9.0, "labels": {"phase": "last", "dose": 1e3}})
    assert study.states() == dict.fromkeys("abcd", "missing")
    assert study.run() == dict.fromkeys("adbc", "success")
    assert study.diary == ["a", "d", "b", "c"], "of what is ready, the costliest goes first"
    assert study.states() == dict.fromkeys("abcd", "done")
    status = json.loads((study.root / "jobs/b/status.json").read_text())
    assert (status["state"], status["returncode"], status["signal"], status["error"]) == ("success", 0, None, None)
    assert status["seconds"] > 0
    assert status["peak_rss_mb"] > 1
    assert status["outputs"]["files/b"]["bytes"] == 1
    job = json.loads((study.root / "jobs/b/job.json").read_text())
    assert job["inputs"].keys() == {"files/a"}
    assert job["identity"]["module"] == "toy_jobs"
    assert (study.root / "jobs/b/out.log").is_file()
    assert re.fullmatch(r"\[2/4\] last dose=1000  success  [\d.]+ m?s  about [\d.]+ m?s left", study.lines[2])
    assert re.fullmatch(r"\[4/4\] c  success  [\d.]+ m?s", study.lines[4])


def test_a_failure_skips_what_needs_it_and_nothing_else(study):
    study.add("b", "a", fail=True)
    assert study.run() == {"a": "success", "b": "failed", "c": "skipped", "d": "success"}
    assert study.diary == ["a", "b", "d"]
    assert study.states() == {"a": "done", "b": "failed", "c": "skipped", "d": "done"}
    assert study.reason("b") == "exit code 1: toy_jobs: b: expected success, got orders to fail"
    assert study.reason("c") == "needs b, which failed"
    assert study.report.troubles.keys() == {"b", "c"}
    log = study.root / "jobs/b/out.log"
    assert f"    log: {log}" in study.lines
    assert "[3/4] c  skipped  about" in "\n".join(study.lines)
    assert "orders to fail" in log.read_text()
    study.add("b", "a")
    assert study.run() == {"a": "unchanged", "b": "success", "c": "success", "d": "unchanged"}
    assert study.diary == ["b", "c"]
    assert study.lines[0].startswith("toy: 2 tasks to run, one at a time, 2 are done already -> ")


def test_a_task_with_nothing_to_do_is_skipped_with_its_followers_and_is_no_failure(study):
    study.add("b", "a", function="nothing_to_do", path=str(study.root / "diary"))
    results = study.run()
    assert results == {"a": "success", "b": "skipped", "c": "skipped", "d": "success"}
    assert study.report.troubles == {}
    assert study.states() == {"a": "done", "b": "skipped", "c": "skipped", "d": "done"}
    assert study.reason("b") == "expected 4 frames, got 1"
    assert study.reason("c") == "needs b, which was skipped"
    assert "[2/4] b  skipped" in "\n".join(study.lines)
    assert "    expected 4 frames, got 1" in study.lines
    assert study.run() == {"a": "unchanged", "b": "skipped", "c": "skipped", "d": "unchanged"}
    assert study.diary == []
    assert study.lines[0].startswith("toy: 0 tasks to run, one at a time, 4 are done already")
    assert len(study.lines) == 1
    (study.root / "files/a").write_text("A")
    assert study.reason("b") == "input files/a has changed", "with other frames there may be something to do"
    study.add("b", "a")
    assert study.run() == {"a": "success", "b": "success", "c": "success", "d": "unchanged"}
    study.add("b", "a", function="nothing_to_do", path=str(study.root / "diary"))
    assert study.run()["c"] == "skipped"
    assert study.states()["c"] == "skipped", "what it left when there was something to do is not of this study"


def test_a_failure_among_needs_weighs_more_than_a_skip(study):
    study.add("b", "a", function="nothing_to_do", path=str(study.root / "diary"))
    study.add("d", "a", fail=True)
    study.add("c", "b", "d")
    study.run()
    assert study.states()["c"] == "skipped"
    assert study.report.troubles.keys() == {"d", "c"}
    assert study.reason("c") == "needs d, which failed"


def test_the_same_command_again_runs_nothing_and_everything_only_when_asked_to(study):
    study.run()
    before = (study.root / "files/a").stat().st_mtime_ns
    assert set(study.run().values()) == {"unchanged"}
    assert (study.diary, len(study.lines)) == ([], 1)
    assert (study.root / "files/a").stat().st_mtime_ns == before
    assert set(study.run(resume=False).values()) == {"success"}
    assert study.diary == ["a", "b", "d", "c"]


def test_a_failure_far_up_is_blamed_by_name(study):
    study.add("a", fail=True)
    assert study.run() == {"a": "failed", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert study.reason("c") == study.report.results["c"].error == "needs a, which failed"
    study.add("a")
    assert set(study.run().values()) == {"success"}


def test_resume_runs_what_lost_an_output_and_stops_where_nothing_changed(study):
    study.run()
    (study.root / "files/b").unlink()
    assert study.states() == {"a": "done", "b": "stale", "c": "stale", "d": "done"}
    assert study.reason("b") == "output files/b is gone"
    assert study.reason("c") == "input files/b is gone"
    results = study.run()
    assert study.diary == ["b"], "b came out as before, so c still holds"
    assert results["c"] == "unchanged"
    assert any(line.startswith("[2/2] c  unchanged") for line in study.lines)
    (study.root / "files/b").write_text("B")
    assert study.reason("b") == "output files/b has changed"


def test_resume_runs_what_read_something_else(study, tmp_path):
    source = tmp_path / "source"
    source.write_text("one")
    study.add("a", inputs=[source])
    study.run()
    os.utime(source, ns=(1, 1))
    assert set(study.states().values()) == {"done"}, "a new date alone changes nothing"
    source.write_text("two")
    assert study.states()["a"] == "stale"
    assert study.reason("a") == f"input {source} has changed"
    study.run()
    assert study.diary == ["a"], "and what a left is as before"


def test_another_argument_setting_or_need_makes_a_task_and_those_after_it_stale(study):
    study.run()
    study.add("b", "a", settings={"epochs": 3})
    assert study.reason("b") == "settings: epochs was None, now 3"
    assert study.reason("c") == "needs b, which is to be done otherwise"
    assert study.states()["d"] == "done"
    study.run()
    assert study.diary == ["b", "c"]
    study.add("d", "a", function="work", text="other")
    assert study.reason("d").startswith("arguments: were note ")
    study.run()
    assert (study.root / "files/d").read_text() == "other"


def test_a_moved_folder_is_still_done(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    words = ("work", "{}", "--to", str(old / "x"))
    task = Task(name="a", module="toy_jobs", arguments=words, inputs=(old / "in",), outputs=())
    plan = Plan(title="t", root=old, working_directory=SUPPORT, tasks=(task,))
    old.mkdir()
    (old / "in").write_text("x")
    run_plan(plan, plan, lambda *_: None)
    old.rename(new)
    assert states(plan.at(new))["a"].state == "done"
    assert states(plan)["a"].state == "missing"


def test_a_part_runs_with_all_it_needs(study):
    study.tasks["c"] = study.tasks["c"].model_copy(update={"labels": {"view": "dense"}})
    for name in "abd":
        study.tasks[name] = study.tasks[name].model_copy(update={"labels": {"view": "other"}})
    assert study.run("view=dense").keys() == {"a", "b", "c"}
    assert study.states()["d"] == "missing"
    assert len(json.loads((study.root / "plan.json").read_text())["tasks"]) == 4, "the whole plan is kept"


def test_an_output_that_is_not_left_is_a_failure(study):
    study.tasks["d"] = study.tasks["d"].model_copy(update={"outputs": (study.root / "files" / "other",)})
    (study.root / "files").mkdir()
    (study.root / "files" / "other").write_text("of an earlier run")
    assert study.run()["d"] == "failed"
    assert "expected the task to leave its outputs" in study.reason("d")


def test_a_missing_input_fails_its_task_alone(study, tmp_path):
    study.add("d", "a", inputs=[tmp_path / "none"])
    assert study.run() == {"a": "success", "b": "success", "c": "success", "d": "failed"}
    assert study.reason("d") == f"{tmp_path / 'none'}: expected a file, got No such file or directory"


@pytest.mark.usefixtures("two_cores")
def test_several_tasks_run_at_a_time(tmp_path):
    study = Study(tmp_path)
    for name in "ab":
        study.add(name, function="work", seconds=1.0)
    began = time.monotonic()
    study.run(workers=2)
    both = json.loads((tmp_path / "jobs/a/status.json").read_text())["seconds"]
    both += json.loads((tmp_path / "jobs/b/status.json").read_text())["seconds"]
    assert time.monotonic() - began < both
    assert study.lines[0].startswith("toy: 2 tasks to run, up to 2 at a time -> ")
    with pytest.raises(SettingsError, match="--workers 0: expected 1 or more"):
        study.run(workers=0)


@pytest.mark.usefixtures("two_cores")
def test_a_large_task_is_not_overtaken_for_ever_by_small_ones(tmp_path):
    study = Study(tmp_path)
    study.add("gate", weight=9.0)
    study.add("large", "gate", threads=2, weight=5.0)
    for name in ("one", "two", "three", "four"):
        study.add(name)
    study.run(workers=None)
    assert study.diary.index("large") <= 3


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize(
    ("wanted", "refusal"),
    [
        ({"threads": 3}, "3 threads where there are 2 cores"),
        ({"memory_gb": 8.0}, "8 GB of memory where 4.0 GB are free"),
        ({"gpus": 1}, "1 GPUs where there are none"),
    ],
)
def test_a_task_that_can_never_run_here_is_refused_before_anything_starts(study, wanted, refusal):
    study.tasks["c"] = study.tasks["c"].model_copy(update=wanted)
    with pytest.raises(SettingsError, match=f"task c: expected what --engine threads can give, got {refusal}"):
        study.run()
    assert not (study.root / "jobs").exists()


def test_a_time_limit_ends_a_task_and_says_so(study):
    pids = study.root / "pids"
    study.add("d", "a", function="family", pids=str(pids))
    study.tasks["d"] = study.tasks["d"].model_copy(update={"time_limit_s": 1.5})
    assert study.run() == {"a": "success", "b": "success", "c": "success", "d": "failed"}
    assert study.reason("d").startswith("expected an end within 1.5 s; the job and its children were ended")
    assert all(wait_for(lambda pid=pid: gone(pid), 1) for pid in json.loads(pids.read_text()))


def test_a_wrapper_that_is_killed_fails_its_task_with_all_it_started(study):
    pids = study.root / "pids"
    study.add("d", "a", function="family", pids=str(pids), weight=5.0)

    def kill():
        family = wait_for(lambda: pids.is_file() and json.loads(pids.read_text()))
        os.kill(psutil.Process(family[0]).ppid(), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert study.run()["d"] == "failed"
    killer.join()
    assert study.reason("d") == "its wrapper was ended by SIGKILL from outside, or because memory was short"
    assert all(wait_for(lambda pid=pid: gone(pid), 5) for pid in json.loads(pids.read_text()))


def test_a_job_left_on_another_machine_stops_the_run_only_while_its_heart_beats(study, monkeypatch):
    monkeypatch.setattr(runner, "HEARTBEAT_S", 0.2)
    study.run()
    folder = TaskFolder(study.root, "b")
    folder.write(state="running", pid=1, started="x", host="elsewhere")
    assert study.states()["b"] == "running"
    assert study.reason("b") == "on elsewhere"
    done = threading.Event()

    def beat():
        while not done.wait(0.05):
            os.utime(folder.heartbeat)

    other = threading.Thread(target=beat)
    other.start()
    with pytest.raises(DataError, match="jobs/b: expected a job that nobody runs, but it runs on elsewhere"):
        study.run()
    done.set()
    other.join()
    assert study.run()["b"] == "success"


def test_a_status_that_another_job_left_is_not_believed(study):
    """As after a kill between the two files that say what is asked for."""
    study.run()
    path = study.root / "jobs/b/status.json"
    status = json.loads(path.read_text())
    path.write_text(json.dumps({**status, "key": "of another"}))
    assert study.reason("b") == "what is on record came of another job"
    (study.root / "jobs/b/job.json").write_text("{")
    assert study.reason("b") == "job.json is gone, damaged or of an earlier version"
    path.write_text(json.dumps({"state": "queued", "pid": os.getpid(), "started": "never", "host": platform.node()}))
    assert study.states()["b"] == "interrupted"
    assert set(study.run().values()) == {"success", "unchanged"}


def test_a_folder_that_cannot_be_written_fails_its_task_alone(study):
    (study.root / "jobs").mkdir()
    (study.root / "jobs/d").write_text("in the way")
    assert study.run() == {"a": "success", "b": "success", "c": "success", "d": "failed"}
    assert "jobs/d/status.json: expected a writable place" in study.report.results["d"].error


def test_a_killed_task_has_failed_and_the_others_run(study):
    pids = study.root / "pids"
    study.add("d", "a", function="family", pids=str(pids), weight=5.0)
    killer = threading.Thread(
        target=lambda: os.kill(wait_for(lambda: pids.is_file() and json.loads(pids.read_text()))[0], signal.SIGKILL)
    )
    killer.start()
    assert study.run() == {"a": "success", "b": "success", "c": "success", "d": "failed"}
    killer.join()
    assert study.reason("d") == "ended by SIGKILL from outside, or because memory was short"
    assert json.loads((study.root / "jobs/d/status.json").read_text())["signal"] == "SIGKILL"


RUN = (
    # a shell starts processes in the background with SIGINT ignored, and they hand that on
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "import sys, pathlib, json; from foldlight.study.plan import Plan; from foldlight.study.runner import run_plan\n"
    "plan = Plan.parse(json.loads(pathlib.Path(sys.argv[1]).read_text()))\n"
    "run_plan(plan, plan, print, workers=1)\n"
)


def start_runner(study) -> subprocess.Popen:
    """A runner in a process of its own, in the middle of task d."""
    path = study.root / "given.json"
    path.write_text(json.dumps(study.plan.plain()))
    runner = subprocess.Popen(
        [sys.executable, "-c", RUN, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for((study.root / "pids").is_file)
    return runner


def test_after_the_runner_was_killed_its_tasks_are_gone_and_resume_goes_on(study):
    pids = study.root / "pids"
    study.add("d", "a", function="family", pids=str(pids), weight=5.0)
    runner = start_runner(study)
    assert study.states()["d"] == "running"
    with pytest.raises(DataError, match=f"expected no other runner, but process {runner.pid} on .* works here"):
        study.run()
    runner.kill()
    runner.wait()
    assert all(wait_for(lambda pid=pid: gone(pid), 5) for pid in json.loads(pids.read_text()))
    assert study.states() == {"a": "done", "b": "missing", "c": "missing", "d": "interrupted"}
    study.add("d", "a")
    assert set(study.run().values()) == {"success", "unchanged"}
    assert study.diary == ["b", "d", "c"]


def test_an_interrupted_runner_ends_its_tasks_and_says_so(study):
    pids = study.root / "pids"
    study.add("d", "a", function="family", pids=str(pids), weight=5.0)
    runner = start_runner(study)
    runner.send_signal(signal.SIGINT)
    assert runner.wait(20) != 0
    assert all(wait_for(lambda pid=pid: gone(pid), 1) for pid in json.loads(pids.read_text()))
    assert study.states()["d"] == "interrupted"
    assert study.reason("d") == "ended because the run was interrupted"
