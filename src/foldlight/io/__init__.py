"""Files in, files out: every format behind `read_scan`, which brings it to photons and to one convention."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from foldlight.core.errors import DataError
from foldlight.core.provenance import sha256_file
from foldlight.io import data001, tike
from foldlight.io.data001 import write_data001
from foldlight.io.npz import Npz, open_npz
from foldlight.io.options import ReadOptions
from foldlight.scan import Scan

__all__ = ["ReadOptions", "read_scan", "write_data001"]


class _Format(Protocol):
    """What a module of a format holds."""

    NAME: str
    KEYS: tuple[str, ...]

    def matches(self, keys: Iterable[str]) -> bool: ...

    def read(self, archive: Npz, options: ReadOptions) -> Scan: ...


_FORMATS: tuple[_Format, ...] = (data001, tike)
_AS_FOUND = ReadOptions()


def read_scan(path: Path, options: ReadOptions = _AS_FOUND) -> Scan:
    """Read a scan of any known format, judged by what the file holds.

    What was found, changed or left out is in `scan.notes`; name, format and sha256 of the file in `scan.origin`.

    Args:
        path: the file, plain or packed by bzip2 or gzip.
        options: what the file does not say, or says wrongly.

    Raises:
        DataError: the file is missing, damaged, of no known format, or not a sound scan; one line that names the file,
            the key, what was expected, what came, and what to do.
    """
    with open_npz(path, options.limit_bytes) as archive:
        reader = next((form for form in _FORMATS if form.matches(archive.keys)), None)
        if reader is None:
            known = "; ".join(f"{form.NAME}: {', '.join(form.KEYS)}" for form in _FORMATS)
            found = ", ".join(archive.keys) or "none"
            raise DataError(f"expected the keys of a known format ({known}), found {found}")
        scan = reader.read(archive, options)
    facts = {"path": path.name, "format": reader.NAME, "sha256": sha256_file(path)}
    return replace(scan, origin={**scan.origin, **facts})
