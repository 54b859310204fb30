"""Past one machine: `python -m benchmarks.scaling --help`.

Two things that no laptop holds are worked out from what one can measure. A *study of thousands of jobs* is run for real
by the runner, with its records, digests and table of states, but on a stand-in for a cluster that ends each job in the
moment it begins: what is left is what the runner itself takes for a job, and so how many workers it can keep busy. A
*day at a beamline* is arithmetic, from costs a frame that the other benchmarks measured. docs/scaling.md says what
follows.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import psutil
import tyro
from pydantic import Field

from benchmarks.suite import say
from foldlight.core.files import write_json
from foldlight.core.provenance import environment
from foldlight.core.settings import Settings
from foldlight.study import runner
from foldlight.study.machine import Resources
from foldlight.study.plan import Plan, Task
from foldlight.study.records import Digests, Facts, TaskFolder, read_job
from foldlight.study.state import states

__all__ = ["Day", "ScalingBenchmark", "Study", "day", "main", "run_study"]

_PHASES = ("generation", "overlap", "training", "reconstruction", "comparison")
_OUTPUT_BYTES = 20_000  # of each job: digests are read, and a folder of a study holds some files


class ScalingBenchmark(Settings):
    """What to work out."""

    jobs: tuple[int, ...] = (1000, 10_000)
    """Jobs of the studies that are run."""
    places: int = Field(default=512, ge=1)
    """Workers of the stand-in for a cluster."""
    frames: float = Field(default=1e7, gt=0)
    """Frames of a day."""
    hours: float = Field(default=24.0, gt=0)
    """Time in which they come [h]."""
    output: Path = Path("benchmarks/results/scaling.json")
    """Where the numbers are written."""


class Study(Settings):
    """What the runner took for a study.

    All times are those of the runner alone; jobs took none.
    """

    jobs: int
    """Jobs of the plan."""
    run_s: float
    """To run them all [s]."""
    again_s: float
    """The same command again, with nothing to do [s]."""
    states_s: float
    """To tell the state of all [s]."""
    memory_mb: float
    """Most private memory of the runner, over that before [MB]."""
    files: int
    """Files below the study's folder."""
    records_kb: float
    """Disk that a job's records take, without its outputs [kB]."""

    @property
    def job_s(self) -> float:
        """For each job [s]."""
        return self.run_s / self.jobs

    def workers_for(self, job_s: float) -> float:
        """Workers that the runner keeps busy when jobs take so long [s]."""
        return job_s / self.job_s


class Day(Settings):
    """What a day of frames of one size takes.

    Costs are those of one core of the machine that they were measured on, see docs/benchmarks.md.
    """

    side_px: int
    """Side of a frame [px]."""
    raw_gb: float
    """Frames as uint16 [GB]."""
    hertz: float
    """Mean rate [1/s]."""
    cores: dict[str, float]
    """Cores that keep up with the mean rate, by what they do."""
    gigabit: float
    """Mean rate of the raw frames on a network [Gbit/s]."""


# Core-milliseconds a frame, measured: docs/benchmarks.md and docs/findings.md. What was measured at 64 px alone is
# taken to grow with the pixels of a frame, as Fourier transforms do but for a logarithm.
_NETWORK_CORE_MS = {64: 0.93, 128: 8.3, 256: 133.0}
_CORE_MS = {"hybrid, 60 steps": 27.0, "LSQML, 100 epochs": 60.0, "training, 15 epochs": 85.0}
_COST_SIDE_PX = 64


def day(frames: float, hours: float, side_px: int) -> Day:
    """Arithmetic for a day of frames of 64, 128 or 256 px."""
    hertz = frames / (3600 * hours)
    pixels = (side_px / _COST_SIDE_PX) ** 2
    raw = 2 * frames * side_px**2
    return Day(
        side_px=side_px,
        raw_gb=raw / 1e9,
        hertz=hertz,
        cores={
            "network, one pass": hertz * _NETWORK_CORE_MS[side_px] / 1000,
            **{name: hertz * cost * pixels / 1000 for name, cost in _CORE_MS.items()},
        },
        gigabit=8 * raw / (3600 * hours) / 1e9,
    )


