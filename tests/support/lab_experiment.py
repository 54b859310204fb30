"""An experiment in the laboratory's frame, worked out from wave optics and lengths alone: for tests of CXI and NeXus.

The sample moves through a beam that stays; the detector lies anyhow across it. Nothing here knows of object pixels in
rows and columns: what a reader makes of the lengths is compared with these frames.
"""

from dataclasses import dataclass

import numpy as np

WAVELENGTH_M, DISTANCE_M = 1.3e-10, 1.7
JOULE = 6.62607015e-34 * 299792458 / WAVELENGTH_M


@dataclass(frozen=True)
class LabExperiment:
    """Frames and the lengths behind them.

    Attributes:
        rows, columns: (3,) unit vectors (x, y, z) from row to row and from column to column.
        pixel_m: (y, x) of a detector pixel.
        translation_m: (n, 3) displacement of the sample.
        frames: (n, y, x) uint16 photons, rounded, not drawn.
    """

    rows: np.ndarray
    columns: np.ndarray
    pixel_m: tuple[float, float]
    translation_m: np.ndarray
    frames: np.ndarray

    @property
    def basis(self) -> np.ndarray:
        """(2, 3) vectors [m], rows' first."""
        return np.stack([self.rows * self.pixel_m[0], self.columns * self.pixel_m[1]])

    def probe(self, window: tuple[int, int]) -> np.ndarray:
        """(1, y, x) complex64 in a frame's axes."""
        return light(self.grid(window))[None].astype(np.complex64)

    def grid(self, window: tuple[int, int]) -> np.ndarray:
        """(y, x, 3) points [m] across the beam that the discrete Fourier transform ties to the detector's pixels."""
        height, width = window
        steps = [WAVELENGTH_M * DISTANCE_M / (n * p) for n, p in zip(window, self.pixel_m, strict=True)]
        down = (np.arange(height) - height // 2)[:, None, None] * steps[0] * self.rows
        return down + (np.arange(width) - width // 2)[None, :, None] * steps[1] * self.columns


def light(points: np.ndarray) -> np.ndarray:
    """The probe at points (..., 3) [m] of the laboratory: no mirror or turn leaves it as it is."""
    x, y = points[..., 0] * 1e7, points[..., 1] * 1e7
    return 40 * np.exp(-((x - 0.4) ** 2) / 9 - (y + 0.3) ** 2 / 5 + 0.1j * (x**2 - 2 * y**2 + 0.7 * x * y + x))


def matter(points: np.ndarray) -> np.ndarray:
    """The sample's transmission at points (..., 3) [m] of its own frame."""
    x, y = points[..., 0] * 1e7, points[..., 1] * 1e7
    thickness = 1 + 0.5 * np.sin(0.6 * x + 0.2) * np.cos(0.9 * y - 0.3 * x) + 0.05 * x
    return np.exp(-(0.2 + 0.9j) * thickness)


def lab_experiment(
    rows: tuple[float, float, float] = (0, -1, 0),
    columns: tuple[float, float, float] = (-1, 0, 0),
    window: tuple[int, int] = (12, 16),
    n: int = 5,
    translation: np.ndarray | None = None,
) -> LabExperiment:
    """Frames of a sample in `n` places, by a direct sum over the beam of `exp(-2 pi i r q / (wavelength distance))`."""
    if translation is None:
        translation = np.pad(np.random.default_rng(4).uniform(-6e-7, 6e-7, (n, 2)), ((0, 0), (0, 1)))
    made = LabExperiment(
        np.array(rows, dtype=float), np.array(columns, dtype=float), (150e-6, 110e-6), translation, np.zeros(0)
    )
    beam = made.grid(window)
    height, width = window
    pixels = (np.arange(height) - height // 2)[:, None, None] * made.basis[0]
    pixels = pixels + (np.arange(width) - width // 2)[None, :, None] * made.basis[1]
    kernel = np.exp(-2j * np.pi * np.einsum("abk,yxk->yxab", beam, pixels) / (WAVELENGTH_M * DISTANCE_M))
    exits = np.stack([light(beam) * matter(beam - displaced) for displaced in translation])
    waves = np.einsum("yxab,nab->nyx", kernel, exits) / np.sqrt(height * width)
    frames = np.rint(np.abs(waves) ** 2).astype(np.uint16)
    return LabExperiment(made.rows, made.columns, made.pixel_m, translation, frames)


def expected(made: LabExperiment, positions_px: np.ndarray) -> np.ndarray:
    """(n, y, x) frames if a reader's positions are right: the sample is looked up where they say, from the first on."""
    window = (made.frames.shape[1], made.frames.shape[2])
    beam = made.grid(window)
    steps = np.stack([beam[1, 0] - beam[0, 0], beam[0, 1] - beam[0, 0]])
    first = -made.translation_m[0]
    exits = [light(beam) * matter(beam + first + (place - positions_px[0]) @ steps) for place in positions_px]
    waves = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(exits, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
    return np.abs(waves) ** 2
