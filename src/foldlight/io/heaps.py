"""Damaged heaps of texts in an HDF5 file, over which the library would never come to an end.

Texts of variable length lie in global heaps: the signature GCOL, version 1, 3 bytes of 0, the size of the whole (8
bytes), then objects: number (2 bytes), references (2), 0 (4), size (8), and that many bytes, up to a multiple of 8.
Number 0 is the free rest, whose size counts its own header. The library walks from object to object; where a size has
become 0 in the rest it stands still for good. Nothing in such a heap is protected by a checksum. Source: HDF5 file
format specification 3.0, section III.E.
"""

import struct
from pathlib import Path
from typing import BinaryIO

from foldlight.core.errors import DataError

__all__ = ["refuse_endless_heaps"]

_SIGNATURE = b"GCOL\x01\x00\x00\x00"
_OBJECT = struct.Struct("<HHIQ")
_SEARCHED_BYTES = 2**26  # at either end of a file: heaps lie with the small things, not among frames
_PART_BYTES = 2**22
_MOST_BYTES = 2**24  # of a heap that is walked; as a rule they have 4 KiB


def refuse_endless_heaps(path: Path) -> None:
    """Refuse a file with a heap that can't be walked to its end. Only both ends of a large file are searched.

    Raises:
        DataError: there is one, or the file can't be read.
    """
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            for start in _parts(size):
                stream.seek(start)
                part = stream.read(_PART_BYTES + len(_SIGNATURE))
                at = part.find(_SIGNATURE)
                while at >= 0:
                    _walk(stream, start + at)
                    at = part.find(_SIGNATURE, at + 1)
    except OSError as error:
        raise DataError(f"expected a readable file, got {error.strerror}") from None


def _parts(size: int) -> list[int]:
    """Where the parts begin that are searched."""
    starts = range(0, size, _PART_BYTES)
    return [start for start in starts if start < _SEARCHED_BYTES or start >= size - _SEARCHED_BYTES]


def _walk(stream: BinaryIO, start: int) -> None:
    """Step over the objects of one heap as the library does.

    Raises:
        DataError: a step of no length.
    """
    stream.seek(start + len(_SIGNATURE))
    size = int.from_bytes(stream.read(8), "little")
    heap = stream.read(max(0, min(size - len(_SIGNATURE) - 8, _MOST_BYTES)))
    at = 0
    while at + _OBJECT.size <= len(heap):
        number, _, _, held = _OBJECT.unpack_from(heap, at)
        step = (_OBJECT.size + -(-held // 8) * 8 if number else held) % 2**64
        if not step:
            raise DataError(f"expected a whole heap of texts at byte {start}, got one without end; copy the file again")
        at += step
