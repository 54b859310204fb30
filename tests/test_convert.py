"""`foldlight convert`: from any format to any, and never over what is read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from phantom import phantom_scan

from foldlight.cli import main
from foldlight.geometry import Geometry
from foldlight.io import files_of, read_scan, write_scan, writers

NPZ = {"data001", "slac", "tike"}


@pytest.fixture(scope="module")
def container(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.h5"
    square = Geometry.far_field((16, 16), 1.2e-10, 1.5, (90e-6, 90e-6))  # what every format can hold
    write_scan(path, replace(phantom_scan(16, 16, modes=1), geometry=square), "container")
    return path


def refusal(words: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as left:
        main(words)
    said = capsys.readouterr().err + str(left.value.code)
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("form", sorted(writers()))
def test_a_scan_comes_back_from_every_format(container, form, tmp_path, capsys):
    there = tmp_path / "there" if form == "ptychodus" else tmp_path / f"there{'.npz' if form in NPZ else '.h5'}"
    main(["convert", str(container), str(there), "--format", form])
    assert "7 frames" in capsys.readouterr().out
    first, found = read_scan(container), read_scan(files_of(there, form)[0])
    np.testing.assert_array_equal(found.photons[:], first.photons[:] * first.mask)
    np.testing.assert_allclose(
        found.positions_px - found.positions_px[0], first.positions_px - first.positions_px[0], atol=1e-3
    )
    main(["convert", str(files_of(there, form)[0]), str(tmp_path / "back.h5")])
    assert read_scan(tmp_path / "back.h5").photons.known is not None


@pytest.mark.parametrize(("name", "form"), [("a.cxi", "CXI"), ("a.nxs", "NXcxi_ptycho"), ("a.npz", "DATA-001")])
def test_the_ending_chooses_the_format(container, name, form, tmp_path):
    main(["convert", str(container), str(tmp_path / name)])
    assert read_scan(tmp_path / name).origin["format"] == form


def test_what_is_read_is_not_written_over(container, tmp_path, capsys):
    main(["convert", str(container), str(tmp_path / "batch"), "--format", "ptychodus"])
    for name, form in (("product.h5", "ptychodus"), ("diffraction.h5", "ptychodus")):
        before = (tmp_path / "batch" / name).read_bytes()
        words = ["convert", str(tmp_path / "batch" / name), str(tmp_path / "batch"), "--format", form]
        assert "expected another file than the one that is read" in refusal(words, capsys)
        assert (tmp_path / "batch" / name).read_bytes() == before


def test_refusals_name_formats_and_endings(container, tmp_path, capsys):
    assert "a name that ends in .h5, .hdf5" in refusal(["convert", str(container), str(tmp_path / "a.gif")], capsys)
    words = ["convert", str(container), str(tmp_path / "a.h5"), "--format", "gif"]
    assert "format gif: expected one of container, cxi" in refusal(words, capsys)
    words = ["convert", str(container), str(tmp_path / "a.cxi"), "--pack"]
    assert "expected a container (.h5) to pack, got cxi" in refusal(words, capsys)
    assert list(tmp_path.iterdir()) == []
