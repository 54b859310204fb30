"""Each defect that is put into a good scan is found, with its number and its remedy, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest
from doctored import SPOILED, counts, good_scan, with_frames, with_positions

from foldlight.doctor import diagnose
from foldlight.simulate.acquire import acquire


@pytest.fixture(scope="module")
def good():
    return good_scan()


def found(scan, code):
    """The one finding of that code."""
    (finding,) = [each for each in diagnose(scan, quick=True).findings if each.code == code]
    return finding


@pytest.mark.parametrize("defect", SPOILED)
def test_a_defect_is_found_and_only_it(defect, good):
    code, level, spoil = SPOILED[defect]
    diagnosis = diagnose(spoil(good, np.random.default_rng(3)), quick=True)
    assert [(each.code, each.level) for each in diagnosis.grave] == [(code, level)]
    (finding,) = diagnosis.grave
    assert finding.do
    assert any(letter.isdigit() for letter in finding.what) or level == "stop"
    assert diagnosis.verdict == level


def test_shuffled_frames_are_told_where_the_probe_allows_it():
    scan = good_scan(diameter=14.0, step=2.5)
    probe = np.abs(scan.probe)  # a flat phase: neighbours have to be alike, whatever the object
    taken = acquire(scan.truth, probe, scan.positions_px, 3e4, 5)
    assert found(taken, "frames-belong").numbers["likeness"] > 0.3
    shuffled = with_positions(taken, taken.positions_px[np.random.default_rng(0).permutation(len(taken))])
    finding = found(shuffled, "frames-misplaced")
    assert finding.level == "caution"
    assert abs(finding.numbers["likeness"]) < 0.15


def test_shuffled_frames_are_noted_where_the_probe_does_not_tell(good):
    assert found(good, "frames-belong").numbers["likeness"] > 0.2
    shuffled = with_positions(good, good.positions_px[np.random.default_rng(0).permutation(len(good))])
    assert found(shuffled, "frames-unlike").level == "note"


def test_the_scale_that_is_told_makes_photons_of_the_numbers(good):
    for factor in (0.1, 7.0):
        finding = found(with_frames(good, (counts(good) * factor).astype(np.float32)), "photon-unit")
        assert finding.sure == "certain"
        assert finding.numbers["scale"] == pytest.approx(1 / factor, rel=1e-5)
        assert f"--scale {1 / factor:.4g}" in finding.do


def test_averages_have_the_unit_of_their_number():
    _, _, spoil = SPOILED["averaged"]
    finding = found(spoil(good_scan(), np.random.default_rng(0)), "photon-unit")
    assert finding.numbers["units_per_photon"] == pytest.approx(1 / 8, rel=0.15)


def test_places_and_sizes_are_told(good):
    spoiled = {name: spoil(good, np.random.default_rng(3)) for name, (_, _, spoil) in SPOILED.items() if name in {
        "off centre", "drifting", "hot pixel", "dark frames", "clipped", "probe of a third", "astray", "background"
    }}  # fmt: skip
    off = found(spoiled["off centre"], "beam-off-centre").numbers
    assert (off["offset_y_px"], off["offset_x_px"]) == pytest.approx((4, -3), abs=0.2)
    assert found(spoiled["drifting"], "beam-drift").numbers["drift_y_px"] == pytest.approx(4, abs=0.5)
    assert found(spoiled["hot pixel"], "hot-pixels").numbers["pixels"] == [[3, 5]]
    assert found(spoiled["dark frames"], "dark-frames").numbers["frames"] == list(range(20, 27))
    assert found(spoiled["clipped"], "saturation").numbers["ceiling"] == spoiled["clipped"].photons[:].max()
    usual = found(good, "probe-power").numbers["transmission"]
    assert found(spoiled["probe of a third"], "probe-power").numbers["transmission"] == pytest.approx(9 * usual)
    assert found(spoiled["astray"], "positions-outlying").numbers["frames"] == [7]
    level = found(spoiled["background"], "background").numbers["photons_per_pixel"]
    assert level == pytest.approx(0.1 * counts(good).mean(), rel=0.1)


def test_overlap_is_told_both_ways_and_by_which_diameter(good):
    finding = found(good, "overlap")
    told = finding.numbers
    assert told["mean_step_px"] == pytest.approx(4.5 * np.sqrt(1.1), rel=0.1)
    assert told["linear"] == pytest.approx(1 - told["mean_step_px"] / told["participation_px"])
    assert told["area"] < told["linear"]
    for word in ("linear", "of the area", "participation", "half maximum", "second moment", "energy 99"):
        assert word in finding.what


def test_repeated_exposures_do_not_hide_a_wide_step():
    scan = good_scan(frames=100, step=14.0)
    twice = replace(
        with_positions(scan, np.repeat(scan.positions_px, 2, axis=0)[: len(scan)]),
        photons=scan.photons,
    )
    assert found(twice, "overlap").numbers["linear"] < 0.4
    assert found(twice, "duplicate-positions").level == "caution"


def test_missing_numbers_are_only_noted(good):
    finding = found(good.select(np.delete(np.arange(len(good)), [5, 90])), "missing-indexes")
    assert finding.level == "note"
    assert finding.numbers == {"count": 2, "first": 5}


def test_a_bad_pixel_that_is_masked_is_of_no_matter(good):
    _, _, spoil = SPOILED["hot pixel"]
    mask = np.ones(good.window, dtype=bool)
    mask[3, 5] = False
    assert diagnose(replace(spoil(good, np.random.default_rng(0)), mask=mask), quick=True).verdict == "go"


def test_frames_without_photons_stop(good):
    diagnosis = diagnose(with_frames(good, np.zeros(good.photons.shape, dtype=np.uint16)), quick=True)
    assert [each.code for each in diagnosis.grave] == ["photons"]
    assert diagnosis.verdict == "stop"
