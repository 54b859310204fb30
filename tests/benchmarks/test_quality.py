"""The quality suite: the plan is whole, the floor is always there, nothing is measured twice."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import main
from benchmarks.quality_parts import measure, run
from benchmarks.quality_parts.cases import (
    Bounds,
    Iterative,
    Likelihood,
    Measured,
    Simulated,
    Trained,
    Unit,
    cases,
    scale,
)
from benchmarks.quality_parts.page import page
from benchmarks.quality_parts.pictures import DOSE_LADDER, FEW_DATA
from benchmarks.quality_parts.results import Findings
from benchmarks.quality_parts.run import QualitySettings, planned, run_quality
from benchmarks.quality_parts.scans import expose, facts
from benchmarks.quality_parts.scoreboard import ROWS, scoreboard
from benchmarks.report import Provenance
from foldlight.core.errors import DataError, SettingsError
from foldlight.core.provenance import sha256_file
from foldlight.io import write_data001
from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
from foldlight.reconstruct.settings import IterativeSettings, LikelihoodSettings
from foldlight.train.settings import TrainingSettings

SIZES = ("toy", "small", "full")
TOY = scale("toy")
FEW = QualitySettings(size="toy", only=("few-data",), seeds=1, workers=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A toy run of one case, in its own process as always."""
    settings = FEW.model_copy(update={"output": tmp_path_factory.mktemp("quality")})
    return settings, run_quality(settings, lambda *_: None)


def nothing(size="small"):
    return Findings(cases(size), (0, 1, 2), "code", {})


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
    def test_floor_and_ceiling_belong_to_every_simulated_data_set(self, size):
        conditions = [each for case in cases(size, star="0" * 64, gpu=True) for each in case.conditions]
        assert len(conditions) > 8
        for condition in conditions:
            assert isinstance(condition.data, Measured) != isinstance(condition.all_arms[0], Bounds)

    @pytest.mark.parametrize("size", SIZES)
    def test_names_tell_the_arms_of_a_condition_apart(self, size):
        for case in cases(size, star="0" * 64, gpu=True):
            for condition in case.conditions:
                names = [arm.name for arm in condition.all_arms]
                assert len(set(names)) == len(names)

    def test_small_and_full_ask_for_what_the_targets_ask(self):
        for size in ("small", "full"):
            lines, ladder, few, blind, _, _ = cases(size)
            assert [each.label for each in lines.conditions] == ["zone-plate", "disc", "diffuser"]
            sizes = {arm.training.group_size for arm in lines.conditions[0].arms if isinstance(arm, Trained)}
            assert sizes == {1, 4}
            doses = [each.data.dose for each in ladder.conditions if each.data.dose]
            assert (min(doses), max(doses)) == (1e2, 1e9)
            twins = [arm.training.supervision for arm in few.conditions[0].arms]
            assert twins.count("photons") == twins.count("object") >= 3
            assert blind.conditions[0].data.probe_error == 0.1

    def test_small_is_planned_for_less_than_twenty_minutes_on_two_cores(self, tmp_path):
        plan = planned(QualitySettings(size="small", output=tmp_path))
        assert len(plan.seeds) == 3
        assert plan.seconds(workers=2) < 20 * 60

    def test_units_that_cases_share_are_measured_once(self, tmp_path):
        plan = planned(QualitySettings(size="small", output=tmp_path))
        asked = sum(len(list(each.units(plan.seeds))) for case in plan.cases for each in case.conditions)
        assert len(plan.units) < asked
        assert sum(map(len, plan.jobs)) == len(plan.units)

    def test_the_key_knows_the_data_the_arm_and_the_code(self):
        unit = Unit(Simulated(dose=1e4), TOY.lsqml)
        others = [
            Unit(Simulated(dose=2e4), TOY.lsqml).key("a"),
            Unit(Simulated(dose=1e4, seed=1), TOY.lsqml).key("a"),
            Unit(Simulated(dose=1e4), TOY.likelihood).key("a"),
            unit.key("b"),
        ]
        assert unit.key("a") == Unit(Simulated(dose=1e4), TOY.lsqml).key("a")
        assert len({unit.key("a"), *others}) == 5

    def test_a_seed_reaches_everything_that_draws(self):
        condition = cases("toy")[0].conditions[0]
        network = next(arm for arm in condition.arms if isinstance(arm, Trained))
        after = Likelihood(start=network)
        assert condition.unit(network, 7).arm.training.seed == 7
        assert condition.unit(after, 7).arm.start.training.seed == 7
        assert condition.unit(TOY.lsqml, 7).arm.engine.seed == 7
        assert condition.unit(TOY.lsqml, 7).data.seed == 7

    def test_an_unknown_case_or_a_missing_scan_is_refused(self, tmp_path):
        with pytest.raises(SettingsError, match=r"only: expected some of lines, .*; got 'line'"):
            planned(QualitySettings(only=("line",), output=tmp_path))
        with pytest.raises(SettingsError, match="scan: expected a file, got"):
            planned(QualitySettings(scan=tmp_path / "none.npz", output=tmp_path))


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


