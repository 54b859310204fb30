"""Every row runs at toy size and gives finite numbers; how large they are is for benchmarks, not for tests."""

import importlib
import json

import numpy as np
import pytest

from benchmarks.results import result_from
from benchmarks.speed import SPEED
from benchmarks.speed_rows import cases, memory, network, training
from benchmarks.suite import Setup
from foldlight.reconstruct.constant import ConstantReconstructor

TOY = Setup("toy", repeats=1, seed=3)


def measured(name):
    row = next(row for row in SPEED.rows if row.name == name)
    module, function = row.function.split(":")
    return getattr(importlib.import_module(module), function)(TOY)


@pytest.fixture
def _no_processes(monkeypatch):
    """Stages of the memory row in this process; pty-chi's epochs as told, its object the best flat one."""
    monkeypatch.setattr(memory, "_run", lambda stage, arguments: getattr(memory, stage)(**arguments))

    def flat(scan, epochs, seed):
        return cases.Iteration(ConstantReconstructor().reconstruct(scan), np.full(epochs, 0.01 + seed))

    monkeypatch.setattr(network, "iterate", flat)
    monkeypatch.setattr(training, "iterate", flat)
    monkeypatch.setattr(ConstantReconstructor, "arm", "LSQML")


@pytest.mark.usefixtures("_no_processes")
@pytest.mark.parametrize("name", [row.name for row in SPEED.rows])
def test_a_row_gives_finite_numbers_of_its_own_name_or_a_reason(name):
    results = measured(name)
    assert results
    for result in results:
        assert result.row == name
        assert result_from(json.loads(json.dumps(result.plain(), allow_nan=False))) == result
        assert result.measured is not None or result.reason
    if name != "first-picture":
        assert any(result.measured for result in results)


@pytest.mark.slow
def test_a_real_iteration_gives_its_epochs_seconds():
    run = cases.iterate(cases.known_scan(TOY), epochs=3, seed=1)
    assert run.made.arm == "LSQML"
    assert run.epoch_seconds.shape == (3,)
    assert run.steady_s > 0
