"""Frames into an HDF5 file, block by block, in the smallest numbers that hold them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from foldlight.core.errors import DataError
from foldlight.core.files import replacing
from foldlight.frames import Frames
from foldlight.io.hdf5 import hdf5_trouble, reserve, written_hdf5

if TYPE_CHECKING:
    import h5py

__all__ = ["COUNTS", "REALS", "FrameWriter"]

COUNTS = tuple(np.dtype(name) for name in ("<u1", "<u2", "<u4"))
"""What whole photons are stored as."""

REALS = np.dtype("<f4")
"""What other photons are stored as."""

_ALIGNED = 4096  # bytes: a page
_COPIED_PIXELS = 2**22
_CHUNK_PIXELS = 2**18
_DEFLATE = 4
_NOTES_BYTES = 2**16  # that HDF5 writes beside a block


class FrameWriter:
    """Writes `/frames` of a new file.

    It begins with the smallest type; when a block does not fit, what is there is copied into wider numbers. Counts of
    later blocks are rarely much above those of the first, so as a rule that costs nothing, and frames, which may be
    dear to make, are asked for once. Use it in a `with` block.

    Args:
        path: of the file to begin.
        frames: what will be written.
        packed: in chunks, shuffled and deflated, instead of contiguous.
        told: is given each block when it is written.
    """

    def __init__(self, path: Path, frames: Frames, packed: bool, told: Callable[[slice], None]) -> None:
        self.path, self.shape = path, frames.shape
        self.dtype = COUNTS[0] if frames.whole else REALS
        self._whole, self._packed, self._told = frames.whole, packed, told

    def __enter__(self) -> "FrameWriter":
        self._context = self._opened(self.path, "w")
        self._file = self._context.__enter__()
        self._frames = self._created(self._file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.__exit__(kind, error, trace)

    def add(self, block: slice, photons: np.ndarray) -> None:
        """Write a block of (k, y, x) photons.

        Raises:
            DataError: negative or not finite ones.
        """
        most = float(photons.max())
        if not (photons.min() >= 0 and np.isfinite(most)):  # NaN fails the comparison
            _refuse_bad(block, photons)
        if not _holds(self.dtype, most):
            self._widen(next((wider for wider in COUNTS if _holds(wider, most)), REALS), block.start)
        self._make_room(self._file, block.stop - block.start)
        self._frames[block] = photons.astype(self.dtype)
        self._told(block)

    def _widen(self, dtype: np.dtype, done: int) -> None:
        """Copy what is there into a file of wider numbers, which takes this one's place."""
        self.dtype = dtype
        with replacing(self.path) as wider:
            try:
                self._copy(wider, done)
            except OSError as error:  # `replacing` would name the temporary file
                raise DataError(f"frames: expected to write them, got {hdf5_trouble(error)}") from None
            self._context.__exit__(None, None, None)
        self._context = self._opened(self.path, "r+")
        self._file = self._context.__enter__()
        self._frames = self._file["frames"]

    def _copy(self, path: Path, done: int) -> None:
        """The first frames as they are, in a new file."""
        step = max(1, _COPIED_PIXELS // (self.shape[1] * self.shape[2]))
        with self._opened(path, "w") as file:
            frames = self._created(file)
            for start in range(0, done, step):
                part = slice(start, min(start + step, done))
                self._make_room(file, part.stop - part.start)
                frames[part] = self._frames[part]

    def _make_room(self, file: "h5py.File", frames: int) -> None:
        """For so many more frames, packed or not, and for what HDF5 notes about them."""
        size = frames * self.shape[1] * self.shape[2] * self.dtype.itemsize
        reserve(file, size + size // 64 + _NOTES_BYTES)

    def _opened(self, path: Path, mode: str) -> "AbstractContextManager[h5py.File]":
        """Contiguous frames begin at a page; the room is found when the first is written, so whoever opens says so."""
        return written_hdf5(path, mode, aligned=1 if self._packed else _ALIGNED)

    def _created(self, file: "h5py.File") -> "h5py.Dataset":
        """Room for the frames in a new file."""
        n, height, width = self.shape
        chunk = min(n, max(1, _CHUNK_PIXELS // (height * width)))
        packing = {"chunks": (chunk, height, width), "compression": _DEFLATE, "shuffle": True} if self._packed else {}
        frames = file.create_dataset("frames", self.shape, self.dtype, fill_time="never", **packing)
        frames.attrs["unit"] = np.bytes_("photon")
        frames.attrs["whole"] = np.uint8(self._whole)
        return frames


def _holds(dtype: np.dtype, most: float) -> bool:
    return dtype.kind == "f" or most <= np.iinfo(dtype).max


def _refuse_bad(block: slice, photons: np.ndarray) -> None:
    bad = ~(np.isfinite(photons) & (photons >= 0))
    first = block.start + int(np.argwhere(bad.any(axis=(1, 2)))[0, 0])
    raise DataError(
        f"frames: expected finite photons >= 0, got {int(bad.sum())} others, first in frame {first};"
        " mend or leave out such frames"
    )
