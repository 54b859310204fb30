"""The objective: perfect patches score best, neighbours must agree, gradients are right."""

import numpy as np
import pytest
import torch

from foldlight.optics.forward import expected_photons, place_probe, trust
from foldlight.optics.patches import gather
from foldlight.optics.probes import normalised, zone_plate
from foldlight.train.objective import LOSSES, group_loss, merge, object_loss

WINDOW, CANVAS = (16, 20), (30, 36)


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    image = torch.from_numpy(1 + 0.2 * (rng.standard_normal((2, *CANVAS)) + 1j * rng.standard_normal((2, *CANVAS))))
    positions = torch.from_numpy(rng.uniform((9, 11), (20, 24), (2, 4, 2)))
    probe = torch.from_numpy(normalised(zone_plate(WINDOW, 9.0), 1e4)).to(torch.complex128)
    probes, patches = place_probe(probe, positions), gather(image, positions, WINDOW)
    return patches, expected_photons(probes, patches), positions, probes, torch.ones(*WINDOW, dtype=torch.bool)


@pytest.mark.parametrize("loss", LOSSES)
def test_true_patches_score_better_than_any_disturbed_ones(scene, loss):
    patches, photons, positions, probes, mask = scene
    best = group_loss(patches, photons, positions, probes, mask, CANVAS, 0.05, loss)
    for disturbed in (patches * 1.05, patches.roll(1, dims=1), patches.conj(), torch.ones_like(patches)):
        assert group_loss(disturbed, photons, positions, probes, mask, CANVAS, 0.05, loss) > best


def test_merging_patches_of_one_object_changes_nothing(scene):
    patches, _, positions, probes, _ = scene
    merged = merge(patches, positions, trust(probes, 0.05), CANVAS)
    again = gather(merged, positions, WINDOW)
    lit = trust(probes, 0.05) > 0.05
    assert torch.allclose(again[..., lit], patches[..., lit], atol=1e-6)


def test_a_phase_of_one_patch_alone_is_free_only_without_neighbours(scene):
    """The gauge that grouping removes: alone, a patch's constant phase costs nothing."""
    patches, photons, positions, probes, mask = scene
    turned = patches.clone()
    turned[:, 0] *= np.exp(1j * 1.0)
    grouped = [group_loss(p, photons, positions, probes, mask, CANVAS, 0.05) for p in (patches, turned)]
    assert grouped[1] > grouped[0] + 1e-3

    def alone(values):
        return values.reshape(8, 1, *values.shape[2:])

    rest = [alone(values) for values in (photons, positions, probes)]
    single = [group_loss(alone(p), *rest, mask, CANVAS, 0.05) for p in (patches, turned)]
    assert torch.isclose(*single, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients(scene, loss):
    patches, photons, positions, probes, mask = scene
    few = (slice(0, 1), slice(0, 2))
    start = (patches[few] * 1.1).requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda p: group_loss(p, photons[few] + 1, positions[few], probes[few], mask, CANVAS, 0.05, loss),
        start,
        fast_mode=True,
        rtol=1e-2,
    )


def test_true_patches_are_compared_by_the_light_they_saw_and_anchored_in_phase(scene):
    patches, _, _, probes, _ = scene
    assert object_loss(patches, patches, probes, 0.05) == 0
    assert torch.isclose(object_loss(patches + 0.3j, patches, probes, 0.05), torch.tensor(0.3, dtype=torch.float64))
    assert object_loss(patches * np.exp(0.2j), patches, probes, 0.05) > 0.1
    dark = trust(probes, 0.05) < 1e-3
    assert dark.any()
    assert object_loss(patches + 5 * dark, patches, probes, 0.05) < 0.01


def test_gradients_of_the_supervised_loss(scene):
    patches, _, _, probes, _ = scene
    few = (slice(0, 1), slice(0, 2))
    values = (patches[few] * 1.1).clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: object_loss(p, patches[few], probes[few], 0.05), (values,))
