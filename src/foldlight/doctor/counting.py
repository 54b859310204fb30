"""Are the numbers photons: counts or their roots, one by one or in another unit, and enough of them."""

from collections.abc import Iterator

import numpy as np

from foldlight.core.errors import DataError
from foldlight.doctor.evidence import Evidence
from foldlight.doctor.findings import Finding
from foldlight.doctor.gain import NOISELESS, Gain
from foldlight.io.evidence import is_whole, judge_values
from foldlight.optics.coverage import well_lit
from foldlight.scan import place_on_canvas

__all__ = ["amount", "units"]

_LEVELS = 256
_SQUARES = 4  # distinct squares above 1, and no other numbers, are no accident
_ROOTS = 0.5  # of its value in the dark, what variance over mean falls to where roots of counts are bright: 0.1 to 0.3
_AGREED = 1.5  # bounds on a unit that are one
_FAINT, _VAGUE = 10.0, 2.0  # photons an object pixel: phases within 0.22 and 0.5 rad at the best
_PATCH_WINDOWS, _PATCH_PIXELS = 2.0, 2**24  # of the middle of a scan, from which the light on the object is told


def units(evidence: Evidence) -> Iterator[Finding]:
    """Roots taken for counts and the reverse; units that are not photons; noise that is not of photons."""
    sample = evidence.frames.sample
    whole = is_whole(sample)
    yield _roots(sample) or _squares(sample, whole) or _noise(evidence, whole)


def _roots(sample: np.ndarray) -> Finding | None:
    """Numbers that are not whole, but whose squares are."""
    try:
        found = judge_values(sample, convention="intensity")
    except DataError:
        return None
    if found.choice == "intensity":
        return None
    return Finding(
        "amplitude-as-intensity",
        "stop",
        f"frames hold roots of counts, not counts: {found.reason.split(',')[0]}",
        do="read with --values amplitude",
    )


def _squares(sample: np.ndarray, whole: bool) -> Finding | None:
    """Whole numbers that all are squares."""
    roots = np.sqrt(np.unique(sample[sample > 1])[:_LEVELS])
    if not whole or len(roots) < _SQUARES or not is_whole(roots):
        return None
    shown = ", ".join(f"{root**2:.0f}" for root in roots[:4])
    return Finding(
        "intensity-as-amplitude",
        "stop",
        f"every count is a square ({shown}, ...): counts were taken for roots and squared",
        do="read with --values intensity",
    )


def _noise(evidence: Evidence, whole: bool) -> Finding:
    """What variance over mean says."""
    gain, kind = evidence.gain, "whole" if whole else "not whole"
    if gain is None:
        told = f"counts are {kind}; too little light, or too few frames, to tell their noise"
        return Finding("photon-unit", "fine" if whole else "note", told, "possible")
    told = f"counts are {kind}, their variance {gain.value:.3g} of their mean"
    numbers = {"units_per_photon": gain.value, "standard_error": gain.error, "fall": gain.fall, "whole": whole}
    if gain.fall < _ROOTS:
        return Finding(
            "amplitude-as-intensity",
            "stop",
            f"{told} at the least, {gain.fall:.0%} of what it is in dark pixels: noise grows with the light in counts,"
            " not in their roots",
            "likely",
            "read with --values amplitude, or undo what compressed the counts",
            numbers,
        )
    if gain.too_low or gain.too_high:
        return _other_unit(gain, _quantum(evidence.frames.sample, gain.value), told, numbers)
    if whole:
        return Finding("photon-unit", "fine", f"{told}, as of photons", numbers=numbers)
    remedy = "read frames as they were counted where you can: only whole photons can be dealt out to be held back"
    return Finding("photon-unit", "note", f"{told}, as of photons: corrected after counting", "likely", remedy, numbers)


