"""How much to ask of the photons, and what of."""

from typing import Literal

from pydantic import Field

from foldlight.core.settings import Settings

__all__ = ["Doubt", "OrientSettings"]

Doubt = Literal["frames", "sign", "order"]


class OrientSettings(Settings):
    """Which readings of a scan are tried, and on how much of it."""

    doubt: tuple[Doubt, ...] = Field(default=("frames", "sign", "order"), min_length=1)
    """What may be wrong: how the frames are turned, whose motion the positions are, the order of their coordinates."""

    frames: int = Field(default=50, ge=12, le=1000)
    """Neighbouring frames to try on; about a fifth of them is kept from the fits and predicted. Twice as many are asked
    where these don't tell."""

    iterations: int = Field(default=40, ge=10)
    """Steps of likelihood for readings that a quarter of them has not ruled out."""

    clear: float = Field(default=3.0, gt=0)
    """Standard errors by which one reading has to explain unseen photons better than another to rule it out."""

    seed: int = Field(default=0, ge=0)
    """Of the draw that keeps photons from the fits."""
