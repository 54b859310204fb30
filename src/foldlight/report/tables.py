"""Tables as text in columns of fixed width that GitHub draws too."""

from collections.abc import Mapping, Sequence
from typing import Any

from foldlight.compare.summary import GROUP, Summary, summarise
from foldlight.report.columns import COLUMNS, Column

__all__ = ["laid_out", "noise_note", "study_table"]

_SHOWN = (
    *("phase_ssim", "amplitude_ssim", "phase_ms_ssim", "complex_correlation", "frc_half_nyquist", "object_rmse"),
    *("limit_rmse", "eta", "deviance_heldout", "infer_seconds_per_frame", "status"),
)


def study_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The medians over seeds and half their range, a line for each dose, view, split and arm.

    Bold is the best of the same dose, view and split, and what does not differ from it by more than noise. An empty
    cell is a number that is not there; a column without any is left out, and so are labels that no row has. What ± and
    bold stand for is said below.

    Raises:
        DataError: two rows are of the same arm and data set.
    """
    summaries = summarise(rows)
    labels = [name for name in GROUP if not rows or any(_label(found, name) for found in summaries)]
    columns = [
        column
        for name in _SHOWN
        for column in COLUMNS
        if column.name == name and (not rows or not column.digits or any(name in found.values for found in summaries))
    ]
    several = any(len(found.seeds) > 1 for found in summaries)
    heads = [*labels, "arm", *["seeds"] * several, *(column.label for column in columns)]
    lines = [
        [
            *(_label(found, name) for name in labels),
            found.arm,
            *[str(len(found.seeds))] * several,
            *(_shown(found, column) for column in columns),
        ]
        for found in summaries
    ]
    right = [*(name == "dose" for name in labels), False, *[True] * several, *(bool(each.digits) for each in columns)]
    text = laid_out(heads, lines, right)
    return f"{text}\n{noise_note(summaries)}\n" if summaries else text


def noise_note(summaries: Sequence[Summary]) -> str:
    """What ± and bold stand for, in a paragraph."""
    counts = sorted({len(found.seeds) for found in summaries})
    if not counts:
        return ""
    if counts == [1]:
        return "One seed: the spread is unknown. Bold is the best number, no claim that it would be with another."
    seeds = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seeds"
    lone = "; where there is one seed the spread is unknown and only the best number is bold" if counts[0] == 1 else ""
    return (
        f"Medians of {seeds}; ± is half the range over them. Bold is the best median, and every arm whose difference to"
        f" it, paired by data set, is inside the noise (95 % t interval){lone}."
    )


def laid_out(heads: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """A GitHub table.

    Args:
        heads: one a column.
        lines: cells; a `|` in them is escaped.
        right: which columns are set to the right.
    """
    safe = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(3, *(len(line[place]) for line in [heads, *safe])) for place in range(len(heads))]
    rule = ["-" * (width - 1) + ":" if number else "-" * width for width, number in zip(widths, right, strict=True)]

    def line(cells: Sequence[str]) -> str:
        sides = zip(cells, widths, right, strict=True)
        padded = (cell.rjust(width) if number else cell.ljust(width) for cell, width, number in sides)
        return f"| {' | '.join(padded)} |"

    return "\n".join(map(line, [heads, rule, *safe])) + "\n"


def _shown(found: Summary, column: Column) -> str:
    """A cell: median, half the range, what belongs beside it; bold when it leads."""
    if not column.digits:
        return found.status if column.name == "status" else ""
    spread = found.values.get(column.name)
    if spread is None:
        return ""
    median = format(spread.median, column.digits)
    text = f"**{median}**" if found.leads(column.name) else median
    if spread.half_range is not None:
        text += f" ±{_as_fine(spread.half_range, median)}"
    beside = []
    if column.name == "eta" and (bias := found.values.get("bias_fraction")):
        beside.append(f"bias {bias.median:.2f}")
    if spread.number < len(found.seeds):
        beside.append(f"{spread.number} of {len(found.seeds)}")
    return f"{text} ({'; '.join(beside)})" if beside else text


def _as_fine(value: float, like: str) -> str:
    """A number with as many decimals as another one has in print."""
    _, _, decimals = like.partition(".")
    return f"{value:.2g}" if "e" in like else f"{value:.{len(decimals)}f}"


def _label(found: Summary, name: str) -> str:
    value = getattr(found, name)
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
