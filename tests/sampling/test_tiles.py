"""Tiles cover what was scanned once, know every frame that sees them, and put an object together again."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.core.errors import SettingsError
from foldlight.reconstruct.stitch import Stitcher
from foldlight.sampling.tiles import Box, Tile, frame_density, tile_for, tiles

WINDOW = (12, 16)


def scan(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform((20, 30), (150, 190), (n, 2))


def light(positions: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """How many windows each pixel is in, pixel by pixel as the frames are cut."""
    seen = np.zeros(canvas, dtype=int)
    for y, x in np.rint(positions).astype(int):
        seen[y - 6 : y + 6, x - 8 : x + 8] += 1
    return seen


@given(st.integers(1, 300), st.integers(5, 90), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_each_seen_pixel_is_in_one_core_that_knows_all_its_frames(n, tile_px, seed):
    positions = scan(n, seed)
    seen = light(positions, (170, 220))
    owners = np.zeros((170, 220), dtype=int)
    for tile in tiles(positions, WINDOW, tile_px):
        assert (np.diff(tile.frames) > 0).all()
        assert max(tile.core.shape) <= tile_px
        owners[tile.core.slices] += 1
        moved = positions[tile.frames] - tile.canvas.corner
        known = light(moved, tile.canvas.shape)
        assert np.array_equal(known[tile.core.within(tile.canvas)], seen[tile.core.slices])
        assert known[0].any()
        assert known[:, -1].any()
    assert owners.max() == 1
    assert (owners[seen > 0] == 1).all()


@given(st.integers(1, 200), st.integers(5, 60), st.integers(0, 40), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_every_frame_is_read_whatever_the_halo(n, tile_px, halo, seed):
    positions = scan(n, seed)
    found = tiles(positions, WINDOW, tile_px, halo)
    assert set(np.concatenate([tile.frames for tile in found]).tolist()) == set(range(n))
    for tile in found:
        centres = np.rint(positions[tile.frames])
        assert (centres >= np.array(tile.core.corner) - halo - tile_px).all()
        assert min(tile.core.shape) > 0
        rows, columns = tile.core.within(tile.canvas)
        assert tile.weight()[rows, columns].all()
        assert tile.weight().sum() == np.prod(tile.core.shape)


def test_frames_are_read_little_more_than_once_where_tiles_are_large():
    positions = np.random.default_rng(0).uniform(0, 1000, (5000, 2))
    found = tiles(positions, WINDOW, 340)
    assert len(found) == 9
    assert sum(len(tile.frames) for tile in found) < 1.1 * len(positions)


@pytest.mark.parametrize("feather", [0, 5])
def test_objects_made_tile_by_tile_make_the_whole_again(feather):
    rng = np.random.default_rng(5)
    canvas = (170, 220)
    truth = (rng.standard_normal(canvas) + 1j * rng.standard_normal(canvas)).astype(np.complex64)
    positions = scan(700, 1)
    stitcher = Stitcher(canvas)
    for number, tile in enumerate(tiles(positions, WINDOW, 60, 10)):
        piece = truth[tile.canvas.slices] * np.exp(1j * number)
        weight = torch.from_numpy(tile.weight(feather))
        stitcher.add_region(torch.from_numpy(piece.astype(np.complex64)), weight, tile.canvas.corner, feather > 0)
    seen = light(positions, canvas) > 0
    found = stitcher.object()
    if feather:
        assert np.abs(found - truth)[seen].max() < 2e-5
    assert np.abs(np.abs(found) - np.abs(truth))[seen].max() < 2e-5
    assert (found[~seen & (found == 1)] == 1).all()


def test_a_weight_falls_to_nothing_beside_the_core():
    tile = Tile(np.arange(1), core=Box(3, 2, 6, 9), canvas=Box(0, 2, 9, 12))
    assert np.allclose(tile.weight(2)[:, 0], [0, 1 / 3, 2 / 3, 1, 1, 1, 2 / 3, 1 / 3, 0])
    assert np.allclose(tile.weight(1)[4], [1] * 7 + [0.5, 0, 0])
    assert tile.weight(3).shape == (9, 10)


def test_more_memory_makes_larger_tiles_and_fills_it():
    positions = scan(2000, 0)
    density = frame_density(positions)
    assert density == pytest.approx(2000 / (130 * 160), rel=0.01)
    small, large = (tile_for(memory, WINDOW, density) for memory in (5e6, 5e7))
    assert 16 <= small < large
    frames = max(len(tile.frames) for tile in tiles(positions, WINDOW, small))
    assert frames * 12 * 16 * 48 < 5e6 * 1.1
    assert tile_for(5e7, WINDOW, density, bytes_per_pixel=4.0) > large
    with pytest.raises(
        SettingsError, match=r"tiles: expected 10 MB or more for one tile of 16 px at .* got 1 MB; free"
    ):
        tile_for(1e6, WINDOW, 1.0)


def test_what_makes_no_tiles_is_refused():
    for positions, tile, halo in ((np.empty((0, 2)), 10, 0), (scan(3, 0), 0, 0), (scan(3, 0), 10, -1)):
        with pytest.raises(SettingsError, match=f"got {len(positions)} positions, {tile} px and {halo} px"):
            tiles(positions, WINDOW, tile, halo)
