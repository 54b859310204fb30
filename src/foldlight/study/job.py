"""One job of a plan, run from its folder: what the engine starts, and what anyone can start by hand.

`python -m foldlight.study.job FOLDER` runs the job of `FOLDER/job.json` on any machine that sees the study's folder,
under the wrapper of `foldlight.study.jobs`: in a process group of its own, to its time limit, with its log beside it,
and leaves `status.json` when it ends, however it does. The exit code is 0 unless it failed.

With `--parent PID` it ends, with all it started, as soon as its parent is gone.
"""

import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from foldlight.core.errors import DataError, FoldlightError
from foldlight.core.processes import die_with, end_tree
from foldlight.core.provenance import versions
from foldlight.study.jobs import Outcome, run_words, scratch_folder
from foldlight.study.records import Digests, Facts, TaskFolder, process_facts, read_job
from foldlight.study.skipping import NOTE, read_note

__all__ = ["HEARTBEAT_S", "main", "run_recorded", "told"]

HEARTBEAT_S = 5.0
"""Time between two changes of the file by which other machines see that a job runs."""

_LOCK = ".lock"
_SETTLE_S = 5.0  # for what is left of a wrapper that was killed a moment ago


def main(words: Sequence[str]) -> int:
    """Run the job of a folder, tell what came of it in a line, and return the exit code."""
    folder, *rest = words
    if rest[:1] == ["--parent"]:
        die_with(int(rest[1]))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        job, status = run_recorded(Path(folder), stop)
    except FoldlightError as error:
        sys.stderr.write(f"foldlight: {error}\n")
        return 1
    sys.stdout.write(f"{told(job, status)}\n")
    return 0 if status["state"] in {"success", "skipped"} else 1


def told(job: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """What came of a job, in a line or two."""
    line = f"{job.get('title') or job['name']}: {status['state']}, {status['seconds']:.0f} s"
    return f"{line}\n    {status['error']}" if status["error"] else line


def run_recorded(folder: Path, stop: threading.Event | None = None) -> tuple[Facts, Facts]:
    """Run the job of a folder and keep its records; the job and its status.

    It never raises for what the job does.

    Args:
        folder: the job's own, below the study's; the study may have been moved since the job was written.
        stop: ends the job when it is set.

    Raises:
        DataError: there is no job, it was written by another version, another process runs it, or the records can't be
            written.
    """
    records, job = _found(folder.resolve())
    with _alone(records):
        for left in records.left_running():
            end_tree(left.pid)
        status = _run(records, job, stop or threading.Event())
        records.write(**status)
    return job, status


def _found(folder: Path) -> tuple[TaskFolder, Facts]:
    """The records and the job of a folder; paths of a study that was moved are moved with it."""
    job = read_job(folder)
    above = folder.parents[len(Path(job["name"]).parts) :]
    records = TaskFolder(above[0] if above else folder, job["name"])
    if records.path != folder:
        raise DataError(f"{folder}: expected the folder of job {job['name']}, jobs/{job['name']} of its study")
    here = versions()["foldlight"]
    if job["version"] != here:
        raise DataError(
            f"{folder}: expected a job of foldlight {here}, got one of {job['version']}; run the study to write it anew"
        )
    return records, {**job, "arguments": [_moved(word, job["root"], str(records.root)) for word in job["arguments"]]}


def _moved(word: str, old: str, new: str) -> str:
    return new + word[len(old) :] if word == old or word.startswith(old + os.sep) else word


@contextmanager
def _alone(records: TaskFolder) -> Iterator[None]:
    """Hold the job for this process."""
    lock = FileLock(records.path / _LOCK)
    try:
        lock.acquire(timeout=_SETTLE_S)
    except Timeout:
        raise DataError(f"{records.path}: expected a job that nobody runs, but another process does") from None
    except NotImplementedError:  # a file system without locks
        yield
        return
    except OSError as error:
        raise DataError(f"{records.path}: expected a writable folder, got {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def _run(records: TaskFolder, job: Facts, stop: threading.Event) -> Facts:
    """Run the job and say what is to be recorded of it."""
    digests, inputs = Digests(), dict[str, Any]()
    records.write(state="running", **process_facts(os.getpid()))
    records.skip_note.unlink(missing_ok=True)
    try:
        inputs = _inputs(records, job, digests)
        for output in job["outputs"]:
            (records.root / output).unlink(missing_ok=True)
        with scratch_folder() as scratch, _heartbeat(records):
            outcome = _watched(records, job, stop, scratch)
    except (FoldlightError, OSError) as error:
        outcome = Outcome(None, error=" ".join(str(error).split()))
        with suppress(OSError):
            records.log.write_text(f"foldlight: {outcome.error}\n", encoding="utf-8")
    state, outputs = _state(outcome, records, stop), dict[str, Any]()
    reason = read_note(records.skip_note) if state == "skipped" else outcome.error
    if state == "success":
        try:
            outputs = records.files([records.root / name for name in job["outputs"]], digests)
        except DataError as lost:
            state, reason = "failed", f"expected the task to leave its outputs; {lost}"
    return {
        "state": state,
        "key": job["key"],
        "seconds": round(outcome.seconds, 3),
        "returncode": outcome.returncode,
        "signal": outcome.signal,
        "peak_rss_mb": round(outcome.peak_rss_mb, 1),
        "error": reason,
        "host": platform.node(),
        "inputs": inputs,
        "outputs": outputs,
    }


def _inputs(records: TaskFolder, job: Facts, digests: Digests) -> Facts:
    """Facts of the files that are read, as they are now."""
    found = {}
    for name, recorded in job["inputs"].items():
        path = records.root / name
        unchanged = digests.change(path, recorded) is None
        found[name] = recorded if unchanged else digests.facts(path)
    return found


def _watched(records: TaskFolder, job: Facts, stop: threading.Event, scratch: Path) -> Outcome:
    def started(pid: int) -> None:
        records.write(state="running", **process_facts(os.getpid()), child=process_facts(pid))

    return run_words(
        ["run", job["module"], *job["arguments"]],
        records.log,
        job["time_limit_s"],
        job["threads"],
        Path(job["working_directory"]),
        started,
        stop,
        scratch,
        variables={NOTE: str(records.skip_note)},
    )


def _state(outcome: Outcome, records: TaskFolder, stop: threading.Event) -> str:
    if outcome.status == "success":
        return "success"
    if stop.is_set() and not outcome.timed_out:
        return "interrupted"
    told_idle = outcome.returncode is not None and not outcome.timed_out and read_note(records.skip_note)
    return "skipped" if told_idle else "failed"


@contextmanager
def _heartbeat(records: TaskFolder) -> Iterator[None]:
    """Change the time of a file now and then; no byte is written, so that a full disk is no obstacle."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_S):
            with suppress(OSError):
                os.utime(records.heartbeat)

    with suppress(OSError):
        records.heartbeat.touch()
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
