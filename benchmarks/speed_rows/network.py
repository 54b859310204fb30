"""What a pass of the network costs, from a file to an object."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import Work, convolution_rate, transform_seconds, work_of
from benchmarks.results import Result, Target, ratio, series
from benchmarks.speed_rows.cases import (
    CONVERGED_EPOCHS,
    WINDOW,
    Iteration,
    floors,
    iterate,
    known_scan,
    package_model,
    spread_scan,
    untrained_model,
)
from benchmarks.suite import Setup
from benchmarks.timing import interleaved, timed
from foldlight.io import read_scan, write_data001
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.neural import NeuralReconstructor

__all__ = ["inference", "throughput"]

_UNIT = "core-ms a frame"
_INFERENCE = Target("<= 2 core-ms a frame", 2.0, "at most")
_TWO_CORES = Target(">= 500 frames/s", 500.0, "at least")
_GPU = {
    window: Target(f">= {rate / 1e3:.0f} k frames/s on a GPU", rate, "at least")
    for window, rate in ((64, 1e5), (128, 4e4), (256, 1e4))
}
_FRAMES = {64: 1024, 128: 256, 256: 64}  # as many pixels of each size


def inference(setup: Setup) -> Sequence[Result]:
    """A pass with reading and stitching, against LSQML, patches and the machine's peaks; LSQML's epoch itself."""
    scan, network = known_scan(setup), NeuralReconstructor(package_model(setup), progress=False)
    patches = NeuralReconstructor(untrained_model(NetworkSettings(kind="lifted"), 1, setup), progress=False)
    work = work_of(lambda: network.reconstruct(scan), WINDOW)
    runs: list[Iteration] = []

    def epoch() -> float:
        runs.append(iterate(scan, CONVERGED_EPOCHS, setup.seed))
        return runs[-1].steady_s

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.npz"
        write_data001(path, scan)
        read = interleaved(
            setup.repeats,
            {
                "pass": lambda: timed(lambda: network.reconstruct(read_scan(path))),
                "patches": lambda: timed(lambda: patches.reconstruct(read_scan(path))),
                "epoch": epoch,
                "flop": convolution_rate,
                "transform": lambda: transform_seconds(WINDOW),
            },
        )
    frames = len(scan)
    measured, apart, iteration = (
        series(_UNIT, 1e3 * np.array(read[name]) / frames) for name in ("pass", "patches", "epoch")
    )
    converged = series(_UNIT, CONVERGED_EPOCHS * np.array(iteration.values))
    own = Work(work.flops / frames, work.transforms / frames)
    least = series(_UNIT, 1e3 * 2 * np.array(read["transform"]))
    return [
        Result(
            "inference",
            "one pass of the package's network, from a file to the object",
            measured,
            (
                ratio(f"LSQML, {CONVERGED_EPOCHS} epochs", "peer", measured, converged),
                ratio("a patch of each frame apart, lifted", "peer", measured, apart),
                *floors(measured, own, read["flop"], read["transform"]),
            ),
            _INFERENCE,
            note="LSQML's epochs are timed inside its process, after the first; a pass includes reading, the probe's"
            " sub-pixel moves, light and stitching",
            facts={
                "frames": frames,
                "canvas_px_per_frame": scan.canvas[0] * scan.canvas[1] / frames,
                "flop_per_frame": own.flops,
                "transforms_per_frame": own.transforms,
                "frames_per_s": 1e3 / measured.spread.median,
            },
        ),
        Result(
            "inference",
            "pty-chi LSQML, an epoch, known probe",
            iteration,
            (ratio("two transforms a frame", "limit", iteration, least),),
            facts={"frames": frames, "batch": runs[0].made.settings.get("batch_size")},
        ),
    ]


def throughput(setup: Setup) -> Sequence[Result]:
    """Frames a second from a file to the object on all cores, and on a GPU where there is one, for three windows."""
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    return [
        _rate(setup, window, device) for device in devices for window in (_FRAMES if setup.size != "toy" else (64,))
    ]


def _rate(setup: Setup, window: int, device: str) -> Result:
    """Of one window on one device; the first pass, in which libraries warm up, is not counted."""
    gpu = device == "cuda"
    frames = setup.pick(16, _FRAMES[window], 4 * _FRAMES[window] * (8 if gpu else 1))
    scan = spread_scan(setup, window, frames)
    network = NeuralReconstructor(package_model(setup), device=device, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.npz"
        write_data001(path, scan)
        network.reconstruct(read_scan(path))
        seconds = [timed(lambda: network.reconstruct(read_scan(path))) for _ in range(setup.repeats)]
    rates = series("frames/s", len(scan) / np.array(seconds))
    cores = torch.get_num_threads()
    where = torch.cuda.get_device_name() if gpu else f"{cores} cores"
    target = _GPU[window] if gpu else _TWO_CORES if window == WINDOW[0] else None
    return Result(
        "throughput",
        f"N = {window}, from a file to the object, {where}",
        rates,
        target=target,
        reason="" if gpu or cores == 2 or target is None else f"the target is for 2 cores, measured on {cores}",
        note="" if gpu else f"{1e3 * cores / rates.spread.median:.2f} core-ms a frame",
        facts={
            "frames": len(scan),
            "device": where,
            "cores_there": os.cpu_count(),
            "canvas_px_per_frame": scan.canvas[0] * scan.canvas[1] / len(scan),
        },
    )
