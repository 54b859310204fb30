"""Every frame is seen exactly once, however it arrives; what can't be read is told."""

import re
import time

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.core.errors import DataError
from foldlight.io.npz import write_npz
from foldlight.live import follow as module
from foldlight.live.follow import COMPLETE, follow
from foldlight.live.settings import PlaySettings
from foldlight.live.simulator import play
from foldlight.live.spool import Spool

FAST = PlaySettings(rate=1e5)


def numbered(count: int, first: int = 0) -> dict[str, np.ndarray]:
    """Frames that hold their own number."""
    numbers = np.arange(first, first + count)
    frames = np.broadcast_to(numbers[:, None, None], (count, 8, 10)).astype(np.uint16)
    return {"frames": frames, "positions_px": np.stack([numbers, 2 * numbers], axis=1).astype(np.float64)}


def everything(follower, most: int = 7) -> np.ndarray:
    """The numbers of the frames that are there now, in the order they are handed over."""
    follower.look()
    numbers = []
    while (piece := follower.read(most)) is not None:
        assert len(piece.frames) == len(piece.positions_px)
        assert np.array_equal(piece.frames[:, 3, 5] * 2, piece.positions_px[:, 1])
        numbers.append(piece.frames[:, 0, 0].astype(int))
    return np.concatenate(numbers) if numbers else np.empty(0, dtype=int)


def container(path, **more):
    file = h5py.File(path, "w", libver=("v110", "v110"))
    file.attrs[COMPLETE] = np.uint8(0)
    file.create_dataset("frames", (0, 8, 10), "u2", maxshape=(None, 8, 10), chunks=(1, 8, 10))
    file.create_dataset("positions_px", (0, 2), "f8", maxshape=(None, 2), chunks=(16, 2))
    for name, value in more.items():
        file.create_dataset(name, data=value)
    file.swmr_mode = True
    return file


def append(file, name: str, values: np.ndarray) -> None:
    dataset, start = file[name], len(file[name])
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = values
    dataset.flush()


