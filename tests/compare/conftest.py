"""A small scan with a known object, made from the optics alone, and reconstructions built by hand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from foldlight.core.seeds import generator
from foldlight.frames import Frames
from foldlight.optics.coverage import coverage_map
from foldlight.optics.forward import expected_frames
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.scan import Scan

CANVAS = (96, 112)
WINDOW = (32, 24)


def smooth(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Periodic smooth noise of unit spread, so that Fourier shifts are exact."""
    field = gaussian_filter(rng.normal(size=CANVAS), sigma, mode="wrap")
    return field / field.std()


def complex_object(seed: int, sigma: float = 2.5) -> np.ndarray:
    rng = generator(seed, "test object")
    amplitude, phase = 0.8 + 0.05 * smooth(rng, sigma), 0.4 * smooth(rng, sigma) + 0.9
    return amplitude * np.exp(1j * phase)


def scan_of(truth: np.ndarray, photons_per_frame: float, seed: int = 3) -> Scan:
    rng = generator(seed, "test scan")
    y, x = np.mgrid[-16:16, -12:12]
    probe = np.exp(-((y / 9) ** 2) - (x / 7) ** 2 + 0.01j * (y**2 + y * x))
    probe *= np.sqrt(photons_per_frame / np.sum(np.abs(probe) ** 2))
    grid = np.stack(np.meshgrid(np.arange(18, 79, 6.0), np.arange(14, 98, 6.0), indexing="ij"), axis=-1).reshape(-1, 2)
    positions = grid + rng.uniform(-1.5, 1.5, grid.shape)
    places = torch.from_numpy(positions)[None]
    expected = expected_frames(torch.from_numpy(truth)[None], torch.from_numpy(probe)[None], places)[0].numpy()
    return Scan(
        photons=Frames(rng.poisson(expected).astype(np.float32)),
        positions_px=positions,
        probe=probe[None].astype(np.complex64),
        canvas=CANVAS,
        object=truth.astype(np.complex64),
        object_is_truth=True,
    )


@pytest.fixture(scope="session")
def truth() -> np.ndarray:
    return complex_object(1)


@pytest.fixture(scope="session")
def other() -> np.ndarray:
    """An object that has nothing to do with the truth."""
    return complex_object(2)


@pytest.fixture(scope="session")
def scan(truth: np.ndarray) -> Scan:
    return scan_of(truth, 2e4)


@pytest.fixture(scope="session")
def held(truth: np.ndarray) -> Scan:
    """Other counts of the same frames at half the exposure; same positions."""
    first = scan_of(truth, 2e4)
    thinned = np.random.default_rng(5).binomial(first.photons.stored.astype(int), 0.5).astype(np.float32)
    return replace(first, photons=Frames(thinned))


@pytest.fixture(scope="session")
def coverage(scan: Scan) -> np.ndarray:
    return coverage_map(scan.probe, scan.positions_px, scan.canvas)


@pytest.fixture(scope="session")
def reconstruction(scan: Scan, coverage: np.ndarray) -> Callable[..., Reconstruction]:
    """Anybody's object as a reconstruction of the scan."""

    def make(arm: str, image: np.ndarray, train_seconds: float = 0.0) -> Reconstruction:
        ledger = Ledger(train_seconds, 2.0, 10, len(scan), float(scan.photons.totals.sum()))
        return Reconstruction(arm, image.astype(np.complex64), scan.probe, scan.positions_px, coverage, ledger)

    return make
