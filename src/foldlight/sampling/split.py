"""Frames on two sides of a guard band, so that what is held back shares no illuminated pixel with what is fitted."""

import numpy as np

from foldlight.core.errors import SettingsError

__all__ = ["half_split", "spatial_split"]


def spatial_split(
    positions_px: np.ndarray, guard_px: float, held_fraction: float = 0.2, least: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Indexes of training and of validation frames, apart in space.

    The validation block is the end of the scan with the largest y; frames within `guard_px` of the cut on the training
    side belong to neither, so with a guard of one window no pixel is in both. A random split would leak: neighbouring
    frames look at the same object.

    Raises:
        SettingsError: one side would have fewer than `least` frames.
    """
    y = positions_px[:, 0]
    cut = np.quantile(y, 1 - held_fraction)
    sides = {"training": y < cut - guard_px, "validation": y >= cut}
    return _indexes(
        sides, y, guard_px, least, "lower --guard-px, change --validation-fraction, or set --validation photons"
    )


def half_split(positions_px: np.ndarray, guard_px: float, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Indexes of the frames to learn from and of the frames to test on: the two halves of the scanned range.

    The cut is the middle of the range of y, `(min + max) / 2`, not the median; the guard band of width `guard_px` is
    centred on it, and what lies strictly inside belongs to neither half.

    A guard of one window is enough. The window of y holds the rows `round(y) + k - N // 2`, and the rest of y moves the
    probe inside that window, so two frames share no row when their rounded y are N apart. Rounding half to even is
    monotone and commutes with even shifts, and N is even: `y_b >= y_a + N` gives `round(y_b) >= round(y_a) + N`. Here
    y and rounded y must both clear the band, so that the last bit of a float cannot undo this.

    Args:
        positions_px: (n, 2) (y, x) [px].
        guard_px: width of the band [px], the frame's height N for halves without a common pixel.
        least: frames that each half must have.

    Returns:
        Ascending indexes of the half with small y (train) and of the half with large y (test).

    Raises:
        SettingsError: a half would have fewer than `least` frames.
    """
    y = positions_px[:, 0]
    rows = np.rint(y)
    cut = (y.min() + y.max()) / 2
    sides = {
        "train": np.maximum(y, rows) <= cut - guard_px / 2,
        "test": np.minimum(y, rows) >= cut + guard_px / 2,
    }
    return _indexes(sides, y, guard_px, least, "take a taller scan or a narrower guard band")


def _indexes(
    sides: dict[str, np.ndarray], y: np.ndarray, guard_px: float, least: int, remedy: str
) -> tuple[np.ndarray, np.ndarray]:
    """Indexes of two named sides, each of which has enough frames."""
    first, second = (np.flatnonzero(side) for side in sides.values())
    if min(len(first), len(second)) < least:
        names = list(sides)
        raise SettingsError(
            f"split: expected {least} or more frames on both sides of a {guard_px:.3g} px guard band, got"
            f" {len(first)} for {names[0]} and {len(second)} for {names[1]} over {np.ptp(y):.3g} px of y; {remedy}"
        )
    return first, second
