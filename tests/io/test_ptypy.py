"""ptypy's `.ptyd`: a tiny asymmetric experiment in one chunk or several, made by hand after its documentation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from compared import same_experiment
from phantom import phantom_scan

from foldlight.core.errors import DataError
from foldlight.frames import LazyFrames
from foldlight.geometry import Geometry
from foldlight.io import ptypy
from foldlight.io.hdf5 import open_hdf5
from foldlight.io.options import ReadOptions
from foldlight.scan import Scan

ENERGY_KEV, DISTANCE, PIXEL = 7.2, 7.0, (55e-6, 75e-6)
WAVELENGTH = 1.239841984332e-9 / ENERGY_KEV
EXPECTED = replace(phantom_scan(), geometry=Geometry.far_field((12, 16), WAVELENGTH, DISTANCE, PIXEL))
N = len(EXPECTED)
INDEX = np.arange(N) * 2 + 1


def read(path: Path, **options: Any) -> Scan:
    with open_hdf5(path) as file:
        assert ptypy.matches(file)
        return ptypy.read(file, ReadOptions(**options))


def chunk(part: slice, **changes: Any) -> dict[str, Any]:
    """Of some frames; a bad pixel holds rubbish and has no weight."""
    assert EXPECTED.geometry is not None
    counts = EXPECTED.photons[part].astype(np.int32)
    counts[:, ~EXPECTED.mask] = 123
    metres = EXPECTED.positions_px[part] * np.array(EXPECTED.geometry.pixel_size_m)
    return {
        "data": counts,
        "positions": metres - metres.mean() * 0 + 1e-3,
        "indices": INDEX[part],
        "weights": np.broadcast_to(EXPECTED.mask, counts.shape).astype(np.float32),
        **changes,
    }


def save(folder: Path, parts: dict[str, slice] | None = None, inside: Any = (), **facts: Any) -> Path:
    """None leaves a dataset out; `inside` are changes of every chunk."""
    meta = {
        "energy": ENERGY_KEV,
        "distance": DISTANCE,
        "psize": np.array(PIXEL),
        "shape": np.array([12, 16]),
        "center": np.array([6.0, 8.0]),
        "propagation": "farfield",
        "label": "a scan",
        **facts,
    }
    with h5py.File(folder / "scan.ptyd", "w") as file:
        file.create_group("meta")
        file.create_group("chunks")
        for name, part in (parts or {"0": slice(None)}).items():
            for key, value in chunk(part, **dict(inside)).items():
                if value is not None:
                    file[f"chunks/{name}/{key}"] = value
        for key, value in meta.items():
            if value is not None:
                file[f"meta/{key}"] = value
    return folder / "scan.ptyd"


def test_a_file_is_one_experiment(tmp_path: Path) -> None:
    scan = read(save(tmp_path))
    same_experiment(scan, EXPECTED)
    np.testing.assert_array_equal(scan.frame_index, INDEX)
    assert scan.geometry is not None
    assert scan.geometry.energy_ev == pytest.approx(7200)
    assert scan.geometry.detector_pixel_m == PIXEL
    assert any("data: 1 bad pixels, as the file says" in note for note in scan.notes)


def test_chunks_are_put_together_in_order(tmp_path: Path) -> None:
    """In the order of numbers, not of words: 2 comes before 10; and a chunk may lie in another file."""
    path = save(tmp_path, {"10": slice(5, None), "2": slice(2, 5), "0": slice(0, 2)})
    scan = read(path)
    same_experiment(scan, EXPECTED)
    np.testing.assert_array_equal(scan.frame_index, INDEX)
    assert isinstance(scan.photons.stored, LazyFrames)
    np.testing.assert_array_equal(scan.photons[[6, 0, 3]], EXPECTED.photons[[6, 0, 3]])
    np.testing.assert_array_equal(scan.photons[4], EXPECTED.photons[4])
    with h5py.File(path, "r+") as file, h5py.File(tmp_path / "scan.part2.ptyd", "w") as other:
        file.copy("chunks/2", other, "chunks/2")
        del file["chunks/2"]
        file["chunks/2"] = h5py.ExternalLink("scan.part2.ptyd", "chunks/2")
    same_experiment(read(path), EXPECTED)
    (tmp_path / "scan.part2.ptyd").unlink()
    with pytest.raises(DataError, match="chunks/2/data: expected a dataset, found none"):
        read(path)


def test_facts_may_lie_in_either_group(tmp_path: Path) -> None:
    path = save(tmp_path, energy=None, psize=None)
    with h5py.File(path, "r+") as file:
        file["info/energy"], file["info/psize"] = ENERGY_KEV, 55e-6
        for name in ("meta/energy", "meta/weight2d"):
            file[name] = np.zeros(1)
            file[name].attrs["type"] = "None"  # what stands for nothing
    scan = read(path)
    assert scan.geometry is not None
    assert scan.geometry.detector_pixel_m == (55e-6, 55e-6)
    assert scan.geometry.wavelength_m == pytest.approx(WAVELENGTH)


@pytest.mark.parametrize("weights", [None, np.zeros(1), np.zeros(0)], ids=["absent", "nothing", "empty"])
def test_the_mask_may_stand_for_all_frames(tmp_path: Path, weights: Any) -> None:
    path = save(tmp_path, inside={"weights": weights}, weight2d=EXPECTED.mask.astype(float))
    same_experiment(read(path), EXPECTED)


def test_a_pixel_that_is_bad_in_some_frames_is_bad(tmp_path: Path) -> None:
    weights = np.broadcast_to(EXPECTED.mask, (N, 12, 16)).copy()
    weights[2, 7, 9] = False
    scan = read(save(tmp_path, inside={"weights": weights}))
    assert not scan.mask[7, 9]
    assert (~scan.mask).sum() == 2
    assert "weights: 1 pixels are bad in some frames, taken as bad in all" in scan.notes


def test_an_orientation_is_taken_as_done(tmp_path: Path) -> None:
    scan = read(save(tmp_path, orientation=np.array([1, 0, 1])))
    same_experiment(scan, EXPECTED)
    assert any("orientation 1, 0, 1: taken as done" in note for note in scan.notes)
    assert not any("taken as done" in note for note in read(save(tmp_path, orientation=np.zeros(3))).notes)


def test_numbers_of_frames_in_a_list_are_counted(tmp_path: Path) -> None:
    path = save(tmp_path, inside={"indices": None})
    np.testing.assert_array_equal(read(path).frame_index, np.arange(N))
    with h5py.File(path, "r+") as file:
        file["chunks/0/indices/00000"] = 4
    assert any("indices: not used, they are a list" in note for note in read(path).notes)
    np.testing.assert_array_equal(read(save(tmp_path, inside={"indices": INDEX.astype(float)})).frame_index, INDEX)


def test_options_count_more_than_the_file(tmp_path: Path) -> None:
    path = save(tmp_path, energy=7200.0)
    with pytest.raises(DataError, match=r"photon energy: expected 50 eV to 200 keV, got 7\.2e\+06 eV"):
        read(path)
    same_experiment(read(path, energy_kev=ENERGY_KEV), EXPECTED)
    swapped = read(save(tmp_path, psize=None), detector_pixel_um=55, translation_sign="sample")
    moves = -np.diff(swapped.positions_px, axis=0)
    np.testing.assert_allclose(moves, np.diff(EXPECTED.positions_px, axis=0) * [1, 55 / 75], atol=1e-3)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    before = replace(EXPECTED, frame_index=INDEX)
    assert ptypy.write(tmp_path / "f.ptyd", before) == (tmp_path / "f.ptyd",)
    scan = read(tmp_path / "f.ptyd")
    same_experiment(scan, EXPECTED)
    np.testing.assert_array_equal(scan.frame_index, INDEX)
    assert scan.geometry is not None
    assert scan.geometry.distance_m == DISTANCE
    (tmp_path / "sub").mkdir()
    ptypy.write(tmp_path / "sub" / "f.ptyd", before)
    assert (tmp_path / "f.ptyd").read_bytes() == (tmp_path / "sub" / "f.ptyd").read_bytes()
    ptypy.write(tmp_path / "f.ptyd", scan)
    same_experiment(read(tmp_path / "f.ptyd"), EXPECTED)
    with h5py.File(tmp_path / "f.ptyd") as file:
        kinds = {name: file[name].attrs["type"] for name in ("chunks", "chunks/0/data", "meta/energy", "info/label")}
        assert kinds == {
            "chunks": b"dict",
            "chunks/0/data": b"array",
            "meta/energy": b"scalar",
            "info/label": b"string",
        }
        assert file["meta/energy"][()] == pytest.approx(ENERGY_KEV)


def test_writing_refuses_what_the_layout_does_not_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"f\.ptyd: expected a scan with a geometry"):
        ptypy.write(tmp_path / "f.ptyd", replace(EXPECTED, geometry=None))
    visible = Geometry.far_field((12, 16), 633e-9, DISTANCE, PIXEL)
    with pytest.raises(DataError, match=r"f\.ptyd: photon energy: expected 50 eV to 200 keV, got 1\.95"):
        ptypy.write(tmp_path / "f.ptyd", replace(EXPECTED, geometry=visible))
    assert not list(tmp_path.iterdir())


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "near field": ({"propagation": "nearfield"}, "propagation: expected farfield, got nearfield"),
    "no energy": ({"energy": None}, "energy, distance, psize: expected the size .*; set pixel_nm, or energy_kev"),
    "three pixels": ({"psize": np.ones(3)}, r"meta/psize: expected one size of a pixel or \(y, x\), got 3 of float64"),
    "a wordy pixel": ({"psize": np.bytes_("small")}, r"meta/psize: expected one size of a pixel"),
    "two energies": ({"energy": np.ones(2)}, "meta/energy: expected one number"),
    "no distance": ({"distance": -1.0}, "distance: expected a positive number of metres, got -1"),
    "a word for a chunk": ({"parts": {"first": slice(None)}}, "chunks: expected numbers as names, got 'first'"),
    "no data": ({"inside": {"data": None}}, "chunks/0/data: expected a dataset, found none"),
    "flat data": ({"inside": {"data": np.ones((12, 16))}}, r"chunks/0/data: expected frames \(n, y, x\)"),
    "no positions": ({"inside": {"positions": None}}, r"chunks/0/positions: expected \(n, 2\) positions, found none"),
    "positions in space": ({"inside": {"positions": np.ones((7, 3))}}, r"got shape \(7, 3\) of float64"),
    "fewer positions": ({"inside": {"positions": np.ones((4, 2))}}, "data: expected 4 frames along axis 0"),
    "other weights": ({"inside": {"weights": np.ones((7, 16, 12))}}, r"chunks/0/weights: expected \(12, 16\) or"),
    "no weight": ({"inside": {"weights": np.zeros((12, 16))}}, "weights: expected some pixels to trust, got none"),
    "fewer numbers": ({"inside": {"indices": np.arange(3)}}, "indices: expected 7 whole numbers, got 3 of int64"),
    "fractions": ({"inside": {"indices": np.full(7, 0.5)}}, "indices: expected 7 whole numbers, got 7 of float64"),
    "endless numbers": (
        {"inside": {"indices": np.full(7, np.inf)}},
        "indices: expected 7 whole numbers, got 7 of float64",
    ),
    "complex data": ({"inside": {"data": np.ones((7, 12, 16), complex)}}, "chunks/0/data: expected frames"),
}


@pytest.mark.parametrize(("changes", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_every_fault_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = save(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_chunks_of_two_sizes_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, {"0": slice(0, 3), "1": slice(3, None)})
    with h5py.File(path, "r+") as file:
        del file["chunks/1/data"]
        file["chunks/1/data"] = np.ones((4, 12, 12))
    with pytest.raises(DataError, match=r"chunks: expected frames of one size, got \(12, 12\), \(12, 16\)"):
        read(path)
    with h5py.File(path, "r+") as file:
        del file["chunks"]
        file.create_group("chunks")
    with pytest.raises(DataError, match="chunks: expected frames in chunks/0, found none"):
        read(path)


def test_a_text_that_claims_to_be_endless_is_refused(tmp_path: Path) -> None:
    """The library would make room for it first."""
    path = save(tmp_path)
    with h5py.File(path) as file:
        offset = file["meta/propagation"].id.get_offset()
    with path.open("rb+") as stream:
        stream.seek(offset)
        stream.write(b"\xff\xff\xff\xff")
    with pytest.raises(
        DataError, match=r"meta/propagation: expected at most 7\.209e\+07 bytes in such a file, got 4\.29"
    ):
        read(path)
