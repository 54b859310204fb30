"""The numbers of a study over its seeds: where they lie, how far they spread, which arms are best beyond noise.

Rows are those of `metrics.csv`, as words or as numbers; an empty cell, None or "", is a number that is not there. A
data set is a dose, view, split and seed. Collapsed arms and the flat image take part like all others: where nobody
beats them beyond noise, that is what is to be said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from foldlight.compare.paired import Difference, Spread, number, paired_difference, spread
from foldlight.core.errors import DataError

__all__ = ["DATA_SET", "DIRECTIONS", "GROUP", "Mark", "Summary", "by_data_set", "data_set", "summarise"]

Row = Mapping[str, Any]

GROUP = ("dose", "view", "split")
"""Columns that the arms which are compared with each other share."""

DATA_SET = (*GROUP, "seed")
"""Columns that name the data an arm has seen."""

_HIGHER = (
    *("amplitude_psnr", "phase_psnr", "amplitude_ssim", "phase_ssim", "amplitude_ms_ssim", "phase_ms_ssim"),
    *("frc_half_nyquist", "frc_seventh_nyquist", "frc_half_bit_nyquist", "eta"),
    *("complex_correlation", "phase_correlation", "amplitude_skill", "phase_skill"),
)
_LOWER = ("amplitude_mae", "phase_mae", "deviance_heldout", "object_rmse")

DIRECTIONS: Mapping[str, int] = {**dict.fromkeys(_HIGHER, 1), **dict.fromkeys(_LOWER, -1)}
"""1 for the scores of which more is better, -1 for those of which less is; costs and facts are not in it."""

Mark = Literal["best", "inside the noise", "better", "worse", "unknown"]
"""An arm against the one with the best median of its group, in one score; `better` where that arm's mean is worse."""

_LABELS = frozenset({*DATA_SET, "arm", "status"})


@dataclass(frozen=True)
class Summary:
    """One arm at one dose, view and split, over the seeds.

    Attributes:
        dose: photons per frame, or None.
        view: name, or None.
        split: name, or None.
        arm: name.
        seeds: of its rows, in order; None for a row that names none.
        statuses: how many of its rows have each status.
        values: where the numbers of each column lie; without the columns that have none.
        differences: to the arm of the best median of the group, in each score that both have on the same data.
        marks: what that says, in each score that it and another arm of the group have.
    """

    dose: float | None
    view: str | None
    split: str | None
    arm: str
    seeds: tuple[Any, ...]
    statuses: Mapping[str, int]
    values: Mapping[str, Spread]
    differences: Mapping[str, Difference]
    marks: Mapping[str, Mark]

    def leads(self, column: str) -> bool:
        """Whether it has the best median of a score, or does not differ from that by more than noise."""
        return self.marks.get(column) in {"best", "inside the noise", "better"}

    @property
    def status(self) -> str:
        """The status of its rows; of those that differ the worse one and how often, `collapsed 1 of 3`."""
        if len(self.statuses) < 2:
            return next(iter(self.statuses), "")
        worse = {status: times for status, times in self.statuses.items() if status != "success"}
        return ", ".join(f"{status} {times} of {len(self.seeds)}" for status, times in worse.items())


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """One summary for each dose, view, split and arm, in the order in which they first come.

    Raises:
        DataError: two rows are of the same arm and data set.
    """
    groups: dict[tuple[Any, ...], dict[str, list[Row]]] = {}
    for row in rows:
        groups.setdefault(data_set(row)[:-1], {}).setdefault(str(row.get("arm")), []).append(row)
    return [summary for arms in groups.values() for summary in _group(arms)]


def data_set(row: Row) -> tuple[Any, ...]:
    """Dose, view, split and seed of a row, the same from words and from numbers."""
    return tuple(_label(row.get(name)) for name in DATA_SET)


def by_data_set(rows: Sequence[Row]) -> dict[tuple[Any, ...], Row]:
    """The rows of one arm by data set.

    Raises:
        DataError: two rows are of the same data set.
    """
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = data_set(row)
        if key in found:
            told = ", ".join(f"{name} {value}" for name, value in zip(DATA_SET, key, strict=True) if value is not None)
            raise DataError(
                f"summary: expected one row for each arm and data set, got two of {row.get('arm')} ({told}); give each"
                " its own seed, or drop one"
            )
        found[key] = row
    return found


def _group(arms: Mapping[str, Sequence[Row]]) -> list[Summary]:
    """The summaries of the arms of one dose, view and split."""
    tables = {arm: by_data_set(rows) for arm, rows in arms.items()}
    names = dict.fromkeys(name for rows in arms.values() for row in rows for name in row if name not in _LABELS)
    scores = {name: _score({arm: _column(table, name) for arm, table in tables.items()}, name) for name in names}
    return [
        _summary(rows, {name: found[arm] for name, found in scores.items() if arm in found})
        for arm, rows in arms.items()
    ]


def _column(table: Mapping[tuple[Any, ...], Row], name: str) -> dict[tuple[Any, ...], float]:
    return {key: value for key, row in table.items() if (value := number(row.get(name))) is not None}


@dataclass(frozen=True)
class _Standing:
    """One arm in one column."""

    spread: Spread
    difference: Difference | None = None
    mark: Mark | None = None


def _score(cells: Mapping[str, Mapping[tuple[Any, ...], float]], name: str) -> dict[str, _Standing]:
    """Each arm that has numbers in a column: where they lie, and how that compares with the arm of the best median."""
    spreads = {arm: found for arm, values in cells.items() if (found := spread(values.values()))}
    better = DIRECTIONS.get(name, 0)
    if better == 0 or len(spreads) < 2:
        return {arm: _Standing(found) for arm, found in spreads.items()}
    top = max(better * found.median for found in spreads.values())
    tied = sorted(arm for arm, found in spreads.items() if better * found.median == top)
    standings = {}
    for arm, found in spreads.items():
        difference = paired_difference(cells[arm], cells[tied[0]], better)
        standings[arm] = _Standing(found, difference, "best" if arm in tied else _mark(difference))
    return standings


def _mark(difference: Difference | None) -> Mark:
    """What a difference to the best arm says."""
    if difference is None or difference.verdict in {"higher", "lower"}:
        return "unknown"
    return cast(Mark, difference.verdict)


def _summary(rows: Sequence[Row], columns: Mapping[str, _Standing]) -> Summary:
    dose, view, split, _ = data_set(rows[0])
    words = [str(row.get("status") or "") for row in rows]
    return Summary(
        dose=number(dose),
        view=None if view is None else str(view),
        split=None if split is None else str(split),
        arm=str(rows[0].get("arm")),
        seeds=tuple(data_set(row)[-1] for row in rows),
        statuses={word: words.count(word) for word in dict.fromkeys(words)},
        values={name: found.spread for name, found in columns.items()},
        differences={name: found.difference for name, found in columns.items() if found.difference},
        marks={name: found.mark for name, found in columns.items() if found.mark},
    )


def _label(value: Any) -> Any:
    """A label that is the same from a word and from a number."""
    if value is None or value == "":
        return None
    found = number(value)
    if found is None:
        return str(value)
    return int(found) if found.is_integer() else found
