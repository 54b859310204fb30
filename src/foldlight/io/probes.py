"""Probes from elsewhere: out of another file, or guessed from the frames."""

import json
from pathlib import Path

import numpy as np

from foldlight.core.errors import DataError
from foldlight.frames import Frames
from foldlight.geometry import Geometry
from foldlight.io.hdf5 import is_hdf5, open_hdf5
from foldlight.io.npz import Npz, about, open_npz

__all__ = ["PHOTONS", "guessed_probe", "read_probe"]

_NPZ_KEYS = ("probe", "probeGuess")
_HDF5_NAMES = ("probe", "probe_guess", "reconstruction/probe", "probes")
_CONTAINER = "foldlight scan"
PHOTONS = "sqrt(photon)"
"""Unit of a probe, as files of ours state it."""
_NPY = b"\x93NUMPY"


def read_probe(path: Path, limit_bytes: int = 16 << 30) -> tuple[np.ndarray, bool]:
    """The probe (mode, y, x) or (y, x) of a .npy, NPZ or HDF5 file, under a usual name; whether it is [sqrt(photon)].

    The unit is known of what foldlight wrote: reconstructions, containers, DATA-001. Of axes before those of the modes
    the first is taken.

    Raises:
        DataError: the file can't be read, or has no complex probe.
    """
    if is_hdf5(path):
        with open_hdf5(path, limit_bytes) as file:
            name = next((name for name in _HDF5_NAMES if name in file), None)
            if name is None:
                raise DataError(f"expected a probe as {' or '.join(_HDF5_NAMES)}, found {', '.join(file.keys)}")
            return _modes(name, file.array(name)), file.attribute("format") in {_CONTAINER, _CONTAINER.encode()}
    if _starts(path).startswith(_NPY):
        with about(str(path)):
            try:
                return _modes("array", np.load(path, allow_pickle=False)), False
            except (OSError, ValueError, EOFError) as error:
                raise DataError(f"expected a whole .npy array, got {error}") from None
    with open_npz(path, limit_bytes) as archive:
        key = next((key for key in _NPZ_KEYS if key in archive), None)
        if key is None:
            raise DataError(f"expected a probe as {' or '.join(_NPZ_KEYS)}, found {', '.join(archive.keys)}")
        return _modes(key, archive[key]), _in_photons(archive)


def _in_photons(archive: Npz) -> bool:
    """Whether the metadata are those of a reconstruction of ours, or state the unit."""
    if "_metadata" not in archive:
        return False
    try:
        facts = json.loads(str(archive["_metadata"]))
    except (ValueError, RecursionError):
        return False
    return isinstance(facts, dict) and ({"arm", "ledger"} <= facts.keys() or facts.get("probe_unit") == PHOTONS)


def _starts(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(len(_NPY))
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, got {error.strerror}") from None


def _modes(name: str, stored: np.ndarray) -> np.ndarray:
    with about(name):
        if stored.dtype.kind != "c" or stored.ndim < 2:
            raise DataError(f"expected a complex probe (mode, y, x), got shape {stored.shape} of {stored.dtype}")
        while stored.ndim > 3:
            stored = stored[0]
        return np.array(stored, subok=False)


def guessed_probe(frames: Frames, geometry: Geometry | None, defocus_m: float) -> np.ndarray:
    """(1, y, x) complex64 [sqrt(photon)]: what the mean frame looks like back at the sample, if it were the probe's.

    The object scatters little of the light, so that the mean frame is nearly the probe's own; its phase is taken as
    flat, or as that of a lens out of focus: `P = F^-1[sqrt(mean) exp(i pi lambda z q^2)]`, q in 1/m.

    Source: Fresnel transfer function, Goodman, Introduction to Fourier Optics, 3rd ed., eq. 4-21.

    Raises:
        DataError: no light, or a defocus without the wavelength and pixel it is about.
    """
    mean = frames.mean_frame
    if not mean.sum() > 0:
        raise DataError("probe: expected light in the frames to guess it from, got none")
    spectrum = np.sqrt(mean).astype(np.complex128)
    if defocus_m:
        if geometry is None or geometry.wavelength_m is None:
            raise DataError("defocus_um: expected wavelength and object pixel to be known, got none; set energy_kev")
        rows, columns = (
            np.fft.fftshift(np.fft.fftfreq(size, pixel))
            for size, pixel in zip(mean.shape, geometry.pixel_size_m, strict=True)
        )
        squared = rows[:, None] ** 2 + columns[None, :] ** 2
        spectrum *= np.exp(1j * np.pi * geometry.wavelength_m * defocus_m * squared)
    field = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(spectrum), norm="ortho"))
    return field[None].astype(np.complex64)
