"""Groups of near frames, each frame equally often; regions that cover the scan and stay compact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.core.errors import SettingsError
from foldlight.sampling.grouping import draw_groups, nearest_frames, neighbour_groups, neighbour_regions


def cloud(n: int, seed: int, kind: str = "even") -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "line":
        return np.stack([np.full(n, 3.0), rng.uniform(0, 90, n)], axis=1)
    if kind == "clumps":
        return rng.integers(0, 3, (n, 2)) * 40.0 + rng.integers(0, 3, (n, 2))
    return rng.uniform((5, -20), (45, 70), (n, 2))


KINDS = st.sampled_from(["even", "line", "clumps"])


@given(st.integers(2, 90), st.integers(1, 12), KINDS, st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_the_nearest_frames_are_the_nearest_and_never_the_frame_itself(n, neighbours, kind, seed):
    positions = cloud(n, seed, kind)
    nearest = nearest_frames(positions, neighbours)
    count = min(neighbours, n - 1)
    assert nearest.shape == (n, count)
    assert nearest.dtype == np.int64
    assert not (nearest == np.arange(n)[:, None]).any()
    assert all(len(set(row)) == count for row in nearest.tolist())
    distance = np.linalg.norm(positions[:, None] - positions, axis=-1)
    found = np.take_along_axis(distance, nearest, axis=1)
    np.fill_diagonal(distance, np.inf)
    assert np.allclose(found, np.sort(distance, axis=1)[:, :count])


def test_a_lone_frame_has_no_neighbours():
    assert nearest_frames(np.zeros((1, 2)), 5).shape == (1, 0)


def test_looking_up_once_and_drawing_is_the_whole():
    positions = cloud(60, 0)
    whole = neighbour_groups(positions, 4, 7, np.random.default_rng(9))
    assert np.array_equal(whole, draw_groups(nearest_frames(positions, 7), 4, np.random.default_rng(9)))
    assert not np.array_equal(whole, neighbour_groups(positions, 4, 7, np.random.default_rng(10)))


def test_every_neighbour_is_drawn_equally_often_and_the_list_is_left_alone():
    nearest = np.tile(np.arange(10, 15), (20_000, 1))
    groups = draw_groups(nearest, 4, np.random.default_rng(0))
    assert np.array_equal(nearest, np.tile(np.arange(10, 15), (20_000, 1)))
    assert np.array_equal(groups[:, 0], np.arange(20_000))
    for place in (1, 2, 3):
        share = np.bincount(groups[:, place], minlength=15)[10:15] / 20_000
        assert np.abs(share - 0.2).max() < 0.012
    pairs = {tuple(sorted(pair)) for pair in groups[:, 1:3].tolist()}
    assert len(pairs) == 10


def test_too_short_lists_are_refused():
    with pytest.raises(SettingsError, match="groups: expected K >= C - 1 = 3 neighbours, got K = 2"):
        draw_groups(np.zeros((5, 2), dtype=np.int64), 4, np.random.default_rng(0))


@given(st.integers(1, 400), st.integers(1, 60), KINDS, st.integers(0, 2**31))
@settings(max_examples=80, deadline=None)
def test_regions_hold_exactly_so_many_frames_and_leave_none_out(n, size, kind, seed):
    size = min(n, size)
    positions = cloud(n, seed, kind)
    regions = neighbour_regions(positions, size, np.random.default_rng(seed))
    assert regions.shape[1] == size
    assert regions.dtype == np.int64
    assert (np.diff(regions, axis=1) > 0).all()
    assert np.array_equal(np.unique(regions), np.arange(n))
    assert len(regions) <= max(-(-n // size), round(1.15 * n / size))
    again = neighbour_regions(positions, size, np.random.default_rng(seed))
    assert np.array_equal(regions, again)


@pytest.mark.parametrize("size", [16, 48, 100])
def test_regions_are_compact_and_other_ones_each_time(size):
    positions = cloud(2000, 3)
    rng = np.random.default_rng(0)
    first, second = (neighbour_regions(positions, size, rng) for _ in range(2))
    side = np.sqrt(np.prod(np.ptp(positions, axis=0)) * size / 2000)
    extent = np.ptp(positions[first], axis=1)
    assert extent.mean() < 1.2 * side
    assert extent.max() < 2.2 * side
    common = {tuple(region) for region in first.tolist()} & {tuple(region) for region in second.tolist()}
    assert len(common) < 0.1 * len(first)
    assert first.size < 1.2 * len(positions)


def test_the_borders_of_regions_move():
    """Every frame is with every near one at some time, so no seam is never looked across."""
    positions = cloud(500, 4)
    nearest = nearest_frames(positions, 1)[:, 0]
    together = np.zeros(500, dtype=bool)
    for seed in range(12):
        for region in neighbour_regions(positions, 40, np.random.default_rng(seed)):
            together[region] |= np.isin(nearest[region], region)
    assert together.mean() > 0.99


@pytest.mark.parametrize("size", [0, 31])
def test_a_region_of_more_frames_than_there_are_is_refused(size):
    with pytest.raises(SettingsError, match=f"regions: expected 1 to 30 frames a region, as many as .* got {size}"):
        neighbour_regions(cloud(30, 0), size, np.random.default_rng(0))
