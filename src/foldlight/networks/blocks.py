"""Building blocks on real channels-first images."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["ConvPair", "FourierBody", "FourierLayer", "FourierMix", "UNet", "fourier_basis", "zeroed"]


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with weights and bias set to zero, so that it starts by adding nothing."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer


class ConvPair(nn.Module):
    """Two 3 x 3 convolutions with a residual path."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.second = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()
        self.act = nn.GELU()

    def forward(self, image: Float[Tensor, "n c y x"]) -> Float[Tensor, "n d y x"]:
        """Features of the same size."""
        out: Tensor = self.act(self.skip(image) + self.second(self.act(self.first(image))))
        return out


class UNet(nn.Module):
    """Skip-connected encoder and decoder; its last layer starts at zero, so training starts from a flat object.

    Source: Ronneberger, Fischer & Brox, MICCAI 2015.
    """

    def __init__(self, channels_in: int, channels_out: int, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.head = ConvPair(channels_in, width)
        self.down = nn.ModuleList(ConvPair(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(ConvPair(a + b, a) for a, b in pairwise(widths))
        self.tail = zeroed(nn.Conv2d(width, channels_out, 1))

    def forward(self, image: Float[Tensor, "n c y x"]) -> Float[Tensor, "n d y x"]:
        """Output channels at the size of the input, which has to be a multiple of `2 ** levels`."""
        # Channels last: convolutions of few channels run 1.5 times as fast that way, and the blocks keep the order.
        features = [self.head(image.contiguous(memory_format=torch.channels_last))]
        for block in self.down:
            features.append(block(nn.functional.avg_pool2d(features[-1], 2)))
        out = features.pop()
        for block in reversed(self.up):
            coarse = nn.functional.interpolate(out, scale_factor=2.0, mode="bilinear", align_corners=False)
            out = block(torch.cat([features.pop(), coarse], dim=1))
        result: Tensor = self.tail(out)
        return result


def fourier_basis(size: int, modes: int, device: torch.device | str = "cpu") -> Float[Tensor, "size {2*modes}"]:
    """The `modes` slowest waves on `size` pixels, cosines then sines, scaled so that those that do not vanish are unit.

    A product with it is a real Fourier transform that computes no more than is kept.
    """
    waves, pixels = (torch.arange(number, device=device, dtype=torch.float64) for number in (modes, size))
    phase = 2 * torch.pi * torch.outer(pixels, waves) / size
    unit = torch.where((waves == 0) | (2 * waves == size), 1.0, 2.0**0.5) / size**0.5
    return torch.cat([phase.cos() * unit, phase.sin() * unit], dim=1)


class FourierMix(nn.Module):
    """A convolution along y, as long as the window and no sharper than `modes` waves.

    Channels of each wave are mixed by a complex matrix of its own.
    """

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self._modes = modes
        # Two such layers, one an axis, are added: each starts with half of the power.
        self.weight = nn.Parameter(torch.randn(modes, 2, channels, channels) / (4 * channels) ** 0.5)

    def forward(self, image: Float[Tensor, "n c y x"]) -> Float[Tensor, "n c y x"]:
        """What of the image passes; wraps round at the edges."""
        n, channels, height, width = image.shape
        basis = fourier_basis(height, self._modes, image.device).to(image.dtype)
        spectrum = (basis.T @ image).reshape(n, channels, 2, self._modes, width)
        # One matrix product a wave, of (cosine, sine) pairs: real numbers only, and no transform of what is dropped.
        pairs = spectrum.permute(3, 0, 4, 2, 1).reshape(self._modes, n * width, 2 * channels)
        real, imaginary = self.weight.unbind(dim=1)
        matrix = torch.cat([torch.cat([real, imaginary], dim=2), torch.cat([-imaginary, real], dim=2)], dim=1)
        mixed = torch.bmm(pairs, matrix).reshape(self._modes, n, width, 2, channels)
        return basis @ mixed.permute(1, 4, 3, 0, 2).reshape(n, channels, 2 * self._modes, width)


class FourierLayer(nn.Module):
    """Convolutions over the whole window along each axis, then a network on each pixel, with a residual path."""

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self.along_y = FourierMix(channels, modes)
        self.along_x = FourierMix(channels, modes)
        self.pixelwise = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1), nn.GELU(), nn.Conv2d(2 * channels, channels, 1), nn.GELU()
        )

    def forward(self, image: Float[Tensor, "n c y x"]) -> Float[Tensor, "n c y x"]:
        """Features of the same size."""
        along_x = self.along_x(image.transpose(-2, -1)).transpose(-2, -1).contiguous()
        passed: Tensor = self.pixelwise(self.along_y(image) + along_x)
        return image + passed


class FourierBody(nn.Module):
    """Factorised Fourier layers at full resolution; the last layer starts at zero, as the U-Net's does.

    Source: Tran, Mathews, Xie & Ong, ICLR 2023 (factorised Fourier neural operators).
    """

    def __init__(self, channels_in: int, channels_out: int, width: int, layers: int, modes: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(channels_in, width, 1)
        self.layers = nn.Sequential(*(FourierLayer(width, modes) for _ in range(layers)))
        self.tail = zeroed(nn.Conv2d(width, channels_out, 1))

    def forward(self, image: Float[Tensor, "n c y x"]) -> Float[Tensor, "n d y x"]:
        """Output channels at the size of the input, at least `2 * modes - 1` pixels along each axis."""
        result: Tensor = self.tail(self.layers(self.head(image)))
        return result
