"""Complex transmission functions: amplitude in [amplitude_min, 1], phase in [0, phase_range].

Each family draws a thickness map in [0, 1]; two independent maps mix so that amplitude and phase are related, as in
real specimens, but not copies of each other.
"""

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree

from foldlight.core.errors import SettingsError

__all__ = [
    "FAMILIES",
    "dead_leaves",
    "grains",
    "lines",
    "make_object",
    "siemens_star",
    "speckle",
    "spheres",
    "thickness_map",
]

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
    rows, columns = np.arange(shape[0], dtype=np.float64)[:, None], np.arange(shape[1], dtype=np.float64)
    draws = rng.random((int(6 * shape[0] * shape[1] / largest**2) * 8, 4))
    span = smallest**-2 - largest**-2
    radii = np.array([(smallest**-2 - share * span) ** -0.5 for share in draws[:, 0].tolist()])
    ys, xs = ((side + 2 * radii) * share - radii for side, share in zip(shape, draws[:, 1:3].T, strict=True))
    boxes = [np.maximum(0, (middle + move).astype(int)).tolist() for middle in (ys, xs) for move in (-radii, radii + 2)]
    thickness = np.full(shape, 0.5)
    discs = zip(*boxes, ys.tolist(), xs.tolist(), (radii**2).tolist(), draws[:, 3].tolist(), strict=True)
    for top, bottom, left, right, y, x, squared, value in discs:
        inside = (rows[top:bottom] - y) ** 2 + (columns[left:right] - x) ** 2 < squared
        thickness[top:bottom, left:right][inside] = value
    return _unit(thickness)


def siemens_star(
    shape: tuple[int, int],
    rng: np.random.Generator,
    spokes: int = 18,
    centre: tuple[float, float] = (0.0, 0.0),
    radius: float = 0.46,
) -> np.ndarray:
    """(y, x) map of a spoke target with a broken ring; the generator turns it by a random angle.

    Args:
        shape: (height, width) [px].
        rng: draws the angle.
        spokes: how many.
        centre: (y, x) of the target from the middle of the map, in fractions of the shape.
        radius: of the target, in fractions of the shape's smaller side.
    """
    middle = (np.array(shape) - 1) / 2 + np.array(shape) * centre
    rows, columns = np.indices(shape, dtype=np.float64) - middle[:, None, None]
    distance, angle = np.hypot(rows, columns), np.arctan2(rows, columns) + rng.uniform(0, 2 * np.pi)
    outer = radius * min(shape)
    wedge = np.cos(spokes * angle) > 0
    ring = np.abs(distance - 0.55 * outer) < 0.03 * outer
    star = wedge & (distance < outer) & (distance > 0.04 * outer) & ~ring
    return _unit(star.astype(np.float64))


def grains(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(y, x) map of a polycrystal: Voronoi cells of random height, each tilted as its lattice is, with thin boundaries.

    Source: Okabe et al., Spatial Tessellations (2000), ch. 5 (Poisson-Voronoi cells).
    """
    side = rng.uniform(8.0, 24.0)
    seeds = rng.uniform(
        -side, np.array(shape) + side, (int((shape[0] + 2 * side) * (shape[1] + 2 * side) / side**2), 2)
    )
    points = np.indices(shape, dtype=np.float64).reshape(2, -1).T
    distance, nearest = KDTree(seeds).query(points, k=2)
    cell = nearest[:, 0]
    tilt = rng.normal(0, 0.4 / side, (len(seeds), 2))
    height = rng.uniform(0.2, 1.0, len(seeds))[cell] + np.sum((points - seeds[cell]) * tilt[cell], axis=1)
    return _unit((height * (distance[:, 1] - distance[:, 0] > 1.0)).reshape(shape))


def spheres(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(y, x) map of overlapping spheres seen through: the sum of the chords `2 sqrt(R^2 - r^2)`."""
    largest = min(shape) / 8
    wanted = rng.uniform(0.4, 1.6) * shape[0] * shape[1]  # area of all discs together
    rows, columns = np.arange(shape[0], dtype=np.float64)[:, None], np.arange(shape[1], dtype=np.float64)
    thickness = np.zeros(shape)
    while wanted > 0:
        radius = float(rng.uniform(0.2, 1.0)) * largest
        y, x = (rng.uniform(-radius, np.array(shape) + radius)).tolist()
        box = tuple(slice(max(0, int(middle - radius)), max(0, int(middle + radius) + 2)) for middle in (y, x))
        chord = radius**2 - (rows[box[0]] - y) ** 2 - (columns[box[1]] - x) ** 2
        thickness[box] += 2 * np.sqrt(np.maximum(chord, 0))
        wanted -= np.pi * radius**2
    return _unit(thickness)


def speckle(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(y, x) map of a Gaussian random field with the power spectrum `q^-2b`, b between 1 and 2: porous, cloudy.

    Source: Peitgen & Saupe, The Science of Fractal Images (1988), ch. 2 (spectral synthesis).
    """
    slope = rng.uniform(1.0, 2.0)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    gain = np.maximum(frequency, 2.0 / max(shape)) ** -slope
    return _unit(np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * gain, s=shape))


FAMILIES = {
    "lines": lines,
    "dead-leaves": dead_leaves,
    "siemens-star": siemens_star,
    "grains": grains,
    "spheres": spheres,
    "speckle": speckle,
}


def thickness_map(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(y, x) float64 map in [0, 1] of one family.

    Raises:
        SettingsError: the family is unknown.
    """
    if kind not in FAMILIES:
        raise SettingsError(f"object: expected one of {', '.join(FAMILIES)}, got {kind!r}")
    return FAMILIES[kind](shape, rng)


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
    phase_map = thickness_map(kind, shape, rng)
    absorption_map = 0.7 * phase_map + 0.3 * _unit(gaussian_filter(rng.standard_normal(shape), min(shape) / 24))
    amplitude = 1 - (1 - amplitude_min) * absorption_map
    return (amplitude * np.exp(1j * phase_range_rad * phase_map)).astype(np.complex64)


def _unit(thickness: np.ndarray) -> np.ndarray:
    """The map softened by the width of an optical edge and stretched to [0, 1]."""
    soft = gaussian_filter(thickness, _SOFT_PX)
    span = float(np.ptp(soft))
    return (soft - soft.min()) / span if span > 0 else np.zeros_like(soft)
