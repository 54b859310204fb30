"""Groups and regions of neighbouring frames, as index arrays: frames are never copied.

A *group* is a frame and a few frames drawn from its nearest ones, so that they must agree about the object they share.
A *region* is a compact patch of the scan of a fixed number of frames, which are looked at together on one canvas.
"""

import numpy as np
from scipy.spatial import cKDTree

from foldlight.core.errors import SettingsError

__all__ = ["draw_groups", "nearest_frames", "neighbour_groups", "neighbour_regions"]

_CELL_FRAMES = 64  # in a cell of the order in which frames are looked up: a few cache lines
_SPARE = 0.15  # regions above the fewest that hold all frames: the room in which their borders move
_SQUARE = 1.25  # extents within this ratio count as equal, and chance decides which of them is cut


def neighbour_groups(
    positions_px: np.ndarray, group_size: int, neighbours: int, rng: np.random.Generator
) -> np.ndarray:
    """One group a frame: the frame itself and `group_size - 1` others drawn from its nearest neighbours.

    Every frame appears in at least one group, so a pass over the groups is a pass over the frames. For many draws from
    one scan, look the neighbours up once: `draw_groups(nearest_frames(...), ...)`, of which this is the sum.

    Args:
        positions_px: (n, 2) (y, x) [px].
        group_size: C, frames that must agree; 1 means none.
        neighbours: K, how many nearest frames (itself not counted) the others are drawn from; fewer when the scan is
            smaller.
        rng: draws the members.

    Returns:
        (n, C) int64 indexes of frames, the frame itself first.

    Raises:
        SettingsError: fewer than C frames, or K < C - 1.
    """
    n = len(positions_px)
    if n < group_size:
        raise SettingsError(f"groups: expected at least C = {group_size} frames, got {n}; use gridsize 1")
    if neighbours < group_size - 1:
        raise SettingsError(f"groups: expected K >= C - 1 = {group_size - 1} neighbours, got K = {neighbours}")
    if group_size == 1:
        return np.arange(n, dtype=np.int64)[:, None]
    return draw_groups(nearest_frames(positions_px, neighbours), group_size, rng)


def nearest_frames(positions_px: np.ndarray, neighbours: int) -> np.ndarray:
    """The nearest other frames of every frame.

    Args:
        positions_px: (n, 2) (y, x) [px].
        neighbours: K, how many; fewer when the scan is smaller.

    Returns:
        (n, K) int64 indexes of frames, nearest first; a frame is never its own neighbour, even where positions repeat.
    """
    n = len(positions_px)
    nearest = min(neighbours, n - 1)
    if nearest < 1:
        return np.empty((n, 0), dtype=np.int64)
    # Asked in an order in which successive frames lie together, a million positions take a third of the time.
    order = _by_cell(positions_px)
    ordered = positions_px[order]
    _, found = _tree(ordered).query(ordered, k=nearest + 1)
    is_self = found == np.arange(n)[:, None]
    # Duplicate positions can push a frame out of its own list; then the farthest entry makes room for it.
    is_self[~is_self.any(axis=1), -1] = True
    others = np.empty((n, nearest), dtype=np.int64)
    others[order] = order[found[~is_self].reshape(n, nearest)]
    return others


def draw_groups(nearest: np.ndarray, group_size: int, rng: np.random.Generator) -> np.ndarray:
    """One group a frame, drawn without replacement from its nearest frames.

    Args:
        nearest: (n, K) indexes of the frames to draw from, see `nearest_frames`.
        group_size: C, frames in a group.
        rng: draws the members.

    Returns:
        (n, C) int64 indexes of frames, the frame itself first.

    Raises:
        SettingsError: K < C - 1.

    Source: Fisher and Yates' shuffle, stopped after C - 1 cards.
    """
    n, cards = nearest.shape
    if cards < group_size - 1:
        raise SettingsError(f"groups: expected K >= C - 1 = {group_size - 1} neighbours, got K = {cards}")
    deck = nearest.astype(np.int64)
    groups = np.empty((n, group_size), dtype=np.int64)
    groups[:, 0] = frame = np.arange(n)
    for dealt in range(group_size - 1):
        drawn = rng.integers(dealt, cards, n)
        groups[:, dealt + 1] = deck[frame, drawn]
        deck[frame, drawn] = deck[:, dealt]
    return groups


