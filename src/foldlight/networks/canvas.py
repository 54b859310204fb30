"""The U-Net of the unrolled network: additive, so that it costs half of one that concatenates."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from foldlight.networks.blocks import zeroed

__all__ = ["ResidualUNet"]

_GROWTH = 1.5  # of the channels from level to level
_MULTIPLE = 8  # of channels: what a processor's vectors like


class ResidualPair(nn.Module):
    """Two 3 x 3 convolutions that add to their input; activations come first. They start by adding nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = zeroed(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, image: Float[Tensor, "n c y x"]) -> Float[Tensor, "n c y x"]:
        """Features of the same size."""
        gelu = nn.functional.gelu
        out: Tensor = image + self.second(gelu(self.first(gelu(image))))
        return out


class ResidualUNet(nn.Module):
    """Encoder and decoder whose skips add; its last layer starts at zero, so it starts by changing nothing.

    Sources: Ronneberger, Fischer & Brox, MICCAI 2015; He et al., ECCV 2016 (identity mappings).
    """

    def __init__(self, channels_in: int, channels_out: int, width: int, levels: int) -> None:
        super().__init__()
        widths = [max(1, round(width * _GROWTH**level / _MULTIPLE)) * _MULTIPLE for level in range(levels + 1)]
        self.head = nn.Conv2d(channels_in, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(ResidualPair(channels) for channels in widths)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(ResidualPair(channels) for channels in widths[:-1])
        self.tail = zeroed(nn.Conv2d(widths[0], channels_out, 3, padding=1))

    def forward(self, image: Float[Tensor, "n c y x"]) -> Float[Tensor, "n d y x"]:
        """Output channels at the size of the input, which has to be a multiple of `2 ** levels`."""
        features = [self.encoder[0](self.head(image))]
        for down, block in zip(self.down, self.encoder[1:], strict=True):
            features.append(block(down(features[-1])))
        out = features.pop()
        for up, block in zip(reversed(self.up), reversed(self.decoder), strict=True):
            coarse = nn.functional.interpolate(up(out), scale_factor=2.0, mode="bilinear", align_corners=False)
            out = block(features.pop() + coarse)
        result: Tensor = self.tail(nn.functional.gelu(out))
        return result
