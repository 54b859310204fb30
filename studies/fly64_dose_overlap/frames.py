"""Where the frames of a view are, for a phase that is not told: as other phases noted it, or beside phase C."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from foldlight.core.errors import DataError
from foldlight.core.files import read_json
from foldlight.study.jobs import Input
from studies.fly64_dose_overlap import overlap, paths, reconstruction, training
from studies.fly64_dose_overlap.design import BASELINE
from studies.fly64_dose_overlap.selection import ViewFiles

__all__ = ["find_frames", "records"]


def find_frames(c: Path, e: Path, f: Path, d: Path | None, dose: float, view: str, split: str) -> tuple[Input, str]:
    """The frames of a view and how they were found, or where they should be and where they were looked for."""
    if d is None:
        for manifest in (f / reconstruction.MANIFEST, e / training.MANIFEST):
            for path in _named_in(manifest, dose, view, split):
                if path.is_file():
                    return Input(path, "overlap"), f"named in {manifest.name}"
    root, found_by = (d, "--phase-d-root") if d is not None else _beside(c)
    files = ViewFiles.of(c, root, dose, view)
    made_by = files.made_by if d is not None or files.source != "overlap" else f"{found_by}; {files.made_by}"
    return Input(files.data[split], made_by), found_by if files.source == "overlap" else f"{files.source}'s own frames"


def _named_in(manifest: Path, dose: float, view: str, split: str) -> Iterator[Path]:
    """Files that a phase's manifest names for a view and that are called as its frames are."""
    names = {paths.view_data(Path(), dose, view, split).name}
    if view == BASELINE:  # which may be made of phase C's own files
        names.add(paths.patched(Path(), dose, split).name)
    for record in records(manifest, dose, view):
        for given in record.get("inputs", ()):
            path = given.get("path", "") if isinstance(given, Mapping) else ""
            if PurePath(path).name in names:
                yield Path(os.path.normpath(manifest.parent / path))


def records(manifest: Path, dose: float, view: str) -> list[Mapping[str, Any]]:
    """What another phase noted of a view of one dose; nothing when it left no manifest that can be read."""
    with suppress(DataError):
        document = read_json(manifest)
        records = document.get("jobs", ()) if isinstance(document, Mapping) else ()
        folder = paths.dose_folder(Path(), dose)
        return [
            record
            for record in records
            if record.get("view") == view and paths.dose_folder(Path(), record.get("dose", 0)) == folder
        ]
    return []


def _beside(c: Path) -> tuple[Path, str]:
    """Phase D's root beside that of phase C, and how it was told from its neighbours."""
    parent = Path(os.path.normpath(c / ".."))
    usual = parent / "phase_d"
    if usual.is_dir():
        return usual, "phase_d beside phase C"
    found = sorted(manifest.parent for manifest in parent.glob(f"*/{overlap.MANIFEST}"))
    if len(found) == 1:
        return found[0], f"{found[0].name} beside phase C holds {overlap.MANIFEST}"
    if found:
        names = ", ".join(root.name for root in found)
        return usual, f"{names} beside phase C all hold {overlap.MANIFEST}, choose one by --phase-d-root"
    return usual, f"no manifest names it and nothing beside phase C holds {overlap.MANIFEST}"
