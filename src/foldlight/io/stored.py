"""Frames that stay in their file until they are asked for, however many they are.

By `pread`, not through a memory map. A map counts each page that was ever touched as memory of the process, until the
whole scan is, and the kernel maps far more pages than were touched; a file cut short under a map ends the process with
a signal; and file systems of clusters map slowly. What that costs, measured on 128 random frames of 64 x 64 px at a
time, warm: half a million frames a second, of uint8 and uint16 alike, where a map begins with 0.65 million and comes to
0.9 (uint16) or 1.7 million (uint8) once it holds the scan. A step of training takes longer for a frame by a thousand.
"""

import math
import os
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from foldlight.core.errors import DataError
from foldlight.frames import Index

__all__ = ["ChunkedFrames", "ContiguousFrames", "DatasetFrames", "places"]


class ContiguousFrames:
    """Frames (n, y, x) that lie in a file one behind the other: each read brings in what is asked for and no more.

    Reading from several threads at once is safe. A file that is replaced meanwhile is read on as it was.

    Args:
        path: the file.
        offset: of the first byte of the first frame.
        shape: (n, y, x).
        dtype: of the stored values.

    Raises:
        DataError: the file can't be opened, or is too short; when reading: it was cut short or written into.
    """

    ndim = 3

    def __init__(self, path: Path, offset: int, shape: tuple[int, int, int], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self._path, self._offset = path, offset
        self._frame_bytes = shape[1] * shape[2] * dtype.itemsize
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DataError(f"expected a readable file, got {error.strerror}") from None
        weakref.finalize(self, os.close, self._file)
        self._opened = self._state()
        if offset + shape[0] * self._frame_bytes > self._opened[0]:
            raise DataError(
                f"expected {shape[0]} frames, {shape[0] * self._frame_bytes} bytes from byte {offset} on, got a"
                f" file of {self._opened[0]} bytes; it was cut short, copy it again"
            )

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Index) -> np.ndarray:
        """Frames by index, read now: (y, x) for a number, else (k, y, x)."""
        numbers = places(index, len(self))
        found = np.empty((numbers.size, *self.shape[1:]), dtype=self.dtype)
        if self._state() != self._opened:
            raise DataError(
                f"{self._path}: expected the file as it was opened, it has been written into; read it again"
            )
        self._read(np.ravel(numbers), found.reshape(-1).view(np.uint8).data)
        return found if numbers.ndim else found[0]

    def _read(self, numbers: np.ndarray, target: memoryview) -> None:
        """Fill the target; frames that follow each other in the file are one read."""
        size, done = self._frame_bytes, 0
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        firsts = numbers[np.concatenate([[0], breaks])] if len(numbers) else numbers
        lengths = np.diff(np.concatenate([[0], breaks, [len(numbers)]])) if len(numbers) else numbers
        for start, length in zip((firsts * size + self._offset).tolist(), (lengths * size).tolist(), strict=True):
            part = target[done : done + length]
            if os.preadv(self._file, (part,), start) != length:  # long ones come in several goes
                self._read_on(part, start)
            done += length

    def _read_on(self, target: memoryview, start: int) -> None:
        done = 0
        while done < len(target):
            got = os.preadv(self._file, (target[done:],), start + done)
            if not got:
                raise DataError(
                    f"{self._path}: expected {len(target)} bytes from byte {start} on, got {done}; it was cut"
                )
            done += got

    def _state(self) -> tuple[int, int]:
        """Size and time of change."""
        state = os.fstat(self._file)
        return state.st_size, state.st_mtime_ns


