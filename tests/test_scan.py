"""A scan checks itself; frames become photons however they are stored."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.core.errors import DataError
from foldlight.core.provenance import sha256_arrays
from foldlight.frames import Frames, LazyFrames, Stored
from foldlight.scan import Scan, place_on_canvas


def scan(**changes) -> Scan:
    rng = np.random.default_rng(0)
    facts = {
        "photons": Frames(rng.poisson(3.0, (5, 8, 12)).astype(np.uint16), whole=True),
        "positions_px": rng.uniform(8, 20, (5, 2)),
        "probe": np.ones((1, 8, 12), dtype=np.complex64),
        "canvas": (30, 34),
    }
    return Scan(**{**facts, **changes})


def test_stored_forms_give_the_same_photons():
    counts = np.random.default_rng(0).poisson(4.0, (6, 8, 10))
    forms = [
        Frames(counts.astype(np.uint16), whole=True),
        Frames(np.sqrt(counts).astype(np.float32), amplitude=True, whole=True),
        Frames((np.sqrt(counts) / 7).astype(np.float32), amplitude=True, scale=7.0, whole=True),
        Frames(np.fft.ifftshift(counts, axes=(1, 2)).astype(np.float32), corner=True, whole=True),
    ]
    for form in forms:
        assert np.array_equal(form[:], counts)
        assert form[np.array([4, 1])].dtype == np.float32
        assert np.array_equal(form[np.array([4, 1])], counts[[4, 1]])
        assert np.allclose(form.totals, counts.sum(axis=(1, 2)))
        assert np.allclose(form.mean_frame, counts.mean(axis=0))


def test_a_selection_stays_on_the_canvas_and_has_its_own_digest():
    whole = scan()
    part = whole.select(np.array([3, 0]))
    assert len(part) == 2
    assert part.canvas == whole.canvas
    assert np.array_equal(part.photons[:], whole.photons[[3, 0]])
    assert part.digest() != whole.digest() == scan().digest()


def test_frames_keep_their_numbers_through_selections():
    whole = scan()
    assert np.array_equal(whole.frame_index, np.arange(5))
    assert whole.frame_index.dtype == np.int64
    part = whole.select(np.array([4, 0, 2])).select(np.array([True, False, True]))
    assert np.array_equal(part.frame_index, [4, 2])
    assert np.array_equal(part.photons[:], whole.photons[part.frame_index])
    renumbered = scan(frame_index=np.arange(5) + 7)
    assert np.array_equal(renumbered.select(np.array([1])).frame_index, [8])
    assert renumbered.digest() == whole.digest()


def counts_of(numbers: np.ndarray) -> np.ndarray:
    """Frames that tell their numbers."""
    return (numbers[:, None, None] * 100 + np.arange(96).reshape(8, 12)).astype(np.uint32)


def lazy(n: int = 5, recipe: str = "", make=counts_of) -> LazyFrames:
    return LazyFrames(make, np.arange(n), (8, 12), np.dtype(np.uint32), recipe)


INDEXES = [
    slice(1, 4),
    [3, 0],
    np.array([4, 4, 1]),
    np.array([True, False, True, False, True]),
    2,
    slice(None, None, -2),
]


@pytest.mark.parametrize("index", INDEXES, ids=str)
def test_lazy_frames_are_an_array_to_whoever_reads(index):
    array = counts_of(np.arange(5))
    assert isinstance(lazy(), Stored)
    assert isinstance(array, Stored)
    assert (lazy().shape, lazy().ndim, lazy().dtype, len(lazy())) == (array.shape, 3, array.dtype, 5)
    assert np.array_equal(lazy()[index], array[index])
    plain, made = Frames(np.sqrt(array), amplitude=True, corner=True), lazy(make=lambda each: np.sqrt(counts_of(each)))
    assert np.array_equal(Frames(made, amplitude=True, corner=True)[index], plain[index])


def test_a_scan_of_lazy_frames_is_the_scan_of_their_array():
    made, kept = (scan(photons=Frames(stored, whole=True)) for stored in (lazy(), counts_of(np.arange(5))))
    assert made.digest() == kept.digest()
    assert np.array_equal(made.photons.totals, kept.photons.totals)
    assert np.array_equal(made.photons.mean_frame, kept.photons.mean_frame)
    index = np.array([4, 0, 2])
    assert np.array_equal(made.select(index).photons[:], kept.select(index).photons[:])
    assert np.array_equal(made.select(index).select(np.array([2, 1])).photons[:], kept.photons[[2, 0]])


def test_no_frame_is_made_before_it_is_read():
    asked = []
    whole = scan(photons=Frames(lazy(make=lambda numbers: asked.append(numbers) or counts_of(numbers))))
    part = whole.select(np.array([3, 1, 0]))
    assert not asked
    assert np.array_equal(part.photons[1:], counts_of(np.array([1, 0])))
    assert [numbers.tolist() for numbers in asked] == [[1, 0]]


def test_the_digest_of_a_recipe_follows_everything_that_changes_a_frame():
    frames = Frames(lazy(recipe="one"))
    others = [
        replace(frames, stored=lazy(recipe="two")),
        replace(frames, scale=2.0),
        replace(frames, amplitude=True),
        replace(frames, corner=True),
        replace(frames, whole=True),
        frames.select(slice(0, 4)),
        frames.select([1, 0, 2, 3, 4]),
    ]
    assert len({sha256_arrays(*each.digests) for each in (frames, *others)}) == 1 + len(others)
    assert sha256_arrays(*Frames(lazy(recipe="one")).digests) == sha256_arrays(*frames.digests)


def test_what_makes_frames_of_another_shape_is_refused():
    wrong = Frames(lazy(make=lambda numbers: np.zeros((len(numbers), 8, 8))))
    with pytest.raises(DataError, match=r"lazy frames: expected \(2, 8, 12\) for 2 numbers, got \(2, 8, 8\); correct"):
        wrong[:2]


@pytest.mark.parametrize("most", [0, 10**9])
def test_a_large_part_of_mapped_frames_is_looked_up_a_small_one_copied(tmp_path, monkeypatch, most):
    """Which of the two cannot be seen in the frames."""
    monkeypatch.setattr("foldlight.frames._COPIED_BYTES", most)
    stored = np.memmap(tmp_path / "frames", dtype=np.uint16, mode="w+", shape=(5, 8, 12))
    stored[:] = counts_of(np.arange(5))
    whole = scan(photons=Frames(stored, whole=True))
    for index in INDEXES[:4]:
        part = whole.select(np.arange(5)[index])
        assert np.array_equal(part.photons[:], whole.photons[:][index])
        assert isinstance(part.photons.stored, LazyFrames) == (most == 0)
    assert not whole.photons.in_memory
    assert scan().photons.in_memory


def test_sums_are_added_block_by_block(monkeypatch):
    frames = np.random.default_rng(0).uniform(0, 9, (7, 8, 12)).astype(np.float32)
    once = Frames(frames)
    assert np.allclose(once.totals, frames.sum(axis=(1, 2)), rtol=1e-6)
    monkeypatch.setattr("foldlight.frames._BLOCK_PIXELS", 200)
    piecewise = Frames(frames)
    assert [block.stop for block in piecewise.blocks()] == [2, 4, 6, 7]
    assert np.array_equal(piecewise.totals, once.totals)
    assert np.allclose(piecewise.mean_frame, once.mean_frame, rtol=1e-12)


def test_only_a_true_object_is_truth():
    guess = scan(object=np.ones((30, 34), dtype=np.complex64))
    assert guess.truth is None
    assert replace(guess, object_is_truth=True).truth is not None


@given(st.integers(1, 30), st.integers(0, 2**31), st.floats(-500, 500))
@settings(max_examples=30, deadline=None)
def test_any_positions_can_be_placed_on_an_even_canvas(n, seed, origin):
    positions = origin + np.random.default_rng(seed).uniform(-40, 40, (n, 2))
    moved, canvas = place_on_canvas(positions, (8, 12))
    steps = moved - positions
    assert np.allclose(steps, np.rint(steps[0]), atol=1e-9)
    assert canvas[0] % 2 == canvas[1] % 2 == 0
    frames = Frames(np.ones((n, 8, 12), dtype=np.float32))
    assert scan(photons=frames, positions_px=moved, canvas=canvas).canvas == canvas


BAD = {
    "no frames": ({"photons": Frames(np.zeros((0, 8, 12)))}, "diffraction: expected at least one frame, got an empty"),
    "not three axes": ({"photons": Frames(np.zeros((8, 12)))}, r"diffraction: expected \(n, y, x\) frames, got shape"),
    "odd frames": ({"photons": Frames(np.zeros((5, 9, 12)))}, "diffraction: expected even frame sizes .* got 9 x 12"),
    "positions of another count": ({"positions_px": np.full((4, 2), 15.0)}, r"expected shape \(5, 2\), got \(4, 2\)"),
    "whole-number positions": ({"positions_px": np.full((5, 2), 15)}, "positions_px: expected float64, got int64"),
    "lost positions": ({"positions_px": np.full((5, 2), np.nan)}, "positions_px: expected finite values, got 10"),
    "positions that leave": ({"positions_px": np.full((5, 2), 29.0)}, "inside the 30 x 34 object, got 5 outside"),
    "flat probe array": ({"probe": np.ones((8, 12), dtype=np.complex64)}, r"probe: expected \(mode, y, x\), got"),
    "real probe": ({"probe": np.ones((1, 8, 12))}, "probe: expected complexfloating, got float64"),
    "dark probe": ({"probe": np.zeros((1, 8, 12), dtype=np.complex64)}, "probe: expected some power, got zeros"),
    "blind detector": ({"mask": np.zeros((8, 12), dtype=bool)}, "mask: expected at least one valid detector pixel"),
    "numbers of other frames": ({"frame_index": np.arange(4)}, r"frame_index: expected shape \(5,\), got \(4,\)"),
    "numbers that are not whole": ({"frame_index": np.arange(5.0)}, "frame_index: expected int64, got float64"),
    "short numbers": ({"frame_index": np.arange(5, dtype=np.int32)}, "frame_index: expected int64, got int32"),
    "foreign object": ({"object": np.ones((9, 9), dtype=np.complex64)}, r"object: expected shape \(30, 34\), got"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD.keys())
def test_what_is_not_a_scan_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        scan(**changes)


def test_another_probe_takes_the_place_of_the_scans_and_has_to_fit():
    mine = scan()
    probe = (2j * mine.probe).astype(np.complex64)
    other = mine.with_probe(probe, "probe of a file")
    assert other.notes[-1] == "probe of a file"
    np.testing.assert_array_equal(other.probe, probe)
    assert other.digest() != mine.digest()
    with pytest.raises(DataError, match="probe"):
        mine.with_probe(probe[:, 1:], "too small")
