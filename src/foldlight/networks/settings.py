"""The shape of a network: all that is needed to build it again."""

from typing import Any, Literal

from pydantic import Field, model_validator

from foldlight.core.settings import Settings

__all__ = ["SMALL_GROUP", "NetworkSettings"]

SMALL_GROUP = 4
"""Frames: up to so many make an object of their own; larger groups are regions, and a scan is the largest."""

_SIZES = {
    "tiny": {"width": 8, "levels": 3, "consistency_steps": 3},
    "base": {"width": 16, "levels": 3, "consistency_steps": 5},
    "large": {"width": 24, "levels": 3, "consistency_steps": 8},
}
_PATCHES = {"width": 8, "levels": 3, "consistency_steps": 3}
_NOT_GIVEN = {"width": 0, "levels": 0, "consistency_steps": -1}


class NetworkSettings(Settings):
    """Architecture of the network from frames to an object."""

    kind: Literal["unrolled", "lifted", "log", "raw"] = "unrolled"
    """`unrolled`: all frames of a region make one object, physics and a U-Net taking turns. The others make a patch of
    each frame apart, from the frame lifted into the object's pixel frame by the probe's phase, or from amplitudes as
    they are counted, log-compressed or raw."""
    size: Literal["tiny", "base", "large"] = "base"
    """Of an unrolled network: sets its width, levels and steps where they are not given."""
    body: Literal["unet", "fourier"] = "unet"
    """What turns the input into a patch: a U-Net, or factorised Fourier layers."""
    width: int = Field(default=_NOT_GIVEN["width"], ge=4, le=256)
    """Channels at full resolution; more at each level of a U-Net. 0: as the size says."""
    levels: int = Field(default=_NOT_GIVEN["levels"], ge=1, le=6)
    """Halvings of the resolution by a U-Net. 0: as the size says."""
    layers: int = Field(default=4, ge=1, le=32)
    """Fourier layers."""
    modes: int = Field(default=12, ge=2, le=256)
    """Slowest waves along each axis that a Fourier layer passes; the window has `2 modes - 1` pixels at least."""
    light_floor: float = Field(default=0.05, gt=0, le=10)
    """Light, in fractions of the probe's peak, at which a pixel of a frame is half believed when it is lifted."""
    merge_floor: float = Field(default=1.0, gt=0, le=10)
    """Light, in fractions of the probe's peak, at which a pixel of a patch has half the full weight in merging."""
    consistency_steps: int = Field(default=_NOT_GIVEN["consistency_steps"], ge=0, le=20)
    """Steps of an unrolled network; of the others, learned steps back towards the measured amplitudes after the U-Net.
    -1: as the size says."""

    @model_validator(mode="before")
    @classmethod
    def _sized(cls, values: Any) -> Any:
        """What is not given is as the kind and the size say."""
        if not isinstance(values, dict):
            return values
        unrolled = values.get("kind", "unrolled") == "unrolled"
        own = _SIZES.get(values.get("size", "base"), {}) if unrolled else _PATCHES
        return {**own, **{name: value for name, value in values.items() if value != _NOT_GIVEN.get(name)}}

    def plain(self) -> dict[str, Any]:
        """The settings as JSON-ready values.

        Those of Fourier layers are named where there are some, and the size nowhere, as width, levels and steps say it:
        bundles and checkpoints of before they existed stay valid, and the same network still gives the same bytes.
        """
        fourier = () if self.body == "fourier" else ("body", "layers", "modes")
        return {k: v for k, v in super().plain().items() if k not in {"size", *fourier}}
