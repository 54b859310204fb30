"""Scans as ptypy prepares them: one HDF5 file, `.ptyd`, with frames in one chunk or many.

| group | dataset | meaning |
|---|---|---|
| `/chunks/<k>` | `data` (n, y, x) | photon counts of the frames of this chunk, the direct beam on [N // 2, N // 2] |
| | `positions` (n, 2) | (y, x) of the beam on the sample [m] |
| | `indices` (n,), optional | number of each frame in the scan |
| | `weights` (n, y, x) or (y, x), optional | 0 where a pixel is bad; bad in some frames is taken as bad in all |
| `/meta` or `/info` | `energy` | of the photons [keV] |
| | `distance`, `psize` | sample to detector, detector pixel as stored (after binning), one or (y, x) [m] |
| | `weight2d` (y, x), optional | 0 where a pixel is bad in all frames |
| | `propagation` | `farfield`; `nearfield` is refused |
| | `center`, `shape`, `orientation`, ... | not used: ptypy crops, centres and turns frames before it writes them |

Chunks are put together in the order of their numbers, and may lie in files that this one links to. Every dataset may
have an attribute `type`; those of the type `None` count as absent. `meta` is asked before `info`.

There is no probe: `probe_from` names one, or it is guessed. Written: one chunk, weights deflated, `meta` and `info` the
same. Lost when written: the probe, the object and its canvas, notes. Source: ptypy's documentation of its data format.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foldlight.core.errors import DataError
from foldlight.frames import LazyFrames, Stored
from foldlight.geometry import energy_of, wavelength_of
from foldlight.io.foreign import centred_metres, length_of, put_frames, with_geometry, writing_hdf5
from foldlight.io.frames import Storage, geometry_of, photon_frames
from foldlight.io.hdf5 import Hdf5
from foldlight.io.metric import metric_scan
from foldlight.io.npz import about
from foldlight.io.options import ReadOptions
from foldlight.scan import Scan

if TYPE_CHECKING:
    import h5py

__all__ = ["NAME", "SIGNS", "matches", "read", "write"]

NAME = "ptypy"
SIGNS = "chunks and meta or info"

_FACTS = ("meta", "info")
_BLOCK_PIXELS = 2**22
_DEFLATE = 4
_LARGEST = 2**53  # whole number that float64 tells from its neighbours


def matches(file: Hdf5) -> bool:
    """Whether an HDF5 file is meant as one of ptypy's, complete or not."""
    return "chunks" in file and any(group in file for group in _FACTS)


def read(file: Hdf5, options: ReadOptions) -> Scan:
    """A scan from an open `.ptyd` file; frames are read when they are asked for.

    Raises:
        DataError: something is missing, is not what the layout says, or is not a far-field scan.
    """
    propagation = _word(file, "propagation")
    if propagation not in {None, "farfield"}:
        raise DataError(f"propagation: expected farfield, got {propagation}; such frames need another program")
    chunks = _chunks(file)
    stored = _joined([file.frames(f"{chunk}/data") for chunk in chunks])
    positions = np.concatenate([_positions(file, f"{chunk}/positions") for chunk in chunks])
    bad, weight_notes = _bad(file, chunks, (stored.shape[1], stored.shape[2]))
    frames, frame_notes = photon_frames(
        "data", stored, len(positions), Storage("intensity", "centre", {"axis_order": "nyx"}), options, bad
    )
    with about("energy, distance, psize"):
        geometry, notes = geometry_of(
            frames,
            options,
            _wavelength(file, options),
            length_of("distance", _fact(file, "distance")),
            _detector_pixel(file),
        )
    index, index_notes = _frame_index(file, chunks, len(positions))
    found = (*weight_notes, *frame_notes, *_orientation_notes(file), *notes, *index_notes)
    return metric_scan(frames, geometry, "positions", positions, options, found, frame_index=index)


def _chunks(file: Hdf5) -> list[str]:
    """Names of the groups of chunks, in the order of their numbers."""
    names = file.members("chunks")
    if not names:
        raise DataError("chunks: expected frames in chunks/0, found none; save the data, not only links to them")
    if strange := [name for name in names if not name.isdecimal()]:
        raise DataError(f"chunks: expected numbers as names, got {strange[0][:40]!r}")
    return [f"chunks/{name}" for name in sorted(names, key=int)]


def _present(file: Hdf5, name: str) -> bool:
    """Whether there is such a dataset, and not one that stands for nothing."""
    if name not in file:
        return False
    kind = file.attribute("type", of=name)
    word = kind.decode(errors="replace") if isinstance(kind, bytes) else kind
    return not (isinstance(word, str) and word.lower() == "none")


