"""A scan in square tiles, so that an object of any size is made from a part of the frames at a time.

A tile's *core* is its share of the object: cores cover the scanned area once. Its *frames* are those that look at the
core or, with a wider halo, near it; its *canvas* is the part of the object that these frames see. The object is made on
the canvas from the tile's frames alone, and its core is pasted or blended into the whole.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from foldlight.core.errors import SettingsError

__all__ = ["Box", "Tile", "frame_density", "tile_for", "tiles"]

_BYTES_PER_PIXEL = 48  # of a frame while its tile is made: photons 4, waves 8 and 8, what a transform holds, half spare
_BYTES_PER_OBJECT_PIXEL = 64  # of a tile's canvas: object, gradient, light, and what a network makes of them


class Box(NamedTuple):
    """A rectangle of whole pixels: rows `top` to `bottom`, columns `left` to `right`, the ends left out [px]."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def corner(self) -> tuple[int, int]:
        """(y, x) of the first pixel."""
        return self.top, self.left

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array of the whole object."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def within(self, other: "Box") -> tuple[slice, slice]:
        """Rows and columns of this box in an array of the other one's shape."""
        rows = slice(self.top - other.top, self.bottom - other.top)
        return rows, slice(self.left - other.left, self.right - other.left)


@dataclass(frozen=True)
class Tile:
    """A part of a scan.

    Attributes:
        frames: (k,) int64 ascending indexes of the frames to make it from.
        core: the object pixels that are this tile's, inside its canvas.
        canvas: the object pixels that its frames see. Subtract its corner from positions to work on it.
    """

    frames: np.ndarray
    core: Box
    canvas: Box

    def weight(self, feather_px: int = 0) -> np.ndarray:
        """(y, x) float32 on the tile's canvas: 1 in the core, falling to 0 linearly within the feather around it.

        Neighbours whose cores touch share the feather's pixels, so dividing by the sum of weights blends them.
        """
        rows, columns = (
            _ramp(start - low, stop - low, high - low, feather_px)
            for low, start, stop, high in zip(
                self.canvas.corner, self.core.corner, self.core[2:], self.canvas[2:], strict=True
            )
        )
        return np.outer(rows, columns)


def tiles(positions_px: np.ndarray, window: tuple[int, int], tile_px: int, halo_px: int | None = None) -> list[Tile]:
    """The tiles of a scan, in rows to and fro; every frame is in at least one of them.

    Tiles have the same size, `tile_px` or a little less. Those that no frame sees are left out. A frame is read about
    `((tile + 2 halo) / tile) ** 2` times, so make tiles several halos wide where memory allows it.

    Args:
        positions_px: (n, 2) (y, x) window centres [px].
        window: (height, width) of a frame [px].
        tile_px: greatest side of a core [px].
        halo_px: a tile takes the frames whose centre lies this far around its core [px]. Half the window, the default,
            takes every frame that sees a pixel of the core; less saves reads where the probe is narrow.

    Raises:
        SettingsError: no positions, a tile below 1 px or a halo below 0.

    Source: docs/physics.md, frames and units: window pixel k looks at object pixel `round(position) + k - N // 2`.
    """
    halo = max(window) // 2 if halo_px is None else halo_px
    if not len(positions_px) or tile_px < 1 or halo < 0:
        raise SettingsError(
            f"tiles: expected positions, tiles of 1 px or more and a halo of 0 or more, got {len(positions_px)}"
            f" positions, {tile_px} px and {halo} px"
        )
    centres = np.rint(positions_px).astype(np.int64)
    seen = _seen(centres, window)
    rows, columns = (_edges(low, high, tile_px) for low, high in zip(seen.corner, seen[2:], strict=True))
    by_row = np.argsort(centres[:, 0], kind="stable")
    sorted_rows = centres[by_row, 0]
    found: list[Tile] = []
    for number, (top, bottom) in enumerate(pairwise(rows)):
        first, last = np.searchsorted(sorted_rows, [top - halo, bottom + halo])
        band = np.sort(by_row[first:last])
        cores = [Box(top, left, bottom, right) for left, right in pairwise(columns)]
        made = (_tile(core, band, centres, window, halo) for core in (cores[::-1] if number % 2 else cores))
        found += [tile for tile in made if tile is not None]
    return found


