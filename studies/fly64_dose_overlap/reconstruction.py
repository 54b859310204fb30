"""Phase F: the iterative engine on every dose, view and split, each in a process of its own.

`python -m studies.fly64_dose_overlap.reconstruction --phase-c-root C --phase-d-root D --artifact-root F [--dose ...]`

It starts from a flat object, always, and is given the scan's own probe; what else it does, the design says.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from foldlight.core.errors import SettingsError
from foldlight.io import read_scan
from foldlight.reconstruct.settings import IterativeSettings
from foldlight.study.jobs import Input, Job, run_job
from foldlight.study.manifest import Manifest
from studies.fly64_dose_overlap import paths
from studies.fly64_dose_overlap.design import SPLITS, StudyDesign, get_study_design
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
    missing,
    skipped_views,
    write_skip_summary,
)

__all__ = [
    "MANIFEST",
    "PtychiJob",
    "PtychiOptions",
    "build_ptychi_jobs",
    "execute_ptychi_job",
    "main",
    "run_ptychi_job",
]

MANIFEST = "reconstruction_manifest.json"


@dataclass(frozen=True, kw_only=True)
class PtychiOptions:
    """How the engine is run, where it is not to be as the design says."""

    engine: Literal["lsqml", "rpie", "dm"] | None = None
    """Least squares of maximum likelihood, regularised PIE or the difference map; that of the design when not given."""
    num_epochs: int | None = None
    """Passes over the frames; those of the design when not given."""
    accelerator: str | None = None
    """Where to compute: auto, cpu, gpu or cuda; as the design says when not given."""
    timeout: float | None = None
    """Wall time after which a job is ended [s]; that of the design when not given."""

    def __post_init__(self) -> None:
        check_at_least(1, num_epochs=self.num_epochs, timeout=self.timeout)
        if self.accelerator is not None:
            check_word(self.accelerator)


@dataclass(frozen=True, kw_only=True)
class _Flags(PtychiOptions):
    """Reconstruct every dose, view and split with the iterative engine."""

    phase_c_root: Path
    """Root that `generation` wrote."""
    phase_d_root: Path
    """Root that `overlap` wrote."""
    artifact_root: Path
    """Folder for `dose_X/<view>/<split>/` and the manifest."""
    dose: tuple[float, ...] = ()
    """Photons per frame, one or several; all that were generated when not given."""
    view: tuple[str, ...] = ()
    """Views of the design, or `custom`, one or several; all of the design when not given."""
    split: tuple[Literal["train", "test"], ...] = ()
    """One half or both; both when not given."""
    allow_missing_phase_d: bool = False
    """A view without data is skipped instead of failed."""
    dry_run: bool = False
    """Only tell what would be reconstructed."""
    repeat: int = 0
    """Which repeat of the study: 0 has the design's seeds, each further one seeds of its own."""
    design: Path | None = None
    """TOML or YAML file with the design."""


@dataclass(frozen=True)
class PtychiJob:
    """One half of one view to reconstruct.

    Attributes:
        dose: photons per frame.
        view: name of the view.
        split: `train` or `test`.
        data_path: DATA-001 file with the frames.
        artifact_dir: where reconstruction, picture and log go.
        log_path: the job's output, the engine's included.
        data_source: phase whose file this is.
        made_by: what to run when it is missing.
        reason: why it is skipped; None when it is not.
    """

    dose: float
    view: str
    split: str
    data_path: Path
    artifact_dir: Path
    log_path: Path
    data_source: str = "overlap"
    made_by: str = "overlap"
    reason: str | None = None

    @property
    def label(self) -> str:
        """`dense/test/dose=1e+03`, as every line about it begins."""
        return f"{self.view}/{self.split}/dose={dose_label(self.dose)}"


def main(words: Sequence[str] | None = None) -> int:
    """Run the phase and return its exit code."""
    return run_phase(_Flags, _run, "reconstruction", words)


