"""CXI 1.6, the coherent X-ray imaging data bank's HDF5 layout, as ptychography uses it.

```
/cxi_version                                        160, or of another version
/entry_1/instrument_1/source_1/energy               photon energy [J]; or wavelength [m]
/entry_1/instrument_1/detector_1/data               (n, y, x) intensities; also as /entry_1/data_1/data
        .../distance                                [m]; or corner_position (x, y, z) [m] of the first pixel
        .../x_pixel_size, y_pixel_size              [m], of columns and of rows
        .../basis_vectors                           (2, 3) or (3, 2) [m]: from row to row, from column to column
        .../mask                                    (y, x) or (n, y, x) of bits, 0 is a good pixel
/entry_1/sample_1/geometry_1/translation            (n, 3) [m] (x, y, z); also below data_1 and detector_1
/entry_1/instrument_1/source_1/illumination         (mode, y, x) complex probe, an addition of some programs
```
All units are SI; a `units` attribute is believed. The frame is the laboratory's: z along the beam, y up, x to the left
of who looks along the beam (`lab_frame` says how positions become rows and columns). Without `basis_vectors` rows run
along -y and columns along -x.

What differs between programs, and what is taken:
- Whose motion `translation` is. CXI means the sample's, and cdtools negates it for the beam's; other programs take it
  as the beam's. The sample's is taken; `translation_sign` says otherwise and `foldlight orient` asks the photons. With
  the vectors assumed without `basis_vectors`, (x, y) of the sample are column and row of the beam, with their signs, so
  there programs of either kind agree that know of no vectors.
- Basis vectors in rows (CXI) or in columns (cdtools writes these): both are read, the vector from row to row first.
- `mask`: any bit makes a bad pixel, but 0x1000 alone, signal above the background, as cdtools has it.
- `source_1/energy` in joule. In NXcxi_ptycho it is the storage ring's, which a photon energy outside 50 eV to 200 keV
  gives away; such files are read by the format `NXcxi_ptycho`.
- `data` in two places: that of data_1 is taken, then that of detector_1.
- Where the direct beam is follows from `corner_position`; `crop_px` crops around it, unless `centre_px` says otherwise.

Not used, and noted: further entries, detectors and data sets, dark frames, flat fields (qe_mask) and intensities of
single shots. Written: counts as int32, with which all programs calculate, other photons as float32. Lost when written:
the object and its canvas, numbers of frames, notes.
"""

import re
from pathlib import Path

import numpy as np

from foldlight.core.errors import DataError
from foldlight.io.cxi_layout import writing_cxi
from foldlight.io.hdf5 import Hdf5
from foldlight.io.lab_frame import Experiment, detector_at, scan_of, translation_at
from foldlight.io.options import ReadOptions
from foldlight.io.units import photon_energy, photon_wavelength
from foldlight.scan import Scan

__all__ = ["NAME", "SIGNS", "matches", "read", "write"]

NAME = "CXI"
SIGNS = "/cxi_version, or /entry_1 with instrument_1 or data_1"

_ENTRY = "entry_1"
_INSTRUMENT = f"{_ENTRY}/instrument_1"
_SOURCE = f"{_INSTRUMENT}/source_1"
_DETECTOR = f"{_INSTRUMENT}/detector_1"
_GEOMETRY = f"{_ENTRY}/sample_1/geometry_1"
_DATA = (f"{_ENTRY}/data_1/data", f"{_DETECTOR}/data")
_TRANSLATIONS = (f"{_GEOMETRY}/translation", f"{_ENTRY}/data_1/translation", f"{_DETECTOR}/translation")
_UNUSED = {
    f"{_DETECTOR}/data_dark": "dark frames, not subtracted",
    f"{_DETECTOR}/qe_mask": "a flat field, not applied",
    f"{_ENTRY}/data_1/intensities": "intensities of single shots, not applied",
    f"{_GEOMETRY}/surface_normal": "the sample's tilt; positions are taken across the beam",
    f"{_GEOMETRY}/orientation": "the sample's orientation; positions are taken across the beam",
}
_SAME = 1e-3


