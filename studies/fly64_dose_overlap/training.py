"""Phase E: one network a dose and view, each trained in a process of its own and left as a bundle.

`python -m studies.fly64_dose_overlap.training --phase-c-root C --phase-d-root D --artifact-root E [--dose ...] ...`

`--view supervised` trains the network of single frames on the true object instead of on photons.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from foldlight.core.errors import DataError
from foldlight.io import read_scan
from foldlight.scan import Scan
from foldlight.study.jobs import Input, Job, run_job
from foldlight.study.manifest import Manifest
from foldlight.train.settings import TrainingSettings, epochs_for
from studies.fly64_dose_overlap import paths
from studies.fly64_dose_overlap.design import (
    BASELINE,
    CUSTOM,
    SUPERVISED,
    StudyDesign,
    check_neighbours,
    get_study_design,
)
from studies.fly64_dose_overlap.phase import (
    begin,
    dose_label,
    file_lists,
    finish,
    job_facts,
    outcome_facts,
    run_phase,
    say,
)
from studies.fly64_dose_overlap.selection import (
    ViewFiles,
    check_at_least,
    check_word,
    chosen_doses,
    chosen_views,
    grouping,
    missing,
    skipped_views,
    write_skip_summary,
)

__all__ = [
    "MANIFEST",
    "TrainingJob",
    "TrainingOptions",
    "build_training_jobs",
    "execute_training_job",
    "main",
    "run_training_job",
]

MANIFEST = "training_manifest.json"


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a training is run; what it is, the design says."""

    accelerator: str = "auto"
    """Where to train: auto, cpu, gpu, cuda or cuda:N."""
    deterministic: bool = False
    """Deterministic algorithms on the design's fixed number of threads, so that the bundle repeats to the bit; without
    it all cores are used."""
    num_workers: int = 0
    """Background threads that prepare batches; any number gives the same bundle."""
    epochs: int | None = None
    """Passes over the frames, instead of what the design's budget of pixels comes to."""
    timeout: float | None = None
    """Wall time after which a job is ended [s]; that of the design when not given."""

    def __post_init__(self) -> None:
        check_word(self.accelerator)
        check_at_least(0, num_workers=self.num_workers)
        check_at_least(1, epochs=self.epochs, timeout=self.timeout)


@dataclass(frozen=True, kw_only=True)
class _Flags(TrainingOptions):
    """Train a network for every dose and view."""

    phase_c_root: Path
    """Root that `generation` wrote."""
    phase_d_root: Path
    """Root that `overlap` wrote."""
    artifact_root: Path
    """Folder for `dose_X/<view>/` and the manifest."""
    dose: tuple[float, ...] = ()
    """Photons per frame, one or several; all when not given."""
    view: tuple[str, ...] = ()
    """Views of the design, `custom` or `supervised`, one or several; all of the design when not given."""
    gridsize: Literal[1, 2] | None = None
    """Another gridsize than the view's own."""
    dry_run: bool = False
    """Only tell what would be trained."""
    repeat: int = 0
    """Which repeat of the study: 0 has the design's seeds, each further one seeds of its own."""
    design: Path | None = None
    """TOML or YAML file with the design."""


@dataclass(frozen=True)
class TrainingJob:
    """One network to train.

    Attributes:
        dose: photons per frame.
        view: name of the view.
        gridsize: C = gridsize squared frames must agree.
        train_data_path: DATA-001 file to train on.
        test_data_path: the other half; only its frame size is looked at.
        artifact_dir: where bundle, history and log go.
        log_path: the job's output.
        neighbours: K, the nearest frames that groups are drawn from.
        groups: how many are drawn; None: one a frame.
        data_source: phase whose files these are.
        metrics_path: where neighbours and groups were read; None: in the design.
        reason: why it can't be run; None when it can.
    """

    dose: float
    view: str
    gridsize: int
    train_data_path: Path
    test_data_path: Path
    artifact_dir: Path
    log_path: Path
    neighbours: int
    groups: int | None = None
    data_source: str = "overlap"
    metrics_path: Path | None = None
    reason: str | None = None

    @property
    def label(self) -> str:
        """`dense/dose=1e+03`, as every line about it begins."""
        folder = self.artifact_dir
        name = f"{self.view}/{folder.name}" if self.supervised else folder.name
        return f"{name}/dose={dose_label(self.dose)}"

    @property
    def supervised(self) -> bool:
        """It learns from the true object."""
        return self.view == SUPERVISED

    @property
    def inputs(self) -> dict[str, Path]:
        """The files it depends on, by role."""
        files = {"train": self.train_data_path, "test": self.test_data_path}
        return files if self.metrics_path is None else {**files, "train_metrics": self.metrics_path}


