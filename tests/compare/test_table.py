import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from foldlight.compare.table import (
    FLAT_ARM,
    CompareSettings,
    Comparison,
    Row,
    compare,
    write_frc_csv,
    write_metrics_csv,
)
from foldlight.core.errors import DataError, SettingsError

STUDY_COLUMNS = [
    *("dose", "view", "split", "arm", "seed", "n_frames", "photons_per_frame", "amplitude_mae", "phase_mae"),
    *("amplitude_psnr", "phase_psnr", "amplitude_ssim", "phase_ssim", "amplitude_ms_ssim", "phase_ms_ssim"),
    *("frc_half_nyquist", "eta", "deviance_heldout", "train_seconds", "infer_seconds_per_frame", "status"),
]
NEED_TRUTH = [*STUDY_COLUMNS[7:16], "complex_correlation", "phase_correlation", "frc_half_state"]


def noisy(truth: np.ndarray, level: float) -> np.ndarray:
    rng = np.random.default_rng(8)
    return truth + level * (rng.normal(size=truth.shape) + 1j * rng.normal(size=truth.shape))


def with_ramp(image: np.ndarray) -> np.ndarray:
    return image * 2j * np.exp(0.05j * (np.arange(image.shape[0]) - image.shape[0] // 2))[:, None]


@pytest.fixture(scope="module")
def arms(reconstruction, truth):
    return [
        reconstruction("Network", 1j * noisy(truth, 0.02), train_seconds=60.0),
        reconstruction("Collapsed", noisy(np.full_like(truth, 0.7), 0.005), train_seconds=50.0),
        reconstruction(FLAT_ARM, np.full_like(truth, 0.8)),
    ]


@pytest.fixture(scope="module")
def comparison(scan, held, arms) -> Comparison:
    return compare(scan, arms, held, 0.5)


def row(comparison: Comparison, arm: str) -> Row:
    return next(found for found in comparison.rows if found.arm == arm)


class TestRows:
    def test_columns_are_the_studys_then_our_own(self):
        assert Row.columns()[: len(STUDY_COLUMNS)] == STUDY_COLUMNS
        assert "complex_correlation" in Row.columns()[len(STUDY_COLUMNS) :]

    def test_a_good_arm_beats_the_flat_one(self, comparison):
        good, flat = row(comparison, "Network"), row(comparison, FLAT_ARM)
        assert good.phase_ssim > 0.8
        assert good.phase_mae < flat.phase_mae / 4
        assert good.complex_correlation > 0.9
        assert good.frc_half_nyquist is not None
        assert abs(flat.phase_ssim) < 0.05
        assert flat.complex_correlation == 0
        assert flat.frc_half_state == "below"
        assert flat.frc_half_nyquist is None

    def test_costs_come_from_the_ledger(self, comparison, scan):
        found = row(comparison, "Network")
        assert found.train_seconds == 60
        assert found.infer_seconds_per_frame == pytest.approx(2.0 / len(scan))
        assert found.n_frames == len(scan)
        assert found.photons_per_frame == pytest.approx(scan.photons.totals.mean())

    def test_no_score_depends_on_the_gauge(self, scan, truth, reconstruction):
        made = [reconstruction("A", noisy(truth, 0.02)), reconstruction("B", with_ramp(noisy(truth, 0.02)))]
        found = compare(scan, made)
        first, second = (vars(replace(scored, arm="")) for scored in found.rows)
        assert first == {
            name: pytest.approx(value, rel=1e-4, nan_ok=True) if isinstance(value, float) else value
            for name, value in second.items()
        }
        ramps = [found.gauges[arm].ramp_rad_per_px for arm in "AB"]
        assert np.subtract(*ramps) == pytest.approx([-0.05, 0], abs=1e-5)

    def test_a_ramp_in_the_truth_counts_for_nobody(self, scan, truth, reconstruction):
        tilted = replace(scan, object=with_ramp(truth).astype(np.complex64))
        nearly_flat = noisy(np.full_like(truth, 0.7), 0.01)
        found = compare(tilted, [reconstruction("Flat", np.ones_like(truth)), reconstruction("Nearly", nearly_flat)])
        assert all(abs(scored.phase_ssim) < 0.05 for scored in found.rows)
        assert all(scored.complex_correlation < 0.1 for scored in found.rows)

    def test_heldout_counts_need_no_gauge_to_be_scored_under(self, scan, held, reconstruction, truth):
        found = compare(scan, [reconstruction("Truth", truth)], held, 0.5).rows[0].deviance_heldout
        assert found == pytest.approx(
            compare(scan, [reconstruction("A", 1j * truth)], held, 0.5).rows[0].deviance_heldout
        )

    def test_labels_fill_columns(self, comparison):
        labelled = comparison.labelled(dose=1e4, view="dense", split="test", seed=42)
        assert all(
            (found.dose, found.view, found.split, found.seed) == (1e4, "dense", "test", 42) for found in labelled.rows
        )

    def test_are_json(self, comparison):
        assert json.loads(json.dumps(comparison.plain(), allow_nan=False))[0]["arm"] == "Network"

    def test_a_perfect_arm_has_no_infinite_cell(self, scan, reconstruction, truth):
        made = reconstruction("Truth", truth)
        found = compare(scan, [made]).rows[0]
        json.dumps(found.phase_psnr, allow_nan=False)
        assert found.frc_half_state == "above"

    def test_settings_reach_the_metrics(self, scan, arms):
        unregistered = compare(scan, arms[:1], settings=CompareSettings(registration=False))
        assert unregistered.gauges["Network"].shift_px == unregistered.gauges["Network"].ramp_rad_per_px == (0.0, 0.0)
        assert abs(unregistered.gauges["Network"].scale) == pytest.approx(1, abs=0.05)


class TestStatus:
    def test_an_arm_no_better_than_flat_has_collapsed(self, comparison):
        assert [found.status for found in comparison.rows] == ["success", "collapsed", "success"]

    def test_without_truth_heldout_counts_decide(self, scan, held, arms):
        measured = replace(scan, object=None, object_is_truth=False)
        worse = replace(arms[1], object=arms[1].object * 1.5)
        found = compare(measured, [arms[0], worse, arms[2]], held, 0.5)
        assert row(found, "Collapsed").deviance_heldout > row(found, FLAT_ARM).deviance_heldout
        assert row(found, "Collapsed").status == "collapsed"

    def test_nobody_is_judged_without_a_flat_arm(self, scan, arms):
        assert compare(scan, arms[1:2]).rows[0].status == "success"


@pytest.fixture(scope="module")
def measured(scan, held, arms) -> Comparison:
    """A guessed object is not a truth."""
    return compare(replace(scan, object_is_truth=False), arms, held, 0.5)


class TestWithoutTruth:
    def test_scores_against_truth_are_empty_not_zero(self, measured):
        for found in measured.plain():
            assert all(found[name] is None for name in NEED_TRUTH)
            assert found["deviance_heldout"] > 0

    def test_arms_are_shown_in_the_gauge_of_one_of_them(self, measured):
        assert measured.reference == "Network"
        assert measured.truth is None
        assert not measured.curves
        assert np.angle(np.sum((measured.coverage * measured.objects["Network"])[measured.mask])) == pytest.approx(
            0, abs=1e-3
        )

    def test_residuals_follow_the_detectors_radius(self, measured):
        assert set(measured.residuals) == set(measured.objects)
        assert len(measured.residuals["Network"]) == 21  # the corner of a 32 x 24 frame lies 20 px out


class TestFiles:
    def test_metrics_have_empty_cells_and_all_arms(self, comparison, tmp_path):
        write_metrics_csv(tmp_path / "metrics.csv", comparison)
        with (tmp_path / "metrics.csv").open() as stream:
            lines = list(csv.DictReader(stream))
        assert list(lines[0]) == Row.columns()
        assert [line["arm"] for line in lines] == ["Network", "Collapsed", FLAT_ARM]
        assert lines[0]["eta"] == lines[0]["phase_ms_ssim"] == lines[2]["frc_half_nyquist"] == ""
        assert float(lines[0]["phase_ssim"]) == pytest.approx(row(comparison, "Network").phase_ssim, rel=1e-6)

    def test_curves_have_a_line_for_each_ring(self, comparison, tmp_path):
        write_frc_csv(tmp_path / "frc_curves.csv", comparison.labelled(dose=1e4))
        with (tmp_path / "frc_curves.csv").open() as stream:
            lines = list(csv.DictReader(stream))
        assert len(lines) == sum(len(curve.nyquist) for curve in comparison.curves.values())
        assert lines[0]["dose"] == "10000"
        assert 0 < float(lines[0]["half_bit"]) < 1


class TestRefused:
    def test_nothing(self, scan):
        with pytest.raises(DataError, match="expected at least one reconstruction, got none"):
            compare(scan, [])

    def test_two_arms_of_one_name(self, scan, arms):
        with pytest.raises(DataError, match="expected one reconstruction for each arm, got several named 'Network'"):
            compare(scan, [arms[0], arms[0]])

    def test_another_canvas(self, scan, arms):
        smaller = replace(arms[0], object=arms[0].object[:90], coverage=arms[0].coverage[:90])
        with pytest.raises(DataError, match="Network: expected an object on the scan's 96 x 112 canvas, got 90 x 112"):
            compare(scan, [smaller])

    def test_an_impossible_exposure(self, scan, held, arms):
        with pytest.raises(SettingsError, match="exposure_ratio = 0"):
            compare(scan, arms, held, 0.0)
