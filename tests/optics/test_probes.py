"""Probes have unit power, the size asked for, and, where defocused, curved phase."""

import numpy as np
import pytest
import torch

from foldlight.core.errors import SettingsError
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.optics.fourier import fourier
from foldlight.optics.probes import disc, normalised, zone_plate
from foldlight.sampling.overlap import probe_diameters_px


@pytest.mark.parametrize("make", [disc, zone_plate])
@pytest.mark.parametrize("window", [(64, 64), (48, 80)])
def test_unit_power_on_any_rectangle(make, window):
    probe = make(window, 20.0)
    assert probe.shape == (1, *window)
    assert probe.dtype == np.complex64
    assert np.isclose(np.sum(np.abs(probe) ** 2), 1, atol=1e-5)


def test_a_disc_has_its_own_diameter():
    for name, value in probe_diameters_px(disc((96, 96), 30.0)).items():
        assert abs(value - 30) < 1, name


@pytest.mark.parametrize("diameter", [20.0, 30.0, 40.0])
def test_zone_plate_reaches_its_geometric_diameter(diameter):
    """A third of the diameter lies in the stop's shadow; nearly all light falls within the geometric edge."""
    probe = zone_plate((128, 128), diameter)
    y, x = np.indices((128, 128)) - 64
    intensity = np.abs(probe[0]) ** 2
    inside = intensity[np.hypot(y, x) < diameter / 2].sum()
    smaller = intensity[np.hypot(y, x) < 0.8 * diameter / 2].sum()
    assert inside > 0.8
    assert smaller < 0.85 * inside


def test_zone_plate_has_a_dark_stop_and_a_bright_ring_at_the_detector():
    probe = torch.from_numpy(zone_plate((64, 64), 24.0, aperture=0.5, stop=0.3))
    detector = fourier(probe)[0].abs().square()
    assert detector[32, 32] < 1e-3 * detector[32, 32 + 10]
    assert detector[32, 32 + 22] < 1e-3 * detector[32, 32 + 10]


def test_defocus_curves_the_phase_and_leaves_the_pupil():
    focus, defocused = zone_plate((64, 64), 0.0), zone_plate((64, 64), 26.0)
    pupils = [fourier(torch.from_numpy(probe)).abs() for probe in (focus, defocused)]
    assert torch.allclose(*pupils, atol=1e-5)
    phase = np.angle(defocused[0])
    bright = np.abs(defocused[0]) > 0.3 * np.abs(defocused[0]).max()
    assert np.std(phase[bright]) > 1.0


def test_unphysical_pupils_are_refused():
    with pytest.raises(SettingsError, match=r"expected 0 < aperture <= 1 and 0 <= stop < 1, got 1.5 and 0.3"):
        zone_plate((64, 64), 20.0, aperture=1.5)


def test_coverage_adds_up_the_light_of_all_frames():
    probe = normalised(zone_plate((32, 32), 12.0), photons=500.0)
    positions = np.random.default_rng(0).uniform(20, 40, (7, 2))
    coverage = coverage_map(probe, positions, (60, 64), block=3)
    assert np.isclose(coverage.sum(), 7 * 500, rtol=1e-3)
    assert 0 < well_lit(coverage).sum() < coverage.size
