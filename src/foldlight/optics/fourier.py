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


def shift(
    field: Complex[Tensor, "*#batch y x"], shift_px: Float[Tensor, "*#batch 2"]
) -> Complex[Tensor, "*#batch y x"]:
    """`field(r - shift)` by the Fourier shift theorem, wrapping at the edges.

    A unitary operator (every frequency, the Nyquist one too, is multiplied by a number of modulus 1), so its
    adjoint is the shift by `-shift_px`.

    Args:
        field: complex images, or one for all shifts.
        shift_px: (y, x) shift of each image [px].
    """
    rows, columns = (_turned(shift_px[..., axis], field.shape[axis - 2]) for axis in (0, 1))
    ramp = (rows[..., :, None] * columns[..., None, :]).to(field.dtype)
    return torch.fft.ifft2(torch.fft.fft2(field) * ramp)


def _turned(shift_px: Float[Tensor, "*batch"], size: int) -> Complex[Tensor, "*batch size"]:
    """Phase factors of a shift along one axis; their product over the axes costs a sixth of a ramp over both."""
    frequency = torch.fft.fftfreq(size, device=shift_px.device, dtype=shift_px.dtype)
    turns = -2 * torch.pi * shift_px[..., None] * frequency
    return torch.polar(torch.ones_like(turns), turns)
