"""Patches to one object, weighted by how much light each pixel of a patch saw."""

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from foldlight.optics.patches import scatter

__all__ = ["Stitcher", "stitch"]

_LEAST_SHARE = 1e-3  # of a full weight: below, a pixel was not seen


class Stitcher:
    """Weighted mean of overlapping patches, taken in as they come: one pass, O(n N^2)."""

    def __init__(self, canvas: tuple[int, int]) -> None:
        self._canvas = canvas
        self._total = torch.zeros(canvas, dtype=torch.complex64)
        self._share = torch.zeros(canvas, dtype=torch.float32)

    def add(
        self,
        patches: Complex[Tensor, "n y x"],
        positions_px: Float[Tensor, "n 2"],
        weights: Float[Tensor, "n y x"],
    ) -> None:
        """Take in patches that lie in the windows of their positions.

        Args:
            patches: transmission, dimensionless.
            positions_px: (y, x) window centres on the canvas [px].
            weights: trust in each pixel of each patch, at most 1 or so.
        """
        self._total += scatter((patches * weights)[None], positions_px[None], self._canvas)[0]
        self._share += scatter(weights[None], positions_px[None], self._canvas)[0]

    def object(self) -> np.ndarray:
        """(y, x) complex64 mean so far; 1 (nothing there) where no weight fell."""
        known = self._share > _LEAST_SHARE
        mean = self._total / self._share.clamp(min=_LEAST_SHARE)
        return torch.where(known, mean, torch.ones_like(mean)).numpy()


def stitch(
    patches: Complex[Tensor, "n y x"],
    positions_px: Float[Tensor, "n 2"],
    weights: Float[Tensor, "n y x"],
    canvas: tuple[int, int],
) -> np.ndarray:
    """The stitched (y, x) complex64 object of all patches at once; see `Stitcher`."""
    stitcher = Stitcher(canvas)
    stitcher.add(patches, positions_px, weights)
    return stitcher.object()
