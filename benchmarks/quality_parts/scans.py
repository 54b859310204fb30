"""Descriptions become scans."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.quality_parts.cases import Simulated
from foldlight.compare.efficiency import photons_per_pixel
from foldlight.core.seeds import generator
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.optics.probes import disc, normalised, zone_plate
from foldlight.sampling.overlap import disc_overlap, linear_overlap, probe_diameters_px
from foldlight.scan import Scan
from foldlight.simulate.acquire import acquire
from foldlight.simulate.objects import make_object
from foldlight.simulate.trajectories import jittered_raster

__all__ = ["Exposure", "expose", "facts"]

_MARGIN_PX = 2  # room for the light that a sub-pixel move carries past the window's edge
_GRAIN_PX, _GRAIN_RAD = 3.0, 1.5  # of the diffuser: correlation length and rms of its phase
_ERROR_PX = 3.0  # correlation length of what is wrong with a probe


@dataclass(frozen=True)
class Exposure:
    """A scan as methods see it, and what it was made with.

    Attributes:
        scan: counts, positions, and the probe that methods are given.
        probe: the true one.
        mask: (y, x) bool object pixels that are scored, lit by the true probe.
    """

    scan: Scan
    probe: np.ndarray
    mask: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        """(y, x) complex true object."""
        assert self.scan.truth is not None  # noqa: S101  (it is simulated)
        return self.scan.truth

    @property
    def photons_per_pixel(self) -> float:
        """n, median over the scored pixels."""
        return photons_per_pixel(
            self.truth, coverage_map(self.probe, self.scan.positions_px, self.scan.canvas), self.mask
        )


def expose(data: Simulated) -> Exposure:
    """Object, probe, positions and counts; each depends on the seed and the role alone, and on what describes it."""
    made = _exposed(data, data.dose or 1.0)
    if data.photons_per_pixel is not None:
        made = _exposed(data, data.photons_per_pixel / made.photons_per_pixel)
    if data.probe_error:
        made = replace(made, scan=replace(made.scan, probe=_wrong(made.probe, data)))
    return made


def facts(data: Simulated, made: Exposure) -> dict[str, float | str]:
    """What every table has to say of its data."""
    diameter = probe_diameters_px(made.probe)["participation"]
    return {
        "N": data.window,
        "frames": len(made.scan),
        "photons_per_frame": float(made.scan.photons.totals.mean()),
        "n": made.photons_per_pixel,
        "step_px": data.step_px,
        "D_px": diameter,
        "D_definition": "participation",
        "linear_overlap": float(linear_overlap(data.step_px, diameter)),
        "area_overlap": float(disc_overlap(data.step_px, diameter)),
        "probe": data.probe,
        "family": data.family,
    }


def _exposed(data: Simulated, dose: float) -> Exposure:
    extent = data.step_px * data.side
    low = data.window // 2 + _MARGIN_PX
    side = int(np.ceil(extent)) + data.window + 2 * _MARGIN_PX
    side += side % 2
    truth = make_object(data.family, (side, side), generator(data.seed, "benchmark object", data.role))
    box = ((low, low), (low + extent, low + extent))
    positions = jittered_raster(data.side**2, box, generator(data.seed, "benchmark positions", data.role))
    scan = acquire(truth, _probe(data), positions, dose, data.seed, data.role)
    mask = well_lit(coverage_map(scan.probe, scan.positions_px, scan.canvas))
    return Exposure(scan, scan.probe, mask)


def _probe(data: Simulated) -> np.ndarray:
    window = (data.window, data.window)
    if data.probe == "zone-plate":
        return zone_plate(window, data.diameter_px)
    flat = disc(window, data.diameter_px)
    if data.probe == "disc":
        return flat
    grain = gaussian_filter(generator(0, "benchmark diffuser").standard_normal(window), _GRAIN_PX, mode="wrap")
    return normalised(flat * np.exp(1j * _GRAIN_RAD * grain / grain.std()))


def _wrong(probe: np.ndarray, data: Simulated) -> np.ndarray:
    """A probe of the same power whose relative error is as asked.

    What is added is a smooth complex field on the true probe, orthogonal to it, so neither scale nor phase explains it.
    """
    rng = generator(data.seed, "benchmark probe error")
    noise = rng.standard_normal((2, *probe.shape[1:]))
    field = probe * gaussian_filter(noise[0] + 1j * noise[1], _ERROR_PX)
    power = np.sum(np.abs(probe) ** 2)
    field = field - probe * np.vdot(probe, field) / power
    field *= np.sqrt(power / np.sum(np.abs(field) ** 2))
    return normalised(probe + data.probe_error * field, float(power))