def main(words: Sequence[str] | None = None) -> int:
    """Run the phase and return its exit code."""
    return run_phase(_Flags, _run, "training", words)


def _run(flags: _Flags) -> int:
    design = get_study_design(flags.design, flags.repeat)
    manifest = Manifest(flags.artifact_root / MANIFEST, "training", ("dose", "view", "gridsize"), skipped_views)
    filters = {name: getattr(flags, name) for name in ("dose", "view", "gridsize")}
    begin(manifest, design, filters, _plain(flags), flags.repeat)
    jobs = build_training_jobs(
        flags.phase_c_root, flags.phase_d_root, flags.artifact_root, flags.dose, flags.view, flags.gridsize, design
    )
    records = [_run_and_tell(job, design, flags, manifest) for job in jobs]
    write_skip_summary(manifest)
    reasons = [job.reason for job in jobs if job.reason is not None]
    errors = [record["result"]["error"] for record in records if record["status"] == "failed"]
    return finish(manifest, [record["status"] for record in records], "training", reasons, errors)


def _run_and_tell(job: TrainingJob, design: StudyDesign, flags: _Flags, manifest: Manifest) -> dict[str, Any]:
    """Run a job, record it, print what came of it; the record."""
    if job.reason is not None:
        say(f"training [{job.label}]: skipped: {job.reason}")
    else:
        say(f"training [{job.label}]: gridsize {job.gridsize}, {job.train_data_path}; log: {job.log_path}")
    if flags.dry_run:
        manifest.record({**job_facts(job), "status": "dry-run", "asked": _plain(flags)})
        return {"status": "dry-run" if job.reason is None else "skipped"}
    record = run_training_job(job, design, flags)
    manifest.record(record)
    result = record["result"]
    if record["status"] == "success":
        if result["collapsed"]:
            say(
                f"    collapsed [{job.label}]: no better than a flat object; train longer (--epochs), or check the data"
            )
        say(
            f"    → Bundle [{job.label}]: {manifest.relative(result['bundle_path'])}",
            f"    → SHA256 [{job.label}]: {result['bundle_sha256']}",
            f"    → Size [{job.label}]: {result['bundle_size_bytes']} bytes",
        )
    elif record["status"] == "failed":
        say(f"    failed [{job.label}]: {result['error']}; log: {job.log_path}")
    return record


def build_training_jobs(
    phase_c_root: Path,
    phase_d_root: Path,
    artifact_root: Path,
    dose_filter: Sequence[float] = (),
    view_filter: Sequence[str] = (),
    gridsize: int | None = None,
    design: StudyDesign | None = None,
) -> list[TrainingJob]:
    """One job a dose and view: doses rising, views in the design's order; those that can't be run say why.

    Args:
        phase_c_root: what `generation` wrote.
        phase_d_root: what `overlap` wrote.
        artifact_root: where bundles go.
        dose_filter: photons per frame; empty: those of the design and whatever else was generated.
        view_filter: names, `custom` and `supervised` among them; empty: all of the design.
        gridsize: another one than the views' own.
        design: the built-in one when None.

    Raises:
        SettingsError: a name is no view.
        DataError: the metrics of `custom` are damaged.
    """
    design = design or get_study_design()
    views = chosen_views(design, view_filter, also=(SUPERVISED,))
    return [
        _job(phase_c_root, phase_d_root, artifact_root, dose, view, gridsize, design)
        for dose in chosen_doses(design, phase_c_root, dose_filter, whole_design=True)
        for view in views
    ]


