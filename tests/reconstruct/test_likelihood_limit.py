"""The oracle: maximum likelihood reaches the dose limit, so both are right about the same photons."""

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.optics.limit import DoseLimit, dose_limit, squared_error
from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
from foldlight.reconstruct.settings import LikelihoodSettings
from foldlight.scan import Scan
from foldlight.simulate.acquire import acquire, expose_again

WINDOW, CANVAS = (24, 26), (44, 50)
STEP_PX = 4
DRAWS = 4


def scene(seed: int, photons_per_pixel: float, darkest: float) -> tuple[Scan, np.ndarray]:
    """A smooth random object of n photons a pixel, and where it is scored.

    The probe is a soft, curved, lopsided disc: it lights the detector evenly, so that every structure of the object is
    about equally well determined. Where some are hardly determined, the limit is large, and an estimate, whose phase
    cannot be wrong by more than pi, is better than that.
    """
    rng = np.random.default_rng(seed)
    texture = [gaussian_filter(rng.normal(size=CANVAS), 1.5) for _ in range(2)]
    grey, phase = (np.tanh(t / t.std()) for t in texture)
    truth = ((1 - (1 - darkest) * (0.5 + 0.5 * grey)) * np.exp(0.3j * phase)).astype(np.complex64)
    y, x = np.mgrid[: WINDOW[0], : WINDOW[1]] - np.array(WINDOW)[:, None, None] // 2
    disc = 1 / (1 + np.exp(2 * (np.hypot(y, x) - 7)))
    probe = (disc * np.exp(1j * (0.3 * (y - 0.3) ** 2 + 0.33 * x**2 + 0.01 * x * y)))[None]
    low, high = np.array(WINDOW) // 2, np.array(CANVAS) - np.array(WINDOW) // 2
    axes = (np.arange(a, b + 1, STEP_PX) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    positions = np.clip(grid + rng.uniform(-1, 1, grid.shape), low, high)
    dim = acquire(truth, probe, positions, 1e4, seed)
    light = coverage_map(dim.probe, positions, CANVAS)
    mask = well_lit(light)
    passed = float(np.median((light * np.abs(truth) ** 2)[mask]))
    return acquire(truth, probe, positions, 1e4 * photons_per_pixel / passed, seed), mask


@cache
def limit_at_eighty(seed: int, darkest: float) -> DoseLimit:
    """The limit of a scene at n = 80; at other doses it only scales."""
    scan, mask = scene(seed, 80.0, darkest)
    return dose_limit(
        scan.truth,
        scan.probe,
        scan.positions_px,
        mask,
        parameters="phase" if darkest == 1 else "complex",
        method="matrix-free",
        seed=seed,
    )


def efficiency(seed: int, photons_per_pixel: float, darkest: float) -> float:
    """The limit over the mean squared error of some draws of the photons."""
    scan, mask = scene(seed, photons_per_pixel, darkest)
    limit = limit_at_eighty(seed, darkest).at_dose(photons_per_pixel / 80)
    assert limit.photons_per_pixel == pytest.approx(photons_per_pixel, rel=0.01)
    engine = MaximumLikelihoodReconstructor(LikelihoodSettings(phase_only=darkest == 1))
    estimates = [engine.reconstruct(expose_again(scan, draw)) for draw in range(DRAWS)]
    assert all(estimate.settings["convergence"]["converged"] for estimate in estimates)
    errors = [squared_error(estimate.object, scan.truth, mask, limit.parameters) for estimate in estimates]
    return limit.bound / float(np.mean(errors))


@pytest.mark.parametrize("photons_per_pixel", [80.0, 300.0])
def test_maximum_likelihood_reaches_the_limit_of_a_phase_object(photons_per_pixel):
    """Measured 0.92 at n = 80 and 0.99 at n = 300: means over 3 objects with 4 draws each."""
    efficiencies = [efficiency(seed, photons_per_pixel, darkest=1.0) for seed in range(3)]
    assert 0.9 < np.mean(efficiencies) < 1.1
    assert all(0.8 < found < 1.2 for found in efficiencies)


def test_and_that_of_a_complex_object():
    """Measured 0.97 at n = 300 under this probe, 1.00 with a bias of 1 % over 8 draws on a larger canvas.

    It lies above 1, 1.18 with a bias of 5 %, under a disc of half the curvature.
    """
    assert 0.85 < efficiency(0, 300.0, darkest=0.6) < 1.15
