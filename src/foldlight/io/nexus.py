"""NXcxi_ptycho, the NeXus application definition for ptychography, a sister of CXI 1.6.

```
/entry_1 (NXentry)/definition                         NXcxi_ptycho
/entry_1/instrument_1/beam_1 (NXbeam)/incident_beam_energy, energy     of the photons
        .../source_1 (NXsource)/energy                of the storage ring, not of the photons
        .../detector_1 (NXdetector)/data              (n, y, x), or (rows, columns, y, x) of a raster
            .../distance, x_pixel_size, y_pixel_size, beam_center_x, beam_center_y, pixel_mask or mask
            .../translation                           (n, 3) (x, y, z)
/entry_1/data_1 (NXcollection)/data, translation      the same as CXI has them: always (n, y, x) and (n, 3)
/entry_1/sample_1/transformations (NXtransformations)/x, y             (n,) or (rows, columns) with units and vector
/entry_1/NXdata                                       links; x_indices and y_indices say along which axes x and y lie
```
Groups are found by their NX_class, or else by these names; every length and energy by its attribute `units`. A length
without units is in metres, an energy without units in whichever of joule, eV and keV makes it a photon's. Rasters are
taken row by row (C order); an x or y for each row or column is spread over the raster. Motors of other names are taken
by their `vector`; the frame is the laboratory's as in CXI (`lab_frame`).

What differs between programs, and what is taken:
- Photon energy: incident_beam_energy, energy, incident_energy, incident_wavelength of the beam, then a monochromator's;
  when there is none, `source_1/energy` if its units make it a photon's, as CXI has it. Those that contradict each other
  are refused, and so is all outside 50 eV to 200 keV.
- Positions: `translation` (data_1, detector, sample_1/geometry_1), then the sample's transformations, then x and y of
  NXdata, along (1, 0, 0) and (0, 1, 0). NeXus moves things actively, so these are the sample's motion; programs that
  write the beam's exist: `translation_sign`. Rotations that turn are refused for want of a plane to stay in.
- Rows run along -y and columns along -x, unless there are basis_vectors.

Not used, and noted: further entries and detectors. Written: the tree above, CXI names included. Of the
definition, the machine's energy and the spread of the photons' are left out, since a scan has neither. Lost when
written: the object and its canvas, numbers of frames, notes.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foldlight.core.errors import DataError
from foldlight.io.cxi_layout import writing_cxi
from foldlight.io.hdf5 import Hdf5
from foldlight.io.lab_frame import Detector, Experiment, detector_at, scan_of, translation_at
from foldlight.io.npz import about
from foldlight.io.options import ReadOptions
from foldlight.io.units import lengths, photon_energy, photon_wavelength, unit_of, words
from foldlight.scan import Scan

__all__ = ["NAME", "SIGNS", "matches", "read", "write"]

NAME = "NXcxi_ptycho"
SIGNS = "an entry with definition = NXcxi_ptycho, or one of class NXentry"

_ENERGIES = ("incident_beam_energy", "energy", "incident_energy")
_WAVELENGTHS = ("incident_wavelength", "wavelength")
_MASKS = ("pixel_mask", "mask")
_SAME = 1e-3  # relative, between two energies of the same light
_TURNED_DEG = 0.01
_PIXELS = {"", "px", "pixel", "pixels"}


def matches(file: Hdf5) -> bool:
    """Whether an HDF5 file is meant as NXcxi_ptycho, complete or not."""
    if any(file.text(f"{name}/definition") == NAME for name in file.keys):
        return True
    return "cxi_version" not in file and bool(_of_class(file, "/", "NXentry", ""))


def read(file: Hdf5, options: ReadOptions) -> Scan:
    """A scan from an open NXcxi_ptycho file; frames are read when they are asked for.

    Raises:
        DataError: something is missing, is not what the definition says, or contradicts itself; one line that names
            the option to give.
    """
    declared = [f"/{name}" for name in file.keys if file.text(f"{name}/definition") == NAME]
    entry, notes = _first(file, "/", "NXentry", "entry_1", declared)
    instrument, _ = _first(file, entry, "NXinstrument", "instrument_1")
    detector, detector_notes = _first(file, instrument, "NXdetector", "detector_1")
    sample = next(iter(_of_class(file, entry, "NXsample", "sample_1")), f"{entry}/sample_1")
    plot = next(iter(_of_class(file, entry, "NXdata", "data")), f"{entry}/data")
    data = next((f"{at}/data" for at in (f"{entry}/data_1", detector, plot) if f"{at}/data" in file), None)
    if data is None:
        raise DataError(f"expected frames as {detector}/data or {entry}/data_1/data, found neither; link them there")
    translation, move_notes = _translation(file, data, entry, detector, sample, plot)
    energy, energy_notes = (None, []) if options.energy_kev else _photon_energy(file, instrument, sample)
    found = Experiment(
        data,
        next((f"{detector}/{name}" for name in _MASKS if f"{detector}/{name}" in file), None),
        _with_centre(file, detector, detector_at(file, detector)),
        energy,
        translation,
        next((name for name in (f"{instrument}/source_1/illumination",) if name in file), None),
        (*notes, *detector_notes, *move_notes, *energy_notes),
    )
    return scan_of(file, found, options)


def _of_class(file: Hdf5, group: str, kind: str, name: str) -> list[str]:
    """Paths of the members of a group that are of a class, the one of the usual name first."""
    above = group.rstrip("/")
    found = [
        f"{above}/{member}"
        for member in file.members(group)
        if member == name
        or (_is_group(file, f"{above}/{member}") and words(file.attribute("NX_class", f"{above}/{member}")) == kind)
    ]
    return sorted(found, key=lambda path: path.rpartition("/")[2] != name)


def _is_group(file: Hdf5, path: str) -> bool:
    return bool(file.members(path))


def _first(file: Hdf5, group: str, kind: str, name: str, before: Sequence[str] = ()) -> tuple[str, list[str]]:
    """The first group of a class, and a note of the others.

    Raises:
        DataError: there is none.
    """
    found = [*before, *(path for path in _of_class(file, group, kind, name) if path not in before)]
    if not found:
        raise DataError(
            f"{group}: expected an {kind}, usually {name}, found {', '.join(file.members(group)) or 'none'}"
        )
    others = ", ".join(path.rpartition("/")[2] for path in found[1:])
    return found[0], [f"{others}: not used, only the first {kind} is, {found[0]}"] if others else []


def _photon_energy(file: Hdf5, instrument: str, sample: str) -> tuple[float | None, list[str]]:
    """[eV] and notes; None where nothing says it.

    Raises:
        DataError: two that contradict each other, or what `photon_energy` refuses.
    """
    lights = [path for above in (instrument, sample) for path in _of_class(file, above, "NXbeam", "beam_1")]
    lights += _of_class(file, instrument, "NXmonochromator", "monochromator")
    found: dict[str, tuple[float, str]] = {}
    for light in lights:
        found |= {name: photon_energy(file, name) for name in _named(file, light, _ENERGIES)}
        found |= {name: photon_wavelength(file, name) for name in _named(file, light, _WAVELENGTHS)}
    if not found:
        return _source_energy(file, instrument)
    name, (energy, note) = next(iter(found.items()))
    for other, (stated, _) in found.items():
        if abs(stated - energy) > _SAME * energy:
            raise DataError(
                f"expected one photon energy, got {energy:.6g} eV as {name} and {stated:.6g} eV as {other}; set the"
                " option energy_kev"
            )
    return energy, [note]


def _named(file: Hdf5, group: str, names: tuple[str, ...]) -> list[str]:
    return [f"{group}/{name}" for name in names if f"{group}/{name}" in file]


def _source_energy(file: Hdf5, instrument: str) -> tuple[float | None, list[str]]:
    """That of the source, of a file without a beam: CXI has the photons' there, NeXus the storage ring's."""
    source = next(iter(_of_class(file, instrument, "NXsource", "source_1")), f"{instrument}/source_1")
    if f"{source}/energy" in file:
        energy, note = photon_energy(file, f"{source}/energy")
        return energy, [f"{note}: no beam in the file, and a storage ring's is far higher"]
    if f"{source}/wavelength" in file:
        energy, note = photon_wavelength(file, f"{source}/wavelength")
        return energy, [note]
    return None, []


def _with_centre(file: Hdf5, group: str, detector: Detector) -> Detector:
    """The detector with the beam's centre as NeXus has it, in pixels or as a length from the first pixel."""
    names = [f"{group}/beam_center_{axis}" for axis in "yx"]
    if detector.centre_px is not None or detector.pixel_m is None or not all(name in file for name in names):
        return detector
    centre = []
    for name, pixel in zip(names, detector.pixel_m, strict=True):
        if (unit_of(file, name) or "").lower() in _PIXELS:
            centre.append(float(file.number(name) or 0.0))
        else:
            centre.append(float(lengths(file, name).mean()) / pixel)
    return Detector(
        detector.rows, detector.columns, detector.pixel_m, detector.distance_m, (centre[0], centre[1]), detector.notes
    )


