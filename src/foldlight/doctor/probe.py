"""Does the probe go with frames and window: its power, its place, its size, and how large a pixel is."""

from collections.abc import Iterator

import numpy as np

from foldlight.doctor.evidence import Evidence
from foldlight.doctor.findings import Finding
from foldlight.geometry import Geometry
from foldlight.io.evidence import beam_shares

__all__ = ["lengths", "power", "sampling"]

_TOO_BRIGHT, _TOO_DARK = 1.25, 0.01  # transmission of the flat object that explains the counts; probes are off by 10 %
_CORNER = 4.0  # times more light there than in the middle
_RIM_SHARE = 0.03  # of the probe's light in the outer sixteenth of its window; good scans gave up to 0.012
_NARROW = 1.5  # windows a probe
_OFF = 0.02  # relative


def power(evidence: Evidence) -> Iterator[Finding]:
    """What the flat object would transmit that explains the counts with this probe."""
    mask = evidence.scan.mask
    expected, counted = float(evidence.far_field[mask].sum()), float(evidence.frames.mean[mask].sum())
    if not (expected > 0 and counted > 0):
        return  # no photons, or all light masked, are findings of their own
    transmission = counted / expected
    numbers = {"transmission": transmission, "probe_photons": float(evidence.light.sum())}
    told = f"frames hold {transmission:.3g} of the probe's photons"
    if _TOO_DARK <= transmission <= _TOO_BRIGHT:
        yield Finding("probe-power", "fine", told, numbers=numbers)
        return
    why = "objects do not give light" if transmission > 1 else "hardly any object is so dark"
    remedy = f"multiply the probe by {np.sqrt(transmission):.4g}, or let an engine refine it"
    yield Finding("probe-power", "caution", f"{told}: {why}", "likely", remedy, numbers)


def sampling(evidence: Evidence) -> Iterator[Finding]:
    """Does the probe fit its window, in the middle of it.

    Frames of N pixels resolve the fringes of exit waves up to N / 2 wide [Nyquist]; overlap makes up for wider ones
    [Edo et al., Phys. Rev. A 87 (2013) 053850], but not for light that leaves the window and comes in again.
    """
    light, side = evidence.light, min(evidence.scan.window)
    held, rim, ratio = evidence.diameters_px["energy_99"], _rim(light), side / evidence.diameter_px
    numbers = {"window_over_probe": ratio, "probe_99_px": held, "light_at_rim": rim}
    middle, corner = beam_shares(light)
    told = (
        f"the window is {ratio:.2g} times the probe ({side} and {evidence.diameter_px:.1f} px, participation; 99 % of"
        f" its light within {held:.1f} px), {rim:.1%} of its light at the rim"
    )
    if corner > _CORNER * middle:
        yield Finding(
            "probe-in-corner",
            "stop",
            f"{corner:.0%} of the probe's light lies in the corners of its window, {middle:.0%} in the middle",
            "likely",
            "move it to [N // 2, N // 2] in the file (numpy.fft.fftshift), or give another (--probe-from)",
            numbers,
        )
    elif rim > _RIM_SHARE:
        yield Finding(
            "probe-cut-off",
            "caution",
            f"{told}: what leaves the window comes in at its other side",
            "likely",
            "a wider window needs smaller detector pixels or a longer distance; else a smaller or sharper probe",
            numbers,
        )
    elif ratio < _NARROW:
        yield Finding(
            "undersampled",
            "caution",
            f"{told}: fringes finer than two pixels",
            "likely",
            "bin less, move the detector back, or make the probe smaller; until then take dense steps",
            numbers,
        )
    else:
        yield Finding("sampling", "fine", told, numbers=numbers)


def _rim(light: np.ndarray) -> float:
    """Share of the light within a sixteenth of the window of its edges."""
    height, width = (max(1, size // 16) for size in light.shape)
    return max(0.0, float(1 - light[height:-height, width:-width].sum() / light.sum()))


def lengths(evidence: Evidence) -> Iterator[Finding]:
    """Whether the size of an object pixel follows from wavelength, distance and detector pixel."""
    geometry = evidence.scan.geometry
    if geometry is None:
        yield Finding("pixel-size", "note", "the size of a pixel is not known: images are in pixels, without a scale")
        return
    sizes = [size * 1e9 for size in geometry.pixel_size_m]
    told = f"an object pixel is {sizes[0]:.4g} x {sizes[1]:.4g} nm"
    wavelength, distance, detector = geometry.wavelength_m, geometry.distance_m, geometry.detector_pixel_m
    if wavelength is None or distance is None or detector is None:
        yield Finding("pixel-size", "fine", told, numbers={"pixel_nm": sizes})
        return
    due = [size * 1e9 for size in Geometry.far_field(evidence.scan.window, wavelength, distance, detector).pixel_size_m]
    numbers = {"pixel_nm": sizes, "pixel_due_nm": due}
    if np.allclose(sizes, due, rtol=_OFF):
        yield Finding("pixel-size", "fine", f"{told}, as wavelength, distance and detector say", numbers=numbers)
        return
    yield Finding(
        "pixel-size",
        "caution",
        f"{told}, but wavelength * distance / (N * detector pixel) is {due[0]:.4g} x {due[1]:.4g} nm",
        "certain",
        "positions are in these pixels: correct what is wrong by --pixel-nm, --distance-m, --energy-kev or"
        " --detector-pixel-um; frames may have been binned or cropped after the file's numbers were written",
        numbers,
    )
