"""From one command to the first compared picture."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import Result, Target, not_measured, series
from benchmarks.suite import Setup
from benchmarks.timing import process_seconds
from foldlight.core.errors import EngineError

__all__ = ["measure"]

_QUANTITY = "foldlight demo in an empty folder, to its report"
_TARGET = Target("one command, <= 10 min on 2 cores", 10.0, "at most")


def measure(setup: Setup) -> Sequence[Result]:
    """Minutes of the whole demo, with the present environment; once."""
    if setup.size != "full":
        return [not_measured("first-picture", _QUANTITY, "measured at --size full only", _TARGET)]
    with tempfile.TemporaryDirectory() as name:
        words = (sys.executable, "-m", "foldlight", "demo", "--seed", str(setup.seed), "--output", "demo")
        minutes = process_seconds(words, Path(name)) / 60
        if not (Path(name) / "demo" / "comparison.png").is_file():
            raise EngineError("foldlight demo: expected demo/comparison.png, found none")
    note = "the environment was installed before: downloading and installing packages is not in the time"
    return [Result("first-picture", _QUANTITY, series("min", [minutes]), (), _TARGET, note=note)]
