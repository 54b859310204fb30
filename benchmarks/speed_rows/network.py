"""What the network costs: a training step, a pass, the way to a given quality. One core, N = 64."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import Work, convolution_rate, transform_seconds, work_of
from benchmarks.results import Ratio, Result, Series, Target, not_measured, ratio, series
from benchmarks.speed_rows.cases import CONVERGED_EPOCHS, WINDOW, Iteration, flat_model, iterate, known_scan
from benchmarks.suite import Setup, Size
from benchmarks.timing import interleaved
from foldlight.bundle import Model
from foldlight.compare.table import compare
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.scan import Scan
from foldlight.train.fit import fit
from foldlight.train.settings import TrainingSettings

__all__ = ["equal_ssim", "inference", "training"]

Curve = list[tuple[float, float]]
"""(seconds so far, phase SSIM) of each stage."""

_UNIT = "core-ms a frame"
_TRAINING = Target(">= 10 x faster than the reference network to equal SSIM", 10.0, "at least")
_INFERENCE = Target("<= 2 core-ms a frame", 2.0, "at most")
_LEAST_SSIM = 0.1  # of the phase, against truth: a flat image has about 0
_STAGES: dict[Size, tuple[int, ...]] = {"toy": (2,), "small": (1, 2, 3, 5, 10), "full": (1, 2, 3, 5, 10, 30, 100)}
_NO_REFERENCE = (
    "the reference network is not part of this package, so its time to equal SSIM can't be measured beside ours"
)


def training(setup: Setup) -> Sequence[Result]:
    """A step of training, forward and back, against the machine's convolution peak for the same flop."""
    scan = known_scan(setup)
    frames = _trained_frames(scan, setup)
    with tempfile.TemporaryDirectory() as folder:
        work = work_of(lambda: _epochs(scan, 1, setup.seed, Path(folder)), WINDOW)
        read = interleaved(
            setup.repeats,
            {"epoch": lambda: _epochs(scan, 1, setup.seed, Path(folder)), "flop": convolution_rate}
            | {"transform": lambda: transform_seconds(WINDOW)},
        )
    measured = series(_UNIT, 1e3 * np.array(read["epoch"]) / frames)
    return [
        Result(
            "training",
            "one epoch with its validation, a training frame",
            measured,
            _floors(measured, _shared(work, frames), read["flop"], read["transform"]),
            _TRAINING,
            reason=_NO_REFERENCE,
            note="stand-in: time over the machine's convolution peak for the same flop (a limit, not a peer); Adam,"
            " loading and element-wise maths are in the time and not in the floor",
            facts={"frames": len(scan), "trained_frames": frames, "flop_per_frame": work.flops / frames},
        )
    ]


def equal_ssim(setup: Setup) -> Sequence[Result]:
    """Seconds to the same picture: the best phase SSIM that both the network's training and LSQML come to."""
    scan = known_scan(setup)
    pairs = _curves(scan, setup)
    levels = [min(max(ssim for _, ssim in curve) for curve in pair) for pair in pairs]
    levels_told = ", ".join(f"{level:.2f}" for level in levels)
    name = "training to the best phase SSIM that LSQML comes to as well, on the frames trained on"
    facts = {
        "frames": len(scan),
        "phase_ssim": levels,
        "curves": [_plain(network, engine) for network, engine in pairs],
    }
    if min(levels) < _LEAST_SSIM and setup.size != "toy":
        reason = f"expected a picture from both (phase SSIM >= {_LEAST_SSIM:g}), got {min(levels):.2f} at best from one"
        return [replace(not_measured("equal-ssim", name, reason), facts=facts)]
    measured, peer = (
        series("s", [_seconds_to(pair[side], level) for pair, level in zip(pairs, levels, strict=True)])
        for side in (0, 1)
    )
    return [
        Result(
            "equal-ssim",
            name,
            measured,
            (ratio("LSQML, known probe, same frames", "peer", measured, peer),),
            note=f"to SSIM {levels_told}, in whole epochs; a stand-in, the target compares with"
            " the reference network; without the pass after training, and without the start of LSQML's process",
            facts=facts,
        )
    ]


