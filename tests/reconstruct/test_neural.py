"""A network as a reconstructor: it carries all it needs, shares nothing with another one, and no block shows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from foldlight.bundle import Model, read_bundle, write_bundle
from foldlight.core.errors import DataError, SettingsError
from foldlight.frames import Frames
from foldlight.networks.generators import build
from foldlight.networks.settings import NetworkSettings
from foldlight.optics.coverage import well_lit
from foldlight.reconstruct.constant import ConstantReconstructor
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.sampling.tiles import frame_density, tile_for, tiles
from foldlight.scan import Scan
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings
from foldlight.train.fit import adapt

WINDOW = (16, 24)
UNROLLED = NetworkSettings(width=8, levels=1, consistency_steps=2)
PATCHES = NetworkSettings(kind="lifted", width=4, levels=2, consistency_steps=1)
WAYS = {"patches": (PATCHES, 4), "frames": (UNROLLED, 1), "groups": (UNROLLED, 4), "whole scan": (UNROLLED, 49)}
"""How a scan is taken: by which network, and with how many frames that had to agree in training."""
OTHERS = {
    "raw input": NetworkSettings(kind="raw", width=6, levels=1, consistency_steps=2),
    "other floors": PATCHES.model_copy(update={"light_floor": 2.0, "merge_floor": 0.01}),
    "other depth": NetworkSettings(width=8, levels=2, consistency_steps=1),
}


@pytest.fixture
def scan() -> Scan:
    """Rectangular counts under a complex, asymmetric two-mode probe at sub-pixel positions, some pixels masked."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[: WINDOW[0], : WINDOW[1]] - np.array(WINDOW)[:, None, None] / 2
    first = 30 * np.exp(-((y - 1) ** 2) / 20 - x**2 / 50 + 1j * (0.03 * y**2 + 0.01 * x * y))
    probe = np.stack([first, 0.2 * x * first]).astype(np.complex64)
    mask = rng.random(WINDOW) > 0.05
    counts = rng.poisson(100, (30, *WINDOW)).astype(np.float32)
    return Scan(Frames(counts), rng.uniform((8, 12), (32, 48), (30, 2)), probe, (40, 60), mask=mask)


def model_of(network: NetworkSettings, group_size: int = 4, size: float = 0.1) -> Model:
    """A network with noise on all of its weights, as some layers start at zero; `size` 0 leaves it untrained."""
    rng = np.random.default_rng(1)
    drawn = build(network, WINDOW, seed=1).state_dict()
    noisy = {name: value.numpy() + size * rng.normal(size=value.shape) for name, value in drawn.items()}
    return Model(network, WINDOW, group_size, {name: np.asarray(value, np.float32) for name, value in noisy.items()})


def image(model: Model, scan: Scan, **options) -> np.ndarray:
    return NeuralReconstructor(model, progress=False, **options).reconstruct(scan).object


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("other", OTHERS)
def test_loading_and_using_one_model_never_changes_another(scan, tmp_path, way, other):
    write_bundle(tmp_path / "a.zip", model_of(*WAYS[way]))
    a = read_bundle(tmp_path / "a.zip")
    kept = {name: value.copy() for name, value in a.weights.items()}
    before = image(a, scan)
    generator, dtype, threads = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    b = model_of(OTHERS[other])
    alone = image(b, scan)
    assert not np.array_equal(before, alone)
    assert np.array_equal(image(a, scan), before)
    assert np.array_equal(image(b, scan), alone)
    assert np.array_equal(image(read_bundle(tmp_path / "a.zip"), scan), before)
    assert all(np.array_equal(a.weights[name], value) for name, value in kept.items())
    assert torch.get_rng_state().equal(generator)
    assert (torch.get_default_dtype(), torch.get_num_threads()) == (dtype, threads)


def test_a_reconstruction_names_the_data_it_saw(scan, tmp_path):
    for reconstructor in (NeuralReconstructor(model_of(UNROLLED, 49), progress=False), ConstantReconstructor()):
        made = reconstructor.reconstruct(scan)
        assert made.data_digest == scan.digest()
        made.save(tmp_path / "made.npz")
        assert Reconstruction.load(tmp_path / "made.npz").data_digest == scan.digest()
        brighter = replace(scan, photons=replace(scan.photons, stored=scan.photons.stored + 1))
        assert reconstructor.reconstruct(brighter).data_digest != made.data_digest


@pytest.mark.parametrize("way", ["patches", "frames", "groups"])
def test_the_scan_may_come_in_any_blocks(scan, way):
    model = model_of(*WAYS[way])
    blocks = [image(model, scan, batch_frames=n) for n in (1, 7, 99)]
    for block in blocks[1:]:
        np.testing.assert_allclose(block, blocks[0], atol=1e-4)  # measured below 1e-5


@pytest.mark.parametrize("way", WAYS)
def test_what_bad_pixels_counted_changes_nothing(scan, way):
    stored = scan.photons.stored.copy()
    stored[:, ~scan.mask] = 1e9
    model = model_of(*WAYS[way])
    assert np.array_equal(image(model, replace(scan, photons=Frames(stored))), image(model, scan))


