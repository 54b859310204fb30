"""The one pair that takes windows out of objects and puts them back: exact adjoints, sub-pixel.

A position names the object coordinate under the window's centre pixel: window pixel `k` looks at
`position + k - N // 2`. The whole-pixel part of a position is an index; the fraction is a Fourier shift of the window
(as pty-chi does it, so every engine here fits the same forward model). With whole positions nothing is interpolated.
One-dimensional `index_select` and `index_add` serve as each other's gradient and are deterministic on a CPU.
"""

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from foldlight.optics.fourier import shift

__all__ = ["gather", "scatter"]


def gather(
    objects: Complex[Tensor, "group h w"],
    positions_px: Float[Tensor, "group n 2"],
    window: tuple[int, int],
) -> Complex[Tensor, "group n y x"]:
    """The patch of its object under each position: `O(r + r_j)`.

    Args:
        objects: one canvas a group; a whole scan is one group.
        positions_px: (y, x) of the window centres on the group's canvas [px].
        window: (height, width) of a patch [px].
    """
    index, fraction = _split(positions_px, window, objects.shape[-2:])
    patches = objects.reshape(-1).index_select(0, index.reshape(-1)).reshape(index.shape)
    return patches if fraction is None else shift(patches, -fraction)


def scatter(
    patches: Complex[Tensor, "group n y x"],
    positions_px: Float[Tensor, "group n 2"],
    canvas: tuple[int, int],
) -> Complex[Tensor, "group {canvas[0]} {canvas[1]}"]:
    """Sum of patches at their positions: the adjoint of `gather`."""
    index, fraction = _split(positions_px, (patches.shape[-2], patches.shape[-1]), torch.Size(canvas))
    if fraction is not None:
        patches = shift(patches, fraction)
    groups = patches.shape[0]
    total = torch.zeros(groups * canvas[0] * canvas[1], dtype=patches.dtype, device=patches.device)
    return total.index_add(0, index.reshape(-1), patches.reshape(-1)).reshape(groups, *canvas)


def _split(
    positions_px: Float[Tensor, "group n 2"], window: tuple[int, int], canvas: torch.Size
) -> tuple[Int[Tensor, "group n y x"], Float[Tensor, "group n 2"] | None]:
    """Flat canvas indexes of every window pixel, and the sub-pixel rests (None when all are zero)."""
    nearest = positions_px.round()
    fraction = positions_px - nearest
    half = torch.tensor([window[0] // 2, window[1] // 2], device=positions_px.device)
    corner = nearest.long() - half
    rows = corner[..., 0, None] + torch.arange(window[0], device=positions_px.device)
    columns = corner[..., 1, None] + torch.arange(window[1], device=positions_px.device)
    group = torch.arange(len(positions_px), device=positions_px.device)[:, None, None, None]
    index = (group * canvas[0] + rows[..., :, None]) * canvas[1] + columns[..., None, :]
    return index, (fraction if bool(fraction.any()) else None)
