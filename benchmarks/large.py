"""A scan larger than memory ought to be: `python -m benchmarks.large --frames 200000`.

A scan is simulated into a container, and then opened, read at random, thinned, trained on and reconstructed from it,
each in a process of its own whose greatest resident memory is told. Reconstruction goes through all frames and takes
most of the time. Memory repeats far better than time, so every stage runs once, whatever `--repeats` says.
"""

import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import called
from benchmarks.results import Result, Target, not_measured, ratio, series
from benchmarks.suite import Row, Setup, Suite, main
from foldlight.core.errors import EngineError
from foldlight.core.seeds import generator

__all__ = ["LARGE", "measure"]

LARGE = Suite(
    name="large",
    title="Data larger than memory",
    rows=(Row("large", "benchmarks.large:measure"),),
    preface=(
        "Frames of 64 x 64 px, dead leaves, a zone plate's probe, steps of 5 px, 3e3 photons a frame, counted when they"
        " are written to the container. Peaks are resident memory of whole processes, libraries included."
    ),
)

_SIDE, _STEP_PX, _DOSE = 64, 5.0, 3000.0
_COMPARED = 2000  # frames of the small scan, whose pace of training the large one has to keep
_GATHERED, _GATHERS = 128, 200  # frames read at once, and how often
_PEAK = Target("200,000 frames of 64 px: peak below 2 GB", 2.0, "at most")
_PACE = Target("training keeps its pace", 0.9, "at least", "a scan of 2,000 frames")
_OPEN = Target("a scan opens in less than a second", 1.0, "at most")


def measure(setup: Setup) -> Sequence[Result]:
    """All stages, on the large scan; training on a small one as well."""
    frames, compared = setup.frames or setup.pick(400, 20_000, 200_000), setup.pick(100, _COMPARED, _COMPARED)
    need = 4.0 * frames * _SIDE**2
    with tempfile.TemporaryDirectory() as name:
        if (free := shutil.disk_usage(name).free) < need:
            return [
                not_measured("large", "all", f"expected {need / 1e9:.1f} GB free in {name}, got {free / 1e9:.1f} GB")
            ]
        big, small = Path(name) / "big.h5", Path(name) / "small.h5"
        steps = setup.pick(2, 40, 100)
        told = {"write": _run("write", path=big, frames=frames, seed=setup.seed)}
        _run("write", path=small, frames=compared, seed=setup.seed)
        told |= {stage: _run(stage, path=big) for stage in ("opened", "gathered", "inspected")}
        beside = _run("trained", path=small, steps=steps)
        told["trained"] = _run("trained", path=big, steps=steps)
        told["thinned"] = _run("thinned", path=big)
        told["reconstructed"] = _run("reconstructed", path=big)
    return [*(_peak(stage, facts, frames) for stage, facts in told.items()), *_paces(told, beside)]


def _peak(stage: str, facts: dict[str, Any], frames: int) -> Result:
    words = {
        "write": "simulated and written",
        "opened": "opened, its digest known",
        "gathered": "frames read at random",
        "inspected": "described",
        "trained": "trained on, a few steps after all that training sets up",
        "thinned": "thinned into two containers",
        "reconstructed": "reconstructed by the network, tile by tile",
    }
    short = "" if facts["frames"] >= 0.99 * 200_000 else f"measured on {frames:,} frames"
    note = f"{facts['seconds']:.1f} s"
    return Result(
        "large", f"{words[stage]}: peak memory", series("GB", [facts["peak"] / 1e9]), (), _PEAK, short, note, facts
    )


def _paces(told: dict[str, dict[str, Any]], beside: dict[str, Any]) -> list[Result]:
    opened, gathered, trained = told["opened"], told["gathered"], told["trained"]
    rate, mapped = series("frames/s", [gathered["rate"]]), series("frames/s", [gathered["mapped"]])
    pace, small = series("steps/s", [trained["rate"]]), series("steps/s", [beside["rate"]])
    scale = f"{trained['frames']:,} frames, {trained['steps_per_epoch']:,} steps an epoch"
    return [
        Result("large", "opened, its digest known", series("s", [opened["opening"]]), (), _OPEN),
        Result(
            "large",
            f"random reads, {_GATHERED} frames at once, one thread, warm",
            rate,
            (ratio("a memory map of the same bytes", "limit", rate, mapped),),
            note="more is better; a map's rate grows while it takes memory",
        ),
        Result(
            "large",
            "training",
            pace,
            (ratio("a scan of 2,000 frames", "limit", pace, small),),
            _PACE,
            note=f"{scale}; set up in {trained['setup']:.1f} s, once, and each epoch's regions in"
            f" {trained['drawing']:.2f} s; of the time {trained['reading']:.1%} are spent on reading and dealing",
        ),
    ]


