"""DATA-001, the NPZ contract for scans; `specs/data_contracts.md` states it.

`diffraction` (n, H, W) float32 amplitude, `xcoords` and `ycoords` (n,) [px], `probeGuess`, `objectGuess`, `mask`,
`scan_index`, `_metadata`.
"""

import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foldlight.core.errors import DataError
from foldlight.frames import Frames, turn
from foldlight.geometry import Geometry
from foldlight.io.detector import refuse_crop
from foldlight.io.frames import (
    Storage,
    finite,
    finite_complex64,
    moved_to_canvas,
    numbers,
    photon_frames,
    probe_for,
    stated_geometry,
)
from foldlight.io.npz import Blocks, Npz, about, write_npz
from foldlight.io.options import ReadOptions
from foldlight.io.probes import PHOTONS
from foldlight.scan import Scan

__all__ = ["KEYS", "NAME", "matches", "read", "write", "write_data001"]

NAME = "DATA-001"
KEYS: tuple[str, ...] = ("diffraction", "xcoords", "ycoords", "probeGuess")
_FRAMES = ("diffraction", "diff3d")
_USED = {*_FRAMES, *KEYS, "objectGuess", "mask", "scan_index", "_metadata"}
_BLOCK_BYTES = 1 << 26


def matches(keys: Iterable[str]) -> bool:
    """Whether an NPZ with these keys is meant as DATA-001, complete or not."""
    return len({*_FRAMES, *KEYS} & set(keys)) >= 2


def read(archive: Npz, options: ReadOptions) -> Scan:
    """A scan from an open DATA-001 file.

    Raises:
        DataError: a key is missing, or an array is not what the contract or a Scan asks for.
    """
    refuse_crop(options)
    facts = _facts(archive)
    key = next((key for key in _FRAMES if key in archive), "diffraction")
    positions, notes = _positions(archive, options)
    frames, frame_notes = photon_frames(key, archive[key], len(positions), _storage(facts), options)
    _square(key, frames)
    stated, geometry_notes = stated_geometry(frames, options)
    geometry = stated or (Geometry.parse(facts["geometry"]) if "geometry" in facts else None)
    in_photons = facts.get("probe_unit") == PHOTONS
    probe, probe_notes = probe_for("probeGuess", archive["probeGuess"], frames, geometry, options, in_photons)
    guess = _object(archive, options)
    positions, canvas, canvas_notes = _place(positions, frames.shape[1:], guess, facts)
    scan = Scan(
        frames,
        positions,
        probe,
        canvas,
        object=guess,
        object_is_truth=guess is not None and facts.get("object_is_truth") is True,
        mask=_mask(archive, frames),
        notes=(*_key_notes(archive, key), *notes, *frame_notes, *geometry_notes, *probe_notes, *canvas_notes),
        origin={**_traits(facts), **({"metadata": facts} if facts else {})},
        frame_index=_frame_index(archive, len(frames)),
        geometry=geometry,
    )
    return scan.turned(negated=options.translation_sign == "sample")


