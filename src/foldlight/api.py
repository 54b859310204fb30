"""The verbs of the package for scripts and notebooks: paths or scans in, results that draw themselves out.

Each verb is a few lines over the library and takes the options of the command line as keywords, checked by the same
settings classes. Arrays are NumPy; nothing is printed, bars go to standard error.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from foldlight.arguments import (
    chosen_settings,
    expect_known,
    exposure_ratio_of,
    part_of,
    reconstructions_of,
    remembered_scan,
    scan_of,
    with_probe,
)
from foldlight.core.errors import DataError, SettingsError
from foldlight.core.seeds import generator
from foldlight.geometry import Geometry
from foldlight.io import read_scan as read_file
from foldlight.io import write_scan as write_file
from foldlight.io import writers
from foldlight.io.frames import Storage, moved_to_canvas, photon_frames, placed_positions, probe_for
from foldlight.io.options import ReadOptions
from foldlight.scan import Scan

if TYPE_CHECKING:
    from foldlight.bundle import Model
    from foldlight.compare.table import Comparison
    from foldlight.doctor.findings import Diagnosis
    from foldlight.optics.limit import DoseLimit
    from foldlight.orient.verdict import Verdict
    from foldlight.reconstruct.engines import EngineName
    from foldlight.reconstruct.protocol import Reconstruction
    from foldlight.simulate.settings import SimulationSettings

__all__ = [
    "ScanWarning",
    "compare",
    "diagnose",
    "limit",
    "orient",
    "read_scan",
    "reconstruct",
    "scan_from_arrays",
    "simulate",
    "thin",
    "train",
    "write_scan",
]


class ScanWarning(UserWarning):
    """The doctor found something wrong or odd with a scan that is about to be worked on."""


_CALLER = 4  # in the stack, from a warning: the look, the verb, the package that is called as the verb, its caller
_ARRAYS = Storage(declared={"axis_order": "nyx"})


def read_scan(path: str | Path, options: ReadOptions | None = None, **keywords: Any) -> Scan:
    """Read a scan of any known format.

    Args:
        path: the file.
        options: what the file does not say, or says wrongly.
        keywords: the same, one by one: the fields of `ReadOptions`, for instance `values="amplitude"`.

    Raises:
        DataError: the file is missing, damaged, of no known format, or not a sound scan.
        SettingsError: an option is unknown or out of range.
    """
    return read_file(Path(path).expanduser(), chosen_settings("read_scan", ReadOptions, options, keywords))


def write_scan(path: str | Path, scan: Scan, form: str = "container") -> tuple[Path, ...]:
    """Write a scan in a format by its short name; what it can't carry is lost.

    Args:
        path: the file.
        scan: to write.
        form: `container`, which carries all and opens at once however large it is; `data001`; or a name of another
            program's format, see `foldlight.io.writers`.

    Returns:
        The files that were written; some formats have two.

    Raises:
        SettingsError: no such format.
        DataError: a scan that the format can't hold, or a place that can't be written.
    """
    known = sorted(writers())
    if form not in known:
        raise SettingsError(f"write_scan: expected a format of {', '.join(known)}, got {form!r}")
    return write_file(Path(path).expanduser(), scan, form)


def scan_from_arrays(
    frames: np.ndarray,
    positions_px: np.ndarray,
    probe: np.ndarray | None = None,
    *,
    truth: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    geometry: Geometry | None = None,
    probe_in_photons: bool = False,
    options: ReadOptions | None = None,
    **keywords: Any,
) -> Scan:
    """A scan from arrays in memory; what was found in them is in `scan.notes`.

    Args:
        frames: (n, y, x) counts or amplitudes; which, and where the zero frequency lies, is judged as for files.
        positions_px: (n, 2) (y, x) of the beam on the object [object px], of any origin.
        probe: (y, x) or (mode, y, x) complex; guessed from the mean frame when None.
        truth: (y, x) complex object the frames were made from; positions then name its pixels under the windows'
            centre pixel `N // 2`.
        mask: (y, x) bool, detector pixels to trust, as the frames are stored; all of them when None.
        geometry: lengths behind the pixels.
        probe_in_photons: the probe's unit is sqrt(photon); otherwise its power is made the mean photons per frame.
        options: how to read the arrays.
        keywords: the same, one by one: the fields of `ReadOptions`, for instance `zero_frequency="corner"`.

    Raises:
        DataError: the arrays do not fit together, or nothing says how to read them.
        SettingsError: an option is unknown or out of range.
    """
    chosen = chosen_settings("scan_from_arrays", ReadOptions, options, keywords)
    bad = None if mask is None else ~np.asarray(mask, dtype=bool)
    places = np.asarray(positions_px)
    if places.ndim != 2 or places.shape[1] != 2:
        raise DataError(f"positions_px: expected (n, 2) (y, x), got shape {places.shape}")
    photons, notes = photon_frames("frames", np.asarray(frames), len(places), _ARRAYS, chosen, bad)
    given = None if probe is None else np.asarray(probe)
    modes, probe_notes = probe_for("probe", given, photons, geometry, chosen, probe_in_photons)
    positions, position_notes = placed_positions("positions_px", places, None, chosen)
    if truth is None:
        positions, canvas, moved = moved_to_canvas(positions, photons.shape[1:])
        position_notes.append(moved)
    else:
        canvas = (truth.shape[0], truth.shape[1])
    return Scan(
        photons=photons,
        positions_px=positions,
        probe=modes,
        canvas=canvas,
        object=None if truth is None else np.asarray(truth, dtype=np.complex64),
        object_is_truth=truth is not None,
        mask=photons.mask,
        notes=(*notes, *probe_notes, *position_notes),
        origin={"format": "arrays"},
        geometry=geometry,
    )


def simulate(settings: "SimulationSettings | None" = None, noise: str = "photons", **keywords: Any) -> Scan:
    """A simulated scan of counted photons, with its true object.

    Args:
        settings: what to simulate.
        noise: name of the photon draw: a second name is a second exposure.
        keywords: the same as settings, one by one: the fields of `SimulationSettings`, for instance `dose=1e4, seed=1`.

    Raises:
        SettingsError: an option is unknown or out of range.
    """
    from foldlight.simulate.acquire import simulate as run
    from foldlight.simulate.settings import SimulationSettings

    return run(chosen_settings("simulate", SimulationSettings, settings, keywords), noise)


def diagnose(
    scan: Scan | str | Path, quick: bool = False, engine: "EngineName | None" = None, timed: bool = False
) -> "Diagnosis":
    """What is wrong or odd with a scan, before anyone waits for a reconstruction.

    Args:
        scan: what to look at.
        quick: look at some frames only, in about a second.
        engine: the one that is to be used, for what it would take; the usual ones when None.
        timed: also try engines on pieces of the scan, some seconds, and tell how long they would take.

    Raises:
        SettingsError: the engine is unknown.
    """
    from foldlight.doctor import diagnose as run

    return run(scan_of("diagnose", scan), quick, engine, timed)


def orient(scan: Scan | str | Path, progress: bool = True, **options: Any) -> "Verdict":
    """Which way is up: the turn of the frames, the sign and the order of the positions, by held-out photons.

    Args:
        scan: what to turn; `verdict.reading.of(scan)` is the scan as it should have been read.
        progress: show a bar on standard error.
        options: the fields of `OrientSettings`, for instance `doubt=("sign",)`.

    Raises:
        DataError: too few frames, or no light in frames or probe.
        SettingsError: an option is unknown or out of range.
    """
    from foldlight.orient.run import orient as run
    from foldlight.orient.settings import OrientSettings

    return run(scan_of("orient", scan), chosen_settings("orient", OrientSettings, None, options), progress)


def thin(scan: Scan | str | Path, fraction: float = 0.9, seed: int = 0) -> tuple[Scan, Scan]:
    """Two independent exposures out of one: photons to reconstruct from, and photons to score on.

    Args:
        scan: with counted photons.
        fraction: probability of each photon to be kept for the first.
        seed: of the dealing.

    Raises:
        DataError: the photons are not whole numbers, or `fraction` is not inside (0, 1).
    """
    from foldlight.sampling.thinning import thin as run

    return run(scan_of("thin", scan), fraction, generator(seed, "thin"))


def reconstruct(
    scan: Scan | str | Path,
    engine: "EngineName" = "hybrid",
    *,
    model: "Model | str | Path | None" = None,
    start: "Reconstruction | str | Path | None" = None,
    probe: "Reconstruction | np.ndarray | str | Path | None" = None,
    adapt: int = 0,
    log: str | Path | None = None,
    progress: bool = True,
    doctor: bool = True,
    **options: Any,
) -> "Reconstruction":
    """The image of a scan's object; the result remembers its scan, so that `compare` needs no more.

    Args:
        scan: what to reconstruct, or the path of a file that is read as it is.
        engine: `network`, one pass; `hybrid`, the network refined by likelihood; `ml`, maximum likelihood; pty-chi's
            `lsqml`, `rpie` or `dm`; or `constant`, the best flat image.
        model: a network of your own, its bundle, or the folder that training wrote; the packaged one when None.
        start: where `hybrid` and the iterative engines begin: `network`, a reconstruction, or its file.
        probe: in place of the scan's: an array (y, x) or (mode, y, x) [sqrt(photon)], a reconstruction that refined
            one, or a file as the read option `probe_from` takes.
        adapt: steps of training that adapt the network to the scan first.
        log: file for the output of pty-chi.
        progress: show bars on standard error.
        doctor: look the scan over first, for a moment, and warn (`ScanWarning`) of what is wrong or odd.
        options: of the engine, as the command line has them: the fields of `EngineOptions`, `LikelihoodOptions` and
            `RefineOptions` (`foldlight.reconstruct.settings`) that the engine takes.

    Raises:
        SettingsError: no such engine, or an option that it does not take.
        FoldlightError: what the engine raises.
    """
    from foldlight.reconstruct.engines import ENGINES, make_reconstructor, options_taken
    from foldlight.reconstruct.settings import EngineOptions, LikelihoodOptions, RefineOptions

    if engine not in ENGINES:
        raise SettingsError(f"reconstruct: expected an engine of {', '.join(ENGINES)}, got {engine!r}")
    who = f"reconstruct(engine={engine!r})"
    taken = options_taken(engine)
    asked = {"model": model is not None, "start": start is not None, "adapt": bool(adapt)}
    expect_known(who, [*(name for name, is_asked in asked.items() if is_asked), *options], taken)
    found = with_probe(scan_of("reconstruct", scan), probe)
    if doctor:
        _look_over(found)
    reconstructor = make_reconstructor(
        engine,
        part_of(who, EngineOptions, options),
        Path(model) if isinstance(model, str) else model,
        None if log is None else Path(log),
        part_of(who, LikelihoodOptions, options),
        part_of(who, RefineOptions, options),
        str(start) if isinstance(start, Path) else start,
        adapt,
        progress,
    )
    return replace(reconstructor.reconstruct(found), scan=found)


def compare(
    reconstructions: "Reconstruction | Iterable[Reconstruction | str | Path] | Mapping[str, Reconstruction]",
    scan: Scan | str | Path | None = None,
    heldout: Scan | str | Path | None = None,
    *,
    exposure_ratio: float | None = None,
    limit: Literal["auto", "known", "blind", "off"] = "auto",
    **options: Any,
) -> "Comparison":
    """Score reconstructions of one scan against its truth, where it is known, and against held-out photons.

    Args:
        reconstructions: some of one scan, or their files; with names of your own as a mapping `{name: reconstruction}`,
            for instance where one engine made several.
        scan: what they were made from; when None, what they remember.
        heldout: another exposure of the same frames that no method has seen, for instance the second of `thin`.
        exposure_ratio: exposure of the held-out photons over that of the others; when None, what `thin` noted, or 1.
        limit: dose limit to hold the errors against where there is a truth: with a `known` probe, `blind`, or what
            suits the methods; `off` is faster.
        options: the other fields of `CompareSettings`, for instance `registration=False`.

    Raises:
        DataError: no reconstruction, two of one name, or of different scans; or nobody remembers the scan.
        SettingsError: an option is unknown or out of range.
    """
    from foldlight.compare.efficiency import suited_limit
    from foldlight.compare.row import CompareSettings
    from foldlight.compare.table import compare as run

    made = reconstructions_of(reconstructions)
    found = remembered_scan(made) if scan is None else scan_of("compare", scan)
    held = None if heldout is None else scan_of("compare", heldout)
    ratio = (1.0 if held is None else exposure_ratio_of(found, held)) if exposure_ratio is None else exposure_ratio
    expect_known("compare", options, CompareSettings.model_fields)
    suited = (suited_limit(made, found) if found.truth is not None else "off") if limit == "auto" else limit
    return run(found, made, held, ratio, CompareSettings.parse({**options, "limit": suited}, "compare"))


def limit(scan: Scan | str | Path, probe: Literal["known", "blind"] = "known") -> "DoseLimit":
    """What any method could reach with the photons of a scan whose object is known, such as a simulated one.

    Args:
        scan: with its true object.
        probe: whether the methods are given it.

    Raises:
        DataError: the scan does not know its object.
        SettingsError: `probe` is neither.
    """
    from foldlight.compare.efficiency import scan_limit
    from foldlight.optics.coverage import coverage_map, well_lit

    found = scan_of("limit", scan)
    if probe not in {"known", "blind"}:
        raise SettingsError(f"limit: expected probe known or blind, got {probe!r}")
    if found.truth is None:
        raise DataError("limit: expected a scan with its true object, got one without; simulate one like it")
    mask = well_lit(coverage_map(found.probe, found.positions_px, found.canvas))
    return scan_limit(found, found.truth, mask, probe)


def train(
    scan: Scan | str | Path,
    folder: str | Path,
    *,
    start: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    doctor: bool = True,
    **options: Any,
) -> "Model":
    """Train a network on the frames of one scan, and write its bundle; give the result to `reconstruct` as `model`.

    Args:
        scan: what to train on; its object, if any, is not looked at, but with `supervision="object"`.
        folder: for `wts.h5.zip`, `history.csv`, `checkpoint.pt` and `training.json`.
        start: `pretrained`, the weights that come with the package; `scratch`; or a bundle's path. When None: the
            package's, if they are of this network.
        resume: go on from the folder's checkpoint.
        progress: show a bar on standard error.
        doctor: look the scan over first, for a moment, and warn (`ScanWarning`) of what is wrong or odd.
        options: the fields of `TrainingSettings` and `NetworkSettings`, for instance `epochs=30, size="tiny"`.

    Raises:
        SettingsError: an option is unknown or out of range, or does not fit the scan.
        TrainingError: training diverged, or ended no better than a flat object.
    """
    from foldlight.bundle import BUNDLE_NAME, starting_model, write_bundle
    from foldlight.networks.settings import NetworkSettings
    from foldlight.train.fit import fit
    from foldlight.train.settings import TrainingSettings

    expect_known("train", options, [*TrainingSettings.model_fields, *NetworkSettings.model_fields])
    settings, network = part_of("train", TrainingSettings, options), part_of("train", NetworkSettings, options)
    begin = starting_model(None if start is None else str(start), network)
    found, target = scan_of("train", scan), Path(folder)
    if doctor:
        _look_over(found)
    target.mkdir(parents=True, exist_ok=True)
    model = fit(found, network, settings, target, resume, progress, start=begin).model
    write_bundle(target / BUNDLE_NAME, model)
    return model


def _look_over(scan: Scan) -> None:
    """Warn whoever called a verb of what the doctor finds at a glance; nothing when all is well."""
    for finding in diagnose(scan, quick=True).grave:
        warnings.warn(finding.line, ScanWarning, stacklevel=_CALLER)
