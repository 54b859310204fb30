"""A job is a process that can end in any way: each is told, and nothing of it is left."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from process_checks import gone, wait_for

from foldlight.core.provenance import sha256_file
from foldlight.study.jobs import Input, Job, run_job

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(autouse=True)
def _children_find_the_toys(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))


def toy(folder, function, time_limit_s=None, inputs=None, outputs=None, threads=1, **arguments) -> Job:
    return Job(
        f"toy_jobs:{function}", arguments, inputs or {}, outputs or {}, folder / "job.log", time_limit_s, threads
    )


def told(path) -> list[int]:
    return wait_for(lambda: path.is_file() and json.loads(path.read_text()))


def test_a_job_that_succeeds_tells_what_it_returned_read_and_left(tmp_path):
    source, output = tmp_path / "source", tmp_path / "deep" / "out"
    source.write_text("abc")
    job = toy(tmp_path, "join", None, {"text": Input(source, "the test")}, {"joined": output})
    job = Job(job.function, {"inputs": [str(source)], "output": str(output)}, job.inputs, job.outputs, job.log_path)
    result = run_job(job)
    assert (result.outcome.status, result.outcome.returncode, result.outcome.error) == ("success", 0, None)
    assert result.outcome.signal is None
    assert not result.outcome.timed_out
    assert result.returned["text"] == "abc"
    assert result.returned["pid"] != os.getpid()
    assert result.inputs["text"] == {"path": source, "sha256": sha256_file(source), "bytes": 3}
    assert result.outputs["joined"]["sha256"] == result.inputs["text"]["sha256"]


def test_a_refusal_is_one_line_in_result_and_log(tmp_path):
    result = run_job(toy(tmp_path, "refuse"))
    assert result.outcome.status == "failed"
    assert result.outcome.error == "expected something better"
    assert (tmp_path / "job.log").read_text() == "about to refuse\nfoldlight: expected something better\n"


def test_a_crash_leaves_its_traceback_and_tells_its_last_line(tmp_path):
    result = run_job(toy(tmp_path, "crash"))
    assert result.outcome.error == "exit code 1: ZeroDivisionError: nothing by nothing"
    assert "Traceback" in (tmp_path / "job.log").read_text()


@pytest.mark.parametrize(
    ("function", "reason"),
    [("leave_early", "expected the job to leave a result, found none; log: "), ("odd_result", "JSON")],
)
def test_a_job_without_a_result_has_failed(tmp_path, function, reason):
    result = run_job(toy(tmp_path, function))
    assert result.outcome.status == "failed"
    assert reason in result.outcome.error
    assert result.returned == {}


def test_a_promised_file_that_is_not_there_is_a_failure(tmp_path):
    result = run_job(toy(tmp_path, "work", outputs={"file": tmp_path / "none"}))
    assert result.outcome.status == "failed"
    assert f"expected the job to leave {tmp_path / 'none'}, found none" in result.outcome.error


def test_outputs_of_an_earlier_run_never_pass_for_new_ones(tmp_path):
    output = tmp_path / "out"
    output.write_text("old")
    assert run_job(toy(tmp_path, "crash", outputs={"file": output})).outcome.status == "failed"
    assert not output.exists()


def test_a_missing_input_is_named_with_who_makes_it(tmp_path):
    result = run_job(toy(tmp_path, "work", inputs={"scan": Input(tmp_path / "scan.npz", "the phase generation")}))
    expected = f"{tmp_path / 'scan.npz'}: expected a file, found none; the phase generation makes it"
    assert result.outcome.error == expected
    assert (result.outcome.returncode, result.outcome.status) == (None, "failed")
    assert (tmp_path / "job.log").read_text() == f"foldlight: {expected}\n"


@pytest.mark.parametrize("session", [False, True], ids=["same session", "own session"])
def test_at_the_time_limit_the_whole_family_ends(tmp_path, session):
    pids = tmp_path / "pids"
    result = run_job(toy(tmp_path, "family", 1.5, pids=str(pids), session=session))
    assert result.outcome.timed_out
    assert result.outcome.status == "failed"
    assert result.outcome.error.startswith("expected an end within 1.5 s")
    assert result.outcome.error in (tmp_path / "job.log").read_text()
    assert all(wait_for(lambda pid=pid: gone(pid)) for pid in told(pids))
    assert run_job(toy(tmp_path, "work")).outcome.status == "success"


def test_a_job_that_ignores_the_request_to_end_is_killed(tmp_path):
    pids = tmp_path / "pids"
    result = run_job(toy(tmp_path, "family", 1.5, pids=str(pids), stubborn=True))
    assert (result.outcome.timed_out, result.outcome.signal) == (True, "SIGKILL")
    assert all(wait_for(lambda pid=pid: gone(pid)) for pid in told(pids))


def test_a_job_killed_from_outside_has_failed_and_its_group_is_gone(tmp_path):
    pids = tmp_path / "pids"
    killer = threading.Thread(target=lambda: os.kill(told(pids)[0], signal.SIGKILL))
    killer.start()
    result = run_job(toy(tmp_path, "family", 30, pids=str(pids)))
    killer.join()
    assert (result.outcome.status, result.outcome.signal) == ("failed", "SIGKILL")
    assert result.outcome.error == "ended by SIGKILL from outside, or because memory was short"
    assert result.outcome.error in (tmp_path / "job.log").read_text()
    assert not result.outcome.timed_out
    assert all(wait_for(lambda pid=pid: gone(pid)) for pid in told(pids))


def test_a_job_dies_with_its_parent(tmp_path):
    pids = tmp_path / "pids"
    code = (
        "from pathlib import Path; from foldlight.study.jobs import Job, run_job;"
        f"run_job(Job('toy_jobs:family', {{'pids': {str(pids)!r}}}, {{}}, {{}}, Path({str(tmp_path)!r}, 'log')))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    family = told(pids)
    parent.kill()
    parent.wait()
    assert all(wait_for(lambda pid=pid: gone(pid), 5) for pid in family)


def test_the_log_streams_while_the_job_runs(tmp_path):
    pids, seen = tmp_path / "pids", []

    def look():
        told(pids)
        seen.append((tmp_path / "job.log").is_file())
        os.kill(told(pids)[0], signal.SIGTERM)

    looker = threading.Thread(target=look)
    looker.start()
    result = run_job(toy(tmp_path, "family", 30, pids=str(pids)))
    looker.join()
    assert seen == [True]
    assert result.outcome.returncode == 128 + signal.SIGTERM


def test_peak_memory_is_the_jobs_own(tmp_path):
    """Not that of the process that started it, which the kernel counts in."""
    ballast = bytearray(b"x") * (300 * 2**20)
    small = run_job(toy(tmp_path, "work", seconds=0.3)).outcome.peak_rss_mb
    large = run_job(toy(tmp_path, "work", seconds=0.3, megabytes=200)).outcome.peak_rss_mb
    assert len(ballast) > 0
    assert 5 < small < 150
    assert 195 < large - small < 260


def test_threads_are_told_to_the_libraries(tmp_path):
    assert run_job(toy(tmp_path, "tell_threads", threads=3)).returned == {
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
    }
