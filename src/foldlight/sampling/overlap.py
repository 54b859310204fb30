"""Probe size and how much neighbouring probes overlap.

Source: docs/physics.md, overlap; the averages: specs/overlap_metrics.md.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from scipy.spatial import KDTree

__all__ = [
    "disc_overlap",
    "linear_overlap",
    "nearest_spacing_px",
    "overlap_between",
    "overlap_with_nearest",
    "overlap_within",
    "probe_diameters_px",
]

_BLOCK_PAIRS = 2**21  # pairs of neighbours at a time, some 50 MB


def probe_diameters_px(probe: np.ndarray) -> dict[str, float]:
    """Diameter of a probe by four definitions [px]; a uniform disc gives nearly its own diameter by each.

    - `participation`: `2 sqrt((sum |P|^2)^2 / (pi sum |P|^4))`, the default everywhere;
    - `half_maximum`: of the disc with the area where the intensity exceeds half its maximum;
    - `second_moment`: `2 sqrt(2) r_rms`;
    - `energy_99`: of the centred disc that holds 99 % of the photons.

    Args:
        probe: (mode, y, x) complex; modes add as intensities.
    """
    intensity = np.sum(np.abs(probe.astype(np.complex128)) ** 2, axis=0)
    total = intensity.sum()
    axes = np.indices(intensity.shape)
    centre = [float((axis * intensity).sum() / total) for axis in axes]
    radius_squared = sum((axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True))
    order = np.argsort(radius_squared, axis=None)
    held = np.searchsorted(np.cumsum(intensity.ravel()[order]), 0.99 * total)
    last = order[min(int(held), order.size - 1)]
    return {
        "participation": float(2 * np.sqrt(total**2 / (np.pi * (intensity**2).sum()))),
        "half_maximum": float(2 * np.sqrt((intensity > intensity.max() / 2).sum() / np.pi)),
        "second_moment": float(2 * np.sqrt(2 * (radius_squared * intensity).sum() / total)),
        "energy_99": float(2 * np.sqrt(radius_squared.ravel()[last])),
    }


def disc_overlap(distance_px: np.ndarray | float, diameter_px: float) -> np.ndarray:
    """Shared fraction of the area of two discs: 1 at distance 0, 0.391 at a radius, 0 from a diameter on."""
    ratio = np.clip(np.asarray(distance_px, dtype=np.float64) / diameter_px, 0, 1)
    return np.asarray((2 / np.pi) * (np.arccos(ratio) - ratio * np.sqrt(1 - ratio**2)))


def linear_overlap(distance_px: np.ndarray | float, diameter_px: float) -> np.ndarray:
    """`1 - d / D`, not below 0: the field's other overlap number."""
    return np.asarray(np.clip(1 - np.asarray(distance_px, dtype=np.float64) / diameter_px, 0, None))


def nearest_spacing_px(positions_px: np.ndarray) -> np.ndarray:
    """(n,) distance of each position to its nearest other one [px]; infinite for a single position."""
    distance, _ = KDTree(positions_px).query(positions_px, k=2)
    return np.asarray(distance[:, 1], dtype=np.float64)


def overlap_within(positions_px: np.ndarray, groups: np.ndarray, diameter_px: float) -> float | None:
    """Mean disc overlap of each member of each group with its mates; None when groups have one member.

    Each member has C - 1 mates, so the mean over members of the mean over mates is the mean over pairs.

    Args:
        positions_px: (n, 2) (y, x) [px].
        groups: (G, C) indexes of positions.
        diameter_px: D of the discs [px].
    """
    pairs = list(combinations(range(groups.shape[1]), 2))
    if not pairs:
        return None
    total = 0.0
    for one, other in pairs:
        apart = positions_px[groups[:, one]] - positions_px[groups[:, other]]
        total += float(disc_overlap(np.hypot(*apart.T), diameter_px).mean())
    return total / len(pairs)


def overlap_with_nearest(positions_px: np.ndarray, neighbours: int, diameter_px: float) -> float | None:
    """Mean disc overlap of each position with its `neighbours` nearest others; None for a single position.

    Args:
        positions_px: (n, 2) (y, x), no two alike [px].
        neighbours: K, or all others where there are fewer.
        diameter_px: D of the discs [px].
    """
    nearest = min(neighbours, len(positions_px) - 1)
    if nearest < 1:
        return None
    tree = KDTree(positions_px)
    total = 0.0
    for block in _blocks(len(positions_px), nearest + 1):
        distance, _ = tree.query(positions_px[block], k=nearest + 1)  # the first is the position itself
        total += float(disc_overlap(distance[:, 1:], diameter_px).sum())
    return total / (len(positions_px) * nearest)


def overlap_between(positions_px: np.ndarray, diameter_px: float) -> float:
    """Mean over positions of the mean disc overlap with the others nearer than D; 0 for one that has none.

    Args:
        positions_px: (n, 2) (y, x), for instance centres of groups; several may coincide [px].
        diameter_px: D of the discs [px].
    """
    tree = KDTree(positions_px)
    total = 0.0
    for block in _blocks(len(positions_px), len(positions_px)):
        pairs = KDTree(positions_px[block]).sparse_distance_matrix(tree, diameter_px, output_type="ndarray")
        others = pairs[(pairs["i"] + block.start != pairs["j"]) & (pairs["v"] < diameter_px)]
        count = np.bincount(others["i"])
        overlap = np.bincount(others["i"], weights=disc_overlap(others["v"], diameter_px))
        total += float((overlap / np.maximum(count, 1)).sum())
    return total / len(positions_px)


def _blocks(n: int, pairs_each: int) -> Iterator[slice]:
    """Slices of n rows that make at most `_BLOCK_PAIRS` pairs each, or one row."""
    step = max(1, _BLOCK_PAIRS // pairs_each)
    return (slice(start, start + step) for start in range(0, n, step))
