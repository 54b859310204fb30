"""The best flat image: what every other method has to beat."""

import time
from dataclasses import dataclass

import numpy as np

from foldlight.optics.coverage import coverage_map
from foldlight.optics.flat import flat_amplitude
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.scan import Scan

__all__ = ["ConstantReconstructor"]


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
        return Reconstruction(
            self.arm, flat, scan.probe, scan.positions_px, coverage, ledger, data_digest=scan.digest()
        )
