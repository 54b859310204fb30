"""The quality suite: the plan is whole, the floor is always there, nothing is measured twice."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.quality import main
from benchmarks.quality_parts import measure, run
from benchmarks.quality_parts.arms import (
    Bounds,
    HeldOut,
    Hybrid,
    Iterative,
    Likelihood,
    Measured,
    Pretrained,
    Simulated,
    Trained,
    Unit,
)
from benchmarks.quality_parts.cases import Condition, cases, scale
from benchmarks.quality_parts.measure import Tools
from benchmarks.quality_parts.page import page
from benchmarks.quality_parts.pictures import FEW_DATA
from benchmarks.quality_parts.results import Findings
from benchmarks.quality_parts.run import QualitySettings, planned, run_quality
from benchmarks.quality_parts.scans import expose, facts, held_out_exposures
from benchmarks.quality_parts.scoreboard import ROWS, arm_named, scoreboard
from benchmarks.report import Provenance
from foldlight.bundle import Model, write_bundle
from foldlight.core.errors import BundleError, DataError, SettingsError
from foldlight.core.provenance import sha256_file
from foldlight.io import write_data001
from foldlight.networks.generators import build
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
from foldlight.reconstruct.settings import IterativeSettings, LikelihoodSettings
from foldlight.train.settings import TrainingSettings

SIZES = ("toy", "small", "full")
TOY = scale("toy")
FEW = QualitySettings(size="toy", only=("few-data",), seeds=1, workers=1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A bundle in place of the package's: nobody trained it."""
    network = NetworkSettings(width=4, levels=1, consistency_steps=1)
    drawn = build(network, (32, 32), seed=0).state_dict()
    model = Model(network, (32, 32), 49, {name: value.numpy() for name, value in drawn.items()})
    path = tmp_path_factory.mktemp("weights") / "wts.h5.zip"
    write_bundle(path, model)
    return path


@pytest.fixture
def tools(tmp_path, weights):
    return Tools(tmp_path / "made", "code", weights)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, weights):
    """A toy run of one case, in its own process as always."""
    settings = FEW.model_copy(update={"output": tmp_path_factory.mktemp("quality"), "weights": weights})
    return settings, run_quality(settings, lambda *_: None)


def nothing(size="small"):
    return Findings(cases(size), (0, 1, 2), "code", {})


def every_case(size):
    return cases(size, star="0" * 64, device="cuda")


def filled(findings, condition, numbers, extra=None):
    """Units of a condition on all its seeds: each arm with its numbers, by its name."""
    units = {}
    for seed in condition.seeds(findings.seeds):
        for arm in condition.all_arms:
            told = {"limit_rmse": 0.1, "limit_bayes_rmse": 0.05, "collapsed": False, "N": 64, "frames": 4}
            told |= dict.fromkeys(("photons_per_frame", "n", "step_px", "D_px", "linear_overlap", "area_overlap"), 1)
            told |= {"D_definition": "participation", "probe": "disc", "family": "lines", "wrong": ""}
            found = {"numbers": numbers(arm, seed), "facts": {**told, **(extra(arm, seed) if extra else {})}}
            units[condition.unit(arm, seed).key("code")] = found
    return units


