"""The command line: every verb is a few lines over one library call.

Nothing heavy is imported before a verb needs it, so help and bad usage answer at once.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import ValidationError
from tyro.conf import Positional, arg

from foldlight.core.errors import FoldlightError, SettingsError
from foldlight.core.settings import describe
from foldlight.demo.settings import DemoSettings
from foldlight.io.options import ReadOptions
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.settings import EngineOptions
from foldlight.simulate.settings import SimulationSettings
from foldlight.train.settings import TrainingSettings

__all__ = ["main"]

Flat = arg(name="")  # a settings class whose fields become flags without a prefix
Threads = Annotated[int | None, arg(help="CPU threads; all cores when not given. Results repeat for the same number.")]


def simulate(settings: Annotated[SimulationSettings, Flat], output: Path = Path("scan.npz")) -> None:
    """Simulate a scan with counted photons and write it as DATA-001 NPZ.

    Args:
        settings: what to simulate.
        output: file to write.
    """
    from foldlight.io import write_data001
    from foldlight.simulate.acquire import simulate as run

    scan = run(settings)
    write_data001(output, scan)
    _say(*scan.notes, f"{len(scan)} frames -> {output}")


def inspect(
    scan: Positional[Path], options: Annotated[ReadOptions, Flat] = ReadOptions(), output: Path | None = None
) -> None:
    """Tell shape, units, dose and overlap of a scan, and draw it.

    Args:
        scan: file to read.
        options: what the file does not say.
        output: picture to write; `SCAN.png` beside the scan's name, in this folder, when not given.
    """
    from foldlight.inspection import describe
    from foldlight.io import read_scan
    from foldlight.report.figures import scan_picture

    found = read_scan(scan, options)
    picture = output or Path(f"{scan.name.split('.')[0]}.png")
    scan_picture(found, picture)
    _say(*found.notes, *(f"{name:<28} {value}" for name, value in describe(found).items()), f"picture -> {picture}")


def train(
    scan: Positional[Path],
    settings: Annotated[TrainingSettings, Flat],
    network: Annotated[NetworkSettings, Flat],
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    output: Path = Path("model"),
    resume: bool = False,
    threads: Threads = None,
) -> None:
    """Train a network on the frames of one scan, self-supervised, and write its bundle.

    Args:
        scan: file to train on; its object, if any, is never looked at.
        settings: how to train.
        network: what to train.
        options: what the file does not say.
        output: folder for `wts.h5.zip`, `history.csv`, `checkpoint.pt` and `training.json`.
        resume: go on from the folder's checkpoint.
        threads: CPU threads.
    """
    from foldlight.bundle import write_bundle
    from foldlight.io import read_scan
    from foldlight.train.fit import fit

    _use_threads(threads)
    found = read_scan(scan, options)
    _say(*found.notes)
    training = fit(found, network, settings, output, resume)
    digest = write_bundle(output / "wts.h5.zip", training.model)
    _say(
        f"validation loss {min(row['validation_loss'] for row in training.history):.5f}, flat object"
        f" {training.flat_loss:.5f}, {training.seconds:.0f} s",
        f"bundle -> {output / 'wts.h5.zip'}",
        f"sha256 {digest}",
    )


def reconstruct(
    scan: Positional[Path],
    engine: Literal["network", "lsqml", "rpie", "dm", "constant"],
    settings: Annotated[EngineOptions, Flat] = EngineOptions(),
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    model: Path | None = None,
    output: Path = Path("reconstruction.npz"),
) -> None:
    """Reconstruct a scan with a trained network, with pty-chi, or as the best flat image.

    Args:
        scan: file to reconstruct.
        engine: `network` (needs --model), pty-chi's `lsqml`, `rpie` or `dm`, or `constant`.
        settings: options of the iterative engines; the network takes `--device` from here.
        options: what the file does not say.
        model: bundle of the network, or the folder that `train` wrote.
        output: NPZ to write, with a log beside it for the iterative engines.
    """
    from foldlight.io import read_scan
    from foldlight.reconstruct.engines import make_reconstructor

    _use_threads(settings.threads)
    found = read_scan(scan, options)
    made = make_reconstructor(engine, settings, model, output.with_suffix(".log")).reconstruct(found)
    made.save(output)
    _say(*found.notes, f"{made.arm}: {made.ledger.infer_seconds:.1f} s -> {output}")


def compare(
    scan: Positional[Path],
    reconstructions: Positional[tuple[Path, ...]],
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    heldout: Path | None = None,
    exposure_ratio: float = 1.0,
    output: Path = Path("comparison"),
) -> None:
    """Score reconstructions of one scan against its truth, or against held-out counts, and draw them.

    Args:
        scan: file that was reconstructed.
        reconstructions: files that `reconstruct` wrote, one an arm.
        options: what the scan file does not say.
        heldout: another exposure of the same frames, which no arm has seen.
        exposure_ratio: exposure of the held-out counts over that of the fitted ones.
        output: folder for `metrics.csv`, `frc_curves.csv` and `comparison.png`.
    """
    from foldlight.compare.table import compare as run
    from foldlight.io import read_scan
    from foldlight.reconstruct.protocol import Reconstruction
    from foldlight.report.publish import publish_comparison

    found = read_scan(scan, options)
    held = read_scan(heldout, options) if heldout else None
    comparison = run(found, [Reconstruction.load(path) for path in reconstructions], held, exposure_ratio)
    _say(*publish_comparison(output, comparison))


def demo(
    settings: Annotated[DemoSettings, Flat],
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    threads: Threads = None,
) -> None:
    """Simulate or read a scan, train, reconstruct with every arm, compare, and write a report.

    Args:
        settings: what to run.
        options: what a measured file does not say.
        threads: CPU threads.
    """
    from foldlight.demo.run import run_demo

    _use_threads(threads)
    run_demo(settings, options, _say)


_VERBS: dict[str, Callable[..., Any]] = {
    "simulate": simulate,
    "inspect": inspect,
    "train": train,
    "reconstruct": reconstruct,
    "compare": compare,
    "demo": demo,
}


def main(words: list[str] | None = None) -> None:
    """Run one verb; a refusal is one line on standard error and exit code 1, bad usage is exit code 2."""
    try:
        tyro.extras.subcommand_cli_from_dict(_VERBS, prog="foldlight", args=words, config=(tyro.conf.OmitArgPrefixes,))
    except ValidationError as error:
        sys.stderr.write(f"foldlight: {describe(error)}\n")
        sys.exit(2)
    except FoldlightError as error:
        sys.exit(f"foldlight: {error}")
    except KeyboardInterrupt:
        sys.exit("foldlight: interrupted; nothing half-written was left")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _use_threads(threads: int | None) -> None:
    """Fix the number of CPU threads: results repeat to the bit for the same number."""
    import torch

    if threads is not None and threads < 1:
        raise SettingsError(f"threads = {threads}: expected 1 or more")
    torch.set_num_threads(threads or os.cpu_count() or 1)
