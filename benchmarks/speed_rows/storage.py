"""Bytes on disk for training, against the frames as a detector gives them: uint16 counts."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import Result, Target, ratio, series
from benchmarks.speed_rows.cases import known_scan
from benchmarks.suite import Setup
from foldlight.io import write_data001
from foldlight.networks.settings import NetworkSettings
from foldlight.train.fit import fit
from foldlight.train.settings import TrainingSettings

__all__ = ["measure"]

_RAW = "raw frames as uint16"
_TARGET = Target("<= 1.1 x the raw frames", 1.1, "at most", _RAW)
_RAW_BYTES = 2  # a pixel


def measure(setup: Setup) -> Sequence[Result]:
    """The scan file that training reads, and what training leaves beside it; sizes repeat exactly, so once each."""
    scan = known_scan(setup)
    frames, height, width = scan.photons.shape
    raw = series("MB", [_RAW_BYTES * frames * height * width / 1e6])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data001(folder / "scan.npz", scan)
        file = series("MB", [(folder / "scan.npz").stat().st_size / 1e6])
        settings = TrainingSettings(epochs=1, seed=setup.seed, validation="photons")
        fit(scan, NetworkSettings(), settings, folder / "model", progress=False, keep_collapsed=True)
        left = series("MB", [sum(path.stat().st_size for path in (folder / "model").iterdir()) / 1e6])
    return [
        Result(
            "disk",
            "the scan file that training reads (DATA-001, float32 amplitudes)",
            file,
            (ratio(_RAW, "limit", file, raw),),
            _TARGET,
            note="groups are rows of indexes and are not stored; training reads a file of raw counts as well",
            facts={"frames": frames, "window_px": [height, width]},
        ),
        Result(
            "disk",
            "what training adds: checkpoint, history",
            left,
            (ratio(_RAW, "limit", left, raw),),
            note="the same for any number of frames",
        ),
    ]