class TestPlan:
    def test_every_row_of_the_scoreboard_is_there_and_says_why_it_is_empty(self):
        rows = scoreboard(nothing())
        assert sorted({int(row.row) for row in rows}) == list(ROWS)
        assert [int(row.row) for row in rows] == sorted(int(row.row) for row in rows)
        for row in rows:
            assert row.verdict == "not measured"
            assert row.reason.startswith("not measured")
            assert row.target is not None
            assert row.facts["best_known"]

    @pytest.mark.parametrize("size", SIZES)
    def test_a_floor_belongs_to_every_simulated_data_set(self, size):
        conditions = [each for case in every_case(size) for each in case.conditions]
        assert len(conditions) > 20
        for condition in conditions:
            assert isinstance(condition.data, Simulated) == isinstance(condition.all_arms[0], Bounds)

    @pytest.mark.parametrize("size", SIZES)
    def test_names_tell_arms_and_conditions_apart(self, size):
        for case in every_case(size):
            labels = [condition.label for condition in case.conditions]
            assert len(set(labels)) == len(labels)
            for condition in case.conditions:
                names = [arm.name for arm in condition.all_arms]
                assert len(set(names)) == len(names)

    def test_small_and_full_ask_for_what_the_targets_ask(self):
        for size in ("small", "full"):
            found = {case.name: case for case in cases(size, star="0" * 64)}
            arms = {arm.name: arm for arm in found["lines"].conditions[0].arms}
            assert {arm.gridsize for arm in arms.values() if isinstance(arm, Pretrained)} == {1, 2, 7}
            ladder = {each.label: each for each in found["dose-ladder"].conditions}
            flagship = arm_named(ladder["n = 300"], "Hybrid")
            assert flagship.refine.likelihood.iterations <= 10
            assert flagship.refine.stop == "auto"
            assert flagship.draws >= 8
            assert {"n = 26", "n = 7.9", "n = 2.6"} < set(ladder)
            few = [arm for arm in found["few-data"].conditions[0].arms if isinstance(arm, Trained)]
            assert {arm.start for arm in few} == {"scratch", "pretrained"}
            probe, positions = found["blind-probe"].conditions
            assert (probe.data.probe_error, positions.data.position_error_px) == (0.1, 2.0)
            assert (found["held-out-probes"].conditions[0].data.probes) == 12
            assert {arm.kind for arm in found["measured-scan"].conditions[0].arms} == {
                "iterative", "pretrained", "hybrid", "likelihood",
            }  # fmt: skip

    @pytest.mark.parametrize("size", ["small", "full"])
    def test_ten_seeds_of_each_size_of_frames_are_tried_for_collapse(self, size):
        case = next(case for case in cases(size) if case.name == "collapse")
        for window in (64, 128):
            there = [each for each in case.conditions if each.data.window == window]
            assert {trial for each in there for trial in each.trials} == set(range(10))
            assert {each.data.photons_per_pixel for each in there} == set(scale(size).ladder_n)
            assert {each.data.fault for each in there} == {"none", "defocus", "power"}

    def test_every_fault_is_set_against_the_same_scan_without_it(self):
        conditions = next(case for case in cases("small") if case.name == "robust").conditions
        for n in scale("small").robust_n:
            there = [each for each in conditions if each.data.photons_per_pixel == n]
            assert there[0].data.fault == "none"
            assert len(there) == 7
            bare = {"fault": "none", "position_error_px": 0.0}
            assert len({each.data.model_copy(update=bare) for each in there}) == 1

    def test_small_is_planned_for_about_50_minutes_on_one_core(self, tmp_path):
        plan = planned(QualitySettings(size="small", output=tmp_path))
        assert len(plan.seeds) == 3
        assert plan.seconds(workers=1) < 50 * 60

    def test_units_that_cases_share_are_measured_once(self, tmp_path):
        plan = planned(QualitySettings(size="small", output=tmp_path))
        asked = sum(len(list(each.units(plan.seeds))) for case in plan.cases for each in case.conditions)
        assert len(plan.units) < asked
        assert sum(map(len, plan.jobs)) == len(plan.units)

    def test_trials_are_seeds_of_a_condition_s_own_that_move_with_the_first(self):
        condition = Condition("some", Simulated(dose=1e4), (), trials=(0, 3))
        assert condition.seeds((5, 6, 7)) == (5, 8)
        assert replace(condition, trials=()).seeds((5, 6, 7)) == (5, 6, 7)

    def test_the_key_knows_the_data_the_arm_the_weights_and_the_code(self):
        unit = Unit(Simulated(dose=1e4), Pretrained(weights="a"))
        others = [
            Unit(Simulated(dose=2e4), Pretrained(weights="a")).key("a"),
            Unit(Simulated(dose=1e4, seed=1), Pretrained(weights="a")).key("a"),
            Unit(Simulated(dose=1e4), Pretrained(weights="b")).key("a"),
            Unit(Simulated(dose=1e4), TOY.likelihood).key("a"),
            unit.key("b"),
        ]
        assert unit.key("a") == Unit(Simulated(dose=1e4), Pretrained(weights="a")).key("a")
        assert len({unit.key("a"), *others}) == 6

    def test_a_seed_reaches_everything_that_draws(self):
        condition = Condition("some", Simulated(dose=1e4), ())
        assert condition.unit(TOY.trained(), 7).arm.training.seed == 7
        assert condition.unit(Hybrid(), 7).arm.refine.seed == 7
        assert condition.unit(TOY.lsqml, 7).arm.engine.seed == 7
        assert condition.unit(TOY.lsqml, 7).data.seed == 7

    def test_weights_and_device_reach_every_arm(self):
        found = cases("small", star="0" * 64, device="cuda", weights="abc")
        for arm in (arm for case in found for condition in case.conditions for arm in condition.arms):
            plain = str(arm.plain())
            assert "'cpu'" not in plain
            assert "'cuda'" in plain
            asks = isinstance(arm, Pretrained | Hybrid) or getattr(arm, "start", None) not in {None, "scratch"}
            assert ("'weights': 'abc'" in plain) == asks

    def test_larger_frames_have_probes_and_steps_that_grow_alike(self):
        small, large = scale("small"), scale("small", 128)
        assert (large.window, large.held_out.window) == (128, 128)
        assert large.diameter_px / small.diameter_px == large.step_px / small.step_px == 2

    def test_an_unknown_case_or_a_missing_file_is_refused(self, tmp_path):
        with pytest.raises(SettingsError, match=r"only: expected some of lines, .*; got 'line'"):
            planned(QualitySettings(only=("line",), output=tmp_path))
        with pytest.raises(SettingsError, match="scan: expected a file, got"):
            planned(QualitySettings(scan=tmp_path / "none.npz", output=tmp_path))
        with pytest.raises(SettingsError, match="weights: expected a file, got"):
            planned(QualitySettings(weights=tmp_path / "none.zip", output=tmp_path))

    def test_a_gpu_that_is_not_there_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(run, "_gpu", lambda: False)
        with pytest.raises(SettingsError, match="device = cuda: expected a GPU that torch can use, found none"):
            planned(QualitySettings(device="cuda", output=tmp_path))


