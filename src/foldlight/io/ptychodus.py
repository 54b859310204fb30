"""Ptychodus: one scan in a folder with two HDF5 files, `diffraction.h5` and `product.h5`; either may be named.

`diffraction.h5`:

- `patterns` (n, y, x) reals: counts, zero frequency at `[N // 2, N // 2]`. Attributes `detector_pixel_height_m`,
  `detector_pixel_width_m`.
- `indexes` (n,) integers: which position a pattern belongs to; negative: never recorded.
- `bad_pixels` (y, x) bool, True is bad; none when absent.
- `probe_photon_counts` (n,), or absent: light of each exposure [photon].

`product.h5` is described in `foldlight.io.ptychodus_product`, and so is how patterns and positions are paired. Where a
file has another name, `--companion` tells the second.

What is made of it:

- The middle of the window, `(N - 1) / 2`, lies at the position, and ours is its pixel `N // 2`: half a pixel further
  where N is even. Positions are the beam's on the sample.
- The scan's canvas is the object array, so that images overlay, with whole pixels added where windows stick out.
- A probe as ptychodus makes one has `sum |P|^2` photons. One that pty-chi refined has `H W` times less, as its FFT is
  not normalised. Whichever is nearer to the mean frame is taken; a probe in neither unit is scaled to it.
- Probes that vary (OPR) become the one of the mean weights; several layers become their product.
- `far_field = False`, and a probe sampled otherwise than the object, are refused: nothing here computes them.
- The object's pixel as the product states it counts, also where light, distance and detector make another.

Written are both files: indexes 0 to n - 1 in both, since other programs take them as row numbers; patterns contiguous,
in the smallest whole numbers that hold them; probe in `sqrt(photon)`; an object of ones where the scan has none. Lost
are the numbers of frames, notes and origin but for what a product holds, and whether the object is the truth. A scan
without photon energy, distance or detector pixel is refused. Source: files of ptychodus 1.7, which opens and makes them
in tests/interop.
"""

import math
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from foldlight.core.errors import DataError
from foldlight.core.files import replacing
from foldlight.frames import Frames
from foldlight.geometry import Geometry, wavelength_of
from foldlight.io.frame_writer import FrameWriter
from foldlight.io.frames import (
    Storage,
    finite,
    geometry_of,
    moved_to_canvas,
    numbers,
    photon_frames,
    placed_positions,
    probe_for,
)
from foldlight.io.hdf5 import Hdf5, is_hdf5, open_hdf5, reserve, told_writing, written_hdf5
from foldlight.io.npz import about
from foldlight.io.options import ReadOptions
from foldlight.io.ptychodus_product import Product, paired, read_product, write_product
from foldlight.scan import Scan

__all__ = ["DIFFRACTION", "NAME", "PRODUCT", "SIGNS", "files", "matches", "product_of", "read", "write"]

NAME = "ptychodus"
SIGNS = "patterns and indexes, or probe_position_indexes and probe"
DIFFRACTION, PRODUCT = "diffraction.h5", "product.h5"

_KEPT = (
    "name",
    "comments",
    "polarization",
    "exposure_time_s",
    "mass_attenuation_m2_per_kg",
    "tomography_angle_deg",
    "tilt_angle_deg",
    "focus_object_distance_m",
)
_SAME_PIXEL = 1e-3  # relative
_SAME_PLACE_PX = 1e-3
_SAME_PROBE = 1e-6  # of the light
_UNIT_FACTOR = 10.0  # a probe's power may be so far from the mean frame's photons, up or down: an object absorbs
_INSIDE_PX = 1e-6  # what rounding of metres may put a window outside of the object
_DATASET_BYTES = 2**16


def matches(file: Hdf5) -> bool:
    """Whether an HDF5 file is one of the two."""
    return _is_patterns(file) or _is_product(file)


def _is_patterns(file: Hdf5) -> bool:
    return {"patterns", "indexes"} <= set(file.keys)


def _is_product(file: Hdf5) -> bool:
    return {"probe_position_indexes", "probe"} <= set(file.keys)


def read(file: Hdf5, options: ReadOptions) -> Scan:
    """A scan from one of its files, opened; the other is looked for beside it.

    Raises:
        DataError: the second file is missing, or something in them is not what the layout asks for.
    """
    if _is_patterns(file):
        second = _companion(file.path, PRODUCT, options)
        with open_hdf5(second, options.limit_bytes) as other:
            if not _is_product(other):
                raise DataError("expected a product of ptychodus, got another HDF5 file; name it with companion")
            product = read_product(other)
        return _scan(file, product, options)
    product = read_product(file)
    with open_hdf5(_companion(file.path, DIFFRACTION, options), options.limit_bytes) as other:
        if not _is_patterns(other):
            raise DataError("expected patterns of ptychodus, got another HDF5 file; name it with companion")
        return _scan(other, product, options)