def _run(flags: _Flags) -> int:
    design = get_study_design(flags.design, flags.repeat)
    manifest = Manifest(flags.artifact_root / MANIFEST, "reconstruction", ("dose", "view", "split"), skipped_views)
    filters = {name: getattr(flags, name) for name in ("dose", "view", "split", "allow_missing_phase_d")}
    begin(manifest, design, filters, _plain(flags), flags.repeat)
    jobs = build_ptychi_jobs(
        flags.phase_c_root,
        flags.phase_d_root,
        flags.artifact_root,
        flags.dose,
        flags.view,
        flags.split,
        flags.allow_missing_phase_d,
        design,
    )
    records = [_run_and_tell(job, design, flags, manifest) for job in jobs]
    write_skip_summary(manifest)
    reasons = [job.reason for job in jobs if job.reason is not None]
    errors = [record["result"]["error"] for record in records if record["status"] == "failed"]
    return finish(manifest, [record["status"] for record in records], "reconstruction", reasons, errors)


def _run_and_tell(job: PtychiJob, design: StudyDesign, flags: _Flags, manifest: Manifest) -> dict[str, Any]:
    """Run a job, record it, print what came of it; the record."""
    if job.reason is not None:
        say(f"reconstruction [{job.label}]: skipped: {job.reason}")
    else:
        say(f"reconstruction [{job.label}]: {job.data_path}; log: {job.log_path}")
    if flags.dry_run:
        manifest.record({**job_facts(job), "status": "dry-run", "asked": _plain(flags)})
        return {"status": "dry-run" if job.reason is None else "skipped"}
    record = run_ptychi_job(job, design, flags)
    manifest.record(record)
    result = record["result"]
    if record["status"] == "success":
        say(
            f"    → {result['arm']} [{job.label}]: {result['epochs']} epochs, {result['n_frames']} frames,"
            f" {result['seconds']:.0f} s: {manifest.relative(result['reconstruction_path'])}"
        )
    elif record["status"] == "failed":
        say(f"    failed [{job.label}]: {result['error']}; log: {job.log_path}")
    return record


def build_ptychi_jobs(
    phase_c_root: Path,
    phase_d_root: Path,
    artifact_root: Path,
    dose_filter: Sequence[float] = (),
    view_filter: Sequence[str] = (),
    split_filter: Sequence[str] = (),
    allow_missing_phase_d: bool = False,
    design: StudyDesign | None = None,
) -> list[PtychiJob]:
    """One job a dose, view and split: doses rising, views in the design's order, train before test.

    Args:
        phase_c_root: what `generation` wrote.
        phase_d_root: what `overlap` wrote.
        artifact_root: where reconstructions go.
        dose_filter: photons per frame; empty: those that were generated.
        view_filter: names, `custom` among them; empty: all of the design.
        split_filter: `train`, `test`; empty: both.
        allow_missing_phase_d: a job without data says why it is skipped; otherwise it is there to fail.
        design: the built-in one when None.

    Raises:
        SettingsError: a name is no view.
    """
    design = design or get_study_design()
    views = chosen_views(design, view_filter)
    jobs = []
    for dose in chosen_doses(design, phase_c_root, dose_filter, whole_design=False):
        for view in views:
            files = ViewFiles.of(phase_c_root, phase_d_root, dose, view)
            for split in (each for each in SPLITS if each in (split_filter or SPLITS)):
                folder, data = paths.reconstruction_folder(artifact_root, dose, view, split), files.data[split]
                reason = missing([data], files.made_by) if allow_missing_phase_d else None
                jobs.append(
                    PtychiJob(
                        dose, view, split, data, folder, folder / "ptychi.log", files.source, files.made_by, reason
                    )
                )
    return jobs


def run_ptychi_job(job: PtychiJob, design: StudyDesign, options: PtychiOptions = PtychiOptions()) -> dict[str, Any]:
    """Run a job in a process of its own; its record for the manifest. It never raises for what the job does."""
    asked = {**job_facts(job), "asked": _plain(options)}
    if job.reason is not None:
        return {**asked, "status": "skipped", "result": {"status": "skipped"}, "inputs": [], "outputs": []}
    outputs = {"reconstruction": _reconstruction(job), "picture": _picture(job)}
    result = run_job(
        Job(
            function="studies.fly64_dose_overlap.reconstruction:execute_as_child",
            arguments={
                "job": TypeAdapter(PtychiJob).dump_python(job, mode="json"),
                "design": design.plain(),
                "options": _plain(options),
            },
            inputs={job.split: Input(job.data_path, job.made_by)},
            outputs=outputs,
            log_path=job.log_path,
            time_limit_s=options.timeout or design.time_limit_s,
            threads=design.reconstruction.threads,
        )
    )
    facts = outcome_facts(result)
    if facts["status"] == "success":
        facts = {
            **facts,
            "reconstruction_path": outputs["reconstruction"],
            "picture_path": outputs["picture"],
            **result.returned,
        }
    return {**asked, "status": facts["status"], "result": facts, **file_lists(result)}


