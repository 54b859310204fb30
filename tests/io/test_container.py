"""The scan container: round trips, reading without reading, damage, refusals."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.core.errors import DataError
from foldlight.core.provenance import sha256_arrays
from foldlight.frames import Frames, LazyFrames, Stored
from foldlight.io import ReadOptions, read_scan, verify_container, write_container, write_data001
from foldlight.io.stored import ChunkedFrames, ContiguousFrames
from foldlight.scan import Scan

N, WINDOW, CANVAS = 5, (8, 12), (20, 26)
LIVE = {"libver": ("v110", "v110")}


def counts(n: int = N, dose: float = 4.0, window: tuple[int, int] = WINDOW) -> np.ndarray:
    return np.random.default_rng(3).poisson(dose, (n, *window)).astype(np.uint32)


def scan(n: int = N, **changes: Any) -> Scan:
    rng = np.random.default_rng(5)
    facts: dict[str, Any] = {
        "photons": Frames(counts(n), whole=True),
        "positions_px": rng.uniform((4, 6), (CANVAS[0] - 4, CANVAS[1] - 6), (n, 2)),
        "probe": (rng.normal(size=(2, *WINDOW)) + 1j * rng.normal(size=(2, *WINDOW))).astype(np.complex64),
        "canvas": CANVAS,
        "notes": ("from a test, with ä",),
        "origin": {"dose": 4.0},
    }
    return Scan(**{**facts, **changes})


def transmission() -> np.ndarray:
    y, x = np.mgrid[: CANVAS[0], : CANVAS[1]]
    return np.exp(1j * (0.1 * y + 0.03 * x * y / 24)).astype(np.complex64)


def written(folder: Path, packed: bool = False, **changes: Any) -> Path:
    write_container(folder / "scan.h5", scan(**changes), packed)
    return folder / "scan.h5"


def same(one: Scan, other: Scan) -> None:
    np.testing.assert_array_equal(one.photons[:], other.photons[:])
    for name in ("positions_px", "probe", "mask", "frame_index", "canvas", "object", "object_is_truth"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.photons.whole == other.photons.whole
    assert one.digest() == other.digest()


@settings(max_examples=25, deadline=None)
@given(
    n=st.sampled_from([1, 3, 9]),
    dose=st.sampled_from([0.0, 0.02, 3.0, 240.0, 6e4, 9e6]),
    packed=st.booleans(),
    with_object=st.booleans(),
    with_mask=st.booleans(),
    whole=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_scan_comes_back_as_it_was(tmp_path_factory, n, dose, packed, with_object, with_mask, whole, seed):
    rng = np.random.default_rng(seed)
    photons = rng.poisson(dose, (n, *WINDOW)).astype(np.float32)
    before = scan(
        n,
        photons=Frames(photons if whole else photons + np.float32(0.37), whole=whole),
        mask=rng.uniform(size=WINDOW) > 0.2 if with_mask else np.ones(WINDOW, bool),
        object=transmission() if with_object else None,
        object_is_truth=with_object and seed % 2 == 0,
        frame_index=rng.permutation(n) + seed,
    )
    path = tmp_path_factory.mktemp("scan") / "scan.h5"
    write_container(path, before, packed)
    after = read_scan(path)
    same(before, after)
    assert after.notes[:1] == before.notes
    assert after.origin["dose"] == 4.0
    again = path.with_name("again.h5")
    write_container(again, after, not packed)
    same(before, read_scan(again))
    assert "agree" in verify_container(again)


@pytest.mark.parametrize(
    ("most", "dtype"),
    [(0, "u1"), (255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4"), (2.0**24, "u4"), (1e10, "f4")],
)
@pytest.mark.parametrize("packed", [False, True])
def test_counts_take_the_smallest_numbers_that_hold_them(tmp_path, monkeypatch, most, dtype, packed):
    """Wherever in the scan the largest count stands: what was written before is widened."""
    monkeypatch.setattr("foldlight.frames._BLOCK_PIXELS", 2 * 8 * 12)  # blocks of two frames
    photons = counts().astype(np.float32)
    photons[3, 2, 5] = most
    before = scan(photons=Frames(photons, whole=True))
    write_container(tmp_path / "scan.h5", before, packed)
    after = read_scan(tmp_path / "scan.h5")
    assert after.photons.stored.dtype == np.dtype(dtype)
    same(before, after)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.h5"]


@pytest.mark.parametrize("packed", [False, True])
def test_the_same_scan_gives_the_same_bytes(tmp_path, packed):
    one, other = tmp_path / "one.h5", tmp_path / "other.h5"
    write_container(one, scan(object=transmission()), packed, {"line": "made by hand"})
    write_container(other, scan(object=transmission()), packed, {"line": "made by hand"})
    assert one.read_bytes() == other.read_bytes()
    assert read_scan(one).origin["line"] == "made by hand"
    write_container(other, scan(object=transmission()), packed)
    assert one.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("dose", [3, 300, 90_000])
def test_any_program_can_map_the_frames(tmp_path, dose):
    photons = np.random.default_rng(0).poisson(dose, (6, 64, 32)).astype(np.uint32)
    probe = np.ones((1, 64, 32), np.complex64)
    whole = scan(
        6, photons=Frames(photons, whole=True), positions_px=np.full((6, 2), 40.0), probe=probe, canvas=(90, 70)
    )
    write_container(tmp_path / "scan.h5", whole)
    with h5py.File(tmp_path / "scan.h5") as file:
        frames = file["frames"]
        offset = frames.id.get_offset()
        assert offset % 4096 == 0
        mapped = np.memmap(tmp_path / "scan.h5", frames.dtype, "r", offset, frames.shape)
        np.testing.assert_array_equal(mapped, photons)
        assert (frames.attrs["unit"], frames.attrs["whole"], file.attrs["complete"]) == (b"photon", 1, 1)
        stated = json.loads(file["metadata"][()])
        assert stated["notes"] == ["from a test, with ä"]


def test_opening_and_digest_read_no_frame(tmp_path, monkeypatch):
    path = written(tmp_path)
    before = scan()
    monkeypatch.setattr(ContiguousFrames, "__getitem__", lambda *_: pytest.fail("a frame was read"))
    opened = read_scan(path)
    assert opened.digest() == before.digest()
    np.testing.assert_array_equal(opened.photons.totals, before.photons.totals)
    np.testing.assert_array_equal(opened.photons.mean_frame, before.photons.mean_frame)


@pytest.mark.parametrize("packed", [False, True])
def test_a_selection_has_sums_and_a_digest_of_its_own(tmp_path, monkeypatch, packed):
    for most in (0, 10**9):
        monkeypatch.setattr("foldlight.frames._COPIED_BYTES", most)
        part = read_scan(written(tmp_path, packed)).select(np.array([4, 1]))
        same(part, scan().select(np.array([4, 1])))
        np.testing.assert_array_equal(part.photons.totals, scan().photons.totals[[4, 1]])
        np.testing.assert_array_equal(part.photons.mean_frame, scan().select(np.array([4, 1])).photons.mean_frame)


INDEXES = [slice(1, 4), [3, 0], np.array([4, 4, 1, 2]), np.array([True, False, True, False, True]), 2, -1, slice(None)]


@pytest.mark.parametrize(
    "index", [*INDEXES, slice(None, None, -2), [], np.array([[0, 3], [2, 2]]), slice(4, 1)], ids=str
)
@pytest.mark.parametrize("packed", [False, True])
def test_stored_frames_are_an_array_to_whoever_reads(tmp_path, index, packed):
    stored = read_scan(written(tmp_path, packed)).photons.stored
    assert isinstance(stored, ChunkedFrames if packed else ContiguousFrames)
    assert isinstance(stored, Stored)
    array = counts()
    assert (stored.shape, stored.ndim, len(stored)) == (array.shape, 3, N)
    if isinstance(index, list) and not index:
        assert stored[index].shape == (0, *WINDOW)
    elif np.ndim(index) == 2:
        np.testing.assert_array_equal(stored[index], array[np.ravel(index)])
    else:
        np.testing.assert_array_equal(stored[index], array[index])


@pytest.mark.parametrize("index", [5, -6, [0, 5], np.array([0.5]), np.array([True, False])], ids=str)
def test_a_wrong_index_is_refused(tmp_path, index):
    stored = read_scan(written(tmp_path)).photons.stored
    with pytest.raises(IndexError, match="frames: expected"):
        stored[index]


def test_chunks_of_any_size_hold_the_same_frames(tmp_path, monkeypatch):
    monkeypatch.setattr("foldlight.io.frame_writer._CHUNK_PIXELS", 2 * 8 * 12)
    whole = read_scan(written(tmp_path, True))
    assert "packed, slow to train from: `foldlight convert` unpacks" in whole.notes[-1]
    write_container(tmp_path / "unpacked.h5", whole)
    assert read_scan(tmp_path / "unpacked.h5").notes == scan().notes
    order = np.array([4, 0, 3, 3, 1])
    np.testing.assert_array_equal(whole.photons[order], counts()[order])


def test_many_threads_read_at_once(tmp_path):
    photons = counts(64)
    for packed in (False, True):
        write_container(tmp_path / "scan.h5", scan(64, photons=Frames(photons, whole=True)), packed)
        stored = read_scan(tmp_path / "scan.h5").photons.stored
        orders = [np.random.default_rng(seed).integers(0, 64, 20) for seed in range(40)]
        with ThreadPoolExecutor(4) as pool:
            for order, found in zip(orders, pool.map(stored.__getitem__, orders), strict=True):
                np.testing.assert_array_equal(found, photons[order])


def test_frames_that_are_made_when_read_are_written_in_one_pass(tmp_path, monkeypatch):
    monkeypatch.setattr("foldlight.frames._BLOCK_PIXELS", 2 * 8 * 12)
    asked: list[int] = []

    def make(numbers: np.ndarray) -> np.ndarray:
        asked.extend(numbers.tolist())
        return (numbers[:, None, None] * 100 + np.arange(96).reshape(8, 12)).astype(np.uint32)

    lazy = scan(photons=Frames(LazyFrames(make, np.arange(N), WINDOW, np.dtype(np.uint32), "recipe"), whole=True))
    write_container(tmp_path / "scan.h5", lazy)
    assert asked == list(range(N))
    back = read_scan(tmp_path / "scan.h5")
    np.testing.assert_array_equal(back.photons[:], lazy.photons[:])
    assert sha256_arrays(*back.photons.digests) == sha256_arrays(*Frames(lazy.photons[:]).digests)


def test_a_container_and_data001_hold_the_same_scan(tmp_path):
    square = scan(photons=Frames(counts(window=(8, 8)), whole=True), probe=scan().probe[:, :, :8])
    write_data001(tmp_path / "scan.npz", square)
    write_container(tmp_path / "scan.h5", read_scan(tmp_path / "scan.npz"))
    back = read_scan(tmp_path / "scan.h5")
    same(square, back)
    assert back.origin["source"]["format"] == "DATA-001"
    assert (back.origin["format"], back.origin["path"], len(back.origin["seal"])) == ("foldlight scan", "scan.h5", 64)
    write_data001(tmp_path / "again.npz", back)
    same(square, read_scan(tmp_path / "again.npz"))


def test_a_scan_may_take_its_own_place(tmp_path):
    path = written(tmp_path)
    open_before = read_scan(path)
    write_container(path, open_before, packed=True)
    same(read_scan(path), scan())
    np.testing.assert_array_equal(open_before.photons[:], counts())  # replaced by renaming: read on as it was


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, damage):
    path = written(tmp_path)
    opened = read_scan(path)
    with path.open("rb+") as stream:
        if damage == "cut":
            stream.truncate(path.stat().st_size // 2)
        else:
            stream.seek(-1, 2)
            stream.write(b"!")
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match=r"scan\.h5: expected the file as it was opened, it has been written into"):
        opened.photons[:]


def test_bytes_that_vanish_between_the_check_and_the_read_are_refused(tmp_path, monkeypatch):
    path = written(tmp_path)
    opened = read_scan(path)
    state = opened.photons.stored._state()
    os.truncate(path, opened.photons.stored._offset + 100)
    monkeypatch.setattr(ContiguousFrames, "_state", lambda _: state)
    with pytest.raises(DataError, match=r"scan\.h5: expected \d+ bytes from byte \d+ on, got 100; it was cut"):
        opened.photons[:]


def flipped(path: Path, at: int) -> None:
    with path.open("rb+") as stream:
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([byte ^ 16]))


def test_verifying_finds_a_flipped_bit(tmp_path):
    path = written(tmp_path)
    assert verify_container(path) == "5 frames agree with their digests"
    with h5py.File(path) as file:
        offset = file["frames"].id.get_offset()
    flipped(path, offset + 3 * 96 + 7)
    assert len(read_scan(path)) == N  # which reads no frame
    with pytest.raises(DataError, match=r"frames: expected \d+ photons in frame 3 as when they were written, got"):
        verify_container(path)
    flipped(path, offset + 3 * 96 + 7)
    with h5py.File(path, "r+") as file:
        frame = file["frames"][2]
        file["frames"][2] = frame[::-1]
    with pytest.raises(DataError, match=r"frames: expected frames 0 to 4 as they were written, got other bytes"):
        verify_container(path)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), packed=st.booleans())
def test_a_damaged_file_is_refused_or_read_as_it_was(tmp_path_factory, data, packed):
    """Flipped bytes and cuts, anywhere: nothing but one line, or the scan as written."""
    path = tmp_path_factory.mktemp("scan") / "scan.h5"
    write_container(path, scan(object=transmission()), packed)
    size = path.stat().st_size
    if data.draw(st.booleans()):
        os.truncate(path, data.draw(st.integers(1, size - 1)))
    for _ in range(data.draw(st.integers(0, 3))):
        flipped(path, data.draw(st.integers(0, max(path.stat().st_size - 1, 0))))
    refusal, found = "", None
    try:
        verify_container(path)
        found = read_scan(path)
    except DataError as error:
        refusal = str(error)
    if found is not None:
        same(found, scan(object=transmission()))
    else:
        assert path.name in refusal
        assert "\n" not in refusal


WRONG: dict[str, tuple[Any, str]] = {
    "no positions": (lambda file: file.__delitem__("positions_px"), "positions_px: expected a dataset, found none"),
    "a group for frames": (
        lambda file: (file.__delitem__("frames"), file.create_group("frames")),
        "frames: expected a dataset, found a group",
    ),
    "complex frames": (lambda file: put(file, "frames", np.ones((5, 8, 12), complex)), "frames: expected .* got shape"),
    "frames of two axes": (
        lambda file: put(file, "frames", np.ones((5, 8), np.uint8)),
        r"frames: expected \(n, y, x\)",
    ),
    "frames never written": (
        lambda file: (file.__delitem__("frames"), file.create_dataset("frames", (5, 8, 12), "u2")),
        "frames: expected contiguous or chunked frames, got none",
    ),
    "no frames": (
        lambda file: (put(file, "frames", np.ones((0, 8, 12), np.uint8)), put(file, "positions_px", np.ones((0, 2)))),
        "frames: expected at least one frame",
    ),
    "other positions": (
        lambda file: put(file, "positions_px", np.ones((4, 2))),
        "frames: expected as many frames as positions, got 5 frames and 4",
    ),
    "flat positions": (
        lambda file: put(file, "positions_px", np.ones(5)),
        "positions_px: expected .* got .5,. of float64",
    ),
    "whole positions": (
        lambda file: put(file, "positions_px", np.ones((5, 2), int)),
        r"positions_px: expected \(5, 2\)",
    ),
    "another probe": (lambda file: put(file, "probe", np.ones((1, 8, 8), "c8")), r"probe: expected \(any, 8, 12\)"),
    "real probe": (lambda file: put(file, "probe", np.ones((1, 8, 12))), "probe: expected .* of complex64"),
    "another mask": (lambda file: put(file, "mask", np.ones((8, 8), "u1")), r"mask: expected \(8, 12\) of uint8"),
    "another object": (lambda file: put(file, "object", np.ones((9, 9), "c8")), "seal: expected"),
    "moved positions": (
        lambda file: file["positions_px"].write_direct(np.full((5, 2), 9.0)),
        "seal: expected positions",
    ),
    "positions outside": (
        lambda file: (file.attrs.__delitem__("seal"), file["positions_px"].write_direct(np.full((5, 2), 90.0))),
        "positions: expected every 8 x 12 window inside the 20 x 26 object",
    ),
    "no canvas": (lambda file: file.attrs.__delitem__("canvas"), "expected the attribute canvas, found none"),
    "flat canvas": (lambda file: file.attrs.create("canvas", 7), r"canvas: expected \(2\) of int64"),
    "a later version": (lambda file: file.attrs.create("version", 9), "version: expected 1, got 9; update foldlight"),
    "a wordy version": (lambda file: file.attrs.create("version", "x"), "version: expected a whole number, got 'x'"),
    "another format": (lambda file: file.attrs.create("format", "else"), "expected an HDF5 file of a known format"),
    "metadata that is no JSON": (
        lambda file: (file.attrs.__delitem__("seal"), put(file, "metadata", np.bytes_("{"))),
        "metadata: expected JSON",
    ),
    "metadata that is a list": (
        lambda file: (file.attrs.__delitem__("seal"), put(file, "metadata", np.bytes_("[]"))),
        "metadata: expected a JSON object, got list",
    ),
    "notes that are none": (
        lambda file: (file.attrs.__delitem__("seal"), put(file, "metadata", np.bytes_('{"notes": 3}'))),
        "metadata: expected notes as a list of sentences",
    ),
    "metadata of free length": (
        lambda file: put(file, "metadata", "{}"),
        "metadata: expected numbers or text of fixed length",
    ),
    "frames elsewhere": (
        lambda file: (
            file.__delitem__("frames"),
            file.create_dataset("frames", (5, 8, 12), "u1", external=[("/etc/hostname", 0, 480)]),
        ),
        "frames: expected frames in this file, got links",
    ),
    "absurd chunks": (
        lambda file: (
            file.__delitem__("frames"),
            file.create_dataset("frames", (2**40, 8, 12), "u1", chunks=(1, 8, 12)),
            file.__delitem__("positions_px"),
            file.create_dataset("positions_px", (2**40, 2), "f8", chunks=(64, 2)),
        ),
        "frames: expected at most .* bytes in such a file",
    ),
    "absurd positions": (
        lambda file: (
            file.__delitem__("probe"),
            file.create_dataset("probe", (2**40, 8, 12), "c8", chunks=(1, 8, 12)),
        ),
        "probe: expected at most .* bytes in such a file",
    ),
}


def put(file: h5py.File, name: str, value: Any) -> None:
    if name in file:
        del file[name]
    file[name] = value


@pytest.mark.parametrize(("harm", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_container_is_refused(tmp_path, harm, message):
    path = written(tmp_path)
    with h5py.File(path, "r+") as file:
        harm(file)
    with pytest.raises(DataError, match=rf"scan\.h5: .*{message}"):
        read_scan(path)


@pytest.mark.parametrize(
    "option",
    [
        {"values": "amplitude"},
        {"zero_frequency": "corner"},
        {"axis_order": "yxn"},
        {"scale": 2.0},
    ],
)
def test_options_that_contradict_the_layout_are_refused(tmp_path, option):
    name = next(iter(option))
    with pytest.raises(DataError, match=f"got the option {name} = .*; leave it out"):
        read_scan(written(tmp_path), ReadOptions(**option))


def test_options_that_agree_are_taken(tmp_path):
    path = written(tmp_path, object=transmission(), object_is_truth=True)
    options = ReadOptions(values="intensity", zero_frequency="centre", axis_order="nyx", scale=1.0, ignore_object=True)
    found = read_scan(path, options)
    assert found.object is None
    assert not found.object_is_truth


@pytest.mark.parametrize(("bad", "many"), [(np.nan, 1), (np.inf, 1), (-1.0, 1)])
def test_bad_photons_are_not_written(tmp_path, bad, many):
    photons = counts().astype(np.float32)
    photons[2, 1, 1] = bad
    with pytest.raises(DataError, match=f"frames: expected finite photons >= 0, got {many} others, first in frame 2"):
        write_container(tmp_path / "scan.h5", scan(photons=Frames(photons)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("metadata", "message"),
    [({"notes": 1}, "expected other names than the layout's own, got notes"), ({"x": np.ones(2)}, "JSON-ready values")],
)
def test_bad_metadata_is_not_written(tmp_path, metadata, message):
    with pytest.raises(DataError, match=message):
        write_container(tmp_path / "scan.h5", scan(), metadata=metadata)
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_known_before(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(DataError, match=r"scan\.h5: expected 0\.00 GB or more on the disk, got .* pack it"):
        written(tmp_path)


WRITES = """
import resource, sys
import numpy as np
from pathlib import Path
from foldlight.core.errors import DataError
from foldlight.io import write_container
from foldlight.frames import Frames
from foldlight.scan import Scan

