"""What the process of some data sets does: each arm in turn, its numbers written as soon as they are there."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from benchmarks.quality_parts.arms import (
    AnyArm,
    Arm,
    Bounds,
    Data,
    HeldOut,
    Hybrid,
    Iterative,
    Likelihood,
    Measured,
    Pretrained,
    Simulated,
    Trained,
    digest,
)
from benchmarks.quality_parts.scans import Exposure, expose, facts, held_out_exposures
from foldlight.bundle import PRETRAINED, Model, read_bundle, write_bundle
from foldlight.compare.align import align
from foldlight.compare.deviance import heldout_deviance
from foldlight.compare.efficiency import measured_bias
from foldlight.compare.frc import RingCorrelation, ring_correlation
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
from foldlight.reconstruct.hybrid import HybridReconstructor, StartedReconstructor
from foldlight.reconstruct.iterative import IterativeReconstructor
from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.protocol import Reconstruction, Reconstructor
from foldlight.reconstruct.settings import IterativeSettings
from foldlight.sampling.thinning import thin
from foldlight.scan import Scan
from foldlight.simulate.acquire import expose_again
from foldlight.train.fit import adapt, fit

__all__ = ["Tools", "limits", "measure_all", "measure_arm", "measure_held_out", "measure_several", "measure_star"]

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
_TRAINING = ("epochs_completed", "best_epoch", "n_frames", "validation", "best_validation_loss", "flat_loss")


@dataclass(frozen=True)
class Tools:
    """What measuring needs beside data and arms.

    Attributes:
        folder: for what is made once and used again: trained networks, refined probes.
        code: digest of the code, part of their names.
        weights: the pretrained bundle.
    """

    folder: Path
    code: str
    weights: Path = PRETRAINED

    def pretrained(self, arm: Pretrained | Trained) -> Model:
        """The pretrained network that an arm is about.

        Raises:
            DataError: the bundle is another.
            BundleError: there is none, or it is damaged.
        """
        model = read_bundle(self.weights)
        if sha256_file(self.weights) != arm.weights:
            raise DataError(
                f"{self.weights}: expected a file of sha256 {arm.weights[:12] or '(none)'}, got another; do not change"
                " it meanwhile"
            )
        return model


def measure_several(
    parts: list[dict[str, Any]], folder: str, code: str, scan: str | None = None, weights: str | None = None
) -> dict[str, Any]:
    """Measure arms on some data sets, one after the other; see `measure_all`.

    Args:
        parts: `data` and `arms` of each.
        folder: for results.
        code: digest of the code.
        scan: the measured scan's file.
        weights: the pretrained bundle; the package's when None.
    """
    failed: dict[str, str] = {}
    for part in parts:
        failed |= measure_all(part["data"], part["arms"], folder, code, scan, weights)["failed"]
    return {"failed": failed}


def measure_all(
    data: dict[str, Any],
    arms: dict[str, dict[str, Any]],
    folder: str,
    code: str,
    scan: str | None = None,
    weights: str | None = None,
) -> dict[str, Any]:
    """Measure arms on one data set; each leaves `KEY.json`.

    Args:
        data: description.
        arms: descriptions, by key.
        folder: for results and trained networks.
        code: digest of the code, part of the keys.
        scan: the measured scan's file.
        weights: the pretrained bundle; the package's when None.

    Returns:
        Reasons by key of what could not be measured.
    """
    torch.set_num_threads(1)
    described = _DATA.validate_python(data)
    tools = Tools(Path(folder) / "made", code, PRETRAINED if weights is None else Path(weights))
    exposure = expose(described) if isinstance(described, Simulated) else None
    failed = {}
    for key, plain in arms.items():
        began = time.perf_counter()
        arm = _ARMS.validate_python(plain)
        try:
            if exposure is not None:
                found = measure_arm(described, exposure, arm, tools)
            elif isinstance(described, HeldOut):
                found = measure_held_out(described, arm, tools)
            else:
                found = measure_star(described, arm, Path(str(scan)), tools)
        except FoldlightError as error:
            failed[key] = str(error)
            continue
        told = {"settings": {"data": data, "arm": plain}, "code": code, "environment": environment()}
        seconds = round(time.perf_counter() - began, 2)
        write_json(Path(folder) / f"{key}.json", {**told, "threads": 1, "seconds": seconds, **found})
    return {"failed": failed}


def measure_arm(data: Simulated, exposure: Exposure, arm: AnyArm, tools: Tools) -> dict[str, Any]:
    """Numbers and facts of one arm on a simulated data set."""
    scan = exposure.scan
    if isinstance(arm, Bounds):
        made = ConstantReconstructor().reconstruct(scan)
        bounds = limits(data, exposure) if arm.limit else {}
        return {"numbers": _scored(data, exposure, made), "facts": facts(data, exposure) | bounds}
    method, told = _trained(data, arm, tools) if isinstance(arm, Trained) else _method(scan, arm, data.seed, tools)
    made = method.reconstruct(scan)
    numbers = _scored(data, exposure, made)
    draws = 0 if isinstance(arm, Iterative) or _misled(data) else arm.draws
    if draws > 1:
        numbers["bias_fraction"] = measured_bias(method, scan, draws, data.seed)
    return {"numbers": numbers, "facts": {**told, "draws": draws, **_course(made)}}


def measure_held_out(data: HeldOut, arm: AnyArm, tools: Tools) -> dict[str, Any]:
    """Area under the FRC against truth, for every probe and family; the worst and the median of them.

    Raises:
        DataError: an arm that needs more than a scan.
    """
    if not isinstance(arm, Pretrained) or arm.adapt:
        raise DataError(f"held-out probes: expected the pretrained network as it is, got {arm.name}")
    method = _neural(tools.pretrained(arm), arm)
    areas: dict[str, dict[str, float]] = {}
    photons, seconds = [], []
    for probe, family, exposure in held_out_exposures(data):
        made = method.reconstruct(exposure.scan)
        image = align(made.object, exposure.truth, made.coverage)[0]
        areas.setdefault(probe, {})[family] = _area(ring_correlation(exposure.truth, image, exposure.mask))
        photons.append(float(exposure.scan.photons.totals.mean()))
        seconds.append(_infer_ms(made) or 0.0)
    every = [area for found in areas.values() for area in found.values()]
    return {
        "numbers": {
            "frc_area_worst": min(every),
            "frc_area_median": float(np.median(every)),
            "infer_ms_per_frame": float(np.median(seconds)),
        },
        "facts": {
            "N": data.window,
            "frames": data.side**2,
            "photons_per_frame": float(np.median(photons)),
            "n": data.photons_per_pixel,
            "overlap": data.overlap,
            "frc_areas": areas,
        },
    }


def measure_star(data: Measured, arm: AnyArm, path: Path, tools: Tools) -> dict[str, Any]:
    """A measured scan's halves: what they agree on, and how well the first predicts the second.

    LSQML refines each half's probe from that half alone; every other arm is given this probe. Maximum likelihood only
    has to predict, which takes one half.

    Raises:
        DataError: the file is not the one that was described.
    """
    if sha256_file(path) != data.sha256:
        raise DataError(
            f"{path}: expected a file of sha256 {data.sha256[:12]}, got another; do not change it meanwhile"
        )
    scan = read_scan(path)
    halves = thin(scan, 0.5, generator(data.seed, "benchmark halves"))
    wanted = 1 if isinstance(arm, Likelihood) else 2
    made = [_of_half(data, arm, half, number, tools) for number, half in enumerate(halves[:wanted])]
    agreed = _agreement(made[0], made[1], scan) if wanted == 2 else {}
    refinement = made[0].settings.get("refinement")
    return {
        "numbers": {
            "frc_half_bit_nyquist": agreed.get("frc_half_bit_nyquist"),
            "deviance_heldout": heldout_deviance(made[0], halves[1], exposure_ratio=1.0),
            "infer_ms_per_frame": _infer_ms(made[0]),
        },
        "facts": {
            "N": scan.window[0],
            "frames": len(scan),
            "photons_per_frame": float(scan.photons.totals.mean()),
            "sha256": data.sha256,
            "half_bit_state": agreed.get("state"),
            "steps": None if refinement is None else refinement["steps"],
        },
    }


def _of_half(data: Measured, arm: AnyArm, half: Scan, number: int, tools: Tools) -> Reconstruction:
    """An arm's image of one half."""
    engine = IterativeSettings(epochs=data.probe_epochs, fit_probe=True, threads=1, device=data.device, seed=data.seed)
    if isinstance(arm, Iterative):
        return _by_lsqml(data, arm.engine, half, number, tools)
    probe = _by_lsqml(data, engine, half, number, tools).probe
    method, _ = _method(half, arm, data.seed, tools)
    return method.reconstruct(replace(half, probe=probe))


