"""Amplitude and phase of what is there, as small coloured PNG files."""

import io
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from PIL import Image

from foldlight.report.figures import percentile_range, phase_scale
from foldlight.report.images import AMPLITUDE_COLOURS

__all__ = ["Picture", "draw"]

_LIT = 0.1  # of the median light of what was seen: darker pixels are left blank
_FADED = 1e-3  # of the most light: darker ones count as not seen


@dataclass(frozen=True)
class Picture:
    """One quantity, coloured.

    Attributes:
        png: the file; pixels that were not seen are transparent.
        low: value of the first colour.
        high: value of the last one.
    """

    png: bytes
    low: float
    high: float


def draw(image: np.ndarray, light: np.ndarray, longest_px: int) -> dict[str, Picture]:
    """The pictures of `amplitude` and `phase`; the phase is turned by its mean, for display.

    Args:
        image: (y, x) complex64.
        light: (y, x) photons; 0 where nothing was seen.
        longest_px: side above which pictures are reduced, by means over blocks [px].
    """
    seen = light > _FADED * light.max(initial=0.0)
    lit = seen & (light > _LIT * float(np.median(light[seen]))) if seen.any() else seen
    step = max(1, -(-max(image.shape, default=1) // longest_px))
    if step > 1:
        image, lit = _reduced(image, lit, step)
    if not lit.any():
        blank = np.zeros(lit.shape, dtype=np.uint8)
        return {name: Picture(_png(blank, AMPLITUDE_COLOURS), 0.0, 1.0) for name in ("amplitude", "phase")}
    values = image[lit]
    mean = complex(values.sum(dtype=np.complex128))
    turned = values * np.complex64(np.exp(-1j * np.angle(mean)))
    amplitude, phase = np.abs(values), np.angle(turned)
    phases, colours, _ = phase_scale(phase)
    found = {}
    for name, shown, norm, map_name in (
        ("amplitude", amplitude, percentile_range(amplitude), AMPLITUDE_COLOURS),
        ("phase", phase, phases, colours),
    ):
        low, high = float(norm.vmin or 0.0), float(norm.vmax or 0.0)
        codes = np.zeros(lit.shape, dtype=np.uint8)
        codes[lit] = 1 + np.clip((shown - low) / (high - low) * 254, 0, 254).astype(np.uint8)
        found[name] = Picture(_png(codes, map_name), low, high)
    return found


def _reduced(image: np.ndarray, lit: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over blocks of step x step of what is lit, and where most of a block is."""
    height, width = (side // step * step for side in image.shape)
    blocks = (height // step, step, width // step, step)
    share = lit[:height, :width].reshape(blocks).mean(axis=(1, 3))
    total = np.where(lit, image, 0)[:height, :width].reshape(blocks).mean(axis=(1, 3))
    return (total / np.maximum(share, 1e-9)).astype(np.complex64), share > 0.5


def _png(codes: np.ndarray, colours: str) -> bytes:
    """Colours 1 to 255 of a map; 0 is transparent."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[1:] = np.round(mpl.colormaps[colours](np.linspace(0, 1, 255))[:, :3] * 255)
    picture = Image.fromarray(codes if codes.size else np.zeros((1, 1), dtype=np.uint8), "P")
    picture.putpalette(table.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1, transparency=0)
    return buffer.getvalue()
