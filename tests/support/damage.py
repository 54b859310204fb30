"""Damage to files, of every kind that disks, networks and people do; the same seed does the same."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from hypothesis import strategies as st

from foldlight.core.errors import DataError
from foldlight.io import read_scan

_KINDS = ("f8", "f4", "u1", "u2", "i4", "i8", "c8", "c16", "S8", "?")
_NUMBERS = (0, -1, 1, 3, np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-320, 2**31 - 1)
_WORDS = ("", "nm", "ä" * 9, "none", "\x00", "nearfield", "{}", "1e999")


def damage(path: Path, seed: int) -> str:
    """Damage a file in place, and say how."""
    draw = np.random.default_rng(seed)
    kinds = _HDF5 if _is_hdf5(path) else _NPZ
    kind = list(kinds)[draw.integers(len(kinds))]
    kinds[kind](path, draw)
    return kind


def read_or_refused(path: Path, data: st.DataObject) -> None:
    """Bits of a file are flipped and its end may be cut: it is read, or refused in one line that names it."""
    if data.draw(st.booleans()):
        os.truncate(path, data.draw(st.integers(1, path.stat().st_size - 1)))
    for _ in range(data.draw(st.integers(1, 4))):
        with path.open("rb+") as stream:
            at = data.draw(st.integers(0, path.stat().st_size - 1))
            stream.seek(at)
            byte = stream.read(1)[0]
            stream.seek(at)
            stream.write(bytes([byte ^ 16]))
    refusal = f"{path.name}: "
    try:
        assert np.isfinite(read_scan(path).photons[:]).all()
    except DataError as error:
        refusal = str(error)
    assert path.name in refusal
    assert "\n" not in refusal


def _is_hdf5(path: Path) -> bool:
    return path.read_bytes()[:4] == b"\x89HDF"


def _flip(path: Path, draw: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(draw.integers(1, 9)):
        data[draw.integers(len(data))] ^= 1 << int(draw.integers(8))
    path.write_bytes(data)


def _scramble(path: Path, draw: np.random.Generator) -> None:
    """A stretch of other bytes, zeros or ones, most often near the beginning, where the directory is."""
    data = bytearray(path.read_bytes())
    start = int(len(data) * draw.uniform() ** 2)
    length = int(draw.integers(1, 65))
    filling = [bytes(length), b"\xff" * length, draw.bytes(length)][draw.integers(3)]
    data[start : start + length] = filling[: len(data) - start]
    path.write_bytes(data)


def _cut(path: Path, draw: np.random.Generator) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: draw.integers(1, len(data))])


def _cut_out(path: Path, draw: np.random.Generator) -> None:
    data = path.read_bytes()
    start = int(draw.integers(len(data)))
    path.write_bytes(data[:start] + data[start + int(draw.integers(1, 200)) :])


def _another(array: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """An array like this one, but for its kind, shape or some numbers."""
    array = np.asarray(array)
    change = draw.integers(6)
    if change == 0 or array.dtype.kind in "SUO":
        return np.asarray(_WORDS[draw.integers(len(_WORDS))].encode().ljust(1))
    with np.errstate(all="ignore"):
        if change == 1:
            kinds = _KINDS if array.dtype.kind != "c" else ("c8", "c16", "S8")
            return np.asarray(array.astype(kinds[draw.integers(len(kinds))]))
        if change == 2 and array.size:
            changed = array.astype("c16" if array.dtype.kind == "c" else "f8").reshape(-1)
            changed[draw.integers(changed.size, size=draw.integers(1, 4))] = _NUMBERS[draw.integers(len(_NUMBERS))]
            return np.asarray(changed.reshape(array.shape))
    if change == 3:
        return np.asarray(array[None] if draw.integers(2) else np.moveaxis(array, 0, -1) if array.ndim else array)
    if change == 4 and array.ndim:
        return np.asarray(array[: draw.integers(len(array) + 1)] if draw.integers(2) else array.ravel())
    return np.full(array.shape, _NUMBERS[draw.integers(len(_NUMBERS))], dtype="f8")


def _datasets(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def _replace_dataset(path: Path, draw: np.random.Generator) -> None:
    with h5py.File(path, "r+") as file:
        names = _datasets(file)
        name = names[draw.integers(len(names))]
        before, attributes = file[name][()], dict(file[name].attrs)
        del file[name]
        file[name] = _another(before, draw)
        file[name].attrs.update(attributes)


def _remove(path: Path, draw: np.random.Generator) -> None:
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = names[draw.integers(len(names))]
        item = file[name]
        if len(item.attrs) and draw.integers(2):
            del item.attrs[list(item.attrs)[draw.integers(len(item.attrs))]]
        else:
            del file[name]
            if draw.integers(2):
                file.create_group(name)


def _misname(path: Path, draw: np.random.Generator) -> None:
    """Another value for an attribute, such as a unit."""
    with h5py.File(path, "r+") as file:
        owners: list[str] = ["/"]
        file.visit(owners.append)
        owners = [name for name in owners if len(file[name].attrs)] or owners
        owner = file[owners[draw.integers(len(owners))]]
        name = list(owner.attrs)[draw.integers(len(owner.attrs))] if len(owner.attrs) else "units"
        values = (*_WORDS[:2], *_NUMBERS, np.ones(3), np.bytes_("Angstrom"), h5py.Empty("f8"))
        owner.attrs[name] = values[draw.integers(len(values))]


def _enormous(path: Path, draw: np.random.Generator) -> None:
    """A dataset that claims a size which no file holds."""
    with h5py.File(path, "r+") as file:
        names = [name for name in _datasets(file) if file[name].ndim]
        name = names[draw.integers(len(names))]
        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        large = (2 ** int(draw.integers(20, 48)), *shape[1:])
        file.create_dataset(name, large, dtype, chunks=tuple(min(size, 64) for size in large))


def _elsewhere(path: Path, draw: np.random.Generator) -> None:
    """A link to what is not there, to itself, or to what lies around it."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = names[draw.integers(len(names))]
        del file[name]
        targets = [h5py.SoftLink("/nowhere"), h5py.SoftLink(f"/{name}"), h5py.SoftLink("/")]
        file[name] = [*targets, h5py.ExternalLink("none.h5", "/data")][draw.integers(4)]


