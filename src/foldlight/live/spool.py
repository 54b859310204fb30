"""Frames as they come, kept outside memory."""

import os
import tempfile

import numpy as np

from foldlight.core.errors import DataError

__all__ = ["Spool"]


class Spool:
    """Frames (n, y, x) in an anonymous temporary file: added at the end, read by index.

    The system keeps recent frames in its own cache and drops them when memory is short, so the process stays small
    however long the scan is. Satisfies `scan.Stored`.

    Args:
        window: (height, width) of a frame [px].
        dtype: of the stored values.
    """

    def __init__(self, window: tuple[int, int], dtype: np.dtype) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        self._window = window
        self._dtype = dtype
        self._bytes = dtype.itemsize * window[0] * window[1]
        self._frames = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, y, x)."""
        return (self._frames, *self._window)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 3

    @property
    def dtype(self) -> np.dtype:
        """Of the stored values."""
        return self._dtype

    def __len__(self) -> int:
        return self._frames

    def append(self, frames: np.ndarray) -> None:
        """Keep more frames (k, y, x).

        Raises:
            DataError: no room in the folder of temporary files.
        """
        data = np.ascontiguousarray(frames, dtype=self._dtype).reshape(-1).view(np.uint8).data
        place = self._frames * self._bytes
        try:
            while len(data):
                written = os.pwrite(self._file.fileno(), data, place)
                data, place = data[written:], place + written
        except OSError as error:
            raise DataError(
                f"{tempfile.gettempdir()}: expected room for {self._frames + len(frames)} frames of {self._bytes}"
                f" bytes, got {error.strerror}; set TMPDIR to a larger disk"
            ) from None
        self._frames += len(frames)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        """Frames by index."""
        numbers = np.arange(self._frames)[index]
        found = np.empty((numbers.size, *self._window), dtype=self._dtype)
        for frame, number in zip(found, numbers.ravel().tolist(), strict=True):
            os.preadv(self._file.fileno(), [frame], number * self._bytes)
        return found if numbers.ndim else found[0]

    def close(self) -> None:
        """Give the room back."""
        self._file.close()