def neighbour_regions(positions_px: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Compact regions of exactly `size` frames that cover the scan, in random order; others at each call.

    The scan is halved along its longer side again and again, at cuts that `rng` moves, until a part has no more than
    `size` frames; the frames nearest to its centre fill it up. So a frame is in one region as a rule and in a few at
    times, and regions are about as wide as high.

    Args:
        positions_px: (n, 2) (y, x) [px].
        size: frames of a region.
        rng: moves the borders of the regions and shuffles them.

    Returns:
        (regions, size) int64 indexes of distinct frames, ascending in each region; every frame is in at least one.
        There are `1.15 n / size` regions, rounded, or as few as hold all frames where that is more.

    Raises:
        SettingsError: `size` is below 1, or there are fewer frames.
    """
    n = len(positions_px)
    if not 1 <= size <= n:
        raise SettingsError(f"regions: expected 1 to {n} frames a region, as many as there are, got {size}")
    fewest = -(-n // size)
    number = min(n, max(fewest, round((1 + _SPARE) * n / size))) if fewest > 1 else 1
    parts = _parts(positions_px, number, size, rng)
    lengths = np.array([len(part) for part in parts])
    own = np.concatenate(parts)
    starts = np.concatenate([[0], lengths.cumsum()[:-1]])
    region_of = np.empty(n, dtype=np.int64)
    region_of[own] = np.arange(number).repeat(lengths)
    centres = np.add.reduceat(positions_px[own], starts, axis=0) / lengths[:, None]
    _, near = _tree(positions_px).query(centres, k=np.arange(1, size + 1))
    # At most `length` of the `size` nearest frames are the region's own, so enough others are among them.
    foreign = region_of[near] != np.arange(number)[:, None]
    taken = foreign & (foreign.cumsum(axis=1) <= (size - lengths)[:, None])
    regions = np.empty((number, size), dtype=np.int64)
    place = np.arange(size)[None, :] < lengths[:, None]
    regions[place] = own
    regions[~place] = near[taken]
    return np.sort(regions, axis=1)[rng.permutation(number)]


def _parts(positions_px: np.ndarray, number: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Frames in `number` parts of 1 to `size` each, by halving along the longer side."""
    parts: list[np.ndarray] = []
    waiting = [(np.arange(len(positions_px)), number)]
    while waiting:
        frames, pieces = waiting.pop()
        if pieces == 1:
            parts.append(frames)
            continue
        places = positions_px[frames]
        extent = np.ptp(places, axis=0)
        low_pieces = (pieces + int(rng.integers(2))) // 2
        high_pieces = pieces - low_pieces
        cut = _cut(len(frames), low_pieces, high_pieces, size, rng.uniform(-0.5, 0.5))
        along = int(rng.integers(2)) if extent.max() <= _SQUARE * extent.min() else int(extent.argmax())
        order = np.argpartition(places[:, along], cut)
        waiting += [(frames[order[:cut]], low_pieces), (frames[order[cut:]], high_pieces)]
    return parts


def _cut(frames: int, low_pieces: int, high_pieces: int, size: int, move: float) -> int:
    """How many frames go to the first side: its fair share, moved by a part of the room that either side has."""
    least = max(low_pieces, frames - high_pieces * size)
    most = min(frames - high_pieces, low_pieces * size)
    fair = frames * low_pieces / (low_pieces + high_pieces)
    return int(np.clip(round(fair + move * (most - least)), least, most))


def _tree(positions_px: np.ndarray) -> cKDTree:
    """Cut at the middle of cells instead of at medians: quicker to build, as quick to ask where density is even."""
    return cKDTree(positions_px, leafsize=16, balanced_tree=False, compact_nodes=False)


def _by_cell(positions_px: np.ndarray) -> np.ndarray:
    """(n,) order of frames, row by row of square cells, to and fro."""
    low = positions_px.min(axis=0)
    height, width = np.maximum(np.ptp(positions_px, axis=0), 1e-9)
    cells = max(1.0, len(positions_px) / _CELL_FRAMES)
    rows = round(np.clip(np.sqrt(cells * height / width), 1, cells))
    columns = max(1, round(cells / rows))
    row = np.minimum(((positions_px[:, 0] - low[0]) / height * rows).astype(np.int64), rows - 1)
    column = np.minimum(((positions_px[:, 1] - low[1]) / width * columns).astype(np.int64), columns - 1)
    return np.argsort(row * columns + np.where(row % 2, columns - 1 - column, column), kind="stable")
