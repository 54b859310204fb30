"""The comparison: what is not measured yet is measured, data set by data set, in processes of their own."""

import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from benchmarks.network_parts.design import Design, design
from benchmarks.network_parts.page import Findings, page
from benchmarks.processes import called
from benchmarks.quality_parts.cases import Unit, digest
from benchmarks.quality_parts.run import code_digest
from benchmarks.report import Provenance
from benchmarks.suite import Size
from foldlight.core.errors import DataError
from foldlight.core.files import read_json, write_json, write_text
from foldlight.core.progress import progress_bar
from foldlight.core.settings import Settings

__all__ = ["SCHEMA", "NetworksSettings", "Plan", "planned", "run_networks"]

SCHEMA = "foldlight-networks-1"

_SEEDS: dict[Size, int] = {"toy": 1, "small": 3, "full": 5}
_COST_REPEATS: dict[Size, int] = {"toy": 1, "small": 7, "full": 15}
_PATIENCE = 20.0  # times the estimate, after which a data set is given up
_LEAST_LIMIT_S = 600.0


class NetworksSettings(Settings):
    """What to compare, how large, how often."""

    size: Size = "small"
    """`small` for an hour or so on one core; `full` for a GPU or a day; `toy` only shows that everything runs."""
    seeds: int | None = Field(default=None, ge=1)
    """Data sets of each kind; 3 for small and 5 for full when not given."""
    seed: int = Field(default=0, ge=0)
    """The first seed; the others follow."""
    output: Path = Path("benchmarks/results")
    """Folder for the tables, and the results of each unit."""
    fresh: bool = False
    """Measure again what was measured before."""
    plan: bool = False
    """Only say what would be measured, and how long it takes."""


@dataclass(frozen=True)
class Plan:
    """What a run is about.

    Attributes:
        design: the comparison.
        seeds: of the data sets.
        code: digest of the code that makes the numbers.
        units: by key, in the order measured.
        reused: keys of those that were measured before.
    """

    design: Design
    seeds: tuple[int, ...]
    code: str
    units: dict[str, Unit]
    reused: frozenset[str] = field(default_factory=frozenset)

    @property
    def jobs(self) -> list[dict[str, Unit]]:
        """Units left to measure, together where they share their data; the first seed's first."""
        by_data: dict[str, dict[str, Unit]] = {}
        for key, unit in self.units.items():
            if key not in self.reused:
                by_data.setdefault(digest(unit.data.plain()), {})[key] = unit
        return list(by_data.values())


def planned(settings: NetworksSettings) -> Plan:
    """The plan of a run."""
    comparison = design(settings.size)
    seeds = tuple(range(settings.seed, settings.seed + (settings.seeds or _SEEDS[settings.size])))
    code = code_digest()
    units = {unit.key(code): unit for unit in comparison.units(seeds)}
    folder = _folder(settings)
    reused = set() if settings.fresh else {key for key in units if _read(folder / f"{key}.json", "numbers")}
    return Plan(comparison, seeds, code, units, frozenset(reused))


def run_networks(settings: NetworksSettings, say: Callable[..., None], show: bool = False) -> Findings:
    """Measure what is missing; leave `networks.json` and `networks.md`, rewritten after each data set.

    A unit that fails has its reason on the page, and the others are measured all the same.

    Args:
        settings: what to measure.
        say: receives lines for the user.
        show: show a bar.

    Raises:
        DataError: the output folder can't be written.
    """
    plan = planned(settings)
    minutes = sum(unit.estimated_s for job in plan.jobs for unit in job.values()) / 60
    left = len(plan.units) - len(plan.reused)
    say(f"{len(plan.units)} trainings, {left} to measure in {len(plan.jobs)} data sets, about {minutes:.0f} minutes")
    if settings.plan:
        return _findings(plan, settings, {}, {})
    provenance, began = _provenance(settings, plan), time.monotonic()
    costs, failed = _costs(plan, settings)
    with progress_bar("networks", max(len(plan.jobs), 1), show) as advance:
        for number, reasons in enumerate(_measured(plan, settings)):
            failed |= reasons
            _publish(settings, plan, provenance.after(time.monotonic() - began), costs, failed)
            advance(number + 1, f"{number + 1} of {len(plan.jobs)} data sets")
    findings = _publish(settings, plan, provenance.after(time.monotonic() - began), costs, failed)
    say(*(f"failed: {name}: {reason}" for name, reason in findings.failed.items()))
    say(*(f"{kind} -> {settings.output / 'networks'}.{kind}" for kind in ("json", "md")))
    return findings