def _translation(
    file: Hdf5, data: str, entry: str, detector: str, sample: str, plot: str
) -> tuple[np.ndarray, list[str]]:
    """(n, 3) displacements of the sample [m] and notes.

    Raises:
        DataError: there are none, or they do not fit the raster.
    """
    places = (f"{entry}/data_1", detector, f"{sample}/geometry_1")
    found, notes = translation_at(file, tuple(f"{place}/translation" for place in places))
    if found is not None:
        return found, notes
    raster = tuple(int(size) for size in file.dataset(data).shape[:-2])
    motors = _motors(file, f"{sample}/transformations")
    assumed = not motors
    if assumed:
        motors = {f"{plot}/{axis}": np.eye(3)[place] for place, axis in enumerate("xy") if f"{plot}/{axis}" in file}
    if len(motors) < 2:
        raise DataError(
            f"expected positions as {entry}/data_1/translation or two motors in {sample}/transformations, found"
            f" {', '.join(motors) or 'none'}; add (n, 3) metres as {entry}/data_1/translation"
        )
    with about(data):
        file.affordable(math.prod(raster) * 3 * 8)
    total = np.zeros((math.prod(raster), 3))
    for name, vector in motors.items():
        total += _spread(file, name, raster, plot)[:, None] * vector
    how = "along (1, 0, 0) and (0, 1, 0), which nothing says" if assumed else "along their vectors"
    return total, [f"positions: {' and '.join(motors)}, {how}"]


