"""One tiny experiment in every format, with what a reader has to find in it; `specs/conformance.md` states it.

The experiment is made by formulas, so that any program can make it too, and is like no mirror image of itself: rows
differ from columns, the probe from its turns, the second mode from the first, positions from their negatives.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldlight.core.errors import DataError
from foldlight.core.files import read_json, write_json
from foldlight.core.provenance import sha256_file
from foldlight.frames import Frames
from foldlight.geometry import Geometry, wavelength_of
from foldlight.io import read_scan, write_scan, writers
from foldlight.scan import Scan

__all__ = ["WINDOWS", "Checked", "canonical", "check_conformance", "phantom", "write_conformance"]

WINDOWS = {"oblong": (12, 16), "square": (16, 16)}
"""(height, width) of the frames of each experiment."""

_FRAMES = 7
_PHOTONS = 40_000.0
_BAD = (1, 3)
_ENERGY_EV, _DISTANCE_M, _DETECTOR_PIXEL_M = 10_000.0, 1.5, 75e-6
_PER_PIXEL = 1000  # parts of a pixel that positions are told in
_SCALED = 1e-4  # relative: how exact the unit of a probe has to be
_VERSION = 1
_EXPECTED = "expected.json"
_SUFFIXES = {"cxi": ".cxi", "nexus": ".nxs", "ptypy": ".ptyd", "foldslice": ".hdf5", "ptychodus": ""}
_NPZ = {"data001", "slac", "tike"}
_NO_PROBE = frozenset({"probe", "probe_photons"})
_LOST: dict[str, frozenset[str]] = {  # what the layout of a format has no place for
    "foldslice": _NO_PROBE,
    "ptylab": _NO_PROBE,
    "ptypy": _NO_PROBE,
    "slac": frozenset({"probe_photons"}),
    "tike": frozenset({"probe_photons", "pixel_pm"}),
}
_SQUARE_ONLY = {"data001", "foldslice", "ptylab"}  # frames, or the object's pixels


def phantom(name: str) -> Scan:
    """The experiment of that name, photons and truth.

    Raises:
        DataError: no such experiment.
    """
    if name not in WINDOWS:
        raise DataError(f"experiment {name}: expected one of {', '.join(WINDOWS)}")
    window = WINDOWS[name]
    positions = _positions(window)
    canvas = (window[0] + 16, window[1] + 24)
    whole = _probe(window)
    probe = whole * np.sqrt(_PHOTONS / _power(whole))
    frames = np.stack([_expected_photons(probe, place) for place in positions])
    mask = np.ones(window, dtype=bool)
    mask[_BAD] = False
    rows, columns = np.mgrid[: canvas[0], : canvas[1]].astype(np.float64)
    return Scan(
        Frames((np.rint(frames) * mask).astype(np.uint32), whole=True),
        positions,
        probe.astype(np.complex64),
        canvas,
        object=_transmission(rows, columns).astype(np.complex64),
        object_is_truth=True,
        mask=mask,
        geometry=Geometry.far_field(window, wavelength_of(_ENERGY_EV), _DISTANCE_M, (_DETECTOR_PIXEL_M,) * 2),
    )


def _positions(window: tuple[int, int]) -> np.ndarray:
    """(n, 2) float64 (y, x) [px], in eighths of a pixel."""
    j = np.arange(_FRAMES)
    y = window[0] // 2 + 2 + (5 * j) % 11 + (j % 4) / 8
    x = window[1] // 2 + 2 + (3 * j**2 + 2 * j) % 17 + (3 * j % 8) / 8
    return np.stack([y, x], axis=1).astype(np.float64)


def _centred(window: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows u and columns v of a window, 0 on its pixel N // 2."""
    rows, columns = np.mgrid[: window[0], : window[1]].astype(np.float64)
    return rows - window[0] // 2, columns - window[1] // 2


def _probe(window: tuple[int, int]) -> np.ndarray:
    """(2, y, x) complex128, real and imaginary parts whole numbers."""
    u, v = _centred(window)
    bell = np.exp(-((u - 0.7) ** 2) / 8 - (v + 0.4) ** 2 / 14 + 1j * (0.05 * u**2 - 0.03 * v**2 + 0.07 * u * v))
    modes = np.stack([100 * bell, 5 * (u + 2 * v) * bell])
    return np.asarray(np.rint(modes.real) + 1j * np.rint(modes.imag))


