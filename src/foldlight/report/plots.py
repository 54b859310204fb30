"""The plots of a page, as plotly figures in plain data: traces, layout and a description in words.

Colours `ink` and `soft` stand for those of the page's text, light or dark; the page puts them in.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from foldlight.compare.paired import Spread
from foldlight.compare.summary import Summary, summarise
from foldlight.compare.table import FLAT_ARM
from foldlight.report.collect import Case, Findings, Training, arms_of
from foldlight.report.columns import COLUMNS, Column
from foldlight.report.figures import arm_colours
from foldlight.report.words import case_name, criterion, plain_dose
from foldlight.study.models import TESTED_ARMS

__all__ = [
    "Plot",
    "case_key",
    "default_measure",
    "dose_plots",
    "frame_plots",
    "label_text",
    "loss_plots",
    "measures",
    "residual_plots",
    "ring_plots",
    "time_plots",
]

Plot = dict[str, Any]
"""`data` and `layout` as plotly has them, and `alt`, what is to be seen."""

Row = Mapping[str, Any]

_LIMIT_OF = {"object_rmse": "limit_rmse", "frc_half_nyquist": "limit_frc_half_nyquist"}
_LOGARITHMIC = {"object_rmse", "deviance_heldout", "amplitude_mae", "phase_mae"}
_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "star")
_LEAST_SECONDS = 1e-3
_DIGITS = 5


def label_text(value: Any) -> str:
    """A dose, view or split as a key: the same in the page's choosers."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def case_key(dose: Any, view: Any, split: Any) -> str:
    """The key of one comparison."""
    return "|".join(map(label_text, (dose, view, split)))


def measures(findings: Findings) -> list[Column]:
    """Columns that can be drawn against dose, the most telling first."""
    known = [column for column in COLUMNS if column.better and any(_has(row, column.name) for row in findings.rows)]
    first = default_measure(findings)
    return sorted(known, key=lambda column: column.name != first)


def default_measure(findings: Findings) -> str | None:
    """The column that arms are judged by."""
    return criterion(findings.rows)


def dose_plots(findings: Findings) -> dict[str, list[Plot]]:
    """A measure against dose, a plot for each view, by measure and split; empty where there is one dose only."""
    if len(set(findings.distinct("dose")) - {None}) < 2:
        return {}
    summaries, looks = summarise(findings.rows), _looks(findings)
    return {
        f"{column.name}|{label_text(split)}": _dose_row(
            [found for found in summaries if found.split == split and found.dose], column, looks
        )
        for column in measures(findings)
        for split in findings.distinct("split")
    }


def _dose_row(summaries: Sequence[Summary], column: Column, looks: Mapping[str, Any]) -> list[Plot]:
    """One plot a view, all on one vertical range."""
    name = column.name
    logarithmic = name in _LOGARITHMIC
    views = list(dict.fromkeys(found.view for found in summaries))
    span = [bound for found in summaries if (value := found.values.get(name)) for bound in (value.low, value.high)]
    span += [limit for found in summaries if (limit := _limit(found, name)) is not None]
    axis = {"title": {"text": column.label}, "type": "log" if logarithmic else "linear", **_reach(span, logarithmic)}
    doses = sorted({found.dose for found in summaries if found.dose})
    plots = []
    for view in views:
        own = [found for found in summaries if found.view == view]
        traces = [_dose_trace([found for found in own if found.arm == arm], name, looks[arm]) for arm in looks]
        traces = [trace for trace in traces if trace["x"]]
        traces += _limit_line(own, name)
        ticks = {"tickvals": doses, "ticktext": [plain_dose(dose) for dose in doses]}
        plots.append(
            {
                "data": traces,
                "layout": {
                    "title": {"text": view or "all frames"},
                    "xaxis": {"title": {"text": "photons per frame"}, "type": "log", **ticks},
                    "yaxis": axis,
                },
                "alt": f"{column.label} against photons per frame, {view or 'all frames'}: {_ends(own, name)}",
            }
        )
    return plots


def _dose_trace(found: Sequence[Summary], name: str, look: Mapping[str, Any]) -> Plot:
    known = sorted(((each.dose or 0.0, each.values[name]) for each in found if name in each.values), key=lambda p: p[0])
    return {
        **look,
        "mode": "lines+markers",
        "x": [dose for dose, _ in known],
        "y": [_short(value.median) for _, value in known],
        "error_y": _bars([value for _, value in known]),
    }


