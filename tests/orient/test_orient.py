"""Scans turned in known ways are put right; where nothing can tell, nothing is told."""

import json
from dataclasses import replace

import numpy as np
import pytest

from foldlight.core.errors import DataError
from foldlight.frames import ORIENTATIONS, Frames, composed
from foldlight.optics.probes import aberrated, disc, gaussian
from foldlight.orient.run import orient, sign_test
from foldlight.orient.settings import OrientSettings
from foldlight.orient.symmetry import READINGS, Reading
from foldlight.orient.trial import Trial, advantage
from foldlight.scan import Scan, place_on_canvas
from foldlight.simulate.acquire import acquire
from foldlight.simulate.objects import make_object

QUICK = OrientSettings(frames=25, iterations=32)
CURVED = gaussian((16, 16), 7.0, curvature=1.0)
LOPSIDED = aberrated((16, 16), 7.0, np.random.default_rng(2), strength=0.15)


def doubting(*doubt: str) -> OrientSettings:
    return OrientSettings(frames=25, iterations=32, doubt=doubt)


def scan_of(probe: np.ndarray, dose: float = 1e5, contrast: float = 1.5, step: float = 2.2) -> Scan:
    draw = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(np.arange(5), np.arange(5), indexing="ij"), -1).reshape(-1, 2)
    positions, canvas = place_on_canvas(step * grid + draw.uniform(-0.5, 0.5, (25, 2)), probe.shape[1:])
    truth = make_object("dead-leaves", canvas, draw, 1 - 0.4 * min(contrast, 1), contrast)
    return acquire(truth, probe, positions, dose, seed=3)


def misread(scan: Scan, truth: Reading) -> Scan:
    """The scan as somebody sees it for whom `truth` is the right reading."""
    back = next(name for name in ORIENTATIONS if composed(truth.orientation, name) == "as_stored")
    return Reading(back, truth.negated, truth.swapped).of(scan)


def test_the_reading_is_told_alone_where_the_probe_is_like_none_of_its_twins():
    truth = Reading("rotate_90", True, False)
    verdict = orient(misread(scan_of(LOPSIDED), truth), QUICK)
    assert verdict.told
    assert verdict.reading == truth
    assert not verdict.as_read
    assert sum(len(each.readings) for each in verdict.candidates) == len(READINGS)
    assert verdict.lead >= QUICK.clear
    assert verdict.above_mean > 0


@pytest.mark.parametrize(
    ("probe", "members", "opposite"),
    [(CURVED, 4, False), (disc((16, 16), 7.0), 8, True)],
    ids=["curved", "flat"],
)
def test_a_probe_that_is_its_own_twin_leaves_a_turn_open_and_says_so(probe, members, opposite):
    truth = Reading("flip_y", True, False)
    verdict = orient(misread(scan_of(probe), truth), QUICK)
    assert verdict.told
    (left,) = verdict.left
    assert truth in left.same
    assert len(left.same) == members
    assert {reading.relation for reading in left.same} == {truth.relation}
    words = "\n".join(verdict.words)
    assert words.startswith("told: frames")
    assert "the picture turned by 180 degrees" in words
    assert "no photon can tell: the probe, so turned, is the same" in words
    assert ("of the opposite phase" in words) == opposite


def test_only_a_curved_probe_tells_the_sign():
    curved = scan_of(CURVED)
    assert sign_test(curved, QUICK).reading == Reading()
    assert sign_test(misread(curved, Reading(negated=True)), QUICK).reading == Reading(negated=True)
    flat = sign_test(scan_of(disc((16, 16), 7.0)), QUICK)
    assert not flat.told
    assert flat.reading is None
    assert flat.words[0] == "cannot tell: only the probe could, and these readings are alike for it"
    assert any("turned by 180 degrees and of the opposite phase" in line for line in flat.words)


def test_nothing_is_told_of_an_object_that_hardly_shows():
    verdict = orient(scan_of(LOPSIDED, dose=30.0, contrast=0.01), doubting("order"))
    assert not verdict.told
    assert verdict.as_read
    assert verdict.words[0].startswith("cannot tell: ")
    assert any("frames as_stored, positions as read, " in line for line in verdict.words)


def test_positions_in_no_order_tell_nothing_and_the_mean_frame_says_why():
    scan = scan_of(LOPSIDED)
    mixed = replace(scan, positions_px=np.random.default_rng(0).permutation(scan.positions_px))
    verdict = orient(mixed, doubting("order"))
    assert not verdict.told
    assert verdict.above_mean < 0
    assert any("the mean frame predicts frames better" in note for note in verdict.notes)


