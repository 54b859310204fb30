"""Groups and batches: a pass uses each frame about once, loaders change nothing, photons are dealt out, none lost."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from foldlight.core.errors import DataError, SettingsError
from foldlight.frames import Frames
from foldlight.scan import Scan
from foldlight.train.data import Batch, GroupedFrames, held_out_photons, prepared
from foldlight.train.settings import TrainingSettings

WINDOW = (10, 14)
SEEN = 0.8


@pytest.fixture
def scan() -> Scan:
    """Rectangular frames, each filled with its own number, so that a batch tells which frames it holds."""
    rng = np.random.default_rng(2)
    probe = (rng.normal(size=(2, *WINDOW)) + 1j * rng.normal(size=(2, *WINDOW))).astype(np.complex64)
    frames = np.broadcast_to(np.arange(50, dtype=np.float32)[:, None, None], (50, *WINDOW)).copy()
    truth = (rng.normal(size=(40, 70)) + 1j * rng.normal(size=(40, 70))).astype(np.complex64)
    positions = rng.uniform((5, 7), (35, 63), (50, 2))
    return Scan(Frames(frames, whole=True), positions, probe, (40, 70), object=truth, object_is_truth=True)


def grouped(scan: Scan, purpose: str = "train", **settings) -> GroupedFrames:
    wanted = TrainingSettings(**{"gridsize": 2, "scored": "same", **settings})
    return GroupedFrames.of(scan, np.arange(3, 48), wanted, purpose)


def epoch(groups: GroupedFrames, per_batch: int = 3, seed: int | None = 5, workers: int = 0) -> list[Batch]:
    return list(groups.epoch(per_batch, None if seed is None else np.random.default_rng(seed), workers))


def held(batches: list[Batch]) -> list[int]:
    """The frames in batches, by their number; photons that were set aside are counted too."""
    brightest = [batch.photons if batch.scored is None else batch.photons + batch.scored for batch in batches]
    return [int(frame) for photons in brightest for frame in photons.amax(dim=(-2, -1)).flatten()]


@pytest.mark.parametrize("scored", ["same", "held-back"])
@pytest.mark.parametrize("gridsize", [1, 2, 3])
@pytest.mark.parametrize("workers", [1, 3])
def test_loaders_change_neither_batches_nor_their_order(scan, gridsize, workers, scored):
    groups = grouped(scan, gridsize=gridsize, scored=scored)
    for seed in (None, 5):
        plain, loaded = (epoch(groups, seed=seed, workers=number) for number in (0, workers))
        assert len(plain) == len(loaded)
        for a, b in zip(plain, loaded, strict=True):
            assert a.photons.equal(b.photons)
            assert a.positions_px.equal(b.positions_px)
            assert a.canvas == b.canvas
            assert (a.scored is None) == (b.scored is None) == (seed is None or scored == "same")
            assert a.scored is None or a.scored.equal(b.scored)


def test_loaders_look_only_a_little_ahead_and_end_with_the_epoch():
    made = []
    batches = prepared(lambda item: made.append(int(item[0])), iter(np.arange(100)[:, None]), 2)
    next(batches)
    assert 1 <= len(made) <= 5
    batches.close()
    assert len(made) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("foldlight-loader")]


def test_what_fails_in_a_loader_fails_in_training(scan):
    groups = grouped(scan)
    broken = replace(groups, groups=np.full_like(groups.groups, 999))
    with pytest.raises(IndexError, match="999"):
        epoch(broken, 2, 0, 2)


@pytest.mark.parametrize("gridsize", [1, 2, 3])
def test_every_window_lies_on_its_groups_canvas_and_none_is_larger_than_need_be(scan, gridsize):
    for batch in epoch(grouped(scan, gridsize=gridsize)):
        low = batch.positions_px.round().numpy() - np.array(WINDOW) // 2
        assert low.min() == 0
        assert ((low + WINDOW).max(axis=(0, 1)) == batch.canvas).all()


class TestSmallGroups:
    """Of one frame or four: one a frame, led by it."""

    @pytest.mark.parametrize("gridsize", [1, 2])
    def test_fewer_groups_are_some_of_all_in_stored_order(self, scan, gridsize):
        everything = grouped(scan, gridsize=gridsize).groups
        kept = {n: grouped(scan, gridsize=gridsize, groups=n).groups for n in (1, 7, 20)}
        for n, groups in kept.items():
            assert groups.shape == (n, gridsize**2)
            first = groups[:, 0]  # a group is led by its own frame, and frames ascend
            assert (np.diff(first) > 0).all()
            assert np.array_equal(groups, everything[first - 3])
        assert set(kept[7][:, 0]) < set(kept[20][:, 0])
        assert not np.array_equal(grouped(scan, gridsize=gridsize, groups=7, seed=1).groups[:, 0], kept[7][:, 0])

    def test_as_many_groups_as_frames_or_more_are_all_of_them(self, scan):
        everything = grouped(scan)
        for n in (45, 1000):
            assert np.array_equal(grouped(scan, groups=n).groups, everything.groups)

    def test_validation_groups_are_not_thinned(self, scan):
        assert len(grouped(scan, purpose="validation", groups=2).groups) == 45

    @pytest.mark.parametrize(
        ("gridsize", "groups", "an_epoch"), [(2, None, 11), (2, 20, 11), (2, 5, 5), (1, None, 45), (1, 20, 20)]
    )
    def test_an_epoch_uses_each_frame_about_once_or_all_groups_if_they_are_few(self, scan, gridsize, groups, an_epoch):
        few = grouped(scan, gridsize=gridsize, groups=groups)
        batches = epoch(few, 4, 0)
        assert few.groups_per_epoch == an_epoch
        leaders = [int(batch) for each in batches for batch in each.photons[:, 0, 0, 0]]
        assert len(leaders) == len(set(leaders)) == an_epoch
        assert set(leaders) <= set(few.groups[:, 0])


class TestRegions:
    """Larger groups: compact, and enough to hold every frame."""

    def test_each_epoch_draws_others_that_hold_every_frame(self, scan):
        groups = grouped(scan, gridsize=3)
        assert groups.groups.shape[1] == 9
        first, second, again = (held(epoch(groups, seed=seed)) for seed in (5, 6, 5))
        for frames in (first, second):
            assert set(frames) == set(range(3, 48))
            assert len(frames) < 1.4 * 45
        assert first == again
        assert first != second

    def test_without_an_order_they_are_those_of_the_seed(self, scan):
        groups = grouped(scan, gridsize=3)
        assert held(epoch(groups, seed=None)) == groups.groups.ravel().tolist()

    def test_fewer_of_them_stay_the_same_in_every_epoch(self, scan):
        everything, few = grouped(scan, gridsize=3).groups, grouped(scan, gridsize=3, groups=2)
        assert few.groups_per_epoch == 2
        assert all((everything == kept).all(axis=1).any() for kept in few.groups)
        assert set(held(epoch(few, seed=5))) == set(held(epoch(few, seed=6))) == set(few.groups.ravel())

    def test_a_scan_smaller_than_a_region_is_one(self, scan):
        assert grouped(scan, gridsize=7).groups.tolist() == [list(range(3, 48))]


class TestDealtOutPhotons:
    """A network sees four fifths of the photons and has to explain the others."""

    @pytest.mark.parametrize("gridsize", [1, 2, 3])
    def test_none_is_lost_and_the_probes_share_the_power(self, scan, gridsize):
        groups = grouped(scan, gridsize=gridsize, scored="held-back")
        same = grouped(scan, gridsize=gridsize)
        for dealt, whole in zip(epoch(groups), epoch(same), strict=True):
            np.testing.assert_array_equal(dealt.photons + dealt.scored, whole.photons)
            power = [(probe.abs() ** 2).sum() for probe in (dealt.probe, dealt.scored_probe, whole.probe)]
            assert float(power[0] / power[2]) == pytest.approx(SEEN)
            assert float(power[1] / power[2]) == pytest.approx(1 - SEEN)
        seen = sum(float(batch.photons.sum()) for batch in epoch(groups))
        assert seen == pytest.approx(SEEN * sum(float(batch.photons.sum()) for batch in epoch(same)), rel=0.01)

    def test_they_are_dealt_anew_in_every_epoch_and_again_for_the_same_order(self, scan):
        groups = grouped(scan, gridsize=1, scored="held-back", groups=4)
        first, second, again = (epoch(groups, 4, seed)[0] for seed in (5, 6, 5))
        assert first.photons.equal(again.photons)
        assert sorted(held([first])) == sorted(held([second]))
        assert first.photons.sum() != second.photons.sum()

    def test_only_where_the_network_is_trained_on_photons(self, scan):
        for other in (
            grouped(scan, scored="held-back", purpose="validation"),
            grouped(scan, scored="held-back", supervision="object"),
        ):
            assert all(batch.scored is None for batch in epoch(other))

    def test_values_that_are_no_counts_can_not_be_dealt_out(self, scan):
        scaled = replace(scan, photons=replace(scan.photons, scale=0.3, whole=False))
        with pytest.raises(SettingsError, match=r"scored = held-back: expected counted photons .*, or --scored same"):
            grouped(scaled, scored="held-back")
        assert len(grouped(scaled).groups) == 45

    def test_validation_shows_four_fifths_and_scores_the_same_frames_on_the_rest(self, scan):
        seen, rest = held_out_photons(scan, np.arange(10, 30), TrainingSettings(gridsize=3))
        np.testing.assert_array_equal(seen.scan.photons[:] + rest.scan.photons[:], scan.photons[10:30])
        assert np.array_equal(seen.groups, rest.groups)
        assert {len(epoch(side, seed=None)) for side in (seen, rest)} == {1}


def test_what_bad_pixels_counted_reaches_no_batch(scan):
    mask = np.ones(WINDOW, dtype=bool)
    mask[2:4, 5] = False
    for scored in ("same", "held-back"):
        for batch in epoch(grouped(replace(scan, mask=mask), scored=scored)):
            for photons in (batch.photons, batch.scored):
                assert photons is None or not photons.numpy()[..., ~mask].any()


@pytest.mark.parametrize("gridsize", [1, 2, 3])
def test_true_objects_lie_under_their_frames(scan, gridsize):
    for batch in epoch(grouped(scan, gridsize=gridsize, supervision="object")):
        assert batch.truth.shape[1:] == batch.canvas
        frames = batch.photons[..., 0, 0].tolist()
        for object_, places, numbers in zip(batch.truth.numpy(), batch.positions_px.round(), frames, strict=True):
            for place, frame in zip(places.long().tolist(), numbers, strict=True):
                there = np.rint(scan.positions_px[int(frame)]).astype(int)
                assert object_[tuple(place)] == scan.truth[tuple(there)]


def test_a_scan_without_its_object_teaches_nobody(scan):
    with pytest.raises(DataError, match="supervision: expected a simulated scan with its true object"):
        epoch(grouped(replace(scan, object=None, object_is_truth=False), supervision="object"))


@pytest.mark.parametrize("seed", [None, 5])
def test_frames_kept_on_the_device_give_the_same_batches(scan, seed):
    scan = replace(scan, mask=np.random.default_rng(7).random(WINDOW) > 0.2)
    groups = grouped(scan, gridsize=3)
    kept = groups.kept_on(torch.device("cpu"), memory_bytes=1e9)
    assert kept.kept is not None
    for a, b in zip(epoch(groups, seed=seed), epoch(kept, seed=seed), strict=True):
        assert a.photons.equal(b.photons)
        assert a.positions_px.equal(b.positions_px)
    assert kept.with_photons(scan).kept is None


def test_photons_dealt_out_on_the_device_are_whole_repeat_and_none_is_lost(scan):
    groups = grouped(scan, gridsize=3, scored="held-back")
    kept = groups.kept_on(torch.device("cpu"), memory_bytes=1e9)
    for plain, one, other in zip(epoch(groups), epoch(kept), epoch(kept), strict=True):
        assert one.photons.equal(other.photons)
        assert one.photons.equal(one.photons.round())
        assert (one.photons + one.scored).equal(plain.photons + plain.scored)
        assert float(one.photons.mean()) == pytest.approx(
            SEEN * float(plain.photons.mean() + plain.scored.mean()), rel=0.05
        )


def test_frames_that_do_not_fit_stay_where_they_are(scan):
    groups = grouped(scan)
    assert groups.kept_on(torch.device("cpu")) is groups
    assert groups.kept_on(torch.device("cpu"), memory_bytes=4 * 50 * 10 * 14 - 1) is groups
