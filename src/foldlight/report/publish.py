"""All that a comparison, and a study of many, leaves behind: tables, pictures, page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foldlight.compare.files import (
    read_metrics_csv,
    read_objects,
    write_frc_csv,
    write_metrics_csv,
    write_metrics_json,
    write_objects,
)
from foldlight.compare.table import Comparison
from foldlight.core.files import write_text
from foldlight.report.figures import comparison_picture
from foldlight.report.page import write_page
from foldlight.report.study import Panel, study_curves, study_gallery, study_table
from foldlight.study.plan import Plan, Task

__all__ = ["publish_comparison", "publish_study"]

_OBJECTS = "reconstructions.npz"


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
    objects = folder / _OBJECTS
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


def publish_study(plan: Plan) -> list[str]:
    """Write `study.md`, `study.png` and `gallery.png` of what a study has found so far into its folder.

    The gallery shows objects that no network was trained on, where there are such.

    Returns:
        The table, and one line a file; or that there is nothing yet.
    """
    if plan.table is None or not plan.table.is_file():
        return ["no results yet"]
    rows = read_metrics_csv(plan.table)
    table = study_table(rows)
    text, curves, gallery = (plan.root / name for name in ("study.md", "study.png", "gallery.png"))
    write_text(text, f"# {plan.title}\n\n{table}")
    lines = [table, f"table -> {text}"]
    if any(row["phase_ssim"] is not None or row["deviance_heldout"] is not None for row in rows):
        study_curves(rows, curves)
        lines.append(f"curves -> {curves}")
    compared = [task for task in plan.tasks if any(path.name == _OBJECTS for path in task.outputs)]
    unseen = [task for task in compared if task.labels.get("split") != "train"]  # what a network did not train on
    panels = [panel for task in unseen or compared for panel in _panels(task, rows)]
    if panels:
        study_gallery(panels, gallery)
        lines.append(f"images -> {gallery}")
    return lines


def _panels(task: Task, rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """The images of a comparison, if the task is one and has been run."""
    made = next((path for path in task.outputs if path.name == _OBJECTS and path.is_file()), None)
    if made is None:
        return []
    labels = {name: task.labels.get(name) for name in ("dose", "view", "split")}
    own = [row for row in rows if all(row[name] == value for name, value in labels.items())]
    scores = {row["arm"]: row["phase_ssim"] for row in own}
    return [Panel(float(labels["dose"] or 0), f"{labels['view']} {labels['split']}", read_objects(made), scores)]