def _by_lsqml(data: Measured, engine: IterativeSettings, half: Scan, number: int, tools: Tools) -> Reconstruction:
    """LSQML's image and probe of a half, made now or before in this very way."""
    seed = integer_seed(engine.seed, "second half") if number else engine.seed  # or the order of frames would correlate
    engine = engine.model_copy(update={"seed": seed})
    told = {"data": data.sha256, "seed": data.seed, "half": number, "engine": engine.plain(), "code": tools.code}
    path = tools.folder / f"{digest(told)}.npz"
    if not path.is_file():
        IterativeReconstructor(engine).reconstruct(half).save(path)
    return Reconstruction.load(path)


def _agreement(first: Reconstruction, second: Reconstruction, scan: Scan) -> dict[str, Any]:
    """Where the FRC of two images falls below the half-bit curve."""
    coverage = coverage_map(first.probe, first.positions_px, scan.canvas)
    curve = ring_correlation(first.object, align(second.object, first.object, coverage)[0], well_lit(coverage))
    half_bit = curve.crossing(curve.half_bit)
    return {"frc_half_bit_nyquist": half_bit.nyquist, "state": half_bit.state}


def _method(scan: Scan, arm: AnyArm, seed: int, tools: Tools) -> tuple[Reconstructor, dict[str, Any]]:
    """The method, and what its training on this very scan has to tell.

    Raises:
        DataError: an arm that trains on other scans.
    """
    if isinstance(arm, Bounds | Trained):
        raise DataError(f"{arm.name}: expected an arm that a scan alone is enough for")
    if isinstance(arm, Pretrained):
        return _pretrained(scan, arm, seed, tools)
    if isinstance(arm, Hybrid):
        first, told = _pretrained(scan, arm.first, seed, tools)
        return HybridReconstructor(first, arm.refine), told
    engine: IterativeReconstructor | MaximumLikelihoodReconstructor
    engine = (
        IterativeReconstructor(arm.engine) if isinstance(arm, Iterative) else MaximumLikelihoodReconstructor(arm.engine)
    )
    if arm.start is None:
        return engine, {}
    first, told = _pretrained(scan, arm.start, seed, tools)
    return StartedReconstructor(first, engine), told


