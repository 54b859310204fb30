"""What to simulate."""

from typing import Literal

from pydantic import Field

from foldlight.core.settings import Settings

__all__ = ["SimulationSettings"]


class SimulationSettings(Settings):
    """A simulated scan. Lengths are object pixels, doses photons per frame."""

    object_kind: Literal["lines", "dead-leaves", "siemens-star"] = "dead-leaves"
    """Family of the object."""
    object_size: int = Field(default=256, ge=32)
    """Side of the square object [px]."""
    amplitude_min: float = Field(default=0.5, gt=0, le=1)
    """Darkest transmission amplitude; the brightest is 1."""
    phase_range_rad: float = Field(default=1.2, ge=0, le=6)
    """Phase between the emptiest and the densest part of the object [rad]."""
    window: int = Field(default=64, ge=16, multiple_of=2)
    """Frame size N: detector and probe are N x N [px]."""
    probe_kind: Literal["zone-plate", "disc"] = "zone-plate"
    """Family of the probe; the zone plate is defocused, so its phase is curved."""
    probe_diameter_px: float = Field(default=26.0, gt=2)
    """Geometric diameter of the probe [px]."""
    trajectory: Literal["raster", "spiral", "random"] = "raster"
    """Order of positions: jittered raster, Fermat spiral, or uniform random."""
    positions: int = Field(default=1000, ge=1)
    """Frames wanted; a raster takes the nearest full grid."""
    dose: float = Field(default=1e4, gt=0)
    """Mean photons per frame through the object."""
    seed: int = Field(default=42, ge=0)
    """Root seed: the object, the positions and the photons each draw from their own named generator."""
