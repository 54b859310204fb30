"""All that a comparison leaves behind: tables, picture, page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foldlight.compare.files import write_frc_csv, write_metrics_csv, write_metrics_json, write_objects
from foldlight.compare.table import Comparison
from foldlight.report.figures import comparison_picture
from foldlight.report.page import write_page

__all__ = ["publish_comparison"]


def publish_comparison(
    folder: Path,
    comparison: Comparison,
    facts: Mapping[str, Any] | None = None,
    log: Sequence[str] = (),
    pictures: Mapping[str, Path] | None = None,
) -> list[str]:
    """Write a comparison into a folder.

    `metrics.csv` and `metrics.json`, `frc_curves.csv` (with truth), `reconstructions.npz`, `comparison.png` and
    `report.html`.

    Args:
        folder: made if it is not there.
        comparison: what to publish.
        facts: for the page; see `write_page`.
        log: lines for the page.
        pictures: more pictures for the page, by caption.

    Returns:
        One line a file: what it is and where.
    """
    picture, metrics, page = folder / "comparison.png", folder / "metrics.csv", folder / "report.html"
    objects = folder / "reconstructions.npz"
    write_metrics_csv(metrics, comparison)
    write_metrics_json(metrics.with_suffix(".json"), comparison)
    write_objects(objects, comparison)
    lines = [f"metrics -> {metrics}", f"aligned objects -> {objects}"]
    if comparison.curves:
        write_frc_csv(folder / "frc_curves.csv", comparison)
        lines.append(f"FRC curves -> {folder / 'frc_curves.csv'}")
    comparison_picture(comparison, picture)
    write_page(page, comparison, {"Every arm side by side": picture, **(pictures or {})}, facts or {}, log)
    return [*lines, f"picture -> {picture}", f"report -> {page}"]
