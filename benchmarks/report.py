"""Results on disk: JSON with all provenance, and a Markdown table against the targets."""

import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.results import Ratio, Result, Series, result_from
from foldlight.core.errors import DataError
from foldlight.core.files import read_json, write_json, write_text
from foldlight.core.provenance import environment

__all__ = ["SCHEMA", "Document", "Provenance", "read_results", "table", "write_report"]

SCHEMA = "foldlight-benchmark-1"

_HEADS = ("row", "what", "value", "against", "target", "verdict")


@dataclass(frozen=True)
class Provenance:
    """Where the numbers of a run come from.

    Attributes:
        command: that repeats the run, from the root of a checkout.
        settings: of the run: size, rows, repeats, seed, threads of each row.
        environment: versions, platform and source revision.
        cpu: name of the processor.
        cores: logical ones.
        memory_gb: main memory [GB].
        load_before: processes that wanted a core in the minute before the run, where the system tells; more than a
            little means that others were working, and the numbers are worth less.
        began: UTC time of the start, ISO 8601.
        seconds: wall time so far.
    """

    command: str
    settings: dict[str, Any]
    environment: dict[str, str | None]
    cpu: str
    cores: int
    memory_gb: float
    load_before: float | None
    began: str
    seconds: float = 0.0

    @classmethod
    def now(cls, name: str, settings: dict[str, Any]) -> "Provenance":
        """That of a run which begins now."""
        return cls(
            command=shlex.join(["python", "-m", f"benchmarks.{name}", *_words(settings)]),
            settings=settings,
            environment=environment(),
            cpu=_cpu(),
            cores=os.cpu_count() or 1,
            memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
            load_before=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            began=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )

    def after(self, seconds: float) -> "Provenance":
        """The same, that many seconds after the start."""
        return replace(self, seconds=round(seconds, 1))


@dataclass(frozen=True)
class Document:
    """What is written: a suite's name and words, its provenance, its results so far."""

    name: str
    title: str
    preface: str
    provenance: Provenance
    results: tuple[Result, ...]


def write_report(folder: Path, document: Document) -> None:
    """Write `NAME.json` and `NAME.md`, each in one step.

    Raises:
        DataError: the folder can't be made or written.
    """
    write_json(
        folder / f"{document.name}.json",
        {
            "schema": SCHEMA,
            "title": document.title,
            "provenance": asdict(document.provenance),
            "results": [result.plain() for result in document.results],
        },
    )
    write_text(folder / f"{document.name}.md", _page(document))


def read_results(path: Path) -> list[Result]:
    """The results in a JSON file that `write_report` left.

    Raises:
        DataError: the file is missing or holds something else.
    """
    found = read_json(path)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise DataError(f"{path}: expected benchmark results of schema {SCHEMA}; measure again")
    return [result_from(each) for each in found["results"]]


def table(results: Sequence[Result]) -> str:
    """Markdown: a line a result, medians with least and greatest; then why what was not judged was not."""
    cells = [_HEADS, ("---",) * len(_HEADS), *map(_cells, results)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    remarks = [
        f"- {result.row}, {result.quantity}: {'; '.join(filter(None, (result.reason, result.note)))}"
        for result in results
        if result.reason or result.note
    ]
    return "\n".join([*lines, *([""] if remarks else []), *remarks]) + "\n"


def _page(document: Document) -> str:
    origin, settings = document.provenance, document.provenance.settings
    words = [f"{name} {value}" for name, value in origin.environment.items() if value]
    toy = ["**Size toy: this only shows that everything runs; its numbers mean nothing.**", ""]
    load = "unknown" if origin.load_before is None else f"{origin.load_before:g}"
    lines = [
        f"# {document.title}",
        "",
        *(toy if settings["size"] == "toy" else []),
        *([document.preface, ""] if document.preface else []),
        "Medians, with (least to greatest) of the repeats.",
        "",
        table(document.results),
        "## Where the numbers come from",
        f"- `{origin.command}`",
        f"- {origin.cpu}, {origin.cores} cores, {origin.memory_gb:g} GB; load before: {load}",
        f"- began {origin.began}, took {origin.seconds:.0f} s; {settings['repeats']} repeats, seed {settings['seed']}",
        f"- {', '.join(words)}",
    ]
    return "\n".join(lines) + "\n"


def _cells(result: Result) -> tuple[str, ...]:
    return (
        result.row,
        result.quantity,
        "" if result.measured is None else _told(result.measured, result.measured.unit),
        "<br>".join(map(_ratio_told, result.ratios)),
        result.target.text if result.target else "",
        f"**{result.verdict}**" if result.verdict in {"met", "missed"} else result.verdict,
    )


def _ratio_told(found: Ratio) -> str:
    base = found.base.spread.median
    return f"{_told(found.values)} x {found.kind} {found.to} ({_short(base)} {found.base.unit})"


def _told(numbers: Series, unit: str = "") -> str:
    """The median, and the spread where there is one."""
    found = numbers.spread
    around = f" ({_short(found.low)} to {_short(found.high)})" if found.number > 1 and found.low < found.high else ""
    return f"{_short(found.median)}{f' {unit}' if unit not in {'', '1'} else ''}{around}"


def _short(value: float) -> str:
    """Three digits, without an exponent where that is readable."""
    if value == 0 or not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _words(settings: dict[str, Any]) -> list[str]:
    """The flags of a run."""
    words = ["--size", settings["size"], "--repeats", str(settings["repeats"]), "--seed", str(settings["seed"])]
    words += ["--frames", str(settings["frames"])] if settings.get("frames") else []
    return [*words, *(["--only", *settings["only"]] if settings["only"] else [])]


def _cpu() -> str:
    """The processor as the system names it."""
    listing = Path("/proc/cpuinfo")
    if sys.platform == "linux" and listing.is_file():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
