"""Two runs of the same study or comparison, as after a change of the code or on another machine: second minus first.

Rows are paired by dose, view, split, seed and arm. For all of an arm together, the views and splits of one dose and
seed are averaged to one pair, since they share photons and networks and so are no independent draws.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foldlight.compare.paired import Difference, number, paired_difference
from foldlight.compare.summary import DATA_SET, DIRECTIONS, by_data_set
from foldlight.core.errors import DataError

__all__ = ["COSTS", "Run", "RunComparison", "RunDifference", "compare_runs"]

COSTS = ("train_seconds", "infer_seconds_per_frame")
"""Columns that no two runs repeat."""

_LABELS = frozenset({*DATA_SET, "arm", "status"})

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Run:
    """What a run found.

    Attributes:
        name: for people.
        rows: those of its `metrics.csv`.
        digests: sha256 of the data of each data set, `compare.summary.data_set`, as far as it is known.
        facts: settings, versions and machine, in words, by name.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]
    digests: Mapping[Key, str]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class RunDifference:
    """One score of one arm in the second run against the first.

    Attributes:
        dose: photons per frame; None for all together.
        view: name; None for all together, or where there are no views.
        split: the same.
        arm: name.
        column: name of the score.
        first: median in the first run, of what has a partner.
        second: median in the second.
        difference: second minus first; `better` says that the second is.
        equal: every pair is the same number.
    """

    dose: float | None
    view: str | None
    split: str | None
    arm: str
    column: str
    first: float
    second: float
    difference: Difference
    equal: bool


@dataclass(frozen=True)
class RunComparison:
    """All that two runs differ in.

    Attributes:
        first: a run.
        second: the other one.
        pairs: rows that both have.
        only_first: rows of the first without partner, in words.
        only_second: of the second.
        same_data: data sets of both with the same sha256.
        other_data: data sets of both with another sha256, in words.
        unknown_data: data sets of both of which one run does not tell.
        statuses: rows whose status changed, in words.
        one_sided: how many numbers of a column only the first, and only the second run has.
        overall: a difference for each arm and score.
        groups: a difference for each dose, view, split, arm and score.
        facts: settings, versions and machine where they differ: name, first, second.
    """

    first: Run
    second: Run
    pairs: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    same_data: int
    other_data: tuple[str, ...]
    unknown_data: int
    statuses: tuple[str, ...]
    one_sided: Mapping[str, tuple[int, int]]
    overall: tuple[RunDifference, ...]
    groups: tuple[RunDifference, ...]
    facts: tuple[tuple[str, str, str], ...]

    @property
    def equal(self) -> bool:
        """Both have the same rows with the same numbers, but for the time they took."""
        whole = not (self.only_first or self.only_second or self.statuses)
        sides = all(column in COSTS for column in self.one_sided)
        return whole and sides and all(each.equal for each in self.overall if each.column not in COSTS)


def compare_runs(first: Run, second: Run) -> RunComparison:
    """Pair the rows of two runs and say by how much the second differs from the first.

    Raises:
        DataError: they have no row in common, or one has two rows of the same arm and data set.
    """
    one, other = _by_arm(first), _by_arm(second)
    shared = [key for key in one if key in other]
    if not shared:
        raise DataError(
            f"compare: expected runs with the same dose, view, split, arm and seed in some rows, got none;"
            f" {first.name} has {_example(one)}, {second.name} has {_example(other)}"
        )
    columns = dict.fromkeys(name for table in (one, other) for row in table.values() for name in row)
    scores = [name for name in columns if name not in _LABELS]
    places = list(dict.fromkeys(key[1:] for key in shared))
    digests = {place: (first.digests.get(place), second.digests.get(place)) for place in places}
    known = {place: pair for place, pair in digests.items() if None not in pair}
    return RunComparison(
        first=first,
        second=second,
        pairs=len(shared),
        only_first=tuple(_told(key) for key in one if key not in other),
        only_second=tuple(_told(key) for key in other if key not in one),
        same_data=sum(before == after for before, after in known.values()),
        other_data=tuple(_place(place) for place, (before, after) in known.items() if before != after),
        unknown_data=len(places) - len(known),
        statuses=tuple(_status_changes(one, other, shared)),
        one_sided=_one_sided(one, other, shared, scores),
        overall=_differences(one, other, shared, scores, _whole, lambda key: (key[1], key[4])),
        groups=_differences(one, other, shared, scores, _group, lambda key: key[4]),
        facts=_other_facts(first.facts, second.facts),
    )


