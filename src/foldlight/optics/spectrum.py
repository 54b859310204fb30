"""How wrong an estimate of an object is as a rule, by fineness of detail and by dose.

A network's errors have a colour: fine detail it knows better than photons alone could tell, broad slopes of phase and
amplitude less well, since light of one place tells little of them. Who knows the colour can correct the one and keep
the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Complex, Float

from foldlight.core.errors import DataError
from foldlight.optics.coverage import bounding_box, well_lit
from foldlight.optics.rings import Rings, cycles_per_px, tapered_window

__all__ = ["FREQUENCIES", "ErrorSpectrum", "error_power", "lit_photons"]

FREQUENCIES = np.round(np.geomspace(0.01, 0.5, 14), 4)
"""At which a spectrum is tabulated [cycles / px]."""

_SLOW = 0.03  # [cycles / px] below which more than usual is reckoned with; 0.03 to 0.05 measured alike
_LEAST = 1e-12  # of the object's power: an error below it is rounding
_DIGITS = 4  # kept of a power: it is an average of a few dozen scans


@dataclass(frozen=True)
class ErrorSpectrum:
    """Power of the relative error; between the table's entries its logarithm is linear, beyond them constant.

    Attributes:
        photons_per_pixel: (n,) rising: photons through a well-lit object pixel, over all frames.
        cycles_per_px: (k,) rising frequencies.
        power: (n, k) of the error over the mean power of the object: its mean over a canvas's frequencies is the
            squared relative error.

    Raises:
        DataError: shapes do not fit, dose or frequency does not rise, or a power is not above zero.
    """

    photons_per_pixel: np.ndarray
    cycles_per_px: np.ndarray
    power: np.ndarray

    def __post_init__(self) -> None:
        shape = (self.photons_per_pixel.size, self.cycles_per_px.size)
        if self.photons_per_pixel.ndim != 1 or self.cycles_per_px.ndim != 1 or self.power.shape != shape or 0 in shape:
            raise DataError(f"error spectrum: expected powers of shape {shape}, got {self.power.shape}")
        rising = (np.diff(self.photons_per_pixel) > 0).all() and (np.diff(self.cycles_per_px) > 0).all()
        positive = self.photons_per_pixel[0] > 0 and self.cycles_per_px[0] > 0 and (self.power > 0).all()
        positive = positive and all(np.isfinite(values).all() for values in vars(self).values())
        if not (rising and positive):
            raise DataError("error spectrum: expected rising doses and frequencies, and finite powers above 0")

    def at(self, photons_per_pixel: float, canvas: tuple[int, int]) -> Float[np.ndarray, "y x"]:
        """(y, x) power to reckon with at the frequencies of `fft2` on a canvas, at so many photons through a pixel.

        Slow errors grow with the canvas and differ most from scan to scan, so more is reckoned with than is usual.
        """
        dose, doses = np.log(photons_per_pixel), np.log(self.photons_per_pixel)
        curve = [np.interp(dose, doses, each) for each in np.log(self.power).T]
        frequency = cycles_per_px(canvas)
        table: np.ndarray = np.exp(np.interp(frequency, self.cycles_per_px, curve))
        return table * (1 + _SLOW / np.maximum(frequency, 0.5 / max(canvas)))

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {name: values.tolist() for name, values in vars(self).items()}

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "ErrorSpectrum":
        """What `plain` gave.

        Raises:
            DataError: it is not that.
        """
        names = ("photons_per_pixel", "cycles_per_px", "power")
        try:
            return cls(*(np.array(values[name], dtype=np.float64) for name in names))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"error spectrum: expected {', '.join(names)}: {error}") from None

    @classmethod
    def of(cls, measured: Iterable[tuple[float, Float[np.ndarray, " k"]]]) -> "ErrorSpectrum":
        """The usual one of many scans: geometric means over the scans of each decade of dose.

        Args:
            measured: of each scan, photons per pixel and what `error_power` finds.
        """
        decades: dict[int, list[tuple[float, np.ndarray]]] = {}
        for photons, power in measured:
            decades.setdefault(int(np.floor(np.log10(photons))), []).append((photons, power))
        doses, powers = [], []
        for _, found in sorted(decades.items()):
            doses.append(np.exp(np.mean([np.log(photons) for photons, _ in found])))
            powers.append(np.exp(np.mean([np.log(power) for _, power in found], axis=0)))
        return cls(_rounded(np.array(doses)), FREQUENCIES, _rounded(np.array(powers)))


def error_power(
    found: Complex[np.ndarray, "y x"], truth: Complex[np.ndarray, "y x"], mask: Bool[np.ndarray, "y x"]
) -> Float[np.ndarray, " k"]:
    """(k,) power of an object's error at `FREQUENCIES`, over the mean power of the truth.

    A constant phase, which no frame knows, is taken off; the error is tapered at the mask's edge.

    Raises:
        DataError: the mask is empty.
    """
    box = bounding_box(mask)
    window = tapered_window(mask[box])
    one, other = found[box].astype(np.complex128), truth[box].astype(np.complex128)
    turn = np.vdot(one * window, other)
    error = (one * (turn / max(abs(turn), _LEAST)) - other) * window
    rings = Rings.of(window.shape)
    light = np.sum(window**2 * np.abs(other) ** 2)
    power = rings.mean(np.abs(np.fft.fft2(error)) ** 2) / light
    curve = np.interp(FREQUENCIES, rings.nyquist / 2, np.log(np.maximum(power, _LEAST)))
    spread: np.ndarray = np.exp(curve)
    return spread


def lit_photons(coverage: Float[np.ndarray, "y x"]) -> float:
    """Photons through a well-lit object pixel, the median of them."""
    return float(np.median(coverage[well_lit(coverage)]))


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.array([float(f"{value:.{_DIGITS}g}") for value in values.ravel()]).reshape(values.shape)
