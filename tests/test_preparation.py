"""A base from a measured scan: the laws of each cleaning step, and one real run of the whole."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from foldlight.compare.align import own_gauge
from foldlight.core.errors import DataError, EngineError
from foldlight.frames import Frames
from foldlight.io import read_scan, write_data001
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.preparation.clean import bounded, continued, strongest_modes, tapered, without_gauge
from foldlight.preparation.run import faded, prepare, residual_deviance
from foldlight.preparation.settings import PreparationSettings
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.report.figures import object_picture
from foldlight.scan import Scan
from foldlight.simulate.acquire import acquire, expected_frames
from foldlight.simulate.objects import make_object

CANVAS = (76, 92)
H, W = 24, 32


def lopsided(height: int, width: int) -> np.ndarray:
    """A curved probe that is dark at the window's edges and unlike its mirror images."""
    y, x = np.mgrid[:height, :width] - np.array([height // 2, width // 2])[:, None, None]
    phase = 0.03 * y**2 + 0.02 * x**2 + 0.01 * x * y
    envelope = np.exp(-((y / height - 0.03) ** 2) * 45 - (x / width) ** 2 * 40)
    return (envelope * (1 + 0.02 * x) * np.exp(1j * phase))[None].astype(np.complex64)


def spots(window: tuple[int, int], canvas: tuple[int, int], step: float) -> np.ndarray:
    """Sub-pixel positions over the canvas."""
    rng = np.random.default_rng(3)
    low, high = np.array(window) // 2 + 1.0, np.array(canvas) - np.array(window) // 2 - 1.0
    rows, columns = (np.arange(first, last, step) for first, last in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.clip(grid + rng.uniform(-1, 1, grid.shape), low, high)


PROBE = lopsided(H, W)
POSITIONS = spots((H, W), CANVAS, 5.0)
COVERAGE = coverage_map(PROBE, POSITIONS, CANVAS)
LIT = well_lit(COVERAGE)


@pytest.fixture
def image() -> np.ndarray:
    """A transmission with an edge or two, its outside as noisy as a reconstruction leaves it."""
    rng = np.random.default_rng(7)
    inside = make_object("dead-leaves", CANVAS, rng)
    noise = rng.normal(size=CANVAS) + 1j * rng.normal(size=CANVAS)
    return np.where(LIT, inside, 3 * noise)


def frames(image: np.ndarray, probe: np.ndarray) -> np.ndarray:
    return np.concatenate(expected_frames(image, probe, POSITIONS))


def turned(image: np.ndarray, ramp: tuple[float, float]) -> np.ndarray:
    y, x = np.indices(image.shape)
    return image * np.exp(1j * (ramp[0] * y + ramp[1] * x + 0.7))


def test_the_gauge_goes_from_object_to_probe_and_no_frame_changes(image):
    tilted = turned(image, (0.11, -0.23))
    plain, probe, gauge = without_gauge(tilted, PROBE, COVERAGE)
    there = frames(tilted, PROBE)
    np.testing.assert_allclose(frames(plain, probe), there, atol=2e-4 * there.max())  # measured 7e-5
    assert np.abs(frames(plain, PROBE) - there).max() > 0.1 * there.max()  # the object's alone would move them
    untilted = own_gauge(image, COVERAGE)[1].ramp_rad_per_px
    assert np.subtract(gauge.ramp_rad_per_px, untilted) == pytest.approx((0.11, -0.23), abs=2e-3)
    again = without_gauge(plain, probe, COVERAGE)[2]
    assert np.abs(again.ramp_rad_per_px).max() < 1e-3
    assert again.scale == pytest.approx(1, abs=1e-2)


def test_a_bounded_object_lets_through_no_more_than_all(image):
    outlier = np.argwhere(LIT)[100]
    image[tuple(outlier)] *= 9
    found, probe, limit = bounded(image, PROBE, LIT)
    assert np.abs(found).max() == pytest.approx(1)
    assert np.abs(found[LIT]).mean() > 0.5
    same = np.abs(image) <= limit
    assert same[LIT].mean() > 0.99
    np.testing.assert_allclose((found * probe.max())[same], (image * PROBE.max())[same], rtol=1e-6)
    np.testing.assert_allclose(np.angle(found), np.angle(image), atol=1e-9)
    again, _, factor = bounded(found, probe, LIT)
    assert factor == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(again, found, atol=1e-12)


def test_what_is_outside_is_forgotten_and_what_is_inside_is_kept(image):
    found = continued(image, LIT)
    assert np.array_equal(found[LIT], image[LIT])
    np.testing.assert_array_equal(continued(np.where(LIT, image, np.nan), LIT), found)
    np.testing.assert_allclose(continued(found, LIT), found, atol=1e-12)
    assert np.abs(found).max() <= np.abs(image[LIT]).max()


def test_a_continuation_joins_smoothly_and_ends_in_the_mean():
    y, x = np.indices((120, 160))
    image = np.exp(0.4j * np.sin(y / 9 + x / 13)) * (0.8 + 0.1 * np.cos(x / 11))
    lit = (np.abs(y - 60) < 25) & (np.abs(x - 40) < 30)
    found = continued(image, lit, fade_px=8.0)
    steps = [np.abs(np.diff(found, axis=axis)) for axis in (0, 1)]
    inside = max(np.abs(np.diff(image, axis=axis)).max() for axis in (0, 1))
    assert max(step.max() for step in steps) < 2.5 * inside  # measured 1.9, at the corners
    assert np.abs(found[:, 150:] - image[lit].mean()).max() < 1e-3
    assert np.array_equal(continued(image, np.ones_like(lit)), image)


def test_the_strongest_modes_are_kept_as_they_are():
    modes = np.concatenate([0.5 * PROBE[:, ::-1], PROBE, 0.1 * PROBE[:, :, ::-1]])
    kept, share = strongest_modes(modes, 1)
    assert np.array_equal(kept, PROBE)
    assert share == pytest.approx(1 / 1.26)
    assert np.array_equal(strongest_modes(modes, 2)[0], modes[[1, 0]])
    assert strongest_modes(modes, 5)[1] == pytest.approx(1)


def test_a_tapered_probe_ends_dark_and_says_what_it_lost():
    noisy = PROBE + 0.1 * np.random.default_rng(1).normal(size=PROBE.shape).astype(np.float32)
    found, lost = tapered(noisy, 1 / 4)
    assert not found[:, [0, -1]].any()
    assert not found[:, :, [0, -1]].any()
    inner = (0, slice(H // 4, -H // 4), slice(W // 4, -W // 4))
    np.testing.assert_allclose(found[inner], noisy[inner])
    power = [np.sum(np.abs(probe) ** 2, dtype=np.float64) for probe in (found, noisy)]
    assert lost == pytest.approx(1 - power[0] / power[1], abs=1e-6)
    assert 0 < lost < 0.2
    assert tapered(PROBE, 1 / 8)[1] < 1e-3


def reconstruction(scan: Scan, probe: np.ndarray) -> Reconstruction:
    ledger = Ledger(0.0, 0.0, 1, len(scan), float(scan.photons.totals.sum()))
    return Reconstruction("LSQML", scan.object, probe, scan.positions_px, COVERAGE, ledger)


def test_noise_at_the_probes_edges_goes_and_light_that_was_counted_stays(image):
    rng = np.random.default_rng(5)
    speckle = (rng.normal(size=PROBE.shape) + 1j * rng.normal(size=PROBE.shape)).astype(np.complex64)
    wide = PROBE + 0.05 * speckle
    narrow, broad = (acquire(continued(image, LIT), probe, POSITIONS, 2e4, 1) for probe in (PROBE, wide))
    noisy, note = faded(reconstruction(narrow, narrow.probe + 1e-3 * np.abs(narrow.probe).max() * speckle), narrow)
    assert "faded out over 6 px at each edge" in note
    assert not noisy[:, 0].any()
    kept, note = faded(reconstruction(broad, broad.probe), broad)
    assert kept is broad.probe
    assert "the counts confirm it" in note


@pytest.fixture(scope="module")
def measured() -> Scan:
    """Counted frames behind a probe of which only a wrong guess is known."""
    n = 32
    probe = lopsided(n, n)
    y, x = np.mgrid[:n, :n] - n // 2
    truth = make_object("dead-leaves", CANVAS, np.random.default_rng(7))
    scan = acquire(truth, probe, spots((n, n), CANVAS, 6.0), 5e4, seed=2)
    guess = (scan.probe * np.exp(0.004j * (x**2 + y**2))).astype(np.complex64)
    guess = np.concatenate([0.2 * guess[:, :, ::-1], guess])  # and another mode, which is not there
    return replace(scan, probe=guess, origin={"sha256": "0" * 64})


@pytest.fixture(scope="module")
def base(measured) -> Scan:
    return prepare(measured, PreparationSettings(epochs=20, threads=1))


def test_a_base_keeps_frames_and_positions_and_has_a_sound_object_and_probe(measured, base):
    assert base.photons is measured.photons
    assert base.positions_px is measured.positions_px
    assert not base.object_is_truth
    assert base.object.shape == measured.canvas
    assert base.probe.shape == (1, *measured.window)
    assert np.isfinite(base.object).all()
    assert np.isfinite(base.probe).all()
    assert np.abs(base.object).max() <= 1 + 1e-6
    lit = well_lit(coverage_map(base.probe, base.positions_px, base.canvas))
    truth, found = measured.object[lit], base.object[lit]
    assert abs(np.vdot(truth, found)) / np.linalg.norm(truth) / np.linalg.norm(found) > 0.98


def test_a_base_says_how_well_it_explains_the_counts(measured, base):
    facts = base.origin["preparation"]
    ledger = Ledger(0.0, 0.0, 1, len(base), 0.0)
    shown = Reconstruction("base", base.object, base.probe, base.positions_px, np.ones(base.canvas), ledger)
    assert residual_deviance(shown, measured) == pytest.approx(facts["deviance_base"], rel=1e-3)
    assert facts["deviance_base"] < 1.5 * facts["deviance_reconstruction"]  # measured 1.29, half the frames see the rim
    expected = sum(block.sum() for block in expected_frames(base.object, base.probe, base.positions_px))
    assert expected == pytest.approx(measured.photons.totals.sum(), rel=1e-4)
    assert facts["epochs"] == facts["settings"]["epochs"] == 20
    told = "\n".join(base.notes)
    for words in (
        "20 epochs from a flat object",
        "a single mode",
        "begun with 1 of 2 modes",
        "smooth continuation",
        "as given",
    ):
        assert words in told


def test_a_base_comes_back_from_its_file_and_new_scans_look_like_the_measured_one(measured, base, tmp_path):
    write_data001(tmp_path / "base.npz", base)
    read = read_scan(tmp_path / "base.npz")
    assert np.array_equal(read.object, base.object)
    assert not read.object_is_truth
    assert read.origin["metadata"]["source"]["sha256"] == "0" * 64
    assert read.origin["metadata"]["source"]["preparation"] == base.origin["preparation"]
    again = acquire(read.object, read.probe, read.positions_px, 5e4, seed=9)
    pairs = zip(np.sqrt(again.photons[:]), np.sqrt(measured.photons[:]), strict=True)
    assert np.mean([np.corrcoef(one.ravel(), two.ravel())[0, 1] for one, two in pairs]) > 0.97


def test_refusals_come_before_the_work(measured, monkeypatch, tmp_path):
    rectangular = Scan(Frames(np.ones((len(POSITIONS), H, W), np.float32)), POSITIONS, PROBE, CANVAS)
    with pytest.raises(DataError, match=r"base: expected square frames, got 24 x 32 px; crop or pad"):
        prepare(rectangular, PreparationSettings())
    with pytest.raises(DataError, match="object picture: expected a scan with an object, got none"):
        object_picture(rectangular, tmp_path / "picture.png")
    monkeypatch.setitem(sys.modules, "ptychi", None)
    with pytest.raises(EngineError, match=r"pip install 'foldlight\[ptychi\]'"):
        prepare(measured, PreparationSettings(), tmp_path / "engine.log")
    assert not list(tmp_path.iterdir())
