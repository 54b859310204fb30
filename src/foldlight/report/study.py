"""Pictures and the table of a whole study, from its rows and its images alone.

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
from foldlight.compare.table import FLAT_ARM
from foldlight.core.errors import DataError
from foldlight.optics.coverage import bounding_box
from foldlight.report.columns import COLUMNS, Column
from foldlight.report.figures import BLANK, arm_colours, phase_scale, save
from foldlight.study.models import TESTED_ARMS

__all__ = ["Panel", "study_curves", "study_gallery", "study_table"]

Plain = Mapping[str, Any]

_STYLES = {"test": "-", "train": "--"}
_MARKERS = "os^Dvp*"
_SHOWN = (
    *("phase_ssim", "amplitude_ssim", "phase_ms_ssim", "complex_correlation", "frc_half_nyquist", "deviance_heldout"),
    *("infer_seconds_per_frame", "status"),
)
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

    One colour and marker an arm; the test split solid, the training split dashed; hollow markers have collapsed. With
    several seeds the line is their mean. An FRC that never reaches 0.5 lies on the lower edge, one that stays above it
    up to Nyquist on the upper one. Held-out deviance is shown over that of the best arm of the same counts.

    Raises:
        DataError: no row has a dose and a number to show.
    """
    told = _with_relative_deviance([row for row in rows if _number(row.get("dose"))])
    measures = [measure for measure in _MEASURES if any(measure.value(row) is not None for row in told)]
    if not measures:
        raise DataError("study: expected rows with a dose and a score, got none; run the comparisons first")
    views = list(dict.fromkeys(row.get("view") for row in told))
    figure = Figure(figsize=(2.9 * len(views) + 1.2, 2.15 * len(measures) + 1.1), layout="constrained")
    axes = figure.subplots(len(measures), len(views), squeeze=False, sharex=True, sharey="row")
    arms = _ordered({str(row["arm"]) for row in told})
    colours = arm_colours(arms)
    looks = {arm: (colours[arm], _MARKERS[place % len(_MARKERS)]) for place, arm in enumerate(arms)}
    doses = sorted({_number(row["dose"]) or 0.0 for row in told})
    for place, measure in enumerate(measures):
        for column, view in enumerate(views):
            axis = axes[place, column]
            _curves(axis, [row for row in told if row.get("view") == view], measure, looks)
            axis.set_xscale("log")
            axis.set_xticks(doses, [_dose(dose) for dose in doses])
            axis.xaxis.set_minor_locator(NullLocator())
            axis.set_xlim(doses[0] / 1.6, doses[-1] * 1.6)
            axis.grid(color="0.9", lw=0.8)
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(labelsize=9)
        axes[place, 0].set_ylabel(measure.label, fontsize=10)
        measure.limit(axes[place, 0])
    for column, view in enumerate(views):
        axes[0, column].set_title(view or "all", fontsize=11, fontweight="bold")
        axes[-1, column].set_xlabel("photons per frame", fontsize=10)
    figure.align_ylabels(axes[:, 0])
    handles = _legend(looks, told)
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 7), fontsize=9, frameon=False)
    save(figure, path)


def study_gallery(panels: Sequence[Panel], path: Path) -> None:
    """Phase images of a study as a PNG: a row for each panel, a column for the truth and for each arm.

    All share one phase scale; each is cut to what was scored and captioned with its phase SSIM.

    Raises:
        DataError: no panel.
    """
    if not panels:
        raise DataError("gallery: expected at least one comparison's objects, got none; run the comparisons first")
    phases = [_phases(panel.objects) for panel in panels]
    scored = [panel.objects.mask for panel in panels]
    present = {name for found in phases for name in found}
    columns = [*(["truth"] if "truth" in present else []), *_ordered(present - {"truth"})]
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
        axes[place, 0].set_ylabel(f"{panel.view}\n{_dose(panel.dose)} ph/frame", fontsize=9)
    for column, name in enumerate(columns):
        axes[0, column].set_title(name, fontsize=10, fontweight="bold")
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, extend=extend, fraction=0.03, pad=0.01, aspect=40)
    bar.set_label("phase [rad]", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    save(figure, path)


def study_table(rows: Sequence[Plain]) -> str:
    """The rows as text in columns of fixed width that is a GitHub table too.

    In each dose, view and split the best of each score is bold. An empty cell is a number that is not there.
    """
    columns = [column for name in _SHOWN for column in COLUMNS if column.name == name]
    labels = ["dose", "view", "split", "arm"]
    if len({row.get("seed") for row in rows} - {None, ""}) > 1:
        labels.append("seed")
    heads = [*labels, *(column.label for column in columns)]
    lines = [
        [*(_word(row, name) for name in labels), *(_shown(row, column, rows) for column in columns)] for row in rows
    ]
    widths = [max(3, *(len(line[place]) for line in [heads, *lines])) for place in range(len(heads))]
    right = [name == "dose" for name in labels] + [bool(column.digits) for column in columns]

    def laid_out(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, right, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - 1) + ":" if number else "-" * width for width, number in zip(widths, right, strict=True)]
    return "\n".join(map(laid_out, [heads, rule, *lines])) + "\n"


@dataclass(frozen=True)
class _Measure:
    """A row of the small multiples.

    Attributes:
        label: of the axis.
        value: the number of a row, or None.
        limit: sets the range of the axis.
    """

    label: str
    value: Callable[[Plain], float | None]
    limit: Callable[[Axes], None]


