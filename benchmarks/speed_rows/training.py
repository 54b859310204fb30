"""What training costs: an epoch and where its time goes, and the way to a given quality. One core, N = 64."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import Work, convolution_rate, transform_seconds, work_of
from benchmarks.results import Result, Target, not_measured, ratio, series
from benchmarks.speed_rows.cases import WINDOW, floors, iterate, known_scan
from benchmarks.suite import Setup, Size
from benchmarks.timing import interleaved, timed
from foldlight.bundle import Model, pretrained
from foldlight.compare.table import compare
from foldlight.core.errors import BundleError
from foldlight.core.seeds import generator
from foldlight.networks.settings import NetworkSettings
from foldlight.optics.forward import place_probe
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.scan import Scan
from foldlight.train.data import Batch, GroupedFrames
from foldlight.train.fit import fit
from foldlight.train.settings import TrainingSettings

__all__ = ["equal_ssim", "training"]

Curve = list[tuple[float, float]]
"""(seconds so far, phase SSIM) of each stage."""

_UNIT = "core-ms a frame"
_TRAINING = Target(">= 10 x faster than the reference network to equal SSIM", 10.0, "at least")
_LEAST_SSIM = 0.1  # of the phase, against truth: a flat image has about 0
_STAGES: dict[Size, tuple[int, ...]] = {"toy": (2,), "small": (1, 2, 3, 5, 10), "full": (1, 2, 3, 5, 10, 30, 100)}
_NO_REFERENCE = (
    "the reference network is not part of this package, so its time to equal SSIM can't be measured beside ours"
)
_ADAM = "Optimizer.step#Adam.step"
_KINDS = {"convolutions": ("conv",), "transforms": ("_fft",), "windows cut and added": ("index",)}  # parts of names
_NETWORKS = {
    "the unrolled network": (NetworkSettings(), TrainingSettings()),
    "patches, lifted, C = 4": (NetworkSettings(kind="lifted"), TrainingSettings(gridsize=2)),
}


def training(setup: Setup) -> Sequence[Result]:
    """An epoch of training, forward and back, and the shares of its time; of patches of each frame beside it."""
    scan = known_scan(setup)
    names = {name: name for name in _NETWORKS}
    with tempfile.TemporaryDirectory() as folder:
        epochs = {name: partial(_epoch, scan, name, setup, folder) for name in names}
        works = {name: work_of(epoch, WINDOW) for name, epoch in epochs.items()}
        shares = {name: _shares(scan, name, setup, folder) for name in names}
        read = interleaved(
            setup.repeats,
            epochs | {"flop": convolution_rate, "transform": lambda: transform_seconds(WINDOW)},
        )
    found: list[Result] = []
    for name in names:
        measured = series(_UNIT, 1e3 * np.array(read[name]) / len(scan))
        work = Work(works[name].flops / len(scan), works[name].transforms / len(scan))
        told = ", ".join(f"{kind} {share:.0%}" for kind, share in shares[name].items())
        first = not found
        found.append(
            Result(
                "training",
                f"one epoch with its validation, a frame, {name}",
                measured,
                floors(measured, work, read["flop"], read["transform"]),
                _TRAINING if first else None,
                reason=_NO_REFERENCE if first else "",
                note=f"of the time: {told}",
                facts={"frames": len(scan), "flop_per_frame": work.flops, "shares": shares[name]},
            )
        )
    return found


def equal_ssim(setup: Setup) -> Sequence[Result]:
    """Seconds to the same picture: the best phase SSIM that both the network and LSQML come to."""
    scan = known_scan(setup)
    seeds = [setup.seed + each for each in range(setup.repeats if setup.size == "full" else 1)]
    engine = [_engine_curve(scan, setup, seed) for seed in seeds]
    scratch = [_network_curve(scan, seed, setup.pick(2, 12, 25)) for seed in seeds]
    found = [_equal("training from scratch", scratch, engine, len(scan), setup)]
    name = "the package's weights"
    try:
        start = pretrained()
    except BundleError as error:
        return [*found, not_measured("equal-ssim", name, f"expected the package's weights: {error}")]
    started = [_network_curve(scan, seed, setup.pick(1, 4, 8), start) for seed in seeds]
    return [*found, _equal(name, started, engine, len(scan), setup)]


def _equal(name: str, network: list[Curve], engine: list[Curve], frames: int, setup: Setup) -> Result:
    """Of curves in pairs, one a repeat."""
    pairs = list(zip(network, engine, strict=True))
    levels = [min(_best(curve) for curve in pair) for pair in pairs]
    quantity = f"{name}, to the best phase SSIM that LSQML comes to as well"
    facts = {
        "frames": frames,
        "phase_ssim": levels,
        "curves": [{"network": _plain(one), "lsqml": _plain(other)} for one, other in pairs],
    }
    if min(levels) < _LEAST_SSIM and setup.size != "toy":
        reason = f"expected a picture from both (phase SSIM >= {_LEAST_SSIM:g}), got {min(levels):.2f} at best from one"
        return replace(not_measured("equal-ssim", quantity, reason), facts=facts)
    measured, peer = (
        series("s", [_seconds_to(pair[side], level) for pair, level in zip(pairs, levels, strict=True)])
        for side in (0, 1)
    )
    levels_told = ", ".join(f"{level:.2f}" for level in levels)
    best = ", ".join(f"{_best(one):.2f} and {_best(other):.2f}" for one, other in pairs)
    return Result(
        "equal-ssim",
        quantity,
        measured,
        (ratio("LSQML, known probe, same frames", "peer", measured, peer),),
        note=f"to SSIM {levels_told}, in whole epochs; at best the network and LSQML reach {best}; with the first pass"
        " of given weights, without the pass after training and the start of LSQML's process",
        facts=facts,
    )


def _best(curve: Curve) -> float:
    return max(ssim for _, ssim in curve)


def _plain(curve: Curve) -> list[list[float]]:
    """JSON-ready [seconds, phase SSIM] pairs."""
    return [list(point) for point in curve]


def _network_curve(scan: Scan, seed: int, epochs: int, start: Model | None = None) -> Curve:
    """After each epoch the best weights so far are tried; trying is not counted, but for that of given weights."""
    curve: Curve = []
    settings, network = _settings(epochs, seed), NetworkSettings() if start is None else start.network
    before = 0.0
    if start is not None:
        made = NeuralReconstructor(start, progress=False).reconstruct(scan)
        before = float(made.ledger.infer_seconds or 0.0)
        curve.append((before, _phase_ssim(scan, made)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def look(_: str) -> None:
            state = torch.load(folder / "checkpoint.pt", weights_only=True)
            weights = {each: value.numpy() for each, value in state["best_weights"].items()}
            model = Model(network, scan.window, settings.group_size, weights)
            made = NeuralReconstructor(model, progress=False).reconstruct(scan)
            curve.append((before + float(state["seconds"]), _phase_ssim(scan, made)))

        fit(scan, network, settings, folder, progress=False, keep_collapsed=True, start=start, report=look)
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


def _settings(epochs: int, seed: int, like: TrainingSettings | None = None) -> TrainingSettings:
    """The defaults; photons are held back, so that every frame is trained on."""
    changes = {"epochs": epochs, "patience": epochs, "seed": seed, "validation": "photons"}
    return (like or TrainingSettings()).model_copy(update=changes)


def _epoch(scan: Scan, name: str, setup: Setup, folder: str) -> float:
    """Seconds of an epoch, as training itself counts them."""
    network, like = _NETWORKS[name]
    if setup.size == "toy":
        network = network.model_copy(update={"width": 4, "levels": 1, "consistency_steps": 1})
    settings = _settings(1, setup.seed, like)
    return fit(scan, network, settings, Path(folder), progress=False, keep_collapsed=True).seconds


def _shares(scan: Scan, name: str, setup: Setup, folder: str) -> dict[str, float]:
    """Of an epoch's time: batches and placed probes by the clock, the rest by what torch tells of its operations."""
    settings = _settings(1, setup.seed, _NETWORKS[name][1])
    train = GroupedFrames.of(scan, np.arange(len(scan)), settings, "train")
    per_batch = max(1, settings.batch_frames // settings.group_size)
    batches: list[Batch] = []
    data = timed(lambda: batches.extend(train.epoch(per_batch, generator(setup.seed, "order", 0))))
    probes = timed(lambda: [part for batch in batches for part in _placed(batch)])
    with profile(activities=[ProfilerActivity.CPU]) as told:
        seconds = _epoch(scan, name, setup, folder)
    events = {event.key: event for event in told.key_averages()}
    spent = {
        kind: sum(event.self_cpu_time_total for key, event in events.items() if any(part in key for part in parts))
        for kind, parts in _KINDS.items()
    }
    if _ADAM in events:
        spent["optimiser"] = events[_ADAM].cpu_time_total
    shares = {"batches": data / seconds, "probes placed": probes / seconds}
    whole = sum(event.self_cpu_time_total for event in events.values()) / (1 - shares["batches"])
    shares |= {kind: each / whole for kind, each in spent.items()}
    return {**shares, "element-wise and the rest": max(0.0, 1 - sum(shares.values()))}


def _placed(batch: Batch) -> list[Tensor]:
    """The probe in each frame's window, once for what is seen and once for what is scored."""
    given = (probe for probe in (batch.probe, batch.scored_probe) if probe is not None)
    return [place_probe(probe, batch.positions_px) for probe in given]
