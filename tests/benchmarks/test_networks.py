"""The comparison of networks: equal training, equal flop, the first seed first, nothing measured twice."""

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.network_parts import run
from benchmarks.network_parts.costs import measure_costs
from benchmarks.network_parts.design import BASE, design
from benchmarks.network_parts.page import page
from benchmarks.network_parts.run import NetworksSettings, planned, run_networks
from benchmarks.networks import main

SIZES = ("toy", "small", "full")


def in_this_process(function, arguments, *_):
    """What `run` has called in a process of its own, whose start would take longer than the work."""
    module, name = function.split(":")
    return getattr(importlib.import_module(module), name)(**arguments), ""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two networks, two data sets of one probe, one C."""
    whole = design("toy")
    variants = tuple(each for each in whole.variants if each.name in {BASE, "raw, U-Net"})
    small = replace(whole, variants=variants, conditions=whole.conditions[:1])
    settings = NetworksSettings(size="toy", seeds=2, output=tmp_path_factory.mktemp("networks"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "design", lambda size: small if size == "toy" else design(size))
        patch.setattr(run, "called", in_this_process)
        yield settings, run_networks(settings, lambda *_: None)


class TestDesign:
    @pytest.mark.parametrize("size", SIZES)
    def test_every_network_gets_the_same_training(self, size):
        of = design(size)
        assert len({each.name for each in of.variants}) == len(of.variants)
        for condition in of.conditions:
            units = [of.unit(condition, each, seed=3) for each in of.variants]
            assert len({json.dumps(unit.arm.training.plain()) for unit in units}) == 1
            assert len({json.dumps(unit.data.plain()) for unit in units}) == 1
            visits = units[0].arm.side ** 2 * units[0].arm.training.epochs
            assert visits == pytest.approx(of.scale.visits, rel=0.05)
            assert units[0].arm.training.seed == units[0].data.seed == 3
            assert units[0].arm.training.group_size == condition.gridsize**2

    def test_small_holds_all_that_is_asked(self):
        of = design("small")
        assert {each.network.kind for each in of.variants} == {"raw", "log", "lifted", "unrolled"}
        assert {each.network.consistency_steps for each in of.variants} == {0, 3}
        assert {each.network.body for each in of.variants} == {"unet", "fourier"}
        assert {each.dose for each in of.conditions} == {1e3, 1e4, 1e6}
        assert {each.probe for each in of.conditions} == {"zone-plate", "disc"}
        assert {each.gridsize for each in of.conditions} == {1, 2}

    def test_bodies_and_inputs_cost_about_the_same_flop(self):
        networks = {each.name: each.network.plain() for each in design("small").variants}
        costs = measure_costs(networks, 64, repeats=1)
        base = costs[BASE]
        for name in ("raw, U-Net", "log, U-Net", "lifted, Fourier layers"):
            assert costs[name]["flop"] == pytest.approx(base["flop"], rel=0.1)
        steps = costs[f"{BASE}, 3 consistency steps"]
        assert steps["transforms"] == base["transforms"] + 2 * 3  # there and back, each step
        assert all(np.isfinite(each["core_ms"]).all() for each in costs.values())


class TestRunning:
    def test_the_first_seed_is_measured_first(self, tmp_path):
        plan = planned(NetworksSettings(size="small", output=tmp_path))
        assert len(plan.units) == 6 * 3 * 2 * 2 * 3
        order = [unit.data.seed for unit in plan.units.values()]
        assert order == sorted(order)
        assert len(plan.jobs) == 3 * 2 * 3  # C = 1 and 4 share their scan
        assert [{unit.data.seed for unit in job.values()} for job in plan.jobs] == [
            {s} for s in (0, 1, 2) for _ in "123456"
        ]

    def test_every_network_has_numbers_and_the_page_has_them_all(self, finished):
        settings, findings = finished
        assert not findings.failed
        (condition,) = findings.design.conditions
        for variant in findings.design.variants:
            assert len(findings.numbers(condition, variant, "object_rmse")) == 2
        base = next(each for each in findings.design.variants if each.name == BASE)
        assert findings.ratios(base, condition.gridsize) == [1.0, 1.0]
        text = (settings.output / "networks.md").read_text(encoding="utf-8")
        for words in ("numbers mean nothing", BASE, "Mflop a frame", "zone-plate, 100,000 photons a frame, C = 4"):
            assert words in text
        assert "4 of 4 trainings measured" in text

    def test_the_record_holds_settings_versions_and_digests(self, finished):
        settings, findings = finished
        record = json.loads((settings.output / "networks.json").read_text(encoding="utf-8"))
        assert record["schema"] == run.SCHEMA
        assert record["provenance"]["command"] == "python -m benchmarks.networks --size toy --seeds 2 --seed 0"
        assert record["provenance"]["settings"]["code"] == findings.code
        assert len(record["rows"]) == 2
        assert {unit["reused"] for unit in record["units"].values()} == {False}

    def test_an_interrupted_run_measures_only_what_is_missing(self, finished):
        settings, findings = finished
        assert not planned(settings).jobs
        lost = next(iter(findings.units))
        path = settings.output / "network_units" / f"{lost}.json"
        kept = path.read_bytes()
        try:
            path.write_bytes(kept[:100])  # as a crash might leave it
            assert [list(job) for job in planned(settings).jobs] == [[lost]]
            assert not planned(settings.model_copy(update={"fresh": True})).reused
        finally:
            path.write_bytes(kept)

    def test_a_finished_run_is_published_again_without_measuring(self, finished, monkeypatch):
        settings, before = finished
        monkeypatch.setattr(run, "called", None)
        lines = []
        again = run_networks(settings, lambda *words: lines.extend(words))
        assert again.units == before.units
        assert again.costs == before.costs
        assert lines[0] == "4 trainings, 0 to measure in 0 data sets, about 0 minutes"

    def test_reasons_of_failures_stand_on_the_page(self, finished, tmp_path, monkeypatch):
        settings, _ = finished
        monkeypatch.setattr(run, "called", lambda *_: ({}, "no such thing"))
        told = []
        other = settings.model_copy(update={"output": tmp_path, "seeds": 1})
        findings = run_networks(other, lambda *words: told.extend(words))
        assert set(findings.failed.values()) == {"no such thing"}
        assert "costs" in findings.failed
        assert len(findings.failed) == 3
        text = (tmp_path / "networks.md").read_text(encoding="utf-8")
        assert "- failed: costs: no such thing" in text
        assert "0 of 0" in text

    def test_an_unfinished_run_has_a_page(self, finished):
        settings, findings = finished
        provenance = run._provenance(settings, planned(settings))
        part = replace(findings, units=dict([next(iter(findings.units.items()))]), costs={})
        assert "1 of 4 trainings measured" in page(part, provenance)

    def test_the_plan_alone_writes_nothing(self, tmp_path, capsys):
        output = tmp_path / "results"
        main(["--size", "small", "--plan", "--output", str(output)])
        assert capsys.readouterr().out.startswith("216 trainings, 216 to measure in 18 data sets")
        assert not output.exists()

    def test_a_refusal_is_one_line(self, capsys):
        with pytest.raises(SystemExit):
            main(["--seeds", "0"])
        assert "seeds" in capsys.readouterr().err