def _unit_range(axis: Axes) -> None:
    low, _ = axis.get_ylim()
    axis.set_ylim(min(low, -0.03), 1.03)


def _ratio_range(axis: Axes) -> None:
    axis.set_yscale("log")
    _, high = axis.get_ylim()
    axis.set_ylim(0.97, max(high, 1.2))
    plain = FuncFormatter(lambda ratio, _: f"{ratio:g}")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.2, 1.5, 2.0, 3.0, 5.0)))
    axis.yaxis.set_major_formatter(plain)
    axis.yaxis.set_minor_locator(NullLocator())


def _ring(row: Plain) -> float | None:
    """The crossing of 0.5, or the edge on whose side the curve stays."""
    found = _number(row.get("frc_half_nyquist"))
    edge = {"above": 1.0, "below": 0.0}.get(str(row.get("frc_half_state")))
    return found if found is not None else edge


_MEASURES = (
    _Measure("phase SSIM", lambda row: _number(row.get("phase_ssim")), _unit_range),
    _Measure("amplitude SSIM", lambda row: _number(row.get("amplitude_ssim")), _unit_range),
    _Measure("FRC 0.5 / Nyquist", _ring, _unit_range),
    _Measure("held-out deviance\nover the best arm's", lambda row: _number(row.get("relative")), _ratio_range),
)


def _with_relative_deviance(rows: Sequence[Plain]) -> list[Plain]:
    """Rows with `relative`: their held-out deviance over the least of the same dose, view, split and seed."""
    least: dict[tuple[Any, ...], float] = {}
    for row in rows:
        if (value := _number(row.get("deviance_heldout"))) is not None and value > 0:
            least[_counts(row)] = min(value, least.get(_counts(row), math.inf))

    def relative(row: Plain) -> float | None:
        value, best = _number(row.get("deviance_heldout")), least.get(_counts(row))
        return value / best if value is not None and best is not None else None

    return [{**row, "relative": relative(row)} for row in rows]


def _counts(row: Plain) -> tuple[Any, ...]:
    """What rows of the same held-out counts share."""
    return tuple(row.get(name) for name in ("dose", "view", "split", "seed"))


def _curves(axis: Axes, rows: Sequence[Plain], measure: _Measure, looks: Mapping[str, tuple[str, str]]) -> None:
    """A line for each arm and split, a marker for each row."""
    for arm, (colour, marker) in looks.items():
        for split in dict.fromkeys(row.get("split") for row in rows):
            mine = [row for row in rows if row["arm"] == arm and row.get("split") == split]
            points = [(_number(row["dose"]), measure.value(row), row.get("status") == "collapsed") for row in mine]
            known = [(dose, value, hollow) for dose, value, hollow in points if dose and value is not None]
            doses = sorted({dose for dose, _, _ in known})
            means = [np.mean([value for at, value, _ in known if at == dose]) for dose in doses]
            axis.plot(doses, means, color=colour, lw=1.6, ls=_STYLES.get(str(split), "-"), zorder=2)
            for hollow in (False, True):
                chosen = [(dose, value) for dose, value, collapsed in known if collapsed == hollow]
                axis.plot(
                    [dose for dose, _ in chosen],
                    [value for _, value in chosen],
                    ls="",
                    marker=marker,
                    ms=5.5,
                    color=colour,
                    mfc="white" if hollow else colour,
                    zorder=3,
                )


def _legend(looks: Mapping[str, tuple[str, str]], rows: Sequence[Plain]) -> list[Line2D]:
    """What the colours, lines and markers stand for, as far as they occur."""
    arms = [Line2D([], [], color=colour, marker=marker, label=arm) for arm, (colour, marker) in looks.items()]
    splits = [split for split in _STYLES if any(row.get("split") == split for row in rows)]
    lines = [Line2D([], [], color="0.3", ls=_STYLES[split], label=f"{split} split") for split in splits]
    if any(row.get("status") == "collapsed" for row in rows):
        lines.append(Line2D([], [], color="0.3", ls="", marker="o", mfc="white", label="collapsed"))
    return arms + lines


def _ordered(arms: Collection[str]) -> list[str]:
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


def _shown(row: Plain, column: Column, rows: Sequence[Plain]) -> str:
    """A cell of the table; bold when it is the best of its group."""
    if not column.digits:
        return _word(row, column.name)
    value = _number(row.get(column.name))
    if value is None:
        return ""
    group = ("dose", "view", "split")
    rivals = [
        found
        for other in rows
        if all(other.get(name) == row.get(name) for name in group)
        and (found := _number(other.get(column.name))) is not None
    ]
    best = column.better != 0 and len(rivals) > 1 and value == (max(rivals) if column.better > 0 else min(rivals))
    text = format(value, column.digits)
    return f"**{text}**" if best else text


def _word(row: Plain, name: str) -> str:
    """A label as a table prints it."""
    value = row.get(name)
    if value is None or value == "":
        return ""
    number = _number(value) if name == "dose" else None
    return str(value).replace("|", "\\|") if number is None else f"{number:g}"


def _number(value: Any) -> float | None:
    """A cell as a number; None when it is empty or not finite."""
    if value is None or value == "":
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _dose(dose: float) -> str:
    """1000 as `10^3`, others as they are."""
    if not dose > 0:
        return "unknown"
    power = math.log10(dose)
    return f"$10^{{{round(power)}}}$" if math.isclose(power, round(power)) else f"{dose:,.4g}"
