"""Patches to one object, weighted by how much light each pixel of a patch saw."""

import numpy as np
import torch

from foldlight.optics.patches import scatter

__all__ = ["stitch"]


def stitch(
    patches: np.ndarray,
    positions_px: np.ndarray,
    weight: np.ndarray,
    canvas: tuple[int, int],
    block: int = 256,
) -> np.ndarray:
    """Weighted mean of overlapping patches in one pass; 1 (nothing there) where no weight fell.

    Args:
        patches: (n, y, x) complex.
        positions_px: (n, 2) float64 (y, x) window centres [px].
        weight: (y, x) trust in each pixel of a patch.
        canvas: (height, width) of the object [px].
        block: patches scattered at a time.

    Returns:
        (height, width) complex64. Whole positions reassemble perfect patches to rounding; at sub-pixel ones the window
        wraps, which matters only where the weight does not vanish at its edges.
    """
    heavy = torch.from_numpy(weight.astype(np.complex64))
    total = torch.zeros(canvas, dtype=torch.complex64)
    share = torch.zeros(canvas, dtype=torch.float32)
    for start in range(0, len(patches), block):
        piece = torch.from_numpy(patches[start : start + block])[None]
        place = torch.from_numpy(positions_px[None, start : start + block])
        total += scatter(piece * heavy, place, canvas)[0]
        share += scatter(heavy.expand_as(piece), place, canvas)[0].real
    known = share > 1e-3 * weight.max()
    return torch.where(known, total / share.clamp(min=1e-6), torch.ones_like(total)).numpy()
