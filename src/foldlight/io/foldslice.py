"""Scans as fold_slice takes them: a pair of HDF5 files, `<name>_dp` with the frames and `<name>_para` with the rest.

| file | dataset | meaning |
|---|---|---|
| `_dp` | `/dp` (n, y, x) | photon counts, the direct beam on [N // 2, N // 2] |
| `_para` | `/ppX`, `/ppY` (n,) | horizontal and vertical position [m]; also (n, 1) or (1, n), as MATLAB has vectors |
| `_para` | `/lambda`, optional | wavelength [m] |
| `_para` | `/dx`, optional | size of an object pixel [m], the same along both axes |
| `_dp` | `/mask` (y, x), our addition | 1 where a pixel is to be trusted; other programs do not look at it |

Neither file names the other: the companion has the same name but for the suffix, or is named by the option `companion`.
One file may hold it all.

What differs between programs:

- *Axes.* HDF5 counts a MATLAB array's axes backwards, so frames that MATLAB wrote as (y, x, n) are seen here as
  (n, x, y). A file that MATLAB saved as a whole says so (the attribute `MATLAB_class`), and its frames are transposed.
  Frames written by `h5write` say nothing: they are taken as (n, y, x), which the programs of beamlines write, and where
  the positions look like a MATLAB vector a note tells to try `orientation transpose`.
- *Sign.* Programs that make such pairs write the beam's motion over the sample, and others that read them take it so;
  scripts of fold_slice negate both axes on reading, in an orientation of their own. Taken as the beam's motion:
  `translation_sign` is for the others, and `foldlight orient` asks the photons.

There is no probe: `probe_from` names one, or it is guessed. Lost when written: the probe, the object and its canvas,
numbers of frames, distance and detector pixel, notes. Bad pixels are written as 0 and in `/mask`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from foldlight.core.errors import DataError
from foldlight.frames import Frames, composed
from foldlight.io.foreign import alike, centred_metres, mask_of, put_frames, with_geometry, writing_hdf5
from foldlight.io.frames import Storage, geometry_of, photon_frames
from foldlight.io.hdf5 import Hdf5, is_hdf5, open_hdf5
from foldlight.io.metric import metric_scan
from foldlight.io.npz import about
from foldlight.io.options import ReadOptions
from foldlight.scan import Scan

__all__ = ["NAME", "SIGNS", "files", "matches", "read", "write"]

NAME = "fold_slice"
SIGNS = "dp, or ppX and ppY"

_FRAMES, _PARAMETERS = "_dp", "_para"
_USED = {"dp", "mask", "ppX", "ppY", "lambda", "dx"}
_WAVELENGTHS_M = (1e-13, 1e-4)  # from fast electrons to the far infrared

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Parameters:
    """What the second file holds."""

    positions_m: np.ndarray
    wavelength_m: float | None
    pixel_m: float | None
    vectors: bool
    matlab: bool


def matches(file: Hdf5) -> bool:
    """Whether an HDF5 file is meant as one of such a pair, or as both."""
    return "dp" in file or {"ppX", "ppY"} <= set(file.keys)


def read(file: Hdf5, options: ReadOptions) -> Scan:
    """A scan from either file of a pair, opened; the other one is found.

    Raises:
        DataError: no companion, something is missing, or is not what the layout says.
    """
    if "dp" not in file:
        parameters = _parameters(file, options)
        return _elsewhere(file.path, _FRAMES, options, lambda other: _scan(other, parameters, options))
    if "ppX" in file and "ppY" in file:
        return _scan(file, _parameters(file, options), options)
    parameters = _elsewhere(file.path, _PARAMETERS, options, lambda other: _parameters(other, options))
    return _scan(file, parameters, options)


def _elsewhere(path: Path, suffix: str, options: ReadOptions, take: Callable[[Hdf5], _T]) -> _T:
    """What is taken from the companion of a file, which has this suffix."""
    other = options.companion or _companion(path, suffix)
    if not is_hdf5(other):
        raise DataError(
            f"expected the other HDF5 file of the pair, {other.name}, found none there; name it with the option"
            " companion"
        )
    with open_hdf5(other, options.limit_bytes) as opened:
        return take(opened)


def _companion(path: Path, suffix: str) -> Path:
    """Where the file with this suffix ought to lie."""
    mine = _PARAMETERS if suffix == _FRAMES else _FRAMES
    return path.with_name(f"{path.stem.removesuffix(mine)}{suffix}{path.suffix}")


def _parameters(file: Hdf5, options: ReadOptions) -> _Parameters:
    columns = [file.array(name) for name in ("ppY", "ppX")]
    flat = [_vector(name, column) for name, column in zip(("ppY", "ppX"), columns, strict=True)]
    if len(flat[0]) != len(flat[1]):
        raise DataError(f"ppX, ppY: expected as many of the one as of the other, got {len(flat[1])} and {len(flat[0])}")
    return _Parameters(
        np.stack(flat, axis=1),
        None if options.energy_kev else _wavelength(file),
        file.number("dx"),
        columns[0].ndim > 1,
        file.attribute("MATLAB_class", "ppX") is not None,
    )


def _vector(name: str, column: np.ndarray) -> np.ndarray:
    """(n,) of a vector with or without a second axis of length 1."""
    if column.ndim == 0 or column.size not in column.shape:
        raise DataError(f"{name}: expected a vector of positions, got shape {column.shape}")
    return column.ravel()


def _wavelength(file: Hdf5) -> float | None:
    """[m]; None where the file has none."""
    wavelength = file.number("lambda")
    low, high = _WAVELENGTHS_M
    if wavelength is not None and not low <= wavelength <= high:
        raise DataError(f"lambda: expected metres, {low:g} to {high:g}, got {wavelength:.6g}; set energy_kev")
    return wavelength


def _scan(file: Hdf5, parameters: _Parameters, options: ReadOptions) -> Scan:
    stored = file.frames("dp")
    bad = mask_of(file.array("mask"), (stored.shape[1], stored.shape[2])) if "mask" in file else None
    n = len(parameters.positions_m)
    frames, frame_notes = photon_frames("dp", stored, n, Storage("intensity", "centre"), options, bad)
    frames, axis_notes = _upright(file, frames, parameters)
    pixel = None if parameters.pixel_m is None else (parameters.pixel_m,) * 2
    with about("lambda, dx"):
        geometry, notes = geometry_of(frames, options, wavelength_m=parameters.wavelength_m, pixel_size_m=pixel)
    found = (*_unused(file), *frame_notes, *axis_notes, *notes, *_sign_notes(options))
    return metric_scan(frames, geometry, "ppY, ppX", parameters.positions_m, options, found)


def _upright(file: Hdf5, frames: Frames, parameters: _Parameters) -> tuple[Frames, list[str]]:
    """The frames with the axes of the positions, as far as the files tell."""
    if file.attribute("MATLAB_class", "dp") is not None:
        turned = replace(frames, orientation=composed("transpose", frames.orientation))
        return turned, ["dp: transposed first, since MATLAB saved it, which has the axes the other way round"]
    if parameters.vectors or parameters.matlab:
        note = (
            "dp: taken as (n, y, x); positions are stored as MATLAB stores vectors: if it wrote the frames too, set"
            " orientation to transpose"
        )
        return frames, [note]
    return frames, []


def _sign_notes(options: ReadOptions) -> list[str]:
    if options.translation_sign != "auto":
        return []
    note = (
        "ppX, ppY: taken as the beam's motion over the sample, on which programs differ; set translation_sign to sample"
        " if it is the sample's"
    )
    return [note]


def _unused(file: Hdf5) -> list[str]:
    unused = sorted(set(file.keys) - _USED)
    return [f"not used: {', '.join(unused)}"] if unused else []


def files(path: Path) -> tuple[Path, Path]:
    """The pair that a name stands for, frames first."""
    stem = path.stem.removesuffix(_FRAMES).removesuffix(_PARAMETERS)
    frames, parameters = (path.with_name(f"{stem}{end}{path.suffix or '.hdf5'}") for end in (_FRAMES, _PARAMETERS))
    return frames, parameters


def write(path: Path, scan: Scan) -> tuple[Path, Path]:
    """Write a scan as a pair: `<name>_dp` and `<name>_para`; the same scan gives the same bytes.

    Args:
        path: the name of either file, or without a suffix of theirs.
        scan: with the size of a pixel, the same along both axes.

    Returns:
        The two files, frames first.

    Raises:
        DataError: no such geometry, no room, a folder that can't be written; no half file is left behind.
    """
    geometry = with_geometry(path, scan)
    pixel = alike(path, "object", geometry.pixel_size_m)
    first, second = files(path)
    with writing_hdf5(first, scan.mask.size) as file:
        put_frames(file, "dp", scan.photons)
        if not scan.mask.all():
            file["mask"] = scan.mask.astype(np.uint8)
    with writing_hdf5(second, scan.positions_px.nbytes) as file:
        metres = centred_metres(scan, geometry)
        file["ppX"], file["ppY"] = metres[:, 1], metres[:, 0]
        file["dx"] = np.float64(pixel)
        if geometry.wavelength_m is not None:
            file["lambda"] = np.float64(geometry.wavelength_m)
    return first, second
