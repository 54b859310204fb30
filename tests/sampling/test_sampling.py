"""Overlap against closed forms, groups that hold neighbours, splits that do not leak, thinning that is Poisson."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.core.errors import DataError, SettingsError
from foldlight.sampling.grouping import neighbour_groups
from foldlight.sampling.overlap import disc_overlap, linear_overlap, nearest_spacing_px
from foldlight.sampling.split import spatial_split
from foldlight.sampling.thinning import thin
from foldlight.scan import Frames
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings


def grid(rows: int, columns: int, step: float) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2) * step


def test_disc_overlap_at_its_known_points():
    assert np.isclose(disc_overlap(0, 10), 1)
    assert np.isclose(disc_overlap(5, 10), 0.391, atol=5e-4)
    assert disc_overlap(10, 10) == disc_overlap(25, 10) == 0


@pytest.mark.parametrize("distance", [3.0, 7.0, 12.5])
def test_disc_overlap_agrees_with_counting(distance):
    y, x = np.mgrid[-20:20:0.02, -20:20:0.02]
    one, two = np.hypot(y, x) < 8, np.hypot(y - distance, x) < 8
    assert np.isclose(disc_overlap(distance, 16), (one & two).sum() / one.sum(), atol=2e-3)


def test_linear_overlap_is_another_number():
    assert np.isclose(linear_overlap(5, 10), 0.5)
    assert linear_overlap(12, 10) == 0


def test_nearest_spacing_of_a_grid_is_its_step():
    assert np.allclose(nearest_spacing_px(grid(4, 6, 3.5)), 3.5)


@given(st.integers(4, 80), st.sampled_from([1, 4]), st.integers(3, 9), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_each_frame_leads_a_group_of_distinct_near_frames(n, size, neighbours, seed):
    positions = np.random.default_rng(seed).uniform(0, 50, (n, 2))
    groups = neighbour_groups(positions, size, neighbours, np.random.default_rng(seed))
    assert groups.shape == (n, size)
    assert np.array_equal(groups[:, 0], np.arange(n))
    assert all(len(set(group)) == size for group in groups)
    distance = np.linalg.norm(positions[:, None] - positions, axis=-1)
    allowed = np.sort(distance, axis=1)[:, min(neighbours, n - 1)]
    assert (np.take_along_axis(distance, groups, axis=1) <= allowed[:, None]).all()


def test_duplicate_positions_still_make_groups():
    groups = neighbour_groups(np.zeros((12, 2)), 4, 5, np.random.default_rng(0))
    assert all(len(set(group)) == 4 for group in groups)


def test_too_few_frames_or_neighbours_are_refused():
    with pytest.raises(SettingsError, match="expected at least C = 4 frames, got 3; use gridsize 1"):
        neighbour_groups(np.zeros((3, 2)), 4, 7, np.random.default_rng(0))
    with pytest.raises(SettingsError, match="expected K >= C - 1 = 3 neighbours, got K = 2"):
        neighbour_groups(grid(3, 3, 1.0), 4, 2, np.random.default_rng(0))


def test_split_keeps_a_guard_band():
    positions = grid(40, 10, 2.0)
    training, validation = spatial_split(positions, guard_px=15.0, held_fraction=0.25)
    gap = positions[validation, 0].min() - positions[training, 0].max()
    assert gap > 15
    assert not set(training) & set(validation)
    assert np.isclose(len(validation) / len(positions), 0.25, atol=0.03)


def test_a_guard_wider_than_the_scan_is_refused():
    with pytest.raises(SettingsError, match="expected 1 or more frames on both sides of a 99 px guard band, got 0 for"):
        spatial_split(grid(5, 5, 2.0), guard_px=99.0)
    with pytest.raises(SettingsError, match=r"expected 9 or more frames .* got 15 for training and 5 .* --guard-px"):
        spatial_split(grid(5, 5, 2.0), guard_px=1.0, least=9)


def test_thinned_exposures_add_up_and_are_independent():
    scan = simulate(SimulationSettings(object_size=72, window=32, positions=100, probe_diameter_px=14.0, dose=1e5))
    kept, held = thin(scan, 0.75, np.random.default_rng(0))
    assert np.array_equal(kept.photons[:] + held.photons[:], scan.photons[:])
    assert np.isclose(kept.photons.totals.mean(), 0.75e5, rtol=0.01)
    assert np.isclose(np.sum(np.abs(held.probe) ** 2), 0.25 * np.sum(np.abs(scan.probe) ** 2), rtol=1e-4)
    expected = scan.photons.mean_frame  # frames differ; within one frame, thinning noise of the halves is opposite
    residual_kept = kept.photons[:] - 0.75 * scan.photons[:]
    bright = expected > 20
    assert np.isclose(residual_kept[:, bright].var(), (0.75 * 0.25 * scan.photons[:][:, bright]).mean(), rtol=0.05)


def test_only_counts_can_be_thinned():
    scan = simulate(SimulationSettings(object_size=72, window=32, positions=20, probe_diameter_px=14.0))
    scaled = type(scan)(
        photons=Frames(scan.photons[:] * 0.3), positions_px=scan.positions_px, probe=scan.probe, canvas=scan.canvas
    )
    with pytest.raises(DataError, match="expected counted photons"):
        thin(scaled, 0.5, np.random.default_rng(0))
    with pytest.raises(DataError, match=r"expected a fraction between 0 and 1, got 1.5"):
        thin(scan, 1.5, np.random.default_rng(0))
