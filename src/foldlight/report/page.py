"""The report of a folder as one self-contained HTML page: nothing is loaded from elsewhere."""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from foldlight.compare.summary import Summary, summarise
from foldlight.compare.table import FLAT_ARM
from foldlight.core.errors import DataError
from foldlight.core.files import write_text
from foldlight.report import plots, words
from foldlight.report.collect import Case, Findings, collect
from foldlight.report.columns import COLUMNS, Column
from foldlight.report.images import ERROR_COLOURS, Scale, colour_table, error_scale, stored
from foldlight.report.tables import noise_note

__all__ = ["REPORT", "render", "write_report"]

REPORT = "report.html"

_LABELS = ("dose", "view", "split")
_NAMES = {"dose": "photons per frame", "view": "overlap view", "split": "half", "arm": "method"}
_SCRIPTS = ("sorting.js", "viewer.js", "plots.js", "report.js")


def write_report(folder: Path, output: Path | None = None, pixel_nm: float | None = None) -> Path:
    """Write the report of a study, of a demo, or of one comparison.

    Args:
        folder: root that a study was run into, or folder with a `metrics.csv`.
        output: HTML file to write; `report.html` in the folder when None.
        pixel_nm: size of an object pixel [nm], for scale bars; what the scans say when None, else pixels.

    Returns:
        The file.

    Raises:
        DataError: the folder holds no results, a file in it is damaged, or the page can't be written.
    """
    path = output or folder / REPORT
    write_text(path, render(collect(folder, pixel_nm)))
    return path


