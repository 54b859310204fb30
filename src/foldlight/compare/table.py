"""Reconstructions of one scan, side by side: one row of numbers, one aligned image and one curve for each arm.

What each column means, and when a cell is empty, is written in `specs/compare_models.md`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from foldlight.compare.align import Gauge, align, own_gauge
from foldlight.compare.deviance import misfit
from foldlight.compare.frc import RingCorrelation, ring_correlation
from foldlight.compare.row import FLAT_ARM, CompareSettings, Row
from foldlight.compare.scoring import judged, known_of, row_of, scored
from foldlight.core.errors import DataError, SettingsError
from foldlight.core.shown import Shown
from foldlight.geometry import Geometry
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.optics.limit import DoseLimit
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.scan import Scan

__all__ = ["FLAT_ARM", "CompareSettings", "Comparison", "Row", "compare"]


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """What was found out about the reconstructions of one scan.

    Attributes:
        rows: one for each arm, in the order given.
        objects: (y, x) complex object of each arm, its gauge removed.
        gauges: what was removed.
        curves: Fourier ring correlation with the truth; empty without truth.
        residuals: (radius,) held-out deviance against detector radius [px]; empty without held-out counts.
        fitted_residuals: (radius,) the same of the fitted counts.
        frame_deviances: (frame,) deviance of the fitted counts of each frame, for each arm.
        heldout_frame_deviances: (frame,) the same of the held-out counts; empty without them.
        limit: what any method could reach with these counts; None without truth, or when not asked for.
        error_gauges: what was projected out of `object_rmse` of each arm, `known` or `blind` probe; empty without
            truth.
        positions_px: (frame, 2) where the frames were taken (y, x) [px].
        frame_index: (frame,) number of each frame in the scan it was first read from.
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
        geometry: the lengths behind the pixels, where they are known.
    """

    rows: tuple[Row, ...]
    objects: Mapping[str, np.ndarray]
    gauges: Mapping[str, Gauge]
    curves: Mapping[str, RingCorrelation]
    residuals: Mapping[str, np.ndarray]
    fitted_residuals: Mapping[str, np.ndarray]
    frame_deviances: Mapping[str, np.ndarray]
    heldout_frame_deviances: Mapping[str, np.ndarray]
    limit: DoseLimit | None
    error_gauges: Mapping[str, str]
    positions_px: np.ndarray
    frame_index: np.ndarray
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
    geometry: Geometry | None = None

    def __repr__(self) -> str:
        against = "truth" if self.truth is not None else f"no truth, shown as {self.reference}"
        held = "" if self.exposure_ratio is None else ", held-out counts"
        arms = ", ".join(row.arm for row in self.rows)
        return f"<Comparison of {arms}: {against}{held}, {self.n_frames:,} frames>"

    def labelled(self, **columns: Any) -> "Comparison":
        """The comparison with columns such as dose, view, split and seed filled in, in every row."""
        return replace(self, rows=tuple(replace(row, **columns) for row in self.rows))

    def plain(self) -> list[dict[str, Any]]:
        """The rows as JSON-ready values."""
        columns = Row.columns(self.settings.legacy)
        return [{column: getattr(row, column) for column in columns} for row in self.rows]

    def with_bias(self, fractions: Mapping[str, float]) -> "Comparison":
        """The comparison with the bias fraction of some arms filled in; see `compare.efficiency.bias_fraction`."""
        return replace(
            self, rows=tuple(replace(row, bias_fraction=fractions.get(row.arm, row.bias_fraction)) for row in self.rows)
        )


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
    fitted = {made.arm: misfit(made, scan) for made in reconstructions if _same_frames(made, scan)}
    unseen = {made.arm: misfit(made, heldout, exposure_ratio) for made in reconstructions if heldout is not None}
    deviances = {arm: found.mean for arm, found in unseen.items()}
    target, reference = _target(scan, reconstructions, coverage, deviances, settings)
    aligned = {made.arm: align(made.object, target, coverage, settings.registers(made.arm)) for made in reconstructions}
    objects = {arm: image for arm, (image, _) in aligned.items()}
    rows = [row_of(made, fitted.get(made.arm), unseen.get(made.arm)) for made in reconstructions]
    known = known_of(scan, target, coverage, mask, settings)
    curves = {} if known is None else {arm: ring_correlation(target, image, mask) for arm, image in objects.items()}
    if known is not None:
        rows = [
            scored(row, made, objects[made.arm], curves[made.arm], known)
            for row, made in zip(rows, reconstructions, strict=True)
        ]
    return Comparison(
        rows=judged(rows),
        objects=objects,
        gauges={arm: gauge for arm, (_, gauge) in aligned.items()},
        curves=curves,
        residuals={arm: found.rings for arm, found in unseen.items()},
        fitted_residuals={arm: found.rings for arm, found in fitted.items()},
        frame_deviances={arm: found.frames for arm, found in fitted.items()},
        heldout_frame_deviances={arm: found.frames for arm, found in unseen.items()},
        limit=None if known is None else known.limit,
        error_gauges={} if known is None else {made.arm: known.gauge(made) for made in reconstructions},
        positions_px=scan.positions_px,
        frame_index=scan.frame_index,
        truth=None if known is None else target,
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
        geometry=scan.geometry,
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
                f" ({made.data_digest[:12]}); compare with the scan and the probe (probe_from) it was made from"
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


def _same_frames(made: Reconstruction, scan: Scan) -> bool:
    """The arm has one position for each frame and a probe of their size, so that it expects something of them."""
    return len(made.positions_px) == len(scan) and made.probe.shape[1:] == scan.window
