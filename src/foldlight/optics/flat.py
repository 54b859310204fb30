"""The uniform object that explains a scan best: the floor under every method."""

import numpy as np
import torch

from foldlight.core.errors import DataError
from foldlight.optics.forward import illumination
from foldlight.optics.fourier import fourier
from foldlight.scan import Scan

__all__ = ["flat_amplitude"]


def flat_amplitude(scan: Scan) -> float:
    """Amplitude of the uniform object that explains the photons counted on valid pixels.

    `a^2 sum_q |F P|^2_q = mean_j sum_q y_jq`: for a uniform object this is the Poisson maximum-likelihood value.

    Raises:
        DataError: the valid pixels hold no photons, no light of the probe, or numbers that are not finite.
    """
    empty = illumination(fourier(torch.from_numpy(scan.probe.astype(np.complex128)))).numpy()
    expected = float(empty[scan.mask].sum())
    counted = float(scan.photons.mean_frame[scan.mask].sum())
    if not (0 < counted < np.inf and expected > 0):
        raise DataError(
            f"expected photons and probe light on the valid detector pixels, got {counted:g} photons a frame and"
            f" {expected:g} from the probe; check frames, probe and mask"
        )
    return float(np.sqrt(counted / expected))
