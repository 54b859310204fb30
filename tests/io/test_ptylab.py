"""PtyLab's HDF5: a tiny asymmetric experiment in visible light, made by hand after its documentation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from compared import same_experiment
from phantom import phantom_scan

from foldlight.core.errors import DataError
from foldlight.frames import turn
from foldlight.geometry import Geometry
from foldlight.io import ptylab
from foldlight.io.hdf5 import open_hdf5
from foldlight.io.options import ReadOptions
from foldlight.scan import Scan

WAVELENGTH, DISTANCE, PIXEL = 632.8e-9, 50e-3, 72e-6
SIZE = 14
PHANTOM = phantom_scan(SIZE, SIZE)
GEOMETRY = Geometry.far_field((SIZE, SIZE), WAVELENGTH, DISTANCE, (PIXEL, PIXEL))
EXPECTED = replace(PHANTOM, geometry=GEOMETRY)


def read(path: Path, **options: Any) -> Scan:
    with open_hdf5(path) as file:
        assert ptylab.matches(file)
        return ptylab.read(file, ReadOptions(**options))


def save(folder: Path, **changes: Any) -> Path:
    """Each length as an array of one, as its examples have it; None leaves a dataset out."""
    frames = EXPECTED.photons[:].copy()
    frames[:, ~EXPECTED.mask] = np.nan
    stored = {
        "ptychogram": frames.astype(np.float32),
        "encoder": (EXPECTED.positions_px - 20) * (WAVELENGTH * DISTANCE / (SIZE * PIXEL)),
        "wavelength": np.array([WAVELENGTH]),
        "zo": np.array([DISTANCE]),
        "dxd": np.array([PIXEL]),
        "orientation": np.int64(0),
        "Nd": np.array([SIZE]),
        **changes,
    }
    with h5py.File(folder / "scan.hdf5", "w") as file:
        for name, value in stored.items():
            if value is not None:
                file[name] = value
    return folder / "scan.hdf5"


def test_a_file_is_one_experiment(tmp_path: Path) -> None:
    scan = read(save(tmp_path))
    same_experiment(scan, EXPECTED)
    assert scan.geometry is not None
    assert scan.geometry.wavelength_m == WAVELENGTH  # visible light, none of the energies of X-rays
    notes = "\n".join(scan.notes)
    for words in ("not used: Nd", "1 pixels hold a mark", "encoder: metres turned to object pixels", "guessed"):
        assert words in notes


@pytest.mark.parametrize(
    ("code", "inverse"),
    [
        (1, "flip_x"),
        (2, "flip_y"),
        (3, "rotate_180"),
        (4, "transpose"),
        (5, "rotate_90"),
        (6, "rotate_270"),
        (7, "anti_transpose"),
    ],
)
def test_the_stated_orientation_is_undone(tmp_path: Path, code: int, inverse: Any) -> None:
    """A transposition and then flipped columns is a turn clockwise, whose inverse is counter-clockwise."""
    stored = turn(EXPECTED.photons[:], inverse)
    scan = read(save(tmp_path, ptychogram=stored, mask=turn(EXPECTED.mask, inverse), orientation=code))
    same_experiment(scan, EXPECTED)
    assert any(f"as the file says: orientation {code}" in note for note in scan.notes)
    again = read(tmp_path / "scan.hdf5", orientation="flip_y")
    np.testing.assert_array_equal(again.photons[:], turn(EXPECTED.photons[:], "flip_y"))


def test_options_count_more_than_the_file(tmp_path: Path) -> None:
    path = save(tmp_path, zo=None)
    with pytest.raises(DataError, match=r"wavelength, zo, dxd: expected the size .*; set pixel_nm, or distance_m"):
        read(path)
    same_experiment(read(path, distance_m=DISTANCE), EXPECTED)
    far = read(save(tmp_path), distance_m=2 * DISTANCE)
    assert far.geometry is not None
    np.testing.assert_allclose(far.geometry.pixel_size_m, 2 * np.array(GEOMETRY.pixel_size_m))


def test_cropped_frames_have_larger_pixels(tmp_path: Path) -> None:
    scan = read(save(tmp_path), crop_px=8)
    assert scan.window == (8, 8)
    np.testing.assert_array_equal(scan.photons[:], EXPECTED.photons[:][:, 3:11, 3:11])
    assert scan.geometry is not None
    np.testing.assert_allclose(scan.geometry.pixel_size_m, np.array(GEOMETRY.pixel_size_m) * SIZE / 8)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    assert ptylab.write(tmp_path / "f.hdf5", EXPECTED) == (tmp_path / "f.hdf5",)
    scan = read(tmp_path / "f.hdf5")
    same_experiment(scan, EXPECTED)
    assert scan.geometry == GEOMETRY
    ptylab.write(tmp_path / "g.hdf5", EXPECTED)
    assert (tmp_path / "f.hdf5").read_bytes() == (tmp_path / "g.hdf5").read_bytes()
    ptylab.write(tmp_path / "g.hdf5", scan)
    same_experiment(read(tmp_path / "g.hdf5"), EXPECTED)
    with h5py.File(tmp_path / "f.hdf5") as file:
        assert {name: file[name].shape for name in ("wavelength", "zo", "dxd")} == dict.fromkeys(
            ("wavelength", "zo", "dxd"), (1,)
        )
        assert file["ptychogram"].dtype == np.float32
        diameter = file["entrancePupilDiameter"][0] / GEOMETRY.pixel_size_m[0]
    assert 4 < diameter < SIZE


def test_writing_refuses_what_the_layout_does_not_hold(tmp_path: Path) -> None:
    path = tmp_path / "f.hdf5"
    with pytest.raises(DataError, match=r"f\.hdf5: expected square frames, got 12 x 16"):
        ptylab.write(path, phantom_scan())
    lengths = "energy_kev and distance_m and detector_pixel_um"
    with pytest.raises(DataError, match=rf"f\.hdf5: expected a scan with a geometry.*option {lengths}"):
        ptylab.write(path, replace(EXPECTED, geometry=None))
    with pytest.raises(DataError, match=r"f\.hdf5: expected a geometry with wavelength.*option distance_m and det"):
        ptylab.write(path, replace(EXPECTED, geometry=Geometry((1e-6, 1e-6), WAVELENGTH)))
    with pytest.raises(DataError, match=r"f\.hdf5: expected square object pixels"):
        ptylab.write(path, PHANTOM)
    assert not list(tmp_path.iterdir())


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "LEDs": ({"zled": 0.1, "magnification": 4.0}, "got zled and magnification of Fourier ptychography"),
    "two colours": ({"spectralDensity": [4e-7, 5e-7]}, "spectralDensity: expected light of one wavelength, got 2"),
    "orientation 8": ({"orientation": 8}, "orientation: expected a whole number from 0 to 7, got 8"),
    "orientation 1.5": ({"orientation": 1.5}, "orientation: expected a whole number from 0 to 7, got 1.5"),
    "no distance": ({"zo": 0.0}, "zo: expected a positive number of metres, got 0; correct it"),
    "a distance that is none": ({"zo": np.nan}, "zo: expected a positive number of metres, got nan"),
    "two pixels": ({"dxd": [PIXEL, PIXEL]}, "dxd: expected one number"),
    "no positions": ({"encoder": None}, "encoder: expected a dataset, found none"),
    "fewer positions": ({"encoder": np.ones((5, 2))}, "ptychogram: expected 5 frames for as many positions"),
    "positions in space": ({"encoder": np.ones((7, 3))}, r"encoder: expected \(n, 2\) positions, got shape \(7, 3\)"),
    "one position": ({"encoder": 3.0}, "ptychogram: expected 1 frames for as many positions"),
    "another mask": ({"mask": np.ones((3, 3), bool)}, r"mask: expected \(14, 14\) of 1"),
    "flat frames": ({"ptychogram": np.ones((14, 14))}, r"ptychogram: expected frames \(n, y, x\)"),
}


@pytest.mark.parametrize(("changes", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_every_fault_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = save(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
