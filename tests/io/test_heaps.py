"""Heaps of texts that HDF5 would walk for ever."""

from pathlib import Path

import h5py
import pytest

from foldlight.core.errors import DataError
from foldlight.io.hdf5 import open_hdf5
from foldlight.io.heaps import refuse_endless_heaps


def with_texts(path: Path) -> int:
    """A file with texts of variable length; where its heap begins."""
    with h5py.File(path, "w") as file:
        file["definition"] = "NXsomething"
        file.attrs["units"] = "furlong"
        file["numbers"] = list(range(5000))
    return path.read_bytes().index(b"GCOL")


def overwrite(path: Path, at: int, what: bytes) -> None:
    with path.open("rb+") as stream:
        stream.seek(at)
        stream.write(what)


def test_texts_of_a_sound_file_are_read(tmp_path):
    with_texts(tmp_path / "file.h5")
    refuse_endless_heaps(tmp_path / "file.h5")
    with open_hdf5(tmp_path / "file.h5") as file:
        assert (file.text("definition"), file.attribute("units")) == ("NXsomething", "furlong")


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("what", ["dataset", "attribute"])
def test_a_heap_without_end_is_refused(tmp_path, number, what):
    """An object of no length: the free rest, or one whose size wraps around."""
    path = tmp_path / "file.h5"
    start = with_texts(path)
    size = b"\xf0" + b"\xff" * 7 if number else bytes(8)
    overwrite(path, start + 16, number.to_bytes(2, "little") + bytes(6) + size)
    with pytest.raises(DataError, match=r"expected a whole heap of texts at byte \d+, got one without end; copy the"):
        refuse_endless_heaps(path)
    with pytest.raises(DataError, match=r"file\.h5: .*one without end"), open_hdf5(path) as file:
        _ = file.text("definition") if what == "dataset" else file.attribute("units")


def test_only_the_ends_of_a_large_file_are_searched(tmp_path, monkeypatch):
    monkeypatch.setattr("foldlight.io.heaps._SEARCHED_BYTES", 512)
    monkeypatch.setattr("foldlight.io.heaps._PART_BYTES", 256)
    path = tmp_path / "file.h5"
    start = with_texts(path)
    overwrite(path, start + 16, bytes(16))
    assert 768 < start < path.stat().st_size - 768
    refuse_endless_heaps(path)
    monkeypatch.setattr("foldlight.io.heaps._SEARCHED_BYTES", start + 1)
    with pytest.raises(DataError, match="without end"):
        refuse_endless_heaps(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a readable file, got No such file"):
        refuse_endless_heaps(tmp_path / "none.h5")
