"""Splitting counts instead of frames: two independent exposures out of one."""

import math
from dataclasses import replace
from functools import partial

import numpy as np

from foldlight.core.errors import DataError
from foldlight.core.provenance import sha256_arrays
from foldlight.core.seeds import numbered
from foldlight.frames import Frames, LazyFrames
from foldlight.scan import Scan

__all__ = ["HELD_BYTES", "thin"]

HELD_BYTES = 2**30
"""Of both exposures: up to here they are dealt once and held, beyond they are dealt when they are read."""


def thin(scan: Scan, fraction: float, rng: np.random.Generator) -> tuple[Scan, Scan]:
    """Give each photon to the first scan with probability `fraction`, else to the second.

    The two are independent Poisson frames with means `p lam` and `(1 - p) lam`: fit on one, score on the other. Probes
    are scaled along; pixels outside the mask are dealt nothing. How a frame is dealt depends on the state of `rng` and
    on the frame's number, not on the others, so thinning and selecting frames may come in any order; frames that are
    not in memory, where they are many, are dealt anew whenever they are read.

    Raises:
        DataError: the photons are not whole numbers, or `fraction` is not inside (0, 1).

    Source: docs/physics.md, splitting counts instead of frames.
    """
    if not 0 < fraction < 1:
        raise DataError(f"thinning: expected a fraction between 0 and 1, got {fraction}")
    if not scan.photons.whole:
        raise DataError("thinning: expected counted photons (whole numbers), got scaled values; give the photon scale")
    key = int(rng.integers(2**63 - 1))
    held = 2 * _counts_type(scan.photons).itemsize * math.prod(scan.photons.shape) <= HELD_BYTES
    kept, rest = (_held if scan.photons.in_memory or held else _lazy)(scan, fraction, key)
    return _exposure(scan, kept, fraction, "kept"), _exposure(scan, rest, 1 - fraction, "held out")


def _held(scan: Scan, fraction: float, key: int) -> list[Frames]:
    """Both exposures, dealt now."""
    sides = np.empty((2, *scan.photons.shape), dtype=_counts_type(scan.photons))
    for block in scan.photons.blocks():
        sides[:, block] = _dealt(scan, fraction, key, np.arange(len(scan))[block])
    return [Frames(counts, whole=True) for counts in sides]


def _counts_type(frames: Frames) -> np.dtype:
    """What counts that are part of these are held as: as they are stored, where they are stored as counts."""
    stored = frames.stored.dtype
    as_stored = stored.kind == "u" and not frames.amplitude and frames.scale == 1.0
    return stored if as_stored and stored.itemsize < 4 else np.dtype(np.uint32)


def _lazy(scan: Scan, fraction: float, key: int) -> list[Frames]:
    """Both exposures, to be dealt when read."""
    places, dtype = np.arange(len(scan)), np.dtype(np.uint32)
    return [
        Frames(LazyFrames(partial(_side, scan, fraction, key, side), places, scan.window, dtype, recipe), whole=True)
        for side, recipe in enumerate(_recipes(scan, fraction, key))
    ]


def _side(scan: Scan, fraction: float, key: int, side: int, places: np.ndarray) -> np.ndarray:
    """(k, y, x) counts of the frames at some places that went to one of the sides."""
    return _dealt(scan, fraction, key, places)[side]


def _dealt(scan: Scan, fraction: float, key: int, places: np.ndarray) -> np.ndarray:
    """(2, k, y, x) counts of the frames at some places that went to the first and to the second."""
    counts = np.where(scan.mask, scan.photons[places], 0).astype(np.uint32)
    draws = numbered(key, scan.frame_index[places])
    kept = np.stack([rng.binomial(frame, fraction) for frame, rng in zip(counts, draws, strict=True)])
    return np.stack([kept.astype(np.uint32), counts - kept.astype(np.uint32)])


def _recipes(scan: Scan, fraction: float, key: int) -> tuple[str, str]:
    """What determines each side's frames, where those of the scan have a recipe themselves."""
    if not (isinstance(scan.photons.stored, LazyFrames) and scan.photons.stored.recipe):
        return "", ""
    source = sha256_arrays(*scan.photons.digests, scan.mask, scan.frame_index)
    return f"{source} kept {fraction!r} {key}", f"{source} held out {fraction!r} {key}"


def _exposure(scan: Scan, photons: Frames, share: float, name: str) -> Scan:
    return replace(
        scan,
        photons=photons,
        probe=(scan.probe * np.float32(np.sqrt(share))).astype(np.complex64),
        notes=(*scan.notes, f"{name}: {share:.0%} of the photons, by binomial thinning"),
        origin={**scan.origin, "exposure_share": share},
    )
