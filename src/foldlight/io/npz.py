"""NPZ files: opened without pickle, memory-mapped where they can be, every failure one line; and written in blocks.

A *stored* member of a zip is an .npy file in one piece, so its array is a window of the file: 30 bytes of local header,
the name, an extra field, the .npy header, the numbers. Source: PKWARE APPNOTE 4.3.7; NumPy enhancement proposal 1.
"""

import bz2
import errno
import gzip
import io
import math
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from foldlight.core.errors import DataError
from foldlight.core.files import replacing

__all__ = ["Blocks", "Npz", "about", "open_npz", "write_npz"]

_Stream = IO[bytes] | io.BufferedIOBase  # zipfile's members are the one by annotation, the other by class
_CHUNK = 1 << 22
_ALIGNMENT = 64  # bytes: what numpy and torch like best, and what the .npy header keeps
_PACKED = {b"BZh": bz2.open, b"\x1f\x8b": gzip.open}
_FOREIGN = {b"\x89HDF": "an HDF5 file", b"\x93NUM": "a single .npy array", b"PK\x03\x04": "a damaged or truncated zip"}
_DAMAGE = (
    *(OSError, EOFError, ValueError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile),
    *(tokenize.TokenError, SyntaxError, MemoryError, OverflowError),  # of numpy over a damaged header
)
_SAID = 160  # of what another library says; zipfile repeats what it read
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@contextmanager
def about(name: str) -> Iterator[None]:
    """Put the name of a file or a key before the message of a DataError raised inside the block."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


class Npz:
    """An open NPZ; arrays taken from it stay valid after it is closed."""

    def __init__(self, stream: _Stream, archive: zipfile.ZipFile, limit_bytes: int) -> None:
        self._stream = stream
        self._archive = archive
        self._limit_bytes = limit_bytes
        self._members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the arrays, in the order of the file."""
        return tuple(self._members)

    def __contains__(self, key: str) -> bool:
        return key in self._members

    def __getitem__(self, key: str) -> np.ndarray:
        """One array: a read-only memory map where its bytes lie in the file as they are, else read into memory.

        Either way its checksum is verified.

        Raises:
            DataError: no such key, a damaged member, no .npy, an object array, or larger than the limit.
        """
        if key not in self._members:
            raise DataError(f"expected the key {key!r}, found {', '.join(self._members) or 'an empty archive'}")
        with about(key):
            try:
                return self._load(self._members[key])
            except _DAMAGE as error:
                said = str(error)[:_SAID] or type(error).__name__
                raise DataError(f"expected a whole .npy array, got {said}; copy the file again") from None

    def _load(self, info: zipfile.ZipInfo) -> np.ndarray:
        mapped = info.compress_type == zipfile.ZIP_STORED
        if not mapped and info.file_size > self._limit_bytes:
            raise DataError(
                f"expected at most {_gib(self._limit_bytes)} when unpacked, got {_gib(info.file_size)} from"
                f" {info.compress_size} bytes; raise unpacked_limit_gib if you trust the file"
            )
        with self._archive.open(info) as member:
            shape, fortran, dtype, start = _npy_header(member)
            need = math.prod(shape) * dtype.itemsize
            if need != info.file_size - start:
                raise DataError(f"expected {need} bytes for shape {shape}, got {info.file_size - start}")
            if not (mapped and shape and need):
                member.seek(0)
                return np.lib.format.read_array(member, allow_pickle=False)
            while member.read(_CHUNK):  # zipfile compares the checksum at the end
                pass
        offset = self._data_offset(info) + start
        return np.memmap(self._stream, dtype, "r", offset, shape, "F" if fortran else "C")

    def _data_offset(self, info: zipfile.ZipInfo) -> int:
        """Where a member's bytes begin; the local header's lengths may differ from the directory's."""
        self._stream.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", self._stream.read(4))
        return info.header_offset + 30 + int(name) + int(extra)


@contextmanager
def open_npz(path: Path, limit_bytes: int = 16 << 30) -> Iterator[Npz]:
    """Open an NPZ, plain or packed by bzip2 or gzip.

    A packed file is unpacked to an anonymous temporary file. Any DataError raised inside the block is given the
    path in front of its message.

    Args:
        path: the file; what it is is judged by its first bytes, not by its name.
        limit_bytes: most that a packed file or a compressed member may unpack to.

    Raises:
        DataError: missing, damaged, no NPZ, or larger than the limit.
    """
    with about(str(path)):
        try:
            source = path.open("rb")
        except OSError as error:
            raise DataError(f"expected a readable file, got {error.strerror}") from None
        with source, _unpacked(source, limit_bytes) as stream:
            start = stream.read(4)
            try:
                archive = zipfile.ZipFile(stream)
            except _DAMAGE:
                found = _FOREIGN.get(start, f"a file that begins with {start!r}")
                raise DataError(f"expected an NPZ (a zip of .npy arrays), got {found}") from None
            with archive:
                yield Npz(stream, archive, limit_bytes)


