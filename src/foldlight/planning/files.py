"""A plan as files: picture, table, settings and where it came from."""

import csv
import io
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from foldlight.core.files import write_json, write_text
from foldlight.core.provenance import environment
from foldlight.planning.picture import plan_picture
from foldlight.planning.run import Answer, Plan
from foldlight.planning.words import advice, table

__all__ = ["write_plan"]


def write_plan(folder: Path, plan: Plan, source: dict[str, Any] | None = None) -> list[str]:
    """Write `limit.png`, `limit.csv` and `limit.json`.

    Args:
        folder: where to.
        plan: what was found.
        source: JSON-ready facts about the scan that it was made for, if any.

    Returns:
        What to tell: notes, table, advice, and where the files are.
    """
    words = advice(plan)
    write_text(folder / "limit.csv", _csv(plan))
    write_json(folder / "limit.json", _plain(plan, words, source))
    plan_picture(plan, folder / "limit.png")
    return [*plan.notes, *table(plan), *words, f"picture, table and settings -> {folder}"]


def _csv(plan: Plan) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Answer)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(answer) for answer in plan.answers())
    return text.getvalue()


def _plain(plan: Plan, words: list[str], source: dict[str, Any] | None) -> dict[str, Any]:
    curves = [
        {
            "case": case.label,
            "probe": probe,
            "dose": dose,
            "frequency_nyquist": case.limits[probe].nyquist.tolist(),
            "frc": plan.limit(case, probe, dose).frc.tolist(),
            "half_bit": case.half_bit.tolist(),
        }
        for case in plan.cases
        for probe in case.limits
        for dose in plan.doses
    ]
    solver = [
        {"case": case.label, "probe": probe, "iterations": found.iterations, "unsettled": found.unsettled}
        for case in plan.cases
        for probe, found in case.limits.items()
    ]
    return {
        "answers": [asdict(answer) for answer in plan.answers()],
        "advice": words,
        "notes": list(plan.notes),
        "probe_diameter_px": plan.diameter_px,
        "probe_diameter": "participation: 2 sqrt((sum |P|^2)^2 / (pi sum |P|^4))",
        "scan_dose": plan.own_dose,
        "scan": source,
        "settings": plan.settings.plain(),
        "curves": curves,
        "solver": solver,
        "environment": environment(),
    }
