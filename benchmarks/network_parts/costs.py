"""What a pass of each network costs a frame: flop, transforms, seconds of one core."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.machine import work_of
from benchmarks.timing import interleaved
from foldlight.networks.generators import build
from foldlight.networks.settings import NetworkSettings
from foldlight.optics.forward import place_probe
from foldlight.optics.probes import normalised, zone_plate

__all__ = ["measure_costs"]

_FRAMES = 16  # a pass: larger batches leave the cache and cost more a frame


def measure_costs(networks: dict[str, dict[str, Any]], window: int, repeats: int) -> dict[str, Any]:
    """Costs by name, a frame of a pass: `flop`, `transforms`, `weights` and `core_ms`, one a repeat.

    Core-seconds, not wall seconds: what else the machine does is not in them. The networks take turns.

    Args:
        networks: settings by name.
        window: side of the frames [px].
        repeats: of each pass.
    """
    torch.set_num_threads(1)
    frame = (window, window)
    probe = torch.from_numpy(normalised(zone_plate(frame, 0.4 * window), 1e4))
    places = torch.full((_FRAMES, 1, 2), float(window // 2), dtype=torch.float64)  # every frame on a canvas of its own
    shown = (torch.ones(_FRAMES, 1, *frame), places, place_probe(probe, places), torch.ones(frame, dtype=torch.bool))
    built = {name: build(NetworkSettings.parse(plain, name), frame, seed=0) for name, plain in networks.items()}

    passes = {name: partial(network.objects, *shown, frame) for name, network in built.items()}
    with torch.inference_mode():
        work = {name: work_of(each, frame) for name, each in passes.items()}
        read = interleaved(repeats, {name: partial(_core_seconds, each) for name, each in passes.items()})
    return {
        name: {
            "flop": work[name].flops / _FRAMES,
            "transforms": work[name].transforms / _FRAMES,
            "weights": sum(weight.numel() for weight in network.parameters()),
            "core_ms": [1e3 * each / _FRAMES for each in read[name]],
        }
        for name, network in built.items()
    }


def _core_seconds(action: Callable[[], object]) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began
