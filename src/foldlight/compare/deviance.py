"""How well a reconstruction predicts counts: those it was fitted to, and those it never saw.

Held-out counts are a score that needs no truth. Fitted counts show where a model misfits: in which frames, and at low
or at high angles of the detector. Source: docs/physics.md, splitting counts instead of frames.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from foldlight.core.errors import DataError, SettingsError
from foldlight.optics.forward import expected_frames
from foldlight.optics.likelihood import poisson_deviance
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.scan import Scan

__all__ = ["Misfit", "heldout_deviance", "misfit", "radial_mean"]


@dataclass(frozen=True)
class Misfit:
    """Poisson deviance of counts under a reconstruction; 0 is a perfect fit.

    Attributes:
        pixels: (y, x) of each detector pixel, averaged over the frames.
        frames: (n,) of each frame, averaged over the valid pixels.
        mask: (y, x) bool, the valid pixels.
    """

    pixels: np.ndarray
    frames: np.ndarray
    mask: np.ndarray

    @property
    def mean(self) -> float:
        """Over frames and valid pixels."""
        return float(self.pixels[self.mask].mean())

    @property
    def rings(self) -> Float[np.ndarray, " radius"]:
        """(radius,) mean over valid pixels at each whole distance from the detector's centre [px]."""
        return radial_mean(self.pixels, self.mask)


def heldout_deviance(reconstruction: Reconstruction, held: Scan, exposure_ratio: float, block: int = 128) -> float:
    """Mean Poisson deviance per valid detector pixel of held-out counts; arguments as `misfit`."""
    return misfit(reconstruction, held, exposure_ratio, block).mean


def misfit(reconstruction: Reconstruction, counts: Scan, exposure_ratio: float = 1.0, block: int = 128) -> Misfit:
    """How far counts lie from what a reconstruction expects, pixel by pixel and frame by frame.

    Args:
        reconstruction: its object, probe and positions are used.
        counts: the counts it was fitted to, or the other share of the same frames, frame by frame.
        exposure_ratio: exposure of these counts over that of the fitted ones (p / (1 - p) for thinning).
        block: frames predicted at a time, which bounds the memory.

    Raises:
        DataError: frames, windows or numbers of frames don't match.
        SettingsError: the ratio is not a positive number.
    """
    _check(reconstruction, counts, exposure_ratio)
    canvas, positions = _room_for_all(reconstruction, counts.window)
    probe = torch.from_numpy(reconstruction.probe.astype(np.complex64))
    every_pixel, valid = torch.ones(1, 1, dtype=torch.bool), torch.from_numpy(counts.mask)
    total: np.ndarray = np.zeros(counts.window)
    frames = []
    for start in range(0, len(counts), block):
        expected = expected_frames(canvas, probe, positions[:, start : start + block])[0] * exposure_ratio
        photons = torch.from_numpy(counts.photons[start : start + block])
        # each pixel as a frame of its own, for the one formula gives a frame's mean
        terms = poisson_deviance(expected[..., None, None], photons[..., None, None], every_pixel)
        total += terms.sum(dim=0, dtype=torch.float64).numpy()
        frames.append(terms[:, valid].mean(dim=1, dtype=torch.float64).numpy())
    return Misfit(total / len(counts), np.concatenate(frames), counts.mask)


def radial_mean(values: Float[np.ndarray, "y x"], mask: Bool[np.ndarray, "y x"]) -> Float[np.ndarray, " radius"]:
    """Mean over valid pixels at each whole distance [px] from the detector's centre `N // 2`; NaN where none is."""
    y, x = (np.arange(size) - size // 2 for size in values.shape)
    radius = np.rint(np.hypot(y[:, None], x[None, :])).astype(int)[mask]
    number = np.bincount(radius)
    means = np.full(len(number), np.nan)
    total = np.bincount(radius, values[mask].astype(np.float64))
    np.divide(total, number, out=means, where=number > 0)
    return means


def _check(reconstruction: Reconstruction, held: Scan, exposure_ratio: float) -> None:
    if not (math.isfinite(exposure_ratio) and exposure_ratio > 0):
        raise SettingsError(f"exposure_ratio = {exposure_ratio}: expected held-out over fitted exposure, above 0")
    if len(reconstruction.positions_px) != len(held):
        raise DataError(
            f"{reconstruction.arm}: expected the held-out share of its {len(reconstruction.positions_px)} frames, got"
            f" {len(held)} held-out frames; split counts, not frames"
        )
    if reconstruction.probe.shape[1:] != held.window:
        raise DataError(
            f"{reconstruction.arm}: expected held-out frames of the probe's {reconstruction.probe.shape[1:]} px, got"
            f" {held.window}"
        )


def _room_for_all(reconstruction: Reconstruction, window: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The object as a group of one, and its positions; refined positions may have left the canvas, so it can grow."""
    positions = reconstruction.positions_px
    canvas = np.array(reconstruction.object.shape)
    corner = np.rint(positions) - np.array(window) // 2
    before = np.maximum(-corner.min(axis=0), 0).astype(int)
    after = np.maximum((corner + np.array(window)).max(axis=0) - canvas, 0).astype(int)
    grown = np.pad(reconstruction.object, list(zip(before.tolist(), after.tolist(), strict=True)), mode="edge")
    return torch.from_numpy(grown.astype(np.complex64))[None], torch.from_numpy(positions + before)[None]