def _facts(archive: Npz) -> dict[str, Any]:
    """`_metadata` as a dictionary; empty where there is none."""
    if "_metadata" not in archive:
        return {}
    array = archive["_metadata"]
    if array.dtype.kind != "U" or array.size != 1:
        raise DataError(f"_metadata: expected one JSON string, got shape {array.shape} of {array.dtype}")
    try:
        facts = json.loads(array.item(), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise DataError(f"_metadata: expected JSON: {error}") from None
    if not isinstance(facts, dict):
        raise DataError(f"_metadata: expected a JSON object, got {type(facts).__name__}")
    return facts


def _storage(facts: Mapping[str, Any]) -> Storage:
    """What this file declares about its frames."""
    scale = facts.get("amplitude_scale")
    if scale is not None and not (isinstance(scale, int | float) and scale > 0):
        raise DataError(f"_metadata: expected amplitude_scale > 0, got {scale!r}")
    words = {"zero_frequency": ("centre", "corner"), "axis_order": ("nyx", "yxn")}
    declared = {name: facts[name] for name, known in words.items() if facts.get(name) in known}
    if scale is not None:
        declared["values"] = "amplitude"
    return Storage("amplitude", "centre", declared, None if scale is None else float(scale))


def _positions(archive: Npz, options: ReadOptions) -> tuple[np.ndarray, list[str]]:
    """(n, 2) float64 (y, x) as the file has them."""
    keys = ["ycoords", "xcoords"]
    notes = []
    if options.position_order == "xy":
        keys.reverse()
        notes = ["positions: xcoords taken as rows and ycoords as columns, as the option position_order says"]
    columns = [_coordinates(archive, key) for key in keys]
    if len(columns[0]) != len(columns[1]):
        sizes = {key: len(column) for key, column in zip(keys, columns, strict=True)}
        raise DataError(f"xcoords, ycoords: expected as many of the one as of the other, got {sizes}")
    return np.stack(columns, axis=1), notes


def _coordinates(archive: Npz, key: str) -> np.ndarray:
    with about(key):
        return finite(numbers(archive[key], 1).astype(np.float64))


def _square(key: str, frames: Frames) -> None:
    _, height, width = frames.shape
    if height != width or height % 2:
        raise DataError(f"{key}: expected square frames of even size, got {height} x {width}; crop or pad the frames")


def _object(archive: Npz, options: ReadOptions) -> np.ndarray | None:
    if options.ignore_object or "objectGuess" not in archive:
        return None
    with about("objectGuess"):
        return finite_complex64(numbers(archive["objectGuess"], 2, "c"))


def _place(
    positions: np.ndarray, window: tuple[int, int], guess: np.ndarray | None, facts: Mapping[str, Any]
) -> tuple[np.ndarray, tuple[int, int], list[str]]:
    """Positions on the object's canvas, on the one the file declares, or on a new one."""
    if guess is not None:
        _fits(positions, window, guess.shape)
        return positions, (guess.shape[0], guess.shape[1]), []
    declared = facts.get("canvas")
    if isinstance(declared, list) and len(declared) == 2 and all(isinstance(size, int) for size in declared):
        return positions, (declared[0], declared[1]), []
    moved, canvas, note = moved_to_canvas(positions, window)
    return moved, canvas, [note]


def _fits(positions: np.ndarray, window: tuple[int, int], canvas: tuple[int, ...]) -> None:
    """Refuse positions outside their object, with the likeliest cause."""
    size = np.array(window)

    def outside(points: np.ndarray) -> int:
        corner = points - size // 2
        return int(((corner < 0) | (corner + size > np.array(canvas))).any(axis=1).sum())

    if count := outside(positions):
        swap = "set position_order to xy: swapped they fit" if not outside(positions[:, ::-1]) else ""
        low, high = positions.min(axis=0), positions.max(axis=0)
        raise DataError(
            f"xcoords, ycoords: expected every {window[0]} x {window[1]} window inside objectGuess {tuple(canvas)}, got"
            f" {count} outside (y {low[0]:g} to {high[0]:g}, x {low[1]:g} to {high[1]:g} px);"
            f" {swap or 'correct their unit or origin, or set ignore_object'}"
        )


def _mask(archive: Npz, frames: Frames) -> np.ndarray:
    """(y, x) bool, True where valid, laid out as the frames are stored; a DATA-001 without it trusts all pixels."""
    if "mask" not in archive:
        return frames.mask
    with about("mask"):
        mask = np.array(numbers(archive["mask"], 2, "b"), subok=False)
        if mask.shape != frames.shape[1:]:
            raise DataError(f"expected shape {frames.shape[1:]} as the frames, got {mask.shape}")
    upright = turn(np.fft.fftshift(mask) if frames.corner else mask, frames.orientation)
    return np.asarray(upright & frames.mask)


def _frame_index(archive: Npz, n: int) -> np.ndarray:
    """(n,) int64 number of each frame in the scan it was first read from; a DATA-001 without it counts from 0."""
    if "scan_index" not in archive:
        return np.arange(n, dtype=np.int64)
    stored = archive["scan_index"]
    if stored.shape != (n,) or stored.dtype.kind not in "iu":
        raise DataError(
            f"scan_index: expected {n} whole numbers, one a frame, got shape {stored.shape} of {stored.dtype};"
            " correct it or leave it out"
        )
    return np.array(stored, dtype=np.int64, subok=False)


def _key_notes(archive: Npz, key: str) -> list[str]:
    """What was read under another name, or not at all."""
    notes = [f"{key}: read in place of diffraction"] if key != "diffraction" else []
    if ignored := sorted(
        set(archive.keys) - _USED | ({"diff3d"} & set(archive.keys) if key == "diffraction" else set())
    ):
        notes.append(f"keys not used: {', '.join(ignored)}")
    return notes


def _traits(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that stay true of the scan however often it is written: doses and seeds."""
    return {name: value for name, value in facts.items() if name.startswith(("dose", "seed"))}


def write(path: Path, scan: Scan) -> tuple[Path, ...]:
    """`write_data001`, as every format is written."""
    write_data001(path, scan)
    return (path,)


def write_data001(path: Path, scan: Scan, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a scan as DATA-001, uncompressed, so that reading maps it; the same scan gives the same bytes.

    Amplitudes are float32: whole photon numbers up to 2^22, about 4e6, come back exactly.

    Args:
        path: the file.
        scan: square frames.
        metadata: more JSON-ready facts for `_metadata`, for instance the time or the command line.

    Raises:
        DataError: frames that are not square, metadata that is not JSON or claims a name of the contract, a folder
            that can't be written; nothing is left behind.
    """
    with about(str(path)):
        _square("diffraction", scan.photons)
        text = _metadata(scan, metadata or {})
    members: dict[str, np.ndarray | Blocks] = {
        "diffraction": Blocks(scan.photons.shape, np.dtype("<f4"), _amplitudes(scan.photons)),
        "xcoords": scan.positions_px[:, 1].astype("<f8"),
        "ycoords": scan.positions_px[:, 0].astype("<f8"),
        "probeGuess": (scan.probe[0] if len(scan.probe) == 1 else scan.probe).astype("<c8"),
    }
    if scan.object is not None:
        members["objectGuess"] = scan.object.astype("<c8")
    if not scan.mask.all():
        members["mask"] = scan.mask
    if not np.array_equal(scan.frame_index, np.arange(len(scan))):
        members["scan_index"] = scan.frame_index.astype("<i8")
    write_npz(path, {**members, "_metadata": np.array(text)})


def _amplitudes(frames: Frames) -> Iterable[np.ndarray]:
    _, height, width = frames.shape
    step = max(1, _BLOCK_BYTES // (4 * height * width))
    for start in range(0, len(frames), step):
        yield np.sqrt(frames[start : start + step])


def _metadata(scan: Scan, extra: Mapping[str, Any]) -> str:
    """The JSON text of `_metadata`; no clock is read."""
    contract = {
        "format": NAME,
        "created_by": f"foldlight {importlib.metadata.version('foldlight')}",
        "amplitude_scale": 1.0,
        "zero_frequency": "centre",
        "axis_order": "nyx",
        "probe_unit": PHOTONS,
        "object_is_truth": scan.object_is_truth,
        "canvas": list(scan.canvas),
        **({} if scan.geometry is None else {"geometry": scan.geometry.plain()}),
        "dose_measured": float(scan.photons.totals.mean()),
        "transformations": list(scan.notes),
        "source": scan.origin,
    }
    if taken := sorted(contract.keys() & extra.keys()):
        raise DataError(f"_metadata: expected other names than the contract's own, got {', '.join(taken)}; rename them")
    try:
        return json.dumps({**_traits(scan.origin), **extra, **contract}, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise DataError(f"_metadata: expected JSON-ready values in scan.origin and metadata: {error}") from None
