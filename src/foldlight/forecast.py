"""What an engine would take with a scan, time and memory, before it starts.

Time is measured, not looked up: pieces of the scan go through the engine's own code on this machine, in its present
state, and what they take is carried over to the whole by frames and object pixels. pty-chi alone is not started for
this, which would take longer than the answer is worth: its epoch is told by what a likelihood pass takes. Memory is
arithmetic: what each engine is known to hold beside what any process of ours holds.

docs/benchmarks.md tells how such forecasts came true.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import psutil
import torch
from scipy.optimize import nnls

from foldlight.bundle import Model, pretrained
from foldlight.core.progress import duration
from foldlight.optics.flat import flat_amplitude
from foldlight.reconstruct.misfit import KEPT_BYTES, Misfit
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.settings import IterativeSettings, LikelihoodSettings, RefineSettings
from foldlight.sampling.thinning import HELD_BYTES
from foldlight.scan import Scan, place_on_canvas
from foldlight.train.fit import adapt
from foldlight.train.settings import TrainingSettings

__all__ = ["Forecast", "forecast", "memory_gb", "shortage"]

_PIECES = (48, 144, 400)  # frames around the scan's middle that are timed: frames and pixels are told apart by three
_TAUGHT = 98  # frames of the piece that a network is trained on: two regions

_LSQML_PASSES = 1.9  # likelihood passes with an unknown probe in an epoch of LSQML: 1.5 to 2.1 measured
_LSQML_START_S = 7.0  # until pty-chi is imported and at work
_SEARCH = 1.3  # passes in an iteration of L-BFGS from a flat start, which now and then looks twice along its way
_LOADING_S = 0.5  # until the network is there
_VARIABLE_S = 1e-7  # that an iteration of L-BFGS takes for each of its variables, beside the pass over the frames

_PROCESS_GB, _PTYCHI_GB = 0.3, 0.4  # interpreter and libraries; those of pty-chi's process
_VECTORS = 47  # of variables that L-BFGS holds: twice 20 of memory, and work. Source: scipy's L-BFGS-B
_OBJECT_BYTES = 60  # an object pixel: object, light, sums and gradients
_REFINED_GB = 0.2  # what a hybrid's likelihood finds taken by the network before it
_TAUGHT_FRAMES = 49  # of the region in a step of training


@dataclass(frozen=True)
class Forecast:
    """What an engine would take.

    Attributes:
        engine: its name.
        seconds: wall time, at the most where an engine ends by itself.
        memory_gb: most memory of all its processes [GB].
        steps: what it does how often, in words.
    """

    engine: str
    seconds: float
    memory_gb: float
    steps: str


def forecast(scan: Scan, model: Model | None = None) -> tuple[Forecast, ...]:
    """What each engine would take with a scan, by its default settings, with as many threads as torch has now.

    It takes a few seconds, however large the scan.

    Args:
        scan: only frames around its middle are read.
        model: the network; the package's own when None.
    """
    network = model or pretrained()
    passing = _carried(scan, partial(_network_seconds, model=network))
    frames_known, frames_blind = (_carried(scan, partial(_pass_seconds, blind=blind)) for blind in (False, True))
    vectors = 2 * _VARIABLE_S * math.prod(scan.canvas)
    epochs, iterations = TrainingSettings().epochs, LikelihoodSettings().iterations
    refined, engine = RefineSettings().likelihood.iterations, IterativeSettings().filled(len(scan))
    iteration, epoch = _SEARCH * frames_blind + vectors, _LSQML_PASSES * frames_blind
    # Hybrid: an estimate from nine tenths of the photons and one from all; steps with the network's errors and without,
    # each scored on the other photons at half a pass; then the steps that were chosen.
    hybrid = 2 * passing + refined * (2 * (1.5 * frames_known + vectors) + frames_known + vectors)
    told = {
        "network": (_LOADING_S + passing, "one pass"),
        "hybrid": (
            hybrid,
            f"two passes, {refined} steps of likelihood with the network's errors and without, and again",
        ),
        "ml": (iterations * iteration, f"at most {iterations} iterations of {duration(iteration)}; a third is usual"),
        "lsqml": (_LSQML_START_S + (engine.epochs or 0) * epoch, f"{engine.epochs} epochs of {duration(epoch)}"),
    }
    if scan.photons.whole:  # training deals them out
        epoch = _training_seconds(scan, network)
        told["train"] = (epochs * epoch, f"at most {epochs} epochs of {duration(epoch)}")
    return tuple(Forecast(name, seconds, memory_gb(scan, name), words) for name, (seconds, words) in told.items())


def memory_gb(scan: Scan, engine: str) -> float:
    """Most memory that an engine with its default settings, and the scan, take in all processes [GB].

    Files that are mapped are not counted: the system takes their pages back when memory is short.
    """
    frames, modes = math.prod(scan.photons.shape), len(scan.probe)
    pixels = math.prod(scan.window)
    held = frames * scan.photons.stored.dtype.itemsize if scan.photons.in_memory else 0
    objects = math.prod(scan.canvas) * _OBJECT_BYTES
    vectors = _VECTORS * 8 * 2 * (math.prod(scan.canvas) + scan.probe.size)
    tile = min(1e9, frames * (26 + 14 * modes))
    needs = {
        "network": tile,
        "hybrid": max(
            tile, _kept(8 * frames, HELD_BYTES) + 2 * _kept(4 * (1 + 2 * modes) * frames, KEPT_BYTES) + vectors
        )
        + 1e9 * _REFINED_GB,
        "ml": _kept(8 * frames, KEPT_BYTES) + vectors,
        "train": _TAUGHT_FRAMES * pixels * (800 + 80 * modes) + _kept(8 * frames // 10, HELD_BYTES) + 1e8,
    }
    iterative = _PTYCHI_GB * 1e9 + min(100, len(scan)) * pixels * (150 + 50 * modes)  # a batch; frames are mapped
    return _PROCESS_GB + (held + objects + needs.get(engine, iterative)) / 1e9


def shortage(scan: Scan, engine: str) -> str | None:
    """One line that warns where an engine would need more memory than is free now; None where it would not."""
    need, free = memory_gb(scan, engine), psutil.virtual_memory().available / 1e9
    if need <= free:
        return None
    return (
        f"memory: {engine} is expected to take {need:.1f} GB with this scan, {free:.1f} GB are free; take a part of the"
        " scan, a larger machine, or --engine network, which goes tile by tile"
    )


def _kept(size: float, limit: float) -> float:
    """Bytes of what is held if it is within its limit, and made when needed otherwise."""
    return size if size <= limit else 0


def _carried(scan: Scan, seconds: Callable[[Scan], float]) -> float:
    """Seconds for the whole scan, by frames and by object pixels, from those of pieces of it."""
    pieces = [_middle(scan, count) for count in _PIECES if count <= len(scan)] or [scan]
    taken = [seconds(piece) for piece in pieces]
    if len(pieces) < 3:
        return taken[-1] * len(scan) / len(pieces[-1])
    sizes = np.array([[len(piece), _seen_pixels(piece)] for piece in pieces])
    weights = np.array(taken)[:, None]  # relative errors count: the largest piece would decide alone
    rates, _ = nnls(sizes / weights, np.ones(len(pieces)))
    return float(rates @ [len(scan), _seen_pixels(scan)])


def _middle(scan: Scan, count: int) -> Scan:
    """The frames nearest to the middle of a scan, on a canvas of their own."""
    centre = np.median(scan.positions_px, axis=0)
    near = np.sort(np.argsort(((scan.positions_px - centre) ** 2).sum(axis=1), kind="stable")[:count])
    return _cut(scan.select(near))


def _cut(scan: Scan) -> Scan:
    """A scan on the least canvas that holds its windows; its object stays behind."""
    positions, canvas = place_on_canvas(scan.positions_px, scan.window)
    return replace(scan, positions_px=positions, canvas=canvas, object=None, object_is_truth=False)


def _seen_pixels(scan: Scan) -> float:
    """Area that the windows cover, as a rectangle [px]."""
    return float(np.prod(np.ptp(scan.positions_px, axis=0) + np.array(scan.window)))


def _network_seconds(scan: Scan, model: Model) -> float:
    engine = NeuralReconstructor(model, progress=False)
    return engine.reconstruct(scan).ledger.infer_seconds or 0.0


def _training_seconds(scan: Scan, model: Model) -> float:
    """Of one epoch over all frames."""
    piece = _middle(scan, _TAUGHT)
    return adapt(piece, model, 1, progress=False).seconds * len(scan) / len(piece)


def _pass_seconds(scan: Scan, blind: bool) -> float:
    """Of one pass over the frames, with gradients."""
    real = torch.float64 if blind else torch.float32
    image = torch.full(scan.canvas, flat_amplitude(scan), dtype=torch.complex128)
    probe, positions = torch.from_numpy(scan.probe).to(torch.complex128), torch.from_numpy(scan.positions_px)
    known = None if blind else (probe, positions)
    misfit = Misfit(scan, scan.canvas, positions.round(), real, torch.device("cpu"), known)
    misfit.value_and_gradients(image, probe, positions, probe_too=blind)  # frames are read and placed here
    began = time.perf_counter()
    misfit.value_and_gradients(image, probe, positions, probe_too=blind)
    return time.perf_counter() - began
