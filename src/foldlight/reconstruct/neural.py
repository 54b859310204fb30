"""A trained network as a reconstructor: frames to pieces of the object, pieces to one object."""

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

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
from foldlight.train.distributed import ALONE, Ranks
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
        ranks: the processes that share the work: frames of a network that takes them apart, else groups or tiles. The
            first one calls `reconstruct`, the others `assist` with the same scan.
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
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        if not self.arm:
            object.__setattr__(self, "arm", _ARMS.get(self.model.supervision, "Network"))

    def reconstruct(self, scan: Scan) -> Reconstruction:
        """The stitched object.

        Raises:
            DataError: the scan's window is not the one the network was trained on.
            SettingsError: no such device on this machine.
        """
        model, train_seconds = self._adapted(scan)
        began = time.perf_counter()
        image = replace(self, model=model)._stitched(scan, usable_device(self.device)).object()
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

    def assist(self, scan: Scan) -> None:
        """This process's part of what the first process reconstructs at the same time.

        Raises:
            DataError: as in `reconstruct`.
            SettingsError: as in `reconstruct`.
        """
        model, _ = self._adapted(scan)
        replace(self, model=model, progress=False)._stitched(scan, usable_device(self.device))

    def _adapted(self, scan: Scan) -> tuple[Model, float]:
        """The model made to fit the scan, if that is asked for, and the seconds of all of its training."""
        if not self.model.fits(scan.window):
            raise DataError(
                f"scan: expected frames of {self.model.window[0]} x {self.model.window[1]} px as in training, got"
                f" {scan.window[0]} x {scan.window[1]}; train a network for this size"
            )
        if not self.ranks.alone:
            self.ranks.agree(f"{self.model.digest()} {scan.digest()} {self.adapt_steps} {self.seed}", "reconstruction")
        if not self.adapt_steps:
            return self.model, self.train_seconds
        if not self.ranks.first:
            weights = _unpacked(self.ranks.told(bytes))
            return replace(self.model, weights=weights), self.train_seconds
        adapted = adapt(scan, self.model, self.adapt_steps, seed=self.seed, device=self.device, progress=self.progress)
        self.ranks.told(lambda: _packed(adapted.model.weights))
        return adapted.model, self.train_seconds + adapted.seconds

    def _stitched(self, scan: Scan, device: torch.device) -> Stitcher:
        """The object, stitched piece by piece, so that memory does not grow with the number of frames.

        In the first process it is whole; the order of pieces, and so each bit of groups and tiles, is that of one
        process alone.
        """
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
        return stitcher

    def _patches(self, network: PatchNetwork, scan: Scan, device: torch.device, stitcher: Stitcher) -> Iterator[int]:
        """Every frame's patch, some frames at a time; yields how many.

        Each process stitches its share, and the first adds up the sums: patches would be far more to send.
        """
        mask = None if scan.mask.all() else torch.from_numpy(scan.mask).to(device)
        share = self.ranks.share(len(scan))
        for start in range(share.start, share.stop, self.batch_frames):
            frames = np.arange(start, min(start + self.batch_frames, share.stop))
            photons, positions, probes = _on(device, scan, frames)
            stitcher.add(network(photons, probes, mask), positions, trust(probes, network.merge_floor))
            yield len(frames) * self.ranks.size
        self._gather(stitcher)

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
            make = partial(self._regions, network, scan, some, at, (height, width), mask)
            made = self.ranks.brought(start // per_pass, make, _like((len(some), height, width)))
            if made is not None:
                for image, weight, corner in zip(*made, at.tolist(), strict=True):
                    stitcher.add_region(image, weight, tuple(corner), align_phase=True)
            yield some.size * len(scan) // groups.size

    def _tiles(self, network: UnrolledNetwork, scan: Scan, device: torch.device, stitcher: Stitcher) -> Iterator[int]:
        """The whole scan at once where memory allows it, else tile by tile; yields the frames of a tile's core."""
        density, halo = frame_density(scan.positions_px), _halo_px(scan)
        memory = self.ranks.least(self._memory(device))
        side = tile_for(memory, scan.window, density, halo, _BYTES_PER_PIXEL * len(scan.probe))
        found = tiles(scan.positions_px, scan.window, min(side, _LARGEST_TILE_PX), halo)
        mask = torch.from_numpy(scan.mask).to(device)
        for number, tile in enumerate(found):
            corner, canvas = np.array(tile.canvas.corner), tile.canvas.shape
            make = partial(self._regions, network, scan, tile.frames[None], corner[None], canvas, mask)
            made = self.ranks.brought(number, make, _like((1, *canvas)))
            if made is not None:
                image, weight = (part[0] for part in made)
                if len(found) > 1:
                    weight = weight * torch.from_numpy(tile.weight(_FEATHER_PX)).to(weight.device)
                stitcher.add_region(image, weight, tile.canvas.corner, align_phase=True)
            yield -(-len(scan) // len(found))

    def _regions(
        self,
        network: UnrolledNetwork,
        scan: Scan,
        frames: np.ndarray,
        corners: np.ndarray,
        canvas: tuple[int, int],
        mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(group, h, w) the object of each group of frames, and its weight.

        Args:
            network: what makes them.
            scan: where the frames are.
            frames: (group, n) their indexes.
            corners: (group, 2) (y, x) of the first pixel of each group's canvas [px].
            canvas: (height, width) of all canvases [px].
            mask: valid detector pixels, where to compute.
        """
        loaded = _on(mask.device, scan, frames.ravel())
        photons, positions, probes = (part.view(*frames.shape, *part.shape[1:]) for part in loaded)
        places = positions - torch.from_numpy(corners)[:, None].to(mask.device)
        objects = network.objects(photons, places, probes, mask, canvas)
        return objects, _weights(probes, places, canvas, self.model.network.merge_floor)

    def _gather(self, stitcher: Stitcher) -> None:
        """Bring the sums of all processes to the first, in their order."""
        corner, *own = stitcher.sums()
        place = torch.tensor([*corner, *own[0].shape])
        for other in range(1, self.ranks.size):
            found = self.ranks.brought(other, lambda: (place,), (place,))
            top, left, *shape = (place if found is None else found[0]).tolist()
            if 0 not in shape:  # there were fewer frames than processes
                made = self.ranks.brought(other, lambda: tuple(own), _like(shape))
                if made is not None:
                    stitcher.add_sums((top, left), *made)

    def _memory(self, device: torch.device) -> float:
        """Bytes that a tile may take."""
        if self.memory_bytes is not None:
            return self.memory_bytes
        if device.type == "cuda":
            free: float = torch.cuda.mem_get_info(device)[0]
        else:
            free = psutil.virtual_memory().available / self.ranks.local_size
        return min(_MEMORY_SHARE * free, _MEMORY_BYTES)


def _on(device: torch.device, scan: Scan, frames: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Photons, positions and the placed probe of some frames."""
    photons = torch.from_numpy(np.where(scan.mask, scan.photons[frames], np.float32(0))).to(device)
    positions = torch.from_numpy(scan.positions_px[frames]).to(device)
    return photons, positions, place_probe(torch.from_numpy(scan.probe).to(device), positions)


def _like(shape: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """An object and its weight without memory, to tell what is to come."""
    return torch.empty(*shape, dtype=torch.complex64, device="meta"), torch.empty(*shape, device="meta")


def _packed(weights: dict[str, np.ndarray]) -> bytes:
    """Weights as bytes to send."""
    buffer = io.BytesIO()
    np.savez(buffer, **weights)  # type: ignore[arg-type]
    return buffer.getvalue()


def _unpacked(data: bytes) -> dict[str, np.ndarray]:
    """Weights that were sent."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return dict(archive)


def _weights(probes: torch.Tensor, positions_px: torch.Tensor, canvas: tuple[int, int], floor: float) -> torch.Tensor:
    """(group, h, w) how far to believe each pixel of an object: its light over light plus `floor` times the most."""
    light = scatter(illumination(probes), positions_px, canvas)
    return light / (light + floor * light.amax(dim=(-2, -1), keepdim=True))


def _halo_px(scan: Scan) -> int:
    """How far from a tile frames still matter: through a neighbour of the frames that see it."""
    return min(max(scan.window), int(np.ceil(1.5 * probe_diameters_px(scan.probe)["participation"])))
