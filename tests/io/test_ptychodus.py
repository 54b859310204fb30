"""Ptychodus' two files: by the published layout, physics that fails on any wrong axis, sign or unit; there and back."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom import phantom_scan

from foldlight.core.errors import DataError
from foldlight.io import ReadOptions, read_scan
from foldlight.io.ptychodus import product_of, write
from foldlight.io.ptychodus_product import Product, paired, read_product, write_product
from foldlight.scan import Scan

ENERGY, DISTANCE, DETECTOR = 9000.0, 1.7, (60e-6, 75e-6)  # detector pixel (y, x)
WINDOW, CANVAS = (12, 16), (31, 38)
WAVELENGTH = 1.239841984332e-6 / ENERGY
PIXEL = tuple(WAVELENGTH * DISTANCE / (n * p) for n, p in zip(WINDOW, DETECTOR, strict=True))
CENTRE = (-3.1e-6, 7.7e-6)
CORNERS = np.array([[0, 0], [4, 1], [3, 9], [9, 5], [12, 14], [17, 20], [19, 22], [8, 16]])
PLACES = CORNERS + np.array([6, 8])  # of the pixel N // 2


def optics() -> tuple[np.ndarray, np.ndarray]:
    """Two incoherent modes [sqrt(photon)] and an object; nothing about them is symmetric."""
    y, x = np.mgrid[: WINDOW[0], : WINDOW[1]]
    first = np.exp(-((y - 5.2) ** 2 / 9 + (x - 8.6) ** 2 / 16) + 1j * (0.06 * (y - 6) ** 2 + 0.02 * x * y))
    probe = np.stack([first, 0.3 * first * (y - 5 + 0.5 * x - 4)])
    rows, columns = np.mgrid[: CANVAS[0], : CANVAS[1]]
    image = np.exp((-0.2 + 1j) * (np.sin(0.4 * rows) + 0.4 * np.cos(0.3 * columns + 0.1 * rows)))
    return probe * np.sqrt(2e4 / np.sum(np.abs(probe) ** 2)), image


def frames_of(probe: np.ndarray, image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Photons by the definition of the transform, without an FFT; source: docs/physics.md."""
    frames = []
    rows, columns = (np.arange(n) - n // 2 for n in WINDOW)
    wave_y = np.exp(-2j * np.pi * np.outer(rows, rows) / WINDOW[0]) / np.sqrt(WINDOW[0])
    wave_x = np.exp(-2j * np.pi * np.outer(columns, columns) / WINDOW[1]) / np.sqrt(WINDOW[1])
    for top, left in corners:
        exits = probe * image[top : top + WINDOW[0], left : left + WINDOW[1]]
        frames.append(sum(np.abs(wave_y @ mode @ wave_x.T) ** 2 for mode in exits))
    return np.array(frames)


def made(folder: Path, **changes: Any) -> Path:
    """A folder as ptychodus leaves it, by h5py alone; changes replace data sets, attributes as `dataset@name`."""
    probe, image = optics()
    counts = np.round(frames_of(probe, image, CORNERS)).astype(np.uint16)
    bad = np.zeros(WINDOW, bool)
    bad[1, 3] = True
    counts[:, 1, 3] = 50_000
    middle = (np.array(WINDOW) - 1) / 2 - (np.array(CANVAS) - 1) / 2
    y, x = ((CORNERS + middle) * PIXEL + CENTRE).T
    items: dict[str, Any] = {
        "patterns": counts,
        "indexes": np.arange(len(counts)),
        "bad_pixels": bad,
        "patterns@detector_pixel_height_m": DETECTOR[0],
        "patterns@detector_pixel_width_m": DETECTOR[1],
        "@name": "sample 7",
        "@comments": "",
        "@photon_energy_eV": ENERGY,
        "@detector_object_distance_m": DISTANCE,
        "@exposure_time_s": 0.25,
        "@far_field": np.True_,
        "probe_position_indexes": np.arange(len(counts)),
        "probe_position_x_m": x,
        "probe_position_y_m": y,
        "probe": probe[None],
        "probe@pixel_height_m": PIXEL[0],
        "probe@pixel_width_m": PIXEL[1],
        "object": image[None],
        "object@pixel_height_m": PIXEL[0],
        "object@pixel_width_m": PIXEL[1],
        "object@center_y_m": CENTRE[0],
        "object@center_x_m": CENTRE[1],
        "object_layer_spacing_m": np.empty(0),
        "loss_epochs": np.empty(0, int),
        "loss_values": np.empty(0),
    }
    items.update(changes)
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / "diffraction.h5", "w") as patterns, h5py.File(folder / "product.h5", "w") as product:
        for name, value in sorted(items.items(), key=lambda item: "@" in item[0]):
            of, _, attribute = name.partition("@")
            file = patterns if of in {"patterns", "indexes", "bad_pixels"} else product
            if value is None:
                continue
            if attribute:
                file[of or "/"].attrs[attribute] = value
            else:
                file[of] = value
    return folder / "product.h5"


