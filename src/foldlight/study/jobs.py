"""One job, one process: started, watched, timed, ended with all its children, and told honestly.

A job is a function by name and JSON arguments. It runs in a process group of its own that dies with its parent; all
it prints streams to its log; what went in and came out is known by digest.
"""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foldlight.core.errors import DataError, FoldlightError
from foldlight.core.files import owned_name, owner_gone, read_json, write_json
from foldlight.core.processes import end_tree
from foldlight.core.provenance import sha256_file

__all__ = ["Input", "Job", "JobResult", "Outcome", "file_facts", "run_job", "run_words", "scratch_folder"]

_POLL_S = 0.1
_GRACE_S = 3.0  # to remove temporary files after the time limit
_SCRATCH = "foldlight-job-"


@dataclass(frozen=True)
class Input:
    """A file that a job reads, and who makes it, for the message when it is missing."""

    path: Path
    made_by: str


@dataclass(frozen=True)
class Job:
    """What to run.

    Attributes:
        function: `module:name` of a function that returns a JSON-ready dictionary.
        arguments: its keyword arguments, JSON-ready.
        inputs: files it reads, by role.
        outputs: files it leaves, by role; those of an earlier run are removed before it starts.
        log_path: where its stdout and stderr stream to.
        time_limit_s: wall time after which it is ended [s]; none: no limit.
        threads: CPU threads of its process; all cores when None.
    """

    function: str
    arguments: Mapping[str, Any]
    inputs: Mapping[str, Input]
    outputs: Mapping[str, Path]
    log_path: Path
    time_limit_s: float | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Attributes:
        returncode: exit code, negative the signal that ended it; None when it was never started.
        seconds: wall time.
        peak_rss_mb: most memory one of its processes held [MB].
        timed_out: it was ended at its time limit.
        error: one line, None on success.
    """

    returncode: int | None
    seconds: float = 0.0
    peak_rss_mb: float = 0.0
    timed_out: bool = False
    error: str | None = None

    @property
    def status(self) -> str:
        """`success` or `failed`."""
        return "success" if self.returncode == 0 and self.error is None else "failed"

    @property
    def signal(self) -> str | None:
        """Name of the signal that ended it, or None."""
        return signal.Signals(-self.returncode).name if self.returncode is not None and self.returncode < 0 else None


@dataclass(frozen=True)
class JobResult:
    """What came of a job.

    Attributes:
        outcome: how its process ended.
        returned: what the function returned; empty when it failed.
        inputs: sha256 and size of each file read, by role, as it was when the job started.
        outputs: the same of each file left.
    """

    outcome: Outcome
    returned: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)


def file_facts(path: Path) -> dict[str, Any]:
    """Path, sha256 and size of a file; a manifest makes the path relative to itself."""
    return {"path": path, "sha256": sha256_file(path), "bytes": path.stat().st_size}


def run_job(job: Job) -> JobResult:
    """Run a job to its end. It never raises for what the job does, or for a full disk: the outcome says what it was."""
    try:
        return _run_job(job)
    except (FoldlightError, OSError) as error:
        return JobResult(Outcome(None, error=" ".join(str(error).split())))


def _run_job(job: Job) -> JobResult:
    for output in job.outputs.values():
        output.unlink(missing_ok=True)
    inputs = {role: file_facts(given.path) for role, given in job.inputs.items() if given.path.is_file()}
    missing = [given for role, given in job.inputs.items() if role not in inputs]
    if missing:
        error = "; ".join(f"{given.path}: expected a file, found none; {given.made_by} makes it" for given in missing)
        job.log_path.parent.mkdir(parents=True, exist_ok=True)
        job.log_path.write_text(f"foldlight: {error}\n", encoding="utf-8")
        return JobResult(Outcome(None, error=error), inputs=inputs)
    with scratch_folder() as scratch:
        payload, result = scratch / "arguments.json", scratch / "result.json"
        write_json(payload, dict(job.arguments))
        words = ["call", job.function, str(payload), str(result)]
        outcome = run_words(words, job.log_path, job.time_limit_s, job.threads, scratch=scratch)
        told = read_json(result) if result.is_file() else {}
    if outcome.status == "failed":
        if "error" in told and not outcome.timed_out and outcome.signal is None:
            outcome = Outcome(outcome.returncode, outcome.seconds, outcome.peak_rss_mb, error=told["error"])
        return JobResult(outcome, inputs=inputs)
    lost = [str(path) for path in job.outputs.values() if not path.is_file()]
    if "result" not in told:
        lost.append("a result")
    if lost:
        error = f"expected the job to leave {', '.join(lost)}, found none; log: {job.log_path}"
        outcome = Outcome(outcome.returncode, outcome.seconds, outcome.peak_rss_mb, error=error)
    outputs = {role: file_facts(path) for role, path in job.outputs.items() if path.is_file()}
    return JobResult(outcome, told.get("result", {}), inputs, outputs)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for temporary files that is removed in the end; those of owners that were killed are removed before.

    Raises:
        DataError: it can't be made.
    """
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{_SCRATCH}*"):
        if owner_gone(left):
            shutil.rmtree(left, ignore_errors=True)
    scratch = place / f"{_SCRATCH}{owned_name()}"
    try:
        scratch.mkdir(mode=0o700)
    except OSError as error:
        raise DataError(f"{scratch}: expected a writable place for temporary files, got {error.strerror}") from None
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def run_words(
    words: Sequence[str],
    log_path: Path,
    time_limit_s: float | None = None,
    threads: int | None = None,
    cwd: Path | None = None,
    started: Callable[[int], None] = lambda _: None,
    stop: threading.Event | None = None,
    scratch: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> Outcome:
    """Run `foldlight.study.child` with these words in a process group of its own, and leave no process of the group.

    Args:
        words: what the child does; see there.
        log_path: where its stdout and stderr stream to.
        time_limit_s: wall time after which it is ended [s]; none: no limit.
        threads: CPU threads of its process; what the environment says when None.
        cwd: folder that it runs in; that of this process when None.
        started: is told the process id.
        stop: ends the process when it is set.
        scratch: folder for its temporary files, which the caller removes however the process ends.
        variables: more of its environment.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "foldlight.study.child", str(os.getpid()), *words]
    began = time.monotonic()
    log_path.write_bytes(b"")
    with log_path.open("ab", buffering=0) as log:  # appending, so that children of the job may write to the same log
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**_environment(threads, scratch), **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        timed_out = False
        try:
            started(process.pid)
            memory = _PeakMemory(process.pid)
            ended = _wait(process.pid, began + time_limit_s if time_limit_s else None, stop, memory)
            if ended is None:
                timed_out = not (stop and stop.is_set())
                end_tree(process.pid, _GRACE_S)
                ended = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(ended[1])
        finally:
            if process.returncode is None:  # interrupted
                end_tree(process.pid, _GRACE_S)
                process.wait()
            end_tree(process.pid)
        seconds = time.monotonic() - began
        stopped = bool(stop and stop.is_set())
        error = _reason(process.returncode, timed_out, stopped, time_limit_s, log_path)
        if error and (timed_out or stopped or process.returncode < 0):
            with contextlib.suppress(OSError):  # the disk may be full, and the outcome says it too
                log.write(f"\nfoldlight: {error}\n".encode())
    return Outcome(process.returncode, seconds, memory.total_mb(ended[2].ru_maxrss), timed_out, error)


_RSS_UNITS_PER_MB = 2**20 if sys.platform == "darwin" else 2**10


class _PeakMemory:
    """Most memory that a process held.

    The kernel's count at its end includes its children, but on Linux it starts at the most that this process ever held,
    since the child was a copy of it for a moment; below that, the last peak seen while it ran is nearer.
    """

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/status")
        self._floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._seen = 0

    def look(self) -> None:
        """Note the peak so far."""
        with contextlib.suppress(OSError):
            for line in self._path.read_text(encoding="utf-8").splitlines():
                if line.startswith("VmHWM:"):
                    self._seen = max(self._seen, int(line.split()[1]))

    def total_mb(self, counted: int) -> float:
        """The peak [MB], given the kernel's count."""
        return (counted if counted > self._floor or not self._seen else self._seen) / _RSS_UNITS_PER_MB


def _wait(pid: int, deadline: float | None, stop: threading.Event | None, memory: _PeakMemory) -> Any:
    """(pid, status, resources) of the process, or None when the time is up or it has to stop."""
    while (deadline is None or time.monotonic() < deadline) and not (stop and stop.is_set()):
        ended = os.wait4(pid, os.WNOHANG)
        if ended[0]:
            return ended
        memory.look()
        time.sleep(_POLL_S)
    return None


def _reason(returncode: int, timed_out: bool, stopped: bool, time_limit_s: float | None, log_path: Path) -> str | None:
    """Why it failed, in one line."""
    if stopped and returncode:
        return "ended because the run was interrupted"
    if timed_out:
        return (
            f"expected an end within {time_limit_s:g} s; the job and its children were ended; raise --timeout or"
            " time_limit_s"
        )
    if returncode < 0:
        return f"ended by {signal.Signals(-returncode).name} from outside, or because memory was short"
    if returncode:
        text = log_path.read_text(encoding="utf-8", errors="replace")
        last = next((line.strip() for line in reversed(text.split("\n")) if line.strip()), "no output")
        return f"exit code {returncode}: {last.removeprefix('foldlight: ')}"
    return None


def _environment(threads: int | None, scratch: Path | None) -> dict[str, str]:
    """The parent's environment, unbuffered, with the job's own number of threads and place for temporary files."""
    given = {"PYTHONUNBUFFERED": "1", "MPLBACKEND": "Agg"}
    if threads is not None:
        given |= {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    if scratch is not None:
        given["TMPDIR"] = str(scratch)
    return {**os.environ, **given}
