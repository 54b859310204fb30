"""Verbs about scans: simulate, inspect, prepare, limit."""

import time
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from foldlight.cli.common import Flat, Threads, say, use_threads
from foldlight.core.errors import SettingsError
from foldlight.io.options import ReadOptions
from foldlight.planning.settings import PlanningSettings
from foldlight.preparation.settings import PreparationSettings
from foldlight.simulate.settings import SimulationSettings

__all__ = ["inspect", "limit", "prepare", "simulate"]


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
    say(*scan.notes, f"{len(scan)} frames -> {output}")


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
    say(*found.notes, *(f"{name:<28} {value}" for name, value in describe(found).items()), f"picture -> {picture}")


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
    use_threads(settings.threads)
    found = read_scan(scan, options)
    say(*found.notes)
    began = time.perf_counter()
    base = run(found, settings, output.with_suffix(".log"), progress=True)
    seconds = time.perf_counter() - began
    write_data001(output, base, {"environment": environment()})
    object_picture(base, output.with_suffix(".png"), f"{output.name}, prepared from {scan.name}")
    facts = base.origin["preparation"]
    say(
        *base.notes[len(found.notes) :],
        f"{base.photons.totals.mean():,.0f} photons counted per frame, {seconds:.0f} s",
        f"deviance per pixel of the expected frames: {facts['deviance_reconstruction']:.4g} as reconstructed,"
        f" {facts['deviance_base']:.4g} as cleaned",
        f"{len(base)} frames, object, probe -> {output}",
        f"picture -> {output.with_suffix('.png')}",
    )


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

    use_threads(threads)
    found = None if scan is None else read_scan(scan, options)
    say(*(found.notes if found else ()))
    source = None if scan is None else {"file": scan.name, "sha256": sha256_file(scan)}
    say(*write_plan(output, plan(settings, found, progress=True), source))