def explained(scan: Scan) -> float:
    """Largest misfit of the scan's own object and probe to its frames, in standard deviations."""
    corners = np.rint(scan.positions_px - np.array(WINDOW) // 2).astype(int)
    np.testing.assert_allclose(scan.positions_px - np.array(WINDOW) // 2, corners, atol=1e-6)
    expected = frames_of(scan.probe.astype(complex), scan.object.astype(complex), corners)
    return float((np.abs(scan.photons[:] - expected) / np.sqrt(expected + 1))[:, scan.mask].max())


@pytest.mark.parametrize("named", ["product.h5", "diffraction.h5"])
def test_the_object_under_the_probe_explains_the_frames(tmp_path, named):
    made(tmp_path)
    scan = read_scan(tmp_path / named)
    assert explained(scan) < 0.51  # counts were rounded
    np.testing.assert_allclose(scan.positions_px, PLACES, atol=1e-6)
    assert scan.canvas == CANVAS
    assert not scan.object_is_truth
    assert scan.photons.whole
    assert not scan.mask[1, 3]
    assert scan.mask.sum() == 12 * 16 - 1
    np.testing.assert_allclose(scan.geometry.pixel_size_m, PIXEL)
    np.testing.assert_allclose(scan.geometry.energy_ev, ENERGY)
    assert (scan.geometry.distance_m, scan.geometry.detector_pixel_m) == (DISTANCE, DETECTOR)
    assert scan.origin["format"] == "ptychodus"
    assert {"name": "sample 7", "exposure_time_s": 0.25}.items() <= scan.origin["ptychodus"].items()


def test_even_windows_lie_half_a_pixel_on(tmp_path):
    """The pixel N // 2 of a window whose middle lies at the middle of an array of 31 x 38."""
    middle = made(tmp_path, probe_position_x_m=np.full(8, CENTRE[1]), probe_position_y_m=np.full(8, CENTRE[0]))
    np.testing.assert_allclose(read_scan(middle).positions_px, np.tile([15.5, 19.0], (8, 1)), atol=1e-9)


def test_what_is_written_comes_back_and_gives_the_same_bytes(tmp_path):
    before = phantom_scan()
    paths = write(tmp_path / "one", before)
    assert [path.name for path in paths] == ["diffraction.h5", "product.h5"]
    for path in paths:
        after = read_scan(path)
        np.testing.assert_array_equal(after.photons[:], before.photons[:])
        np.testing.assert_allclose(after.positions_px, before.positions_px, atol=1e-9)
        for name in ("probe", "object", "mask", "frame_index", "canvas"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=name)
        np.testing.assert_allclose(after.geometry.pixel_size_m, before.geometry.pixel_size_m)
    again = write(tmp_path / "other" / "product.h5", before)
    for one, other in zip(paths, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
    with h5py.File(paths[0]) as file:
        assert (file["patterns"].dtype, set(file), set(file["patterns"].attrs)) == (
            np.uint16,
            {"patterns", "indexes", "bad_pixels"},
            {"detector_pixel_height_m", "detector_pixel_width_m"},
        )


def test_the_laboratory_frame_survives(tmp_path):
    """Positions and centre in metres go out as they came in; with some frames left out too."""
    product = read_product(made(tmp_path / "in"))
    scan = read_scan(tmp_path / "in" / "product.h5")
    back = product_of(scan, facts={"comments": "by hand"})
    np.testing.assert_allclose(back.positions_m, product.positions_m, rtol=0, atol=1e-16)
    np.testing.assert_allclose(back.centre_m, product.centre_m, rtol=0, atol=1e-16)
    assert {"name": "sample 7", "comments": "by hand", "exposure_time_s": 0.25}.items() <= back.facts.items()
    assert back.facts["probe_photon_count"] == pytest.approx(2e4)
    write(tmp_path / "out", scan)
    np.testing.assert_allclose(read_product(tmp_path / "out" / "product.h5").centre_m, CENTRE, rtol=1e-9)
    moved = read_scan(tmp_path / "in" / "product.h5").turned(negated=True)
    assert product_of(moved).centre_m == pytest.approx((0, 0), abs=1e-20)


def test_patterns_and_positions_belong_together_by_index(tmp_path):
    order = np.random.default_rng(4).permutation(8)
    plain = read_scan(made(tmp_path / "plain"))
    with h5py.File(tmp_path / "plain" / "product.h5") as file:
        y, x = file["probe_position_y_m"][()], file["probe_position_x_m"][()]
    mixed = made(
        tmp_path / "mixed",
        probe_position_indexes=order + 100,
        probe_position_x_m=x[order],
        probe_position_y_m=y[order],
        indexes=np.arange(8) + 100,
    )
    scan = read_scan(mixed)
    assert explained(scan) < 0.51
    np.testing.assert_allclose(scan.positions_px, plain.positions_px, atol=1e-9)
    np.testing.assert_array_equal(scan.frame_index, np.arange(8) + 100)


def product(indexes: list[int], positions: list[list[float]], **more: Any) -> Product:
    light, thing = np.ones((1, 1, 2, 2), complex), np.ones((1, 3, 3), complex)
    return Product(np.array(indexes), np.array(positions), light, thing, (1.0, 1.0), (0.0, 0.0), **more)


def test_gaps_are_filled_repeats_averaged_and_strangers_left_out():
    known = product([2, 4, 4, 8, 9], [[0, 0], [1, 10], [3, 30], [6, 60], [9, 90]])
    rows, places, notes = paired(np.array([1, 2, -1, 4, 5, 8, 12]), known)
    assert rows.tolist() == [1, 3, 4, 5]
    assert places.tolist() == [[0, 0], [2, 20], [3, 30], [6, 60]]
    assert notes == [
        "indexes: 1 indexes have several positions, which are averaged",
        "indexes: 1 of 4 patterns have no position of their own: interpolated between their neighbours'",
        "indexes: 2 patterns left out, their indexes are beyond those of the positions",
        "indexes: 1 patterns left out, they were never recorded",
        "indexes: 1 positions left out, they have no pattern",
    ]
    with pytest.raises(DataError, match=r"indexes: expected patterns with the indexes of positions, 2 to 9, got 20 to"):
        paired(np.array([20, 21]), known)


def test_a_scan_of_which_some_patterns_have_no_position(tmp_path):
    part = read_scan(made(tmp_path, indexes=np.array([-1, 1, 2, 3, 4, 5, 6, 90])))
    assert explained(part) < 0.51
    assert part.frame_index.tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1.0, "probe: in photons, "),
        (1 / np.sqrt(12 * 16), "in pty-chi's unit, H W times less than photons, "),
        (1e3, "unit unknown, rescaled by"),
    ],
)
def test_the_unit_of_the_probe_is_judged_by_the_frames(tmp_path, factor, said):
    probe, _ = optics()
    scan = read_scan(made(tmp_path, probe=probe * factor))
    assert any(said in note for note in scan.notes)
    if "unknown" in said:
        np.testing.assert_allclose(np.sum(np.abs(scan.probe) ** 2), scan.photons.totals.mean(), rtol=1e-6)
    else:
        np.testing.assert_allclose(scan.probe, probe, rtol=1e-5, atol=1e-4)
        assert explained(scan) < 0.52


