"""Detector and sample in the laboratory, as CXI and NeXus describe them, brought to rows and columns of frames.

The laboratory's frame: z along the beam, y up, x completing it to a right-handed one, so that x points to the left of
who looks along the beam [CXI 1.6; McStas]. Light that leaves the sample towards +x meets the detector at +x: a step
from one row of a frame to the next and from one row of the object to the next have the same direction. So the object's
(y, x) are the components of a displacement along the detector's two basis vectors. Source: the Fraunhofer kernel
exp(-2 pi i r q), with q = detector coordinate / (wavelength * distance).
"""

from dataclasses import dataclass

import numpy as np

from foldlight.core.errors import DataError
from foldlight.geometry import wavelength_of
from foldlight.io.frames import Storage, geometry_of, photon_frames
from foldlight.io.hdf5 import Hdf5
from foldlight.io.metric import metric_scan
from foldlight.io.npz import about
from foldlight.io.options import ReadOptions
from foldlight.io.probes import PHOTONS
from foldlight.io.units import fixed_length, lengths, words
from foldlight.scan import Scan

__all__ = ["Detector", "Experiment", "bad_pixels", "detector_at", "scan_of", "translation_at"]

_ROWS, _COLUMNS = np.array([0.0, -1.0, 0.0]), np.array([-1.0, 0.0, 0.0])  # CXI's, where a file gives none
_TILT = 0.05  # sine of about 3 degrees: further off, lengths differ by more than a thousandth
_LONGEST_M = 1e3  # that a pixel of a sound file may be
_SHEAR = 0.02  # cosine of about 89 degrees
_SAME_LENGTH = 1e-3  # relative
_STORAGE = Storage("intensity", "centre", {"axis_order": "nyx"})
_OFF_CENTRE_PX = 2.0
_HAS_SIGNAL = 0x1000
_SAME_M = 1e-10


@dataclass(frozen=True)
class Detector:
    """Where the detector's pixels are.

    Attributes:
        rows: (3,) unit vector (x, y, z) from one row to the next.
        columns: (3,) unit vector from one column to the next.
        pixel_m: (y, x) of a pixel [m], None where the file has none.
        distance_m: from the sample [m], likewise.
        centre_px: (y, x) pixel of the direct beam, likewise.
        notes: what was assumed.
    """

    rows: np.ndarray
    columns: np.ndarray
    pixel_m: tuple[float, float] | None
    distance_m: float | None
    centre_px: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """What a reader of this family has found, in SI units and in the laboratory's frame.

    Attributes:
        data: name of the frames' dataset.
        mask: name of the mask, None where there is none.
        detector: where its pixels are.
        energy_ev: photon energy [eV], None where the file has none.
        translation_m: (n, 3) float64 displacement of the sample [m] (x, y, z).
        probe: name of the probe's dataset, None where there is none.
        notes: what was found so far.
    """

    data: str
    mask: str | None
    detector: Detector
    energy_ev: float | None
    translation_m: np.ndarray
    probe: str | None = None
    notes: tuple[str, ...] = ()


def detector_at(file: Hdf5, group: str) -> Detector:
    """The detector of a group with `basis_vectors`, `x_pixel_size`, `y_pixel_size`, `distance`, `corner_position`.

    Basis vectors are (2, 3), one a row, or (3, 2), one a column; the first goes from one row of a frame to the next.
    Without them rows run along -y and columns along -x, as CXI 1.6 has it.

    Raises:
        DataError: vectors that are of another shape, not at right angles, or along the beam.
    """
    sizes = [_positive(fixed_length(file, f"{group}/{axis}_pixel_size")) for axis in "yx"]
    known = [size for size in sizes if size]
    pixel = None if not known else (sizes[0] or known[0], sizes[1] or known[0])
    notes = [f"{group}: pixels taken as square, only one size is given"] * (len(known) == 1)
    rows, columns = _ROWS, _COLUMNS
    if f"{group}/basis_vectors" in file:
        rows, columns, pixel, basis_notes = _basis(file, f"{group}/basis_vectors", pixel)
        notes += basis_notes
    else:
        notes.append(f"{group}: no basis_vectors, rows taken to run along -y and columns along -x, as CXI has it")
    corner = lengths(file, f"{group}/corner_position") if f"{group}/corner_position" in file else np.zeros(0)
    distance = _positive(fixed_length(file, f"{group}/distance"))
    if distance is None and corner.shape == (3,):
        distance = _positive(abs(float(corner @ np.cross(rows, columns))))
        notes.append(f"{group}: no distance, taken from corner_position")
    centre = None
    if corner.shape == (3,) and corner[:2].any() and pixel is not None:
        centre = -float(corner @ rows) / pixel[0], -float(corner @ columns) / pixel[1]
    return Detector(rows, columns, pixel, distance, centre, tuple(notes))


