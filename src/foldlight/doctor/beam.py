"""Is the light steady and where the probe sends it: the beam on the detector, its drift, dark frames, brightness."""

from collections.abc import Iterator

import numpy as np

from foldlight.doctor.evidence import Evidence
from foldlight.doctor.findings import Finding
from foldlight.io.evidence import beam_shares

__all__ = ["centre", "drift", "offset_px", "steadiness"]

_OFF_PX, _OFF_SHARE = (
    1.5,
    0.03,
)  # pixels, or of the window where that is more; good scans gave 0.06 px, a measured one 1.7
_CORNER = 4.0  # times more light there than in the middle, as the readers ask
_LIKE = 0.6  # correlation of amplitudes; good scans gave 0.87 and more, a measured one with a guessed probe 0.93
_DRIFT_PX = 1.0  # good scans gave up to 0.4
_SURE = 4.0  # standard errors
_EACH = 4  # frames of each part of a scan that a trend is told by, and parts
_DARK, _DARKER = 0.1, 0.3  # of the usual photons; of those of the frame beside it
_DRIFTED = 0.5  # of the mean over the scan; objects that are unlike at the scan's ends give 0.4, seldom more
_LISTED = 1000


def centre(evidence: Evidence) -> Iterator[Finding]:
    """Where the mean frame lies beside the far field of the probe, and how like it is."""
    trusted = evidence.scan.mask
    seen, sent = (np.sqrt(np.where(trusted, image, 0)) for image in (evidence.frames.mean, evidence.far_field))
    if not (seen.any() and sent.any()):
        return
    (middle, corner), (own_middle, own_corner) = beam_shares(seen**2), beam_shares(evidence.far_field)
    (y, x), likeness = offset_px(seen, sent)
    numbers = {"offset_y_px": y, "offset_x_px": x, "likeness": likeness}
    if corner > _CORNER * middle and own_middle > _CORNER * own_corner:
        yield Finding(
            "beam-in-corner",
            "stop",
            f"{corner:.0%} of the light lies in the corners of the frames, where the probe sends {own_corner:.1%}",
            do="read with --zero-frequency corner (or centre, if corner was given)",
            numbers=numbers,
        )
        return
    limits = [max(_OFF_PX, _OFF_SHARE * size) for size in trusted.shape]
    told = f"frames lie (y, x) = ({y:+.1f}, {x:+.1f}) px from where the probe sends its light"
    if likeness < _LIKE:
        yield Finding(
            "probe-unlike-frames",
            "caution",
            f"the mean frame is little like the probe's far field, {likeness:.0%} (correlation of amplitudes)",
            "likely",
            "give a probe of these frames (--probe-from), check the size of a pixel, and try foldlight orient",
            numbers,
        )
    elif abs(y) > limits[0] or abs(x) > limits[1]:
        yield Finding(
            "beam-off-centre",
            "caution",
            told,
            "likely",
            "read with --centre-px, where the file has the direct beam, or give a probe of these frames (--probe-from)",
            numbers,
        )
    else:
        yield Finding("beam-centre", "fine", f"{told}, {likeness:.0%} alike", numbers=numbers)


def offset_px(image: np.ndarray, other: np.ndarray) -> tuple[tuple[float, float], float]:
    """How far (y, x) an image is moved against another, to a part of a pixel, and their correlation there, up to 1.

    The peak of the cross-correlation, with a parabola through it and its neighbours along each axis.
    """
    one, two = image - image.mean(), other - other.mean()
    match = np.fft.ifft2(np.fft.fft2(one) * np.fft.fft2(two).conj()).real
    y, x = np.unravel_index(int(np.argmax(match)), match.shape)
    norm = float(np.linalg.norm(one) * np.linalg.norm(two))
    return (_peak(match[:, x], int(y)), _peak(match[y], int(x))), float(match[y, x]) / norm if norm else 0.0


