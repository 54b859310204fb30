"""What is believed of an object before any photon is counted: the power of its log-amplitude and phase, by frequency.

Source: docs/physics.md, the dose limit (Van Trees bound).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex, Float
from skimage.restoration import unwrap_phase

from foldlight.core.errors import DataError
from foldlight.optics.coverage import bounding_box
from foldlight.optics.rings import Rings, cycles_per_px, tapered_window

__all__ = ["Prior", "prior_of"]

_LEAST = 1e-8  # of the strongest ring: a prior that forbade a frequency altogether would claim to know it


@dataclass(frozen=True)
class Prior:
    """Isotropic, stationary Gaussian fields for log-amplitude and phase, independent of each other.

    Attributes:
        cycles_per_px: (k,) rising frequencies; between them the logarithm of the power is linear, beyond them constant.
        log_amplitude: (k,) power: the mean over a canvas's frequencies is the variance of a pixel.
        phase: (k,) the same [rad^2].

    Raises:
        DataError: the arrays differ in length, frequencies do not rise, or a power is not above zero.
    """

    cycles_per_px: np.ndarray
    log_amplitude: np.ndarray
    phase: np.ndarray

    def __post_init__(self) -> None:
        alike = self.cycles_per_px.shape == self.log_amplitude.shape == self.phase.shape
        if not (alike and self.cycles_per_px.ndim == 1 and self.cycles_per_px.size):
            raise DataError(
                "prior: expected three 1-D arrays of one length, got shapes"
                f" {self.cycles_per_px.shape}, {self.log_amplitude.shape} and {self.phase.shape}"
            )
        if not ((np.diff(self.cycles_per_px) > 0).all() and (self.log_amplitude > 0).all() and (self.phase > 0).all()):
            raise DataError(
                "prior: expected rising frequencies and powers above 0; leave out frequencies without power"
            )

    def spectra(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """(y, x) power of log-amplitude and of phase at the frequencies of `fft2` on a canvas."""
        frequency = cycles_per_px(shape)
        log_amplitude, phase = (
            np.exp(np.interp(frequency, self.cycles_per_px, np.log(power)))
            for power in (self.log_amplitude, self.phase)
        )
        return log_amplitude, phase


def prior_of(truth: Complex[np.ndarray, "y x"], mask: Bool[np.ndarray, "y x"]) -> Prior:
    """The prior that knows the ring power of this very object: the best an isotropic Gaussian prior can know.

    Log-amplitude and unwrapped phase lose their mean and are tapered at the mask's edge, as in the Fourier ring
    correlation; the power is divided by that of the taper.

    Raises:
        DataError: the mask is empty.
    """
    box = bounding_box(mask)
    window = tapered_window(mask[box])
    rings = Rings.of(window.shape)
    amplitude = np.abs(truth[box]).astype(np.float64)
    log_amplitude = np.log(np.maximum(amplitude, 1e-3 * amplitude.max()))
    phase = unwrap_phase(np.angle(truth[box]), rng=0)  # type: ignore[no-untyped-call]
    powers = (_ring_power(image, window, rings) for image in (log_amplitude, phase))
    return Prior(rings.nyquist / 2, *powers)


def _ring_power(image: Float[np.ndarray, "y x"], window: Float[np.ndarray, "y x"], rings: Rings) -> np.ndarray:
    """(ring,) mean power, no ring without any."""
    centred = window * (image - np.sum(window * image) / np.sum(window))
    power = rings.sum(np.abs(np.fft.fft2(centred)) ** 2) / rings.samples / np.sum(window**2)
    floor = max(float(power.max()) * _LEAST, 1e-12)
    held: np.ndarray = np.maximum(power, floor)
    return held
