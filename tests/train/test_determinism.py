"""Deterministic algorithms suffice for all of training and inference, and leave the process as it was."""

import os
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from foldlight.bundle import write_bundle
from foldlight.core.errors import SettingsError
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings
from foldlight.train.determinism import deterministic
from foldlight.train.fit import fit
from foldlight.train.settings import TrainingSettings

NETWORK = NetworkSettings(width=8, levels=1, consistency_steps=1)


@pytest.mark.parametrize("gridsize", [1, 2, 3])
def test_on_one_thread_training_and_inference_give_the_same_bits_with_and_without(tmp_path, gridsize):
    scan = simulate(SimulationSettings(object_size=80, window=16, positions=150, probe_diameter_px=8.0, dose=1e4))
    settings = TrainingSettings(gridsize=gridsize, epochs=1, batch_frames=16, guard_px=8.0, learning_rate=3e-3)
    digests, images = set(), []
    for name, block in (("plain", nullcontext()), ("deterministic", deterministic(1))):
        with block:
            model = fit(scan, NETWORK, settings, tmp_path / name, progress=False, keep_collapsed=True).model
            digests.add(write_bundle(tmp_path / f"{name}.zip", model))
            images.append(NeuralReconstructor(model, progress=False).reconstruct(scan).object)
    assert len(digests) == 1
    assert np.array_equal(*images)


def state() -> tuple:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.get_num_threads(),
        torch.get_rng_state().numpy().tobytes(),
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


@pytest.mark.parametrize("chosen", [None, ":16:8"])
def test_the_process_gets_back_what_it_had_even_after_an_error(monkeypatch, chosen):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if chosen:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", chosen)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = state()
    with deterministic(2) as facts:
        assert state()[:5] == (True, False, True, False, 2)
        assert facts["deterministic"] is True
        assert facts["threads"] == 2
        assert facts["cublas_workspace"] == os.environ["CUBLAS_WORKSPACE_CONFIG"] == (chosen or ":4096:8")
    assert state() == before
    with pytest.raises(ZeroDivisionError), deterministic(1):
        raise ZeroDivisionError
    assert state() == before


def test_an_operation_without_a_deterministic_form_is_refused_inside():
    with deterministic(1), pytest.raises(RuntimeError, match="deterministic"):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))


def test_inter_op_threads_are_fixed_once_and_a_second_wish_is_not_an_error():
    with deterministic(1) as first, deterministic(3) as second:
        assert (first["threads"], second["threads"]) == (1, 3)
        assert first["interop_threads"] == second["interop_threads"] == torch.get_num_interop_threads()


def test_no_threads_are_refused():
    with pytest.raises(SettingsError, match="threads = 0: expected 1 or more"), deterministic(0):
        pass