def _peak(profile: np.ndarray, at: int) -> float:
    """Place of the peak of a periodic profile, from minus half its length on."""
    size = len(profile)
    before, top, after = (float(profile[(at + step) % size]) for step in (-1, 0, 1))
    bend = before - 2 * top + after
    part = (before - after) / (2 * bend) if bend < 0 else 0.0
    return (at + part + size // 2) % size - size // 2


def drift(evidence: Evidence) -> Iterator[Finding]:
    """A straight line through the beam's place on the detector in each part of the scan."""
    parts = np.sqrt(evidence.frames.epochs)
    if not _enough(evidence) or not parts.any():
        return
    places = np.array([offset_px(part, parts.mean(axis=0))[0] for part in parts])
    moved, error = _trend(places)
    numbers = {"drift_y_px": float(moved[0]), "drift_x_px": float(moved[1]), "standard_errors_px": error.tolist()}
    if ((np.abs(moved) > _DRIFT_PX) & (np.abs(moved) > _SURE * error)).any():
        yield Finding(
            "beam-drift",
            "caution",
            f"the beam moved by (y, x) = ({moved[0]:+.1f}, {moved[1]:+.1f}) px on the detector during the scan",
            "likely",
            "align frames to the beam before they are read, or take the scan in parts, with a probe each",
            numbers,
        )
    else:
        told = f"the beam stayed within {np.abs(moved).max():.1f} px on the detector"
        yield Finding("beam-drift", "fine", told, numbers=numbers)


def _enough(evidence: Evidence) -> bool:
    """Whether a trend can be told."""
    parts = len(evidence.frames.epochs)
    return parts >= _EACH and len(evidence.frames.index) >= _EACH * parts


def _trend(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(c,) change of each column from the first row to the last by least squares, and its standard error."""
    steps = np.arange(len(series)) - (len(series) - 1) / 2
    slope = steps @ series / (steps @ steps)
    left = series - series.mean(axis=0) - steps[:, None] * slope
    error = np.sqrt((left**2).sum(axis=0) / (len(series) - 2) / (steps @ steps))
    return slope * (len(series) - 1), error * (len(series) - 1)


def steadiness(evidence: Evidence) -> Iterator[Finding]:
    """Frames without light, frames that are there twice, light that rises or falls."""
    frames, numbers = evidence.frames, evidence.scan.frame_index
    usual = float(np.median(frames.totals))
    dark = frames.index[_dark(evidence, usual)]
    if len(dark):
        shown = ", ".join(map(str, numbers[dark[:6]])) + ", ..." * (len(dark) > 6)
        yield Finding(
            "dark-frames",
            "caution",
            f"{len(dark)} of {len(frames.index)} frames have less than a tenth of the usual {usual:,.4g} photons,"
            f" numbers {shown}",
            "likely",
            "leave them out: the beam was lost or the shutter closed (an opaque sample would do the same)",
            {"count": len(dark), "frames": numbers[dark[:_LISTED]].tolist()},
        )
    else:
        yield Finding("dark-frames", "fine", f"none of {len(frames.index)} frames is dark")
    if frames.twins:
        half = frames.twins > len(frames.index) // 2
        yield Finding(
            "frozen-frames" if half else "identical-frames",
            "stop" if half else "caution",
            f"{frames.twins} of {len(frames.index)} frames equal another in every pixel",
            "certain" if usual > 100 * evidence.unit else "possible",
            "see what the detector or the file's writer did"
            if half
            else "leave the copies out, and see whether positions still belong to their frames",
            {"count": frames.twins},
        )
    if _enough(evidence) and usual > 0:
        yield _brightness(evidence)


def _dark(evidence: Evidence, usual: float) -> np.ndarray:
    """(k,) bool frames far darker than usual and, where it was read, than the frame beside them, not by chance."""
    frames = evidence.frames
    totals = np.full(len(evidence.scan), np.nan)
    totals[frames.index] = frames.totals
    highest = frames.totals + 5 * np.sqrt((frames.totals + evidence.unit) * evidence.unit)
    beside = totals[evidence.nearest[1][frames.index]]
    sample = (frames.totals > _DARKER * beside) & (beside > _DARK * usual)  # not where it is unknown
    return np.asarray((frames.totals < _DARK * usual) & (highest < _DARKER * usual) & ~sample)


def _brightness(evidence: Evidence) -> Finding:
    """A trend of the photons a frame that stands out of what the object does."""
    parts = evidence.frames.epochs.sum(axis=(1, 2))
    (change,), (error,) = _trend(parts[:, None] / parts.mean())
    numbers = {"change": float(change), "standard_error": float(error)}
    told = f"frames change in brightness by {change:+.0%} over the scan"
    if abs(change) <= max(_DRIFTED, _SURE * error):
        return Finding("brightness-drift", "fine", told, numbers=numbers)
    remedy = "divide by the beam monitor before the scan is written; nothing where the sample is darker at one end"
    return Finding("brightness-drift", "caution", told, "possible", remedy, numbers)
