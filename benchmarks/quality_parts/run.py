"""The suite: what is not measured yet is measured, data set by data set, in processes of their own."""

import hashlib
import importlib.util
import shlex
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import Field

from benchmarks.processes import called
from benchmarks.quality_parts.arms import Measured, Unit, digest
from benchmarks.quality_parts.cases import Case, cases
from benchmarks.quality_parts.page import page
from benchmarks.quality_parts.pictures import write_pictures
from benchmarks.quality_parts.results import Findings
from benchmarks.quality_parts.scoreboard import scoreboard
from benchmarks.report import Provenance
from benchmarks.suite import Size
from foldlight.core.errors import DataError, SettingsError
from foldlight.core.files import read_json, write_json, write_text
from foldlight.core.processes import end_tree
from foldlight.core.progress import progress_bar
from foldlight.core.provenance import sha256_file, versions
from foldlight.core.settings import Settings

__all__ = ["SCHEMA", "QualitySettings", "code_digest", "planned", "run_quality"]

SCHEMA = "foldlight-quality-1"

_SEEDS: dict[Size, int] = {"toy": 2, "small": 3, "full": 5}
_START_S = 5.0  # of a process, mostly imports
_PATIENCE = 10.0  # times the estimate, after which a data set is given up
_LEAST_LIMIT_S = 600.0
_LAYERS = (
    "core",
    "io",
    "optics",
    "simulate",
    "sampling",
    "networks",
    "train",
    "reconstruct",
    "compare",
)  # make numbers
_MODULES = ("scan.py", "bundle.py")
_OWN = ("scans.py", "measure.py")


class QualitySettings(Settings):
    """What to measure, how large, how often."""

    size: Size = "small"
    """`small` for 50 minutes on one free core; `full` for hours and more seeds, best on a GPU; `toy` only shows that
    everything runs, its numbers mean nothing."""
    only: tuple[str, ...] = ()
    """Cases to measure; all of them when none is named. The others are still shown where they were measured before."""
    seeds: int | None = Field(default=None, ge=1)
    """Data sets of each kind; 3 for small and 5 for full when not given."""
    seed: int = Field(default=0, ge=0)
    """The first seed; the others follow."""
    output: Path = Path("benchmarks/results")
    """Folder for tables, pictures, and the results of each unit."""
    scan: Path | None = None
    """A measured scan for the case `measured-scan`."""
    weights: Path | None = None
    """The pretrained bundle; the package's own when not given."""
    window: Literal[32, 64, 128, 256] | None = None
    """N [px], when not the size's own, 64; probes and steps grow alike."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where networks and engines compute; limits and scores are always found on the CPU."""
    fresh: bool = False
    """Measure again what was measured before."""
    workers: int = Field(default=2, ge=1)
    """Processes at a time, one thread each."""
    plan: bool = False
    """Only say what would be measured, and how long it takes."""


@dataclass(frozen=True)
class Plan:
    """What a run is about.

    Attributes:
        cases: all cases, whether measured in this run or not.
        seeds: of the data sets.
        code: digest of the code that makes the numbers.
        units: by key, those of the chosen cases.
        jobs_of: name by key: units of one name are measured in one process.
        weights: the pretrained bundle.
        reused: keys of those that were measured before.
    """

    cases: tuple[Case, ...]
    seeds: tuple[int, ...]
    code: str
    units: dict[str, Unit]
    jobs_of: dict[str, str]
    weights: Path
    reused: frozenset[str] = field(default_factory=frozenset)

    @property
    def jobs(self) -> list[dict[str, Unit]]:
        """Units left to measure, a case and seed together, the longest first."""
        named: dict[str, dict[str, Unit]] = {}
        for key, unit in self.units.items():
            if key not in self.reused:
                named.setdefault(self.jobs_of[key], {})[key] = unit
        return sorted(named.values(), key=_job_seconds, reverse=True)

    def seconds(self, workers: int) -> float:
        """About how long the jobs take on free cores."""
        jobs = [_job_seconds(job) for job in self.jobs]
        return max(sum(jobs) / workers, max(jobs, default=0.0))


