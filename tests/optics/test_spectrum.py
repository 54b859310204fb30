"""The spectrum of errors: power where it belongs, free of gauge, whole again after writing, sound or refused."""

import numpy as np
import pytest

from foldlight.core.errors import DataError
from foldlight.optics.spectrum import FREQUENCIES, ErrorSpectrum, error_power, lit_photons

SHAPE = (120, 150)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (0.7 + 0.2 * np.cos(rows / 9)) * np.exp(0.5j * np.sin(columns / 7 + rows / 30))


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    inside = np.zeros(SHAPE, dtype=bool)
    inside[6:110, 11:146] = True
    return inside


def spectrum(*doses: float) -> ErrorSpectrum:
    power = np.outer(1 / np.sqrt(doses), FREQUENCIES**-2.0)
    return ErrorSpectrum(np.array(doses), FREQUENCIES, power)


def test_white_error_has_the_same_power_everywhere(truth, mask):
    rng = np.random.default_rng(0)
    noise = 0.1 * (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE))
    power = error_power(truth + noise, truth, mask)
    relative = 2 * 0.1**2 / np.mean(np.abs(truth[mask]) ** 2)
    assert power[FREQUENCIES > 0.05] == pytest.approx(relative, rel=0.5)
    assert np.mean(power[-4:]) == pytest.approx(relative, rel=0.1)


def test_a_ripple_stands_at_its_frequency_and_a_constant_phase_nowhere(truth, mask):
    rows = np.arange(SHAPE[0])[:, None]
    wavy = truth + 0.05 * np.cos(2 * np.pi * 0.15 * rows)
    power = error_power(wavy, truth, mask)
    assert abs(FREQUENCIES[np.argmax(power)] - 0.15) < 0.02
    assert error_power(wavy * np.exp(2.1j), truth, mask) == pytest.approx(power)
    assert error_power(7 * wavy, 7 * truth, mask) == pytest.approx(power)
    assert error_power(truth * 1j, truth, mask) == pytest.approx(0, abs=1e-11)


def test_the_table_is_met_at_its_entries_and_falls_with_dose():
    found = spectrum(10.0, 1000.0)
    canvas = (200, 80)
    frequency = np.hypot(np.fft.fftfreq(200)[:, None], np.fft.fftfreq(80)[None])
    usual = found.at(10.0, canvas) / (1 + 0.03 / np.maximum(frequency, 0.5 / 200))
    inside = (frequency > FREQUENCIES[0]) & (frequency < FREQUENCIES[-1])
    assert usual.shape == canvas
    assert np.all(np.abs(usual[inside] * np.sqrt(10) * frequency[inside] ** 2 - 1) < 0.15)  # between entries a chord
    assert found.at(100.0, canvas) == pytest.approx(np.sqrt(found.at(10.0, canvas) * found.at(1000.0, canvas)))
    assert np.array_equal(found.at(1.0, canvas), found.at(10.0, canvas))


def test_it_comes_back_from_plain_values():
    found = spectrum(10.0, 300.0, 1e4)
    back = ErrorSpectrum.parse(found.plain())
    assert back.plain() == found.plain()


def test_scans_of_one_decade_make_one_line():
    curves = [np.full(len(FREQUENCIES), value) for value in (1.0, 4.0, 0.1)]
    found = ErrorSpectrum.of(zip((20.0, 80.0, 500.0), curves, strict=True))
    assert found.photons_per_pixel.tolist() == [40.0, 500.0]
    assert found.power[:, 0].tolist() == [2.0, 0.1]


@pytest.mark.parametrize(
    ("doses", "power", "why"),
    [
        ([10.0, 5.0], 1.0, "rising doses"),
        ([10.0, 20.0], 0.0, "powers above 0"),
        ([10.0, 20.0], np.nan, "finite powers"),
        ([0.0, 20.0], 1.0, "rising doses"),
        ([10.0], 1.0, r"shape \(1, 14\), got \(2, 14\)"),
    ],
)
def test_what_is_no_spectrum_is_refused(doses, power, why):
    with pytest.raises(DataError, match=why):
        ErrorSpectrum(np.array(doses), FREQUENCIES, np.full((2, len(FREQUENCIES)), power))


def test_other_values_are_refused_in_one_line():
    with pytest.raises(DataError, match="expected photons_per_pixel, cycles_per_px, power: 'power'"):
        ErrorSpectrum.parse({"photons_per_pixel": [1.0], "cycles_per_px": [0.1]})


def test_lit_photons_are_those_of_well_lit_pixels():
    light = np.full((20, 30), 50.0)
    light[:4] = 1e-9
    light[4:6] = 2.0
    assert lit_photons(light) == 50.0
