"""What a folder holds, read once into one frozen value: a report is made from that alone."""

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foldlight.compare.files import (
    Objects,
    read_frc_csv,
    read_metrics_csv,
    read_objects,
    read_residual_frames,
    read_residual_rings,
)
from foldlight.core.errors import DataError
from foldlight.core.files import read_json
from foldlight.geometry import Geometry
from foldlight.optics.coverage import bounding_box
from foldlight.report.images import TRUTH, Scale, encode, error_limits, polar, reduction, shared_scales
from foldlight.report.record import OBJECTS, Record, read_record, study_record
from foldlight.study.plan import PLAN_FILE, Plan, Task, read_plan

__all__ = ["Case", "Findings", "Source", "Training", "arms_of", "collect", "scales_of", "sources"]

Row = Mapping[str, Any]

_SQUARE = 1e-3  # relative difference of a pixel's sides that a scale bar does not show


@dataclass(frozen=True)
class Source:
    """Where the results of one comparison lie.

    Attributes:
        folder: with `reconstructions.npz` and what lies beside it.
        dose: photons per frame, or None.
        view: name, or None.
        split: name, or None.
        repeat: 0 for the first.
    """

    folder: Path
    dose: float | None = None
    view: str | None = None
    split: str | None = None
    repeat: int = 0

    @property
    def facts(self) -> dict[str, Any]:
        """What `metrics.json` says; empty without one."""
        path = self.folder / "metrics.json"
        found = read_json(path) if path.is_file() else {}
        return found if isinstance(found, dict) else {}

    @property
    def reference(self) -> str:
        """Name of what the arms were aligned to."""
        return str(self.facts.get("reference", TRUTH))

    @property
    def has_objects(self) -> bool:
        """Whether there are images."""
        return (self.folder / OBJECTS).is_file()

    def objects(self) -> Objects:
        """Its images.

        Raises:
            DataError: there are none, or they are damaged.
        """
        return read_objects(self.folder / OBJECTS)


@dataclass(frozen=True)
class Case:
    """One comparison: the same frames, seen by all arms.

    Attributes:
        dose: photons per frame, or None.
        view: name, or None.
        split: name, or None.
        pictures: (2, y, x) codes of amplitude and phase, by `truth` and arm; see `report.images`.
        error_limits: range of the error maps, by quantity; empty without truth.
        curves: lines of `frc_curves.csv`.
        rings: lines of `residual_rings.csv`.
        frames: lines of `residual_frames.csv`.
        facts: what `metrics.json` says.
    """

    dose: float | None
    view: str | None
    split: str | None
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)
    error_limits: Mapping[str, float] = field(default_factory=dict)
    curves: Sequence[Row] = ()
    rings: Sequence[Row] = ()
    frames: Sequence[Row] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """How a network was trained.

    Attributes:
        name: of the network.
        dose: photons per frame, or None.
        history: numbers of each epoch, by column of `history.csv`.
        facts: what `training.json` says.
    """

    name: str
    dose: float | None
    history: Mapping[str, Sequence[float]]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Findings:
    """All that a report tells.

    Attributes:
        title: heading.
        rows: of `metrics.csv`, of all comparisons and repeats.
        cases: comparisons of the first repeat.
        trainings: of the first repeat.
        scales: of phase and amplitude; empty where there are no images.
        step: every shown pixel is the mean over step x step object pixels.
        pixel_nm: size of an object pixel [nm], or None.
        record: how it came about.
    """

    title: str
    rows: Sequence[Row]
    cases: Sequence[Case] = ()
    trainings: Sequence[Training] = ()
    scales: Mapping[str, Scale] = field(default_factory=dict)
    step: int = 1
    pixel_nm: float | None = None
    record: Record = field(default_factory=Record)

    def distinct(self, label: str) -> list[Any]:
        """Values of dose, view or split that a comparison has, in the order of the rows."""
        return list(dict.fromkeys(row.get(label) for row in self.rows))


def collect(folder: Path, pixel_nm: float | None = None) -> Findings:
    """Read the folder of a study, of a demo, or of one comparison; nothing is written.

    Args:
        folder: root that a study was run into, or folder with a `metrics.csv`.
        pixel_nm: size of an object pixel [nm]; what the comparisons say when None.

    Raises:
        DataError: it is no such folder, holds no results yet, or a file in it is damaged.
    """
    plan = read_plan(folder) if (folder / PLAN_FILE).is_file() else None
    shown = [source for source in sources(folder) if source.repeat == 0]
    rows = _rows(folder, plan)
    cases, scales, step = _cases(shown)
    record = read_record(folder) if plan is None else study_record(plan)
    return Findings(
        title=record.title,
        rows=rows,
        cases=cases,
        trainings=_trainings(folder, plan),
        scales=scales,
        step=step,
        pixel_nm=pixel_nm or _stated_nm(shown),
        record=record,
    )


def stated_nm(source: Source) -> float | None:
    """The size of an object pixel that a comparison says [nm], where it is the same along both axes."""
    stated = source.facts.get("geometry")
    if stated is None:
        return None
    height, width = (size * 1e9 for size in Geometry.parse(stated).pixel_size_m)
    return height if math.isclose(height, width, rel_tol=_SQUARE) else None


