"""The picture for a proposal: errors against dose, where they lie on the object, and up to which detail it is seen."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter

from foldlight.optics.coverage import bounding_box
from foldlight.planning.run import Case, Plan
from foldlight.planning.words import advice, headline_dose, number
from foldlight.report.figures import BLANK, percentile_range, phase_scale, save

__all__ = ["plan_picture"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")  # told apart by most eyes
_STYLES = {"known": "-", "blind": "--"}
_WORDS = {"known": "known probe", "blind": "unknown probe"}
_MOST_CURVES = 4  # panels of correlation curves in a row
_MOST_MAPS = 2


def plan_picture(plan: Plan, path: Path) -> None:
    """Draw a plan as one PNG: advice, error against dose, object, error maps and predicted ring correlations."""
    words = _sentences(plan)
    figure = Figure(figsize=(14, 8.4 + 0.2 * len(words)), layout=ConstrainedLayoutEngine(hspace=0.05, wspace=0.03))
    figure.suptitle(_title(plan), fontsize=13, fontweight="bold", x=0.012, ha="left")
    upper, lower = np.ravel(figure.subfigures(2, 1, height_ratios=[4.4 + 0.2 * len(words), 4], squeeze=False))
    upper.suptitle("\n".join(words), fontsize=9.5, x=0.012, ha="left", linespacing=1.5)
    maps = plan.cases[:_MOST_MAPS]
    parts = ("phase",) if plan.settings.unknown == "phase" else ("phase", "amplitude")
    widths = [1.35] * len(parts) + [1.0] * (1 + len(maps))
    top = upper.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    for axis, part in zip(top, parts, strict=False):
        _errors(axis, plan, part)
    _object(top[len(parts)], plan.cases[0])
    _maps(list(top[len(parts) + 1 :]), plan, maps)
    lower.legend(*top[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9, frameon=False)
    doses = _shown(plan.doses, headline_dose(plan))
    for axis, dose in zip(lower.subplots(1, len(doses), sharey=True, squeeze=False)[0], doses, strict=True):
        _correlation(axis, plan, dose, first=dose == doses[0])
    save(figure, path)


def _title(plan: Plan) -> str:
    height, width = plan.window
    what = "phase object" if plan.settings.unknown == "phase" else "unknown amplitude and phase"
    place = " with this scan?" if plan.own_dose is not None else "?"
    facts = f"{height} x {width} px frames, probe {plan.diameter_px:.1f} px wide, {what}"
    return f"What could any method reach{place}   ({facts})"


def _sentences(plan: Plan) -> list[str]:
    lines = [textwrap.wrap(text, 178, subsequent_indent="   ") for text in (*advice(plan), *plan.notes)]
    return [line for wrapped in lines for line in wrapped]


def _errors(axis: Axes, plan: Plan, part: str) -> None:
    """Least error against dose: straight lines, since it falls with the root of the dose."""
    name = "phase_rms_rad" if part == "phase" else "amplitude_rms"
    for colour, case in zip(_cycle(plan), plan.cases, strict=True):
        for probe, style in _STYLES.items():
            found = [a for a in plan.answers() if a.case == case.label and a.probe == probe]
            values = [getattr(answer, name) for answer in found]
            if None not in values:
                label = f"{case.label}, {_WORDS[probe]}"
                axis.plot([a.dose for a in found], values, style, marker="o", ms=4, color=colour, label=label)
    axis.set(xscale="log", yscale="log", xlabel="photons a frame")
    axis.set_title("least phase error [rad rms]" if part == "phase" else "least amplitude error [rms]", fontsize=10)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""))
    axis.tick_params(labelsize=8, which="both")
    axis.grid(which="both", alpha=0.2)
    if part == "phase":
        wanted = plan.settings.wanted_phase_rms
        axis.axhline(wanted, color="0.35", linewidth=1, linestyle=":", label=f"wanted: {wanted:g} rad")
    if plan.own_dose is not None:
        axis.axvline(plan.own_dose, color="0.35", linewidth=1)


def _object(axis: Axes, case: Case) -> None:
    """Phase of the object, and where the beam stops."""
    box = bounding_box(case.mask)
    phase = np.angle(case.truth)
    norm, colours, _ = phase_scale(phase[case.mask])
    picture = axis.imshow(np.where(case.mask, phase, np.nan)[box], colours, norm=norm, interpolation="nearest")
    places = case.positions_px - [box[0].start, box[1].start]
    axis.scatter(places[:, 1], places[:, 0], s=9, c="white", edgecolors="black", linewidths=0.5)
    axis.set_title(f"object and beam positions\n{case.label}, {case.frames} frames", fontsize=9.5)
    _bar(axis, picture, "phase [rad]")


def _maps(axes: Sequence[Axes], plan: Plan, cases: Sequence[Case]) -> None:
    """Where the object is known how well, at the dose of the sentences, on one scale."""
    dose = headline_dose(plan)
    limits = [plan.limit(case, "known", dose) for case in cases]
    sigmas = [np.sqrt(found.variance)[bounding_box(case.mask)] for found, case in zip(limits, cases, strict=True)]
    shared = np.concatenate([sigma[np.isfinite(sigma)] for sigma in sigmas])
    low, high = np.percentile(shared, [0.5, 99.5])
    norm = LogNorm(max(low, 1e-6 * high), high) if high > low > 0 else percentile_range(shared)
    for axis, sigma, case in zip(axes, sigmas, cases, strict=True):
        picture = axis.imshow(sigma, "inferno", norm=norm, interpolation="nearest")
        axis.set_title(f"{case.label}, known probe\n{number(dose, 3)} photons a frame", fontsize=9.5)
        phase_only = plan.settings.unknown == "phase"
        _bar(axis, picture, "least phase error [rad]" if phase_only else "least relative error |e|")


def _bar(axis: Axes, picture: AxesImage, label: str) -> None:
    bar = axis.figure.colorbar(picture, ax=axis, orientation="horizontal", fraction=0.05, pad=0.02)
    bar.set_label(label, fontsize=8.5)
    if isinstance(picture.norm, LogNorm):
        bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        bar.ax.xaxis.set_minor_formatter(
            FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
        )
    bar.ax.tick_params(labelsize=8, which="both")
    axis.set_facecolor(BLANK)
    axis.set(xticks=[], yticks=[])


def _correlation(axis: Axes, plan: Plan, dose: float, first: bool) -> None:
    """Predicted correlation with the truth, ring by ring, and its thresholds."""
    for colour, case in zip(_cycle(plan), plan.cases, strict=True):
        for probe, style in _STYLES.items():
            found = plan.limit(case, probe, dose)
            if found.determined:
                axis.plot(found.nyquist, found.frc, style, color=colour, linewidth=1.6)
    case = plan.cases[0]
    axis.plot(case.limits["known"].nyquist, case.half_bit.clip(max=1), color="0.45", linewidth=1, label="half-bit")
    axis.axhline(0.5, color="0.45", linewidth=1, linestyle=":", label="0.5")
    axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="spatial frequency [Nyquist]")
    axis.set_title(f"{number(dose, 3)} photons a frame", fontsize=10)
    axis.grid(alpha=0.2)
    if first:
        axis.set_ylabel("predicted FRC against the truth")
        axis.legend(fontsize=8, loc="upper right", title="thresholds", title_fontsize=8)


def _shown(doses: tuple[float, ...], headline: float) -> list[float]:
    """At most `_MOST_CURVES` doses, the one of the sentences among them."""
    if len(doses) <= _MOST_CURVES:
        return list(doses)
    places = np.linspace(0, len(doses) - 1, _MOST_CURVES).round().astype(int)
    spread = {doses[place] for place in places}
    if headline not in spread:
        spread.remove(min(spread, key=lambda dose: abs(np.log(dose / headline))))
    return sorted(spread | {headline})


def _cycle(plan: Plan) -> list[str]:
    return [_COLOURS[place % len(_COLOURS)] for place in range(len(plan.cases))]
