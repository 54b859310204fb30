"""Training: repeats to the bit, resumes to the bit, refuses what it should, reports collapse."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from foldlight.bundle import Model, read_bundle, write_bundle
from foldlight.core.errors import DataError, SettingsError, TrainingError
from foldlight.core.files import read_json
from foldlight.networks.generators import build
from foldlight.networks.settings import NetworkSettings
from foldlight.optics.coverage import well_lit
from foldlight.optics.forward import place_probe
from foldlight.optics.spectrum import ErrorSpectrum
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings
from foldlight.train import fit as fit_module
from foldlight.train.data import GroupedFrames
from foldlight.train.fit import adapt, fit
from foldlight.train.loop import learning_rate
from foldlight.train.objective import photon_loss
from foldlight.train.settings import TrainingSettings

NETWORK = NetworkSettings(width=8, levels=1, consistency_steps=1)
PATCHES = NetworkSettings(kind="lifted", width=4, levels=2, consistency_steps=1)


@pytest.fixture(scope="module")
def scan():
    return simulate(SimulationSettings(object_size=80, window=16, positions=150, probe_diameter_px=8.0, dose=1e4))


def wanted(**changes) -> TrainingSettings:
    small = {"gridsize": 2, "epochs": 3, "batch_frames": 16, "guard_px": 8.0, "learning_rate": 3e-3}
    return TrainingSettings(**{**small, **changes})


def run(scan, folder, **changes):
    names = ("resume", "keep_collapsed", "loader_workers", "report", "start")
    options = {name: changes.pop(name) for name in names if name in changes}
    return fit(scan, changes.pop("network", NETWORK), wanted(**changes), folder, progress=False, **options)


@pytest.mark.parametrize(("gridsize", "network"), [(1, NETWORK), (2, NETWORK), (3, NETWORK), (2, PATCHES)])
def test_the_same_data_and_seed_give_the_same_bundle_whatever_loads_the_batches(scan, tmp_path, gridsize, network):
    digests = set()
    options = {"gridsize": gridsize, "network": network, "epochs": 2, "keep_collapsed": True}
    for name, loaders in (("a", 0), ("b", 2)):
        training = run(scan, tmp_path / name, loader_workers=loaders, **options)
        digests.add(write_bundle(tmp_path / name / "wts.h5.zip", training.model))
    assert len(digests) == 1
    other = run(scan, tmp_path / "c", seed=7, **options)
    assert write_bundle(tmp_path / "c.zip", other.model) not in digests


@pytest.mark.parametrize("gridsize", [2, 3])
def test_resuming_ends_at_the_same_bits(scan, tmp_path, monkeypatch, gridsize):
    whole = run(scan, tmp_path / "whole", gridsize=gridsize)
    run_epoch = fit_module._Loop.run_epoch

    def killed_in_third_epoch(loop, advance):
        if loop.epoch == 2:
            raise KeyboardInterrupt
        return run_epoch(loop, advance)

    monkeypatch.setattr(fit_module._Loop, "run_epoch", killed_in_third_epoch)
    with pytest.raises(KeyboardInterrupt):
        run(scan, tmp_path / "parts", gridsize=gridsize)
    monkeypatch.undo()
    resumed = run(scan, tmp_path / "parts", resume=True, gridsize=gridsize)
    assert [row["train_loss"] for row in resumed.history] == [row["train_loss"] for row in whole.history]
    first, second = (write_bundle(tmp_path / f"{n}.zip", t.model) for n, t in enumerate((whole, resumed)))
    assert first == second


def test_the_loss_falls_below_the_flat_object_and_the_log_tells_it(scan, tmp_path):
    training = run(scan, tmp_path)
    assert training.history[-1]["validation_loss"] < training.flat_loss
    with (tmp_path / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert float(rows[-1]["train_loss"]) == training.history[-1]["train_loss"]
    assert not training.collapsed
    assert read_json(tmp_path / "training.json")["collapsed"] is False


def test_the_true_object_is_never_looked_at(scan, tmp_path):
    spoiled = replace(scan, object=np.full_like(scan.object, 7j))
    a, b = run(scan, tmp_path / "a", epochs=1), run(spoiled, tmp_path / "b", epochs=1)
    assert a.history[0]["train_loss"] == b.history[0]["train_loss"]


def test_a_network_no_better_than_flat_is_reported_as_collapsed(tmp_path):
    """Frames that are noise around an empty object hold nothing to learn, so flat is the best anyone can do."""
    settings = SimulationSettings(
        object_size=80, window=16, positions=150, probe_diameter_px=8.0, dose=300, amplitude_min=1, phase_range_rad=0
    )
    scan = simulate(settings)
    with pytest.raises(TrainingError, match=r"collapsed: expected a validation loss clearly below .*; check the probe"):
        run(scan, tmp_path, epochs=2, learning_rate=0.05)
    assert not (tmp_path / "training.json").exists()

    kept = run(scan, tmp_path, epochs=2, learning_rate=0.05, keep_collapsed=True)
    assert kept.collapsed
    assert kept.flat_loss - min(row["validation_loss"] for row in kept.history) < 10 / scan.photons.totals.sum()
    write_bundle(tmp_path / "wts.h5.zip", kept.model)
    assert read_bundle(tmp_path / "wts.h5.zip").training["collapsed"] is True
    assert read_json(tmp_path / "training.json")["collapsed"] is True


def test_a_diverging_loss_is_reported(scan, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_module._Loop, "evaluate", lambda _: float("nan"))
    with pytest.raises(TrainingError, match=r"expected a finite loss, got .* in epoch 1; lower --learning-rate"):
        run(scan, tmp_path, keep_collapsed=True)


def test_early_stopping_keeps_the_best_weights(scan, tmp_path, monkeypatch):
    losses = iter([-2.0, -5.0, -4.0, -3.0, -2.0])
    monkeypatch.setattr(fit_module._Loop, "evaluate", lambda _: next(losses))
    training = run(scan, tmp_path, epochs=9, patience=2)
    assert len(training.history) == 4
    assert training.model.training["best_epoch"] == 2


def test_a_line_an_epoch_is_reported_once_it_is_on_disk(scan, tmp_path):
    lines = []

    def report(line: str) -> None:
        lines.append(line)
        assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + len(lines)

    run(scan, tmp_path, report=report)
    number = r"-?\d+\.\d{3}"
    for epoch, line in enumerate(lines, start=1):
        assert re.fullmatch(rf"epoch {epoch}/3  loss {number}  held out {number}  \d+\.\d s, \d+ s left", line)
    assert len(lines) == 3
    assert lines[-1].endswith(", 0 s left")


def test_fewer_groups_train_another_network_and_all_of_them_the_same(scan, tmp_path):
    everything, all_asked, few = (
        run(scan, tmp_path / str(groups), epochs=1, groups=groups, keep_collapsed=True) for groups in (None, 9999, 10)
    )
    for name, value in everything.model.weights.items():
        assert np.array_equal(all_asked.model.weights[name], value)
    assert any(not np.array_equal(few.model.weights[name], v) for name, v in everything.model.weights.items())
    facts = [training.model.training for training in (everything, few)]
    assert [fact["n_groups"] for fact in facts] == [facts[0]["n_frames"], 10]


def test_less_than_no_loader_is_refused(scan, tmp_path):
    with pytest.raises(SettingsError, match="loader_workers = -1: expected 0 or more"):
        run(scan, tmp_path, loader_workers=-1)


def test_a_checkpoint_of_another_run_is_refused(scan, tmp_path):
    run(scan, tmp_path, epochs=1)
    with pytest.raises(SettingsError, match="expected a checkpoint of the same run, got other settings"):
        run(scan, tmp_path, epochs=2, resume=True)
    with pytest.raises(DataError, match="found none; train without --resume"):
        run(scan, tmp_path / "elsewhere", resume=True)
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match=r"expected a checkpoint: .*; train without --resume"):
        run(scan, tmp_path, epochs=1, resume=True)


def test_hot_pixels_under_the_mask_change_nothing(scan, tmp_path):
    mask = np.ones((16, 16), dtype=bool)
    mask[3, 5] = mask[8, 8] = False
    hot = scan.photons[:].astype(np.uint32)
    hot[:, ~mask] = 1_000_000
    marked = [replace(scan, mask=mask, photons=replace(scan.photons, stored=s)) for s in (scan.photons.stored, hot)]
    a, b = (run(each, tmp_path / str(n), epochs=1) for n, each in enumerate(marked))
    assert a.history[0]["train_loss"] == b.history[0]["train_loss"]
    assert a.flat_loss == pytest.approx(b.flat_loss)
    images = [NeuralReconstructor(a.model, progress=False).reconstruct(each).object for each in marked]
    assert np.array_equal(*images)


def test_an_absent_device_is_refused(scan, tmp_path):
    with pytest.raises(SettingsError, match="device = 'cuda:99': expected one that torch can use here"):
        run(scan, tmp_path, device="cuda:99")


def test_steps_warm_up_and_come_down_to_a_hundredth():
    rates = [learning_rate(2.0, step, 400) for step in range(401)]
    assert rates[0] == pytest.approx(2 / 30)
    assert max(rates) == max(rates[29:60]) <= 2.0
    assert rates[-1] == pytest.approx(0.02)
    assert (np.diff(rates[60:]) < 0).all()


class TestPhotonsAnObjectHasToExplain:
    """Those the network saw, or others of the same frames."""

    def test_held_back_photons_train_another_network_than_the_same_ones(self, scan, tmp_path):
        held, same = (run(scan, tmp_path / name, scored=name, epochs=1) for name in ("held-back", "same"))
        assert held.history[0]["train_loss"] != same.history[0]["train_loss"]
        assert held.flat_loss == same.flat_loss  # validation is the same

    def test_the_loss_looks_at_those_that_were_set_aside(self, scan):
        loop = _loop(scan)
        batch = next(loop.train.epoch(4, np.random.default_rng(0)))
        turned = replace(batch, scored=batch.scored.flip(1))
        unseen = replace(batch, scored=None, scored_probe=None)
        with torch.inference_mode():
            usual, other, copied = (float(loop.loss(each)) for each in (batch, turned, unseen))
            objects, positions, probes = loop.objects(batch)
            probes = place_probe(batch.scored_probe, positions)
            expected = photon_loss(objects, batch.scored, positions, probes, loop.mask)
        assert usual == pytest.approx(float(expected))
        assert usual != other
        assert usual != copied


def _loop(scan, start: Model | None = None, **changes) -> fit_module._Loop:
    return fit_module._Loop.start(scan, NETWORK, wanted(**changes), 0, start)


@pytest.fixture(scope="module")
def trained(scan, tmp_path_factory) -> Model:
    return run(scan, tmp_path_factory.mktemp("trained"), epochs=2, keep_collapsed=True).model


class TestStart:
    """Training from the weights of a model: they are the mark to beat."""

    @pytest.fixture
    def model(self, trained) -> Model:
        return trained

    def test_training_begins_with_its_weights_and_with_small_steps(self, scan, model):
        loop = _loop(scan, model, learning_rate=None)
        assert all(np.array_equal(value, model.weights[name]) for name, value in loop.weights().items())
        assert loop.settings.learning_rate == 4e-4
        assert _loop(scan, learning_rate=None).settings.learning_rate == 2e-3
        assert loop.best_loss == loop.evaluate() < _loop(scan).evaluate()

    def test_what_does_not_get_better_is_what_it_began_with(self, scan, model, tmp_path):
        """Steps so large that they ruin every weight."""
        ruined = run(scan, tmp_path, start=model, learning_rate=1.0, epochs=1, keep_collapsed=True).model
        assert all(np.array_equal(value, ruined.weights[name]) for name, value in model.weights.items())
        assert ruined.training["best_epoch"] == 0

    def test_the_bundle_tells_where_it_began_and_a_resumed_run_must_have_begun_there(self, scan, model, tmp_path):
        begun = run(scan, tmp_path, start=model, epochs=1, keep_collapsed=True)
        assert begun.model.training["start"] == model.digest()
        other = replace(model, weights={name: value + 0.1 for name, value in model.weights.items()})
        assert other.digest() != model.digest()
        for start in (other, None):
            with pytest.raises(SettingsError, match=r"expected a checkpoint of the same run, got other start$"):
                run(scan, tmp_path, start=start, epochs=1, resume=True)

    def test_another_network_can_not_be_begun_with(self, scan, model, tmp_path):
        with pytest.raises(SettingsError, match=r"start: expected a network of \{.*'width': 4.*, got one of \{.*: 8"):
            run(scan, tmp_path, network=PATCHES, start=model)


class TestAdapt:
    """A model made to fit one scan, or left as it is."""

    @pytest.fixture
    def model(self) -> Model:
        """Untrained: physics alone, with much to learn."""
        network = build(NETWORK, (16, 16), seed=3)
        weights = {name: value.numpy() for name, value in network.state_dict().items()}
        return Model(NETWORK, (16, 16), 36, weights)

    def loss(self, scan, model: Model) -> float:
        settings = TrainingSettings(gridsize=6, validation="photons", seed=0, epochs=1)
        return fit_module._Loop.start(scan, NETWORK, settings, 0, model).evaluate()

    @pytest.mark.parametrize("steps", [1, 12])
    def test_it_is_never_worse_than_the_model_on_photons_that_were_held_back(self, scan, model, steps):
        adapted = adapt(scan, model, steps, progress=False)
        assert adapted.model.training["best_validation_loss"] <= self.loss(scan, model)
        assert self.loss(scan, adapted.model) == pytest.approx(adapted.model.training["best_validation_loss"], rel=1e-6)
        assert adapted.model.group_size == model.group_size

    def test_more_steps_change_more_and_it_repeats_to_the_bit(self, scan, model):
        first, again = (adapt(scan, model, 12, progress=False) for _ in range(2))
        assert first.model.digest() == again.model.digest() != model.digest()
        assert adapt(scan, model, 12, seed=1, progress=False).model.digest() != first.model.digest()
        per_epoch = len(_regions(scan, first.model))
        assert len(first.history) == max(1, round(12 / per_epoch))

    def test_where_there_is_nothing_to_learn_nothing_changes(self, scan, model, monkeypatch):
        """An optimiser that only does harm."""
        monkeypatch.setattr(fit_module, "learning_rate", lambda *_: 10.0)
        adapted = adapt(scan, model, 3, progress=False)
        assert adapted.model.digest() == model.digest()

    def test_what_is_known_of_the_models_errors_goes_along(self, scan, model):
        errors = ErrorSpectrum(np.array([1.0]), np.array([0.1]), np.array([[0.01]]))
        assert adapt(scan, replace(model, errors=errors), 2, progress=False).model.errors is errors
        assert adapt(scan, model, 2, progress=False).model.errors is None

    def test_values_that_are_no_counts_are_refused(self, scan, model):
        scaled = replace(scan, photons=replace(scan.photons, scale=0.3, whole=False))
        with pytest.raises(SettingsError, match="expected counted photons"):
            adapt(scaled, model, 3, progress=False)

    def test_a_scan_smaller_than_a_region_can_be_adapted_to(self, scan, model):
        assert adapt(scan.select(np.arange(5)), model, 2, progress=False).model.training["n_frames"] == 5


def _regions(scan, model: Model) -> np.ndarray:
    settings = wanted(gridsize=round(model.group_size**0.5))
    return GroupedFrames.of(scan, np.arange(len(scan)), settings, "train").groups


class TestWhatValidationLooksAt:
    """Frames held back, or photons of every frame where frames can't be spared."""

    def test_photons_are_held_back_of_every_frame(self, scan, tmp_path):
        training = run(scan, tmp_path, validation="photons", epochs=2).model.training
        assert (training["validation"], training["n_frames"]) == ("photons", len(scan))
        loop = fit_module._Loop.start(scan, NETWORK, wanted(validation="photons"), 0)
        seen, held = loop.seen.scan.photons[:], loop.held.scan.photons[:]
        np.testing.assert_array_equal(seen + held, scan.photons[:])
        assert seen.sum() / scan.photons[:].sum() == pytest.approx(0.8, abs=0.01)
        np.testing.assert_array_equal(loop.train.scan.photons[:], seen)

    def test_auto_takes_frames_where_half_of_them_remain(self, scan):
        held_back = fit_module._frames_held_back(scan, wanted(validation="auto"))
        assert held_back is not None
        assert len(held_back[0]) >= len(scan) / 2

    @pytest.mark.parametrize("guard_px", [30.0, 70.0], ids=["half is lost", "nothing is left"])
    def test_auto_takes_photons_where_a_guard_band_costs_too_much(self, scan, tmp_path, guard_px):
        settings = {"validation": "auto", "guard_px": guard_px, "epochs": 1}
        assert run(scan, tmp_path, **settings, keep_collapsed=True).model.training["validation"] == "photons"

    def test_a_scan_of_one_group_can_be_trained_on(self, scan, tmp_path):
        few = scan.select(np.arange(4))
        with pytest.raises(SettingsError, match=r"or set --validation photons"):
            run(few, tmp_path, validation="frames")
        trained = run(few, tmp_path, validation="auto", keep_collapsed=True)
        assert trained.model.training["n_frames"] == 4

    def test_values_that_are_no_counts_have_no_photons_to_hold_back(self, scan, tmp_path):
        scaled = replace(scan, photons=replace(scan.photons, scale=0.3, whole=False))
        with pytest.raises(SettingsError, match=r"expected counted photons"):
            run(scaled, tmp_path, validation="photons")
        assert fit_module._frames_held_back(scaled, wanted(validation="auto", guard_px=30.0)) is not None