def test_probes_that_vary_become_their_mean_and_layers_their_product(tmp_path):
    probe, image = optics()
    coherent = np.stack([probe, 0.5 * probe[:, ::-1]])
    weights = np.linspace(-1, 1, 16).reshape(8, 2) + np.array([3.0, 0.0])
    folder = made(
        tmp_path,
        probe=coherent,
        opr_weights=weights,
        object=np.stack([image, image**2]),
        object_layer_spacing_m=np.array([1e-6]),
    )
    found, scan = read_product(folder), read_scan(folder)
    every = np.einsum("nc,cyx->nyx", weights, coherent[:, 0])
    np.testing.assert_allclose(found.modes[0], every.mean(axis=0))
    np.testing.assert_array_equal(found.modes[1], probe[1])
    lost = np.sum(np.abs(every - every.mean(axis=0)) ** 2) / np.sum(np.abs(every) ** 2)
    np.testing.assert_allclose(found.variation, lost)
    assert any(f"mean OPR weights; {lost:.2%} of its first mode's light varies" in note for note in scan.notes)
    assert "object: the product of 2 layers" in scan.notes
    np.testing.assert_allclose(scan.object, image**3, rtol=1e-5)


def test_a_product_comes_back_whole(tmp_path):
    draw = np.random.default_rng(1)
    before = Product(
        np.array([3, 1, 9]),
        draw.normal(size=(3, 2)) * 1e-6,
        (draw.normal(size=(2, 3, 5, 7)) + 1j * draw.normal(size=(2, 3, 5, 7))),
        (draw.normal(size=(2, 9, 11)) + 1j * draw.normal(size=(2, 9, 11))).astype(np.complex64),
        (1e-8, 2e-8),
        (3e-6, -4e-6),
        (1.5e-8, 2.5e-8),
        draw.normal(size=(3, 2)),
        np.array([7e-6]),
        np.array([1e5, 2e5, 3e5]),
        np.array([[1, 0.5], [2, 0.25]]),
        {
            "name": "läuft",
            "comments": "zwei\nZeilen",
            "polarization": "left_circular",
            "photon_energy_eV": 710.0,
            "detector_object_distance_m": 0.1,
            "focus_object_distance_m": 1e-4,
            "probe_photon_count": 3.5e5,
            "exposure_time_s": 1.5,
            "mass_attenuation_m2_per_kg": 2.0,
            "tomography_angle_deg": -30.0,
            "tilt_angle_deg": 4.0,
            "far_field": False,
        },
    )
    path = tmp_path / "product.h5"
    write_product(path, before)
    after = read_product(path)
    for name in before.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=name)


