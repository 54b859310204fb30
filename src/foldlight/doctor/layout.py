"""Where the positions lie: at one place, on a line, twice, far off; and how frames are numbered."""

from collections.abc import Iterator

import numpy as np

from foldlight.doctor.evidence import Evidence
from foldlight.doctor.findings import Finding

__all__ = ["SAME_PX", "extent_px", "numbering", "spread"]

SAME_PX = 1e-3
"""Positions closer than this are one."""

_CLOSE, _THIN = 0.5, 0.1  # of a diameter
_MANY = 16  # positions that make a scan, not a trial
_DOUBLE = 0.02  # share
_ALONE = 5.0  # times the usual distance to the nearest, and more than a diameter
_FEW = 0.05  # share of the positions that can be outliers
_ROOMY = 4.0  # canvases a scan
_LISTED = 1000


def spread(evidence: Evidence) -> Iterator[Finding]:
    """The positions as a whole, then one by one."""
    positions, diameter = evidence.scan.positions_px, evidence.diameter_px
    n, (long, short) = len(positions), extent_px(positions)
    numbers = {"longest_px": long, "shortest_px": short, "diameter_px": diameter}
    if n < 2:
        yield Finding("positions", "note", "one frame: nothing overlaps", numbers=numbers)
    elif long < SAME_PX:
        told, remedy = (
            f"all {n} positions are the same",
            "give the positions of the scan: of one view there is no image",
        )
        yield Finding("positions-all-equal", "stop", told, do=remedy, numbers=numbers)
    elif n >= _MANY and long < _CLOSE * diameter:
        told = f"{n} positions lie within {long:.3g} px, not half of the probe's diameter of {diameter:.1f} px"
        remedy = "check their unit, object pixels are due, and the size of a pixel (--pixel-nm)"
        yield Finding("positions-too-close", "caution", told, "likely", remedy, numbers)
    elif n >= _MANY and short < _THIN * diameter:
        told = f"positions lie on a line, {long:.1f} px long and {short:.2g} px wide"
        remedy = "check that both coordinates are read; a line gives an image as wide as the probe at the most"
        yield Finding("positions-on-a-line", "caution", told, "likely", remedy, numbers)
    else:
        yield Finding("positions", "fine", f"positions cover {long:.0f} x {short:.0f} px", numbers=numbers)
        yield from _doubles(evidence)
        yield from _outliers(evidence)
        yield from _canvas(evidence)


def extent_px(positions: np.ndarray) -> tuple[float, float]:
    """Length of the positions along their longest axis, and across it [px]."""
    centred = positions - positions.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    short, long = np.ptp(centred @ axes, axis=0)
    return float(long), float(short)


def _doubles(evidence: Evidence) -> Iterator[Finding]:
    """Positions that several frames share."""
    count, n = int((evidence.nearest[0] < SAME_PX).sum()), len(evidence.scan)
    told = f"{count} of {n} frames share their position with another"
    if count > max(2, _DOUBLE * n):
        remedy = "nothing where exposures were repeated; else the stage or its encoder stood still: correct positions"
        yield Finding("duplicate-positions", "caution", told, "possible", remedy, {"count": count})
    elif count:
        yield Finding("duplicate-positions", "note", told, numbers={"count": count})


def _outliers(evidence: Evidence) -> Iterator[Finding]:
    """Positions far from all others."""
    distance, numbers = evidence.nearest[0], evidence.scan.frame_index
    far = np.flatnonzero(distance > max(evidence.diameter_px, _ALONE * float(np.median(distance))))
    if not 0 < len(far) <= max(1, _FEW * len(distance)):
        return
    shown = ", ".join(map(str, numbers[far[:6]])) + ", ..." * (len(far) > 6)
    yield Finding(
        "positions-outlying",
        "caution",
        f"{len(far)} frames lie alone, up to {distance[far].max():.0f} px from the next, numbers {shown}",
        "likely",
        "leave them out or correct their positions: nothing joins them to the others",
        {"count": len(far), "frames": numbers[far[:_LISTED]].tolist()},
    )


def _canvas(evidence: Evidence) -> Iterator[Finding]:
    """An object array far larger than what was scanned."""
    scan = evidence.scan
    needed = float(np.prod(np.ptp(scan.positions_px, axis=0) + np.array(scan.window)))
    ratio = float(np.prod(np.array(scan.canvas, dtype=np.float64))) / needed
    if ratio > _ROOMY:
        told = f"the object of {scan.canvas[0]} x {scan.canvas[1]} px is {ratio:.1f} times as large as what was scanned"
        remedy = "none but for memory; --ignore-object places the scan on a canvas of its own"
        yield Finding("canvas", "note", told, do=remedy, numbers={"ratio": ratio})


def numbering(evidence: Evidence) -> Iterator[Finding]:
    """Numbers of frames that are there twice, or not there."""
    number = np.unique(evidence.scan.frame_index)
    twice = len(evidence.scan) - len(number)
    if twice:
        told = f"{twice} of {len(evidence.scan)} frames have the number of another"
        remedy = "see whether a scan was appended to itself, or counters began anew"
        yield Finding("duplicate-indexes", "caution", told, "likely", remedy, {"count": twice})
    missing = int(number[-1] - number[0] + 1) - len(number)
    if missing:
        first = int(number[:-1][np.diff(number) > 1][0]) + 1
        told = f"{missing} numbers between {number[0]} and {number[-1]} have no frame, the first is {first}"
        remedy = "none where frames were chosen; else see that their positions were left out too"
        yield Finding("missing-indexes", "note", told, "certain", remedy, {"count": missing, "first": first})
    if not (twice or missing):
        yield Finding("indexes", "fine", f"frames are numbered from {number[0]} to {number[-1]}")
