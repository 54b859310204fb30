"""NXcxi_ptycho: files made by hand after the definition, rasters, motors, units, refusals, round trips."""

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
from foldlight.io import ReadOptions, read_scan, write_scan

EV = JOULE / 1.602176634e-19
INSTRUMENT = "entry_1/instrument_1"
DETECTOR = f"{INSTRUMENT}/detector_1"
MOTORS = "entry_1/sample_1/transformations"
TRANSLATION = f"{DETECTOR}/translation"
CLASSES = {
    "entry_1": "NXentry",
    INSTRUMENT: "NXinstrument",
    f"{INSTRUMENT}/source_1": "NXsource",
    f"{INSTRUMENT}/beam_1": "NXbeam",
    DETECTOR: "NXdetector",
    "entry_1/sample_1": "NXsample",
    MOTORS: "NXtransformations",
    "entry_1/data": "NXdata",
}
Quantity = tuple[Any, str] | Any


def by_hand(path: Path, made: LabExperiment, **more: Quantity) -> Path:
    """A file after the definition, by h5py alone: (value, units); `more` adds to it, or takes away what is None."""
    tree: dict[str, Quantity] = {
        "entry_1/definition": "NXcxi_ptycho",
        f"{INSTRUMENT}/source_1/energy": (3.0, "GeV"),
        f"{INSTRUMENT}/beam_1/incident_beam_energy": (EV / 1e3, "keV"),
        f"{DETECTOR}/data": made.frames,
        f"{DETECTOR}/distance": (1700.0, "mm"),
        f"{DETECTOR}/x_pixel_size": (made.pixel_m[1] * 1e6, "um"),
        f"{DETECTOR}/y_pixel_size": (made.pixel_m[0] * 1e6, "um"),
        TRANSLATION: (made.translation_m * 1e9, "nm"),
    }
    with h5py.File(path, "w") as file:
        for group, kind in CLASSES.items():
            file.require_group(group).attrs["NX_class"] = kind
        for name, quantity in {**tree, **more}.items():
            value, unit = quantity if isinstance(quantity, tuple) else (quantity, None)
            if value is not None:
                file[name] = value
            if unit:
                file[name].attrs["units"] = unit
    return path


def explains(scan: Any, made: LabExperiment) -> None:
    np.testing.assert_array_equal(scan.photons[:], made.frames)
    np.testing.assert_allclose(expected(made, scan.positions_px), made.frames, atol=0.6)


def test_positions_explain_the_frames(tmp_path):
    made = lab_experiment()
    scan = read_scan(by_hand(tmp_path / "scan.nxs", made))
    explains(scan, made)
    assert scan.geometry.pixel_size_m == pytest.approx((1.3e-10 * 1.7 / (12 * 150e-6), 1.3e-10 * 1.7 / (16 * 110e-6)))
    assert scan.geometry.energy_ev == pytest.approx(EV)
    assert scan.origin["format"] == "NXcxi_ptycho"
    assert any("the sample's motion, as the format says, so negated" in note for note in scan.notes)


@pytest.mark.parametrize("place", [f"{DETECTOR}/data", "entry_1/data_1/data"])
@pytest.mark.parametrize("motors", ["translation", "each frame", "in a raster"])
def test_a_raster_is_taken_row_by_row(tmp_path, place, motors):
    made = lab_experiment(n=6)
    more: dict[str, Quantity] = {f"{DETECTOR}/data": None, place: made.frames.reshape(2, 3, 12, 16)}
    if motors != "translation":
        shape = (2, 3) if motors == "in a raster" else (6,)
        more[TRANSLATION] = None
        more |= {
            f"{MOTORS}/{axis}": (made.translation_m[:, k].reshape(shape) * 1e3, "mm") for k, axis in enumerate("xy")
        }
    path = by_hand(tmp_path / "scan.nxs", made, **more)
    if motors != "translation":
        with h5py.File(path, "r+") as file:
            for k, axis in enumerate("xy"):
                file[f"{MOTORS}/{axis}"].attrs["vector"] = 2.0 * np.eye(3)[k]
    explains(read_scan(path), made)


def grid_of_motors(n: tuple[int, int]) -> tuple[LabExperiment, np.ndarray, np.ndarray]:
    """A raster scan with y moving from row to row and x within a row."""
    x, y = np.linspace(-5e-7, 6e-7, n[1]), np.linspace(-4e-7, 4.5e-7, n[0])
    places = np.stack([*np.meshgrid(x, y), np.zeros(n)], axis=-1).reshape(-1, 3)
    return lab_experiment(translation=places), x, y


