"""Scans that grow: an HDF5 container that is being written, or a folder that fills.

Nothing here waits. A follower is asked again and again what is there, and hands over each frame exactly once, in the
order of the file, or of the names in a folder as they turn up.

A folder's pieces are NPZ files under the names of the container (specs/scan_container.md): `frames` (k, y, x) photons
and `positions_px` (k, 2); the first piece, at least, brings `probe`, and `mask`, `canvas` and `planned_positions_px`
where there are any. A piece is put in place by renaming; names that begin with a dot are left alone. An empty file
called `complete` says that no more will come.
"""

import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import h5py
import numpy as np

from foldlight.core.errors import DataError
from foldlight.io.npz import about, open_npz

__all__ = ["COMPLETE", "Follower", "Piece", "Start", "follow"]

COMPLETE = "complete"
"""Name of the attribute, or of the file in a folder, that says that a scan has ended."""

_REOPEN_S = 0.5  # without news: attributes of an open file are not told anew
_MEND_S = 3.0  # for which a file or piece that can't be read may still be in the making
_MODES = 64  # of a probe, at most
_SIDE = 8192  # of a frame, at most [px]
_PIECE_BYTES = 1 << 31
_HDF5 = {".h5", ".hdf5", ".hdf", ".nxs"}


@dataclass(frozen=True)
class Start:
    """What a scan says of itself at its start.

    Attributes:
        window: (height, width) of a frame [px].
        dtype: of the frames as they are stored.
        whole: photons are counted.
        mask: (y, x) bool, detector pixels to trust.
        probe: (mode, y, x) complex64 [sqrt(photon)]; None where the scan brings none.
        canvas: (height, width) of the object that positions refer to [px]; None: not told.
        planned_px: (m, 2) float64 places of all frames to come; None: not told.

    Raises:
        DataError: sizes or types that no scan has.
    """

    window: tuple[int, int]
    dtype: np.dtype
    whole: bool
    mask: np.ndarray
    probe: np.ndarray | None = None
    canvas: tuple[int, int] | None = None
    planned_px: np.ndarray | None = None

    def __post_init__(self) -> None:
        height, width = self.window
        if height % 2 or width % 2 or min(self.window) < 8 or max(self.window) > _SIDE:
            raise DataError(f"frames: expected even sizes from 8 to {_SIDE} px, got {height} x {width}; crop or pad")
        if self.dtype.kind not in "iuf":
            raise DataError(f"frames: expected real numbers, got {self.dtype}")
        if self.mask.shape != self.window or not self.mask.any():
            raise DataError(f"mask: expected valid pixels in a shape of {self.window}, got {self.mask.shape}")
        if self.probe is not None:
            _check_probe(self.probe, self.window)


@dataclass(frozen=True)
class Piece:
    """Some frames as they are stored (k, y, x), and their positions (k, 2) float64 (y, x) [object px]."""

    frames: np.ndarray
    positions_px: np.ndarray