def test_older_and_plainer_products_are_read(tmp_path):
    """Two axes, an energy under its old name, no losses, no probe pixel, no bad pixels."""
    probe, image = optics()
    plain = made(
        tmp_path,
        probe=probe,
        object=image,
        bad_pixels=None,
        object_layer_spacing_m=None,
        loss_epochs=None,
        **{"probe@pixel_height_m": None, "@photon_energy_eV": None, "@probe_energy_eV": ENERGY, "@far_field": None},
    )
    scan = read_scan(plain)
    np.testing.assert_allclose(scan.geometry.energy_ev, ENERGY)
    assert scan.mask.all()
    np.testing.assert_allclose(scan.positions_px, PLACES, atol=1e-6)


def test_windows_that_stick_out_make_the_canvas_larger(tmp_path):
    _, image = optics()
    small = image[1:-2, 2:-1]
    shift = {  # the middle of the smaller array lies elsewhere
        "object@center_y_m": CENTRE[0] - 0.5 * PIXEL[0],
        "object@center_x_m": CENTRE[1] + 0.5 * PIXEL[1],
    }
    scan = read_scan(made(tmp_path, object=small, **shift))
    assert scan.canvas == CANVAS
    np.testing.assert_allclose(scan.positions_px, PLACES, atol=1e-6)
    np.testing.assert_allclose(scan.object[1:-2, 2:-1], small, rtol=1e-6)
    assert (scan.object[0] == 1).all()
    assert any("(1, 2) rows and (2, 1) columns of ones added" in note for note in scan.notes)
    np.testing.assert_allclose(product_of(scan).centre_m, CENTRE, rtol=1e-9)


