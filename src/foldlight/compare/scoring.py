"""The numbers in a row: what the ledger knows, what counts tell, what a truth tells, and who has collapsed."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from foldlight.compare.align import align
from foldlight.compare.deviance import Misfit
from foldlight.compare.efficiency import ErrorGauge, error_gauge, object_error, photons_per_pixel, scan_limit
from foldlight.compare.frc import RingCorrelation, crossing
from foldlight.compare.legacy import legacy_score
from foldlight.compare.metrics import score
from foldlight.compare.row import FLAT_ARM, CompareSettings, Row
from foldlight.optics.limit import DoseLimit
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.scan import Scan

__all__ = ["Known", "judged", "known_of", "row_of", "scored"]

_SKILL_MARGIN = 0.1  # of a score in [0, 1]: chance agreement of a nearly flat image stays below it


def row_of(made: Reconstruction, fitted: Misfit | None, unseen: Misfit | None) -> Row:
    """What is known without a truth; a number that the ledger does not know, or that is not finite, is left empty."""
    ledger = made.ledger
    frames = ledger.n_frames
    return Row(
        dose=None,
        view=None,
        split=None,
        arm=made.arm,
        seed=None,
        n_frames=frames,
        photons_per_frame=_per_frame(ledger.photons, frames),
        deviance_heldout=None if unseen is None else _finite(unseen.mean),
        deviance_fitted=None if fitted is None else _finite(fitted.mean),
        train_seconds=ledger.train_seconds,
        infer_seconds_per_frame=_per_frame(ledger.infer_seconds, frames),
    )


def _per_frame(value: float | None, frames: int | None) -> float | None:
    return float(value / frames) if frames and value is not None else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class Known:
    """The truth, and what is the same for every arm that is scored against it.

    Attributes:
        scan: the scan.
        raw: the truth as the scan has it.
        truth: the truth that images are aligned to.
        flat: the best flat image, aligned to it.
    """

    scan: Scan
    raw: np.ndarray
    truth: np.ndarray
    flat: np.ndarray
    coverage: np.ndarray
    mask: np.ndarray
    settings: CompareSettings
    limit: DoseLimit | None

    def gauge(self, made: Reconstruction) -> ErrorGauge:
        """What an arm's error is freed of: the blind gauge beside the blind limit, and for an arm that was blind."""
        return "blind" if self.settings.limit == "blind" else error_gauge(made, self.scan)

    def error(self, made: Reconstruction) -> float:
        """Mean squared relative error of an arm, as it was reconstructed."""
        return object_error(made.object, self.raw, self.mask, self.gauge(made))


def known_of(
    scan: Scan, truth: np.ndarray, coverage: np.ndarray, mask: np.ndarray, settings: CompareSettings
) -> Known | None:
    """The shared part of all scores against truth; None where there is none."""
    raw = scan.truth
    if raw is None:
        return None
    flat = align(np.ones_like(truth), truth, coverage)[0]
    limit = None if settings.limit == "off" else scan_limit(scan, raw, mask, settings.limit)
    return Known(scan, raw, truth, flat, coverage, mask, settings, limit)


def scored(row: Row, made: Reconstruction, image: np.ndarray, curve: RingCorrelation, known: Known) -> Row:
    """A row with the numbers that need a truth."""
    found = asdict(score(known.truth, image, known.flat, known.mask, known.coverage, known.settings.ms_ssim_sigma))
    if known.settings.legacy:
        found |= asdict(legacy_score(known.truth, image, known.mask))
    finite: dict[str, Any] = {name: _finite(value) for name, value in found.items()}
    return replace(row, **finite, **_crossings(curve), **_against_limit(made, known))


def _crossings(curve: RingCorrelation) -> dict[str, Any]:
    half = curve.crossing(0.5)
    return {
        "frc_half_nyquist": half.nyquist,
        "frc_half_state": half.state,
        "frc_seventh_nyquist": curve.crossing(1 / 7).nyquist,
        "frc_half_bit_nyquist": curve.crossing(curve.half_bit).nyquist,
    }


def _against_limit(made: Reconstruction, known: Known) -> dict[str, Any]:
    """The error of the object as it was reconstructed, beside the least that these counts allow, where they do."""
    error = _finite(known.error(made))
    limit = known.limit if known.limit is not None and known.limit.determined else None
    return {
        "photons_per_pixel": photons_per_pixel(known.raw, known.coverage, known.mask),
        "object_rmse": None if error is None else math.sqrt(error),
        "eta": limit.bound / error if limit is not None and error else None,
        "limit_rmse": None if limit is None else math.sqrt(limit.bound),
        "limit_bayes_rmse": None if known.limit is None or known.limit.bayes is None else math.sqrt(known.limit.bayes),
        "limit_frc_half_nyquist": None if limit is None else _predicted_crossing(limit),
    }


def _predicted_crossing(limit: DoseLimit) -> float | None:
    """Where the FRC that the limit lets expect falls below 0.5; Nyquist where it stays above."""
    found = crossing(limit.nyquist, limit.frc, 0.5)
    return 1.0 if found.state == "above" else found.nyquist


def judged(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows whose arm does no better than the best flat image get the status `collapsed`."""
    flat = next((row for row in rows if row.arm == FLAT_ARM), None)
    return tuple(replace(row, status="collapsed") if row is not flat and _no_better(row, flat) else row for row in rows)


def _no_better(row: Row, flat: Row | None) -> bool:
    """No skill against the truth, where there is one; else held-out counts predicted no better than by the flat arm.

    Skills and correlation are 0 for the best flat image, so with truth the flat arm need not be there.
    """
    skills = [row.phase_skill, row.amplitude_skill, row.complex_correlation]
    known = [value for value in skills if value is not None]
    if known:
        return all(value <= _SKILL_MARGIN for value in known)
    if flat is None or row.deviance_heldout is None or flat.deviance_heldout is None:
        return False
    return row.deviance_heldout >= flat.deviance_heldout
