"""An instrument to practise on: a scan written frame by frame at a chosen rate."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import h5py
import numpy as np

from foldlight.core.errors import DataError, SettingsError
from foldlight.io.npz import write_npz
from foldlight.live.follow import COMPLETE
from foldlight.live.settings import PlaySettings
from foldlight.scan import Scan

__all__ = ["Played", "play"]

_HDF5 = {".h5", ".hdf5"}
_POSITIONS_CHUNK = 256


class Played:
    """When frames were written.

    Attributes:
        written_s: (n,) `time.monotonic` at which a reader could see each frame.
        rate_hz: frames a second, from the first to the last [Hz]; what was asked for, unless writing was too slow.
    """

    def __init__(self, written_s: np.ndarray) -> None:
        self.written_s = written_s
        span = float(written_s[-1] - written_s[0])
        self.rate_hz = (len(written_s) - 1) / span if span > 0 else float("inf")


@runtime_checkable
class _Writer(Protocol):
    def write(self, first: int, last: int) -> None:
        """Make frames `first` to `last - 1` visible."""
        ...


def play(path: Path, scan: Scan, settings: PlaySettings) -> Played:
    """Write a scan at a rate, as an instrument would.

    Args:
        path: `.h5` or `.hdf5` for a container that readers may follow (HDF5 SWMR); anything else is a folder, which
            gets an NPZ file a burst.
        scan: what to write; whole photons are written as uint16 or uint32.
        settings: how fast, and how.

    Raises:
        DataError: the path can't be written.
        SettingsError: a folder that is not empty.
    """
    opened = _hdf5(path, scan, settings) if path.suffix.lower() in _HDF5 else _folder(path, scan, settings)
    written = np.empty(len(scan))
    with opened as writer:
        began, done = time.monotonic(), 0
        while done < len(scan):
            due = min(len(scan), 1 + int((time.monotonic() - began) * settings.rate))
            if due > done:
                writer.write(done, due)
                written[done:due] = time.monotonic()
                done = due
            ahead = began + done / settings.rate - time.monotonic()
            time.sleep(max(0.0, min(ahead + settings.burst_s, settings.burst_s)) if done < len(scan) else 0.0)
    return Played(written)


@contextmanager
def _hdf5(path: Path, scan: Scan, settings: PlaySettings) -> Iterator["_Hdf5Writer"]:
    """A container that grows. Source: specs/scan_container.md, while it is measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with h5py.File(path, "w", libver=("v110", "v110")) as file:
            writer = _Hdf5Writer(file, scan, settings)
            file.swmr_mode = True
            yield writer
            if settings.complete:
                file.attrs.modify(COMPLETE, np.uint8(1))
    except OSError as error:
        raise DataError(f"{path}: expected a writable place, got {error}") from None


class _Hdf5Writer:
    """Appends to a container."""

    def __init__(self, file: h5py.File, scan: Scan, settings: PlaySettings) -> None:
        self._scan = scan
        height, width = scan.window
        file.attrs.update({"format": np.bytes_("foldlight scan"), "version": 1, COMPLETE: np.uint8(0)})
        file.attrs["canvas"] = np.array(scan.canvas, dtype=np.int64)
        for name, array in _whole_scan(scan, settings).items():
            file.create_dataset(name, data=array)
        self._frames = file.create_dataset(
            "frames",
            shape=(0, height, width),
            maxshape=(None, height, width),
            chunks=(settings.chunk_frames, height, width),
            dtype=_stored(scan),
        )
        self._frames.attrs.update({"unit": "photon", "whole": np.uint8(scan.photons.whole)})
        self._positions = file.create_dataset(
            "positions_px", shape=(0, 2), maxshape=(None, 2), chunks=(_POSITIONS_CHUNK, 2), dtype="<f8"
        )

    def write(self, first: int, last: int) -> None:
        """Positions come first: a reader takes as many frames as have both."""
        for dataset, values in (
            (self._positions, self._scan.positions_px[first:last]),
            (self._frames, self._scan.photons[first:last]),
        ):
            dataset.resize(last, axis=0)
            dataset[first:last] = values.astype(dataset.dtype)
            dataset.flush()


@contextmanager
def _folder(path: Path, scan: Scan, settings: PlaySettings) -> Iterator["_FolderWriter"]:
    """A folder that fills. Source: `live.follow`."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise SettingsError(f"{path}: expected an empty folder or a name ending in .h5, got something else there")
    writer = _FolderWriter(path, scan, settings)
    yield writer
    if settings.complete:
        (path / COMPLETE).touch()


class _FolderWriter:
    """Adds pieces to a folder."""

    def __init__(self, path: Path, scan: Scan, settings: PlaySettings) -> None:
        self._path, self._scan = path, scan
        self._first = {"canvas": np.array(scan.canvas, dtype=np.int64), **_whole_scan(scan, settings)}
        self._dtype = _stored(scan)

    def write(self, first: int, last: int) -> None:
        piece = {
            "frames": self._scan.photons[first:last].astype(self._dtype),
            "positions_px": self._scan.positions_px[first:last],
        }
        write_npz(self._path / f"{first:09d}.npz", {**piece, **({} if first else self._first)})


def _whole_scan(scan: Scan, settings: PlaySettings) -> dict[str, np.ndarray]:
    """What is known before the first frame, under the container's names."""
    known = {"probe": scan.probe}
    if not scan.mask.all():
        known["mask"] = scan.mask.astype(np.uint8)
    if settings.planned:
        known["planned_positions_px"] = scan.positions_px
    return known


def _stored(scan: Scan) -> np.dtype:
    """The type of the written frames."""
    if not scan.photons.whole:
        return np.dtype("<f4")
    most = max(float(scan.photons[block].max(initial=0)) for block in scan.photons.blocks())
    return np.dtype("<u2" if most < 2**16 else "<u4")
