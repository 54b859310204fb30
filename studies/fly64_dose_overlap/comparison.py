"""Phase G: both networks, the iterative engine and the flat image on the same frames; one job a dose, view and split.

`python -m studies.fly64_dose_overlap.comparison --phase-c-root C --phase-e-root E --phase-f-root F --artifact-root G`

A job whose file is missing or whose arm fails is recorded as failed and the others run. The tables at the root hold all
jobs that succeeded, of this run and of those before it.
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from foldlight.core.errors import DataError
from foldlight.core.files import read_json, write_text
from foldlight.core.provenance import versions
from foldlight.study.jobs import Input, Job, JobResult, run_job
from foldlight.study.manifest import Manifest
from studies.fly64_dose_overlap import paths, training
from studies.fly64_dose_overlap.design import BASELINE, CUSTOM, SPLITS, SUPERVISED, StudyDesign, get_study_design
from studies.fly64_dose_overlap.frames import find_frames, records
from studies.fly64_dose_overlap.phase import begin, dose_label, file_lists, finish, outcome_facts, run_phase, say
from studies.fly64_dose_overlap.selection import check_word, chosen_doses, missing

__all__ = [
    "MANIFEST",
    "METRICS",
    "SUMMARY",
    "ComparisonJob",
    "build_comparison_jobs",
    "execute_comparison_job",
    "execute_comparison_jobs",
    "main",
]

MANIFEST = "comparison_manifest.json"
METRICS = "metrics.csv"
SUMMARY = "comparison_summary.txt"

_TIME_LIMIT_S = 600.0
_KEY = ("dose", "view", "split")
_ACCEPTANCE = (
    *("spacing_threshold_px", "n_accepted", "n_rejected", "acceptance_rate", "min_spacing_px", "mean_spacing_px"),
    *("median_spacing_px", "selection_strategy", "linear_overlap_reached", "area_overlap_reached", "probe_diameter_px"),
)


@dataclass(frozen=True)
class ComparisonJob:
    """What is compared.

    Attributes:
        dose: photons per frame.
        view: name of the view.
        split: `train` or `test`.
        inputs: by role, and none needs to exist: `data`, the frames that every arm sees; `pinn`, the bundle of the
            view's network, absent in the view whose network is the baseline; `baseline`, the bundle of the network of
            single frames of the same dose; `supervised`, that of the network that was shown the true object, where
            there is one; `iterative`, the reconstruction of the engine.
        data_found_by: how the frames were found, in words.
        training_manifest: where the digests of the bundles were noted when they were made.
    """

    dose: float
    view: str
    split: str
    inputs: Mapping[str, Input]
    data_found_by: str
    training_manifest: Path


@dataclass(frozen=True)
class _Flags:
    """Compare all arms of each dose, view and split on the same frames."""

    phase_c_root: Path
    """Root that `generation` wrote."""
    phase_e_root: Path
    """Root that `training` wrote."""
    phase_f_root: Path
    """Root that `reconstruction` wrote."""
    artifact_root: Path
    """Folder for `dose_X/<view>/<split>/`, the tables of all jobs and the manifest."""
    phase_d_root: Path | None = None
    """Root that `overlap` wrote; else the manifests of E and F tell, or it is looked for beside phase C."""
    dose: tuple[float, ...] = ()
    """Photons per frame, one or several; all that were generated when not given."""
    view: tuple[str, ...] = ()
    """Views, one or several, `baseline` and `custom` too; those with groups when not given."""
    split: tuple[Literal["train", "test"], ...] = ()
    """One half or both; both when not given."""
    timeout: float = _TIME_LIMIT_S
    """Wall time after which a comparison is ended [s]."""
    accelerator: str = "cpu"
    """Where the networks run: auto, cpu, gpu, cuda or cuda:N."""
    dry_run: bool = False
    """Only tell what would be compared, and which files are missing."""
    repeat: int = 0
    """Which repeat of the study: 0 has the design's seeds, each further one seeds of its own."""
    design: Path | None = None
    """TOML or YAML file with the design."""

    def __post_init__(self) -> None:
        check_word(self.accelerator)
        _check_limit(self.timeout)


