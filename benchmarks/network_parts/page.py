"""The comparison as a page of Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.network_parts.design import BASE, Condition, Design, Variant
from benchmarks.report import Provenance
from foldlight.compare.paired import Spread, number, spread

__all__ = ["Findings", "cost_cells", "page", "table", "told"]

_COLUMNS = {
    "object_rmse": "RMSE",
    "phase_ssim": "phase SSIM",
    "amplitude_ssim": "amplitude SSIM",
    "complex_correlation": "correlation",
    "frc_area": "FRC area to 0.5",
    "deviance_heldout": "held-out deviance",
    "train_seconds": "training [s]",
}


@dataclass(frozen=True)
class Findings:
    """What was measured, in this run or before.

    Attributes:
        design: the comparison.
        seeds: of the data sets.
        code: digest in the units' keys.
        units: settings, numbers and facts by key.
        costs: of a pass, by the name of a network.
        failed: reasons by key.
    """

    design: Design
    seeds: tuple[int, ...]
    code: str
    units: Mapping[str, Mapping[str, Any]]
    costs: Mapping[str, Any] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def unit(self, condition: Condition, variant: Variant, seed: int) -> Mapping[str, Any] | None:
        """One training's result; None where there is none."""
        return self.units.get(self.design.unit(condition, variant, seed).key(self.code))

    def numbers(self, condition: Condition, variant: Variant, name: str) -> dict[int, float]:
        """A number by seed; seeds without it are left out."""
        found = {seed: self.unit(condition, variant, seed) for seed in self.seeds}
        values = {seed: number(unit["numbers"].get(name)) for seed, unit in found.items() if unit}
        return {seed: value for seed, value in values.items() if value is not None}

    def collapsed(self, condition: Condition, variant: Variant) -> int:
        """Trainings that ended no better than flat."""
        found = (self.unit(condition, variant, seed) for seed in self.seeds)
        return sum(bool(unit["facts"]["collapsed"]) for unit in found if unit)

    def ratios(self, variant: Variant, gridsize: int) -> list[float]:
        """RMSE over that of the base network, data set by data set."""
        base = next(each for each in self.design.variants if each.name == BASE)
        found = []
        for condition in self.design.conditions:
            if condition.gridsize == gridsize:
                own, theirs = (self.numbers(condition, each, "object_rmse") for each in (variant, base))
                found += [own[seed] / theirs[seed] for seed in own if seed in theirs]
        return found

    def plain(self) -> list[dict[str, Any]]:
        """JSON-ready: a line each condition and network, with the spread of every number."""
        lines = []
        for condition in self.design.conditions:
            for variant in self.design.variants:
                values = {name: self.numbers(condition, variant, name) for name in _COLUMNS}
                told = {
                    name: {"by_seed": found, **asdict(around)}
                    for name, found in values.items()
                    if (around := spread(found.values()))
                }
                line = {"condition": asdict(condition), "network": variant.name, "numbers": told}
                lines.append({**line, "collapsed": self.collapsed(condition, variant)})
        return lines


def page(findings: Findings, provenance: Provenance) -> str:
    """Costs, all conditions in short, one table a condition, and where the numbers come from."""
    sections = [line for condition in findings.design.conditions for line in _condition(findings, condition)]
    lines = ["# Networks on single frames", "", *_preface(findings, provenance), *_short_table(findings), *sections]
    return "\n".join([*lines, *_origin(findings, provenance)]) + "\n"


def _preface(findings: Findings, provenance: Provenance) -> list[str]:
    of = findings.design.scale
    lines = []
    if provenance.settings["size"] == "toy":
        lines += ["**Size toy: this only shows that everything runs; its numbers mean nothing.**", ""]
    epochs = of.trained().training.epochs
    words = (
        f"Every network is trained on the photons alone of {of.training_side**2} frames of {of.window} x {of.window} px"
        f" of an object of the family `lines`, {epochs} times each frame, and scored on {of.side**2} frames of another."
        " Medians over seeds with [least, greatest]; a seed draws objects, positions, photons, weights and the order of"
        " training anew. RMSE is relative, over the well-lit pixels. Ratios are formed data set by data set."
    )
    return [*lines, words, ""]


def _short_table(findings: Findings) -> list[str]:
    heads = ["network", "weights", "Mflop a frame", "transforms a frame", "core-ms a frame"]
    gridsizes = sorted({condition.gridsize for condition in findings.design.conditions}, reverse=True)
    heads += [f"RMSE over {BASE}, C = {gridsize**2}" for gridsize in gridsizes]
    cells = []
    for variant in findings.design.variants:
        ratios = [told(spread(findings.ratios(variant, gridsize))) for gridsize in gridsizes]
        cells.append([variant.name, *cost_cells(findings.costs.get(variant.name)), *ratios])
    return ["## In short", "", *table(heads, cells), ""]


def cost_cells(found: Mapping[str, Any] | None) -> list[str]:
    """Weights, Mflop, transforms and core-ms a frame, as `measure_costs` finds them."""
    if found is None:
        return [""] * 4
    flop, transforms = f"{found['flop'] / 1e6:.1f}", f"{found['transforms']:.0f}"
    return [str(found["weights"]), flop, transforms, told(spread(found["core_ms"]))]


def _condition(findings: Findings, condition: Condition) -> list[str]:
    heads = ["network", *_COLUMNS.values(), "collapsed"]
    cells = [
        [
            variant.name,
            *(told(spread(findings.numbers(condition, variant, name).values())) for name in _COLUMNS),
            f"{findings.collapsed(condition, variant)} of {len(findings.numbers(condition, variant, 'object_rmse'))}",
        ]
        for variant in findings.design.variants
    ]
    return [f"## {condition.label}", "", *table(heads, cells), ""]


def _origin(findings: Findings, provenance: Provenance) -> list[str]:
    versions = ", ".join(f"{name} {value}" for name, value in provenance.environment.items() if value)
    load = "unknown" if provenance.load_before is None else f"{provenance.load_before:g}"
    machine = (
        f"- {provenance.cpu}, {provenance.cores} cores, {provenance.memory_gb:g} GB; load before: {load}; one thread"
    )
    asked = len(findings.design.conditions) * len(findings.design.variants) * len(findings.seeds)
    course = (
        f"- began {provenance.began}, {provenance.seconds:.0f} s so far; {len(findings.units)} of {asked} trainings"
        f" measured (code {findings.code}); seeds {', '.join(map(str, findings.seeds))}"
    )
    failed = [f"- failed: {name}: {reason}" for name, reason in findings.failed.items()]
    heads = ["## Where the numbers come from", "", f"- `{provenance.command}`"]
    return [*heads, machine, course, f"- {versions}", *failed]


def table(heads: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    """Lines of Markdown."""
    rows = [heads, ["---"] * len(heads), *cells]
    return ["| " + " | ".join(row) + " |" for row in rows]


def told(found: Spread | None) -> str:
    """A median with its range; empty when there is none."""
    if found is None:
        return ""
    around = f" [{found.low:.3g}, {found.high:.3g}]" if found.number > 1 else ""
    return f"{found.median:.3g}{around}"
