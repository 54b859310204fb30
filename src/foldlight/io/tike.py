"""Scans as the test data of tike store them: NPZ with `data`, `scan` and `probe`.

Counts with the zero frequency in the corner; positions (row, column) of each window's minimum corner; a probe of no
particular unit, centred in real space; leading axes of length 1 for the angle and for things a single scan has not.
"""

from collections.abc import Iterable

import numpy as np

from foldlight.core.errors import DataError
from foldlight.io.evidence import beam_shares
from foldlight.io.frames import Storage, finite, moved_to_canvas, numbers, photon_frames, probe_modes, scaled_to_photons
from foldlight.io.npz import Npz, about
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
    positions = _positions(_single("scan", archive["scan"], 2), options)
    data = _single("data", archive["data"], 3)
    frames, frame_notes = photon_frames("data", data, len(positions), Storage("intensity", "corner"), options)
    window = frames.shape[1:]
    probe, probe_notes = _probe(archive["probe"], window)
    probe, scale_note = scaled_to_photons("probe", probe, frames)
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
            *probe_notes,
            scale_note,
            *(["scan: (x, y) swapped, as the option position_order says"] if options.position_order == "xy" else []),
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


def _positions(stored: np.ndarray, options: ReadOptions) -> np.ndarray:
    """(n, 2) float64 (y, x) minimum corners [px]."""
    with about("scan"):
        positions = numbers(stored, 2).astype(np.float64)
        if positions.shape[1] != 2 or not len(positions):
            raise DataError(f"expected (n, 2) positions, got shape {positions.shape}")
        finite(positions)
    return positions[:, ::-1] if options.position_order == "xy" else positions


def _probe(stored: np.ndarray, window: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
    """(mode, y, x) complex64, in the file's unit, with its light in the middle."""
    probe = probe_modes("probe", _single("probe", stored, 3), window)
    centre, corner = beam_shares((np.abs(probe) ** 2).sum(axis=0))
    if corner > 4 * centre:
        return np.fft.fftshift(probe, axes=(-2, -1)), ["probe: its light was in the corners, moved to the centre"]
    return probe, []
