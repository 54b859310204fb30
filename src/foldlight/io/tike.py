"""Scans as the test data of tike store them: NPZ with `data`, `scan` and `probe`.

Counts with the zero frequency in the corner; positions (row, column) of each window's minimum corner; a probe of no
particular unit, centred in real space; leading axes of length 1 for the angle and for things a single scan has not.
"""

from collections.abc import Iterable

import numpy as np

from foldlight.core.errors import DataError
from foldlight.io.evidence import beam_shares
from foldlight.io.frames import Storage, moved_to_canvas, photon_frames, placed_positions, probe_for, refuse_crop
from foldlight.io.npz import Npz
from foldlight.io.options import ReadOptions
from foldlight.scan import Scan

__all__ = ["KEYS", "NAME", "matches", "read"]

NAME = "tike"
KEYS: tuple[str, ...] = ("data", "scan", "probe")


def matches(keys: Iterable[str]) -> bool:
    """Whether an NPZ with these keys is one of tike's, complete or not."""
    return len({*KEYS} & set(keys)) >= 2


def read(archive: Npz, options: ReadOptions) -> Scan:
    """A scan from an open tike file.

    Raises:
        DataError: a key is missing, an array is not what it has to be, or the file holds several angles.
    """
    refuse_crop(options)
    positions, position_notes = placed_positions("scan", _single("scan", archive["scan"], 2), None, options)
    data = _single("data", archive["data"], 3)
    frames, frame_notes = photon_frames("data", data, len(positions), Storage("intensity", "corner"), options)
    window = frames.shape[1:]
    stored, centre_notes = _probe(archive["probe"])
    probe, probe_notes = probe_for("probe", stored, frames, None, options)
    corner_note = "scan: minimum corners of the windows turned to their centre pixels N // 2"
    placed, canvas, canvas_note = moved_to_canvas(positions + np.array(window) // 2, window)
    unused = sorted(set(archive.keys) - {*KEYS})
    return Scan(
        frames,
        placed,
        probe,
        canvas,
        notes=(
            *([f"keys not used: {', '.join(unused)}"] if unused else []),
            *frame_notes,
            *centre_notes,
            *probe_notes,
            *position_notes,
            corner_note,
            canvas_note,
        ),
    )


def _single(key: str, array: np.ndarray, ndim: int) -> np.ndarray:
    """The array without its leading axes of length 1."""
    while array.ndim > ndim and array.shape[0] == 1:
        array = array[0]
    if array.ndim > ndim:
        raise DataError(
            f"{key}: expected a single scan, with leading axes of length 1, got shape {array.shape};"
            " save each angle as a file of its own"
        )
    return array


def _probe(stored: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(mode, y, x), in the file's unit, with its light in the middle."""
    probe = _single("probe", stored, 3)
    centre, corner = beam_shares((np.abs(probe) ** 2).sum(axis=0))
    if corner > 4 * centre:
        return np.fft.fftshift(probe, axes=(-2, -1)), ["probe: its light was in the corners, moved to the centre"]
    return probe, []
