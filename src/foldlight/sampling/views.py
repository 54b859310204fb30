"""Views: which frames of a scan are kept, and how densely the kept ones overlap.

Nothing is refused for its geometry: frames are picked, then what came out is measured. Definitions, edge cases and a
worked example are in `specs/overlap_metrics.md`.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from foldlight.core.errors import SettingsError
from foldlight.sampling.overlap import (
    disc_overlap,
    linear_overlap,
    nearest_spacing_px,
    overlap_between,
    overlap_with_nearest,
    overlap_within,
)

__all__ = [
    "METRICS_VERSION",
    "Acceptance",
    "OverlapMetrics",
    "acceptance",
    "keep_apart",
    "keep_fraction",
    "overlap_metrics",
]

METRICS_VERSION = "1.0"
"""Of the definitions in `specs/overlap_metrics.md`; numbers of two versions are not to be compared."""

_ROUNDING = 1e-9  # relative; `(1 - 0.7) * 20` is a bit more than 6, and must not reject a raster of step 6


def keep_apart(positions_px: np.ndarray, spacing_px: float, rng: np.random.Generator) -> np.ndarray:
    """Frames at least `spacing_px` from each other, picked greedily in random order.

    Frames are visited in the order of `rng.permutation(n)`; one is kept when it lies at least the spacing (less one
    part in 10^9, for rounding) from every kept one. So each frame left out has a kept one nearer than the spacing.

    Args:
        positions_px: (n, 2) (y, x) [px]; several may coincide.
        spacing_px: the threshold S; 0 keeps all [px].
        rng: gives the order.

    Returns:
        Ascending int64 indexes of the kept frames.
    """
    n = len(positions_px)
    if spacing_px <= 0 or n == 0:
        return np.arange(n, dtype=np.int64)
    tree = KDTree(positions_px)
    free = np.ones(n, dtype=bool)
    kept = np.zeros(n, dtype=bool)
    for index in rng.permutation(n):
        if free[index]:  # each kept frame closes its surroundings, itself included
            kept[index] = True
            free[tree.query_ball_point(positions_px[index], spacing_px * (1 - _ROUNDING))] = False
    return np.flatnonzero(kept)


def keep_fraction(n: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Ascending int64 indexes of a random `fraction` of n frames, at least one; smaller fractions are subsets.

    Raises:
        SettingsError: no frames, or a fraction outside (0, 1].
    """
    if n < 1 or not 0 < fraction <= 1:
        raise SettingsError(
            f"fraction of frames: expected 0 < fraction <= 1 of 1 or more frames, got {fraction} of {n}"
        )
    return np.sort(rng.permutation(n)[: max(1, round(n * fraction))])


@dataclass(frozen=True)
class OverlapMetrics:
    """How much probes overlap inside groups, between positions, and between groups; JSON-ready.

    Attributes:
        metric_1_group_based_avg: mean disc overlap of each member with its group mates; None without groups.
        metric_2_image_based_avg: mean disc overlap of each unique position with its K nearest; None if there is one.
        metric_3_group_to_group_avg: mean disc overlap of each group's centre with the other centres nearer than D.
        probe_diameter_px: D of the discs [px].
        neighbor_count: K.
        n_unique_positions: positions that differ.
        n_groups: groups; frames, where each frame is its own group.
        metrics_version: of the definitions.
    """

    metric_1_group_based_avg: float | None
    metric_2_image_based_avg: float | None
    metric_3_group_to_group_avg: float
    probe_diameter_px: float
    neighbor_count: int
    n_unique_positions: int
    n_groups: int
    metrics_version: str = METRICS_VERSION

    def plain(self) -> dict[str, Any]:
        """The record as JSON-ready values."""
        return asdict(self)


