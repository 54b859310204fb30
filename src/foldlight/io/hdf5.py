"""An HDF5 file as data that may be damaged or hostile: names, types and sizes are checked before anything is read.

h5py is imported when a file is opened, so that importing readers costs nothing.
"""

import importlib
import importlib.util
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foldlight.core.errors import DataError
from foldlight.frames import Stored
from foldlight.io.heaps import refuse_endless_heaps
from foldlight.io.npz import about
from foldlight.io.stored import ContiguousFrames, DatasetFrames

if TYPE_CHECKING:
    import h5py

__all__ = ["Hdf5", "hdf5_trouble", "is_hdf5", "open_hdf5", "reserve", "told_writing", "written_hdf5"]

_LIBRARY = ("v110", "v110")  # the oldest with checksums in its headers, and with one writer beside many readers
_MAGIC = b"\x89HDF\r\n\x1a\n"
_USER_BLOCKS = (0, 512, 1024, 2048)  # where the magic may lie: behind a block that another format uses
_CACHE_BYTES = 2**26  # of unpacked chunks
_CACHE_SLOTS = 10_007
_UNWRITTEN_BYTES = 2**21  # of chunks that wait in memory to be packed
_DEFLATED = 1100  # bytes that one packed byte can become, at most
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
_HELD = ("already open for", "lock file", "consistency flags")


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5; False for one that can't be read."""
    try:
        with path.open("rb") as stream:
            start = stream.read(_USER_BLOCKS[-1] + len(_MAGIC))
    except OSError:
        return False
    return any(start[at:].startswith(_MAGIC) for at in _USER_BLOCKS)


