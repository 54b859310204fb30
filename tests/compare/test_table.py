import json
from dataclasses import replace

import numpy as np
import pytest

from foldlight.compare.align import Gauge
from foldlight.compare.table import FLAT_ARM, CompareSettings, Comparison, Row, compare
from foldlight.core.errors import DataError, SettingsError
from foldlight.reconstruct.protocol import Ledger

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

    def test_with_truth_the_flat_arm_need_not_be_there(self, scan, arms):
        assert [found.status for found in compare(scan, arms[:2]).rows] == ["success", "collapsed"]

    def test_without_truth_nobody_is_judged_without_a_flat_arm(self, scan, held, arms):
        measured = replace(scan, object=None, object_is_truth=False)
        assert compare(measured, arms[1:2], held, 0.5).rows[0].status == "success"

    def test_an_amplitude_without_a_phase_is_not_collapsed(self, scan, truth, reconstruction):
        assert compare(scan, [reconstruction("Amplitude", np.abs(truth) + 0j)]).rows[0].status == "success"


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


@pytest.fixture(scope="module")
def tilted(scan, truth):
    return replace(scan, object=with_ramp(truth).astype(np.complex64))


class TestRegisteredArms:
    """Ramps as they come from a file whose arms share a known gauge."""

    def found(self, tilted, reconstruction, truth, **settings):
        made = [
            reconstruction("Right", with_ramp(noisy(truth, 0.02))),
            reconstruction("Ramped", noisy(truth, 0.02)),
            reconstruction(FLAT_ARM, np.full_like(truth, 0.8)),
        ]
        return compare(tilted, made, settings=CompareSettings(**settings))

    def test_the_others_are_not_charged_for_a_ramp_they_got_right(self, tilted, reconstruction, truth):
        every = self.found(tilted, reconstruction, truth)
        some = self.found(tilted, reconstruction, truth, registered_arms=("Ramped",))
        assert np.array_equal(some.truth, tilted.object)
        assert some.gauges["Right"] == Gauge(scale=some.gauges["Right"].scale)
        assert np.allclose(some.gauges["Ramped"].ramp_rad_per_px, (-0.05, 0), atol=1e-4)
        for arm in ("Right", "Ramped"):
            assert row(some, arm).phase_mae == pytest.approx(row(every, arm).phase_mae, rel=0.05)

    def test_an_arm_that_is_not_registered_pays_for_its_ramp(self, tilted, reconstruction, truth):
        found = self.found(tilted, reconstruction, truth, registered_arms=("Right",))
        assert row(found, "Right").phase_mae < row(found, "Ramped").phase_mae / 10

    def test_the_flat_arm_has_no_ramp_to_keep(self, tilted, reconstruction, truth):
        named = self.found(tilted, reconstruction, truth, registered_arms=("Right", "Ramped"))
        assert named.rows == self.found(tilted, reconstruction, truth).rows

    def test_a_name_that_is_no_arm_is_refused(self, tilted, reconstruction, truth):
        with pytest.raises(SettingsError, match="expected some of the arms Right, Ramped, Constant, got 'right'"):
            self.found(tilted, reconstruction, truth, registered_arms=("right",))

    def test_registering_some_and_none_is_a_contradiction(self):
        with pytest.raises(SettingsError, match="registered_arms are given, but registration is off"):
            CompareSettings.parse({"registered_arms": ["A"], "registration": False})


class TestData:
    def test_the_digest_is_that_of_the_scan(self, comparison, scan):
        assert comparison.data_sha256 == scan.digest()

    def test_an_arm_of_the_same_data_is_welcome(self, scan, arms):
        assert compare(scan, [replace(arms[0], data_digest=scan.digest())]).rows[0].status == "success"

    def test_an_arm_of_other_data_is_not(self, scan, arms):
        other = replace(arms[0], data_digest="f" * 64)
        expected = (
            f"Network: expected a reconstruction of this scan .sha256 {scan.digest()[:12]}.*of other data .f{{12}}"
        )
        with pytest.raises(DataError, match=expected):
            compare(scan, [other])

    def test_an_unknown_cost_is_an_empty_cell(self, scan, arms):
        nothing = Ledger(None, None, None, None, None, device="unknown", threads=None)
        found = compare(scan, [replace(arms[0], ledger=nothing)]).rows[0]
        assert found.n_frames is found.photons_per_frame is found.train_seconds is found.infer_seconds_per_frame is None


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
