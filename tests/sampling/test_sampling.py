"""Overlap against closed forms, groups that hold neighbours, splits that do not leak, thinning that is Poisson."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.core.errors import DataError, SettingsError
from foldlight.frames import Frames
from foldlight.optics.coverage import coverage_map
from foldlight.sampling.grouping import neighbour_groups
from foldlight.sampling.overlap import disc_overlap, linear_overlap, nearest_spacing_px
from foldlight.sampling.split import half_split, spatial_split
from foldlight.sampling.thinning import thin
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


def rows(positions: np.ndarray, indexes: np.ndarray, height: int) -> set[int]:
    """Object rows in the windows of these frames, as `optics.patches` cuts them."""
    first = np.rint(positions[indexes, 0]).astype(int) - height // 2
    return set((first[:, None] + np.arange(height)).ravel().tolist())


@given(st.integers(4, 40), st.sampled_from([8, 10, 16]), st.sampled_from([1, 2, 3, 0]), st.integers(0, 2**31))
@settings(max_examples=300, deadline=None)
def test_halves_share_no_pixel_and_only_the_band_is_left_out(n, height, parts, seed):
    """Also on halves, quarters and neighbours of halves, where rounding decides."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(0, 40, (n, 2))
    if parts:
        positions = np.nextafter(np.rint(positions * parts * 2) / (parts * 2), rng.choice([0, 99], (n, 1)))
    positions[:2, 0] = 0, 40
    train, test = half_split(positions, float(height))
    y = positions[:, 0]
    assert not rows(positions, train, height) & rows(positions, test, height)
    assert y[test].min() - y[train].max() >= height * (1 - 1e-12)
    cut = (y.min() + y.max()) / 2
    left_out = np.setdiff1d(np.arange(n), [*train, *test])
    assert (np.abs(y[left_out] - cut) < height / 2 + 0.5).all()
    assert y[train].max() < cut < y[test].min()


def test_halves_need_the_whole_window_and_no_light_crosses():
    """One pixel less than a window does share a row; one window leaves no object pixel that both sides lit."""
    positions = np.stack([np.repeat(np.linspace(8.2, 40.2, 65), 3), np.tile([8.3, 11.9, 15.0], 65)], axis=1)
    rng = np.random.default_rng(0)
    probe = rng.standard_normal((2, 16, 12)) + 1j * rng.standard_normal((2, 16, 12))
    light = [coverage_map(probe, positions[side], (52, 24)) for side in half_split(positions, 16.0)]
    assert all(lit.any() for lit in light)
    assert not (light[0] * light[1]).any()
    pair = np.array([[8.0, 8.0], [23.0, 8.0]])
    train, test = half_split(pair, 15.0)
    assert rows(pair, train, 16) & rows(pair, test, 16) == {15}


def test_halves_are_cut_at_half_the_range_not_at_the_median():
    positions = np.stack([np.r_[np.linspace(0, 10, 90), np.linspace(10, 100, 10)], np.zeros(100)], axis=1)
    train, test = half_split(positions, 20.0)
    assert np.array_equal(train, np.flatnonzero(positions[:, 0] <= 40))
    assert np.array_equal(test, np.flatnonzero(positions[:, 0] >= 60))


def test_halves_that_are_too_small_are_refused():
    with pytest.raises(SettingsError, match=r"2 or more .* a 30 px guard band, got 1 for train and 1 for test over"):
        half_split(np.array([[0.0, 0], [15, 0], [31, 0]]), 30.0, least=2)
    with pytest.raises(SettingsError, match="got 0 for train and 0 for test over 8 px of y; take a taller scan or a"):
        half_split(grid(5, 5, 2.0), 64.0)


def test_thinned_exposures_add_up_and_are_independent():
    scan = simulate(SimulationSettings(object_size=72, window=32, positions=100, probe_diameter_px=14.0, dose=1e5))
    kept, held = thin(scan, 0.75, np.random.default_rng(0))
    assert np.array_equal(kept.photons[:] + held.photons[:], scan.photons[:])
    part = thin(scan.select(np.array([7, 3])), 0.5, np.random.default_rng(0))
    assert all(np.array_equal(one.frame_index, [7, 3]) for one in part)
    assert np.isclose(kept.photons.totals.mean(), 0.75e5, rtol=0.01)
    assert np.isclose(np.sum(np.abs(held.probe) ** 2), 0.25 * np.sum(np.abs(scan.probe) ** 2), rtol=1e-4)
    expected = scan.photons.mean_frame  # frames differ; within one frame, thinning noise of the halves is opposite
    residual_kept = kept.photons[:] - 0.75 * scan.photons[:]
    bright = expected > 20
    assert np.isclose(residual_kept[:, bright].var(), (0.75 * 0.25 * scan.photons[:][:, bright]).mean(), rtol=0.05)


def test_a_frame_is_dealt_the_same_in_any_company_but_not_with_another_draw(monkeypatch):
    scan = simulate(SimulationSettings(object_size=72, window=32, positions=100, probe_diameter_px=14.0, dose=1e4))
    kept, held = thin(scan, 0.6, np.random.default_rng(2))
    some = np.array([90, 3, 41])
    for one, other in zip((kept, held), thin(scan.select(some), 0.6, np.random.default_rng(2)), strict=True):
        assert np.array_equal(other.photons[:], one.photons[some])
    monkeypatch.setattr("foldlight.frames._BLOCK_PIXELS", 7 * 32 * 32)
    assert np.array_equal(thin(scan, 0.6, np.random.default_rng(2))[0].photons[:], kept.photons[:])
    assert not np.array_equal(thin(scan, 0.6, np.random.default_rng(3))[0].photons[:], kept.photons[:])
    rng = np.random.default_rng(2)
    first, second = (thin(scan, 0.6, rng)[0].photons[:] for _ in range(2))
    assert not np.array_equal(first, second)


def test_nothing_is_dealt_to_bad_pixels():
    scan = simulate(SimulationSettings(object_size=72, window=32, positions=20, probe_diameter_px=14.0, dose=1e4))
    mask = np.random.default_rng(0).random((32, 32)) > 0.3
    for side in thin(replace(scan, mask=mask), 0.5, np.random.default_rng(0)):
        assert not side.photons[:][:, ~mask].any()
        assert side.photons[:][:, mask].any()


def test_only_counts_can_be_thinned():
    scan = simulate(SimulationSettings(object_size=72, window=32, positions=20, probe_diameter_px=14.0))
    scaled = type(scan)(
        photons=Frames(scan.photons[:] * 0.3), positions_px=scan.positions_px, probe=scan.probe, canvas=scan.canvas
    )
    with pytest.raises(DataError, match="expected counted photons"):
        thin(scaled, 0.5, np.random.default_rng(0))
    with pytest.raises(DataError, match=r"expected a fraction between 0 and 1, got 1.5"):
        thin(scan, 1.5, np.random.default_rng(0))
