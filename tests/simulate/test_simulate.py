"""Objects in their ranges, positions on the canvas, doses that are met, noise that repeats."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.core.errors import DataError, SettingsError
from foldlight.core.seeds import generator
from foldlight.io import read_scan, write_data001
from foldlight.simulate.acquire import acquire, expected_frames, expose_again, simulate
from foldlight.simulate.objects import FAMILIES, make_object
from foldlight.simulate.settings import SimulationSettings
from foldlight.simulate.trajectories import fermat_spiral, jittered_raster, uniform_random

SMALL = {"object_size": 72, "window": 32, "positions": 60, "probe_diameter_px": 14.0}


@pytest.mark.parametrize("kind", FAMILIES)
def test_objects_stay_in_their_ranges_and_fill_them(kind):
    made = make_object(kind, (90, 120), np.random.default_rng(0), amplitude_min=0.4, phase_range_rad=2.0)
    assert made.shape == (90, 120)
    assert 0.4 - 1e-5 <= np.abs(made).min() < np.abs(made).max() <= 1 + 1e-5
    assert np.isclose(np.ptp(np.angle(made)), 2.0, atol=1e-3)
    assert not np.allclose(made, made[::-1])
    assert not np.allclose(made, made[:, ::-1])


def test_an_unknown_family_is_refused():
    with pytest.raises(SettingsError, match=r"expected one of lines, dead-leaves, siemens-star, got 'cells'"):
        make_object("cells", (40, 40), np.random.default_rng(0))


@pytest.mark.parametrize("trajectory", [jittered_raster, fermat_spiral, uniform_random])
@given(st.integers(1, 300), st.floats(5, 50), st.floats(5, 90))
@settings(max_examples=20, deadline=None)
def test_positions_stay_in_the_box(trajectory, n, height, width):
    found = trajectory(n, ((10.0, 20.0), (10 + height, 20 + width)), np.random.default_rng(n))
    assert ((found >= (10, 20)) & (found <= (10 + height, 20 + width))).all()
    assert found.dtype == np.float64
    assert found.shape[1] == 2


def test_a_raster_is_jittered_and_evenly_filled():
    found = jittered_raster(400, ((0, 0), (100, 100)), np.random.default_rng(0))
    assert len(found) == 400
    assert len(np.unique(found[:, 0])) == 400
    counts, *_ = np.histogram2d(*found.T, bins=5)
    assert counts.min() > 10


@pytest.mark.parametrize("dose", [50.0, 1e4])
def test_the_dose_is_the_mean_of_expected_photons(dose):
    scan = simulate(SimulationSettings(**SMALL, dose=dose))
    expected = np.concatenate(expected_frames(scan.truth, scan.probe, scan.positions_px))
    assert np.isclose(expected.sum(axis=(1, 2)).mean(), dose, rtol=1e-5)
    assert abs(scan.photons.totals.mean() - dose) < 5 * np.sqrt(dose / len(scan))


def test_counts_are_poisson_about_what_the_model_expects():
    scan = simulate(SimulationSettings(**SMALL, dose=1e6))
    expected = np.concatenate(expected_frames(scan.truth, scan.probe, scan.positions_px))
    bright = expected > 50
    pull = (scan.photons[:] - expected)[bright] / np.sqrt(expected[bright])
    assert abs(pull.mean()) < 0.02
    assert abs(pull.var() - 1) < 0.03


def test_the_same_seed_repeats_and_each_purpose_draws_alone():
    first, again = (simulate(SimulationSettings(**SMALL, seed=3)) for _ in range(2))
    assert first.digest() == again.digest()
    second_exposure = simulate(SimulationSettings(**SMALL, seed=3), noise="held out")
    assert np.array_equal(second_exposure.truth, first.truth)
    assert not np.array_equal(second_exposure.photons.stored, first.photons.stored)
    brighter = simulate(SimulationSettings(**SMALL, seed=3, dose=2e4))
    assert np.array_equal(brighter.positions_px, first.positions_px)
    assert generator(3, "a").random() != generator(3, "b").random()


def test_an_object_too_small_for_the_window_is_refused():
    with pytest.raises(SettingsError, match="object_size = 40: expected at least 68 px for a window of 64 px"):
        simulate(SimulationSettings(object_size=40))


def test_acquire_takes_rectangles_and_several_modes():
    rng = np.random.default_rng(0)
    truth = make_object("lines", (70, 96), rng)
    probe = rng.standard_normal((2, 16, 24)) + 1j * rng.standard_normal((2, 16, 24))
    scan = acquire(truth, probe, rng.uniform((10, 14), (58, 80), (20, 2)), dose=300.0, seed=1)
    assert scan.photons.shape == (20, 16, 24)
    assert len(scan.probe) == 2


def test_a_second_exposure_is_poisson_about_the_same_frames_and_independent():
    """With 18,000 bright pixels, mean and correlation are known to 0.0075, the variance to 0.0105."""
    scan = simulate(SimulationSettings(**SMALL, dose=1e6))
    dimmed = replace(scan, probe=scan.probe * np.complex64(0.8 + 0.3j))  # taken as it is, not brought to the dose
    again = expose_again(dimmed, seed=5)
    expected = np.concatenate(expected_frames(dimmed.truth, dimmed.probe, dimmed.positions_px))
    bright = expected > 50
    assert bright.sum() > 15_000
    pull = ((again.photons[:] - expected) / np.sqrt(np.maximum(expected, 1)))[bright]
    assert abs(pull.mean()) < 4 / np.sqrt(bright.sum())
    assert abs(pull.var() - 1) < 0.045
    assert abs(again.photons.totals.mean() - 0.73e6) < 5 * np.sqrt(0.73e6 / len(scan))
    first = ((scan.photons[:] - expected / 0.73) / np.sqrt(np.maximum(expected, 1)))[bright]
    assert abs(np.corrcoef(first, pull)[0, 1]) < 4 / np.sqrt(bright.sum())
    assert again.photons.whole
    assert np.array_equal(again.probe, dimmed.probe)
    assert again.notes[-1].startswith("exposed again (held out), 7")
    assert again.origin["exposed_again"] == {"seed": 5, "noise": "held out"}


def test_the_same_scan_gets_the_same_second_exposure_and_every_other_its_own(tmp_path: Path):
    scan = simulate(SimulationSettings(**SMALL))
    part = scan.select(np.arange(10, 40))
    again = expose_again(part, seed=1)
    assert again.digest() == expose_again(part, seed=1).digest()
    assert np.array_equal(again.frame_index, part.frame_index)
    write_data001(tmp_path / "part.npz", part)
    assert again.digest() == expose_again(read_scan(tmp_path / "part.npz"), seed=1).digest()
    others = [
        expose_again(part, seed=2).photons[10:],
        expose_again(part, seed=1, noise="validation").photons[10:],
        expose_again(scan, seed=1).photons[20:40],
        expose_again(scan.select(np.arange(20, 50)), seed=1).photons[:20],
    ]
    expected = np.concatenate(expected_frames(part.truth, part.probe, part.positions_px))[10:]
    bright = expected > 5
    pulls = [((one - expected)[bright] / np.sqrt(expected[bright])) for one in (again.photons[10:], *others)]
    assert (np.abs(np.corrcoef(pulls)[0, 1:]) < 4 / np.sqrt(bright.sum())).all()


def test_only_a_scan_with_its_truth_can_be_exposed_again():
    scan = simulate(SimulationSettings(**SMALL))
    with pytest.raises(DataError, match="second exposure: expected a simulated scan with its true object, got one wi"):
        expose_again(replace(scan, object_is_truth=False), seed=1)