resource.setrlimit(resource.RLIMIT_FSIZE, (2**22, 2**22))
counts = np.random.default_rng(0).poisson(50, (1800, 64, 64)).astype(np.uint16)
counts[-1, 0, 0] = int(sys.argv[2])
scan = Scan(Frames(counts, whole=True), np.full((1800, 2), 40.0), np.ones((1, 64, 64), np.complex64), (80, 80))
for packed in (False, True):
    try:
        write_container(Path(sys.argv[1]), scan, packed)
    except DataError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system does not promise room on a disk")
@pytest.mark.parametrize("most", [60, 4000])
def test_no_room_is_one_line_and_the_process_lives(tmp_path, most):
    """HDF5 itself ends the process when it can't write what it closes."""
    done = subprocess.run(
        [sys.executable, "-c", WRITES, tmp_path / "scan.h5", str(most)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert not done.stderr
    assert [line.endswith("got File too large") for line in done.stdout.splitlines()] == [True, True]
    assert not list(tmp_path.iterdir())


def live(path: Path, held: int = 3, complete: bool = False) -> h5py.File:
    """A container as an instrument writes it, with some frames."""
    whole = scan()
    file = h5py.File(path, "w", **LIVE)
    file.attrs.update({"format": np.bytes_("foldlight scan"), "version": 1, "complete": np.uint8(complete)})
    file.attrs["canvas"] = np.array(CANVAS)
    file.create_dataset("frames", (0, *WINDOW), "u2", maxshape=(None, *WINDOW), chunks=(1, *WINDOW))
    file.create_dataset("positions_px", (0, 2), "f8", maxshape=(None, 2), chunks=(4, 2))
    file["probe"] = whole.probe
    file.swmr_mode = True
    for name, rows in (("frames", counts()[: held + 1]), ("positions_px", whole.positions_px[:held])):
        file[name].resize(len(rows), axis=0)
        file[name][:] = rows
        file[name].flush()
    return file


def test_a_scan_that_is_still_written_is_left_to_those_who_follow_it(tmp_path):
    path = tmp_path / "live.h5"
    live(path).close()
    with pytest.raises(
        DataError, match=r"live\.h5: frames: expected a finished scan, .* `foldlight live`, or .* --unfin"
    ):
        read_scan(path)
    there = read_scan(path, ReadOptions(unfinished=True))
    same(there, scan().select(np.arange(3)))
    assert there.notes == ("the scan was not finished: its first 3 frames were taken",)


def test_a_finished_measurement_is_a_scan(tmp_path):
    path = tmp_path / "live.h5"
    file = live(path, held=5)
    file.attrs.modify("complete", np.uint8(1))
    file.close()
    same(read_scan(path), scan())
    assert "no digests" in verify_container(path)
    write_container(tmp_path / "kept.h5", read_scan(path))
    assert "agree" in verify_container(tmp_path / "kept.h5")


def test_what_a_killed_writer_left_can_be_taken(tmp_path):
    path = tmp_path / "live.h5"
    child = os.fork()
    if not child:
        held = live(path)
        os._exit(9 if held else 0)
    os.waitpid(child, 0)
    with pytest.raises(
        DataError, match=r"expected a finished file, got one that is being written, or whose writer was"
    ):
        read_scan(path)
    same(read_scan(path, ReadOptions(unfinished=True)), scan().select(np.arange(3)))


def test_other_hdf5_files_are_told_from_containers(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["entry/data"] = np.ones(3)
    with pytest.raises(
        DataError, match=r"other\.h5: expected an HDF5 file of a known format .*foldlight scan.* found entry"
    ):
        read_scan(tmp_path / "other.h5")
    with pytest.raises(DataError, match=r"expected a scan container .* got another HDF5 file"):
        verify_container(tmp_path / "other.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(DataError, match="expected a scan container, an HDF5 file, got another or none"):
        verify_container(tmp_path / "text.h5")
