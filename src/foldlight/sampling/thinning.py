"""Splitting counts instead of frames: two independent exposures out of one."""

from dataclasses import replace

import numpy as np

from foldlight.core.errors import DataError
from foldlight.scan import Frames, Scan

__all__ = ["thin"]


def thin(scan: Scan, fraction: float, rng: np.random.Generator) -> tuple[Scan, Scan]:
    """Give each photon to the first scan with probability `fraction`, else to the second.

    The two are independent Poisson frames with means `p lam` and `(1 - p) lam`: fit on one, score on the other. Probes
    are scaled along. The frames are held in memory.

    Raises:
        DataError: the photons are not whole numbers, or `fraction` is not inside (0, 1).

    Source: design/physics, splitting counts instead of frames.
    """
    if not 0 < fraction < 1:
        raise DataError(f"thinning: expected a fraction between 0 and 1, got {fraction}")
    if not scan.photons.whole:
        raise DataError("thinning: expected counted photons (whole numbers), got scaled values; give the photon scale")
    kept = np.concatenate(
        scan.photons.map(lambda block: rng.binomial(block.astype(np.int64), fraction).astype(np.uint32))
    )
    rest = np.empty_like(kept)
    for start in range(0, len(kept), 256):
        rest[start : start + 256] = scan.photons[start : start + 256].astype(np.uint32) - kept[start : start + 256]
    return _exposure(scan, kept, fraction, "kept"), _exposure(scan, rest, 1 - fraction, "held out")


def _exposure(scan: Scan, counts: np.ndarray, share: float, name: str) -> Scan:
    return replace(
        scan,
        photons=Frames(counts, whole=True),
        probe=(scan.probe * np.float32(np.sqrt(share))).astype(np.complex64),
        notes=(*scan.notes, f"{name}: {share:.0%} of the photons, by binomial thinning"),
        origin={**scan.origin, "exposure_share": share},
    )