@pytest.mark.parametrize(
    ("n", "said"), [((2, 3), None), ((2, 3), "attribute"), ((3, 3), "attribute"), ((3, 3), "field")]
)
def test_a_motor_for_rows_and_one_for_columns(tmp_path, n, said):
    made, x, y = grid_of_motors(n)
    more: dict[str, Quantity] = {
        TRANSLATION: None,
        f"{DETECTOR}/data": made.frames.reshape(*n, 12, 16),
        "entry_1/data/x": (x * 1e6, "micron"),
        "entry_1/data/y": (y * 1e6, "micron"),
    }
    path = by_hand(tmp_path / "scan.nxs", made, **more)
    with h5py.File(path, "r+") as file:
        for place, axis in enumerate("yx"):
            if said == "attribute":
                file["entry_1/data"].attrs[f"{axis}_indices"] = [place]
            elif said:
                file[f"entry_1/data/{axis}_indices"] = str(place)
    scan = read_scan(path)
    explains(scan, made)
    assert any("along (1, 0, 0) and (0, 1, 0), which nothing says" in note for note in scan.notes)


def test_a_square_raster_needs_indices(tmp_path):
    made, x, y = grid_of_motors((3, 3))
    frames = made.frames.reshape(3, 3, 12, 16)
    more = {TRANSLATION: None, f"{DETECTOR}/data": frames, "entry_1/data/x": x, "entry_1/data/y": y}
    with pytest.raises(
        DataError, match=r"data/x: expected a position for each frame of the raster \(3, 3\), got shape"
    ):
        read_scan(by_hand(tmp_path / "scan.nxs", made, **more))


def test_motors_of_any_name_by_their_vectors(tmp_path):
    """A stage that is turned about the beam, and motors that stand still."""
    made = lab_experiment()
    turned = made.translation_m[:, :2] @ np.array([[0.6, -0.8], [0.8, 0.6]])
    more = {f"{MOTORS}/{name}": (turned[:, k], "m") for k, name in enumerate(("lomx", "lomy"))}
    more |= {f"{MOTORS}/coarse": (np.array([3.0]), "mm"), f"{MOTORS}/theta": (np.zeros(5), "deg")}
    path = by_hand(tmp_path / "scan.nxs", made, **{TRANSLATION: None}, **more)
    with h5py.File(path, "r+") as file:
        file[f"{MOTORS}/lomx"].attrs["vector"] = [0.6, 0.8, 0]
        file[f"{MOTORS}/lomy"].attrs["vector"] = [-0.8, 0.6, 0]
        file[f"{MOTORS}/coarse"].attrs["vector"] = [0, 0, 1]
        file[f"{MOTORS}/theta"].attrs["transformation_type"] = "rotation"
    explains(read_scan(path), made)


def test_groups_are_found_by_class(tmp_path):
    made = lab_experiment()
    path = by_hand(tmp_path / "scan.nxs", made)
    with h5py.File(path, "r+") as file:
        file.move(DETECTOR, f"{INSTRUMENT}/eiger")
        file.move(f"{INSTRUMENT}/beam_1", "entry_1/sample_1/light")
        file.move(INSTRUMENT, "entry_1/I08")
        file.move("entry_1", "scan_77")
        file["calibration/definition"] = "NXsomething"
        file["calibration"].attrs["NX_class"] = b"NXentry"
    scan = read_scan(path)
    explains(scan, made)
    path = by_hand(tmp_path / "named.nxs", made)
    with h5py.File(path, "r+") as file:
        for group in CLASSES:
            del file[group].attrs["NX_class"]
        file["entry_1/instrument_1"].create_group("more").attrs["NX_class"] = "NXdetector"
    scan = read_scan(path)
    explains(scan, made)
    assert not any("more" in note for note in scan.notes)  # an empty group is nobody's detector


def test_virtual_frames_of_a_raster(tmp_path):
    """As the definition proposes: a raster for NeXus, and the same in one row for CXI."""
    made = lab_experiment(n=6)
    path = by_hand(tmp_path / "scan.nxs", made, **{f"{DETECTOR}/data": made.frames.reshape(2, 3, 12, 16)})
    with h5py.File(path, "r+") as file:
        layout = h5py.VirtualLayout((6, 12, 16), "u2")
        source = h5py.VirtualSource(file[f"{DETECTOR}/data"])
        for row in range(2):
            layout[3 * row : 3 * row + 3] = source[row]
        file.create_group("entry_1/data_1").create_virtual_dataset("data", layout)
    explains(read_scan(path), made)


