"""The released ptychodus opens what is written here, and what it writes is opened here, with the same values."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from phantom import phantom_scan

pytest.importorskip("ptychodus", reason="ptychodus is not installed; make interop has it")

from ptychodus.api.assemble import AssembledDiffractionData
from ptychodus.api.geometry import PixelGeometry
from ptychodus.api.io import load_diffraction_data, load_product, save_diffraction_data, save_product
from ptychodus.api.object import Object, ObjectCenter
from ptychodus.api.probe import ProbeSequence
from ptychodus.api.probe_positions import ProbePosition, ProbePositionSequence
from ptychodus.api.product import LossValue, ProductMetadata
from ptychodus.api.product import Product as TheirProduct
from ptychodus.api.reconstruct import prepare_reconstruct_input

from foldlight.io import ReadOptions, read_scan
from foldlight.io.ptychodus import write
from foldlight.io.ptychodus_product import paired, read_product, write_product

pytestmark = pytest.mark.filterwarnings("default")

has_engines = pytest.mark.skipif(importlib.util.find_spec("ptychi") is None, reason="pty-chi is not installed")


def their_product(seed: int = 0, indexes: tuple[int, ...] = (0, 1, 2, 3, 4)) -> TheirProduct:
    """Two coherent and three incoherent modes, two layers, positions and pixels of which none is like another."""
    draw = np.random.default_rng(seed)
    pixel = PixelGeometry(width_m=11e-9, height_m=13e-9)

    def field(*shape: int) -> np.ndarray:
        return draw.normal(size=shape) + 1j * draw.normal(size=shape)

    places = [
        ProbePosition(index, x_m, y_m, probe_photon_count=float(1000 + k))
        for k, (index, (x_m, y_m)) in enumerate(zip(indexes, draw.uniform(-4e-7, 3e-7, (len(indexes), 2)), strict=True))
    ]
    return TheirProduct(
        ProductMetadata("probe test", "two\nlines", 1.9, 8400.0, 5e4, 0.2, 3.0, 11.0, 1e-4, 2.0, None, True),
        ProbePositionSequence(places),
        ProbeSequence(field(2, 3, 12, 16), draw.normal(size=(len(indexes), 2)), pixel),
        Object(field(2, 81, 92), pixel, ObjectCenter(x_m=-2e-8, y_m=5e-8), [1e-6]),
        [LossValue(1, 0.5), LossValue(2, 0.25)],
    )


def test_what_is_written_here_opens_there(tmp_path):
    scan = phantom_scan()
    diffraction, product = write(tmp_path / "folder", scan)
    frames, found = load_diffraction_data(diffraction), load_product(product)
    np.testing.assert_array_equal(frames.get_patterns(), scan.photons[:])
    np.testing.assert_array_equal(frames.get_bad_pixels(), ~scan.mask)
    np.testing.assert_array_equal(frames.get_indexes(), np.arange(7))
    height, width = scan.geometry.detector_pixel_m
    assert frames.get_pixel_geometry() == PixelGeometry(width_m=width, height_m=height)
    np.testing.assert_array_equal(found.probe_positions.get_indexes(), np.arange(7))
    np.testing.assert_array_equal(found.probes.get_array()[0], scan.probe)
    np.testing.assert_array_equal(found.object_.get_array()[0], scan.object)
    lengths = found.object_.get_pixel_geometry()
    np.testing.assert_allclose((lengths.height_m, lengths.width_m), scan.geometry.pixel_size_m)
    assert found.probes.get_pixel_geometry() == lengths
    assert found.metadata.photon_energy_eV == pytest.approx(scan.geometry.energy_ev)
    assert found.metadata.photon_wavelength_m == pytest.approx(1.2e-10)
    assert found.metadata.detector_distance_m == 1.5
    assert found.metadata.probe_photon_count == pytest.approx(5e4)
    assert (found.metadata.name, found.metadata.far_field) == ("foldlight", True)
    assert list(found.losses) == []

    geometry = found.object_.get_geometry()
    middles = np.stack(  # where in their object the middle of each window lies; ours is half a pixel on, N // 2
        [
            geometry.map_probe_positions_to_object_y_px(found.probe_positions),
            geometry.map_probe_positions_to_object_x_px(found.probe_positions),
        ],
        axis=1,
    )
    np.testing.assert_allclose(middles + 0.5, scan.positions_px, atol=1e-9)
    ready = prepare_reconstruct_input(frames, found)
    np.testing.assert_array_equal(ready.diffraction_patterns, scan.photons[:])


def test_what_is_written_there_opens_here(tmp_path):
    theirs = their_product()
    save_product(tmp_path / "product.h5", theirs)
    ours = read_product(tmp_path / "product.h5")
    np.testing.assert_array_equal(ours.indexes, theirs.probe_positions.get_indexes())
    np.testing.assert_array_equal(ours.positions_m[:, 0], theirs.probe_positions.get_coordinates_y_m())
    np.testing.assert_array_equal(ours.positions_m[:, 1], theirs.probe_positions.get_coordinates_x_m())
    np.testing.assert_array_equal(ours.photon_counts, theirs.probe_positions.get_probe_photon_counts())
    np.testing.assert_array_equal(ours.probe, theirs.probes.get_array())
    np.testing.assert_array_equal(ours.opr_weights, theirs.probes.get_opr_weights())
    np.testing.assert_allclose(ours.modes, np.mean([theirs.probes[i].get_array() for i in range(5)], axis=0))
    np.testing.assert_array_equal(ours.object, theirs.object_.get_array())
    np.testing.assert_array_equal(ours.layer_spacing_m, theirs.object_.layer_spacing_m)
    assert (ours.pixel_size_m, ours.probe_pixel_m, ours.centre_m) == ((13e-9, 11e-9), (13e-9, 11e-9), (5e-8, -2e-8))
    assert ours.losses.tolist() == [[1, 0.5], [2, 0.25]]
    assert ours.facts == {
        "name": "probe test",
        "comments": "two\nlines",
        "photon_energy_eV": 8400.0,
        "detector_object_distance_m": 1.9,
        "focus_object_distance_m": 1e-4,
        "probe_photon_count": 5e4,
        "exposure_time_s": 0.2,
        "mass_attenuation_m2_per_kg": 3.0,
        "tomography_angle_deg": 11.0,
        "tilt_angle_deg": 2.0,
        "far_field": True,
    }


def test_a_product_goes_there_and_back_unchanged(tmp_path):
    save_product(tmp_path / "theirs.h5", their_product())
    write_product(tmp_path / "ours.h5", read_product(tmp_path / "theirs.h5"))
    one, other = load_product(tmp_path / "theirs.h5"), load_product(tmp_path / "ours.h5")
    assert one.metadata == other.metadata
    assert list(one.losses) == list(other.losses)
    assert one.object_.get_geometry() == other.object_.get_geometry()
    for part in ("get_array", "get_opr_weights"):
        np.testing.assert_array_equal(getattr(one.probes, part)(), getattr(other.probes, part)())
    np.testing.assert_array_equal(one.object_.get_array(), other.object_.get_array())
    assert list(one.probe_positions) == list(other.probe_positions)


@pytest.mark.parametrize("seed", range(8))
def test_patterns_and_positions_are_paired_as_there(tmp_path, seed):
    """Any indexes, on both sides: repeated, missing, out of order, negative."""
    draw = np.random.default_rng(seed)
    theirs = their_product(seed, tuple(draw.integers(2, 14, 9).tolist()))
    save_product(tmp_path / "product.h5", theirs)
    numbers = draw.permutation(np.arange(-2, 17))
    patterns = np.arange(len(numbers) * 12 * 16, dtype=np.uint32).reshape(-1, 12, 16)
    data = AssembledDiffractionData(numbers, patterns, PixelGeometry(7e-5, 5e-5), np.zeros((12, 16), bool))
    save_diffraction_data(tmp_path / "diffraction.h5", data)
    ready = prepare_reconstruct_input(load_diffraction_data(tmp_path / "diffraction.h5"), theirs)
    rows, places, _ = paired(numbers, read_product(tmp_path / "product.h5"))
    np.testing.assert_array_equal(patterns[rows], ready.diffraction_patterns)
    np.testing.assert_array_equal(numbers[rows], ready.product.probe_positions.get_indexes())
    np.testing.assert_allclose(places[:, 0], ready.product.probe_positions.get_coordinates_y_m(), rtol=1e-12)
    np.testing.assert_allclose(places[:, 1], ready.product.probe_positions.get_coordinates_x_m(), rtol=1e-12)
    scan = read_scan(tmp_path / "diffraction.h5", ReadOptions(zero_frequency="centre"))
    np.testing.assert_array_equal(scan.photons[:], ready.diffraction_patterns)
    np.testing.assert_array_equal(scan.frame_index, ready.product.probe_positions.get_indexes())


def batch(folder: Path, settings: str) -> Path:
    """A batch folder of a scan that any engine can reconstruct."""
    write(folder, phantom_scan(24, 32, n=40, modes=1))
    (folder / "settings.ini").write_text(settings)
    return folder


def test_the_image_made_here_lies_on_the_object_there(tmp_path, program):
    source = batch(tmp_path / "in", "[FoldlightReconstruct]\nengine = ml\nfit_probe = no\n")
    status, said = program("foldlight", "ptychodus", "-b", "reconstruct", "-i", source, "-o", tmp_path / "out")
    assert status == 0, said
    before, after = load_product(source / "product.h5"), load_product(tmp_path / "out" / "product.h5")
    assert after.object_.get_geometry() == before.object_.get_geometry()
    np.testing.assert_array_equal(after.probe_positions.get_indexes(), before.probe_positions.get_indexes())
    assert after.metadata.name == "foldlight_foldlight_ml"
    assert likeness(after, before) > 0.995
    assert all(likeness(after, before, by) < likeness(after, before) for by in ((1, 0), (-1, 0), (0, 1), (0, -1)))


def likeness(one: TheirProduct, other: TheirProduct, shift: tuple[int, int] = (0, 0)) -> float:
    """Of the middles of two objects, 1 where they differ by a factor only."""
    middle = (slice(12, -12), slice(16, -16))
    found = np.roll(one.object_.get_layer(0), shift, (0, 1))[middle]
    true = other.object_.get_layer(0)[middle]
    return float(abs(np.vdot(found, true)) / np.linalg.norm(found) / np.linalg.norm(true))


@has_engines
def test_the_same_folder_is_worked_on_by_both(tmp_path, program):
    """Its own sections trouble neither; what ptychodus leaves is read here."""
    settings = (
        "[Processing]\nAlgorithm = pty-chi_lsqml\n[PtyChi]\nNumEpochs = 20\nNumSyncEpochs = 20\nBatchSize = 10\n"
        "[FoldlightReconstruct]\nengine = constant\n"
    )
    source = batch(tmp_path / "in", settings)
    status, said = program("ptychodus", "-b", "reconstruct", "-i", source, "-o", tmp_path / "theirs")
    assert status == 0, said
    assert "Foldlight" not in said
    assert "[ERROR]" not in said
    (theirs,) = (tmp_path / "theirs").glob("product*.h5")  # 1.7 adds the number of epochs to the name
    scan = read_scan(theirs, ReadOptions(companion=source / "diffraction.h5"))
    assert any("in pty-chi's unit" in note for note in scan.notes)
    assert likeness(load_product(theirs), load_product(source / "product.h5")) > 0.97
