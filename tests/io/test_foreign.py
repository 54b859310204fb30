"""What writers of other programs' layouts share: blocks, numbers that fit, old libraries, failures."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from compared import same_experiment
from phantom import phantom_scan

from foldlight.core.errors import DataError
from foldlight.frames import Frames
from foldlight.geometry import Geometry
from foldlight.io import read_scan, write_scan
from foldlight.io.foreign import writing_hdf5

FORMATS = ("foldslice", "ptylab", "ptypy", "slac", "tike")
SQUARE = replace(phantom_scan(12, 12), geometry=Geometry.far_field((12, 12), 1.2e-10, 1.5, (75e-6, 75e-6)))


def place(folder: Path, form: str) -> Path:
    return folder / (f"{form}.npz" if form in {"slac", "tike"} else f"{form}.h5")


@pytest.mark.parametrize("form", FORMATS)
def test_frames_are_written_in_blocks_of_any_size(tmp_path, monkeypatch, form):
    whole = [path.read_bytes() for path in write_scan(place(tmp_path / "one", form), SQUARE, form)]
    monkeypatch.setattr("foldlight.frames._BLOCK_PIXELS", 2 * 12 * 12)
    files = write_scan(place(tmp_path / "many", form), SQUARE, form)
    assert [path.read_bytes() for path in files] == whole
    same_experiment(read_scan(files[0]), SQUARE, pixels=form != "tike")


@pytest.mark.parametrize("form", FORMATS)
def test_photons_that_are_not_whole_stay_so(tmp_path, form):
    odd = SQUARE.photons[:] * np.float32(0.731) + np.float32(0.013)
    odd[:, ~SQUARE.mask] = 0
    before = replace(SQUARE, photons=Frames(odd))
    after = read_scan(write_scan(place(tmp_path, form), before, form)[0])
    np.testing.assert_allclose(after.photons[:], odd, rtol=3e-7)
    assert not after.photons.whole


@pytest.mark.parametrize("form", FORMATS)
def test_a_scan_that_was_turned_and_cropped_is_written_as_it_is_read(tmp_path, form):
    turned = SQUARE.turned("rotate_90")
    after = read_scan(write_scan(place(tmp_path, form), turned, form)[0])
    same_experiment(after, turned, pixels=form != "tike")


def test_old_libraries_read_what_is_written(tmp_path):
    """The first version of HDF5's structures, which MATLAB knows too."""
    for form in ("foldslice", "ptylab", "ptypy"):
        for path in write_scan(place(tmp_path, form), SQUARE, form):
            assert path.read_bytes()[8] == 0
            with h5py.File(path) as file:
                assert file.id.get_create_plist().get_version()[0] == 0


@pytest.mark.parametrize("form", ["foldslice", "ptypy"])
def test_counts_beyond_int32_are_refused(tmp_path, form):
    photons = SQUARE.photons[:]
    photons[2, 6, 6] = 3e9
    bright = replace(SQUARE, photons=Frames(photons, whole=True))
    with pytest.raises(DataError, match=rf"{form}.*\.h5: .*data|dp: expected counts below 2\^31, got 3e\+09"):
        write_scan(place(tmp_path, form), bright, form)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMATS)
def test_an_unwritable_place_is_named(tmp_path, form):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/.*: expected a writable place"):
        write_scan(place(tmp_path / "file", form), SQUARE, form)


def test_what_hdf5_can_not_write_is_one_line_and_no_file(tmp_path):
    def fail(path: Path) -> None:
        with writing_hdf5(path) as file:
            file["a"] = 1
            file["a/b"] = 2  # HDF5 refuses to put something into a number

    with pytest.raises(DataError, match=r"f\.h5: expected to write it, got"):
        fail(tmp_path / "f.h5")
    assert list(tmp_path.iterdir()) == []
