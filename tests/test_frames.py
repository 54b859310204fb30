"""Frames as they are read: laws of turning, cropping and of what is not to be trusted."""

from dataclasses import replace

import numpy as np
import pytest
from phantom import phantom_scan

from foldlight.core.errors import DataError
from foldlight.frames import ORIENTATIONS, Frames, LazyFrames, composed, transposes, turn
from foldlight.scan import Scan

IMAGE = np.random.default_rng(0).normal(size=(2, 8, 12)) + 1j


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_turn_keeps_the_zero_frequency_and_commutes_with_the_fourier_transform(orientation):
    def spectrum(field):
        return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(field, axes=(-2, -1))), axes=(-2, -1))

    turned = turn(IMAGE, orientation)
    assert turned.shape == ((2, 12, 8) if transposes(orientation) else (2, 8, 12))
    assert turned[0, turned.shape[1] // 2, turned.shape[2] // 2] == IMAGE[0, 4, 6]
    np.testing.assert_allclose(spectrum(turned), turn(spectrum(IMAGE), orientation), atol=1e-12)


@pytest.mark.parametrize("first", ORIENTATIONS)
@pytest.mark.parametrize("then", ORIENTATIONS)
def test_turns_compose_as_the_eight_symmetries_of_the_square(first, then):
    np.testing.assert_array_equal(turn(turn(IMAGE, first), then), turn(IMAGE, composed(first, then)))


def test_turns_are_numpys_but_for_the_pixel_they_turn_about():
    odd = IMAGE[:, :7, :11]
    for turns, name in enumerate(("as_stored", "rotate_90", "rotate_180", "rotate_270")):
        np.testing.assert_array_equal(turn(odd, name), np.rot90(odd, turns, axes=(-2, -1)))
    np.testing.assert_array_equal(turn(odd, "flip_y"), odd[:, ::-1])
    np.testing.assert_array_equal(turn(odd, "transpose"), odd.swapaxes(1, 2))
    assert len({turn(IMAGE, name).tobytes() for name in ORIENTATIONS}) == 8


def test_frames_are_cropped_then_cleaned_then_centred_then_turned():
    stored = np.random.default_rng(1).integers(1, 99, (3, 12, 20)).astype(np.float32)
    bad = np.zeros((12, 20), dtype=bool)
    bad[3, 5] = True
    stored[:, 3, 5] = np.nan
    frames = Frames(stored, corner=True, crop=(2, 10, 4, 16), bad=bad, orientation="rotate_90")
    part = stored[:, 2:10, 4:16].copy()
    part[:, 1, 1] = 0
    expected = turn(np.fft.fftshift(part, axes=(1, 2)), "rotate_90")
    assert frames.shape == expected.shape == (3, 12, 8)
    np.testing.assert_array_equal(frames[:], expected)
    np.testing.assert_array_equal(frames[1], expected[1])
    np.testing.assert_array_equal(frames.select([2, 0])[:], expected[[2, 0]])
    np.testing.assert_array_equal(frames.mask, (expected != 0).all(axis=0))
    np.testing.assert_allclose(frames.totals, expected.sum(axis=(1, 2)))
    np.testing.assert_allclose(frames.mean_frame, expected.mean(axis=0))


def test_large_selections_of_turned_frames_are_looked_up(monkeypatch):
    monkeypatch.setattr("foldlight.frames._COPIED_BYTES", 0)
    stored = np.arange(5 * 8 * 12, dtype=np.uint16).reshape(5, 8, 12)
    lazy = LazyFrames(stored.__getitem__, np.arange(5), (8, 12), stored.dtype)
    frames = Frames(lazy, crop=(0, 8, 2, 10), orientation="transpose")
    np.testing.assert_array_equal(frames.select([4, 1])[:], stored[[4, 1], :, 2:10].swapaxes(1, 2))


def test_what_is_seen_of_a_recipe_is_in_its_digest():
    lazy = LazyFrames(lambda n: np.zeros((len(n), 8, 8)), np.arange(2), (8, 8), np.dtype(np.uint8), "zeros")
    views = [
        Frames(lazy),
        Frames(lazy, orientation="flip_x"),
        Frames(lazy, crop=(0, 8, 0, 8)),
        Frames(lazy, bad=np.eye(8, dtype=bool)),
    ]
    assert len({view.digests[0].tobytes() for view in views}) == len(views)


def test_a_scan_turned_and_turned_back_is_itself():
    scan = phantom_scan(12, 12)
    there = scan.turned("rotate_90", negated=True, swapped=True)
    back = there.turned("rotate_270", negated=True, swapped=True)
    assert there.digest() != scan.digest()
    np.testing.assert_array_equal(back.photons[:], scan.photons[:])
    np.testing.assert_array_equal(back.mask, scan.mask)
    np.testing.assert_allclose(np.diff(back.positions_px, axis=0), np.diff(scan.positions_px, axis=0))
    assert back.geometry == scan.geometry != there.geometry
    assert scan.turned() == scan
    assert there.object is None
    assert "object left out" in there.notes[-1]


def test_positions_are_swapped_before_they_are_negated():
    scan = phantom_scan()
    turned = replace(scan, geometry=None).turned(negated=True, swapped=True)
    np.testing.assert_allclose(np.diff(turned.positions_px, axis=0), -np.diff(scan.positions_px, axis=0)[:, ::-1])


@pytest.mark.parametrize("orientation", ["as_stored", "flip_x", "transpose", "rotate_90"])
@pytest.mark.parametrize("swapped", [False, True])
def test_positions_keep_their_metres(orientation, swapped):
    scan = phantom_scan(12, 12)
    turned = scan.turned(orientation, swapped=swapped)
    before, after = (
        np.diff(each.positions_px, axis=0) * np.array(each.geometry.pixel_size_m) for each in (scan, turned)
    )
    np.testing.assert_allclose(after, before[:, ::-1] if swapped else before)


def test_transposed_frames_that_no_longer_fit_the_probe_are_refused():
    with pytest.raises(DataError, match=r"probe: expected shape \(2, 16, 12\), got \(2, 12, 16\)"):
        phantom_scan().turned("transpose")


def test_a_digest_does_not_ask_for_lengths():
    scan = phantom_scan()
    assert isinstance(scan, Scan)
    assert replace(scan, geometry=None).digest() == scan.digest()
