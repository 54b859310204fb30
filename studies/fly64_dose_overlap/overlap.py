"""Phase D: thin each half of each scan to a view, and measure how much of it overlaps.

`python -m studies.fly64_dose_overlap.overlap --phase-c-root C --output-root D [--doses ...] [--views ...]`

Nothing is refused for its geometry. Only what cannot be grouped (fewer than C frames) stops a view, as `skipped`.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tyro.conf import arg

from foldlight.core.errors import SettingsError
from foldlight.core.files import write_json
from foldlight.core.seeds import generator
from foldlight.io import read_scan, write_data001
from foldlight.sampling.grouping import neighbour_groups
from foldlight.sampling.overlap import probe_diameters_px
from foldlight.sampling.views import METRICS_VERSION, acceptance, keep_apart, keep_fraction, overlap_metrics
from foldlight.scan import Scan
from foldlight.study.jobs import Input, Job, file_facts, run_job
from foldlight.study.manifest import Manifest
from studies.fly64_dose_overlap import paths
from studies.fly64_dose_overlap.design import CUSTOM, SPLITS, StudyDesign, View, check_neighbours, get_study_design
from studies.fly64_dose_overlap.phase import begin, dose_label, file_lists, finish, outcome_facts, run_phase, say

__all__ = ["MANIFEST", "Thinning", "execute_overlap_job", "generate_overlap_views", "main"]

MANIFEST = "overlap_manifest.json"
_BUNDLE = "metrics_bundle.json"


@dataclass(frozen=True)
class Thinning:
    """How one view is made: of a design's view, or of flags.

    Attributes:
        gridsize: C = gridsize squared frames a group.
        linear_overlap: frames are kept at least (1 - overlap) D apart; None: no spacing is asked for.
        s_img: fraction of frames kept, drawn before any spacing.
        n_groups: groups drawn; None: one a frame.
        probe_diameter_px: D, where the probe's own is not to be used [px].
    """

    gridsize: int
    linear_overlap: float | None = None
    s_img: float = 1.0
    n_groups: int | None = None
    probe_diameter_px: float | None = None


@dataclass(frozen=True)
class _Flags:
    """Thin the train and the test half of every dose to the views of the design."""

    phase_c_root: Path
    """Root that `generation` wrote."""
    output_root: Path
    """Folder for `dose_X/<view>/` and the manifest."""
    doses: tuple[float, ...] = ()
    """Photons per frame; those of the design when not given."""
    views: tuple[str, ...] = ()
    """Views of the design, or `custom`; all of the design when not given."""
    artifact_root: Path | None = None
    """Folder for a second copy of the metrics."""
    s_img: float | None = None
    """View `custom`: fraction of frames kept."""
    n_groups: int | None = None
    """View `custom`: groups drawn; one a frame when not given."""
    gridsize: Annotated[Literal[1, 2] | None, arg(help="View `custom`: 1, or 2 for groups of four.")] = None
    probe_diameter_px: float | None = None
    """D of the probe's disc, instead of its participation diameter."""
    repeat: int = 0
    """Which repeat of the study: 0 has the design's seeds, each further one seeds of its own."""
    design: Path | None = None
    """TOML or YAML file with the design."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the phase and return its exit code."""
    return run_phase(_Flags, _run, "overlap", words)


def _run(flags: _Flags) -> int:
    design = get_study_design(flags.design, flags.repeat)
    wanted = _thinnings(flags, design)
    manifest = Manifest(flags.output_root / MANIFEST, "overlap", ("dose", "view"))
    explicit = {name: getattr(flags, name) for name in ("s_img", "n_groups", "gridsize", "probe_diameter_px")}
    begin(manifest, design, {"doses": flags.doses, "views": list(wanted)}, explicit, flags.repeat)
    statuses, reasons, errors = [], [], []
    for dose in design.dose_list(flags.doses):
        for view, thinning in wanted.items():
            record = _record(design, dose, view, thinning, flags)
            manifest.record(record)
            statuses.append(record["status"])
            reasons += [record["reason"]] if "reason" in record else []
            errors += [record["error"]] if "error" in record else []
            say(f"overlap [{view}/dose={dose_label(dose)}]: {record['status']}: {_told(record)}")
    return finish(manifest, statuses, "overlap", reasons, errors)