@settings(max_examples=15, deadline=None)
@given(bursts=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8), most=st.integers(1, 5))
def test_a_growing_file_gives_each_frame_once_in_order(bursts, most, tmp_path_factory):
    """Frames and positions arrive in bursts of their own; a frame counts when it has both."""
    path = tmp_path_factory.mktemp("swmr") / "scan.h5"
    parts, seen = numbered(200), []
    with container(path) as file:
        follower = follow(path)
        ends = np.cumsum(bursts, axis=0)
        before = (0, 0)
        for end in ends.tolist():
            append(file, "frames", parts["frames"][before[0] : end[0]])
            append(file, "positions_px", parts["positions_px"][before[1] : end[1]])
            seen += everything(follower, most).tolist()
            assert len(seen) == follower.received == min(end)
            before = end
        assert not follower.complete
    assert seen == list(range(len(seen)))
    follower.close()


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(6)), looks=st.lists(st.booleans(), min_size=6, max_size=6))
def test_a_filling_folder_gives_each_frame_once(order, looks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pieces")
    follower, seen = follow(folder), []
    for place, look in zip(order, looks, strict=True):
        write_npz(folder / f"{place:03d}.npz", numbered(1 + place, first=10 * place))
        if look:
            seen += everything(follower).tolist()
    (folder / COMPLETE).touch()
    seen += everything(follower).tolist()
    assert sorted(seen) == [10 * place + k for place in range(6) for k in range(1 + place)]
    assert follower.received == len(seen)
    assert follower.complete
    assert follower.troubles == ()


@pytest.mark.parametrize("name", ["scan.h5", "pieces"])
def test_a_played_scan_is_followed_to_its_end(name, scan, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_REOPEN_S", 0.0)
    path = tmp_path / name
    follower = follow(path)
    follower.look()
    assert follower.start() is None
    assert not follower.complete
    played = play(path, scan, FAST)
    assert len(played.written_s) == len(scan)
    follower.look()
    start = follower.start()
    assert start.window == scan.window
    assert start.whole
    assert start.canvas == scan.canvas
    assert np.array_equal(start.probe, scan.probe)
    assert np.array_equal(start.planned_px, scan.positions_px)
    frames, positions = [], []
    while (piece := follower.read(50)) is not None:
        frames.append(piece.frames)
        positions.append(piece.positions_px)
    assert np.array_equal(np.concatenate(frames), scan.photons[:])
    assert np.array_equal(np.concatenate(positions), scan.positions_px)
    follower.look()
    assert follower.complete
    follower.close()


def test_frames_that_are_no_whole_numbers_and_a_mask_come_along(odd, tmp_path):
    for name in ("odd.h5", "odd"):
        play(tmp_path / name, odd, PlaySettings(rate=1e5, planned=False))
        follower = follow(tmp_path / name)
        follower.look()
        start = follower.start()
        assert not start.whole
        assert start.planned_px is None
        assert np.array_equal(start.mask, odd.mask)
        assert np.array_equal(start.probe, odd.probe)
        piece = follower.read(100)
        assert np.array_equal(piece.frames, odd.photons[: len(piece.frames)])
        follower.close()


def test_places_that_are_not_filled_in_yet_are_waited_for(tmp_path):
    parts = numbered(6)
    parts["positions_px"][4:] = np.nan
    with container(tmp_path / "scan.h5") as file:
        for name, values in parts.items():
            append(file, name, values)
        follower = follow(tmp_path / "scan.h5")
        assert everything(follower).tolist() == [0, 1, 2, 3]
        file["positions_px"][4:] = numbered(6)["positions_px"][4:]
        file["positions_px"].flush()
        assert everything(follower).tolist() == [4, 5]
        follower.close()


def test_a_writer_that_was_killed_leaves_what_it_wrote(scan, tmp_path):
    """The flags that a killed writer leaves in the file do not keep a follower out."""
    path = tmp_path / "scan.h5"
    play(path, scan, PlaySettings(rate=1e5, complete=False))
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        file.swmr_mode = True
        held = (tmp_path / "killed.h5", path.read_bytes())
    held[0].write_bytes(held[1])
    follower = follow(held[0])
    follower.look()
    assert follower.received == len(scan)
    assert not follower.complete
    follower.close()


def test_a_scan_that_was_begun_again_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_REOPEN_S", 0.0)
    path = tmp_path / "scan.h5"
    with container(path) as file:
        for name, values in numbered(5).items():
            append(file, name, values)
    follower = follow(path)
    assert len(everything(follower)) == 5
    (tmp_path / "scan.h5").unlink()
    container(path).close()
    with pytest.raises(DataError, match=r"expected a scan that grows, got 0 frames after 5; it was begun again"):
        follower.look()
    follower.close()


def test_a_file_that_is_not_ready_is_waited_for_and_named(tmp_path):
    path = tmp_path / "scan.h5"
    follower = follow(path)
    follower.look()
    assert follower.troubles == ()
    path.write_bytes(b"\x89HDF\r\n\x1a\n half")
    time.sleep(0.6)
    follower.look()
    assert follower.start() is None
    assert "scan.h5" in follower.troubles[0]


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"frames": np.zeros((2, 8))}, r"expected /frames with 3 axes as in a scan container, got \(2, 8\)"),
        ({"frames": np.zeros((2, 8, 8))}, r"expected /positions_px with 2 axes as in a scan container, got none"),
    ],
)
def test_a_file_that_is_no_container_is_refused(datasets, message, tmp_path, monkeypatch):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        for name, value in datasets.items():
            file[name] = value
    follower = follow(tmp_path / "other.h5")
    follower.look()  # it may be in the making
    assert re.search(message, follower.troubles[0])
    assert follower.start() is None
    monkeypatch.setattr(module, "_MEND_S", 0.0)
    with pytest.raises(DataError, match=message):
        follower.look()
    follower.close()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"probe": np.ones((9, 8), np.complex64)}, r"probe: expected \(mode, 8, 10\) as the frames, got \(1, 9, 8\)"),
        ({"probe": np.ones((8, 10))}, "probe: expected complex numbers, got float64"),
        ({"probe": np.full((8, 10), np.nan, np.complex64)}, "probe: expected finite numbers and some light"),
        ({"probe": np.zeros(10**6, np.complex64)}, "probe: expected at most 5120 numbers"),
        ({"mask": np.zeros((8, 10))}, r"mask: expected valid pixels in a shape of \(8, 10\), got \(8, 10\)"),
        ({"planned_positions_px": np.zeros(4)}, r"planned_positions_px: expected finite \(m, 2\), got shape \(4,\)"),
    ],
)
def test_what_a_container_says_of_itself_is_checked(parts, message, tmp_path):
    with container(tmp_path / "scan.h5", **parts):
        follower = follow(tmp_path / "scan.h5")
        follower.look()
        with pytest.raises(DataError, match=message):
            follower.start()
        follower.close()


