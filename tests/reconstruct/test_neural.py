"""A network as a reconstructor: it carries all it needs, and shares nothing with another one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foldlight.bundle import Model, read_bundle, write_bundle
from foldlight.core.errors import DataError, SettingsError
from foldlight.networks.generators import build
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.constant import ConstantReconstructor
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.scan import Frames, Scan

WINDOW = (16, 24)
A = NetworkSettings(width=4, levels=2, consistency_steps=1)
OTHERS = {
    "raw input": NetworkSettings(kind="raw", width=6, levels=1, consistency_steps=2),
    "other floors": A.model_copy(update={"light_floor": 2.0, "merge_floor": 0.01}),
    "other depth": NetworkSettings(width=5, levels=3, consistency_steps=0),
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


def model_of(network: NetworkSettings, path: Path) -> Model:
    """A network with weights that are not zero anywhere, by way of its bundle."""
    rng = np.random.default_rng(1)
    shapes = {name: value.shape for name, value in build(network, WINDOW, seed=1).state_dict().items()}
    weights = {name: np.asarray(rng.normal(scale=0.1, size=s), dtype=np.float32) for name, s in shapes.items()}
    write_bundle(path, Model(network, WINDOW, 4, weights))
    return read_bundle(path)


def image(model: Model, scan: Scan) -> np.ndarray:
    return NeuralReconstructor(model, progress=False).reconstruct(scan).object


@pytest.mark.parametrize("other", OTHERS)
def test_loading_and_using_one_model_never_changes_another(scan, tmp_path, other):
    a = model_of(A, tmp_path / "a.zip")
    kept = {name: value.copy() for name, value in a.weights.items()}
    before = image(a, scan)
    generator, dtype, threads = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    b = model_of(OTHERS[other], tmp_path / "b.zip")
    alone = image(b, scan)
    assert not np.array_equal(before, alone)
    assert np.array_equal(image(a, scan), before)
    assert np.array_equal(image(b, scan), alone)
    assert np.array_equal(image(read_bundle(tmp_path / "a.zip"), scan), before)
    assert all(np.array_equal(a.weights[name], value) for name, value in kept.items())
    assert torch.get_rng_state().equal(generator)
    assert (torch.get_default_dtype(), torch.get_num_threads()) == (dtype, threads)


def test_a_reconstruction_names_the_data_it_saw(scan, tmp_path):
    model = model_of(A, tmp_path / "a.zip")
    for reconstructor in (NeuralReconstructor(model, progress=False), ConstantReconstructor()):
        made = reconstructor.reconstruct(scan)
        assert made.data_digest == scan.digest()
        made.save(tmp_path / "made.npz")
        assert Reconstruction.load(tmp_path / "made.npz").data_digest == scan.digest()
        brighter = replace(scan, photons=replace(scan.photons, stored=scan.photons.stored + 1))
        assert reconstructor.reconstruct(brighter).data_digest != made.data_digest


def test_the_scan_may_come_in_any_blocks(scan, tmp_path):
    model = model_of(A, tmp_path / "a.zip")
    blocks = [NeuralReconstructor(model, batch_frames=n, progress=False).reconstruct(scan).object for n in (1, 7, 99)]
    for block in blocks[1:]:
        np.testing.assert_allclose(block, blocks[0], atol=1e-5)  # measured below 1e-6


def test_another_window_or_an_absent_device_is_refused(scan, tmp_path):
    model = model_of(A, tmp_path / "a.zip")
    with pytest.raises(DataError, match="expected frames of 24 x 24 px as in training, got 16 x 24; train a network"):
        image(replace(model, window=(24, 24)), scan)
    with pytest.raises(SettingsError, match="device = 'cuda:99': expected one that torch can use here"):
        NeuralReconstructor(model, device="cuda:99", progress=False).reconstruct(scan)
