"""The record of a phase: which jobs ran, on what, with what result; always whole, never lost.

Every change is one locked read-modify-write and one atomic replacement, so two runs into one folder keep both
records and a reader sees valid JSON whenever a writer dies. Records are merged by job key; a record that is replaced
goes to `superseded`.
"""

import math
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from foldlight.core.errors import DataError
from foldlight.core.files import read_json, write_json
from foldlight.core.provenance import source_revision, versions

__all__ = ["COMMANDS_DOCUMENT", "SCHEMA", "STATUSES", "Manifest", "json_ready"]

SCHEMA = 1
STATUSES = ("success", "failed", "skipped", "dry-run")
COMMANDS_DOCUMENT = "AUTHORITATIVE_CMDS_DOC"
"""Environment variable with the path of the document that a run's commands come from."""

Derived = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Manifest:
    """A manifest file.

    Attributes:
        path: the JSON file; the lock lies beside it, hidden.
        phase: name of the phase, in every manifest.
        key: names of the fields that tell a job from the others.
        derived: what else to write, computed from the whole document before each write.
    """

    path: Path
    phase: str
    key: tuple[str, ...]
    derived: Derived = field(default=lambda _: {})

    def begin(self, facts: Mapping[str, Any], words: Sequence[str] | None = None) -> None:
        """Note a new run: its command line, versions, machine and the facts of its own (design, filters, seeds, flags).

        Raises:
            DataError: the file is there and is not a manifest of this phase, or it can't be written.
        """
        now = _now()

        def change(document: dict[str, Any]) -> None:
            run = {
                "command_line": shlex.join(["python", *sys.orig_argv[1:]] if words is None else list(words)),
                "commands_document": os.environ.get(COMMANDS_DOCUMENT),
                "started": now,
                "versions": versions(),
                "source_revision": source_revision(),
                "machine": machine(),
                **self._ready(facts),
            }
            document.update(run)
            document.setdefault("runs", []).append({"command_line": run["command_line"], "started": now})

        self._update(change)

    def record(self, job: Mapping[str, Any]) -> None:
        """Enter a job's record in place of that with the same key; a dry run replaces nothing that was run.

        Raises:
            DataError: a field of the key is missing, the status is not one of `STATUSES`, or the file can't be written.
        """
        entry = self._ready(job)
        lacking = [name for name in self.key if name not in entry]
        if lacking or entry.get("status") not in STATUSES:
            raise DataError(
                f"{self.path}: expected a record with {', '.join(self.key)} and a status of {', '.join(STATUSES)}, got"
                f" {sorted(entry)} and {entry.get('status')!r}"
            )
        entry["recorded"] = _now()

        def change(document: dict[str, Any]) -> None:
            jobs: list[dict[str, Any]] = document["jobs"]
            place = next((n for n, old in enumerate(jobs) if self._key(old) == self._key(entry)), None)
            if place is None:
                jobs.append(entry)
            elif entry["status"] != "dry-run" or jobs[place]["status"] == "dry-run":
                document["superseded"].append(jobs[place])
                jobs[place] = entry
            jobs.sort(key=lambda each: [_sortable(each[name]) for name in self.key])

        self._update(change)

    def read(self) -> dict[str, Any]:
        """The document; one without jobs when there is no file yet.

        Raises:
            DataError: the file is not a manifest of this phase.
        """
        if not self.path.exists():
            return {"schema_version": SCHEMA, "phase": self.phase, "created": _now(), "jobs": [], "superseded": []}
        document = read_json(self.path)
        if not isinstance(document, dict) or document.get("phase") != self.phase:
            raise DataError(f"{self.path}: expected a manifest of the phase {self.phase}; move it away")
        if document.get("schema_version") != SCHEMA:
            raise DataError(
                f"{self.path}: expected manifest schema {SCHEMA}, got {document.get('schema_version')!r}; move it away"
            )
        if not all(isinstance(document.get(name), list) for name in ("jobs", "superseded")):
            raise DataError(f"{self.path}: expected lists of jobs and superseded jobs; move it away")
        return document

    def relative(self, path: Path) -> str:
        """A path as the manifest writes it: POSIX, relative to the manifest's folder."""
        return Path(os.path.relpath(path, self.path.parent)).as_posix()

    def _update(self, change: Callable[[dict[str, Any]], None]) -> None:
        with self._locked():
            document = self.read()
            change(document)
            document["updated"] = _now()
            document.update(_counts(document["jobs"]))
            document.update(self._ready(self.derived(document)))
            write_json(self.path, document)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the manifest for this process alone.

        Raises:
            DataError: its folder can't be made or written.
        """
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise DataError(f"{self.path}: expected a writable place, got {error.strerror or error}") from None
        try:
            yield
        finally:
            lock.release()

    def _ready(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return {name: json_ready(each, self.relative) for name, each in value.items()}

    def _key(self, record: Mapping[str, Any]) -> list[Any]:
        return [record[name] for name in self.key]


def json_ready(value: Any, relative: Callable[[Path], str] = Path.as_posix) -> Any:
    """A value as JSON has it: numbers that are none become null, paths what `relative` makes of them."""
    if isinstance(value, Path):
        return relative(value)
    if isinstance(value, Mapping):
        return {str(name): json_ready(each, relative) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(each, relative) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if hasattr(value, "item"):  # a NumPy scalar
        return json_ready(value.item(), relative)
    return value


def machine() -> dict[str, Any]:
    """What ran it, in a few words."""
    import psutil

    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def _counts(jobs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    by_status = {status: sum(job["status"] == status for job in jobs) for status in STATUSES}
    return {
        "n_jobs": len(jobs),
        "n_executed": by_status["success"] + by_status["failed"],
        "n_success": by_status["success"],
        "n_failed": by_status["failed"],
        "n_skipped": by_status["skipped"],
    }


def _sortable(value: Any) -> tuple[int, float, str]:
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
