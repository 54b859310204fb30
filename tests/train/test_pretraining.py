"""Pretraining: simulated scans side by side, the same bits again or resumed, no checkpoint of another run."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from foldlight.bundle import Model, read_bundle, write_bundle
from foldlight.core.errors import DataError, SettingsError, TrainingError
from foldlight.core.files import read_json
from foldlight.networks.generators import build
from foldlight.networks.settings import NetworkSettings
from foldlight.optics.forward import expected_photons
from foldlight.optics.patches import gather
from foldlight.simulate.settings import VarietySettings
from foldlight.simulate.variety import draw_scan
from foldlight.train import pretraining
from foldlight.train.pretraining import Regions, pretrain
from foldlight.train.settings import PretrainingSettings

NETWORK = NetworkSettings(width=8, levels=1, consistency_steps=1)
DATA = VarietySettings(window=16, position_noise_px=0.5, modes_share=0.5, bad_pixels_share=0.5, diameter=(0.3, 0.5))
SETTINGS = PretrainingSettings(steps=4, scans=2, frames=6, canvas_px=32, data=DATA)


@pytest.fixture(autouse=True)
def _few_tests(monkeypatch):
    monkeypatch.setattr(pretraining, "_TESTED", 3)


def run(folder, resume: bool = False, report=None, **changes) -> Model:
    settings = SETTINGS.model_copy(update=changes)
    return pretrain(NETWORK, settings, folder, resume, progress=False, report=report)


def test_the_same_seed_gives_the_same_bundle_and_another_one_another(tmp_path):
    first, again, other = (run(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    digests = [write_bundle(tmp_path / name, model) for name, model in (("1", first), ("2", again), ("3", other))]
    assert digests[0] == digests[1] != digests[2]
    assert read_bundle(tmp_path / "1").training == first.training
    assert read_bundle(tmp_path / "1").errors.plain() == again.errors.plain() != other.errors.plain()


@pytest.mark.parametrize("killed_at", [2, 3])
def test_resuming_ends_at_the_same_bits(tmp_path, monkeypatch, killed_at):
    """From the last checkpoint, of which there is one every two steps here."""
    monkeypatch.setattr(pretraining, "_KEPT_EVERY", 2)
    whole = run(tmp_path / "whole")
    learn = pretraining._Run.learn

    def killed(state, batch):
        if state.step == killed_at:
            raise KeyboardInterrupt
        learn(state, batch)

    monkeypatch.setattr(pretraining._Run, "learn", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts")
    monkeypatch.setattr(pretraining._Run, "learn", learn)
    resumed = run(tmp_path / "parts", resume=True)
    assert resumed.digest() == whole.digest()
    assert resumed.training == whole.training


def test_the_log_is_written_as_it_goes_and_the_facts_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "_LOGGED_EVERY", 3)
    lines = []
    model = run(tmp_path, report=lines.append)
    with (tmp_path / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in rows] == [3, 4]
    assert lines[0].startswith("step 3/4  error 0.")
    facts = read_json(tmp_path / "training.json")
    assert facts["steps_completed"] == 4
    assert facts["final_loss"] == float(rows[-1]["loss"]) == model.training["final_loss"]
    assert model.training["method"] == "pretraining"
    assert (model.window, model.group_size, model.regional) == ((16, 16), 6, True)
    assert model.training["error_by_photons"].keys() == facts["error_by_photons"].keys()


def test_it_learns():
    """On the same scan again and again, the error falls well below that of the untrained network."""
    state = pretraining._Run.start(NETWORK, SETTINGS.model_copy(update={"learning_rate": 5e-3, "steps": 40}))
    batch = state.batch(0)
    for _ in range(40):
        state.learn(batch)
    assert float(state.losses[-1]) < float(state.losses[0]) - 0.2


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="found none; train without --resume"):
        run(tmp_path, resume=True)
    run(tmp_path)
    for changes in ({"steps": 5}, {"seed": 1}, {"data": DATA.model_copy(update={"modes_share": 0.0})}):
        with pytest.raises(SettingsError, match="expected a checkpoint of the same run, got other "):
            run(tmp_path, resume=True, **changes)
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match=r"expected a checkpoint: .*; train without --resume"):
        run(tmp_path, resume=True)


def test_other_networks_and_a_diverging_loss_are_refused(tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match="kind = lifted: expected unrolled; other networks are trained on one scan"):
        pretrain(NetworkSettings(kind="lifted"), SETTINGS, tmp_path, progress=False)
    monkeypatch.setattr(Regions, "errors", lambda _, network: network.sizes.sum() * torch.full((2,), torch.nan))
    with pytest.raises(TrainingError, match="pretraining: expected a finite loss, got nan near step 4; lower --learn"):
        run(tmp_path)


def test_gradients_far_longer_than_usual_are_shortened():
    state = pretraining._Run.start(NETWORK, SETTINGS)
    lengths = []
    for step, size in enumerate((1.0, 1.0, 1000.0, 1.0)):
        state.step = step
        for weight in state.network.parameters():
            weight.grad = torch.full_like(weight, size)
        state.clip()
        squares = [float(weight.grad.square().sum()) for weight in state.network.parameters()]
        lengths.append(sum(squares) ** 0.5)
    assert lengths[2] == pytest.approx(2 * lengths[0], rel=1e-3)
    assert lengths[3] == pytest.approx(lengths[0], rel=1e-3)


class TestSteps:
    """What a step shows follows from its number alone: large regions as a rule, at times few frames or wide windows."""

    def kinds(self, **shares) -> Regions:
        none = {"single_share": 0.0, "few_share": 0.0, "wide_share": 0.0}
        settings = SETTINGS.model_copy(update={"scans": 4, **none, **shares})
        return pretraining._Run.start(NETWORK, settings).batch(3)

    @pytest.mark.parametrize(
        ("shares", "shape", "side"),
        [
            ({}, (4, 6, 16, 16), 32),
            ({"single_share": 1.0}, (12, 1, 16, 16), 24),
            ({"few_share": 1.0}, (8, 4, 16, 16), 24),
            ({"wide_share": 1.0}, (1, 4, 32, 32), 48),
        ],
    )
    def test_every_kind_has_its_shape(self, shares, shape, side):
        batch = self.kinds(**shares)
        assert tuple(batch.photons.shape) == shape
        assert tuple(batch.truth.shape) == (shape[0], side, side)

    def test_a_step_repeats_and_no_scan_is_drawn_twice(self):
        state = pretraining._Run.start(NETWORK, SETTINGS)
        first, again, after = state.batch(0), state.batch(0), state.batch(1)
        assert first.photons.equal(again.photons)
        drawn = [draw().origin["index"] for step in range(20) for draw in pretraining._scans(SETTINGS, step)]
        assert len(drawn) == len(set(drawn))
        assert not first.truth[:1].equal(after.truth[:1])


class TestRegionsSideBySide:
    """Scans with other probes, modes, masks and doses in one batch."""

    @pytest.fixture
    def scans(self):
        return [draw_scan(DATA, 3, index, 6, (32, 32)) for index in range(8)]

    def test_modes_that_a_scan_lacks_are_dark(self, scans):
        assert len({len(scan.probe) for scan in scans}) > 1
        batch = Regions.of(scans)
        power = batch.probes.abs().square().sum(dim=(-2, -1))[:, 0]
        for scan, modes in zip(scans, power, strict=True):
            np.testing.assert_allclose(modes[: len(scan.probe)], np.sum(np.abs(scan.probe) ** 2, (1, 2)), rtol=1e-4)
            assert not modes[len(scan.probe) :].any()

    def test_each_error_is_that_of_its_scan_alone(self, scans):
        """With every pixel valid; masks of one scan among others are a law of the network."""
        whole = [replace(scan, mask=np.ones((16, 16), dtype=bool)) for scan in scans]
        network = build(NETWORK, (16, 16), seed=1).eval()
        with torch.inference_mode():
            together = Regions.of(whole).errors(network)
            alone = torch.cat([Regions.of([scan]).errors(network) for scan in whole])
        assert torch.allclose(together, alone, rtol=1e-4)

    def test_the_object_explains_the_photons_of_a_probe_that_is_too_strong(self):
        """What is taught is the object that the given probe, wrong by a factor, asks for."""
        wrong = DATA.model_copy(
            update={
                "wrong_probe_share": 1.0,
                "position_noise_share": 0.0,
                "modes_share": 0.0,
                "photons_per_pixel": (1e6, 1e6),
            }
        )
        scans = [draw_scan(wrong, 0, index, 6, (32, 32)) for index in range(12)]
        powers = [scan.origin["probe_power_error"] for scan in scans]
        assert max(powers) > 0.03 > -0.03 > min(powers)
        batch = Regions.of(scans)
        expected = expected_photons(batch.probes, gather(batch.truth, batch.positions_px, (16, 16)))
        counted, told = ((part * batch.mask).sum(dim=(1, 2, 3)) for part in (batch.photons, expected))
        assert torch.allclose(told, counted, rtol=0.02)
