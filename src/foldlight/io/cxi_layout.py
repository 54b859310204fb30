"""What CXI and NXcxi_ptycho have in common, written: frames, positions, light and detector under CXI's names."""

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foldlight.core.errors import DataError
from foldlight.geometry import Geometry, energy_of
from foldlight.io.foreign import centred_metres, put_frames, with_geometry, writing_hdf5
from foldlight.io.probes import PHOTONS
from foldlight.io.units import JOULE_EV
from foldlight.scan import Scan

if TYPE_CHECKING:
    import h5py

__all__ = ["writing_cxi"]

_VERSION = 160
_INSTRUMENT = "entry_1/instrument_1"
_GROUPS = (
    "entry_1",
    _INSTRUMENT,
    f"{_INSTRUMENT}/source_1",
    f"{_INSTRUMENT}/detector_1",
    "entry_1/sample_1",
    "entry_1/sample_1/geometry_1",
    "entry_1/data_1",
)
_FAR_FIELD = 1e-3  # relative: how far an object pixel may be from that of the far field
_INVALID = 1  # the mask's bit of a pixel that is not to be trusted


@contextmanager
def writing_cxi(path: Path, scan: Scan) -> "Iterator[tuple[h5py.File, float]]":
    """A file that holds a scan in CXI's layout but for the photons' energy, and that energy [J].

    The file is in its place when the block ends well. The detector's rows run along -y and its columns along -x, so
    that the sample's displacement (x, y) is the beam's column and row on the sample. Positions are from the middle of
    the object's canvas.

    Raises:
        DataError: the scan lacks lengths, or its object pixel is not that of the far field; no room, a folder that
            can't be written; nothing is left behind.
    """
    geometry = with_geometry(path, scan, ("wavelength_m", "distance_m", "detector_pixel_m"))
    wavelength, distance = geometry.wavelength_m or 0.0, geometry.distance_m or 0.0
    height, width = geometry.detector_pixel_m or (0.0, 0.0)
    far = Geometry.far_field(scan.window, wavelength, distance, (height, width))
    _refuse_another_pixel(path, geometry, far)
    with writing_hdf5(path, 2 * (scan.positions_px.nbytes + scan.probe.nbytes + scan.mask.nbytes)) as file:
        for name in _GROUPS:  # one by one: HDF5 dates those that it makes on the way to another
            file.create_group(name)
        _write_detector(file, distance, (height, width), scan.mask)
        _write_source(file, wavelength, scan.probe)
        y, x = centred_metres(scan, far).T
        _quantity(file, "entry_1/sample_1/geometry_1/translation", np.stack([x, y, np.zeros_like(x)], axis=1))
        data = f"{_INSTRUMENT}/detector_1/data"
        put_frames(file, data, scan.photons)
        file[data].attrs["axes"] = np.bytes_("translation:y:x")
        file[data].attrs["units"] = np.bytes_("photon")
        _link(file)
        yield file, energy_of(wavelength) / JOULE_EV


def _refuse_another_pixel(path: Path, geometry: Geometry, far: Geometry) -> None:
    """Refuse a scan whose object pixel readers would not work out again.

    Raises:
        DataError: with both pixels.
    """
    if not np.allclose(far.pixel_size_m, geometry.pixel_size_m, rtol=_FAR_FIELD, atol=0):
        wanted, given = (" x ".join(f"{size * 1e9:.5g}" for size in each.pixel_size_m) for each in (far, geometry))
        raise DataError(
            f"{path}: expected object pixels of wavelength * distance / (N * detector pixel) = {wanted} nm (y, x), got"
            f" {given} nm; read the scan with the distance_m that makes it so"
        )


def _write_source(file: "h5py.File", wavelength_m: float, probe: np.ndarray) -> None:
    source = f"{_INSTRUMENT}/source_1"
    file["cxi_version"] = np.int64(_VERSION)
    file["number_of_entries"] = np.int64(1)
    file["entry_1/program_name"] = np.bytes_(f"foldlight {importlib.metadata.version('foldlight')}")
    _quantity(file, f"{source}/wavelength", np.float64(wavelength_m))
    _quantity(file, f"{source}/illumination", probe.astype(np.complex64), PHOTONS)


def _write_detector(file: "h5py.File", distance_m: float, pixel_m: tuple[float, float], mask: np.ndarray) -> None:
    detector, (height, width) = f"{_INSTRUMENT}/detector_1", pixel_m
    _quantity(file, f"{detector}/distance", np.float64(distance_m))
    _quantity(file, f"{detector}/x_pixel_size", np.float64(width))
    _quantity(file, f"{detector}/y_pixel_size", np.float64(height))
    _quantity(file, f"{detector}/basis_vectors", np.array([[0, -height, 0], [-width, 0, 0]]))
    file[f"{detector}/mask"] = np.where(mask, 0, _INVALID).astype(np.uint32)


def _quantity(file: "h5py.File", name: str, value: object, unit: str = "m") -> None:
    file[name] = value
    file[name].attrs["units"] = np.bytes_(unit)


def _link(file: "h5py.File") -> None:
    """Frames and positions in the other places where programs look."""
    import h5py

    file["entry_1/data_1/data"] = h5py.SoftLink(f"/{_INSTRUMENT}/detector_1/data")
    for group in ("entry_1/data_1", f"{_INSTRUMENT}/detector_1"):
        file[f"{group}/translation"] = h5py.SoftLink("/entry_1/sample_1/geometry_1/translation")