def tile_for(
    memory_bytes: float,
    window: tuple[int, int],
    density: float,
    halo_px: int | None = None,
    bytes_per_pixel: float = _BYTES_PER_PIXEL,
) -> int:
    """The greatest tile whose frames and canvas fit into memory together [px].

    Args:
        memory_bytes: memory for one tile [byte].
        window: (height, width) of a frame [px].
        density: frames a square pixel, see `frame_density` [1/px^2].
        halo_px: as in `tiles` [px].
        bytes_per_pixel: held for each pixel of each of the tile's frames while it is made [byte]; far less for a
            method that takes its frames in batches.

    Raises:
        SettingsError: not even a tile of one window fits.
    """
    height, width = window
    halo = max(window) // 2 if halo_px is None else halo_px

    def need(tile: int) -> float:
        reach = tile + 2 * halo
        frames = density * reach**2 * height * width * bytes_per_pixel
        return frames + (reach + height) * (reach + width) * _BYTES_PER_OBJECT_PIXEL

    least = max(window)
    if need(least) > memory_bytes:
        raise SettingsError(
            f"tiles: expected {need(least) / 1e6:.0f} MB or more for one tile of {least} px at {density:.3g} frames a"
            f" square pixel, got {memory_bytes / 1e6:.0f} MB; free memory or give a narrower halo"
        )
    low, high = least, least + math.isqrt(int(memory_bytes / _BYTES_PER_OBJECT_PIXEL)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if need(middle) <= memory_bytes else (low, middle)
    return low


def frame_density(positions_px: np.ndarray) -> float:
    """Frames a square pixel of the rectangle around the positions, which counts at least 1 px a side [1/px^2]."""
    height, width = np.maximum(np.ptp(positions_px, axis=0), 1.0)
    return len(positions_px) / float(height * width)


def _tile(core: Box, band: np.ndarray, centres: np.ndarray, window: tuple[int, int], halo: int) -> Tile | None:
    """The tile of a core from the frames of its rows; None when none of them sees the core."""
    column = centres[band, 1]
    frames = band[(column >= core.left - halo) & (column < core.right + halo)]
    if not len(frames):
        return None
    canvas = _seen(centres[frames], window)
    top, left = (max(one, other) for one, other in zip(core.corner, canvas.corner, strict=True))
    bottom, right = (min(one, other) for one, other in zip(core[2:], canvas[2:], strict=True))
    if top >= bottom or left >= right:
        return None  # seen from the halo only; the pixels are dark
    return Tile(frames, Box(top, left, bottom, right), canvas)


def _seen(centres: np.ndarray, window: tuple[int, int]) -> Box:
    """The smallest box around the windows of these whole-pixel centres."""
    size = np.array(window)
    top, left = (centres.min(axis=0) - size // 2).tolist()
    bottom, right = (centres.max(axis=0) - size // 2 + size).tolist()
    return Box(top, left, bottom, right)


def _edges(low: int, high: int, tile_px: int) -> list[int]:
    """Borders of the fewest parts of at most `tile_px`, of equal length but for rounding."""
    parts = -(-(high - low) // tile_px)
    return np.rint(np.linspace(low, high, parts + 1)).astype(int).tolist()


def _ramp(start: int, stop: int, length: int, feather: int) -> np.ndarray:
    """(length,) float32: 1 from start to stop, down to 0 within `feather` pixels on either side."""
    place = np.arange(length)
    outside = np.maximum(np.maximum(start - place, place - (stop - 1)), 0)
    return np.clip(1 - outside / (feather + 1), 0, 1).astype(np.float32)