def _companion(path: Path, usual: str, options: ReadOptions) -> Path:
    second = options.companion or path.with_name(usual)
    if not is_hdf5(second):
        raise DataError(f"expected the other file of the scan as {second}, found none; name it with companion")
    return second


def _scan(file: Hdf5, product: Product, options: ReadOptions) -> Scan:
    """The scan of an open `diffraction.h5` and a product."""
    if not product.facts.get("far_field", True):
        raise DataError("far_field: expected frames from the far field, got a product that says they are not")
    stored, bad = file.frames("patterns"), _bad_pixels(file)
    rows, places, pairing = paired(_indexes(file), product)
    frames, frame_notes = photon_frames("patterns", stored, len(stored), Storage("intensity", "centre"), options, bad)
    if len(rows) < len(frames):
        frames = frames.select(rows)
    geometry, geometry_notes = _geometry(file, frames, product, options)
    positions, canvas, image, zero, place_notes = _placed(places, product, geometry, frames, options)
    probe, probe_notes = _probe(product, frames, geometry, options)
    return Scan(
        frames,
        positions,
        probe,
        canvas,
        object=image,
        mask=frames.mask,
        notes=(
            *pairing,
            *frame_notes,
            *geometry_notes,
            *place_notes,
            *probe_notes,
            *_unused(file, product),
        ),
        origin={"ptychodus": _facts(product, positions, zero, geometry)},
        frame_index=_indexes(file)[rows],
        geometry=geometry,
    )


def _indexes(file: Hdf5) -> np.ndarray:
    stored = file.array("indexes")
    with about("indexes"):
        found = numbers(stored, 1, "iu").astype(np.int64)
        if len(found) != len(file.dataset("patterns")):
            raise DataError(f"expected as many as patterns, {len(file.dataset('patterns'))}, got {len(found)}")
        return found


def _bad_pixels(file: Hdf5) -> np.ndarray | None:
    if "bad_pixels" not in file:
        return None
    stored = file.array("bad_pixels")
    with about("bad_pixels"):
        return numbers(stored, 2, "biu").astype(bool)


def _geometry(file: Hdf5, frames: Frames, product: Product, options: ReadOptions) -> tuple[Geometry, list[str]]:
    """Lengths as the two files say; a length of 0 is one that nobody gave."""
    energy = product.facts.get("photon_energy_eV")
    wavelength = None if options.energy_kev or not energy else wavelength_of(energy)
    distance = abs(product.facts.get("detector_object_distance_m", 0.0)) or None
    height, width = (_side(file, f"detector_pixel_{side}_m") for side in ("height", "width"))
    pixel = (height, width) if height and width else None
    return geometry_of(frames, options, wavelength, distance, pixel, product.pixel_size_m)


def _side(file: Hdf5, name: str) -> float:
    """An attribute of the patterns that is one number; 0 where there is none, or none of some length."""
    stored = np.asarray(file.attribute(name, "patterns"))
    return max(0.0, float(stored.item())) if stored.size == 1 and stored.dtype.kind in "iuf" else 0.0


def _placed(
    places_m: np.ndarray, product: Product, geometry: Geometry, frames: Frames, options: ReadOptions
) -> tuple[np.ndarray, tuple[int, int], np.ndarray | None, np.ndarray, list[str]]:
    """Positions on the canvas, the canvas, the object on it, the place [m] of the canvas' coordinate 0, and notes."""
    window = frames.shape[1:]
    pixel = np.array(geometry.pixel_size_m)
    both = np.concatenate([places_m, [product.centre_m]])
    absolute, notes = placed_positions("probe_position", both, geometry, options)
    size = np.array(product.object.shape[1:])
    corner = absolute[-1] - (size - 1) / 2 - _half(window)  # of the object array, in pixels
    at = absolute[:-1] - corner
    untouched = (
        options.position_order != "xy"
        and options.translation_sign != "sample"
        and np.allclose(pixel, product.pixel_size_m, rtol=_SAME_PIXEL)
        and frames.crop is None
    )
    more = _missing(at, window, product.object.shape[1:])
    far = any(max(pair) > size for pair, size in zip(more, product.object.shape[1:], strict=True))
    if options.ignore_object or far or not untouched:
        moved, canvas, note = moved_to_canvas(at, window)
        why = (
            "positions lie farther outside of it than it is large" if far else "it is that of other positions or pixels"
        )
        lost = [] if options.ignore_object else [f"object: left out, {why}"]
        return moved, canvas, None, (corner - (moved - at)[0]) * pixel, [*notes, *lost, note]
    with np.errstate(over="ignore", invalid="ignore"), about("object"):
        image = finite(np.prod(product.object, axis=0).astype(np.complex64))
    if any(map(any, more)):
        image = np.pad(image, more, constant_values=1)
        notes.append(f"object: {more[0]} rows and {more[1]} columns of ones added, windows stuck out")
    if len(product.object) > 1:
        notes.append(f"object: the product of {len(product.object)} layers")
    first = np.array([before for before, _ in more])
    lowest = np.array(window) // 2
    inside = np.clip(at + first, lowest, lowest + np.array(image.shape) - np.array(window))
    height, width = image.shape
    return inside, (height, width), image, (corner - first) * pixel, notes


