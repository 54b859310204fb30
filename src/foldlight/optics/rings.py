"""Rings of one spatial frequency, and the window that cuts an image out without ringing."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Inexact
from scipy.ndimage import distance_transform_edt

__all__ = ["Rings", "cycles_per_px", "tapered", "tapered_window"]

_TAPER = 0.125  # of the box's shorter side: the width over which the window rises at the mask's edge


@dataclass(frozen=True)
class Rings:
    """Rings one frequency bin of the shorter side wide, up to Nyquist, without the ring at zero.

    Attributes:
        index: (y, x) ring of every pixel of an unshifted spectrum; 0 is zero frequency.
        nyquist: (ring,) frequency of rings 1, 2, ..., as a fraction of Nyquist.
    """

    index: np.ndarray
    nyquist: np.ndarray

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "Rings":
        """The rings of spectra of (height, width)."""
        shorter = min(shape)
        return cls(np.rint(cycles_per_px(shape) * shorter).astype(int), np.arange(1, shorter // 2 + 1) * 2 / shorter)

    @property
    def samples(self) -> Float[np.ndarray, " ring"]:
        """(ring,) pixels in each ring."""
        return self.sum(np.ones(self.index.shape))

    def sum(self, values: Float[np.ndarray, "y x"]) -> Float[np.ndarray, " ring"]:
        """(ring,) sum of the values of an unshifted spectrum over each ring."""
        last = len(self.nyquist)
        return np.bincount(self.index.ravel(), values.ravel(), last + 1)[1 : last + 1]

    def mean(self, values: Float[np.ndarray, "y x"]) -> Float[np.ndarray, " ring"]:
        """(ring,) mean of the values of an unshifted spectrum in each ring."""
        return self.sum(values) / self.samples


def cycles_per_px(shape: tuple[int, ...]) -> Float[np.ndarray, "y x"]:
    """(y, x) length of the frequency of every pixel of an unshifted spectrum of (height, width)."""
    frequency: np.ndarray = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :])
    return frequency


def tapered_window(mask: Bool[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
    """1 inside a mask, falling to 0 at its edge (and at the array's) as a squared sine."""
    width = max(_TAPER * min(mask.shape), 1.0)
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    window: np.ndarray = np.sin(np.pi / 2 * np.clip(depth / width, 0, 1)) ** 2
    return window


def tapered(image: Inexact[np.ndarray, "y x"], window: Float[np.ndarray, "y x"]) -> Inexact[np.ndarray, "y x"]:
    """A windowed image without its mean; exactly zero when nothing but rounding is left of it."""
    mean = np.sum(window * image) / np.sum(window)
    left: np.ndarray = window * (image - mean)
    flat = np.abs(left).max() <= 1e-6 * np.abs(image).max()
    return np.zeros_like(left) if flat else left