class TestScans:
    @pytest.mark.parametrize("probe", ["zone-plate", "disc", "diffuser"])
    def test_n_is_what_was_asked_for(self, probe):
        data = TOY.data(photons_per_pixel=50.0, probe=probe)
        found = facts(data, expose(data))
        assert found["n"] == pytest.approx(50, rel=1e-3)
        assert found["frames"] == TOY.side**2
        assert 0 < found["area_overlap"] < found["linear_overlap"] < 1

    def test_what_is_trained_on_is_another_object_at_the_same_light(self):
        data = TOY.data(photons_per_pixel=50.0)
        scored, training = expose(data), expose(data.training(TOY.side))
        assert scored.truth.shape == training.truth.shape
        assert not np.allclose(scored.truth, training.truth)
        assert not np.allclose(scored.scan.positions_px, training.scan.positions_px)
        assert training.photons_per_pixel == pytest.approx(50, rel=1e-3)

    def test_a_wrong_probe_is_as_wrong_as_asked_at_the_same_power(self):
        made = expose(TOY.data(dose=1e4, probe_error=0.1))
        power = np.sum(np.abs(made.probe) ** 2)
        assert np.sum(np.abs(made.scan.probe) ** 2) == pytest.approx(power, rel=1e-5)
        scale_ = np.vdot(made.scan.probe, made.probe) / power
        error = np.sum(np.abs(made.probe - scale_ * made.scan.probe) ** 2) / power
        assert np.sqrt(error) == pytest.approx(0.1, rel=0.01)

    def test_what_is_wrong_is_given_wrong_and_remembered_right(self):
        clean = expose(TOY.data(dose=1e4))
        for fault in ("defocus", "power"):
            made = expose(TOY.data(dose=1e4, fault=fault))
            assert np.array_equal(made.probe, clean.probe)
            assert np.array_equal(made.true_scan.probe, clean.probe)
            assert not np.allclose(made.scan.probe, clean.probe)
            assert np.array_equal(made.scan.photons[:], clean.scan.photons[:])
        powers = [np.sum(np.abs(each.scan.probe) ** 2) for each in (made, clean)]
        assert powers[0] == pytest.approx(1.1 * powers[1], rel=1e-5)

    def test_positions_are_astray_by_as_much_as_asked_and_their_mean_by_nothing(self):
        data = TOY.data(dose=1e4, position_error_px=2.0, margin_px=8)
        made, clean = expose(data), expose(data.model_copy(update={"position_error_px": 0.0}))
        error = made.scan.positions_px - made.positions_px
        assert np.sqrt(np.mean(np.sum(error**2, axis=1))) == pytest.approx(2)
        assert error.mean(axis=0) == pytest.approx([0, 0], abs=1e-12)
        assert np.array_equal(made.positions_px, clean.scan.positions_px)
        assert np.array_equal(made.truth, clean.truth)
        assert facts(data, made)["wrong"] == "positions given 2 px rms wrong"

    def test_pixels_and_frames_are_missing_as_asked(self):
        clean = expose(TOY.data(dose=1e4))
        bad, stop, fewer = (expose(TOY.data(dose=1e4, fault=each)).scan for each in _MISSING)
        assert 0 < np.mean(~bad.mask) < 0.06
        assert not stop.mask[16, 16]
        assert 0 < np.sum(~stop.mask) < 0.02 * stop.mask.size
        assert len(fewer) == round(0.8 * len(clean.scan))
        assert np.array_equal(fewer.photons[:], clean.scan.photons[:][fewer.frame_index])

    def test_held_out_probes_come_with_every_family_at_the_overlap_asked(self):
        data = HeldOut(side=3, window=32, probes=2)
        found = list(held_out_exposures(data))
        assert len({(probe, family) for probe, family, _ in found}) == len(found) == 12
        assert found[0][2].photons_per_pixel == pytest.approx(1e4, rel=1e-3)


