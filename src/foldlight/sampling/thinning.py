"""Splitting counts instead of frames: two independent exposures out of one."""

from dataclasses import replace

import numpy as np

from foldlight.core.errors import DataError
from foldlight.scan import Frames, Scan

__all__ = ["thin"]


def thin(scan: Scan, fraction: float, rng: np.random.Generator) -> tuple[Scan, Scan]:
    """Give each photon to the first scan with probability `fraction`, else to the second.

    The two are independent Poisson frames with means `p lam` and `(1 - p) lam`: fit on one, score on the other. Probes
    are scaled along; pixels outside the mask are dealt nothing. The frames are held in memory.

    Raises:
        DataError: the photons are not whole numbers, or `fraction` is not inside (0, 1).

    Source: docs/physics.md, splitting counts instead of frames.
    """
    if not 0 < fraction < 1:
        raise DataError(f"thinning: expected a fraction between 0 and 1, got {fraction}")
    if not scan.photons.whole:
        raise DataError("thinning: expected counted photons (whole numbers), got scaled values; give the photon scale")
    pairs = scan.photons.map(lambda block: _dealt(np.where(scan.mask, block, 0).astype(np.uint32), fraction, rng))
    kept, rest = np.concatenate(pairs, axis=1)
    return _exposure(scan, kept, fraction, "kept"), _exposure(scan, rest, 1 - fraction, "held out")


def _dealt(counts: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """(2, n, y, x) counts that went to the first and to the second."""
    kept = rng.binomial(counts, fraction).astype(np.uint32)
    return np.stack([kept, counts - kept])


def _exposure(scan: Scan, counts: np.ndarray, share: float, name: str) -> Scan:
    return replace(
        scan,
        photons=Frames(counts, whole=True),
        probe=(scan.probe * np.float32(np.sqrt(share))).astype(np.complex64),
        notes=(*scan.notes, f"{name}: {share:.0%} of the photons, by binomial thinning"),
        origin={**scan.origin, "exposure_share": share},
    )