def _by_arm(run: Run) -> dict[Key, Mapping[str, Any]]:
    """The rows of a run by arm, dose, view, split and seed."""
    arms = dict.fromkeys(str(row.get("arm")) for row in run.rows)
    return {
        (arm, *key): row
        for arm in arms
        for key, row in by_data_set([row for row in run.rows if str(row.get("arm")) == arm]).items()
    }


def _whole(key: Key) -> Key:
    return (key[0], None, None, None)


def _group(key: Key) -> Key:
    return key[:4]


def _differences(
    one: Mapping[Key, Mapping[str, Any]],
    other: Mapping[Key, Mapping[str, Any]],
    shared: Sequence[Key],
    columns: Sequence[str],
    group: Callable[[Key], Key],
    unit: Callable[[Key], Hashable],
) -> tuple[RunDifference, ...]:
    """The differences of each group of rows; those of one unit are averaged before they count as a pair."""
    members: dict[Key, list[Key]] = {}
    for key in shared:
        members.setdefault(group(key), []).append(key)
    found = []
    for (arm, dose, view, split), keys in members.items():
        for column in columns:
            cells = [(unit(key), number(one[key].get(column)), number(other[key].get(column))) for key in keys]
            pairs = [
                (place, before, after) for place, before, after in cells if before is not None and after is not None
            ]
            befores = _means([(place, before) for place, before, _ in pairs])
            afters = _means([(place, after) for place, _, after in pairs])
            difference = paired_difference(afters, befores, DIRECTIONS.get(column, 0))
            if difference is None:
                continue
            found.append(
                RunDifference(
                    dose=number(dose),
                    view=view,
                    split=split,
                    arm=arm,
                    column=column,
                    first=float(np.median(list(befores.values()))),
                    second=float(np.median(list(afters.values()))),
                    difference=difference,
                    equal=all(before == after for _, before, after in pairs),
                )
            )
    return tuple(found)


def _means(values: Sequence[tuple[Hashable, float]]) -> dict[Hashable, float]:
    units: dict[Hashable, list[float]] = {}
    for unit, value in values:
        units.setdefault(unit, []).append(value)
    return {unit: float(np.mean(found)) for unit, found in units.items()}


def _one_sided(
    one: Mapping[Key, Mapping[str, Any]],
    other: Mapping[Key, Mapping[str, Any]],
    shared: Sequence[Key],
    columns: Sequence[str],
) -> dict[str, tuple[int, int]]:
    found = {}
    for column in columns:
        present = [(number(one[key].get(column)), number(other[key].get(column))) for key in shared]
        gone = sum(before is not None and after is None for before, after in present)
        new = sum(before is None and after is not None for before, after in present)
        if gone or new:
            found[column] = (gone, new)
    return found


def _status_changes(
    one: Mapping[Key, Mapping[str, Any]], other: Mapping[Key, Mapping[str, Any]], shared: Sequence[Key]
) -> list[str]:
    pairs = [
        (key, str(one[key].get("status") or "unknown"), str(other[key].get("status") or "unknown")) for key in shared
    ]
    return [f"{_told(key)}: {before} -> {after}" for key, before, after in pairs if before != after]


def _other_facts(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[tuple[str, str, str], ...]:
    names = sorted({*first, *second})
    pairs = [(name, first.get(name, "not told"), second.get(name, "not told")) for name in names]
    return tuple(each for each in pairs if each[1] != each[2])


def _example(table: Mapping[Key, Any]) -> str:
    return _told(next(iter(table))) if table else "no rows"


def _told(key: Key) -> str:
    """`PtyChi at dose 1000, view dense, split test, seed 42`."""
    place = _place(key[1:])
    return f"{key[0]} at {place}" if place else str(key[0])


def _place(key: Key) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(DATA_SET, key, strict=True) if value is not None)