def _measured(plan: Plan, settings: NetworksSettings) -> Iterator[dict[str, str]]:
    """After each data set, the reasons by key of units that have no numbers."""
    folder = _folder(settings)
    for job in plan.jobs:
        for key in job:
            (folder / f"{key}.json").unlink(missing_ok=True)
        data = next(iter(job.values())).data.plain()
        arguments = {
            "data": data,
            "arms": {key: unit.arm.plain() for key, unit in job.items()},
            "folder": str(folder.resolve()),
            "code": plan.code,
        }
        limit_s = max(_LEAST_LIMIT_S, _PATIENCE * sum(unit.estimated_s for unit in job.values()))
        returned, error = called(
            "benchmarks.quality_parts.measure:measure_all", arguments, folder / "logs" / f"{digest(data)}.log", limit_s
        )
        lost = {key: error for key in job if error and not _read(folder / f"{key}.json", "numbers")}
        yield {**returned.get("failed", {}), **lost}


def _costs(plan: Plan, settings: NetworksSettings) -> tuple[dict[str, Any], dict[str, str]]:
    """Costs by the name of a network, measured now or before in this very way; and why there are none."""
    arguments = {
        "networks": {each.name: each.network.plain() for each in plan.design.variants},
        "window": plan.design.scale.window,
        "repeats": _COST_REPEATS[settings.size],
    }
    path = _folder(settings) / f"costs-{digest({**arguments, 'code': plan.code})}.json"
    known = None if settings.fresh else _read(path, "costs")
    if known is not None:
        return known["costs"], {}
    log = path.parent / "logs" / "costs.log"
    found, error = called("benchmarks.network_parts.costs:measure_costs", arguments, log, _LEAST_LIMIT_S)
    if error:
        return {}, {"costs": error}
    write_json(path, {"settings": arguments, "code": plan.code, "costs": found})
    return found, {}


def _publish(
    settings: NetworksSettings, plan: Plan, provenance: Provenance, costs: dict[str, Any], failed: dict[str, str]
) -> Findings:
    """Write JSON and page of what there is."""
    findings = _findings(plan, settings, costs, failed)
    write_json(
        settings.output / "networks.json",
        {
            "schema": SCHEMA,
            "provenance": asdict(provenance),
            "costs": costs,
            "rows": findings.plain(),
            "failed": findings.failed,
            "units": {key: {**found, "reused": key in plan.reused} for key, found in findings.units.items()},
        },
    )
    write_text(settings.output / "networks.md", page(findings, provenance))
    return findings


def _findings(plan: Plan, settings: NetworksSettings, costs: dict[str, Any], failed: dict[str, str]) -> Findings:
    folder = _folder(settings)
    units = {key: found for key in plan.units if (found := _read(folder / f"{key}.json", "numbers"))}
    return Findings(plan.design, plan.seeds, plan.code, units, costs, failed)


def _provenance(settings: NetworksSettings, plan: Plan) -> Provenance:
    told = settings.plain() | {"seeds": list(plan.seeds), "output": settings.output.as_posix(), "code": plan.code}
    told |= {"only": [], "repeats": len(plan.seeds)}
    words = ["--size", settings.size, "--seeds", str(len(plan.seeds)), "--seed", str(settings.seed)]
    command = shlex.join(["python", "-m", "benchmarks.networks", *words])
    return replace(Provenance.now("networks", told), command=command)


def _folder(settings: NetworksSettings) -> Path:
    return settings.output / "network_units"


def _read(path: Path, needed: str) -> dict[str, Any] | None:
    """A file's values; None where there is none, or only the remains of one."""
    try:
        found = read_json(path)
    except DataError:
        return None
    return found if isinstance(found, dict) and needed in found else None
