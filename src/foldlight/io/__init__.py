"""Files in, files out: every format behind `read_scan`, which brings it to photons and to one convention.

Formats come in two families, by what holds the arrays: an NPZ, or an HDF5 file. A module of a format says which files
are its own and reads them; it is entered in one of the two dictionaries here, under the short name that the
command line takes, and nowhere else.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from foldlight.core.errors import DataError
from foldlight.core.provenance import sha256_file
from foldlight.io import container, cxi, data001, foldslice, nexus, ptychodus, ptylab, ptypy, slac, tike
from foldlight.io.container import verify_container, write_container
from foldlight.io.data001 import write_data001
from foldlight.io.hdf5 import Hdf5, is_hdf5, open_hdf5
from foldlight.io.npz import Npz, open_npz
from foldlight.io.options import ReadOptions
from foldlight.scan import Scan

__all__ = [
    "ReadOptions",
    "files_of",
    "read_scan",
    "verify_container",
    "write_container",
    "write_data001",
    "write_scan",
    "writers",
]


class _NpzFormat(Protocol):
    """What a module of a format in NPZ files holds."""

    NAME: str
    KEYS: tuple[str, ...]

    def matches(self, keys: Iterable[str]) -> bool: ...

    def read(self, archive: Npz, options: ReadOptions) -> Scan: ...


class _Hdf5Format(Protocol):
    """What a module of a format in HDF5 files holds; `SIGNS` says in words by what it is known."""

    NAME: str
    SIGNS: str

    def matches(self, file: Hdf5) -> bool: ...

    def read(self, file: Hdf5, options: ReadOptions) -> Scan: ...


@runtime_checkable
class _Written(Protocol):
    """What a module of a format that can be written holds besides."""

    def write(self, path: Path, scan: Scan) -> tuple[Path, ...]: ...


_NPZ_FORMATS: dict[str, _NpzFormat] = {"slac": slac, "data001": data001, "tike": tike}
_HDF5_FORMATS: dict[str, _Hdf5Format] = {
    "container": container,
    "nexus": nexus,
    "cxi": cxi,
    "ptychodus": ptychodus,
    "foldslice": foldslice,
    "ptypy": ptypy,
    "ptylab": ptylab,
}
_AS_FOUND = ReadOptions()


def read_scan(path: Path, options: ReadOptions = _AS_FOUND) -> Scan:
    """Read a scan of any known format, judged by what the file holds.

    What was found, changed or left out is in `scan.notes`; name and format of the file in `scan.origin`, with the
    sha256 of an NPZ or the seal of a container, whose frames are not read here.

    Args:
        path: the file; an NPZ may be packed by bzip2 or gzip.
        options: what the file does not say, or says wrongly.

    Raises:
        DataError: the file is missing, damaged, of no known format, or not a sound scan; one line that names the file,
            the key, what was expected, what came, and what to do.
    """
    return _from_hdf5(path, options) if is_hdf5(path) else _from_npz(path, options)


def files_of(path: Path, form: str) -> tuple[Path, ...]:
    """The files that `write_scan` would write: some formats have two."""
    files = getattr({**_HDF5_FORMATS, **_NPZ_FORMATS}.get(form), "files", None)
    return (path,) if files is None else tuple(files(path))


def writers() -> dict[str, Callable[[Path, Scan], tuple[Path, ...]]]:
    """Who writes each format that can be written, by the short name of the format."""
    formats: dict[str, _NpzFormat | _Hdf5Format] = {**_HDF5_FORMATS, **_NPZ_FORMATS}
    return {name: form.write for name, form in formats.items() if isinstance(form, _Written)}


def write_scan(path: Path, scan: Scan, form: str) -> tuple[Path, ...]:
    """Write a scan in a format by its short name, as `cxi`; what the format can't carry is lost, as its module says.

    Returns:
        The files that were written: some formats have two.

    Raises:
        DataError: no such format, a scan that it can't hold, or a place that can't be written; nothing is left behind.
    """
    known = writers()
    if form not in known:
        raise DataError(f"format {form}: expected one of {', '.join(sorted(known))}")
    return known[form](path, scan)


def _from_npz(path: Path, options: ReadOptions) -> Scan:
    with open_npz(path, options.limit_bytes) as archive:
        reader = next((form for form in _NPZ_FORMATS.values() if form.matches(archive.keys)), None)
        if reader is None:
            known = "; ".join(f"{form.NAME}: {', '.join(form.KEYS)}" for form in _NPZ_FORMATS.values())
            found = ", ".join(archive.keys) or "none"
            raise DataError(f"expected the keys of a known format ({known}), found {found}")
        scan = reader.read(archive, options)
    return _with_facts(scan, path, reader.NAME, sha256=sha256_file(path))


def _from_hdf5(path: Path, options: ReadOptions) -> Scan:
    with open_hdf5(path, options.limit_bytes, options.unfinished) as file:
        reader = next((form for form in _HDF5_FORMATS.values() if form.matches(file)), None)
        if reader is None:
            known = "; ".join(f"{form.NAME}: {form.SIGNS}" for form in _HDF5_FORMATS.values())
            found = ", ".join(file.keys) or "nothing"
            raise DataError(f"expected an HDF5 file of a known format ({known}), found {found}")
        return _with_facts(reader.read(file, options), path, reader.NAME)


def _with_facts(scan: Scan, path: Path, form: str, **more: str) -> Scan:
    return replace(scan, origin={**scan.origin, "path": path.name, "format": form, **more})
