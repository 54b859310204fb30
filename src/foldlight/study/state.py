"""What is known on disk about a plan's tasks.

Each has a folder `jobs/<name>` with `job.json`, which says what was asked for, `out.log`, and `status.json`, which says
what came of it. A task is done when it succeeded, when asking for it today would ask for the same, and when the files
it read and left are still the same by digest.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from foldlight.core.errors import DataError
from foldlight.core.files import read_json, write_json
from foldlight.core.provenance import sha256_file, versions
from foldlight.study.plan import Plan, Task

__all__ = ["STATES", "Digests", "TaskFolder", "TaskState", "identities", "key_of", "states"]

STATES = ("done", "skipped", "running", "failed", "blocked", "stale", "interrupted", "missing")

Facts = dict[str, Any]


@dataclass(frozen=True)
class TaskState:
    """Where a task stands.

    Attributes:
        state: one of `STATES`.
        reason: why it is not done, in one line.
        seconds: wall time of the run that is on record, 0 when none is.
    """

    state: str
    reason: str | None = None
    seconds: float = 0.0


class Digests:
    """sha256 of files; one whose size and time of change are as they were is not read again."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int, int], str] = {}

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
        if not path.is_file():
            return "is gone"
        found = path.stat()
        if found.st_size != recorded["bytes"]:
            return "has changed"
        if found.st_mtime_ns == recorded["mtime_ns"]:
            return None
        return None if self.facts(path)["sha256"] == recorded["sha256"] else "has changed"


@dataclass(frozen=True)
class TaskFolder:
    """The records of one task."""

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

    def begin(self, task: Task, identity: Facts, digests: Digests) -> None:
        """Record what is asked for, and that this process is about to start it.

        Raises:
            DataError: an input is missing.
        """
        self.write(state="running", **_process(os.getpid()))
        self.skip_note.unlink(missing_ok=True)
        write_json(
            self.path / "job.json",
            {
                "name": task.name,
                "key": key_of(identity),
                "identity": identity,
                "labels": task.labels,
                "threads": task.threads,
                "inputs": self.files(task.inputs, digests),
            },
        )

    def write(self, **status: Any) -> None:
        """Replace the status."""
        write_json(self.path / "status.json", status)

    def running(self, pid: int) -> None:
        """Record the process that runs the task."""
        self.write(state="running", **_process(pid))

    def files(self, paths: Iterable[Path], digests: Digests) -> Facts:
        """Facts of files, by path; those below the root relative to it, so that the folder can be moved."""
        return {_relative(path, self.root): digests.facts(path) for path in paths}

    def left_running(self) -> psutil.Process | None:
        """The process on record, if it still runs on this machine."""
        status = self._read("status.json") or {}
        return _alive(status) if status.get("state") == "running" else None

    def state(self, identity: Facts, digests: Digests) -> TaskState:
        """Where the task stands, asked for as `identity` says."""
        status = self._read("status.json")
        if status is None:
            return TaskState("missing")
        seconds = float(status.get("seconds", 0.0))
        word, error = status.get("state"), status.get("error")
        if word == "running":
            if status.get("host") != platform.node():
                return TaskState("running", f"on {status.get('host')}")
            return TaskState("running") if _alive(status) else TaskState("interrupted", "its runner ended")
        if word not in {"success", "skipped"}:
            return TaskState("interrupted" if word == "interrupted" else "failed", error, seconds)
        change = self._change(identity, status, digests)
        if change:
            return TaskState("stale", change, seconds)
        return TaskState("skipped", error, seconds) if word == "skipped" else TaskState("done", None, seconds)

    def _change(self, identity: Facts, status: Facts, digests: Digests) -> str | None:
        """What is no longer as it was when the task ran, or None."""
        job = self._read("job.json")
        if job is None:
            return "job.json is gone"
        difference = _difference(job["identity"], identity)
        if difference:
            return difference
        for role, files in (("input", job["inputs"]), ("output", status["outputs"])):
            for name, recorded in files.items():
                change = digests.change(self.root / name, recorded)
                if change:
                    return f"{role} {name} {change}"
        return None

    def _read(self, name: str) -> Facts | None:
        try:
            found = read_json(self.path / name)
        except DataError:
            return None
        return found if isinstance(found, dict) else None


def states(plan: Plan, digests: Digests | None = None) -> dict[str, TaskState]:
    """Where every task of a plan stands; what waits for a failed one is blocked, for a skipped one skipped."""
    known, seen = digests or Digests(), identities(plan)
    found: dict[str, TaskState] = {}
    for task in plan.tasks:
        state = TaskFolder(plan.root, task.name).state(seen[task.name], known)
        lost = [(need, word) for word in _FATE for need in task.needs if found[need].state == word]
        if lost and state.state in {"missing", "stale", "interrupted"}:
            need, word = lost[0]
            state = TaskState("skipped" if word == "skipped" else "blocked", f"needs {need}, which {_FATE[word]}")
        found[task.name] = state
    return found


_FATE = {"failed": "failed", "blocked": "is blocked", "skipped": "was skipped"}  # of what is needed, the worst first


def identities(plan: Plan) -> dict[str, Facts]:
    """What decides the result of each task beside its input files; keys of the tasks it needs chain theirs."""
    version = versions()["foldlight"]
    found: dict[str, Facts] = {}
    for task in plan.tasks:
        found[task.name] = {
            "module": task.module,
            "arguments": [_portable(word, plan) for word in task.arguments],
            "settings": json.loads(json.dumps(task.settings)),
            "foldlight": version,
            "inputs": [_relative(path, plan.root) for path in task.inputs],
            "outputs": [_relative(path, plan.root) for path in task.outputs],
            "needs": {need: key_of(found[need]) for need in task.needs},
        }
    return found


def key_of(identity: Facts) -> str:
    """Digest of what decides a task's result."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The first field in which two identities differ, in words."""
    for name, value in new.items():
        before = old.get(name)
        if before == value:
            continue
        if name == "needs":
            changed = next((need for need in value if value[need] != (before or {}).get(need)), "what it needs")
            return f"needs {changed}, which is to be done otherwise"
        if isinstance(value, dict) and isinstance(before, dict):
            field = next(each for each in sorted({*value, *before}) if value.get(each) != before.get(each))
            return f"{name}: {field} was {before.get(field)!r}, now {value.get(field)!r}"
        if isinstance(value, list) and isinstance(before, list):
            gone, added = [w for w in before if w not in value], [w for w in value if w not in before]
            return f"{name}: were {' '.join(gone) or 'fewer'}, now {' '.join(added) or 'fewer'}"
        return f"{name} was {before!r}, now {value!r}"
    return None


def _portable(word: str, plan: Plan) -> str:
    """An argument without the places where root and code happen to lie."""
    for name, folder in (("ROOT", plan.root), ("HOME", plan.working_directory)):
        if word == str(folder) or word.startswith(f"{folder}{os.sep}"):
            return f"{name}{word[len(str(folder)) :]}"
    return word


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _process(pid: int) -> Facts:
    """What tells a process from a later one with the same number."""
    created = None
    with suppress(psutil.NoSuchProcess):
        created = psutil.Process(pid).create_time()
    return {"pid": pid, "created": created, "host": platform.node()}


def _alive(status: Mapping[str, Any]) -> psutil.Process | None:
    if status.get("host") != platform.node():
        return None
    with suppress(psutil.NoSuchProcess, KeyError, TypeError):
        process = psutil.Process(status["pid"])
        same = abs(process.create_time() - status["created"]) < 1.0
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    return None
