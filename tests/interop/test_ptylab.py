"""The released PtyLab opens what is written here and explains it; what it simulates is opened here."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

pytest.importorskip("PtyLab", reason="PtyLab is not installed: pip install ptylab")

import PtyLab
from PtyLab.io.generateSimulationData import generate_simu_hdf5

from foldlight.conformance import phantom
from foldlight.frames import Frames
from foldlight.io import read_scan, write_scan

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def _no_window(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")


def test_its_model_of_what_is_written_here_gives_the_frames(tmp_path):
    """Its positions, its propagation and its lengths, with the true object and probe: nothing is mirrored or scaled."""
    scan = phantom("square")
    half = scan.window[0] // 2
    scan = replace(scan, positions_px=np.round(scan.positions_px))  # it knows whole pixels only
    corners = scan.positions_px.astype(int) - half
    photons = np.zeros(scan.photons.shape)
    (path,) = write_scan(tmp_path / "scan.hdf5", scan, "ptylab")
    data, reconstruction, _, _, engine = PtyLab.easyInitialize(str(path), operationMode="CPM")
    assert reconstruction.dxo == pytest.approx(scan.geometry.pixel_size_m[0])
    np.testing.assert_array_equal(np.ptp(reconstruction.positions - corners, axis=0), 0)
    for j, (row, column) in enumerate(corners):
        patch = scan.object[row : row + 2 * half, column : column + 2 * half]
        for mode in scan.probe:
            engine.reconstruction.esw = (mode * patch)[None, None, None, None]
            engine.object2detector(engine.reconstruction.esw)
            photons[j] += np.abs(np.squeeze(engine.reconstruction.ESW)) ** 2
    ours = np.stack([_expected(scan, corner) for corner in corners])
    np.testing.assert_allclose(photons, ours, rtol=1e-4, atol=1e-2)
    np.testing.assert_array_equal(data.ptychogram, scan.photons[:])


def _expected(scan, corner):
    height, width = scan.window
    patch = scan.object[corner[0] : corner[0] + height, corner[1] : corner[1] + width]
    waves = np.fft.fft2(np.fft.ifftshift(scan.probe * patch, axes=(-2, -1)), norm="ortho")
    return np.fft.fftshift(np.sum(np.abs(waves) ** 2, axis=0))


def test_what_it_simulates_is_opened_here(tmp_path):
    path = tmp_path / "theirs.hdf5"
    generate_simu_hdf5(path)
    scan = read_scan(path)
    _, reconstruction, *_ = PtyLab.easyInitialize(str(path), operationMode="CPM")
    with h5py.File(path) as file:
        np.testing.assert_array_equal(scan.photons[:4], file["ptychogram"][:4])
    assert scan.geometry.pixel_size_m == pytest.approx((reconstruction.dxo,) * 2)
    theirs, ours = reconstruction.positions, scan.positions_px
    np.testing.assert_allclose(ours - ours[0], theirs - theirs[0], atol=1.01)  # it rounds
    assert isinstance(scan.photons, Frames)
