"""A small measured-like scan and networks that make something of it."""

import numpy as np
import pytest
from live_models import UNROLLED, WINDOW, model_of

from foldlight.bundle import Model
from foldlight.frames import Frames
from foldlight.scan import Scan
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings


@pytest.fixture(scope="session")
def scan() -> Scan:
    """About 120 frames of 32 px in rows."""
    return simulate(SimulationSettings(object_size=96, window=32, positions=120, probe_diameter_px=14, dose=1e5))


@pytest.fixture(scope="session")
def odd() -> Scan:
    """Rectangular frames that are no whole numbers, two complex modes, sub-pixel positions, some pixels masked."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[: WINDOW[0], : WINDOW[1]] - np.array(WINDOW)[:, None, None] / 2
    first = 30 * np.exp(-((y - 1) ** 2) / 20 - x**2 / 50 + 1j * (0.03 * y**2 + 0.01 * x * y))
    probe = np.stack([first, 0.2 * x * first]).astype(np.complex64)
    counts = rng.poisson(100, (40, *WINDOW)).astype(np.float32) + np.float32(0.25)
    places = rng.uniform((8, 12), (72, 108), (40, 2))
    return Scan(Frames(counts), places, probe, (80, 120), mask=rng.random(WINDOW) > 0.05)


@pytest.fixture(scope="session")
def model() -> Model:
    return model_of(UNROLLED)