class _Instant:
    """A cluster whose workers need no time."""

    name = "simulated"

    def __init__(self, places: int) -> None:
        self.places = places

    def refusal(self, need: Resources) -> str | None:  # noqa: ARG002
        """Everything fits."""
        return None

    def lacking(self, need: Resources) -> str | None:  # noqa: ARG002
        """Everything is free."""
        return None

    def submit(self, folder: Path, need: Resources) -> "Future[Facts]":  # noqa: ARG002
        """Leave what the job would leave."""
        job = read_job(folder)
        records = TaskFolder(Path(job["root"]), job["name"])
        for name in job["outputs"]:
            path = records.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(job["key"].encode() * (_OUTPUT_BYTES // 64))
        outputs = records.files([records.root / name for name in job["outputs"]], Digests())
        status = {"state": "success", "key": job["key"], "seconds": 60.0, "error": None, "host": "simulated"}
        records.write(**status, inputs=job["inputs"], outputs=outputs)
        done: Future[Facts] = Future()
        done.set_result({"returncode": 0, "told": ""})
        return done

    def tend(self) -> str | None:
        """Nothing to look after."""
        return None

    def close(self) -> None:
        """Nothing to end."""


def _plan(jobs: int, root: Path) -> Plan:
    """Chains of five jobs, as a study of doses and views has them."""
    tasks = []
    for chain in range(jobs // len(_PHASES)):
        before: tuple[str, Path] | None = None
        for phase in _PHASES:
            name, output = f"{phase}/{chain:05d}", root / phase / f"{chain:05d}.npz"
            tasks.append(
                Task(
                    name=name,
                    module=f"simulated.{phase}",
                    arguments=("--output", str(output), "--chain", str(chain)),
                    settings={"chain": chain, "dose": 1e3, "epochs": 40},
                    labels={"phase": phase, "chain": chain},
                    needs=(before[0],) if before else (),
                    inputs=(before[1],) if before else (),
                    outputs=(output,),
                )
            )
            before = (name, output)
    return Plan(title="simulated", root=root, working_directory=root, tasks=tuple(tasks))


def run_study(jobs: int, places: int) -> Study:
    """What the runner takes for so many jobs.

    Args:
        jobs: a multiple of five.
        places: workers of the stand-in.
    """
    folder = Path(tempfile.mkdtemp(prefix="foldlight-scaling-"))
    try:
        plan = _plan(jobs, folder)
        process = psutil.Process()
        before = process.memory_info().rss
        with patch.object(runner, "open_engine", lambda *_: _Instant(places)):
            run_s = _timed(lambda: runner.run_plan(plan, plan, lambda *_: None))
            again_s = _timed(lambda: runner.run_plan(plan, plan, lambda *_: None))
        states_s = _timed(lambda: states(plan))
        records = [path for path in (folder / "jobs").rglob("*") if path.is_file()]
        return Study(
            jobs=jobs,
            run_s=run_s,
            again_s=again_s,
            states_s=states_s,
            memory_mb=(process.memory_info().rss - before) / 1e6,
            files=sum(path.is_file() for path in folder.rglob("*")),
            records_kb=sum(path.stat().st_size for path in records) / jobs / 1e3,
        )
    finally:
        shutil.rmtree(folder)


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, and write all numbers."""
    settings = tyro.cli(Annotated[ScalingBenchmark, tyro.conf.arg(name="")], description=__doc__, args=words)
    studies = [run_study(jobs, settings.places) for jobs in settings.jobs]
    for each in studies:
        say(
            f"{each.jobs:>6} jobs: {each.run_s:.1f} s, {1e3 * each.job_s:.1f} ms a job; the same again"
            f" {each.again_s:.1f} s, states {each.states_s:.1f} s; {each.memory_mb:.0f} MB, {each.files} files,"
            f" {each.records_kb:.1f} kB of records a job; jobs of 1 min keep {each.workers_for(60):,.0f} workers busy"
        )
    days = [day(settings.frames, settings.hours, side) for side in _NETWORK_CORE_MS]
    for one in days:
        cores = ", ".join(f"{name} {count:,.1f}" for name, count in one.cores.items())
        say(
            f"{settings.frames:.0e} frames of {one.side_px} px in {settings.hours:g} h: {one.hertz:.0f} Hz,"
            f" {one.raw_gb:,.0f} GB raw, {one.gigabit:.2f} Gbit/s; cores to keep up: {cores}"
        )
    write_json(
        settings.output,
        {
            "settings": settings.plain(),
            "studies": [each.plain() for each in studies],
            "days": [each.plain() for each in days],
            "environment": environment(),
        },
    )
    say(f"numbers -> {settings.output}")


if __name__ == "__main__":
    main()
