"""Is the detector sound: hot, dead and saturated pixels, light cut off at its edges, an even background, its mask."""

from collections.abc import Iterator

import numpy as np

from foldlight.doctor.evidence import Evidence
from foldlight.doctor.findings import Finding

__all__ = ["background", "masked", "pixels", "saturation"]

_LEAST_FRAMES = 8
_CEILING = 16  # units; below, small counts are alike by chance
_CLEAR = 2.0  # times more frames at the ceiling than close to it
_RIM, _CORNERS = (0.8, 1.0), 1.15  # ring at the sides, and beyond it, in fractions of Nyquist
_EVEN = (
    0.85  # of the rim's light in the corners: of what objects scatter it was 0.75 at the most, under hard-edged probes
)
_MUCH = 0.02  # share of all photons
_EDGE = 0.25  # of the mean pixel's light at the detector's rim; good scans gave up to 0.14
_RIM_PHOTONS = 400.0  # for 7 % of statistical error
_HIDDEN, _TRUSTED = 0.1, 0.25  # share of the probe's light on distrusted pixels; least share of trusted ones
_LISTED = 1000


def pixels(evidence: Evidence) -> Iterator[Finding]:
    """Pixels that count what their neighbours never do, and pixels that always give the same number."""
    yield _told("hot-pixels", evidence.hot, "counted over 8 times what their neighbours ever did", evidence)
    yield _told("dead-pixels", evidence.dead, "never change though light falls beside them", evidence)


def _told(code: str, bad: np.ndarray, words: str, evidence: Evidence) -> Finding:
    places = [[int(y), int(x)] for y, x in np.argwhere(bad)]
    if not places:
        return Finding(code, "fine", f"none among {int(evidence.scan.mask.sum())} trusted pixels")
    shown = ", ".join(f"({y}, {x})" for y, x in places[:4]) + ", ..." * (len(places) > 4)
    return Finding(
        code,
        "caution",
        f"{len(places)} trusted pixels {words}, at (y, x) = {shown} of the frames as read",
        "likely",
        "mark them in the file's mask",
        {"count": len(places), "pixels": places[:_LISTED]},
    )


def saturation(evidence: Evidence) -> Iterator[Finding]:
    """A ceiling that many frames reach exactly.

    The brightest counts of frames differ by their noise: where more frames hold exactly the same greatest number than
    come within two standard deviations, or 5 %, of it, something cut them off.
    """
    frames = evidence.frames
    most = frames.brightest[:, ~evidence.hot.any(axis=1)].max(axis=1, initial=0)  # rows without hot pixels
    ceiling = float(most.max())
    close = min(ceiling - 2 * np.sqrt(ceiling * evidence.unit), 0.95 * ceiling)
    ties, near = int((most == ceiling).sum()), int(((most < ceiling) & (most >= close)).sum())
    if ceiling < _CEILING * evidence.unit or ties < _LEAST_FRAMES or ties <= _CLEAR * near:
        yield Finding("saturation", "fine", f"no ceiling below the brightest count of all, {ceiling:,.6g}")
        return
    clipped = max(1, int((frames.sample == ceiling).sum(axis=(1, 2)).max()))
    yield Finding(
        "saturation",
        "caution",
        f"{ties} of {len(most)} frames reach exactly {ceiling:,.6g} and none more, in some {clipped} pixels: saturated",
        "likely",
        "attenuate the beam or expose shorter; until then mark these pixels in the file's mask",
        {"ceiling": ceiling, "frames": ties, "share_of_frames": ties / len(most), "pixels": clipped},
    )


def background(evidence: Evidence) -> Iterator[Finding]:
    """Light at the edges: even, a background; or not, the object's own, cut off.

    What an object scatters falls with the angle, by the third power or faster; there is less of it in the corners of
    the detector than at its sides, and of a background there is not.
    """
    mean, mask = evidence.frames.mean, evidence.scan.mask & ~evidence.hot
    axes = (2 * (np.arange(size) - size // 2) / size for size in mask.shape)
    nyquist = np.hypot(*np.meshgrid(*axes, indexing="ij"))
    rim, corners = mask & (nyquist >= _RIM[0]) & (nyquist < _RIM[1]), mask & (nyquist >= _CORNERS)
    level = float(mean[mask].mean())
    if not (rim.any() and corners.any() and level > 0):
        return
    edge, far = float(mean[rim].mean()), float(mean[corners].mean())
    counted = far * int(corners.sum()) * len(evidence.frames.index) / evidence.unit
    numbers = {"edge_over_mean": edge / level, "corners_over_mean": far / level}
    if counted > _RIM_PHOTONS and far > max(_EVEN * edge, _MUCH * level):
        yield Finding(
            "background",
            "caution",
            f"{far:.3g} photons a pixel lie evenly to the frames' corners, {far / level:.1%} of all: a background",
            "likely",
            "find its source with the sample out, or cut frames where the signal sinks into it (--crop-px):"
            " engines take it for light of the object",
            {**numbers, "photons_per_pixel": far},
        )
    elif edge > _EDGE * level:
        yield Finding(
            "truncated-frames",
            "caution",
            f"at the rim of the frames a pixel still has {edge / level:.0%} of the mean light: they are cut off before"
            " it fades",
            "likely",
            "crop less, or move the detector nearer",
            numbers,
        )
    else:
        told = f"a pixel at the rim of the frames has {edge / level:.2g} of the mean light"
        yield Finding("frame-edges", "fine", told, numbers=numbers)


def masked(evidence: Evidence) -> Iterator[Finding]:
    """How much of the probe's light falls on pixels that are not trusted."""
    mask = evidence.scan.mask
    hidden = float(evidence.far_field[~mask].sum() / evidence.far_field.sum())
    numbers = {"pixels": int((~mask).sum()), "light": hidden}
    told = f"{numbers['pixels']} of {mask.size} pixels are not trusted, {hidden:.1%} of the probe's light falls on them"
    if mask.mean() < _TRUSTED:
        remedy = "check what True means in the file's mask: trusted pixels here, bad ones in some formats"
        yield Finding("mask", "caution", told, "likely", remedy, numbers)
    elif hidden > _HIDDEN:
        yield Finding("mask", "note", told, do="fine of a beamstop; else check the mask", numbers=numbers)
    else:
        yield Finding("mask", "fine", told, numbers=numbers)
