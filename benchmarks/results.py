"""One measured number, what it is divided by, what it should be: frozen, JSON-ready, judged in one place.

Everything is measured several times. A ratio is formed repeat by repeat, of a value and a base that were measured one
after the other, so what slowed the machine for a while slowed both and drops out.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from foldlight.compare.paired import Spread, spread
from foldlight.core.errors import DataError
from foldlight.core.settings import describe

__all__ = ["Ratio", "Result", "Series", "Target", "Verdict", "not_measured", "ratio", "result_from", "series"]

Verdict = Literal["met", "missed", "not measured", "no target"]


@dataclass(frozen=True)
class Series:
    """One quantity, once a repeat.

    Attributes:
        unit: of the values; `1` for a pure number.
        values: in the order measured.

    Raises:
        DataError: no value, or one that is not finite.
    """

    unit: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or not np.isfinite(self.values).all():
            raise DataError(f"measurement: expected one or more finite values [{self.unit}], got {list(self.values)}")

    @property
    def spread(self) -> Spread:
        """Median, least and greatest of the values."""
        found = spread(self.values)
        assert found is not None  # noqa: S101  (the constructor refuses a series without values)
        return found


@dataclass(frozen=True)
class Ratio:
    """A value over a base that was measured beside it.

    Attributes:
        to: name of the base; unique within a result.
        kind: `peer`, another way to the same end (below 1 is better than the peer), or `limit`, what the machine
            can do at best (1 is the limit itself).
        base: what the value is divided by, in the value's unit.
        values: the ratio, repeat by repeat.
    """

    to: str
    kind: Literal["peer", "limit"]
    base: Series
    values: Series


@dataclass(frozen=True)
class Target:
    """What a number should be.

    Attributes:
        text: the target in words.
        bound: the number.
        sense: on which side of the bound it is met; the bound itself meets it.
        ratio: name of the ratio that is judged (`Ratio.to`); the value itself when empty.
    """

    text: str
    bound: float
    sense: Literal["at most", "at least"]
    ratio: str = ""

    def met(self, median: float) -> bool:
        """Whether a median meets it."""
        return median <= self.bound if self.sense == "at most" else median >= self.bound


@dataclass(frozen=True)
class Result:
    """One line of a benchmark's table.

    Attributes:
        row: the row it belongs to, the name that `--only` takes.
        quantity: what was measured.
        measured: the number; None when there is none.
        ratios: the number over what it is compared with.
        target: what it should be; None where nothing is promised.
        reason: why the target is not judged, or why there is no number; a number with a reason is shown, not judged.
        note: what a reader must know to read the number rightly.
        facts: JSON-ready circumstances (sizes, counts, settings).

    Raises:
        DataError: neither a number nor a reason, two ratios of one name, or a target on a ratio that is not there.
    """

    row: str
    quantity: str
    measured: Series | None
    ratios: tuple[Ratio, ...] = ()
    target: Target | None = None
    reason: str = ""
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [each.to for each in self.ratios]
        if self.measured is None and not self.reason:
            raise DataError(
                f"{self.row}, {self.quantity}: expected a number or a reason why there is none, got neither"
            )
        if len(set(names)) < len(names):
            raise DataError(f"{self.row}, {self.quantity}: expected one ratio of a name, got {', '.join(names)}")
        if self.measured and self.target and self.target.ratio and self.target.ratio not in names:
            raise DataError(
                f"{self.row}, {self.quantity}: expected the ratio {self.target.ratio!r} that the target judges, got"
                f" {', '.join(names) or 'none'}"
            )

    @property
    def judged(self) -> Series | None:
        """The series that the target is about."""
        if self.target is None or not self.target.ratio:
            return self.measured
        return next((each.values for each in self.ratios if each.to == self.target.ratio), None)

    @property
    def verdict(self) -> Verdict:
        """Whether the median meets the target."""
        if self.measured is None or (self.target is not None and self.reason):
            return "not measured"
        if self.target is None or self.judged is None:
            return "no target"
        return "met" if self.target.met(self.judged.spread.median) else "missed"

    def plain(self) -> dict[str, Any]:
        """JSON-ready: the fields, the medians and spreads of every series, and the verdict."""
        found: dict[str, Any] = asdict(self)
        if self.measured is not None:
            found["measured"] |= _summary(self.measured)
        for told, each in zip(found["ratios"], self.ratios, strict=True):
            told["base"] |= _summary(each.base)
            told["values"] |= _summary(each.values)
        return {**found, "verdict": self.verdict}


def series(unit: str, values: Iterable[float]) -> Series:
    """A series of any numbers."""
    return Series(unit, tuple(float(value) for value in values))


def ratio(to: str, kind: Literal["peer", "limit"], measured: Series, base: Series) -> Ratio:
    """Value over base, repeat by repeat.

    Raises:
        DataError: other units, another number of repeats, or a base that is not positive.
    """
    if measured.unit != base.unit or len(measured.values) != len(base.values):
        raise DataError(
            f"{to}: expected {len(measured.values)} repeats in {measured.unit} as the value has, got"
            f" {len(base.values)} in {base.unit}"
        )
    if min(base.values) <= 0:
        raise DataError(f"{to}: expected bases above 0 [{base.unit}], got {min(base.values):g}; measure for longer")
    return Ratio(to, kind, base, series("1", np.divide(measured.values, base.values)))


def not_measured(row: str, quantity: str, reason: str, target: Target | None = None) -> Result:
    """A line without a number, and why."""
    return Result(row, quantity, None, target=target, reason=reason)


def result_from(values: dict[str, Any]) -> Result:
    """The result that `Result.plain` described.

    Raises:
        DataError: the values describe none.
    """
    try:
        return _RESULT.validate_python(values)
    except ValidationError as error:
        raise DataError(f"benchmark result: {describe(error)}") from None


_RESULT = TypeAdapter(Result)


def _summary(numbers: Series) -> dict[str, float]:
    found = numbers.spread
    return {"median": found.median, "low": found.low, "high": found.high, "repeats": found.number}
