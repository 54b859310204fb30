"""Two runs of made-up rows: what is paired, and the laws of their differences."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.compare.runs import Run, compare_runs
from foldlight.compare.summary import data_set
from foldlight.core.errors import DataError

TURNED = {"better": "worse", "worse": "better", "higher": "lower", "lower": "higher"}
SCORES = st.lists(st.floats(0, 1).map(lambda value: round(value, 3)), min_size=24, max_size=24)
PLACES = [
    {"dose": dose, "view": "dense", "split": split, "arm": arm, "seed": seed}
    for arm in ("A", "B")
    for dose in (1e3, 1e4)
    for split in ("train", "test")
    for seed in (1, 2, 3)
]


def run(name: str, scores: list[float | None], seconds: float = 1.0, **facts: str) -> Run:
    rows = [
        {**place, "phase_ssim": score, "train_seconds": seconds, "status": "success"}
        for place, score in zip(PLACES, scores, strict=False)
    ]
    return Run(name, rows, {data_set(row): "same" for row in rows}, facts)


class TestLaws:
    @settings(max_examples=25)
    @given(SCORES)
    def test_a_run_equals_itself(self, scores):
        found = compare_runs(run("one", scores), run("other", scores, seconds=9.0))
        assert found.equal
        assert found.pairs == len(PLACES)
        assert all(each.difference.mean == 0 for each in found.groups if each.column == "phase_ssim")

    @settings(max_examples=25)
    @given(SCORES, SCORES)
    def test_turning_the_runs_turns_every_difference(self, scores, others):
        found = compare_runs(run("one", scores), run("other", others))
        turned = compare_runs(run("other", others), run("one", scores))
        assert found.equal == turned.equal == (scores == others)
        for one, other in zip((*found.overall, *found.groups), (*turned.overall, *turned.groups), strict=True):
            assert (one.first, one.second) == (other.second, other.first)
            assert one.difference.mean == -other.difference.mean
            assert one.difference.verdict == TURNED.get(other.difference.verdict, other.difference.verdict)

    @settings(max_examples=25)
    @given(SCORES, st.randoms(use_true_random=False))
    def test_any_order_of_rows_says_the_same(self, scores, random):
        one, other = run("one", scores), run("other", scores[::-1])
        mixed = Run("other", random.sample(other.rows, len(other.rows)), other.digests, other.facts)
        assert compare_runs(one, mixed).overall == compare_runs(one, other).overall


class TestPairs:
    def test_views_and_splits_of_one_dose_and_seed_are_one_pair(self):
        """They share photons and networks, so counting each would claim too much."""
        gains = [0.1 * place["seed"] for place in PLACES]
        found = compare_runs(run("one", [0.0] * 24), run("other", gains))
        overall = next(each for each in found.overall if each.column == "phase_ssim")
        assert overall.difference.number == 2 * 3
        assert overall.difference.median == pytest.approx(0.2)
        group = next(each for each in found.groups if each.column == "phase_ssim")
        assert (group.dose, group.view, group.split) == (1000, "dense", "train")
        assert group.difference.number == 3
        assert (group.first, group.second) == pytest.approx((0.0, 0.2))

    def test_a_gain_beyond_noise_is_better_and_times_are_only_higher(self):
        found = compare_runs(run("one", [0.2] * 24), run("other", [0.3] * 24, seconds=2.0))
        assert {(each.column, each.difference.verdict) for each in found.overall} == {
            ("phase_ssim", "better"),
            ("train_seconds", "higher"),
        }

    def test_one_seed_and_dose_is_never_a_claim(self):
        one, other = run("one", [0.2] * 24), run("other", [0.9] * 24)
        alone = [row for row in other.rows if (row["seed"], row["dose"]) == (1, 1e3)]
        found = compare_runs(one, Run("other", alone, {}, {}))
        assert {each.difference.verdict for each in (*found.overall, *found.groups)} == {"unknown"}

    def test_rows_numbers_and_data_without_partner_are_told(self):
        one, other = run("one", [0.2] * 24, torch="2.1", seed="1"), run("other", [0.2] * 24, torch="2.2", seed="1")
        less = Run("other", [{**row} for row in other.rows[1:]], {**other.digests}, other.facts)
        less.rows[0]["phase_ssim"] = None
        less.rows[1]["status"] = "collapsed"
        less.digests[data_set(less.rows[3])] = "another"
        del less.digests[data_set(less.rows[4])]
        found = compare_runs(one, less)
        assert found.only_first == ("A at dose 1000, view dense, split train, seed 1",)
        assert found.only_second == ()
        assert found.one_sided == {"phase_ssim": (1, 0)}
        assert found.statuses == ("A at dose 1000, view dense, split train, seed 3: success -> collapsed",)
        assert (found.same_data, len(found.other_data), found.unknown_data) == (10, 1, 1)
        assert found.facts == (("torch", "2.1", "2.2"),)
        assert not found.equal

    def test_runs_of_other_things_are_refused(self):
        one = run("one", [0.2] * 24)
        other = Run("other", [{"arm": "Network", "dose": 7.0}], {}, {})
        with pytest.raises(DataError, match=r"got none; one has A at dose 1000, .*other has Network at dose 7"):
            compare_runs(one, other)
        with pytest.raises(DataError, match="third has no rows"):
            compare_runs(one, Run("third", [], {}, {}))

    def test_two_rows_of_one_data_set_are_refused(self):
        one = run("one", [0.2] * 24)
        with pytest.raises(DataError, match="one row for each arm and data set"):
            compare_runs(one, Run("other", [*one.rows, one.rows[0]], {}, {}))
