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
    write_residual_frames,
    write_residual_rings,
)
from foldlight.compare.table import Comparison
from foldlight.core.files import write_text
from foldlight.report.figures import comparison_picture
from foldlight.report.page import write_report
from foldlight.report.record import OBJECTS, write_record
from foldlight.report.study import Panel, study_curves, study_gallery, study_table
from foldlight.study.plan import Plan, Task

__all__ = ["publish_comparison", "publish_study"]


def publish_comparison(
    folder: Path,
    comparison: Comparison,
    facts: Mapping[str, Any] | None = None,
    log: Sequence[str] = (),
    pictures: Mapping[str, Path] | None = None,
) -> list[str]:
    """Write a comparison into a folder.

    `metrics.csv` and `metrics.json`, `frc_curves.csv` (with truth), `residual_rings.csv`, `residual_frames.csv`,
    `reconstructions.npz`, `comparison.png`, `record.json`, which says how it came about, and `report.html`. What an
    earlier comparison left there and this one has not is removed.

    Args:
        folder: made if it is not there.
        comparison: what to publish.
        facts: for the record; see `write_record`.
        log: notes for the record.
        pictures: more pictures for the page, by caption.

    Returns:
        One line a file: what it is and where.

    Raises:
        DataError: a file can't be written, or a picture is missing.
    """
    objects, picture, metrics = folder / OBJECTS, folder / "comparison.png", folder / "metrics.csv"
    write_metrics_csv(metrics, comparison)
    write_metrics_json(metrics.with_suffix(".json"), comparison)
    write_objects(objects, comparison)
    lines = [f"metrics -> {metrics}", f"aligned objects -> {objects}"]
    optional = (
        ("frc_curves.csv", write_frc_csv, comparison.curves, "FRC curves"),
        ("residual_rings.csv", write_residual_rings, comparison.fitted_residuals, "misfit by detector ring"),
        ("residual_frames.csv", write_residual_frames, comparison.frame_deviances, "misfit by frame"),
    )
    for name, write, present, what in optional:
        if present:
            write(folder / name, comparison)
            lines.append(f"{what} -> {folder / name}")
        else:
            (folder / name).unlink(missing_ok=True)
    comparison_picture(comparison, picture)
    write_record(folder, facts or {}, log, pictures or {})
    return [*lines, f"picture -> {picture}", f"report -> {write_report(folder)}"]


def publish_study(plan: Plan) -> list[str]:
    """Write `study.md`, `study.png`, `gallery.png` and `report.html` of what a study has found so far into its folder.

    The gallery shows objects that no network was trained on, where there are such.

    Returns:
        The table, and one line a file; or that there is nothing yet.
    """
    rows = [row for table in plan.tables if table.is_file() for row in read_metrics_csv(table)]
    if not rows:
        return ["no results yet"]
    table = study_table(rows)
    text, curves, gallery = (plan.root / name for name in ("study.md", "study.png", "gallery.png"))
    write_text(text, f"# {plan.title}\n\n{table}")
    lines = [table, f"table -> {text}"]
    if any(row["phase_ssim"] is not None or row["deviance_heldout"] is not None for row in rows):
        study_curves(rows, curves)
        lines.append(f"curves -> {curves}")
    compared = [task for task in plan.tasks if any(path.name == OBJECTS for path in task.outputs)]
    compared = [task for task in compared if not task.labels.get("repeat")]
    unseen = [task for task in compared if task.labels.get("split") != "train"]  # what a network did not train on
    panels = [panel for task in unseen or compared for panel in _panels(task, rows)]
    if panels:
        study_gallery(panels, gallery)
        lines.append(f"images -> {gallery}")
    return [*lines, f"report -> {write_report(plan.root)}"]


def _panels(task: Task, rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """The images of a comparison, if the task is one and has been run."""
    made = next((path for path in task.outputs if path.name == OBJECTS and path.is_file()), None)
    if made is None:
        return []
    labels = {name: task.labels.get(name) for name in ("dose", "view", "split")}
    own = [row for row in rows if all(row[name] == value for name, value in labels.items())]
    scores = {row["arm"]: row["phase_ssim"] for row in reversed(own)}  # the first repeat's come first
    return [Panel(float(labels["dose"] or 0), f"{labels['view']} {labels['split']}", read_objects(made), scores)]
