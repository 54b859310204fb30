"""Networks: shapes, a flat start, repeatable weights, gradients that reach every weight."""

import numpy as np
import pytest
import torch

from foldlight.core.errors import SettingsError
from foldlight.networks.generators import ENCODERS, amplitude_gradient, build, filled
from foldlight.networks.settings import NetworkSettings
from foldlight.optics.forward import expected_photons, illumination, lift, place_probe
from foldlight.optics.probes import normalised, zone_plate

WINDOW = (16, 24)


BODIES = ("unet", "fourier")


def probes(n: int = 3, photons: float = 400.0, modes: int = 2) -> torch.Tensor:
    made = zone_plate(WINDOW, 8.0)
    stack = np.concatenate([made, 0.3 * np.roll(made, 2, axis=-1) * 1j])[:modes]
    positions = torch.from_numpy(np.random.default_rng(1).uniform(20, 30, (n, 2)))
    return place_probe(torch.from_numpy(normalised(stack, photons)), positions)


def frames(n: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).poisson(1.0, (n, *WINDOW)).astype(np.float32))


def settings(body: str = "unet", kind: str = "lifted", steps: int = 0) -> NetworkSettings:
    return NetworkSettings(kind=kind, body=body, width=4, levels=2, layers=2, modes=5, consistency_steps=steps)


def bad_pixels() -> torch.Tensor:
    """A beamstop off the centre, and a dead pixel."""
    mask = torch.ones(WINDOW, dtype=torch.bool)
    mask[6:9, 10:15] = False
    mask[2, 20] = False
    return mask