def render(findings: Findings) -> str:
    """The page, from what was found alone: the same findings give the same page."""
    summaries = summarise(findings.rows)
    labels = [label for label in _LABELS if set(findings.distinct(label)) - {None}]
    columns = [column for column in COLUMNS if _used(column, summaries)]
    groups = {
        "dose": plots.dose_plots(findings),
        "rings": _by_case(findings, lambda case: plots.ring_plots(case, findings)),
        "time": _by_case(findings, lambda case: plots.time_plots(case, findings)),
        "residuals": _by_case(findings, lambda case: plots.residual_plots(case, findings)),
        "frames": _by_case(findings, plots.frame_plots),
        "losses": plots.loss_plots(findings.trainings),
    }
    settings = Environment(
        loader=PackageLoader("foldlight.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return settings.get_template("page.html").render(
        findings=findings,
        record=findings.record,
        summary=words.summary(findings),
        facts=words.facts_line(findings),
        method=words.method(findings),
        noise=noise_note(summaries),
        several=any(len(found.seeds) > 1 for found in summaries),
        labels=labels,
        names=_NAMES,
        columns=columns,
        lines=[_line(found, labels, columns) for found in summaries],
        choices={label: _choices(findings, label) for label in _LABELS},
        measures=plots.measures(findings),
        quantities=_quantities(findings),
        groups={name: found for name, found in groups.items() if any(found.values())},
        splits=_choices(findings, "split"),
        losses=list(groups["losses"]),
        pictures={caption: _embedded(path) for caption, path in findings.record.pictures.items()},
        style=_template("page.css"),
        scripts=[_template(name) for name in _SCRIPTS],
        plotly=_plotly(),
        data=_json(_data(findings, groups)),
    )


def _used(column: Column, summaries: Sequence[Summary]) -> bool:
    return column.name == "status" or any(column.name in found.values for found in summaries)


def _line(found: Summary, labels: Sequence[str], columns: Sequence[Column]) -> dict[str, Any]:
    """A row of the table."""
    cells = [{"text": _label(found, label), "value": _sortable(found, label), "side": ""} for label in labels]
    return {
        "arm": found.arm,
        "labels": cells,
        "cells": [_cell(found, column) for column in columns],
        "flat": found.arm == FLAT_ARM,
        "collapsed": "collapsed" in found.status,
    }


def _cell(found: Summary, column: Column) -> dict[str, Any]:
    """A number, its spread over seeds, and where it stands against the best of its group."""
    spread = found.values.get(column.name)
    if spread is None:
        text = found.status if column.name == "status" else ""
        return {"text": text, "value": text, "side": "", "mark": ""}
    side = ""
    if spread.number > 1 and spread.high > spread.low:
        side = f"{format(spread.low, column.digits)} – {format(spread.high, column.digits)}"
    if column.name == "eta" and (bias := found.values.get("bias_fraction")):
        side = f"{side + ', ' if side else ''}{bias.median:.0%} bias"
    mark = {"best": "best", "inside the noise": "near", "better": "near"}.get(found.marks.get(column.name, ""), "")
    return {"text": format(spread.median, column.digits), "value": repr(spread.median), "side": side, "mark": mark}


def _label(found: Summary, label: str) -> str:
    value = getattr(found, label)
    return words.plain_dose(value) if label == "dose" else str(value or "")


def _sortable(found: Summary, label: str) -> str:
    return plots.label_text(getattr(found, label))


def _choices(findings: Findings, label: str) -> list[dict[str, Any]]:
    """What can be looked at; first the most light, the most arms, and what no network was trained on."""
    values = list(dict.fromkeys(getattr(case, label) for case in findings.cases)) or findings.distinct(label)
    chosen = values[0]
    if label == "split" and "test" in values:
        chosen = "test"
    elif label == "dose" and None not in values:
        chosen = max(values)
    elif label == "view" and findings.cases:
        chosen = max(findings.cases, key=lambda case: len(case.pictures)).view  # the first with the most arms
    return [
        {
            "key": plots.label_text(value),
            "text": words.plain_dose(value) if label == "dose" else str(value or "all"),
            "chosen": value == chosen,
        }
        for value in values
    ]


def _by_case(findings: Findings, draw: Any) -> dict[str, list[plots.Plot]]:
    return {_key(case): draw(case) for case in findings.cases}


def _key(case: Case) -> str:
    return plots.case_key(case.dose, case.view, case.split)


def _quantities(findings: Findings) -> list[dict[str, str]]:
    """The image blocks of the page: their keys, headings and what they tell."""
    if not findings.scales:
        return []
    reads = {name: f" [{scale.unit}]" if scale.unit else "" for name, scale in findings.scales.items()}
    found = [
        {"key": name, "of": name, "title": f"{name.capitalize()}{reads[name]}", "note": ""} for name in findings.scales
    ]
    if any(case.error_limits for case in findings.cases):
        found += [
            {
                "key": f"{name}_error",
                "of": name,
                "title": f"{name.capitalize()} error{reads[name]}",
                "note": "estimate less truth, wrapped" if name == "phase" else "estimate less truth",
            }
            for name in findings.scales
        ]
    return found


def _data(findings: Findings, groups: Mapping[str, Any]) -> dict[str, Any]:
    """What the scripts draw."""
    colours = {scale.colours for scale in findings.scales.values()} | {ERROR_COLOURS}
    return {
        "cases": {_key(case): _case(case, findings) for case in findings.cases if case.pictures},
        "scales": {name: _scale(scale) for name, scale in findings.scales.items()},
        "colours": {name: colour_table(name) for name in sorted(colours)} if findings.scales else {},
        "pixel": {"step": findings.step, "nm": findings.pixel_nm},
        "plots": groups,
    }


def _case(case: Case, findings: Findings) -> dict[str, Any]:
    scores = {
        row["arm"]: f"SSIM {row['phase_ssim']:.2f}"
        for row in reversed(findings.rows)
        if row.get("phase_ssim") is not None and all(row.get(label) == getattr(case, label) for label in _LABELS)
    }
    errors = {name: _scale(error_scale(findings.scales[name], limit)) for name, limit in case.error_limits.items()}
    return {
        "name": words.case_name(case),
        "errors": errors,
        "arms": [
            {"name": name, "png": stored(codes), "score": scores.get(name, "")} for name, codes in case.pictures.items()
        ],
    }


def _scale(scale: Scale) -> dict[str, Any]:
    return {
        "name": scale.name,
        "unit": scale.unit,
        "low": scale.low,
        "high": scale.high,
        "stored": list(scale.stored),
        "colours": scale.colours,
        "cyclic": scale.cyclic,
    }


def _json(value: Any) -> Markup:
    """JSON that stands in a script element: no `<` in it can end that."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704  (nothing else is special there)


@cache
def _template(name: str) -> Markup:
    """A style or script of ours, as it is."""
    path = resources.files("foldlight.report") / "templates" / name
    return Markup(path.read_text(encoding="utf-8"))  # noqa: S704  (our own file)


@cache
def _plotly() -> Markup:
    """plotly.min.js, packed: 2 MB instead of 5; browsers since 2023 unpack it themselves."""
    text = (resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    return Markup(base64.b64encode(gzip.compress(text, 9, mtime=0)).decode("ascii"))  # noqa: S704  (letters and digits)


def _embedded(picture: Path) -> str:
    """A PNG as a data URI."""
    try:
        return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode("ascii")
    except OSError as error:
        raise DataError(
            f"{picture}: expected a PNG picture for the page, got {error.strerror}; draw it first"
        ) from None