def main(words: Sequence[str] | None = None) -> int:
    """Run the phase and return its exit code."""
    return run_phase(_Flags, _run, "comparison", words)


def _run(flags: _Flags) -> int:
    design = get_study_design(flags.design, flags.repeat)
    jobs = build_comparison_jobs(
        flags.phase_c_root,
        flags.phase_e_root,
        flags.phase_f_root,
        flags.dose,
        flags.view,
        flags.split,
        phase_d_root=flags.phase_d_root,
        design=design,
    )
    filters = {name: getattr(flags, name) for name in _KEY}
    _warn_of_unmatched(filters, jobs, flags.phase_c_root)
    manifest = _manifest(flags.artifact_root, design)
    asked = {name: value for name, value in vars(flags).items() if name not in {*_KEY, "repeat"}}
    begin(manifest, design, filters, asked, flags.repeat)
    made = _execute(jobs, manifest, design, flags.timeout, flags.accelerator, flags.dry_run)
    errors = [record["error"] for record in made if record["status"] == "failed"]
    return finish(manifest, [record["status"] for record in made], "comparison", errors=errors)


def _check_limit(seconds: float) -> None:
    if not seconds > 0:
        raise ValueError(f"--timeout: expected more than 0 s, got {seconds:g}")


def _warn_of_unmatched(filters: Mapping[str, Sequence[Any]], jobs: Sequence[ComparisonJob], phase_c: Path) -> None:
    """Say which filters chose nothing: with a slip in one of several names, a run would look complete."""
    for name, wanted in filters.items():
        for value in sorted(set(wanted) - {getattr(job, name) for job in jobs}):
            sys.stderr.write(f"warning: --{name} {value}: expected one that there is, nothing matched\n")
    if not filters["dose"] and not jobs and not paths.doses_in(phase_c):
        sys.stderr.write(f"warning: {phase_c}: expected dose folders, found none; generation makes them\n")


def build_comparison_jobs(
    phase_c_root: Path,
    phase_e_root: Path,
    phase_f_root: Path,
    dose_filter: float | Collection[float] | None = None,
    view_filter: str | Collection[str] | None = None,
    split_filter: str | Collection[str] | None = None,
    *,
    phase_d_root: Path | None = None,
    design: StudyDesign | None = None,
) -> list[ComparisonJob]:
    """The comparisons to make: doses rising, dense views before sparse ones, train before test.

    Args:
        phase_c_root: its dose folders say which doses there are.
        phase_e_root: where the networks are.
        phase_f_root: where the iterative reconstructions are.
        dose_filter: one or several; a dose that neither the design nor any of these folders knows matches nothing.
        view_filter: one or several; none given: the views with groups, where the baseline's network is one arm more.
        split_filter: one or both.
        phase_d_root: where the frames are; without it they are looked for.
        design: the built-in one when None.
    """
    design = get_study_design() if design is None else design
    roots = (phase_c_root, phase_e_root, phase_f_root)
    known = set(design.doses).union(*map(paths.doses_in, roots))
    doses = known.intersection(chosen_doses(design, phase_c_root, _several(dose_filter), whole_design=False))
    grouped = {name for name, view in design.views.items() if view.gridsize > 1}
    views = {*design.views, CUSTOM} & (_several(view_filter) or grouped)
    splits = set(SPLITS) & (_several(split_filter) or set(SPLITS))
    keys = [(dose, view, split) for dose in doses for view in views for split in splits]
    keys.sort(key=lambda key: _place(design, *key))
    return [_job(*roots, phase_d_root, *key, design.supervised) for key in keys]


def _several(given: Any) -> set[Any]:
    """A filter as a set, which is empty when everything passes."""
    if given is None:
        return set()
    return {given} if isinstance(given, str | int | float) else set(given)


def _place(design: StudyDesign, dose: float, view: str, split: str) -> tuple[float, float, str, int]:
    """Where a job stands among the others; a view that keeps all frames is the densest, an unknown one comes last."""
    known = design.views.get(view)
    asked = -1.0 if known is None else known.linear_overlap
    return dose, -(1.0 if asked is None else asked), view, SPLITS.index(split)