def _thinnings(flags: _Flags, design: StudyDesign) -> dict[str, Thinning]:
    """The views asked for, by name.

    Raises:
        SettingsError: a name is unknown, or flags of the view `custom` are given for another one.
    """
    explicit: dict[str, Any] = {"gridsize": flags.gridsize, "s_img": flags.s_img, "n_groups": flags.n_groups}
    given = {name: value for name, value in explicit.items() if value is not None}
    names = flags.views or ((CUSTOM,) if given else tuple(design.views))
    unknown = [name for name in names if name != CUSTOM and name not in design.views]
    if unknown:
        raise SettingsError(f"views: expected {', '.join([*design.views, CUSTOM])}, got {unknown[0]!r}")
    if given and CUSTOM not in names:
        raise SettingsError(f"{', '.join(given)}: expected --views {CUSTOM} with these flags, got {', '.join(names)}")
    if CUSTOM in names and flags.gridsize is None:
        raise SettingsError(f"views: expected --gridsize 1 or 2 with the view {CUSTOM}, got none")
    made = {name: _of_design(design.views[name]) for name in names if name != CUSTOM}
    if CUSTOM in names:
        made[CUSTOM] = Thinning(**given)
    return {name: replace(made[name], probe_diameter_px=flags.probe_diameter_px) for name in names}


def _of_design(view: View) -> Thinning:
    return Thinning(view.gridsize, view.linear_overlap)


def _record(design: StudyDesign, dose: float, view: str, thinning: Thinning, flags: _Flags) -> dict[str, Any]:
    """Make one view in a process of its own and describe what came of it."""
    folder = paths.view_folder(flags.output_root, dose, view)
    copies = None if flags.artifact_root is None else paths.view_folder(flags.artifact_root, dose, view)
    job = Job(
        function=f"{__spec__.name if __spec__ else __name__}:execute_overlap_job",
        arguments={
            "design": design.plain(),
            "dose": dose,
            "view": view,
            "thinning": vars(thinning),
            "phase_c_root": str(flags.phase_c_root),
            "output_root": str(flags.output_root),
            "copies": None if copies is None else str(copies),
        },
        inputs={split: Input(paths.patched(flags.phase_c_root, dose, split), "generation") for split in SPLITS},
        outputs={},
        log_path=folder / "overlap.log",
        time_limit_s=design.time_limit_s,
    )
    for split in SPLITS:  # of an earlier run; a view that is skipped leaves none
        paths.view_data(flags.output_root, dose, view, split).unlink(missing_ok=True)
        paths.view_metrics(flags.output_root, dose, view, split).unlink(missing_ok=True)
    (folder / _BUNDLE).unlink(missing_ok=True)
    result = run_job(job)
    outcome = outcome_facts(result)
    reason = result.returned.get("reason")
    if reason:
        outcome["status"] = "skipped"
    outputs = [
        {"role": path.stem, **file_facts(path)} for path in sorted(folder.glob("*.npz")) + sorted(folder.glob("*.json"))
    ]
    return {
        "dose": dose,
        "view": view,
        **outcome,
        **({"reason": reason} if reason else {}),
        "log_path": job.log_path,
        "metrics": result.returned.get("metrics", {}),
        **file_lists(result),
        "outputs": outputs,
    }


def _told(record: Mapping[str, Any]) -> str:
    """What a line says of a view."""
    if record["status"] != "success":
        return str(record.get("reason") or record.get("error"))
    return "; ".join(_reached(split, record["metrics"][split]) for split in SPLITS)


def _reached(split: str, found: Mapping[str, Any]) -> str:
    overlap = found["linear_overlap_reached"]
    told = "" if overlap is None else f", linear overlap with the nearest {overlap:.2f}"
    return f"{split} {found['n_accepted']} of {found['n_total']} frames{told}"


def execute_overlap_job(
    design: dict[str, Any],
    dose: float,
    view: str,
    thinning: dict[str, Any],
    phase_c_root: str,
    output_root: str,
    copies: str | None,
) -> dict[str, Any]:
    """Make one view of one dose in this process; its metrics, or the reason why it is skipped."""
    scans = {split: read_scan(paths.patched(Path(phase_c_root), dose, split)) for split in SPLITS}
    checked, root = StudyDesign.parse(design, "design"), Path(output_root)
    found = generate_overlap_views(scans, dose, view, Thinning(**thinning), checked, root)
    if "metrics" in found:
        for folder in (paths.view_folder(root, dose, view), *([] if copies is None else [Path(copies)])):
            write_json(folder / _BUNDLE, found["metrics"])
            for split, metrics in found["metrics"].items():
                write_json(folder / f"{split}_metrics.json", metrics)
    return found


