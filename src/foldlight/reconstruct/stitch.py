"""Patches and regions to one object, weighted by how much light each of their pixels saw."""

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from foldlight.core.errors import DataError
from foldlight.optics.patches import add_windows

__all__ = ["Stitcher", "stitch"]

_LEAST_SHARE = 1e-3  # of a full weight: below, a pixel was not seen


class Stitcher:
    """Weighted mean of overlapping pieces, taken in as they come: one pass, O(n N^2), whatever the canvas.

    Pieces are added in place, so a call touches their own pixels and no others. Sums lie on `device`; pieces from
    elsewhere are brought there. On a CPU the result repeats to the bit; on a GPU the order of additions is its own.

    Args:
        canvas: (height, width) of the object [px].
        device: where the sums lie.
    """

    def __init__(self, canvas: tuple[int, int], device: torch.device | str = "cpu") -> None:
        self._canvas = canvas
        self._total = torch.zeros(canvas, dtype=torch.complex64, device=device)
        self._share = torch.zeros(canvas, dtype=torch.float32, device=device)
        self._touched = (canvas[0], canvas[1], 0, 0)  # top, left, bottom, right of what pieces have reached

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

        Raises:
            DataError: a window leaves the canvas.

        Source: docs/physics.md, frames and units; windows are cut as `optics.patches` cuts them.
        """
        _, height, width = patches.shape
        corners = positions_px.round().long() - torch.tensor([height // 2, width // 2], device=positions_px.device)
        device = self._total.device
        light = weights.to(device)
        values = patches.to(device) * light
        if device.type == "cpu":
            self._reach_windows(corners.cpu(), (height, width))
        else:
            self._reach(0, 0, *self._canvas)
        places = positions_px.to(device)[None]
        add_windows(self._total[None], values[None], places)
        add_windows(self._share[None], light[None], places)

    def add_region(
        self,
        region: Complex[Tensor, "h w"],
        weight: Float[Tensor, "h w"],
        corner: tuple[int, int],
        align_phase: bool = False,
    ) -> None:
        """Take in the object of a region of the scan; what hangs over the canvas is cut off.

        Args:
            region: transmission on the region's own canvas, dimensionless.
            weight: trust in each of its pixels, at most 1 or so.
            corner: (y, x) of the region's first pixel on the canvas [px].
            align_phase: first turn the region by the constant phase at which it agrees best with what is there. Its
                photons leave that phase free, so regions made apart need it; those that share no pixel are not turned.

        Source: docs/physics.md, gauge.
        """
        height, width = region.shape
        top, left = (max(0, -edge) for edge in corner)
        bottom = min(height, self._canvas[0] - corner[0])
        right = min(width, self._canvas[1] - corner[1])
        if top >= bottom or left >= right:
            return
        rows, columns = slice(corner[0] + top, corner[0] + bottom), slice(corner[1] + left, corner[1] + right)
        self._reach(rows.start, columns.start, rows.stop, columns.stop)
        light = weight[top:bottom, left:right].to(self._total.device)
        values = region[top:bottom, left:right].to(self._total.device) * light
        if align_phase:
            agreement = (values.conj() * self._total[rows, columns]).sum()
            size = agreement.abs()
            values = values * torch.where(size > 0, agreement / size.clamp(min=1e-30), 1)
        self._total[rows, columns] += values
        self._share[rows, columns] += light

    def sums(self) -> tuple[tuple[int, int], Complex[Tensor, "h w"], Float[Tensor, "h w"]]:
        """First pixel of what pieces have reached, and there the sums of values and of weights."""
        top, left, bottom, right = self._touched
        reached = slice(top, max(top, bottom)), slice(left, max(left, right))
        return (top, left), self._total[reached], self._share[reached]

    def add_sums(self, corner: tuple[int, int], total: Complex[Tensor, "h w"], share: Float[Tensor, "h w"]) -> None:
        """Take in the `sums` of another stitcher of the same canvas; their phases are taken as they are."""
        bottom, right = corner[0] + total.shape[0], corner[1] + total.shape[1]
        self._reach(*corner, bottom, right)
        self._total[corner[0] : bottom, corner[1] : right] += total.to(self._total.device)
        self._share[corner[0] : bottom, corner[1] : right] += share.to(self._share.device)

    def object(self) -> np.ndarray:
        """(y, x) complex64 mean so far; 1 (nothing there) where no weight fell."""
        top, left, bottom, right = self._touched
        reached = slice(top, bottom), slice(left, right)  # the rest of a large canvas is not even read
        total, share = self._total[reached].cpu().numpy(), self._share[reached].cpu().numpy()
        mean = np.ones(self._canvas, dtype=np.complex64)
        np.divide(total, share, out=mean[reached], where=share > _LEAST_SHARE)
        return mean

    def _reach_windows(self, corners: Int[Tensor, "n 2"], window: tuple[int, int]) -> None:
        """Windows at these corners are reached and lie on the canvas; on a CPU, as a GPU would have to wait for it."""
        if not len(corners):
            return
        ends = corners + torch.tensor(window)
        top, left, bottom, right = torch.cat([corners.amin(dim=0), ends.amax(dim=0)]).tolist()
        if min(top, left) < 0 or bottom > self._canvas[0] or right > self._canvas[1]:
            outside = ((corners < 0) | (ends > torch.tensor(self._canvas))).any(dim=1)
            raise DataError(
                f"stitching: expected every {window[0]} x {window[1]} window inside the {self._canvas[0]} x"
                f" {self._canvas[1]} canvas, got {int(outside.sum())} outside; check positions and canvas"
            )
        self._reach(top, left, bottom, right)

    def _reach(self, top: int, left: int, bottom: int, right: int) -> None:
        """Widen what pieces have reached."""
        were = self._touched
        self._touched = min(top, were[0]), min(left, were[1]), max(bottom, were[2]), max(right, were[3])


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
