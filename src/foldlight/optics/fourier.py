"""The centred, unitary Fourier pair and the sub-pixel shift built on it."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

__all__ = ["fourier", "inverse_fourier", "shift"]

_PLANE = (-2, -1)


def fourier(field: Complex[Tensor, "*batch y x"]) -> Complex[Tensor, "*batch y x"]:
    """Centred orthonormal 2-D FFT: zero frequency at `[N // 2, N // 2]`, energy kept.

    Source: docs/physics.md, forward model.
    """
    return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(field, dim=_PLANE), norm="ortho"), dim=_PLANE)


def inverse_fourier(field: Complex[Tensor, "*batch y x"]) -> Complex[Tensor, "*batch y x"]:
    """Inverse, and adjoint, of `fourier`."""
    return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(field, dim=_PLANE), norm="ortho"), dim=_PLANE)


def shift(field: Complex[Tensor, "*batch y x"], shift_px: Float[Tensor, "*batch 2"]) -> Complex[Tensor, "*batch y x"]:
    """`field(r - shift)` by the Fourier shift theorem, wrapping at the edges.

    A unitary operator (every frequency, the Nyquist one too, is multiplied by a number of modulus 1), so its
    adjoint is the shift by `-shift_px`.

    Args:
        field: complex images.
        shift_px: (y, x) shift of each image [px].
    """
    height, width = field.shape[-2:]
    frequency_y = torch.fft.fftfreq(height, device=field.device, dtype=shift_px.dtype)
    frequency_x = torch.fft.fftfreq(width, device=field.device, dtype=shift_px.dtype)
    turns = shift_px[..., 0, None, None] * frequency_y[:, None] + shift_px[..., 1, None, None] * frequency_x
    ramp = torch.polar(torch.ones_like(turns), -2 * torch.pi * turns).to(field.dtype)
    return torch.fft.ifft2(torch.fft.fft2(field) * ramp)
