"""Groups of neighbours against the bare search for neighbours."""

from collections.abc import Sequence
from itertools import count

import numpy as np
from scipy.spatial import cKDTree

from benchmarks.results import Result, Target, not_measured, ratio, series
from benchmarks.suite import Setup
from benchmarks.timing import interleaved, timed
from foldlight.core.seeds import generator
from foldlight.sampling.grouping import neighbour_groups
from foldlight.simulate.trajectories import jittered_raster

__all__ = ["measure"]

_GROUP, _NEIGHBOURS, _DRAWS = 4, 7, 7
_STEP_PX = 5.0
_MANY = 1_000_000
_TARGET = Target("10 k positions x 7 groups <= 0.05 s", 0.05, "at most")
_MILLION = Target("1 M positions <= 5 s", 5.0, "at most")


def measure(setup: Setup) -> Sequence[Result]:
    """Seven groups of four for each of 10 k positions; one for each of a million at the full size."""
    found = [_grouped(setup, setup.pick(400, 10_000, 10_000), _DRAWS, _TARGET)]
    if setup.size == "full":
        return [*found, _grouped(setup, _MANY, 1, _MILLION)]
    return [*found, not_measured("grouping", f"{_MANY} positions x 1 group", "measured at --size full only", _MILLION)]


def _grouped(setup: Setup, wanted: int, draws: int, target: Target) -> Result:
    side = _STEP_PX * np.sqrt(wanted)
    positions = jittered_raster(wanted, ((0, 0), (side, side)), generator(setup.seed, "positions"))
    numbers = count()

    def group() -> None:
        for _ in range(draws):
            neighbour_groups(positions, _GROUP, _NEIGHBOURS, generator(setup.seed, "draw", next(numbers)))

    def search() -> None:
        cKDTree(positions).query(positions, k=_NEIGHBOURS + 1)

    group()
    read = interleaved(setup.repeats, {"groups": lambda: timed(group), "search": lambda: timed(search)})
    measured = series("s", read["groups"])
    return Result(
        "grouping",
        f"{len(positions)} positions x {draws} groups of {_GROUP}, K = {_NEIGHBOURS}",
        measured,
        (ratio("one bare cKDTree build and query", "limit", measured, series("s", read["search"])),),
        target,
        note="every draw is a call of its own, as an epoch with fresh groups would make it",
    )