def planned(settings: QualitySettings) -> Plan:
    """The plan of a run.

    Raises:
        SettingsError: a case is not known, there is no such scan or bundle, or no GPU.
    """
    from foldlight.bundle import PRETRAINED  # torch: not for whoever asks for help

    for name, path in (("scan", settings.scan), ("weights", settings.weights)):
        if path is not None and not path.is_file():
            raise SettingsError(f"{name}: expected a file, got {path}")
    if settings.device == "cuda" and not _gpu():
        raise SettingsError("device = cuda: expected a GPU that torch can use, found none; use cpu")
    star = None if settings.scan is None else sha256_file(settings.scan)
    weights = settings.weights or PRETRAINED
    known = sha256_file(weights) if weights.is_file() else ""
    every = cases(settings.size, star, settings.device, weights=known, window=settings.window)
    names = [case.name for case in every]
    if unknown := [name for name in settings.only if name not in names]:
        raise SettingsError(f"only: expected some of {', '.join(names)}; got {unknown[0]!r}")
    seeds = tuple(range(settings.seed, settings.seed + (settings.seeds or _SEEDS[settings.size])))
    code = code_digest()
    chosen = [case for case in every if not settings.only or case.name in settings.only]
    units: dict[str, Unit] = {}
    jobs_of: dict[str, str] = {}
    for case in chosen:
        for unit in (unit for condition in case.conditions for unit in condition.units(seeds)):
            key = unit.key(code)
            units[key] = unit
            jobs_of.setdefault(key, f"{case.name}, seed {unit.data.seed}")
    folder = _folder(settings)
    reused = set() if settings.fresh else {key for key in units if _read(folder / f"{key}.json")}
    return Plan(every, seeds, code, units, jobs_of, weights, frozenset(reused))


def run_quality(settings: QualitySettings, say: Callable[..., None], show: bool = False) -> Findings:
    """Measure what is missing; leave `quality.json`, `quality.md` and two pictures, rewritten after each process.

    A unit that fails has its reason in the table, and the others are measured all the same.

    Args:
        settings: what to measure.
        say: receives lines for the user.
        show: show a bar.

    Raises:
        SettingsError: see `planned`.
        DataError: the output folder can't be written.
    """
    plan = planned(settings)
    say(*_announced(plan, settings))
    if settings.plan:
        return _findings(plan, settings, {})
    provenance = _provenance(settings, plan)
    began = time.monotonic()
    failed: dict[str, str] = {}
    total = sum(map(_job_seconds, plan.jobs))
    done = 0.0
    with progress_bar("quality", max(total, 1.0), show) as advance:
        advance(0, f"{len(plan.jobs)} processes")
        for job, reasons in _measured(plan, settings):
            failed |= reasons
            done += _job_seconds(job)
            advance(done, plan.jobs_of[next(iter(job))])
            _publish(settings, plan, provenance.after(time.monotonic() - began), failed)
    findings = _publish(settings, plan, provenance.after(time.monotonic() - began), failed)
    say(*(f"failed: {name}: {reason}" for name, reason in findings.failed.items()))
    say(*(f"{kind} -> {settings.output / 'quality'}.{kind}" for kind in ("json", "md")))
    return findings


@cache
def code_digest() -> str:
    """Of the code and the packages that make the numbers: pages and pictures may change without measuring again."""
    package = importlib.util.find_spec("foldlight")
    root = Path(next(iter((package and package.submodule_search_locations) or [])))
    own = Path(__file__).parent
    files = [path for layer in _LAYERS for path in sorted((root / layer).rglob("*.py"))]
    files += [root / name for name in _MODULES] + [own / name for name in _OWN]
    state = hashlib.sha256()
    for path in files:
        state.update(path.name.encode() + path.read_bytes())
    return digest({"files": state.hexdigest(), "versions": versions()})


def _measured(plan: Plan, settings: QualitySettings) -> Iterator[tuple[dict[str, Unit], dict[str, str]]]:
    """Each job as it ends, and why some of its units have no numbers."""
    pool = ThreadPoolExecutor(settings.workers)
    try:
        running: dict[Future[dict[str, str]], dict[str, Unit]] = {
            pool.submit(_measure, job, settings, plan): job for job in plan.jobs
        }
        while running:
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                yield running.pop(future), future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in psutil.Process().children():
            end_tree(child.pid)
        raise
    finally:
        pool.shutdown()


def _measure(job: dict[str, Unit], settings: QualitySettings, plan: Plan) -> dict[str, str]:
    """Run the units of a job in a process; reasons by key of those that failed."""
    folder = _folder(settings)
    parts: dict[str, dict[str, Any]] = {}
    for key, unit in job.items():
        (folder / f"{key}.json").unlink(missing_ok=True)
        data = unit.data.plain()
        parts.setdefault(digest(data), {"data": data, "arms": {}})["arms"][key] = unit.arm.plain()
    measured = any(isinstance(unit.data, Measured) for unit in job.values())
    name = plan.jobs_of[next(iter(job))]
    returned, error = called(
        "benchmarks.quality_parts.measure:measure_several",
        {
            "parts": list(parts.values()),
            "folder": str(folder.resolve()),
            "code": plan.code,
            "scan": str(settings.scan) if measured else None,
            "weights": str(plan.weights.resolve()),
        },
        folder / "logs" / f"{name.replace(', ', ' ').replace(' ', '-')}.log",
        max(_LEAST_LIMIT_S, _PATIENCE * _job_seconds(job)),
    )
    lost = {key: error for key in job if error and not _read(folder / f"{key}.json")}
    return {**returned.get("failed", {}), **lost}


