"""Verbs about images: reconstruct, compare, report, export, and the demo that does it all."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from foldlight.cli.common import Flat, Threads, say, use_threads
from foldlight.cli.doctor import look_over
from foldlight.cli.ranks import started_together
from foldlight.core.errors import SettingsError
from foldlight.demo.settings import DemoSettings
from foldlight.io.options import ReadOptions
from foldlight.reconstruct.settings import EngineOptions, LikelihoodOptions, RefineOptions
from foldlight.report.settings import ExportSettings

__all__ = ["compare", "demo", "export", "reconstruct", "report"]


def reconstruct(
    scan: Positional[Path],
    engine: Literal["network", "hybrid", "ml", "lsqml", "rpie", "dm", "constant"],
    settings: Annotated[EngineOptions, Flat] = EngineOptions(),
    likelihood: Annotated[LikelihoodOptions, Flat] = LikelihoodOptions(),
    refinement: Annotated[RefineOptions, Flat] = RefineOptions(),
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    model: Path | None = None,
    adapt: int = 0,
    start: str | None = None,
    doctor: bool = True,
    output: Path = Path("reconstruction.npz"),
) -> None:
    """Reconstruct a scan with a trained network, by maximum likelihood, with pty-chi, or as the best flat image.

    The network's work is shared by the processes of `torchrun --standalone --nproc-per-node 2 -m foldlight
    reconstruct SCAN --engine network`, for scans of more frames than fit into one tile, some thousands.

    Args:
        scan: file to reconstruct.
        engine: `network`, `hybrid`, the network refined by likelihood, `ml`, pty-chi's `lsqml`, `rpie`
            or `dm`, or `constant`.
        settings: options of the iterative engines; the network takes `--device` from here.
        likelihood: options of `ml` and `hybrid`.
        refinement: options of `hybrid`.
        options: what the file does not say.
        model: bundle of the network, or the folder that `train` wrote; when not given, the network that comes with the
            package, which was trained on simulated scans and has seen no measured one.
        adapt: steps of training that adapt the network to this scan first, on its photons alone; 50 take a minute.
        start: where an iterative engine or `hybrid` begins: `network`, or a file that `reconstruct`
            wrote; the best flat image, and the network for `hybrid`, when not given.
        doctor: refuse where a quick look says that no image could be right; that look is quiet when all is well.
        output: NPZ to write, with a log beside it for pty-chi's engines.
    """
    from foldlight.forecast import shortage
    from foldlight.io import read_scan
    from foldlight.reconstruct.engines import make_reconstructor
    from foldlight.reconstruct.sharded import reconstruct_on

    with started_together(settings.device, settings.threads) as ranks:
        found = read_scan(scan, options)
        if ranks.first:
            look_over(found, refuse=doctor)
        if ranks.first and settings.device == "cpu" and (short := shortage(found, engine)):
            say(short)
        own = settings.model_copy(update={"device": ranks.device(settings.device)})
        log = output.with_suffix(".log")
        reconstructor = make_reconstructor(engine, own, model, log, likelihood, refinement, start, adapt)
        made = reconstruct_on(ranks, reconstructor, found)
        if made is None:
            return
        made.save(output)
    say(*found.notes, f"{made.arm}: {made.ledger.infer_seconds:.1f} s -> {output}")
    if not made.settings.get("convergence", {}).get("converged", True):
        say(f"{made.arm}: not converged, ended by the {made.settings['convergence']['ended_by']}")
    if refined := made.settings.get("refinement"):
        known = " and of the network's usual errors" if refined["prior"] == "network" else ""
        say(f"{made.arm}: {refined['steps']} steps of likelihood{known}: {refined['reason']}")


def compare(
    scan: Positional[Path],
    reconstructions: Positional[tuple[Path, ...]],
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    heldout: Path | None = None,
    exposure_ratio: float = 1.0,
    limit: Literal["auto", "known", "blind", "off"] = "auto",
    legacy: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    output: Path = Path("comparison"),
) -> None:
    """Score reconstructions of one scan against its truth, or against held-out counts; or compare two runs.

    `compare SCAN RECONSTRUCTION ...` scores and draws the arms of one scan. `compare RUN_A RUN_B`, with the folders of
    two studies, demos or comparisons, tells by how much B differs from A, and whether by more than noise.

    Args:
        scan: file that was reconstructed, or the folder of run A.
        reconstructions: files that `reconstruct` wrote, one an arm, or the folder of run B.
        options: what the scan file does not say.
        heldout: another exposure of the same frames, which no arm has seen.
        exposure_ratio: exposure of the held-out counts over that of the fitted ones.
        limit: dose limit to hold the arms against where there is a truth: with a `known` probe, `blind`, or what suits
            the arms.
        legacy: add columns with the field's older definitions, to compare with published numbers.
        output: folder for `metrics.csv`, `frc_curves.csv` and `comparison.png`, or for `differences.csv` and
            `differences.png`.
    """
    if scan.is_dir() or any(path.is_dir() for path in reconstructions):
        scan_only = {
            "--heldout": heldout is not None,
            "--exposure-ratio": exposure_ratio != 1,
            "--limit": limit != "auto",
            "--legacy": legacy,
            "options of the scan file": options != ReadOptions(),
        }
        say(*_compare_runs(scan, reconstructions, [name for name, given in scan_only.items() if given], output))
        return
    from foldlight.compare.efficiency import suited_limit
    from foldlight.compare.table import CompareSettings
    from foldlight.compare.table import compare as run
    from foldlight.io import read_scan
    from foldlight.reconstruct.protocol import Reconstruction
    from foldlight.report.publish import publish_comparison

    found = read_scan(scan, options)
    held = read_scan(heldout, options) if heldout else None
    made = [Reconstruction.load(path) for path in reconstructions]
    settings = CompareSettings(limit=suited_limit(made, found) if limit == "auto" else limit, legacy=legacy)
    say(*publish_comparison(output, run(found, made, held, exposure_ratio, settings)))


def _compare_runs(first: Path, others: tuple[Path, ...], unfit: list[str], output: Path) -> list[str]:
    """What two runs differ in, line by line."""
    from foldlight.report.runs import publish_differences

    folders = sum(path.is_dir() for path in (first, *others))
    if (folders, len(others)) != (2, 1):
        raise SettingsError(
            "compare: expected a scan and its reconstructions, or the folders of two runs, got"
            f" {len(others) + 1} paths with {folders} folders among them; give files alone, or two folders"
        )
    if unfit:
        raise SettingsError(f"compare RUN_A RUN_B: expected --output alone, got {', '.join(unfit)}; leave it out")
    return publish_differences(first, others[0], output)


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

    use_threads(threads)
    run_demo(settings, options, say)


def report(run: Positional[Path], output: Path | None = None, pixel_nm: float | None = None) -> None:
    """Write the report of a study, a demo or a comparison: one HTML page that needs no network.

    Args:
        run: folder that `study run`, `demo` or `compare` wrote.
        output: file to write; `report.html` in the folder when not given.
        pixel_nm: size of an object pixel [nm], for scale bars; what the scan says when not given, or pixels.
    """
    from foldlight.report.page import write_report

    if pixel_nm is not None and not 0 < pixel_nm < float("inf"):
        raise SettingsError(f"pixel_nm = {pixel_nm}: expected the size of an object pixel in nm, a positive number")
    say(f"report -> {write_report(run, output, pixel_nm)}")


def export(
    run: Positional[Path],
    settings: Annotated[ExportSettings, Flat] = ExportSettings(),
    output: Path = Path("image.png"),
    show: Annotated[bool, arg(name="list")] = False,
) -> None:
    """Write any image of a run as PNG, 32-bit TIFF or NPZ.

    Args:
        run: folder that `study run`, `demo` or `compare` wrote, or a file that `reconstruct` wrote.
        settings: which image, and how.
        output: file to write; its ending says how: `.png`, `.tif`, `.npz`, and `.csv` of curves.
        show: only tell what there is.
    """
    from foldlight.report.export import export as write
    from foldlight.report.export import listing

    say(*listing(run) if show else [write(run, settings, output)])