def _limit_line(found: Sequence[Summary], name: str) -> list[Plot]:
    """What any method could reach at best."""
    values = {each.dose: limit for each in found if each.dose and (limit := _limit(each, name)) is not None}
    doses = sorted(values)
    line = {"color": "ink", "dash": "dash", "width": 1.5}
    y = [_short(values[dose]) for dose in doses]
    return [{"name": "dose limit", "mode": "lines", "line": line, "x": doses, "y": y}] if doses else []


def _limit(found: Summary, name: str) -> float | None:
    """The dose limit of a score at one dose, view and split; 1 for the efficiency, None where a score has none."""
    if name == "eta":
        return 1.0 if "eta" in found.values else None
    limit = found.values.get(_LIMIT_OF.get(name, ""))
    return limit.median if limit else None


def ring_plots(case: Case, looks_of: Findings) -> list[Plot]:
    """Fourier ring correlation with the truth, thresholds, and what the dose limit lets expect."""
    if not case.curves:
        return []
    looks = _looks(looks_of)
    traces = []
    for arm in _present(looks, case.curves):
        x, y = _line([row for row in case.curves if row["arm"] == arm], "frequency_nyquist", "frc")
        traces.append({**looks[arm], "mode": "lines", "x": x, "y": y})
    first = next(row["arm"] for row in case.curves)
    rings = [row for row in case.curves if row["arm"] == first]
    for name, column, colour, dash in (
        ("dose limit", "frc_limit", "ink", "dash"),
        ("half-bit", "half_bit", "soft", "dot"),
    ):
        x, y = _line(rings, "frequency_nyquist", column)
        if x:
            traces.append(
                {"name": name, "mode": "lines", "line": {"color": colour, "dash": dash, "width": 1.5}, "x": x, "y": y}
            )
    shapes = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": level,
            "y1": level,
            "line": {"color": "soft", "width": 1},
        }
        for level in (0.5, 1 / 7)
    ]
    notes = [
        {
            "xref": "paper",
            "x": 0.005,
            "xanchor": "left",
            "yanchor": "bottom",
            "y": level,
            "text": text,
            "showarrow": False,
        }
        for level, text in ((0.5, "0.5"), (1 / 7, "1/7"))
    ]
    layout = {
        "xaxis": {"title": {"text": "spatial frequency / Nyquist"}, "range": [0, 1]},
        "yaxis": {"title": {"text": "Fourier ring correlation"}, "range": [0, 1.02]},
        "shapes": shapes,
        "annotations": notes,
    }
    return [{"data": traces, "layout": layout, "alt": f"Fourier ring correlation with the truth. {case_name(case)}"}]


def residual_plots(case: Case, looks_of: Findings) -> list[Plot]:
    """Deviance against detector radius: is the misfit at low or at high angle? One plot a kind of counts."""
    looks = _looks(looks_of)
    plots = []
    for counts, title in (("fitted", "counts that were fitted"), ("heldout", "held-out counts")):
        own = [row for row in case.rings if row["counts"] == counts]
        traces = []
        for arm in _present(looks, own):
            x, y = _line([row for row in own if row["arm"] == arm], "radius_px", "deviance")
            traces.append({**looks[arm], "mode": "lines", "x": x, "y": y})
        if traces:
            layout = {
                "title": {"text": title},
                "xaxis": {"title": {"text": "detector radius [px]"}},
                "yaxis": {"title": {"text": "deviance per pixel"}, "type": "log"},
            }
            plots.append({"data": traces, "layout": layout, "alt": f"Deviance against detector radius, {title}"})
    return plots


