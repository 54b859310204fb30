"""Scans as PtyLab takes them: one HDF5 file, lengths in metres.

| dataset | meaning |
|---|---|
| `ptychogram` (n, y, x) | intensities, y = x, the direct beam on [N // 2, N // 2] |
| `encoder` (n, 2) | (y, x) positions of the beam on the sample [m], 0 in the middle of the object |
| `wavelength`, `zo`, `dxd` | of the light, sample to detector, detector pixel as stored (after binning) [m] |
| `entrancePupilDiameter`, optional | diameter of the probe at the sample [m]; written, not used: the frames tell more |
| `orientation`, optional | a number, below, that says how to turn the frames before use |
| `spectralDensity`, optional | wavelengths; refused where there are several |
| `binningFactor`, `Nd`, `No`, `theta`, `emptyBeam`, optional | not used |
| `mask` (y, x), our addition | 1 where a pixel is to be trusted; PtyLab does not look at it |

Each length is one number, as a scalar or an array of one. Orientation 0 leaves the frames, 1 flips columns, 2 rows, 3
both; 4 to 7 do the same after a transposition. A flip leaves the direct beam on its pixel, see `frames.turn`. The
option `orientation` turns the frames once more. Files of Fourier ptychography (`zled`, `magnification`) are refused.

There is no probe: `probe_from` names one, or it is guessed. Written: counts as float32 (exact to 2^24). Lost when
written: the probe, the object and its canvas, numbers of frames, notes. Bad pixels are written as 0 and in `mask`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from foldlight.core.errors import DataError
from foldlight.frames import Frames, Orientation, composed
from foldlight.io.foreign import alike, centred_metres, length_of, mask_of, put_frames, with_geometry, writing_hdf5
from foldlight.io.frames import Storage, geometry_of, photon_frames
from foldlight.io.hdf5 import Hdf5
from foldlight.io.metric import metric_scan
from foldlight.io.npz import about
from foldlight.io.options import ReadOptions
from foldlight.scan import Scan

__all__ = ["NAME", "SIGNS", "matches", "read", "write"]

NAME = "PtyLab"
SIGNS = "ptychogram and encoder"

_LENGTHS = ("wavelength", "zo", "dxd")
_USED = {"ptychogram", "encoder", "orientation", "mask", *_LENGTHS}
_FOURIER = ("zled", "magnification")
_FLIPS: tuple[Orientation, ...] = ("as_stored", "flip_x", "flip_y", "rotate_180")


def matches(file: Hdf5) -> bool:
    """Whether an HDF5 file is meant as one of PtyLab's, complete or not."""
    return "ptychogram" in file


def read(file: Hdf5, options: ReadOptions) -> Scan:
    """A scan from an open PtyLab file; frames are read when they are asked for.

    Raises:
        DataError: something is missing, is not what the layout says, or is another kind of measurement.
    """
    _refuse_other_kinds(file)
    stored = file.frames("ptychogram")
    encoder = file.array("encoder")
    bad = mask_of(file.array("mask"), (stored.shape[1], stored.shape[2])) if "mask" in file else None
    frames, frame_notes = photon_frames(
        "ptychogram", stored, len(np.atleast_1d(encoder)), Storage("intensity", "centre"), options, bad
    )
    frames, turn_notes = _upright(file, frames)
    wavelength, distance, pixel = (length_of(name, file.number(name)) for name in _LENGTHS)
    with about(", ".join(_LENGTHS)):
        geometry, notes = geometry_of(frames, options, wavelength, distance, None if pixel is None else (pixel, pixel))
    found = (*_unused(file), *frame_notes, *turn_notes, *notes)
    return metric_scan(frames, geometry, "encoder", encoder, options, found)


def _refuse_other_kinds(file: Hdf5) -> None:
    if found := [name for name in _FOURIER if name in file]:
        raise DataError(f"expected a scan of a sample, got {' and '.join(found)} of Fourier ptychography")
    if "spectralDensity" in file and (colours := file.dataset("spectralDensity").size) > 1:
        raise DataError(f"spectralDensity: expected light of one wavelength, got {colours}")


def _upright(file: Hdf5, frames: Frames) -> tuple[Frames, list[str]]:
    """The frames turned as the file says, before they are turned as the option says."""
    code = file.number("orientation") or 0.0
    if code not in range(8):
        raise DataError(f"orientation: expected a whole number from 0 to 7, got {code:g}")
    if code == 0:
        return frames, []
    flip = _FLIPS[int(code) % 4]
    stated = composed("transpose", flip) if code >= 4 else flip
    turned = replace(frames, orientation=composed(stated, frames.orientation))
    return turned, [f"ptychogram: turned first, as the file says: orientation {code:g}, {stated}"]


def _unused(file: Hdf5) -> list[str]:
    unused = sorted(set(file.keys) - _USED)
    return [f"not used: {', '.join(unused)}"] if unused else []


def write(path: Path, scan: Scan) -> tuple[Path]:
    """Write a scan for PtyLab; the same scan gives the same bytes.

    Raises:
        DataError: frames that are not square, a geometry that lacks something or has two sizes of a pixel, no room, a
            folder that can't be written; nothing is left behind.
    """
    geometry = with_geometry(path, scan, ("wavelength_m", "distance_m", "detector_pixel_m"))
    height, width = scan.window
    if height != width:
        raise DataError(f"{path}: expected square frames, got {height} x {width}; crop them, or write another format")
    pixel = alike(path, "object", geometry.pixel_size_m)
    lengths = {
        "wavelength": geometry.wavelength_m,
        "zo": geometry.distance_m,
        "dxd": alike(path, "detector", geometry.detector_pixel_m or (0.0, 0.0)),
        "entrancePupilDiameter": _diameter_px(scan.probe) * pixel,
    }
    with writing_hdf5(path, scan.positions_px.nbytes + scan.mask.size) as file:
        put_frames(file, "ptychogram", scan.photons, reals=True)
        file["encoder"] = centred_metres(scan, geometry)
        for name, length in lengths.items():
            file[name] = np.array([length], dtype=np.float64)
        for name, number in {"orientation": 0, "binningFactor": 1}.items():
            file[name] = np.int64(number)
        if not scan.mask.all():
            file["mask"] = scan.mask.astype(np.uint8)
    return (path,)


def _diameter_px(probe: np.ndarray) -> float:
    """Participation diameter of the probe. Source: docs/physics.md, overlap."""
    power = np.sum(np.abs(probe.astype(np.complex128)) ** 2, axis=0)
    return float(2 * np.sqrt(power.sum() ** 2 / (np.pi * np.sum(power**2))))
