"""fold_slice's pairs of files: a tiny asymmetric experiment as beamlines write it, and as MATLAB does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from compared import same_experiment
from phantom import phantom_scan

from foldlight.core.errors import DataError
from foldlight.geometry import Geometry
from foldlight.io import foldslice
from foldlight.io.hdf5 import open_hdf5
from foldlight.io.options import ReadOptions
from foldlight.scan import Scan

WAVELENGTH, PIXEL = 1.24e-10, 21.7e-9
EXPECTED = replace(phantom_scan(), geometry=Geometry((PIXEL, PIXEL), WAVELENGTH))
BAD = ~EXPECTED.mask


def read(path: Path, **options: Any) -> Scan:
    with open_hdf5(path) as file:
        assert foldslice.matches(file)
        return foldslice.read(file, ReadOptions(**options))


def frames() -> np.ndarray:
    """As a detector writes them: the bad pixel holds the largest number."""
    counts = EXPECTED.photons[:].astype(np.uint32)
    counts[:, BAD] = 2**32 - 1
    return counts


def facts() -> dict[str, Any]:
    """What the second file holds: metres from an origin of the stage's own."""
    metres = EXPECTED.positions_px * PIXEL + np.array([3e-4, -1e-3])
    return {"ppX": metres[:, 1], "ppY": metres[:, 0], "lambda": WAVELENGTH, "dx": PIXEL, "angle": 12.0}


def folder(above: Path, name: str) -> Path:
    (above / name).mkdir()
    return above / name


def save(folder: Path, stored: Any = None, whole: bool = False, **changes: Any) -> Path:
    """A pair, or one file; None leaves a dataset out."""
    first = folder / "data_roi0_Ndp16_dp.hdf5"
    second = first if whole else folder / "data_roi0_Ndp16_para.hdf5"
    with h5py.File(first, "w") as file:
        file["dp"] = frames() if stored is None else stored
    with h5py.File(second, "a") as file:
        for name, value in {**facts(), **changes}.items():
            if value is not None:
                file[name] = value
    return first


def test_a_pair_is_one_experiment(tmp_path: Path) -> None:
    scan = read(save(tmp_path))
    same_experiment(scan, EXPECTED)
    assert scan.geometry == Geometry((PIXEL, PIXEL), WAVELENGTH)
    notes = "\n".join(scan.notes)
    for words in ("the beam's motion over the sample, on which programs differ", "1 pixels hold a mark", "guessed"):
        assert words in notes


def test_either_file_or_one_file_does(tmp_path: Path) -> None:
    first = save(tmp_path)
    same_experiment(read(first.with_name("data_roi0_Ndp16_para.hdf5")), EXPECTED)
    second = first.with_name("elsewhere.h5")
    first.with_name("data_roi0_Ndp16_para.hdf5").rename(second)
    same_experiment(read(first, companion=second), EXPECTED)
    same_experiment(read(second, companion=first), EXPECTED)
    same_experiment(read(save(folder(tmp_path, "one"), whole=True)), EXPECTED)


@pytest.mark.parametrize("shape", [(-1, 1), (1, -1)])
def test_vectors_of_matlab_are_vectors_and_a_hint(tmp_path: Path, shape: tuple[int, int]) -> None:
    changes = {name: facts()[name].reshape(shape) for name in ("ppX", "ppY")}
    scan = read(save(tmp_path, **changes, dx=np.full((1, 1), PIXEL)))
    same_experiment(scan, EXPECTED)
    assert any("if it wrote the frames too, set orientation to transpose" in note for note in scan.notes)


def test_frames_that_matlab_wrote_are_transposed_when_told(tmp_path: Path) -> None:
    stored = np.swapaxes(frames(), -2, -1)
    scan = read(save(tmp_path, stored), orientation="transpose")
    same_experiment(scan, EXPECTED)


def test_frames_that_matlab_saved_are_transposed_unasked(tmp_path: Path) -> None:
    path = save(tmp_path, np.swapaxes(frames(), -2, -1))
    with h5py.File(path, "r+") as file:
        file["dp"].attrs["MATLAB_class"] = np.bytes_("uint32")
    scan = read(path)
    same_experiment(scan, EXPECTED)
    assert any("transposed first, since MATLAB saved it" in note for note in scan.notes)
    again = read(path, orientation="flip_y")
    np.testing.assert_array_equal(again.photons[:], np.roll(EXPECTED.photons[:][:, ::-1], 1, axis=1))


def test_the_other_sign_is_taken_as_told(tmp_path: Path) -> None:
    metres = -EXPECTED.positions_px * PIXEL
    scan = read(save(tmp_path, ppX=metres[:, 1], ppY=metres[:, 0]), translation_sign="sample")
    same_experiment(scan, EXPECTED)
    assert not any("programs differ" in note for note in scan.notes)


