"""CXI: files made by hand from a laboratory's lengths, what programs write differently, refusals, round trips."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from damage import read_or_refused
from hypothesis import given, settings
from hypothesis import strategies as st
from lab_experiment import JOULE, LabExperiment, expected, lab_experiment
from phantom import phantom_scan

from foldlight.core.errors import DataError
from foldlight.frames import Frames
from foldlight.geometry import Geometry
from foldlight.io import ReadOptions, cxi, read_scan, write_scan
from foldlight.io.stored import ContiguousFrames, DatasetFrames

DETECTOR = "entry_1/instrument_1/detector_1"
SOURCE = "entry_1/instrument_1/source_1"
TRANSLATION = "entry_1/sample_1/geometry_1/translation"
TURNS = {
    "upright": ((0, -1, 0), (-1, 0, 0)),
    "as y and x": ((0, 1, 0), (1, 0, 0)),
    "mirrored": ((0, -1, 0), (1, 0, 0)),
    "on its side": ((1, 0, 0), (0, -1, 0)),
    "askew": ((0.5, -np.sqrt(0.75), 0), (-np.sqrt(0.75), -0.5, 0)),
}


def by_hand(path: Path, made: LabExperiment, **more: Any) -> Path:
    """A file as the layout has it, by h5py alone; `more` adds to it, or takes away what is None."""
    tree: dict[str, Any] = {
        "cxi_version": 160,
        f"{SOURCE}/energy": JOULE,
        f"{DETECTOR}/data": made.frames,
        f"{DETECTOR}/distance": 1.7,
        f"{DETECTOR}/x_pixel_size": made.pixel_m[1],
        f"{DETECTOR}/y_pixel_size": made.pixel_m[0],
        f"{DETECTOR}/basis_vectors": made.basis,
        TRANSLATION: made.translation_m,
    }
    with h5py.File(path, "w") as file:
        for name, value in {**tree, **more}.items():
            if value is not None:
                file[name] = value
    return path


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_positions_explain_the_frames_however_the_detector_lies(tmp_path, turn, layout):
    made = lab_experiment(*turn)
    basis = made.basis if layout == "rows" else made.basis.T
    scan = read_scan(by_hand(tmp_path / "scan.cxi", made, **{f"{DETECTOR}/basis_vectors": basis}))
    np.testing.assert_array_equal(scan.photons[:], made.frames)
    np.testing.assert_allclose(expected(made, scan.positions_px), made.frames, atol=0.6)
    assert scan.geometry.pixel_size_m == pytest.approx((1.3e-10 * 1.7 / (12 * 150e-6), 1.3e-10 * 1.7 / (16 * 110e-6)))
    assert scan.geometry.energy_ev == pytest.approx(9537.25, abs=0.01)
    assert (scan.origin["format"], scan.photons.whole) == ("CXI", True)
    assert any("the sample's motion, as the format says, so negated" in note for note in scan.notes)
    assert any("position_order" in note for note in scan.notes) == (abs(turn[0][0]) > abs(turn[0][1]))


def test_without_basis_vectors_the_detector_is_upright(tmp_path):
    made = lab_experiment()
    path = by_hand(tmp_path / "scan.cxi", made, **{f"{DETECTOR}/basis_vectors": None})
    scan = read_scan(path)
    np.testing.assert_allclose(expected(made, scan.positions_px), made.frames, atol=0.6)
    assert any("no basis_vectors, rows taken to run along -y" in note for note in scan.notes)
    across = made.translation_m[:, 1::-1] / np.array(scan.geometry.pixel_size_m)  # as programs that know of no vectors
    np.testing.assert_allclose(np.diff(scan.positions_px, axis=0), np.diff(across, axis=0), atol=1e-9)


def test_a_file_with_the_beams_motion_needs_the_option(tmp_path):
    made = lab_experiment()
    path = by_hand(tmp_path / "scan.cxi", made, **{TRANSLATION: -made.translation_m})
    wrong = read_scan(path)
    assert np.abs(expected(made, wrong.positions_px) - made.frames).max() > 50
    right = read_scan(path, ReadOptions(translation_sign="beam"))
    np.testing.assert_allclose(expected(made, right.positions_px), made.frames, atol=0.6)


@pytest.mark.parametrize("position_order", ["yx", "xy"])
def test_a_file_with_the_columns_vector_first(tmp_path, position_order):
    made = lab_experiment((0, -1, 0), (-1, 0, 0), (12, 12))
    swapped = made.basis[::-1] * np.array([[150 / 110], [110 / 150]])
    sizes = {f"{DETECTOR}/basis_vectors": swapped, f"{DETECTOR}/y_pixel_size": None}
    scan = read_scan(by_hand(tmp_path / "scan.cxi", made, **sizes), ReadOptions(position_order=position_order))
    difference = np.abs(expected(made, scan.positions_px) - made.frames).max()
    assert difference < 0.6 if position_order == "xy" else difference > 50


@pytest.mark.parametrize("case", ["directions", "columns first", "other lengths"])
def test_pixel_sizes_tell_what_the_vectors_are(tmp_path, case):
    made = lab_experiment()
    basis, words = {
        "directions": (np.stack([made.rows, made.columns]), "directions only, lengths taken from x_pixel_size"),
        "columns first": (made.basis[::-1], "from column to column comes first, as x_pixel_size and y_pixel_size tell"),
        "other lengths": (made.basis, "other lengths than x_pixel_size and y_pixel_size; the vectors' are taken"),
    }[case]
    more = {f"{DETECTOR}/basis_vectors": basis}
    more |= {f"{DETECTOR}/x_pixel_size": 1e-3} if case == "other lengths" else {}
    scan = read_scan(by_hand(tmp_path / "scan.cxi", made, **more))
    np.testing.assert_allclose(expected(made, scan.positions_px), made.frames, atol=0.6)
    assert any(words in note for note in scan.notes)


def test_as_many_frames_as_columns_are_no_riddle(tmp_path):
    made = lab_experiment(n=16)
    scan = read_scan(by_hand(tmp_path / "scan.cxi", made))
    np.testing.assert_array_equal(scan.photons[:], made.frames)


def as_integers(file: h5py.File, dtype: str) -> None:
    frames = file[f"{DETECTOR}/data"][:].astype(dtype)
    del file[f"{DETECTOR}/data"]
    file.create_dataset(f"{DETECTOR}/data", data=frames, chunks=(2, 12, 16), compression="gzip")


def test_frames_stay_in_the_file_until_they_are_asked_for(tmp_path):
    made = lab_experiment()
    path = by_hand(tmp_path / "scan.cxi", made)
    assert isinstance(read_scan(path).photons.stored, ContiguousFrames)
    with h5py.File(path, "r+") as file:
        as_integers(file, "i4")
    packed = read_scan(path)
    assert isinstance(packed.photons.stored, DatasetFrames)
    np.testing.assert_array_equal(packed.photons[[3, 0]], made.frames[[3, 0]])


def test_links_in_place_of_datasets(tmp_path):
    made = lab_experiment()
    path = by_hand(tmp_path / "scan.cxi", made)
    with h5py.File(path, "r+") as file:
        file["entry_1/data_1/elsewhere"] = file[TRANSLATION][:]
        del file[TRANSLATION]
        file["entry_1/data_1/translation"] = h5py.SoftLink("/entry_1/data_1/elsewhere")
        with h5py.File(tmp_path / "raw.h5", "w") as raw:
            raw["frames"] = file[f"{DETECTOR}/data"][:]
        del file[f"{DETECTOR}/data"]
        file["entry_1/data_1/data"] = h5py.ExternalLink("raw.h5", "/frames")
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.photons[:], made.frames)
    np.testing.assert_allclose(expected(made, scan.positions_px), made.frames, atol=0.6)


LIGHTS: dict[str, tuple[dict[str, Any], str | None]] = {
    "joule": ({}, None),
    "an array of them": ({f"{SOURCE}/energy": np.full(5, JOULE)}, None),
    "electronvolts": ({f"{SOURCE}/energy": JOULE / 1.602176634e-19}, "eV"),
    "kiloelectronvolts": ({f"{SOURCE}/energy": JOULE / 1.602176634e-16}, "keV"),
    "a wavelength": ({f"{SOURCE}/energy": None, f"{SOURCE}/wavelength": 1.3e-10}, None),
    "both": ({f"{SOURCE}/wavelength": np.float32(1.3e-10)}, None),
}


@pytest.mark.parametrize(("light", "unit"), LIGHTS.values(), ids=LIGHTS.keys())
def test_the_light_in_any_unit(tmp_path, light, unit):
    path = by_hand(tmp_path / "scan.cxi", lab_experiment(), **light)
    if unit:
        with h5py.File(path, "r+") as file:
            file[f"{SOURCE}/energy"].attrs["units"] = unit
    assert read_scan(path).geometry.wavelength_m == pytest.approx(1.3e-10, rel=1e-6)


def test_bits_of_the_mask(tmp_path):
    mask = np.zeros((12, 16), dtype=np.uint32)
    mask[1, 3], mask[2, 2], mask[11, 15], mask[5, 0] = 1, 0x1000, 0x1001, 0x80
    made = lab_experiment()
    scan = read_scan(by_hand(tmp_path / "scan.cxi", made, **{f"{DETECTOR}/mask": mask}))
    assert sorted(map(tuple, np.argwhere(~scan.mask).tolist())) == [(1, 3), (5, 0), (11, 15)]
    assert any("1 pixels with no mark but 0x1000 are trusted" in note for note in scan.notes)
    np.testing.assert_array_equal(scan.photons[:][:, scan.mask], made.frames[:, scan.mask])
    assert not scan.photons[:][:, ~scan.mask].any()


def test_a_mask_for_each_frame(tmp_path):
    mask = np.zeros((5, 12, 16), dtype=np.uint16)
    mask[1, 2, 3] = mask[4, 7, 8] = 2
    scan = read_scan(by_hand(tmp_path / "scan.cxi", lab_experiment(), **{f"{DETECTOR}/mask": mask}))
    assert np.argwhere(~scan.mask).tolist() == [[2, 3], [7, 8]]
    assert any("marked in any of 5 frames is bad in all" in note for note in scan.notes)


def test_distance_and_centre_from_the_corner(tmp_path):
    """Frames with margins that differ: the corner says where the beam is."""
    made = lab_experiment()
    margins = np.pad(made.frames, ((0, 0), (3, 1), (0, 6)))
    corner = -made.basis[0] * (3 + 6) - made.basis[1] * 8 + np.array([0, 0, 1.7])
    more = {f"{DETECTOR}/data": margins, f"{DETECTOR}/distance": None, f"{DETECTOR}/corner_position": corner}
    path = by_hand(tmp_path / "scan.cxi", made, **more)
    whole = read_scan(path, ReadOptions(zero_frequency="centre"))
    assert whole.geometry.distance_m == pytest.approx(1.7)
    assert any("on (9, 8) of the stored frames (y, x), says the file, not in the middle" in n for n in whole.notes)
    scan = read_scan(path, ReadOptions(crop_px=12))
    np.testing.assert_array_equal(scan.photons[:], made.frames[:, :, 2:14])
    asked = read_scan(path, ReadOptions(crop_px=8, centre_px=(9, 9)))
    np.testing.assert_array_equal(asked.photons[:], made.frames[:, 2:10, 5:13])


def test_options_count_more_than_the_file(tmp_path):
    path = by_hand(tmp_path / "scan.cxi", lab_experiment(), **{f"{SOURCE}/energy": 5.0, f"{DETECTOR}/distance": 3.0})
    scan = read_scan(path, ReadOptions(energy_kev=6.2, distance_m=1.7))
    assert scan.geometry.energy_ev == pytest.approx(6200)
    assert scan.geometry.distance_m == 1.7


def test_what_is_not_used_is_noted(tmp_path):
    more = {
        f"{DETECTOR}/data_dark": np.ones((12, 16)),
        "entry_2/title": "another",
        "entry_1/instrument_1/detector_2/distance": 1.0,
        "entry_1/data_1/translation": lab_experiment().translation_m[::-1],
        f"{SOURCE}/illumination": np.ones((8, 8), complex),
    }
    notes = "; ".join(read_scan(by_hand(tmp_path / "scan.cxi", lab_experiment(), **more)).notes)
    for words in (
        "data_dark: dark frames, not subtracted",
        "entry_2: not used, only entry_1 is",
        "detector_2: not used",
        "entry_1/data_1/translation: differs from entry_1/sample_1/geometry_1/translation, which was taken",
        "illumination: not used, (8, 8) of complex128 is no complex probe",
    ):
        assert words in notes


@pytest.mark.parametrize("unit", [None, "sqrt(photon)"])
def test_a_probe_in_the_file(tmp_path, unit):
    made = lab_experiment()
    path = by_hand(tmp_path / "scan.cxi", made, **{f"{SOURCE}/illumination": 3 * made.probe((12, 16))[0]})
    if unit:
        with h5py.File(path, "r+") as file:
            file[f"{SOURCE}/illumination"].attrs["units"] = unit
    probe = read_scan(path).probe
    shape = made.probe((12, 16))
    power = np.sum(np.abs(probe) ** 2)
    assert power == pytest.approx(9 * np.sum(np.abs(shape) ** 2) if unit else made.frames.sum() / 5, rel=1e-5)
    np.testing.assert_allclose(probe / np.sqrt(power), shape / np.linalg.norm(shape), atol=1e-5)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no frames": ({f"{DETECTOR}/data": None}, r"expected frames as entry_1/data_1/data or entry_1/instrument_1"),
    "no positions": ({TRANSLATION: None}, "expected positions as entry_1/sample_1/geometry_1/translation, found none"),
    "too few positions": (
        {TRANSLATION: np.zeros((4, 3))},
        r"data: expected 4 frames along axis 0 \(nyx\) for as many positions",
    ),
    "positions across": ({TRANSLATION: np.zeros((5, 4))}, r"translation: expected \(n, 3\) positions .* got .*5, 4"),
    "positions that are not": ({TRANSLATION: np.full((5, 3), np.nan)}, "translation: expected finite numbers, got 15"),
    "positions in words": ({TRANSLATION: np.full((5, 3), b"1")}, "translation: expected real numbers, got .S1"),
    "no distance": ({f"{DETECTOR}/distance": None}, "set pixel_nm, or distance_m"),
    "no light": ({f"{SOURCE}/energy": None}, "set pixel_nm, or energy_kev"),
    "eV as joule": ({f"{SOURCE}/energy": 9537.0}, "energy: 9537 joule, which may be eV: photon energy: expected 50 eV"),
    "a storage ring": ({f"{SOURCE}/energy": 4.8e-10}, "those of a storage ring's electrons, .* energy_kev"),
    "no energy": ({f"{SOURCE}/energy": np.nan}, "energy: expected finite numbers, got 1"),
    "a line of pixels": ({f"{DETECTOR}/mask": np.zeros(16, int)}, "mask: expected whole numbers of shape"),
    "many energies": (
        {f"{SOURCE}/energy": np.linspace(JOULE, 2 * JOULE, 5)},
        "energy: expected one number for the whole scan, got 5 from",
    ),
    "two lights": ({f"{SOURCE}/wavelength": 2e-10}, "expected energy and wavelength of the same light, got 9537.*6199"),
    "a wavelength in nm": (
        {f"{SOURCE}/energy": None, f"{SOURCE}/wavelength": 0.13},
        "wavelength: photon energy: expected 50 eV to 200 keV, got 9.53725e-06 eV",
    ),
    "positions beyond the earth": (
        {TRANSLATION: np.full((5, 3), 1e300)},
        r"translation: expected lengths up to 1e\+06 m, got 1e\+300 m; correct its units",
    ),
    "two distances": (
        {f"{DETECTOR}/distance": [1.0, 2.0]},
        "distance: expected one number for the whole scan, got 2 f",
    ),
    "a basis of one": ({f"{DETECTOR}/basis_vectors": np.ones(3)}, r"basis_vectors: expected \(2, 3\) or \(3, 2\)"),
    "a basis of zeros": ({f"{DETECTOR}/basis_vectors": np.zeros((2, 3))}, "expected two vectors of some length"),
    "a tilted detector": (
        {f"{DETECTOR}/basis_vectors": [[0, -1, 0.3], [-1, 0, 0]]},
        "expected a detector across the beam, got one tilted by 16.7 degrees",
    ),
    "a sheared detector": (
        {f"{DETECTOR}/basis_vectors": [[0, -1, 0], [-1, 0.2, 0]]},
        "expected rows and columns at right angles, got 78.7 degrees",
    ),
    "another mask": ({f"{DETECTOR}/mask": np.zeros((8, 16), int)}, r"mask: expected whole numbers of shape \(12, 16\)"),
    "a real mask": ({f"{DETECTOR}/mask": np.zeros((12, 16))}, "mask: expected whole numbers .* of float64"),
    "negative frames": ({f"{DETECTOR}/data": -np.ones((5, 12, 16))}, "data: expected finite numbers >= 0, got 960 neg"),
    "odd frames": ({f"{DETECTOR}/data": lab_experiment().frames[:, 1:]}, "expected even frame sizes"),
    "frames of two axes": ({f"{DETECTOR}/data": np.ones((5, 16))}, r"data: expected frames \(n, y, x\)"),
    "a distance of zero": ({f"{DETECTOR}/distance": 0.0}, "set pixel_nm, or distance_m"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_cxi_is_refused(tmp_path, change, message):
    path = by_hand(tmp_path / "scan.cxi", lab_experiment(), **change)
    with pytest.raises(DataError, match=message) as caught:
        read_scan(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_units_that_are_none_are_refused(tmp_path):
    path = by_hand(tmp_path / "scan.cxi", lab_experiment())
    with h5py.File(path, "r+") as file:
        file[f"{DETECTOR}/distance"].attrs["units"] = "furlong"
    with pytest.raises(DataError, match="distance: expected units of m, mm, um, nm, angstrom or pm, got 'furlong'"):
        read_scan(path)


def test_detector_modules_are_refused(tmp_path):
    made = lab_experiment()
    path = by_hand(tmp_path / "scan.cxi", made, **{f"{DETECTOR}/data": np.stack([made.frames] * 2, axis=1)})
    with h5py.File(path, "r+") as file:
        file[f"{DETECTOR}/data"].attrs["axes"] = b"experiment_identifier:module_identifier:y:x"
    with pytest.raises(DataError, match=r"data: expected frames \(n, y, x\), got 2 detector modules each"):
        read_scan(path)


def test_a_scan_comes_back(tmp_path):
    before = phantom_scan()
    assert write_scan(tmp_path / "scan.cxi", before, "cxi") == (tmp_path / "scan.cxi",)
    after = read_scan(tmp_path / "scan.cxi")
    np.testing.assert_array_equal(after.photons[:], before.photons[:])
    np.testing.assert_allclose(
        after.positions_px - after.positions_px[0], before.positions_px - before.positions_px[0], atol=1e-9
    )
    np.testing.assert_array_equal(after.probe, before.probe)
    np.testing.assert_array_equal(after.mask, before.mask)
    for name in ("pixel_size_m", "wavelength_m", "distance_m", "detector_pixel_m"):
        assert getattr(after.geometry, name) == pytest.approx(getattr(before.geometry, name))
    assert after.photons.whole
    assert after.object is None
    write_scan(tmp_path / "again.cxi", before, "cxi")
    assert (tmp_path / "again.cxi").read_bytes() == (tmp_path / "scan.cxi").read_bytes()
    with h5py.File(tmp_path / "scan.cxi") as file:
        file.visititems(lambda _, item: undated(item))


def undated(item: Any) -> None:
    assert h5py.h5o.get_info(item.id).mtime == 0


def test_photons_that_are_not_whole_come_back(tmp_path):
    scan = phantom_scan()
    thirds = Frames(scan.photons[:] / np.float32(3))
    cxi.write(tmp_path / "scan.cxi", replace(scan, photons=thirds))
    np.testing.assert_array_equal(read_scan(tmp_path / "scan.cxi").photons[:], thirds[:])


FACTS = phantom_scan().geometry
LENGTHS: dict[str, tuple[Geometry | None, str]] = {
    "none": (
        None,
        "expected a scan with a geometry, to write metres, got one without; read it with the option energy_kev",
    ),
    "no light": (
        Geometry((1e-8, 1e-8)),
        "got one without; read the scan with the option energy_kev and distance_m and detector_pixel_um",
    ),
    "another pixel": (
        replace(FACTS, pixel_size_m=(1e-8, 1e-8)),
        r"expected object pixels of wavelength \* distance / .* nm \(y, x\), got 10 x 10 nm; read the scan with",
    ),
}


@pytest.mark.parametrize(("geometry", "message"), LENGTHS.values(), ids=LENGTHS.keys())
def test_a_scan_without_its_lengths_is_not_written(tmp_path, geometry, message):
    with pytest.raises(DataError, match=message):
        write_scan(tmp_path / "scan.cxi", replace(phantom_scan(), geometry=geometry), "cxi")
    assert not list(tmp_path.iterdir())


def test_counts_beyond_the_numbers_of_the_file_are_not_written(tmp_path):
    scan = phantom_scan()
    frames = scan.photons[:]
    frames[2, 4, 4] = 2.0**32
    with pytest.raises(DataError, match=r"data: expected counts below 2\^31, got 4.29497e\+09"):
        cxi.write(tmp_path / "scan.cxi", replace(scan, photons=Frames(frames, whole=True)))
    assert not list(tmp_path.iterdir())


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path_factory, data):
    path = by_hand(tmp_path_factory.mktemp("scan") / "scan.cxi", lab_experiment(n=3))
    read_or_refused(path, data)
