"""The scan, the network and the engine that several rows share."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import Work
from benchmarks.results import Ratio, Series, ratio, series
from benchmarks.suite import Setup
from foldlight.bundle import Model, pretrained
from foldlight.core.errors import BundleError
from foldlight.core.seeds import integer_seed
from foldlight.networks.generators import build
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.iterative import IterativeReconstructor
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.reconstruct.settings import IterativeSettings
from foldlight.scan import Scan
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings

__all__ = [
    "CONVERGED_EPOCHS",
    "WINDOW",
    "Iteration",
    "floors",
    "iterate",
    "known_scan",
    "package_model",
    "spread_scan",
    "untrained_model",
]

WINDOW = (64, 64)

CONVERGED_EPOCHS = 10
"""Fixed, not detected: where photons are few LSQML with a known probe predicts unseen counts no better after 5 to 20
epochs (docs/findings.md); where they are many it still gains, and this understates its cost."""

_EPOCH = re.compile(r"^epoch \d+/\d+: .* ([0-9.]+) s$", flags=re.MULTILINE)


def known_scan(setup: Setup) -> Scan:
    """A simulated scan of 64 x 64 px frames like the demo's: dead leaves, zone plate, 1e4 photons a frame."""
    frames, side = setup.pick(36, 484, 1024), setup.pick(96, 200, 256)
    return simulate(SimulationSettings(positions=frames, object_size=side, seed=setup.seed))


def spread_scan(setup: Setup, window: int, frames: int) -> Scan:
    """A simulated scan of frames of any size at 60 % linear overlap: a probe of 0.4 windows, steps of 0.16."""
    side = round(window + 0.16 * window * frames**0.5)
    settings = SimulationSettings(
        window=window, probe_diameter_px=0.4 * window, positions=frames, object_size=side + side % 2, seed=setup.seed
    )
    return simulate(settings)


def package_model(setup: Setup) -> Model:
    """The package's network; untrained where its weights are missing, since a pass costs the same with any."""
    try:
        return pretrained()
    except BundleError:
        return untrained_model(NetworkSettings(), 49, setup)


def untrained_model(settings: NetworkSettings, group_size: int, setup: Setup) -> Model:
    """A network as it starts."""
    module = build(settings, WINDOW, integer_seed(setup.seed, "weights"))
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    return Model(settings, WINDOW, group_size, weights)


@dataclass(frozen=True)
class Iteration:
    """A run of pty-chi.

    Attributes:
        made: what it reconstructed.
        epoch_seconds: (epoch,) wall time of each epoch [s], without the start of its process.
    """

    made: Reconstruction
    epoch_seconds: np.ndarray

    @property
    def steady_s(self) -> float:
        """Seconds an epoch, leaving out the first, in which libraries warm up, where there are more."""
        return float(self.epoch_seconds[min(1, len(self.epoch_seconds) - 1) :].mean())


def iterate(scan: Scan, epochs: int, seed: int) -> Iteration:
    """LSQML on one thread, with the known probe, from a flat object.

    Raises:
        EngineError: pty-chi is not installed or failed.
    """
    settings = IterativeSettings(epochs=epochs, fit_probe=False, seed=seed, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "lsqml.log"
        made = IterativeReconstructor(settings, log).reconstruct(scan)
        seconds = [float(found) for found in _EPOCH.findall(log.read_text(encoding="utf-8"))]
    return Iteration(made, np.array(seconds))


def floors(measured: Series, work: Work, flop_rates: Sequence[float], transforms: Sequence[float]) -> tuple[Ratio, ...]:
    """Ratios to the time that the same work takes at the machine's peak.

    Args:
        measured: [core-ms a frame].
        work: a frame's.
        flop_rates: of the fastest convolution, a reading a repeat [flop/s].
        transforms: of one transform, a reading a repeat [s].
    """
    flop, transform = work.flops / np.array(flop_rates), work.transforms * np.array(transforms)
    named = {
        f"convolution peak, {work.flops / 1e6:.0f} Mflop": flop,
        f"transform peak, {work.transforms:.0f} transforms": transform,
        "both peaks together": flop + transform,
    }
    return tuple(ratio(name, "limit", measured, series(measured.unit, 1e3 * floor)) for name, floor in named.items())