def test_an_object_far_away_from_the_positions_is_left_out(tmp_path):
    scan = read_scan(made(tmp_path, **{"object@center_x_m": 0.01}))
    assert scan.object is None
    assert "object: left out, positions lie farther outside of it than it is large" in scan.notes
    np.testing.assert_allclose(scan.positions_px - scan.positions_px[0], PLACES - PLACES[0], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"translation_sign": "sample"}, lambda at: -at),
        ({"position_order": "xy"}, lambda at: (at * PIXEL)[:, ::-1] / PIXEL),
        ({"pixel_nm": 20.0}, lambda at: at * PIXEL / 20e-9),
        ({"ignore_object": True}, lambda at: at),
    ],
)
def test_options_move_positions_and_leave_the_object_behind(tmp_path, options, expected):
    plain = read_scan(made(tmp_path))
    scan = read_scan(tmp_path / "product.h5", ReadOptions(**options))
    assert scan.object is None
    found, wanted = scan.positions_px, expected(plain.positions_px)
    np.testing.assert_allclose(found - found[0], wanted - wanted[0], atol=1e-6)
    before, after = read_product(tmp_path / "product.h5").positions_m, product_of(scan).positions_m
    if options.get("translation_sign"):
        before = -before
    if options.get("position_order"):
        before = before[:, ::-1]
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-15)


def test_turned_frames_swap_the_lengths(tmp_path):
    probe, _ = optics()
    counts = np.swapaxes(np.round(frames_of(*optics(), CORNERS)), 1, 2).astype(np.uint16)
    turned = made(
        tmp_path,
        patterns=counts,
        bad_pixels=None,
        **{"patterns@detector_pixel_height_m": DETECTOR[1], "patterns@detector_pixel_width_m": DETECTOR[0]},
        **{"object@pixel_height_m": PIXEL[1], "object@pixel_width_m": PIXEL[0]},
        **{"probe@pixel_height_m": PIXEL[1], "probe@pixel_width_m": PIXEL[0]},
    )
    scan = read_scan(turned, ReadOptions(orientation="transpose"))
    np.testing.assert_allclose(scan.geometry.pixel_size_m, PIXEL)
    assert scan.geometry.detector_pixel_m == DETECTOR
    np.testing.assert_allclose(scan.probe, probe, rtol=1e-5, atol=1e-4)


def test_a_companion_of_another_name(tmp_path):
    made(tmp_path)
    (tmp_path / "product.h5").rename(tmp_path / "product.000030.h5")
    with pytest.raises(DataError, match=r"expected the other file of the scan as .*product\.h5, found none; name it"):
        read_scan(tmp_path / "diffraction.h5")
    named = ReadOptions(companion=tmp_path / "product.000030.h5")
    assert explained(read_scan(tmp_path / "diffraction.h5", named)) < 0.51
    assert explained(read_scan(tmp_path / "product.000030.h5")) < 0.51
    for one in ("diffraction.h5", "product.000030.h5"):
        with pytest.raises(DataError, match=r"expected (a product|patterns) of ptychodus, got another HDF5 file; name"):
            read_scan(tmp_path / one, ReadOptions(companion=tmp_path / one))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"@far_field": np.False_}, r"far_field: expected frames from the far field, got a product that says they are not"),
    (
        {"@photon_energy_eV": 7e9},
        r"photon energy: expected 50 eV to 200 keV, got 7e\+09 eV; such energies are those of",
    ),
    ({"@photon_energy_eV": "many"}, r"attribute photon_energy_eV: expected one finite number, got 'many'"),
    ({"object@center_x_m": None}, r"object: expected the attribute center_x_m, found none; write the product again"),
    ({"object@pixel_width_m": 0.0}, r"object, probe: expected positive pixel sizes and a finite centre"),
    (
        {"probe@pixel_width_m": 1e-8},
        r"probe: expected pixels as the object's, .* resample it in ptychodus, or name one",
    ),
    ({"probe": np.ones((1, 1, 8, 8), complex)}, r"probe: expected \(12, 16\) or \(modes, 12, 16\) as the frames, got"),
    ({"probe": np.ones((1, 1, 12, 16))}, r"probe: expected 2 to 4 axes of complex numbers, got shape .* of float64"),
    ({"object": np.ones(5, complex)}, r"object: expected 2 to 3 axes of complex numbers, got shape \(5,\)"),
    (
        {"object": np.ones((2, 20, 20), complex)},
        r"object_layer_spacing_m: expected 1 between 2 layers, got shape \(0,\)",
    ),
    ({"object": np.ones((0, 20, 20), complex)}, r"object: expected some pixels, got shape \(0, 20, 20\)"),
    (
        {"opr_weights": np.ones((8, 3))},
        r"opr_weights: expected \(8, 1\), one a position and coherent mode, got \(8, 3\)",
    ),
    ({"probe_position_x_m": np.full(8, np.nan)}, r"probe_position_x_m: expected finite values, got 8 that are not"),
    ({"probe_position_x_m": np.ones(7)}, r"probe_position_y_m: expected as many as probe_position_x_m, got 8 and 7"),
    ({"probe_position_x_m": np.ones(8, "S3")}, r"probe_position_x_m: expected real numbers, got \|S3"),
    ({"probe_position_indexes": np.arange(5)}, r"probe_position_indexes: expected one or more, and as many positions"),
    (
        {"probe_position_x_m": np.full(8, 1e9)},
        r"probe_position_x_m: expected numbers up to 1000, got 1e\+09; the file is",
    ),
    (
        {"probe": np.full((1, 1, *WINDOW), 1e30 + 0j)},
        r"probe: expected numbers up to 1e\+18, got 1e\+30; the file is dam",
    ),
    (
        {"object": np.full((3, *CANVAS), 1e17 + 0j), "object_layer_spacing_m": np.ones(2)},
        r"object: expected finite values, got \d+ that are not",
    ),
    ({"indexes": np.arange(5)}, r"indexes: expected as many as patterns, 8, got 5"),
    ({"indexes": np.arange(8) + 50}, r"indexes: expected patterns with the indexes of positions, 0 to 7, got 50 to 57"),
    ({"bad_pixels": np.zeros((3, 3), bool)}, r"patterns: expected bad pixels of shape \(12, 16\) as the frames, got"),
    ({"bad_pixels": np.zeros(WINDOW, complex)}, r"bad_pixels: expected real numbers, got complex128"),
    ({"loss_epochs": np.ones((2, 2)), "loss_values": np.ones(2)}, r"loss_epochs, loss_values: expected two lists of"),
]


