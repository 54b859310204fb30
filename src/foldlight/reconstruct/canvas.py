"""What has to fit a scan's canvas: positions after refinement, and an object to start from."""

import numpy as np

from foldlight.core.errors import DataError
from foldlight.scan import Scan

__all__ = ["checked_start", "inside"]


def inside(positions_px: np.ndarray, scan: Scan) -> np.ndarray:
    """Positions whose windows stay on the canvas: refinement may carry those at its edge a little too far."""
    low = np.array(scan.window) // 2
    clipped: np.ndarray = np.clip(positions_px, low, np.array(scan.canvas) - np.array(scan.window) + low)
    return clipped


def checked_start(start: np.ndarray, scan: Scan, arm: str) -> np.ndarray:
    """An object to start from, as it came.

    Raises:
        DataError: it is not finite, or not on the scan's canvas.
    """
    if start.shape != scan.canvas or not np.isfinite(start).all():
        raise DataError(
            f"{arm}: expected a finite start on the scan's {scan.canvas[0]} x {scan.canvas[1]} canvas, got"
            f" {int((~np.isfinite(start)).sum())} bad values in shape {start.shape}; crop or clean it"
        )
    return start
