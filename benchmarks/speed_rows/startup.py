"""`import foldlight` and `foldlight --help` in fresh processes, against a Python that does nothing."""

import sys
from collections.abc import Sequence
from functools import partial

from benchmarks.results import Result, Target, ratio, series
from benchmarks.suite import Setup
from benchmarks.timing import interleaved, process_seconds

__all__ = ["measure"]

_WORDS = {
    "bare": ("-c", "pass"),
    "import foldlight": ("-c", "import foldlight"),
    "foldlight --help": ("-m", "foldlight", "--help"),
}
_TARGETS = {"import foldlight": 0.3, "foldlight --help": 0.5}


def measure(setup: Setup) -> Sequence[Result]:
    """Wall seconds from start to end of each process; one of each goes first, so that files are in the cache."""
    clocks = {name: partial(process_seconds, (sys.executable, *words)) for name, words in _WORDS.items()}
    for clock in clocks.values():
        clock()
    read = interleaved(setup.repeats, clocks)
    bare = series("s", read["bare"])
    results = []
    for name, bound in _TARGETS.items():
        measured = series("s", read[name])
        target = Target(f"<= {bound:g} s", bound, "at most")
        results.append(Result("startup", name, measured, (ratio("python -c pass", "limit", measured, bare),), target))
    return results