class Hdf5:
    """An open HDF5 file; arrays taken from it stay valid after it is closed.

    Attributes:
        path: the file.
        unfinished: frames that are there may be taken from a file that is still being written.
    """

    def __init__(self, file: "h5py.File", path: Path, limit_bytes: int, unfinished: bool = False) -> None:
        self.path, self.unfinished = path, unfinished
        self.kept, self._heaps_end = False, False
        self._file = file
        self._limit_bytes = limit_bytes
        self._held_bytes = _DEFLATED * max(path.stat().st_size, 2**16)

    def keep(self) -> None:
        """Leave the file open for somebody who reads from it later."""
        self.kept = True

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of what lies in the root group."""
        with _damage("/"):
            return _names(self._file)

    def __contains__(self, name: str) -> bool:
        with _damage(name):
            return name in self._file

    def attribute(self, name: str, of: str = "/") -> Any:
        """The value of an attribute as numpy or text, None where it is absent.

        Raises:
            DataError: it can't be read.
        """
        with _damage(f"{of}: attribute {name}"):
            attributes = self._file[of].attrs
            if name not in attributes:
                return None
            self._refuse_endless(attributes.get_id(name).get_type())
            return attributes[name]

    def _refuse_endless(self, kind: "h5py.h5t.TypeID") -> None:
        """Before the first text of variable length is read: see `heaps`."""
        import h5py

        text = isinstance(kind, h5py.h5t.TypeStringID)
        if kind.detect_class(h5py.h5t.VLEN) and not text:
            raise DataError("expected numbers or text, got lists of variable length")  # what damage makes of a text
        if text and kind.is_variable_str() and not self._heaps_end:
            refuse_endless_heaps(self.path)
            self._heaps_end = True

    def dataset(self, name: str) -> "h5py.Dataset":
        """A dataset, not read.

        Raises:
            DataError: no such dataset, or it can't be read.
        """
        import h5py

        with _damage(name):
            found = self._file.get(name)
            if not isinstance(found, h5py.Dataset):
                raise DataError(f"expected a dataset, found {'none' if found is None else 'a group'}")
            if not isinstance(found.dtype, np.dtype) or found.shape is None:
                raise DataError("expected numbers, got an empty dataset")
            return found

    def members(self, name: str = "/") -> tuple[str, ...]:
        """Names of what lies in a group; none where there is no such group.

        Raises:
            DataError: it can't be read.
        """
        import h5py

        with _damage(name):
            found = self._file.get(name)
            return _names(found) if isinstance(found, h5py.Group) else ()

    def number(self, name: str) -> float | None:
        """A dataset of one number; None where it is absent.

        Raises:
            DataError: it is not one number.
        """
        if name not in self:
            return None
        dataset = self.dataset(name)
        with _damage(name):
            if dataset.size != 1 or dataset.dtype.kind not in "iuf":
                raise DataError(f"expected one number, got shape {dataset.shape} of {dataset.dtype}")
            return float(np.asarray(dataset[()]).item())

    def text(self, name: str) -> str | None:
        """A dataset of one text; None where it is absent or something else.

        Raises:
            DataError: it can't be read.
        """
        import h5py

        with _damage(name):
            found = self._file.get(name)
            if not isinstance(found, h5py.Dataset) or found.shape is None or found.size != 1:
                return None
            if h5py.check_string_dtype(found.dtype) is None:
                return None
            self._refuse_endless(found.id.get_type())
            self._refuse_long(found)
            value = found[()] if found.shape == () else found[(0,) * found.ndim]
            return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

    def _refuse_long(self, text: "h5py.Dataset") -> None:
        """The library makes room for as much as a text of variable length claims, in the 4 bytes where it begins."""
        offset = text.id.get_offset() if text.file == self._file and text.dtype.kind == "O" else None
        if offset is not None:
            with self.path.open("rb") as stream:
                stream.seek(offset)
                self.plausible(int.from_bytes(stream.read(4), "little"))

    def frames(self, name: str) -> Stored:
        """Frames (n, y, x) that are read when they are asked for; further leading axes, of a raster, become one.

        Contiguous, chunked, packed, virtual, or in another file that this one links to.

        Raises:
            DataError: no such dataset, not three axes or more of real numbers, or packed by a filter that is not here.
        """
        dataset = self.dataset(name)
        with _damage(name):
            if dataset.dtype.kind not in "iuf" or dataset.ndim < 3:
                raise DataError(
                    f"expected frames (n, y, x) of real numbers, got shape {dataset.shape} of {dataset.dtype}"
                )
            if not dataset.size:
                raise DataError(f"expected at least one frame, got an empty scan of shape {dataset.shape}")
            _refuse_unknown_filters(dataset)
            here = dataset.file == self._file and not dataset.is_virtual and not dataset.external
            offset = dataset.id.get_offset() if here and dataset.chunks is None else None
            if offset is not None:
                shape = (math.prod(dataset.shape[:-2]), *dataset.shape[-2:])
                return ContiguousFrames(self.path, int(offset), shape, dataset.dtype)
            self.affordable_frame(dataset)
            if here:
                self.plausible(dataset.size * dataset.dtype.itemsize)
            self.keep()
            return DatasetFrames(dataset, f"{self.path}: {name}")

    def affordable_frame(self, dataset: "h5py.Dataset") -> None:
        """Refuse a dataset of which one frame, or one chunk, is too much.

        Raises:
            DataError: more bytes than the limit.
        """
        for sizes in (dataset.shape[-2:], dataset.chunks or ()):
            if (need := math.prod(sizes) * dataset.dtype.itemsize) > self._limit_bytes:
                raise DataError(
                    f"expected at most {self._limit_bytes / 2**30:.3g} GiB a frame or chunk, got"
                    f" {need / 2**30:.3g} GiB; raise unpacked_limit_gib if you trust the file"
                )

    def array(self, name: str, rows: int | None = None) -> np.ndarray:
        """A dataset in memory, or its first rows.

        Raises:
            DataError: no such dataset, damaged, or larger than the limit or than such a file can hold.
        """
        dataset = self.dataset(name)
        shape = dataset.shape if rows is None else (rows, *dataset.shape[1:])
        with _damage(name):
            if dataset.dtype.hasobject:
                raise DataError(f"expected numbers or text of fixed length, got {dataset.dtype}")
            for sizes in (shape, dataset.chunks or ()):
                self.affordable(math.prod(sizes) * dataset.dtype.itemsize)
            return np.asarray(dataset[()] if rows is None else dataset[:rows])

    def affordable(self, need: int) -> None:
        """Refuse to make room for what the file can't hold, or the user does not want.

        Raises:
            DataError: more bytes than either.
        """
        self.plausible(need)
        if need > self._limit_bytes:
            raise DataError(
                f"expected at most {self._limit_bytes / 2**30:.3g} GiB, got {need / 2**30:.3g} GiB; raise"
                " unpacked_limit_gib if you trust the file"
            )

    def plausible(self, need: int) -> None:
        """Refuse a size that the file's bytes can't unpack to.

        Raises:
            DataError: more than that.
        """
        if need > self._held_bytes:
            raise DataError(
                f"expected at most {self._held_bytes:.4g} bytes in such a file, got {need:.4g}; it is damaged"
            )


def _names(group: "h5py.Group") -> tuple[str, ...]:
    """What lies in a group; names that are no text, in damaged files, are bytes to h5py."""
    return tuple(name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in group)


def _refuse_unknown_filters(dataset: "h5py.Dataset") -> None:
    """Refuse what can't be unpacked here, before anything is read."""
    import h5py

    settings = dataset.id.get_create_plist()
    for index in range(settings.get_nfilters()):
        code, _, _, label = settings.get_filter(index)
        if h5py.h5z.filter_avail(code):
            continue
        if importlib.util.find_spec("hdf5plugin"):
            importlib.import_module("hdf5plugin")  # registers its filters
            if h5py.h5z.filter_avail(code):
                continue
        named = bytes(label).decode(errors="replace") or f"number {code}"
        raise DataError(
            f"expected a packing that HDF5 knows here, got the filter {named}; pip install 'foldlight[beamline]'"
        )


