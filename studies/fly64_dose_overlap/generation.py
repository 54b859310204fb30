"""Phase C: one base, one simulated scan a dose, each split into a train and a test half.

`python -m studies.fly64_dose_overlap.generation --output-root ROOT [--base-npz BASE]`
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foldlight.core.errors import DataError
from foldlight.core.provenance import sha256_file
from foldlight.core.seeds import generator
from foldlight.io import read_scan, write_data001
from foldlight.sampling.split import half_split
from foldlight.scan import Scan
from foldlight.study.jobs import Input, Job, run_job
from foldlight.study.manifest import Manifest
from studies.fly64_dose_overlap import paths
from studies.fly64_dose_overlap.design import SPLITS, StudyDesign, get_study_design
from studies.fly64_dose_overlap.phase import begin, dose_label, file_lists, finish, outcome_facts, run_phase, say

__all__ = ["MANIFEST", "execute_generation_job", "generate_dataset_for_dose", "main"]

MANIFEST = "run_manifest.json"
_COUNTING_ERRORS = 5.0  # standard deviations that the counted dose may lie from the one asked for
_HOW_TO_GET_ONE = (
    "make one from a measured scan with `foldlight prepare SCAN --output base.npz`, or leave out --base-npz for the"
    " embedded base"
)


@dataclass(frozen=True)
class _Flags:
    """Simulate the base at every dose and split it in two."""

    output_root: Path
    """Folder for `dose_X/patched_{train,test}.npz` and the manifest."""
    base_npz: Path | None = None
    """DATA-001 file with object, probe and positions; without it the design's embedded base is used."""
    doses: tuple[float, ...] = ()
    """Photons per frame; those of the design when not given."""
    new_positions: int | None = None
    """Draw this many uniform random positions instead of keeping those of the base."""
    repeat: int = 0
    """Which repeat of the study: 0 has the design's seeds, each further one seeds of its own."""
    design: Path | None = None
    """TOML or YAML file with the design."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the phase and return its exit code."""
    return run_phase(_Flags, _run, "generation", words)


def _run(flags: _Flags) -> int:
    design = get_study_design(flags.design, flags.repeat)
    if flags.base_npz is not None and not flags.base_npz.is_file():
        raise DataError(f"{flags.base_npz}: expected a base file, found none; {_HOW_TO_GET_ONE}")
    manifest = Manifest(flags.output_root / MANIFEST, "generation", ("dose",))
    given = {"base_npz": flags.base_npz, "new_positions": flags.new_positions, "repeats_differ_in": _differences(flags)}
    begin(manifest, design, {"doses": flags.doses}, given, flags.repeat)
    statuses, errors = [], []
    for dose in design.dose_list(flags.doses):
        record = _record(design, dose, flags)
        manifest.record(record)
        statuses.append(record["status"])
        errors += [record["error"]] if "error" in record else []
        said = record.get("error") or f"{record['result']['dose_measured']:.6g} photons a frame counted"
        say(f"generation [dose={dose_label(dose)}]: {record['status']}: {said}")
    return finish(manifest, statuses, "generation", errors=errors)


def _differences(flags: _Flags) -> str:
    """What two repeats do not share, in words."""
    own = ["photons", "thinning", "networks", "engine seeds"]
    if flags.base_npz is None:
        return ", ".join(["object", "positions", *own])
    return ", ".join([*([] if flags.new_positions is None else ["positions"]), *own])


def _record(design: StudyDesign, dose: float, flags: _Flags) -> dict[str, Any]:
    """Run one dose in a process of its own and describe what came of it."""
    folder = paths.dose_folder(flags.output_root, dose)
    job = Job(
        function=f"{__spec__.name if __spec__ else __name__}:execute_generation_job",
        arguments={
            "design": design.plain(),
            "dose": dose,
            "output_root": str(flags.output_root),
            "base_npz": None if flags.base_npz is None else str(flags.base_npz),
            "new_positions": flags.new_positions,
        },
        inputs={} if flags.base_npz is None else {"base": Input(flags.base_npz, "foldlight prepare")},
        outputs={split: paths.patched(flags.output_root, dose, split) for split in SPLITS},
        log_path=folder / "generation.log",
        time_limit_s=design.time_limit_s,
    )
    result = run_job(job)
    return {
        "dose": dose,
        **outcome_facts(result),
        "log_path": job.log_path,
        "result": result.returned,
        **file_lists(result),
    }


