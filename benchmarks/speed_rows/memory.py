"""Memory of a big scan: does it grow with the number of frames, or does the scan stream?

A process of its own reads the scan and trains, another reads it and reconstructs, a third reconstructs frames that are
simulated when read and lie nowhere; their private memory is sampled. Pages of the mapped file are the system's to take
back, and count only in the resident peak that is told beside.
"""

import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import Sampled, called
from benchmarks.results import Result, Target, not_measured, ratio, series
from benchmarks.suite import Setup
from foldlight.core.errors import EngineError
from foldlight.io.npz import Blocks, write_npz
from foldlight.optics.probes import normalised, zone_plate
from foldlight.scan import place_on_canvas
from foldlight.simulate.objects import make_object
from foldlight.simulate.trajectories import jittered_raster

__all__ = ["measure", "reconstruct", "stream", "streamed", "train"]

_TARGET = Target("1 M frames of 128 px: peak < 2 GB beside the batch", 2.0, "at most")
_BATCH = 32  # frames of a training step
_MOST, _SIDE = 1_000_000, 128  # frames, and their side [px], of the target
_STEP_PX = 4.0
_PHOTONS = 2000.0  # a frame
_DISTINCT = 256  # frames that are repeated to the number wanted
_STAGES = {"train": "training, one epoch of a few groups", "reconstruct": "reconstruction, all frames, tiles of 0.5 GB"}
_STREAM = "reconstruction of frames simulated when read, tiles of 0.5 GB"
_OBJECT_PX = 512  # side of the object that is repeated under a streamed scan of any size
_CANVAS_BYTES = 8 + 8 + 4 + 8 + 4  # truth, sum, weight, object, light: an object pixel
_TILE_BYTES = 5e8  # of the scan that are reconstructed at a time


@dataclass(frozen=True)
class _Big:
    """A scan of raw counts on disk."""

    path: Path
    frames: int
    side: int

    @property
    def gigabytes(self) -> float:
        """Of the raw uint16 frames."""
        return 2 * self.frames * self.side**2 / 1e9


