"""Verbs that make networks: train, pretrain."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from foldlight.cli.common import Flat, Threads, say
from foldlight.cli.doctor import look_over
from foldlight.cli.ranks import started_together
from foldlight.io.options import ReadOptions
from foldlight.networks.settings import NetworkSettings
from foldlight.train.settings import PretrainingSettings, TrainingSettings

__all__ = ["pretrain", "train"]


def train(
    scan: Positional[Path],
    settings: Annotated[TrainingSettings, Flat],
    network: Annotated[NetworkSettings, Flat],
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    start: str | None = None,
    output: Path = Path("model"),
    resume: bool = False,
    doctor: bool = True,
    threads: Threads = None,
) -> None:
    """Train a network on the frames of one scan and write its bundle.

    `torchrun --standalone --nproc-per-node 2 -m foldlight train ...` shares each step's groups among two processes, to
    the same result within rounding; give it `--batch-frames` for as many groups, 98 by default.

    Args:
        scan: file to train on; its object, if any, is not looked at, but with `--supervision object`.
        settings: how to train.
        network: what to train.
        options: what the file does not say.
        start: where to begin: `pretrained`, the weights that come with the package; `scratch`, weights drawn from the
            seed; or a bundle's path. When not given: the package's, if they are of this network.
        output: folder for `wts.h5.zip`, `history.csv`, `checkpoint.pt` and `training.json`.
        resume: go on from the folder's checkpoint.
        doctor: refuse where a quick look says that no image could be right; that look is quiet when all is well.
        threads: CPU threads.
    """
    from foldlight.bundle import starting_model, write_bundle
    from foldlight.forecast import shortage
    from foldlight.io import read_scan
    from foldlight.train.fit import fit

    with started_together(settings.device, threads) as ranks:
        found = read_scan(scan, options)
        if ranks.first:
            look_over(found, refuse=doctor)
        short = shortage(found, "train") if settings.device == "cpu" else None
        if ranks.first:
            say(*found.notes, *([short] if short else []))
        training = fit(found, network, settings, output, resume, start=starting_model(start, network), ranks=ranks)
        if not ranks.first:
            return
        digest = write_bundle(output / "wts.h5.zip", training.model)
    say(
        f"validation loss {min(row['validation_loss'] for row in training.history):.5f}, flat object"
        f" {training.flat_loss:.5f}, {training.seconds:.0f} s",
        f"bundle -> {output / 'wts.h5.zip'}",
        f"sha256 {digest}",
    )


def pretrain(
    settings: Annotated[PretrainingSettings, Flat],
    network: Annotated[NetworkSettings, Flat],
    start: str = "scratch",
    output: Path = Path("pretrained"),
    resume: bool = False,
    threads: Threads = 1,
) -> None:
    """Train a network on simulated scans under many probes, for scans it has never seen, and write its bundle.

    The defaults make the bundle that comes with the package: about half an hour on one core, the same bytes every time
    on the same machine and versions. Several processes that `torchrun` starts share the scans of each step.

    Args:
        settings: what to draw, and how long to train.
        network: what to train.
        start: `scratch`, weights drawn from the seed; or, to narrow a network to your scans, `pretrained` or a bundle's
            path.
        output: folder for `wts.h5.zip`, `history.csv`, `checkpoint.pt` and `training.json`.
        resume: go on from the folder's checkpoint.
        threads: CPU threads; other numbers give other bits.
    """
    from foldlight.bundle import starting_model, write_bundle
    from foldlight.train.pretraining import pretrain as run

    with started_together(settings.device, threads) as ranks:
        model = run(network, settings, output, resume, start=starting_model(start, network), ranks=ranks)
        if not ranks.first:
            return
        digest = write_bundle(output / "wts.h5.zip", model)
    errors = (f"n = {decade}: {error:.3f}" for decade, error in model.training["error_by_photons"].items())
    say(
        f"relative error on unseen scans by photons a pixel, median: {', '.join(errors)}",
        f"bundle -> {output / 'wts.h5.zip'}",
        f"sha256 {digest}",
    )
