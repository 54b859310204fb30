import numpy as np
import pytest
from skimage.metrics import structural_similarity

from foldlight.compare.legacy import legacy_score, without_plane
from foldlight.compare.metrics import psnr, value_range
from foldlight.compare.table import CompareSettings, compare
from foldlight.optics.coverage import bounding_box, well_lit


def noisy(truth: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(8)
    return truth + 0.02 * (rng.normal(size=truth.shape) + 1j * rng.normal(size=truth.shape))


def ramped(image: np.ndarray, slope: float) -> np.ndarray:
    return image * np.exp(1j * slope * np.arange(image.shape[0]))[:, None]


def test_the_peak_adds_20_log_255_over_the_range(truth, coverage):
    mask, estimate = well_lit(coverage), noisy(truth)
    amplitudes = np.abs(truth), np.abs(estimate) * np.abs(truth)[mask].mean() / np.abs(estimate)[mask].mean()
    span = value_range(amplitudes[0], mask)
    standard = psnr(*amplitudes, mask, span)
    added = legacy_score(truth, estimate, mask).legacy_amplitude_psnr - standard
    assert added == pytest.approx(20 * np.log10(255 / span))


def test_planes_removed_apart_hide_a_ramp(truth, coverage):
    mask = well_lit(coverage)
    straight, bent = (legacy_score(truth, ramped(noisy(truth), slope), mask) for slope in (0.0, 0.3))
    assert bent.legacy_phase_mae == pytest.approx(straight.legacy_phase_mae, rel=1e-6)
    assert bent.legacy_phase_psnr == pytest.approx(straight.legacy_phase_psnr, rel=1e-6)
    tilted = legacy_score(ramped(truth, 0.3), noisy(truth), mask)
    assert tilted.legacy_phase_mae == pytest.approx(straight.legacy_phase_mae, rel=1e-6)


def test_amplitudes_are_scaled_by_their_means(truth, coverage):
    mask = well_lit(coverage)
    assert legacy_score(truth, 3j * truth, mask).legacy_amplitude_mae == pytest.approx(0, abs=1e-12)
    assert np.isfinite(legacy_score(truth, np.zeros_like(truth), mask).legacy_amplitude_mae)


def test_ssim_has_the_range_that_floats_were_taken_to_have(truth, coverage):
    mask, estimate = well_lit(coverage), noisy(truth)
    box = bounding_box(mask)
    first, second = np.abs(truth[box]), np.abs(estimate[box])
    second *= first[mask[box]].mean() / second[mask[box]].mean()
    _, wanted = structural_similarity(first, second, data_range=2.0, full=True)
    assert legacy_score(truth, estimate, mask).legacy_amplitude_ssim == pytest.approx(wanted[mask[box]].mean())


def test_a_plane_is_that_of_least_squares_on_the_mask():
    y, x = np.indices((8, 12), dtype=float)
    mask = (y > 1) & (x < 9)
    image = 3 + 0.2 * y - 0.5 * x
    assert np.allclose(without_plane(np.where(mask, image, 7.0), mask)[mask], 0)


def test_columns_are_filled_only_when_asked_for(scan, truth, reconstruction):
    made = [reconstruction("A", noisy(truth))]
    plain, asked = (compare(scan, made, settings=CompareSettings(legacy=legacy)) for legacy in (False, True))
    assert not any(name.startswith("legacy_") for name in plain.plain()[0])
    found = asked.plain()[0]
    assert found["legacy_phase_psnr"] > found["phase_psnr"] + 35
    assert found["phase_psnr"] == plain.rows[0].phase_psnr
