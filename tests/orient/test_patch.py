"""The piece of a scan that is asked: where the object shows, dense enough, and no larger than the light."""

import numpy as np
import pytest

from foldlight.core.errors import DataError
from foldlight.frames import Frames
from foldlight.optics.probes import zone_plate
from foldlight.orient.patch import coarse, patch
from foldlight.scan import Scan, place_on_canvas
from foldlight.simulate.acquire import acquire


def scan_of(image: np.ndarray, step: float, side: int = 7, window: int = 16) -> Scan:
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2) * step
    positions, canvas = place_on_canvas(grid.astype(np.float64), (window, window))
    return acquire(image[: canvas[0], : canvas[1]], zone_plate((window, window), 7.0), positions, 1e4, seed=1)


def test_frames_are_taken_where_the_object_shows():
    image = np.ones((64, 64), dtype=np.complex64)
    image[34:, 34:] = np.exp(1j * np.random.default_rng(0).uniform(0, 2, (30, 30)))
    scan = scan_of(image, step=5.0)
    found = patch(scan, 16)
    chosen = scan.positions_px[found.frame_index]
    assert len(found) == 16
    assert found.object is None
    assert found.photons.in_memory
    assert np.array_equal(found.photons[:], scan.photons[found.frame_index])
    assert (chosen.mean(axis=0) > scan.positions_px.mean(axis=0)).all()
    assert np.array_equal(found.positions_px - found.positions_px[0], chosen - chosen[0])


def test_dense_scans_are_thinned_out_before_they_are_cut_short():
    image = np.exp(1j * np.random.default_rng(0).uniform(0, 2, (64, 64))).astype(np.complex64)
    dense, sparse = scan_of(image, step=0.5, side=12), scan_of(image, step=4.0, side=12, window=16)
    assert np.ptp(patch(dense, 14).positions_px, axis=0).min() >= 3.0  # a square of 14 next neighbours spans 2 px
    assert np.ptp(patch(sparse, 14).positions_px, axis=0).max() <= 20.0


def test_too_few_frames_are_refused():
    image = np.ones((64, 64), dtype=np.complex64)
    with pytest.raises(DataError, match="at least 12 overlapping frames, got 9"):
        patch(scan_of(image, step=3.0, side=3), 50)


def test_frames_are_cut_to_their_light():
    probe = zone_plate((128, 128), 40.0, aperture=0.3) * np.float32(1e3)
    wave = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe[0]), norm="ortho"))
    frames = np.repeat((np.abs(wave) ** 2)[None], 2, axis=0).astype(np.float32)
    positions = np.array([[66.0, 66.0], [70.5, 76.0]])
    mask = np.ones((128, 128), dtype=bool)
    mask[40, 50] = False
    found = coarse(Scan(Frames(frames), positions, probe, (150, 150), mask=mask))
    assert found.window == (64, 64)
    assert np.array_equal(found.photons[:], frames[:, 32:96, 32:96])
    assert np.array_equal(found.mask, mask[32:96, 32:96])
    assert np.allclose(found.positions_px[1] - found.positions_px[0], [2.25, 5.0])
    small = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(found.probe[0]), norm="ortho"))
    assert np.allclose(np.abs(small) ** 2, frames[0, 32:96, 32:96], rtol=1e-3, atol=1e-3 * frames.max())


def test_small_or_filled_frames_stay_as_they_are():
    rng = np.random.default_rng(0)
    probe = (rng.normal(size=(1, 96, 96)) + 1j * rng.normal(size=(1, 96, 96))).astype(np.complex64)
    filled = Scan(Frames(np.ones((2, 96, 96))), np.array([[48.0, 48.0], [50.0, 51.0]]), probe, (100, 100))
    assert coarse(filled) is filled


def test_rectangles_keep_their_shape():
    probe = np.zeros((1, 96, 192), dtype=np.complex64)
    frames = np.zeros((2, 96, 192))
    frames[:, 44:52, 92:100] = 1
    rows, columns = (np.exp(-(((np.arange(size) - size // 2) / size * 12) ** 2)) for size in (96, 192))
    smooth = (probe * 0 + rows[:, None] * columns).astype(np.complex64)
    found = coarse(Scan(Frames(frames), np.array([[48.0, 96.0], [50.0, 100.0]]), smooth, (100, 200)))
    assert found.window == (32, 64)
    assert np.allclose(np.diff(found.positions_px, axis=0) * 3, [[2.0, 4.0]])
