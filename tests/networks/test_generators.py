"""Networks: shapes, a flat start, repeatable weights, gradients that reach every weight."""

import numpy as np
import pytest
import torch

from foldlight.core.errors import SettingsError
from foldlight.networks.generators import ENCODERS, amplitude_gradient, build
from foldlight.networks.settings import NetworkSettings
from foldlight.optics.forward import expected_photons, illumination, place_probe
from foldlight.optics.probes import normalised, zone_plate

WINDOW = (16, 24)


def probes(n: int = 3, photons: float = 400.0, modes: int = 2) -> torch.Tensor:
    made = zone_plate(WINDOW, 8.0)
    stack = np.concatenate([made, 0.3 * np.roll(made, 2, axis=-1) * 1j])[:modes]
    positions = torch.from_numpy(np.random.default_rng(1).uniform(20, 30, (n, 2)))
    return place_probe(torch.from_numpy(normalised(stack, photons)), positions)


def frames(n: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).poisson(1.0, (n, *WINDOW)).astype(np.float32))


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("steps", [0, 2])
def test_patches_have_the_frames_shape_on_rectangles(kind, steps):
    network = build(NetworkSettings(kind=kind, width=4, levels=2, consistency_steps=steps), WINDOW, seed=1)
    patches = network(frames(), probes())
    assert patches.shape == (3, *WINDOW)
    assert patches.dtype == torch.complex64


@pytest.mark.parametrize("kind", ENCODERS)
def test_training_starts_from_the_flat_object(kind):
    network = build(NetworkSettings(kind=kind, width=4, levels=2, consistency_steps=0), WINDOW, seed=1)
    assert torch.equal(network(frames(), probes()), torch.ones(3, *WINDOW, dtype=torch.complex64))


def test_weights_follow_the_seed_and_leave_the_global_generator_alone():
    settings = NetworkSettings(width=4, levels=2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build(settings, WINDOW, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_every_weight_gets_a_finite_gradient_even_where_no_photon_fell():
    network = build(NetworkSettings(width=4, levels=2, consistency_steps=2), WINDOW, seed=1)
    photons = frames()
    assert (photons == 0).any()
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2)
    for _ in range(3):  # layers that start at zero pass gradients on after the first step
        optimiser.zero_grad()
        (network(photons, probes()) - 0.5).abs().square().mean().backward()
        optimiser.step()
    for name, weight in network.named_parameters():
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().max() > 0, name


def test_output_does_not_depend_on_who_shares_the_batch():
    network = build(NetworkSettings(width=4, levels=2), WINDOW, seed=1)
    photons = frames(4)
    light = probes(4)
    assert torch.allclose(network(photons, light)[2:3], network(photons[2:3], light[2:3]), atol=1e-6)


def test_the_consistency_direction_is_the_gradient_of_the_amplitude_misfit():
    light = probes(modes=1).to(torch.complex128)
    photons = frames().double() + 1.0
    patches = torch.full((3, *WINDOW), 0.8 + 0.1j, dtype=torch.complex128, requires_grad=True)
    misfit = ((expected_photons(light, patches) + 1e-3).sqrt() - photons.sqrt()).square().sum()
    (automatic,) = torch.autograd.grad(misfit, patches)
    ours = amplitude_gradient(patches.detach(), photons, light) * illumination(light).amax(dim=(-2, -1), keepdim=True)
    assert torch.allclose(ours, automatic / 2)


def test_a_window_that_cannot_be_halved_is_refused():
    with pytest.raises(SettingsError, match="levels = 4: expected a window that is a multiple of 16 px, got 16 x 24"):
        build(NetworkSettings(levels=4), WINDOW, seed=0)


def test_no_weights_can_send_a_transmission_out_of_bounds():
    network = build(NetworkSettings(width=4, levels=2, consistency_steps=0), WINDOW, seed=1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(0, 100.0, generator=torch.Generator().manual_seed(0))
    assert network(frames(), probes()).abs().max() <= 4