def with_unequal_weights(network: torch.nn.Module, size: float = 0.05) -> torch.nn.Module:
    """The network with noise on every weight, since some layers start at zero and pass nothing."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=size)
    return network


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("steps", [0, 2])
def test_patches_have_the_frames_shape_on_rectangles(body, kind, steps):
    patches = build(settings(body, kind, steps), WINDOW, seed=1)(frames(), probes())
    assert patches.shape == (3, *WINDOW)
    assert patches.dtype == torch.complex64


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", ENCODERS)
def test_training_starts_from_the_flat_object(body, kind):
    network = build(settings(body, kind), WINDOW, seed=1)
    assert torch.equal(network(frames(), probes()), torch.ones(3, *WINDOW, dtype=torch.complex64))


@pytest.mark.parametrize("body", BODIES)
def test_weights_follow_the_seed_and_leave_the_global_generator_alone(body):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build(settings(body), WINDOW, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", ENCODERS)
def test_every_weight_gets_a_finite_gradient_even_where_no_photon_fell(kind, body, masked):
    network = build(settings(body, kind, steps=2), WINDOW, seed=1)
    mask = bad_pixels() if masked else None
    photons = frames()
    assert (photons == 0).any()
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2)
    for _ in range(3):  # layers that start at zero pass gradients on after the first step
        optimiser.zero_grad()
        (network(photons, probes(), mask) - 0.5).abs().square().mean().backward()
        optimiser.step()
    for name, weight in network.named_parameters():
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().max() > 0, name


@pytest.mark.parametrize("body", BODIES)
def test_output_does_not_depend_on_who_shares_the_batch(body):
    network = with_unequal_weights(build(settings(body, steps=1), WINDOW, seed=1))
    photons, light, mask = frames(4), probes(4), bad_pixels()
    assert torch.allclose(network(photons, light, mask)[2:3], network(photons[2:3], light[2:3], mask), atol=1e-5)


def test_the_consistency_direction_is_the_gradient_of_the_amplitude_misfit():
    light = probes(modes=1).to(torch.complex128)
    photons = frames().double() + 1.0
    patches = torch.full((3, *WINDOW), 0.8 + 0.1j, dtype=torch.complex128, requires_grad=True)
    misfit = ((expected_photons(light, patches) + 1e-3).sqrt() - photons.sqrt()).square().sum()
    (automatic,) = torch.autograd.grad(misfit, patches)
    ours = amplitude_gradient(patches.detach(), photons, light) * illumination(light).amax(dim=(-2, -1), keepdim=True)
    assert torch.allclose(ours, automatic / 2)


class TestBadPixels:
    """What they counted is nowhere; what they might have counted follows from the probe and the good pixels."""

    @pytest.mark.parametrize("value", [0.0, 1e9, -1.0, float("nan"), float("inf")])
    @pytest.mark.parametrize("kind", ENCODERS)
    def test_what_they_counted_changes_nothing(self, kind, value):
        network = with_unequal_weights(build(settings(kind=kind, steps=2), WINDOW, seed=1))
        mask = bad_pixels()
        photons = frames()
        spoilt = torch.where(mask, photons, value)
        assert torch.equal(network(spoilt, probes(), mask), network(photons, probes(), mask))
        assert not torch.equal(network(photons, probes(), mask), network(photons, probes()))

    @pytest.mark.parametrize("kind", ENCODERS)
    def test_a_mask_of_good_pixels_is_no_mask(self, kind):
        network = with_unequal_weights(build(settings(kind=kind, steps=2), WINDOW, seed=1))
        every = torch.ones(WINDOW, dtype=torch.bool)
        assert torch.equal(network(frames(), probes(), every), network(frames(), probes()))

    def test_frames_of_a_flat_object_are_restored_whatever_its_transmission(self):
        whole = expected_photons(probes(), torch.full((3, *WINDOW), 0.6 + 0.2j, dtype=torch.complex64))
        mask = bad_pixels()
        assert torch.allclose(filled(whole * mask, probes(), mask), whole, rtol=1e-4)

    def test_no_valid_light_fills_in_no_more_than_the_empty_probe(self):
        light, mask = probes(), bad_pixels()
        empty = expected_photons(light, torch.ones(3, *WINDOW, dtype=torch.complex64))
        found = filled(torch.where(mask, 100 * empty, 0.0), light, mask)
        assert torch.allclose(found[:, ~mask], empty[:, ~mask])
        nothing = torch.zeros(WINDOW, dtype=torch.bool)
        assert torch.isfinite(filled(frames(), light, nothing)).all()

    def test_a_filled_frame_lifts_nearer_to_the_whole_one_than_one_with_holes(self):
        rng = np.random.default_rng(2)
        patch = 1 + 0.2 * (rng.standard_normal((3, *WINDOW)) + 1j * rng.standard_normal((3, *WINDOW)))
        light, mask = probes(), bad_pixels()
        whole = expected_photons(light, torch.from_numpy(patch).to(torch.complex64))
        truth, holes, mended = (
            lift(each, light, 0.05) for each in (whole, whole * mask, filled(whole * mask, light, mask))
        )
        assert (mended - truth).abs().square().sum() < 0.3 * (holes - truth).abs().square().sum()

    def test_they_have_no_misfit(self):
        light, mask = probes(modes=1).to(torch.complex128), bad_pixels()
        photons = frames().double() + 1.0
        patches = torch.full((3, *WINDOW), 0.8 + 0.1j, dtype=torch.complex128, requires_grad=True)
        misfit = (((expected_photons(light, patches) + 1e-3).sqrt() - photons.sqrt()).square() * mask).sum()
        (automatic,) = torch.autograd.grad(misfit, patches)
        ours = amplitude_gradient(patches.detach(), photons, light, mask)
        ours = ours * illumination(light).amax(dim=(-2, -1), keepdim=True)
        assert torch.allclose(ours, automatic / 2)


def test_log_shows_most_values_between_0_and_1_at_any_dose():
    for dose in (1e2, 1e4, 1e7):
        light = probes(photons=dose)
        empty = expected_photons(light, torch.ones(3, *WINDOW, dtype=torch.complex64))
        shown = ENCODERS["log"][1](empty, light, 0.05)[:, 0]
        assert shown.min() >= 0
        assert shown.amax(dim=(-2, -1)).numpy() == pytest.approx(1)


def test_a_window_with_too_few_pixels_for_the_waves_is_refused():
    with pytest.raises(SettingsError, match="modes = 9: expected a window of at least 17 px, got 16 x 24"):
        build(NetworkSettings(kind="lifted", body="fourier", modes=9), WINDOW, seed=0)
    build(
        NetworkSettings(kind="lifted", body="fourier", modes=8, levels=5), WINDOW, seed=0
    )  # levels are not its business


def test_settings_of_fourier_layers_are_named_only_where_there_are_some():
    assert NetworkSettings.parse(settings("fourier").plain()) == settings("fourier")
    told = settings().plain()
    assert not {"body", "layers", "modes"} & told.keys()
    assert NetworkSettings.parse(told).plain() == told


def test_a_window_that_cannot_be_halved_is_refused():
    with pytest.raises(SettingsError, match="levels = 4: expected a window that is a multiple of 16 px, got 16 x 24"):
        build(NetworkSettings(kind="lifted", levels=4), WINDOW, seed=0)


@pytest.mark.parametrize("body", BODIES)
def test_no_weights_can_send_a_transmission_out_of_bounds(body):
    network = build(settings(body), WINDOW, seed=1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(0, 100.0, generator=torch.Generator().manual_seed(0))
    assert network(frames(), probes()).abs().max() <= 4
