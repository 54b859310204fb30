"""Scan in, report out: simulate or read, adapt the network, reconstruct with every arm, compare."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from foldlight.bundle import BUNDLE_NAME, pretrained, write_bundle
from foldlight.compare.efficiency import suited_limit
from foldlight.compare.table import CompareSettings, Comparison, compare
from foldlight.core.errors import FoldlightError
from foldlight.core.files import write_json, write_text
from foldlight.core.provenance import environment
from foldlight.core.seeds import generator
from foldlight.demo.settings import DemoSettings
from foldlight.inspection import describe
from foldlight.io import ReadOptions, read_scan, write_data001
from foldlight.preparation.run import refine
from foldlight.preparation.settings import PreparationSettings
from foldlight.reconstruct.constant import ConstantReconstructor
from foldlight.reconstruct.engines import load_network
from foldlight.reconstruct.hybrid import HybridReconstructor
from foldlight.reconstruct.iterative import IterativeReconstructor
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.reconstruct.settings import IterativeSettings, RefineSettings
from foldlight.report.figures import scan_picture
from foldlight.report.publish import publish_comparison
from foldlight.sampling.thinning import thin
from foldlight.scan import Scan
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings
from foldlight.train.fit import adapt

__all__ = ["run_demo"]

Say = Callable[..., None]

_ADAPT_STEPS = 60
_ITERATIONS = 60
_SMALLER = 4  # by how much --small divides the work of a measured scan


@dataclass(frozen=True)
class _Data:
    """What the arms see, and the counts they do not."""

    scan: Scan
    heldout: Scan
    exposure_ratio: float


def run_demo(settings: DemoSettings, options: ReadOptions, say: Say) -> Comparison:
    """Run the demo and leave `report.html`, `comparison.png`, `metrics.csv` and all they came from in the folder.

    Args:
        settings: what to run.
        options: how to read a measured scan.
        say: receives each line of the log as it happens.

    Raises:
        FoldlightError: a step refused. Where that is one method, the others are still run, compared and published.
    """
    lines: list[str] = []

    def log(*words: str) -> None:
        lines.extend(words)
        say(*words)
        write_text(settings.output / "run.log", "".join(f"{line}\n" for line in lines))

    data = _measured(settings.scan, settings, options, log) if settings.scan else _simulated(settings)
    log(*data.scan.notes)
    facts = describe(data.scan)
    log(*(f"{name:<28} {value}" for name, value in facts.items()))
    scan_picture(data.scan, settings.output / "scan.png")
    made, refused = [], []
    for arm in (_network, _hybrid, _iterative, _constant):
        try:
            made.append(arm(settings, data.scan, log))
        except FoldlightError as error:
            refused.append(error)
            log(f"failed: {error}")
    for each in made:
        each.save(settings.output / "reconstructions" / f"{each.arm}.npz")
    wanted = CompareSettings(limit="off" if data.scan.truth is None else suited_limit(made, data.scan))
    comparison = compare(data.scan, made, data.heldout, data.exposure_ratio, wanted).labelled(
        dose=data.scan.origin.get("dose"), seed=settings.seed
    )
    write_json(settings.output / "settings.json", {"demo": settings.plain(), "environment": environment()})
    told = {
        "command": _command(settings),
        "scan": facts,
        "settings": settings.plain(),
        "versions": environment(),
    }
    pictures = {"The scan": settings.output / "scan.png"}
    log(*publish_comparison(settings.output, comparison, told, lines, pictures))
    if refused:
        raise refused[0]
    return comparison


def _simulated(settings: DemoSettings) -> _Data:
    """A scan with known truth, and a second exposure of it as the held-out counts."""
    wanted = SimulationSettings(dose=settings.dose, seed=settings.seed)
    if settings.small:
        wanted = wanted.model_copy(
            update={"object_size": 128, "window": 32, "probe_diameter_px": 16.0, "positions": 300}
        )
    scan = simulate(wanted)
    write_data001(settings.output / "scan.npz", scan)
    return _Data(scan, simulate(wanted, noise="held out"), 1.0)


def _measured(path: Path, settings: DemoSettings, options: ReadOptions, log: Say) -> _Data:
    """A measured scan with some of its photons held out, and its probe refined on the others.

    A file's probe is a guess. It is refined once, with pty-chi, and then every arm gets the same one, so that the arms
    differ in how they find the object and in nothing else.
    """
    scan = read_scan(path, options)
    kept = 1 - settings.heldout_fraction
    fitted, held = thin(scan, kept, generator(settings.seed, "thinning"))
    log(*fitted.notes, "probe: the guess is refined with pty-chi; every arm then uses the refined one")
    wanted = PreparationSettings(
        epochs=round(_shortened(settings, _ITERATIONS)), seed=settings.seed, threads=torch.get_num_threads()
    )
    refined = refine(fitted, wanted, settings.output / "probe_refinement.log", progress=True)
    log(f"probe: refined in {refined.ledger.infer_seconds:.0f} s, {refined.ledger.epochs} epochs")
    notes = ("probe refined on these photons with pty-chi LSQML, from a flat object",)
    return _Data(replace(fitted, probe=refined.probe, notes=notes), held, settings.heldout_fraction / kept)


def _network(settings: DemoSettings, scan: Scan, log: Say) -> Reconstruction:
    """The packaged network, adapted to the scan; its bundle is written, and the scan reconstructed from that."""
    folder = settings.output / "network"
    model, seconds = pretrained(), 0.0
    steps = settings.adapt_steps
    if steps is None:
        steps = round(_shortened(settings, _ADAPT_STEPS))
    if steps and not scan.photons.whole:
        log("network: not adapted, as the frames are no counted photons")
    elif steps:
        adapted = adapt(scan, model, steps, seed=settings.seed, device=settings.device)
        model, seconds = adapted.model, adapted.seconds
        facts = model.training
        log(
            f"network: adapted in {seconds:.0f} s, loss on held-back photons {facts['start_loss']:.4f} ->"
            f" {facts['best_validation_loss']:.4f}, flat object {adapted.flat_loss:.4f}"
        )
    digest = write_bundle(folder / BUNDLE_NAME, model)
    write_json(folder / "training.json", {**model.training, "seconds": seconds, "environment": environment()})
    log(f"network: bundle {folder / BUNDLE_NAME}, sha256 {digest}")
    made = load_network(folder, settings.device).reconstruct(scan)
    log(f"network: {len(scan)} frames in {made.ledger.infer_seconds:.1f} s")
    return made


def _hybrid(settings: DemoSettings, scan: Scan, log: Say) -> Reconstruction:
    """The same network's image, refined by a few steps of likelihood."""
    first = load_network(settings.output / "network", settings.device)
    refined = HybridReconstructor(first, RefineSettings(), progress=True).reconstruct(scan)
    facts = refined.settings["refinement"]
    log(f"Hybrid: {facts['steps']} steps of likelihood in {refined.ledger.infer_seconds:.1f} s: {facts['reason']}")
    return refined


