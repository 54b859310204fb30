"""What to simulate."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from foldlight.core.settings import Settings

__all__ = ["ObjectKind", "ProbeKind", "SimulationSettings", "Trajectory", "VarietySettings"]

ObjectKind = Literal["lines", "dead-leaves", "siemens-star", "grains", "spheres", "speckle"]
ProbeKind = Literal["zone-plate", "disc", "diffuser", "gaussian", "aberrated"]
Trajectory = Literal["raster", "spiral", "random"]


class SimulationSettings(Settings):
    """A simulated scan. Lengths are object pixels, doses photons per frame."""

    object_kind: ObjectKind = "dead-leaves"
    """Family of the object."""
    object_size: int = Field(default=256, ge=32)
    """Side of the square object [px]."""
    amplitude_min: float = Field(default=0.5, gt=0, le=1)
    """Darkest transmission amplitude; the brightest is 1."""
    phase_range_rad: float = Field(default=1.2, ge=0, le=6)
    """Phase between the emptiest and the densest part of the object [rad]."""
    window: int = Field(default=64, ge=16, multiple_of=2)
    """Frame size N: detector and probe are N x N [px]."""
    probe_kind: ProbeKind = "zone-plate"
    """Family of the probe; all but the disc have structure in their phase."""
    probe_diameter_px: float = Field(default=26.0, gt=2)
    """Geometric diameter of the probe [px]."""
    probe_modes: int = Field(default=1, ge=1, le=3)
    """Incoherent modes of the probe, of a source that is not quite a point; each has a sixth of the power before it."""
    trajectory: Trajectory = "raster"
    """Order of positions: jittered raster, Fermat spiral, or uniform random."""
    positions: int = Field(default=1000, ge=1)
    """Frames wanted; a raster takes the nearest full grid."""
    dose: float = Field(default=1e4, gt=0)
    """Mean photons per frame through the object."""
    seed: int = Field(default=42, ge=0)
    """Root seed: the object, the probe, the positions and the photons each draw from their own named generator."""


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"expected the smaller number first, got {pair}")
    return pair


Share = Annotated[float, Field(ge=0, le=1)]
_Rising = AfterValidator(_rising)
_Diameter = Annotated[float, Field(ge=0.05, le=0.8)]
_Overlap = Annotated[float, Field(ge=0, lt=1)]
_Photons = Annotated[float, Field(gt=0, le=1e12)]
_Amplitude = Annotated[float, Field(gt=0, le=1)]
_Phase = Annotated[float, Field(ge=0, le=6)]
_Length = Annotated[float, Field(ge=0)]


class VarietySettings(Settings):
    """Ranges that simulated scans are drawn from. Lengths are object pixels."""

    window: int = Field(default=64, ge=16, multiple_of=2)
    """Frame size N: detector and probe are N x N [px]."""
    objects: tuple[ObjectKind, ...] = Field(
        default=("lines", "dead-leaves", "siemens-star", "grains", "spheres", "speckle"), min_length=1
    )
    """Families of objects, all as likely."""
    probes: tuple[ProbeKind, ...] = Field(
        default=("zone-plate", "disc", "diffuser", "gaussian", "aberrated"), min_length=1
    )
    """Families of probes, all as likely."""
    diameter: Annotated[tuple[_Diameter, _Diameter], _Rising] = (0.2, 0.55)
    """Geometric diameter of the probe, in fractions of the window."""
    overlap: Annotated[tuple[_Overlap, _Overlap], _Rising] = (0.1, 0.85)
    """Linear overlap `1 - step / D` of neighbours, D the participation diameter; more where the canvas is too small."""
    photons_per_pixel: Annotated[tuple[_Photons, _Photons], _Rising] = (1.0, 1e7)
    """n, photons through one object pixel over all frames; its logarithm is uniform."""
    amplitude_min: Annotated[tuple[_Amplitude, _Amplitude], _Rising] = (0.2, 1.0)
    """Darkest transmission amplitude; the brightest is 1."""
    phase_range_rad: Annotated[tuple[_Phase, _Phase], _Rising] = (0.0, 2.5)
    """Phase between the emptiest and the densest part, of either sign [rad]."""
    softness_px: Annotated[tuple[_Length, _Length], _Rising] = (0.0, 1.5)
    """Blur of the object beyond the optical edge that all have [px]."""
    trajectories: tuple[Trajectory, ...] = Field(default=("raster", "spiral", "random"), min_length=1)
    """Orders of positions, all as likely."""
    modes_share: Share = 0.0
    """Scans with two or three incoherent probe modes."""
    decentre_px: float = Field(default=2.0, ge=0)
    """Most that a probe is off the centre of its window, and its spectrum, by whole pixels, off the detector's [px]."""
    wrong_probe_share: Share = 0.25
    """Scans whose probe, as given, is wrong in defocus, power or both."""
    probe_error: float = Field(default=0.1, ge=0, lt=1)
    """Most that a wrong probe is off, relative."""
    position_noise_share: Share = 0.25
    """Scans whose positions, as given, are wrong."""
    position_noise_px: float = Field(default=1.0, ge=0)
    """Most rms noise of wrong positions [px]."""
    bad_pixels_share: Share = 0.15
    """Scans with dead pixels and lines on the detector, masked."""
    beamstop_share: Share = 0.1
    """Scans with a beamstop over the detector's centre, masked."""