@contextmanager
def _unpacked(source: _Stream, limit_bytes: int) -> Iterator[_Stream]:
    """The stream itself, or an anonymous file of what it unpacks to."""
    start = source.read(4)
    source.seek(0)
    opener: Any = next((opener for magic, opener in _PACKED.items() if start.startswith(magic)), None)
    if opener is None:
        yield source
        return
    with tempfile.TemporaryFile() as temporary:
        try:
            with opener(source, "rb") as unpacking:
                _copy(unpacking, temporary, limit_bytes)
        except _DAMAGE as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise DataError(
                    f"expected room to unpack it in {tempfile.gettempdir()}, got a full disk; set TMPDIR"
                ) from None
            raise DataError(f"expected a whole packed file, got {error}") from None
        temporary.seek(0)
        yield temporary


def _copy(source: io.BufferedIOBase, target: _Stream, limit_bytes: int) -> None:
    total = 0
    while chunk := source.read(_CHUNK):
        total += len(chunk)
        if total > limit_bytes:
            raise DataError(
                f"expected at most {_gib(limit_bytes)} when unpacked, got more;"
                " raise unpacked_limit_gib if you trust the file"
            )
        target.write(chunk)


def _npy_header(member: _Stream) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, Fortran order, type and where the numbers begin; refuses what needs pickle."""
    version = np.lib.format.read_magic(member)
    if version not in _HEADERS:
        raise DataError(f"expected .npy version 1 or 2, got {version}")
    shape, fortran, dtype = _HEADERS[version](member)
    if dtype.hasobject:
        raise DataError(
            "expected numbers or text, got an object array, which only pickle reads; convert the file where you trust"
            " it: numpy.load it with allow_pickle=True, make it plain (numpy.stack(list(a)), or for a dictionary"
            " numpy.array(json.dumps(a.item()))) and numpy.savez it again"
        )
    return shape, fortran, dtype, member.tell()


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"


@dataclass(frozen=True)
class Blocks:
    """An array that is written piece by piece along its first axis.

    Attributes:
        shape: of the whole.
        dtype: of the whole; pieces are converted.
        pieces: arrays that make up the whole, in order.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    pieces: Iterable[np.ndarray]


def write_npz(path: Path, members: Mapping[str, np.ndarray | Blocks]) -> None:
    """Write an uncompressed NPZ in one step; the same arrays give the same bytes.

    The numbers of each member begin at a multiple of 64 bytes, so that a memory map of them is aligned.

    Raises:
        DataError: the folder can't be made or written; nothing is left behind.
    """
    with replacing(path) as temporary, temporary.open("wb") as stream, zipfile.ZipFile(stream, "w") as archive:
        for key, member in members.items():
            _write_member(archive, stream.tell(), f"{key}.npy", member)


def _write_member(archive: zipfile.ZipFile, offset: int, name: str, member: np.ndarray | Blocks) -> None:
    blocks = member if isinstance(member, Blocks) else Blocks(member.shape, member.dtype, (member,))
    info = zipfile.ZipInfo(name)  # dated 1980, whatever the clock says
    info.external_attr = 0o600 << 16
    info.extra = _padding(offset + 30 + len(name.encode()) + 20)  # 20: the extra field of a large file
    with archive.open(info, "w", force_zip64=True) as target:
        header = {
            "descr": np.lib.format.dtype_to_descr(blocks.dtype),
            "fortran_order": False,
            "shape": blocks.shape,
        }
        np.lib.format.write_array_header_1_0(target, header)
        for piece in blocks.pieces:
            target.write(np.ascontiguousarray(piece, dtype=blocks.dtype).tobytes())


def _padding(offset: int) -> bytes:
    """An extra field that moves what follows to a multiple of the alignment (field 0xD935, as Android's zipalign)."""
    fill = -(offset + 6) % _ALIGNMENT
    return struct.pack("<HHH", 0xD935, 2 + fill, _ALIGNMENT) + bytes(fill)
