"""Poisson likelihood and deviance against scipy, and gradients in double precision."""

import numpy as np
import pytest
import torch
from scipy import stats

from foldlight.optics.likelihood import amplitude_error, poisson_deviance, poisson_nll

SHAPE = (3, 6, 8)


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    expected = rng.uniform(0.5, 9.0, SHAPE)
    mask = rng.random(SHAPE[1:]) > 0.2
    return torch.from_numpy(expected), torch.from_numpy(rng.poisson(expected).astype(float)), torch.from_numpy(mask)


def test_likelihood_differs_from_scipy_by_a_constant_of_the_data(counts):
    expected, photons, mask = counts

    def ours(lam):
        return float(poisson_nll(lam, photons, mask) * photons[..., mask].mean() * photons[..., mask].numel())

    def theirs(lam):
        return -stats.poisson.logpmf(photons[..., mask].numpy(), lam[..., mask].numpy()).sum()

    other = expected * 1.3 + 0.1
    assert np.isclose(ours(other) - ours(expected), theirs(other) - theirs(expected), rtol=1e-5)


def test_deviance_is_twice_the_likelihood_ratio(counts):
    expected, photons, mask = counts
    y, lam = photons[0][mask].numpy(), expected[0][mask].numpy()
    saturated = stats.poisson.logpmf(y, np.maximum(y, 1e-300)).sum()
    ratio = 2 * (saturated - stats.poisson.logpmf(y, lam).sum()) / len(y)
    assert np.isclose(float(poisson_deviance(expected, photons, mask)[0]), ratio)


def test_deviance_is_zero_only_for_a_perfect_fit(counts):
    _, photons, mask = counts
    assert torch.allclose(poisson_deviance(photons, photons, mask), torch.zeros(3, dtype=torch.float64), atol=1e-5)
    assert (poisson_deviance(photons + 1, photons, mask) > 0).all()


def test_deviance_of_the_right_model_is_about_one_per_pixel():
    rng = np.random.default_rng(1)
    expected = np.full((4, 64, 64), 100.0)
    photons = torch.from_numpy(rng.poisson(expected).astype(float))
    mask = torch.ones(64, 64, dtype=torch.bool)
    found = poisson_deviance(torch.from_numpy(expected), photons, mask)
    assert torch.allclose(found, torch.ones(4, dtype=torch.float64), atol=0.1)  # 4.5 sigma


@pytest.mark.parametrize("loss", [poisson_nll, amplitude_error, poisson_deviance])
def test_gradients(loss, counts):
    expected, photons, mask = counts
    assert torch.autograd.gradcheck(lambda lam: loss(lam, photons, mask), expected.requires_grad_(True))


@pytest.mark.parametrize("loss", [poisson_nll, amplitude_error])
def test_size_does_not_follow_the_dose(loss, counts):
    expected, photons, mask = counts
    bright = float(loss(100 * expected, 100 * photons, mask) - loss(100 * photons, 100 * photons, mask))
    dim = float(loss(expected, photons, mask) - loss(photons, photons, mask))
    assert np.isclose(bright, dim, rtol=0.01)


def test_masked_pixels_do_not_count(counts):
    expected, photons, mask = counts
    spoiled = torch.where(mask, photons, torch.tensor(1e6, dtype=torch.float64))
    for loss in (poisson_nll, amplitude_error, poisson_deviance):
        assert torch.equal(loss(expected, spoiled, mask), loss(expected, photons, mask))