def _other_unit(gain: Gain, quantum: float | None, told: str, numbers: dict[str, float | bool]) -> Finding:
    """Noise that says that a photon is not 1."""
    if quantum is None and gain.value < NOISELESS:
        return Finding(
            "no-noise",
            "caution",
            f"{told}, 1 expected of photons: no photon noise, or a photon is a very small number",
            "likely",
            "give --scale, what makes the numbers photons; frames without noise say nothing about doses",
            numbers,
        )
    numbers = {**numbers, "units_per_photon_by_the_other_bound": gain.other}
    if quantum is None and gain.too_high and gain.other > _AGREED * gain.value:
        return Finding(
            "photon-unit",
            "caution",
            f"{told} at the least, 1 expected of photons: a photon is {gain.value:.3g} to {gain.other:.3g} units,"
            " blurred by other noise",
            "possible",
            "read with --scale, one over the detector's units per photon",
            numbers,
        )
    unit = quantum or gain.value
    return Finding(
        "photon-unit",
        "caution",
        f"{told}, 1 expected of photons: a photon is about {unit:.4g} units",
        "certain" if quantum else "likely",
        f"read with --scale {1 / unit:.4g}{'' if quantum else ', or with --values amplitude if these are roots'}",
        {**numbers, "scale": 1 / unit},
    )


def _quantum(sample: np.ndarray, gain: float) -> float | None:
    """The number of which all values are whole multiples, where it is about the gain; None where there is none."""
    levels = np.unique(sample[sample > 0])[:_LEVELS].astype(np.float64)
    if len(levels) < _SQUARES or not 0.6 < levels[0] / max(gain, 1e-300) < 1.7:
        return None
    multiples = levels / levels[0]
    if (np.abs(multiples - np.rint(multiples)) > 1e-5 * multiples).any():
        return None
    return float(levels.sum() / np.rint(multiples).sum())


def amount(evidence: Evidence) -> Iterator[Finding]:
    """Photons a frame and an object pixel, and the least error of a phase that any method can have with them.

    `sigma_phi >= 1 / sqrt(2 n)` for n photons through an object pixel. Source: docs/physics.md, the dose limit.
    """
    each = float(evidence.frames.totals.mean()) / evidence.unit
    if each <= 0:
        yield Finding("photons", "stop", "no frame holds photons on trusted pixels", do="check the frames and the mask")
        return
    through = _per_object_pixel(evidence, each)
    error = float(1 / np.sqrt(2 * through))
    numbers = {"photons_per_frame": each, "photons_per_object_pixel": through, "least_phase_error_rad": error}
    told = f"{each:,.4g} photons a frame, {through:.3g} an object pixel: phases within {error:.2g} rad at the best"
    if through >= _FAINT:
        yield Finding("photons", "fine", told, numbers=numbers)
        return
    yield Finding(
        "photons",
        "caution" if through < _VAGUE else "note",
        f"{told}, at full resolution",
        do=f"expose {_FAINT / through:.2g} times longer, or take --engine hybrid and expect a coarser image",
        numbers=numbers,
    )


def _per_object_pixel(evidence: Evidence, each: float) -> float:
    """Photons through an object pixel, of the frames about the middle of the scan [photon]."""
    light, positions = evidence.light, evidence.scan.positions_px
    away = np.abs(positions - np.median(positions, axis=0))
    near = np.flatnonzero((away <= _PATCH_WINDOWS * np.array(light.shape)).all(axis=1))
    near = near if len(near) else np.argmin(away.sum(axis=1), keepdims=True)
    closest = near[np.argsort((away[near] ** 2).sum(axis=1), kind="stable")]
    placed, canvas = place_on_canvas(positions[closest[: max(1, _PATCH_PIXELS // light.size)]], evidence.scan.window)
    coverage = np.zeros(canvas)
    for y, x in np.rint(placed).astype(int) - np.array(light.shape) // 2:
        coverage[y : y + light.shape[0], x : x + light.shape[1]] += light
    return float(np.median(coverage[well_lit(coverage)]) * each / light.sum())
