"""Frames made when read are the same in every block, and Poisson about the frames that the forward model expects."""

import numpy as np
import pytest

from foldlight.optics.probes import zone_plate
from foldlight.sampling.thinning import thin
from foldlight.simulate.acquire import acquire, expected_frames
from foldlight.simulate.lazily import acquire_lazily
from foldlight.simulate.objects import make_object

WINDOW, CANVAS = (16, 24), (60, 72)
POSITIONS = np.random.default_rng(1).uniform((9, 13), (50, 58), (300, 2))


def arguments(**changes):
    facts = {
        "truth": make_object("dead-leaves", CANVAS, np.random.default_rng(0)),
        "probe": zone_plate(WINDOW, 9.0),
        "positions_px": POSITIONS,
        "dose": 3000.0,
        "seed": 5,
    }
    return {**facts, **changes}


def test_a_frame_is_the_same_in_every_block():
    scan = acquire_lazily(**arguments())
    whole = scan.photons[:]
    assert np.array_equal(acquire_lazily(**arguments()).photons[100:110], whole[100:110])
    assert np.array_equal(scan.photons[np.array([7, 299, 7])], whole[[7, 299, 7]])
    assert np.array_equal(scan.photons[3], whole[3])
    part = scan.select(np.arange(299, -1, -3))
    assert np.array_equal(part.photons[10:20], whole[::-3][10:20])
    assert np.array_equal(part.frame_index, np.arange(300)[::-3])
    assert not np.array_equal(acquire_lazily(**arguments(seed=6)).photons[:], whole)


def test_the_counts_are_poisson_about_the_same_frames_as_an_ordinary_scan():
    lazy, ordinary = acquire_lazily(**arguments()), acquire(**arguments())
    assert np.allclose(lazy.probe, ordinary.probe, rtol=1e-6)
    expected = np.concatenate(expected_frames(lazy.truth, lazy.probe, POSITIONS))
    counts = lazy.photons[:]
    assert np.array_equal(counts, np.rint(counts))
    assert counts.mean() == pytest.approx(expected.mean(), rel=5e-3)
    bright = expected > 5
    deviation = (counts - expected)[bright] / np.sqrt(expected[bright])
    assert abs(deviation.mean()) < 0.02
    assert deviation.var() == pytest.approx(1, rel=0.03)
    assert lazy.photons.totals.mean() == pytest.approx(3000, rel=5e-3)


def test_the_digest_is_of_what_makes_the_frames_and_reads_none(monkeypatch):
    scan = acquire_lazily(**arguments())
    monkeypatch.setattr("foldlight.simulate.lazily._Exposure.counted", lambda *_: pytest.fail("a frame was made"))
    assert scan.digest() == acquire_lazily(**arguments()).digest()
    others = [
        acquire_lazily(**arguments(seed=6)),
        acquire_lazily(**arguments(dose=2999.0)),
        acquire_lazily(**arguments(noise="again")),
        scan.select(np.arange(299)),
        scan.select(np.r_[1, 0, 2:300]),
    ]
    digests = {each.digest() for each in [scan, *others]}
    assert len(digests) == 1 + len(others)


def test_a_lazy_scan_is_thinned_when_read(monkeypatch):
    """What is dealt depends on the frame alone, so dealing now or later is the same."""
    scan = acquire_lazily(**arguments())
    now = thin(scan, 0.75, np.random.default_rng(3))
    monkeypatch.setattr("foldlight.sampling.thinning.HELD_BYTES", 0)
    later = thin(scan, 0.75, np.random.default_rng(3))
    assert [each.photons.in_memory for each in (*now, *later)] == [True, True, False, False]
    for one, other in zip(now, later, strict=True):
        assert np.array_equal(one.photons[:], other.photons[:])
    kept, held = later
    assert np.array_equal(kept.photons[40:50] + held.photons[40:50], scan.photons[40:50])
    assert len({each.digest() for each in (scan, kept, held, thin(scan, 0.75, np.random.default_rng(4))[0])}) == 4
