"""A measured scan in, a base for simulated ones out.

The base keeps the measured frames and positions; its probe is refined, its object reconstructed and cleaned. How well
the cleaned pair still explains the counts is measured and written beside it.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from foldlight.compare.deviance import heldout_deviance
from foldlight.core.errors import DataError
from foldlight.optics.coverage import well_lit
from foldlight.optics.forward import expected_frames
from foldlight.preparation.clean import bounded, continued, strongest_modes, tapered, without_gauge
from foldlight.preparation.settings import PreparationSettings
from foldlight.reconstruct.iterative import IterativeReconstructor
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.scan import Scan

__all__ = ["faded", "prepare", "refine", "residual_deviance"]

_FADES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)  # of the window at each edge, widest first
_FADE_COST = 1.02  # deviance that a fade of the probe may cost: more, and it cuts signal
_SAMPLE = 128  # frames on which fades are tried
_BLOCK = 128  # frames predicted at a time


def refine(
    scan: Scan, settings: PreparationSettings, log_path: Path | None = None, progress: bool = False
) -> Reconstruction:
    """Object and refined probe of a scan, by LSQML from a flat object; a file's own probe is only a guess.

    Raises:
        EngineError: pty-chi is not installed, failed, diverged or took too long; the log is named.
    """
    return IterativeReconstructor(settings.engine, log_path, progress).reconstruct(scan)


def prepare(scan: Scan, settings: PreparationSettings, log_path: Path | None = None, progress: bool = False) -> Scan:
    """A base for simulated scans: the scan with a refined probe and a cleaned reconstruction as its object.

    The object is somebody's reconstruction, not the truth, of these frames; it may become the truth of others. What was
    done is in the notes; settings, engine and how well the base explains the counts are in `origin["preparation"]`.

    Args:
        scan: square frames with a first guess of the probe; its object, if any, is never looked at.
        settings: how to reconstruct.
        log_path: where the engine's output goes.
        progress: show a bar.

    Raises:
        DataError: the frames are not square, as DATA-001 wants them, or hold no light.
        EngineError: see `refine`.
    """
    if scan.window[0] != scan.window[1]:
        raise DataError(
            f"base: expected square frames, got {scan.window[0]} x {scan.window[1]} px; crop or pad the frames"
        )
    guess, share = strongest_modes(scan.probe, settings.probe_modes)
    made = refine(replace(scan, probe=guess), settings, log_path, progress)
    base, told = _cleaned(scan, made)
    if len(guess) < len(scan.probe):
        told.insert(0, f"probe: begun with {len(guess)} of {len(scan.probe)} modes, {share:.1%} of the guessed light")
    facts = {
        "engine": f"pty-chi {made.arm}",
        "settings": made.settings,
        "epochs": made.ledger.epochs,
        "deviance_reconstruction": residual_deviance(made, scan),
        "deviance_base": residual_deviance(base, scan),
    }
    light = "a single mode" if len(made.probe) == 1 else f"{len(made.probe)} modes"
    how = f"object, probe: {facts['engine']}, {made.ledger.epochs} epochs from a flat object, probe of {light}"
    where = "positions: as given"
    if settings.fit_positions:
        moved = np.sqrt(np.mean(np.sum((made.positions_px - scan.positions_px) ** 2, axis=1)))
        where = f"positions: refined, {moved:.3g} px rms from those given"
    return replace(
        scan,
        positions_px=base.positions_px,
        probe=base.probe,
        object=base.object,
        object_is_truth=False,
        notes=(*scan.notes, how, where, *told),
        origin={**scan.origin, "preparation": facts},
    )


def residual_deviance(made: Reconstruction, scan: Scan) -> float:
    """Mean Poisson deviance per valid pixel between the frames a reconstruction expects and those it was made from."""
    return heldout_deviance(made, scan, exposure_ratio=1.0)


def _cleaned(scan: Scan, made: Reconstruction) -> tuple[Reconstruction, list[str]]:
    """The reconstruction with everything cleaned, and a note for each thing done."""
    told = []
    image, probe, gauge = without_gauge(made.object, made.probe, made.coverage)
    slopes = ", ".join(f"{slope:.3g}" for slope in gauge.ramp_rad_per_px)
    told.append(f"object: its mean phase and a ramp of (y, x) = ({slopes}) rad/px moved into the probe")
    lit = well_lit(made.coverage)
    image, probe, limit = bounded(image, probe, lit)
    told.append(f"object: brightest amplitude, {limit:.4g}, is 1 now, the 0.1 % above are clipped; the probe took it")
    image = continued(image, lit)
    told.append(f"object: a smooth continuation in the {1 - lit.mean():.1%} of the canvas that are not well lit")
    probe, note = faded(replace(made, object=image, probe=probe), scan)
    probe, factor = _scaled_to_counts(image, probe, made.positions_px, scan)
    told += [note, f"probe: scaled by {factor:.4f} to as many photons as were counted"]
    return replace(made, object=image.astype(np.complex64), probe=probe.astype(np.complex64)), told


def faded(made: Reconstruction, scan: Scan) -> tuple[np.ndarray, str]:
    """The probe with the widest fade at its edges that the counts don't object to, and a note.

    Light far from the middle is noise in one scan and fine structure of the pupil in another; only the counts can tell.
    """
    some = np.unique(np.linspace(0, len(scan) - 1, min(_SAMPLE, len(scan))).round().astype(int))
    sample, part = scan.select(some), replace(made, positions_px=made.positions_px[some])

    def deviance(probe: np.ndarray) -> float:
        scaled, _ = _scaled_to_counts(made.object, probe, part.positions_px, sample)
        return residual_deviance(replace(part, probe=scaled), sample)

    allowed = _FADE_COST * deviance(made.probe)
    for share in _FADES:
        probe, lost = tapered(made.probe, share)
        if deviance(probe) <= allowed:
            return probe, f"probe: faded out over {share * scan.window[0]:.3g} px at each edge, {lost:.2%} of its light"
    return made.probe, "probe: its light at the window's edges was kept, the counts confirm it"


def _scaled_to_counts(
    image: np.ndarray, probe: np.ndarray, positions_px: np.ndarray, scan: Scan
) -> tuple[np.ndarray, float]:
    """The probe with the power that explains the photons counted on valid pixels, and the factor on it.

    `sum_j sum_q lam_jq = sum_j sum_q y_jq`, the Poisson maximum-likelihood scale.
    """
    canvas = torch.from_numpy(image.astype(np.complex64))[None]
    modes, mask = torch.from_numpy(probe.astype(np.complex64)), torch.from_numpy(scan.mask)
    expected = 0.0
    for start in range(0, len(positions_px), _BLOCK):
        places = torch.from_numpy(positions_px[None, start : start + _BLOCK])
        expected += float(expected_frames(canvas, modes, places)[..., mask].sum(dtype=torch.float64))
    counted = len(scan) * float(scan.photons.mean_frame[scan.mask].sum())
    factor = float(np.sqrt(counted / expected))
    return probe * factor, factor
