"""How well expected photons explain counted ones.

Source: docs/physics.md, forward model (objective, deviance).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["amplitude_error", "poisson_deviance", "poisson_nll"]

_EPS = 1e-6  # photons: keeps the logarithm finite where a model expects none


def poisson_nll(
    expected: Float[Tensor, "*batch y x"], photons: Float[Tensor, "*batch y x"], mask: Bool[Tensor, "y x"]
) -> Float[Tensor, ""]:
    """Mean of `lam - y log(lam + eps)` over valid pixels, divided by the mean count per pixel.

    The division keeps its size, and so the learning rate, independent of the dose.
    """
    terms = (expected - photons * torch.log(expected + _EPS))[..., mask]
    return terms.mean() / photons[..., mask].mean().clamp(min=_EPS)


def poisson_deviance(
    expected: Float[Tensor, "*batch y x"], photons: Float[Tensor, "*batch y x"], mask: Bool[Tensor, "y x"]
) -> Float[Tensor, "*batch"]:
    """Mean Poisson deviance per valid pixel of each frame: 0 for a perfect fit.

    `2 (y log(y / lam) - (y - lam))`; for a correct model its expectation nears 1 once `lam >> 1` and is smaller for
    sparse counts, so compare it between models of the same frames.
    """
    expected = expected.clamp(min=_EPS)
    terms = 2 * (torch.xlogy(photons, photons) - torch.xlogy(photons, expected) - (photons - expected))
    return terms[..., mask].mean(dim=-1)


def amplitude_error(
    expected: Float[Tensor, "*batch y x"], photons: Float[Tensor, "*batch y x"], mask: Bool[Tensor, "y x"]
) -> Float[Tensor, ""]:
    """Mean squared difference of amplitudes over valid pixels, divided by the mean count per pixel."""
    terms = ((expected + _EPS).sqrt() - photons.sqrt()).square()[..., mask]
    return terms.mean() / photons[..., mask].mean().clamp(min=_EPS)
