"""Fourier layers: a truncated transform, exact, and a convolution along its axis and no other."""

import pytest
import torch

from foldlight.networks.blocks import FourierLayer, FourierMix, fourier_basis


def image(n: int = 2, channels: int = 3, height: int = 14, width: int = 10) -> torch.Tensor:
    return torch.randn(n, channels, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def mixing(modes: int, channels: int = 3) -> FourierMix:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return FourierMix(channels, modes).double()


@pytest.mark.parametrize("size", [8, 9])
def test_waves_are_orthonormal(size):
    waves = fourier_basis(size, size // 2 + 1)
    waves = waves[:, waves.square().sum(dim=0) > 1e-9]  # the sine of wave 0, and of Nyquist, vanish
    assert waves.shape[1] == size
    assert torch.allclose(waves.T @ waves, torch.eye(size, dtype=torch.float64), atol=1e-12)


def test_a_mix_is_what_complex_transforms_make_of_it():
    layer = mixing(modes=5)
    given = image()
    weight = torch.complex(layer.weight[:, 0], layer.weight[:, 1])
    spectrum = torch.fft.rfft(given, dim=-2)
    passed = torch.zeros_like(spectrum)
    # The sine of the basis is minus that of the transform, so its mixing is by the conjugate.
    passed[..., :5, :] = torch.einsum("nckx,kcd->ndkx", spectrum[..., :5, :], weight.conj())
    assert torch.allclose(layer(given), torch.fft.irfft(passed, n=14, dim=-2), atol=1e-12)


def test_a_mix_moves_with_its_input_and_leaves_the_other_axis_alone():
    layer, given = mixing(modes=4), image()
    assert torch.allclose(layer(given.roll(3, dims=-2)), layer(given).roll(3, dims=-2), atol=1e-12)
    assert torch.allclose(layer(given)[..., 2:3], layer(given[..., 2:3]), atol=1e-12)


def test_what_is_faster_than_the_waves_does_not_pass():
    fast = torch.cos(2 * torch.pi * 5 * torch.arange(14, dtype=torch.float64) / 14)[:, None].expand(1, 3, 14, 2)
    assert mixing(modes=5)(fast).abs().max() < 1e-12
    assert mixing(modes=6)(fast).abs().max() > 1e-2


def test_a_layer_treats_both_axes_alike():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        layer = FourierLayer(3, 4).double()
    with torch.no_grad():
        layer.along_y.weight.copy_(layer.along_x.weight)
    given = image()
    assert torch.allclose(layer(given.transpose(-2, -1)), layer(given).transpose(-2, -1), atol=1e-12)
    assert layer(given).shape == given.shape