def _motors(file: Hdf5, group: str) -> dict[str, np.ndarray]:
    """Names of the translations that move, with their unit vectors (3,).

    Raises:
        DataError: a rotation that turns, or a vector that is none.
    """
    motors = {}
    for member in file.members(group):
        name = f"{group}/{member}"
        if _is_group(file, name):
            continue
        kind, vector = words(file.attribute("transformation_type", name)), file.attribute("vector", name)
        if kind == "rotation":
            _refuse_turning(file, name)
        elif vector is not None and file.dataset(name).size > 1:
            direction = np.asarray(vector)
            length = float(np.linalg.norm(direction)) if direction.dtype.kind in "iuf" else 0.0
            if direction.shape != (3,) or not (math.isfinite(length) and length > 0):
                raise DataError(f"{name}: expected the attribute vector as three numbers, got {vector!r:.80}")
            motors[name] = direction / length
    return motors


def _refuse_turning(file: Hdf5, name: str) -> None:
    degrees = file.array(name).astype(np.float64) if file.dataset(name).dtype.kind in "iuf" else np.zeros(1)
    if (unit_of(file, name) or "").lower() in {"rad", "radian", "radians"}:
        degrees = np.degrees(degrees)
    if degrees.size and not np.abs((degrees + 180) % 360 - 180).max() <= _TURNED_DEG:
        raise DataError(
            f"{name}: expected a sample that is not rotated, got up to {np.abs(degrees).max():.4g} degrees; write the"
            " positions across the beam as data_1/translation"
        )