_MISSING = ("bad pixels", "beamstop", "missing frames")


class TestMeasuring:
    def test_the_flat_image_has_no_skill_and_an_error_above_the_limit(self, tools):
        data = TOY.data(photons_per_pixel=50.0)
        found = measure.measure_arm(data, expose(data), Bounds(), tools)
        assert found["numbers"]["phase_skill"] == pytest.approx(0, abs=1e-6)
        assert found["numbers"]["amplitude_skill"] == pytest.approx(0, abs=1e-6)
        assert 0 < found["facts"]["limit_bayes_rmse"] < found["facts"]["limit_rmse"]
        assert found["numbers"]["object_rmse"] > 0.1
        assert "limit_rmse" not in measure.measure_arm(data, expose(data), Bounds(limit=False), tools)["facts"]

    def test_a_blind_case_has_the_blind_limit(self):
        known, blind = (
            measure.limits(data, expose(data))["limit_rmse"]
            for data in (TOY.data(photons_per_pixel=300.0), TOY.data(photons_per_pixel=300.0, probe_error=0.1))
        )
        assert blind > 1.05 * known

    def test_steps_of_likelihood_after_the_network_explain_the_photons_better(self, tools):
        data = TOY.data(photons_per_pixel=300.0)
        exposure = expose(data)
        network, hybrid = (arm.model_copy(update={"draws": 2}) for arm in (given(tools), given(tools, Hybrid)))
        first, then = (measure.measure_arm(data, exposure, arm, tools) for arm in (network, hybrid))
        assert 0 < then["facts"]["steps"] <= 10
        assert then["numbers"]["deviance_fitted"] < first["numbers"]["deviance_fitted"]
        assert first["numbers"]["bias_fraction"] is not None
        assert first["numbers"]["train_seconds"] == 0

    def test_groups_apart_and_adaptation_are_other_images_of_the_same_weights(self, tools):
        data = TOY.data(photons_per_pixel=300.0)
        exposure = expose(data)
        arms = [given(tools, **choices) for choices in ({}, {"gridsize": 2}, {"gridsize": 1}, {"adapt": 3})]
        found = [measure.measure_arm(data, exposure, arm, tools) for arm in arms]
        assert len({each["numbers"]["object_rmse"] for each in found[:3]}) == 3
        assert "collapsed" in found[3]["facts"]
        assert found[3]["numbers"]["train_seconds"] > 0

    def test_a_network_is_trained_once_from_scratch_or_from_the_weights(self, tools):
        data = TOY.data(photons_per_pixel=300.0)
        exposure, scratch = expose(data), TOY.trained(4, gridsize=7)
        started = scratch.model_copy(update={"start": "pretrained", "weights": sha256_file(tools.weights)})
        found = [measure.measure_arm(data, exposure, arm, tools) for arm in (scratch, started)]
        assert found[0]["numbers"]["object_rmse"] != found[1]["numbers"]["object_rmse"]
        made = {path: path.stat().st_mtime_ns for path in tools.folder.rglob("wts.h5.zip")}
        assert len(made) == 2
        again = measure.measure_arm(data, exposure, started.model_copy(update={"draws": 2}), tools)
        assert {path: path.stat().st_mtime_ns for path in tools.folder.rglob("wts.h5.zip")} == made
        assert again["numbers"]["object_rmse"] == found[1]["numbers"]["object_rmse"]

    def test_positions_that_are_refined_are_less_wrong(self, tools):
        data = TOY.data(photons_per_pixel=1e4, position_error_px=1.0, margin_px=8)
        exposure = expose(data)
        arms = [Likelihood(engine=LikelihoodSettings(iterations=40, fit_positions=fit)) for fit in (False, True)]
        left = [measure.measure_arm(data, exposure, arm, tools)["numbers"]["positions_left_px"] for arm in arms]
        assert left[0] == pytest.approx(1)
        assert left[1] < left[0]

    def test_a_probe_of_wrong_power_costs_nothing_where_scale_is_unknown(self, tools):
        errors = {}
        for gauge in ("known", "blind"):
            data = TOY.data(photons_per_pixel=1e5, fault="power", gauge=gauge)
            errors[gauge] = measure.measure_arm(data, expose(data), TOY.likelihood, tools)["numbers"]["object_rmse"]
        assert errors["blind"] < errors["known"]

    def test_held_out_probes_have_an_area_for_each_family(self, tools):
        found = measure.measure_held_out(TOY.held_out, given(tools), tools)
        areas = found["facts"]["frc_areas"]
        every = [area for families in areas.values() for area in families.values()]
        assert [len(families) for families in areas.values()] == [6, 6]
        assert found["numbers"]["frc_area_worst"] == min(every)
        assert 0 < found["numbers"]["frc_area_worst"] <= found["numbers"]["frc_area_median"] <= 1
        with pytest.raises(DataError, match="held-out probes: expected the pretrained network as it is, got ML"):
            measure.measure_held_out(TOY.held_out, TOY.likelihood, tools)

    def test_other_weights_than_those_described_are_refused(self, tools, tmp_path):
        with pytest.raises(DataError, match=r"expected a file of sha256 \(none\), got another"):
            tools.pretrained(Pretrained())
        with pytest.raises(BundleError, match="expected a model bundle, found no file"):
            replace(tools, weights=tmp_path / "none.zip").pretrained(Pretrained())

    def test_one_arm_that_fails_does_not_take_the_others_with_it(self, tmp_path, weights):
        data = TOY.data(photons_per_pixel=300.0)
        arms = {"bounds": Bounds(), "impossible": Trained(side=4, training=TrainingSettings(device="cuda:99"))}
        plain = {key: arm.plain() for key, arm in arms.items()}
        parts = [{"data": data.plain(), "arms": plain}]
        found = measure.measure_several(parts, str(tmp_path), "code", weights=str(weights))
        assert list(found["failed"]) == ["impossible"]
        told = json.loads((tmp_path / "bounds.json").read_text(encoding="utf-8"))
        assert told["settings"] == {"data": data.plain(), "arm": plain["bounds"]}
        assert told["environment"]["torch"]
        assert not (tmp_path / "impossible.json").exists()

    def test_halves_of_a_measured_scan_agree_up_to_some_frequency(self, tmp_path, tools, monkeypatch):
        exposure = expose(TOY.data(dose=1e5))
        path = tmp_path / "scan.npz"
        write_data001(path, exposure.scan)
        engine = LikelihoodSettings(iterations=20, fit_probe=True)
        monkeypatch.setattr(measure, "IterativeReconstructor", lambda _: MaximumLikelihoodReconstructor(engine))
        data = Measured(sha256=sha256_file(path))
        lsqml = Iterative(engine=IterativeSettings(epochs=20, fit_probe=True, threads=1))
        arms = (lsqml, given(tools), given(tools, Hybrid), TOY.likelihood)
        found = [measure.measure_star(data, arm, path, tools) for arm in arms]
        assert len(list(tools.folder.glob("*.npz"))) == 2  # each half's probe is refined once, for all of them
        for each in found:
            assert each["facts"]["frames"] == TOY.side**2
            assert each["numbers"]["deviance_heldout"] > 0
        assert {each["facts"]["half_bit_state"] for each in found[:3]} <= {"crosses", "above", "below"}
        assert found[3]["facts"]["half_bit_state"] is None
        assert found[2]["numbers"]["deviance_heldout"] <= found[1]["numbers"]["deviance_heldout"]
        assert found[2]["facts"]["steps"] > 0
        with pytest.raises(DataError, match="expected a file of sha256 000000000000, got another"):
            measure.measure_star(Measured(sha256="0" * 64), lsqml, path, tools)