def _pretrained(scan: Scan, arm: Pretrained, seed: int, tools: Tools) -> tuple[NeuralReconstructor, dict[str, Any]]:
    """The pretrained network, adapted to the scan where that is asked for."""
    model = tools.pretrained(arm)
    if not arm.adapt:
        return _neural(model, arm), {}
    done = adapt(scan, model, arm.adapt, seed=seed, device=arm.device, progress=False)
    told = {"collapsed": done.collapsed, **{name: done.model.training[name] for name in _TRAINING}}
    return NeuralReconstructor(done.model, done.seconds, device=arm.device, progress=False), told


def _neural(model: Model, arm: Pretrained) -> NeuralReconstructor:
    return NeuralReconstructor(replace(model, group_size=arm.gridsize**2), device=arm.device, progress=False)


def _trained(data: Simulated, arm: Trained, tools: Tools) -> tuple[NeuralReconstructor, dict[str, Any]]:
    """The network, trained now or before in this very way."""
    training = data.training(arm.side)
    start = tools.pretrained(arm) if arm.start == "pretrained" else None
    network = arm.network if start is None else start.network
    told = {"data": training.plain(), "arm": arm.model_copy(update={"draws": 0}).plain(), "code": tools.code}
    folder = tools.folder / digest(told)
    bundle, record = folder / "wts.h5.zip", folder / "trained.json"
    if not (bundle.is_file() and record.is_file()):
        scan = expose(training).scan
        done = fit(scan, network, arm.training, folder, progress=False, start=start, keep_collapsed=True)
        write_bundle(bundle, done.model)
        write_json(record, {"seconds": done.seconds, "collapsed": done.collapsed, "history": done.history})
    known = json.loads(record.read_text(encoding="utf-8"))
    model = read_bundle(bundle)
    told = {"collapsed": known["collapsed"], **{name: model.training[name] for name in _TRAINING}}
    return NeuralReconstructor(model, known["seconds"], device=arm.training.device, progress=False), told