def test_frames_that_are_not_square_are_not_transposed():
    y, x = np.mgrid[:12, :16] - np.array([6, 8])[:, None, None]
    probe = np.exp(-((y - 0.5) ** 2 / 6 + x**2 / 10) + 1j * (0.3 * y + 0.25 * y**2 - 0.2 * x**2 + 0.25 * x * y))[None]
    scan = scan_of(probe.astype(np.complex64))
    verdict = orient(misread(scan, Reading("flip_x", True, True)), QUICK)
    assert sum(len(each.readings) for each in verdict.candidates) == 16
    assert verdict.window == (12, 16)
    assert any("not square" in note for note in verdict.notes)
    assert Reading("flip_x", True, True) in verdict.left[0].readings


def test_photons_that_are_not_counted_are_scored_by_frames_left_out_alone():
    scan = scan_of(LOPSIDED)
    scaled = replace(scan, photons=Frames(scan.photons[:] * np.float32(0.37)))
    verdict = orient(misread(scaled, Reading(swapped=True)), doubting("sign", "order"))
    assert verdict.reading == Reading(swapped=True)
    assert any("photons are not counted" in note for note in verdict.notes)


def test_the_same_seed_gives_the_same_answer_and_json_holds_it():
    scan = scan_of(LOPSIDED)
    first, again = (orient(scan, doubting("order")) for _ in range(2))
    plain = json.loads(json.dumps(first.plain(), allow_nan=False))
    assert {**plain, "seconds": 0} == {**again.plain(), "seconds": 0}
    assert plain["reading"] == {"orientation": "as_stored", "negated": False, "swapped": False}
    assert plain["candidates"][0]["readings"][0] == plain["reading"]
    assert plain["candidates"][1]["ruled_out"]


def test_no_reading_has_an_advantage_over_itself():
    trial = Trial.of(scan_of(LOPSIDED), seed=0)
    evidence = trial.run(Reading(), 3)
    assert advantage(evidence, evidence) == 0
    assert len(np.intersect1d(trial.fitted, trial.left_out)) == 0
    assert len(trial.fitted) + len(trial.left_out) == 25


def test_how_the_beam_is_centred_tells_nothing():
    """A tilt of the probe that photons share with it, or do not, leaves the evidence as it was."""
    scan = scan_of(LOPSIDED)
    ramp = np.exp(2j * np.pi * 2 * np.arange(16) / 16)[:, None]
    tilted = replace(scan, probe=(scan.probe * ramp).astype(np.complex64))
    plain, moved = (Trial.of(each, seed=0).run(Reading(), 5) for each in (scan, tilted))
    assert np.allclose(plain.frames, moved.frames, rtol=0.1)


def test_a_beam_is_found_behind_a_beamstop():
    """The mask stays where it is while the beam moves, and is not mistaken for it."""
    scan = scan_of(CURVED)
    mask = np.ones((16, 16), dtype=bool)
    mask[6:10, 6:10] = False
    ramp = np.exp(2j * np.pi * 3 * np.arange(16) / 16)[:, None]
    blind = replace(scan, mask=mask, photons=Frames(scan.photons[:] * mask, whole=True))
    off = replace(blind, probe=(scan.probe * ramp).astype(np.complex64))
    plain, moved = (Trial.of(each, seed=0).run(Reading(), 5) for each in (blind, off))
    assert np.allclose(plain.frames, moved.frames, rtol=0.1)


def test_too_few_frames_are_refused():
    with pytest.raises(DataError, match="at least 12 overlapping frames, got 5; compare"):
        orient(scan_of(LOPSIDED).select(np.arange(5)), QUICK)


def test_twins_that_photons_do_not_bear_out_are_named_and_as_it_was_read_comes_first():
    """A flat beam with a guess of a probe that is a little curved, which is no evidence of anything."""
    scan = scan_of(disc((16, 16), 7.0))
    y, x = np.mgrid[:16, :16] - 8
    guess = scan.with_probe((scan.probe * np.exp(0.03j * (y**2 + x**2))).astype(np.complex64), "a guess")
    verdict = orient(misread(guess, Reading("rotate_180")), doubting("frames"))
    assert verdict.told
    assert verdict.reading == Reading()
    assert sorted(each.orientation for each in verdict.left[0].readings) == ["as_stored", "rotate_180"]
    assert any("don't bear out how the probe, so turned, differs" in line for line in verdict.words)
