"""Pictures of a whole study, from its rows and its images alone; `study_table` puts the same rows into words.

Rows are those of `metrics.csv`, as words or as numbers; an empty cell, None or "", is a number that is not there.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from foldlight.compare.files import Objects
from foldlight.compare.metrics import phase_pair
from foldlight.compare.paired import number, spread
from foldlight.compare.summary import Summary, data_set, summarise
from foldlight.compare.table import FLAT_ARM
from foldlight.core.errors import DataError
from foldlight.optics.coverage import bounding_box
from foldlight.report.figures import BLANK, arm_colours, phase_scale, save
from foldlight.report.tables import study_table
from foldlight.study.models import TESTED_ARMS

__all__ = ["Panel", "ordered_arms", "study_curves", "study_gallery", "study_table"]

Plain = Mapping[str, Any]

_STYLES = {"test": "-", "train": "--"}
_MARKERS = "os^Dvp*"
_DODGE = 0.025  # decades of dose between the bars of two arms
_CELL_IN = 1.75  # inches: width of a picture in the gallery


@dataclass(frozen=True)
class Panel:
    """One job of a study, for the gallery.

    Attributes:
        dose: photons per frame.
        view: name of the view, and of the split where it matters.
        objects: what `compare.files.read_objects` read.
        phase_ssim: of each arm where it is known.
    """

    dose: float
    view: str
    objects: Objects
    phase_ssim: Mapping[str, float | None] = field(default_factory=dict)


def study_curves(rows: Sequence[Plain], path: Path) -> None:
    """Scores against dose, one column a view, as a PNG.

    One colour and marker an arm; the test split solid, the training split dashed; hollow markers have collapsed, in one
    seed at least. With several seeds a point is their median and its bar goes from the least to the greatest. A score
    that no row has gets no place. An FRC that never reaches 0.5 lies on the lower edge, one that stays above it up to
    Nyquist on the upper one. Held-out deviance is shown over that of the best arm of the same counts. Errors are shown
    with the dose limit: below it only biased estimates get, and below the Bayesian one only those that know more than
    its prior.

    Raises:
        DataError: no row has a dose and a number to show, or two are of one arm and data set.
    """
    told = summarise(_with_derived([row for row in rows if number(row.get("dose"))]))
    measures = [measure for measure in _MEASURES if any(measure.column in found.values for found in told)]
    if not measures:
        raise DataError("study: expected rows with a dose and a score, got none; run the comparisons first")
    views = list(dict.fromkeys(found.view for found in told))
    figure = Figure(figsize=(2.9 * len(views) + 1.2, 2.15 * len(measures) + 1.1), layout="constrained")
    axes = figure.subplots(len(measures), len(views), squeeze=False, sharex=True, sharey="row")
    looks = _looks(told)
    doses = sorted({_dose(found) for found in told})
    for place, measure in enumerate(measures):
        for column, view in enumerate(views):
            axis = axes[place, column]
            _curves(axis, [found for found in told if found.view == view], measure, looks)
            _limits(axis, [found for found in told if found.view == view], measure)
            _dose_axis(axis, doses)
        axes[place, 0].set_ylabel(measure.label, fontsize=10)
        measure.scale(axes[place, 0])
    for column, view in enumerate(views):
        axes[0, column].set_title(view or "all", fontsize=11, fontweight="bold")
        axes[-1, column].set_xlabel("photons per frame", fontsize=10)
    figure.align_ylabels(axes[:, 0])
    handles = _legend(looks, told, measures)
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), fontsize=9, frameon=False)
    save(figure, path)


def study_gallery(panels: Sequence[Panel], path: Path) -> None:
    """Phase images of a study as a PNG: a row for each panel, a column for the truth and for each arm.

    All share one phase scale; each is cut to what was scored and captioned with its phase SSIM. The panels are of one
    seed.

    Raises:
        DataError: no panel.
    """
    if not panels:
        raise DataError("gallery: expected at least one comparison's objects, got none; run the comparisons first")
    phases = [_phases(panel.objects) for panel in panels]
    scored = [panel.objects.mask for panel in panels]
    present = {name for found in phases for name in found}
    columns = [*(["truth"] if "truth" in present else []), *ordered_arms(present - {"truth"})]
    anchors = [next(iter(found.values()))[mask] for found, mask in zip(phases, scored, strict=True)]
    norm, colours, extend = phase_scale(np.concatenate(anchors))
    heights = [_aspect(mask) for mask in scored]
    size = (_CELL_IN * len(columns) + 1.6, sum(_CELL_IN * height + 0.24 for height in heights) + 0.4)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.02, w_pad=0.03, hspace=0, wspace=0.01))
    axes = figure.subplots(len(panels), len(columns), squeeze=False, height_ratios=heights)
    for place, (panel, found) in enumerate(zip(panels, phases, strict=True)):
        for column, name in enumerate(columns):
            _thumbnail(axes[place, column], found.get(name), panel.objects.mask, norm, colours)
            if name in found and panel.phase_ssim.get(name) is not None:
                axes[place, column].set_xlabel(f"SSIM {panel.phase_ssim[name]:.2f}", fontsize=8, labelpad=2)
        axes[place, 0].set_ylabel(f"{panel.view}\n{_power(panel.dose)} ph/frame", fontsize=9)
    for column, name in enumerate(columns):
        axes[0, column].set_title(name, fontsize=10, fontweight="bold")
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, extend=extend, fraction=0.03, pad=0.01, aspect=40)
    bar.set_label("phase [rad]", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    save(figure, path)


@dataclass(frozen=True)
class _Measure:
    """A row of the small multiples.

    Attributes:
        label: of the axis.
        column: of the rows.
        scale: sets kind and range of the axis.
        limits: columns with what can be reached.
        level: of a line across, what an unbiased estimate can reach at any dose.
    """

    label: str
    column: str
    scale: Callable[[Axes], None]
    limits: tuple[str, ...] = ()
    level: float | None = None


def _unit_range(axis: Axes) -> None:
    low, _ = axis.get_ylim()
    axis.set_ylim(min(low, -0.03), 1.03)


def _ratio_range(axis: Axes) -> None:
    _log_range(axis)
    _, high = axis.get_ylim()
    axis.set_ylim(0.97, max(high, 1.2))


def _log_range(axis: Axes) -> None:
    """Decades, with more ticks where there are few of them."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    decades = math.log10(high / low)
    subs = (1.0, 1.2, 1.5, 2.0, 3.0, 5.0) if decades < 1 else (1.0, 2.0, 5.0) if decades < 2 else (1.0,)
    axis.yaxis.set_major_locator(LogLocator(subs=subs))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())