def overlap_metrics(
    positions_px: np.ndarray, diameter_px: float, groups: np.ndarray | None, neighbours: int
) -> OverlapMetrics:
    """The three overlap metrics of frames and of their groups.

    Args:
        positions_px: (n, 2) (y, x) [px].
        diameter_px: D of the probe's disc [px].
        groups: (G, C) indexes of frames; None, or C = 1, makes each row a group of one frame.
        neighbours: K, how many nearest positions metric 2 looks at; fewer where there are fewer.

    Raises:
        SettingsError: no positions, no groups, or D or K not positive.

    Source: specs/overlap_metrics.md.
    """
    members = np.arange(len(positions_px))[:, None] if groups is None else groups
    if not members.size or diameter_px <= 0 or neighbours < 1:
        raise SettingsError(
            "overlap metrics: expected groups of frames, a diameter > 0 px and K >= 1 neighbours, got groups of shape"
            f" {members.shape}, {diameter_px:g} px and K = {neighbours}"
        )
    unique = np.unique(positions_px, axis=0)
    return OverlapMetrics(
        metric_1_group_based_avg=overlap_within(positions_px, members, diameter_px),
        metric_2_image_based_avg=overlap_with_nearest(unique, neighbours, diameter_px),
        metric_3_group_to_group_avg=overlap_between(positions_px[members].mean(axis=1), diameter_px),
        probe_diameter_px=float(diameter_px),
        neighbor_count=neighbours,
        n_unique_positions=len(unique),
        n_groups=len(members),
    )


@dataclass(frozen=True)
class Acceptance:
    """What a selection of frames took and how dense it came out; JSON-ready.

    Attributes:
        selection_strategy: how frames were picked, in a word.
        spacing_threshold_px: the threshold S they had to keep; None where there was none [px].
        n_total: frames there were.
        n_accepted: frames kept.
        n_rejected: frames left out.
        acceptance_rate: kept of all, 0 to 1.
        min_spacing_px: smallest distance of a kept frame to its nearest kept one; None below two frames [px].
        mean_spacing_px: mean of these distances [px].
        median_spacing_px: median of these distances [px].
        linear_overlap_reached: mean over kept frames of the linear overlap with the nearest kept one.
        area_overlap_reached: the same of the disc overlap.
    """

    selection_strategy: str
    spacing_threshold_px: float | None
    n_total: int
    n_accepted: int
    n_rejected: int
    acceptance_rate: float
    min_spacing_px: float | None = None
    mean_spacing_px: float | None = None
    median_spacing_px: float | None = None
    linear_overlap_reached: float | None = None
    area_overlap_reached: float | None = None

    def plain(self) -> dict[str, Any]:
        """The record as JSON-ready values."""
        return asdict(self)


def acceptance(
    positions_px: np.ndarray, kept: np.ndarray, spacing_px: float | None, diameter_px: float, strategy: str
) -> Acceptance:
    """The record of a selection.

    Args:
        positions_px: (n, 2) (y, x) of all frames [px].
        kept: indexes of the frames that were kept.
        spacing_px: the threshold they had to keep; None where there was none [px].
        diameter_px: D of the probe's disc [px].
        strategy: how they were picked, for instance `greedy-seeded-spacing`, `seeded-fraction` or `all`.
    """
    n, accepted = len(positions_px), len(kept)
    measured: dict[str, float] = {}
    if accepted >= 2:
        spacing = nearest_spacing_px(positions_px[kept])
        measured = {
            "min_spacing_px": float(spacing.min()),
            "mean_spacing_px": float(spacing.mean()),
            "median_spacing_px": float(np.median(spacing)),
            "linear_overlap_reached": float(linear_overlap(spacing, diameter_px).mean()),
            "area_overlap_reached": float(disc_overlap(spacing, diameter_px).mean()),
        }
    return Acceptance(
        selection_strategy=strategy,
        spacing_threshold_px=None if spacing_px is None else float(spacing_px),
        n_total=n,
        n_accepted=accepted,
        n_rejected=n - accepted,
        acceptance_rate=accepted / n if n else 0.0,
        **measured,
    )
