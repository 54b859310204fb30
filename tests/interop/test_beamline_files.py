"""Readers of the released ptychodus for files of fold_slice and of the SLAC tools open what is written here."""

import numpy as np
import pytest

pytest.importorskip("ptychodus", reason="ptychodus is not installed; make interop has it")

from ptychodus.api.plugins import PluginRegistry

from foldlight.conformance import phantom
from foldlight.io import write_scan

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def registry():
    return PluginRegistry.load_plugins()


def patterns(dataset):
    return np.concatenate([array.get_patterns() for array in dataset])


def places(positions):
    return np.stack([positions.get_coordinates_y_m(), positions.get_coordinates_x_m()], axis=1)


def chosen(plugins, name):
    plugins.set_current_plugin(name)
    return plugins.get_current_plugin().strategy


def test_a_pair_of_fold_slice(tmp_path, registry):
    scan = phantom("square")
    first, second = write_scan(tmp_path / "scan.hdf5", scan, "foldslice")
    dataset = chosen(registry.diffraction_file_readers, "fold_slice").read(first)
    np.testing.assert_array_equal(patterns(dataset), scan.photons[:])
    found = places(chosen(registry.probe_position_file_readers, "fold_slice").read(second))
    np.testing.assert_allclose(
        (found - found[0]) / np.array(scan.geometry.pixel_size_m), scan.positions_px - scan.positions_px[0], atol=1e-6
    )


def test_its_command_finds_lengths_in_a_pair(tmp_path, program):
    """Energy and distance follow from what is written here; 1.7.0 then stumbles over a name of its own."""
    first, _ = write_scan(tmp_path / "scan.hdf5", phantom("square"), "foldslice")
    _, said = program(
        *("convert-to-ptychodus", "--diffraction-input", first),
        *("--diffraction-output", tmp_path / "diffraction.h5", "--product-output", tmp_path / "product.h5"),
    )
    assert "Photon energy (eV): 10000 (from the 1.23984e-10 m wavelength in the parameter file)" in said
    assert "Detector distance (m): 1.5 (from the 1.5498e-07 m object pixel size in the parameter file)" in said
    assert "Read 7 probe positions" in said
    assert (tmp_path / "diffraction.h5").exists()


def test_npz_of_the_slac_tools(tmp_path, registry):
    scan = phantom("oblong")
    (path,) = write_scan(tmp_path / "scan.npz", scan, "slac")
    dataset = chosen(registry.diffraction_file_readers, "SLAC_NPZ").read(path)
    np.testing.assert_allclose(patterns(dataset) ** 2, scan.photons[:], rtol=1e-6)
    product = chosen(registry.product_file_readers, "SLAC_NPZ").read(path)
    found = places(product.probe_positions)
    pixel = scan.geometry.pixel_size_m[1]  # it takes that of the columns for both
    np.testing.assert_allclose(found / pixel, scan.positions_px, rtol=1e-6)
    np.testing.assert_allclose(product.probes.get_array().reshape(scan.probe.shape), scan.probe, rtol=1e-6)