def inference(setup: Setup) -> Sequence[Result]:
    """A pass with stitching, against LSQML, the convolution peak and the transform peak; and LSQML's epoch itself."""
    scan, network = known_scan(setup), NeuralReconstructor(flat_model(setup), progress=False)
    work = work_of(lambda: network.reconstruct(scan), WINDOW)
    runs: list[Iteration] = []

    def epoch() -> float:
        runs.append(iterate(scan, CONVERGED_EPOCHS, setup.seed))
        return runs[-1].steady_s

    read = interleaved(
        setup.repeats,
        {
            "pass": lambda: float(network.reconstruct(scan).ledger.infer_seconds or 0.0),
            "epoch": epoch,
            "flop": convolution_rate,
            "transform": lambda: transform_seconds(WINDOW),
        },
    )
    frames = len(scan)
    measured, iteration = (series(_UNIT, 1e3 * np.array(read[name]) / frames) for name in ("pass", "epoch"))
    converged = series(_UNIT, CONVERGED_EPOCHS * np.array(iteration.values))
    floors = _floors(measured, _shared(work, frames), read["flop"], read["transform"])
    least = series(_UNIT, 1e3 * 2 * np.array(read["transform"]))
    return [
        Result(
            "inference",
            "one pass, frames to stitched object",
            measured,
            (ratio(f"LSQML, {CONVERGED_EPOCHS} epochs", "peer", measured, converged), *floors),
            _INFERENCE,
            note="LSQML's epochs are timed inside its process, after the first; a pass includes reading, the probe's"
            " sub-pixel moves and stitching",
            facts={
                "frames": frames,
                "flop_per_frame": work.flops / frames,
                "transforms_per_frame": work.transforms / frames,
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


def _curves(scan: Scan, setup: Setup) -> list[tuple[Curve, Curve]]:
    """(network, LSQML) curves of quality against time, in turns; one a repeat, each with its own seed.

    Sizes below full make one: a training costs a minute or more.
    """
    seeds = [setup.seed + each for each in range(setup.repeats if setup.size == "full" else 1)]
    return [(_network_curve(scan, setup, seed), _engine_curve(scan, setup, seed)) for seed in seeds]


def _plain(network: Curve, engine: Curve) -> dict[str, list[list[float]]]:
    """JSON-ready [seconds, phase SSIM] pairs."""
    return {"network": [list(point) for point in network], "lsqml": [list(point) for point in engine]}


def _network_curve(scan: Scan, setup: Setup, seed: int) -> Curve:
    """After each epoch the best weights so far are tried; trying is not counted."""
    curve: Curve = []
    settings, network = _settings(setup.pick(2, 12, 25), seed), NetworkSettings()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def look(_: str) -> None:
            state = torch.load(folder / "checkpoint.pt", weights_only=True)
            weights = {each: value.numpy() for each, value in state["best_weights"].items()}
            made = NeuralReconstructor(Model(network, scan.window, 4, weights), progress=False).reconstruct(scan)
            curve.append((float(state["seconds"]), _phase_ssim(scan, made)))

        fit(scan, network, settings, folder, progress=False, keep_collapsed=True, report=look)
    return curve


def _engine_curve(scan: Scan, setup: Setup, seed: int) -> Curve:
    """LSQML of more and more epochs, each from the start."""
    curve: Curve = []
    for epochs in _STAGES[setup.size]:
        run = iterate(scan, epochs, seed)
        curve.append((run.steady_s * epochs, _phase_ssim(scan, run.made)))
    return curve


def _seconds_to(curve: Curve, ssim: float) -> float:
    return next(seconds for seconds, found in curve if found >= ssim)


def _phase_ssim(scan: Scan, made: Reconstruction) -> float:
    return float(compare(scan, [made]).rows[0].phase_ssim or 0.0)


def _settings(epochs: int, seed: int) -> TrainingSettings:
    """The defaults; photons are held back, so that every frame is trained on."""
    return TrainingSettings(epochs=epochs, patience=epochs, seed=seed, validation="photons")


def _epochs(scan: Scan, epochs: int, seed: int, folder: Path) -> float:
    """Seconds of so many epochs, as training itself counts them."""
    made = fit(scan, NetworkSettings(), _settings(epochs, seed), folder, progress=False, keep_collapsed=True)
    return made.seconds


def _trained_frames(scan: Scan, setup: Setup) -> int:
    size = _settings(1, setup.seed).group_size
    return len(scan) // size * size


def _shared(work: Work, frames: int) -> Work:
    return Work(work.flops / frames, work.transforms / frames)


def _floors(
    measured: Series, work: Work, flop_rates: Sequence[float], transforms: Sequence[float]
) -> tuple[Ratio, ...]:
    """Ratios to the time that the same work takes at the machine's peak; work is a frame's."""
    flop, transform = work.flops / np.array(flop_rates), work.transforms * np.array(transforms)
    named = {
        f"convolution peak, {work.flops / 1e6:.0f} Mflop": flop,
        f"transform peak, {work.transforms:.0f} transforms": transform,
        "both peaks together": flop + transform,
    }
    return tuple(ratio(name, "limit", measured, series(_UNIT, 1e3 * floor)) for name, floor in named.items())
