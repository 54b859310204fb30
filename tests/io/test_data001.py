"""DATA-001: round trips, foreign dialects, refusals."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.core.errors import DataError, SettingsError
from foldlight.core.provenance import sha256_file
from foldlight.frames import Frames
from foldlight.io import ReadOptions, read_scan, write_data001
from foldlight.scan import Scan

N, SIZE, CANVAS = 5, 8, (20, 24)


def centred_counts(n: int = N, size: int = SIZE, seed: int = 3) -> np.ndarray:
    """Asymmetric counts with their light in the middle."""
    y, x = np.mgrid[:size, :size] - size // 2
    rate = 40 * np.exp(-(y**2 + x**2 + 0.5 * x * y) / size) + 0.2
    return np.random.default_rng(seed).poisson(rate, (n, size, size)).astype(np.float32)


def probe(modes: int = 1, size: int = SIZE) -> np.ndarray:
    rng = np.random.default_rng(5)
    return (rng.normal(size=(modes, size, size)) + 1j * rng.normal(size=(modes, size, size))).astype(np.complex64)


def positions(n: int = N) -> np.ndarray:
    return np.random.default_rng(1).uniform((4, 4), (CANVAS[0] - 4, CANVAS[1] - 4), (n, 2))


def transmission() -> np.ndarray:
    y, x = np.mgrid[: CANVAS[0], : CANVAS[1]]
    return np.exp(1j * (0.1 * y + 0.03 * x * y / 24)).astype(np.complex64)


def scan(**changes: Any) -> Scan:
    parts: dict[str, Any] = {"photons": Frames(centred_counts()), "positions_px": positions(), "probe": probe()}
    return Scan(**{**parts, "canvas": CANVAS, **changes})


def foreign(**changes: Any) -> dict[str, Any]:
    """The arrays of a file that somebody else wrote; None leaves a key out."""
    where = positions()
    arrays = {
        "diffraction": np.sqrt(centred_counts()),
        "xcoords": where[:, 1],
        "ycoords": where[:, 0],
        "probeGuess": probe()[0],
        "objectGuess": transmission(),
        **changes,
    }
    return {key: array for key, array in arrays.items() if array is not None}


def save(folder: Path, **changes: Any) -> Path:
    np.savez(folder / "scan.npz", **foreign(**changes))
    return folder / "scan.npz"


def metadata(**facts: Any) -> np.ndarray:
    return np.array(json.dumps(facts))


def same(one: Scan, other: Scan) -> None:
    np.testing.assert_array_equal(one.photons[:], other.photons[:])
    np.testing.assert_array_equal(one.positions_px, other.positions_px)
    np.testing.assert_array_equal(one.probe, other.probe)
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_array_equal(one.frame_index, other.frame_index)
    assert one.canvas == other.canvas
    assert one.object_is_truth == other.object_is_truth
    assert (one.object is None) == (other.object is None)
    if one.object is not None:
        np.testing.assert_array_equal(one.object, other.object)


@settings(max_examples=20, deadline=None)
@given(
    n=st.sampled_from([1, 3, 8]),
    modes=st.integers(1, 3),
    dose=st.sampled_from([0.0, 0.01, 1.0, 300.0, 2e6]),
    with_object=st.booleans(),
    with_mask=st.booleans(),
    seed=st.integers(0, 99),
)
def test_counts_round_trip_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    n: int,
    modes: int,
    dose: float,
    with_object: bool,
    with_mask: bool,
    seed: int,
) -> None:
    counts = np.random.default_rng(seed).poisson(dose, (n, SIZE, SIZE)).astype(np.float32)
    mask = np.random.default_rng(seed).uniform(size=(SIZE, SIZE)) > 0.2 if with_mask else np.ones((SIZE, SIZE), bool)
    guess = transmission() if with_object else None
    before = scan(
        photons=Frames(counts),
        positions_px=positions(n),
        probe=probe(modes),
        mask=mask,
        object=guess,
        object_is_truth=with_object and seed % 2 == 0,
        frame_index=np.random.default_rng(seed).permutation(n) + seed % 3,
    )
    path = tmp_path_factory.mktemp("scan") / "scan.npz"
    write_data001(path, before)
    after = read_scan(path)
    same(before, after)
    second = path.with_name("again.npz")
    write_data001(second, after)
    same(before, read_scan(second))


def test_every_count_below_four_million_comes_back(tmp_path: Path) -> None:
    counts = np.arange(2**22, 2**22 - 64 * 64, -1, dtype=np.float32).reshape(1, 64, 64)
    counts[0, :32] = np.arange(32 * 64).reshape(32, 64)
    write_data001(tmp_path / "f.npz", scan_of(counts))
    np.testing.assert_array_equal(read_scan(tmp_path / "f.npz").photons[:], counts)


def test_fractions_of_photons_are_not_rounded(tmp_path: Path) -> None:
    rates = centred_counts() + np.float32(0.37)
    write_data001(tmp_path / "f.npz", scan(photons=Frames(rates)))
    back = read_scan(tmp_path / "f.npz")
    assert not back.photons.whole
    np.testing.assert_allclose(back.photons[:], rates, rtol=3e-7)


def scan_of(counts: np.ndarray) -> Scan:
    size = counts.shape[-1]
    where = np.full((len(counts), 2), size / 2)
    return Scan(Frames(counts), where, probe(size=size), (size, size))


def test_frames_stay_mapped_and_aligned(tmp_path: Path) -> None:
    write_data001(tmp_path / "f.npz", scan())
    stored = read_scan(tmp_path / "f.npz").photons.stored
    assert isinstance(stored, np.memmap)
    assert stored.flags.aligned
    assert stored.dtype == np.float32
    assert isinstance(read_scan(save(tmp_path)).photons.stored, np.memmap)


def test_the_same_scan_gives_the_same_bytes(tmp_path: Path) -> None:
    write_data001(tmp_path / "a.npz", scan(), {"seed": 42})
    write_data001(tmp_path / "b.npz", scan(), {"seed": 42})
    assert sha256_file(tmp_path / "a.npz") == sha256_file(tmp_path / "b.npz")


def test_the_file_is_the_contract(tmp_path: Path) -> None:
    before = scan(object=transmission(), notes=("thinned",), origin={"dose_asked": 1000.0, "seeds": {"simulation": 42}})
    write_data001(tmp_path / "f.npz", before, {"created_utc": "2000-01-01T00:00:00Z"})
    with np.load(tmp_path / "f.npz", allow_pickle=False) as archive:
        arrays = dict(archive)
    kinds = {key: (array.dtype.str, array.shape) for key, array in arrays.items() if key != "_metadata"}
    assert kinds == {
        "diffraction": ("<f4", (N, SIZE, SIZE)),
        "xcoords": ("<f8", (N,)),
        "ycoords": ("<f8", (N,)),
        "probeGuess": ("<c8", (SIZE, SIZE)),
        "objectGuess": ("<c8", CANVAS),
    }
    np.testing.assert_array_equal(arrays["xcoords"], before.positions_px[:, 1])
    np.testing.assert_array_equal(arrays["diffraction"], np.sqrt(centred_counts()))
    facts = json.loads(str(arrays["_metadata"]))
    assert facts["amplitude_scale"] == 1.0
    assert facts["probe_unit"] == "sqrt(photon)"
    assert facts["transformations"] == ["thinned"]
    assert facts["dose_asked"] == 1000.0
    assert facts["dose_measured"] == pytest.approx(before.photons.totals.mean())
    assert facts["object_is_truth"] is False
    assert facts["created_utc"].startswith("2000")


def test_origin_names_the_file_and_keeps_its_facts(tmp_path: Path) -> None:
    write_data001(tmp_path / "f.npz", scan(origin={"dose_asked": 10.0}))
    origin = read_scan(tmp_path / "f.npz").origin
    assert origin["path"] == "f.npz"
    assert origin["format"] == "DATA-001"
    assert origin["sha256"] == sha256_file(tmp_path / "f.npz")
    assert origin["dose_asked"] == 10.0
    assert origin["metadata"]["source"] == {"dose_asked": 10.0}


def test_a_foreign_file_is_brought_to_photons_and_says_so(tmp_path: Path) -> None:
    counts = centred_counts()
    back = read_scan(save(tmp_path, angle=np.zeros(N, np.int64)))
    np.testing.assert_array_equal(back.photons[:], counts)
    power = float((np.abs(back.probe) ** 2).sum())
    assert power == pytest.approx(counts.sum(axis=(1, 2)).mean(), rel=1e-5)
    np.testing.assert_array_equal(back.positions_px, positions())
    assert back.truth is None
    notes = "\n".join(back.notes)
    assert "keys not used: angle" in notes
    assert "amplitude, their squares are whole multiples of 1;" in notes
    assert "zero frequency in the centre" in notes
    assert "probeGuess: unit unknown, rescaled by" in notes


def test_frames_keep_their_numbers_in_a_file(tmp_path: Path) -> None:
    whole = scan(photons=Frames(centred_counts(8)), positions_px=positions(8))
    write_data001(tmp_path / "part.npz", whole.select(np.array([6, 1, 3])))
    with np.load(tmp_path / "part.npz", allow_pickle=False) as archive:
        assert archive["scan_index"].dtype.str == "<i8"
    part = read_scan(tmp_path / "part.npz")
    np.testing.assert_array_equal(part.frame_index, [6, 1, 3])
    np.testing.assert_array_equal(part.photons[:], whole.photons[part.frame_index])
    assert part.frame_index.dtype == np.int64
    assert type(part.frame_index) is np.ndarray


@pytest.mark.parametrize("dtype", [np.int16, np.uint32, np.int64])
def test_numbers_of_frames_may_be_any_integers(tmp_path: Path, dtype: type) -> None:
    back = read_scan(save(tmp_path, scan_index=np.array([9, 9, 0, 4, 1], dtype)))
    np.testing.assert_array_equal(back.frame_index, [9, 9, 0, 4, 1])
    assert back.frame_index.dtype == np.int64
    assert not any("keys not used" in note for note in back.notes)
    np.testing.assert_array_equal(read_scan(save(tmp_path)).frame_index, np.arange(N))


def test_the_stated_scale_makes_photons(tmp_path: Path) -> None:
    counts = centred_counts()
    path = save(tmp_path, diffraction=np.sqrt(counts) / 8, _metadata=metadata(amplitude_scale=8))
    np.testing.assert_array_equal(read_scan(path).photons[:], counts)


def test_a_missing_scale_is_found_in_the_data_or_confessed(tmp_path: Path) -> None:
    counts = centred_counts()
    counts[0, 0, :3] = 1, 2, 3
    scaled = (np.sqrt(counts) / 7.3).astype(np.float32)
    np.testing.assert_array_equal(read_scan(save(tmp_path, diffraction=scaled)).photons[:], counts)
    smooth = scaled + np.random.default_rng(0).uniform(0.01, 0.02, scaled.shape).astype(np.float32)
    back = read_scan(save(tmp_path, diffraction=smooth))
    np.testing.assert_allclose(back.photons[:], smooth**2, rtol=1e-6)
    assert any("no scale is known" in note for note in back.notes)
    told = read_scan(save(tmp_path, diffraction=smooth), ReadOptions(scale=10))
    np.testing.assert_allclose(told.photons[:], 100 * smooth**2, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.float64])
def test_counts_in_diff3d_are_taken_as_counts(tmp_path: Path, dtype: type) -> None:
    back = read_scan(save(tmp_path, diffraction=None, diff3d=centred_counts().astype(dtype)))
    np.testing.assert_array_equal(back.photons[:], centred_counts())
    assert "diff3d: read in place of diffraction" in back.notes
    assert any(
        "diff3d: intensity" in note and "although the format prescribes amplitude" in note for note in back.notes
    )


def test_frames_last_are_turned(tmp_path: Path) -> None:
    turned = np.ascontiguousarray(np.moveaxis(np.sqrt(centred_counts()), 0, -1))
    for pack in (np.savez, np.savez_compressed):
        pack(tmp_path / "f.npz", **foreign(diffraction=turned))
        back = read_scan(tmp_path / "f.npz")
        np.testing.assert_array_equal(back.photons[:], centred_counts())
        assert any("turned to (n, y, x), by the number of positions" in note for note in back.notes)


def test_frames_with_the_beam_in_the_corner_are_centred_with_their_mask(tmp_path: Path) -> None:
    mask = np.ones((SIZE, SIZE), dtype=bool)
    mask[1, 2] = False
    path = save(
        tmp_path,
        diffraction=np.fft.ifftshift(np.sqrt(centred_counts()), axes=(-2, -1)),
        mask=np.fft.ifftshift(mask),
    )
    back = read_scan(path)
    np.testing.assert_array_equal(back.photons[:], centred_counts())
    np.testing.assert_array_equal(back.mask, mask)
    assert any("moved to the centre" in note and "although the format prescribes centre" in note for note in back.notes)


def test_without_an_object_positions_move_onto_a_canvas_by_whole_pixels(tmp_path: Path) -> None:
    shifted = positions() - 1000.0
    back = read_scan(save(tmp_path, objectGuess=None, xcoords=shifted[:, 1], ycoords=shifted[:, 0]))
    move = back.positions_px - shifted
    np.testing.assert_allclose(move, np.round(move[:1]).repeat(N, axis=0), atol=1e-9)
    assert back.object is None
    assert any("positions: moved by" in note for note in back.notes)
    ignored = read_scan(save(tmp_path), ReadOptions(ignore_object=True))
    assert ignored.object is None


def test_swapped_coordinates_are_recognised_and_can_be_told(tmp_path: Path) -> None:
    where = positions()
    where[0] = 16, 20
    where[1] = 10, 4
    path = save(tmp_path, xcoords=where[:, 0], ycoords=where[:, 1])
    with pytest.raises(DataError, match=r"got 1 outside .* set position_order to xy: swapped they fit"):
        read_scan(path)
    back = read_scan(path, ReadOptions(position_order="xy"))
    np.testing.assert_array_equal(back.positions_px, where)
    assert any("xcoords taken as rows" in note for note in back.notes)


def test_options_settle_what_the_file_leaves_open(tmp_path: Path) -> None:
    flat = np.sqrt(np.random.default_rng(0).poisson(9.0, (SIZE, SIZE, SIZE)))
    where = positions(SIZE)
    path = save(tmp_path, diffraction=flat, xcoords=where[:, 1], ycoords=where[:, 0])
    with pytest.raises(DataError, match="set the option axis_order"):
        read_scan(path)
    with pytest.raises(DataError, match="set the option zero_frequency"):
        read_scan(path, ReadOptions(axis_order="nyx"))
    back = read_scan(path, ReadOptions(axis_order="yxn", zero_frequency="corner", values="intensity"))
    np.testing.assert_array_equal(
        back.photons[:], np.fft.fftshift(np.moveaxis(flat, -1, 0).astype(np.float32), axes=(-2, -1))
    )


def nan_at(value: float, frame: int = 3) -> np.ndarray:
    frames = np.sqrt(centred_counts())
    frames[frame, 1, 2] = value
    return frames


def with_point(key_value: float) -> np.ndarray:
    column = positions()[:, 1].copy()
    column[2] = key_value
    return column


BROKEN_PROBE = probe()[0].copy()
BROKEN_PROBE[0, 0] = np.nan

FAULTS = {
    "NaN": (
        {"diffraction": nan_at(np.nan)},
        "diffraction: expected finite numbers >= 0, got 1 not finite, first in frame 3",
    ),
    "infinity": ({"diffraction": nan_at(np.inf)}, "diffraction: .* got 1 not finite, first in frame 3"),
    "negative": ({"diffraction": nan_at(-1.0)}, "diffraction: .* got 1 negative, first in frame 3"),
    "negative counts": ({"diffraction": nan_at(-1.0).astype(np.int32)}, "diffraction: .* got 1 negative"),
    "odd": (
        {"diffraction": centred_counts(size=9)},
        "diffraction: expected square frames of even size, got 9 x 9; crop",
    ),
    "oblong": ({"diffraction": centred_counts()[:, :, :6]}, "diffraction: expected square .* got 8 x 6"),
    "complex": ({"diffraction": centred_counts() + 0j}, "diffraction: expected real numbers, got complex64"),
    "strings": ({"diffraction": centred_counts().astype(str)}, "diffraction: expected real numbers, got <U"),
    "two axes": ({"diffraction": centred_counts()[0]}, r"diffraction: expected 3 axes, got shape \(8, 8\)"),
    "objects": (
        {"diffraction": np.array([np.ones((8, 8)), None, None, None, None], dtype=object)},
        "diffraction: expected numbers or text, got an object array.*convert",
    ),
    "pickled metadata": ({"_metadata": np.array({"a": 1}, dtype=object)}, "_metadata: .*object array"),
    "metadata of numbers": ({"_metadata": np.arange(3)}, "_metadata: expected one JSON string, got shape"),
    "metadata no JSON": ({"_metadata": np.array("{oops")}, "_metadata: expected JSON:"),
    "metadata a well": ({"_metadata": np.array("[" * 100_000)}, "_metadata: expected JSON: .*recursion"),
    "metadata a list": ({"_metadata": np.array("[1]")}, "_metadata: expected a JSON object, got list"),
    "bad scale": ({"_metadata": metadata(amplitude_scale=-1)}, "expected amplitude_scale > 0, got -1"),
    "no probe": (
        {"probeGuess": None},
        "expected the key 'probeGuess', found diffraction, xcoords, ycoords, objectGuess",
    ),
    "no x": ({"xcoords": None}, "expected the key 'xcoords', found"),
    "no frames": ({"diffraction": None}, "expected the key 'diffraction', found"),
    "few x": ({"xcoords": np.arange(4.0)}, r"xcoords, ycoords: expected as many .* got \{'ycoords': 5, 'xcoords': 4\}"),
    "few positions": (
        {"xcoords": np.arange(4.0), "ycoords": np.arange(4.0)},
        r"diffraction: expected 4 frames for as many positions, got shape \(5, 8, 8\)",
    ),
    "text positions": ({"xcoords": np.array(["a"] * N)}, "xcoords: expected real numbers, got <U1"),
    "NaN position": ({"xcoords": with_point(np.nan)}, r"xcoords: expected finite values, got 1 .* first at \[2\]"),
    "empty": (
        {"diffraction": np.empty((0, 8, 8), np.float32), "xcoords": np.empty(0), "ycoords": np.empty(0)},
        "diffraction: expected at least one frame, got an empty scan",
    ),
    "outside": ({"xcoords": with_point(200.0)}, r"inside objectGuess \(20, 24\), got 1 outside .* set ignore_object"),
    "real probe": ({"probeGuess": np.ones((8, 8))}, "probeGuess: expected complex numbers, got float64"),
    "small probe": (
        {"probeGuess": probe()[0, :6, :6]},
        r"probeGuess: expected \(8, 8\) or \(modes, 8, 8\) as the frames, got \(6, 6\)",
    ),
    "NaN probe": ({"probeGuess": BROKEN_PROBE}, r"probeGuess: expected finite values, got 1 .* first at \[0, 0, 0\]"),
    "dark probe": ({"probeGuess": 0 * probe()[0]}, "probeGuess: expected light, got a probe of power 0"),
    "real object": ({"objectGuess": np.ones(CANVAS)}, "objectGuess: expected complex numbers, got float64"),
    "NaN object": ({"objectGuess": np.nan * transmission()}, "objectGuess: expected finite values, got 480"),
    "mask of numbers": ({"mask": np.ones((8, 8))}, "mask: expected booleans, got float64"),
    "few numbers": (
        {"scan_index": np.arange(4)},
        r"scan_index: expected 5 whole numbers, one a frame, got shape \(4,\) of int64; correct it or leave it out",
    ),
    "fractional numbers": ({"scan_index": np.arange(5.0)}, r"scan_index: expected 5 whole .* shape \(5,\) of float64"),
    "mask shape": ({"mask": np.ones((8, 6), bool)}, r"mask: expected shape \(8, 8\) as the frames, got \(8, 6\)"),
}


@pytest.mark.parametrize(("changes", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_every_fault_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = save(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as caught:
        read_scan(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_foreign_file_is_refused_with_its_keys(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", images=np.ones(3), angle=np.ones(2))
    with pytest.raises(
        DataError, match=r"known format \(.*DATA-001: diffraction.*; tike: data.*\), found images, angle"
    ):
        read_scan(tmp_path / "f.npz")


def test_the_unpacked_limit_is_an_option(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "f.npz", **foreign())
    with pytest.raises(DataError, match="raise unpacked_limit_gib"):
        read_scan(tmp_path / "f.npz", ReadOptions(unpacked_limit_gib=1e-7))
    with pytest.raises(SettingsError, match="unpacked_limit_gib = 0"):
        ReadOptions.parse({"unpacked_limit_gib": 0})


def test_every_option_has_a_sentence_of_help() -> None:
    assert all((field.description or "").endswith((".", "]")) for field in ReadOptions.model_fields.values())


def test_writing_refuses_what_the_contract_does_not_hold(tmp_path: Path) -> None:
    oblong = Scan(
        Frames(np.ones((1, 8, 10), np.float32)), np.full((1, 2), 8.0), np.ones((1, 8, 10), np.complex64), CANVAS
    )
    path = tmp_path / "f.npz"
    with pytest.raises(DataError, match=r"f\.npz: diffraction: expected square frames of even size, got 8 x 10"):
        write_data001(path, oblong)
    with pytest.raises(DataError, match=r"f\.npz: _metadata: expected other names .* got amplitude_scale, canvas"):
        write_data001(path, scan(), {"canvas": 1, "amplitude_scale": 2, "mine": 3})
    with pytest.raises(DataError, match=r"f\.npz: _metadata: expected JSON-ready values .* not JSON serializable"):
        write_data001(path, scan(), {"when": object()})
    with pytest.raises(DataError, match=r"_metadata: expected JSON-ready values"):
        write_data001(path, scan(origin={"dose": float("nan")}))
    assert list(tmp_path.iterdir()) == []


def test_writing_that_fails_halfway_leaves_nothing(tmp_path: Path) -> None:
    """A disk that fails while the frames are written."""
    path = tmp_path / "f.npz"

    @dataclasses.dataclass(frozen=True)
    class Torn(Frames):
        def __getitem__(self, index: Any) -> np.ndarray:
            if "totals" in self.__dict__:  # known by the time the file is opened
                raise OSError("disk gone")
            return super().__getitem__(index)

    torn = scan(photons=Torn(centred_counts()))
    with pytest.raises(DataError, match="disk gone"):
        write_data001(path, torn)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/f\.npz: expected a writable place"):
        write_data001(tmp_path / "file" / "f.npz", scan())


def test_reading_needs_no_torch() -> None:
    code = "import sys, foldlight.io; assert not {'torch', 'scipy', 'h5py'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_odd_declarations_declare_nothing(tmp_path: Path) -> None:
    path = save(tmp_path, objectGuess=None, _metadata=metadata(zero_frequency=["centre"], axis_order={}, canvas="big"))
    np.testing.assert_array_equal(read_scan(path).photons[:], centred_counts())


def test_lengths_come_from_the_file_or_from_the_user(tmp_path: Path) -> None:
    path = save(tmp_path)
    assert read_scan(path).geometry is None
    given = read_scan(path, ReadOptions(energy_kev=8, distance_m=2, detector_pixel_um=75))
    assert given.geometry is not None
    np.testing.assert_allclose(given.geometry.pixel_size_m, 1.239841984e-6 / 8000 * 2 / (SIZE * 75e-6), rtol=1e-6)
    write_data001(tmp_path / "again.npz", given)
    assert read_scan(tmp_path / "again.npz").geometry == given.geometry
    corrected = read_scan(tmp_path / "again.npz", ReadOptions(pixel_nm=30)).geometry
    assert corrected is not None
    assert corrected.pixel_size_m == pytest.approx((30e-9, 30e-9))