def _scored(data: Simulated, exposure: Exposure, made: Reconstruction) -> Numbers:
    """Every number that the truth and a second exposure give."""
    unseen = expose_again(exposure.true_scan, data.seed)
    given = exposure.scan
    comparison = compare(given, [made], replace(unseen, probe=given.probe, positions_px=given.positions_px))
    row, image = comparison.rows[0], comparison.objects[made.arm]
    numbers: Numbers = {name: getattr(row, name) for name in _COLUMNS}
    if data.gauge == "blind":
        numbers["object_rmse"] = _blind_rmse(comparison, made.arm)
    if data.position_error_px:
        numbers["positions_left_px"] = _left(made.positions_px, exposure.positions_px)
    amplitudes = np.abs(np.asarray(comparison.truth)), np.abs(image)
    numbers["amplitude_psnr_of_1"] = psnr(amplitudes[0], amplitudes[1], comparison.mask, 1.0)
    numbers["frc_area"] = _area(comparison.curves[made.arm])
    numbers["no_better_than_flat"] = float(row.status == "collapsed")
    numbers["infer_ms_per_frame"] = _infer_ms(made)
    return numbers


def _area(curve: RingCorrelation) -> float:
    """Mean of a curve from 0 to half of Nyquist."""
    return float(curve.correlation[curve.nyquist <= _AREA_NYQUIST].mean())


def _left(found: np.ndarray, true: np.ndarray) -> float:
    """Root mean square length of what is wrong with positions, apart from a move of all [px]."""
    error = found - true
    return float(np.sqrt(np.mean(np.sum((error - error.mean(axis=0)) ** 2, axis=1))))


def _blind_rmse(comparison: Comparison, arm: str) -> float:
    """Root of the mean squared relative error, without shift, ramps and scale: with an unknown probe none is known."""
    truth = np.asarray(comparison.truth)
    return float(np.sqrt(squared_error(comparison.objects[arm], truth, comparison.mask, "complex", probe_known=False)))


def _misled(data: Simulated) -> bool:
    """Methods are given something wrong, with which no second exposure could be drawn."""
    return bool(data.probe_error or data.position_error_px or data.fault in {"defocus", "power"})


def limits(data: Simulated, exposure: Exposure) -> dict[str, float | None]:
    """What any method could reach, without a prior and with the power spectrum of this very object as prior."""
    blind = data.probe_error > 0
    limit = dose_limit(
        exposure.truth,
        exposure.probe,
        exposure.positions_px,
        exposure.mask,
        detector_mask=exposure.scan.mask,
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
    """How the iteration went, and how many steps were chosen, where it tells."""
    told: dict[str, Any] = {
        name: made.settings[name] for name in ("convergence", "refinement") if name in made.settings
    }
    if "refinement" in told:
        told["steps"] = told["refinement"]["steps"]
    return told


def _infer_ms(made: Reconstruction) -> float | None:
    seconds, frames = made.ledger.infer_seconds, made.ledger.n_frames
    return 1e3 * seconds / frames if seconds is not None and frames else None
