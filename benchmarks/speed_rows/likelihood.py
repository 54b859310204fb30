"""The dose limit's product with the Fisher matrix, and the maximum-likelihood engine, against their transforms."""

from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.machine import transform_seconds, work_of
from benchmarks.results import Result, ratio, series
from benchmarks.speed_rows.cases import WINDOW, known_scan
from benchmarks.suite import Setup
from benchmarks.timing import interleaved, repeated_seconds
from foldlight.optics.fisher import Fisher
from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
from foldlight.reconstruct.settings import LikelihoodSettings

__all__ = ["dose_limit", "maximum_likelihood"]

_LEAST_S = 0.2
_PER_PRODUCT = "two transforms a frame and vector"


def dose_limit(setup: Setup) -> Sequence[Result]:
    """Milliseconds of one product `J^T J d`: one transform there, one back, for each frame."""
    scan = known_scan(setup)
    assert scan.truth is not None  # noqa: S101  (it is simulated)
    fisher = Fisher(scan.truth, scan.probe, scan.positions_px, dtype=torch.complex64)
    draw = torch.Generator().manual_seed(setup.seed)
    vector = torch.randn(1, fisher.size, generator=draw)

    def product() -> object:
        with torch.inference_mode():
            return fisher.product(vector)

    work = work_of(product, WINDOW)
    read = interleaved(
        setup.repeats,
        {"product": lambda: repeated_seconds(product, _LEAST_S), "transform": lambda: transform_seconds(WINDOW)},
    )
    measured = series("ms", 1e3 * np.array(read["product"]))
    floor = series("ms", 1e3 * 2 * len(scan) * len(scan.probe) * np.array(read["transform"]))
    return [
        Result(
            "dose-limit",
            "one product J^T J d, known probe, complex64",
            measured,
            (ratio(_PER_PRODUCT, "limit", measured, floor),),
            facts={"frames": len(scan), "transforms": work.transforms, "unknowns": fisher.size},
        )
    ]


def maximum_likelihood(setup: Setup) -> Sequence[Result]:
    """Milliseconds a frame and pass of the likelihood engine, as its ledger counts passes."""
    scan = known_scan(setup)
    engine = MaximumLikelihoodReconstructor(LikelihoodSettings(iterations=setup.pick(3, 20, 50)))
    passes: list[int] = []

    def run() -> float:
        ledger = engine.reconstruct(scan).ledger
        passes.append(ledger.epochs or 0)
        return 1e3 * (ledger.infer_seconds or 0.0) / passes[-1] / len(scan)

    read = interleaved(setup.repeats, {"ml": run, "transform": lambda: transform_seconds(WINDOW)})
    measured = series("core-ms a frame", read["ml"])
    floor = series("core-ms a frame", 1e3 * 2 * np.array(read["transform"]))
    return [
        Result(
            "ml",
            "engine ml, a pass over the frames, known probe",
            measured,
            (ratio("two transforms a frame", "limit", measured, floor),),
            note="everything that the engine does, its start too, shared among its passes",
            facts={"frames": len(scan), "passes": passes},
        )
    ]
