"""The field's older definitions of its scores, so that published numbers can be compared; for nothing else.

Each differs from the standard one in a way that flatters: a peak of 255 on data of order 1 adds about 48 dB; planes
removed from truth and estimate apart hide a ramp in either; a range of 2 that the data never fill lifts an SSIM.
Definitions: `specs/compare_models.md`, legacy columns.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex, Float
from skimage.metrics import structural_similarity
from skimage.restoration import unwrap_phase

from foldlight.compare.metrics import mean_absolute_error, psnr
from foldlight.optics.coverage import bounding_box

__all__ = ["LegacyScores", "legacy_score", "without_plane"]

_PEAK = 255.0  # of 8-bit images
_FLOAT_RANGE = 2.0  # what scikit-image took for the range of floats, [-1, 1], when none was given
_WINDOW_PX = 7  # its uniform window


@dataclass(frozen=True)
class LegacyScores:
    """Older definitions, one column each."""

    legacy_amplitude_mae: float
    legacy_phase_mae: float
    legacy_amplitude_psnr: float | None
    legacy_phase_psnr: float | None
    legacy_amplitude_ssim: float | None
    legacy_phase_ssim: float | None


def legacy_score(
    truth: Complex[np.ndarray, "y x"], estimate: Complex[np.ndarray, "y x"], mask: Bool[np.ndarray, "y x"]
) -> LegacyScores:
    """An estimate by the older definitions.

    Args:
        truth: true object.
        estimate: the estimate; a shift should be removed, everything else is removed here once more.
        mask: object pixels to score.
    """
    box = bounding_box(mask)
    inside, images = mask[box], (truth[box], estimate[box])
    amplitudes = _levelled(np.abs(images[0]).astype(np.float64), np.abs(images[1]).astype(np.float64), inside)
    first, second = (without_plane(_unwrapped(image, inside), inside) for image in images)
    phases = first, second
    return LegacyScores(
        legacy_amplitude_mae=mean_absolute_error(*amplitudes, inside),
        legacy_phase_mae=mean_absolute_error(*phases, inside),
        legacy_amplitude_psnr=psnr(*amplitudes, inside, _PEAK),
        legacy_phase_psnr=psnr(*phases, inside, _PEAK),
        legacy_amplitude_ssim=_ssim(*amplitudes, inside),
        legacy_phase_ssim=_ssim(*phases, inside),
    )


def without_plane(phase: Float[np.ndarray, "y x"], mask: Bool[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
    """An image less the plane `a + b y + c x` that fits its values on the mask best."""
    y, x = np.indices(phase.shape, dtype=np.float64)
    columns = np.stack([np.ones(phase.shape), y, x], axis=-1)
    plane = np.linalg.lstsq(columns[mask], phase[mask], rcond=None)[0]
    left: np.ndarray = phase - columns @ plane
    return left


def _levelled(truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes, the estimate's scaled so that their means agree."""
    level = float(estimate[mask].mean())
    return truth, estimate * (float(truth[mask].mean()) / level if level > 0 else 1.0)


def _unwrapped(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Phase without its jumps of 2 pi on the mask, as far as noise allows; 0 elsewhere."""
    phase = np.ma.masked_array(np.angle(image).astype(np.float64), ~mask)
    unwrapped: np.ndarray = np.ma.filled(unwrap_phase(phase, rng=0), 0.0)  # type: ignore[no-untyped-call]
    return unwrapped


def _ssim(truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray) -> float | None:
    """SSIM with scikit-image's defaults of that time: uniform window of 7 px, sample covariance, range 2."""
    if min(truth.shape) < _WINDOW_PX:
        return None
    _, similarity = structural_similarity(  # type: ignore[no-untyped-call]
        truth, estimate, win_size=_WINDOW_PX, data_range=_FLOAT_RANGE, full=True
    )
    return float(similarity[mask].mean())
