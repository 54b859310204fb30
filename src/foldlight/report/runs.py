"""Two runs side by side: reads their folders, says by how much the second differs, in words, as a table and drawn."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from foldlight.compare.files import read_metrics_csv
from foldlight.compare.runs import COSTS, Run, RunComparison, RunDifference, compare_runs
from foldlight.compare.summary import DIRECTIONS, data_set
from foldlight.compare.table import FLAT_ARM
from foldlight.core.errors import DataError, SettingsError
from foldlight.core.files import read_json, write_text
from foldlight.report.columns import COLUMNS
from foldlight.report.figures import arm_colours, save
from foldlight.report.study import ordered_arms
from foldlight.report.tables import laid_out
from foldlight.study.plan import PLAN_FILE, read_plan

__all__ = ["differences_picture", "publish_differences", "read_run", "run_words", "write_differences"]

_TABLES = ("phase_g/metrics.csv", "repeat_*/phase_g/metrics.csv")
_MANIFESTS = ("*/*_manifest.json", "repeat_*/*/*_manifest.json")
_RECORDED = ("versions", "source_revision", "machine", "seeds", "design")  # what of a manifest decides a result
_SHARED_FACTS = ("settings", "exposure_ratio", "n_frames", "window_px", "canvas_px", "scored_pixels", "reference")
_PLACES = {"demo.output"}
_SHOWN = ("phase_ssim", "amplitude_ssim", "frc_half_nyquist", "object_rmse", "eta", "deviance_heldout")
_SIGNS = {"better": "▲", "worse": "▼", "higher": "+", "lower": "-", "inside the noise": "~", "unknown": "?"}
_LEGEND = "▲ B is better, ▼ worse, ~ inside the noise, ? one pair, whose noise is unknown, = equal"
_LISTED = 12  # lines of a kind before the rest is only counted
_WIDTH_IN, _ARM_IN, _GAP_IN = 2.5, 0.11, 0.12


def publish_differences(first: Path, second: Path, folder: Path) -> list[str]:
    """Compare two runs, and write `differences.csv` and `differences.png` into a folder.

    Returns:
        What they differ in, in words, and one line a file.

    Raises:
        DataError: one is no run's folder, or they have no row in common.
    """
    found = compare_runs(read_run(first), read_run(second))
    table, picture = folder / "differences.csv", folder / "differences.png"
    write_differences(table, found)
    differences_picture(found, picture)
    return [*run_words(found), "", f"differences -> {table}", f"picture -> {picture}"]


def read_run(folder: Path) -> Run:
    """What a run left in its folder: that of a study, of a demo, or of one comparison.

    Raises:
        DataError: it is no such folder, has no results yet, or a file in it is damaged.
    """
    tables = _tables(folder)
    if not tables:
        raise DataError(
            f"{folder}: expected the folder of a study, a demo or a comparison, with results; found no metrics.csv of"
            " one; run it first"
        )
    rows = [row for table in tables for row in read_metrics_csv(table)]
    told = [each for table in tables for path in sorted(table.parent.rglob("metrics.json")) for each in [_plain(path)]]
    digests = {
        data_set(row): str(each["data_sha256"])
        for each in told
        if "data_sha256" in each
        for row in each.get("rows", ())
    }
    return Run(str(folder), rows, digests, _facts(folder, told))


def run_words(found: RunComparison) -> list[str]:
    """What two runs differ in, line by line."""
    return [
        f"A  {found.first.name}: {len(found.first.rows)} rows",
        f"B  {found.second.name}: {len(found.second.rows)} rows",
        f"{found.pairs} rows of the same dose, view, split, seed and arm are paired; differences are B - A",
        _data_words(found),
        *_listed("only in A", found.only_first),
        *_listed("only in B", found.only_second),
        *_listed("status changed", found.statuses),
        *_listed("other data", found.other_data),
        *_listed("numbers of one run only", [_sided(name, *each) for name, each in found.one_sided.items()]),
        *_listed("settings and versions that differ", [f"{name}: {a} -> {b}" for name, a, b in found.facts]),
        "",
        *_score_words(found),
    ]


def write_differences(path: Path, found: RunComparison) -> None:
    """Write every difference as CSV: those of all data of an arm first, with empty dose, view and split."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    labels, numbers = ["dose", "view", "split", "arm"], ["median_a", "median_b", "median", "mean", "low", "high"]
    writer.writerow([*labels, "score", "pairs", *numbers, "verdict"])
    for each in (*found.overall, *found.groups):
        told = each.difference
        cells = (each.first, each.second, told.median, told.mean, told.low, told.high)
        writer.writerow(
            [
                *("" if getattr(each, name) is None else _plain_word(getattr(each, name)) for name in labels),
                each.column,
                told.number,
                *("" if cell is None else f"{cell:.7g}" for cell in cells),
                _verdict(each),
            ]
        )
    write_text(path, text.getvalue())


