"""Groups and batches: a pass uses each frame about once, loaders change nothing, fewer groups are some of all."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from foldlight.scan import Frames, Scan
from foldlight.train import data as data_module
from foldlight.train.data import GroupedFrames
from foldlight.train.settings import TrainingSettings

WINDOW = (10, 14)


@pytest.fixture
def scan() -> Scan:
    """Rectangular frames, each filled with its own number, so that a batch tells which frames it holds."""
    rng = np.random.default_rng(2)
    probe = (rng.normal(size=(2, *WINDOW)) + 1j * rng.normal(size=(2, *WINDOW))).astype(np.complex64)
    frames = np.broadcast_to(np.arange(50, dtype=np.float32)[:, None, None], (50, *WINDOW)).copy()
    return Scan(Frames(frames), rng.uniform((5, 7), (35, 63), (50, 2)), probe, (40, 70))


def grouped(scan: Scan, purpose: str = "train", **settings) -> GroupedFrames:
    return GroupedFrames.of(scan, np.arange(3, 48), TrainingSettings(**settings), purpose)


@pytest.mark.parametrize("gridsize", [1, 2])
@pytest.mark.parametrize("workers", [1, 3])
def test_loaders_change_neither_batches_nor_their_order(scan, gridsize, workers):
    groups = grouped(scan, gridsize=gridsize)
    for seed in (None, 5):
        plain, loaded = (
            list(groups.epoch(3, seed and np.random.default_rng(seed), n_workers)) for n_workers in (0, workers)
        )
        assert len(plain) == len(loaded)
        for a, b in zip(plain, loaded, strict=True):
            assert a.photons.equal(b.photons)
            assert a.positions_px.equal(b.positions_px)


def test_loaders_look_only_a_little_ahead_and_end_with_the_epoch():
    made = []
    batches = data_module._prepared(lambda item: made.append(int(item[0])), iter(np.arange(100)[:, None]), 2)
    next(batches)
    assert 1 <= len(made) <= 5
    batches.close()
    assert len(made) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("foldlight-loader")]


def test_what_fails_in_a_loader_fails_in_training(scan):
    groups = grouped(scan)
    broken = replace(groups, groups=np.full_like(groups.groups, 999))
    with pytest.raises(IndexError, match="999"):
        list(broken.epoch(2, np.random.default_rng(0), 2))


@pytest.mark.parametrize("gridsize", [1, 2])
def test_fewer_groups_are_some_of_all_in_stored_order(scan, gridsize):
    everything = grouped(scan, gridsize=gridsize).groups
    kept = {n: grouped(scan, gridsize=gridsize, groups=n).groups for n in (1, 7, 20)}
    for n, groups in kept.items():
        assert groups.shape == (n, gridsize**2)
        first = groups[:, 0]  # a group is led by its own frame, and frames ascend
        assert (np.diff(first) > 0).all()
        assert np.array_equal(groups, everything[first - 3])
    assert set(kept[7][:, 0]) < set(kept[20][:, 0])
    assert not np.array_equal(grouped(scan, gridsize=gridsize, groups=7, seed=1).groups[:, 0], kept[7][:, 0])


def test_as_many_groups_as_frames_or_more_are_all_of_them(scan):
    everything = grouped(scan)
    for n in (45, 1000):
        same = grouped(scan, groups=n)
        assert np.array_equal(same.groups, everything.groups)
        assert same.canvas == everything.canvas


def test_validation_groups_are_not_thinned(scan):
    assert len(grouped(scan, purpose="validation", groups=2).groups) == 45


@pytest.mark.parametrize(
    ("gridsize", "groups", "an_epoch"), [(2, None, 11), (2, 20, 11), (2, 5, 5), (1, None, 45), (1, 20, 20)]
)
def test_an_epoch_uses_each_frame_about_once_or_all_groups_if_they_are_few(scan, gridsize, groups, an_epoch):
    few = grouped(scan, gridsize=gridsize, groups=groups)
    batches = list(few.epoch(4, np.random.default_rng(0)))
    assert few.groups_per_epoch == an_epoch
    leaders = [int(batch) for each in batches for batch in each.photons[:, 0, 0, 0]]
    assert len(leaders) == len(set(leaders)) == an_epoch
    assert set(leaders) <= set(few.groups[:, 0])
