"""A trained network as a reconstructor: frames to pieces of the object, pieces to one object."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import psutil
import torch

from foldlight.bundle import Model
from foldlight.core.errors import DataError
from foldlight.core.progress import progress_bar
from foldlight.core.seeds import generator
from foldlight.networks.generators import PatchNetwork
from foldlight.networks.unrolled import UnrolledNetwork
from foldlight.optics.coverage import coverage_map
from foldlight.optics.forward import illumination, place_probe, trust
from foldlight.optics.patches import scatter
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.reconstruct.stitch import Stitcher
from foldlight.sampling.grouping import neighbour_regions
from foldlight.sampling.overlap import probe_diameters_px
from foldlight.sampling.tiles import frame_density, tile_for, tiles
from foldlight.scan import Scan
from foldlight.train.device import usable_device
from foldlight.train.fit import adapt

__all__ = ["NeuralReconstructor"]

_BYTES_PER_PIXEL = 40  # of a frame in a tile: photons, the placed probe, their parts sorted into subsets
_MEMORY_SHARE, _MEMORY_BYTES = 0.3, 1e9  # a tile takes this part of what is free, and no more: larger ones are slower
_LARGEST_TILE_PX = 4096
_FEATHER_PX = 8  # over which the cores of tiles are blended
_ARMS = {"object": "Supervised"}  # by what the network learned from; any other is just the network


@dataclass(frozen=True)
class NeuralReconstructor:
    """One forward pass of every frame, on its own, in small groups or as one region, and stitching.

    Attributes:
        model: the trained network.
        train_seconds: what its training took, for the ledger.
        arm: name in tables; by default it says what the network learned from.
        device: where to run.
        batch_frames: frames a pass, where they are reconstructed apart.
        memory_bytes: what a tile of the scan may take, where they are not; a part of what is free when None.
        adapt_steps: of training on the scan's own photons first, see `train.fit.adapt`; 0 for none.
        seed: of the adaptation.
        progress: show a bar.
    """

    model: Model
    train_seconds: float = 0.0
    arm: str = ""
    device: str = "cpu"
    batch_frames: int = 128
    memory_bytes: float | None = None
    adapt_steps: int = 0
    seed: int = 0
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
        if not self.model.fits(scan.window):
            raise DataError(
                f"scan: expected frames of {self.model.window[0]} x {self.model.window[1]} px as in training, got"
                f" {scan.window[0]} x {scan.window[1]}; train a network for this size"
            )
        model, train_seconds = self.model, self.train_seconds
        if self.adapt_steps:
            adapted = adapt(scan, model, self.adapt_steps, seed=self.seed, device=self.device, progress=self.progress)
            model, train_seconds = adapted.model, train_seconds + adapted.seconds
        began = time.perf_counter()
        image = replace(self, model=model)._stitched(scan, usable_device(self.device))
        ledger = Ledger(
            train_seconds=train_seconds,
            infer_seconds=time.perf_counter() - began,
            epochs=int(model.training.get("epochs_completed", 0)),
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
            settings={"network": model.network.plain(), "training": model.training},
            data_digest=scan.digest(),
        )

    def _stitched(self, scan: Scan, device: torch.device) -> np.ndarray:
        """(y, x) complex64 object, stitched piece by piece, so that memory does not grow with the number of frames."""
        network = self.model.module(self.device)
        stitcher = Stitcher(scan.canvas, device)
        with torch.inference_mode(), progress_bar("network", len(scan), self.progress) as advance:
            if isinstance(network, PatchNetwork):
                pieces = self._patches(network, scan, device, stitcher)
            elif self.model.regional:
                pieces = self._tiles(network, scan, device, stitcher)
            else:
                pieces = self._groups(network, scan, device, stitcher)
            done = 0
            for frames in pieces:
                done += frames
                advance(min(done, len(scan)))
        return stitcher.object()

    def _patches(self, network: PatchNetwork, scan: Scan, device: torch.device, stitcher: Stitcher) -> Iterator[int]:
        """Every frame's patch, some frames at a time; yields how many."""
        mask = None if scan.mask.all() else torch.from_numpy(scan.mask).to(device)
        for start in range(0, len(scan), self.batch_frames):
            frames = np.arange(start, min(start + self.batch_frames, len(scan)))
            photons, positions, probes = _on(device, scan, frames)
            stitcher.add(network(photons, probes, mask), positions, trust(probes, network.merge_floor))
            yield len(frames)

    def _groups(self, network: UnrolledNetwork, scan: Scan, device: torch.device, stitcher: Stitcher) -> Iterator[int]:
        """Small groups of neighbours, each an object of its own; yields the new frames of some groups."""
        size = min(self.model.group_size, len(scan))
        groups = neighbour_regions(scan.positions_px, size, generator(0, "groups of a reconstruction"))
        groups = groups[np.lexsort(scan.positions_px[groups].mean(axis=1).T[::-1])]  # each beside one that is there
        whole = np.rint(scan.positions_px[groups]).astype(int)
        corners = whole.min(axis=1) - np.array(scan.window) // 2
        # One canvas for all: a group's object must not depend on who shares its pass.
        height, width = (np.array(scan.window) + np.ptp(whole, axis=1).max(axis=0)).tolist()
        mask = torch.from_numpy(scan.mask).to(device)
        per_pass = max(1, self.batch_frames // size)
        for start in range(0, len(groups), per_pass):
            some, at = groups[start : start + per_pass], corners[start : start + per_pass]
            loaded = _on(device, scan, some.ravel())
            photons, positions, probes = (part.view(*some.shape, *part.shape[1:]) for part in loaded)
            places = positions - torch.from_numpy(at)[:, None].to(device)
            objects = network.objects(photons, places, probes, mask, (height, width))
            weights = _weights(probes, places, (height, width), self.model.network.merge_floor)
            for image, weight, corner in zip(objects, weights, at.tolist(), strict=True):
                stitcher.add_region(image, weight, tuple(corner), align_phase=True)
            yield some.size * len(scan) // groups.size

    def _tiles(self, network: UnrolledNetwork, scan: Scan, device: torch.device, stitcher: Stitcher) -> Iterator[int]:
        """The whole scan at once where memory allows it, else tile by tile; yields the frames of a tile's core."""
        density, halo = frame_density(scan.positions_px), _halo_px(scan)
        side = tile_for(self._memory(device), scan.window, density, halo, _BYTES_PER_PIXEL * len(scan.probe))
        found = tiles(scan.positions_px, scan.window, min(side, _LARGEST_TILE_PX), halo)
        mask = torch.from_numpy(scan.mask).to(device)
        for tile in found:
            photons, positions, probes = (part[None] for part in _on(device, scan, tile.frames))
            places = positions - torch.tensor(tile.canvas.corner, device=device)
            image = network.objects(photons, places, probes, mask, tile.canvas.shape)[0]
            weight = _weights(probes, places, tile.canvas.shape, self.model.network.merge_floor)[0]
            if len(found) > 1:
                weight = weight * torch.from_numpy(tile.weight(_FEATHER_PX)).to(device)
            stitcher.add_region(image, weight, tile.canvas.corner, align_phase=True)
            yield -(-len(scan) // len(found))

    def _memory(self, device: torch.device) -> float:
        """Bytes that a tile may take."""
        if self.memory_bytes is not None:
            return self.memory_bytes
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
        return min(_MEMORY_SHARE * free, _MEMORY_BYTES)


def _on(device: torch.device, scan: Scan, frames: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Photons, positions and the placed probe of some frames."""
    photons = torch.from_numpy(np.where(scan.mask, scan.photons[frames], np.float32(0))).to(device)
    positions = torch.from_numpy(scan.positions_px[frames]).to(device)
    return photons, positions, place_probe(torch.from_numpy(scan.probe).to(device), positions)


def _weights(probes: torch.Tensor, positions_px: torch.Tensor, canvas: tuple[int, int], floor: float) -> torch.Tensor:
    """(group, h, w) how far to believe each pixel of an object: its light over light plus `floor` times the most."""
    light = scatter(illumination(probes), positions_px, canvas)
    return light / (light + floor * light.amax(dim=(-2, -1), keepdim=True))


def _halo_px(scan: Scan) -> int:
    """How far from a tile frames still matter: through a neighbour of the frames that see it."""
    return min(max(scan.window), int(np.ceil(1.5 * probe_diameters_px(scan.probe)["participation"])))
