"""Descriptions become scans."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.quality_parts.arms import FAULTS, HeldOut, Simulated
from foldlight.compare.efficiency import photons_per_pixel
from foldlight.core.seeds import generator
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.optics.probes import defocused, make_probe, normalised, participation_px
from foldlight.sampling.overlap import disc_overlap, linear_overlap, probe_diameters_px
from foldlight.scan import Scan
from foldlight.simulate.acquire import acquire
from foldlight.simulate.objects import FAMILIES, make_object
from foldlight.simulate.trajectories import jittered_raster
from foldlight.simulate.variety import held_out_probes

__all__ = ["Exposure", "expose", "facts", "held_out_exposures"]

_ERROR_PX = 3.0  # correlation length of what is wrong with a probe
_WRONG = 0.1  # of defocus or power
_BAD_SHARE, _STOP_RADIUS, _MISSING_SHARE = 0.02, 1 / 25, 0.2  # of pixels, of N, of frames
_VEILED = "zone-plate-veiled"


@dataclass(frozen=True)
class Exposure:
    """A scan as methods see it, and what it was made with.

    Attributes:
        scan: counts, and the positions, the probe and the mask that methods are given.
        probe: the true one.
        positions_px: (n, 2) the true ones [px].
        mask: (y, x) bool object pixels that are scored, lit by the true probe.
    """

    scan: Scan
    probe: np.ndarray
    positions_px: np.ndarray
    mask: np.ndarray

    @property
    def true_scan(self) -> Scan:
        """The scan with probe and positions as they were."""
        return replace(self.scan, probe=self.probe, positions_px=self.positions_px)

    @property
    def truth(self) -> np.ndarray:
        """(y, x) complex true object."""
        assert self.scan.truth is not None  # noqa: S101  (it is simulated)
        return self.scan.truth

    @property
    def photons_per_pixel(self) -> float:
        """n, median over the scored pixels."""
        return photons_per_pixel(self.truth, coverage_map(self.probe, self.positions_px, self.scan.canvas), self.mask)


def expose(data: Simulated) -> Exposure:
    """Object, probe, positions and counts; each depends on the seed and the role alone, and on what describes it."""
    probe = _probe(data)
    made = _exposed(data, probe, data.dose or 1.0)
    if data.photons_per_pixel is not None:
        made = _exposed(data, probe, data.photons_per_pixel / made.photons_per_pixel)
    return _faulty(made, data)


def held_out_exposures(data: HeldOut) -> Iterator[tuple[str, str, Exposure]]:
    """Probe, family and scan of every pair, one after the other."""
    for number, (name, probe) in enumerate(held_out_probes((data.window, data.window)).items()):
        if number >= data.probes:
            return
        for family in FAMILIES:
            values = {"side": data.side, "window": data.window, "family": family, "seed": data.seed}
            step = (1 - data.overlap) * participation_px(probe)
            described = Simulated.model_validate({**values, "step_px": step})
            made = _exposed(described, probe, 1.0)
            yield name, family, _exposed(described, probe, data.photons_per_pixel / made.photons_per_pixel)


def facts(data: Simulated, made: Exposure) -> dict[str, float | str]:
    """What every table has to say of its data."""
    diameter = probe_diameters_px(made.probe)["participation"]
    wrong = [FAULTS[data.fault]] if data.fault != "none" else []
    wrong += [f"probe given {data.probe_error:.0%} wrong"] if data.probe_error else []
    wrong += [f"positions given {data.position_error_px:g} px rms wrong"] if data.position_error_px else []
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
        "wrong": "; ".join(wrong),
    }


def _exposed(data: Simulated, probe: np.ndarray, dose: float) -> Exposure:
    extent = data.step_px * data.side
    low = data.window // 2 + data.margin_px
    side = int(np.ceil(extent)) + data.window + 2 * data.margin_px
    side += side % 2
    truth = make_object(data.family, (side, side), generator(data.seed, "benchmark object", data.role))
    box = ((low, low), (low + extent, low + extent))
    positions = jittered_raster(data.side**2, box, generator(data.seed, "benchmark positions", data.role))
    scan = acquire(truth, probe, positions, dose, data.seed, data.role)
    return _exposure(scan)


def _exposure(scan: Scan) -> Exposure:
    mask = well_lit(coverage_map(scan.probe, scan.positions_px, scan.canvas))
    return Exposure(scan, scan.probe, scan.positions_px, mask)


def _probe(data: Simulated) -> np.ndarray:
    window = (data.window, data.window)
    if data.probe == "veiled":
        return held_out_probes(window)[_VEILED]
    return make_probe(data.probe, window, data.diameter_px, generator(0, "benchmark diffuser"))


def _faulty(made: Exposure, data: Simulated) -> Exposure:
    """The exposure as methods see it, when something is wrong."""
    scan = made.scan
    if data.fault == "missing frames":
        order = generator(data.seed, "benchmark missing frames", data.role).permutation(len(scan))
        made = _exposure(scan.select(np.sort(order[round(_MISSING_SHARE * len(scan)) :])))
        scan = made.scan
    if data.fault == "defocus":
        scan = replace(scan, probe=defocused(scan.probe, _WRONG))
    if data.fault == "power":
        scan = replace(scan, probe=scan.probe * np.float32(np.sqrt(1 + _WRONG)))
    if data.fault in {"bad pixels", "beamstop"}:
        scan = replace(scan, mask=_detector(data))
    if data.probe_error:
        scan = replace(scan, probe=_wrong(scan.probe, data))
    if data.position_error_px:
        scan = replace(scan, positions_px=scan.positions_px + _astray(data, len(scan)))
    return replace(made, scan=scan)


def _detector(data: Simulated) -> np.ndarray:
    """(y, x) bool valid pixels."""
    size = (data.window, data.window)
    if data.fault == "bad pixels":
        return generator(data.seed, "benchmark bad pixels").random(size) >= _BAD_SHARE
    y, x = np.indices(size) - data.window // 2
    return np.asarray(np.hypot(y, x) > _STOP_RADIUS * data.window)


def _astray(data: Simulated, frames: int) -> np.ndarray:
    """(n, 2) errors of positions without a mean; their root mean square length is as asked [px]."""
    noise = generator(data.seed, "benchmark position error", data.role).standard_normal((frames, 2))
    noise -= noise.mean(axis=0)
    return np.asarray(noise * data.position_error_px / np.sqrt(np.mean(np.sum(noise**2, axis=1))))


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
