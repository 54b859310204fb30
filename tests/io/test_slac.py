"""NPZ of the SLAC tools: the frame number last, in pixels or metres; a tiny asymmetric experiment made by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared import same_experiment
from phantom import phantom_scan

from foldlight.core.errors import DataError
from foldlight.geometry import Geometry
from foldlight.io import ReadOptions, data001, slac
from foldlight.io.npz import open_npz
from foldlight.scan import Scan

ENERGY, DISTANCE, PIXEL = 8000.0, 0.75, 75e-6
GEOMETRY = Geometry.far_field((12, 16), 1.239841984332e-6 / ENERGY, DISTANCE, (PIXEL, PIXEL))
EXPECTED = replace(phantom_scan(modes=1), geometry=GEOMETRY)
LENGTHS = {"detector_distance_m": DISTANCE, "photon_energy_eV": ENERGY, "detector_pixel_size_m": PIXEL}


def read(path: Path, **options: Any) -> Scan:
    with open_npz(path) as archive:
        assert slac.matches(archive.keys)
        return slac.read(archive, ReadOptions(**options))


def save(folder: Path, **changes: Any) -> Path:
    """The bad pixel is no number; None leaves a key out."""
    amplitude = np.sqrt(EXPECTED.photons[:]).astype(np.float32)
    amplitude[:, ~EXPECTED.mask] = np.nan
    stored = {
        "diffraction": np.moveaxis(amplitude, 0, -1),
        "xcoords_start": EXPECTED.positions_px[:, 1],
        "ycoords_start": EXPECTED.positions_px[:, 0],
        "probeGuess": EXPECTED.probe[0],
        "objectGuess": EXPECTED.object,
        **changes,
    }
    np.savez(folder / "scan.npz", **{key: value for key, value in stored.items() if value is not None})
    return folder / "scan.npz"


def test_a_file_is_one_experiment(tmp_path: Path) -> None:
    scan = read(save(tmp_path))
    same_experiment(scan, EXPECTED, pixels=False)
    np.testing.assert_array_equal(scan.positions_px, EXPECTED.positions_px)
    assert scan.object is not None
    np.testing.assert_array_equal(scan.object, EXPECTED.object)
    assert scan.truth is None
    assert scan.geometry is None
    factor = scan.probe[0, 6, 8] / EXPECTED.probe[0, 6, 8]
    np.testing.assert_allclose(scan.probe, factor.real * EXPECTED.probe, rtol=1e-5)
    notes = "\n".join(scan.notes)
    for words in ("axes (y, x, n) turned", "object pixels, as their spread tells", "probeGuess: unit unknown"):
        assert words in notes


def test_lengths_are_taken_where_they_are(tmp_path: Path) -> None:
    same_experiment(read(save(tmp_path, **LENGTHS)), EXPECTED)
    older = {"detector_distance_m": DISTANCE, "probe_energy_ev": np.array([ENERGY]), "detector_pixel_size_m": PIXEL}
    same_experiment(read(save(tmp_path, **older)), EXPECTED)
    assert read(save(tmp_path, probe_energy_ev=ENERGY)).geometry is None
    same_experiment(
        read(save(tmp_path, probe_energy_ev=ENERGY), distance_m=DISTANCE, detector_pixel_um=PIXEL * 1e6), EXPECTED
    )
    known = read(save(tmp_path), pixel_nm=30).geometry
    assert known is not None
    assert known.pixel_size_m == pytest.approx((30e-9, 30e-9))


def test_positions_may_be_metres_far_from_the_origin(tmp_path: Path) -> None:
    metres = EXPECTED.positions_px * np.array(GEOMETRY.pixel_size_m) + 0.02
    places = {"xcoords_start": metres[:, 1], "ycoords_start": metres[:, 0]}
    scan = read(save(tmp_path, **places, **LENGTHS))
    same_experiment(scan, EXPECTED)
    assert scan.object is None
    assert any("objectGuess: left out, positions in metres" in note for note in scan.notes)
    with pytest.raises(
        DataError, match=r"positions: expected the size of an object pixel.*set pixel_nm, or energy_kev"
    ):
        read(save(tmp_path, **places))


def test_either_order_of_axes_is_seen(tmp_path: Path) -> None:
    amplitude = np.sqrt(EXPECTED.photons[:])
    amplitude[:, ~EXPECTED.mask] = np.nan
    scan = read(save(tmp_path, diffraction=amplitude))
    same_experiment(scan, EXPECTED, pixels=False)
    assert not any("axes" in note for note in scan.notes)


def test_as_many_frames_as_pixels_are_counted_last(tmp_path: Path) -> None:
    """Where the shape does not tell, the format does."""
    many = phantom_scan(12, 12, n=12)
    stored = {
        "diffraction": np.moveaxis(many.photons[:], 0, -1),
        "xcoords_start": many.positions_px[:, 1],
        "ycoords_start": many.positions_px[:, 0],
        "probeGuess": many.probe,
    }
    np.savez(tmp_path / "f.npz", mask=many.mask, **stored)
    same_experiment(read(tmp_path / "f.npz"), many, pixels=False)


def test_counts_are_known_and_what_is_neither_is_confessed(tmp_path: Path) -> None:
    counts = np.moveaxis(EXPECTED.photons[:], 0, -1)
    same_experiment(read(save(tmp_path, diffraction=counts, mask=EXPECTED.mask)), EXPECTED, pixels=False)
    odd = np.sqrt(counts + 0.37) * 0.731
    scan = read(save(tmp_path, diffraction=odd))
    np.testing.assert_allclose(scan.photons[:], np.moveaxis(odd, -1, 0) ** 2, rtol=1e-5)
    assert any("taken as amplitude, which ptychodus takes as intensity" in note for note in scan.notes)
    plain = read(save(tmp_path, diffraction=odd), values="intensity")
    np.testing.assert_allclose(plain.photons[:], np.moveaxis(odd, -1, 0), rtol=1e-5)


def test_an_object_elsewhere_is_left_out(tmp_path: Path) -> None:
    scan = read(save(tmp_path, objectGuess=np.ones((20, 20), complex)))
    same_experiment(scan, EXPECTED, pixels=False)
    assert scan.object is None
    assert any("objectGuess: left out, not all positions lie on its 20 x 20 px" in note for note in scan.notes)
    assert read(save(tmp_path), ignore_object=True).object is None


def test_a_file_without_a_probe_gets_a_guess(tmp_path: Path) -> None:
    scan = read(save(tmp_path, probeGuess=None))
    same_experiment(scan, EXPECTED, pixels=False)
    assert any("guessed" in note for note in scan.notes)


def test_a_file_with_both_pairs_of_positions_is_a_dialect_of_data001(tmp_path: Path) -> None:
    """As their tools write for networks: nominal and measured positions; the measured ones count."""
    square = phantom_scan(12, 12, modes=1)
    stored = {
        "diffraction": np.moveaxis(np.sqrt(square.photons[:]), 0, -1),
        "xcoords": square.positions_px[:, 1],
        "ycoords": square.positions_px[:, 0],
        "xcoords_start": np.round(square.positions_px[:, 1]),
        "ycoords_start": np.round(square.positions_px[:, 0]),
        "probeGuess": square.probe[0],
        "objectGuess": square.object,
        "mask": square.mask,
    }
    np.savez(tmp_path / "f.npz", **stored)
    with open_npz(tmp_path / "f.npz") as archive:
        assert not slac.matches(archive.keys)
        assert data001.matches(archive.keys)
        scan = data001.read(archive, ReadOptions())
    same_experiment(scan, square, pixels=False)
    assert any("axes (y, x, n) turned" in note for note in scan.notes)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    before = replace(EXPECTED, object=None, object_is_truth=False)
    for scan in (EXPECTED, before, phantom_scan()):
        assert slac.write(tmp_path / "f.npz", scan) == (tmp_path / "f.npz",)
        after = read(tmp_path / "f.npz")
        same_experiment(after, scan, pixels=scan.geometry == GEOMETRY)
        np.testing.assert_array_equal(after.positions_px, scan.positions_px)
        assert after.object is not None
        assert len(after.probe) == len(scan.probe)
        slac.write(tmp_path / "g.npz", scan)
        assert (tmp_path / "f.npz").read_bytes() == (tmp_path / "g.npz").read_bytes()
        slac.write(tmp_path / "g.npz", after)
        same_experiment(read(tmp_path / "g.npz"), scan, pixels=False)
    with np.load(tmp_path / "f.npz") as archive:
        assert archive["diffraction"].shape == (12, 16, 7)
        assert archive["photon_energy_eV"] == pytest.approx(10332, rel=1e-4)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no rows": ({"ycoords_start": None}, "expected the key 'ycoords_start', found diffraction, xcoords_start"),
    "fewer rows": ({"ycoords_start": np.ones(3)}, "ycoords_start, xcoords_start: expected as many of the one"),
    "positions in a table": ({"xcoords_start": np.ones((7, 1))}, r"xcoords_start: expected 1 axes, got shape \(7, 1\)"),
    "positions that are none": ({"xcoords_start": np.full(7, np.inf)}, "xcoords_start: expected finite values, got 7"),
    "no frames": ({"diffraction": None}, "expected the key 'diffraction', found xcoords_start"),
    "other frames": (
        {"diffraction": np.ones((12, 16, 9))},
        r"expected 7 frames for as many .* got shape \(12, 16, 9\)",
    ),
    "flat frames": ({"diffraction": np.ones((12, 16))}, r"diffraction: expected 3 axes, got shape \(12, 16\)"),
    "another probe": ({"probeGuess": np.ones((8, 8), complex)}, r"probeGuess: expected \(12, 16\) or"),
    "keV": ({"photon_energy_eV": 8.0}, "photon energy: expected 50 eV to 200 keV, got 8 eV; 8 may be keV"),
    "no distance": ({**LENGTHS, "detector_distance_m": 0.0}, "detector_distance_m: expected a positive number of met"),
    "two distances": (
        {"detector_distance_m": np.ones(2)},
        r"detector_distance_m: expected one number, got shape \(2,\)",
    ),
    "a real object": ({"objectGuess": np.ones((40, 40))}, "objectGuess: expected complex numbers, got float64"),
    "an absurd object": (
        {"objectGuess": np.full((40, 40), 1e300 + 0j)},
        "objectGuess: expected finite values, got 1600 that are not",
    ),
    "absurd frames": (
        {"diffraction": np.full((12, 16, 7), 1e20)},
        r"diffraction: expected finite .* got 1344 above 1e\+15",
    ),
    "another mask": ({"mask": np.ones((3, 3), bool)}, r"diffraction: expected bad pixels of shape \(12, 16\)"),
    "a mask of numbers": ({"mask": np.ones((12, 16))}, "mask: expected booleans, got float64"),
}


@pytest.mark.parametrize(("changes", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_every_fault_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = save(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_crop_needs_metres(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="crop_px, centre_px: expected neither for a format with positions in pixels"):
        read(save(tmp_path), crop_px=8)