class TestMeasuring:
    def test_the_flat_image_has_no_skill_and_an_error_above_the_limit(self):
        data = TOY.data(photons_per_pixel=50.0)
        found = measure.measure_arm(data, expose(data), Bounds(), Path("unused"), "code")
        assert found["numbers"]["phase_skill"] == pytest.approx(0, abs=1e-6)
        assert found["numbers"]["amplitude_skill"] == pytest.approx(0, abs=1e-6)
        assert 0 < found["facts"]["limit_bayes_rmse"] < found["facts"]["limit_rmse"]
        assert found["numbers"]["object_rmse"] > 0.1

    def test_a_blind_case_has_the_blind_limit(self):
        known, blind = (
            measure.limits(data, expose(data))["limit_rmse"]
            for data in (TOY.data(photons_per_pixel=300.0), TOY.data(photons_per_pixel=300.0, probe_error=0.1))
        )
        assert blind > 1.05 * known

    def test_steps_of_likelihood_after_a_network_begin_at_its_image(self, tmp_path):
        data = TOY.data(photons_per_pixel=300.0)
        exposure, network = expose(data), TOY.trained(4).model_copy(update={"draws": 2})
        arm = Likelihood(engine=LikelihoodSettings(iterations=2), start=network, draws=2)
        first = measure.measure_arm(data, exposure, network, tmp_path, "code")
        bundle = next(tmp_path.rglob("wts.h5.zip"))
        trained_at = bundle.stat().st_mtime_ns
        then = measure.measure_arm(data, exposure, arm, tmp_path, "code")
        assert bundle.stat().st_mtime_ns == trained_at  # not trained again
        assert then["facts"]["convergence"]["iterations"] == 2
        assert then["numbers"]["deviance_fitted"] < first["numbers"]["deviance_fitted"]
        assert first["numbers"]["bias_fraction"] is not None
        assert then["numbers"]["train_seconds"] == first["numbers"]["train_seconds"]

    def test_one_arm_that_fails_does_not_take_the_others_with_it(self, tmp_path):
        data = TOY.data(photons_per_pixel=300.0)
        arms = {"bounds": Bounds(), "impossible": Trained(side=4, training=TrainingSettings(device="cuda:99"))}
        plain = {key: arm.plain() for key, arm in arms.items()}
        found = measure.measure_all(data.plain(), plain, str(tmp_path), "code")
        assert list(found["failed"]) == ["impossible"]
        told = json.loads((tmp_path / "bounds.json").read_text(encoding="utf-8"))
        assert told["settings"] == {"data": data.plain(), "arm": plain["bounds"]}
        assert told["environment"]["torch"]
        assert not (tmp_path / "impossible.json").exists()

    def test_halves_of_a_measured_scan_agree_up_to_some_frequency(self, tmp_path, monkeypatch):
        exposure = expose(TOY.data(dose=1e5))
        path = tmp_path / "scan.npz"
        write_data001(path, exposure.scan)
        engine = LikelihoodSettings(iterations=20)
        monkeypatch.setattr(measure, "IterativeReconstructor", lambda _: MaximumLikelihoodReconstructor(engine))
        arm = Iterative(engine=IterativeSettings())
        found = measure.measure_star(Measured(sha256=sha256_file(path)), arm, path)
        assert found["facts"]["frames"] == TOY.side**2
        assert found["facts"]["half_bit_state"] in {"crosses", "above", "below"}
        assert found["numbers"]["deviance_heldout"] > 0
        with pytest.raises(DataError, match="expected a file of sha256 000000000000, got another"):
            measure.measure_star(Measured(sha256="0" * 64), arm, path)