def _job(
    phase_c: Path, phase_d: Path, root: Path, dose: float, view: str, gridsize: int | None, design: StudyDesign
) -> TrainingJob:
    data = BASELINE if view == SUPERVISED else view
    files, own = ViewFiles.of(phase_c, phase_d, dose, data), grouping(design, phase_d, dose, view)
    metrics = paths.view_metrics(phase_d, dose, view, "train") if view == CUSTOM else None
    reason = missing([*files.data.values(), *([] if metrics is None else [metrics])], files.made_by)
    if view == SUPERVISED:
        folder = paths.supervised_folder(root, dose, gridsize or own.gridsize)
        reason = reason or _untold(files.data["train"])
    else:
        folder = paths.model_folder(root, dose, view, gridsize or own.gridsize, own.gridsize)
    return TrainingJob(
        dose=dose,
        view=view,
        gridsize=gridsize or own.gridsize,
        train_data_path=files.data["train"],
        test_data_path=files.data["test"],
        artifact_dir=folder,
        log_path=folder / "train.log",
        neighbours=own.neighbours,
        groups=own.groups,
        data_source=files.source,
        metrics_path=metrics,
        reason=reason,
    )


def _untold(frames: Path) -> str | None:
    """Why nobody can be taught by these frames: they do not know the object they were made from."""
    with suppress(DataError):  # a damaged file is for the job to tell
        if read_scan(frames).truth is None:
            return (
                f"{frames}: expected simulated frames with their true object, got none; leave out --view {SUPERVISED}"
            )
    return None


def run_training_job(
    job: TrainingJob, design: StudyDesign, options: TrainingOptions = TrainingOptions()
) -> dict[str, Any]:
    """Run a job in a process of its own; its record for the manifest. It never raises for what the job does."""
    asked = {**job_facts(job), "asked": _plain(options)}
    if job.reason is not None:
        return {**asked, "status": "skipped", "result": {"status": "skipped"}, "inputs": [], "outputs": []}
    folder, bundle = job.artifact_dir, paths.bundle(job.artifact_dir)
    result = run_job(
        Job(
            function="studies.fly64_dose_overlap.training:execute_as_child",
            arguments={
                "job": TypeAdapter(TrainingJob).dump_python(job, mode="json"),
                "design": design.plain(),
                "options": _plain(options),
            },
            inputs={role: Input(path, job.data_source) for role, path in job.inputs.items()},
            outputs={"bundle": bundle, "history": folder / "history.csv", "training": folder / "training.json"},
            log_path=job.log_path,
            time_limit_s=options.timeout or design.time_limit_s,
            threads=_threads(design, options),
        )
    )
    facts = outcome_facts(result)
    if facts["status"] == "success":
        left = result.outputs["bundle"]
        named = {"bundle_path": bundle, "bundle_sha256": left["sha256"], "bundle_size_bytes": left["bytes"]}
        facts = {**facts, **named, **result.returned}
    return {**asked, "status": facts["status"], "result": facts, **file_lists(result)}


