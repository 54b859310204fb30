"""From the patches of a group to one number: do the neighbours agree, and do they explain the photons?"""

from jaxtyping import Bool, Complex, Float
from torch import Tensor

from foldlight.optics.forward import expected_photons, trust
from foldlight.optics.likelihood import amplitude_error, poisson_nll
from foldlight.optics.patches import gather, scatter

__all__ = ["LOSSES", "group_loss", "merge", "object_loss"]

LOSSES = {"poisson": poisson_nll, "amplitude": amplitude_error}


def merge(
    patches: Complex[Tensor, "group n y x"],
    positions_px: Float[Tensor, "group n 2"],
    weight: Float[Tensor, "group n y x"],
    canvas: tuple[int, int],
) -> Complex[Tensor, "group h w"]:
    """Weighted mean of a group's patches where they overlap; 0 where no light fell."""
    total = scatter(patches * weight, positions_px, canvas)
    share = scatter(weight, positions_px, canvas)
    return total / share.clamp(min=1e-3)


def group_loss(
    patches: Complex[Tensor, "group n y x"],
    photons: Float[Tensor, "group n y x"],
    positions_px: Float[Tensor, "group n 2"],
    probes: Complex[Tensor, "group n mode y x"],
    mask: Bool[Tensor, "y x"],
    canvas: tuple[int, int],
    merge_floor: float,
    loss: str = "poisson",
) -> Float[Tensor, ""]:
    """Misfit between counted photons and those expected from the merged patches of each group.

    Merging first makes neighbours agree: a patch can only explain its own frame through what the group shows.

    Args:
        patches: what the network made of each frame.
        photons: counted photons.
        positions_px: window centres on the group's own canvas [px].
        probes: the probe in each frame's window [sqrt(photon)].
        mask: valid detector pixels.
        canvas: (height, width) that holds every group [px].
        merge_floor: of the weights by which patches are merged, see `optics.forward.trust`.
        loss: key of `LOSSES`.
    """
    merged = merge(patches, positions_px, trust(probes, merge_floor), canvas)
    window = (patches.shape[-2], patches.shape[-1])
    expected = expected_photons(probes, gather(merged, positions_px, window))
    return LOSSES[loss](expected, photons, mask)


def object_loss(
    patches: Complex[Tensor, "group n y x"],
    truth: Complex[Tensor, "group n y x"],
    probes: Complex[Tensor, "group n mode y x"],
    merge_floor: float,
) -> Float[Tensor, ""]:
    """Mean absolute difference between complex patches and the true ones.

    Every pixel weighs what it will weigh in the stitched image, so the dark rim of a window teaches nothing. No gauge
    is removed: the truth anchors each patch's constant phase.
    """
    weight = trust(probes, merge_floor)
    return (weight * (patches - truth).abs()).sum() / weight.sum()
