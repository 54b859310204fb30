"""From stored arrays to the parts of a Scan: what every reader does the same way."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from foldlight.core.errors import DataError
from foldlight.frames import Frames, Stored, transposes
from foldlight.geometry import Geometry, wavelength_of
from foldlight.io.detector import BLOCK_BYTES, MOST, bad_pixels, crop_of
from foldlight.io.evidence import is_whole, judge_axis_order, judge_values, judge_zero_frequency, spread
from foldlight.io.npz import about
from foldlight.io.options import ReadOptions
from foldlight.io.probes import guessed_probe, read_probe
from foldlight.scan import place_on_canvas

__all__ = [
    "Storage",
    "finite",
    "finite_complex64",
    "geometry_of",
    "moved_to_canvas",
    "numbers",
    "photon_frames",
    "placed_positions",
    "probe_for",
    "probe_modes",
    "scaled_to_photons",
    "stated_geometry",
]

_SAMPLE = 32  # frames that bear witness
_CANVAS_PX = 2**30  # of an object canvas; its array takes 8 GiB
_SAME_LENGTH = 1e-3  # relative, between a stated pixel and the one that follows from the rest


@dataclass(frozen=True)
class Storage:
    """How a format, and then one file, stores its frames.

    Attributes:
        values: `amplitude` or `intensity`, as the format prescribes; None if it does not.
        zero_frequency: `centre` or `corner`, likewise.
        declared: what this file says itself, under the names of the options.
        scale: what this file says its numbers are to be multiplied by; None if it does not.
    """

    values: str | None = None
    zero_frequency: str | None = None
    declared: Mapping[str, str] = field(default_factory=dict)
    scale: float | None = None


def photon_frames(
    key: str,
    stored: Stored,
    n_positions: int,
    storage: Storage,
    options: ReadOptions,
    bad: np.ndarray | None = None,
) -> tuple[Frames, tuple[str, ...]]:
    """Frames that give photons, from an array as it lies in a file, and notes on what was found.

    All frames are read once, in blocks, to refuse bad numbers; they stay in their file if they were there. Pixels that
    hold the largest number of an unsigned type, one negative number, or no number, in every frame, carry a detector's
    mark for a bad pixel, and are taken as such.

    Args:
        key: name of the array.
        stored: (n, y, x), or with the frame number last.
        n_positions: as many frames there have to be.
        storage: how the format and the file say that frames are stored.
        options: what the user says.
        bad: (y, x) bool of the stored frames, True where the file says that a pixel is bad.

    Raises:
        DataError: not three axes of real numbers >= 0, not as many as the positions, nothing says how to read them, or
            a crop that is not inside.
    """
    with about(key):
        stored, notes = _frame_first(_real(stored), n_positions, storage, options)
        bad, bad_notes = bad_pixels(stored, bad, options.negative == "zero")
        crop, crop_notes = crop_of((stored.shape[1], stored.shape[2]), options)
        view = Frames(stored, crop=crop, bad=bad, floored=options.negative == "zero")
        sample = _sample(view)
        values = judge_values(sample, options.values, storage.declared.get("values"), storage.values)
        amplitude, scale = values.choice == "amplitude", options.scale or storage.scale or values.scale
        photons = (sample.astype(np.float64) * scale) ** (2 if amplitude else 1)
        asked = "centre" if options.centre_px and options.zero_frequency == "auto" else options.zero_frequency
        beam = judge_zero_frequency(
            photons.mean(axis=0), asked, storage.declared.get("zero_frequency"), storage.zero_frequency
        )
        if crop and beam.choice == "corner":
            raise DataError("expected frames with the zero frequency in the middle to crop, got it in the corner")
    whole = is_whole(photons, stored.dtype, roundings=1.25 if scale == 1.0 else 3.0)  # scaling rounded too
    corner = beam.choice == "corner"
    formula = f"(stored * {scale:.9g})^2" if amplitude else f"stored * {scale:.9g}"
    unknown = not (whole or options.scale or storage.scale)
    unit = "whole numbers" if whole else "in the file's own unit, no scale is known" if unknown else "not whole numbers"
    turned = [] if options.orientation == "as_stored" else [f"frames turned: {options.orientation}, as the option says"]
    notes += [
        *bad_notes,
        *crop_notes,
        f"{values.choice}, {values.reason}; photons = {formula}, {unit}",
        f"zero frequency in the {beam.choice}{', moved to the centre' * corner}: {beam.reason}",
        *turned,
    ]
    frames = replace(
        view, amplitude=amplitude, scale=scale, corner=corner, whole=whole, orientation=options.orientation
    )
    return frames, tuple(f"{key}: {note}" for note in notes)


def _real(stored: Stored) -> Stored:
    if isinstance(stored, np.ndarray):
        return numbers(stored, 3)
    if stored.dtype.kind not in "iuf":
        raise DataError(f"expected real numbers, got {stored.dtype}")
    return stored


def _frame_first(stored: Stored, n_positions: int, storage: Storage, options: ReadOptions) -> tuple[Stored, list[str]]:
    """The same frames as (n, y, x)."""
    if not math.prod(stored.shape):
        raise DataError(f"expected at least one frame, got an empty scan of shape {stored.shape}")
    order = judge_axis_order(stored.shape, n_positions, options.axis_order, storage.declared.get("axis_order"))
    if order.choice == "nyx":
        return stored, []
    turned = np.moveaxis(np.asarray(stored) if isinstance(stored, np.ndarray) else stored[:], -1, 0)
    if not isinstance(stored, np.ndarray) or isinstance(stored, np.memmap):
        turned = np.array(turned, order="C", subok=False)  # one frame would touch every page of the file
    return turned, [f"axes (y, x, n) turned to (n, y, x), {order.reason}"]


def _sample(view: Frames) -> np.ndarray:
    """Some frames as they are stored, in their own type, cropped, bad pixels and what is floored 0."""
    _, height, width = view.stored.shape
    size = height * width * view.stored.dtype.itemsize
    sample = spread(view.stored, min(_SAMPLE, max(4, 4 * BLOCK_BYTES // size)))
    if view.bad is not None:
        sample[:, view.bad] = 0
    if view.floored:
        sample = np.maximum(sample, 0)
    if view.crop is None:
        return sample
    top, bottom, left, right = view.crop
    return sample[:, top:bottom, left:right]


def geometry_of(
    frames: Frames,
    options: ReadOptions,
    wavelength_m: float | None = None,
    distance_m: float | None = None,
    detector_pixel_m: tuple[float, float] | None = None,
    pixel_size_m: tuple[float, float] | None = None,
) -> tuple[Geometry, list[str]]:
    """The lengths behind the pixels, from what the file says and what the user says instead, and notes.

    Args:
        frames: as they are read.
        options: what the user says; it counts more than the file.
        wavelength_m: of the light, as the file has it [m]; also of visible light, and of electrons.
        distance_m: from sample to detector, likewise [m].
        detector_pixel_m: (y, x) of a detector pixel, along the axes of the stored frames [m].
        pixel_size_m: (y, x) of an object pixel, where the file says it, for frames that are not cropped [m].

    Raises:
        DataError: something is missing, with the option that gives it, or absurd.
    """
    given = {name: getattr(options, name) for name in ("energy_kev", "distance_m", "detector_pixel_um", "pixel_nm")}
    notes = [f"{name} = {value:g}, as the option says" for name, value in given.items() if value]
    wavelength = wavelength_of(options.energy_kev * 1e3) if options.energy_kev else wavelength_m
    distance = options.distance_m or distance_m
    detector, stated = detector_pixel_m, None if frames.crop else pixel_size_m
    if transposes(options.orientation):
        detector, stated = _reversed(detector), _reversed(stated)
    if options.detector_pixel_um:
        detector = (options.detector_pixel_um * 1e-6,) * 2
    if options.pixel_nm:
        stated = (options.pixel_nm * 1e-9,) * 2
    far = _far_field(frames.shape[1:], wavelength, distance, detector)
    if stated and not (far and not options.pixel_nm and any(given.values())):
        known = Geometry(stated, wavelength, distance, detector)
        if far and not np.allclose(stated, far.pixel_size_m, rtol=_SAME_LENGTH):
            notes.append(
                f"object pixel: {_nm(known)} as stated, although light, distance and detector pixel make {_nm(far)}"
            )
        return known, notes
    if far is None:
        parts = {"energy_kev": wavelength, "distance_m": distance, "detector_pixel_um": detector}
        missing = ", ".join(name for name, value in parts.items() if not value)
        raise DataError(f"expected the size of an object pixel or what it follows from; set pixel_nm, or {missing}")
    return far, notes


def stated_geometry(frames: Frames, options: ReadOptions) -> tuple[Geometry | None, list[str]]:
    """The lengths behind the pixels of a format that has none, where the user says them all, and notes."""
    if options.pixel_nm or (options.energy_kev and options.distance_m and options.detector_pixel_um):
        return geometry_of(frames, options)
    return None, []


def _reversed(pair: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if pair is None else pair[::-1]


def _nm(geometry: Geometry) -> str:
    height, width = geometry.pixel_size_m
    return f"{height * 1e9:.5g} x {width * 1e9:.5g} nm"


def _far_field(
    window: tuple[int, int],
    wavelength_m: float | None,
    distance_m: float | None,
    detector_pixel_m: tuple[float, float] | None,
) -> Geometry | None:
    """The geometry that these make, where all are known."""
    if wavelength_m is None or distance_m is None or detector_pixel_m is None:
        return None
    return Geometry.far_field(window, wavelength_m, distance_m, detector_pixel_m)


def placed_positions(
    key: str,
    positions: np.ndarray,
    geometry: Geometry | None,
    options: ReadOptions,
    sign: Literal["beam", "sample"] = "beam",
) -> tuple[np.ndarray, list[str]]:
    """Positions (n, 2) float64 (y, x) [px] of the beam on the sample, of any origin, and notes.

    Args:
        key: name of the array.
        positions: (n, 2) real numbers (y, x): in metres when there is a geometry, else in pixels.
        geometry: of the scan.
        options: what the user says of order and sign.
        sign: whose motion the format says they are.

    Raises:
        DataError: another shape, or numbers that are not finite.
    """
    with about(key):
        found = numbers(np.asarray(positions), 2).astype(np.float64)
        if found.shape[1] != 2 or not len(found):
            raise DataError(f"expected (n, 2) positions, got shape {found.shape}")
        finite(found)
    notes = []
    if options.position_order == "xy":
        found = found[:, ::-1]
        notes.append(f"{key}: (x, y) swapped, as the option position_order says")
    with np.errstate(over="ignore", invalid="ignore"):
        found = found if geometry is None else found / np.array(geometry.pixel_size_m)
        reach = np.ptp(found, axis=0) + 1
        if not reach.prod() <= _CANVAS_PX or not np.abs(found).max() < MOST:
            raise DataError(
                f"{key}: expected positions that spread over at most {_CANVAS_PX:.2g} object pixels, got"
                f" {reach[0]:.3g} x {reach[1]:.3g}; check the units of positions and of the pixel"
            )
    if geometry is not None:
        notes.append(f"{key}: metres turned to object pixels of {_nm(geometry)}")
    chosen = sign if options.translation_sign == "auto" else options.translation_sign
    source = "as the format says" if options.translation_sign == "auto" else "as the option translation_sign says"
    if chosen == "sample":
        found = -found
        notes.append(f"{key}: the sample's motion, {source}, so negated")
    elif sign == "sample":
        notes.append(f"{key}: the beam's motion, {source}")
    return np.ascontiguousarray(found), notes


def probe_for(
    key: str,
    stored: np.ndarray | None,
    frames: Frames,
    geometry: Geometry | None,
    options: ReadOptions,
    in_photons: bool = False,
) -> tuple[np.ndarray, list[str]]:
    """The probe (mode, y, x) complex64 [sqrt(photon)]: of the file the user names, else the scan's, else guessed.

    Args:
        key: name of the array.
        stored: (y, x) or (mode, y, x) complex in the file, or None.
        frames: of the scan.
        geometry: for a guess with a defocus.
        options: `probe_from` and `defocus_um`.
        in_photons: the stored probe has its unit; else it is scaled to the mean photons per frame.

    Raises:
        DataError: no probe of the frames' size, no light in it, or a defocus without a geometry.
    """
    if options.probe_from is not None:
        name = options.probe_from.name
        found, lit = read_probe(options.probe_from, options.limit_bytes)
        probe, said = (
            probe_modes(name, found, frames.shape[1:]),
            f"probe: that of {name}, as the option probe_from says",
        )
        if lit:
            return probe, [said]
        probe, note = scaled_to_photons(name, probe, frames)
        return probe, [said, note]
    if stored is not None and frames.crop is None:
        probe = probe_modes(key, stored, frames.shape[1:])
        if in_photons:
            return probe, []
        probe, note = scaled_to_photons(key, probe, frames)
        return probe, [note]
    lost = [f"{key}: left out, it is that of frames that are not cropped"] if stored is not None else []
    note = (
        f"probe: none, guessed as the mean frame back at the sample, {options.defocus_um:g} um from the focus; refine"
        " it, or name one with the option probe_from"
    )
    return guessed_probe(frames, geometry, options.defocus_um * 1e-6), [*lost, note]


def numbers(array: np.ndarray, ndim: int, kinds: str = "iuf") -> np.ndarray:
    """The array itself, if it has that many axes and that kind of numbers.

    Raises:
        DataError: it has not.
    """
    words = {"c": "complex numbers", "b": "booleans"}.get(kinds, "real numbers")
    if array.dtype.kind not in kinds:
        raise DataError(f"expected {words}, got {array.dtype}")
    if array.ndim != ndim:
        raise DataError(f"expected {ndim} axes, got shape {array.shape}")
    return array


def finite(array: np.ndarray) -> np.ndarray:
    """The array itself, if all its values are finite.

    Raises:
        DataError: they are not.
    """
    bad = ~np.isfinite(array)
    if bad.any():
        raise DataError(f"expected finite values, got {int(bad.sum())} that are not, first at {_first(bad)}")
    return array


def finite_complex64(array: np.ndarray) -> np.ndarray:
    """A copy in memory as complex64.

    Raises:
        DataError: values that are not finite, or too large for it.
    """
    with np.errstate(over="ignore"):  # becomes infinite, and is refused
        return finite(np.array(array, dtype=np.complex64, subok=False))


def _first(bad: np.ndarray) -> list[int]:
    return [int(index) for index in np.argwhere(bad)[0]]


def probe_modes(key: str, stored: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """(mode, y, x) complex64 in memory, from (y, x) or (mode, y, x), in the file's unit.

    Raises:
        DataError: not complex, not of the frames' size, not finite.
    """
    with about(key):
        modes = numbers(stored[None] if stored.ndim == 2 else stored, 3, "c")
        if modes.shape[1:] != window or not len(modes):
            size = f"{window[0]}, {window[1]}"
            raise DataError(f"expected ({size}) or (modes, {size}) as the frames, got {stored.shape}")
        return finite_complex64(modes)


def scaled_to_photons(key: str, probe: np.ndarray, frames: Frames) -> tuple[np.ndarray, str]:
    """A probe of unknown unit, scaled so that its power is the mean photons per frame, and a note.

    The least wrong guess for an object that absorbs little. Source: docs/physics.md, forward model.

    Raises:
        DataError: there is no light in the probe or in the frames.
    """
    power = float(np.sum(np.abs(probe.astype(np.complex128)) ** 2))
    mean = float(frames.totals.mean())
    if not (power > 0 and mean > 0):
        raise DataError(f"{key}: expected light, got a probe of power {power:g} and {mean:g} photons per frame")
    factor = np.sqrt(mean / power)
    note = f"{key}: unit unknown, rescaled by {factor:.6g} to the mean photons per frame, {mean:.6g}"
    return (probe * factor).astype(np.complex64), note


def moved_to_canvas(positions_px: np.ndarray, window: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int], str]:
    """`place_on_canvas` and a note of what it did."""
    moved, canvas = place_on_canvas(positions_px, window)
    shift_y, shift_x = moved[0] - positions_px[0]
    note = (
        f"positions: moved by (y, x) = ({shift_y:.9g}, {shift_x:.9g}) px onto a canvas of {canvas[0]} x {canvas[1]} px"
    )
    return moved, canvas, note