def _found(file: Hdf5, name: str) -> str | None:
    """The path of a fact in `meta` or `info`."""
    return next((path for path in (f"{group}/{name}" for group in _FACTS) if _present(file, path)), None)


def _word(file: Hdf5, name: str) -> str | None:
    path = _found(file, name)
    return None if path is None else file.text(path)


def _fact(file: Hdf5, name: str) -> float | None:
    path = _found(file, name)
    return None if path is None else file.number(path)


def _wavelength(file: Hdf5, options: ReadOptions) -> float | None:
    """[m], where the file has an energy that the user does not correct."""
    energy = None if options.energy_kev else _fact(file, "energy")
    return None if energy is None else wavelength_of(energy * 1e3)


def _detector_pixel(file: Hdf5) -> tuple[float, float] | None:
    """(y, x) [m] from one number or two."""
    path = _found(file, "psize")
    if path is None:
        return None
    sizes = file.array(path).ravel()
    if sizes.size not in {1, 2} or sizes.dtype.kind not in "iuf":
        raise DataError(f"{path}: expected one size of a pixel or (y, x), got {sizes.size} of {sizes.dtype}")
    height, width = np.broadcast_to(sizes, 2).tolist()
    return float(height), float(width)


def _positions(file: Hdf5, name: str) -> np.ndarray:
    if not _present(file, name):
        raise DataError(f"{name}: expected (n, 2) positions, found none; prepare the data with positions")
    positions = file.array(name)
    if positions.ndim != 2 or positions.shape[1] != 2 or positions.dtype.kind not in "iuf":
        raise DataError(f"{name}: expected (n, 2) positions, got shape {positions.shape} of {positions.dtype}")
    return positions


def _joined(parts: Sequence[Stored]) -> Stored:
    """The frames of all chunks, one behind the other, each still in its place."""
    if len(parts) == 1:
        return parts[0]
    windows = {tuple(part.shape[1:]) for part in parts}
    if len(windows) > 1:
        raise DataError(f"chunks: expected frames of one size, got {', '.join(map(str, sorted(windows)))}")
    dtype = np.result_type(*(part.dtype for part in parts))
    ends = np.cumsum([len(part) for part in parts])
    height, width = parts[0].shape[1:]

    def make(numbers: np.ndarray) -> np.ndarray:
        frames = np.empty((len(numbers), height, width), dtype)
        owner = np.searchsorted(ends, numbers, side="right")
        for place in np.unique(owner):
            here = np.flatnonzero(owner == place)
            frames[here] = parts[place][numbers[here] - (ends[place] - len(parts[place]))]
        return frames

    return LazyFrames(make, np.arange(ends[-1]), (height, width), dtype)


def _bad(file: Hdf5, chunks: Sequence[str], window: tuple[int, int]) -> tuple[np.ndarray | None, list[str]]:
    """(y, x) True where a weight is 0 in any frame, None where there are no weights; and notes."""
    names = [name for name in (*(f"{chunk}/weights" for chunk in chunks), "meta/weight2d") if _present(file, name)]
    found = [both for name in names if (both := _zero_weights(file, name, window)) is not None]
    if not found:
        return None, []
    anywhere = np.any([some for some, _ in found], axis=0)
    if anywhere.all():
        raise DataError("weights: expected some pixels to trust, got none")
    sometimes = int((anywhere & ~np.all([always for _, always in found], axis=0)).sum())
    notes = [f"weights: {sometimes} pixels are bad in some frames, taken as bad in all"] if sometimes else []
    return anywhere, notes


def _zero_weights(file: Hdf5, name: str, window: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """(y, x) True where the weights are 0 in any, and in every frame; None for no weights at all."""
    dataset = file.dataset(name)
    if dataset.size <= 1:
        return None
    if dataset.ndim not in {2, 3} or tuple(dataset.shape[-2:]) != window or dataset.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: expected {window} or (n, {window[0]}, {window[1]}) as the frames, got {dataset.shape}"
        )
    if dataset.ndim == 2:
        zero = ~(file.array(name) > 0)
        return zero, zero
    some, always = np.zeros(window, dtype=bool), np.ones(window, dtype=bool)
    step = max(1, _BLOCK_PIXELS // (window[0] * window[1]))
    file.affordable_frame(dataset)
    file.plausible(dataset.size * dataset.dtype.itemsize)
    for start in range(0, len(dataset), step):
        with about(name):
            zero = ~(_rows(dataset, start, start + step) > 0)
        some |= zero.any(axis=0)
        always &= zero.all(axis=0)
    return some, always


def _rows(dataset: "h5py.Dataset", first: int, last: int) -> np.ndarray:
    try:
        return np.asarray(dataset[first:last])
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"expected whole data, could not read them: {error}; copy the file again") from None


