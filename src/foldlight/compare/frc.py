"""Fourier ring correlation of complex objects: up to which spatial frequency two images agree.

Frequencies are fractions of Nyquist.
Source: van Heel & Schatz 2005, J. Struct. Biol. 151, 250; docs/physics.md, scores.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Complex, Float
from scipy.ndimage import distance_transform_edt

from foldlight.compare.align import bounding_box

__all__ = ["Crossing", "RingCorrelation", "crossing", "half_bit", "ring_correlation", "tapered_window"]

_TAPER = 0.125  # of the box's shorter side: the width over which the window rises at the mask's edge


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
    spectra = [np.fft.fft2(_windowed(image[box], window)) for image in (truth, estimate)]
    frequency = 2 * np.hypot(np.fft.fftfreq(window.shape[0])[:, None], np.fft.fftfreq(window.shape[1])[None, :])
    shorter = min(window.shape)
    ring = np.rint(frequency * shorter / 2).astype(int).ravel()
    last = shorter // 2

    def ring_sum(values: np.ndarray) -> np.ndarray:
        return np.bincount(ring, values.ravel(), last + 1)[1 : last + 1]

    cross = spectra[0] * spectra[1].conj()
    overlap = np.hypot(ring_sum(cross.real), ring_sum(cross.imag))
    power = np.sqrt(ring_sum(np.abs(spectra[0]) ** 2) * ring_sum(np.abs(spectra[1]) ** 2))
    return RingCorrelation(
        nyquist=np.arange(1, last + 1) * 2 / shorter,
        correlation=np.divide(overlap, power, out=np.zeros_like(overlap), where=power > 0).clip(0, 1),
        samples=ring_sum(np.ones(window.shape)),
        fill=float(np.sum(window**2) ** 2 / (window.size * np.sum(window**4))),
    )


def tapered_window(mask: Bool[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
    """1 inside a mask, falling to 0 at its edge (and at the array's) as a squared sine."""
    width = max(_TAPER * min(mask.shape), 1.0)
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    window: np.ndarray = np.sin(np.pi / 2 * np.clip(depth / width, 0, 1)) ** 2
    return window


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


def _windowed(image: np.ndarray, window: np.ndarray) -> np.ndarray:
    """A tapered image without its mean; exactly zero when nothing but rounding is left of it."""
    mean = np.sum(window * image) / np.sum(window)
    left: np.ndarray = window * (image - mean)
    flat = np.abs(left).max() <= 1e-6 * np.abs(image).max()
    return np.zeros_like(left) if flat else left