def generate_overlap_views(
    scans: Mapping[str, Scan], dose: float, view: str, thinning: Thinning, design: StudyDesign, output_root: Path
) -> dict[str, Any]:
    """Thin both halves of a scan, write them as DATA-001, and measure their overlap.

    Args:
        scans: the halves, by split.
        dose: which dose they have.
        view: name of the view.
        thinning: how it is made.
        design: seeds and neighbour count.
        output_root: root of phase D.

    Returns:
        `metrics` by split, as `specs/overlap_metrics.md` defines them; or `reason`, and nothing is written.

    Raises:
        DataError: the halves have frames of different size.
        SettingsError: a fraction or number out of range, or K < C.
    """
    check_neighbours(design.neighbours, thinning.gridsize, view)
    if len({scan.window for scan in scans.values()}) > 1:
        sizes = {split: scan.window for split, scan in scans.items()}
        raise SettingsError(f"{view}: expected one frame size N in both halves, got {sizes}")
    kept = {split: _kept(scan, split, view, thinning, design) for split, scan in scans.items()}
    least = thinning.gridsize**2
    for split, index in kept.items():
        if len(index) < least:
            return {"reason": f"{split}: expected at least C = {least} frames for groups, got {len(index)}"}
    metrics = {split: _measured(scan, kept[split], split, view, thinning, design) for split, scan in scans.items()}
    for split, scan in scans.items():
        part = scan.select(kept[split])
        part = replace(part, notes=(*part.notes, f"view {view}: {len(part)} of {len(scan)} frames"))
        facts = {"view": view, "split": split, "gridsize": thinning.gridsize}
        write_data001(paths.view_data(output_root, dose, view, split), part, facts)
    return {"metrics": metrics}


def _diameter(scan: Scan, thinning: Thinning) -> float:
    return thinning.probe_diameter_px or probe_diameters_px(scan.probe)["participation"]


def _spacing(scan: Scan, thinning: Thinning) -> float | None:
    overlap = thinning.linear_overlap
    return None if overlap is None else (1 - overlap) * _diameter(scan, thinning)


def _kept(scan: Scan, split: str, view: str, thinning: Thinning, design: StudyDesign) -> np.ndarray:
    """Indexes of the frames a view keeps; the draw depends on seed, view and split, and on no dose."""
    seed = design.seeds.subsampling
    index = np.arange(len(scan))
    if thinning.s_img < 1:
        index = keep_fraction(len(scan), thinning.s_img, generator(seed, "fraction", view, split))
    spacing = _spacing(scan, thinning)
    if spacing is None:
        return index
    return index[keep_apart(scan.positions_px[index], spacing, generator(seed, "spacing", view, split))]


def _measured(
    scan: Scan, kept: np.ndarray, split: str, view: str, thinning: Thinning, design: StudyDesign
) -> dict[str, Any]:
    """Everything `<split>_metrics.json` holds."""
    diameter, positions = _diameter(scan, thinning), scan.positions_px[kept]
    groups = neighbour_groups(
        positions, thinning.gridsize**2, design.neighbours, generator(design.seeds.grouping, "groups", view, split)
    )
    if thinning.n_groups is not None and thinning.n_groups < len(groups):
        rng = generator(design.seeds.grouping, "groups kept", view, split)
        groups = groups[np.sort(rng.permutation(len(groups))[: thinning.n_groups])]
    strategy = "greedy-seeded-spacing" if thinning.linear_overlap is not None else "all"
    if thinning.s_img < 1:
        strategy = "seeded-fraction"
    found = overlap_metrics(positions, diameter, groups if thinning.gridsize > 1 else None, design.neighbours)
    measured = acceptance(scan.positions_px, kept, _spacing(scan, thinning), diameter, strategy)
    return {
        "view": view,
        "split": split,
        "metrics_version": METRICS_VERSION,
        "gridsize": thinning.gridsize,
        "s_img": thinning.s_img,
        "linear_overlap_asked": thinning.linear_overlap,
        "probe_diameter_definition": "given" if thinning.probe_diameter_px else "participation",
        "probe_diameters_px": probe_diameters_px(scan.probe),
        "seeds": design.seeds.plain(),
        "n_kept": len(kept),
        **measured.plain(),
        **found.plain(),
    }


if __name__ == "__main__":
    sys.exit(main())