_LIMITS = {
    "limit_rmse": ("-", "dose limit"),
    "limit_frc_half_nyquist": ("-", "dose limit"),
    "limit_bayes_rmse": (":", "Bayesian limit"),
}
_PALE = {"train": 0.4}  # of the lines of limits, whose styles are taken

_MEASURES = (
    _Measure("phase SSIM", "phase_ssim", _unit_range),
    _Measure("amplitude SSIM", "amplitude_ssim", _unit_range),
    _Measure("FRC 0.5 / Nyquist", "frc_edge", _unit_range, ("limit_frc_half_nyquist",)),
    _Measure("object rms error\n(relative)", "object_rmse", _log_range, ("limit_rmse", "limit_bayes_rmse")),
    _Measure("efficiency η", "eta", _log_range, level=1.0),
    _Measure("held-out deviance\nover the best arm's", "deviance_ratio", _ratio_range),
)


def _with_derived(rows: Sequence[Plain]) -> list[Plain]:
    """Rows with two more numbers.

    `frc_edge` is the crossing of 0.5, or the edge on whose side the curve stays; `deviance_ratio` the held-out deviance
    over the least of the same counts.
    """
    least: dict[tuple[Any, ...], float] = {}
    for row in rows:
        if (value := number(row.get("deviance_heldout"))) is not None and value > 0:
            least[data_set(row)] = min(value, least.get(data_set(row), math.inf))

    def edge(row: Plain) -> float | None:
        found = number(row.get("frc_half_nyquist"))
        return found if found is not None else {"above": 1.0, "below": 0.0}.get(str(row.get("frc_half_state")))

    def ratio(row: Plain) -> float | None:
        value, best = number(row.get("deviance_heldout")), least.get(data_set(row))
        return value / best if value is not None and best is not None else None

    return [{**row, "frc_edge": edge(row), "deviance_ratio": ratio(row)} for row in rows]


@dataclass(frozen=True)
class _Look:
    """How an arm is drawn: `shift` is a factor on the dose that keeps bars of several seeds apart."""

    colour: str
    marker: str
    shift: float


def _looks(told: Sequence[Summary]) -> dict[str, _Look]:
    arms = ordered_arms({found.arm for found in told})
    colours = arm_colours(arms)
    apart = _DODGE if any(len(found.seeds) > 1 for found in told) else 0.0
    return {
        arm: _Look(colours[arm], _MARKERS[place % len(_MARKERS)], 10 ** (apart * (place - (len(arms) - 1) / 2)))
        for place, arm in enumerate(arms)
    }


def _curves(axis: Axes, told: Sequence[Summary], measure: _Measure, looks: Mapping[str, _Look]) -> None:
    """A line for each arm and split; at each dose a marker and, of several seeds, a bar."""
    for arm, look in looks.items():
        for split in dict.fromkeys(found.split for found in told):
            mine = [found for found in told if (found.arm, found.split) == (arm, split)]
            mine = sorted((found for found in mine if measure.column in found.values), key=_dose)
            places = [_dose(found) * look.shift for found in mine]
            spreads = [found.values[measure.column] for found in mine]
            medians = [each.median for each in spreads]
            axis.plot(places, medians, color=look.colour, lw=1.6, ls=_STYLES.get(str(split), "-"), zorder=2)
            bars = [
                (place, each.low, each.high) for place, each in zip(places, spreads, strict=True) if each.number > 1
            ]
            if bars:
                axis.vlines(*zip(*bars, strict=True), color=look.colour, lw=1.1, zorder=2.5)
            hollow = np.array(["collapsed" in found.statuses for found in mine], bool)
            for chosen, face in ((hollow, "white"), (~hollow, look.colour)):
                if chosen.any():
                    points = np.array([places, medians])[:, chosen]
                    axis.plot(*points, ls="", marker=look.marker, ms=5, color=look.colour, mfc=face, zorder=3)


