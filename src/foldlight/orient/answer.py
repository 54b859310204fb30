"""From a reading back to the options that read a file so."""

from pathlib import Path
from typing import Literal

import numpy as np

from foldlight.frames import composed
from foldlight.io import read_scan
from foldlight.io.options import ReadOptions
from foldlight.orient.symmetry import Reading
from foldlight.scan import Scan

__all__ = ["flags", "read_options"]


def read_options(path: Path, options: ReadOptions, scan: Scan, reading: Reading) -> ReadOptions:
    """Options that read a file as `reading.of(scan)`, where these read it as `scan`.

    What `auto` means for the sign of the positions is up to the format, so a file whose positions are to be negated is
    opened once more, to see.

    Raises:
        DataError: the file is not what it was.
    """
    changed: dict[str, str] = {"orientation": composed(options.orientation, reading.orientation)}
    if reading.swapped:
        changed["position_order"] = "yx" if options.position_order == "xy" else "xy"
    if reading.negated:
        changed["translation_sign"] = "sample" if _whose(path, options, scan) == "beam" else "beam"
    return ReadOptions.parse({**options.model_dump(), **changed})


def _whose(path: Path, options: ReadOptions, scan: Scan) -> Literal["beam", "sample"]:
    """Whose motion the positions in the file were taken for."""
    if options.translation_sign != "auto":
        return options.translation_sign
    beam = read_scan(path, options.model_copy(update={"translation_sign": "beam"})).positions_px
    same, opposite = (
        np.abs((beam - beam[0]) - sign * (scan.positions_px - scan.positions_px[0])).sum() for sign in (1, -1)
    )
    return "beam" if same <= opposite else "sample"


def flags(options: ReadOptions) -> str:
    """The three options on a command line, where they are not the defaults; `nothing to change` where none is."""
    plain = ReadOptions()
    words = [
        f"--{name.replace('_', '-')} {getattr(options, name)}"
        for name in ("orientation", "translation_sign", "position_order")
        if getattr(options, name) != getattr(plain, name)
    ]
    return " ".join(words)
