"""Patches to one object, against copying the same bytes and against padding every patch to the canvas."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.machine import copy_seconds
from benchmarks.results import Result, Target, ratio, series
from benchmarks.suite import Setup
from benchmarks.timing import interleaved, repeated_seconds
from foldlight.core.errors import DataError
from foldlight.core.seeds import generator, integer_seed
from foldlight.reconstruct.stitch import Stitcher
from foldlight.simulate.trajectories import jittered_raster

__all__ = ["measure"]

_BATCH = 128  # patches a call, as the network's passes bring them
_SIDE = 64
_LEAST_S = 0.2  # of calls in a reading
_LARGER = "the same patches on the smaller canvas"
_TARGET = Target("one pass, O(n N^2): 4 x the canvas' area costs <= 1.5 x", 1.5, "at most", _LARGER)


@dataclass(frozen=True)
class _Patches:
    """Patches (n, y, x), positions (n, 2), weights (n, y, x), and the canvas that holds them."""

    values: torch.Tensor
    positions: torch.Tensor
    weights: torch.Tensor
    canvas: tuple[int, int]

    @classmethod
    def drawn(cls, number: int, side: int, seed: int) -> "_Patches":
        low, high = _SIDE // 2, side - _SIDE // 2
        positions = jittered_raster(number, ((low, low), (high, high)), generator(seed, "positions"))
        draw = torch.Generator().manual_seed(integer_seed(seed, "patches"))
        shape = (len(positions), _SIDE, _SIDE)
        values = torch.randn(shape, dtype=torch.complex64, generator=draw)
        return cls(values, torch.from_numpy(positions), torch.rand(shape, generator=draw), (side, side))

    def stitched(self) -> np.ndarray:
        """By the package, in the network's batches."""
        stitcher = Stitcher(self.canvas)
        for start in range(0, len(self.values), _BATCH):
            part = slice(start, start + _BATCH)
            stitcher.add(self.values[part], self.positions[part], self.weights[part])
        return stitcher.object()

    def padded(self) -> np.ndarray:
        """The way that costs a canvas for each patch: O(n M^2)."""
        total = torch.zeros(self.canvas, dtype=torch.complex64)
        share = torch.zeros(self.canvas)
        for patch, position, weight in zip(self.values, self.positions, self.weights, strict=True):
            top, left = (int(middle) - _SIDE // 2 for middle in position.round())
            edges = (left, self.canvas[1] - _SIDE - left, top, self.canvas[0] - _SIDE - top)
            total += torch.nn.functional.pad(patch * weight, edges)
            share += torch.nn.functional.pad(weight, edges)
        known = share > 1e-3
        return torch.where(known, total / share.clamp(min=1e-3), torch.ones_like(total)).numpy()


def measure(setup: Setup) -> Sequence[Result]:
    """Milliseconds for all patches on a canvas, and on one of four times its area."""
    number, side = setup.pick(64, 512, 4096), setup.pick(128, 512, 1024)
    patches = _Patches.drawn(number, side, setup.seed)
    wide = _Patches(patches.values, patches.positions, patches.weights, (2 * side, 2 * side))
    if not np.allclose(patches.stitched(), patches.padded(), atol=1e-4):
        raise DataError("stitching: expected the same object from both ways, got two; one of them is wrong")
    size = patches.values.numel() * patches.values.element_size()
    read = interleaved(
        setup.repeats,
        {
            "ours": lambda: repeated_seconds(patches.stitched, _LEAST_S),
            "wide": lambda: repeated_seconds(wide.stitched, _LEAST_S),
            "padded": lambda: repeated_seconds(patches.padded, _LEAST_S),
            "copy": lambda: copy_seconds(size),
        },
    )
    ours, larger, padded, copied = (series("ms", 1e3 * np.array(read[name])) for name in read)
    told = f"{len(patches.values)} patches of {_SIDE} px onto {side} x {side} px"
    return [
        Result(
            "stitching",
            told,
            ours,
            (
                ratio("every patch padded to the canvas", "peer", ours, padded),
                ratio("a copy of the patches' bytes", "limit", ours, copied),
            ),
            facts={"patches_mb": size / 1e6, "batch": _BATCH},
        ),
        Result(
            "stitching",
            f"the same onto {2 * side} x {2 * side} px",
            larger,
            (ratio(_LARGER, "peer", larger, ours),),
            _TARGET,
            note=f"the bound of 1.5 is this benchmark's reading of one pass; {_BATCH} patches a call, as a network's",
        ),
    ]
