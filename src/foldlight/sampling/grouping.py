"""Groups of neighbouring frames, as index arrays."""

import numpy as np
from scipy.spatial import KDTree

from foldlight.core.errors import SettingsError

__all__ = ["neighbour_groups"]


def neighbour_groups(
    positions_px: np.ndarray, group_size: int, neighbours: int, rng: np.random.Generator
) -> np.ndarray:
    """One group a frame: the frame itself and `group_size - 1` others drawn from its nearest neighbours.

    Every frame appears in at least one group, so a pass over the groups is a pass over the frames. Frames are not
    copied: a group is a row of indexes.

    Args:
        positions_px: (n, 2) (y, x) [px].
        group_size: C, frames that must agree; 1 means none.
        neighbours: K, how many nearest frames (itself not counted) the others are drawn from; fewer when the scan is
            smaller.
        rng: draws the members.

    Returns:
        (n, C) int64 indexes of frames.

    Raises:
        SettingsError: fewer than C frames, or K < C - 1.
    """
    n = len(positions_px)
    if n < group_size:
        raise SettingsError(f"groups: expected at least C = {group_size} frames, got {n}; use gridsize 1")
    if neighbours < group_size - 1:
        raise SettingsError(f"groups: expected K >= C - 1 = {group_size - 1} neighbours, got K = {neighbours}")
    first = np.arange(n, dtype=np.int64)[:, None]
    if group_size == 1:
        return first
    nearest = min(neighbours, n - 1)
    _, index = KDTree(positions_px).query(positions_px, k=nearest + 1)
    is_self = index == first
    # Duplicate positions can push a frame out of its own list; then the farthest entry makes room for it.
    is_self[~is_self.any(axis=1), -1] = True
    others = index[~is_self].reshape(n, nearest)
    draw = rng.random(others.shape).argsort(axis=1)[:, : group_size - 1]
    return np.concatenate([first, np.take_along_axis(others, draw, axis=1)], axis=1)
