"""The shape of a network: all that is needed to build it again."""

from typing import Literal

from pydantic import Field

from foldlight.core.settings import Settings

__all__ = ["NetworkSettings"]


class NetworkSettings(Settings):
    """Architecture of the network from frames to patches."""

    kind: Literal["lifted", "raw"] = "lifted"
    """Input: frames lifted into the object's pixel frame by the probe's phase, or raw amplitudes."""
    width: int = Field(default=8, ge=4, le=256)
    """Channels at full resolution; doubled at each level."""
    levels: int = Field(default=3, ge=1, le=6)
    """Halvings of the resolution."""
    light_floor: float = Field(default=0.05, gt=0, le=10)
    """Light, in fractions of the probe's peak, at which a pixel of a frame is half believed when it is lifted."""
    merge_floor: float = Field(default=1.0, gt=0, le=10)
    """Light, in fractions of the probe's peak, at which a pixel of a patch has half the full weight in merging."""
    consistency_steps: int = Field(default=3, ge=0, le=20)
    """Learned steps back towards the measured amplitudes after the U-Net."""
