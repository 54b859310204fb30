"""How far an aligned estimate is from the truth: standard definitions, no default ranges.

Every function takes truth first, then the estimate with its gauge already removed (`compare.align`), and a mask of
object pixels to score. None says that a number has no meaning here (a truth without contrast, an image too small),
which a table shows as an empty cell. Source: docs/physics.md, scores.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex, Float
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from foldlight.optics.coverage import bounding_box

__all__ = [
    "MS_SSIM_WEIGHTS",
    "Scores",
    "complex_correlation",
    "mean_absolute_error",
    "ms_ssim",
    "pearson",
    "phase_pair",
    "psnr",
    "score",
    "skill",
    "ssim",
    "value_range",
]

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Finest scale first. Source: Wang, Simoncelli & Bovik 2003."""

_FLAT = 1e-6  # relative spread below which an image is flat: what single precision leaves of a constant
_ROUNDING = 1e-10  # of a similarity: what two ways to the same flat image differ by
_TRUNCATE = 3.5  # standard deviations in a Gaussian window's half: 11 px for 1.5, as Wang 2004 has it
_K1, _K2 = 0.01, 0.03


@dataclass(frozen=True)
class Scores:
    """Every number that needs a truth; see `specs/compare_models.md`."""

    amplitude_mae: float | None
    phase_mae: float | None
    amplitude_psnr: float | None
    phase_psnr: float | None
    amplitude_ssim: float | None
    phase_ssim: float | None
    amplitude_ms_ssim: float | None
    phase_ms_ssim: float | None
    complex_correlation: float | None
    phase_correlation: float | None
    phase_skill: float | None
    amplitude_skill: float | None


def score(
    truth: Complex[np.ndarray, "y x"],
    estimate: Complex[np.ndarray, "y x"],
    flat: Complex[np.ndarray, "y x"],
    mask: Bool[np.ndarray, "y x"],
    weight: Float[np.ndarray, "y x"],
    ms_ssim_sigma: float,
) -> Scores:
    """All metrics of an aligned estimate.

    Args:
        truth: true object.
        estimate: aligned object.
        flat: the best flat image: ones, aligned to the truth; the zero of the skills.
        mask: object pixels to score.
        weight: light on each pixel, for the truth's mean phase.
        ms_ssim_sigma: standard deviation of the MS-SSIM window [px].
    """
    amplitudes = np.abs(truth).astype(np.float64), np.abs(estimate).astype(np.float64)
    phases = phase_pair(truth, estimate, mask, weight)
    amplitude_range, phase_range = value_range(amplitudes[0], mask), value_range(phases[0], mask)
    amplitude_ssim, phase_ssim = ssim(*amplitudes, mask, amplitude_range), ssim(*phases, mask, phase_range)
    flat_amplitude, flat_phase = np.abs(flat).astype(np.float64), phase_pair(truth, flat, mask, weight)[1]
    return Scores(
        amplitude_mae=mean_absolute_error(*amplitudes, mask),
        phase_mae=mean_absolute_error(*phases, mask),
        amplitude_psnr=psnr(*amplitudes, mask, amplitude_range),
        phase_psnr=psnr(*phases, mask, phase_range),
        amplitude_ssim=amplitude_ssim,
        phase_ssim=phase_ssim,
        amplitude_ms_ssim=ms_ssim(*amplitudes, mask, amplitude_range, ms_ssim_sigma),
        phase_ms_ssim=ms_ssim(*phases, mask, phase_range, ms_ssim_sigma),
        complex_correlation=complex_correlation(truth, estimate, mask),
        phase_correlation=pearson(*phases, mask),
        phase_skill=skill(phase_ssim, ssim(phases[0], flat_phase, mask, phase_range)),
        amplitude_skill=skill(amplitude_ssim, ssim(amplitudes[0], flat_amplitude, mask, amplitude_range)),
    )


def phase_pair(
    truth: Complex[np.ndarray, "y x"],
    estimate: Complex[np.ndarray, "y x"],
    mask: Bool[np.ndarray, "y x"],
    weight: Float[np.ndarray, "y x"],
) -> tuple[Float[np.ndarray, "y x"], Float[np.ndarray, "y x"]]:
    """Phases of truth and estimate [rad] that can be subtracted.

    Both objects are turned by the truth's weighted mean phase, which keeps the wrap at +-pi away from the data. The
    estimate's phase is read on the truth's branch, so their difference is the wrapped error, in (-pi, pi].
    """
    turned = truth * np.exp(-1j * np.angle(np.sum((weight * truth)[mask], dtype=np.complex128)))
    phase = np.angle(turned).astype(np.float64)
    return phase, phase + np.angle(estimate * truth.conj()).astype(np.float64)


def value_range(truth: Float[np.ndarray, "y x"], mask: Bool[np.ndarray, "y x"]) -> float | None:
    """Largest minus smallest value of the truth on the mask; None when it has no contrast."""
    values = truth[mask]
    spread = float(values.max() - values.min())
    return spread if spread > 2 * _FLAT * max(1.0, float(np.abs(values).max())) else None


def mean_absolute_error(
    truth: Float[np.ndarray, "y x"], estimate: Float[np.ndarray, "y x"], mask: Bool[np.ndarray, "y x"]
) -> float:
    """Mean of `|truth - estimate|` on the mask, in the truth's unit."""
    return float(np.abs(truth - estimate)[mask].mean())


def psnr(
    truth: Float[np.ndarray, "y x"],
    estimate: Float[np.ndarray, "y x"],
    mask: Bool[np.ndarray, "y x"],
    data_range: float | None,
) -> float | None:
    """`10 log10(range^2 / mean squared error)` on the mask [dB]; infinite for a perfect estimate."""
    if data_range is None:
        return None
    error = float(np.square(truth - estimate)[mask].mean())
    return float(10 * np.log10(data_range**2 / error)) if error > 0 else float("inf")


