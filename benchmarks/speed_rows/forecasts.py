"""Do forecasts come true? Each engine's time and memory over what was forecast for it just before."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.processes import Sampled, called
from benchmarks.results import Result, ratio, series
from benchmarks.suite import Setup
from foldlight.core.errors import EngineError
from foldlight.io import read_scan, write_data001
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings

__all__ = ["measure", "run", "tell"]

_ENGINES = ("network", "hybrid", "ml", "lsqml", "train")


def measure(setup: Setup) -> Sequence[Result]:
    """Seconds and gigabytes of each engine by its defaults, on one simulated scan; those of `ml` for each iteration."""
    window = setup.pick(16, 64, 128)
    wanted = SimulationSettings(
        window=window,
        probe_diameter_px=0.4 * window,
        positions=setup.pick(60, 1000, 2000),
        object_size=setup.pick(64, 256, 640),
        seed=setup.seed,
    )
    engines = _ENGINES[:1] if setup.size == "toy" else _ENGINES
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "scan.npz"
        write_data001(path, simulate(wanted))
        took = [{engine: _both(engine, path) for engine in engines} for _ in range(setup.repeats)]
    return [
        _result(engine, what, unit, [each[engine] for each in took], wanted)
        for engine in engines
        for what, unit in (("seconds", "s"), ("memory_gb", "GB"))
    ]


def tell(path: str) -> dict[str, Any]:
    """What is forecast for a scan, by engine."""
    from foldlight.forecast import forecast

    return {each.engine: asdict(each) for each in forecast(read_scan(Path(path)))}


def run(engine: str, path: str) -> dict[str, Any]:
    """What an engine takes with a scan."""
    with Sampled() as memory:
        scan = read_scan(Path(path))
        began = time.perf_counter()
        share = _worked(engine, scan)
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "memory_gb": memory.told()["peak"] / 1e9, "share": share}


def _worked(engine: str, scan: Any) -> float:
    """Run an engine by its defaults; the share that it did of what it might at the most."""
    from foldlight.bundle import pretrained, starting_model
    from foldlight.networks.settings import NetworkSettings
    from foldlight.reconstruct.engines import make_reconstructor
    from foldlight.reconstruct.settings import EngineOptions, LikelihoodSettings
    from foldlight.train.fit import fit
    from foldlight.train.settings import TrainingSettings

    if engine == "train":
        pretrained()
        settings, network = TrainingSettings(), NetworkSettings()
        with tempfile.TemporaryDirectory() as folder:
            done = fit(scan, network, settings, Path(folder), progress=False, start=starting_model(None, network))
        return len(done.history) / settings.epochs
    made = make_reconstructor(engine, EngineOptions(threads=1)).reconstruct(scan)  # type: ignore[arg-type]
    if engine != "ml":
        return 1.0
    return float(made.settings["convergence"]["iterations"]) / LikelihoodSettings().iterations


def _both(engine: str, path: Path) -> dict[str, dict[str, float]]:
    """The forecast for an engine and what it took then; its time is that of the share that was done."""
    told = _called("tell", {"path": str(path)}, path.parent)[engine]
    took = _called("run", {"engine": engine, "path": str(path)}, path.parent)
    return {"forecast": {**told, "seconds": took["share"] * told["seconds"]}, "measured": took}


def _called(function: str, arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
    returned, error = called(f"{__name__}:{function}", arguments, folder / "forecast.log")
    if error:
        raise EngineError(f"forecast, {function} of {arguments}: {error}")
    return returned


def _result(engine: str, what: str, unit: str, took: list[dict[str, Any]], wanted: SimulationSettings) -> Result:
    measured, told = (series(unit, [each[side][what] for each in took]) for side in ("measured", "forecast"))
    words = {"seconds": "time", "memory_gb": "memory"}[what]
    return Result(
        "forecast",
        f"{engine}: {words}",
        measured,
        (ratio("as forecast", "peer", measured, told),),
        note=took[0]["forecast"]["steps"] if what == "seconds" else "",
        facts={"frames": wanted.positions, "window_px": wanted.window},
    )
