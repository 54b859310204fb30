"""Two pictures: error against dose, and error against training data."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.quality_parts.arms import AnyArm, Trained
from benchmarks.quality_parts.cases import Condition
from benchmarks.quality_parts.results import Findings
from benchmarks.quality_parts.scoreboard import arm_named
from foldlight.compare.paired import Spread, spread
from foldlight.report.figures import save

__all__ = ["DOSE_LADDER", "FEW_DATA", "write_pictures"]

DOSE_LADDER = "quality_dose_ladder.png"
FEW_DATA = "quality_few_data.png"

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # told apart by most eyes
_FLAT = "0.55"

_Point = tuple[float, Spread]


def write_pictures(findings: Findings, folder: Path) -> None:
    """Write both, where there is something to show."""
    _dose_ladder(findings, folder / DOSE_LADDER)
    _few_data(findings, folder / FEW_DATA)


def _dose_ladder(findings: Findings, path: Path) -> None:
    """Relative RMSE and efficiency against n, every arm, with the limits."""
    conditions = findings.case("dose-ladder").conditions
    arms = {arm.name: None for condition in conditions for arm in condition.all_arms}
    lines = {name: _along_dose(findings, conditions, name) for name in ("limit_rmse", "limit_bayes_rmse")}
    if not lines["limit_rmse"]:
        return
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    error, efficiency = figure.subplots(1, 2)
    error.plot(*_xy(lines["limit_rmse"]), color="black", linewidth=1.6, label="dose limit, no prior")
    error.plot(*_xy(lines["limit_bayes_rmse"]), color="black", linestyle=":", linewidth=1.6, label="Bayesian bound")
    efficiency.axhline(1, color="black", linewidth=1.6)
    for number, name in enumerate(name for name in arms if " from the network" not in name):  # points, not lines
        colour = _FLAT if name == "Constant" else _COLOURS[(number - 1) % len(_COLOURS)]
        _draw(error, _arm_along_dose(findings, conditions, name, "object_rmse"), name, colour)
        _draw(efficiency, _arm_along_dose(findings, conditions, name, "eta"), name, colour)
    for axes, words in ((error, "relative RMSE"), (efficiency, "eta = dose limit / squared error")):
        axes.set(xscale="log", yscale="log", ylabel=words, xlabel="n, photons through one object pixel")
        axes.grid(alpha=0.25)
    efficiency.set_ylim(bottom=1e-4)
    top = error.secondary_xaxis("top", functions=_per_frame(findings, conditions))
    top.set_xlabel("photons a frame")
    error.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    error.yaxis.set_minor_formatter(FuncFormatter(_sparse))
    error.legend(fontsize=8)
    figure.suptitle(f"Known probe; medians and ranges of {len(findings.seeds)} seeds", fontsize=11)
    save(figure, path)


def _few_data(findings: Findings, path: Path) -> None:
    """Error and amplitude SSIM against the training frames."""
    (condition,) = findings.case("few-data").conditions
    networks = [arm for arm in condition.arms if isinstance(arm, Trained)]
    facts = findings.facts(condition)
    if not facts or not any(findings.numbers(condition, arm, "object_rmse") for arm in networks):
        return
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    error, likeness = figure.subplots(1, 2)
    for axes, name in ((error, "object_rmse"), (likeness, "amplitude_ssim")):
        for colour, start, how, label in (
            (_COLOURS[0], "pretrained", "photons", "from the pretrained weights"),
            (_COLOURS[1], "scratch", "photons", "from scratch"),
            (_COLOURS[2], "scratch", "object", "from scratch, supervised"),
        ):
            arms = [arm for arm in networks if (arm.start, arm.training.supervision) == (start, how)]
            points = [(float(arm.side**2), _spread(findings, condition, arm, name)) for arm in arms]
            _draw(axes, [(x, found) for x, found in points if found is not None], label, colour)
        one_pass = arm_named(condition, "Pretrained")
        lines = ((condition.all_arms[0], _FLAT, "best flat image"), (one_pass, _COLOURS[3], "pretrained, no training"))
        for arm, colour, label in lines:
            level = None if arm is None else _spread(findings, condition, arm, name)
            if level is not None:
                axes.axhline(level.median, color=colour, label=label)
        axes.set(xscale="log", xlabel="training frames")
        frames = sorted({arm.side**2 for arm in networks})
        axes.set_xticks(frames, [str(number) for number in frames])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.25)
    limit = float(np.median([each["limit_rmse"] for each in facts]))
    error.axhline(limit, color="black", linewidth=1.6, label="dose limit, no prior")
    error.set(yscale="log", ylabel="relative RMSE on an unseen object")
    likeness.set(ylabel="amplitude SSIM on an unseen object")
    error.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    error.yaxis.set_minor_formatter(FuncFormatter(_sparse))
    error.legend(fontsize=8)
    n = float(np.median([each["n"] for each in facts]))
    figure.suptitle(
        f"A new probe, n = {n:.0f} photons a pixel; medians and ranges of {len(findings.seeds)} seeds", fontsize=11
    )
    save(figure, path)


def _along_dose(findings: Findings, conditions: tuple[Condition, ...], name: str) -> list[_Point]:
    """A fact of the bounds at each n."""
    points = []
    for condition in conditions:
        facts = findings.facts(condition)
        found = spread(each.get(name) for each in facts)
        if found is not None:
            points.append((_n(facts), found))
    return sorted(points, key=lambda point: point[0])


def _arm_along_dose(findings: Findings, conditions: tuple[Condition, ...], arm: str, name: str) -> list[_Point]:
    points = []
    for condition in conditions:
        here = next((each for each in condition.all_arms if each.name == arm), None)
        found = None if here is None else _spread(findings, condition, here, name)
        if found is not None and (facts := findings.facts(condition)):
            points.append((_n(facts), found))
    return sorted(points, key=lambda point: point[0])


def _sparse(value: float, _: object) -> str:
    """A label for 2 and 5 of each decade, so that labels of several decades do not overlap."""
    return f"{value:g}" if f"{value:.0e}"[0] in "25" else ""


def _draw(axes: Axes, points: list[_Point], label: str, colour: str) -> None:
    """Medians, and a bar from the least to the greatest."""
    if not points:
        return
    x, y = _xy(points)
    reach = np.array([[found.median - found.low, found.high - found.median] for _, found in points]).T
    line = "--" if label == "Constant" else "-"
    axes.errorbar(x, y, reach, color=colour, marker="o", markersize=4, linestyle=line, capsize=3, label=label)


def _per_frame(findings: Findings, conditions: tuple[Condition, ...]) -> tuple[object, object]:
    """From n to photons a frame and back; all rungs share one geometry."""
    facts = next(found for condition in conditions if (found := findings.facts(condition)))[0]
    factor = facts["photons_per_frame"] / facts["n"]
    return (lambda n: n * factor, lambda photons: photons / factor)


def _spread(findings: Findings, condition: Condition, arm: AnyArm, name: str) -> Spread | None:
    return spread(findings.numbers(condition, arm, name).values())


def _n(facts: list[dict[str, float]]) -> float:
    return float(np.median([each["n"] for each in facts]))


def _xy(points: list[_Point]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [found.median for _, found in points]
