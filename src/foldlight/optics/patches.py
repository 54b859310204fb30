"""The one pair that takes windows out of objects and puts them back: exact adjoints.

A position names the object coordinate under the window's centre pixel. Its whole-pixel part says where the window is
cut; its fraction moves the *probe* inside the window (`forward.place_probe`), never the object: the probe is smooth and
dark at the window's edges, so a Fourier shift of it is exact to rounding, where shifting a patch of the object would
wrap its edges round. pty-chi does the same, so every engine here fits one forward model.

Window pixel `k` looks at object pixel `round(position) + k - N // 2`. One-dimensional `index_select` and `index_add`
are each other's gradient and deterministic on a CPU.
"""

import torch
from jaxtyping import Float, Inexact, Int
from torch import Tensor

__all__ = ["add_windows", "fraction_px", "gather", "merge", "scatter"]

_LEAST_SHARE = 1e-3  # of a full weight


def gather(
    objects: Inexact[Tensor, "group h w"],
    positions_px: Float[Tensor, "group n 2"],
    window: tuple[int, int],
) -> Inexact[Tensor, "group n y x"]:
    """The patch of its object in the window of each position.

    Args:
        objects: one canvas a group; a whole scan is one group.
        positions_px: (y, x) of the window centres on the group's canvas [px]; windows must lie inside it.
        window: (height, width) of a patch [px].
    """
    index = _pixels(positions_px, window, (objects.shape[-2], objects.shape[-1]))
    return objects.reshape(-1).index_select(0, index.reshape(-1)).reshape(index.shape)


def scatter(
    patches: Inexact[Tensor, "group n y x"],
    positions_px: Float[Tensor, "group n 2"],
    canvas: tuple[int, int],
) -> Inexact[Tensor, "group h w"]:
    """Sum of patches at their positions on canvases of (height, width): the adjoint of `gather`."""
    index = _pixels(positions_px, (patches.shape[-2], patches.shape[-1]), canvas)
    groups = patches.shape[0]
    total = torch.zeros(groups * canvas[0] * canvas[1], dtype=patches.dtype, device=patches.device)
    return total.index_add(0, index.reshape(-1), patches.reshape(-1)).reshape(groups, *canvas)


def add_windows(
    total: Inexact[Tensor, "group h w"],
    patches: Inexact[Tensor, "group n y x"],
    positions_px: Float[Tensor, "group n 2"],
) -> None:
    """Add patches in place where they belong: `scatter` onto what is there, at a cost that no canvas adds to.

    No gradient passes. On a CPU the sum repeats to the bit; on a GPU the order of additions is its own.

    Args:
        total: one contiguous canvas a group; windows must lie inside it.
        patches: what to add.
        positions_px: (y, x) of the window centres on the group's canvas [px].
    """
    height, width = patches.shape[-2], patches.shape[-1]
    if total.device.type != "cpu":
        index = _pixels(positions_px, (height, width), (total.shape[-2], total.shape[-1]))
        total.view(-1).index_add_(0, index.reshape(-1), patches.reshape(-1).to(total.dtype))
        return
    corners = (positions_px.round().long() - torch.tensor([height // 2, width // 2])).tolist()
    for canvas, some, places in zip(total.detach().numpy(), patches.detach().numpy(), corners, strict=True):
        for patch, (top, left) in zip(some, places, strict=True):  # slices take half the time of additions by index
            canvas[top : top + height, left : left + width] += patch


def merge(
    patches: Inexact[Tensor, "group n y x"],
    positions_px: Float[Tensor, "group n 2"],
    weight: Float[Tensor, "group n y x"],
    canvas: tuple[int, int],
) -> Inexact[Tensor, "group h w"]:
    """Weighted mean of a group's patches where they overlap; 0 where nothing has weight."""
    total = scatter(patches * weight, positions_px, canvas)
    share = scatter(weight, positions_px, canvas)
    return total / share.clamp(min=_LEAST_SHARE)


def fraction_px(positions_px: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
    """What `gather` rounds away, in [-0.5, 0.5] [px]."""
    return positions_px - positions_px.round()


def _pixels(
    positions_px: Float[Tensor, "group n 2"], window: tuple[int, int], canvas: tuple[int, int]
) -> Int[Tensor, "group n y x"]:
    """Index of every window pixel on the canvases of all groups, laid end to end."""
    device = positions_px.device
    rows, columns = (
        (positions_px[..., axis].round().long() - window[axis] // 2)[..., None]
        + torch.arange(window[axis], device=device)
        for axis in (0, 1)
    )
    group = torch.arange(len(positions_px), device=device)[:, None, None, None]
    return (group * canvas[0] + rows[..., :, None]) * canvas[1] + columns[..., None, :]