def frame_plots(case: Case) -> list[Plot]:
    """Deviance of each frame where it was taken, a plot an arm, on one scale; held-out counts where there are some."""
    kinds = {row["counts"] for row in case.frames}
    counts = "heldout" if "heldout" in kinds else "fitted"
    own = [row for row in case.frames if row["counts"] == counts]
    arms = [arm for arm in arms_of(own) if arm != FLAT_ARM]
    values = sorted(row["deviance"] for row in own if row["arm"] in arms and row["deviance"] is not None)
    if not values:
        return []
    low, high = values[len(values) // 50], values[-1 - len(values) // 50]
    words = "held-out counts" if counts == "heldout" else "fitted counts"
    plots = []
    for arm in arms:
        mine = [row for row in own if row["arm"] == arm and row["deviance"] is not None]
        marker = {
            "color": [_short(row["deviance"]) for row in mine],
            "cmin": _short(low),
            "cmax": _short(high),
            "colorscale": "Viridis",
            "size": 7 if len(mine) < 400 else 5,
            "colorbar": {"thickness": 10, "outlinewidth": 0, "title": {"text": "deviance<br>per pixel"}},
        }
        trace = {
            "mode": "markers",
            "showlegend": False,
            "marker": marker,
            "x": [_short(row["x_px"]) for row in mine],
            "y": [_short(row["y_px"]) for row in mine],
            "text": [f"frame {row['frame']}" for row in mine],
        }
        layout = {
            "title": {"text": arm},
            "xaxis": {"title": {"text": "x [px]"}, "showgrid": False, "zeroline": False},
            "yaxis": {
                "title": {"text": "y [px]"},
                "autorange": "reversed",
                "scaleanchor": "x",
                "showgrid": False,
                "zeroline": False,
            },
        }
        plots.append(
            {"data": [trace], "layout": layout, "alt": f"Deviance of each frame at its position, {arm}, {words}"}
        )
    return plots


def time_plots(case: Case, findings: Findings) -> list[Plot]:
    """Quality against time, from frames to image: hollow without the training, filled with it."""
    name = default_measure(findings)
    column = next((each for each in COLUMNS if each.name == name), None)
    if column is None:
        return []
    looks, traces, levels = _looks(findings), list[Plot](), dict[str, float]()
    own = [
        row
        for row in findings.rows
        if all(row.get(label) == getattr(case, label) for label in ("dose", "view", "split"))
    ]
    for found in summarise(own):
        times, value = _seconds(found), found.values.get(column.name)
        if value is not None and found.arm == FLAT_ARM:
            levels["flat image"] = value.median
        if (limit := _limit(found, column.name)) is not None:
            levels["dose limit"] = limit
        if times is None or value is None or found.arm == FLAT_ARM:
            continue
        look = looks[found.arm]
        symbol = look["marker"]["symbol"]
        marker = {**look["marker"], "size": 10, "symbol": [f"{symbol}-open", symbol]}
        traces.append(
            {
                **look,
                "mode": "lines+markers",
                "marker": marker,
                "line": {**look["line"], "width": 1, "dash": "dot"},
                "x": [_short(seconds) for seconds in times],
                "y": [_short(value.median)] * 2,
                "error_y": _bars([value, value]),
            }
        )
    if not traces:
        return []
    ends = [min(min(trace["x"]) for trace in traces) / 2, max(max(trace["x"]) for trace in traces) * 2]
    for name, level in levels.items():
        line = {"color": "ink", "dash": "dash"} if name == "dose limit" else {"color": "soft", "dash": "dot"}
        traces.append({"name": name, "mode": "lines", "line": line, "x": ends, "y": [_short(level)] * 2})
    layout = {
        "xaxis": {"title": {"text": "seconds (hollow: without training)"}, "type": "log", **_round_ticks(traces)},
        "yaxis": {"title": {"text": column.label}, "type": "log" if column.name in _LOGARITHMIC else "linear"},
    }
    return [{"data": traces, "layout": layout, "alt": f"{column.label} against time. {case_name(case)}"}]


def _round_ticks(traces: Sequence[Plot]) -> Plot:
    """Ticks at 1 and 3 of every decade that the traces touch."""
    places = [math.log10(x) for trace in traces for x in trace["x"]]
    decades = range(math.floor(min(places)), math.ceil(max(places)) + 1)
    values = [step * 10.0**power for power in decades for step in (1, 3)]
    return {"tickvals": values, "ticktext": [f"{value:g}" for value in values]}


def _seconds(found: Summary) -> tuple[float, float] | None:
    """Seconds to reconstruct all frames, and those with the training."""
    each, frames, training = (
        found.values.get(name) for name in ("infer_seconds_per_frame", "n_frames", "train_seconds")
    )
    if each is None or frames is None:
        return None
    inference = each.median * frames.median
    total = inference + (training.median if training else 0.0)
    return max(inference, _LEAST_SECONDS), max(total, _LEAST_SECONDS)


def loss_plots(trainings: Sequence[Training]) -> dict[str, list[Plot]]:
    """Losses against epoch, a plot a network, by dose."""
    found: dict[str, list[Plot]] = {}
    for each in trainings:
        if each.history.get("epoch"):
            found.setdefault(label_text(each.dose), []).append(_loss_plot(each))
    return found


def _loss_plot(training: Training) -> Plot:
    epochs = list(training.history["epoch"])
    traces: list[Plot] = []
    for column, name, colour, axis in (
        ("train_loss", "training (right)", "#e69f00", "y2"),  # on other counts than validation: the levels differ
        ("validation_loss", "validation", "#0072b2", "y"),
    ):
        if column in training.history:
            values = [_short(value) for value in training.history[column]]
            line = {"color": colour, "width": 1.8}
            traces.append({"name": name, "mode": "lines", "line": line, "x": epochs, "y": values, "yaxis": axis})
    if isinstance(flat := training.facts.get("flat_loss"), int | float):
        line = {"color": "soft", "dash": "dash", "width": 1.2}
        ends = [epochs[0], epochs[-1]]
        traces.append({"name": "flat object", "mode": "lines", "line": line, "x": ends, "y": [_short(flat)] * 2})
    shapes = []
    if best := training.facts.get("best_epoch"):
        line = {"color": "soft", "width": 1, "dash": "dot"}
        shapes = [{"type": "line", "yref": "paper", "x0": best, "x1": best, "y0": 0, "y1": 1, "line": line}]
    dose = f", {plain_dose(training.dose)} photons per frame" if training.dose else ""
    layout = {
        "title": {"text": training.name},
        "xaxis": {"title": {"text": "epoch"}},
        "yaxis": {"title": {"text": "validation loss"}},
        "yaxis2": {
            "title": {"text": "training loss"},
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
            "nticks": 5,
        },
        "shapes": shapes,
    }
    return {"data": traces, "layout": layout, "alt": f"Losses of the training of {training.name}{dose}"}


def _looks(findings: Findings) -> dict[str, dict[str, Any]]:
    """Name, colour and marker of each arm, the same in every plot."""
    found = arms_of(findings.rows)
    first = [arm for arm in TESTED_ARMS if arm in found]
    arms = [*first, *(arm for arm in found if arm not in {*first, FLAT_ARM}), *[FLAT_ARM] * (FLAT_ARM in found)]
    colours = arm_colours(arms)
    return {
        arm: {
            "name": arm,
            "line": {"color": _web(colours[arm]), "width": 2},
            "marker": {"color": _web(colours[arm]), "symbol": _SYMBOLS[place % len(_SYMBOLS)], "size": 8},
        }
        for place, arm in enumerate(arms)
    }


def _web(colour: str) -> str:
    """A colour as browsers know it: matplotlib writes a gray as a number."""
    if colour.startswith("#"):
        return colour
    level = round(255 * float(colour))
    return f"#{level:02x}{level:02x}{level:02x}"


def _bars(values: Sequence[Spread]) -> Plot:
    """Error bars from least to greatest over the seeds."""
    above = [_short(value.high - value.median) for value in values]
    below = [_short(value.median - value.low) for value in values]
    several = any(value.number > 1 for value in values)
    return {
        "type": "data",
        "symmetric": False,
        "array": above,
        "arrayminus": below,
        "visible": several,
        "thickness": 1.2,
    }


def _line(rows: Sequence[Row], x: str, y: str) -> tuple[list[float], list[float]]:
    known = [(row[x], row[y]) for row in rows if row.get(x) is not None and row.get(y) is not None]
    return [_short(at) for at, _ in known], [_short(value) for _, value in known]


def _present(looks: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    names = {row["arm"] for row in rows}
    return [arm for arm in looks if arm in names]


def _has(row: Row, name: str) -> bool:
    return isinstance(row.get(name), int | float)


def _reach(values: Sequence[float], logarithmic: bool) -> Plot:
    """A range that holds all values, the same in every view."""
    known = [value for value in values if value > 0 or not logarithmic]
    if not known:
        return {}
    low, high = (math.log10(min(known)), math.log10(max(known))) if logarithmic else (min(known), max(known))
    margin = 0.06 * ((high - low) or 1.0)
    return {"range": [_short(low - margin), _short(high + margin)]}


def _ends(found: Sequence[Summary], name: str) -> str:
    """The values at the greatest dose, in words."""
    top = max((each.dose or 0.0 for each in found), default=0.0)
    values = [
        f"{each.arm} {each.values[name].median:.3g}" for each in found if each.dose == top and name in each.values
    ]
    return f"at {plain_dose(top)} " + ", ".join(values) if values else "no numbers"


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
