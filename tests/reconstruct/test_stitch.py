"""Perfect patches reassemble, at whole positions and at sub-pixel ones."""

import numpy as np
import pytest
import torch

from foldlight.core.errors import DataError
from foldlight.optics.forward import place_probe, trust
from foldlight.optics.patches import gather, scatter
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


def test_sums_lie_where_they_are_told_and_agree_with_sums_by_index():
    """The way that a GPU adds, tried on the CPU."""
    _, positions, patches = scene(whole=False)
    weights = torch.rand(len(patches), *WINDOW, generator=torch.Generator().manual_seed(0))
    share, total = (scatter(part[None], positions[None], CANVAS)[0] for part in (weights, patches * weights))
    expected = torch.where(share > 1e-3, total / share.clamp(min=1e-3), 1).numpy()
    assert np.allclose(stitch(patches, positions, weights, CANVAS), expected, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_stitches_what_a_cpu_stitches():
    _, positions, patches = scene(whole=False)
    weights = torch.rand(len(patches), *WINDOW, generator=torch.Generator().manual_seed(0))
    stitcher = Stitcher(CANVAS, "cuda")
    stitcher.add(patches.cuda(), positions.cuda(), weights.cuda())
    assert np.allclose(stitcher.object(), stitch(patches, positions, weights, CANVAS), atol=1e-5)


@pytest.mark.parametrize("place", [(11.0, 20.0), (40.0, 81.0), (69.0, 40.0)])
def test_a_window_off_the_canvas_is_refused(place):
    patches = torch.ones(2, *WINDOW, dtype=torch.complex64)
    positions = torch.tensor([[40.0, 40.0], place], dtype=torch.float64)
    with pytest.raises(DataError, match="expected every 24 x 32 window inside the 80 x 96 canvas, got 1 outside"):
        stitch(patches, positions, torch.ones(2, *WINDOW), CANVAS)


def test_regions_and_patches_share_one_mean():
    """A region is a patch of another size: both kinds of call give one weighted mean."""
    truth, positions, patches = scene(whole=False)
    weights = torch.rand(len(patches), *WINDOW, generator=torch.Generator().manual_seed(0))
    stitcher = Stitcher(CANVAS)
    for patch, weight, place in zip(patches[:50], weights[:50], positions[:50], strict=True):
        y, x = (round(float(each)) for each in place)
        stitcher.add_region(patch, weight, (y - WINDOW[0] // 2, x - WINDOW[1] // 2))
    stitcher.add(patches[50:], positions[50:], weights[50:])
    assert np.allclose(stitcher.object(), stitch(patches, positions, weights, CANVAS), atol=1e-6)
    stitcher.add_region(torch.from_numpy(truth).conj(), torch.full(CANVAS, 1e9), (0, 0))
    assert np.allclose(stitcher.object(), truth.conj(), atol=1e-5)


@pytest.mark.parametrize("corner", [(-5, -7), (70, 80), (-5, 80), (20, 30)])
def test_a_region_that_hangs_over_is_cut_at_the_edge(corner):
    region = torch.arange(24 * 32).reshape(24, 32).to(torch.complex64) + 2
    stitcher = Stitcher(CANVAS)
    stitcher.add_region(region, torch.ones(24, 32), corner)
    found = stitcher.object()
    for y in range(24):
        row, inside = corner[0] + y, 0 <= corner[0] + y < CANVAS[0]
        columns = [x for x in range(32) if inside and 0 <= corner[1] + x < CANVAS[1]]
        assert all(found[row, corner[1] + x] == region[y, x].item() for x in columns)
    assert (found != 1).sum() == max(0, min(24, 24 + corner[0], 80 - corner[0])) * max(
        0, min(32, 32 + corner[1], 96 - corner[1])
    )


@pytest.mark.parametrize("corner", [(-24, 0), (80, 0), (0, 96), (200, -300)])
def test_a_region_beside_the_canvas_is_nothing(corner):
    stitcher = Stitcher(CANVAS)
    stitcher.add_region(torch.full((24, 32), 3j), torch.ones(24, 32), corner)
    assert (stitcher.object() == 1).all()


def test_regions_of_other_phases_are_turned_to_agree():
    truth = torch.from_numpy(make_object("dead-leaves", CANVAS, np.random.default_rng(0)))
    apart, aligned = Stitcher(CANVAS), Stitcher(CANVAS)
    for number, top in enumerate((0, 30, 56)):
        piece = truth[top : top + 32] * np.exp(1j * number)
        for stitcher in (apart, aligned):
            stitcher.add_region(piece, torch.rand(piece.shape) + 0.1, (top, 0), align_phase=stitcher is aligned)
    assert np.abs(aligned.object() - truth.numpy()).max() < 1e-5
    assert np.abs(apart.object() - truth.numpy()).max() > 0.5
