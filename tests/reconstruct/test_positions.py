"""Positions that are wrong by pixels are found with the object: as well as from the true ones, and no better."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from foldlight.optics.coverage import coverage_map
from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.reconstruct.settings import LikelihoodSettings
from foldlight.scan import Scan
from foldlight.simulate.acquire import acquire

WINDOW, CANVAS = (32, 36), (76, 84)
WRONG_PX = 2.0  # rms length of what is added to the positions


@pytest.fixture(scope="module")
def scan() -> Scan:
    """A complex object full of detail under a curved, lopsided disc; room around for positions to err."""
    rng = np.random.default_rng(8)
    grey, phase = (np.tanh(t / t.std()) for t in (gaussian_filter(rng.normal(size=CANVAS), 1.2) for _ in range(2)))
    truth = ((0.75 + 0.2 * grey) * np.exp(0.6j * phase)).astype(np.complex64)
    y, x = np.mgrid[: WINDOW[0], : WINDOW[1]] - np.array(WINDOW)[:, None, None] // 2
    disc = 1 / (1 + np.exp(2 * (np.hypot(y, x) - 8)))
    probe = (disc * np.exp(1j * (0.1 * (y - 0.3) ** 2 + 0.13 * x**2 + 0.01 * x * y)))[None]
    low, high = np.array(WINDOW) // 2 + 6, np.array(CANVAS) - np.array(WINDOW) // 2 - 6
    axes = (np.arange(a, b + 1, 5) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return acquire(truth, probe, grid + rng.uniform(-1, 1, grid.shape), 3e5, seed=1)


def displaced(scan: Scan) -> Scan:
    """The scan as a stage with backlash tells of it: every position wrong, their mean right."""
    error = np.random.default_rng(4).normal(size=scan.positions_px.shape)
    error -= error.mean(axis=0)
    error *= WRONG_PX / np.sqrt((error**2).sum(axis=1).mean())
    return replace(scan, positions_px=scan.positions_px + error, object=None, object_is_truth=False)


def left(made: Reconstruction, scan: Scan) -> float:
    """Rms length of what positions are wrong by, but for the shift of all [px]."""
    error = made.positions_px - scan.positions_px
    error = error - error.mean(axis=0)
    return float(np.sqrt((error**2).sum(axis=1).mean()))


def made(scan: Scan, start: np.ndarray | None = None, **settings) -> Reconstruction:
    options = LikelihoodSettings(fit_positions=True, precision="single", **settings)
    return MaximumLikelihoodReconstructor(options, start).reconstruct(scan)


def test_positions_wrong_by_pixels_are_corrected_from_a_flat_start(scan):
    """Measured 0.009 px of 2 px, as from the true object and positions; without the coarse rounds 1.4 px are left."""
    wrong = displaced(scan)
    found, best = made(wrong, iterations=150), made(scan, scan.object, iterations=100)
    assert left(found, scan) < 0.03
    assert left(found, scan) < 3 * left(best, scan)
    assert found.settings["convergence"]["deviance"][-1] == pytest.approx(
        best.settings["convergence"]["deviance"][-1], rel=0.05
    )
    np.testing.assert_allclose(found.positions_px.mean(axis=0), wrong.positions_px.mean(axis=0), atol=1e-6)
    assert found.object.shape == scan.canvas
    assert found.probe is wrong.probe
    np.testing.assert_allclose(
        found.coverage, coverage_map(found.probe, found.positions_px, scan.canvas), rtol=1e-4, atol=1e-2
    )
    assert found.data_digest == wrong.digest()


def test_known_positions_stay_as_given(scan):
    given = MaximumLikelihoodReconstructor(LikelihoodSettings(iterations=2)).reconstruct(scan)
    assert given.positions_px is scan.positions_px


def test_positions_and_probe_are_found_together(scan):
    y, x = np.mgrid[: WINDOW[0], : WINDOW[1]] - np.array(WINDOW)[:, None, None] // 2
    wrong = displaced(scan)
    wrong = replace(wrong, probe=(wrong.probe * np.exp(0.01j * (x**2 - y**2))).astype(np.complex64))
    alone, both = made(wrong, iterations=100), made(wrong, iterations=100, fit_probe=True)
    deviance = [each.settings["convergence"]["deviance"][-1] for each in (alone, both)]
    assert deviance[1] < 0.5 * deviance[0]
    assert left(both, scan) < 0.3


def test_windows_at_the_edge_stay_on_the_canvas(scan):
    """Frames in the corners whose true positions lie beyond: nothing fails, and what is returned fits the canvas."""
    tight = replace(displaced(scan), canvas=CANVAS)
    low, high = np.array(WINDOW) // 2, np.array(CANVAS) - np.array(WINDOW) // 2
    squeezed = np.clip(tight.positions_px, low + 8, high - 8) + np.array([-8.0, 8.0])
    edge = replace(tight, positions_px=np.clip(squeezed, low, high))
    found = made(edge, iterations=30)
    assert ((found.positions_px >= low) & (found.positions_px <= high)).all()


def test_a_good_start_is_not_left_before_its_detail_was_fitted(scan):
    """The coarse rounds gain nothing here, which must not pass for convergence."""
    rough = (gaussian_filter(scan.object.real, 0.7) + 1j * gaussian_filter(scan.object.imag, 0.7)).astype(np.complex64)
    best, found = (made(scan, start, iterations=80) for start in (scan.object, rough))
    last = [each.settings["convergence"]["deviance"][-1] for each in (best, found)]
    assert last[1] == pytest.approx(last[0], rel=0.05)
    few = made(scan, rough, iterations=10).settings["convergence"]
    assert (few["iterations"], few["ended_by"]) == (10, "iteration limit")