def _job(
    c: Path, e: Path, f: Path, d: Path | None, dose: float, view: str, split: str, supervised: bool
) -> ComparisonJob:
    data, found_by = find_frames(c, e, f, d, dose, view, split)
    bundles = {role: _bundle(e, dose, name) for role, name in _networks(view).items()}
    taught = Input(paths.bundle(paths.supervised_folder(e, dose)), "training")
    if supervised and taught.path.is_file():  # frames without a true object taught nobody
        bundles["supervised"] = taught
    iterative = Input(paths.ptychi_file(f, dose, view, split), "reconstruction")
    inputs = {"data": data, **bundles, "iterative": iterative}
    return ComparisonJob(dose, view, split, inputs, found_by, e / training.MANIFEST)


def _networks(view: str) -> dict[str, str]:
    """The view whose network is an arm, by role."""
    return {"baseline": BASELINE} if view == BASELINE else {"pinn": view, "baseline": BASELINE}


def _bundle(e: Path, dose: float, view: str) -> Input:
    """The network of a view that was trained at the view's own gridsize."""
    return Input(paths.bundle(paths.model_folder(e, dose, view, 1, own_gridsize=1)), "training")


def execute_comparison_jobs(
    jobs: Sequence[ComparisonJob],
    artifact_root: Path,
    *,
    design: StudyDesign | None = None,
    timeout_s: float = _TIME_LIMIT_S,
    accelerator: str = "cpu",
    dry_run: bool = False,
    repeat: int = 0,
) -> dict[str, Any]:
    """Run jobs one after the other, each in a process of its own, and return the manifest that records them.

    Args:
        jobs: see `build_comparison_jobs`.
        artifact_root: root of phase G.
        design: the built-in one when None.
        timeout_s: wall time after which a job is ended [s].
        accelerator: where the networks run.
        dry_run: record what would be compared, and compare nothing.
        repeat: which one of the study the design's seeds are of.
    """
    design = get_study_design() if design is None else design
    manifest = _manifest(artifact_root, design)
    begin(manifest, design, {}, {"timeout": timeout_s, "accelerator": accelerator, "dry_run": dry_run}, repeat)
    _execute(jobs, manifest, design, timeout_s, accelerator, dry_run)
    return manifest.read()


def _manifest(root: Path, design: StudyDesign) -> Manifest:
    def results(document: dict[str, Any]) -> dict[str, Any]:
        return {"execution_results": [_execution_result(job) for job in _executed(document, design)]}

    return Manifest(root / MANIFEST, "comparison", _KEY, results)


def _execution_result(job: Mapping[str, Any]) -> dict[str, Any]:
    names = (*_KEY, "returncode", "status", "seconds", "log_path", "metrics_path")
    return {**{name: job[name] for name in names}, **({"error": job["error"]} if "error" in job else {})}


def _executed(document: Mapping[str, Any], design: StudyDesign) -> list[Mapping[str, Any]]:
    """The jobs of a manifest that were run, in the order of the study."""
    jobs = [job for job in document["jobs"] if job["status"] in {"success", "failed"}]
    return sorted(jobs, key=lambda job: _place(design, *(job[name] for name in _KEY)))


def _execute(
    jobs: Sequence[ComparisonJob],
    manifest: Manifest,
    design: StudyDesign,
    timeout_s: float,
    accelerator: str,
    dry_run: bool,
) -> list[dict[str, Any]]:
    """Run jobs, record each and say what came of it; their records."""
    made: list[dict[str, Any]] = []
    try:
        for job in jobs:
            record = _dry(job) if dry_run else _record(job, manifest, design, timeout_s, accelerator)
            manifest.record(record)
            made.append(record)
            say(f"comparison [{_label(**_key(job))}]: {record['status']}: {_told(job, record, manifest)}")
    finally:  # what an interrupted run has finished belongs in the tables
        if made and not dry_run:
            _write_tables(manifest, design)
    return made


