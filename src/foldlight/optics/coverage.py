"""How much light each object pixel saw."""

import numpy as np
import torch

from foldlight.core.errors import DataError
from foldlight.optics.forward import illumination, place_probe
from foldlight.optics.patches import add_windows

__all__ = ["bounding_box", "coverage_map", "well_lit"]


def coverage_map(probe: np.ndarray, positions_px: np.ndarray, canvas: tuple[int, int], block: int = 128) -> np.ndarray:
    """(y, x) float32 photons that passed each object pixel: `sum_j sum_m |P_m(r - r_j)|^2`.

    Args:
        probe: (mode, y, x) complex [sqrt(photon)].
        positions_px: (n, 2) (y, x) window centres [px].
        canvas: (height, width) of the object [px].
        block: positions at a time, which bounds the memory.
    """
    modes = torch.from_numpy(probe.astype(np.complex64))
    total = torch.zeros(canvas, dtype=torch.float32)
    for start in range(0, len(positions_px), block):
        positions = torch.from_numpy(positions_px[None, start : start + block])
        add_windows(total[None], illumination(place_probe(modes, positions)), positions)
    return total.numpy()


def well_lit(coverage: np.ndarray, threshold: float = 0.3) -> np.ndarray:
    """(y, x) bool: pixels that saw more than `threshold` of the median light of all lit pixels.

    Scores are taken here; outside, the data say little. Source: docs/physics.md, scores.
    """
    lit = coverage[coverage > 1e-3 * coverage.max()]
    return coverage > threshold * np.median(lit)


def bounding_box(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the smallest rectangle around a mask.

    Raises:
        DataError: the mask is empty.
    """
    if not mask.any():
        raise DataError("mask: expected at least one well-lit object pixel, got none; check probe and positions")
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
