"""Scans without fault are let go: of every family of objects, probes and trajectories, and a measured one."""

from pathlib import Path

import numpy as np
import pytest
from doctored import good_scan

from foldlight.doctor import diagnose
from foldlight.io import read_scan
from foldlight.simulate.acquire import simulate
from foldlight.simulate.lazily import acquire_lazily
from foldlight.simulate.settings import SimulationSettings, VarietySettings
from foldlight.simulate.variety import draw_scan

OBJECTS = ("lines", "dead-leaves", "siemens-star", "grains", "spheres", "speckle")
PROBES = ("zone-plate", "disc", "diffuser", "gaussian", "aberrated")
TRAJECTORIES = ("raster", "spiral", "random")
DOSES = (300.0, 1e3, 1e4, 1e5, 1e6, 3e3, 1e7)
SIZES = ((32, 12.0), (64, 24.0), (48, 18.0))


def simulated(number: int) -> SimulationSettings:
    """Settings that go through the families at different paces."""
    window, diameter = SIZES[number % len(SIZES)]
    return SimulationSettings(
        object_kind=OBJECTS[number % len(OBJECTS)],
        probe_kind=PROBES[number % len(PROBES)],
        trajectory=TRAJECTORIES[number // 2 % len(TRAJECTORIES)],
        dose=DOSES[number % len(DOSES)],
        window=window,
        probe_diameter_px=diameter,
        object_size=window + int(3 * diameter),
        positions=100,
        probe_modes=1 + (number % 3 == 2),
        phase_range_rad=(1.2, 0.3, 3.0)[number % 3],
        amplitude_min=(0.5, 0.9, 0.3)[number % 3],
        seed=number,
    )


@pytest.mark.parametrize("number", range(18))
def test_simulated_scans_of_every_family_go(number):
    diagnosis = diagnose(simulate(simulated(number)), quick=True)
    assert diagnosis.grave == ()
    assert diagnosis.verdict == "go"


@pytest.mark.parametrize("number", range(6))
def test_drawn_scans_with_errors_in_probe_and_positions_go(number):
    settings = VarietySettings(overlap=(0.5, 0.85), photons_per_pixel=(20, 1e5), window=(32, 64)[number % 2])
    assert diagnose(draw_scan(settings, 7, number, 150, (112, 128)), quick=True).grave == ()


def test_the_demo_goes():
    diagnosis = diagnose(simulate(SimulationSettings()), quick=True)
    assert diagnosis.grave == ()
    assert diagnosis.frames == diagnosis.frames_seen == 992


def test_rectangular_frames_go_by_all_checks():
    """Each check says something of a sound scan too."""
    codes = {each.code for each in diagnose(good_scan()).findings}
    assert codes >= {
        *("photon-unit", "photons", "beam-centre", "beam-drift", "dark-frames", "brightness-drift", "probe-power"),
        *("sampling", "pixel-size", "hot-pixels", "dead-pixels", "saturation", "frame-edges", "mask", "positions"),
        *("overlap", "grid", "frames-belong", "indexes", "memory"),
    }


def test_a_large_scan_is_looked_at_in_part_and_quickly():
    scan = good_scan(frames=60)
    lazy = acquire_lazily(scan.truth, scan.probe, scan.positions_px[list(range(60)) * 60], 3e4, 0)
    diagnosis = diagnose(lazy, quick=True)
    assert diagnosis.frames == 3600
    assert diagnosis.frames_seen == 2**23 // (48 * 64)
    assert [each.code for each in diagnosis.grave] == ["duplicate-positions"]


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_a_few_frames_are_no_fault_of_their_own(frames):
    scan = good_scan(frames=60)
    some = scan.select(np.arange(frames))
    assert {each.code for each in diagnose(some, quick=True).grave} <= {"photons"}


def test_the_measured_star_goes():
    path = Path(__file__).parents[3] / "shared/data/siemens_star_small.npz.bz2"
    if not path.exists():
        pytest.skip("the siemens-star scan is not here")
    diagnosis = diagnose(read_scan(path), quick=True)
    assert diagnosis.grave == ()
    (unit,) = [each for each in diagnosis.findings if each.code == "photon-unit"]
    assert unit.numbers["units_per_photon"] == pytest.approx(1, abs=0.05)