@pytest.mark.parametrize("unit", ["pixels", "mm", None])
def test_the_beams_centre(tmp_path, unit):
    made = lab_experiment()
    frames = np.pad(made.frames, ((0, 0), (3, 1), (0, 6)))
    scale = (1e3 * 150e-6, 1e3 * 110e-6) if unit == "mm" else (1, 1)
    more = {f"{DETECTOR}/beam_center_{axis}": (at * s, unit) for axis, at, s in zip("yx", (9, 8), scale, strict=True)}
    path = by_hand(tmp_path / "scan.nxs", made, **{f"{DETECTOR}/data": frames}, **more)
    scan = read_scan(path, ReadOptions(crop_px=12))
    np.testing.assert_array_equal(scan.photons[:], made.frames[:, :, 2:14])


@pytest.mark.parametrize("name", ["pixel_mask", "mask"])
def test_bad_pixels(tmp_path, name):
    mask = np.zeros((12, 16), dtype=np.uint32)
    mask[1, 3], mask[4, 5] = 1, 1 << 4
    scan = read_scan(by_hand(tmp_path / "scan.nxs", lab_experiment(), **{f"{DETECTOR}/{name}": mask}))
    assert np.argwhere(~scan.mask).tolist() == [[1, 3], [4, 5]]


BEAM, SOURCE = f"{INSTRUMENT}/beam_1", f"{INSTRUMENT}/source_1"
NOTHING = {f"{BEAM}/incident_beam_energy": None}
LIGHTS: dict[str, dict[str, Quantity]] = {
    "eV": {f"{BEAM}/incident_beam_energy": (EV, "eV")},
    "joule": {f"{BEAM}/incident_beam_energy": (JOULE, "J")},
    "joule without saying so": {f"{BEAM}/incident_beam_energy": JOULE},
    "keV without saying so": {f"{BEAM}/incident_beam_energy": EV / 1e3},
    "two that agree": {f"{BEAM}/energy": (JOULE, "J")},
    "a wavelength": {**NOTHING, f"{BEAM}/incident_wavelength": (1.3, "angstrom")},
    "a monochromator": {**NOTHING, f"{INSTRUMENT}/monochromator/energy": (EV, "eV")},
    "as CXI": {**NOTHING, f"{SOURCE}/energy": JOULE},
}


@pytest.mark.parametrize("light", LIGHTS.values(), ids=LIGHTS.keys())
def test_the_light_in_any_place_and_unit(tmp_path, light):
    scan = read_scan(by_hand(tmp_path / "scan.nxs", lab_experiment(), **light))
    assert scan.geometry.wavelength_m == pytest.approx(1.3e-10, rel=1e-9)


