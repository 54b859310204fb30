"""Files in the layouts of other programs, written: what their modules do the same way."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foldlight.core.errors import DataError
from foldlight.core.files import replacing
from foldlight.frames import Frames
from foldlight.geometry import Geometry
from foldlight.io.hdf5 import reserve, told_writing, written_hdf5
from foldlight.io.npz import about
from foldlight.scan import Scan

if TYPE_CHECKING:
    import h5py

__all__ = ["alike", "centred_metres", "length_of", "mask_of", "put_frames", "with_geometry", "writing_hdf5"]

_LIBRARY = ("earliest", "v108")  # MATLAB and older programs read no later structures
_NOTES_BYTES = 2**16  # what HDF5 writes beside arrays
_MOST = 2**31 - 1  # that int32 holds
_ALIKE = 1e-6  # relative, between lengths that a format takes as one


@contextmanager
def writing_hdf5(path: Path, more: int = 0) -> "Iterator[h5py.File]":
    """A file that old libraries read too; it is in place when the block ends well, and else there is none.

    Args:
        path: the file.
        more: bytes of all arrays but the frames, for which room is made at once.

    Raises:
        DataError: no room, or a folder that can't be written.
    """
    with (
        replacing(path) as temporary,
        told_writing(path),
        about(str(path)),
        written_hdf5(temporary, library=_LIBRARY) as file,
    ):
        reserve(file, more + _NOTES_BYTES)
        yield file


def put_frames(file: "h5py.File", name: str, frames: Frames, reals: bool = False) -> None:
    """Photons (n, y, x) in one piece, written a block at a time: whole ones as int32, others as float32.

    Not as unsigned integers, with which some programs can't calculate.

    Args:
        file: open to write.
        name: of the dataset.
        frames: to write.
        reals: as float32 even when they are whole; exact up to 2^24.

    Raises:
        DataError: a count that int32 does not hold.
    """
    dtype = np.dtype("<f4") if reals or not frames.whole else np.dtype("<i4")
    dataset = file.create_dataset(name, frames.shape, dtype, fill_time="never")
    for block in frames.blocks():
        photons = frames[block]
        if dtype.kind == "i" and photons.max() > _MOST:
            raise DataError(f"{name}: expected counts below 2^31, got {photons.max():.6g}; mask such pixels")
        reserve(file, photons.nbytes + _NOTES_BYTES)
        dataset[block] = photons.astype(dtype)


def length_of(name: str, length: float | None) -> float | None:
    """A length [m] as a file has it, or None.

    Raises:
        DataError: not positive, or not finite.
    """
    if length is not None and not (np.isfinite(length) and length > 0):
        raise DataError(f"{name}: expected a positive number of metres, got {length:g}; correct it")
    return length


def mask_of(stored: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """(y, x) bool, True where a pixel is bad, from a `mask` of 1 for pixels to trust.

    Raises:
        DataError: not one number a pixel.
    """
    if stored.shape != window or stored.dtype.kind not in "bui":
        raise DataError(f"mask: expected {window} of 1 (to trust) or 0, got {stored.shape} of {stored.dtype}")
    return np.asarray(stored == 0)


def with_geometry(path: Path, scan: Scan, needs: tuple[str, ...] = ()) -> Geometry:
    """The geometry of a scan that is to be written in metres.

    Args:
        path: of the file, for the message.
        scan: to write.
        needs: attributes of the geometry that have to be known besides the object's pixel.

    Raises:
        DataError: there is none, or one of these is not known.
    """
    options = {"wavelength_m": "energy_kev", "distance_m": "distance_m", "detector_pixel_m": "detector_pixel_um"}
    geometry = scan.geometry
    if geometry is None:
        wanted = " and ".join(options[name] for name in needs) or "pixel_nm"
        raise DataError(
            f"{path}: expected a scan with a geometry, to write metres, got one without; read it with the option"
            f" {wanted}"
        )
    missing = [options[name] for name in needs if getattr(geometry, name) is None]
    if missing:
        raise DataError(
            f"{path}: expected a geometry with wavelength, distance and detector pixel, got one without; read the scan"
            f" with the option {' and '.join(missing)}"
        )
    return geometry


def alike(path: Path, name: str, pair: tuple[float, float]) -> float:
    """The one length that (y, x) have in common, of the object's or the detector's pixel [m].

    Raises:
        DataError: they differ, and the format has one number for both.
    """
    if abs(pair[0] - pair[1]) > _ALIKE * pair[0]:
        raise DataError(
            f"{path}: expected square {name} pixels, for which the format has one number, got (y, x) ="
            f" ({pair[0]:.6g}, {pair[1]:.6g}) m; write another format"
        )
    return float(np.mean(pair))


def centred_metres(scan: Scan, geometry: Geometry) -> np.ndarray:
    """(n, 2) float64 (y, x) positions of the beam [m] from the middle pixel of the object's canvas."""
    return (scan.positions_px - np.array(scan.canvas) // 2) * np.array(geometry.pixel_size_m)