def differences_picture(found: RunComparison, path: Path) -> None:
    """The mean differences with their intervals as a PNG: a column a score, a line a dose, view and split.

    A hollow dot is one pair, whose noise is unknown. The flat image, which tells of the data alone, is left out.
    """
    told = [each for each in (*found.overall, *found.groups) if each.column in _SHOWN]
    shown = [each for each in told if each.arm != FLAT_ARM] or told
    scores = [name for name in _SHOWN if any(each.column == name for each in shown)]
    arms = ordered_arms({each.arm for each in shown})
    lines = list(dict.fromkeys(_line(each) for each in shown))
    height = (len(lines) or 1) * (_ARM_IN * (len(arms) or 1) + _GAP_IN) + 1.8
    figure = Figure(figsize=(_WIDTH_IN * max(len(scores), 2) + 1.6, height), layout="constrained")
    title = "every score is equal" if found.equal else "means of pairs with their 95 % interval; hollow: one pair"
    figure.suptitle(f"B - A: {title}\nA = {found.first.name}\nB = {found.second.name}", fontsize=10)
    axes = figure.subplots(1, max(len(scores), 1), squeeze=False, sharey=True)[0]
    looks = arm_colours(arms)
    colours = {arm: looks[arm] for arm in arms}
    for axis, name in zip(axes, scores, strict=False):
        _differences(axis, [each for each in shown if each.column == name], lines, colours)
        axis.set_title(_label(name), fontsize=10, fontweight="bold")
        axis.set_xlabel("B better →" if DIRECTIONS[name] > 0 else "← B better", fontsize=9)
    axes[0].set_yticks(range(len(lines)), lines, fontsize=9)
    axes[0].set_ylim(len(lines) - 0.5, -0.5)
    handles = [Line2D([], [], color=colours[arm], marker="o", label=arm) for arm in arms]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(arms) or 1, 6), fontsize=9, frameon=False)
    save(figure, path)


def _tables(folder: Path) -> list[Path]:
    """The tables of a run, as its plan says, or else where they usually lie."""
    planned: tuple[Path, ...] = ()
    if (folder / PLAN_FILE).is_file():
        try:
            planned = read_plan(folder).tables
        except SettingsError:  # a plan of another version; its tables may be read all the same
            planned = ()
    usual = [folder / "metrics.csv", *(path for pattern in _TABLES for path in sorted(folder.glob(pattern)))]
    return [table for table in planned or usual if table.is_file()]


