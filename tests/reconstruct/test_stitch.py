"""Perfect patches reassemble, at whole positions and at sub-pixel ones."""

import numpy as np
import pytest
import torch

from foldlight.optics.forward import place_probe, trust
from foldlight.optics.patches import gather
from foldlight.optics.probes import zone_plate
from foldlight.reconstruct.stitch import Stitcher, stitch
from foldlight.simulate.objects import make_object

WINDOW, CANVAS = (24, 32), (80, 96)


def scene(whole: bool):
    truth = make_object("dead-leaves", CANVAS, np.random.default_rng(0))
    positions = np.random.default_rng(1).uniform((13, 17), (66, 78), (150, 2))
    positions = torch.from_numpy(np.rint(positions) if whole else positions)
    return truth, positions, gather(torch.from_numpy(truth)[None], positions[None], WINDOW)[0]


@pytest.mark.parametrize("whole", [True, False])
def test_perfect_patches_reassemble(whole):
    """A sub-pixel part moves the probe and so the weight, never the patch: the bound is rounding in both cases."""
    truth, positions, patches = scene(whole)
    weights = trust(place_probe(torch.from_numpy(zone_plate(WINDOW, 10.0)), positions), 0.05)
    found = stitch(patches, positions, weights, CANVAS)
    seen = np.zeros(CANVAS, dtype=bool)
    for y, x in np.rint(positions.numpy()).astype(int):
        seen[y - 12 : y + 12, x - 16 : x + 16] = True
    lit = found != 1
    assert lit.sum() > 0.8 * seen.sum()
    assert np.abs(found - truth)[lit].max() < 2e-6
    assert (found[~seen] == 1).all()


def test_brighter_views_count_more():
    patches = torch.tensor([1.0, 3.0])[:, None, None].expand(2, *WINDOW).to(torch.complex64)
    positions = torch.tensor([[30.0, 30.0], [30.0, 34.0]], dtype=torch.float64)
    ramp = torch.linspace(0.1, 1, WINDOW[1]).expand(2, *WINDOW)
    found = stitch(patches, positions, ramp, CANVAS)
    first, second = float(ramp[0, 0, 20 - 30 + 16]), float(ramp[0, 0, 20 - 34 + 16])
    assert np.isclose(found[30, 20], (first + 3 * second) / (first + second), rtol=1e-5)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_patches_may_come_in_any_blocks(block):
    _, positions, patches = scene(whole=False)
    weights = torch.rand(len(patches), *WINDOW, generator=torch.Generator().manual_seed(0))
    stitcher = Stitcher(CANVAS)
    for start in range(0, len(patches), block):
        part = slice(start, start + block)
        stitcher.add(patches[part], positions[part], weights[part])
    assert np.allclose(stitcher.object(), stitch(patches, positions, weights, CANVAS), atol=1e-6)
