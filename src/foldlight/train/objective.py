"""From the objects of some groups to one number: do the neighbours agree, and do they explain the photons?"""

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from foldlight.optics.forward import expected_photons, trust
from foldlight.optics.likelihood import amplitude_error, poisson_nll
from foldlight.optics.patches import gather, scatter

__all__ = ["LOSSES", "object_loss", "object_weight", "photon_loss", "photon_weight", "region_error"]

_DARK = 1e-6  # photons a pixel: what none has counted still weighs so much, as in the losses
_HALF_LIT = 0.3  # of the brightest pixel's light: there an error weighs half

LOSSES = {"poisson": poisson_nll, "amplitude": amplitude_error}


def photon_loss(
    objects: Complex[Tensor, "group h w"],
    photons: Float[Tensor, "group n y x"],
    positions_px: Float[Tensor, "group n 2"],
    probes: Complex[Tensor, "group n mode y x"],
    mask: Bool[Tensor, "y x"],
    loss: str = "poisson",
) -> Float[Tensor, ""]:
    """Misfit between counted photons and those expected behind the object of each group.

    A group's frames share their object, so neighbours have to agree: what one frame shows is what the others see.

    Args:
        objects: what the network made of each group of frames.
        photons: counted photons.
        positions_px: window centres on the group's own canvas [px].
        probes: the probe in each frame's window [sqrt(photon)].
        mask: valid detector pixels.
        loss: key of `LOSSES`.
    """
    window = (photons.shape[-2], photons.shape[-1])
    return LOSSES[loss](expected_photons(probes, gather(objects, positions_px, window)), photons, mask)


def object_loss(
    objects: Complex[Tensor, "group h w"],
    truth: Complex[Tensor, "group h w"],
    positions_px: Float[Tensor, "group n 2"],
    probes: Complex[Tensor, "group n mode y x"],
    floor: float,
) -> Float[Tensor, ""]:
    """Mean absolute difference between objects and the true ones, weighted as patches are in a stitched image.

    The dark rim of a region teaches nothing. No gauge is removed: the truth anchors each group's constant phase.
    """
    weight = object_weight(positions_px, probes, floor, (truth.shape[-2], truth.shape[-1]))
    return (weight * (objects - truth).abs()).sum() / weight.sum()


def object_weight(
    positions_px: Float[Tensor, "group n 2"],
    probes: Complex[Tensor, "group n mode y x"],
    floor: float,
    canvas: tuple[int, int],
) -> Float[Tensor, "group h w"]:
    """How much each pixel counts in `object_loss`; the sum is what that is divided by."""
    return scatter(trust(probes, floor), positions_px, canvas)


def photon_weight(photons: Float[Tensor, "group n y x"], mask: Bool[Tensor, "y x"]) -> Float[Tensor, ""]:
    """What `photon_loss` is divided by, but for a factor: the photons on valid pixels.

    The loss of some groups is the mean of those of its parts, weighted so.
    """
    counted = photons[..., mask]
    return counted.sum(dtype=torch.float64).clamp(min=_DARK * counted.numel())


def region_error(
    objects: Complex[Tensor, "group h w"], truth: Complex[Tensor, "group h w"], light: Float[Tensor, "group h w"]
) -> Float[Tensor, " group"]:
    """Relative squared error of each object where it is lit, at the constant phase at which it agrees best.

    Args:
        objects: estimates.
        truth: what they should be.
        light: photons through each pixel.

    Source: docs/physics.md, gauge (known probe).
    """
    weight = light / (light + _HALF_LIT * light.amax(dim=(-2, -1), keepdim=True))
    inner = (weight * truth.conj() * objects).sum(dim=(-2, -1))
    turn = (inner.conj() / inner.abs().clamp(min=1e-12))[:, None, None]
    off = objects * turn - truth
    squares = [weight * (part.real.square() + part.imag.square()) for part in (off, truth)]
    return squares[0].sum(dim=(-2, -1)) / squares[1].sum(dim=(-2, -1)).clamp(min=1e-12)
