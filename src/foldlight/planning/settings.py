"""What to plan."""

from typing import Annotated, Literal

from pydantic import Field

from foldlight.core.settings import Settings

__all__ = ["PlanningSettings"]


class PlanningSettings(Settings):
    """Doses, overlaps and a probe to ask about. Lengths are object pixels, doses photons per frame."""

    dose: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1e3, 1e4, 1e5), min_length=1)
    """Photons per frame through the object; a scan's own dose is added to them."""
    overlap: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(default=(0.6, 0.8), min_length=1)
    """Linear overlaps `1 - step / D` of neighbouring probes, D the participation diameter; a scan brings its own."""
    probe: Literal["zone-plate", "disc"] = "zone-plate"
    """Family of the probe; a scan brings its own."""
    probe_diameter_px: float = Field(default=26.0, gt=2)
    """Geometric diameter of the probe [px]."""
    window: int = Field(default=64, ge=16, multiple_of=2)
    """Frame size N: detector and probe are N x N [px]."""
    field_px: int = Field(default=64, ge=16)
    """Side of the square that the probe's centre scans [px]; the answer hardly depends on it, the time does."""
    object_kind: Literal["lines", "dead-leaves", "siemens-star"] = "dead-leaves"
    """Family of the object, where no scan brings one."""
    amplitude_min: float = Field(default=0.5, gt=0, le=1)
    """Darkest transmission amplitude of that object."""
    phase_range_rad: float = Field(default=1.2, ge=0, le=6)
    """Phase between the emptiest and the densest part of that object [rad]."""
    unknown: Literal["complex", "phase"] = "complex"
    """What is unknown of the object: amplitude and phase, or the phase alone."""
    wanted_phase_rms: float = Field(default=0.05, gt=0)
    """Phase error to ask the dose for [rad]."""
    most_frames: int = Field(default=300, ge=1)
    """Frames of a scan that are looked at, those about its centre."""
    jitter: float = Field(default=0.25, ge=0, le=0.5)
    """Random move of each position, as a part of the step; an exact raster has a pathology of its own."""
    seed: int = Field(default=42, ge=0)
    """Root seed of object, positions and random vectors."""