def write(path: str, frames: int, seed: int) -> dict[str, Any]:
    """A stage: a scan of about so many frames, a raster's, counted while it is written."""
    from foldlight.io import write_container
    from foldlight.optics.probes import make_probe
    from foldlight.simulate.lazily import acquire_lazily
    from foldlight.simulate.objects import make_object
    from foldlight.simulate.trajectories import jittered_raster

    extent = _STEP_PX * frames**0.5
    side = 2 * round((extent + _SIDE) / 2) + 6
    truth = make_object("dead-leaves", (side, side), generator(seed, "object"))
    reach = ((_SIDE // 2 + 1,) * 2, (side - _SIDE // 2 - 1,) * 2)
    positions = jittered_raster(frames, reach, generator(seed, "positions"))
    probe = make_probe("zone-plate", (_SIDE, _SIDE), 0.4 * _SIDE, generator(seed, "probe"))
    scan = acquire_lazily(truth, probe, positions, _DOSE, seed)
    facts = _timed(lambda: write_container(Path(path), scan), scan)
    return {**facts, "gigabytes": Path(path).stat().st_size / 1e9}


def opened(path: str) -> dict[str, Any]:
    """A stage: the scan and its digest, without its frames."""
    import h5py  # noqa: F401  (its import is not the scan's cost)

    began = time.perf_counter()
    scan = _read(path)
    scan.digest()
    opening = time.perf_counter() - began
    return {**_timed(lambda: None, scan), "opening": opening}


def gathered(path: str) -> dict[str, Any]:
    """A stage: frames at random, in turns as the container is read and through a map of the same bytes."""
    import h5py

    scan = _read(path)
    stored = scan.photons.stored
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(scan), _GATHERED) for _ in range(_GATHERS)]

    def rate(read: Callable[[np.ndarray], object]) -> float:
        began = time.perf_counter()
        for numbers in draws:
            read(numbers)
        return _GATHERS * _GATHERED / (time.perf_counter() - began)

    rate(stored.__getitem__)
    found = _timed(lambda: rate(stored.__getitem__), scan)  # the peak is told before a map takes its own
    with h5py.File(path) as file:
        offset = file["frames"].id.get_offset()
    mapped = np.memmap(path, stored.dtype, "r", offset, stored.shape)
    rate(mapped.__getitem__)
    rates = np.array([[rate(stored.__getitem__), rate(mapped.__getitem__)] for _ in range(5)])
    return {**found, "rate": float(np.median(rates[:, 0])), "mapped": float(np.median(rates[:, 1]))}


def inspected(path: str) -> dict[str, Any]:
    """A stage: what `inspect` tells."""
    from foldlight.inspection import describe

    scan = _read(path)
    return _timed(lambda: describe(scan), scan)


def trained(path: str, steps: int) -> dict[str, Any]:
    """A stage: some steps of training, timed one by one, after all that training sets up."""
    from foldlight.networks.settings import NetworkSettings
    from foldlight.train import fit
    from foldlight.train.settings import TrainingSettings

    scan = _read(path)
    began = time.perf_counter()
    loop = fit._Loop.start(scan, NetworkSettings(), TrainingSettings(), 0)
    setup, rng = time.perf_counter() - began, generator(0, "order", 0)
    reading: list[float] = []
    learning: list[float] = []
    drawing: list[float] = []
    while len(learning) < steps:
        began = time.perf_counter()
        batches = loop.train.epoch(loop.groups_per_batch, rng)
        first = True
        for batch in batches:
            read = time.perf_counter()
            (drawing if first else reading).append(read - began)  # the first batch waits for the epoch's regions
            loop.learn(batch)
            began, first = time.perf_counter(), False
            learning.append(began - read)
            if len(learning) >= steps:
                break
    step = float(np.median(learning) + np.median(reading))
    return {
        **_timed(lambda: None, scan),
        "seconds": setup + sum(drawing) + sum(reading) + sum(learning),
        "setup": setup,
        "drawing": float(np.median(drawing)),
        "rate": 1 / step,
        "reading": float(np.median(reading)) / step,
        "steps_per_epoch": loop.steps_per_epoch,
    }


def thinned(path: str) -> dict[str, Any]:
    """A stage: both exposures on disk."""
    from foldlight.io import write_container
    from foldlight.sampling.thinning import thin

    scan = _read(path)

    def run() -> None:
        for exposure in thin(scan, 0.8, generator(0, "thin")):
            with tempfile.TemporaryDirectory(dir=Path(path).parent) as folder:
                write_container(Path(folder) / "exposure.h5", exposure)

    return _timed(run, scan)


def reconstructed(path: str) -> dict[str, Any]:
    """A stage: the package's network on all frames."""
    from benchmarks.speed_rows.cases import package_model
    from foldlight.reconstruct.neural import NeuralReconstructor

    scan, model = _read(path), package_model(Setup("full", 1))
    return _timed(lambda: NeuralReconstructor(model, progress=False).reconstruct(scan), scan)


def _read(path: str) -> Any:
    from foldlight.io import read_scan

    return read_scan(Path(path))


def _timed(run: Callable[[], object], scan: Any) -> dict[str, Any]:
    """Seconds, and the most memory that this process has had."""
    began = time.perf_counter()
    run()
    return {"seconds": time.perf_counter() - began, "peak": _most_memory(), "frames": len(scan)}


def _most_memory() -> int:
    """Bytes; what the system counts for a process includes what it was started from, so Linux is asked itself."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _run(stage: str, **arguments: Any) -> dict[str, Any]:
    """What a stage tells, from a process of its own."""
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}
    with tempfile.TemporaryDirectory() as folder:
        returned, error = called(f"benchmarks.large:{stage}", plain, Path(folder) / "stage.log")
    if error:
        raise EngineError(f"large, {stage}: {error}")
    return returned


if __name__ == "__main__":
    main(LARGE)