def test_what_the_file_lacks_is_taken_from_options(tmp_path: Path) -> None:
    path = save(tmp_path, dx=None, **{"lambda": None})
    with pytest.raises(DataError, match=r"set pixel_nm, or energy_kev, distance_m, detector_pixel_um"):
        read(path)
    same_experiment(read(path, pixel_nm=PIXEL * 1e9), EXPECTED)
    in_angstrom = save(folder(tmp_path, "angstrom"), **{"lambda": 1.24})
    same_experiment(read(in_angstrom, energy_kev=10), EXPECTED)
    known = read(path, energy_kev=10, distance_m=2, detector_pixel_um=75).geometry
    assert known is not None
    np.testing.assert_allclose(known.pixel_size_m, [1.239841984e-10 * 2 / (n * 75e-6) for n in (12, 16)], rtol=1e-6)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    written = foldslice.write(tmp_path / "mine_dp.h5", EXPECTED)
    assert [path.name for path in written] == ["mine_dp.h5", "mine_para.h5"]
    for path in written:
        same_experiment(read(path), EXPECTED)
    before = [path.read_bytes() for path in written]
    assert foldslice.write(tmp_path / "mine.h5", read(written[1])) == written
    same_experiment(read(written[0]), EXPECTED)
    foldslice.write(tmp_path / "mine_para.h5", EXPECTED)
    assert [path.read_bytes() for path in written] == before
    with h5py.File(written[0]) as first, h5py.File(written[1]) as second:
        assert first["dp"].dtype == np.int32
        assert first["dp"].shape == EXPECTED.photons.shape
        assert {name: second[name].shape for name in second} == {"ppX": (7,), "ppY": (7,), "dx": (), "lambda": ()}


def test_writing_needs_the_size_of_a_pixel(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"f\.h5: expected a scan with a geometry.*read it with the option pixel_nm"):
        foldslice.write(tmp_path / "f.h5", replace(EXPECTED, geometry=None))
    with pytest.raises(DataError, match=r"f\.h5: expected square object pixels, .* write another format"):
        foldslice.write(tmp_path / "f.h5", phantom_scan())
    assert not list(tmp_path.iterdir())


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "positions of two lengths": (
        {"ppX": np.ones(6)},
        "ppX, ppY: expected as many of the one as of the other, got 6 and 7",
    ),
    "positions in a table": ({"ppX": np.ones((2, 7))}, r"ppX: expected a vector of positions, got shape \(2, 7\)"),
    "positions that are none": ({"ppY": np.full(7, np.nan)}, "ppY, ppX: expected finite values, got 7"),
    "no positions": ({"ppY": None}, "ppY: expected a dataset, found none"),
    "positions in nanometres": (
        {"ppX": np.arange(7) * 1e3, "ppY": np.arange(7) * 2e3},
        r"ppY, ppX: expected positions that spread over at most 1\.1e\+09 object pixels, got 5\.53e\+11 x 2\.76e\+11",
    ),
    "complex positions": ({"ppX": np.ones(7, complex)}, "ppY, ppX: expected real numbers, got complex128"),
    "angstrom": ({"lambda": 1.24}, "lambda: expected metres, 1e-13 to 0.0001, got 1.24; set energy_kev"),
    "two wavelengths": ({"lambda": np.ones(2)}, "lambda: expected one number"),
    "no length": ({"dx": 0.0}, "lambda, dx: object pixel: expected a positive number of metres, got 0"),
    "a text for a length": ({"dx": "20 nm"}, "dx: expected one number"),
    "fewer positions": ({"ppX": np.ones(5), "ppY": np.ones(5)}, r"dp: expected 5 frames for as many positions"),
    "negative counts": (
        {"stored": np.arange(7 * 192).reshape(7, 12, 16) - 9},
        "dp: expected finite numbers >= 0, got 9 negative, first in frame 0",
    ),
    "flat frames": ({"stored": np.ones((12, 16))}, r"dp: expected frames \(n, y, x\) of real numbers, got shape"),
    "complex frames": ({"stored": np.ones((7, 12, 16), complex)}, r"dp: expected frames \(n, y, x\) of real numbers"),
    "an empty scan": ({"stored": np.ones((0, 12, 16))}, "dp: expected at least one frame"),
}


@pytest.mark.parametrize(("changes", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_every_fault_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = save(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_or_foreign_companion_is_named(tmp_path: Path) -> None:
    path = save(tmp_path)
    other = path.with_name("data_roi0_Ndp16_para.hdf5")
    other.unlink()
    words = r"data_roi0_Ndp16_para\.hdf5, found none there; name it with the option companion"
    with pytest.raises(DataError, match=words):
        read(path)
    other.write_text("ppX = 1")
    with pytest.raises(DataError, match=words):
        read(path)


def test_another_mask_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path)
    with h5py.File(path, "r+") as file:
        file["mask"] = np.ones((12, 12), np.uint8)
    with pytest.raises(DataError, match=r"mask: expected \(12, 16\) of 1 \(to trust\) or 0, got \(12, 12\) of uint8"):
        read(path)
