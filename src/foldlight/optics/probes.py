"""Model probes, as complex arrays of unit power. `scan` and `simulate` scale them to photons.

Notation: `N` window size [px], `q` spatial frequency [cycles/px], Nyquist at 1/2.
"""

import numpy as np

from foldlight.core.errors import SettingsError

__all__ = ["disc", "normalised", "zone_plate"]


def disc(window: tuple[int, int], diameter_px: float, soft_px: float = 1.0) -> np.ndarray:
    """(1, y, x) flat-phase disc with an edge about `soft_px` wide."""
    radius = _radius(window)
    amplitude = _soft_step(diameter_px / 2 - radius, soft_px)
    return normalised(amplitude[None].astype(np.complex128))


def zone_plate(window: tuple[int, int], diameter_px: float, aperture: float = 0.5, stop: float = 0.3) -> np.ndarray:
    """(1, y, x) defocused focus of a zone plate with a central stop.

    The pupil is a ring at the detector; defocus is the phase `alpha q^2` on it. A ray through `q` lands
    `alpha q / pi` from the axis (the gradient of the phase over `2 pi`), so the diameter asked for fixes `alpha`.

    Args:
        window: (height, width) [px].
        diameter_px: geometric diameter of the defocused beam [px]; 0 is the focus itself.
        aperture: outer radius of the pupil at the detector, in fractions of Nyquist.
        stop: radius of the central stop, in fractions of the aperture.

    Raises:
        SettingsError: `aperture` or `stop` outside (0, 1) and [0, 1).

    Source: Goodman, Introduction to Fourier Optics, ch. 5 (a lens in the Fresnel approximation).
    """
    if not (0 < aperture <= 1 and 0 <= stop < 1):
        raise SettingsError(f"zone plate: expected 0 < aperture <= 1 and 0 <= stop < 1, got {aperture} and {stop}")
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(size) for size in window), indexing="ij"))
    outer = aperture / 2
    edge = 1.0 / min(window)
    pupil = _soft_step(outer - frequency, edge) * _soft_step(frequency - stop * outer, edge)
    alpha = np.pi * diameter_px / 2 / outer
    field = np.fft.fftshift(np.fft.ifft2(pupil * np.exp(1j * alpha * frequency**2)))
    return normalised(field[None])


def normalised(probe: np.ndarray, photons: float = 1.0) -> np.ndarray:
    """The probe as complex64, scaled to a total power of `photons` over all modes."""
    power = float(np.sum(np.abs(probe) ** 2))
    return (probe * np.sqrt(photons / power)).astype(np.complex64)


def _radius(window: tuple[int, int]) -> np.ndarray:
    """(y, x) distance from the centre pixel `N // 2`."""
    axes = (np.arange(size) - size // 2 for size in window)
    return np.hypot(*np.meshgrid(*axes, indexing="ij"))


def _soft_step(inside: np.ndarray, width: float) -> np.ndarray:
    """0 outside, 1 inside, a raised cosine of the given width between."""
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(inside / width + 0.5, 0, 1))
