"""A small comparison with and without truth, built by hand on a rectangular scan."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from foldlight.compare.table import FLAT_ARM, Comparison, compare
from foldlight.optics.coverage import coverage_map
from foldlight.optics.forward import expected_frames
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.scan import Frames, Scan

CANVAS, WINDOW = (64, 80), (24, 16)


@pytest.fixture(scope="session")
def scan() -> Scan:
    rng = np.random.default_rng(4)
    amplitude, phase = (gaussian_filter(rng.normal(size=CANVAS), 2, mode="wrap") for _ in range(2))
    truth = (0.8 + 0.5 * amplitude) * np.exp(4j * phase)
    y, x = np.mgrid[-12:12, -8:8]
    probe = 30 * np.exp(-((y / 6) ** 2) - (x / 4) ** 2 + 0.02j * y * x)[None]
    grid = np.meshgrid(np.arange(13, 52, 5.0), np.arange(9, 71, 5.0), indexing="ij")
    positions = np.stack(grid, axis=-1).reshape(-1, 2)
    places = torch.from_numpy(positions)[None]
    expected = expected_frames(torch.from_numpy(truth)[None], torch.from_numpy(probe), places)[0].numpy()
    counts = rng.poisson(expected).astype(np.float32)
    return Scan(
        photons=Frames(counts),
        positions_px=positions,
        probe=probe.astype(np.complex64),
        canvas=CANVAS,
        object=truth.astype(np.complex64),
        object_is_truth=True,
    )


@pytest.fixture(scope="session")
def arms(scan: Scan) -> list[Reconstruction]:
    rng = np.random.default_rng(6)
    coverage = coverage_map(scan.probe, scan.positions_px, scan.canvas)
    ledger = Ledger(0.0, 3.0, 5, len(scan), float(scan.photons.totals.sum()))
    noise = (0.02 * rng.normal(size=CANVAS)).astype(np.complex64)

    def made(arm: str, image: np.ndarray, train_seconds: float) -> Reconstruction:
        spent = replace(ledger, train_seconds=train_seconds)
        return Reconstruction(arm, image.astype(np.complex64), scan.probe, scan.positions_px, coverage, spent)

    flat = np.full(CANVAS, 0.8)
    return [made("Network <b>", scan.object + noise, 700.0), made("Dead", flat + noise, 5.0), made(FLAT_ARM, flat, 0.0)]


@pytest.fixture(scope="session")
def against_truth(scan: Scan, arms: list[Reconstruction]) -> Comparison:
    return compare(scan, arms)


@pytest.fixture(scope="session")
def against_counts(scan: Scan, arms: list[Reconstruction]) -> Comparison:
    thinned = np.random.default_rng(7).binomial(scan.photons.stored.astype(int), 0.25).astype(np.float32)
    held = replace(scan, photons=Frames(thinned))
    return compare(replace(scan, object_is_truth=False), arms, held, 0.25)