def _members(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return dict(archive)


def _replace_member(path: Path, draw: np.random.Generator) -> None:
    arrays = _members(path)
    name = list(arrays)[draw.integers(len(arrays))]
    arrays[name] = _another(arrays[name], draw)
    np.savez(path, **arrays)


def _remove_member(path: Path, draw: np.random.Generator) -> None:
    arrays = _members(path)
    del arrays[list(arrays)[draw.integers(len(arrays))]]
    np.savez(path, **arrays)


def _lie(path: Path, draw: np.random.Generator) -> None:
    """A member whose header claims another shape or type than its bytes have."""
    arrays = _members(path)
    chosen = list(arrays)[draw.integers(len(arrays))]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if draw.integers(2) else zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.lib.format.write_array(stream, array, allow_pickle=False)
            text = stream.getvalue()
            if name == chosen:
                swaps = (
                    (b"'fortran_order': False", b"'fortran_order': True "),
                    (b"(", b"[1"),
                    (b"<", b">"),
                    (b", ", b"0,"),
                )
                text = text.replace(*swaps[draw.integers(len(swaps))], 1)
            archive.writestr(f"{name}.npy", text)


_Damage = Callable[[Path, np.random.Generator], None]
_BYTES: dict[str, _Damage] = {"flip": _flip, "scramble": _scramble, "cut": _cut, "cut out": _cut_out}
_HDF5: dict[str, _Damage] = {
    **_BYTES,
    "replace": _replace_dataset,
    "remove": _remove,
    "attribute": _misname,
    "enormous": _enormous,
    "elsewhere": _elsewhere,
}
_NPZ: dict[str, _Damage] = {**_BYTES, "replace": _replace_member, "remove": _remove_member, "lie": _lie}
