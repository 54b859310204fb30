"""Probes have unit power, the size asked for, and, where defocused, curved phase."""

from typing import get_args

import numpy as np
import pytest
import torch

from foldlight.core.errors import SettingsError
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.optics.fourier import fourier
from foldlight.optics.probes import (
    PROBES,
    aberrated,
    decentred,
    defocused,
    diffuser,
    disc,
    gaussian,
    make_probe,
    normalised,
    participation_px,
    partly_coherent,
    zone_plate,
)
from foldlight.sampling.overlap import probe_diameters_px
from foldlight.simulate.settings import ProbeKind


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Normalised overlap of two probes, 1 where they differ by a factor only."""
    return float(abs(np.vdot(one, other)) / np.linalg.norm(one) / np.linalg.norm(other))


def centre(intensity: np.ndarray) -> tuple[float, float]:
    """(y, x) centre of mass from pixel `N // 2`."""
    y, x = np.indices(intensity.shape) - np.array(intensity.shape)[:, None, None] // 2
    return float((intensity * y).sum() / intensity.sum()), float((intensity * x).sum() / intensity.sum())


def spectrum(probe: np.ndarray) -> np.ndarray:
    """(mode, y, x) wave at the detector, zero frequency in the centre."""
    return fourier(torch.from_numpy(probe)).numpy()


@pytest.mark.parametrize("kind", PROBES)
@pytest.mark.parametrize("window", [(64, 64), (48, 80)])
def test_unit_power_on_any_rectangle(kind, window):
    probe = make_probe(kind, window, 20.0, generator())
    assert probe.shape == (1, *window)
    assert probe.dtype == np.complex64
    assert np.isclose(np.sum(np.abs(probe) ** 2), 1, atol=1e-5)


@pytest.mark.parametrize("kind", PROBES)
def test_probes_lie_where_they_should_and_are_dark_at_the_edges(kind):
    probe = make_probe(kind, (64, 96), 24.0, generator())
    intensity = np.abs(probe[0]) ** 2
    assert np.hypot(*centre(intensity)) < 3  # coma moves the light a little
    assert 0.6 * 24 < participation_px(probe) < 1.5 * 24
    edge = intensity.sum() - intensity[2:-2, 2:-2].sum()
    assert edge < 0.02


@pytest.mark.parametrize("kind", PROBES)
def test_a_generator_makes_its_probe_again(kind):
    first, again = (make_probe(kind, (32, 32), 12.0, generator()) for _ in range(2))
    other = make_probe(kind, (32, 32), 12.0, np.random.default_rng(8))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (kind not in {"diffuser", "aberrated"})


def test_the_settings_offer_every_family():
    assert set(get_args(ProbeKind)) == set(PROBES)


def test_an_unknown_family_is_refused():
    with pytest.raises(SettingsError, match="expected one of zone-plate, disc, diffuser, gaussian, aberrated, got 'x'"):
        make_probe("x", (32, 32), 12.0, generator())


def test_participation_is_one_of_the_four_diameters():
    for probe in (disc((64, 64), 30.0), zone_plate((48, 64), 20.0), diffuser((64, 64), 20.0, generator())):
        assert participation_px(probe) == pytest.approx(probe_diameters_px(probe)["participation"], rel=1e-9)


@pytest.mark.parametrize("diameter", [12.0, 25.0])
def test_a_gaussian_has_the_participation_diameter_and_the_curvature_asked_for(diameter):
    probe = gaussian((128, 128), diameter, curvature=0.4)
    assert participation_px(probe) == pytest.approx(diameter, rel=1e-3)
    row = np.unwrap(np.angle(probe[0, 64].astype(np.complex128)))
    near = 64 + round(diameter / 2)
    turns = (row[near + 1] - row[near - 1]) / 2 / (2 * np.pi)  # cycles a pixel
    assert turns == pytest.approx(0.5 * 0.4 / 2 * round(diameter / 2) / (diameter / 2), rel=1e-4)
    assert np.allclose(gaussian((32, 48), 9.0, -0.3), gaussian((32, 48), 9.0, 0.3).conj())
    assert np.ptp(np.angle(gaussian((32, 48), 9.0, 0.0))) == 0


def test_a_diffuser_has_the_phase_asked_for_on_a_disc():
    probe = diffuser((96, 96), 60.0, generator(), grain_px=2.0, phase_rms_rad=0.5)
    assert np.allclose(np.abs(probe), np.abs(disc((96, 96), 60.0)), atol=1e-6)
    assert np.std(np.angle(probe[np.abs(probe) > 0.01])) == pytest.approx(0.5, rel=0.15)


def test_optics_without_aberrations_are_a_zone_plate():
    plain = aberrated((48, 64), 18.0, generator(), aperture=0.6, stop=0.3, strength=0.0)
    assert np.allclose(plain, zone_plate((48, 64), 18.0, aperture=0.6, stop=0.3), atol=1e-6)


def test_aberrations_change_the_phase_of_the_pupil_alone():
    window, diameter, aperture = (96, 96), 36.0, 0.5
    waves = [
        spectrum(aberrated(window, diameter, generator(), aperture, strength=strength))[0] for strength in (0, 0.03)
    ]
    assert np.allclose(*np.abs(waves), atol=1e-5)
    inside = np.abs(waves[0]) > 0.5 * np.abs(waves[0]).max()
    extra = np.angle(waves[1][inside] * waves[0][inside].conj())
    defocus = np.pi * diameter / 2 * aperture / 2
    assert np.std(extra) == pytest.approx(0.03 * defocus, rel=0.05)  # Zernike polynomials of unit rms, mean zero
    mirrored = waves[1] * waves[0].conj()
    assert not np.allclose(mirrored[1:, 1:], mirrored[:0:-1, :0:-1], atol=1e-2 * np.abs(mirrored).max())


def test_a_square_pupil_is_square():
    wave = np.abs(spectrum(aberrated((64, 64), 20.0, generator(), aperture=0.5, square=True))[0])
    assert wave[32 + 14, 32 + 14] == pytest.approx(wave[32, 32], rel=1e-3)
    assert wave[32 + 18, 32] < 1e-3 * wave[32, 32]


@pytest.mark.parametrize("share", [0.1, -0.1])
def test_a_defocused_zone_plate_is_one_of_another_diameter(share):
    probe = zone_plate((128, 128), 30.0, stop=0.0)
    wrong = defocused(probe, share)
    assert np.sum(np.abs(wrong) ** 2) == pytest.approx(1, rel=1e-5)
    expected = zone_plate((128, 128), 30.0 * (1 + share), stop=0.0)
    assert alike(wrong, expected) > 0.99
    assert alike(wrong, expected) > alike(wrong, probe)


def test_no_change_of_focus_changes_nothing():
    probe = partly_coherent(diffuser((32, 48), 12.0, generator()), (1.0, 0.3), generator())
    assert np.allclose(defocused(probe, 0.0), probe, atol=1e-6)


def test_defocus_does_not_move_a_probe_with_tilted_light():
    probe = decentred(gaussian((64, 64), 16.0, 0.0), (0, 0), (6.0, -4.0))
    assert np.allclose(centre(np.abs(defocused(probe, 0.5)[0]) ** 2), 0, atol=0.05)


def test_a_decentred_probe_is_moved_on_both_sides():
    probe = decentred(gaussian((48, 64), 12.0, 0.2), (1.5, -2.25), (3.0, -1.0))
    assert np.allclose(centre(np.abs(probe[0]) ** 2), (1.5, -2.25), atol=0.01)
    assert np.allclose(centre(np.abs(spectrum(probe)[0]) ** 2), (3.0, -1.0), atol=0.05)
    assert np.sum(np.abs(probe) ** 2) == pytest.approx(1, rel=1e-5)


def test_modes_are_orthogonal_and_have_their_powers():
    coherent = zone_plate((48, 64), 16.0)
    modes = partly_coherent(coherent, (1.0, 0.25, 0.125), generator())
    gram = modes.reshape(3, -1).conj() @ modes.reshape(3, -1).T
    assert np.allclose(gram, np.diag([8, 2, 1]) / 11, atol=1e-5)
    assert np.allclose(modes[0], coherent[0] * np.sqrt(8 / 11), atol=1e-6)
    assert np.allclose(partly_coherent(coherent, (2.0,), generator()), coherent, atol=1e-6)


@pytest.mark.parametrize("powers", [(), (1.0, 0.1, 0.1, 0.1), (1.0, -0.1), (0.0,)])
def test_odd_powers_are_refused(powers):
    with pytest.raises(SettingsError, match="probe modes: expected one to three powers, none negative, got"):
        partly_coherent(disc((32, 32), 12.0), powers, generator())


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
    with pytest.raises(SettingsError, match=r"aberrated probe: expected 0 < aperture <= 1 and 0 <= stop < 1, got 0.5"):
        aberrated((64, 64), 20.0, generator(), stop=1.0)


def test_coverage_adds_up_the_light_of_all_frames():
    probe = normalised(zone_plate((32, 32), 12.0), photons=500.0)
    positions = np.random.default_rng(0).uniform(20, 40, (7, 2))
    coverage = coverage_map(probe, positions, (60, 64), block=3)
    assert np.isclose(coverage.sum(), 7 * 500, rtol=1e-3)
    assert 0 < well_lit(coverage).sum() < coverage.size
