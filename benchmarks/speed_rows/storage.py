"""Bytes on disk for training, against the frames as a detector gives them: uint16 counts."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import Result, Target, ratio, series
from benchmarks.speed_rows.cases import known_scan
from benchmarks.suite import Setup
from foldlight.io import write_container, write_data001
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
        write_container(folder / "scan.h5", scan)
        write_container(folder / "packed.h5", scan, packed=True)
        names = ("scan.h5", "packed.h5", "scan.npz")
        file, packed, exchanged = (series("MB", [(folder / each).stat().st_size / 1e6]) for each in names)
        settings = TrainingSettings(epochs=1, seed=setup.seed, validation="photons")
        fit(scan, NetworkSettings(), settings, folder / "model", progress=False, keep_collapsed=True)
        left = series("MB", [sum(path.stat().st_size for path in (folder / "model").iterdir()) / 1e6])
    return [
        Result(
            "disk",
            "the scan file that training reads (container, the smallest integers)",
            file,
            (ratio(_RAW, "limit", file, raw),),
            _TARGET,
            note="groups are rows of indexes and are not stored; the file holds probe and true object as well",
            facts={"frames": frames, "window_px": [height, width]},
        ),
        Result("disk", "the same, packed", packed, (ratio(_RAW, "limit", packed, raw),)),
        Result(
            "disk",
            "the same for exchange (DATA-001, float32 amplitudes)",
            exchanged,
            (ratio(_RAW, "limit", exchanged, raw),),
        ),
        Result(
            "disk",
            "what training adds: checkpoint, history",
            left,
            (ratio(_RAW, "limit", left, raw),),
            note="the same for any number of frames",
        ),
    ]