@pytest.mark.parametrize(("changes", "match"), REFUSED)
def test_what_is_refused(tmp_path, changes, match):
    with pytest.raises(DataError, match=match) as caught:
        read_scan(made(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_lists_of_variable_length_are_not_read(tmp_path):
    """What damage makes of a text, over which the library ends the process."""
    path = made(tmp_path, **{"@name": None})
    with h5py.File(path, "r+") as file:
        lists = np.empty(1, dtype=object)
        lists[0] = np.arange(3)
        file.attrs.create("name", lists, dtype=h5py.vlen_dtype(np.int64))
    with pytest.raises(DataError, match=r"attribute name: expected numbers or text, got lists of variable length"):
        read_scan(path)


def test_what_can_not_be_written(tmp_path):
    scan = phantom_scan()
    with pytest.raises(DataError, match=r"scan\.h5: expected a folder, or diffraction\.h5 or product\.h5 in one"):
        write(tmp_path / "scan.h5", scan)
    bare = Scan(scan.photons, scan.positions_px, scan.probe, scan.canvas)
    with pytest.raises(DataError, match=r"got a scan without; read it with --energy-kev, --distance-m, --detector-pix"):
        write(tmp_path / "out", bare)
    with pytest.raises(DataError, match=r"expected photon_energy_eV, which ptychodus asks for, got none"):
        write_product(tmp_path / "product.h5", product([0], [[0.0, 0.0]]))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    made(folder, loss_epochs=np.arange(3), loss_values=np.ones(3), opr_weights=np.ones((8, 1)))
    return folder


@settings(max_examples=120, deadline=None)
@given(data=st.data(), which=st.sampled_from(["product.h5", "diffraction.h5"]))
def test_a_damaged_file_is_refused_in_one_line_or_read(tmp_path_factory, sound, data, which):
    folder = tmp_path_factory.mktemp("damaged")
    for name in ("product.h5", "diffraction.h5"):
        shutil.copy(sound / name, folder / name)
    content = bytearray((folder / which).read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    else:
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / which).write_bytes(content)
    try:
        scan = read_scan(folder / "product.h5")
    except DataError as error:
        said = str(error)
    else:
        said = "" if np.isfinite(scan.photons[:]).all() else "\n"
    shutil.rmtree(folder)
    assert "\n" not in said
