"""Drawn scans: repeatable one by one, lit as asked, their faults told, and none with a probe that is kept for tests."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.core.errors import SettingsError
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.sampling.overlap import nearest_spacing_px, probe_diameters_px
from foldlight.scan import Scan
from foldlight.simulate.acquire import expected_frames
from foldlight.simulate.settings import VarietySettings
from foldlight.simulate.variety import Draw, draw, draw_probe, draw_scan, held_out_probes

CLEAN = {"wrong_probe_share": 0, "position_noise_share": 0, "bad_pixels_share": 0, "beamstop_share": 0}
FAULTY = {"wrong_probe_share": 1, "position_noise_share": 1, "bad_pixels_share": 1, "beamstop_share": 1}
SMALL = VarietySettings(window=16)
CANVAS = (48, 60)


def small(index: int, frames: int = 9, canvas: tuple[int, int] = CANVAS, **changed) -> Draw:
    return draw(VarietySettings(window=16, **changed), 0, index, frames, canvas)


def photons_per_pixel(made: Draw) -> float:
    coverage = coverage_map(made.probe, made.positions_px, made.scan.canvas)
    return float(np.median((np.abs(made.scan.truth) ** 2 * coverage)[well_lit(coverage)]))


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(24, 70), st.integers(24, 70), st.sampled_from([8, 16]))
@settings(max_examples=30, deadline=None)
def test_every_draw_is_a_scan_of_the_size_asked_for(index, frames, height, width, half):
    window = 2 * half if min(height, width) > 2 * half + 6 else 16
    made = draw(VarietySettings(window=window, modes_share=0.3), 3, index, frames, (height, width))
    assert len(made.scan) == frames
    assert made.scan.window == (window, window)
    assert made.scan.canvas == (height, width)
    assert made.scan.probe.dtype == made.probe.dtype == np.complex64
    truth = made.scan.truth
    assert 0.2 - 1e-5 <= np.abs(truth).min() <= np.abs(truth).max() <= 1 + 1e-5
    assert photons_per_pixel(made) == pytest.approx(made.scan.origin["photons_per_pixel"], rel=1e-3)
    light = coverage_map(made.probe, made.positions_px, made.scan.canvas)
    mean = np.sum(light * truth) / light.sum()
    assert abs(mean.imag) < 1e-4
    assert mean.real > 0
    middle = (np.array([height, width]) - window) / 2 + window // 2
    assert (np.abs(made.positions_px - middle) <= (np.array([height, width]) - window) / 2).all()
    json.dumps(made.scan.origin, allow_nan=False)


def test_a_scan_follows_from_seed_and_index_alone():
    first = [draw_scan(SMALL, 1, index, 6, CANVAS).digest() for index in (0, 1, 2)]
    backwards = [draw_scan(SMALL, 1, index, 6, CANVAS).digest() for index in (2, 1, 0)]
    assert first == backwards[::-1]
    others = [draw_scan(SMALL, seed, index, 6, CANVAS).digest() for seed, index in ((1, 3), (2, 0))]
    assert len({*first, *others}) == 5


def test_switching_faults_on_leaves_the_rest_of_the_scan():
    clean, faulty = small(4, **CLEAN), small(4, **(FAULTY | {"position_noise_share": 0}))
    assert np.array_equal(clean.scan.truth, faulty.scan.truth)
    assert np.array_equal(clean.probe, faulty.probe)
    assert np.array_equal(clean.positions_px, faulty.positions_px)


def test_everything_is_drawn_sooner_or_later():
    origins = [draw_scan(SMALL, 0, index, 4, CANVAS).origin for index in range(90)]
    for name, kinds in (("object", SMALL.objects), ("probe", SMALL.probes), ("trajectory", SMALL.trajectories)):
        seen = Counter(origin[name] for origin in origins)
        assert set(seen) == set(kinds)
        assert min(seen.values()) > 90 / len(kinds) / 3
    n = np.log10([origin["photons_per_pixel"] for origin in origins])
    assert 0 <= n.min() < 1
    assert 6 < n.max() <= 7
    assert abs(np.median(n) - 3.5) < 1
    assert {np.sign(origin["phase_range_rad"]) for origin in origins} == {-1, 1}
    for name, share in (("probe_defocus_error", 1 / 6), ("probe_power_error", 1 / 6), ("position_noise_px", 0.25)):
        assert abs(np.mean([origin[name] != 0 for origin in origins]) - share) < 0.15
    assert abs(np.mean([origin["beamstop"] for origin in origins]) - 0.1) < 0.1


def test_counts_are_poisson_about_the_true_probe_and_positions():
    pulls = []
    for index in range(12):
        made = small(index, **(FAULTY | {"photons_per_pixel": (1e4, 1e5)}))
        expected = np.concatenate(expected_frames(made.scan.truth, made.probe, made.positions_px))
        bright = (expected > 50) & made.scan.mask
        pulls.append(((made.scan.photons[:] - expected) / np.sqrt(np.maximum(expected, 1)))[bright])
        assert not made.scan.photons[:][:, ~made.scan.mask].any()
    pull = np.concatenate(pulls)
    assert pull.size > 4000
    assert abs(pull.mean()) < 4 / np.sqrt(pull.size)
    assert abs(pull.var() - 1) < 6 / np.sqrt(pull.size)


def test_a_clean_scan_tells_the_truth():
    made = small(2, **CLEAN)
    assert np.array_equal(made.scan.probe, made.probe)
    assert np.array_equal(made.scan.positions_px, made.positions_px)
    assert made.scan.mask.all()
    assert made.scan.origin["bad_pixels"] == 0


def test_wrong_probes_are_wrong_by_no_more_than_stated_and_say_so():
    errors = []
    for index in range(20):
        made = small(index, **(FAULTY | {"probe_error": 0.08}))
        origin = made.scan.origin
        errors.append((origin["probe_defocus_error"], origin["probe_power_error"]))
        power = [np.sum(np.abs(probe.astype(np.complex128)) ** 2) for probe in (made.scan.probe, made.probe)]
        assert power[0] / power[1] == pytest.approx(1 + origin["probe_power_error"], rel=1e-4)
        shape = abs(np.vdot(made.scan.probe, made.probe)) / np.sqrt(power[0] * power[1])
        if origin["probe_defocus_error"] == 0:
            assert shape == pytest.approx(1, abs=1e-6)
        if abs(origin["probe_defocus_error"]) > 0.04:
            assert 0.8 < shape < 1 - 1e-4
    assert 0.03 < np.abs(errors).max() <= 0.08
    assert {(defocus != 0, power != 0) for defocus, power in errors} == {(True, True), (True, False), (False, True)}


def test_wrong_positions_are_wrong_by_what_is_stated_and_together_in_place():
    for index in range(5):
        made = small(index, frames=200, canvas=(64, 64), **(FAULTY | {"overlap": (0.9, 0.95)}))
        off = made.scan.positions_px - made.positions_px
        assert np.sqrt(np.mean(off**2)) == pytest.approx(made.scan.origin["position_noise_px"], rel=0.2)
        assert np.allclose(off.mean(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize("trajectory", ["raster", "spiral", "random"])
def test_steps_are_those_of_the_overlap_where_the_canvas_allows(trajectory):
    wanted = {"trajectories": (trajectory,), "overlap": (0.6, 0.6), "diameter": (0.4, 0.4), **CLEAN}
    wide, tight = (small(1, 64, canvas, **wanted) for canvas in ((120, 150), (32, 36)))
    for made in (wide, tight):
        origin = made.scan.origin
        diameter = probe_diameters_px(made.probe)["participation"]
        assert origin["participation_px"] == pytest.approx(diameter, rel=1e-4)
        assert origin["linear_overlap"] == pytest.approx(1 - origin["step_px"] / diameter, abs=1e-4)
        assert origin["linear_overlap_wanted"] == 0.6
    assert wide.scan.origin["linear_overlap"] == pytest.approx(0.6)
    assert tight.scan.origin["linear_overlap"] > 0.6
    step = wide.scan.origin["step_px"]
    density = 64 * step**2 / np.prod(np.ptp(wide.positions_px, axis=0))
    assert 0.7 < density < 1.6  # one frame in each square of a step; the box of an ellipse is 4 / pi larger
    if trajectory != "random":
        assert 0.4 < np.median(nearest_spacing_px(wide.positions_px)) / step < 1.1


def test_families_and_ranges_can_be_narrowed():
    made = small(
        0,
        objects=("speckle",),
        probes=("disc",),
        amplitude_min=(1, 1),
        phase_range_rad=(0.5, 0.5),
        softness_px=(0, 0),
        photons_per_pixel=(50, 50),
    )
    assert made.scan.origin["object"] == "speckle"
    assert made.scan.origin["probe"] == "disc"
    assert np.allclose(np.abs(made.scan.truth), 1, atol=1e-5)
    assert np.ptp(np.angle(made.scan.truth)) == pytest.approx(0.5, abs=1e-3)
    assert photons_per_pixel(made) == pytest.approx(50, rel=1e-3)


def test_modes_are_drawn_where_asked_for():
    numbers = {small(index, modes_share=1).scan.probe.shape[0] for index in range(8)}
    assert numbers == {2, 3}


def test_settings_survive_a_file():
    wanted = VarietySettings(window=32, overlap=(0.2, 0.3), probes=("disc", "gaussian"))
    assert VarietySettings.parse(json.loads(json.dumps(wanted.plain()))) == wanted


def test_odd_wishes_are_refused():
    with pytest.raises(SettingsError, match=r"overlap = \(0.5, 0.2\): .*expected the smaller number first"):
        VarietySettings.parse({"overlap": (0.5, 0.2)})
    with pytest.raises(SettingsError, match=r"diameter.1 = 0.9: .*less than or equal to 0.8"):
        VarietySettings.parse({"diameter": (0.2, 0.9)})
    with pytest.raises(SettingsError, match="frames = 0: expected at least one"):
        draw_scan(SMALL, 0, 0, 0, CANVAS)
    with pytest.raises(SettingsError, match="canvas = 16 x 60: expected at least 23 px each way for a window of 16 px"):
        draw_scan(SMALL, 0, 0, 4, (16, 60))


def test_twelve_probes_are_held_out():
    for window in ((64, 64), (48, 80)):
        held = held_out_probes(window)
        assert len(held) == 12
        for probe in held.values():
            assert probe.shape == (1, *window)
            assert np.sum(np.abs(probe) ** 2) == pytest.approx(1, rel=1e-5)
            assert 0.15 < probe_diameters_px(probe)["participation"] / min(window) < 0.6
        again = held_out_probes(window)
        assert all(np.array_equal(again[name], probe) for name, probe in held.items())


def test_no_draw_is_a_probe_that_is_held_out():
    held = np.stack([probe.ravel() for probe in held_out_probes((64, 64)).values()])
    between = np.abs(held.conj() @ held.T) - np.eye(12)
    assert between.max() < 0.995
    plain = VarietySettings()
    drawn = np.stack([draw_probe(plain, np.random.default_rng(seed))[0].ravel() for seed in range(150)])
    assert np.abs(held.conj() @ drawn.T).max() < 0.999


def test_a_drawn_scan_is_a_scan_of_its_draw():
    scan = draw_scan(SMALL, 5, 6, 7, CANVAS)
    assert isinstance(scan, Scan)
    assert scan.digest() == draw(SMALL, 5, 6, 7, CANVAS).scan.digest()
    assert (scan.origin["seed"], scan.origin["index"]) == (5, 6)