def _key(job: ComparisonJob) -> dict[str, Any]:
    return {name: getattr(job, name) for name in _KEY}


def _label(dose: float, view: str, split: str) -> str:
    """`dense/test/dose=1e+03`, as every line about a job begins."""
    return f"{view}/{split}/dose={dose_label(dose)}"


def _dry(job: ComparisonJob) -> dict[str, Any]:
    inputs = [{"role": role, "path": given.path, "found": given.path.is_file()} for role, given in job.inputs.items()]
    return {**_key(job), "status": "dry-run", "inputs": inputs, "data_found_by": job.data_found_by}


def _told(job: ComparisonJob, record: Mapping[str, Any], manifest: Manifest) -> str:
    """What a line says of a job."""
    if record["status"] == "dry-run":
        lacking = (missing([given.path], given.made_by) for given in job.inputs.values())
        return "; ".join(filter(None, lacking)) or f"its {len(job.inputs)} files are there"
    if record["status"] == "failed":
        return f"{record['error']}; log: {record['log_path']}"
    doubt = "" if record["bundle_recorded"] else f"; not the bundles that {training.MANIFEST} tells of"
    return f"{record['seconds']:.0f} s: {manifest.relative(record['metrics_path'])}{doubt}"


def _record(
    job: ComparisonJob, manifest: Manifest, design: StudyDesign, timeout_s: float, accelerator: str
) -> dict[str, Any]:
    """Run one comparison in a process of its own and describe what came of it."""
    folder = paths.comparison_folder(manifest.path.parent, job.dose, job.view, job.split)
    planned = Job(
        function="studies.fly64_dose_overlap.comparison:execute_comparison_job",
        arguments={
            "design": design.plain(),
            **_key(job),
            "files": {role: str(given.path) for role, given in job.inputs.items()},
            "folder": str(folder),
            "accelerator": accelerator,
        },
        inputs=job.inputs,
        outputs={
            "metrics": folder / METRICS,
            "metrics_json": folder / "metrics.json",
            "frc_curves": folder / "frc_curves.csv",
            "residual_rings": folder / "residual_rings.csv",
            "residual_frames": folder / "residual_frames.csv",
            "objects": folder / "reconstructions.npz",
            "picture": folder / "comparison.png",
            "record": folder / "record.json",
            "page": folder / "report.html",
        },
        log_path=folder / "comparison.log",
        time_limit_s=timeout_s,
        threads=1,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".comparison.lock"):  # a second run of the same job waits for its turn
        result = run_job(planned)
        succeeded = result.outcome.status == "success"
        if not succeeded:  # nothing half done may look like a result
            for path in planned.outputs.values():
                path.unlink(missing_ok=True)
    return {
        **_key(job),
        **outcome_facts(result),
        "log_path": planned.log_path,
        "metrics_path": planned.outputs["metrics"] if succeeded else None,
        "data_found_by": job.data_found_by,
        "bundle_recorded": _bundles_recorded(job, result),
        "acceptance": _acceptance(job),
        "result": result.returned,
        **file_lists(result),
    }


def _bundles_recorded(job: ComparisonJob, result: JobResult) -> bool:
    """Whether every bundle is, to the byte, one that training noted for its dose and view."""
    return all(
        role in result.inputs
        and result.inputs[role]["sha256"]
        in {record.get("result", {}).get("bundle_sha256") for record in records(job.training_manifest, job.dose, view)}
        for role, view in {"pinn": job.view, "baseline": BASELINE, "supervised": SUPERVISED}.items()
        if role in job.inputs
    )


def _acceptance(job: ComparisonJob) -> dict[str, Any] | None:
    """How the view's frames were picked and how dense they came out; None where phase D did not measure it."""
    with suppress(DataError):
        measured = read_json(job.inputs["data"].path.with_name(f"{job.split}_metrics.json"))
        return {name: measured.get(name) for name in _ACCEPTANCE}
    return None


