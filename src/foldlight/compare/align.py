"""What a reconstruction cannot know is taken out before it is scored: its gauge.

A reconstruction is known up to a global complex scale, a linear phase ramp and a small shift. All three are fitted
once, to the truth, on the complex object, weighted by the light each pixel saw; amplitude and phase share the fit, and
nothing is ever fitted to truth and estimate apart. The removed gauge is kept beside the result.

Notation: `aligned(r) = scale * d(r + shift)`, `d(r) = estimate(r) * exp(-i ramp . (r - centre))`, centre `N // 2`.
Source: docs/physics.md, gauge; Guizar-Sicairos, Thurman & Fienup 2008, Opt. Lett. 33, 156 (registration).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float
from scipy.ndimage import distance_transform_edt
from skimage.registration import phase_cross_correlation

from foldlight.core.errors import DataError
from foldlight.optics.coverage import bounding_box, well_lit

__all__ = ["Gauge", "align", "centred_coordinates", "own_gauge"]

_Pair = tuple[float, float]

_STRUCTURE = 1e-8  # relative variance below which an image is flat: single precision leaves 1e-14, a real object 1e-4
_LARGEST_SHIFT = 0.25  # of the scored area's sides; a peak beyond is chance
_KEPT_PX, _FADE_PX = 3.0, 6.0  # around the scored area, when the estimate is shifted
_TINY = 1e-300  # keeps 0 / 0 out of flat images
_ROUNDS = 3  # of ramp, then shift, before the joint refinement
_REFINEMENTS = 12


@dataclass(frozen=True)
class Gauge:
    """What was taken out of an estimate.

    Attributes:
        shift_px: (y, x) by which the estimate lay beside the truth [px].
        ramp_rad_per_px: (y, x) slope of the phase ramp on the estimate [rad/px].
        scale: complex factor that brought the estimate to the truth.
    """

    shift_px: _Pair = (0.0, 0.0)
    ramp_rad_per_px: _Pair = (0.0, 0.0)
    scale: complex = 1.0 + 0.0j


@dataclass(frozen=True)
class _Fit:
    """The two images, and what counts where.

    Attributes:
        estimate: (y, x) complex128 object to align.
        truth: (y, x) complex128 object it is aligned to.
        weight: (y, x) light on each scored pixel, 0 elsewhere, sum 1.
        distance: (y, x) distance of each pixel from the scored area [px].
        box: rows and columns of the scored area.
    """

    estimate: np.ndarray
    truth: np.ndarray
    weight: np.ndarray
    distance: np.ndarray
    box: tuple[slice, slice]

    def moved(self, shift: _Pair, ramp: _Pair) -> np.ndarray:
        """The estimate without shift and ramp, on the whole canvas."""
        image: np.ndarray = self.estimate * _ramp_field(self.estimate.shape, (-ramp[0], -ramp[1]))
        if not any(shift):
            return image
        # What the light never reached may hold anything, and its edges would ring into the scored area: no value there
        # is taken for larger than those inside, and beyond what the shift brings in the image fades into its mean.
        beyond = np.clip((self.distance - np.hypot(*shift) - _KEPT_PX) / _FADE_PX, 0, 1)
        mean = np.sum(self.weight * image)
        deviation = image - mean
        size = np.abs(deviation)
        largest = size[self.distance == 0].max()
        deviation *= np.cos(np.pi / 2 * beyond) ** 2 * largest / np.maximum(size, max(largest, _TINY))
        return _fourier_shift(mean + deviation, (-shift[0], -shift[1]))

    def scale(self, moved: np.ndarray) -> complex:
        """The least-squares complex factor from a moved estimate to the truth; 0 for an estimate of zeros."""
        power = np.sum(self.weight * np.abs(moved) ** 2)
        return complex(np.sum(self.weight * moved.conj() * self.truth) / power) if power > 0 else 0j

    def misfit(self, moved: np.ndarray) -> float:
        """Weighted squared error left after the best scale, as a fraction of the truth's power."""
        left = self.truth - self.scale(moved) * moved
        return float(np.sum(self.weight * np.abs(left) ** 2) / np.sum(self.weight * np.abs(self.truth) ** 2))


