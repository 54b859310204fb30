"""Complex transmission functions: amplitude in [amplitude_min, 1], phase in [0, phase_range].

Each family draws a thickness map in [0, 1]; two independent maps mix so that amplitude and phase are related, as in
real specimens, but not copies of each other.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from foldlight.core.errors import SettingsError

__all__ = ["FAMILIES", "dead_leaves", "lines", "make_object", "siemens_star"]

_SOFT_PX = 0.7  # optics never shows an edge sharper than a pixel; this keeps objects band-limited enough


def lines(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(y, x) map of crossing strokes of random width, angle and weight."""
    rows, columns = np.indices(shape, dtype=np.float64)
    thickness = np.zeros(shape)
    for _ in range(int(0.12 * np.sqrt(shape[0] * shape[1])) + 6):
        angle = rng.uniform(0, np.pi)
        centre = rng.uniform(0, 1, 2) * shape
        distance = (rows - centre[0]) * np.cos(angle) + (columns - centre[1]) * np.sin(angle)
        half_width = rng.uniform(1.0, 4.0)
        thickness += rng.uniform(0.3, 1.0) * (np.abs(distance) < half_width)
    return _unit(thickness)


def dead_leaves(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(y, x) map of occluding discs with radii drawn from r^-3: edges at every scale, as natural images have.

    Source: Lee, Mumford & Huang, Int. J. Comput. Vision 41 (2001) 35.
    """
    smallest, largest = 2.0, min(shape) / 6
    rows, columns = np.indices(shape, dtype=np.float64)
    thickness = np.full(shape, 0.5)
    for _ in range(int(6 * shape[0] * shape[1] / largest**2) * 8):
        share = rng.uniform()
        radius = (smallest**-2 + share * (largest**-2 - smallest**-2)) ** -0.5
        centre = rng.uniform(-radius, np.array(shape) + radius)
        box = tuple(slice(max(0, int(middle - radius)), max(0, int(middle + radius) + 2)) for middle in centre)
        inside = (rows[box] - centre[0]) ** 2 + (columns[box] - centre[1]) ** 2 < radius**2
        thickness[box][inside] = rng.uniform()
    return _unit(thickness)


def siemens_star(shape: tuple[int, int], rng: np.random.Generator, spokes: int = 18) -> np.ndarray:
    """(y, x) map of a spoke target with a broken ring; the generator turns it by a random angle."""
    rows, columns = np.indices(shape, dtype=np.float64) - (np.array(shape)[:, None, None] - 1) / 2
    radius, angle = np.hypot(rows, columns), np.arctan2(rows, columns) + rng.uniform(0, 2 * np.pi)
    outer = 0.46 * min(shape)
    wedge = np.cos(spokes * angle) > 0
    ring = np.abs(radius - 0.55 * outer) < 0.03 * outer
    star = wedge & (radius < outer) & (radius > 0.04 * outer) & ~ring
    return _unit(star.astype(np.float64))


FAMILIES = {"lines": lines, "dead-leaves": dead_leaves, "siemens-star": siemens_star}


def make_object(
    kind: str,
    shape: tuple[int, int],
    rng: np.random.Generator,
    amplitude_min: float = 0.5,
    phase_range_rad: float = 1.2,
) -> np.ndarray:
    """(y, x) complex64 transmission of one family.

    Raises:
        SettingsError: the family is unknown.
    """
    if kind not in FAMILIES:
        raise SettingsError(f"object: expected one of {', '.join(FAMILIES)}, got {kind!r}")
    phase_map = FAMILIES[kind](shape, rng)
    absorption_map = 0.7 * phase_map + 0.3 * _unit(gaussian_filter(rng.standard_normal(shape), min(shape) / 24))
    amplitude = 1 - (1 - amplitude_min) * absorption_map
    return (amplitude * np.exp(1j * phase_range_rad * phase_map)).astype(np.complex64)


def _unit(thickness: np.ndarray) -> np.ndarray:
    """The map softened by the width of an optical edge and stretched to [0, 1]."""
    soft = gaussian_filter(thickness, _SOFT_PX)
    span = float(np.ptp(soft))
    return (soft - soft.min()) / span if span > 0 else np.zeros_like(soft)