@runtime_checkable
class Follower(Protocol):
    """A scan that grows."""

    @property
    def received(self) -> int:
        """Frames that are there, read or not, as of the last look."""
        ...

    @property
    def complete(self) -> bool:
        """The writer has said that no more will come, and everything was read."""
        ...

    @property
    def lost(self) -> int:
        """Of the received frames, those that vanished before they were read."""
        ...

    @property
    def troubles(self) -> tuple[str, ...]:
        """What could not be read, one sentence each."""
        ...

    def look(self) -> None:
        """See what is new.

        Raises:
            DataError: it is no scan, or no longer the same one.
        """
        ...

    def start(self) -> Start | None:
        """What the scan says of itself; None while it says nothing yet."""
        ...

    def read(self, most: int) -> Piece | None:
        """The next frames, about `most` of them; None when there are none now."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


def follow(path: Path) -> Follower:
    """The follower that a path asks for: a folder's, or an HDF5 file's where it is a file or is named like one."""
    return _Hdf5(path) if path.is_file() or path.suffix.lower() in _HDF5 else _Folder(path)


class _Hdf5:
    """A container that one process writes and many may read meanwhile. Source: specs/scan_container.md."""

    def __init__(self, path: Path) -> None:
        self.lost = 0
        self._path = path
        self._file: h5py.File | None = None
        self._opened = 0.0
        self._lacking = 0.0  # since when it is there without frames
        self._there = 0
        self._read = 0
        self._said_complete = False
        self._trouble = ""

    @property
    def received(self) -> int:
        return self._there

    @property
    def complete(self) -> bool:
        return self._said_complete and self._read >= self._there

    @property
    def troubles(self) -> tuple[str, ...]:
        return (self._trouble,) if self._trouble else ()

    def look(self) -> None:
        now = time.monotonic()
        if self._file is None or (self._read >= self._there and now - self._opened > _REOPEN_S):
            self._open(now)
        if self._file is None:
            return
        try:
            frames, positions = self._dataset("frames", 3), self._dataset("positions_px", 2)
        except DataError as error:
            self._wait_for_it(now, error)
            return
        try:
            for each in (frames, positions):
                each.refresh()
        except (OSError, RuntimeError) as error:  # a plain file need not be asked anew, and can't be
            self._trouble = f"{self._path.name}: could not look for new frames: {error}"
        there = min(len(frames), len(positions))
        if there < self._there:
            raise DataError(
                f"{self._path}: expected a scan that grows, got {there} frames after {self._there}; it was begun again:"
                " start foldlight live again"
            )
        self._there = there

    def start(self) -> Start | None:
        if self._file is None:
            return None
        with about(str(self._path)):
            frames = self._dataset("frames", 3)
            whole = frames.dtype.kind in "iu" or bool(frames.attrs.get("whole", False))
            window = (frames.shape[1], frames.shape[2])
            parts = {name: self._part(name, window) for name in ("probe", "mask", "planned_positions_px")}
            parts["canvas"] = self._file.attrs.get("canvas")
            return _start(window, frames.dtype, whole, parts)

    def read(self, most: int) -> Piece | None:
        last = min(self._there, self._read + most)
        if self._file is None or last <= self._read:
            return None
        part = slice(self._read, last)
        try:
            positions = np.asarray(self._dataset("positions_px", 2)[part], dtype=np.float64)
            known = np.isfinite(positions).all(axis=1)
            if not known.all() and not self._said_complete:  # places that are not filled in yet
                part = slice(part.start, part.start + int(known.argmin()))
                positions = positions[: part.stop - part.start]
            frames = self._dataset("frames", 3)[part]
        except (OSError, RuntimeError) as error:
            self._trouble = f"{self._path.name}: frames {part.start} to {part.stop - 1} could not be read yet: {error}"
            return None
        self._trouble = ""
        self._read = part.stop
        return Piece(frames, positions) if len(frames) else None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, now: float) -> None:
        """Open the file anew; it may not be there, or not be ready, yet."""
        self.close()
        self._opened = now
        try:
            self._file = h5py.File(self._path, "r", swmr=True)
        except (OSError, RuntimeError, ValueError) as error:
            with suppress(OSError):  # written by a library that knows no such readers, and closed
                self._file = h5py.File(self._path, "r")
            if self._file is None:
                self._trouble = "" if isinstance(error, FileNotFoundError) else f"{self._path.name}: {error}"
                return
        self._trouble = ""
        # Not ours if it does not say: then the end of the scan is when nothing comes any more.
        self._said_complete = bool(self._file.attrs.get(COMPLETE, False))

    def _wait_for_it(self, now: float, error: DataError) -> None:
        """A file without frames may be in the making; after a while it is refused."""
        self._lacking = self._lacking or now
        if now - self._lacking >= _MEND_S:
            raise error
        self.close()
        self._trouble = str(error)

    def _dataset(self, name: str, axes: int) -> h5py.Dataset:
        assert self._file is not None  # noqa: S101  (asked after `_open` alone)
        found = self._file.get(name)
        if not isinstance(found, h5py.Dataset) or found.ndim != axes:
            raise DataError(
                f"{self._path}: expected /{name} with {axes} axes as in a scan container, got"
                f" {found.shape if isinstance(found, h5py.Dataset) else 'none'}; see specs/scan_container.md"
            )
        return found

    def _part(self, name: str, window: tuple[int, int]) -> np.ndarray | None:
        """A small dataset; refused before it is read when it can't be small."""
        found = None if self._file is None else self._file.get(name)
        if not isinstance(found, h5py.Dataset):
            return None
        most = window[0] * window[1] * _MODES if name != "planned_positions_px" else 2 * 10**8
        if found.size > most:
            raise DataError(f"{name}: expected at most {most} numbers, got shape {found.shape}")
        return np.asarray(found[()])


