"""Probe size and how much neighbouring probes overlap.

Source: docs/physics.md, overlap.
"""

import numpy as np
from scipy.spatial import KDTree

__all__ = ["disc_overlap", "linear_overlap", "nearest_spacing_px", "probe_diameters_px"]


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