def align(
    estimate: Complex[np.ndarray, "y x"],
    truth: Complex[np.ndarray, "y x"],
    coverage: Float[np.ndarray, "y x"],
    registration: bool = True,
) -> tuple[Complex[np.ndarray, "y x"], Gauge]:
    """Take shift, ramp and scale out of an estimate.

    A flat estimate has neither shift nor ramp: only its scale is fitted, which makes it the best flat image.

    Args:
        estimate: object as reconstructed.
        truth: object it is compared with.
        coverage: light on each object pixel [photon]; fits use the well-lit area alone.
        registration: fit shift and ramp too, not only the scale.

    Returns:
        The aligned estimate (complex128) and what was taken out.

    Raises:
        DataError: the truth is zero where it should be compared.
    """
    fit = _prepare(estimate, truth, coverage)
    if not np.sum(fit.weight * np.abs(fit.truth) ** 2) > 0:
        raise DataError("truth: expected a transmission in the well-lit area, got zeros; check object and positions")
    nothing = ((0.0, 0.0), (0.0, 0.0))
    shift, ramp = _register(fit) if registration and _has_structure(fit) else nothing
    moved = fit.moved(shift, ramp)
    scale = fit.scale(moved)
    return scale * moved, Gauge(shift, ramp, scale)


def own_gauge(
    image: Complex[np.ndarray, "y x"], coverage: Float[np.ndarray, "y x"]
) -> tuple[Complex[np.ndarray, "y x"], Gauge]:
    """An object without its own mean phase and phase ramp, in which estimates can be compared with it.

    No reconstruction can know the part of an object's phase that is a ramp, so it should count for nobody. Were it left
    in, a flat estimate with a fitted ramp would correlate with the slow slope of any object.
    """
    fit = _prepare(image, np.ones_like(image), coverage)
    ramp = _ramp_peak(fit.weight[fit.box] * fit.estimate[fit.box])
    moved = fit.moved((0.0, 0.0), ramp)
    turn = complex(np.exp(-1j * np.angle(np.sum(fit.weight * moved))))
    return turn * moved, Gauge(ramp_rad_per_px=ramp, scale=turn)


