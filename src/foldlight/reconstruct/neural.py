"""A trained network as a reconstructor: frames to patches, patches to one object."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from foldlight.bundle import Model
from foldlight.core.errors import DataError
from foldlight.core.progress import progress_bar
from foldlight.optics.coverage import coverage_map
from foldlight.optics.forward import place_probe, trust
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.reconstruct.stitch import Stitcher
from foldlight.scan import Scan
from foldlight.train.device import usable_device

__all__ = ["NeuralReconstructor"]

_ARMS = {"object": "Supervised"}  # by what the network learned from; any other is just the network


@dataclass(frozen=True)
class NeuralReconstructor:
    """One forward pass of every frame, then stitching.

    Attributes:
        model: the trained network.
        train_seconds: what its training took, for the ledger.
        arm: name in tables; by default it says what the network learned from.
        device: where to run.
        batch_frames: frames a pass.
        progress: show a bar.
    """

    model: Model
    train_seconds: float = 0.0
    arm: str = ""
    device: str = "cpu"
    batch_frames: int = 128
    progress: bool = True

    def __post_init__(self) -> None:
        if not self.arm:
            object.__setattr__(self, "arm", _ARMS.get(self.model.supervision, "Network"))

    def reconstruct(self, scan: Scan) -> Reconstruction:
        """The stitched object.

        Raises:
            DataError: the scan's window is not the one the network was trained on.
            SettingsError: no such device on this machine.
        """
        if scan.window != self.model.window:
            raise DataError(
                f"scan: expected frames of {self.model.window[0]} x {self.model.window[1]} px as in training, got"
                f" {scan.window[0]} x {scan.window[1]}; train a network for this size"
            )
        began = time.perf_counter()
        image = self._stitched(scan, usable_device(self.device))
        ledger = Ledger(
            train_seconds=self.train_seconds,
            infer_seconds=time.perf_counter() - began,
            epochs=int(self.model.training.get("epochs_completed", 0)),
            n_frames=len(scan),
            photons=float(scan.photons.totals.sum()),
            device=self.device,
            threads=torch.get_num_threads(),
        )
        return Reconstruction(
            arm=self.arm,
            object=image,
            probe=scan.probe,
            positions_px=scan.positions_px,
            coverage=coverage_map(scan.probe, scan.positions_px, scan.canvas),
            ledger=ledger,
            settings={"network": self.model.network.plain(), "training": self.model.training},
            data_digest=scan.digest(),
        )

    def _stitched(self, scan: Scan, device: torch.device) -> np.ndarray:
        """(y, x) complex64 object; patches are stitched as they come, so memory does not grow with the scan."""
        module = self.model.module(self.device)
        probe = torch.from_numpy(scan.probe).to(device)
        stitcher = Stitcher(scan.canvas)
        with torch.inference_mode(), progress_bar("network", len(scan), self.progress) as advance:
            for start in range(0, len(scan), self.batch_frames):
                frames = np.where(scan.mask, scan.photons[start : start + self.batch_frames], np.float32(0))
                photons = torch.from_numpy(frames).to(device)
                positions = torch.from_numpy(scan.positions_px[start : start + self.batch_frames]).to(device)
                probes = place_probe(probe, positions)
                weights = trust(probes, self.model.network.merge_floor)
                stitcher.add(module(photons, probes).cpu(), positions.cpu(), weights.cpu())
                advance(start + len(photons))
        return stitcher.object()