def _half(window: tuple[int, int]) -> np.ndarray:
    """From the middle of a window to its pixel N // 2, (y, x) [px]: 0.5 where N is even."""
    size = np.array(window)
    return size // 2 - (size - 1) / 2


def _missing(positions: np.ndarray, window: tuple[int, int], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Rows and columns, (before, after) each, that an object lacks for all windows to lie in it."""
    low = positions.min(axis=0) - np.array(window) // 2
    high = positions.max(axis=0) - np.array(window) // 2 + np.array(window) - np.array(shape)
    return [
        (max(0, math.ceil(-before - _INSIDE_PX)), max(0, math.ceil(after - _INSIDE_PX)))
        for before, after in zip(low.tolist(), high.tolist(), strict=True)
    ]


def _probe(product: Product, frames: Frames, geometry: Geometry, options: ReadOptions) -> tuple[np.ndarray, list[str]]:
    """The probe's modes in sqrt(photon), and notes."""
    if options.probe_from is not None or frames.crop is not None:
        return probe_for("probe", product.modes, frames, geometry, options)
    sampled = product.probe_pixel_m or product.pixel_size_m
    if not np.allclose(sampled, product.pixel_size_m, rtol=_SAME_PIXEL):
        raise DataError(
            f"probe: expected pixels as the object's, {product.pixel_size_m} m, got {sampled}; resample it in"
            " ptychodus, or name one with probe_from"
        )
    notes = []
    if (share := product.variation) > _SAME_PROBE:
        notes.append(f"probe: that of the mean OPR weights; {share:.2%} of its first mode's light varies")
    modes, mean = product.modes, float(frames.totals.mean())
    power = float(np.sum(np.abs(modes.astype(np.complex128)) ** 2))
    units = {"in photons": 1.0, "in pty-chi's unit, H W times less than photons": float(np.prod(modes.shape[1:]))}
    fitting = [
        (abs(math.log(power * factor / mean)), said, factor)
        for said, factor in units.items()
        if power > 0 and mean > 0 and 1 / _UNIT_FACTOR <= power * factor / mean <= _UNIT_FACTOR
    ]
    if not fitting:
        probe, more = probe_for("probe", modes, frames, geometry, options)
        return probe, [*notes, *more]
    _, said, factor = min(fitting)
    probe, more = probe_for("probe", modes * math.sqrt(factor), frames, geometry, options, in_photons=True)
    return probe, [*notes, f"probe: {said}, {power * factor / mean:.4g} times the mean frame", *more]


def _unused(file: Hdf5, product: Product) -> list[str]:
    """What is there and not used."""
    if "probe_photon_counts" not in file and product.photon_counts is None:
        return []
    return ["probe_photon_counts: the light of each exposure is not used, all are taken as alike"]


def _facts(product: Product, positions_px: np.ndarray, zero_m: np.ndarray, geometry: Geometry) -> dict[str, Any]:
    """What goes back into a product: words and numbers, and where the canvas lies, with two positions as witnesses."""
    pixel = np.array(geometry.pixel_size_m)
    witnesses = (positions_px[[0, -1]] * pixel + zero_m).tolist()
    kept = {name: product.facts[name] for name in _KEPT if product.facts.get(name)}
    return {**kept, "zero_m": zero_m.tolist(), "ends_m": witnesses}


@dataclass(frozen=True)
class _Lab:
    """Where a scan's canvas lies: coordinate 0 at `zero_m`, (y, x) [m]."""

    zero_m: np.ndarray
    pixel_m: np.ndarray

    @classmethod
    def of(cls, scan: Scan, geometry: Geometry) -> "_Lab":
        """As the product that the scan was read from has it, if no position was changed since; else centred on 0."""
        pixel = np.array(geometry.pixel_size_m)
        centred = -(_half(scan.window) + (np.array(scan.canvas) - 1) / 2) * pixel
        facts = scan.origin.get("ptychodus")
        try:
            zero, ends = (np.array(facts[name], dtype=np.float64) for name in ("zero_m", "ends_m"))  # type: ignore[index]
            here = scan.positions_px[[0, -1]] * pixel + zero
            return cls(zero if np.abs((here - ends) / pixel).max() < _SAME_PLACE_PX else centred, pixel)
        except (TypeError, KeyError, ValueError):
            return cls(centred, pixel)

    def metres(self, positions_px: np.ndarray) -> np.ndarray:
        """(n, 2) float64 (y, x) [m] of positions on the canvas."""
        return positions_px * self.pixel_m + self.zero_m

    def centre(self, scan: Scan) -> tuple[float, float]:
        """(y, x) [m] of the middle of the canvas."""
        y, x = self.zero_m + (_half(scan.window) + (np.array(scan.canvas) - 1) / 2) * self.pixel_m
        return float(y), float(x)


def product_of(
    scan: Scan,
    image: np.ndarray | None = None,
    probe: np.ndarray | None = None,
    positions_px: np.ndarray | None = None,
    facts: dict[str, Any] | None = None,
) -> Product:
    """The product of a scan, or of what was made of it on the same canvas.

    Args:
        scan: whose frames, canvas and geometry.
        image: (y, x) complex object in place of the scan's.
        probe: (mode, y, x) complex [sqrt(photon)] in place of the scan's.
        positions_px: (n, 2) in place of the scan's.
        facts: root attributes in place of those of the product that the scan was read from.

    Raises:
        DataError: the scan's geometry lacks something that ptychodus asks for.
    """
    geometry = _complete(scan.geometry)
    lab = _Lab.of(scan, geometry)
    thing = scan.object if image is None else image
    thing = np.ones(scan.canvas, dtype=np.complex64) if thing is None else thing
    light = scan.probe if probe is None else probe
    places = scan.positions_px if positions_px is None else positions_px
    before = scan.origin.get("ptychodus")
    kept = {name: before[name] for name in _KEPT if name in before} if isinstance(before, dict) else {}
    measured = {
        "photon_energy_eV": geometry.energy_ev,
        "detector_object_distance_m": geometry.distance_m,
        "probe_photon_count": float(np.sum(np.abs(light.astype(np.complex128)) ** 2)),
    }
    named = {"name": "foldlight", "comments": f"written by foldlight {version('foldlight')}"}
    return Product(
        scan.frame_index,
        lab.metres(places),
        light.astype(np.complex64)[None],
        thing.astype(np.complex64)[None],
        geometry.pixel_size_m,
        lab.centre(scan),
        facts={**named, **kept, **measured, **(facts or {})},
    )


def _complete(geometry: Geometry | None) -> Geometry:
    """A geometry with all that ptychodus asks for."""
    options = {"wavelength_m": "energy-kev", "distance_m": "distance-m", "detector_pixel_m": "detector-pixel-um"}
    missing = [option for name, option in options.items() if geometry is None or getattr(geometry, name) is None]
    if geometry is None or missing:
        raise DataError(
            "ptychodus: expected photon energy, detector distance and pixel, got a scan without; read it with"
            f" --{', --'.join(missing)}"
        )
    return geometry


def files(path: Path) -> tuple[Path, Path]:
    """`diffraction.h5` and `product.h5` in the folder of that name, or in that of the file.

    Raises:
        DataError: another file's name.
    """
    folder = path.parent if path.name in {DIFFRACTION, PRODUCT} else path
    if folder == path and path.suffix:
        raise DataError(
            f"{path}: expected a folder, or {DIFFRACTION} or {PRODUCT} in one: a scan of ptychodus is two files of"
            " these names"
        )
    return folder / DIFFRACTION, folder / PRODUCT


def write(path: Path, scan: Scan) -> tuple[Path, ...]:
    """Write both files into a folder; the same scan gives the same bytes.

    Args:
        path: the folder, or the name of either file in it.
        scan: with a geometry.

    Returns:
        `diffraction.h5` and `product.h5`.

    Raises:
        DataError: another name, a geometry that lacks something, or a place that can't be written.
    """
    diffraction, product_file = files(path)
    with about(str(product_file.parent)):
        product = replace(product_of(scan), indexes=np.arange(len(scan), dtype=np.int64))
    _write_patterns(diffraction, scan, product)
    write_product(product_file, product)
    return diffraction, product_file


def _write_patterns(path: Path, scan: Scan, product: Product) -> None:
    height, width = _complete(scan.geometry).detector_pixel_m or (0.0, 0.0)
    with replacing(path) as temporary, told_writing(path):
        with FrameWriter(temporary, scan.photons, packed=False, told=lambda _: None) as writer:
            for block in scan.photons.blocks():
                writer.add(block, scan.photons[block])
        with written_hdf5(temporary, "r+") as file:
            reserve(file, _DATASET_BYTES + product.indexes.nbytes + scan.mask.nbytes)
            file.move("frames", "patterns")
            for name in list(file["patterns"].attrs):
                del file["patterns"].attrs[name]
            file["patterns"].attrs["detector_pixel_height_m"] = height
            file["patterns"].attrs["detector_pixel_width_m"] = width
            file["indexes"] = product.indexes
            file["bad_pixels"] = ~scan.mask
