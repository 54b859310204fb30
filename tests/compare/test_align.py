import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.compare.align import Gauge, align, centred_coordinates, own_gauge
from foldlight.core.errors import DataError
from foldlight.optics.coverage import bounding_box, well_lit


def ramp_field(shape: tuple[int, int], ramp: tuple[float, float]) -> np.ndarray:
    y, x = centred_coordinates(shape)
    return np.exp(1j * (ramp[0] * y + ramp[1] * x))


def fourier_shifted(image: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    turns = np.fft.fftfreq(image.shape[0])[:, None] * shift[0] + np.fft.fftfreq(image.shape[1]) * shift[1]
    return np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * turns))


def gauged(image: np.ndarray, shift: tuple[float, float], ramp: tuple[float, float], scale: complex) -> np.ndarray:
    return scale * fourier_shifted(image, shift) * ramp_field(image.shape, ramp)


def error(truth: np.ndarray, aligned: np.ndarray, coverage: np.ndarray) -> float:
    """Root mean square on the scored pixels."""
    return float(np.sqrt(np.mean(np.abs(truth - aligned)[well_lit(coverage)] ** 2)))


shifts = st.tuples(st.floats(-3, 3), st.floats(-3, 3))
ramps = st.tuples(st.floats(-0.15, 0.15), st.floats(-0.15, 0.15))  # up to 14 rad over the field
phases = st.floats(-np.pi, np.pi)


class TestGaugeIsRemoved:
    @given(shift=shifts, ramp=ramps, phase=phases, size=st.floats(0.2, 5))
    @settings(max_examples=12, deadline=None)
    def test_of_the_truth_itself(self, truth, coverage, shift, ramp, phase, size):
        estimate = gauged(truth, shift, ramp, size * np.exp(1j * phase))
        aligned, gauge = align(estimate, truth, coverage)
        assert error(truth, aligned, coverage) < 2e-3  # measured up to 4e-4, from the fade in the dark; contrast is 0.4
        assert np.allclose(gauge.shift_px, shift, atol=0.01)
        assert np.allclose(gauge.ramp_rad_per_px, ramp, atol=1e-4)
        assert abs(gauge.scale) == pytest.approx(1 / size, rel=1e-3)

    @given(ramp=ramps, phase=phases, size=st.floats(0.2, 5))
    @settings(max_examples=6, deadline=None)
    def test_without_a_shift_nothing_is_interpolated(self, truth, coverage, ramp, phase, size):
        aligned, _ = align(gauged(truth, (0.0, 0.0), ramp, size * np.exp(1j * phase)), truth, coverage)
        assert error(truth, aligned, coverage) < 1e-5

    @given(shift=shifts, ramp=ramps, phase=phases)
    @settings(max_examples=6, deadline=None)
    def test_of_a_noisy_estimate_so_that_scores_do_not_depend_on_it(self, truth, coverage, shift, ramp, phase):
        rng = np.random.default_rng(0)
        noisy = truth + 0.1 * (rng.normal(size=truth.shape) + 1j * rng.normal(size=truth.shape))
        plain = error(truth, align(noisy, truth, coverage)[0], coverage)
        turned = error(truth, align(gauged(noisy, shift, ramp, np.exp(1j * phase)), truth, coverage)[0], coverage)
        assert turned == pytest.approx(plain, rel=0.02)

    def test_of_a_strong_phase_object_where_a_shift_hides_the_ramp(self, truth, coverage):
        strong = np.exp(6j * np.angle(truth))
        aligned, gauge = align(gauged(strong, (2.7, -3.4), (0.11, -0.2), 1.0), strong, coverage)
        assert np.allclose(gauge.shift_px, (2.7, -3.4), atol=0.02)
        assert error(strong, aligned, coverage) < 0.01

    def test_whatever_lies_in_the_dark(self, truth, coverage):
        dark = coverage < 1e-3 * coverage.max()
        estimate = np.where(dark, 50.0, gauged(truth, (1.3, -0.6), (0.02, 0.05), 1j))
        aligned, gauge = align(estimate, truth, coverage)
        assert np.allclose(gauge.shift_px, (1.3, -0.6), atol=0.02)
        assert error(truth, aligned, coverage) < 0.02


class TestNothingIsInvented:
    @pytest.mark.parametrize("level", [1.0 + 0j, 0.3 - 2j])
    def test_a_flat_estimate_becomes_the_best_flat_image(self, truth, coverage, level):
        aligned, gauge = align(np.full_like(truth, level), truth, coverage)
        weight = np.where(well_lit(coverage), coverage, 0)
        assert np.allclose(aligned, np.sum(weight * truth) / weight.sum())
        assert gauge.shift_px == gauge.ramp_rad_per_px == (0.0, 0.0)

    def test_an_estimate_of_zeros_stays_zeros(self, truth, coverage):
        aligned, _ = align(np.zeros_like(truth), truth, coverage)
        assert not aligned.any()

    def test_an_unrelated_estimate_is_not_helped_much(self, truth, other, coverage):
        aligned, _ = align(other, truth, coverage)
        flat, _ = align(np.ones_like(truth), truth, coverage)
        assert error(truth, aligned, coverage) > 0.8 * error(truth, flat, coverage)

    def test_without_registration_only_the_scale_is_fitted(self, truth, coverage):
        estimate = gauged(truth, (1.0, 2.0), (0.02, 0.0), 2j)
        _, gauge = align(estimate, truth, coverage, registration=False)
        assert gauge == Gauge(scale=gauge.scale)

    def test_a_truth_of_zeros_is_refused(self, truth, coverage):
        with pytest.raises(DataError, match="truth: expected a transmission in the well-lit area, got zeros"):
            align(truth, np.zeros_like(truth), coverage)


def test_own_gauge_leaves_neither_ramp_nor_mean_phase(truth, coverage):
    bent = gauged(truth, (0.0, 0.0), (0.08, -0.05), 2 * np.exp(2j))
    shown, gauge = own_gauge(bent, coverage)
    mean = np.sum((coverage * shown)[well_lit(coverage)])
    assert np.angle(mean) == pytest.approx(0, abs=1e-6)
    assert np.allclose(gauge.ramp_rad_per_px, (0.08, -0.05), atol=0.01)


def test_bounding_box_is_the_smallest_rectangle():
    mask = np.zeros((8, 12), dtype=bool)
    mask[2, 3] = mask[5, 10] = True
    assert bounding_box(mask) == (slice(2, 6), slice(3, 11))


def test_an_empty_mask_has_no_box():
    with pytest.raises(DataError, match="expected at least one well-lit object pixel, got none"):
        bounding_box(np.zeros((4, 4), dtype=bool))
