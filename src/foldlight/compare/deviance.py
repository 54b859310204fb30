"""How well a reconstruction predicts counts it never saw: a score that needs no truth.

Source: docs/physics.md, splitting counts instead of frames.
"""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float

from foldlight.core.errors import DataError, SettingsError
from foldlight.optics.forward import expected_frames
from foldlight.optics.likelihood import poisson_deviance
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.scan import Scan

__all__ = ["heldout_deviance", "heldout_deviance_map", "radial_mean"]


def heldout_deviance(reconstruction: Reconstruction, held: Scan, exposure_ratio: float, block: int = 128) -> float:
    """Mean Poisson deviance per valid detector pixel of held-out counts.

    Args:
        reconstruction: fitted to the other share of the same frames; its object, probe and positions are used.
        held: the held-out counts, frame by frame those that were fitted.
        exposure_ratio: exposure of the held-out counts over that of the fitted ones (p / (1 - p) for thinning).
        block: frames predicted at a time, which bounds the memory.

    Raises:
        DataError: frames, windows or numbers of frames don't match.
        SettingsError: the ratio is not a positive number.
    """
    return float(heldout_deviance_map(reconstruction, held, exposure_ratio, block)[held.mask].mean())


def heldout_deviance_map(
    reconstruction: Reconstruction, held: Scan, exposure_ratio: float, block: int = 128
) -> Float[np.ndarray, "y x"]:
    """Deviance of each detector pixel, averaged over the frames; arguments as `heldout_deviance`."""
    _check(reconstruction, held, exposure_ratio)
    canvas, positions = _room_for_all(reconstruction, held.window)
    probe = torch.from_numpy(reconstruction.probe.astype(np.complex64))
    every_pixel = torch.ones(1, 1, dtype=torch.bool)
    total: np.ndarray = np.zeros(held.window)
    for start in range(0, len(held), block):
        expected = expected_frames(canvas, probe, positions[:, start : start + block])[0] * exposure_ratio
        counts = torch.from_numpy(held.photons[start : start + block])
        # each pixel as a frame of its own, for the one formula gives a frame's mean
        terms = poisson_deviance(expected[..., None, None], counts[..., None, None], every_pixel)
        total += terms.sum(dim=0, dtype=torch.float64).numpy()
    mean: np.ndarray = total / len(held)
    return mean


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