def execute_as_child(job: dict[str, Any], design: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """`execute_ptychi_job` of JSON."""
    return execute_ptychi_job(
        TypeAdapter(PtychiJob).validate_python(job),
        StudyDesign.parse(design, "design"),
        PtychiOptions(**options),
    )


def execute_ptychi_job(job: PtychiJob, design: StudyDesign, options: PtychiOptions = PtychiOptions()) -> dict[str, Any]:
    """Reconstruct from this process and leave file and picture in the job's folder.

    Returns:
        JSON-ready facts: engine, epochs, frames, last loss, digest of the data, device and threads as they were used.

    Raises:
        SettingsError: no such device.
        DataError: the file is missing or damaged.
        EngineError: pty-chi is not installed, failed or diverged.
    """
    from foldlight.reconstruct.iterative import IterativeReconstructor
    from foldlight.report.figures import reconstruction_picture

    settings = _settings(design, options)
    scan = read_scan(job.data_path)
    say(*scan.notes, f"{len(scan)} frames, {settings.epochs} epochs of {settings.arm} on {settings.device}")
    # The engine's process appends to the log that this process's own output streams to.
    engine = IterativeReconstructor(settings, log_path=job.log_path, append_log=True)
    made = engine.reconstruct(scan)
    made.save(_reconstruction(job))
    reconstruction_picture(made, _picture(job), title=f"{made.arm} [{job.label}]")
    say(f"{made.arm}: {made.ledger.infer_seconds:.1f} s -> {_reconstruction(job)}")
    return {
        "engine": settings.engine,
        "arm": made.arm,
        "epochs": made.ledger.epochs,
        "final_loss": _last_loss(job.log_path),
        "n_frames": made.ledger.n_frames,
        "photons": made.ledger.photons,
        "window": list(scan.window),
        "infer_seconds": made.ledger.infer_seconds,
        "device": made.ledger.device,
        "threads": made.ledger.threads,
        "data_digest": made.data_digest,
        "settings": made.settings,
    }


def _settings(design: StudyDesign, options: PtychiOptions) -> IterativeSettings:
    """The design's settings of the engine with what the options change."""
    changed: dict[str, Any] = {}
    if options.engine is not None:
        changed["engine"] = options.engine
    if options.num_epochs is not None:
        changed["epochs"] = options.num_epochs
    if options.accelerator is not None:
        changed["device"] = _device(options.accelerator)
    return IterativeSettings.parse({**design.reconstruction.plain(), **changed}, "reconstruction")


def _device(accelerator: str) -> str:
    """pty-chi's word for an accelerator.

    Raises:
        SettingsError: there is none, or it is not the first that is visible, which is the one pty-chi takes.
    """
    from foldlight.train.device import resolve_accelerator

    device = resolve_accelerator(accelerator)
    if device not in {"cpu", "cuda", "cuda:0"}:
        number = device.removeprefix("cuda:")
        raise SettingsError(
            f"--accelerator {accelerator}: expected cpu, gpu or cuda, as pty-chi takes the first GPU that it sees;"
            f" set CUDA_VISIBLE_DEVICES={number} and --accelerator cuda"
        )
    return device.split(":")[0]


def _last_loss(log: Path) -> float | None:
    """The engine's loss in its last epoch, as its log tells it."""
    text = log.read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"^epoch \d+/\d+: loss ([^,\s]+),", text, flags=re.MULTILINE)
    return float(found[-1]) if found else None


def _reconstruction(job: PtychiJob) -> Path:
    return job.artifact_dir / "ptychi_reconstruction.npz"


def _picture(job: PtychiJob) -> Path:
    return job.artifact_dir / "reconstruction.png"


def _plain(options: PtychiOptions) -> dict[str, Any]:
    """The options alone, of flags too, JSON-ready."""
    return TypeAdapter(PtychiOptions).dump_python(options, mode="json")


if __name__ == "__main__":
    sys.exit(main())
