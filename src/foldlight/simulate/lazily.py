"""A simulated scan of any number of frames, none of which is kept: each is made when it is read."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from foldlight.core.provenance import sha256_arrays
from foldlight.core.seeds import integer_seed, numbered
from foldlight.frames import Frames, LazyFrames
from foldlight.optics import forward
from foldlight.optics.probes import normalised
from foldlight.scan import Scan

__all__ = ["acquire_lazily"]

_DOSED = 1024  # frames whose mean sets the probe's power
_BLOCK_PIXELS = 2**18  # of frames at a time through the forward model


@dataclass(frozen=True)
class _Exposure:
    """Makes counted frames by number.

    Attributes:
        canvas: (1, y, x) complex64 transmission.
        probe: (mode, y, x) complex64 [sqrt(photon)].
        positions_px: (n, 2) float64 (y, x) [px].
        key: names the draw of photons.
    """

    canvas: torch.Tensor
    probe: torch.Tensor
    positions_px: np.ndarray
    key: int

    def counted(self, numbers: np.ndarray) -> np.ndarray:
        """(k, y, x) uint32 photons."""
        counts = np.empty((len(numbers), *self.probe.shape[1:]), dtype=np.uint32)
        draws = numbered(self.key, numbers)
        for place, (expected, rng) in enumerate(zip(self.expected(numbers), draws, strict=True)):
            counts[place] = rng.poisson(expected)
        return counts

    def expected(self, numbers: np.ndarray) -> Iterator[np.ndarray]:
        """(y, x) float64 expected photons of each frame in turn."""
        height, width = self.probe.shape[1:]
        block = max(1, _BLOCK_PIXELS // (height * width))
        for start in range(0, len(numbers), block):
            places = torch.from_numpy(self.positions_px[None, numbers[start : start + block]])
            with torch.inference_mode():
                frames = forward.expected_frames(self.canvas, self.probe, places)[0]
            yield from frames.numpy().astype(np.float64)


def acquire_lazily(
    truth: np.ndarray, probe: np.ndarray, positions_px: np.ndarray, dose: float, seed: int, noise: str = "photons"
) -> Scan:
    """Photons counted behind an object when they are read: `acquire` for scans that fit no memory.

    A frame depends on its number and on the arguments, so it is the same in every block and every process. The scan's
    digest is one of these arguments; the frames are not read for it.

    Args:
        truth: (y, x) complex transmission.
        probe: (mode, y, x) complex, any scale.
        positions_px: (n, 2) float64 (y, x) window centres [px].
        dose: wanted mean of the expected photons per frame, taken over 1,024 frames spread over the scan, or all.
        seed: root seed of the Poisson draw, which depends on (seed, dose, noise, number of the frame) alone.
        noise: name of the draw.

    Source: docs/physics.md, forward model: the probe is scaled by `sqrt(dose / mean_j sum_r |P O_j|^2)`.
    """
    transmission = truth.astype(np.complex64)
    canvas = torch.from_numpy(transmission)[None]
    numbers = np.arange(len(positions_px), dtype=np.int64)
    unit = normalised(probe)
    spread = numbers[:: max(1, -(-len(numbers) // _DOSED))]
    sampled = _Exposure(canvas, torch.from_numpy(unit), positions_px, 0).expected(spread)
    scaled = normalised(unit, dose / float(np.mean([frame.sum() for frame in sampled])))
    exposure = _Exposure(
        canvas, torch.from_numpy(scaled), positions_px, integer_seed(seed, "lazy poisson", dose, noise)
    )
    recipe = f"{sha256_arrays(transmission, scaled, positions_px)} counted {exposure.key}"
    window = (probe.shape[-2], probe.shape[-1])
    return Scan(
        photons=Frames(LazyFrames(exposure.counted, numbers, window, np.dtype(np.uint32), recipe), whole=True),
        positions_px=positions_px,
        probe=scaled,
        canvas=(truth.shape[0], truth.shape[1]),
        object=transmission,
        object_is_truth=True,
        notes=(f"simulated at {dose:g} photons a frame, counted when read",),
        origin={"dose": dose, "seed": seed, "noise": noise},
    )
