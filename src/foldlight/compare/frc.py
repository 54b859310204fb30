"""Fourier ring correlation of complex objects: up to which spatial frequency two images agree.

Frequencies are fractions of Nyquist.
Source: van Heel & Schatz 2005, J. Struct. Biol. 151, 250; docs/physics.md, scores.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Complex, Float

from foldlight.optics.coverage import bounding_box
from foldlight.optics.rings import Rings, tapered, tapered_window

__all__ = ["Crossing", "RingCorrelation", "crossing", "half_bit", "ring_correlation"]


@dataclass(frozen=True)
class Crossing:
    """Where a curve falls below a threshold.

    Attributes:
        nyquist: frequency of the first downward crossing, as a fraction of Nyquist; None when there is none.
        state: `crosses`; `above` when the curve reaches the threshold and stays there up to Nyquist; `below` when it
            never reaches it.
    """

    nyquist: float | None
    state: Literal["crosses", "above", "below"]


@dataclass(frozen=True)
class RingCorrelation:
    """A curve over rings one frequency bin wide, without the ring at zero.

    Attributes:
        nyquist: (ring,) ring frequency, as a fraction of Nyquist.
        correlation: (ring,) in [0, 1].
        samples: (ring,) Fourier pixels in each ring.
        fill: effective area of the window, as a fraction of its box: of so many samples that part is independent.
    """

    nyquist: np.ndarray
    correlation: np.ndarray
    samples: np.ndarray
    fill: float

    @property
    def half_bit(self) -> np.ndarray:
        """(ring,) half-bit threshold for the independent samples of each ring."""
        return half_bit(self.samples * self.fill)

    def crossing(self, threshold: float | Float[np.ndarray, " ring"]) -> Crossing:
        """Where this curve falls below a threshold, one number or one for each ring."""
        return crossing(self.nyquist, self.correlation, threshold)


def ring_correlation(
    truth: Complex[np.ndarray, "y x"], estimate: Complex[np.ndarray, "y x"], mask: Bool[np.ndarray, "y x"]
) -> RingCorrelation:
    """Correlation `|sum T E*| / sqrt(sum |T|^2 sum |E|^2)` of the spectra, ring by ring.

    Both objects are cut to the mask's bounding box, freed of their mean and tapered at the mask's edge. Rings are as
    wide as a frequency bin of the box's shorter side. The modulus makes the curve blind to a global phase; for
    unrelated images it is about `1 / sqrt(samples)`, not 0.
    """
    box = bounding_box(mask)
    window = tapered_window(mask[box])
    spectra = [np.fft.fft2(tapered(image[box], window)) for image in (truth, estimate)]
    rings = Rings.of(window.shape)
    cross = spectra[0] * spectra[1].conj()
    overlap = np.hypot(rings.sum(cross.real), rings.sum(cross.imag))
    power = np.sqrt(rings.sum(np.abs(spectra[0]) ** 2) * rings.sum(np.abs(spectra[1]) ** 2))
    return RingCorrelation(
        nyquist=rings.nyquist,
        correlation=np.divide(overlap, power, out=np.zeros_like(overlap), where=power > 0).clip(0, 1),
        samples=rings.samples,
        fill=float(np.sum(window**2) ** 2 / (window.size * np.sum(window**4))),
    )


def half_bit(samples: Float[np.ndarray, " ring"]) -> Float[np.ndarray, " ring"]:
    """The correlation at which a ring of `samples` independent values holds half a bit per value.

    Source: van Heel & Schatz 2005, eq. 17: `(0.2071 + 1.9102 / sqrt(n)) / (1.2071 + 0.9102 / sqrt(n))`.
    """
    root = np.sqrt(np.maximum(samples, 1.0))
    threshold: np.ndarray = (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
    return threshold


def crossing(
    nyquist: Float[np.ndarray, " ring"],
    correlation: Float[np.ndarray, " ring"],
    threshold: float | Float[np.ndarray, " ring"],
) -> Crossing:
    """The first place where a curve falls from a threshold to below it, between rings by linear interpolation."""
    above = correlation - threshold
    falls = np.flatnonzero((above[:-1] >= 0) & (above[1:] < 0))
    if not len(falls):
        return Crossing(None, "above" if (above >= 0).any() else "below")
    ring = int(falls[0])
    part = above[ring] / (above[ring] - above[ring + 1])
    return Crossing(float(nyquist[ring] + part * (nyquist[ring + 1] - nyquist[ring])), "crosses")
