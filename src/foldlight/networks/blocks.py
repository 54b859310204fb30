"""Building blocks on real channels-first images."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["ConvPair", "UNet", "zeroed"]


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
        features = [self.head(image)]
        for block in self.down:
            features.append(block(nn.functional.avg_pool2d(features[-1], 2)))
        out = features.pop()
        for block in reversed(self.up):
            coarse = nn.functional.interpolate(out, scale_factor=2.0, mode="bilinear", align_corners=False)
            out = block(torch.cat([features.pop(), coarse], dim=1))
        result: Tensor = self.tail(out)
        return result