def _limits(axis: Axes, told: Sequence[Summary], measure: _Measure) -> None:
    """What can be reached at each dose, for each split; one line for all arms, since they see the same data."""
    for column in measure.limits:
        for split in dict.fromkeys(found.split for found in told):
            known = [found for found in told if found.split == split and column in found.values]
            doses = sorted({_dose(found) for found in known})
            medians = [spread(found.values[column].median for found in known if _dose(found) == dose) for dose in doses]
            heights = [each.median for each in medians if each]
            axis.plot(
                doses,
                heights,
                color="black",
                lw=1.3,
                ls=_LIMITS[column][0],
                alpha=_PALE.get(str(split), 1.0),
                marker="_",
                ms=9,
                zorder=1.5,
            )
    if measure.level is not None:
        axis.axhline(measure.level, color="black", lw=1.3, zorder=1.5)


def _dose_axis(axis: Axes, doses: Sequence[float]) -> None:
    axis.set_xscale("log")
    axis.set_xticks(doses, [_power(dose) for dose in doses])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlim(doses[0] / 1.6, doses[-1] * 1.6)
    axis.grid(color="0.9", lw=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=9)


def _legend(looks: Mapping[str, _Look], told: Sequence[Summary], measures: Sequence[_Measure]) -> list[Line2D]:
    """What the colours, lines and markers stand for, as far as they occur."""
    handles = [Line2D([], [], color=look.colour, marker=look.marker, label=arm) for arm, look in looks.items()]
    splits = [split for split in _STYLES if any(found.split == split for found in told)]
    handles += [Line2D([], [], color="0.3", ls=_STYLES[split], label=f"{split} split") for split in splits]
    limits = {column for measure in measures for column in measure.limits}
    pale = " (train: pale)" if len(splits) > 1 else ""
    drawn = {_LIMITS[column] for column in limits if any(column in found.values for found in told)}
    for style, label in sorted(drawn):
        handles.append(Line2D([], [], color="black", lw=1.3, ls=style, marker="_", ms=9, label=f"{label}{pale}"))
    if any("collapsed" in found.statuses for found in told):
        handles.append(Line2D([], [], color="0.3", ls="", marker="o", mfc="white", label="collapsed"))
    counts = sorted({len(found.seeds) for found in told})
    if counts[-1] > 1:
        seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
        handles.append(
            Line2D([], [], color="0.3", ls="", marker="|", ms=11, label=f"least to greatest of {seeds} seeds")
        )
    return handles


def ordered_arms(arms: Collection[str]) -> list[str]:
    """Arms as a study lists them, others by name, the flat one last."""
    known = [*TESTED_ARMS, *sorted(set(arms) - {*TESTED_ARMS, FLAT_ARM}), FLAT_ARM]
    return [arm for arm in known if arm in arms]


def _phases(objects: Objects) -> dict[str, np.ndarray]:
    """(y, x) phases [rad] of the truth, where it is known, and of each arm, on the branch of the first of them."""
    images = {**({} if objects.truth is None else {"truth": objects.truth}), **objects.arms}
    anchor = next(iter(images.values()))
    found = {name: phase_pair(anchor, image, objects.mask, objects.coverage)[1] for name, image in images.items()}
    return {name: (phase + np.pi) % (2 * np.pi) - np.pi for name, phase in found.items()}


def _thumbnail(axis: Axes, phase: np.ndarray | None, mask: np.ndarray, norm: Normalize, colours: str) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_facecolor(BLANK)
    axis.spines[:].set_visible(False)
    if phase is None:
        axis.set_box_aspect(_aspect(mask))
        axis.text(0.5, 0.5, "no such arm", transform=axis.transAxes, ha="center", va="center", fontsize=8, color="0.4")
        return
    axis.imshow(np.where(mask, phase, np.nan)[bounding_box(mask)], cmap=colours, norm=norm, interpolation="nearest")


def _aspect(mask: np.ndarray) -> float:
    """Height over width of what was scored."""
    height, width = mask[bounding_box(mask)].shape
    return float(height / width)


def _dose(found: Summary) -> float:
    return found.dose or 0.0


def _power(dose: float) -> str:
    """1000 as `10^3`, others as they are."""
    if not dose > 0:
        return "unknown"
    power = math.log10(dose)
    return f"$10^{{{round(power)}}}$" if math.isclose(power, round(power)) else f"{dose:,.4g}"