def _facts(folder: Path, told: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Settings, versions and machine by name; several values of one name beside each other."""
    manifests = [_plain(path) for pattern in _MANIFESTS for path in sorted(folder.glob(pattern))]
    records = [{name: each[name] for name in _RECORDED if name in each} for each in manifests]
    if not records:
        alone = folder / "settings.json"
        shared = [{name: each[name] for name in _SHARED_FACTS if name in each} for each in told]
        records = [*([_plain(alone)] if alone.is_file() else []), *shared, *map(_arm_settings, told)]
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for name, value in _flat(record):
            if name not in _PLACES:
                found.setdefault(name, {})[value] = None
    return {name: ", ".join(values) for name, values in found.items()}


def _arm_settings(told: Mapping[str, Any]) -> dict[str, Any]:
    """How each arm was made, without what came of it."""
    found = {}
    for arm, facts in told.get("arms", {}).items():
        settings = dict(facts.get("settings", {}))
        if isinstance(training := settings.get("training"), dict):
            settings["training"] = training.get("settings", {})
        ledger = facts.get("ledger", {})
        found[arm] = {**settings, **{name: ledger[name] for name in ("device", "threads", "epochs") if name in ledger}}
    return found


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, each in value.items():
        if isinstance(each, Mapping):
            yield from _flat(each, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", each if isinstance(each, str) else json.dumps(each)


def _plain(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected a mapping, got {type(found).__name__}; it is damaged or of something else")
    return found


def _data_words(found: RunComparison) -> str:
    places = found.same_data + len(found.other_data) + found.unknown_data
    if found.unknown_data == places:
        return "data: not recorded which, so they may be the same or not"
    told = [f"the same sha256 in {found.same_data} of {places} data sets"]
    if found.other_data:
        told.append(f"another one in {len(found.other_data)}, so differences there hold the noise of both")
    if found.unknown_data:
        told.append(f"not recorded for {found.unknown_data}")
    return f"data: {', '.join(told)}"


def _score_words(found: RunComparison) -> list[str]:
    if found.equal:
        return [f"equal: every score of all {found.pairs} rows is the same number (times aside)"]
    ranks = {name: place for place, name in enumerate([*_SHOWN, *COSTS])}
    overall = sorted((each for each in found.overall if each.column in ranks), key=lambda each: ranks[each.column])
    arms = list(dict.fromkeys(each.arm for each in overall))
    same = [arm for arm in arms if all(each.equal for each in overall if each.arm == arm and each.column in DIRECTIONS)]
    told = [each for arm in arms if arm not in same for each in overall if each.arm == arm]
    heads = ["arm", "score", "A", "B", "B - A", "95 % interval", "pairs", "verdict"]
    cells = [
        [
            each.arm,
            _label(each.column),
            f"{each.first:.4g}",
            f"{each.second:.4g}",
            "0" if each.equal else f"{each.difference.median:+.3g}",
            _interval(each),
            str(each.difference.number),
            _verdict(each),
        ]
        for each in told
    ]
    return [
        *([f"equal in every score (times aside): {', '.join(same)}"] if same else []),
        "All data: medians over doses and seeds, whose views and splits are averaged to one pair; interval of the mean",
        laid_out(heads, cells, [False, False, True, True, True, True, True, False]),
        f"By dose, view and split: medians over seeds; {_LEGEND}",
        _group_table([each for each in found.groups if each.arm not in same]),
        "Of twenty verdicts on scores that do not differ one is wrong; every other score is in the CSV",
    ]


def _group_table(groups: Sequence[RunDifference]) -> str:
    shown = [name for name in _SHOWN if any(each.column == name for each in groups)]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for each in groups:
        sign = "=" if each.equal else _SIGNS[each.difference.verdict]
        text = "0" if each.equal else f"{each.difference.median:+.3g}"
        rows.setdefault((_line(each), each.arm), {})[each.column] = f"{text} {sign}"
    data = list(dict.fromkeys(line for line, _ in rows))
    ordered = sorted(rows.items(), key=lambda row: data.index(row[0][0]))
    lines = [[line, arm, *(cells.get(name, "") for name in shown)] for (line, arm), cells in ordered]
    return laid_out(["data", "arm", *map(_label, shown)], lines, [False, False, *[True] * len(shown)])


def _differences(axis: Axes, told: Sequence[RunDifference], lines: Sequence[str], colours: Mapping[str, str]) -> None:
    """Dots and bars of one score."""
    arms = list(colours)
    for each in told:
        place = lines.index(_line(each)) + 0.7 * ((arms.index(each.arm) + 0.5) / len(arms) - 0.5)
        colour, difference = colours[each.arm], each.difference
        if difference.low is not None and difference.high is not None:
            axis.hlines(place, difference.low, difference.high, color=colour, lw=1.4)
        face = "white" if difference.low is None else colour
        axis.plot(difference.mean, place, ls="", marker="o", ms=4, color=colour, mfc=face)
    for place in range(0, len(lines), 2):
        axis.axhspan(place - 0.5, place + 0.5, color="0.96", zorder=0)
    axis.axvline(0, color="black", lw=1)
    dots = max((abs(each.difference.mean) for each in told), default=0.0)
    ends = [end for each in told for end in (each.difference.low, each.difference.high) if end is not None]
    reach = min(max(map(abs, ends), default=0.0), 4 * dots)  # a bar of two pairs is wide enough to hide all others
    half = 1.1 * max(reach, dots) or 1e-3
    axis.set_xlim(-half, half)
    axis.locator_params(axis="x", nbins=5)
    axis.grid(axis="x", color="0.9", lw=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.tick_params(axis="y", length=0)


def _verdict(each: RunDifference) -> str:
    return "equal" if each.equal else each.difference.verdict


def _interval(each: RunDifference) -> str:
    difference = each.difference
    if each.equal or difference.low is None or difference.high is None:
        return "" if each.equal else "unknown"
    return f"{difference.low:+.2g} to {difference.high:+.2g}"


def _sided(name: str, first: int, second: int) -> str:
    told = [f"{count} only in {run}" for run, count in (("A", first), ("B", second)) if count]
    return f"{name}: {', '.join(told)}"


def _listed(head: str, lines: Sequence[str]) -> list[str]:
    """Some lines below a heading; the rest is counted."""
    if not lines:
        return []
    more = [f"  and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return [f"{head}:", *(f"  {line}" for line in lines[:_LISTED]), *more]


def _label(name: str) -> str:
    return next((column.label for column in COLUMNS if column.name == name), name)


def _line(each: RunDifference) -> str:
    """`1000 dense test`, or `all`."""
    words = [_plain_word(value) for value in (each.dose, each.view, each.split) if value is not None]
    return " ".join(words) or "all"


def _plain_word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