def given(tools, kind=Pretrained, **choices):
    """An arm with the weights at hand."""
    first = Pretrained(weights=sha256_file(tools.weights), **choices)
    return first if kind is Pretrained else kind(first=first)


class TestRunning:
    def test_all_arms_have_numbers_and_the_page_has_them_all(self, finished):
        settings, findings = finished
        assert not findings.failed
        (condition,) = findings.case("few-data").conditions
        for arm in condition.all_arms:
            assert findings.numbers(condition, arm, "eta")[0] > 0
        text = (settings.output / "quality.md").read_text(encoding="utf-8")
        names = ("Constant", "Pretrained", "Pretrained, trained on 16 frames", "Network, C = 49, 36 frames")
        for words in (*names, "(participation)"):
            assert words in text
        assert (settings.output / FEW_DATA).is_file()

    def test_the_record_holds_settings_seeds_versions_and_digests(self, finished):
        settings, _ = finished
        record = json.loads((settings.output / "quality.json").read_text(encoding="utf-8"))
        assert record["schema"] == run.SCHEMA
        assert record["provenance"]["environment"]["torch"]
        assert record["provenance"]["settings"]["seeds"] == [0]
        assert record["provenance"]["command"] == (
            "python -m benchmarks.quality --size toy --seeds 1 --seed 0 --only few-data --weights wts.h5.zip"
        )
        assert record["provenance"]["settings"]["weights"]["sha256"] == sha256_file(settings.weights)
        assert [row["row"] for row in record["scoreboard"]] == [row.row for row in scoreboard(nothing())]
        assert {unit["reused"] for unit in record["units"].values()} == {False}

    def test_fewer_than_three_seeds_are_shown_but_not_judged(self, finished):
        row = next(row for row in scoreboard(finished[1]) if row.row == "14")
        assert row.measured is not None
        assert row.verdict == "not measured"
        assert row.reason.startswith("1 seeds, not 3 or more")
        assert row.measured.values[0] in {0, 16, 36}

    def test_an_efficiency_that_bias_alone_reaches_is_not_judged(self):
        findings = nothing()
        condition = findings.condition("dose-ladder", "n = 300")

        def made(likelihood):
            errors = {"Hybrid": 0.1, "Pretrained": 0.12, "ML": likelihood}
            units = filled(findings, condition, lambda arm, _: {"object_rmse": errors.get(arm.name, 0.2)})
            return scoreboard(replace(findings, units=units))[:2]

        one, two = made(likelihood=0.08)
        assert one.measured.spread.median == pytest.approx(1)
        assert two.measured.spread.median == pytest.approx(0.1**2 / 0.12**2)
        assert (one.verdict, two.verdict) == ("not measured", "not measured")
        assert "by bias" in one.reason
        assert "RMSE over the Bayesian bound: Hybrid 2, ML 1.6" in one.note
        assert [row.verdict for row in made(likelihood=0.11)] == ["met", "met"]

    def test_one_collapsed_training_misses_the_target(self):
        findings, units = nothing(), {}
        for number, condition in enumerate(findings.case("collapse").conditions):
            lost = number == 1
            units |= filled(
                findings,
                condition,
                lambda *_: {"object_rmse": 0.2, "no_better_than_flat": 0.0},
                lambda arm, seed, lost=lost: {"collapsed": lost and seed == 1 and arm.kind == "network"},
            )
        default, scratch = scoreboard(replace(findings, units=units))[-2:]
        assert (default.row, default.verdict, default.measured.values) == ("15", "met", (0.0,))
        assert (scratch.row, scratch.verdict, scratch.measured.values) == ("15", "missed", (1.0,))
        assert "of 140 trainings" in scratch.note
        assert "1 of 10 at N = 64, n = 10000, Network, C = 49, 25 frames" in scratch.note
        few = {key: unit for key, unit in units.items() if key in set(list(units)[:6])}
        assert "seeds, not 10" in scoreboard(replace(findings, units=few))[-1].reason

    def test_no_frames_of_a_new_probe_are_needed_where_training_adds_nothing(self):
        findings = nothing()
        (condition,) = findings.case("few-data").conditions

        def row(one_pass):
            def numbers(arm, _):
                return {"object_rmse": one_pass if arm.name == "Pretrained" else 0.2}

            units = filled(findings, condition, numbers)
            return next(each for each in scoreboard(replace(findings, units=units)) if each.row == "14")

        assert row(0.2).measured.values == (0, 0, 0)
        assert row(0.2).verdict == "met"
        assert row(0.3).measured.values == (64, 64, 64)

    def test_a_start_is_worth_what_few_epochs_reach(self):
        findings = nothing()
        condition = findings.condition("dose-ladder", "n = 300")
        errors = {"LSQML": 0.1, "LSQML from the network, 6 epochs": 0.095, "LSQML from the network, 3 epochs": 0.11}
        units = filled(findings, condition, lambda arm, _: {"object_rmse": errors.get(arm.name, 0.2)})
        rows = [each for each in scoreboard(replace(findings, units=units)) if each.row == "12"]
        assert rows[1].measured.spread.median == pytest.approx(0.95)
        assert rows[1].verdict == "met"
        assert rows[1].note == "after 3 epochs 1.1"

    def test_the_worst_of_the_held_out_probes_is_named(self):
        findings = nothing()
        (condition,) = findings.case("held-out-probes").conditions
        areas = {"disc": {"lines": 0.9, "grains": 0.7}, "pair": {"lines": 0.99, "grains": 0.96}}
        units = filled(
            findings,
            condition,
            lambda *_: {"frc_area_worst": 0.7, "frc_area_median": 0.93},
            lambda *_: {"frc_areas": areas, "n": 1e4},
        )
        worst, median = (each for each in scoreboard(replace(findings, units=units)) if each.row == "8")
        assert (worst.verdict, median.verdict) == ("missed", "missed")
        assert worst.note == "n = 10000; worst: disc over grains"
        text = page_of(replace(findings, units=units))
        assert "| disc | 0.9 [0.9, 0.9] | 0.7 [0.7, 0.7] |" in text

    def test_faults_are_shown_over_the_clean_scan_seed_by_seed(self):
        findings, units = nothing(), {}
        for condition in findings.case("robust").conditions[:2]:
            error = 0.1 if condition.data.fault == "none" else 0.12
            units |= filled(findings, condition, lambda _, seed, error=error: {"object_rmse": error * (1 + seed)})
        text = page_of(replace(findings, units=units))
        line = next(each for each in text.splitlines() if "10 % more defocus | Hybrid" in each)
        assert "| 0.24 [0.12, 0.36] | 1.2 [1.2, 1.2] |" in line

    def test_an_interrupted_run_measures_only_what_is_missing(self, finished):
        settings, findings = finished
        assert not planned(settings).jobs
        lost = next(key for key, unit in findings.units.items() if unit["settings"]["arm"]["kind"] == "bounds")
        path = settings.output / "quality_units" / f"{lost}.json"
        kept = path.read_bytes()
        try:
            path.write_bytes(kept[:100])  # as a crash might leave it
            assert [list(job) for job in planned(settings).jobs] == [[lost]]
            assert len(planned(settings.model_copy(update={"fresh": True})).reused) == 0
        finally:
            path.write_bytes(kept)

    def test_a_finished_run_is_published_again_without_measuring(self, finished, monkeypatch):
        settings, before = finished
        monkeypatch.setattr(run, "called", None)
        lines = []
        again = run_quality(settings, lambda *words: lines.extend(words))
        assert again.units == before.units
        assert any("0 processes" in line for line in lines)
        record = json.loads((settings.output / "quality.json").read_text(encoding="utf-8"))
        assert {unit["reused"] for unit in record["units"].values()} == {True}

    def test_other_code_measures_again(self, finished, monkeypatch):
        settings, findings = finished
        monkeypatch.setattr(run, "code_digest", lambda: "other")
        assert len(planned(settings).units) == len(findings.units)
        assert not planned(settings).reused

    def test_reasons_of_failures_stand_on_the_page(self):
        text = page_of(replace(nothing(), failed={"ML, seed 0, abc": "no such thing"}))
        assert "- failed: ML, seed 0, abc: no such thing" in text

    def test_the_plan_alone_writes_nothing(self, tmp_path, capsys):
        output = tmp_path / "results"
        main(["--size", "small", "--plan", "--output", str(output)])
        told = capsys.readouterr().out
        assert "in all: " in told
        assert "no measured scan was given (--scan)" in told
        assert not output.exists()

    def test_a_refusal_is_one_line(self, tmp_path):
        with pytest.raises(SystemExit, match="quality: only: expected some of lines"):
            main(["--only", "nothing", "--output", str(tmp_path)])

    def test_a_plan_without_weights_says_so(self, tmp_path, monkeypatch):
        monkeypatch.setattr("foldlight.bundle.PRETRAINED", tmp_path / "none.zip")
        lines = []
        run_quality(FEW.model_copy(update={"plan": True, "output": tmp_path}), lambda *words: lines.extend(words))
        assert lines[-1] == f"no weights at {tmp_path / 'none.zip'}: what needs them will fail"


def page_of(findings):
    settings = {"size": "small", "workers": 2, "repeats": 3, "seed": 0, "only": []}
    return page(findings, scoreboard(findings), Provenance.now("quality", settings), 0)
