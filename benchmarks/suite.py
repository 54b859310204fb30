"""A benchmark: named rows, each measured in a process of its own, written after each so that an interruption costs one.

`benchmarks.speed` and `benchmarks.quality` are lists of rows and a title; everything else about running is here.
"""

import importlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import tyro
from pydantic import Field, ValidationError

from benchmarks.processes import called
from benchmarks.report import Document, Provenance, write_report
from benchmarks.results import Result, not_measured, result_from
from foldlight.core.errors import FoldlightError, SettingsError
from foldlight.core.progress import progress_bar
from foldlight.core.settings import Settings, describe

__all__ = [
    "BenchmarkSettings",
    "Measure",
    "Row",
    "Setup",
    "Size",
    "Suite",
    "answer",
    "chosen",
    "main",
    "measure",
    "run_suite",
    "say",
]

Size = Literal["toy", "small", "full"]
Answer = TypeVar("Answer")

_REPEATS: dict[Size, int] = {"toy": 2, "small": 3, "full": 5}


class BenchmarkSettings(Settings):
    """What to measure, how large, how often."""

    size: Size = "small"
    """`small` for two free cores and a few minutes; `full` for the targets' own sizes; `toy` only shows in a minute or
    two that everything runs, its numbers mean nothing."""
    only: tuple[str, ...] = ()
    """Rows to measure; all of them when none is named."""
    output: Path = Path("benchmarks/results")
    """Folder for the table and the JSON."""
    repeats: int | None = Field(default=None, ge=1)
    """Times that everything is measured; 3 for small and 5 for full when not given."""
    seed: int = Field(default=0, ge=0)
    """Root seed of simulations, networks and engines."""
    frames: int | None = Field(default=None, ge=100)
    """Frames of the large scans of the row `memory`; as the size says when not given."""


@dataclass(frozen=True)
class Setup:
    """What a row is told.

    Attributes:
        size: how large.
        repeats: how often.
        seed: root seed.
        frames: of large scans, where they are not as the size says.
    """

    size: Size
    repeats: int
    seed: int = 0
    frames: int | None = None

    def pick(self, toy: int, small: int, full: int) -> int:
        """The number for this size."""
        return {"toy": toy, "small": small, "full": full}[self.size]


class Measure(Protocol):
    """A row's function: it measures, interleaved with what it compares with, and judges nothing.

    A `FoldlightError` that it raises becomes the reason why the row has no number.
    """

    def __call__(self, setup: Setup) -> Sequence[Result]:
        """Results, in the order of the table."""
        ...


@dataclass(frozen=True)
class Row:
    """One row, by name.

    Attributes:
        name: what `--only` takes.
        function: `module:name` of its `Measure`, imported in the row's own process.
        threads: CPU threads of that process; all cores when None.
        time_limit_s: wall time after which the row is given up [s]; none: no limit.
    """

    name: str
    function: str
    threads: int | None = 1
    time_limit_s: float | None = None


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    Attributes:
        name: of its files and module, for instance `speed`.
        title: heads the table.
        rows: in the order measured and shown.
        preface: sentences under the title: how the numbers came about.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    preface: str = ""


def chosen(rows: Sequence[Row], only: Sequence[str]) -> list[Row]:
    """The rows of these names, in the order of the suite; all when none is named.

    Raises:
        SettingsError: no row of that name.
    """
    names = [row.name for row in rows]
    if unknown := [name for name in only if name not in names]:
        raise SettingsError(f"only: expected some of {', '.join(names)}; got {unknown[0]!r}")
    return [row for row in rows if not only or row.name in only]


def run_suite(suite: Suite, settings: BenchmarkSettings, say: Callable[..., None], show: bool = False) -> list[Result]:
    """Measure the chosen rows one after the other; leave `NAME.json` and `NAME.md` in the output folder.

    A row that fails has its reason in the table, and the others are measured all the same.

    Args:
        suite: what there is to measure.
        settings: what to measure of it.
        say: receives lines for the user.
        show: show a bar.

    Raises:
        SettingsError: a row is not known.
        DataError: the output folder can't be written.
    """
    rows = chosen(suite.rows, settings.only)
    setup = Setup(settings.size, settings.repeats or _REPEATS[settings.size], settings.seed, settings.frames)
    facts = {**settings.plain(), "repeats": setup.repeats, "threads": {row.name: row.threads for row in rows}}
    facts["output"] = settings.output.as_posix()
    provenance = Provenance.now(suite.name, facts)
    began = time.monotonic()
    results: list[Result] = []
    with progress_bar(suite.name, len(rows), show) as advance:
        for number, row in enumerate(rows):
            advance(number, row.name)
            found = _measured(row, setup)
            results += found
            for result in found:
                say(_line(result))
            told = provenance.after(time.monotonic() - began)
            write_report(settings.output, Document(suite.name, suite.title, suite.preface, told, tuple(results)))
        advance(len(rows), "")
    say(*(f"{kind} -> {settings.output / suite.name}.{kind}" for kind in ("json", "md")))
    return results


def measure(function: str, setup: dict[str, Any]) -> dict[str, Any]:
    """What a row's process does: call its function, and give the results back as JSON-ready values."""
    module, name = function.split(":")
    found: Measure = getattr(importlib.import_module(module), name)
    return {"results": [result.plain() for result in found(Setup(**setup))]}


def _measured(row: Row, setup: Setup) -> list[Result]:
    """A row's results, from its own process; one without a number when it fails."""
    with tempfile.TemporaryDirectory(prefix="foldlight-benchmark-") as folder:
        returned, error = called(
            "benchmarks.suite:measure",
            {"function": row.function, "setup": asdict(setup)},
            Path(folder) / "row.log",
            row.time_limit_s,
            row.threads or os.cpu_count(),
        )
    if error:
        return [not_measured(row.name, "all of it", f"failed: {error}")]
    return [result_from(each) for each in returned["results"]]


def _line(result: Result) -> str:
    """A result on the terminal."""
    told = "" if result.measured is None else f"{result.measured.spread.median:.4g} {result.measured.unit}"
    return f"{result.row:<14} {result.quantity}: {told} [{result.verdict}] {result.reason}".rstrip()


def main(suite: Suite, words: list[str] | None = None) -> None:
    """The command line of a suite; a refusal, or a row that failed, is one line on standard error and exit code 1."""

    def run(settings: Annotated[BenchmarkSettings, tyro.conf.arg(name="")]) -> list[Result]:
        return run_suite(suite, settings, say, show=True)

    names = ", ".join(row.name for row in suite.rows)
    results = answer(suite.name, f"{suite.title}. Rows: {names}.", "the rows measured so far are written", run, words)
    if failed := [result.row for result in results if result.reason.startswith("failed")]:
        sys.exit(f"{suite.name}: {len(failed)} rows failed: {', '.join(failed)}; their reasons stand in the table")


def answer(
    name: str, description: str, interrupted: str, run: Callable[..., Answer], words: list[str] | None = None
) -> Answer:
    """What a benchmark's command line gives back; a refusal is one line on standard error.

    Args:
        name: of the module under `benchmarks`.
        description: heads the help.
        interrupted: what becomes of a run that is stopped.
        run: takes the settings as its only argument.
        words: of the command line; those of the process when None.
    """
    try:
        return tyro.cli(
            run,
            prog=f"python -m benchmarks.{name}",
            description=description,
            args=words,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    except ValidationError as error:
        sys.stderr.write(f"{name}: {describe(error)}\n")
        sys.exit(2)
    except FoldlightError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted; {interrupted}")


def say(*lines: str) -> None:
    """Lines on standard output, at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