class ChunkedFrames:
    """Frames (n, y, x) of an HDF5 dataset in chunks, packed or not: a read brings along whole chunks, a few are kept.

    Args:
        dataset: an open `h5py.Dataset`; its file must stay open.
        name: of file and dataset, for messages.
        n: frames to take, the first ones.

    Raises:
        DataError: when reading: a chunk is damaged.
    """

    ndim = 3

    def __init__(self, dataset: Any, name: str, n: int) -> None:
        self.shape: tuple[int, int, int] = (n, *dataset.shape[1:])
        self.dtype: np.dtype = dataset.dtype
        self._dataset, self._name = dataset, name
        self._chunk_frames = int(dataset.chunks[0])
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Index) -> np.ndarray:
        """Frames by index, unpacked now: (y, x) for a number, else (k, y, x)."""
        numbers = places(index, len(self))
        wanted = np.ravel(numbers)
        found = np.empty((wanted.size, *self.shape[1:]), dtype=self.dtype)
        chunk = wanted // self._chunk_frames
        for one in np.unique(chunk):
            here = np.flatnonzero(chunk == one)
            first, last = int(wanted[here].min()), int(wanted[here].max())
            found[here] = self._part(first, last + 1)[wanted[here] - first]
        return found if numbers.ndim else found[0]

    def _part(self, first: int, last: int) -> np.ndarray:
        try:
            with self._lock:
                part: np.ndarray = self._dataset[first:last]
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(
                f"{self._name}: expected whole frames, could not read {first} to {last - 1}:"
                f" {error}; copy the file again"
            ) from None
        return part


class DatasetFrames:
    """Frames (n, y, x) of any HDF5 dataset with the frames' axes last: links, virtual datasets, rasters.

    Args:
        dataset: an open `h5py.Dataset` of three axes or more; its file must stay open.
        name: of file and dataset, for messages.

    Raises:
        DataError: when reading: a part of it is damaged or not there.
    """

    ndim = 3

    def __init__(self, dataset: Any, name: str) -> None:
        self._raster = tuple(int(size) for size in dataset.shape[:-2])
        self.shape: tuple[int, int, int] = (math.prod(self._raster), *dataset.shape[-2:])
        self.dtype: np.dtype = dataset.dtype
        self._dataset, self._name = dataset, name
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Index) -> np.ndarray:
        """Frames by index, read now: (y, x) for a number, else (k, y, x)."""
        numbers = places(index, len(self))
        wanted = np.ravel(numbers)
        found = np.empty((wanted.size, *self.shape[1:]), dtype=self.dtype)
        row = self._raster[-1]
        breaks = np.flatnonzero((np.diff(wanted) != 1) | (wanted[1:] % row == 0)) + 1
        for run in np.split(np.arange(wanted.size), breaks):  # those that follow each other are one read
            if run.size:
                found[run] = self._part(int(wanted[run[0]]), run.size)
        return found if numbers.ndim else found[0]

    def _part(self, first: int, count: int) -> np.ndarray:
        """`count` frames within one row of the raster."""
        *above, start = (int(place) for place in np.unravel_index(first, self._raster))
        try:
            with self._lock:
                part: np.ndarray = self._dataset[(*above, slice(start, start + count))]
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(
                f"{self._name}: expected whole frames, could not read {first} to {first + count - 1}:"
                f" {error}; copy the file again, with those it links to"
            ) from None
        return part


def places(index: Index, n: int) -> np.ndarray:
    """int64 numbers of the frames that an index means, without looking at the others; 0-d for a single number.

    Raises:
        IndexError: outside of the frames, or no index along one axis.
    """
    if isinstance(index, slice):
        return np.arange(*index.indices(n), dtype=np.int64)
    chosen = np.asarray(index)
    if chosen.dtype == bool and chosen.shape == (n,):
        return np.flatnonzero(chosen)
    if chosen.size and chosen.dtype.kind not in "iu":
        raise IndexError(f"frames: expected whole numbers, a slice or {n} booleans, got {index!r}")
    numbers = chosen.astype(np.int64)
    if numbers.size and not -n <= numbers.min() <= numbers.max() < n:
        raise IndexError(f"frames: expected indexes from 0 to {n - 1}, got {numbers.min()} to {numbers.max()}")
    return np.where(numbers < 0, numbers + n, numbers)
