"""The doctor: its verb, and the quick look that other verbs take at a scan before they start."""

import json as text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional

from foldlight.cli.common import Flat, say
from foldlight.core.errors import DataError
from foldlight.io.options import ReadOptions

if TYPE_CHECKING:
    from foldlight.doctor import Diagnosis
    from foldlight.scan import Scan

__all__ = ["doctor", "look_over"]


def doctor(
    scan: Positional[Path],
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    engine: Literal["network", "hybrid", "ml", "lsqml", "rpie", "dm", "constant", "train"] | None = None,
    quick: bool = False,
    forecast: bool = True,
    json: bool = False,
) -> None:
    """Tell what is wrong or odd with a scan, how sure that is, and what to do about it.

    Exit code 0 is go, 3 caution, 4 stop; specs/doctor.md lists the findings.

    Args:
        scan: file to look at.
        options: what the file does not say.
        engine: the one you mean to use; memory and time are told for the usual ones when not given.
        quick: the look that `train` and `reconstruct` take before they start: some frames, a second, no forecast.
        forecast: try the engines on pieces of the scan, some seconds in all.
        json: print one JSON object in place of lines.
    """
    from foldlight.doctor import diagnose, refused
    from foldlight.io import read_scan

    try:
        found = read_scan(scan, options)
    except DataError as error:
        _tell(refused(error), scan, (), json)
    else:
        _tell(diagnose(found, quick, engine, timed=forecast and not quick), scan, found.notes, json)


def _tell(diagnosis: "Diagnosis", path: Path, notes: tuple[str, ...], json: bool) -> None:
    """Print a diagnosis and leave with its exit code."""
    if json:
        facts: dict[str, Any] = {"file": path.name, "notes": list(notes), **diagnosis.plain()}
        say(text.dumps(facts, indent=2, allow_nan=False))
    else:
        say(*notes, *diagnosis.lines())
    if diagnosis.exit_code:
        sys.exit(diagnosis.exit_code)


def look_over(scan: "Scan", refuse: bool = True) -> None:
    """A quick diagnosis before a long step: cautions on standard error, nothing when all is well.

    Args:
        scan: what is about to be worked on.
        refuse: do not go on where no image could be right.

    Raises:
        DataError: there is a reason to stop, and `refuse`.
    """
    from foldlight.doctor import diagnose

    grave = diagnose(scan, quick=True).grave
    sys.stderr.write("".join(f"doctor: {each.line}\n" for each in grave))
    if refuse and (stops := [each for each in grave if each.level == "stop"]):
        raise DataError(f"{stops[0].code}: {stops[0].what}; {stops[0].do}, or go on all the same with --no-doctor")
