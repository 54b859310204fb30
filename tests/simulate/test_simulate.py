"""Objects in their ranges, positions on the canvas, doses that are met, noise that repeats."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.core.errors import DataError, SettingsError
from foldlight.core.seeds import generator
from foldlight.io import read_scan, write_data001
from foldlight.simulate.acquire import acquire, expected_frames, expose_again, simulate, smallest_counts
from foldlight.simulate.objects import FAMILIES, make_object, siemens_star, thickness_map
from foldlight.simulate.settings import ObjectKind, ProbeKind, SimulationSettings
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
    known = "lines, dead-leaves, siemens-star, grains, spheres, speckle"
    with pytest.raises(SettingsError, match=f"expected one of {known}, got 'cells'"):
        make_object("cells", (40, 40), np.random.default_rng(0))
    with pytest.raises(SettingsError, match=f"expected one of {known}, got 'cells'"):
        thickness_map("cells", (40, 40), np.random.default_rng(0))


def test_the_settings_offer_every_family():
    assert set(get_args(ObjectKind)) == set(FAMILIES)


@pytest.mark.parametrize(
    ("kind", "digest"),
    [("lines", "0f9920b77f37a90c"), ("dead-leaves", "49242c21f72df474"), ("siemens-star", "d6ce54907d6fbfbe")],
)
def test_maps_of_older_studies_stay_as_they_were(kind, digest):
    """Rounded to 1e-6, far from the thresholds that the maps are made of."""
    made = thickness_map(kind, (48, 64), np.random.default_rng(3))
    assert sha256(np.rint(made * 1e6).astype("<i4").tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_generator_makes_its_object_again_and_another_one_another(kind):
    first, again, other = (thickness_map(kind, (40, 56), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=0.05)


def test_families_differ_in_their_physics():
    """Spheres are smooth and empty between, grains are flat with edges, speckle has a power law and no edge at all."""
    shape, rng = (160, 160), np.random.default_rng(5)
    spheres, grains, speckle = (thickness_map(kind, shape, rng) for kind in ("spheres", "grains", "speckle"))
    assert (spheres < 1e-3).mean() > 0.1
    steps = {name: np.abs(np.diff(one, axis=0)) for name, one in (("grains", grains), ("speckle", speckle))}
    assert np.median(steps["grains"]) < 0.02
    assert steps["grains"].max() > 0.2
    assert steps["speckle"].max() < 0.15
    power = np.abs(np.fft.fft2(speckle - speckle.mean())) ** 2
    radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(160)] * 2, indexing="ij"))
    rings = [power[(radius > low) & (radius < low * 1.2)].mean() for low in (0.02, 0.08)]
    slope = np.log(rings[0] / rings[1]) / np.log(4)
    assert 1.5 < slope < 4.5  # 2b, b between 1 and 2, and the softening's share


def test_a_star_lies_where_it_is_put():
    star = siemens_star((80, 120), np.random.default_rng(0), spokes=9, centre=(0.1, -0.2), radius=0.3)
    y, x = np.nonzero(star > 0.5)
    assert abs((y.min() + y.max()) / 2 - (39.5 + 8)) < 1.5
    assert abs((x.min() + x.max()) / 2 - (59.5 - 24)) < 1.5
    assert abs((y.max() - y.min()) / 2 - 24) < 1.5


@pytest.mark.parametrize("kind", get_args(ProbeKind))
def test_every_probe_can_be_simulated_with(kind):
    scan = simulate(SimulationSettings(**SMALL, probe_kind=kind, probe_modes=2))
    assert scan.probe.shape == (2, 32, 32)
    powers = np.sum(np.abs(scan.probe.astype(np.complex128)) ** 2, axis=(1, 2))
    assert powers[1] / powers[0] == pytest.approx(1 / 6, rel=1e-4)
    other = simulate(SimulationSettings(**SMALL, probe_kind=kind, probe_modes=2, seed=1))
    assert not np.array_equal(scan.probe, other.probe)


def test_counts_are_kept_in_the_smallest_type_that_holds_them():
    for most, kind in ((2**16 - 1, np.uint16), (2**16, np.uint32), (2**32 - 1, np.uint32), (2**32, np.uint64)):
        counts = np.array([0, most])
        assert smallest_counts(counts).dtype == kind
        assert np.array_equal(smallest_counts(counts), counts)
    assert smallest_counts(np.empty(0, dtype=np.int64)).dtype == np.uint16


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
