"""What processes do together in tests: `torchrun --nproc-per-node 2 rank_jobs.py JOB FOLDER`, or alone in a test."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from foldlight.bundle import Model
from foldlight.frames import Frames
from foldlight.networks.generators import build
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.sharded import reconstruct_on
from foldlight.scan import Scan
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings, VarietySettings
from foldlight.train import pretraining
from foldlight.train.distributed import Ranks, joined
from foldlight.train.fit import Training, fit
from foldlight.train.settings import PretrainingSettings, TrainingSettings

UNROLLED = NetworkSettings(width=8, levels=1, consistency_steps=1)
PATCHES = NetworkSettings(kind="lifted", width=4, levels=2, consistency_steps=1)
WINDOW = (16, 24)
TRAININGS = {
    "groups": (UNROLLED, {"gridsize": 2, "batch_frames": 20}),
    "regions": (UNROLLED, {"gridsize": 3, "batch_frames": 27, "validation": "photons"}),
    "taught": (PATCHES, {"gridsize": 2, "batch_frames": 20, "supervision": "object"}),
}
"""Of five or three groups a step, so that shares of two processes are uneven; the last step of an epoch has fewer."""
IMAGES = {"patches": (PATCHES, 4), "groups": (UNROLLED, 4), "tiles": (UNROLLED, 49)}


def train(folder: Path, name: str, ranks: Ranks, resume: bool = False) -> Training:
    """Two epochs on a small simulated scan."""
    network, options = TRAININGS[name]
    scan = simulate(SimulationSettings(object_size=80, window=16, positions=150, probe_diameter_px=8.0, dose=1e4))
    settings = TrainingSettings(**{"epochs": 2, "guard_px": 8.0, "learning_rate": 3e-3, **options})
    return fit(scan, network, settings, folder / name, resume, progress=False, keep_collapsed=True, ranks=ranks)


def pretrain(folder: Path, ranks: Ranks, resume: bool = False) -> Model:
    """A few steps on simulated scans of every kind; checkpoints fall between rows of the log."""
    pretraining._TESTED, pretraining._KEPT_EVERY = 2, 3
    data = VarietySettings(window=16, position_noise_px=0.5, modes_share=0.5, diameter=(0.3, 0.5))
    shares = {"single_share": 0.2, "few_share": 0.2, "wide_share": 0.4}
    settings = PretrainingSettings(steps=6, scans=3, frames=6, canvas_px=32, data=data, **shares)
    return pretraining.pretrain(UNROLLED, settings, folder / "pretrained", resume, progress=False, ranks=ranks)


def image(name: str, ranks: Ranks, n: int = 31, adapt: int = 0) -> np.ndarray | None:
    """The object of a rectangular scan under a complex probe of two modes, some pixels masked, by a drawn network."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[: WINDOW[0], : WINDOW[1]] - np.array(WINDOW)[:, None, None] / 2
    first = 30 * np.exp(-((y - 1) ** 2) / 20 - x**2 / 50 + 1j * (0.03 * y**2 + 0.01 * x * y))
    probe = np.stack([first, 0.2 * x * first]).astype(np.complex64)
    counts = rng.poisson(100, (n, *WINDOW)).astype(np.float32)
    positions = rng.uniform((8, 12), (72, 68), (n, 2))
    mask = rng.random(WINDOW) > 0.05
    scan = Scan(Frames(counts, whole=True), positions, probe, (80, 80), mask=mask)
    network, group_size = IMAGES[name]
    drawn = build(network, WINDOW, seed=1).state_dict()
    noisy = {key: value.numpy() + 0.1 * rng.normal(size=value.shape) for key, value in drawn.items()}
    model = Model(network, WINDOW, group_size, {key: np.asarray(value, np.float32) for key, value in noisy.items()})
    method = NeuralReconstructor(model, batch_frames=8, memory_bytes=1.7e6, adapt_steps=adapt, progress=False)
    made = reconstruct_on(ranks, method, scan)
    return None if made is None else made.object


def on_two(*words: str | Path, timeout_s: float = 100.0) -> subprocess.CompletedProcess[str]:
    """Two processes of `torchrun`, one thread each."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*start, *map(str, words)], capture_output=True, text=True, timeout=timeout_s, env=environment, check=False
    )


def _trainings(folder: Path, ranks: Ranks) -> None:
    for name in TRAININGS:
        _kept(folder / f"{name}.npz", train(folder, name, ranks), ranks)
    _kept(folder / "resumed.npz", train(folder / "begun", "groups", ranks, resume=True), ranks)
    made = pretrain(folder, ranks)
    if ranks.first:
        np.savez(folder / "pretrained.npz", **made.weights)


def _kept(path: Path, training: Training, ranks: Ranks) -> None:
    if ranks.first:
        losses = [[row["train_loss"], row["validation_loss"]] for row in training.history]
        np.savez(path, losses=losses, flat_loss=training.flat_loss, **training.model.weights)


def _images(folder: Path, ranks: Ranks) -> None:
    wanted = {name: {"name": name} for name in IMAGES}
    wanted |= {"one frame": {"name": "patches", "n": 1}, "adapted": {"name": "tiles", "adapt": 2}}
    made = {name: image(ranks=ranks, **options) for name, options in wanted.items()}
    if ranks.first:
        np.savez(folder / "images.npz", **made)


def _dies(folder: Path, ranks: Ranks) -> None:
    """The second process is killed after its first epoch."""
    if not ranks.first:
        epoch = fit.__globals__["_Loop"].run_epoch

        def killed(loop, advance):
            epoch(loop, advance)
            os.kill(os.getpid(), signal.SIGKILL)

        fit.__globals__["_Loop"].run_epoch = killed
    train(folder, "groups", ranks)


def _differ(folder: Path, ranks: Ranks) -> None:
    """The processes are given other frames."""
    rng = np.random.default_rng(ranks.rank)
    scan = simulate(SimulationSettings(object_size=80, window=16, positions=150, probe_diameter_px=8.0, dose=1e4))
    other = replace(scan, photons=Frames(rng.poisson(3.0, scan.photons.shape).astype(np.float32), whole=True))
    fit(other, UNROLLED, TrainingSettings(gridsize=2, guard_px=8.0), folder, progress=False, ranks=ranks)


if __name__ == "__main__":
    torch.set_num_threads(1)
    jobs = {"trainings": _trainings, "images": _images, "dies": _dies, "differ": _differ}
    with joined() as together:
        jobs[sys.argv[1]](Path(sys.argv[2]), together)
