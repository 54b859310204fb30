"""Files as tike stores its test data: an asymmetric scan that the test makes, and the measured one where it is."""

import bz2
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared import same_experiment
from phantom import phantom_scan

from foldlight.core.errors import DataError
from foldlight.io import ReadOptions, read_scan, tike

N, HEIGHT, WIDTH, MODES = 6, 8, 12, 2
REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "siemens_star_small.npz.bz2"


def counts() -> np.ndarray:
    """(n, y, x) centred and asymmetric."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rate = 60 * np.exp(-((y - HEIGHT // 2) ** 2 + 0.5 * (x - WIDTH // 2) ** 2) / 6) + 0.3
    return np.random.default_rng(2).poisson(rate, (N, HEIGHT, WIDTH)).astype(np.float32)


def probe() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    bell = np.exp(-((y - HEIGHT // 2) ** 2 + (x - WIDTH // 2) ** 2) / 6 + 0.2j * y)
    return np.stack([bell, 0.3j * bell * (x - WIDTH // 2)]).astype(np.complex64)


def corners() -> np.ndarray:
    return np.random.default_rng(4).uniform((-9, -20), (9, 20), (N, 2)).astype(np.float32)


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    stored = {
        "data": np.fft.ifftshift(counts(), axes=(-2, -1))[None],
        "scan": corners()[None],
        "probe": probe()[None, None, None],
        **changes,
    }
    return {key: array for key, array in stored.items() if array is not None}


def save(folder: Path, pack: Any = bytes, **changes: Any) -> Path:
    stream = io.BytesIO()
    np.savez(stream, **arrays(**changes))
    (folder / "f.npz").write_bytes(pack(stream.getvalue()))
    return folder / "f.npz"


@pytest.mark.parametrize("pack", [bytes, bz2.compress, gzip.compress], ids=["plain", "bz2", "gz"])
def test_a_scan_is_brought_to_the_convention(tmp_path: Path, pack: Any) -> None:
    scan = read_scan(save(tmp_path, pack))
    np.testing.assert_array_equal(scan.photons[:], counts())
    assert isinstance(scan.photons.stored, np.memmap)
    move = scan.positions_px - corners()
    np.testing.assert_allclose(move, np.round(move[:1]).repeat(N, axis=0), atol=1e-9)
    assert scan.probe.shape == (MODES, HEIGHT, WIDTH)
    factor = scan.probe[0, HEIGHT // 2, WIDTH // 2] / probe()[0, HEIGHT // 2, WIDTH // 2]
    np.testing.assert_allclose(scan.probe, factor.real * probe(), rtol=1e-5)
    assert float((np.abs(scan.probe) ** 2).sum()) == pytest.approx(scan.photons.totals.mean(), rel=1e-5)
    assert scan.origin["format"] == "tike"
    notes = "\n".join(scan.notes)
    for word in (
        "zero frequency in the corner, moved to the centre",
        "minimum corners",
        "probe: unit unknown, rescaled",
    ):
        assert word in notes


def test_the_window_looks_where_its_corner_was(tmp_path: Path) -> None:
    """The window centred on a position begins at the minimum corner, moved by the same whole pixels as all others."""
    scan = read_scan(save(tmp_path))
    begin = scan.positions_px - np.array([HEIGHT, WIDTH]) // 2
    np.testing.assert_allclose(np.diff(begin, axis=0), np.diff(corners().astype(float), axis=0), atol=1e-6)
    assert begin.min() >= 2


def test_what_differs_from_the_convention_is_seen_and_told(tmp_path: Path) -> None:
    scan = read_scan(
        save(
            tmp_path,
            data=np.sqrt(counts()),
            probe=np.fft.ifftshift(probe(), axes=(-2, -1)),
            angle=np.zeros(1),
        )
    )
    np.testing.assert_array_equal(scan.photons[:], counts())
    notes = "\n".join(scan.notes)
    assert "amplitude, their squares are whole multiples of 1, although the format prescribes intensity" in notes
    assert "although the format prescribes corner" in notes
    assert "probe: its light was in the corners, moved to the centre" in notes
    assert "keys not used: angle" in notes
    assert np.abs(scan.probe[0]).argmax() == np.abs(probe()[0]).argmax()


def test_swapped_columns_are_taken_as_told(tmp_path: Path) -> None:
    straight = read_scan(save(tmp_path))
    swapped = read_scan(save(tmp_path, scan=corners()[:, ::-1]), ReadOptions(position_order="xy"))
    np.testing.assert_array_equal(swapped.positions_px, straight.positions_px)
    assert any("(x, y) swapped" in note for note in swapped.notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data": np.ones((3, N, 8, 8), np.float32)},
            r"data: expected a single scan, .* got shape \(3, 6, 8, 8\); save each",
        ),
        ({"scan": np.ones((2, N, 2))}, "scan: expected a single scan"),
        ({"probe": np.ones((1, 2, 2, 8, 12), np.complex64)}, "probe: expected a single scan"),
        ({"scan": np.ones((N, 3))}, r"scan: expected \(n, 2\) positions, got shape \(6, 3\)"),
        ({"scan": np.full((N, 2), np.nan)}, r"scan: expected finite values, got 12 that are not, first at \[0, 0\]"),
        ({"scan": np.ones((N - 1, 2))}, r"data: expected 5 frames for as many positions, got shape \(6, 8, 12\)"),
        ({"probe": probe()[:, :6]}, r"probe: expected \(8, 12\) or \(modes, 8, 12\) as the frames, got \(2, 6, 12\)"),
        ({"data": np.zeros((N, 8, 12), np.float32)}, "data: expected the direct beam .* got 0 %"),
        ({"probe": None}, "expected the key 'probe', found data, scan"),
        ({"probe": np.array("light")}, r"probe: expected complex numbers, got <U5"),
        ({"probe": np.full((1, 8, 12), 1e300 + 0j)}, "probe: expected finite values, got 96 that are not"),
        ({"mask": np.ones((8, 12))}, "mask: expected booleans, got float64"),
        (
            {"mask": np.ones((12, 8), bool)},
            r"data: expected bad pixels of shape \(8, 12\) as the frames, got \(12, 8\)",
        ),
        ({"data": np.full((N, 8, 12), -1.0)}, "data: .* got 576 negative, first in frame 0"),
    ],
)
def test_every_fault_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = save(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as caught:
        read_scan(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    before = phantom_scan()
    assert tike.write(tmp_path / "f.npz", before) == (tmp_path / "f.npz",)
    after = read_scan(tmp_path / "f.npz")
    same_experiment(after, before, pixels=False)
    factor = np.sqrt(before.photons.totals.mean() / np.sum(np.abs(before.probe) ** 2))  # its unit is lost
    np.testing.assert_allclose(after.probe, factor * before.probe, atol=1e-5 * np.abs(after.probe).max())
    assert isinstance(after.photons.stored, np.memmap)
    tike.write(tmp_path / "g.npz", before)
    assert (tmp_path / "f.npz").read_bytes() == (tmp_path / "g.npz").read_bytes()
    tike.write(tmp_path / "g.npz", after)
    same_experiment(read_scan(tmp_path / "g.npz"), before, pixels=False)
    with np.load(tmp_path / "f.npz") as archive:
        kinds = {key: (archive[key].dtype.str, archive[key].shape) for key in archive.files}
    assert kinds == {
        "data": ("<f4", (1, 7, 12, 16)),
        "scan": ("<f4", (1, 7, 2)),
        "probe": ("<c8", (1, 1, 1, 2, 12, 16)),
        "mask": ("|b1", (12, 16)),
    }


def test_lengths_come_from_the_user(tmp_path: Path) -> None:
    assert read_scan(save(tmp_path)).geometry is None
    known = read_scan(save(tmp_path), ReadOptions(pixel_nm=20)).geometry
    assert known is not None
    assert known.pixel_size_m == pytest.approx((20e-9, 20e-9))
    far = read_scan(save(tmp_path), ReadOptions(energy_kev=8, distance_m=2, detector_pixel_um=75)).geometry
    assert far is not None
    assert far.pixel_size_m == pytest.approx(tuple(1.239841984e-6 / 8000 * 2 / (n * 75e-6) for n in (HEIGHT, WIDTH)))


@pytest.mark.skipif(not REAL.exists(), reason="the measured scan is not beside the project")
def test_the_measured_scan() -> None:
    scan = read_scan(REAL)
    assert len(scan) == 516
    assert scan.window == (128, 128)
    assert scan.photons.totals.mean() == pytest.approx(4.61e5, rel=0.01)
    assert scan.photons.whole
    assert isinstance(scan.photons.stored, np.memmap)
    y, x = np.unravel_index(scan.photons.mean_frame.argmax(), scan.window)
    assert abs(y - 64) < 24
    assert abs(x - 64) < 24
    assert scan.photons.mean_frame[48:81, 48:81].sum() > 0.2 * scan.photons.mean_frame.sum()
    power = (np.abs(scan.probe[0]) ** 2) / (np.abs(scan.probe[0]) ** 2).sum()
    assert (power.sum(axis=1) @ np.arange(128), power.sum(axis=0) @ np.arange(128)) == pytest.approx((64, 64), abs=3)
    notes = "\n".join(scan.notes)
    for word in ("corner", "minimum corner", "rescaled"):
        assert word in notes
