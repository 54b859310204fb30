"""How far numbers of several data sets lie apart, and whether two arms differ by more than that.

Arms are compared data set by data set: what makes one data set harder than another is the same for both and drops out
of their difference. The interval is Student's for the mean of the pairs, so it takes their differences for draws of one
normal distribution; it is wide for two or three pairs because that is what two or three pairs can tell. It is not
widened for how often it is asked: of twenty verdicts on arms that do not differ, one is wrong.

Source: Student 1908, The probable error of a mean, Biometrika 6, 1.
"""

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import stdtrit

__all__ = ["CONFIDENCE", "Difference", "Spread", "Verdict", "number", "paired_difference", "spread"]

CONFIDENCE = 0.95
"""How often the interval of a difference holds the true one."""

Verdict = Literal["better", "worse", "higher", "lower", "inside the noise", "unknown"]
"""What a difference says: `higher` and `lower` of numbers that are neither good nor bad, such as a time."""

_ROUNDING = 8 * float(np.finfo(float).eps)  # of the largest value: a difference of two floats is not better than that


@dataclass(frozen=True)
class Spread:
    """Where the numbers of several data sets lie.

    Attributes:
        median: of them.
        low: the least.
        high: the greatest.
        number: how many there are.
    """

    median: float
    low: float
    high: float
    number: int

    @property
    def half_range(self) -> float | None:
        """Half of greatest minus least; None for a single number, whose spread is unknown."""
        return (self.high - self.low) / 2 if self.number > 1 else None


@dataclass(frozen=True)
class Difference:
    """By how much one arm differs from another on the same data sets.

    Attributes:
        median: of the differences, pair by pair.
        low: lower end of the 95 % interval of their mean; None for one pair, which tells nothing about noise.
        high: upper end.
        number: pairs.
        verdict: whether the first arm is better or worse than the second; `inside the noise` when the interval holds
            zero, `unknown` for one pair.
        mean: of the differences, the middle of the interval.
    """

    median: float
    low: float | None
    high: float | None
    number: int
    verdict: Verdict
    mean: float


def number(value: Any) -> float | None:
    """A cell of a table as a number; None where it is empty, a word or not finite."""
    if value is None or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def spread(values: Iterable[Any]) -> Spread | None:
    """Median, least and greatest of the numbers among some cells; None where there is none."""
    found = [each for each in map(number, values) if each is not None]
    if not found:
        return None
    return Spread(_median(np.array(found)), min(found), max(found), len(found))


def paired_difference(
    first: Mapping[Any, float | None], second: Mapping[Any, float | None], better: int
) -> Difference | None:
    """The differences first minus second on the data sets that both have a number of.

    Args:
        first: number of one arm by data set; cells that are empty or not finite have no pair.
        second: of the other arm.
        better: 1 when more is better, -1 when less is, 0 when it is neither.

    Returns:
        What they say together; None without a pair.
    """
    pairs = [pair for key in first if key in second and (pair := _pair(first, second, key))]
    if not pairs:
        return None
    differences = np.array([one - other for one, other in pairs])
    median, mean, count = _median(differences), math.fsum(differences) / len(pairs), len(pairs)
    if count == 1:
        return Difference(median, None, None, 1, "unknown", mean)
    deviation = math.sqrt(math.fsum((differences - mean) ** 2) / (count - 1))
    quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    reach = quantile * deviation / math.sqrt(count) + _ROUNDING * float(np.abs(pairs).max())
    low, high = mean - reach, mean + reach
    return Difference(median, low, high, count, _verdict(low, high, better), mean)


def _pair(
    first: Mapping[Any, float | None], second: Mapping[Any, float | None], key: Hashable
) -> tuple[float, float] | None:
    one, other = number(first[key]), number(second[key])
    return None if one is None or other is None else (one, other)


def _median(values: np.ndarray) -> float:
    return float(np.median(values))


def _verdict(low: float, high: float, better: int) -> Verdict:
    if low <= 0 <= high:
        return "inside the noise"
    if better == 0:
        return "higher" if low > 0 else "lower"
    return "better" if (low > 0) == (better > 0) else "worse"