def matches(file: Hdf5) -> bool:
    """Whether an HDF5 file is meant as CXI, complete or not."""
    return "cxi_version" in file or any(name in file for name in (_INSTRUMENT, f"{_ENTRY}/data_1"))


def read(file: Hdf5, options: ReadOptions) -> Scan:
    """A scan from an open CXI file; frames are read when they are asked for.

    Raises:
        DataError: something is missing, is not what the layout says, or contradicts itself; one line that names the
            option to give.
    """
    data = next((name for name in _DATA if name in file), None)
    if data is None:
        raise DataError(f"expected frames as {' or '.join(_DATA)}, found neither; link them there")
    _refuse_modules(file, data)
    translation, notes = translation_at(file, _TRANSLATIONS)
    if translation is None:
        raise DataError(f"expected positions as {_TRANSLATIONS[0]}, found none; add (n, 3) metres there")
    energy, energy_notes = (None, []) if options.energy_kev else _photon_energy(file)
    mask, probe = f"{_DETECTOR}/mask", f"{_SOURCE}/illumination"
    found = Experiment(
        data,
        mask if mask in file else None,
        detector_at(file, _DETECTOR),
        energy,
        translation,
        probe if probe in file else None,
        (*notes, *energy_notes, *_unused(file)),
    )
    return scan_of(file, found, options)


def _photon_energy(file: Hdf5) -> tuple[float | None, list[str]]:
    """[eV] and notes; None where the file does not say."""
    energy, wavelength = f"{_SOURCE}/energy", f"{_SOURCE}/wavelength"
    if energy not in file:
        if wavelength not in file:
            return None, []
        found, note = photon_wavelength(file, wavelength)
        return found, [note]
    found, note = photon_energy(file, energy, "joule")
    if wavelength in file:
        other, _ = photon_wavelength(file, wavelength)
        if abs(other - found) > _SAME * found:
            raise DataError(
                f"{_SOURCE}: expected energy and wavelength of the same light, got {found:.6g} and {other:.6g} eV; set"
                " the option energy_kev"
            )
    return found, [note]


def _refuse_modules(file: Hdf5, data: str) -> None:
    """Frames of several detector modules have to be put together first."""
    dataset = file.dataset(data)
    axes = file.attribute("axes", data)
    named = axes.decode(errors="replace") if isinstance(axes, bytes) else str(axes)
    if dataset.ndim == 4 and "module" in named and dataset.shape[1] > 1:
        raise DataError(
            f"{data}: expected frames (n, y, x), got {dataset.shape[1]} detector modules each; assemble them first"
        )


def _unused(file: Hdf5) -> list[str]:
    """What is in the file and was not read, a note each."""
    notes = [f"{name}: {what}" for name, what in _UNUSED.items() if name in file]
    others = {
        "/": (r"entry_\d+", "entry_1"),
        _ENTRY: (r"data_\d+", "data_1"),
        _INSTRUMENT: (r"detector_\d+", "detector_1"),
    }
    for group, (pattern, first) in others.items():
        further = [name for name in file.members(group) if re.fullmatch(pattern, name) and name != first]
        if further:
            notes.append(f"{', '.join(further)}: not used, only {first} is; save others as files of their own")
    return notes


def write(path: Path, scan: Scan) -> tuple[Path, ...]:
    """Write a scan as CXI; the same scan gives the same bytes.

    Raises:
        DataError: the scan has no energy, distance and detector pixel, or its object pixel is not that of the far
            field; no room, a folder that can't be written; nothing is left behind.
    """
    with writing_cxi(path, scan) as (file, joule):
        file[f"{_SOURCE}/energy"] = np.float64(joule)
        file[f"{_SOURCE}/energy"].attrs["units"] = np.bytes_("J")
    return (path,)
