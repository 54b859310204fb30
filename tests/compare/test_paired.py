"""Laws of spreads and of paired differences."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from foldlight.compare.paired import Spread, number, paired_difference, spread

NUMBERS = st.floats(-1e3, 1e3).map(lambda value: round(value, 4))
TABLES = st.dictionaries(st.integers(0, 30), NUMBERS, min_size=1, max_size=12)
HOLES = (None, "", math.nan, math.inf, "above", True)
TURNED = {"better": "worse", "worse": "better", "higher": "lower", "lower": "higher"}


class TestSpread:
    @given(st.lists(NUMBERS, min_size=1), st.randoms(use_true_random=False))
    def test_is_the_same_in_any_order_and_around_holes(self, values, random):
        mixed = [*values, *HOLES]
        random.shuffle(mixed)
        assert spread(mixed) == spread(values)

    @given(st.lists(NUMBERS, min_size=1))
    def test_holds_its_median(self, values):
        found = spread(values)
        assert found.low <= found.median <= found.high
        assert (found.low, found.high, found.number) == (min(values), max(values), len(values))

    def test_of_one_number_is_unknown_and_of_none_nothing(self):
        assert spread([0.5]).half_range is None
        assert spread(["0.2", 0.5]).half_range == pytest.approx(0.15)
        assert spread(HOLES) is None

    def test_reads_words(self):
        assert spread(["1", "3", 8]) == Spread(3.0, 1.0, 8.0, 3)
        assert number(np.float32(0.5)) == 0.5


class TestPairs:
    @given(TABLES, TABLES, st.sampled_from([-1, 0, 1]))
    def test_are_antisymmetric(self, first, second, better):
        assume(first.keys() & second.keys())
        one, other = paired_difference(first, second, better), paired_difference(second, first, better)
        assert (one.median, one.mean, one.number) == (-other.median, -other.mean, other.number)
        assert one.verdict == TURNED.get(other.verdict, other.verdict)
        if one.number > 1:
            assert (one.low, one.high) == (-other.high, -other.low)

    @given(TABLES, st.lists(NUMBERS, min_size=12, max_size=12), st.randoms(use_true_random=False))
    def test_are_the_same_in_any_order(self, first, others, random):
        second = dict(zip(first, others, strict=False))
        shuffled = list(first.items())
        random.shuffle(shuffled)
        assert paired_difference(dict(shuffled), second, 1) == paired_difference(first, second, 1)

    @given(TABLES, st.lists(NUMBERS, min_size=24, max_size=24))
    def test_do_not_see_what_both_share(self, first, numbers):
        """How hard each data set is drops out: the reason to pair."""
        second = dict(zip(first, numbers[:12], strict=False))
        hardness = dict(zip(first, numbers[12:], strict=False))
        plain = paired_difference(first, second, 1)
        moved = paired_difference(
            {key: value + hardness[key] for key, value in first.items()},
            {key: value + hardness[key] for key, value in second.items()},
            1,
        )
        assert moved.median == pytest.approx(plain.median, abs=1e-9)
        assert moved.mean == pytest.approx(plain.mean, abs=1e-9)
        if plain.number > 1 and min(abs(plain.low), abs(plain.high)) > 1e-8:
            assert moved.verdict == plain.verdict

    @given(TABLES, st.floats(0.01, 100), st.sampled_from([-1, 1]))
    def test_of_equal_gains_are_a_claim_and_of_equal_numbers_none(self, first, gain, better):
        more = {key: value + gain for key, value in first.items()}
        found = paired_difference(more, first, better)
        assert found.verdict == ("unknown" if len(first) == 1 else "better" if better > 0 else "worse")
        same = paired_difference(first, dict(first), better)
        assert same.median == same.mean == 0
        assert same.verdict == ("unknown" if len(first) == 1 else "inside the noise")

    def test_agree_with_an_independent_implementation(self):
        rng = np.random.default_rng(3)
        first, second = rng.normal(1, 1, 7), rng.normal(0, 2, 7)
        found = paired_difference(dict(enumerate(first)), dict(enumerate(second)), 1)
        theirs = scipy.stats.ttest_rel(first, second).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)

    def test_hold_the_truth_as_often_as_they_say(self):
        """95 % of 4,000 intervals, with a standard error of 0.35 %, whatever the data sets' own level."""
        rng = np.random.default_rng(11)
        held = 0
        for _ in range(4000):
            hardness = rng.normal(0, 50, 4)
            first, second = hardness + rng.normal(0.3, 1, 4), hardness + rng.normal(0, 2, 4)
            found = paired_difference(dict(enumerate(first)), dict(enumerate(second)), 1)
            held += found.low <= 0.3 <= found.high
        assert held / 4000 == pytest.approx(0.95, abs=0.012)

    @pytest.mark.parametrize("hole", HOLES)
    def test_skip_cells_without_number_and_data_sets_of_one_arm(self, hole):
        first = {1: 0.5, 2: 0.7, 3: hole, 4: 1.0, 5: 0.1}
        second = {1: 0.4, 2: 0.5, 3: 0.5, 4: hole, 6: 9.0}
        found = paired_difference(first, second, 1)
        assert found.number == 2
        assert found.median == pytest.approx(0.15)

    def test_without_a_pair_are_nothing(self):
        assert paired_difference({1: 0.5}, {2: 0.5}, 1) is None
        assert paired_difference({1: None}, {1: 0.5}, 1) is None

    def test_of_one_are_never_a_claim(self):
        found = paired_difference({1: 1e6}, {1: -1e6}, 1)
        assert (found.verdict, found.low, found.high) == ("unknown", None, None)

    @pytest.mark.parametrize(("better", "verdict"), [(1, "worse"), (-1, "better"), (0, "lower")])
    def test_know_which_way_is_good(self, better, verdict):
        assert paired_difference({1: 1.0, 2: 1.1}, {1: 3.0, 2: 3.1}, better).verdict == verdict

    def test_are_not_fooled_by_rounding(self):
        first = {1: 0.1 + 0.2, 2: 0.3}
        assert paired_difference(first, {1: 0.3, 2: 0.1 + 0.2}, 1).verdict == "inside the noise"
        assert paired_difference({1: 0.1 + 0.2, 2: 0.7 + 0.1}, {1: 0.3, 2: 0.8}, 1).verdict == "inside the noise"
