"""Scans as the test data of tike store them: NPZ with `data`, `scan` and `probe`.

| key | shape, type | meaning |
|---|---|---|
| `data` | (1, n, y, x) | photon counts, the direct beam on [0, 0] |
| `scan` | (1, n, 2) | (row, column) of each window's minimum corner [px], of any origin |
| `probe` | (1, 1, 1, modes, y, x) complex | probe of no particular unit, its light in the middle of the array |
| `mask` | (y, x) bool, our addition | True where a pixel is to be trusted, laid out as the frames |

Axes of length 1 are for the angle and for things that a single scan has not, and may be left out. Positions hold no
length; the options `pixel_nm`, or `energy_kev`, `distance_m` and `detector_pixel_um`, give them one. Written: float32
counts and positions, as tike asks for. Lost when written: the photons' unit in the probe, the object and its canvas,
lengths, numbers of frames, notes. Bad pixels are written as 0.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from foldlight.core.errors import DataError
from foldlight.frames import Frames
from foldlight.io.detector import refuse_crop
from foldlight.io.evidence import beam_shares
from foldlight.io.frames import (
    Storage,
    moved_to_canvas,
    numbers,
    photon_frames,
    placed_positions,
    probe_for,
    stated_geometry,
)
from foldlight.io.npz import Blocks, Npz, about, write_npz
from foldlight.io.options import ReadOptions
from foldlight.scan import Scan

__all__ = ["KEYS", "NAME", "matches", "read", "write"]

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
    storage = Storage("intensity", "corner")
    frames, frame_notes = photon_frames("data", data, len(positions), storage, options, _bad(archive))
    window = frames.shape[1:]
    stored, centre_notes = _probe(archive["probe"])
    geometry, geometry_notes = stated_geometry(frames, options)
    probe, probe_notes = probe_for("probe", stored, frames, geometry, options)
    corner_note = "scan: minimum corners of the windows turned to their centre pixels N // 2"
    placed, canvas, canvas_note = moved_to_canvas(positions + np.array(window) // 2, window)
    unused = sorted(set(archive.keys) - {*KEYS, "mask"})
    return Scan(
        frames,
        placed,
        probe,
        canvas,
        mask=frames.mask,
        notes=(
            *([f"keys not used: {', '.join(unused)}"] if unused else []),
            *frame_notes,
            *centre_notes,
            *geometry_notes,
            *probe_notes,
            *position_notes,
            corner_note,
            canvas_note,
        ),
        geometry=geometry,
    )


def _bad(archive: Npz) -> np.ndarray | None:
    if "mask" not in archive:
        return None
    with about("mask"):
        return ~numbers(archive["mask"], 2, "b")


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
    if probe.dtype.kind != "c" or probe.ndim < 2:
        return probe, []  # refused with the probes of other formats
    with np.errstate(all="ignore"):  # absurd numbers are refused later
        centre, corner = beam_shares((np.abs(probe.reshape(-1, *probe.shape[-2:])) ** 2).sum(axis=0))
    if corner > 4 * centre:
        return np.fft.fftshift(probe, axes=(-2, -1)), ["probe: its light was in the corners, moved to the centre"]
    return probe, []


def write(path: Path, scan: Scan) -> tuple[Path]:
    """Write a scan as tike's test data; the same scan gives the same bytes.

    Raises:
        DataError: a folder that can't be written; nothing is left behind.
    """
    corners = scan.positions_px - np.array(scan.window) // 2
    members: dict[str, np.ndarray | Blocks] = {
        "data": Blocks((1, *scan.photons.shape), np.dtype("<f4"), _in_the_corner(scan.photons)),
        "scan": corners[None].astype("<f4"),
        "probe": scan.probe[None, None, None].astype("<c8"),
    }
    if not scan.mask.all():
        members["mask"] = np.fft.ifftshift(scan.mask)
    write_npz(path, members)
    return (path,)


def _in_the_corner(frames: Frames) -> Iterable[np.ndarray]:
    return (np.fft.ifftshift(frames[block], axes=(-2, -1)) for block in frames.blocks())
