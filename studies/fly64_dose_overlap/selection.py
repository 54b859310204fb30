"""Which doses and views a phase works on, where their frames lie, who makes what is missing, what was skipped."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldlight.core.errors import DataError, SettingsError
from foldlight.core.files import read_json, write_json
from foldlight.study.manifest import Manifest
from studies.fly64_dose_overlap import paths
from studies.fly64_dose_overlap.design import BASELINE, CUSTOM, SPLITS, SUPERVISED, StudyDesign

__all__ = [
    "SKIP_SUMMARY",
    "Grouping",
    "ViewFiles",
    "check_at_least",
    "check_word",
    "chosen_doses",
    "chosen_views",
    "grouping",
    "missing",
    "skipped_views",
    "write_skip_summary",
]

SKIP_SUMMARY = "skip_summary.json"


def chosen_doses(
    design: StudyDesign, generated: Path, wanted: Iterable[float], whole_design: bool
) -> tuple[float, ...]:
    """The doses asked for; without any, those that phase C has a folder for, and all of the design if `whole_design`.

    A folder's name holds whole photons, so the design's own value of a dose is taken where it has one.
    """
    if asked := set(wanted):
        return tuple(sorted(asked))
    own = {int(dose): dose for dose in design.doses}
    found = {own.get(int(dose), dose) for dose in paths.doses_in(generated)}
    return tuple(sorted(found | set(design.doses) if whole_design else found))


def chosen_views(design: StudyDesign, wanted: Iterable[str], also: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The views asked for, or all of the design, in its order; `custom` and others only when asked for, last.

    Raises:
        SettingsError: a name is no view.
    """
    known, asked = (*design.views, CUSTOM, *also), set(wanted)
    if unknown := sorted(asked - set(known)):
        raise SettingsError(f"--view: expected one of {', '.join(known)}, got {', '.join(unknown)}")
    return tuple(view for view in known if view in asked) if asked else tuple(design.views)


@dataclass(frozen=True)
class ViewFiles:
    """The frames of a view.

    Attributes:
        data: DATA-001 file of each split; they need not exist.
        source: the phase whose files they are.
        made_by: what to run to get them.
    """

    data: dict[str, Path]
    source: str
    made_by: str

    @classmethod
    def of(cls, phase_c: Path, phase_d: Path, dose: float, view: str) -> "ViewFiles":
        """Phase D's; where it has none for `baseline`, the same frames as phase C left them."""
        own = {split: paths.view_data(phase_d, dose, view, split) for split in SPLITS}
        if view == BASELINE and not any(path.is_file() for path in own.values()):
            return cls({split: paths.patched(phase_c, dose, split) for split in SPLITS}, "generation", "generation")
        generated = paths.dose_folder(phase_c, dose).is_dir()
        return cls(own, "overlap", "overlap" if generated else "generation, then overlap,")


def missing(files: Iterable[Path], made_by: str) -> str | None:
    """Why there is nothing to work on: the first file that is not there and who makes it; None when all are."""
    lost = next((path for path in files if not path.is_file()), None)
    return None if lost is None else f"{lost}: expected a file, found none; {made_by} makes it"


@dataclass(frozen=True)
class Grouping:
    """How frames of a view are grouped: C = gridsize^2 of K neighbours, in so many groups (None: one a frame)."""

    gridsize: int
    neighbours: int
    groups: int | None = None


def grouping(design: StudyDesign, phase_d: Path, dose: float, view: str) -> Grouping:
    """A view's own grouping: the design's; for `custom` what phase D measured it with; single frames for `supervised`.

    Raises:
        DataError: the metrics of `custom` are there and do not say it.
    """
    if view == SUPERVISED:
        return Grouping(1, design.neighbours)
    if view != CUSTOM:
        return Grouping(design.views[view].gridsize, design.neighbours)
    path = paths.view_metrics(phase_d, dose, view, "train")
    if not path.is_file():  # nothing is trained without it; any grouping will do to say so
        return Grouping(1, design.neighbours)
    facts: Any = read_json(path)
    try:
        groups = facts["n_groups"]
        return Grouping(int(facts["gridsize"]), int(facts["neighbor_count"]), None if groups is None else int(groups))
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: expected whole numbers gridsize, neighbor_count and n_groups, got {type(error).__name__}:"
            f" {error}; run overlap again"
        ) from None


def check_word(accelerator: str) -> None:
    """Refuse a word that is no accelerator while flags are parsed, before torch could say whether it is there.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(r"auto|cpu|gpu|cuda(:\d+)?", accelerator):
        raise ValueError(f"--accelerator: expected auto, cpu, gpu, cuda or cuda:N, got {accelerator!r}")


def check_at_least(least: float, **flags: float | None) -> None:
    """Refuse flags below their least value while they are parsed; None is not given.

    Raises:
        ValueError: one is.
    """
    for name, value in flags.items():
        if value is not None and not value >= least:
            raise ValueError(f"--{name.replace('_', '-')}: expected {least:g} or more, got {value:g}")


def skipped_views(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of the views that were skipped, or would be, and which file says only that."""
    named = ("dose", "view", "split", "reason")
    skipped = [{name: job[name] for name in named if name in job} for job in document["jobs"] if job.get("reason")]
    return {"skipped_views": skipped, "skip_summary_path": SKIP_SUMMARY}


def write_skip_summary(manifest: Manifest) -> None:
    """The skipped views alone, beside their manifest."""
    write_json(manifest.path.with_name(SKIP_SUMMARY), {"skipped_views": manifest.read()["skipped_views"]})