def execute_generation_job(
    design: dict[str, Any], dose: float, output_root: str, base_npz: str | None, new_positions: int | None
) -> dict[str, Any]:
    """Read or simulate the base, and generate the data of one dose; the facts of its record."""
    checked, root = StudyDesign.parse(design, "design"), Path(output_root)
    source = paths.base_file(root) if base_npz is None else Path(base_npz)
    base = _embedded_base(checked, source) if base_npz is None else read_scan(source)
    say(*base.notes)
    facts = generate_dataset_for_dose(base, dose, checked, root, new_positions)
    return {**facts, "base_path": source.name, "base_sha256": sha256_file(source), "base_notes": list(base.notes)}


def generate_dataset_for_dose(
    base: Scan, dose: float, design: StudyDesign, output_root: Path, new_positions: int | None = None
) -> dict[str, Any]:
    """Simulate a scan of the base's object at one dose and write its two halves as DATA-001.

    The probe is scaled once, on the whole scan, so both halves are lit by the same one.

    Args:
        base: its object is the truth, its probe and positions are used; its frames are not.
        dose: wanted mean photons per frame.
        design: seeds and guard band.
        output_root: root of phase C.
        new_positions: draw this many uniform random positions in the box of the base's own instead of keeping those.

    Returns:
        JSON-ready: dose asked and measured, counting error, frames of each half, N.

    Raises:
        DataError: the base has no object, or the counted dose is not the one asked for.
        SettingsError: a half would be empty.
    """
    from foldlight.simulate.acquire import acquire

    if base.object is None:
        raise DataError(f"base: expected an objectGuess to simulate from, got none; {_HOW_TO_GET_ONE}")
    positions = base.positions_px if new_positions is None else _new_positions(base, new_positions, design)
    scan = acquire(base.object, base.probe, positions, dose, design.seeds.simulation)
    measured = float(scan.photons.totals.mean())
    error = float(np.sqrt(dose / len(scan)))
    if abs(measured - dose) > _COUNTING_ERRORS * error:
        raise DataError(f"dose: expected {dose:g} +- {error:.2g} photons a frame, counted {measured:g}")
    guard = design.guard_windows * base.window[0]
    halves = dict(zip(SPLITS, half_split(scan.positions_px, guard, least=1), strict=True))
    facts = {
        "dose": dose,
        "dose_asked": dose,
        "dose_measured": measured,
        "dose_counting_error": error,
        "window": list(base.window),
        "canvas": list(base.canvas),
        "n_frames": len(scan),
        "guard_px": guard,
    }
    for split, index in halves.items():
        part = scan.select(index)
        part = replace(part, notes=(*part.notes, f"{split} half: {len(part)} of {len(scan)} frames"))
        path = paths.patched(output_root, dose, split)
        write_data001(path, part, {"split": split, "dose_asked": dose, "dose_whole_scan": measured})
        facts |= {f"n_{split}": len(part), f"dose_measured_{split}": float(part.photons.totals.mean())}
        say(f"{split}: {len(part)} frames, {facts[f'dose_measured_{split}']:.6g} photons a frame -> {path}")
    return facts


def _embedded_base(design: StudyDesign, path: Path) -> Scan:
    """The design's own base, left beside the data it makes; every dose writes the same bytes."""
    from foldlight.simulate.acquire import simulate

    scan = simulate(design.base.model_copy(update={"seed": design.seeds.simulation}))
    write_data001(path, scan)
    return scan


def _new_positions(base: Scan, wanted: int, design: StudyDesign) -> np.ndarray:
    from foldlight.simulate.trajectories import uniform_random

    low, high = base.positions_px.min(axis=0), base.positions_px.max(axis=0)
    box = ((float(low[0]), float(low[1])), (float(high[0]), float(high[1])))
    return uniform_random(wanted, box, generator(design.seeds.simulation, "new positions"))


if __name__ == "__main__":
    sys.exit(main())
