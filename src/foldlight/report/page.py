"""One comparison as one self-contained HTML page: no script, nothing loaded from elsewhere, readable in print."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from foldlight.compare.table import FLAT_ARM, Comparison, Row
from foldlight.core.errors import DataError
from foldlight.core.files import write_text
from foldlight.report.columns import COLUMNS, Column

__all__ = ["write_page"]


def write_page(
    path: Path,
    comparison: Comparison,
    pictures: Mapping[str, Path],
    facts: Mapping[str, Any],
    log: Sequence[str],
    title: str = "Reconstructions compared",
) -> None:
    """Write the page of a comparison.

    Args:
        path: HTML file to write.
        comparison: its numbers.
        pictures: PNG files by caption, in order; they are embedded.
        facts: settings and versions; a value that is a mapping becomes a section of its own. The entry `command`, if
            there is one, is printed as the way to reproduce the page.
        log: what the reader and the run noted, one sentence each.
        title: heading.

    Raises:
        DataError: a picture is missing or the page can't be written.
    """
    columns = [column for column in COLUMNS if any(getattr(row, column.name) is not None for row in comparison.rows)]
    settings = Environment(
        loader=PackageLoader("foldlight.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = settings.get_template("page.html").render(
        title=title,
        comparison=comparison,
        columns=columns,
        lines=[_line(row, columns, comparison.rows) for row in comparison.rows],
        verdict=_verdict(comparison),
        used=_frames_used(comparison),
        removed=_removed(comparison),
        pictures={caption: _embedded(picture) for caption, picture in pictures.items()},
        sections=_sections(facts),
        command=facts.get("command"),
        log=log,
    )
    write_text(path, page)


def _line(row: Row, columns: Sequence[Column], rows: Sequence[Row]) -> dict[str, Any]:
    """A row of the table: each cell's text, and whether it is the best of its column."""
    cells = []
    for column in columns:
        value = getattr(row, column.name)
        known = [found for other in rows if (found := getattr(other, column.name)) is not None]
        best = column.better != 0 and value is not None and len(known) > 1 and value == _best(known, column.better)
        cells.append({"text": "" if value is None else format(value, column.digits), "best": best})
    return {"arm": row.arm, "cells": cells, "flat": row.arm == FLAT_ARM, "status": row.status}


def _best(values: Sequence[float], better: int) -> float:
    return max(values) if better > 0 else min(values)


def _verdict(comparison: Comparison) -> list[str]:
    """The result in plain words."""
    said: list[str] = []
    contenders = [row for row in comparison.rows if row.arm != FLAT_ARM]
    for name, better, words in (
        ("phase_ssim", 1, "came closest to the truth in phase structure (SSIM"),
        ("deviance_heldout", -1, "predicted the held-out counts best (deviance"),
    ):
        known = [row for row in contenders if getattr(row, name) is not None]
        if known:
            best = _best([getattr(row, name) for row in known], better)
            arms = " and ".join(row.arm for row in known if getattr(row, name) == best)
            said.append(f"{arms} {words} {best:.3g}).")
    collapsed = [row.arm for row in contenders if row.status == "collapsed"]
    if collapsed:
        said.append(f"{', '.join(collapsed)} did no better than a flat image: collapsed.")
    return said


def _frames_used(comparison: Comparison) -> str:
    """Whether all methods used all frames, as their ledgers say."""
    number = comparison.n_frames
    others = [row for row in comparison.rows if row.n_frames != number]
    if others:
        used = [f"{row.arm} {'unknown' if row.n_frames is None else f'{row.n_frames:,}'}" for row in others]
        return f"They did not all use its {number:,} frames, as far as is known: {', '.join(used)}."
    return f"All used its {number:,} frames."


def _removed(comparison: Comparison) -> str:
    """What was taken out of the images before they were scored."""
    registered = [arm for arm in comparison.objects if comparison.settings.registers(arm)]
    if len(registered) == len(comparison.objects):
        return "these were removed from each image once, by a fit to the truth"
    only = f", ramp and shift from {', '.join(registered)} alone" if registered else ""
    return f"the scale was removed from each image{only}, once, by a fit to the truth"


def _sections(facts: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Facts as sections of printable values; the loose ones come first, under one heading."""
    loose = {key: _text(value) for key, value in facts.items() if key != "command" and not isinstance(value, Mapping)}
    nested = {
        key: {inner: _text(value) for inner, value in values.items()}
        for key, values in facts.items()
        if isinstance(values, Mapping)
    }
    return ({"facts": loose} if loose else {}) | nested


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _embedded(picture: Path) -> str:
    """A PNG as a data URI."""
    try:
        return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode("ascii")
    except OSError as error:
        raise DataError(
            f"{picture}: expected a PNG picture for the page, got {error.strerror}; draw it first"
        ) from None
