"""A small piece of a scan that tells as much of its orientation as the whole.

Neighbours, because positions speak only through what overlapping frames share; where frames differ most from each
other, because an empty spot looks alike any way round; and no more of the detector than holds the light, because the
outer part costs much and tells little.
"""

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import KDTree

from foldlight.core.errors import DataError
from foldlight.frames import Frames
from foldlight.optics.fourier import fourier, inverse_fourier
from foldlight.optics.probes import participation_px
from foldlight.scan import Scan, place_on_canvas

__all__ = ["coarse", "patch"]

_LEAST_FRAMES = 12
_SAMPLE = 256  # frames that say where the object is
_AROUND = 9  # of them that are averaged, lest one odd frame decides
_SPREAD = 0.15  # probe diameters between neighbours at least, where there are enough: denser ones tell the same twice
_SIDES = (64, 96, 128, 192, 256, 384, 512, 768, 1024)  # frames are cut to, quick to transform
_HELD = 0.98  # of the light that has to be left


def patch(scan: Scan, most: int) -> Scan:
    """Neighbouring frames where the object shows, nearest to their middle first, in memory.

    Args:
        scan: to choose from.
        most: frames.

    Raises:
        DataError: the scan has too few frames.
    """
    if len(scan) < _LEAST_FRAMES:
        raise DataError(
            f"orientation: expected at least {_LEAST_FRAMES} overlapping frames, got {len(scan)}; compare"
            " reconstructions of the readings in question instead"
        )
    chosen = _neighbours(scan.positions_px, _liveliest(scan), most, _SPREAD * participation_px(scan.probe))
    part = scan.select(chosen)
    positions, canvas = place_on_canvas(part.positions_px, scan.window)
    frames = replace(part.photons, stored=np.asarray(part.photons.stored[:]))
    return replace(part, photons=frames, positions_px=positions, canvas=canvas, object=None, object_is_truth=False)


def _liveliest(scan: Scan) -> np.ndarray:
    """(y, x) [px] where frames differ most from the mean frame, in standard errors of photons."""
    index = np.unique(np.linspace(0, len(scan) - 1, min(_SAMPLE, len(scan))).astype(np.int64))
    sample = scan.select(index)
    amplitudes = np.concatenate(sample.photons.map(lambda block: np.sqrt(np.where(scan.mask, block, 0))))
    difference = ((amplitudes - amplitudes.mean(axis=0)) ** 2).sum(axis=(1, 2), dtype=np.float64)
    places = sample.positions_px
    _, nearest = KDTree(places).query(places, k=min(_AROUND, len(places)))
    middle = np.argmax(np.mean(difference[nearest], axis=1))
    return np.asarray(places[middle])


def _neighbours(positions_px: np.ndarray, middle: np.ndarray, most: int, spacing_px: float) -> np.ndarray:
    """(k,) numbers of the positions nearest to a place, nearest first; those that are near another one come last."""
    distance = np.hypot(*(positions_px - middle).T)
    order = np.argsort(distance, kind="stable")
    sparse: list[int] = []
    for number in order.tolist():
        if len(sparse) == most:
            break
        if not sparse or np.hypot(*(positions_px[sparse] - positions_px[number]).T).min() >= spacing_px:
            sparse.append(number)
    more = np.setdiff1d(order, sparse)
    more = more[np.argsort(distance[more], kind="stable")][: most - len(sparse)]
    chosen = np.concatenate([np.array(sparse, dtype=np.int64), more])
    return np.asarray(chosen[np.argsort(distance[chosen], kind="stable")])


def coarse(scan: Scan) -> Scan:
    """The scan with its frames cut to the middle that holds the light, and so with coarser object pixels.

    The window shows the same part of the object; the probe loses the frequencies beyond the cut, and positions are told
    in the new pixels. What light the object scatters across the cut is lost, which no reading is better off by.
    Source: docs/physics.md, forward model; the discrete Fourier transform of a cut spectrum.
    """
    height, width = scan.window
    light = np.where(scan.mask, scan.photons.mean_frame, 0) / max(scan.photons.mean_frame[scan.mask].sum(), 1e-30)
    spectrum = fourier(torch.from_numpy(scan.probe)).numpy()
    power = np.sum(np.abs(spectrum) ** 2, axis=0)
    for side in _SIDES:
        new = tuple(round(side * size / max(height, width) / 2) * 2 for size in (height, width))
        if side >= max(height, width) or min(new) < 8:
            continue
        box = tuple(
            slice(size // 2 - cut // 2, size // 2 + cut // 2) for size, cut in zip((height, width), new, strict=True)
        )
        if min(light[box].sum(), power[box].sum() / power.sum()) >= _HELD and scan.mask[box].any():
            return _cut(scan, spectrum, box, (new[0], new[1]))
    return scan


def _cut(scan: Scan, spectrum: np.ndarray, box: tuple[slice, ...], window: tuple[int, int]) -> Scan:
    """Frames, mask, spectrum of the probe and positions, on that part of the detector."""
    frames = np.ascontiguousarray(scan.photons[:][:, *box])
    probe = inverse_fourier(torch.from_numpy(np.ascontiguousarray(spectrum[:, *box]))).numpy()
    positions, canvas = place_on_canvas(scan.positions_px * np.array(window) / np.array(scan.window), window)
    return replace(
        scan,
        photons=Frames(frames, whole=scan.photons.whole),
        positions_px=positions,
        probe=probe,
        canvas=canvas,
        object=None,
        object_is_truth=False,
        mask=np.ascontiguousarray(scan.mask[box]),
        geometry=None,
    )