def execute_comparison_job(
    design: dict[str, Any],
    dose: float,
    view: str,
    split: str,
    files: Mapping[str, str],
    folder: str,
    accelerator: str = "cpu",
) -> dict[str, Any]:
    """Compare all arms of one job in this process and publish them.

    Returns:
        JSON-ready: digests of the frames and of the held-out counts, and the rows of `metrics.csv`.

    Raises:
        FoldlightError: an arm fails, a file is not what it should be, or the iterative arm saw other frames.
    """
    from foldlight.compare.files import write_frc_csv
    from foldlight.compare.table import CompareSettings
    from foldlight.io import read_scan
    from foldlight.report.publish import publish_comparison
    from foldlight.simulate.acquire import expose_again
    from foldlight.study.models import compare_models
    from foldlight.train.device import resolve_accelerator

    checked = StudyDesign.parse(design, "design")
    given = {role: Path(path) for role, path in files.items()}
    scan = read_scan(given["data"])
    say(f"{given['data']}: {len(scan)} frames", *scan.notes)
    _check_provenance(given["iterative"])
    heldout = None if scan.truth is None else expose_again(scan, checked.seeds.simulation)
    device = resolve_accelerator(accelerator)
    likelihood = checked.refinement.likelihood.model_copy(update={"device": device})
    comparison = compare_models(
        scan,
        given.get("pinn"),
        given["baseline"],
        given["iterative"],
        CompareSettings(ms_ssim_sigma=checked.metrics.ms_ssim_sigma, limit=checked.metrics.limit),
        heldout=heldout,
        exposure_ratio=1.0,
        device=device,
        supervised=given.get("supervised"),
        noise_draws=checked.metrics.noise_draws,
        seed=checked.seeds.simulation,
        refine=checked.refinement.model_copy(update={"likelihood": likelihood}) if checked.hybrid else None,
    ).labelled(dose=dose, view=view, split=split, seed=checked.seeds.grouping)
    drawn = None if heldout is None else heldout.digest()
    facts = {
        "job": {"dose": dose, "view": view, "split": split, "seed": checked.seeds.grouping},
        "data": {"file": given["data"].name, "sha256 of what every method saw": comparison.data_sha256},
        "held-out counts": {"seed": checked.seeds.simulation, "sha256": drawn or "none, as there is no truth"},
        "metrics": {**comparison.settings.plain(), "noise draws": checked.metrics.noise_draws},
        "versions": versions(),
    }
    say(*publish_comparison(Path(folder), comparison, facts, scan.notes))
    if not comparison.curves:  # without truth a table without rows, so that every job leaves the same files
        write_frc_csv(Path(folder) / "frc_curves.csv", comparison)
    return {"data_digest": comparison.data_sha256, "heldout_digest": drawn, "rows": comparison.plain()}


def _check_provenance(iterative: Path) -> None:
    """The iterative reconstruction says which frames it saw; whether they are these, `compare` checks.

    Raises:
        DataError: it does not say.
    """
    from foldlight.reconstruct.protocol import Reconstruction

    if not Reconstruction.load(iterative).data_digest:
        raise DataError(f"{iterative}: expected it to say which frames it was made from; run reconstruction again")


def _write_tables(manifest: Manifest, design: StudyDesign) -> None:
    """Write `metrics.csv` and the summary of all jobs that the manifest holds.

    A run records its jobs before it takes the lock, so whichever run writes last has read the records of all.
    """
    from foldlight.compare.files import write_rows
    from foldlight.report.study import study_table

    root = manifest.path.parent
    with FileLock(root / f".{METRICS}.lock"):
        jobs = _executed(manifest.read(), design)
        rows = [row for job in jobs if job["status"] == "success" for row in job["result"]["rows"]]
        failed = [job for job in jobs if job["status"] == "failed"]
        told = f"comparisons: {len(jobs) - len(failed)} succeeded, {len(failed)} failed; every column: {METRICS}\n"
        reasons = "".join(f"failed: {_label(*(job[name] for name in _KEY))}: {job['error']}\n" for job in failed)
        write_rows(root / METRICS, rows)
        write_text(root / SUMMARY, "\n".join(filter(None, (told, study_table(rows) if rows else "", reasons))))


if __name__ == "__main__":
    sys.exit(main())
