"""What is known on disk about a plan's tasks.

A task is done when it succeeded, when asking for it today would ask for the same, and when the files it read and left
are still the same by digest.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foldlight.core.errors import DataError
from foldlight.core.provenance import versions
from foldlight.study.plan import Plan, Task
from foldlight.study.records import Digests, Facts, TaskFolder, relative, running_process

__all__ = ["STATES", "Digests", "TaskFolder", "TaskState", "asked", "identities", "key_of", "state_of", "states"]

STATES = ("done", "skipped", "running", "queued", "failed", "stale", "interrupted", "missing")


@dataclass(frozen=True)
class TaskState:
    """Where a task stands.

    Attributes:
        state: one of `STATES`.
        reason: why it is not done, in one line.
        seconds: wall time of the run that is on record, 0 when none is.
        blames: the failed task that it was skipped for; None when it had nothing to do.
    """

    state: str
    reason: str | None = None
    seconds: float = 0.0
    blames: str | None = None

    @property
    def settled(self) -> bool:
        """There is nothing to run."""
        return self.state == "done" or (self.state == "skipped" and self.blames is None)


def asked(plan: Plan, task: Task, identity: Facts, digests: Digests) -> Facts:
    """All that is needed to run a task, as its `job.json` has it.

    Raises:
        DataError: an input is missing.
    """
    return {
        "name": task.name,
        "title": task.title,
        "key": key_of(identity),
        "identity": identity,
        "module": task.module,
        "arguments": list(task.arguments),
        "working_directory": str(plan.working_directory),
        "root": str(plan.root),
        "threads": task.threads,
        "gpus": task.gpus,
        "memory_gb": task.memory_gb,
        "time_limit_s": task.time_limit_s,
        "inputs": TaskFolder(plan.root, task.name).files(task.inputs, digests),
        "outputs": [relative(path, plan.root) for path in task.outputs],
        "labels": task.labels,
        "version": identity["foldlight"],
    }


def state_of(folder: TaskFolder, identity: Facts, digests: Digests) -> TaskState:
    """Where a task stands, asked for as `identity` says."""
    status = folder.status()
    if status is None:
        return TaskState("missing")
    seconds = float(status.get("seconds") or 0.0)
    word, error = status.get("state"), status.get("error")
    if word in {"running", "queued"}:
        if status.get("host") != platform.node():
            return TaskState(word, f"on {status.get('host')}" if word == "running" else f"by {status.get('host')}")
        return TaskState(word) if running_process(status) else TaskState("interrupted", "its runner ended")
    if word not in {"success", "skipped"}:
        return TaskState("interrupted" if word == "interrupted" else "failed", error, seconds)
    change = _change(folder, identity, status, digests)
    if change:
        return TaskState("stale", change, seconds)
    return TaskState("skipped", error, seconds) if word == "skipped" else TaskState("done", None, seconds)


def _change(folder: TaskFolder, identity: Facts, status: Facts, digests: Digests) -> str | None:
    """What is no longer as it was when the task ran, or None."""
    try:
        job = folder.job()
    except DataError:
        return "job.json is gone, damaged or of an earlier version"
    difference = _difference(job["identity"], identity)
    if difference:
        return difference
    if status.get("key") != job["key"]:
        return "what is on record came of another job"
    for role in ("input", "output"):
        for name, recorded in status[f"{role}s"].items():
            change = digests.change(folder.root / name, recorded)
            if change:
                return f"{role} {name} {change}"
    return None


def states(plan: Plan, digests: Digests | None = None) -> dict[str, TaskState]:
    """Where every task of a plan stands; what needs one that failed, or that had nothing to do, is skipped."""
    known, seen = digests or Digests(), identities(plan)
    found: dict[str, TaskState] = {}
    for task in plan.tasks:
        state = state_of(TaskFolder(plan.root, task.name), seen[task.name], known)
        if state.state in {"missing", "stale", "interrupted"}:
            state = _fate(task, found) or state
        found[task.name] = state
    return found


def _fate(task: Task, found: Mapping[str, TaskState]) -> TaskState | None:
    """What follows for a task from those it needs; a failure weighs more than nothing to do."""
    needed = {need: found[need] for need in task.needs}
    for need, state in needed.items():
        if blamed := need if state.state == "failed" else state.blames:
            return TaskState("skipped", f"needs {blamed}, which failed", blames=blamed)
    idle = next((need for need, state in needed.items() if state.state == "skipped"), None)
    return TaskState("skipped", f"needs {idle}, which was skipped") if idle else None


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
            "inputs": [relative(path, plan.root) for path in task.inputs],
            "outputs": [relative(path, plan.root) for path in task.outputs],
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
