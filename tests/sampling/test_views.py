"""Selections that keep their distance, metrics against their definitions, records that are JSON."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree

from foldlight.core.errors import SettingsError
from foldlight.sampling.grouping import neighbour_groups
from foldlight.sampling.overlap import disc_overlap, linear_overlap, nearest_spacing_px
from foldlight.sampling.views import (
    METRICS_VERSION,
    acceptance,
    keep_apart,
    keep_fraction,
    overlap_metrics,
)

SPEC = Path(__file__).parents[2] / "specs" / "overlap_metrics.md"


class InFileOrder(np.random.Generator):
    """A generator whose permutation is the order of the file."""

    def permutation(self, x, axis=0):
        return np.arange(x)


def some_positions(n: int, seed: int, duplicates: bool) -> np.ndarray:
    """Anisotropic, in part on a grid, and where asked for some of them twice."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform((-20, 100), (10, 170), (n, 2))
    positions[::3] = np.rint(positions[::3])
    if duplicates:
        positions[rng.integers(n, size=n // 2)] = positions[rng.integers(n, size=n // 2)]
    return positions


def apart(positions: np.ndarray) -> np.ndarray:
    return np.hypot(*(positions[:, None] - positions).transpose(2, 0, 1))


def naive_keep_apart(positions: np.ndarray, spacing: float, order: np.ndarray) -> list[int]:
    kept: list[int] = []
    for index in order:
        if all(np.hypot(*(positions[index] - positions[other])) >= spacing * (1 - 1e-9) for other in kept):
            kept.append(int(index))
    return sorted(kept)


cases = given(st.integers(1, 60), st.floats(0.05, 80), st.booleans(), st.integers(0, 2**31))


@cases
@settings(max_examples=60, deadline=None)
def test_kept_frames_keep_their_distance_and_no_other_could_join(n, spacing, duplicates, seed):
    positions = some_positions(n, seed, duplicates)
    kept = keep_apart(positions, spacing, np.random.default_rng(seed))
    assert kept.dtype == np.int64
    assert (np.diff(kept) > 0).all()
    distance = apart(positions)
    among = distance[np.ix_(kept, kept)][~np.eye(len(kept), dtype=bool)]
    assert (among >= spacing * (1 - 1e-9)).all()
    rejected = np.setdiff1d(np.arange(n), kept)
    assert (distance[np.ix_(rejected, kept)].min(axis=1) < spacing).all()


@cases
@settings(max_examples=60, deadline=None)
def test_the_selection_is_the_greedy_one_in_the_seeded_order(n, spacing, duplicates, seed):
    positions = some_positions(n, seed, duplicates)
    kept, again = (keep_apart(positions, spacing, np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(kept, again)
    assert kept.tolist() == naive_keep_apart(positions, spacing, np.random.default_rng(seed).permutation(n))


def test_spacing_zero_keeps_all_even_duplicates():
    positions = np.zeros((5, 2))
    assert np.array_equal(keep_apart(positions, 0.0, np.random.default_rng(0)), np.arange(5))
    assert len(keep_apart(positions, 1e-9, np.random.default_rng(0))) == 1
    assert len(keep_apart(np.empty((0, 2)), 3.0, np.random.default_rng(0))) == 0


def test_a_raster_whose_step_is_the_spacing_survives_rounding():
    threshold = (1 - 0.7) * 20
    assert threshold > 6  # by one bit
    raster = np.stack(np.meshgrid(np.arange(7) * 6.0, np.arange(5) * 6.0, indexing="ij"), -1).reshape(-1, 2)
    assert len(keep_apart(raster, threshold, np.random.default_rng(0))) == 35


def test_a_large_scan_is_thinned_and_measured():
    """10,304 frames, where anything quadratic in Python would run into the time limit of the tests."""
    positions = np.random.default_rng(0).uniform(0, 400, (10_304, 2))
    kept = keep_apart(positions, 9.0, np.random.default_rng(1))
    assert nearest_spacing_px(positions[kept]).min() >= 9
    assert KDTree(positions[kept]).query(positions)[0].max() < 9
    metrics = overlap_metrics(positions, 30.0, neighbour_groups(positions, 4, 7, np.random.default_rng(2)), 7)
    assert metrics.metric_3_group_to_group_avg == pytest.approx(0.25, abs=0.02)  # f averaged over a disc of radius D


@given(st.integers(1, 50), st.floats(0.01, 1), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_fractions_are_met_and_nested(n, fraction, seed):
    kept = keep_fraction(n, fraction, np.random.default_rng(seed))
    assert kept.dtype == np.int64
    assert len(kept) == max(1, round(n * fraction))
    assert (np.diff(kept) > 0).all()
    assert ((kept >= 0) & (kept < n)).all()
    assert set(kept) <= set(keep_fraction(n, min(1.0, fraction * 1.7), np.random.default_rng(seed)))
    assert len(keep_fraction(n, 1.0, np.random.default_rng(seed))) == n


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01, float("nan")])
def test_fractions_that_are_none_are_refused(fraction):
    with pytest.raises(SettingsError, match=r"expected 0 < fraction <= 1 of 1 or more frames, got (0.0|-0.5|1.01|nan)"):
        keep_fraction(10, fraction, np.random.default_rng(0))
    with pytest.raises(SettingsError, match=r"got 0.5 of 0"):
        keep_fraction(0, 0.5, np.random.default_rng(0))


def naive_metrics(positions, diameter, groups, neighbours):
    """The three definitions, word by word."""
    first = [
        np.mean(
            [
                np.mean([disc_overlap(np.hypot(*(positions[a] - positions[b])), diameter) for b in group if b != a])
                for a in group
            ]
        )
        for group in groups
        if len(group) > 1
    ]
    unique = np.array(sorted(set(map(tuple, positions))))
    nearest = np.sort(apart(unique), axis=1)[:, 1 : neighbours + 1]
    centres = np.array([positions[group].mean(axis=0) for group in groups])
    third = []
    for index, distances in enumerate(apart(centres)):
        near = [d for other, d in enumerate(distances) if other != index and d < diameter]
        third.append(np.mean(disc_overlap(np.array(near), diameter)) if near else 0.0)
    return np.mean(first) if first else None, np.mean(disc_overlap(nearest, diameter)), np.mean(third)


@given(st.integers(9, 40), st.floats(0.5, 90), st.sampled_from([1, 2, 4]), st.booleans(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_metrics_are_what_their_definitions_say(n, diameter, size, duplicates, seed):
    positions = some_positions(n, seed, duplicates)
    groups = neighbour_groups(positions, size, 5, np.random.default_rng(seed))[seed % 3 :: 2]
    found = overlap_metrics(positions, diameter, groups, neighbours=5)
    one, two, three = naive_metrics(positions, diameter, groups.tolist(), 5)
    assert (found.metric_1_group_based_avg is None) == (one is None) == (size == 1)
    if one is not None:
        assert found.metric_1_group_based_avg == pytest.approx(one, abs=1e-9)
    assert found.metric_2_image_based_avg == pytest.approx(two, abs=1e-9)
    assert found.metric_3_group_to_group_avg == pytest.approx(three, abs=1e-7)
    assert found.n_groups == len(groups)
    assert json.loads(json.dumps(found.plain(), allow_nan=False))["metrics_version"] == METRICS_VERSION


def test_large_metrics_are_the_same_in_blocks(monkeypatch):
    positions = some_positions(300, 0, duplicates=True)
    groups = neighbour_groups(positions, 4, 7, np.random.default_rng(0))
    whole = overlap_metrics(positions, 25.0, groups, 7)
    monkeypatch.setattr("foldlight.sampling.overlap._BLOCK_PAIRS", 700)
    blocks = overlap_metrics(positions, 25.0, groups, 7)
    for name in ("metric_1_group_based_avg", "metric_2_image_based_avg", "metric_3_group_to_group_avg"):
        assert getattr(blocks, name) == pytest.approx(getattr(whole, name), rel=1e-12)


def test_without_groups_each_frame_is_its_own():
    positions = some_positions(30, 1, duplicates=True)
    alone = overlap_metrics(positions, 20.0, None, 7)
    assert alone == overlap_metrics(positions, 20.0, np.arange(30)[:, None], 7)
    assert alone.metric_1_group_based_avg is None
    assert alone.n_groups == 30


def test_metrics_at_their_edges():
    single = overlap_metrics(np.array([[3.0, 4.0]]), 10.0, None, 7)
    assert single.metric_2_image_based_avg is None
    assert single.metric_3_group_to_group_avg == 0
    stacked = overlap_metrics(np.ones((6, 2)), 10.0, np.arange(6).reshape(2, 3), 7)
    assert stacked.metric_1_group_based_avg == stacked.metric_3_group_to_group_avg == 1
    assert stacked.metric_2_image_based_avg is None
    assert stacked.n_unique_positions == 1
    far = overlap_metrics(np.array([[0.0, 0.0], [0.0, 10.0]]), 10.0, None, 7)  # exactly D apart: not nearer than D
    assert far.metric_2_image_based_avg == far.metric_3_group_to_group_avg == 0


def test_metrics_of_nothing_are_refused():
    with pytest.raises(SettingsError, match=r"expected groups of frames, .* got groups of shape \(0, 1\), 10 px and K"):
        overlap_metrics(np.empty((0, 2)), 10.0, None, 7)
    with pytest.raises(SettingsError, match=r"a diameter > 0 px and K >= 1 neighbours, got .* 0 px and K = 7"):
        overlap_metrics(np.zeros((3, 2)), 0.0, None, 7)
    with pytest.raises(SettingsError, match="10 px and K = 0"):
        overlap_metrics(np.zeros((3, 2)), 10.0, None, 0)


def test_the_record_says_what_was_reached():
    positions = some_positions(80, 4, duplicates=False)
    kept = keep_apart(positions, 6.0, np.random.default_rng(0))
    record = acceptance(positions, kept, 6.0, 20.0, "greedy-seeded-spacing")
    spacing = nearest_spacing_px(positions[kept])
    assert record.n_accepted + record.n_rejected == record.n_total == 80
    assert record.acceptance_rate == len(kept) / 80
    assert 6 <= record.min_spacing_px <= record.median_spacing_px
    assert record.mean_spacing_px == pytest.approx(spacing.mean())
    assert record.linear_overlap_reached == pytest.approx(linear_overlap(spacing, 20.0).mean())
    assert record.area_overlap_reached == pytest.approx(disc_overlap(spacing, 20.0).mean())
    assert record.linear_overlap_reached <= 0.7
    assert json.loads(json.dumps(record.plain(), allow_nan=False)) == record.plain()


@pytest.mark.parametrize("accepted", [0, 1])
def test_a_record_of_too_few_has_no_spacing(accepted):
    record = acceptance(np.zeros((3, 2)), np.arange(accepted), None, 20.0, "all")
    assert record.spacing_threshold_px is None
    assert record.min_spacing_px is record.mean_spacing_px is record.median_spacing_px is None
    assert record.linear_overlap_reached is record.area_overlap_reached is None
    json.dumps(record.plain(), allow_nan=False)


def test_the_worked_example_of_the_specification():
    text = SPEC.read_text(encoding="utf-8")
    assert f"Metrics version **{METRICS_VERSION}**" in text
    stated = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", text.split("## Worked example")[1], re.MULTILINE))
    square = np.array([[0.0, 0.0], [0.0, 5.0], [5.0, 0.0], [5.0, 5.0]])
    positions = np.concatenate([square + np.array([0, x]) for x in (0, 8, 40)] + [square[:1]])
    kept = keep_apart(positions, 6.0, InFileOrder(np.random.PCG64()))
    assert kept.tolist() == [0, 3, 5, 8, 11]
    found = {
        **overlap_metrics(positions, 10.0, np.arange(12).reshape(3, 4), neighbours=2).plain(),
        **acceptance(positions, kept, 6.0, 10.0, "greedy-seeded-spacing").plain(),
    }
    assert len(stated) == 10
    assert {name: f"{float(value):.4f}" for name, value in stated.items()} == {
        name: f"{found[name]:.4f}" for name in stated
    }
