"""What the process of a data set does: each arm in turn, its numbers written as soon as they are there."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from benchmarks.quality_parts.cases import (
    Arm,
    Bounds,
    Data,
    Iterative,
    Likelihood,
    Measured,
    Simulated,
    Trained,
    digest,
)
from benchmarks.quality_parts.scans import Exposure, expose, facts
from foldlight.bundle import read_bundle, write_bundle
from foldlight.compare.align import align
from foldlight.compare.efficiency import measured_bias
from foldlight.compare.frc import ring_correlation
from foldlight.compare.metrics import psnr
from foldlight.compare.table import Comparison, compare
from foldlight.core.errors import DataError, FoldlightError
from foldlight.core.files import write_json
from foldlight.core.provenance import environment, sha256_file
from foldlight.core.seeds import generator, integer_seed
from foldlight.io import read_scan
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.optics.limit import dose_limit, squared_error
from foldlight.optics.prior import prior_of
from foldlight.reconstruct.constant import ConstantReconstructor
from foldlight.reconstruct.iterative import IterativeReconstructor
from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.protocol import Reconstruction, Reconstructor
from foldlight.reconstruct.settings import LikelihoodSettings
from foldlight.sampling.thinning import thin
from foldlight.scan import Scan
from foldlight.simulate.acquire import expose_again
from foldlight.train.fit import fit

__all__ = ["limits", "measure_all", "measure_arm", "measure_star"]

Numbers = dict[str, float | None]

_ARMS: TypeAdapter[Any] = TypeAdapter(Arm)
_DATA: TypeAdapter[Any] = TypeAdapter(Data)
_AREA_NYQUIST = 0.5
_COLUMNS = (
    "object_rmse",
    "amplitude_ssim",
    "phase_ssim",
    "amplitude_psnr",
    "phase_psnr",
    "amplitude_mae",
    "phase_mae",
    "amplitude_skill",
    "phase_skill",
    "complex_correlation",
    "frc_half_nyquist",
    "deviance_heldout",
    "deviance_fitted",
    "train_seconds",
)


def measure_all(
    data: dict[str, Any], arms: dict[str, dict[str, Any]], folder: str, code: str, scan: str | None = None
) -> dict[str, Any]:
    """Measure arms on one data set; each leaves `KEY.json`.

    Args:
        data: description.
        arms: descriptions, by key.
        folder: for results and trained networks.
        code: digest of the code, part of the keys.
        scan: the measured scan's file.

    Returns:
        Reasons by key of what could not be measured.
    """
    torch.set_num_threads(1)
    described = _DATA.validate_python(data)
    exposure = expose(described) if isinstance(described, Simulated) else None
    failed = {}
    for key, plain in arms.items():
        began = time.perf_counter()
        arm = _ARMS.validate_python(plain)
        try:
            if exposure is None:
                found = measure_star(described, arm, Path(str(scan)))
            else:
                found = measure_arm(described, exposure, arm, Path(folder) / "networks", code)
        except FoldlightError as error:
            failed[key] = str(error)
            continue
        told = {"settings": {"data": data, "arm": plain}, "code": code, "environment": environment()}
        seconds = round(time.perf_counter() - began, 2)
        write_json(Path(folder) / f"{key}.json", {**told, "threads": 1, "seconds": seconds, **found})
    return {"failed": failed}


def measure_arm(
    data: Simulated, exposure: Exposure, arm: Bounds | Trained | Likelihood | Iterative, networks: Path, code: str
) -> dict[str, Any]:
    """Numbers and facts of one arm on a simulated data set."""
    scan = exposure.scan
    if isinstance(arm, Bounds):
        made = ConstantReconstructor().reconstruct(scan)
        return {"numbers": _scored(data, exposure, made), "facts": facts(data, exposure) | limits(data, exposure)}
    method, told = _method(data, arm, networks, code)
    made = method.reconstruct(scan)
    numbers = _scored(data, exposure, made)
    draws = 0 if isinstance(arm, Iterative) or data.probe_error else arm.draws
    if draws > 1:
        numbers["bias_fraction"] = measured_bias(method, scan, draws, data.seed)
    return {"numbers": numbers, "facts": {**told, "draws": draws, **_course(made)}}


def measure_star(data: Measured, arm: Iterative, path: Path) -> dict[str, Any]:
    """Half-bit resolution of a measured scan: two reconstructions, each of half the photons and with its own probe.

    Raises:
        DataError: the file is not the one that was described.
    """
    if sha256_file(path) != data.sha256:
        raise DataError(
            f"{path}: expected a file of sha256 {data.sha256[:12]}, got another; do not change it meanwhile"
        )
    scan = read_scan(path)
    halves = thin(scan, 0.5, generator(data.seed, "benchmark halves"))
    orders = (arm.engine.seed, integer_seed(arm.engine.seed, "second half"))  # or the order of frames would correlate
    engines = [arm.engine.model_copy(update={"seed": order}) for order in orders]
    made = [IterativeReconstructor(engine).reconstruct(half) for engine, half in zip(engines, halves, strict=True)]
    coverage = coverage_map(made[0].probe, made[0].positions_px, scan.canvas)
    mask = well_lit(coverage)
    curve = ring_correlation(made[0].object, align(made[1].object, made[0].object, coverage)[0], mask)
    half_bit = curve.crossing(curve.half_bit)
    comparison = compare(halves[0], [made[0]], halves[1])
    return {
        "numbers": {
            "frc_half_bit_nyquist": half_bit.nyquist,
            "deviance_heldout": comparison.rows[0].deviance_heldout,
            "infer_ms_per_frame": _infer_ms(made[0]),
        },
        "facts": {
            "N": scan.window[0],
            "frames": len(scan),
            "photons_per_frame": float(scan.photons.totals.mean()),
            "sha256": data.sha256,
            "half_bit_state": half_bit.state,
        },
    }


@dataclass(frozen=True)
class _Hybrid:
    """A network, then steps of likelihood from its image."""

    arm: str
    engine: LikelihoodSettings
    network: Reconstructor

    def reconstruct(self, scan: Scan) -> Reconstruction:
        """The network's image as the start; its time counts."""
        first = self.network.reconstruct(scan)
        made = MaximumLikelihoodReconstructor(self.engine, start=first.object).reconstruct(scan)
        seconds = (made.ledger.infer_seconds or 0) + (first.ledger.infer_seconds or 0)
        ledger = replace(made.ledger, infer_seconds=seconds, train_seconds=first.ledger.train_seconds)
        return replace(made, arm=self.arm, ledger=ledger)


