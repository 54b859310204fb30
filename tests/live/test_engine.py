"""Updates are bounded, take every frame once and the oldest first, and end up at the offline reconstruction."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_models import PATCHES, UNROLLED, WINDOW, model_of

from foldlight.bundle import pretrained
from foldlight.core.errors import DataError, SettingsError
from foldlight.live.engine import LiveEngine, with_probe
from foldlight.live.follow import Piece, Start
from foldlight.live.mosaic import Mosaic
from foldlight.live.pictures import draw
from foldlight.live.settings import LiveSettings
from foldlight.optics.coverage import well_lit
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.sampling.tiles import Box


def start_of(scan, **changes) -> Start:
    dtype = np.dtype(np.uint32 if scan.photons.whole else np.float32)
    return replace(Start(scan.window, dtype, scan.photons.whole, scan.mask, scan.probe, scan.canvas), **changes)


def piece(scan, part: slice) -> Piece:
    return Piece(scan.photons[part], scan.positions_px[part])


def fed(engine: LiveEngine, scan, burst: int) -> list:
    """What the updates did while the scan came in bursts."""
    done = []
    for first in range(0, len(scan), burst):
        engine.add(piece(scan, slice(first, first + burst)))
        done.append(engine.update())
    while engine.waiting:
        done.append(engine.update())
    assert engine.update() is None
    return done


@pytest.fixture
def engines():
    made = []
    yield lambda *words: made.append(LiveEngine(*words)) or made[-1]
    for each in made:
        each.close()


@settings(max_examples=8, deadline=None)
@given(burst=st.integers(3, 60), most=st.integers(2, 40), region=st.integers(1, 60), tile=st.integers(16, 96), skip=...)
def test_every_frame_is_taken_once_within_bounds(burst: int, most: int, region: int, tile: int, skip: bool, odd, nets):
    bounds = LiveSettings(new_frames=most, region_frames=region, tile_px=tile, allow_skip=skip)
    engine = LiveEngine(nets["odd"], start_of(odd), bounds)
    done = fed(engine, odd, burst)
    assert sum(each.new for each in done) == engine.reconstructed == engine.taken == engine.in_order == len(odd)
    assert all(1 <= each.new <= most and each.new + each.context <= max(region, each.new) for each in done)
    assert all(len(each.delays_s) == each.new and (each.delays_s >= 0).all() for each in done)
    assert (engine.waiting, engine.deferred, engine.dropped) == (0, 0, 0)
    engine.close()


@pytest.fixture(scope="module")
def nets():
    return {"odd": model_of(UNROLLED, window=WINDOW), "patches": model_of(PATCHES, 4, WINDOW)}


def test_the_oldest_come_first_and_with_skipping_the_whole_scan_is_seen_early(odd, nets, engines):
    few = LiveSettings(new_frames=5, tile_px=4096)
    for skip, seen in ((False, [0, 1, 2, 3, 4]), (True, [0, 8, 16, 24, 32])):
        engine = engines(nets["odd"], start_of(odd), few.model_copy(update={"allow_skip": skip}))
        engine.add(piece(odd, slice(None)))
        engine.update()
        assert np.flatnonzero(engine._done).tolist() == seen
        assert engine.deferred == (35 if skip else 0)
        assert engine.waiting == 35
        assert engine.in_order == (1 if skip else 5)


def test_a_live_image_comes_close_to_the_offline_one(engines):
    """With the packaged network, whatever the bursts: both miss the truth by about as much, and agree."""
    from foldlight.simulate.acquire import simulate
    from foldlight.simulate.settings import SimulationSettings

    scan = simulate(SimulationSettings(object_size=96, window=32, positions=150, probe_diameter_px=14, dose=1e5))
    offline = NeuralReconstructor(pretrained(), progress=False).reconstruct(scan)
    lit = well_lit(offline.coverage)
    for burst in (11, 64):
        engine = engines(pretrained(), start_of(scan), LiveSettings())
        fed(engine, scan, burst)
        image, light = engine.mosaic.cut(Box(0, 0, *scan.canvas))
        one, other = image[lit], offline.object[lit]
        assert abs(np.vdot(one, other)) / np.linalg.norm(one) / np.linalg.norm(other) > 0.99
        against_truth = [
            abs(np.vdot(each - each.mean(), scan.truth[lit] - scan.truth[lit].mean()))
            / np.linalg.norm(each - each.mean())
            / np.linalg.norm(scan.truth[lit] - scan.truth[lit].mean())
            for each in (one, other)
        ]
        assert against_truth[0] > against_truth[1] - 0.05
        assert light[lit].min() > 0


def test_patches_of_single_frames_work_too(odd, nets, engines):
    engine = engines(nets["patches"], start_of(odd), LiveSettings())
    fed(engine, odd, 13)
    image, light = engine.mosaic.cut()
    assert np.isfinite(image).all()
    assert light.max() > 0


def test_what_can_be_no_frame_is_dropped_and_told(odd, nets, engines):
    engine = engines(nets["odd"], start_of(odd), LiveSettings())
    frames, places = odd.photons[:6], odd.positions_px[:6].copy()
    frames[1, 3, 3], frames[2, 0, 0] = np.nan, -1
    places[3], places[4] = np.nan, 1e9
    engine.add(Piece(frames, places))
    assert (engine.taken, engine.dropped) == (2, 4)
    engine.add(Piece(odd.photons[:1], np.array([[9e5, 9e5]])))
    assert engine.dropped == 5
    assert engine.reasons == {
        "their position is not a number of pixels": 2,
        "their photons are negative or not finite": 2,
        "they lie too far from the rest for one image": 1,
    }
    engine.update()
    assert engine.reconstructed == 2


def test_the_scan_stays_on_its_canvas_where_that_holds_it(odd, nets, engines):
    for canvas, same in ((odd.canvas, True), ((40, 60), False), (None, False)):
        engine = engines(nets["odd"], start_of(odd, canvas=canvas), LiveSettings())
        engine.add(piece(odd, slice(None)))
        scan, moved = engine.scan({"who": "test"})
        assert (scan.canvas == canvas) is same
        assert np.allclose(scan.positions_px - odd.positions_px, moved)
        assert np.array_equal(scan.photons[:], odd.photons[:])
    with pytest.raises(DataError, match="expected one frame or more, got none"):
        engines(nets["odd"], start_of(odd), LiveSettings()).scan({})


def test_networks_that_do_not_fit_are_refused(odd, nets):
    with pytest.raises(DataError, match="expected a probe, got none; give one with --probe"):
        LiveEngine(nets["odd"], start_of(odd, probe=None), LiveSettings())
    with pytest.raises(SettingsError, match="expected a network that takes regions or single frames"):
        LiveEngine(model_of(UNROLLED, 4), start_of(odd), LiveSettings())
    with pytest.raises(DataError, match=r"expected frames of \(32, 32\) px as in training, got \(16, 24\)"):
        LiveEngine(model_of(PATCHES, 4), start_of(odd), LiveSettings())
    assert with_probe(start_of(odd), None).probe is odd.probe
    with pytest.raises(DataError, match=r"probe: expected \(mode, 16, 24\)"):
        with_probe(start_of(odd), np.ones((1, 8, 8)))


def test_a_mosaic_keeps_the_best_lit_estimate_and_grows():
    rng = np.random.default_rng(0)
    mosaic = Mosaic()
    first = (1 + 0.1 * rng.normal(size=(6, 8))).astype(np.complex64)
    bright, dim = np.full((6, 8), 10, np.float32), np.full((6, 8), 4, np.float32)
    mosaic.blend(first, bright, (-3, 5))
    mosaic.blend(1j * first, bright, (-3, 5))  # the same but for its phase
    assert np.allclose(mosaic.cut()[0], first, atol=1e-6)
    mosaic.blend(first * 2, dim, (-3, 5))
    assert np.allclose(mosaic.cut()[0], first, atol=1e-6)
    mosaic.blend(first * 3, 2 * bright, (-3, 5))
    assert np.allclose(mosaic.cut()[0], 3 * first, atol=1e-5)
    mosaic.blend(first, bright, (20, -9))
    assert mosaic.box == Box(-3, -9, 26, 13)
    image, light = mosaic.cut()
    assert np.allclose(image[23:, :8], first)
    assert np.allclose(image[:6, 14:], 3 * first, atol=1e-5)
    assert image[10, 0] == 1
    assert light.sum() == pytest.approx(48 * 30)
    wide, _ = mosaic.cut(Box(-100, -100, 100, 100))
    assert np.array_equal(wide[97:126, 91:113], image)


def test_pictures_are_pngs_with_blank_pixels_where_nothing_was_seen():
    from io import BytesIO

    from PIL import Image

    y, x = np.mgrid[:60, :90]
    image = ((0.5 + y / 120) * np.exp(1j * x / 90)).astype(np.complex64)
    light = np.where(x < 30, 0, 5).astype(np.float32)
    for longest in (90, 30):
        found = draw(image, light, longest)
        assert found["phase"].high - found["phase"].low == pytest.approx(2 / 3, abs=0.05)
        assert found["amplitude"].low == pytest.approx(0.5, abs=0.02)
        for each in found.values():
            shown = np.asarray(Image.open(BytesIO(each.png)).convert("RGBA"))
            assert shown.shape[:2] == (60 * longest // 90, longest)
            assert (shown[:, : longest // 4, 3] == 0).all()
            assert (shown[:, longest // 2 :, 3] == 255).all()
    assert draw(image, light * 0, 90)["phase"].png.startswith(b"\x89PNG")
    assert draw(image[:0, :0], light[:0, :0], 90)["phase"].png.startswith(b"\x89PNG")
