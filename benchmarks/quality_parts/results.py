"""The numbers of the units, found by case, condition and arm."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.quality_parts.arms import AnyArm
from benchmarks.quality_parts.cases import Case, Condition
from foldlight.compare.paired import number, spread

__all__ = ["Findings"]


@dataclass(frozen=True)
class Findings:
    """What was measured, in this run or before.

    Attributes:
        cases: all of them.
        seeds: of the data sets.
        code: digest in the units' keys.
        units: settings, numbers and facts by key.
        failed: reasons by the name of a unit.
    """

    cases: tuple[Case, ...]
    seeds: tuple[int, ...]
    code: str
    units: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str] = field(default_factory=dict)

    def case(self, name: str) -> Case:
        """A case by its name."""
        return next(case for case in self.cases if case.name == name)

    def condition(self, case: str, label: str) -> Condition | None:
        """A condition by its label; None where the case has none."""
        return next((each for each in self.case(case).conditions if each.label == label), None)

    def facts(self, condition: Condition, arm: AnyArm | None = None) -> list[dict[str, Any]]:
        """What the units of an arm tell beside their numbers, one each seed; of the bounds when none is given."""
        arm = arm or condition.all_arms[0]
        seeds = condition.seeds(self.seeds)
        found = (self.units.get(condition.unit(arm, seed).key(self.code)) for seed in seeds)
        return [dict(unit["facts"]) for unit in found if unit]

    def numbers(self, condition: Condition, arm: AnyArm, name: str) -> dict[int, float]:
        """A number of an arm by seed; seeds without it are left out.

        Beside the columns of a unit: `eta`, `over_limit` (error over the dose limit's) and `over_bayes`.
        """
        found = {}
        for seed in condition.seeds(self.seeds):
            unit = self.units.get(condition.unit(arm, seed).key(self.code))
            bounds = self.units.get(condition.unit(condition.all_arms[0], seed).key(self.code))
            value = None if unit is None else number(_value(unit, bounds, name))
            if value is not None:
                found[seed] = value
        return found

    def trials(self, condition: Condition, arm: AnyArm) -> dict[int, tuple[dict[str, Any], float]]:
        """What an arm tells of its training, and whether its image is no better than flat, by seed."""
        found = {}
        for seed in condition.seeds(self.seeds):
            unit = self.units.get(condition.unit(arm, seed).key(self.code))
            if unit:
                found[seed] = (dict(unit["facts"]), float(unit["numbers"]["no_better_than_flat"]))
        return found

    def plain(self) -> list[dict[str, Any]]:
        """JSON-ready: a line each case, condition and arm, with the spread of every number."""
        names = sorted({name for unit in self.units.values() for name in unit["numbers"]})
        lines = []
        for case in self.cases:
            for condition in case.conditions:
                for arm in condition.all_arms:
                    values = {name: self.numbers(condition, arm, name) for name in [*names, *_DERIVED]}
                    told = {
                        name: {"by_seed": found, **asdict(around)}
                        for name, found in values.items()
                        if (around := spread(found.values()))
                    }
                    lines.append(
                        {
                            "case": case.name,
                            "condition": condition.label,
                            "arm": arm.name,
                            "data": condition.data.plain(),
                            "facts": self.facts(condition)[:1],
                            "numbers": told,
                        }
                    )
        return lines


_DERIVED = ("eta", "over_limit", "over_bayes")


def _value(unit: Mapping[str, Any], bounds: Mapping[str, Any] | None, name: str) -> Any:
    """A number of a unit, or one that follows from it and the limits of its data."""
    numbers = unit["numbers"]
    if name not in _DERIVED:
        return numbers.get(name)
    limit = (
        None if bounds is None else bounds["facts"].get("limit_bayes_rmse" if name == "over_bayes" else "limit_rmse")
    )
    error = numbers.get("object_rmse")
    if not limit or not error:
        return None
    return (limit / error) ** 2 if name == "eta" else error / limit
