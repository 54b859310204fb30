"""The objective: the true object scores best, neighbours must agree, gradients are right."""

import cmath

import numpy as np
import pytest
import torch

from foldlight.optics.forward import expected_photons, illumination, place_probe, trust
from foldlight.optics.patches import gather, merge, scatter
from foldlight.optics.probes import normalised, zone_plate
from foldlight.train.objective import LOSSES, object_loss, photon_loss, region_error

WINDOW, CANVAS = (16, 20), (30, 36)


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    image = torch.from_numpy(1 + 0.2 * (rng.standard_normal((2, *CANVAS)) + 1j * rng.standard_normal((2, *CANVAS))))
    positions = torch.from_numpy(rng.uniform((9, 11), (20, 24), (2, 4, 2)))
    probe = torch.from_numpy(normalised(zone_plate(WINDOW, 9.0), 1e4)).to(torch.complex128)
    probes = place_probe(probe, positions)
    photons = expected_photons(probes, gather(image, positions, WINDOW))
    return image, photons, positions, probes, torch.ones(*WINDOW, dtype=torch.bool)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_true_object_scores_better_than_any_disturbed_one(scene, loss):
    image, *given = scene
    best = photon_loss(image, *given, loss)
    for disturbed in (image * 1.05, image.roll(1, dims=1), image.conj(), torch.ones_like(image)):
        assert photon_loss(disturbed, *given, loss) > best


@pytest.mark.parametrize("loss", LOSSES)
def test_bad_pixels_have_no_misfit(scene, loss):
    image, photons, positions, probes, mask = scene
    mask = mask.clone()
    mask[3:6, 7] = False
    spoilt = torch.where(mask, photons, 1e6)
    scores = [photon_loss(image, each, positions, probes, mask, loss) for each in (photons, spoilt)]
    assert torch.isclose(*scores, rtol=1e-2 if loss == "poisson" else 0.0)  # Poisson's unit is the mean count of all


def test_merging_patches_of_one_object_changes_nothing(scene):
    image, _, positions, probes, _ = scene
    patches = gather(image, positions, WINDOW)
    merged = merge(patches, positions, trust(probes, 0.05), CANVAS)
    again = gather(merged, positions, WINDOW)
    lit = trust(probes, 0.05) > 0.05
    assert torch.allclose(again[..., lit], patches[..., lit], atol=1e-6)


def test_a_phase_of_one_patch_alone_is_free_only_without_neighbours(scene):
    """The gauge that grouping removes: alone, a patch's constant phase costs nothing."""
    image, photons, positions, probes, mask = scene
    patches = gather(image, positions, WINDOW)
    turned = patches.clone()
    turned[:, 0] *= cmath.exp(1j)

    def scored(patches, photons, positions, probes):
        merged = merge(patches, positions, trust(probes, 0.05), CANVAS)
        return photon_loss(merged, photons, positions, probes, mask)

    grouped = [scored(each, photons, positions, probes) for each in (patches, turned)]
    assert grouped[1] > grouped[0] + 1e-3

    def alone(values):
        return values.reshape(8, 1, *values.shape[2:])

    rest = [alone(values) for values in (photons, positions, probes)]
    single = [scored(alone(each), *rest) for each in (patches, turned)]
    assert torch.isclose(*single, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients(scene, loss):
    image, photons, positions, probes, mask = scene
    few = (slice(0, 1), slice(0, 2))
    start = (image[:1] * 1.1).requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda given: photon_loss(given, photons[few] + 1, positions[few], probes[few], mask, loss),
        start,
        fast_mode=True,
        rtol=1e-2,
    )


def test_true_objects_are_compared_by_the_light_they_saw_and_anchored_in_phase(scene):
    image, _, positions, probes, _ = scene
    where = (positions, probes, 0.05)
    assert object_loss(image, image, *where) == 0
    assert torch.isclose(object_loss(image + 0.3j, image, *where), torch.tensor(0.3, dtype=torch.float64))
    assert object_loss(image * cmath.exp(0.2j), image, *where) > 0.1
    share = scatter(trust(probes, 0.05), positions, CANVAS)
    dark = share < 1e-3 * share.amax()
    assert dark.any()
    assert object_loss(image + 5 * dark, image, *where) < 0.01


def test_gradients_of_the_supervised_loss(scene):
    image, _, positions, probes, _ = scene
    few = (positions[:1, :2], probes[:1, :2])
    values = (image[:1] * 1.1).clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: object_loss(given, image[:1], *few, 0.05), values, fast_mode=True)


class TestErrorOfARegion:
    """Each group's own, at the constant phase at which it agrees best, where light fell."""

    @pytest.fixture
    def light(self, scene):
        _, _, positions, probes, _ = scene
        return scatter(illumination(probes), positions, CANVAS)

    def test_a_constant_phase_is_no_error_and_a_factor_is(self, scene, light):
        image = scene[0]
        turned = image * torch.tensor([cmath.exp(1j), 1.1 * cmath.exp(-2j)])[:, None, None]
        assert torch.allclose(region_error(turned, image, light), torch.tensor([0, 0.01], dtype=torch.float64))

    def test_groups_are_judged_apart_and_the_dark_does_not_count(self, scene, light):
        image = scene[0]
        other = image.clone()
        other[1] += 0.2
        found = region_error(other, image, light)
        assert found[0] < 1e-12
        assert 0.01 < found[1] < 0.1
        dark = light < 1e-4 * light.amax()
        assert dark.any()
        assert (region_error(image + 3 * dark, image, light) < 1e-2).all()

    def test_it_is_the_least_over_all_phases(self, scene, light):
        image = scene[0]
        noise = torch.randn(image.shape, dtype=image.dtype, generator=torch.Generator().manual_seed(1))
        found = image * cmath.exp(0.4j) + 0.3 * noise
        weight = light / (light + 0.3 * light.amax(dim=(-2, -1), keepdim=True))
        norm = (weight * image.abs().square()).sum(dim=(-2, -1))
        tried = [
            (weight * (found * cmath.exp(1j * turn) - image).abs().square()).sum(dim=(-2, -1)) / norm
            for turn in np.linspace(-np.pi, np.pi, 721)
        ]
        assert torch.allclose(region_error(found, image, light), torch.stack(tried).amin(dim=0), rtol=1e-3)

    def test_its_gradient_is_right_and_finite_where_nothing_agrees(self, scene, light):
        image = scene[0][:1, 8:16, 8:16].clone()
        shown = light[:1, 8:16, 8:16]
        values = (image * 1.1 + 0.1j).requires_grad_()
        assert torch.autograd.gradcheck(lambda given: region_error(given, image, shown), values, fast_mode=True)
        nothing = torch.zeros_like(image, requires_grad=True)
        region_error(nothing, image, shown).sum().backward()
        assert torch.isfinite(torch.view_as_real(nothing.grad)).all()
