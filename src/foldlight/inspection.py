"""What a scan is, in a dozen lines: shape, units, dose, overlap."""

import numpy as np

from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.sampling.overlap import disc_overlap, linear_overlap, nearest_spacing_px, probe_diameters_px
from foldlight.scan import Scan

__all__ = ["describe"]


def describe(scan: Scan) -> dict[str, str]:
    """Facts about a scan under their names, each with its unit.

    Overlaps are those of nearest neighbours, for the participation diameter; the other diameters are printed beside it,
    since the same scan has very different overlaps by different definitions.
    """
    n, height, width = scan.photons.shape
    totals = scan.photons.totals
    diameters = probe_diameters_px(scan.probe)
    diameter = diameters["participation"]
    coverage = coverage_map(scan.probe, scan.positions_px, scan.canvas)
    per_pixel = np.median(coverage[well_lit(coverage)]) * totals.mean() / float(np.sum(np.abs(scan.probe) ** 2))
    low, high = scan.positions_px.min(axis=0), scan.positions_px.max(axis=0)
    facts = {
        "frames": f"{n} of {height} x {width} px, zero frequency at [{height // 2}, {width // 2}]",
        "stored as": f"{scan.photons.stored.dtype} {'amplitude' if scan.photons.amplitude else 'intensity'}"
        f"{'' if scan.photons.in_memory else ', read when needed'}",
        "photons": "counted (whole numbers)" if scan.photons.whole else "not whole numbers: scaled or noise-free",
        "photons per frame": f"{totals.mean():,.0f} (from {totals.min():,.0f} to {totals.max():,.0f})",
        "photons per detector pixel": f"{totals.mean() / (height * width):.3g} on average, brightest"
        f" {scan.photons.mean_frame.max():.3g}",
        "photons per object pixel": f"{per_pixel:.3g} (median of the well-lit area)",
        "valid detector pixels": f"{scan.mask.mean():.1%}",
        "object canvas": f"{scan.canvas[0]} x {scan.canvas[1]} px, {_object_words(scan)}",
        "positions": f"y {low[0]:.1f} to {high[0]:.1f} px, x {low[1]:.1f} to {high[1]:.1f} px",
        "probe modes": str(len(scan.probe)),
        "probe diameter": ", ".join(f"{name.replace('_', ' ')} {value:.1f} px" for name, value in diameters.items()),
    }
    facts |= _lengths(scan)
    if n > 1:
        spacing = float(np.median(nearest_spacing_px(scan.positions_px)))
        facts["nearest neighbour"] = f"{spacing:.2f} px (median)"
        facts["overlap"] = (
            f"{float(linear_overlap(spacing, diameter)):.0%} linear, {float(disc_overlap(spacing, diameter)):.0%} of"
            f" the area, for the participation diameter of {diameter:.1f} px"
        )
    return facts


def _lengths(scan: Scan) -> dict[str, str]:
    """What is known in metres."""
    geometry = scan.geometry
    if geometry is None:
        return {}
    height, width = (size * 1e9 for size in geometry.pixel_size_m)
    extent = np.ptp(scan.positions_px, axis=0) * np.array(geometry.pixel_size_m) * 1e6
    facts = {
        "object pixel": f"{height:.4g} nm" if np.isclose(height, width) else f"{height:.4g} x {width:.4g} nm",
        "scanned area": f"{extent[0]:.3g} x {extent[1]:.3g} um",
    }
    if geometry.energy_ev is not None:
        facts["photon energy"] = f"{geometry.energy_ev / 1e3:.6g} keV"
    if geometry.distance_m is not None:
        facts["sample to detector"] = f"{geometry.distance_m:.5g} m"
    return facts


def _object_words(scan: Scan) -> str:
    if scan.object is None:
        return "object unknown"
    return "true object known" if scan.object_is_truth else "object guess in the file (never used)"