def _positive(length: float | None) -> float | None:
    """The length itself; None for 0 and less, which stand where nothing is known."""
    return length if length is not None and length > 0 else None


def _basis(
    file: Hdf5, name: str, sizes: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray, tuple[float, float], list[str]]:
    """Unit vectors of rows and of columns, (y, x) of a pixel [m] and notes; `sizes` is what the file says of pixels.

    The sizes tell vectors without a length, and the vector from column to column when it comes first.
    """
    rows, columns = _two_vectors(file, name)
    norms = float(np.linalg.norm(rows)), float(np.linalg.norm(columns))
    rows, columns, pixel, notes = rows / norms[0], columns / norms[1], norms, []
    if sizes is not None and not np.allclose(norms, sizes, rtol=_SAME_LENGTH):
        if np.allclose(norms, 1):
            pixel = sizes
            notes.append(f"{name}: directions only, lengths taken from x_pixel_size and y_pixel_size")
        elif np.allclose(norms, sizes[::-1], rtol=_SAME_LENGTH):
            rows, columns, pixel = columns, rows, sizes
            notes.append(f"{name}: from column to column comes first, as x_pixel_size and y_pixel_size tell")
        else:
            notes.append(f"{name}: other lengths than x_pixel_size and y_pixel_size; the vectors' are taken")
    notes.append(f"{name}: rows run along {_shown(rows)}, columns along {_shown(columns)} (x, y, z)")
    if abs(rows[0]) > abs(rows[1]):
        notes.append(
            f"{name}: the vector taken as from row to row lies along x; if the file has the one from column to column"
            " first, set position_order to xy"
        )
    return rows, columns, pixel, notes