@pytest.mark.parametrize("way", WAYS)
def test_one_frame_is_a_scan(scan, way):
    made = image(model_of(*WAYS[way]), scan.select(np.array([3])))
    assert made.shape == scan.canvas
    assert np.isfinite(made).all()
    assert not np.array_equal(made, np.ones_like(made))


@pytest.mark.parametrize("way", WAYS)
def test_where_no_frame_looks_nothing_is_said(scan, way):
    padded = replace(scan, canvas=(scan.canvas[0] + 20, scan.canvas[1] + 30))
    made = image(model_of(*WAYS[way]), padded)
    assert (made[scan.canvas[0] :] == 1).all()
    assert (made[:, scan.canvas[1] :] == 1).all()
    np.testing.assert_allclose(made[: scan.canvas[0], : scan.canvas[1]], image(model_of(*WAYS[way]), scan), atol=1e-5)


@pytest.mark.parametrize("way", ["frames", "groups", "whole scan"])
def test_a_moved_scan_is_the_same_object_elsewhere(scan, way):
    """By any whole pixels: what a network works on is cut to the frames it has."""
    moved = replace(
        scan, positions_px=scan.positions_px + np.array([3, 5]), canvas=(scan.canvas[0] + 3, scan.canvas[1] + 5)
    )
    model = model_of(*WAYS[way])
    np.testing.assert_allclose(image(model, moved)[3:, 5:], image(model, scan), atol=1e-5)


@pytest.fixture(scope="module")
def large() -> Scan:
    settings = SimulationSettings(
        object_size=128, window=16, positions=1500, probe_diameter_px=8.0, dose=2e3, probe_kind="gaussian"
    )
    return simulate(settings)


class TestTiles:
    """A scan that memory can't hold at once."""

    def test_less_memory_makes_more_tiles(self, large, monkeypatch):
        made = []

        def counted(*given):
            made.append(tiles(*given))
            return made[-1]

        monkeypatch.setattr("foldlight.reconstruct.neural.tiles", counted)
        for memory in (1e9, 6e6):
            image(model_of(UNROLLED, 49, 0), large, memory_bytes=memory)
        assert len(made[0]) == 1
        assert len(made[1]) > 4
        assert tile_for(6e6, large.window, frame_density(large.positions_px), 16, 40) < 128

    def test_tiles_make_as_good_an_object_as_the_whole_scan(self, large):
        """And about the same: they differ by 3.7 % of it, where either is off the truth by 15 % (untrained, two steps).

        Not to the bit: each tile has its own best flat object to start from, and its own brightest pixel.
        """
        model = model_of(UNROLLED, 49, 0)
        whole, tiled = (image(model, large, memory_bytes=memory) for memory in (1e9, 6e6))
        lit = well_lit(ConstantReconstructor().reconstruct(large).coverage)

        def off(found: np.ndarray, expected: np.ndarray) -> float:
            found, expected = found[lit], expected[lit]
            overlap = np.vdot(found, expected)
            return np.linalg.norm(found * overlap / abs(overlap) - expected) / np.linalg.norm(expected)

        assert off(tiled, whole) < 0.05
        assert off(tiled, large.truth) < 1.05 * off(whole, large.truth) < 0.2

    def test_no_tile_fits_into_too_little_memory(self, large):
        with pytest.raises(SettingsError, match=r"tiles: expected .* MB or more for one tile of 16 px"):
            image(model_of(UNROLLED, 49), large, memory_bytes=1e3)


def test_a_network_can_be_made_to_fit_the_scan_first(large):
    """As `train.fit.adapt` does it; the time is told as training, and the model stays as it is."""
    model, some = model_of(UNROLLED, 49, 0), large.select(np.arange(60))
    before = model.digest()
    made = NeuralReconstructor(model, adapt_steps=3, seed=2, progress=False).reconstruct(some)
    adapted = adapt(some, model, 3, seed=2, progress=False).model
    assert np.array_equal(made.object, image(adapted, some))
    assert not np.array_equal(made.object, image(model, some))
    assert made.ledger.train_seconds > 0
    assert made.settings["training"]["start"] == before == model.digest()


def test_any_window_is_right_for_an_unrolled_network_and_only_its_own_for_patches(scan):
    with pytest.raises(DataError, match="expected frames of 24 x 24 px as in training, got 16 x 24; train a network"):
        image(replace(model_of(PATCHES), window=(24, 24)), scan)
    elsewhere = replace(model_of(UNROLLED, 49), window=(24, 24))
    assert np.array_equal(image(elsewhere, scan), image(model_of(UNROLLED, 49), scan))


def test_an_absent_device_is_refused(scan):
    with pytest.raises(SettingsError, match="device = 'cuda:99': expected one that torch can use here"):
        image(model_of(UNROLLED), scan, device="cuda:99")