def _spread(file: Hdf5, name: str, raster: tuple[int, ...], plot: str) -> np.ndarray:
    """(n,) metres of one motor, one a frame.

    Raises:
        DataError: not as many as frames, and nothing says along which axis of the raster they lie.
    """
    values = lengths(file, name)
    if values.size == math.prod(raster):
        return values.ravel()
    with about(name):
        axis = name.rpartition("/")[2]
        said = file.attribute(f"{axis}_indices", plot) if plot in file else None
        if said is None and f"{plot}/{axis}_indices" in file and file.dataset(f"{plot}/{axis}_indices").size == 1:
            said = file.dataset(f"{plot}/{axis}_indices")[()]
        along = [place for place, size in enumerate(raster) if values.ndim == 1 and size == values.size]
        chosen = [place for place in along if said is None or str(place) == (words(said) or str(np.ravel(said)[0]))]
        if len(chosen) != 1:
            raise DataError(
                f"expected a position for each frame of the raster {raster}, got shape {values.shape}; add"
                f" {axis}_indices to the NXdata, or (n, 3) metres as data_1/translation"
            )
        shape = [1] * len(raster)
        shape[chosen[0]] = values.size
        return np.broadcast_to(values.reshape(shape), raster).ravel()


def write(path: Path, scan: Scan) -> tuple[Path, ...]:
    """Write a scan as NXcxi_ptycho; the same scan gives the same bytes.

    Raises:
        DataError: the scan has no energy, distance and detector pixel, or its object pixel is not that of the far
            field; no room, a folder that can't be written; nothing is left behind.
    """
    import h5py

    classes = {
        "/": "NXroot",
        "/entry_1": "NXentry",
        "/entry_1/instrument_1": "NXinstrument",
        "/entry_1/instrument_1/source_1": "NXsource",
        "/entry_1/instrument_1/beam_1": "NXbeam",
        "/entry_1/instrument_1/detector_1": "NXdetector",
        "/entry_1/sample_1": "NXsample",
        "/entry_1/sample_1/geometry_1": "NXcollection",
        "/entry_1/sample_1/transformations": "NXtransformations",
        "/entry_1/data_1": "NXcollection",
        "/entry_1/data": "NXdata",
    }
    with writing_cxi(path, scan) as (file, joule):
        for group_name in classes:
            file.require_group(group_name)
        file["entry_1/definition"] = np.bytes_(NAME)
        file["entry_1/instrument_1/source_1/probe"] = np.bytes_("x-ray")
        for name in ("energy", "incident_beam_energy"):
            energy = f"entry_1/instrument_1/beam_1/{name}"
            file[energy] = np.float64(joule)
            file[energy].attrs["units"] = np.bytes_("J")
        translation = file["entry_1/sample_1/geometry_1/translation"]
        translation.attrs["axes"] = np.bytes_("translation:y:x")
        translation.attrs["interpretation"] = np.bytes_("image")
        detector = file["entry_1/instrument_1/detector_1"]
        detector["pixel_mask"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/mask")
        plot = file["entry_1/data"]
        plot["data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
        for place, axis in enumerate("xy"):
            motor = f"entry_1/sample_1/transformations/{axis}"
            file[motor] = translation[:, place]
            file[motor].attrs["units"] = np.bytes_("m")
            file[motor].attrs["vector"] = np.eye(3)[place]
            file[motor].attrs["transformation_type"] = np.bytes_("translation")
            file[motor].attrs["depends_on"] = np.bytes_("." if axis == "x" else "x")
            plot[axis] = h5py.SoftLink(f"/{motor}")
            plot.attrs[f"{axis}_indices"] = np.int64(0)
        file["entry_1/sample_1/depends_on"] = np.bytes_("transformations/y")
        for group in (plot, detector):
            group.attrs["signal"] = np.bytes_("data")
        plot.attrs["axes"] = np.array([b"x", b".", b"."])
        for group_name, kind in classes.items():
            file[group_name].attrs["NX_class"] = np.bytes_(kind)
    return (path,)
