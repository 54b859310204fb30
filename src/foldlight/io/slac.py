"""Scans as NPZ as the tools of SLAC write them: the frame number last, positions that are named as starting ones.

| key | shape, type | meaning |
|---|---|---|
| `diffraction` | (y, x, n) | amplitude, the root of the intensity, the direct beam on [N // 2, N // 2] |
| `xcoords_start`, `ycoords_start` | (n,) | column and row of the beam on the sample, in object pixels or metres |
| `probeGuess` | (y, x) or (modes, y, x) complex | probe, of no particular unit |
| `objectGuess` | (M, M') complex | transmission; used where positions in pixels lie on it |
| `photon_energy_eV` or `probe_energy_ev` | one number, optional | energy of the photons |
| `detector_distance_m`, `detector_pixel_size_m` | one number each, optional | lengths behind the pixels |
| `mask` | (y, x) bool, our addition | True where a pixel is to be trusted |

A file that has `xcoords` and `ycoords` too is a dialect of DATA-001, and read as such, with either order of the axes.

What differs between programs, and what is taken:

- *Values.* Their networks train on amplitudes, while ptychodus takes the same key as intensities. Whole numbers are
  counts, roots of whole numbers amplitudes; where the numbers do not tell, amplitudes, and a note says so: the option
  `values`. Written as amplitudes.
- *Unit of positions.* Positions that spread over less than 1 cm as metres, or a hundredth of a pixel, are metres.
- *Axes.* (y, x, n) unless only the first axis has as many entries as there are positions.

Lost when written: what the photons' unit is in the probe, numbers of frames, notes. Bad pixels are written as 0.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from foldlight.core.errors import DataError
from foldlight.frames import Frames
from foldlight.geometry import Geometry, energy_of, wavelength_of
from foldlight.io.detector import refuse_crop
from foldlight.io.foreign import length_of
from foldlight.io.frames import (
    Storage,
    finite,
    finite_complex64,
    geometry_of,
    moved_to_canvas,
    numbers,
    photon_frames,
    placed_positions,
    probe_for,
)
from foldlight.io.npz import Blocks, Npz, about, write_npz
from foldlight.io.options import ReadOptions
from foldlight.scan import Scan

__all__ = ["KEYS", "NAME", "matches", "read", "write"]

NAME = "SLAC NPZ"
KEYS: tuple[str, ...] = ("diffraction", "xcoords_start", "ycoords_start", "probeGuess")

_POSITIONS = ("ycoords_start", "xcoords_start")
_ENERGIES = ("photon_energy_eV", "probe_energy_ev")
_DISTANCE, _PIXEL = "detector_distance_m", "detector_pixel_size_m"
_USED = {*KEYS, "objectGuess", "mask", *_ENERGIES, _DISTANCE, _PIXEL}
_METRES_BELOW = 1e-2


def matches(keys: Iterable[str]) -> bool:
    """Whether an NPZ with these keys is one of theirs, and none of DATA-001."""
    found = set(keys)
    return bool(found & set(_POSITIONS)) and not {"xcoords", "ycoords"} <= found


def read(archive: Npz, options: ReadOptions) -> Scan:
    """A scan from an open file of the SLAC tools.

    Raises:
        DataError: a key is missing, or an array is not what it has to be.
    """
    coordinates, metres = _coordinates(archive)
    if not metres:
        refuse_crop(options)
    stored = archive["diffraction"]
    frames, frame_notes = photon_frames(
        "diffraction", stored, len(coordinates), _storage(stored, len(coordinates), options), options, _bad(archive)
    )
    geometry, notes = _geometry(archive, frames, metres, options)
    positions, place_notes = placed_positions(", ".join(_POSITIONS), coordinates, geometry if metres else None, options)
    guess, object_notes = _object(archive, positions, frames.shape[1:], metres, options)
    canvas_notes = []
    if guess is None:
        positions, canvas, canvas_note = moved_to_canvas(positions, frames.shape[1:])
        canvas_notes = [canvas_note]
    else:
        canvas = (guess.shape[0], guess.shape[1])
    stored_probe = next((archive[key] for key in archive.keys if key == "probeGuess"), None)
    probe, probe_notes = probe_for("probeGuess", stored_probe, frames, geometry, options)
    return Scan(
        frames,
        positions,
        probe,
        canvas,
        object=guess,
        mask=frames.mask,
        notes=(
            *_unused(archive),
            *frame_notes,
            *_value_notes(frames, options),
            *notes,
            f"{', '.join(_POSITIONS)}: {'metres' if metres else 'object pixels'}, as their spread tells",
            *place_notes,
            *object_notes,
            *canvas_notes,
            *probe_notes,
        ),
        geometry=geometry,
    )


def _coordinates(archive: Npz) -> tuple[np.ndarray, bool]:
    """(n, 2) (y, x) as the file has them, and whether they are metres."""
    columns = []
    for key in _POSITIONS:
        with about(key):
            columns.append(finite(numbers(archive[key], 1).astype(np.float64)))
    if len(columns[0]) != len(columns[1]) or not len(columns[0]):
        sizes = {key: len(column) for key, column in zip(_POSITIONS, columns, strict=True)}
        raise DataError(f"{', '.join(_POSITIONS)}: expected as many of the one as of the other, got {sizes}")
    coordinates = np.stack(columns, axis=1)
    reach = float(np.ptp(coordinates, axis=0).max())
    return coordinates, 0 < reach < _METRES_BELOW


def _storage(stored: np.ndarray, n: int, options: ReadOptions) -> Storage:
    """(y, x, n) is theirs, unless it can only be (n, y, x)."""
    turned = stored.ndim == 3 and stored.shape[2] != n and options.axis_order == "auto"
    return Storage("amplitude", "centre", {} if turned else {"axis_order": "yxn"})


def _bad(archive: Npz) -> np.ndarray | None:
    if "mask" not in archive:
        return None
    with about("mask"):
        return ~numbers(archive["mask"], 2, "b")


def _value_notes(frames: Frames, options: ReadOptions) -> list[str]:
    """What to say where nothing but the format told amplitude from intensity."""
    if frames.whole or options.values != "auto" or not frames.amplitude:
        return []
    return ["diffraction: taken as amplitude, which ptychodus takes as intensity; set the option values if it is"]


def _geometry(archive: Npz, frames: Frames, metres: bool, options: ReadOptions) -> tuple[Geometry | None, list[str]]:
    """The lengths behind the pixels; None for positions in pixels of which not all are known."""
    energy = next((_number(archive, key) for key in _ENERGIES if key in archive), None)
    wavelength = None if energy is None or options.energy_kev else wavelength_of(energy)
    distance, pixel = (length_of(key, _number(archive, key)) for key in (_DISTANCE, _PIXEL))
    known = (
        wavelength or options.energy_kev,
        distance or options.distance_m,
        pixel or options.detector_pixel_um,
    )
    if not (metres or options.pixel_nm or all(known)):
        return None, []
    with about("positions" if metres else "object pixel"):
        return geometry_of(frames, options, wavelength, distance, None if pixel is None else (pixel, pixel))


def _number(archive: Npz, key: str) -> float | None:
    """One number; None where it is absent."""
    if key not in archive:
        return None
    stored = archive[key]
    if stored.size != 1 or stored.dtype.kind not in "iuf":
        raise DataError(f"{key}: expected one number, got shape {stored.shape} of {stored.dtype}")
    return float(stored.item())


def _object(
    archive: Npz, positions: np.ndarray, window: tuple[int, int], metres: bool, options: ReadOptions
) -> tuple[np.ndarray | None, list[str]]:
    """The object where it is known which of its pixels the positions name, and notes."""
    if "objectGuess" not in archive or options.ignore_object:
        return None, []
    if metres:
        return None, ["objectGuess: left out, positions in metres do not say where on it they are"]
    with about("objectGuess"):
        guess = finite_complex64(numbers(archive["objectGuess"], 2, "c"))
    low = positions - np.array(window) // 2
    if (low < 0).any() or (low + np.array(window) > np.array(guess.shape)).any():
        return None, [f"objectGuess: left out, not all positions lie on its {guess.shape[0]} x {guess.shape[1]} px"]
    return guess, []


def _unused(archive: Npz) -> list[str]:
    unused = sorted(set(archive.keys) - _USED)
    return [f"keys not used: {', '.join(unused)}"] if unused else []


def write(path: Path, scan: Scan) -> tuple[Path]:
    """Write a scan as the SLAC tools do, positions in pixels; the same scan gives the same bytes.

    All frames are held in memory, since the frame number is the last axis.

    Raises:
        DataError: a folder that can't be written; nothing is left behind.
    """
    n, height, width = scan.photons.shape
    amplitude = np.empty((height, width, n), dtype="<f4")
    for block in scan.photons.blocks():
        amplitude[:, :, block] = np.moveaxis(np.sqrt(scan.photons[block]), 0, -1)
    guess = np.ones(scan.canvas, dtype=np.complex64) if scan.object is None else scan.object
    members: dict[str, np.ndarray | Blocks] = {
        "diffraction": amplitude,
        "xcoords_start": scan.positions_px[:, 1].astype("<f8"),
        "ycoords_start": scan.positions_px[:, 0].astype("<f8"),
        "probeGuess": (scan.probe[0] if len(scan.probe) == 1 else scan.probe).astype("<c8"),
        "objectGuess": guess.astype("<c8"),
    }
    if not scan.mask.all():
        members["mask"] = scan.mask
    write_npz(path, {**members, **_lengths(path, scan.geometry)})
    return (path,)


def _lengths(path: Path, geometry: Geometry | None) -> dict[str, np.ndarray]:
    """Those of the lengths that are known, and that the layout has one number for."""
    if geometry is None:
        return {}
    found = {}
    if geometry.distance_m is not None:
        found[_DISTANCE] = np.array(geometry.distance_m)
    if geometry.wavelength_m is not None:
        with about(str(path)):
            found[_ENERGIES[0]] = np.array(energy_of(geometry.wavelength_m))
    detector = geometry.detector_pixel_m
    if detector is not None and np.isclose(*detector, rtol=1e-6, atol=0):
        found[_PIXEL] = np.array(detector[0])
    return found