class _Folder:
    """A folder that fills with NPZ pieces."""

    def __init__(self, path: Path) -> None:
        self.lost = 0
        self._path = path
        self._seen: set[str] = set()
        self._failed: dict[str, float] = {}
        self._pieces: deque[tuple[Path, int]] = deque()
        self._start: Start | None = None
        self._there = 0
        self._said_complete = False
        self._troubles: list[str] = []

    @property
    def received(self) -> int:
        return self._there

    @property
    def complete(self) -> bool:
        return self._said_complete and not self._pieces and not self._failed

    @property
    def troubles(self) -> tuple[str, ...]:
        return tuple(self._troubles)

    def look(self) -> None:
        if not self._path.is_dir():
            return
        said = (self._path / COMPLETE).exists()  # before the names are listed: pieces come first
        names = sorted(path.name for path in self._path.glob("[!.]*.npz"))
        for name in names:
            if name not in self._seen:
                self._take(name)
        self._said_complete = said

    def start(self) -> Start | None:
        return self._start

    def read(self, most: int) -> Piece | None:  # noqa: ARG002  (a piece is small, and taken whole)
        while self._pieces:
            path, frames = self._pieces.popleft()
            try:
                with open_npz(path, _PIECE_BYTES) as archive:
                    return Piece(np.asarray(archive["frames"]), np.asarray(archive["positions_px"], dtype=np.float64))
            except DataError as error:
                self.lost += frames
                self._troubles.append(str(error))
        return None

    def close(self) -> None:
        self._pieces.clear()

    def _take(self, name: str) -> None:
        """Line up a piece that is whole; one that is not may still be in the making."""
        path, now = self._path / name, time.monotonic()
        try:
            with open_npz(path, _PIECE_BYTES) as archive:
                frames, positions = archive["frames"], archive["positions_px"]
                if frames.ndim != 3 or positions.shape != (len(frames), 2) or positions.dtype.kind not in "iuf":
                    raise DataError(
                        f"expected frames (k, y, x) and positions_px (k, 2), got {frames.shape} and {positions.shape}"
                    )
                window = (frames.shape[1], frames.shape[2])
                if self._start is None:
                    parts = {key: archive[key] for key in _PARTS if key in archive}
                    whole = frames.dtype.kind in "iu"
                    dtype = np.dtype(np.uint32 if whole else np.float32)  # later pieces may hold larger numbers
                    self._start = _start(window, dtype, whole, parts)
                if window != self._start.window:
                    raise DataError(f"frames: expected {self._start.window} px as in the first piece, got {window}")
                if self._start.whole and frames.dtype.kind not in "iu":
                    raise DataError(f"frames: expected whole numbers as in the first piece, got {frames.dtype}")
        except DataError as error:
            if now - self._failed.setdefault(name, now) < _MEND_S:
                return
            self._troubles.append(str(error))
        else:
            self._there += len(frames)
            self._pieces.append((path, len(frames)))
        self._failed.pop(name, None)
        self._seen.add(name)


_PARTS = ("probe", "mask", "canvas", "planned_positions_px")


def _start(window: tuple[int, int], dtype: np.dtype, whole: bool, parts: Mapping[str, Any]) -> Start:
    """A start from what was found under the container's names."""
    mask, canvas, planned = (parts.get(name) for name in ("mask", "canvas", "planned_positions_px"))
    probe = parts.get("probe")
    if canvas is not None and (np.shape(canvas) != (2,) or np.min(canvas) < 1):
        raise DataError(f"canvas: expected height and width [px], got {canvas}")
    if planned is not None and (planned.ndim != 2 or planned.shape[1] != 2 or not np.isfinite(planned).all()):
        raise DataError(f"planned_positions_px: expected finite (m, 2), got shape {planned.shape}")
    return Start(
        window,
        dtype,
        whole,
        np.ones(window, dtype=bool) if mask is None else np.asarray(mask, dtype=bool),
        None if probe is None else _as_probe(np.asarray(probe)),
        None if canvas is None else (int(canvas[0]), int(canvas[1])),
        None if planned is None or not len(planned) else np.asarray(planned, dtype=np.float64),
    )


def _as_probe(stored: np.ndarray) -> np.ndarray:
    """(mode, y, x) complex64."""
    if stored.dtype.kind != "c":
        raise DataError(f"probe: expected complex numbers, got {stored.dtype}")
    return (stored[None] if stored.ndim == 2 else stored).astype(np.complex64)


def _check_probe(probe: np.ndarray, window: tuple[int, int]) -> None:
    if probe.ndim != 3 or probe.shape[1:] != window or not 1 <= len(probe) <= _MODES:
        raise DataError(f"probe: expected (mode, {window[0]}, {window[1]}) as the frames, got {probe.shape}")
    if not (np.isfinite(probe).all() and probe.any()):
        raise DataError("probe: expected finite numbers and some light, got none")
