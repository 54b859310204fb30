import numpy as np
import pytest

from foldlight.compare.frc import crossing, half_bit, ring_correlation
from foldlight.optics.coverage import well_lit
from foldlight.optics.rings import tapered_window

SHAPE = (96, 112)


def noise(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE)


def low_passed(image: np.ndarray, cut_off: float) -> np.ndarray:
    """The image without frequencies above `cut_off` of Nyquist."""
    y, x = (2 * np.fft.fftfreq(size) for size in image.shape)
    return np.fft.ifft2(np.fft.fft2(image) * (np.hypot(y[:, None], x) < cut_off))


ALL = np.ones(SHAPE, dtype=bool)


class TestCurve:
    def test_of_noise_with_itself_is_one(self):
        curve = ring_correlation(noise(1), noise(1), ALL)
        assert np.allclose(curve.correlation, 1)
        assert curve.crossing(0.5).state == "above"
        assert curve.crossing(0.5).nyquist is None

    def test_of_independent_noise_is_chance(self):
        curve = ring_correlation(noise(1), noise(2), ALL)
        chance = 1 / np.sqrt(curve.samples * curve.fill)
        assert np.all(curve.correlation[3:] < 4 * chance[3:])
        assert curve.correlation[10:].mean() < 0.1

    @pytest.mark.parametrize("cut_off", [0.3, 0.62])
    def test_of_a_low_passed_image_falls_at_the_cut_off(self, cut_off):
        image = noise(1)
        estimate = low_passed(image, cut_off) + 0.2 * noise(2)
        curve = ring_correlation(image, estimate, ALL)
        for threshold in (0.5, 1 / 7, curve.half_bit):
            found = curve.crossing(threshold)
            assert found.state == "crosses"
            assert found.nyquist == pytest.approx(cut_off, abs=2 / 48)  # the window smears the edge over two bins

    def test_is_blind_to_a_complex_scale(self, truth, other, coverage):
        mask = well_lit(coverage)
        plain = ring_correlation(truth, truth + 0.3 * other, mask)
        turned = ring_correlation(truth, 3j * (truth + 0.3 * other), mask)
        assert np.allclose(plain.correlation, turned.correlation)

    def test_of_a_flat_estimate_is_zero(self, truth, coverage):
        curve = ring_correlation(truth, np.full_like(truth, 0.3 - 1j), well_lit(coverage))
        assert not curve.correlation.any()
        assert curve.crossing(0.5).state == "below"

    def test_ignores_what_lies_outside_the_mask(self, truth, other, coverage):
        mask = well_lit(coverage)
        spoilt = np.where(mask, truth, 100 * other)
        assert np.allclose(ring_correlation(truth, spoilt, mask).correlation, 1)

    def test_agrees_with_a_loop_over_rings(self, truth, other):
        curve = ring_correlation(truth, other, ALL)
        window = tapered_window(ALL)
        spectra = [np.fft.fft2(window * (image - np.average(image, weights=window))) for image in (truth, other)]
        y, x = (np.fft.fftfreq(size) * 96 for size in SHAPE)  # in bins of the shorter side
        radius = np.hypot(y[:, None], x)
        for ring in (1, 5, 30, 48):
            inside = (radius > ring - 0.5) & (radius < ring + 0.5)
            t, e = (spectrum[inside] for spectrum in spectra)
            expected = abs(np.vdot(t, e)) / np.linalg.norm(t) / np.linalg.norm(e)
            assert curve.correlation[ring - 1] == pytest.approx(expected)
            assert curve.nyquist[ring - 1] == pytest.approx(ring / 48)


def test_rings_reach_nyquist_and_hold_an_annulus_each():
    curve = ring_correlation(noise(1), noise(2), ALL)
    assert curve.nyquist[0] == pytest.approx(1 / 48)
    assert curve.nyquist[-1] == pytest.approx(1)
    # a ring of radius k bins of the shorter side holds 2 pi k of its bins, times 112 / 96 on this rectangle
    assert curve.samples[20] == pytest.approx(2 * np.pi * 21 * 112 / 96, rel=0.05)


class TestCrossing:
    frequency = np.array([0.2, 0.4, 0.6, 0.8])

    @pytest.mark.parametrize(
        ("correlation", "expected", "state"),
        [
            ([1.0, 0.75, 0.25, 0.0], 0.5, "crosses"),
            ([0.1, 0.9, 0.3, 0.9], 0.4 + 0.2 * 2 / 3, "crosses"),
            ([0.9, 0.8, 0.7, 0.6], None, "above"),
            ([0.1, 0.2, 0.7, 0.6], None, "above"),
            ([0.1, 0.2, 0.3, 0.4], None, "below"),
        ],
    )
    def test_is_the_first_fall(self, correlation, expected, state):
        found = crossing(self.frequency, np.array(correlation), 0.5)
        assert found.nyquist == (None if expected is None else pytest.approx(expected))
        assert found.state == state

    def test_takes_a_curve_as_threshold(self):
        falling = np.array([0.6, 0.5, 0.4, 0.3])
        assert crossing(self.frequency, np.full(4, 0.45), falling).state == "above"
        assert crossing(self.frequency, np.full(4, 0.45), falling[::-1].copy()).nyquist == pytest.approx(0.5)


def test_half_bit_tends_to_its_limit():
    assert half_bit(np.array([1e12]))[0] == pytest.approx(0.2071 / 1.2071, rel=1e-5)
    assert half_bit(np.array([1.0]))[0] == pytest.approx(1.0, rel=1e-3)


def test_window_is_one_inside_and_falls_at_every_edge():
    mask = np.zeros((40, 60), dtype=bool)
    mask[:, 10:50] = True
    window = tapered_window(mask)
    assert window[20, 30] == 1
    assert not window[:, :10].any()
    assert 0 < window[0, 30] < 0.2
    assert 0 < window[20, 10] < 0.2
