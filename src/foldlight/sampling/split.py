"""Training and validation frames that share no illuminated pixel."""

import numpy as np

from foldlight.core.errors import SettingsError

__all__ = ["spatial_split"]


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
    validation = np.flatnonzero(y >= cut)
    training = np.flatnonzero(y < cut - guard_px)
    if min(len(training), len(validation)) < least:
        raise SettingsError(
            f"split: expected {least} or more frames on both sides of a {guard_px:.3g} px guard band, got"
            f" {len(training)} for training and {len(validation)} for validation over {np.ptp(y):.3g} px of y; lower"
            " --guard-px or change --validation-fraction"
        )
    return training, validation