def _iterative(settings: DemoSettings, scan: Scan, log: Say) -> Reconstruction:
    """pty-chi on the same frames, positions and probe, from a flat object."""
    wanted = IterativeSettings(
        epochs=settings.iterations or round(_shortened(settings, _ITERATIONS)),
        fit_probe=False,
        seed=settings.seed,
        device="cpu" if settings.device == "cpu" else "cuda",
        threads=torch.get_num_threads(),
    )
    made = IterativeReconstructor(wanted, settings.output / "lsqml.log", progress=True).reconstruct(scan)
    log(f"LSQML: {made.ledger.epochs} epochs in {made.ledger.infer_seconds:.0f} s")
    return made


def _constant(_: DemoSettings, scan: Scan, log: Say) -> Reconstruction:
    """The best flat image."""
    made = ConstantReconstructor().reconstruct(scan)
    log(f"Constant: amplitude {abs(made.object[0, 0]):.3f}")
    return made


def _shortened(settings: DemoSettings, work: float) -> float:
    """The work as a small demo of a measured scan does it; a simulated one is small already."""
    return work / _SMALLER if settings.small and settings.scan else work


def _command(settings: DemoSettings) -> str:
    """The command that repeats this run: every setting that is not the default."""
    words = ["foldlight", "demo"]
    defaults = DemoSettings().plain()
    for name, value in settings.plain().items():
        if value != defaults[name] and name != "output":
            flag = "--" + name.replace("_", "-")
            words += [flag] if value is True else [flag, str(value)]
    return " ".join(words)