@contextmanager
def open_hdf5(path: Path, limit_bytes: int = 16 << 30, unfinished: bool = False) -> Iterator[Hdf5]:
    """Open an HDF5 file to read. Any DataError raised inside the block is given the path in front of its message.

    Args:
        path: the file.
        limit_bytes: most that an array may take.
        unfinished: open one that a writer holds as well, to take what is there.

    Raises:
        DataError: damaged, or held by a writer.
    """
    import h5py

    cache = {"rdcc_nbytes": _CACHE_BYTES, "rdcc_nslots": _CACHE_SLOTS}
    with about(str(path)):
        try:
            file = h5py.File(path, "r", **cache)
        except _DAMAGE as error:
            if not any(word in str(error) for word in _HELD):
                raise DataError(f"expected a whole HDF5 file, got {hdf5_trouble(error)}") from None
            if not unfinished:
                raise DataError(
                    "expected a finished file, got one that is being written, or whose writer was ended; follow it with"
                    " `foldlight live`, or take the frames that are there with --unfinished"
                ) from None
            with _damage("/"):
                file = h5py.File(path, "r", swmr=True, **cache)
        opened = Hdf5(file, path, limit_bytes, unfinished)
        try:
            yield opened
        except BaseException:
            opened.kept = False
            raise
        finally:
            if not opened.kept:
                file.close()


@contextmanager
def written_hdf5(
    path: Path, mode: str = "w", aligned: int = 1, library: tuple[str, str] = _LIBRARY
) -> "Iterator[h5py.File]":
    """A file to write, or with `r+` to write on, as long as it needs to be when the block ends.

    HDF5 does not outlive a full disk: the process ends with a signal when it closes the file, or later. So ask for the
    room before anything is written, see `reserve`.

    Args:
        path: the file.
        mode: `w` or `r+`.
        aligned: arrays of so many bytes or more begin at a multiple of it.
        library: oldest and newest version of HDF5 whose structures are used.

    Raises:
        OSError: it can't be written.
    """
    import h5py

    how = {"alignment_threshold": aligned, "alignment_interval": aligned, "rdcc_nbytes": _UNWRITTEN_BYTES}
    file = h5py.File(path, mode, libver=library, **how)
    size = None
    try:
        yield file
        file.flush()
        size = file.id.get_filesize()
    finally:
        file.close()
        if size is not None:
            os.truncate(path, min(size, path.stat().st_size))  # what was reserved and not needed


@contextmanager
def told_writing(path: Path) -> Iterator[None]:
    """What HDF5 raises inside the block, while the file is written, in one line.

    Raises:
        DataError: it raised something.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: expected to write it, got {hdf5_trouble(error)}") from None


def reserve(file: "h5py.File", more: int) -> None:
    """Room on the disk for so many bytes more, and what HDF5 holds back, in a file that is written.

    Only where the system can promise it, as Linux does.

    Raises:
        OSError: there is none, or the user may not have it.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    descriptor = os.open(file.filename, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, file.id.get_filesize() + _UNWRITTEN_BYTES + more)
    finally:
        os.close(descriptor)


def hdf5_trouble(error: BaseException) -> str:
    """What HDF5 says in a few words: the system's own where it names them, without addresses and times."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()).strip("'\"")  # a KeyError quotes its words
    named = re.search(r"error message = '([^']+)'", text)
    return (
        named.group(1) if named else re.sub(r"^(Unable to|Can't) (synchronously )?", "could not ", text) or repr(error)
    )


@contextmanager
def _damage(name: str) -> Iterator[None]:
    """What HDF5 raises inside the block, in one line that names what was read."""
    with about(name):
        try:
            yield
        except _DAMAGE as error:
            raise DataError(f"expected whole data, {hdf5_trouble(error)}; copy the file again") from None