class TestRunning:
    def test_all_arms_have_numbers_and_the_page_has_them_all(self, finished):
        settings, findings = finished
        assert not findings.failed
        (condition,) = findings.case("few-data").conditions
        for arm in condition.all_arms:
            assert findings.numbers(condition, arm, "eta")[0] > 0
        text = (settings.output / "quality.md").read_text(encoding="utf-8")
        for words in ("Constant", "Supervised, C = 4, 16 frames", "Network, C = 4, 36 frames", "(participation)"):
            assert words in text
        assert (settings.output / FEW_DATA).is_file()
        assert (settings.output / DOSE_LADDER).is_file()  # the rung that it shares with this case

    def test_the_record_holds_settings_seeds_versions_and_digests(self, finished):
        settings, _ = finished
        record = json.loads((settings.output / "quality.json").read_text(encoding="utf-8"))
        assert record["schema"] == run.SCHEMA
        assert record["provenance"]["environment"]["torch"]
        assert record["provenance"]["settings"]["seeds"] == [0]
        assert record["provenance"]["command"] == (
            "python -m benchmarks.quality --size toy --seeds 1 --seed 0 --only few-data"
        )
        assert [row["row"] for row in record["scoreboard"]] == [row.row for row in scoreboard(nothing())]
        assert {unit["reused"] for unit in record["units"].values()} == {False}

    def test_fewer_than_three_seeds_are_shown_but_not_judged(self, finished):
        row = next(row for row in scoreboard(finished[1]) if row.row == "14")
        assert row.measured is not None
        assert row.verdict == "not measured"
        assert row.reason.startswith("1 seeds, not 3 or more; the largest training here is not a full one")

    def test_an_efficiency_that_bias_alone_reaches_is_not_judged(self):
        findings = nothing()
        condition = findings.condition("dose-ladder", "n = 300")
        units = {}
        for seed in findings.seeds:
            for arm, error in zip(condition.all_arms, (0.2, 0.1 / np.sqrt(2), 0.12, 0.1, 0.1, 0.1), strict=True):
                facts = {"limit_rmse": 0.1, "limit_bayes_rmse": 0.05, "collapsed": False, "N": 64, "frames": 4}
                facts |= dict.fromkeys(
                    ("photons_per_frame", "n", "step_px", "D_px", "linear_overlap", "area_overlap"), 1
                )
                facts |= {"D_definition": "participation", "probe": "disc", "family": "lines"}
                units[condition.unit(arm, seed).key("code")] = {"numbers": {"object_rmse": error}, "facts": facts}
        one, two = scoreboard(replace(findings, units=units))[:2]
        assert one.measured.spread.median == pytest.approx(1)
        assert two.measured.spread.median == pytest.approx(0.1**2 / 0.12**2)
        assert (one.verdict, two.verdict) == ("not measured", "not measured")
        assert "by bias" in one.reason
        modest = {key: unit for key, unit in units.items() if unit["numbers"]["object_rmse"] > 0.09}
        assert [row.verdict for row in scoreboard(replace(findings, units=modest))[:2]] == ["met", "met"]

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
        monkeypatch.setattr(run, "run_job", None)
        lines = []
        again = run_quality(settings, lambda *words: lines.extend(words))
        assert again.units == before.units
        assert any("0 data sets" in line for line in lines)
        record = json.loads((settings.output / "quality.json").read_text(encoding="utf-8"))
        assert {unit["reused"] for unit in record["units"].values()} == {True}

    def test_other_code_measures_again(self, finished, monkeypatch):
        settings, findings = finished
        monkeypatch.setattr(run, "code_digest", lambda: "other")
        assert len(planned(settings).units) == len(findings.units)
        assert not planned(settings).reused

    def test_reasons_of_failures_stand_on_the_page(self):
        findings = replace(nothing(), failed={"ML, seed 0, abc": "no such thing"})
        settings = {"size": "small", "workers": 2, "repeats": 3, "seed": 0, "only": []}
        text = page(findings, scoreboard(findings), Provenance.now("quality", settings), 0)
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