def _publish(settings: QualitySettings, plan: Plan, provenance: Provenance, failed: dict[str, str]) -> Findings:
    """Write JSON, table and pictures of what there is."""
    findings = _findings(plan, settings, failed)
    rows = scoreboard(findings)
    write_json(
        settings.output / "quality.json",
        {
            "schema": SCHEMA,
            "provenance": asdict(provenance),
            "scoreboard": [row.plain() for row in rows],
            "cases": findings.plain(),
            "failed": findings.failed,
            "units": {key: {**found, "reused": key in plan.reused} for key, found in findings.units.items()},
        },
    )
    write_pictures(findings, settings.output)
    write_text(settings.output / "quality.md", page(findings, rows, provenance, len(plan.reused)))
    return findings


def _findings(plan: Plan, settings: QualitySettings, failed: dict[str, str]) -> Findings:
    folder = _folder(settings)
    every = {
        unit.key(plan.code): unit
        for case in plan.cases
        for condition in case.conditions
        for unit in condition.units(plan.seeds)
    }
    units = {key: found for key in every if (found := _read(folder / f"{key}.json"))}
    reasons = {f"{plan.jobs_of[key]}, {every[key].arm.name}, {key}": why for key, why in failed.items()}
    return Findings(plan.cases, plan.seeds, plan.code, units, reasons)


def _provenance(settings: QualitySettings, plan: Plan) -> Provenance:
    told = settings.plain() | {
        "seeds": list(plan.seeds),
        "repeats": len(plan.seeds),
        "output": settings.output.as_posix(),
    }
    told["code"] = plan.code
    words = ["--size", settings.size, "--seeds", str(len(plan.seeds)), "--seed", str(settings.seed)]
    words += ["--only", *settings.only] if settings.only else []
    words += ["--scan", settings.scan.name] if settings.scan else []
    words += ["--weights", settings.weights.name] if settings.weights else []
    words += ["--window", str(settings.window)] if settings.window else []
    words += ["--device", settings.device] if settings.device != "cpu" else []
    told["weights"] = {"name": plan.weights.name, "sha256": sha256_file(plan.weights) if plan.weights.is_file() else ""}
    told["scan"] = None if settings.scan is None else {"name": settings.scan.name, "sha256": sha256_file(settings.scan)}
    command = shlex.join(["python", "-m", "benchmarks.quality", *words])
    return replace(Provenance.now("quality", told), command=command)


def _announced(plan: Plan, settings: QualitySettings) -> list[str]:
    """What will be measured, and for how long."""
    lines = []
    for case in plan.cases:
        units = {unit.key(plan.code): unit for condition in case.conditions for unit in condition.units(plan.seeds)}
        left = [unit for key, unit in units.items() if key in plan.units and key not in plan.reused]
        told = case.absent or f"{len(units)} units, {len(left)} to measure"
        minutes = sum(unit.estimated_s for unit in left) / 60
        lines.append(f"{case.name:<14} {told}" + (f", about {minutes:.1f} core-minutes" if left else ""))
    minutes = plan.seconds(settings.workers) / 60
    at_once = f"{settings.workers} process{'es' if settings.workers > 1 else ''} at a time"
    words = f"in all: {len(plan.jobs)} processes, about {minutes:.0f} minutes with {at_once}"
    words += "; units that cases share are measured once"
    lacking = [] if plan.weights.is_file() else [f"no weights at {plan.weights}: what needs them will fail"]
    return [*lines, words, *lacking]


def _folder(settings: QualitySettings) -> Path:
    return settings.output / "quality_units"


def _job_seconds(job: dict[str, Unit]) -> float:
    return _START_S + sum(unit.estimated_s for unit in job.values())


def _read(path: Path) -> dict[str, Any] | None:
    """A unit's result; None where there is none, or only the remains of one."""
    try:
        found = read_json(path)
    except DataError:
        return None
    return found if isinstance(found, dict) and "numbers" in found else None


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()
