"""Complex images as pairs of real channels, and back."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

__all__ = ["as_channels", "as_complex", "bounded"]


def as_channels(image: Complex[Tensor, "n y x"]) -> Float[Tensor, "n 2 y x"]:
    """Real and imaginary part."""
    return torch.stack([image.real, image.imag], dim=1)


def as_complex(channels: Float[Tensor, "n 2 y x"]) -> Complex[Tensor, "n y x"]:
    """The image whose parts these are."""
    return torch.complex(channels[:, 0], channels[:, 1])


def bounded(change: Complex[Tensor, "n y x"], most: float = 3.0) -> Complex[Tensor, "n y x"]:
    """The change with its modulus kept below `most`, and untouched where it is small.

    A transmission differs from 1 by 2 at the most. Without a bound, a large step in training now and then sends one
    bright pixel of a few frames to 30 and the loss with it.
    """
    return change / (1 + (change.real.square() + change.imag.square()) / most**2).sqrt()