class TestSupervisionByTheObject:
    """The same network, taught with patches of the truth; everything around it stays."""

    @pytest.mark.parametrize("gridsize", [1, 2])
    def test_it_shows_what_a_flat_image_does_not(self, scan, tmp_path, gridsize):
        """Amplitude and phase correlate with the truth by 0.82 to 0.86; a flat image does not at all."""
        options = {"gridsize": gridsize, "epochs": 8, "batch_frames": 8, "learning_rate": 1e-2}
        model = run(scan, tmp_path, supervision="object", **options).model
        made = NeuralReconstructor(model, progress=False).reconstruct(scan)
        assert made.arm == "Supervised"
        lit = well_lit(made.coverage)
        found, truth = made.object[lit], scan.truth[lit]
        level = np.vdot(found, truth)
        for part in (np.abs, np.angle):
            assert np.corrcoef(part(found * level), part(truth))[0, 1] > 0.7

    @pytest.mark.parametrize("gridsize", [1, 2])
    def test_it_repeats_to_the_bit(self, scan, tmp_path, gridsize):
        options = {"supervision": "object", "gridsize": gridsize, "epochs": 1, "keep_collapsed": True}
        first, second = (write_bundle(tmp_path / f"{n}.zip", run(scan, tmp_path, **options).model) for n in "ab")
        assert first == second

    def test_resuming_ends_at_the_same_bits_and_only_with_the_same_truth(self, scan, tmp_path, monkeypatch):
        whole = run(scan, tmp_path / "whole", supervision="object")
        run_epoch = fit_module._Loop.run_epoch

        def killed_in_third_epoch(loop, advance):
            if loop.epoch == 2:
                raise KeyboardInterrupt
            return run_epoch(loop, advance)

        monkeypatch.setattr(fit_module._Loop, "run_epoch", killed_in_third_epoch)
        with pytest.raises(KeyboardInterrupt):
            run(scan, tmp_path / "parts", supervision="object")
        monkeypatch.undo()
        other = replace(scan, object=scan.object.conj())
        with pytest.raises(SettingsError, match="expected a checkpoint of the same run, got other object"):
            run(other, tmp_path / "parts", supervision="object", resume=True)
        resumed = run(scan, tmp_path / "parts", supervision="object", resume=True)
        first, second = (write_bundle(tmp_path / f"{n}.zip", t.model) for n, t in enumerate((whole, resumed)))
        assert first == second

    @pytest.mark.parametrize("validation", ["frames", "photons"])
    def test_validation_is_that_of_its_self_supervised_twin(self, scan, tmp_path, validation):
        taught, twin = (
            run(scan, tmp_path / name, supervision=name, validation=validation, epochs=1, keep_collapsed=True)
            for name in ("object", "photons")
        )
        assert taught.flat_loss == twin.flat_loss
        assert taught.history[0]["train_loss"] != twin.history[0]["train_loss"]
        loops = [fit_module._Loop.start(scan, NETWORK, wanted(supervision=s), 0) for s in ("object", "photons")]
        assert loops[0].evaluate() == loops[1].evaluate()

    def test_a_guessed_object_teaches_nobody(self, scan, tmp_path):
        for guess in (replace(scan, object_is_truth=False), replace(scan, object=None, object_is_truth=False)):
            with pytest.raises(DataError, match=r"^supervision: expected a simulated scan with its true object"):
                run(guess, tmp_path, supervision="object")

    def test_bundles_tell_who_taught_them_and_those_of_before_read_as_self_supervised(self, scan, tmp_path):
        usual = run(scan, tmp_path / "usual", epochs=1, keep_collapsed=True).model
        taught = run(scan, tmp_path / "taught", epochs=1, keep_collapsed=True, supervision="object").model
        assert "supervision" not in usual.training["settings"]
        assert (usual.supervision, taught.supervision) == ("photons", "object")
        assert replace(usual, training={}).supervision == "photons"
        assert NeuralReconstructor(usual).arm == "Network"
        assert NeuralReconstructor(taught, arm="Mine").arm == "Mine"
