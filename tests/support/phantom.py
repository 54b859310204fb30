"""A tiny scan that no wrong axis, sign or unit leaves as it is: for tests of formats."""

from dataclasses import replace

import numpy as np

from foldlight.frames import Frames
from foldlight.geometry import Geometry
from foldlight.scan import Scan, place_on_canvas


def phantom_scan(height: int = 12, width: int = 16, n: int = 7, seed: int = 0, modes: int = 2) -> Scan:
    """Whole photons of a complex object behind an asymmetric probe of some modes, with one bad detector pixel.

    Object pixels are about 125 x 102 nm: rows and columns differ, as those of frames and detector do.
    """
    draw = np.random.default_rng(seed)
    window = (height, width)
    positions, canvas = place_on_canvas(draw.uniform((0, 0), (9, 14), (n, 2)), window)
    y, x = np.mgrid[:height, :width] - np.array([height // 2, width // 2])[:, None, None]
    disc = np.exp(-((y - 0.7) ** 2 / 8 + (x + 0.4) ** 2 / 14) + 1j * (0.05 * y**2 - 0.03 * x**2 + 0.07 * y * x))
    probe = np.stack([disc * (0.1 * (y + 2 * x)) ** k * 0.5**k for k in range(modes)])
    probe *= np.sqrt(5e4 / np.sum(np.abs(probe) ** 2))
    rows, columns = np.mgrid[: canvas[0], : canvas[1]]
    thickness = np.sin(0.35 * rows) * np.cos(0.2 * columns + 0.1 * rows) + 0.03 * columns
    image = np.exp(-(0.25 + 1j) * 0.6 * thickness).astype(np.complex64)
    bad = np.zeros(window, dtype=bool)
    bad[1, 3] = True
    frames = np.stack([draw.poisson(_expected(image, probe, place)) for place in positions]).astype(np.uint16)
    geometry = Geometry.far_field(window, 1.2e-10, 1.5, (90e-6 * 16 / height, 110e-6 * 16 / width))
    photons = Frames(frames, whole=True, bad=bad)
    return Scan(
        replace(photons, stored=photons[:].astype(np.uint16), bad=None),
        positions,
        probe.astype(np.complex64),
        canvas,
        object=image,
        object_is_truth=True,
        mask=~bad,
        geometry=geometry,
    )


def _expected(image: np.ndarray, probe: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Photons (y, x) behind one position, whose part below a pixel moves the probe. Source: docs/physics.md."""
    height, width = probe.shape[1:]
    whole = np.round(place).astype(int)
    rest_y, rest_x = place - whole
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    moved = np.fft.ifft2(np.fft.fft2(probe) * np.exp(-2j * np.pi * (rows * rest_y + columns * rest_x)))
    top, left = whole - np.array([height // 2, width // 2])
    exits = np.fft.ifftshift(moved * image[top : top + height, left : left + width], axes=(-2, -1))
    waves = np.fft.fftshift(np.fft.fft2(exits, norm="ortho"), axes=(-2, -1))
    return np.sum(np.abs(waves) ** 2, axis=0)