def centred_coordinates(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(y, 1) and (1, x) pixel coordinates with zero at `N // 2`."""
    return (
        np.arange(shape[0], dtype=np.float64)[:, None] - shape[0] // 2,
        np.arange(shape[1], dtype=np.float64)[None, :] - shape[1] // 2,
    )


def _prepare(estimate: np.ndarray, truth: np.ndarray, coverage: np.ndarray) -> _Fit:
    mask = well_lit(coverage)
    box = bounding_box(mask)
    light = np.where(mask, coverage, 0).astype(np.float64)
    return _Fit(
        estimate.astype(np.complex128),
        truth.astype(np.complex128),
        light / light.sum(),
        distance_transform_edt(~mask),
        box,
    )


def _has_structure(fit: _Fit) -> bool:
    """The estimate is more than one complex number."""
    mean = np.sum(fit.weight * fit.estimate)
    spread = np.sum(fit.weight * np.abs(fit.estimate - mean) ** 2)
    return bool(spread > _STRUCTURE * np.sum(fit.weight * np.abs(fit.estimate) ** 2))


def _register(fit: _Fit) -> tuple[_Pair, _Pair]:
    """Shift and ramp of the least misfit.

    A ramp hides a shift and a shift hides a ramp, so both are found in turns, from several starts: no shift at all,
    and the shifts of the pixel-to-pixel increments `e(r + 1) e*(r)`, in which a ramp is only a constant phase.
    """
    nothing = ((0.0, 0.0), (0.0, 0.0))
    starts = [(0.0, 0.0), *(_bounded(fit, _displacement(*_increments(fit, axis))) for axis in (0, 1))]
    candidates = [nothing, *(_in_turns(fit, start) for start in starts)]
    best = min(candidates, key=lambda found: fit.misfit(fit.moved(*found)))
    return _refined(fit, *best)


def _in_turns(fit: _Fit, shift: _Pair) -> tuple[_Pair, _Pair]:
    """Ramp at the present shift, shift at the present ramp, and again."""
    ramp = (0.0, 0.0)
    box, weight = fit.box, fit.weight[fit.box]
    for _ in range(_ROUNDS):
        moved = fit.moved(shift, ramp)[box]
        ramp = _sum(ramp, _ramp_peak(weight * fit.truth[box].conj() * moved))
        moved = fit.moved(shift, ramp)[box]
        # without the mean, or the edge of the area itself would be registered
        step = _displacement(_centred(fit.truth[box], weight), _centred(moved, weight))
        shift = _bounded(fit, _sum(shift, step))
    return shift, ramp


def _refined(fit: _Fit, shift: _Pair, ramp: _Pair) -> tuple[_Pair, _Pair]:
    """Gauss-Newton on scale, ramp and shift together; a step that does not help ends it."""
    misfit = fit.misfit(fit.moved(shift, ramp))
    for _ in range(_REFINEMENTS):
        step_ramp, step_shift = _step(fit, fit.moved(shift, ramp))
        tried = _bounded(fit, _sum(shift, step_shift)), _sum(ramp, step_ramp)
        after = fit.misfit(fit.moved(*tried))
        if not after < misfit:
            break
        gain, misfit = misfit - after, after
        shift, ramp = tried
        if gain < 1e-14:
            break
    return shift, ramp


def _step(fit: _Fit, moved: np.ndarray) -> tuple[_Pair, _Pair]:
    """Least-squares changes of ramp and shift; the complex scale moves along with them."""
    image = fit.scale(moved) * moved
    y, x = (axis.astype(np.complex128) for axis in centred_coordinates(image.shape))
    slopes = (image, 1j * image, -1j * y * image, -1j * x * image, *np.gradient(image))
    jacobian = np.stack([(np.sqrt(fit.weight) * slope)[fit.box].ravel() for slope in slopes], axis=1)
    left = (np.sqrt(fit.weight) * (fit.truth - image))[fit.box].ravel()
    solved = np.linalg.lstsq((jacobian.conj().T @ jacobian).real, (jacobian.conj().T @ left).real, rcond=1e-12)[0]
    return (float(solved[2]), float(solved[3])), (float(solved[4]), float(solved[5]))


def _ramp_peak(product: np.ndarray) -> _Pair:
    """Slope of the phase of `conj(truth) * estimate` [rad/px]: the peak of its spectrum, to 1/256 of a bin.

    The peak needs no phase unwrapping, so the ramp may run through any number of turns.
    """
    peak = np.array(np.unravel_index(np.argmax(np.abs(np.fft.fft2(product))), product.shape), dtype=np.float64)
    y, x = (np.arange(size) for size in product.shape)
    for reach in (1.0, 1 / 16):  # bins; the spectrum between them, by matrix products
        bins = np.linspace(-reach, reach, 33)
        rows, columns = ((index + bins) / size for index, size in zip(peak, product.shape, strict=True))
        fine = np.exp(-2j * np.pi * np.outer(rows, y)) @ product @ np.exp(-2j * np.pi * np.outer(x, columns))
        peak += bins[list(np.unravel_index(np.argmax(np.abs(fine)), fine.shape))]
    first, second = (2 * np.pi * ((peak / product.shape + 0.5) % 1 - 0.5)).tolist()
    return first, second


def _displacement(truth: np.ndarray, estimate: np.ndarray) -> _Pair:
    """(y, x) by which the estimate lies beside the truth, to 1/20 px."""
    registered = phase_cross_correlation(truth, estimate, normalization=None, upsample_factor=20)  # type: ignore[no-untyped-call]
    back = registered[0]
    return -float(back[0]), -float(back[1])


def _increments(fit: _Fit, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted increments of truth and estimate along an axis, without their mean."""
    box, weight = fit.box, fit.weight[fit.box]
    images = (fit.truth[box], fit.estimate[box])
    first, second = (_centred(np.roll(image, -1, axis) * image.conj(), weight) for image in images)
    return first, second


def _centred(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    centred: np.ndarray = weight * (image - np.sum(weight * image) / np.sum(weight))
    return centred


def _bounded(fit: _Fit, shift: _Pair) -> _Pair:
    """A shift, or none when it is too long to be anything but chance."""
    sides = (rows_or_columns.stop - rows_or_columns.start for rows_or_columns in fit.box)
    inside = all(abs(part) <= _LARGEST_SHIFT * side for part, side in zip(shift, sides, strict=True))
    return shift if inside else (0.0, 0.0)


def _ramp_field(shape: tuple[int, ...], ramp: _Pair) -> np.ndarray:
    y, x = centred_coordinates((shape[0], shape[1]))
    field: np.ndarray = np.exp(1j * ramp[0] * y) * np.exp(1j * ramp[1] * x)
    return field


def _fourier_shift(image: np.ndarray, shift: _Pair) -> np.ndarray:
    """`image(r - shift)`, as `optics.fourier.shift` does it, in double precision."""
    turns_y = np.fft.fftfreq(image.shape[0])[:, None] * shift[0]
    turns_x = np.fft.fftfreq(image.shape[1])[None, :] * shift[1]
    moved: np.ndarray = np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * (turns_y + turns_x)))
    return moved


def _sum(first: _Pair, second: _Pair) -> _Pair:
    return first[0] + second[0], first[1] + second[1]