def execute_as_child(job: dict[str, Any], design: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """`execute_training_job` of JSON."""
    return execute_training_job(
        TypeAdapter(TrainingJob).validate_python(job),
        StudyDesign.parse(design, "design"),
        TrainingOptions(**options),
    )


def execute_training_job(
    job: TrainingJob, design: StudyDesign, options: TrainingOptions = TrainingOptions()
) -> dict[str, Any]:
    """Train in this process and leave the bundle in the job's folder.

    A training that was interrupted, or ended at its time limit, goes on from its last epoch, to the same bundle.

    Returns:
        JSON-ready facts: losses, epochs, frames, and device, threads and workers as they were used.

    Raises:
        SettingsError: K < C, no such device, or too few frames for groups.
        DataError: a file is missing or damaged, or the halves have frames of different size.
        TrainingError: the loss is no number.
    """
    from foldlight.bundle import write_bundle
    from foldlight.train.device import resolve_accelerator
    from foldlight.train.fit import fit

    check_neighbours(job.neighbours, job.gridsize, job.view)
    device = resolve_accelerator(options.accelerator)
    scan = _training_half(job)
    settings = _settings(job, design, options, scan, device)
    say(*scan.notes, f"{len(scan)} frames, {settings.epochs} epochs at most, on {device}")
    with _computing(_threads(design, options), options.deterministic) as in_force:
        training = fit(
            scan,
            design.training.network,
            settings,
            job.artifact_dir,
            resume=None,
            progress=False,
            keep_collapsed=True,
            loader_workers=options.num_workers,
            report=say,
        )
        digest = write_bundle(paths.bundle(job.artifact_dir), training.model)
    # A checkpoint is for going on after an interruption; what has come to its end is run again from its beginning.
    (job.artifact_dir / "checkpoint.pt").unlink(missing_ok=True)
    facts = training.model.training
    say(
        f"validation loss {facts['best_validation_loss']:.5f}, flat object {training.flat_loss:.5f}", f"sha256 {digest}"
    )
    return {
        "final_loss": facts["final_loss"],
        "best_validation_loss": facts["best_validation_loss"],
        "best_epoch": facts["best_epoch"],
        "flat_loss": training.flat_loss,
        "collapsed": training.collapsed,
        "epochs_completed": facts["epochs_completed"],
        "epochs_at_most": settings.epochs,
        "n_images": len(scan),
        "n_training_frames": facts["n_frames"],
        "window": list(scan.window),
        "data_digest": facts["data"],
        "train_seconds": round(training.seconds, 3),
        "device": device,
        "num_workers": options.num_workers,
        **in_force,
    }


def _training_half(job: TrainingJob) -> Scan:
    """The frames to train on.

    Raises:
        DataError: a file is missing or damaged, or frames of the two halves differ in size.
    """
    scan, other = read_scan(job.train_data_path), read_scan(job.test_data_path)
    if scan.window != other.window:
        raise DataError(
            f"{job.test_data_path}: expected frames of {scan.window[0]} x {scan.window[1]} px as in"
            f" {job.train_data_path}, got {other.window[0]} x {other.window[1]}; run {job.data_source} again"
        )
    return scan


def _settings(
    job: TrainingJob, design: StudyDesign, options: TrainingOptions, scan: Scan, device: str
) -> TrainingSettings:
    """The design's training settings with all that design, view, data and flags decide."""
    plan = design.training
    epochs = options.epochs or epochs_for(len(scan), scan.window, plan.pixels, plan.least_epochs, plan.most_epochs)
    decided = {
        "gridsize": job.gridsize,
        "neighbours": job.neighbours,
        "groups": job.groups,
        "epochs": epochs,
        "seed": design.seeds.grouping,
        "device": device,
        "supervision": "object" if job.supervised else "photons",
    }
    return TrainingSettings.parse({**plan.settings.plain(), **decided}, "training.settings")


@contextmanager
def _computing(threads: int, repeatable: bool) -> Iterator[dict[str, Any]]:
    """Torch on so many threads inside a `with` block, deterministic or not; what is in force, JSON-ready."""
    import torch

    from foldlight.train.determinism import deterministic

    if repeatable:
        with deterministic(threads) as in_force:
            yield in_force
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield {"deterministic": torch.are_deterministic_algorithms_enabled(), "threads": torch.get_num_threads()}
    finally:
        torch.set_num_threads(before)


def _threads(design: StudyDesign, options: TrainingOptions) -> int:
    return design.training.threads if options.deterministic else os.cpu_count() or 1


def _plain(options: TrainingOptions) -> dict[str, Any]:
    """The options alone, of flags too, JSON-ready."""
    return TypeAdapter(TrainingOptions).dump_python(options, mode="json")


if __name__ == "__main__":
    sys.exit(main())