def ssim(
    truth: Float[np.ndarray, "y x"],
    estimate: Float[np.ndarray, "y x"],
    mask: Bool[np.ndarray, "y x"],
    data_range: float | None,
    sigma: float = 1.5,
) -> float | None:
    """Mean of the SSIM map on the mask. Source: Wang et al. 2004, Gaussian window.

    Args:
        truth: true image.
        estimate: image to score.
        mask: pixels averaged; their windows may reach a few pixels beyond.
        data_range: the truth's range.
        sigma: standard deviation of the window [px].
    """
    if data_range is None or min(truth.shape) < 2 * _radius(sigma) + 1:
        return None
    _, similarity = structural_similarity(  # type: ignore[no-untyped-call]
        truth,
        estimate,
        data_range=data_range,
        gaussian_weights=True,
        sigma=sigma,
        use_sample_covariance=False,
        full=True,
    )
    return float(similarity[mask].mean())


def skill(similarity: float | None, of_flat: float | None) -> float | None:
    """`(s - s_flat) / (1 - s_flat)`: 1 for a perfect image, 0 for one no better than the best flat one.

    Plain SSIM of a flat image is not 0: its luminance term knows the mean, and where the truth is uniform its
    contrast term is 1. Source: Murphy 1988, Mon. Weather Rev. 116, 2417 (skill against a reference forecast).
    """
    if similarity is None or of_flat is None or not of_flat < 1 - _FLAT:
        return None
    gain = similarity - of_flat
    return gain / (1 - of_flat) if abs(gain) > _ROUNDING else 0.0


def ms_ssim(
    truth: Float[np.ndarray, "y x"],
    estimate: Float[np.ndarray, "y x"],
    mask: Bool[np.ndarray, "y x"],
    data_range: float | None,
    sigma: float,
) -> float | None:
    """Multi-scale SSIM on the mask's bounding box; None when it is too small for five scales.

    Contrast-structure at each of five scales, luminance at the coarsest, to the powers `MS_SSIM_WEIGHTS`. Scales are
    2 x 2 means; only windows that lie inside the box count, and of those the ones centred on pixels wholly inside
    the mask. A negative mean counts as 0. Source: Wang, Simoncelli & Bovik 2003.
    """
    box = bounding_box(mask)
    images, inside = (truth[box], estimate[box]), mask[box].astype(np.float64)
    product = 1.0
    for scale, power in enumerate(MS_SSIM_WEIGHTS):
        if scale:
            images, inside = (_halve(images[0]), _halve(images[1])), _halve(inside)
        valid = _inner(inside, sigma) > 1 - _FLAT
        if data_range is None or not valid.any():
            return None
        luminance, contrast = _similarity_maps(*images, data_range, sigma)
        last = scale == len(MS_SSIM_WEIGHTS) - 1
        term = luminance * contrast if last else contrast
        product *= max(float(_inner(term, sigma)[valid].mean()), 0.0) ** power
    return product


def complex_correlation(
    truth: Complex[np.ndarray, "y x"], estimate: Complex[np.ndarray, "y x"], mask: Bool[np.ndarray, "y x"]
) -> float | None:
    """`|<t, e>| / (|t| |e|)` of the objects without their means, in [0, 1]; 0 for a flat estimate."""
    value = _correlation(truth, estimate, mask)
    return None if value is None else abs(value)


def pearson(
    truth: Float[np.ndarray, "y x"], estimate: Float[np.ndarray, "y x"], mask: Bool[np.ndarray, "y x"]
) -> float | None:
    """Pearson correlation on the mask, in [-1, 1]; 0 for a flat estimate, None for a flat truth."""
    value = _correlation(truth, estimate, mask)
    return None if value is None else float(value.real)


def _correlation(truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray) -> complex | None:
    t, e = _deviation(truth[mask]), _deviation(estimate[mask])
    if t is None:
        return None
    return 0j if e is None else complex(np.vdot(t, e) / (np.linalg.norm(t) * np.linalg.norm(e)))


def _deviation(values: np.ndarray) -> np.ndarray | None:
    """Values less their mean, or None when nothing is left but rounding."""
    centred = values - values.mean(dtype=np.result_type(values, np.float64))
    size = max(1.0, float(np.abs(values).max())) if np.isrealobj(values) else float(np.abs(values).max())
    return centred if np.abs(centred).max() > _FLAT * size else None


def _similarity_maps(
    truth: np.ndarray, estimate: np.ndarray, data_range: float, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Maps of luminance and of contrast-structure; their product is the SSIM map."""

    def blur(image: np.ndarray) -> np.ndarray:
        blurred: np.ndarray = gaussian_filter(image, sigma, truncate=_TRUNCATE)
        return blurred

    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    mean_t, mean_e = blur(truth), blur(estimate)
    variance_t, variance_e = blur(truth**2) - mean_t**2, blur(estimate**2) - mean_e**2
    covariance = blur(truth * estimate) - mean_t * mean_e
    luminance = (2 * mean_t * mean_e + c1) / (mean_t**2 + mean_e**2 + c1)
    return luminance, (2 * covariance + c2) / (variance_t + variance_e + c2)


def _radius(sigma: float) -> int:
    return int(_TRUNCATE * sigma + 0.5)


def _inner(image: np.ndarray, sigma: float) -> np.ndarray:
    """Pixels whose window lies inside the image."""
    edge = _radius(sigma)
    return image[edge : image.shape[0] - edge, edge : image.shape[1] - edge]


def _halve(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    blocks: np.ndarray = image[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3))
    return blocks