def _transmission(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The object at object coordinates [px], between pixels too."""
    thickness = np.sin(0.35 * y) * np.cos(0.2 * x + 0.1 * y) + 0.03 * x
    return np.asarray(np.exp(-(0.25 + 1j) * 0.6 * thickness))


def _expected_photons(probe: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(y, x) photons behind one position, the direct beam on [N // 2, N // 2]. Source: docs/physics.md."""
    u, v = _centred(probe.shape[1:])
    exits = probe * _transmission(place[0] + u, place[1] + v)
    waves = np.fft.fft2(np.fft.ifftshift(exits, axes=(-2, -1)), norm="ortho")
    return np.fft.fftshift(np.sum(np.abs(waves) ** 2, axis=0))


def _power(probe: np.ndarray) -> float:
    return float(np.sum(np.abs(probe.astype(np.complex128)) ** 2))


def canonical(scan: Scan) -> dict[str, Any]:
    """What two programs can agree on to the last digit, whatever the origin of positions and the unit of the probe.

    The probe is scaled to the power of the experiment's whole numbers, and rounded to such.
    """
    moves = np.rint((scan.positions_px - scan.positions_px[0]) * _PER_PIXEL)
    power = _power(scan.probe)
    whole = scan.probe.astype(np.complex128) * np.sqrt(_whole_power(scan.window) / power)
    parts = np.rint(np.stack([whole.real, whole.imag], axis=-1))
    geometry = scan.geometry
    return {
        "frames": len(scan),
        "window": list(scan.window),
        "photons": _digest(scan.photons[:], "<u4"),
        "mask": _digest(scan.mask, "|u1"),
        "positions": _digest(moves, "<i8"),
        "probe": _digest(parts, "<i4"),
        "probe_photons": round(power, 1),  # the rest hangs on how a program adds up
        "pixel_pm": None if geometry is None else [round(size * 1e12) for size in geometry.pixel_size_m],
    }


def _whole_power(window: tuple[int, int]) -> float:
    """That of the experiment with such frames; of another scan, of no meaning."""
    return _power(_probe(window))


def _digest(array: np.ndarray, kind: str) -> str:
    """Hex sha256 of an array as little-endian numbers, the last axis running fastest."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype=kind).tobytes()).hexdigest()


def write_conformance(folder: Path) -> tuple[Path, ...]:
    """Write the experiments in every format that holds them, and `expected.json`.

    Returns:
        All files, `expected.json` last.

    Raises:
        DataError: the folder can't be written.
    """
    written: list[Path] = []
    entries = []
    for name in WINDOWS:
        scan = phantom(name)
        for form in sorted(writers()):
            if name == "square" or form not in _SQUARE_ONLY:
                files = write_scan(folder / name / f"{form}{_suffix(form)}", scan, form)
                written.extend(files)
                entries.append(_entry(folder, name, form, files, canonical(scan)))
    write_json(folder / _EXPECTED, {"version": _VERSION, "experiments": _experiments(), "files": entries})
    return (*written, folder / _EXPECTED)


def _suffix(form: str) -> str:
    return ".npz" if form in _NPZ else _SUFFIXES.get(form, ".h5")


def _entry(folder: Path, name: str, form: str, files: Iterable[Path], expected: dict[str, Any]) -> dict[str, Any]:
    """What a reader of these files has to find."""
    return {
        "format": form,
        "experiment": name,
        "files": {file.relative_to(folder).as_posix(): sha256_file(file) for file in files},
        "expected": {key: value for key, value in expected.items() if key not in _LOST.get(form, ())},
    }


def _experiments() -> dict[str, Any]:
    """The numbers themselves, for whoever looks for a mistake."""
    found = {}
    for name in WINDOWS:
        scan = phantom(name)
        whole = _probe(scan.window)
        found[name] = {
            **canonical(scan),
            "photons_of_frames": [round(total) for total in scan.photons.totals.tolist()],
            "first_frame": scan.photons[0].astype(int).tolist(),
            "positions_px": scan.positions_px.tolist(),
            "probe_whole_real": whole.real.astype(int).tolist(),
            "probe_whole_imaginary": whole.imag.astype(int).tolist(),
            "energy_ev": _ENERGY_EV,
            "distance_m": _DISTANCE_M,
            "detector_pixel_m": _DETECTOR_PIXEL_M,
        }
    return found


@dataclass(frozen=True)
class Checked:
    """How reading one file of the set went.

    Attributes:
        file: the first file of the entry, relative to the folder.
        form: the format's short name.
        faults: a sentence for each thing that is not as expected; none when all is.
    """

    file: str
    form: str
    faults: tuple[str, ...]


def check_conformance(folder: Path) -> tuple[Checked, ...]:
    """Read every file of a set and compare what is found with what has to be.

    Raises:
        DataError: no `expected.json`, or one of another version.
    """
    stated = read_json(folder / _EXPECTED)
    if not isinstance(stated, dict) or stated.get("version") != _VERSION or not isinstance(stated.get("files"), list):
        raise DataError(f"{folder / _EXPECTED}: expected a conformance set of version {_VERSION}; write it again")
    return tuple(_check(folder, entry) for entry in stated["files"])


def _check(folder: Path, entry: Any) -> Checked:
    try:
        form, files, expected = str(entry["format"]), list(entry["files"]), dict(entry["expected"])
        first = str(files[0])
    except (KeyError, IndexError, TypeError, ValueError):
        raise DataError(
            f"{folder / _EXPECTED}: expected format, files and expected in each entry, got {entry!r:.80}"
        ) from None
    try:
        found = canonical(read_scan(folder / first))
    except DataError as error:
        return Checked(first, form, (str(error),))
    return Checked(first, form, tuple(_faults(expected, found)))


def _faults(expected: dict[str, Any], found: dict[str, Any]) -> Iterable[str]:
    for name, value in expected.items():
        got = found.get(name)
        if got != value and not (name == "probe_photons" and _close(value, got)):
            yield f"{name}: expected {_brief(value)}, got {_brief(got)}"


def _close(value: Any, got: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isclose(got, value, rtol=_SCALED, atol=0))


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else f"{text[:20]}..."
