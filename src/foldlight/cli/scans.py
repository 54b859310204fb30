"""Verbs about scans: simulate, inspect, convert, thin, prepare, limit."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from foldlight.cli.common import Flat, Threads, say, use_threads
from foldlight.core.errors import SettingsError
from foldlight.io.options import ReadOptions
from foldlight.planning.settings import PlanningSettings
from foldlight.preparation.settings import PreparationSettings
from foldlight.simulate.settings import SimulationSettings

if TYPE_CHECKING:
    from foldlight.scan import Scan

__all__ = ["convert", "inspect", "limit", "prepare", "simulate", "thin"]

_HDF5 = {".h5", ".hdf5"}
_FORMATS = {
    ".h5": "container",
    ".hdf5": "container",
    ".npz": "data001",
    ".cxi": "cxi",
    ".nxs": "nexus",
    ".ptyd": "ptypy",
}


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
    scan: Positional[Path],
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    output: Path | None = None,
    verify: bool = False,
    forecast: bool = True,
) -> None:
    """Tell shape, units, dose and overlap of a scan, draw it, and forecast what each engine would take with it.

    Args:
        scan: file to read.
        options: what the file does not say.
        output: picture to write; `SCAN.png` beside the scan's name, in this folder, when not given.
        verify: of a container, also read all frames and compare them with their digests.
        forecast: try each engine on pieces of the scan, some seconds in all.
    """
    from foldlight.inspection import describe
    from foldlight.io import read_scan, verify_container
    from foldlight.report.figures import scan_picture

    found = read_scan(scan, options)
    if verify:
        say(verify_container(scan, progress=True))
    picture = output or Path(f"{scan.name.split('.')[0]}.png")
    scan_picture(found, picture)
    say(*found.notes, *(f"{name:<28} {value}" for name, value in describe(found).items()), f"picture -> {picture}")
    if forecast:
        _say_forecast(found)


def _say_forecast(scan: "Scan") -> None:
    """A line an engine: what it would take on this machine, now."""
    import torch

    from foldlight.core.progress import duration
    from foldlight.forecast import forecast, shortage

    say(f"forecast, by default settings on {torch.get_num_threads()} threads of this machine as busy as it is:")
    for each in forecast(scan):
        say(f"  {each.engine:<26} {duration(each.seconds):<8} {each.memory_gb:>5.1f} GB   {each.steps}")
        if short := shortage(scan, each.engine):
            say(f"    {short}")


def convert(
    scan: Positional[Path],
    output: Positional[Path],
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    form: Annotated[str | None, arg(name="format")] = None,
    pack: bool = False,
) -> None:
    """Write a scan of any readable format as a scan container (.h5), or in a format of another program.

    Args:
        scan: file to read.
        output: file to write.
        options: what the file does not say.
        form: short name of the format: container, data001, cxi, nexus, ptychodus, foldslice, ptypy, ptylab, tike, slac;
            by the name of the file when not given: .h5 or .hdf5 container, .npz data001, .cxi, .nxs nexus, .ptyd ptypy.
        pack: of a container, compressed, for rest and transport; convert again to work with it.
    """
    from foldlight.io import files_of, read_scan, write_container, write_scan

    chosen = form or _FORMATS.get(output.suffix.lower())
    if chosen is None:
        raise SettingsError(f"output = {output}: expected a name that ends in {', '.join(_FORMATS)}, or a --format")
    if pack and chosen != "container":
        raise SettingsError(f"pack: expected a container (.h5) to pack, got {chosen}")
    if any(path.exists() and path.samefile(scan) for path in files_of(output, chosen)):
        raise SettingsError(f"output = {output}: expected another file than the one that is read")
    found = read_scan(scan, options)
    before = scan.stat().st_size
    if chosen == "container":
        write_container(output, found, pack, progress=True)
        files: tuple[Path, ...] = (output,)
    else:
        files = write_scan(output, found, chosen)
    after = sum(path.stat().st_size for path in files)
    names = ", ".join(map(str, files))
    say(*found.notes, f"{len(found)} frames, {_size(before)} -> {names}, {_size(after)} ({after / before:.0%})")


def thin(
    scan: Positional[Path],
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    fraction: float = 0.8,
    seed: int = 0,
    output: Path = Path("kept.h5"),
    heldout: Path = Path("heldout.h5"),
) -> None:
    """Split the photons of a scan into two independent exposures: one to reconstruct, one to score on.

    Args:
        scan: file with counted photons.
        options: what the file does not say.
        fraction: probability of each photon to be kept for the first.
        seed: of the dealing.
        output: container (.h5) to write, with the photons that were kept.
        heldout: container (.h5) to write, with the others.
    """
    from foldlight.core.seeds import generator
    from foldlight.io import read_scan, write_container
    from foldlight.sampling.thinning import thin as run

    for path in (output, heldout):
        if path.suffix.lower() not in _HDF5:
            raise SettingsError(f"output = {path}: expected a name that ends in .h5 or .hdf5")
    if output.resolve() == heldout.resolve():
        raise SettingsError(f"heldout = {heldout}: expected another file than that of the photons that are kept")
    exposures = run(read_scan(scan, options), fraction, generator(seed, "thin"))
    for path, exposure in zip((output, heldout), exposures, strict=True):
        write_container(path, exposure, metadata={"thinning": {"fraction": fraction, "seed": seed}}, progress=True)
        say(f"{exposure.notes[-1]}, {_size(path.stat().st_size)} -> {path}")
    ratio = (1 - fraction) / fraction
    say(f"score on it with: foldlight compare {output} ... --heldout {heldout} --exposure-ratio {ratio:.6g}")


def _size(count: int) -> str:
    """Bytes in the unit that people would use."""
    unit = next((unit for unit, top in (("kB", 1e6), ("MB", 1e9)) if count < top), "GB")
    return f"{count / {'kB': 1e3, 'MB': 1e6, 'GB': 1e9}[unit]:.3g} {unit}"


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
