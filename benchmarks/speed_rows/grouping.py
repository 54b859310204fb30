"""Groups, regions and tiles of neighbours, against the bare search for neighbours."""

from collections.abc import Sequence
from itertools import count

import numpy as np
from scipy.spatial import cKDTree

from benchmarks.results import Result, Target, not_measured, ratio, series
from benchmarks.suite import Setup
from benchmarks.timing import interleaved, timed
from foldlight.core.seeds import generator
from foldlight.sampling.grouping import draw_groups, nearest_frames, neighbour_groups, neighbour_regions
from foldlight.sampling.tiles import frame_density, tile_for, tiles
from foldlight.simulate.trajectories import jittered_raster

__all__ = ["measure"]

_GROUP, _NEIGHBOURS, _DRAWS = 4, 7, 7
_REGION = 48
_WINDOW = (64, 64)
_TILE_BYTES = 2e9
_STEP_PX = 5.0
_MANY = 1_000_000
_TARGET = Target("10 k positions x 7 groups <= 0.05 s", 0.05, "at most")
_MILLION = Target("1 M positions <= 5 s", 5.0, "at most")
_REGIONS = Target("regions of 10 k positions <= 0.1 s", 0.1, "at most")


def measure(setup: Setup) -> Sequence[Result]:
    """Seven groups of four, and regions, for each of 10 k positions; the same once for a million at the full size."""
    wanted = setup.pick(400, 10_000, 10_000)
    found = [_grouped(setup, wanted, _DRAWS, _TARGET), _covered(setup, wanted, _REGIONS), _tiled(setup, wanted)]
    if setup.size == "full":
        return [*found, _grouped(setup, _MANY, 1, _MILLION), _covered(setup, _MANY), _tiled(setup, _MANY)]
    return [*found, not_measured("grouping", f"{_MANY} positions x 1 group", "measured at --size full only", _MILLION)]


def _grouped(setup: Setup, wanted: int, draws: int, target: Target) -> Result:
    positions = _positions(setup, wanted)
    numbers = count()

    def rng() -> np.random.Generator:
        return generator(setup.seed, "draw", next(numbers))

    def group() -> None:
        nearest = nearest_frames(positions, _NEIGHBOURS)
        for _ in range(draws):
            draw_groups(nearest, _GROUP, rng())

    def alone() -> None:
        for _ in range(draws):
            neighbour_groups(positions, _GROUP, _NEIGHBOURS, rng())

    def search() -> None:
        cKDTree(positions).query(positions, k=_NEIGHBOURS + 1)

    group()
    clocks = {"groups": lambda: timed(group), "alone": lambda: timed(alone), "search": lambda: timed(search)}
    read = interleaved(setup.repeats, clocks)
    measured = series("s", read["groups"])
    return Result(
        "grouping",
        f"{len(positions)} positions x {draws} groups of {_GROUP}, K = {_NEIGHBOURS}",
        measured,
        (
            ratio("one bare cKDTree build and query", "limit", measured, series("s", read["search"])),
            ratio("neighbours looked up again for each group", "peer", measured, series("s", read["alone"])),
        ),
        target,
        note="neighbours are looked up once, then each group is drawn, as epochs with fresh groups would",
    )


def _covered(setup: Setup, wanted: int, target: Target | None = None) -> Result:
    positions = _positions(setup, wanted)
    numbers = count()

    def cover() -> np.ndarray:
        return neighbour_regions(positions, _REGION, generator(setup.seed, "regions", next(numbers)))

    regions = cover()
    extent = np.ptp(positions[regions], axis=1) / np.sqrt(_REGION) / _STEP_PX

    def search() -> None:
        cKDTree(positions).query(positions, k=_NEIGHBOURS + 1)

    read = interleaved(setup.repeats, {"regions": lambda: timed(cover), "search": lambda: timed(search)})
    measured = series("s", read["regions"])
    return Result(
        "grouping",
        f"{len(positions)} positions in regions of {_REGION}",
        measured,
        (ratio("one bare cKDTree build and query", "limit", measured, series("s", read["search"])),),
        target,
        note=f"{regions.size / len(positions):.3g} frames in regions for each frame; sides of {extent.mean():.2f} of a"
        f" square's on average, {extent.max():.2f} at the most",
    )


def _tiled(setup: Setup, wanted: int) -> Result:
    positions = _positions(setup, wanted)
    side = tile_for(_TILE_BYTES, _WINDOW, frame_density(positions))
    found = tiles(positions, _WINDOW, side)
    frames = [len(tile.frames) for tile in found]
    read = interleaved(setup.repeats, {"tiles": lambda: timed(lambda: tiles(positions, _WINDOW, side))})
    return Result(
        "grouping",
        f"{len(positions)} positions in tiles of {_TILE_BYTES / 1e9:.0f} GB",
        series("s", read["tiles"]),
        note=f"{len(found)} tiles of {side} px and up to {max(frames)} frames of {_WINDOW[0]} px; each frame is read"
        f" {sum(frames) / len(positions):.2f} times",
    )


def _positions(setup: Setup, wanted: int) -> np.ndarray:
    side = _STEP_PX * np.sqrt(wanted)
    return jittered_raster(wanted, ((0, 0), (side, side)), generator(setup.seed, "positions"))
