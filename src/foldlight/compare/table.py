"""Reconstructions of one scan, side by side: one row of numbers, one aligned image and one curve for each arm.

What each column means, and when a cell is empty, is written in `specs/compare_models.md`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from foldlight.compare.align import Gauge, align, own_gauge
from foldlight.compare.deviance import heldout_deviance_map, radial_mean
from foldlight.compare.frc import RingCorrelation, ring_correlation
from foldlight.compare.metrics import score
from foldlight.core.errors import DataError, SettingsError
from foldlight.core.settings import Settings
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.scan import Scan

__all__ = ["FLAT_ARM", "CompareSettings", "Comparison", "Row", "compare"]

FLAT_ARM = "Constant"
"""The arm that is the best flat image: whoever does not beat it has collapsed."""

_SKILL_MARGIN = 0.05  # of a score in [0, 1]: chance agreement of a nearly flat image stays below it


class CompareSettings(Settings):
    """How reconstructions are compared."""

    ms_ssim_sigma: float = Field(default=1.5, gt=0, le=5)
    """Standard deviation of the MS-SSIM window [px]; SSIM always uses 1.5."""

    registration: bool = True
    """Remove shift and phase ramp as well as the global scale."""

    registered_arms: tuple[str, ...] | None = None
    """Only these arms are freed of shift and ramp; all of them when not given."""

    @model_validator(mode="after")
    def _agree(self) -> "CompareSettings":
        if self.registered_arms is not None and not self.registration:
            raise ValueError("registered_arms are given, but registration is off; leave out one of the two")
        return self

    def registers(self, arm: str) -> bool:
        """Whether an arm is freed of shift and ramp."""
        return self.registration and (self.registered_arms is None or arm in self.registered_arms)


@dataclass(frozen=True)
class Row:
    """One line of `metrics.csv`: fields are its columns, None an empty cell."""

    dose: float | None
    view: str | None
    split: str | None
    arm: str
    seed: int | None
    n_frames: int | None
    photons_per_frame: float | None
    amplitude_mae: float | None = None
    phase_mae: float | None = None
    amplitude_psnr: float | None = None
    phase_psnr: float | None = None
    amplitude_ssim: float | None = None
    phase_ssim: float | None = None
    amplitude_ms_ssim: float | None = None
    phase_ms_ssim: float | None = None
    frc_half_nyquist: float | None = None
    eta: float | None = None
    deviance_heldout: float | None = None
    train_seconds: float | None = None
    infer_seconds_per_frame: float | None = None
    status: str = "success"
    complex_correlation: float | None = None
    phase_correlation: float | None = None
    frc_half_state: str | None = None
    frc_seventh_nyquist: float | None = None
    frc_half_bit_nyquist: float | None = None

    @classmethod
    def columns(cls) -> list[str]:
        """Names of the columns, in order."""
        return [column.name for column in fields(cls)]


@dataclass(frozen=True)
class Comparison:
    """What was found out about the reconstructions of one scan.

    Attributes:
        rows: one for each arm, in the order given.
        objects: (y, x) complex object of each arm, its gauge removed.
        gauges: what was removed.
        curves: Fourier ring correlation with the truth; empty without truth.
        residuals: (radius,) held-out deviance against detector radius [px]; empty without held-out counts.
        truth: (y, x) complex true object, without its own mean phase and ramp (`own_gauge`) when all arms were
            registered, or None.
        reference: what the gauge was fitted to: `truth`, or without truth the name of an arm, for display only.
        coverage: (y, x) photons through each object pixel, the same for all arms.
        mask: (y, x) bool, the pixels scored.
        window: (height, width) of a frame [px].
        n_frames: frames in the scan.
        photons_per_frame: mean photons in them.
        data_sha256: digest of the data that every arm saw.
        exposure_ratio: exposure of the held-out counts over that of the fitted ones; None without held-out counts.
        settings: how the arms were compared.
        origins: JSON-ready ledger and settings of each arm.
    """

    rows: tuple[Row, ...]
    objects: Mapping[str, np.ndarray]
    gauges: Mapping[str, Gauge]
    curves: Mapping[str, RingCorrelation]
    residuals: Mapping[str, np.ndarray]
    truth: np.ndarray | None
    reference: str
    coverage: np.ndarray
    mask: np.ndarray
    window: tuple[int, int]
    n_frames: int
    photons_per_frame: float
    data_sha256: str
    exposure_ratio: float | None
    settings: CompareSettings
    origins: Mapping[str, Mapping[str, Any]]

    def labelled(self, **columns: Any) -> "Comparison":
        """The comparison with columns such as dose, view, split and seed filled in, in every row."""
        return replace(self, rows=tuple(replace(row, **columns) for row in self.rows))

    def plain(self) -> list[dict[str, Any]]:
        """The rows as JSON-ready values."""
        return [asdict(row) for row in self.rows]


def compare(
    scan: Scan,
    reconstructions: Sequence[Reconstruction],
    heldout: Scan | None = None,
    exposure_ratio: float = 1.0,
    settings: CompareSettings | None = None,
) -> Comparison:
    """Score every reconstruction against the truth, where there is one, and against held-out counts, where there are.

    All arms are scored on the same pixels: those that the scan's own probe and positions light well.

    Args:
        scan: the frames that were reconstructed; its true object, if it has one, is the truth.
        reconstructions: one for each arm.
        heldout: counts of the same frames that no arm has seen.
        exposure_ratio: exposure of the held-out counts over that of the fitted ones.
        settings: defaults when None.

    Raises:
        DataError: no reconstruction, two of one name, one that does not fit the scan, or one made from other data.
        SettingsError: the exposure ratio is not a positive number, or an arm to register is not there.
    """
    settings = settings or CompareSettings()
    digest = scan.digest()
    _check(scan, digest, reconstructions, settings)
    coverage = coverage_map(scan.probe, scan.positions_px, scan.canvas)
    mask = well_lit(coverage)
    maps = {
        made.arm: heldout_deviance_map(made, heldout, exposure_ratio) for made in reconstructions if heldout is not None
    }
    trusted = scan.mask if heldout is None else heldout.mask
    deviances = {arm: float(found[trusted].mean()) for arm, found in maps.items()}
    target, reference = _target(scan, reconstructions, coverage, deviances, settings)
    aligned = {made.arm: align(made.object, target, coverage, settings.registers(made.arm)) for made in reconstructions}
    objects = {arm: image for arm, (image, _) in aligned.items()}
    truth = None if scan.truth is None else target
    curves = {} if truth is None else {arm: ring_correlation(truth, image, mask) for arm, image in objects.items()}
    rows = [_row(made, deviances.get(made.arm)) for made in reconstructions]
    if truth is not None:
        rows = [_scored(row, truth, objects[row.arm], curves[row.arm], mask, coverage, settings) for row in rows]
    return Comparison(
        rows=_judged(rows),
        objects=objects,
        gauges={arm: gauge for arm, (_, gauge) in aligned.items()},
        curves=curves,
        residuals={arm: radial_mean(found, trusted) for arm, found in maps.items()},
        truth=truth,
        reference=reference,
        coverage=coverage,
        mask=mask,
        window=scan.window,
        n_frames=len(scan),
        photons_per_frame=float(scan.photons.totals.mean()),
        data_sha256=digest,
        exposure_ratio=None if heldout is None else exposure_ratio,
        settings=settings,
        origins={made.arm: {"ledger": asdict(made.ledger), "settings": made.settings} for made in reconstructions},
    )


def _check(scan: Scan, digest: str, reconstructions: Sequence[Reconstruction], settings: CompareSettings) -> None:
    if not reconstructions:
        raise DataError("compare: expected at least one reconstruction, got none")
    names = [made.arm for made in reconstructions]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"compare: expected one reconstruction for each arm, got several named {twice[0]!r}; rename one"
        )
    for made in reconstructions:
        if made.object.shape != scan.canvas:
            raise DataError(
                f"{made.arm}: expected an object on the scan's {scan.canvas[0]} x {scan.canvas[1]} canvas, got"
                f" {made.object.shape[0]} x {made.object.shape[1]}; was it made from another scan?"
            )
        if made.data_digest not in {"", digest}:
            raise DataError(
                f"{made.arm}: expected a reconstruction of this scan (sha256 {digest[:12]}), got one of other data"
                f" ({made.data_digest[:12]}); reconstruct this scan, or compare with the scan it was made from"
            )
    if unknown := sorted(set(settings.registered_arms or ()) - set(names)):
        raise SettingsError(
            f"registered_arms: expected some of the arms {', '.join(names)}, got {unknown[0]!r}; correct the name"
        )


def _target(
    scan: Scan,
    reconstructions: Sequence[Reconstruction],
    coverage: np.ndarray,
    deviances: Mapping[str, float],
    settings: CompareSettings,
) -> tuple[np.ndarray, str]:
    """What gauges are fitted to, and its name: the truth, or else the arm that predicts held-out counts best.

    The truth keeps its ramp when an arm keeps its own, or that arm would be charged for the ramp it got right. (The
    flat arm has none to keep.)
    """
    if scan.truth is not None:
        freed = all(made.arm == FLAT_ARM or settings.registers(made.arm) for made in reconstructions)
        return own_gauge(scan.truth, coverage)[0] if settings.registration and freed else scan.truth, "truth"
    candidates = [made for made in reconstructions if made.arm != FLAT_ARM] or list(reconstructions)
    chosen = min(candidates, key=lambda made: deviances.get(made.arm, 0.0))
    return own_gauge(chosen.object, coverage)[0], chosen.arm


def _row(made: Reconstruction, deviance: float | None) -> Row:
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
        deviance_heldout=_finite(deviance),
        train_seconds=ledger.train_seconds,
        infer_seconds_per_frame=_per_frame(ledger.infer_seconds, frames),
    )


def _per_frame(value: float | None, frames: int | None) -> float | None:
    return float(value / frames) if frames and value is not None else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _scored(
    row: Row,
    truth: np.ndarray,
    image: np.ndarray,
    curve: RingCorrelation,
    mask: np.ndarray,
    coverage: np.ndarray,
    settings: CompareSettings,
) -> Row:
    """A row with the numbers that need a truth."""
    found = asdict(score(truth, image, mask, coverage, settings.ms_ssim_sigma))
    finite: dict[str, Any] = {name: _finite(value) for name, value in found.items()}
    half = curve.crossing(0.5)
    return replace(
        row,
        **finite,
        frc_half_nyquist=half.nyquist,
        frc_half_state=half.state,
        frc_seventh_nyquist=curve.crossing(1 / 7).nyquist,
        frc_half_bit_nyquist=curve.crossing(curve.half_bit).nyquist,
    )


def _judged(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows whose arm does no better than the flat arm, where there is one, get the status `collapsed`."""
    flat = next((row for row in rows if row.arm == FLAT_ARM), None)
    if flat is None:
        return tuple(rows)
    return tuple(replace(row, status="collapsed") if row is not flat and _no_better(row, flat) else row for row in rows)


def _no_better(row: Row, flat: Row) -> bool:
    """No score that both have is better than the flat arm's; skill against truth first, held-out counts without it."""
    pairs = [(row.phase_ssim, flat.phase_ssim), (row.complex_correlation, flat.complex_correlation)]
    gains = [mine - theirs for mine, theirs in pairs if mine is not None and theirs is not None]
    if gains:
        return all(gain <= _SKILL_MARGIN for gain in gains)
    if row.deviance_heldout is None or flat.deviance_heldout is None:
        return False
    return row.deviance_heldout >= flat.deviance_heldout