REFUSED: dict[str, tuple[dict[str, Quantity], str]] = {
    "only the storage ring": (
        NOTHING,
        "source_1/energy: 3 GeV: photon energy: expected 50 eV to 200 keV, got 3e.09 eV; such energies are those of",
    ),
    "two lights": (
        {f"{BEAM}/energy": (8.0, "keV")},
        "expected one photon energy, got 9537.* as .*incident_beam_energy and 8000 eV as .*; set the option energy_kev",
    ),
    "eV or keV": (
        {f"{BEAM}/incident_beam_energy": 120.0},
        "expected a photon energy with units .*, got none, and 120 may be eV or keV; set the option energy_kev",
    ),
    "no such energy": ({f"{BEAM}/incident_beam_energy": 1e9}, "1e.09 is one in no unit; set the option energy_kev"),
    "a unit of mass": (
        {f"{BEAM}/incident_beam_energy": (8.0, "kg")},
        "incident_beam_energy: expected units of J, eV or keV, got 'kg'",
    ),
    "no positions": (
        {TRANSLATION: None},
        r"expected positions as .*/data_1/translation or two motors in .* found none",
    ),
    "one motor": ({TRANSLATION: None, "entry_1/data/x": np.zeros(5)}, "or two motors in .*, found /entry_1/data/x"),
    "no frames": ({f"{DETECTOR}/data": None}, "expected frames as /entry_1/instrument_1/detector_1/data or"),
    "no distance": ({f"{DETECTOR}/distance": None}, "set pixel_nm, or distance_m"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_nexus_is_refused(tmp_path, change, message):
    path = by_hand(tmp_path / "scan.nxs", lab_experiment(), **change)
    with pytest.raises(DataError, match=message) as caught:
        read_scan(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_an_option_spares_the_light(tmp_path):
    path = by_hand(tmp_path / "scan.nxs", lab_experiment(), **NOTHING)
    assert read_scan(path, ReadOptions(energy_kev=8)).geometry.energy_ev == pytest.approx(8000)


@pytest.mark.parametrize(
    ("name", "attributes", "message"),
    [
        (
            "theta",
            {"transformation_type": "rotation"},
            r"theta: expected a sample that is not rotated, got up to 30 deg",
        ),
        ("x", {"vector": [0, 0, 0]}, "x: expected the attribute vector as three numbers, got"),
        ("x", {"vector": "along"}, "x: expected the attribute vector as three numbers, got 'along'"),
    ],
)
def test_motors_that_lead_astray_are_refused(tmp_path, name, attributes, message):
    more = {TRANSLATION: None, f"{MOTORS}/{name}": (np.full(5, 30.0), "deg")}
    path = by_hand(tmp_path / "scan.nxs", lab_experiment(), **more)
    with h5py.File(path, "r+") as file:
        for attribute, value in attributes.items():
            file[f"{MOTORS}/{name}"].attrs[attribute] = value
    with pytest.raises(DataError, match=message):
        read_scan(path)


def test_an_entry_without_an_instrument_is_refused(tmp_path):
    with h5py.File(tmp_path / "scan.nxs", "w") as file:
        file["entry_1/definition"] = "NXcxi_ptycho"
    with pytest.raises(DataError, match="/entry_1: expected an NXinstrument, usually instrument_1, found definition"):
        read_scan(tmp_path / "scan.nxs")


def test_a_scan_comes_back(tmp_path):
    before = phantom_scan()
    assert write_scan(tmp_path / "scan.nxs", before, "nexus") == (tmp_path / "scan.nxs",)
    after = read_scan(tmp_path / "scan.nxs")
    assert after.origin["format"] == "NXcxi_ptycho"
    np.testing.assert_array_equal(after.photons[:], before.photons[:])
    np.testing.assert_allclose(
        after.positions_px - after.positions_px[0], before.positions_px - before.positions_px[0], atol=1e-9
    )
    np.testing.assert_array_equal(after.probe, before.probe)
    np.testing.assert_array_equal(after.mask, before.mask)
    for name in ("pixel_size_m", "wavelength_m", "distance_m", "detector_pixel_m"):
        assert getattr(after.geometry, name) == pytest.approx(getattr(before.geometry, name))
    write_scan(tmp_path / "again.nxs", before, "nexus")
    assert (tmp_path / "again.nxs").read_bytes() == (tmp_path / "scan.nxs").read_bytes()
    with h5py.File(tmp_path / "scan.nxs") as file:
        file.visititems(lambda _, item: undated(item))


def undated(item: Any) -> None:
    assert h5py.h5o.get_info(item.id).mtime == 0


def test_what_is_written_is_cxi_and_has_motors_too(tmp_path):
    """The same scan, whether names or classes are followed, translations or motors."""
    for name in ("nexus", "motors", "cxi"):
        write_scan(tmp_path / name, phantom_scan(), "nexus")
    with h5py.File(tmp_path / "motors", "r+") as file:
        del file["entry_1/data_1/translation"], file[TRANSLATION], file["entry_1/sample_1/geometry_1"]
    with h5py.File(tmp_path / "cxi", "r+") as file:
        del file["entry_1/definition"]
    as_nexus, by_motors, as_cxi = (read_scan(tmp_path / name) for name in ("nexus", "motors", "cxi"))
    np.testing.assert_allclose(by_motors.positions_px, as_nexus.positions_px, atol=1e-9)
    assert any("along their vectors" in note for note in by_motors.notes)
    assert as_cxi.origin["format"] == "CXI"
    np.testing.assert_array_equal(as_cxi.positions_px, as_nexus.positions_px)
    assert as_cxi.geometry == as_nexus.geometry


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path_factory, data):
    path = by_hand(tmp_path_factory.mktemp("scan") / "scan.nxs", lab_experiment(n=3))
    read_or_refused(path, data)