def _two_vectors(file: Hdf5, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The first and the second vector [m].

    Raises:
        DataError: of another shape, not at right angles, or not across the beam.
    """
    vectors = lengths(file, name)
    with about(name):
        if vectors.shape[:1] == (1,):
            vectors = vectors[0]
        if vectors.shape not in {(2, 3), (3, 2)}:
            raise DataError(f"expected (2, 3) or (3, 2), of one detector, got shape {vectors.shape}")
        first, second = vectors if vectors.shape == (2, 3) else vectors.T
        norms = [float(np.linalg.norm(vector)) for vector in (first, second)]
        if not all(norms):
            raise DataError("expected two vectors of some length, got zeros")
        tilt = max(abs(float(vector[2])) / norm for vector, norm in zip((first, second), norms, strict=True))
        if tilt > _TILT:
            raise DataError(
                f"expected a detector across the beam, got one tilted by {np.degrees(np.arcsin(tilt)):.3g} degrees;"
                " map its frames onto a plane across the beam first"
            )
        shear = abs(float(first @ second)) / (norms[0] * norms[1])
        if shear > _SHEAR:
            raise DataError(
                f"expected rows and columns at right angles, got {np.degrees(np.arccos(shear)):.3g} degrees"
            )
        return first, second


def _shown(vector: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in vector + 0.0) + ")"


def translation_at(file: Hdf5, names: tuple[str, ...]) -> tuple[np.ndarray | None, list[str]]:
    """(n, 3) float64 displacements [m] of the first of some datasets that is there, and notes; None where none is.

    Leading axes of a raster become one; (n, 2) are x and y.

    Raises:
        DataError: no numbers, another shape, or other units than lengths.
    """
    present = [name for name in names if name in file]
    if not present:
        return None, []
    found = _translation(file, present[0])
    notes = [
        f"{other}: differs from {present[0]}, which was taken"
        for other in present[1:]
        if not _agree(found, _translation(file, other))
    ]
    return found, [f"{present[0]}: {len(found)} positions (x, y, z) in the laboratory", *notes]


def _translation(file: Hdf5, name: str) -> np.ndarray:
    values = lengths(file, name)
    with about(name):
        if values.ndim < 2 or values.shape[-1] not in {2, 3} or not values.size:
            raise DataError(f"expected (n, 3) positions (x, y, z), got shape {values.shape}")
    values = values.reshape(-1, values.shape[-1])
    return np.pad(values, ((0, 0), (0, 3 - values.shape[1])))


def _agree(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.allclose(one - one[0], other - other[0], rtol=1e-6, atol=_SAME_M))


def bad_pixels(file: Hdf5, name: str | None, window: tuple[int, int]) -> tuple[np.ndarray | None, list[str]]:
    """(y, x) bool of the stored frames, True where any bit of the mask is set in any frame, and notes.

    A pixel with no bit but 0x1000 is good: for CXI that is signal above the background.

    Raises:
        DataError: no whole numbers, or not of the frames' size.
    """
    if name is None:
        return None, []
    dataset = file.dataset(name)
    with about(name):
        if dataset.dtype.kind not in "iub" or dataset.shape[-2:] != window:
            raise DataError(
                f"expected whole numbers of shape {window} as the frames, got {dataset.shape} of {dataset.dtype}"
            )
    notes = []
    if dataset.ndim == 2:
        values = file.array(name)
        bad, signal = _flagged(values), int((values == _HAS_SIGNAL).sum())
    else:
        stored = file.frames(name)
        bad, signal = np.zeros(window, dtype=bool), 0
        for index in range(len(stored)):
            values = stored[index]
            bad |= _flagged(values)
            signal += int((values == _HAS_SIGNAL).sum())
        notes.append(f"{name}: a pixel that is marked in any of {len(stored)} frames is bad in all")
    if signal:
        notes.append(
            f"{name}: {signal} pixels with no mark but 0x1000 are trusted: CXI means signal above the background"
        )
    return bad, notes


def _flagged(values: np.ndarray) -> np.ndarray:
    return (values != 0) & (values != _HAS_SIGNAL)


def scan_of(file: Hdf5, found: Experiment, options: ReadOptions) -> Scan:
    """The scan that an experiment makes.

    Raises:
        DataError: frames, mask, positions or lengths are not what a scan asks for, or are missing.
    """
    stored = file.frames(found.data)
    window = (int(stored.shape[1]), int(stored.shape[2]))
    bad, mask_notes = bad_pixels(file, found.mask, window)
    options, centre_notes = _centred(options, found.detector.centre_px, window)
    frames, frame_notes = photon_frames(found.data, stored, len(found.translation_m), _STORAGE, options, bad)
    detector = found.detector
    wavelength = None if found.energy_ev is None else wavelength_of(found.energy_ev)
    geometry, geometry_notes = geometry_of(
        frames, options, wavelength_m=wavelength, distance_m=detector.distance_m, detector_pixel_m=detector.pixel_m
    )
    across = found.translation_m @ np.stack([detector.rows, detector.columns], axis=1)
    in_photons = found.probe is not None and words(file.attribute("units", found.probe)) == PHOTONS
    probe, unfit_notes = _probe(file, found.probe, window if frames.crop else frames.shape[1:])
    notes = (
        *found.notes,
        *detector.notes,
        *mask_notes,
        *centre_notes,
        *frame_notes,
        *geometry_notes,
        *unfit_notes,
    )
    name = found.probe or "probe"
    return metric_scan(frames, geometry, "translation", across, options, notes, "sample", name, probe, in_photons)


def _centred(
    options: ReadOptions, centre: tuple[float, float] | None, window: tuple[int, int]
) -> tuple[ReadOptions, list[str]]:
    """Options that crop around the file's beam centre where none is asked for, and what to say of a beam off centre."""
    if centre is None or options.centre_px is not None:
        return options, []
    if not all(0 <= at < size for at, size in zip(centre, window, strict=True)):
        return options, []
    shown = f"the direct beam is on ({centre[0]:.4g}, {centre[1]:.4g}) of the stored frames (y, x), says the file"
    if options.crop_px is not None:
        return options.model_copy(update={"centre_px": centre}), [f"{shown}; cropped around it"]
    middle = [size // 2 for size in window]
    if max(abs(at - to) for at, to in zip(centre, middle, strict=True)) <= _OFF_CENTRE_PX:
        return options, []
    return options, [f"{shown}, not in the middle; crop_px takes frames around it"]


def _probe(file: Hdf5, name: str | None, window: tuple[int, int]) -> tuple[np.ndarray | None, list[str]]:
    """The file's probe where it can be one, else None and why."""
    if name is None:
        return None, []
    dataset = file.dataset(name)
    if dataset.dtype.kind == "c" and dataset.ndim in {2, 3} and dataset.shape[-2:] == window and dataset.size:
        return file.array(name), []
    return None, [f"{name}: not used, {dataset.shape} of {dataset.dtype} is no complex probe of {window} pixels"]