def test_odd_frames_are_refused():
    with pytest.raises(DataError, match="frames: expected even sizes from 8 to 8192 px, got 7 x 9"):
        module.Start((7, 9), np.dtype("u2"), True, np.ones((7, 9), bool))
    with pytest.raises(DataError, match="frames: expected real numbers, got bool"):
        module.Start((8, 8), np.dtype(bool), True, np.ones((8, 8), bool))


def test_a_damaged_piece_is_given_time_then_told_and_a_lost_one_counted(tmp_path, monkeypatch):
    follower = follow(tmp_path)
    write_npz(tmp_path / "000.npz", numbered(3))
    whole = (tmp_path / "000.npz").read_bytes()
    (tmp_path / "001.npz").write_bytes(whole[:100])
    (tmp_path / ".002.npz").write_bytes(b"in the making")
    follower.look()
    assert follower.received == 3
    assert follower.troubles == ()
    (tmp_path / COMPLETE).touch()
    assert len(everything(follower)) == 3
    assert not follower.complete  # the damaged one may still become whole
    (tmp_path / "003.npz").write_bytes(whole)
    follower.look()
    (tmp_path / "003.npz").unlink()
    assert follower.read(10) is None
    assert (follower.received, follower.lost) == (6, 3)
    monkeypatch.setattr(module, "_MEND_S", 0.0)
    follower.look()
    assert follower.complete
    assert any("003.npz" in each for each in follower.troubles)
    assert any("001.npz: expected an NPZ" in each for each in follower.troubles)
    follower.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: parts | {"frames": parts["frames"][:, :, :8]}, r"expected \(8, 10\) px as in the first piece"),
        (lambda parts: parts | {"frames": parts["frames"] / 2}, "expected whole numbers as in the first piece"),
        (lambda parts: parts | {"positions_px": parts["positions_px"][:1]}, r"got \(3, 8, 10\) and \(1, 2\)"),
    ],
)
def test_a_piece_of_another_scan_is_told(change, message, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MEND_S", -1.0)
    write_npz(tmp_path / "000.npz", numbered(3))
    write_npz(tmp_path / "001.npz", change(numbered(3)))
    follower = follow(tmp_path)
    follower.look()
    assert follower.received == 3
    (trouble,) = follower.troubles
    assert re.search(message, trouble)


def test_a_spool_is_an_array_on_disk():
    spool = Spool((8, 10), np.dtype("u2"))
    parts = numbered(20)["frames"]
    for part in (parts[:3], parts[3:11], parts[11:]):
        spool.append(part)
    assert (spool.shape, spool.ndim, spool.dtype, len(spool)) == ((20, 8, 10), 3, np.uint16, 20)
    assert np.array_equal(spool[:], parts)
    assert np.array_equal(spool[np.array([19, 0, 7, 7])], parts[[19, 0, 7, 7]])
    assert np.array_equal(spool[4], parts[4])
    spool.close()
