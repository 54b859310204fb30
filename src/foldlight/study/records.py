"""The records of one job on disk.

They lie in `jobs/<name>`: `job.json` says what was asked for and all that is needed to run it, `out.log` is its log,
`status.json` says what came of it. They are written so that a kill at any moment leaves them telling less than was
done, never more.
"""

import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from foldlight.core.errors import DataError
from foldlight.core.files import read_json, write_json
from foldlight.core.provenance import sha256_file

__all__ = ["FINAL", "Digests", "Facts", "TaskFolder", "process_facts", "read_job", "relative", "running_process"]

Facts = dict[str, Any]

FINAL = ("success", "failed", "skipped", "interrupted")
"""States that a job leaves behind; `queued` and `running` are those on the way."""


class Digests:
    """sha256 of files; one whose size and time of change are as they were is not read again."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int, int], str] = {}

    def learn(self, path: Path, recorded: Facts) -> None:
        """Take a record's word for a file; one that was changed since is read all the same."""
        self._known[path, recorded["bytes"], recorded["mtime_ns"]] = recorded["sha256"]

    def facts(self, path: Path) -> Facts:
        """Digest, size and time of change of a file.

        Raises:
            DataError: there is no such file.
        """
        try:
            found = path.stat()
            key = (path, found.st_size, found.st_mtime_ns)
            if key not in self._known:
                self._known[key] = sha256_file(path)
        except OSError as error:
            raise DataError(f"{path}: expected a file, got {error.strerror}") from None
        return {"sha256": self._known[key], "bytes": found.st_size, "mtime_ns": found.st_mtime_ns}

    def change(self, path: Path, recorded: Facts) -> str | None:
        """How a file differs from its record: `is gone`, `has changed` or None."""
        try:
            found = path.stat()
        except OSError:
            return "is gone"
        if found.st_size != recorded["bytes"]:
            return "has changed"
        if found.st_mtime_ns == recorded["mtime_ns"]:
            return None
        return None if self.facts(path)["sha256"] == recorded["sha256"] else "has changed"


@dataclass(frozen=True)
class TaskFolder:
    """The records of one task of the plan that fills `root`."""

    root: Path
    name: str

    @property
    def path(self) -> Path:
        """The folder."""
        return self.root / "jobs" / self.name

    @property
    def log(self) -> Path:
        """Where stdout and stderr of the task stream to."""
        return self.path / "out.log"

    @property
    def skip_note(self) -> Path:
        """Where the task may say that there is nothing to do."""
        return self.path / "skipped.txt"

    @property
    def heartbeat(self) -> Path:
        """A file whose time changes while the job runs, so that other machines see it too."""
        return self.path / "heartbeat"

    def ask(self, job: Facts) -> None:
        """Record what is asked for. The status goes first: no earlier success may pass for one of this job.

        Raises:
            DataError: the folder can't be written.
        """
        self.write(state="queued", **process_facts(os.getpid()))
        write_json(self.path / "job.json", job)

    def job(self) -> Facts:
        """What was asked for.

        Raises:
            DataError: there is no job, or it is damaged.
        """
        return read_job(self.path)

    def write(self, **status: Any) -> None:
        """Replace the status.

        Raises:
            DataError: it can't be written.
        """
        write_json(self.path / "status.json", status)

    def status(self) -> Facts | None:
        """The status, None when there is none that can be read."""
        try:
            found = read_json(self.path / "status.json")
        except DataError:
            return None
        return found if isinstance(found, dict) else None

    def files(self, paths: Iterable[Path], digests: Digests) -> Facts:
        """Facts of files, by path; those below the root relative to it, so that the folder can be moved."""
        return {relative(path, self.root): digests.facts(path) for path in paths}

    def left_running(self) -> list[psutil.Process]:
        """The processes on record that still run on this machine."""
        status = self.status() or {}
        if status.get("state") != "running":
            return []
        known = [status, status.get("child") or {}]
        return [found for each in known if (found := running_process(each)) is not None]

    def elsewhere(self) -> str | None:
        """The other machine that a job was left running on by its record, or None."""
        status = self.status() or {}
        host = status.get("host")
        return host if status.get("state") == "running" and host != platform.node() else None

    def beat(self) -> int | None:
        """Time of the last heartbeat [ns of its machine's clock], to be compared with itself alone."""
        try:
            return self.heartbeat.stat().st_mtime_ns
        except OSError:
            return None


_JOB = (
    *("name", "key", "identity", "module", "arguments", "working_directory", "root", "threads", "time_limit_s"),
    *("inputs", "outputs", "version"),
)


def read_job(folder: Path) -> Facts:
    """The job that a folder asks for.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = folder / "job.json"
    found = read_json(path)
    lacking = [name for name in _JOB if name not in found] if isinstance(found, dict) else _JOB
    if lacking:
        raise DataError(f"{path}: expected a job with {', '.join(_JOB)}; it lacks {', '.join(lacking)}")
    return found


def relative(path: Path, root: Path) -> str:
    """A path below the root relative to it, any other as it is."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def process_facts(pid: int) -> Facts:
    """What tells a process from a later one with the same number, on whatever machine, however its clock jumps."""
    return {"pid": pid, "started": _started(pid), "host": platform.node()}


def running_process(facts: Mapping[str, Any]) -> psutil.Process | None:
    """The process of `process_facts`, if it is one of this machine and still runs."""
    pid = facts.get("pid")
    if facts.get("host") != platform.node() or not isinstance(pid, int):
        return None
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        same = _started(pid) == facts.get("started")
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    return None


def _started(pid: int) -> str | None:
    """When a process was started, not by the wall clock where the machine has another."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return f"{_boot()}:{fields[19]}"  # `starttime` of proc(5), in ticks since the machine was started
    except (OSError, IndexError):
        pass
    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.Error:
        return None


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
