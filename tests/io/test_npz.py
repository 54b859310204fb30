"""NPZ files: mapped, read, unpacked, refused, written."""

import bz2
import gzip
import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foldlight.core.errors import DataError
from foldlight.io.npz import Blocks, open_npz, write_npz

FRAMES = np.arange(6 * 4 * 3, dtype=np.float32).reshape(6, 4, 3)


def load(path: Path, key: str = "a", limit: int = 1 << 20) -> np.ndarray:
    with open_npz(path, limit) as archive:
        return archive[key]


def flip_byte(path: Path, before: bytes) -> None:
    """Damage the file some bytes before a sequence of bytes."""
    content = bytearray(path.read_bytes())
    content[content.index(before) - 10] ^= 0xFF
    path.write_bytes(bytes(content))


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def zip_of(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_stored_members_are_mapped_and_outlive_the_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", first=np.arange(3), a=FRAMES, z=np.arange(5))
    array = load(tmp_path / "f.npz")
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    np.testing.assert_array_equal(array, FRAMES)


def test_mapping_a_large_member_does_not_load_it(tmp_path: Path) -> None:
    large = np.arange(4 << 20, dtype=np.float32)
    write_npz(tmp_path / "f.npz", {"a": large})
    tracemalloc.start()
    array = load(tmp_path / "f.npz", limit=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(array, np.memmap)
    assert peak < 0.7 * large.nbytes  # the checksum is taken in pieces


def test_reading_a_compressed_member_needs_little_more_than_the_array(tmp_path: Path) -> None:
    large = np.arange(4 << 20, dtype=np.float32)
    np.savez_compressed(tmp_path / "f.npz", a=large)
    tracemalloc.start()
    array = load(tmp_path / "f.npz", limit=1 << 30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(array, large)
    assert not isinstance(array, np.memmap)
    assert peak < 1.5 * large.nbytes


@pytest.mark.parametrize("pack", [bytes, bz2.compress, gzip.compress])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_packed_files_give_the_same_arrays_and_nothing_beside_the_source(tmp_path: Path, pack, save) -> None:
    stream = io.BytesIO()
    save(stream, a=FRAMES, fortran=np.asfortranarray(FRAMES), text=np.array("été"), empty=np.empty((0, 3)))
    path = tmp_path / "named_as_it_likes.dat"
    path.write_bytes(pack(stream.getvalue()))
    for key, wanted in {"a": FRAMES, "fortran": FRAMES, "text": np.array("été"), "empty": np.empty((0, 3))}.items():
        array = load(path, key)
        assert array.shape == wanted.shape
        np.testing.assert_array_equal(array, wanted)
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=25, deadline=None)
@given(
    array=hnp.arrays(
        st.sampled_from(["<f4", ">f8", "<c8", "|b1", "<i8", "|u1", "<U3"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    ),
    key=st.text("abcé_", min_size=1, max_size=9),
)
def test_what_is_written_is_read_aligned(tmp_path_factory, array: np.ndarray, key: str) -> None:
    path = tmp_path_factory.mktemp("npz") / "f.npz"
    write_npz(path, {"before": np.arange(3, dtype=np.int8), key: array})
    back = load(path, key)
    assert back.dtype == array.dtype
    assert back.flags.aligned
    np.testing.assert_array_equal(back, array)
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive[key], array)


def test_blocks_give_the_bytes_of_the_whole(tmp_path: Path) -> None:
    write_npz(tmp_path / "whole.npz", {"a": FRAMES})
    write_npz(tmp_path / "blocks.npz", {"a": Blocks(FRAMES.shape, FRAMES.dtype, (FRAMES[:4], FRAMES[4:]))})
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "blocks.npz").read_bytes()


def test_a_failing_block_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    def pieces():
        yield FRAMES[:1]
        raise DataError("no more frames")

    path = tmp_path / "f.npz"
    path.write_bytes(b"before")
    with pytest.raises(DataError, match="no more frames"):
        write_npz(path, {"a": Blocks(FRAMES.shape, FRAMES.dtype, pieces())})
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"before"


def missing(folder: Path) -> Path:
    return folder / "absent.npz"


def folder_itself(folder: Path) -> Path:
    return folder


def truncated(folder: Path) -> Path:
    np.savez(folder / "f.npz", a=FRAMES)
    (folder / "f.npz").write_bytes((folder / "f.npz").read_bytes()[:200])
    return folder / "f.npz"


def empty_file(folder: Path) -> Path:
    (folder / "f.npz").touch()
    return folder / "f.npz"


def single_array(folder: Path) -> Path:
    np.save(folder / "f.npy", FRAMES)
    return folder / "f.npy"


def hdf5(folder: Path) -> Path:
    (folder / "f.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    return folder / "f.h5"


def truncated_bz2(folder: Path) -> Path:
    (folder / "f.npz.bz2").write_bytes(bz2.compress(npy(FRAMES))[:-20])
    return folder / "f.npz.bz2"


def wrong_gz(folder: Path) -> Path:
    content = bytearray(gzip.compress(npy(FRAMES)))
    content[-6] ^= 0xFF
    (folder / "f.npz.gz").write_bytes(bytes(content))
    return folder / "f.npz.gz"


def bomb(folder: Path) -> Path:
    (folder / "f.npz.gz").write_bytes(gzip.compress(bytes(3 << 20)))
    return folder / "f.npz.gz"


def bomb_member(folder: Path) -> Path:
    np.savez_compressed(folder / "f.npz", a=np.zeros(3 << 20, dtype=np.uint8))
    return folder / "f.npz"


def lying_header(folder: Path) -> Path:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    return zip_of(folder / "f.npz", {"a.npy": stream.getvalue()}, zipfile.ZIP_DEFLATED)


def bad_crc_stored(folder: Path) -> Path:
    np.savez(folder / "f.npz", a=FRAMES)
    flip_byte(folder / "f.npz", b"PK\x01\x02")
    return folder / "f.npz"


def bad_crc_deflated(folder: Path) -> Path:
    np.savez_compressed(folder / "f.npz", a=np.random.default_rng(0).integers(0, 256, 999, dtype=np.uint8))
    flip_byte(folder / "f.npz", b"PK\x01\x02")
    return folder / "f.npz"


def no_npy(folder: Path) -> Path:
    return zip_of(folder / "f.npz", {"a": b"hello, this is text"})


def objects(folder: Path) -> Path:
    np.savez(folder / "f.npz", a=np.array({"x": 1}, dtype=object))
    return folder / "f.npz"


def other_keys(folder: Path) -> Path:
    np.savez(folder / "f.npz", b=FRAMES, c=FRAMES)
    return folder / "f.npz"


def encrypted(folder: Path) -> Path:
    np.savez(folder / "f.npz", a=FRAMES)
    content = bytearray((folder / "f.npz").read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (folder / "f.npz").write_bytes(bytes(content))
    return folder / "f.npz"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, r"absent\.npz: expected a readable file, got No such file"),
        (folder_itself, "expected a readable file, got Is a directory"),
        (truncated, r"f\.npz: expected an NPZ .* got a damaged or truncated zip"),
        (empty_file, r"f\.npz: expected an NPZ .* begins with b''"),
        (single_array, r"f\.npy: expected an NPZ .* got a single \.npy array"),
        (hdf5, r"f\.h5: expected an NPZ .* got an HDF5 file"),
        (truncated_bz2, r"f\.npz\.bz2: expected a whole packed file, got Compressed file ended"),
        (wrong_gz, r"f\.npz\.gz: expected a whole packed file, got CRC check failed"),
        (bomb, r"f\.npz\.gz: expected at most 0\.000977 GiB when unpacked, got more; raise unpacked_limit_gib"),
        (bomb_member, r"f\.npz: a: expected at most 0\.000977 GiB when unpacked, got 0\.00293 GiB from \d+ bytes"),
        (lying_header, r"f\.npz: a: expected 4000000000000 bytes for shape \(1000000000000,\), got 0"),
        (bad_crc_stored, r"f\.npz: a: expected a whole \.npy array, got Bad CRC-32"),
        (bad_crc_deflated, r"f\.npz: a: expected a whole \.npy array, got (Bad CRC-32|Error -3)"),
        (no_npy, r"f\.npz: a: expected a whole \.npy array, got the magic string is not correct"),
        (objects, r"f\.npz: a: expected numbers or text, got an object array, .*convert .* allow_pickle=True.*savez"),
        (other_keys, r"f\.npz: expected the key 'a', found b, c"),
        (encrypted, r"f\.npz: a: expected a whole \.npy array, got .*encrypted"),
    ],
)
def test_every_fault_is_one_line_that_names_file_and_key(tmp_path: Path, make, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f.npz.bz2").write_bytes(bz2.compress(npy(FRAMES)))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("foldlight.io.npz._copy", full)
    with pytest.raises(DataError, match="full disk; set TMPDIR"):
        load(tmp_path / "f.npz.bz2")


def test_errors_of_the_block_name_the_file(tmp_path: Path) -> None:
    write_npz(tmp_path / "f.npz", {"a": FRAMES})
    with pytest.raises(DataError, match=r"f\.npz: a: too dark"), open_npz(tmp_path / "f.npz"):
        raise DataError("a: too dark")


def test_an_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="expected a writable place"):
        write_npz(tmp_path / "file" / "f.npz", {"a": FRAMES})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
