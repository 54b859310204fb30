"""Summaries over seeds: made-up rows with holes, and the laws that hold for any."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldlight.compare.summary import DIRECTIONS, summarise
from foldlight.compare.table import Row
from foldlight.core.errors import DataError
from foldlight.report.columns import COLUMNS


def row(arm: str, seed: int | None, score: float | None, dose: float = 1e3, **others) -> dict:
    labels = {"dose": dose, "view": "dense", "split": "test", "arm": arm, "seed": seed, "status": "success"}
    return {**labels, "phase_ssim": score, **others}


def of(rows: list[dict]) -> dict:
    return {found.arm: found for found in summarise(rows)}


SCORES = st.lists(st.one_of(st.none(), st.floats(0, 1).map(lambda value: round(value, 3))), min_size=12, max_size=12)
HARD = {1: 0.3, 2: -0.2, 3: 0.05}


def rows_of(scores: list[float | None]) -> list[dict]:
    names = [(arm, seed) for arm in ("A", "B", "C", "Constant") for seed in (1, 2, 3)]
    return [row(arm, seed, score) for (arm, seed), score in zip(names, scores, strict=True)]


class TestLaws:
    @given(SCORES, st.randoms(use_true_random=False))
    def test_any_order_of_rows_says_the_same(self, scores, random):
        rows = rows_of(scores)
        mixed = random.sample(rows, len(rows))
        one, other = of(rows), of(mixed)
        for arm, found in one.items():
            assert sorted(found.seeds) == sorted(other[arm].seeds)
            assert (found.values, found.differences, found.marks) == (
                other[arm].values,
                other[arm].differences,
                other[arm].marks,
            )

    @given(SCORES)
    def test_words_and_numbers_say_the_same(self, scores):
        rows = rows_of(scores)
        words = [{name: "" if cell is None else str(cell) for name, cell in each.items()} for each in rows]
        assert summarise(words) == summarise(rows)

    @given(SCORES)
    def test_what_a_data_set_adds_to_all_arms_moves_no_difference(self, scores):
        rows = rows_of([0.5 if score is None else score for score in scores])
        moved = [{**each, "phase_ssim": each["phase_ssim"] + HARD[each["seed"]]} for each in rows]
        one, other = of(rows), of(moved)
        best = [arm for arm, found in one.items() if found.marks["phase_ssim"] == "best"]
        if [arm for arm, found in other.items() if found.marks["phase_ssim"] == "best"] != best:
            return  # another arm has the best median, and all differences are to that one
        for arm, found in one.items():
            assert other[arm].differences["phase_ssim"].mean == pytest.approx(
                found.differences["phase_ssim"].mean, abs=1e-12
            )

    @given(SCORES)
    def test_somebody_leads_whenever_two_have_numbers(self, scores):
        found = summarise(rows_of(scores))
        known = [each for each in found if "phase_ssim" in each.values]
        leaders = [each for each in known if each.leads("phase_ssim")]
        assert bool(leaders) == (len(known) > 1)


class TestSummary:
    def test_marks_who_does_not_differ_beyond_noise(self):
        scores = {"A": (0.80, 0.60, 0.70), "B": (0.79, 0.61, 0.69), "C": (0.60, 0.41, 0.49)}
        rows = [row(arm, seed, score) for arm, each in scores.items() for seed, score in enumerate(each)]
        found = of(rows)
        assert {arm: each.marks["phase_ssim"] for arm, each in found.items()} == {
            "A": "best",
            "B": "inside the noise",  # although each spreads far more over the data sets than A and C lie apart
            "C": "worse",
        }
        assert found["C"].differences["phase_ssim"].median == pytest.approx(-0.2)
        assert found["A"].values["phase_ssim"].half_range == pytest.approx(0.1)

    def test_claims_nothing_from_one_seed(self):
        found = of([row("A", 1, 0.9), row("B", 1, 0.1), row("C", 1, 0.9)])
        assert [found[arm].marks["phase_ssim"] for arm in "ABC"] == ["best", "unknown", "best"]
        assert not found["B"].leads("phase_ssim")

    def test_less_is_better_for_errors(self):
        rows = [
            row(arm, seed, None, phase_mae=error + seed / 9) for arm, error in (("A", 1), ("B", 3)) for seed in (1, 2)
        ]
        assert of(rows)["A"].marks["phase_mae"] == "best"
        assert of(rows)["B"].marks["phase_mae"] == "worse"

    def test_marks_no_costs_and_no_lone_arm(self):
        rows = [row("A", 1, 0.9, train_seconds=3.0), row("B", 1, None, train_seconds=2.0)]
        assert all(found.marks == {} and found.differences == {} for found in summarise(rows))
        assert of(rows)["B"].values.keys() == {"train_seconds"}

    def test_tells_a_score_of_other_seeds_only_from_that_of_the_best(self):
        found = of([row("A", 1, 0.9), row("A", 2, 0.8), row("B", 3, 0.2), row("B", 4, 0.3)])
        assert found["B"].marks["phase_ssim"] == "unknown"
        assert "phase_ssim" not in found["B"].differences

    def test_counts_collapses_and_keeps_their_numbers(self):
        rows = [row("A", seed, 0.1 * seed) for seed in (1, 2, 3)]
        rows[0]["status"] = "collapsed"
        found = of(rows)["A"]
        assert found.status == "collapsed 1 of 3"
        assert found.values["phase_ssim"].number == 3
        assert of(rows[:1])["A"].status == "collapsed"
        assert of([{"arm": "A"}])["A"].status == ""

    def test_groups_by_dose_view_and_split(self):
        rows = [row("A", 1, 0.5, dose=dose) for dose in (1e3, 1e4)] + [{**row("A", 1, 0.5), "view": "sparse"}]
        assert [(found.dose, found.view) for found in summarise(rows)] == [
            (1e3, "dense"),
            (1e4, "dense"),
            (1e3, "sparse"),
        ]

    def test_of_nothing_is_nothing(self):
        assert summarise([]) == []

    def test_two_rows_of_one_data_set_are_refused(self):
        with pytest.raises(DataError, match=r"one row for each arm and data set, got two of A \(dose 1000, view dense"):
            summarise([row("A", 1, 0.5), row("A", "1", 0.6, dose="1000.0")])


class TestDirections:
    def test_are_those_of_the_table(self):
        assert {each.name: DIRECTIONS.get(each.name, 0) for each in COLUMNS} == {
            each.name: each.better for each in COLUMNS
        }

    def test_are_of_scores_that_there_are(self):
        assert set(DIRECTIONS) <= set(Row.columns())
