"""The command line: every verb is a few lines over one library call.

Nothing heavy is imported before a verb needs it, so help and bad usage answer at once.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import tyro
from pydantic import ValidationError
from tyro.conf import Positional, arg

from foldlight.core.errors import FoldlightError, SettingsError
from foldlight.core.settings import describe
from foldlight.demo.settings import DemoSettings
from foldlight.io.options import ReadOptions
from foldlight.networks.settings import NetworkSettings
from foldlight.planning.settings import PlanningSettings
from foldlight.preparation.settings import PreparationSettings
from foldlight.reconstruct.settings import EngineOptions, LikelihoodOptions, RefineOptions
from foldlight.report.settings import ExportSettings
from foldlight.simulate.settings import SimulationSettings
from foldlight.train.settings import PretrainingSettings, TrainingSettings

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


def prepare(
    scan: Positional[Path],
    settings: Annotated[PreparationSettings, Flat] = PreparationSettings(),
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    output: Path = Path("base.npz"),
) -> None:
    """Make a base for simulated scans from a measured one: refined probe, reconstructed and cleaned object.

    Args:
        scan: file to start from; its object, if any, is never looked at.
        settings: how to reconstruct, with pty-chi.
        options: what the file does not say.
        output: DATA-001 file to write, with a picture and a log beside it.
    """
    from foldlight.core.provenance import environment
    from foldlight.io import read_scan, write_data001
    from foldlight.preparation.run import prepare as run
    from foldlight.report.figures import object_picture

    if output.suffix != ".npz":
        raise SettingsError(f"output = {output}: expected a name that ends in .npz, its picture and log lie beside it")
    _use_threads(settings.threads)
    found = read_scan(scan, options)
    _say(*found.notes)
    began = time.perf_counter()
    base = run(found, settings, output.with_suffix(".log"), progress=True)
    seconds = time.perf_counter() - began
    write_data001(output, base, {"environment": environment()})
    object_picture(base, output.with_suffix(".png"), f"{output.name}, prepared from {scan.name}")
    facts = base.origin["preparation"]
    _say(
        *base.notes[len(found.notes) :],
        f"{base.photons.totals.mean():,.0f} photons counted per frame, {seconds:.0f} s",
        f"deviance per pixel of the expected frames: {facts['deviance_reconstruction']:.4g} as reconstructed,"
        f" {facts['deviance_base']:.4g} as cleaned",
        f"{len(base)} frames, object, probe -> {output}",
        f"picture -> {output.with_suffix('.png')}",
    )


def train(
    scan: Positional[Path],
    settings: Annotated[TrainingSettings, Flat],
    network: Annotated[NetworkSettings, Flat],
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    start: str | None = None,
    output: Path = Path("model"),
    resume: bool = False,
    threads: Threads = None,
) -> None:
    """Train a network on the frames of one scan and write its bundle.

    Args:
        scan: file to train on; its object, if any, is not looked at, but with `--supervision object`.
        settings: how to train.
        network: what to train.
        options: what the file does not say.
        start: where to begin: `pretrained`, the weights that come with the package; `scratch`, weights drawn from the
            seed; or a bundle's path. When not given: the package's, if they are of this network.
        output: folder for `wts.h5.zip`, `history.csv`, `checkpoint.pt` and `training.json`.
        resume: go on from the folder's checkpoint.
        threads: CPU threads.
    """
    from foldlight.bundle import starting_model, write_bundle
    from foldlight.io import read_scan
    from foldlight.train.fit import fit

    _use_threads(threads)
    found = read_scan(scan, options)
    _say(*found.notes)
    training = fit(found, network, settings, output, resume, start=starting_model(start, network))
    digest = write_bundle(output / "wts.h5.zip", training.model)
    _say(
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
    on the same machine and versions.

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

    _use_threads(threads)
    model = run(network, settings, output, resume, start=starting_model(start, network))
    digest = write_bundle(output / "wts.h5.zip", model)
    errors = (f"n = {decade}: {error:.3f}" for decade, error in model.training["error_by_photons"].items())
    _say(
        f"relative error on unseen scans by photons a pixel, median: {', '.join(errors)}",
        f"bundle -> {output / 'wts.h5.zip'}",
        f"sha256 {digest}",
    )


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
    probe: Path | None = None,
    output: Path = Path("reconstruction.npz"),
) -> None:
    """Reconstruct a scan with a trained network, by maximum likelihood, with pty-chi, or as the best flat image.

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
        probe: file that `reconstruct` wrote, whose probe takes the place of the scan's: a measured scan's own is a
            guess, and an engine that refines it finds a better one.
        output: NPZ to write, with a log beside it for pty-chi's engines.
    """
    from foldlight.io import read_scan
    from foldlight.reconstruct.engines import make_reconstructor
    from foldlight.reconstruct.protocol import Reconstruction

    _use_threads(settings.threads)
    found = read_scan(scan, options)
    if probe is not None:
        found = found.with_probe(Reconstruction.load(probe).probe, f"probe of {probe.name}")
    log = output.with_suffix(".log")
    made = make_reconstructor(engine, settings, model, log, likelihood, refinement, start, adapt).reconstruct(found)
    made.save(output)
    _say(*found.notes, f"{made.arm}: {made.ledger.infer_seconds:.1f} s -> {output}")
    if not made.settings.get("convergence", {}).get("converged", True):
        _say(f"{made.arm}: not converged, ended by the {made.settings['convergence']['ended_by']}")
    if refined := made.settings.get("refinement"):
        known = " and of the network's usual errors" if refined["prior"] == "network" else ""
        _say(f"{made.arm}: {refined['steps']} steps of likelihood{known}: {refined['reason']}")


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
        _say(*_compare_runs(scan, reconstructions, [name for name, given in scan_only.items() if given], output))
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
    _say(*publish_comparison(output, run(found, made, held, exposure_ratio, settings)))


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


def limit(
    scan: Positional[Path | None] = None,
    settings: Annotated[PlanningSettings, Flat] = PlanningSettings(),
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    output: Path = Path("limit"),
    threads: Threads = None,
) -> None:
    """Tell what any method could reach with a scan, before beam time: least errors, resolution, the dose needed.

    Args:
        scan: file whose probe, positions and object are used; without one a scan is made up from the settings.
        settings: what to plan.
        options: what the file does not say.
        output: folder for `limit.png`, `limit.csv` and `limit.json`.
        threads: CPU threads.
    """
    from foldlight.core.provenance import sha256_file
    from foldlight.io import read_scan
    from foldlight.planning.files import write_plan
    from foldlight.planning.run import plan

    _use_threads(threads)
    found = None if scan is None else read_scan(scan, options)
    _say(*(found.notes if found else ()))
    source = None if scan is None else {"file": scan.name, "sha256": sha256_file(scan)}
    _say(*write_plan(output, plan(settings, found, progress=True), source))


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


def report(run: Positional[Path], output: Path | None = None, pixel_nm: float | None = None) -> None:
    """Write the report of a study, a demo or a comparison: one HTML page that needs no network.

    Args:
        run: folder that `study run`, `demo` or `compare` wrote.
        output: file to write; `report.html` in the folder when not given.
        pixel_nm: size of an object pixel [nm], for scale bars; they are in pixels when not given.
    """
    from foldlight.report.page import write_report

    if pixel_nm is not None and not 0 < pixel_nm < float("inf"):
        raise SettingsError(f"pixel_nm = {pixel_nm}: expected the size of an object pixel in nm, a positive number")
    _say(f"report -> {write_report(run, output, pixel_nm)}")


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

    _say(*listing(run) if show else [write(run, settings, output)])


def study_run(
    study: Positional[Path],
    profile: str = "quick",
    only: str = "",
    resume: bool = False,
    base_npz: Path | None = None,
    output: Path | None = None,
    workers: int | None = None,
    design: Path | None = None,
    accelerator: Literal["auto", "cpu", "gpu", "cuda"] = "cpu",
    repeats: int | None = None,
) -> None:
    """Run all phases of a study, several jobs at a time, and show the table of its results.

    Args:
        study: folder of the study.
        profile: size of the study, a TOML file beside its code: `smoke`, `quick` or `full`.
        only: run a part and what it needs, for instance `dose=1000,view=dense`.
        resume: run only what failed, was interrupted, is missing, or whose files or settings have changed.
        base_npz: file with the object, probe and positions to start from, instead of the simulated ones.
        output: folder for everything; `outputs/STUDY/PROFILE` when not given.
        workers: jobs at a time; as many as there are cores for when not given.
        design: settings file instead of a profile.
        accelerator: where networks and pty-chi compute; on a CPU results repeat to the bit.
        repeats: times that the study is made, each with seeds of its own; as the design says when not given.
    """
    from foldlight.report.publish import publish_study
    from foldlight.study.plan import ask_plan, parse_filters, profile_file
    from foldlight.study.runner import run_plan

    chosen = design or profile_file(study, profile)
    root = output or _study_output(study, chosen.stem)
    base = [] if base_npz is None else ["--base-npz", base_npz.resolve()]
    words = ["--output-root", root.resolve(), "--design", chosen.resolve(), "--accelerator", accelerator, *base]
    words += [] if repeats is None else ["--repeats", repeats]
    plan = ask_plan(study, list(map(str, words)))
    part = plan.only(parse_filters(only))
    try:
        report = run_plan(plan, part, _say, resume, workers, show=sys.stdout.isatty() and sys.stderr.isatty())
    except KeyboardInterrupt:
        sys.exit("foldlight: interrupted; all jobs were ended; go on with the same command and --resume")
    _say(*publish_study(plan), f"everything -> {root}")
    if report.troubles:
        lines = [f"    {name}: {result.status}: {result.error}" for name, result in report.troubles.items()]
        _say(f"{len(lines)} of {len(report.results)} tasks did not succeed:", *lines, f"logs -> {root / 'jobs'}")
        sys.exit("foldlight: not all tasks succeeded; remove the cause and go on with the same command and --resume")


def study_status(path: Positional[Path] = Path("outputs"), profile: str = "quick") -> None:
    """Tell what of a study is done, skipped, running, failed, blocked, stale, interrupted or missing, and why.

    Args:
        path: folder that a study was run into, folder of the study, or folder with the outputs of several.
        profile: which of the study's default output folders is meant.
    """
    from foldlight.study.plan import PLAN_FILE, read_plan
    from foldlight.study.state import STATES, states

    root = _study_output(path, profile) if (path / "plan.py").is_file() else path
    below = sorted(found.parent for found in root.glob(f"*/*/{PLAN_FILE}"))
    roots = below if below and not (root / PLAN_FILE).is_file() else [root]
    for each in roots:
        plan = read_plan(each)
        found = states(plan)
        words = [state.state for state in found.values()]
        counts = ", ".join(f"{words.count(word)} {word}" for word in STATES if word in words)
        _say(f"{plan.title} -> {each}: {counts}")
        for task in plan.tasks if len(roots) == 1 else ():
            state = found[task.name]
            told = state.reason or (f"{state.seconds:.0f} s" if state.seconds else "")
            _say(f"  {state.state:<11} {task.title}  {told}".rstrip())


def _study_output(study: Path, profile: str) -> Path:
    """Where a study's results go when nothing else is said."""
    return Path("outputs") / study.resolve().name / profile


def study() -> NoReturn:
    """Run a study of many jobs with one command, or tell where it stands: `foldlight study --help`."""
    main(["study", "--help"])
    raise SystemExit


_VERBS: dict[str, Callable[..., Any]] = {
    "simulate": simulate,
    "inspect": inspect,
    "prepare": prepare,
    "train": train,
    "pretrain": pretrain,
    "reconstruct": reconstruct,
    "compare": compare,
    "limit": limit,
    "demo": demo,
    "report": report,
    "export": export,
    "study": study,
}
_STUDY_VERBS: dict[str, Callable[..., Any]] = {"run": study_run, "status": study_status}


def main(words: list[str] | None = None) -> None:
    """Run one verb; a refusal is one line on standard error and exit code 1, bad usage is exit code 2."""
    given = sys.argv[1:] if words is None else words
    nested = given[:1] == ["study"]
    verbs, prog = (_STUDY_VERBS, "foldlight study") if nested else (_VERBS, "foldlight")
    try:
        tyro.extras.subcommand_cli_from_dict(verbs, prog=prog, args=given[nested:], config=(tyro.conf.OmitArgPrefixes,))
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
