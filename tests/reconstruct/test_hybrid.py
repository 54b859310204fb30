"""One method begins, another goes on: steps chosen by photons that nobody saw, engines that go on from a start."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from foldlight.bundle import pretrained
from foldlight.cli import main
from foldlight.core.errors import DataError, SettingsError
from foldlight.frames import Frames
from foldlight.io import write_data001
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.optics.limit import squared_error
from foldlight.optics.spectrum import ErrorSpectrum
from foldlight.reconstruct.constant import ConstantReconstructor
from foldlight.reconstruct.engines import make_reconstructor
from foldlight.reconstruct.hybrid import HybridReconstructor, SavedReconstructor, StartedReconstructor
from foldlight.reconstruct.iterative import IterativeReconstructor
from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.protocol import Ledger, Reconstruction, Reconstructor
from foldlight.reconstruct.settings import (
    EngineOptions,
    IterativeSettings,
    LikelihoodOptions,
    LikelihoodSettings,
    RefineOptions,
    RefineSettings,
)
from foldlight.scan import Scan
from foldlight.simulate.acquire import acquire, simulate
from foldlight.simulate.settings import SimulationSettings

WINDOW, CANVAS = (24, 26), (52, 58)


@pytest.fixture(scope="module")
def scan() -> Scan:
    """A smooth complex object under a curved, lopsided disc, bright enough to be worth refining."""
    rng = np.random.default_rng(3)
    grey, phase = (np.tanh(t / t.std()) for t in (gaussian_filter(rng.normal(size=CANVAS), 1.5) for _ in range(2)))
    truth = ((0.8 + 0.15 * grey) * np.exp(0.4j * phase)).astype(np.complex64)
    y, x = np.mgrid[: WINDOW[0], : WINDOW[1]] - np.array(WINDOW)[:, None, None] // 2
    disc = 1 / (1 + np.exp(2 * (np.hypot(y, x) - 7)))
    probe = (disc * np.exp(1j * (0.1 * (y - 0.3) ** 2 + 0.13 * x**2 + 0.01 * x * y)))[None]
    low, high = np.array(WINDOW) // 2 + 2, np.array(CANVAS) - np.array(WINDOW) // 2 - 2
    axes = (np.arange(a, b + 1, 4) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return acquire(truth, probe, grid + rng.uniform(-1, 1, grid.shape), 1e4, seed=1)


@dataclass(frozen=True)
class Known:
    """Stands for a network: it finds the object but for a smooth error; it notes the scans it was shown."""

    object: np.ndarray
    probe: np.ndarray | None = None
    arm: str = "Known"
    shown: list[Scan] = field(default_factory=list)

    def reconstruct(self, scan: Scan) -> Reconstruction:
        self.shown.append(scan)
        probe = scan.probe if self.probe is None else self.probe
        light = coverage_map(probe, scan.positions_px, scan.canvas)
        ledger = Ledger(5.0, 0.1, 3, len(scan), float(scan.photons.totals.sum()))
        return Reconstruction(
            self.arm, self.object, probe, scan.positions_px, light, ledger, {"a": 1}, data_digest=scan.digest()
        )


def blurred(scan: Scan) -> np.ndarray:
    rough = gaussian_filter(scan.object.real, 2.0) + 1j * gaussian_filter(scan.object.imag, 2.0)
    return rough.astype(np.complex64)


def error(scan: Scan, image: np.ndarray) -> float:
    mask = well_lit(coverage_map(scan.probe, scan.positions_px, scan.canvas))
    return squared_error(image, scan.object, mask, "complex")


def hybrid(first: Reconstructor, most: int = 12, **settings) -> HybridReconstructor:
    likelihood = LikelihoodSettings(iterations=most, precision="single")
    return HybridReconstructor(first, RefineSettings(likelihood=likelihood, **settings))


def test_a_rough_estimate_gains_from_steps_that_unseen_photons_choose(scan):
    first = Known(blurred(scan))
    made = hybrid(first).reconstruct(scan)
    facts = made.settings["refinement"]
    assert made.arm == "Hybrid"
    assert facts["stopped_by"] == "held-out"
    assert facts["steps"] == int(np.argmin(facts["deviance_heldout"])) > 0
    assert len(facts["deviance_heldout"]) == 13
    assert error(scan, made.object) < 0.5 * error(scan, first.object)
    seen, whole = first.shown
    assert whole is scan
    assert seen.photons.totals.sum() == pytest.approx(0.9 * scan.photons.totals.sum(), rel=0.01)
    assert made.data_digest == scan.digest()
    assert made.probe is scan.probe
    assert made.ledger.train_seconds == 5.0
    assert made.ledger.epochs == facts["evaluations"] + facts["fit"]["evaluations"]


def test_an_estimate_better_than_the_noise_is_left_alone_or_nearly(scan):
    dim = acquire(scan.object, scan.probe, scan.positions_px, 30.0, seed=2)
    made = hybrid(Known(scan.object), most=30).reconstruct(dim)
    unstopped = hybrid(Known(scan.object), most=30, stop="none").reconstruct(dim)
    facts = made.settings["refinement"]
    assert facts["steps"] <= 2
    assert facts["reason"] == "further steps explain them worse"
    assert unstopped.settings["refinement"]["steps"] == 30
    assert error(dim, made.object) < 0.3 * error(dim, unstopped.object)


def test_no_step_leaves_the_first_object(scan):
    dim = acquire(scan.object, scan.probe, scan.positions_px, 3.0, seed=2)
    made = hybrid(Known(scan.object), most=3).reconstruct(dim)
    assert made.settings["refinement"]["steps"] == 0
    assert np.array_equal(made.object, scan.object)
    assert made.settings["refinement"]["fit"]["evaluations"] == 0


def test_photons_that_are_no_counts_get_all_steps_or_a_reason(scan):
    scaled = replace(scan, photons=Frames(scan.photons[:] * np.float32(0.7)))
    facts = hybrid(Known(blurred(scan)), most=4).reconstruct(scaled).settings["refinement"]
    assert (facts["steps"], facts["stopped_by"]) == (4, "none")
    assert facts["reason"] == "the photons are not whole numbers"
    with pytest.raises(SettingsError, match=r"^stop = held-out: expected counted photons .* or stop = none$"):
        hybrid(Known(blurred(scan)), stop="held-out").reconstruct(scaled)


def test_the_same_scan_and_seed_give_the_same_bits(scan, tmp_path):
    blind = replace(scan, object=None, object_is_truth=False)
    first, second = (hybrid(Known(blurred(scan)), most=4).reconstruct(each) for each in (scan, blind))
    assert first.object.tobytes() == second.object.tobytes()
    assert first.settings["refinement"] == second.settings["refinement"]
    first.save(tmp_path / "hybrid.npz")
    assert Reconstruction.load(tmp_path / "hybrid.npz").settings == first.settings


def test_likelihood_scores_held_out_counts_and_is_not_moved_by_them(scan):
    settings = LikelihoodSettings(iterations=5)
    heldout = acquire(scan.object, scan.probe, scan.positions_px, 1e3, seed=9)
    alone = MaximumLikelihoodReconstructor(settings).reconstruct(scan)
    watched = MaximumLikelihoodReconstructor(settings, heldout=heldout).reconstruct(scan)
    assert np.array_equal(alone.object, watched.object)
    curve = watched.settings["convergence"]["deviance_heldout"]
    assert len(curve) == 6
    assert curve[-1] < 0.9 * curve[0]
    assert "deviance_heldout" not in alone.settings["convergence"]
    with pytest.raises(DataError, match=r"^ML: expected held-out counts of the scan's frames, \(\d+, 24, 26\), got"):
        MaximumLikelihoodReconstructor(settings, heldout=heldout.select(np.arange(3))).reconstruct(scan)


def test_single_precision_is_enough_for_counted_photons(scan):
    made = {p: MaximumLikelihoodReconstructor(LikelihoodSettings(precision=p)) for p in ("single", "double")}
    single, double = (error(scan, made[p].reconstruct(scan).object) for p in made)
    assert single == pytest.approx(double, rel=0.02)


def test_an_engine_goes_on_from_its_start_in_the_units_of_the_scan(scan):
    settings = IterativeSettings(epochs=1, fit_probe=False, threads=1)
    flat = ConstantReconstructor().reconstruct(scan)
    started = StartedReconstructor(Known(scan.object), IterativeReconstructor(settings)).reconstruct(scan)
    assert started.arm == "LSQML"
    assert error(scan, started.object) < 0.1 * error(scan, flat.object)
    assert np.abs(started.object).mean() == pytest.approx(np.abs(scan.object).mean(), rel=0.05)
    assert started.settings["start"]["arm"] == "Known"
    assert started.ledger.train_seconds == 5.0
    assert started.data_digest == scan.digest()
    with pytest.raises(DataError, match=r"^LSQML: expected a finite start on the scan's 52 x 58 canvas, got"):
        IterativeReconstructor(settings, start=np.ones((4, 4), complex)).reconstruct(scan)


def test_likelihood_goes_on_from_a_start_and_its_refined_probe(scan):
    wrong = replace(scan, probe=(scan.probe * np.exp(0.02j * (np.arange(WINDOW[1]) - 12) ** 2)).astype(np.complex64))
    engine = MaximumLikelihoodReconstructor(LikelihoodSettings(iterations=3))
    right = StartedReconstructor(Known(scan.object, scan.probe), engine).reconstruct(wrong)
    assert np.array_equal(right.probe, scan.probe)
    deviance = right.settings["convergence"]["deviance"]
    assert (
        deviance[0]
        < 0.5
        * StartedReconstructor(Known(scan.object), engine).reconstruct(wrong).settings["convergence"]["deviance"][0]
    )


def test_a_saved_reconstruction_is_a_start(scan, tmp_path):
    Known(scan.object).reconstruct(scan).save(tmp_path / "saved.npz")
    engine = make_reconstructor("ml", EngineOptions(epochs=2, fit_probe=False), start=str(tmp_path / "saved.npz"))
    assert isinstance(engine, StartedReconstructor)
    assert isinstance(engine.first, SavedReconstructor)
    assert isinstance(engine, Reconstructor)
    quiet = replace(engine, engine=replace(engine.engine, progress=False))
    assert error(scan, quiet.reconstruct(scan).object) < 0.2 * error(
        scan, ConstantReconstructor().reconstruct(scan).object
    )
    cropped = replace(scan, canvas=(60, 60), object=None, object_is_truth=False)
    with pytest.raises(DataError, match=r"saved\.npz: expected a finite start on the scan's 60 x 60 canvas, got"):
        SavedReconstructor(tmp_path / "saved.npz").reconstruct(cropped)


def test_it_is_an_engine_by_its_name(scan, tmp_path):
    Known(blurred(scan)).reconstruct(scan).save(tmp_path / "saved.npz")
    options = EngineOptions(fit_positions=True, seed=4, time_limit_s=60)
    engine = make_reconstructor(
        "hybrid",
        options,
        likelihood=LikelihoodOptions(pull_photons=0.2),
        refine=RefineOptions(refine=7, stop="none"),
        start=str(tmp_path / "saved.npz"),
    )
    assert isinstance(engine, HybridReconstructor)
    likelihood = LikelihoodSettings(
        iterations=7, fit_positions=True, precision="single", pull_photons=0.2, time_limit_s=60
    )
    assert engine.settings == RefineSettings(likelihood=likelihood, stop="none", seed=4)
    asked = RefineOptions(refine_probe=True)
    assert RefineSettings.of(EngineOptions(), LikelihoodOptions(precision="double"), asked).likelihood == (
        LikelihoodSettings(iterations=60, fit_probe=True)
    )


def test_what_does_not_go_together_is_refused():
    with pytest.raises(SettingsError, match=r"^engine hybrid: expected refine steps, got epochs = 5; use --refine$"):
        RefineSettings.of(EngineOptions(epochs=5))
    with pytest.raises(SettingsError, match=r"^engine constant: expected no start, got network; give it to"):
        make_reconstructor("constant", EngineOptions(), start="network")


@pytest.mark.parametrize(("engine", "start"), [("ml", None), ("lsqml", "saved.npz"), ("hybrid", "saved.npz")])
def test_what_only_a_network_takes_is_refused_without_one(engine, start):
    with pytest.raises(
        SettingsError, match=f"^engine {engine}: expected no model without a network, got mine.zip; use"
    ):
        make_reconstructor(engine, EngineOptions(), Path("mine.zip"), start=start)
    with pytest.raises(SettingsError, match=f"^engine {engine}: expected no adaptation without a network, got 3 steps"):
        make_reconstructor(engine, EngineOptions(), start=start, adapt_steps=3)


def test_steps_of_adaptation_are_counted_from_none():
    with pytest.raises(SettingsError, match=r"^adapt = -1: expected 0 steps or more$"):
        make_reconstructor("network", EngineOptions(), adapt_steps=-1)


@pytest.fixture(scope="module")
def faint() -> Scan:
    return simulate(SimulationSettings(object_size=96, window=32, probe_diameter_px=15, positions=81, dose=800, seed=3))


@pytest.fixture(scope="module")
def packaged() -> NeuralReconstructor:
    return NeuralReconstructor(pretrained(), progress=False)


class TestPrior:
    """What is known of the network's errors, on few photons, where it helps, and where it does not hold."""

    def test_it_helps_where_photons_are_few_and_they_choose_it(self, faint, packaged):
        errors, facts = {}, {}
        for prior in ("none", "network", "auto"):
            made = hybrid(packaged, most=40, prior=prior).reconstruct(faint)
            facts[prior] = made.settings["refinement"]
            errors[prior] = error(faint, made.object)
        assert [facts[name]["prior"] for name in facts] == ["none", "network", "network"]
        assert errors["auto"] == errors["network"]
        assert errors["network"] < 0.8 * min(errors["none"], error(faint, packaged.reconstruct(faint).object))
        least = facts["auto"]["least_deviance_heldout"]
        assert least == {name: min(facts[name]["deviance_heldout"]) for name in ("network", "none")}
        assert facts["auto"]["evaluations"] == facts["network"]["evaluations"] + facts["none"]["evaluations"]

    def test_photons_reject_one_that_does_not_hold(self, scan, packaged):
        power = np.full((1, 2), 1e-8)  # the network is said to be nearly without error
        errors = ErrorSpectrum(np.array([1.0]), np.array([0.01, 0.5]), power)
        boasting = replace(packaged, model=replace(packaged.model, errors=errors))
        made = hybrid(boasting, most=20).reconstruct(scan)
        assert made.settings["refinement"]["prior"] == "none"
        assert np.array_equal(made.object, hybrid(packaged, most=20, prior="none").reconstruct(scan).object)

    def test_without_counts_it_is_used_where_it_is_known(self, faint, packaged):
        made = hybrid(packaged, most=2, stop="none").reconstruct(faint)
        assert made.settings["refinement"]["prior"] == "network"
        assert "deviance_heldout" not in made.settings["refinement"]

    def test_it_holds_while_positions_and_probe_are_refined(self, faint, packaged):
        """Positions a pixel wrong: the object of the prior is found on the windows as they are cut anew."""
        rng = np.random.default_rng(5)
        high = np.array(faint.canvas) - np.array(faint.window) // 2
        moved = faint.positions_px + rng.normal(scale=1.0, size=faint.positions_px.shape)
        wrong = replace(faint, positions_px=np.clip(moved, np.array(faint.window) // 2, high))
        both = LikelihoodSettings(iterations=60, precision="single", fit_positions=True, fit_probe=True)
        settings = RefineSettings(likelihood=both, prior="network", stop="none")
        made = HybridReconstructor(packaged, settings).reconstruct(wrong)
        kept = hybrid(packaged, most=60, prior="network", stop="none").reconstruct(wrong)
        off = [p - p.mean(axis=0) - faint.positions_px for p in (made.positions_px, wrong.positions_px)]
        left, before = (np.std(each - each.mean(axis=0)) for each in off)
        assert left < 0.8 * before
        assert error(faint, made.object) < 1.1 * error(faint, kept.object)  # photons are few for so many unknowns

    def test_other_first_methods_and_pure_phase_have_none(self, faint, packaged):
        phase = RefineSettings(likelihood=LikelihoodSettings(iterations=2, phase_only=True))
        for other in (hybrid(ConstantReconstructor(), most=2), HybridReconstructor(packaged, phase)):
            assert other.reconstruct(faint).settings["refinement"]["prior"] == "none"


def test_a_flat_first_method_is_refined_too(scan):
    made = hybrid(ConstantReconstructor(), most=15).reconstruct(scan)
    assert error(scan, made.object) < 0.5 * error(scan, ConstantReconstructor().reconstruct(scan).object)


def test_the_command_line_refines_a_saved_start_and_says_by_how_many_steps(tmp_path, capsys):
    scan = simulate(SimulationSettings(object_size=64, window=24, probe_diameter_px=12, positions=60, dose=1e5))
    write_data001(tmp_path / "scan.npz", scan)
    Known(blurred(scan)).reconstruct(scan).save(tmp_path / "rough.npz")
    words = ["reconstruct", tmp_path / "scan.npz", "--start", tmp_path / "rough.npz", "--threads", 1]
    main([*map(str, words), "--engine", "hybrid", "--refine", "6", "--output", str(tmp_path / "hybrid.npz")])
    made = Reconstruction.load(tmp_path / "hybrid.npz")
    steps = made.settings["refinement"]["steps"]
    assert f"Hybrid: {steps} steps of likelihood: " in capsys.readouterr().out
    assert error(scan, made.object) < 0.5 * error(scan, blurred(scan))
    main([*map(str, words), "--engine", "ml", "--epochs", "2", "--output", str(tmp_path / "ml.npz")])
    assert Reconstruction.load(tmp_path / "ml.npz").settings["start"]["arm"] == "Known"
