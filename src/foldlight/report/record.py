"""How results came about: commands, versions, digests, what ran and how long. Folded away in a report, but there.

A comparison's folder keeps it in `record.json`, which `publish_comparison` writes; a study's is read from its manifests
and from the records of its tasks.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foldlight.core.errors import DataError
from foldlight.core.files import read_json, write_json
from foldlight.study.manifest import json_ready
from foldlight.study.plan import Plan
from foldlight.study.state import TaskFolder

__all__ = ["OBJECTS", "RECORD", "Record", "TaskRecord", "read_record", "study_record", "write_record"]

RECORD = "record.json"
OBJECTS = "reconstructions.npz"
_COMPARISON = "Reconstructions compared"


@dataclass(frozen=True)
class TaskRecord:
    """A task of a study.

    Attributes:
        title: what it did.
        state: what its runner noted.
        seconds: wall time.
        peak_mb: greatest memory [MB], or None.
        error: one line, or None.
        outputs: sha256 of the files it left, by path.
    """

    title: str
    state: str
    seconds: float
    peak_mb: float | None = None
    error: str | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """What is known about how results came about.

    Attributes:
        title: heading of the report.
        commands: lines that were run.
        sections: facts by heading and name.
        notes: what readers and runs noted, one sentence each.
        pictures: PNG files by caption.
        tasks: of a study.
    """

    title: str = _COMPARISON
    commands: Sequence[str] = ()
    sections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    pictures: Mapping[str, Path] = field(default_factory=dict)
    tasks: Sequence[TaskRecord] = ()


def write_record(
    folder: Path, facts: Mapping[str, Any], notes: Sequence[str], pictures: Mapping[str, Path], title: str = _COMPARISON
) -> None:
    """Keep how a comparison came about beside its results.

    Args:
        folder: of the comparison.
        facts: settings and versions; a value that is a mapping becomes a section of its own. The entry `command`, if
            there is one, is the way to repeat it.
        notes: one sentence each.
        pictures: PNG files by caption; kept relative to the folder.
        title: heading of the report.
    """
    shown = {caption: _relative(path, folder) for caption, path in pictures.items()}
    write_json(
        folder / RECORD,
        {"title": title, "facts": json_ready(facts), "notes": list(notes), "pictures": shown},
    )


def read_record(folder: Path) -> Record:
    """How a comparison came about; what is not known is left empty.

    Raises:
        DataError: the record is damaged.
    """
    path = folder / RECORD
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict) or not isinstance(found.get("facts", {}), dict):
        raise DataError(f"{path}: expected a mapping with facts; run the comparison again")
    facts = found.get("facts", {})
    command = facts.get("command")
    return Record(
        title=str(found.get("title", _COMPARISON)),
        commands=[] if command is None else [str(command)],
        sections=_sections({name: value for name, value in facts.items() if name != "command"}),
        notes=[str(note) for note in found.get("notes", [])],
        pictures={str(caption): folder / name for caption, name in found.get("pictures", {}).items()},
    )


def study_record(plan: Plan) -> Record:
    """How a study came about, from the manifests of its phases and the records of its tasks."""
    manifests = [_document(path) for path in sorted(plan.root.glob("phase_*/*manifest.json"))]
    manifests += [_document(path) for path in sorted(plan.root.glob("repeat_*/phase_*/*manifest.json"))]
    last = manifests[-1] if manifests else {}
    sections = {
        name: last[key]
        for name, key in (("versions", "versions"), ("machine", "machine"), ("design", "design"))
        if isinstance(last.get(key), dict)
    }
    if last.get("source_revision"):
        sections["versions"] = {**sections.get("versions", {}), "source revision": last["source_revision"]}
    ran = [run for each in manifests for run in each.get("runs", []) if isinstance(run, dict)]
    return Record(
        title=plan.title,
        commands=list(dict.fromkeys(str(run["command_line"]) for run in ran if run.get("command_line"))),
        sections=_sections(sections),
        tasks=[found for task in plan.tasks if (found := _task(plan, task.name, task.title))],
    )


def _task(plan: Plan, name: str, title: str) -> TaskRecord | None:
    status = _document(TaskFolder(plan.root, name).path / "status.json")
    if not status:
        return None
    outputs = {
        path: str(facts["sha256"]) for path, facts in status.get("outputs", {}).items() if isinstance(facts, dict)
    }
    return TaskRecord(
        title=title,
        state=str(status.get("state", "unknown")),
        seconds=float(status.get("seconds") or 0.0),
        peak_mb=status.get("peak_rss_mb"),
        error=status.get("error"),
        outputs=outputs,
    )


def _document(path: Path) -> dict[str, Any]:
    """A JSON mapping, or an empty one: a report is made of what is there."""
    with suppress(DataError):
        found = read_json(path)
        if isinstance(found, dict):
            return found
    return {}


def _relative(path: Path, folder: Path) -> str:
    absolute, home = path.resolve(), folder.resolve()
    return absolute.relative_to(home).as_posix() if absolute.is_relative_to(home) else absolute.as_posix()


def _sections(facts: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Facts as sections of printable values; the loose ones come first, under one heading."""
    loose = {name: _text(value) for name, value in facts.items() if not isinstance(value, Mapping)}
    nested = {name: _flat(value) for name, value in facts.items() if isinstance(value, Mapping)}
    return ({"facts": loose} if loose else {}) | nested


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Nested settings on one level, their names joined by dots."""
    found: dict[str, str] = {}
    for name, value in values.items():
        inner = _flat(value, f"{before}{name}.") if isinstance(value, Mapping) and value else None
        found |= {f"{before}{name}": _text(value)} if inner is None else inner
    return found


def _text(value: Any) -> str:
    return "" if value is None else str(value)