def measure(setup: Setup) -> Sequence[Result]:
    """Both stages on scans that lie on disk: peak private memory on a big one and on a quarter of it."""
    frames, side = setup.frames or setup.pick(400, 20_000, _MOST), setup.pick(16, 64, _SIDE)
    need = 2 * 1.3 * frames * side**2
    with tempfile.TemporaryDirectory() as name:
        free = shutil.disk_usage(name).free
        if free < need:
            reason = f"expected {need / 1e9:.0f} GB free in {name} for the scan, found {free / 1e9:.0f} GB; set TMPDIR"
            return [not_measured("memory", told, reason, _TARGET) for told in _STAGES.values()]
        big = _written(Path(name) / "big.npz", frames, side, setup.seed)
        quarter = _written(Path(name) / "quarter.npz", frames // 4, side, setup.seed)
        return [_stage(stage, big, quarter, setup) for stage in _STAGES]


def streamed(setup: Setup) -> Sequence[Result]:
    """Frames that lie nowhere: peak private memory, and how much more a frame asks for than on a quarter of them."""
    wanted, side = setup.frames or setup.pick(400, 20_000, _MOST), setup.pick(16, 64, _SIDE)
    large, small = (
        _run("stream", {"frames": frames, "side": side, "seed": setup.seed}) for frames in (wanted, wanted // 4)
    )
    peak = series("GB", [large["peak"] / 1e9])
    canvas = series("GB", [(large["before"] + large["canvas_bytes"]) / 1e9])
    more = large["frames"] - small["frames"]
    growth = (large["peak"] - small["peak"] - large["canvas_bytes"] + small["canvas_bytes"]) / more
    found = Result(
        "streaming",
        f"{_STREAM}: peak private memory",
        peak,
        (ratio("libraries and the arrays of the canvas", "limit", peak, canvas),),
        _TARGET,
        reason=_short(large["frames"], side),
        note=f"each further frame takes {growth:.3g} bytes beside the canvas, where its photons alone are"
        f" {4 * side**2}; {large['frames'] / large['seconds']:.0f} frames a second, each simulated twice or more",
        facts={
            "frames": large["frames"],
            "window_px": side,
            "after_imports_gb": large["before"] / 1e9,
            "canvas_gb": large["canvas_bytes"] / 1e9,
            "resident_peak_gb": large["resident"] / 1e9,
            "growth_bytes_per_frame": growth,
            "seconds": large["seconds"],
        },
    )
    return [found]


def train(path: str, seed: int) -> dict[str, Any]:
    """A stage: one epoch of a few groups by the smallest network, with all that training sets up and validates."""
    from foldlight.networks.settings import NetworkSettings
    from foldlight.train.fit import fit
    from foldlight.train.settings import TrainingSettings

    settings = TrainingSettings(epochs=1, groups=_BATCH, gridsize=2, guard_px=0.0, seed=seed)
    with Sampled() as memory, tempfile.TemporaryDirectory() as folder:
        scan = _read(path)
        network = NetworkSettings(kind="lifted", width=4, levels=1, consistency_steps=0)
        fit(scan, network, settings, Path(folder), progress=False, keep_collapsed=True)
    return memory.told()


def reconstruct(path: str, seed: int) -> dict[str, Any]:
    """A stage: one pass of the package's kind of network over all frames, tile by tile."""
    with Sampled() as memory:
        _pass(_read(path), seed)
    return memory.told()


def stream(frames: int, side: int, seed: int) -> dict[str, Any]:
    """A stage: the same over frames that are simulated when they are read."""
    from foldlight.simulate.lazily import acquire_lazily

    with Sampled() as memory:
        began = time.perf_counter()
        scan = acquire_lazily(*_streamable(frames, side, seed), _PHOTONS, seed)
        _pass(scan, seed)
        seconds = time.perf_counter() - began
    return {
        **memory.told(),
        "seconds": seconds,
        "frames": len(scan),
        "canvas_bytes": _CANVAS_BYTES * math.prod(scan.canvas),
    }


def _pass(scan: Any, seed: int) -> None:
    """Untrained: what a pass takes does not depend on the weights."""
    from benchmarks.speed_rows.cases import untrained_model
    from foldlight.networks.settings import NetworkSettings
    from foldlight.reconstruct.neural import NeuralReconstructor

    model = untrained_model(NetworkSettings(), 49, Setup("full", 1, seed))
    NeuralReconstructor(model, memory_bytes=_TILE_BYTES, progress=False).reconstruct(scan)


def _streamable(frames: int, side: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Object, probe and positions of a scan of about so many frames; the object repeats."""
    extent = _STEP_PX * np.sqrt(frames)
    positions = jittered_raster(frames, ((0, 0), (extent, extent)), np.random.default_rng(seed))
    placed, canvas = place_on_canvas(positions, (side, side))
    motif = make_object("lines", (_OBJECT_PX, _OBJECT_PX), np.random.default_rng(seed)).astype(np.complex64)
    times = [-(-extent // _OBJECT_PX) for extent in canvas]
    return np.tile(motif, times)[: canvas[0], : canvas[1]], zone_plate((side, side), 0.4 * side), placed


def _stage(stage: str, big: _Big, quarter: _Big, setup: Setup) -> Result:
    """One stage's memory; once, since memory repeats far better than time does."""
    large, small = (_run(stage, {"path": str(scan.path), "seed": setup.seed}) for scan in (big, quarter))
    peak = series("GB", [large["peak"] / 1e9])
    growth = (large["peak"] - small["peak"]) / 1e9 / (big.gigabytes - quarter.gigabytes)
    whole = 2 * _MOST * _SIDE**2 / 1e9
    expected = peak.values[0] + max(growth, 0.0) * (whole - big.gigabytes)
    telling = setup.size == "small"  # toys say nothing about large scans
    return Result(
        "memory",
        f"{_STAGES[stage]}: peak private memory",
        peak,
        (
            ratio(
                "a training batch of 32 frames, float32", "limit", peak, series("GB", [_BATCH * big.side**2 * 4 / 1e9])
            ),
        ),
        _TARGET,
        reason=_short(big.frames, big.side),
        note=f"of each further byte of frames {growth:.2g} bytes stay in memory"
        + (f"; were that so up to 1 M frames of 128 px, the peak would be {expected:.2g} GB" if telling else ""),
        facts={
            "frames": big.frames,
            "window_px": big.side,
            "frames_gb": big.gigabytes,
            "after_imports_gb": large["before"] / 1e9,
            "resident_peak_gb": large["resident"] / 1e9,
            "growth_bytes_per_byte": growth,
            "expected_at_target_gb": expected,
        },
    )


def _short(frames: int, side: int) -> str:
    """Why a number is not what the target means; empty when it is."""
    full = frames >= _MOST and side >= _SIDE
    return "" if full else f"measured on {frames:,} frames of {side} px, not on 1 M of {_SIDE} px"


def _run(stage: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What a stage tells, from a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        returned, error = called(f"{__name__}:{stage}", arguments, Path(folder) / "stage.log")
    if error:
        raise EngineError(f"memory, {stage} of {arguments}: {error}")
    return returned


def _read(path: str) -> Any:
    from foldlight.io import ReadOptions, read_scan

    return read_scan(Path(path), ReadOptions(values="intensity", zero_frequency="centre", axis_order="nyx"))


def _written(path: Path, frames: int, side: int, seed: int) -> _Big:
    """A scan of Poisson counts of an empty object, in the layout of DATA-001 but as raw counts; written in pieces."""
    rng = np.random.default_rng(seed)
    probe = normalised(zone_plate((side, side), 0.4 * side), _PHOTONS)
    expected = np.abs(np.fft.fftshift(np.fft.fft2(probe[0], norm="ortho"))) ** 2
    distinct = rng.poisson(expected, (_DISTINCT, side, side)).astype(np.uint16)
    extent = _STEP_PX * np.sqrt(frames)
    positions = jittered_raster(frames, ((0, 0), (extent, extent)), rng)
    count = len(positions)
    pieces = (distinct[: min(_DISTINCT, count - start)] for start in range(0, count, _DISTINCT))
    write_npz(
        path,
        {
            "diffraction": Blocks((count, side, side), np.dtype("<u2"), pieces),
            "xcoords": positions[:, 1],
            "ycoords": positions[:, 0],
            "probeGuess": probe[0],
        },
    )
    return _Big(path, count, side)