def _stated_nm(shown: Sequence[Source]) -> float | None:
    """That of all comparisons, where they agree."""
    sizes = {stated_nm(source) for source in shown}
    return sizes.pop() if len(sizes) == 1 else None


def sources(folder: Path) -> list[Source]:
    """The comparisons that a folder holds: of a study those that its plan names and that were run.

    Raises:
        DataError: the folder is neither a study's nor a comparison's.
    """
    if (folder / PLAN_FILE).is_file():
        return [source for task in read_plan(folder).tasks for source in _compared(task)]
    if not (folder / "metrics.csv").is_file():
        raise DataError(
            f"{folder}: expected the folder of a study ({PLAN_FILE}) or of a comparison (metrics.csv), found neither"
        )
    first = next(iter(read_metrics_csv(folder / "metrics.csv")), {})
    return [Source(folder, first.get("dose"), first.get("view"), first.get("split"))]


def _compared(task: Task) -> list[Source]:
    made = next((path for path in task.outputs if path.name == OBJECTS and path.is_file()), None)
    if made is None:
        return []
    labels = task.labels
    dose = None if labels.get("dose") is None else float(labels["dose"])
    return [Source(made.parent, dose, _word(labels.get("view")), _word(labels.get("split")), _repeat(task))]


def _repeat(task: Task) -> int:
    return int(task.labels.get("repeat", 0))


def _word(value: Any) -> str | None:
    return None if value is None else str(value)


def _rows(folder: Path, plan: Plan | None) -> list[dict[str, Any]]:
    tables = (folder / "metrics.csv",) if plan is None else plan.tables
    rows = [row for table in tables if table.is_file() for row in read_metrics_csv(table)]
    if not rows:
        raise DataError(
            f"{folder}: expected results of a study ({PLAN_FILE}) or a comparison (metrics.csv), found none yet"
        )
    return rows


def _cases(shown: Sequence[Source]) -> tuple[list[Case], dict[str, Scale], int]:
    """All comparisons, their images on one scale. Files are read twice, so that few images are in memory at a time."""
    step = reduction(_shape(source.objects()) for source in shown if source.has_objects)
    scales = scales_of(shown, step)
    return [_case(source, scales, step) for source in shown], scales, step


def scales_of(shown: Iterable[Source], step: int = 1) -> dict[str, Scale]:
    """The scales of phase and amplitude of all these comparisons; empty where there are no images."""
    anchors = []
    for source in shown:
        if source.has_objects:
            images = polar(source.objects(), source.reference, step)
            anchors.append(images.get(source.reference, next(iter(images.values()))))
    return shared_scales(anchors) if anchors else {}


def _shape(objects: Objects) -> tuple[int, int, int]:
    height, width = objects.mask[bounding_box(objects.mask)].shape
    return len(objects.arms) + (objects.truth is not None), height, width


def _case(source: Source, scales: Mapping[str, Scale], step: int) -> Case:
    images = polar(source.objects(), source.reference, step) if source.has_objects else {}
    return Case(
        dose=source.dose,
        view=source.view,
        split=source.split,
        pictures={name: encode(image, scales) for name, image in images.items()},
        error_limits=error_limits(images),
        curves=_lines(source.folder / "frc_curves.csv", read_frc_csv),
        rings=_lines(source.folder / "residual_rings.csv", read_residual_rings),
        frames=_lines(source.folder / "residual_frames.csv", read_residual_frames),
        facts=source.facts,
    )


def _lines(path: Path, read: Callable[[Path], list[dict[str, Any]]]) -> Sequence[Row]:
    return read(path) if path.is_file() else ()


def _trainings(folder: Path, plan: Plan | None) -> list[Training]:
    """Of a study those of its plan, of another folder those that lie one level below it."""
    if plan is None:
        found = sorted(folder.glob("*/history.csv"))
        return [_training(path.parent, path.parent.name, None) for path in found]
    named = {}
    for task in plan.tasks:
        for path in task.outputs:
            if (path.parent / "history.csv").is_file() and not _repeat(task):
                dose = task.labels.get("dose")
                name = str(task.labels.get("view", path.parent.name))
                named[path.parent] = _training(path.parent, name, None if dose is None else float(dose))
    return list(named.values())


def _training(folder: Path, name: str, dose: float | None) -> Training:
    path = folder / "history.csv"
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines = list(csv.DictReader(stream))
        history = {column: [float(line[column]) for line in lines] for column in (lines[0] if lines else {})}
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: expected the numbers of a training, an epoch a line: {error}") from None
    facts: Any = {}
    with suppress(DataError):  # it is written at the end of a training
        facts = read_json(folder / "training.json")
    return Training(name, dose, history, facts if isinstance(facts, dict) else {})


def arms_of(rows: Iterable[Row]) -> list[str]:
    """Names of the arms, in the order of the rows."""
    return list(dict.fromkeys(str(row["arm"]) for row in rows))