def _frame_index(file: Hdf5, chunks: Sequence[str], n: int) -> tuple[np.ndarray, list[str]]:
    """(n,) int64 numbers of the frames in the scan, and notes; counted where the file does not say."""
    counted = np.arange(n, dtype=np.int64)
    names = [f"{chunk}/indices" for chunk in chunks]
    if not all(_present(file, name) for name in names):
        return counted, []
    if any(file.members(name) for name in names):  # a list that ptypy stored item by item
        return counted, ["indices: not used, they are a list and no array; frames are counted as they come"]
    numbers = np.concatenate([file.array(name).ravel() for name in names])
    if numbers.dtype.kind == "f" and np.array_equal(numbers, np.rint(numbers)) and np.abs(numbers).max() < _LARGEST:
        numbers = numbers.astype(np.int64)
    if numbers.dtype.kind not in "iu" or numbers.shape != (n,):
        raise DataError(f"indices: expected {n} whole numbers, got {numbers.size} of {numbers.dtype}; correct them")
    return numbers.astype(np.int64), []


def _orientation_notes(file: Hdf5) -> list[str]:
    """The orientation that frames had before they were written."""
    path = _found(file, "orientation")
    if path is None or file.members(path):
        return []
    dataset = file.dataset(path)
    if dataset.dtype.kind not in "biuf" or not 1 <= dataset.size <= 3 or not np.any(file.array(path)):
        return []
    stated = ", ".join(f"{value:g}" for value in np.atleast_1d(file.array(path).astype(float)).ravel())
    return [f"orientation {stated}: taken as done, as ptypy turns frames before it writes them; else set orientation"]


def write(path: Path, scan: Scan) -> tuple[Path]:
    """Write a scan for ptypy; the same scan gives the same bytes.

    Raises:
        DataError: a geometry that lacks something, or light that is none ptypy has an energy for; no room, a folder
            that can't be written; nothing is left behind.
    """
    geometry = with_geometry(path, scan, ("wavelength_m", "distance_m", "detector_pixel_m"))
    n, height, width = scan.photons.shape
    with about(str(path)):
        energy = energy_of(geometry.wavelength_m or 0.0)
    facts: dict[str, tuple[str, Any]] = {
        "version": ("string", np.bytes_("0.1")),
        "label": ("string", np.bytes_(path.stem.encode())),
        "propagation": ("string", np.bytes_("farfield")),
        "num_frames": ("scalar", np.int64(n)),
        "shape": ("array", np.array([height, width])),
        "center": ("array", np.array([height // 2, width // 2], dtype=np.float64)),
        "psize": ("array", np.array(geometry.detector_pixel_m)),
        "energy": ("scalar", np.float64(energy / 1e3)),
        "distance": ("scalar", np.float64(geometry.distance_m)),
    }
    with writing_hdf5(path, 4 * scan.positions_px.nbytes + scan.mask.size * (n // 64 + 8)) as file:
        put_frames(file, "chunks/0/data", scan.photons)
        _put(file, "chunks/0/positions", "array", centred_metres(scan, geometry))
        _put(file, "chunks/0/indices", "array", scan.frame_index)
        _put_weights(file, scan)
        for group in _FACTS:
            for name, (kind, value) in facts.items():
                _put(file, f"{group}/{name}", kind, value)
        for group in ("chunks", "chunks/0", *_FACTS):
            file[group].attrs["type"] = np.bytes_("dict")
        file["chunks/0/data"].attrs["type"] = np.bytes_("array")
    return (path,)


def _put(file: "h5py.File", name: str, kind: str, value: Any) -> None:
    file[name] = value
    file[name].attrs["type"] = np.bytes_(kind)


def _put_weights(file: "h5py.File", scan: Scan) -> None:
    """1 where a pixel is to be trusted, for each frame; deflated, they take no room."""
    n, height, width = scan.photons.shape
    step = min(n, max(1, _BLOCK_PIXELS // (height * width)))
    weights = file.create_dataset(
        "chunks/0/weights", scan.photons.shape, "u1", chunks=(step, height, width), compression=_DEFLATE
    )
    weights.attrs["type"] = np.bytes_("array")
    for start in range(0, n, step):
        count = min(step, n - start)
        weights[start : start + count] = np.broadcast_to(scan.mask, (count, height, width))
