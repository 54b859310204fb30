"""Forecasts are made of pieces of a scan, in seconds, and memory is told before it is short."""

from dataclasses import replace

import numpy as np
import psutil
import pytest

from foldlight import forecast as module
from foldlight.forecast import forecast, memory_gb, shortage
from foldlight.frames import LazyFrames
from foldlight.optics.probes import zone_plate
from foldlight.scan import place_on_canvas
from foldlight.simulate.lazily import acquire_lazily
from foldlight.simulate.objects import make_object
from foldlight.simulate.trajectories import jittered_raster

WINDOW = (16, 24)


def lazy(frames, window=WINDOW, modes=1, seed=0):
    rng = np.random.default_rng(seed)
    positions = jittered_raster(frames, ((0, 0), (3 * np.sqrt(frames), 3 * np.sqrt(frames))), rng)
    placed, canvas = place_on_canvas(positions, window)
    truth = make_object("dead-leaves", canvas, rng)
    probe = np.concatenate([zone_plate(window, 8.0) * (0.5**mode) for mode in range(modes)])
    return acquire_lazily(truth, probe, placed, 200.0, seed)


@pytest.fixture(scope="module")
def scan():
    return lazy(900)


def test_every_engine_gets_a_time_a_memory_and_words(scan):
    told = {each.engine: each for each in forecast(scan)}
    assert set(told) == {"network", "hybrid", "ml", "lsqml", "train"}
    for each in told.values():
        assert 0 < each.seconds < 3600
        assert 0.2 < each.memory_gb < 3
        assert each.steps
    assert told["hybrid"].seconds > told["network"].seconds


def test_only_the_middle_of_a_scan_is_read(scan):
    read = set()

    def make(numbers):
        read.update(numbers.tolist())
        return scan.photons.stored.make(numbers)

    frames = LazyFrames(make, scan.photons.stored.numbers, WINDOW, scan.photons.stored.dtype)
    forecast(replace(scan, photons=replace(scan.photons, stored=frames)))
    assert 300 < len(read) <= 400
    centre = np.median(scan.positions_px, axis=0)
    far = np.abs(scan.positions_px[sorted(read)] - centre).max()
    assert far < 0.8 * np.abs(scan.positions_px - centre).max()


def test_scaled_photons_have_no_training_to_be_forecast(scan):
    told = forecast(replace(scan, photons=replace(scan.photons, whole=False)))
    assert "train" not in {each.engine for each in told}


def test_a_scan_smaller_than_any_piece_is_timed_whole():
    assert {each.engine for each in forecast(lazy(12))} >= {"network", "ml"}


@pytest.mark.parametrize("engine", ["network", "hybrid", "ml", "lsqml", "rpie", "train"])
def test_memory_grows_with_frames_and_modes(scan, engine):
    small = memory_gb(scan.select(np.arange(0, 900, 30)), engine)
    assert small <= memory_gb(scan, engine) <= memory_gb(lazy(900, modes=3), engine)
    assert small < memory_gb(lazy(900, (48, 64)), engine)


def test_a_shortage_is_told_with_what_to_do(scan, monkeypatch):
    assert shortage(scan, "ml") is None
    free = psutil.virtual_memory()._replace(available=2 * 10**8)
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: free)
    with_numbers = shortage(scan, "ml")
    assert with_numbers is not None
    assert "ml is expected to take 0.3 GB with this scan, 0.2 GB are free; take a part of the scan" in with_numbers
