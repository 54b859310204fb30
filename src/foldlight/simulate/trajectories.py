"""Scan positions: (n, 2) float64 (y, x) inside a box [px]."""

import numpy as np

__all__ = ["fermat_spiral", "jittered_raster", "uniform_random"]

Box = tuple[tuple[float, float], tuple[float, float]]
"""((y_low, x_low), (y_high, x_high)) [px]."""


def jittered_raster(n: int, box: Box, rng: np.random.Generator, jitter: float = 0.25) -> np.ndarray:
    """A grid of about `n` points that fills the box, each moved by up to `jitter` of the step.

    The jitter breaks the raster-grid pathology. Source: Thibault et al., Ultramicroscopy 109 (2009) 338.
    """
    low, high = np.array(box[0]), np.array(box[1])
    height, width = np.maximum(high - low, 1e-9)
    rows = max(1, round(np.sqrt(n * height / width)))
    columns = max(1, round(n / rows))
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2)
    unit = (grid + 0.5 + rng.uniform(-jitter, jitter, grid.shape)) / (rows, columns)
    return low + unit * (high - low)


def fermat_spiral(n: int, box: Box, rng: np.random.Generator) -> np.ndarray:
    """`n` points of even density on a golden-angle spiral, stretched to the ellipse in the box; random first angle.

    Source: Huang et al., Opt. Express 22 (2014) 12634.
    """
    low, high = np.array(box[0]), np.array(box[1])
    order = np.arange(n) + 0.5
    angle = order * np.pi * (3 - np.sqrt(5)) + rng.uniform(0, 2 * np.pi)
    unit = np.sqrt(order / n)[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return (low + high) / 2 + unit * (high - low) / 2


def uniform_random(n: int, box: Box, rng: np.random.Generator) -> np.ndarray:
    """`n` independent uniform points."""
    return rng.uniform(box[0], box[1], (n, 2))
