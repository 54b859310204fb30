"""Lengths behind the pixels: the object's pixel in metres, the light, the detector.

Nothing is computed from them once a scan is read, for everything then is in pixels and photons; they say how large the
image is, and they go back into files that hold metres.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foldlight.core.errors import DataError

__all__ = ["Geometry", "energy_of", "wavelength_of"]

_PLANCK_EV_M = 1.239841984332e-6
"""h c [eV m]. Source: the exact SI values of h, c and e."""

_LENGTHS_M = (1e-18, 1e9)
"""Beyond, a file is damaged."""

_ENERGIES_EV = (50.0, 200e3)
"""From soft X-rays to the electrons and X-rays of the hardest instruments; beyond, a unit was mistaken."""


def wavelength_of(energy_ev: float) -> float:
    """Wavelength of light [m] of a photon energy [eV]: `h c / E`.

    Raises:
        DataError: an energy outside 50 eV to 200 keV, with the likeliest mistake.
    """
    low, high = _ENERGIES_EV
    if not (math.isfinite(energy_ev) and low <= energy_ev <= high):
        raise DataError(
            f"photon energy: expected {low:g} eV to {high / 1e3:g} keV, got {energy_ev:.6g} eV;{_mistaken(energy_ev)}"
            " give it with the option energy_kev"
        )
    return _PLANCK_EV_M / energy_ev


def energy_of(wavelength_m: float) -> float:
    """Photon energy [eV] of a wavelength [m].

    Raises:
        DataError: as `wavelength_of`, or a wavelength that is not positive.
    """
    if not (math.isfinite(wavelength_m) and wavelength_m > 0):
        raise DataError(f"wavelength: expected a positive number of metres, got {wavelength_m:g}")
    energy = _PLANCK_EV_M / wavelength_m
    wavelength_of(energy)
    return energy


def _mistaken(energy_ev: float) -> str:
    """What may have been meant, in words that go before the remedy."""
    low, high = _ENERGIES_EV
    if not (math.isfinite(energy_ev) and energy_ev > 0):
        return ""
    if energy_ev >= 1e8:
        return " such energies are those of a storage ring's electrons, not of its photons;"
    if low <= energy_ev * 1e3 <= high:
        return f" {energy_ev:.6g} may be keV;"
    if low <= energy_ev / 1.602176634e-19 <= high:
        return f" {energy_ev:.6g} may be joule, {energy_ev / 1.602176634e-16:.6g} keV;"
    return ""


@dataclass(frozen=True)
class Geometry:
    """How large an object pixel is, and why.

    Attributes:
        pixel_size_m: (y, x) of an object pixel [m].
        wavelength_m: of the light [m].
        distance_m: from the object to the detector [m].
        detector_pixel_m: (y, x) of a detector pixel [m].

    Raises:
        DataError: a length that is not positive and finite.
    """

    pixel_size_m: tuple[float, float]
    wavelength_m: float | None = None
    distance_m: float | None = None
    detector_pixel_m: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        lengths = {
            "object pixel": self.pixel_size_m,
            "wavelength": (self.wavelength_m,),
            "distance": (self.distance_m,),
            "detector pixel": self.detector_pixel_m or (),
        }
        for name, values in lengths.items():
            for value in values:
                if value is not None and not _LENGTHS_M[0] < value < _LENGTHS_M[1]:  # NaN fails the comparison
                    raise DataError(f"{name}: expected a positive number of metres, got {value:g}")

    @classmethod
    def far_field(
        cls,
        window: tuple[int, int],
        wavelength_m: float,
        distance_m: float,
        detector_pixel_m: tuple[float, float],
    ) -> "Geometry":
        """That of frames of (height, width) pixels in the far field: wavelength * distance / (N * p) on each axis.

        Source: Fraunhofer diffraction sampled by the discrete Fourier transform, docs/physics.md, frames and units.
        """
        spans = [size * pixel for size, pixel in zip(window, detector_pixel_m, strict=True)]
        if not all(spans):
            raise DataError(f"detector pixel: expected a positive number of metres, got {detector_pixel_m}")
        height, width = (wavelength_m * distance_m / span for span in spans)
        return cls((height, width), wavelength_m, distance_m, detector_pixel_m)

    @property
    def energy_ev(self) -> float | None:
        """Photon energy [eV] where the wavelength is known."""
        return None if self.wavelength_m is None else _PLANCK_EV_M / self.wavelength_m

    def transposed(self) -> "Geometry":
        """The same with the axes swapped."""
        detector = None if self.detector_pixel_m is None else self.detector_pixel_m[::-1]
        return Geometry(self.pixel_size_m[::-1], self.wavelength_m, self.distance_m, detector)

    def plain(self) -> dict[str, Any]:
        """JSON-ready; what is not known is left out."""
        known = {
            "pixel_size_m": list(self.pixel_size_m),
            "wavelength_m": self.wavelength_m,
            "distance_m": self.distance_m,
            "detector_pixel_m": None if self.detector_pixel_m is None else list(self.detector_pixel_m),
        }
        return {name: value for name, value in known.items() if value is not None}

    @classmethod
    def parse(cls, facts: Any) -> "Geometry":
        """What `plain` wrote.

        Raises:
            DataError: it is something else.
        """
        known = {"pixel_size_m", "wavelength_m", "distance_m", "detector_pixel_m"}
        if not isinstance(facts, Mapping) or not {"pixel_size_m"} <= facts.keys() <= known:
            raise DataError(f"geometry: expected pixel_size_m and of {', '.join(sorted(known))}, got {facts!r:.80}")
        lengths = {name: facts.get(name) for name in ("wavelength_m", "distance_m")}
        wavelength, distance = (None if value is None else _number(name, value) for name, value in lengths.items())
        detector = facts.get("detector_pixel_m")
        return cls(
            _pair("pixel_size_m", facts["pixel_size_m"]),
            wavelength,
            distance,
            None if detector is None else _pair("detector_pixel_m", detector),
        )


def _pair(name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise DataError(f"geometry: expected {name} as two numbers (y, x), got {value!r:.80}")
    return _number(name, value[0]), _number(name, value[1])


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"geometry: expected {name} as a number, got {value!r:.80}")
    return float(value)