def _method(
    data: Simulated, arm: Trained | Likelihood | Iterative, networks: Path, code: str
) -> tuple[Reconstructor, dict[str, Any]]:
    """The method, and what its training has to tell."""
    if isinstance(arm, Iterative):
        return IterativeReconstructor(arm.engine), {}
    if isinstance(arm, Trained):
        return _network(data, arm, networks, code)
    if arm.start is None:
        return MaximumLikelihoodReconstructor(arm.engine), {}
    network, told = _network(data, arm.start, networks, code)
    return _Hybrid(arm.name, arm.engine, network), told


def _network(data: Simulated, arm: Trained, networks: Path, code: str) -> tuple[NeuralReconstructor, dict[str, Any]]:
    """The network, trained now or before in this very way."""
    training = data.training(arm.side)
    told = {"data": training.plain(), "network": arm.network.plain(), "training": arm.training.plain(), "code": code}
    folder = networks / digest(told)
    bundle, record = folder / "wts.h5.zip", folder / "trained.json"
    if not (bundle.is_file() and record.is_file()):
        scan = expose(training).scan
        done = fit(scan, arm.network, arm.training, folder, progress=False, keep_collapsed=True)
        write_bundle(bundle, done.model)
        write_json(record, {"seconds": done.seconds, "collapsed": done.collapsed, "history": done.history})
    known = json.loads(record.read_text(encoding="utf-8"))
    model = read_bundle(bundle)
    kept = ("epochs_completed", "best_epoch", "n_frames", "validation", "best_validation_loss", "flat_loss")
    told = {"collapsed": known["collapsed"], **{name: model.training[name] for name in kept}}
    return NeuralReconstructor(model, known["seconds"], device=arm.training.device, progress=False), told


def _scored(data: Simulated, exposure: Exposure, made: Reconstruction) -> Numbers:
    """Every number that the truth and a second exposure give."""
    unseen = expose_again(replace(exposure.scan, probe=exposure.probe), data.seed)
    comparison = compare(exposure.scan, [made], replace(unseen, probe=exposure.scan.probe))
    row, image = comparison.rows[0], comparison.objects[made.arm]
    numbers: Numbers = {name: getattr(row, name) for name in _COLUMNS}
    if data.probe_error:
        numbers["object_rmse"] = _blind_rmse(comparison, made.arm)
    amplitudes = np.abs(np.asarray(comparison.truth)), np.abs(image)
    numbers["amplitude_psnr_of_1"] = psnr(amplitudes[0], amplitudes[1], comparison.mask, 1.0)
    curve = comparison.curves[made.arm]
    numbers["frc_area"] = float(curve.correlation[curve.nyquist <= _AREA_NYQUIST].mean())
    numbers["infer_ms_per_frame"] = _infer_ms(made)
    return numbers


def _blind_rmse(comparison: Comparison, arm: str) -> float:
    """Root of the mean squared relative error, without shift, ramps and scale: with an unknown probe none is known."""
    truth = np.asarray(comparison.truth)
    return float(np.sqrt(squared_error(comparison.objects[arm], truth, comparison.mask, "complex", probe_known=False)))


def limits(data: Simulated, exposure: Exposure) -> dict[str, float | None]:
    """What any method could reach, without a prior and with the power spectrum of this very object as prior."""
    blind = data.probe_error > 0
    limit = dose_limit(
        exposure.truth,
        exposure.probe,
        exposure.scan.positions_px,
        exposure.mask,
        probe_known=not blind,
        prior=None if blind else prior_of(exposure.truth, exposure.mask),
    )
    return {
        "limit_rmse": float(np.sqrt(limit.bound)),
        "limit_error": limit.bound_error / limit.bound,
        "limit_unsettled": limit.unsettled,
        "limit_bayes_rmse": None if limit.bayes is None else float(np.sqrt(limit.bayes)),
    }


def _course(made: Reconstruction) -> dict[str, Any]:
    """How the iteration went, where it tells."""
    return {"convergence": made.settings["convergence"]} if "convergence" in made.settings else {}


def _infer_ms(made: Reconstruction) -> float | None:
    seconds, frames = made.ledger.infer_seconds, made.ledger.n_frames
    return 1e3 * seconds / frames if seconds is not None and frames else None
