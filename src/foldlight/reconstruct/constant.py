"""The best flat image: what every other method has to beat."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from foldlight.core.errors import DataError
from foldlight.optics.coverage import coverage_map
from foldlight.optics.forward import illumination
from foldlight.optics.fourier import fourier
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.scan import Scan

__all__ = ["ConstantReconstructor", "flat_amplitude"]


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


@dataclass(frozen=True)
class ConstantReconstructor:
    """A uniform object of phase zero that lets through as many photons as were counted."""

    @property
    def arm(self) -> str:
        """Name of the method in tables."""
        return "Constant"

    def reconstruct(self, scan: Scan) -> Reconstruction:
        """The flat image of a scan; never looks at `scan.object`.

        Raises:
            DataError: see `flat_amplitude`.
        """
        start = time.perf_counter()
        flat = np.full(scan.canvas, flat_amplitude(scan), dtype=np.complex64)
        ledger = Ledger(
            train_seconds=0.0,
            infer_seconds=time.perf_counter() - start,
            epochs=1,
            n_frames=len(scan),
            photons=float(scan.photons.totals.sum()),
        )
        coverage = coverage_map(scan.probe, scan.positions_px, scan.canvas)
        return Reconstruction(self.arm, flat, scan.probe, scan.positions_px, coverage, ledger)
