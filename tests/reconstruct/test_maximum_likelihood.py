"""Maximum likelihood: an exact gradient, a monotone descent, nothing seen but photons, and honest about its end."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from foldlight.core.errors import DataError, SettingsError
from foldlight.frames import Frames
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.optics.flat import flat_amplitude
from foldlight.optics.forward import expected_frames
from foldlight.optics.likelihood import poisson_deviance
from foldlight.optics.spectrum import ErrorSpectrum
from foldlight.reconstruct import likelihood, misfit
from foldlight.reconstruct.engines import make_reconstructor
from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
from foldlight.reconstruct.protocol import Reconstruction, Reconstructor
from foldlight.reconstruct.settings import EngineOptions, LikelihoodOptions, LikelihoodSettings
from foldlight.scan import Scan

WINDOW, CANVAS = (16, 20), (38, 46)


def expected(scan: Scan, probe: np.ndarray, image: np.ndarray) -> torch.Tensor:
    place = torch.from_numpy(scan.positions_px)[None]
    return expected_frames(torch.from_numpy(image)[None], torch.from_numpy(probe), place)[0]


def mean_deviance(scan: Scan, probe: np.ndarray, image: np.ndarray) -> float:
    photons = torch.from_numpy(scan.photons[:].astype(np.float64))
    return float(poisson_deviance(expected(scan, probe, image), photons, torch.from_numpy(scan.mask)).mean())


@pytest.fixture(scope="module")
def exact() -> Scan:
    """Expected photons of a smooth complex object under a lopsided two-mode probe at sub-pixel positions."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[: CANVAS[0], : CANVAS[1]]
    wave = np.sin(rows / 3.1) * np.cos(columns / 4.3 + 0.4)
    truth = (0.8 + 0.1 * wave) * np.exp(1j * (0.5 * np.cos(rows / 5 + columns / 3.7) + 0.2 * wave))
    y, x = np.mgrid[: WINDOW[0], : WINDOW[1]] - np.array(WINDOW)[:, None, None] // 2
    first = 12 * np.exp(-((y - 1) ** 2) / 18 - x**2 / 30 + 1j * (0.06 * y**2 + 0.05 * x**2 + 0.02 * x * y))
    probe = np.stack([first, 0.1 * x * first])
    low, high = np.array(WINDOW) // 2, np.array(CANVAS) - np.array(WINDOW) // 2
    grid = np.stack(
        np.meshgrid(*(np.linspace(a, b, 8) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1
    )
    positions = np.clip(grid.reshape(-1, 2) + rng.uniform(-1, 1, (64, 2)), low, high)
    mask = rng.random(WINDOW) > 0.03
    scan = Scan(Frames(np.zeros((64, *WINDOW))), positions, probe, CANVAS, truth, object_is_truth=True, mask=mask)
    return replace(scan, photons=Frames(expected(scan, probe, truth).numpy()))


@pytest.fixture(scope="module")
def noisy(exact) -> Scan:
    counts = np.random.default_rng(6).poisson(exact.photons.stored).astype(np.uint16)
    return replace(exact, photons=Frames(counts, whole=True), probe=exact.probe.astype(np.complex64))


def made(scan: Scan, start: np.ndarray | None = None, **settings) -> Reconstruction:
    return MaximumLikelihoodReconstructor(LikelihoodSettings(**settings), start).reconstruct(scan)


def lit(scan: Scan) -> np.ndarray:
    return well_lit(coverage_map(scan.probe, scan.positions_px, scan.canvas))


def distance(scan: Scan, image: np.ndarray) -> float:
    """Relative, on well-lit pixels, but for a constant phase."""
    found, truth = image[lit(scan)], scan.object[lit(scan)]
    level = np.vdot(found, truth)
    return float(np.linalg.norm(found * level / abs(level) - truth) / np.linalg.norm(truth))


@pytest.mark.parametrize("fit_positions", [False, True], ids=["known positions", "moved"])
@pytest.mark.parametrize("fit_probe", [False, True], ids=["known probe", "blind"])
@pytest.mark.parametrize("phase_only", [False, True], ids=["complex", "phase"])
def test_the_gradient_is_that_of_the_value(noisy, fit_probe, phase_only, fit_positions):
    settings = LikelihoodSettings(
        fit_probe=fit_probe, phase_only=phase_only, fit_positions=fit_positions, pull_photons=3.0
    )
    start = likelihood._estimate(noisy, settings, np.full(CANVAS, 0.7 + 0.2j))
    light = coverage_map(noisy.probe, noisy.positions_px, noisy.canvas)
    problem = likelihood._Problem.of(noisy, settings, start, light, start.image)
    rng = np.random.default_rng(0)
    at, *directions = torch.from_numpy(rng.normal(size=(4, sum(problem.unknowns.sizes))))
    gradient = problem.value_and_gradient(at)[1]
    for direction in directions:
        step = 1e-4
        ahead, behind = (problem.value_and_gradient(at + sign * step * direction)[0] for sign in (1, -1))
        assert float(gradient @ direction) == pytest.approx((ahead - behind) / (2 * step), rel=1e-5)


def errors_of(power: float, slope: float = 0.0) -> ErrorSpectrum:
    """As large at every dose, falling with frequency."""
    frequencies = np.array([0.01, 0.05, 0.5])
    return ErrorSpectrum(np.array([1.0, 1e6]), frequencies, power * np.tile((frequencies / 0.5) ** -slope, (2, 1)))


@pytest.mark.parametrize("fit_probe", [False, True], ids=["known probe", "blind"])
def test_the_gradient_is_that_of_the_value_where_errors_of_the_start_are_known(noisy, fit_probe):
    settings = LikelihoodSettings(fit_probe=fit_probe)
    start = likelihood._estimate(noisy, settings, np.full(CANVAS, 0.7 + 0.2j))
    descent = likelihood._Descent(settings, noisy, None, lambda *_: None, errors_of(1e-4, 1.5))
    prior, spread = descent._known(start.image)
    anchor = start.image * 1.01
    problem = likelihood._Problem.of(noisy, settings, start, descent.light, anchor)
    problem = replace(problem, unknowns=replace(problem.unknowns, spread=spread), prior=prior)
    rng = np.random.default_rng(0)
    at, *directions = torch.from_numpy(rng.normal(size=(4, sum(problem.unknowns.sizes))))
    gradient = problem.value_and_gradient(at)[1]
    for direction in directions:
        ahead, behind = (problem.value_and_gradient(at + sign * 1e-4 * direction)[0] for sign in (1, -1))
        assert float(gradient @ direction) == pytest.approx((ahead - behind) / 2e-4, rel=1e-5)


def test_a_start_that_errs_little_is_kept_and_one_that_may_err_anyhow_is_not(noisy):
    start = np.full(CANVAS, 0.8 + 0.1j)

    def near(errors, **settings):
        engine = MaximumLikelihoodReconstructor(LikelihoodSettings(iterations=60, **settings), start, errors=errors)
        return engine.reconstruct(noisy).object

    assert np.abs(near(errors_of(1e-10)) - start).max() < 1e-4
    plain = near(None, pull_photons=0.0)
    loose = near(errors_of(1.0))
    assert np.linalg.norm((loose - plain)[lit(noisy)]) < 0.05 * np.linalg.norm((plain - start)[lit(noisy)])
    assert np.array_equal(near(errors_of(1e3), pull_photons=0.0), plain)  # photons need no help


def test_slow_errors_are_mended_and_fine_detail_is_not_lost_to_noise(exact):
    faint = replace(exact, probe=(0.15 * exact.probe).astype(np.complex64))
    counts = np.random.default_rng(1).poisson(0.15**2 * exact.photons.stored).astype(np.uint16)
    scan = replace(faint, photons=Frames(counts, whole=True))
    rows = np.arange(CANVAS[0])[:, None] / CANVAS[0]
    start = exact.object * np.exp(0.6j * np.cos(2 * np.pi * rows)) * (1 + 0.1 * np.sin(2 * np.pi * rows))
    errors = ErrorSpectrum(np.array([1.0]), np.array([0.02, 0.08, 0.2]), np.array([[30.0, 0.3, 1e-4]]))
    settings = LikelihoodSettings(iterations=60)
    plain, known = (
        MaximumLikelihoodReconstructor(settings, start, errors=each).reconstruct(scan).object for each in (None, errors)
    )
    assert distance(scan, known) < 0.75 * min(distance(scan, plain), distance(scan, start))


def test_errors_of_no_start_are_refused(noisy):
    with pytest.raises(SettingsError, match=r"^ML: expected errors of a start that may change in amplitude and phase"):
        MaximumLikelihoodReconstructor(errors=errors_of(1.0)).reconstruct(noisy)
    settings = LikelihoodSettings(phase_only=True)
    with pytest.raises(SettingsError, match="got none"):
        MaximumLikelihoodReconstructor(settings, np.ones(CANVAS), errors=errors_of(1.0)).reconstruct(noisy)


def test_the_value_is_the_deviance_of_the_library_from_the_flat_image_on(noisy):
    result = made(noisy, iterations=1)
    flat = np.full(CANVAS, flat_amplitude(noisy), dtype=np.complex64)
    deviance = result.settings["convergence"]["deviance"]
    assert deviance[0] == pytest.approx(mean_deviance(noisy, noisy.probe, flat), rel=1e-5)
    assert deviance[1] == pytest.approx(mean_deviance(noisy, noisy.probe, result.object), rel=1e-2)


def test_the_likelihood_only_rises_and_the_same_scan_gives_the_same_bits(noisy):
    first, second = made(noisy), made(replace(noisy, object=None, object_is_truth=False))
    facts = first.settings["convergence"]
    assert (np.diff(facts["deviance"]) <= 0).all()
    assert facts["converged"]
    assert facts["ended_by"] == "tolerance"
    assert first.ledger.epochs == facts["evaluations"] >= facts["iterations"]
    assert np.array_equal(first.object, second.object)
    assert first.probe is noisy.probe
    assert distance(noisy, first.object) < 0.3 * distance(noisy, np.full(CANVAS, 0.8 + 0j))


def test_an_object_is_recovered_from_its_expected_photons(exact):
    """As far as rounding lets a sum of all photons tell, half its digits: measured 1e-5."""
    result = made(exact, tolerance=0, pull_photons=0, iterations=1500)
    assert result.settings["convergence"]["ended_by"] == "rounding"
    assert abs(result.settings["convergence"]["deviance"][-1]) < 1e-5
    assert distance(exact, result.object) < 1e-4


def test_bad_pixels_are_left_out(noisy):
    hot = noisy.photons.stored.astype(np.uint32)
    hot[:, ~noisy.mask] = 1_000_000
    spoiled = replace(noisy, photons=replace(noisy.photons, stored=hot))
    assert np.array_equal(made(noisy, iterations=10).object, made(spoiled, iterations=10).object)


def test_frames_may_come_in_any_blocks_and_be_read_anew_each_time(noisy, monkeypatch):
    whole = made(noisy, iterations=8).object
    monkeypatch.setattr(misfit, "_BLOCK_PIXELS", 7 * 320)
    monkeypatch.setattr(misfit, "KEPT_BYTES", 0)
    np.testing.assert_allclose(made(noisy, iterations=8).object, whole, atol=1e-6)


def test_a_wrong_probe_is_refined_to_the_power_of_the_scans(noisy):
    y, x = np.mgrid[: WINDOW[0], : WINDOW[1]] - np.array(WINDOW)[:, None, None] // 2
    wrong = replace(noisy, probe=(noisy.probe * np.exp(0.02j * (y**2 - x * y))).astype(np.complex64))
    known, blind = made(wrong), made(wrong, fit_probe=True)
    assert blind.settings["convergence"]["deviance"][-1] < 0.5 * known.settings["convergence"]["deviance"][-1]
    assert np.sum(np.abs(blind.probe) ** 2) == pytest.approx(np.sum(np.abs(wrong.probe) ** 2), rel=1e-5)
    assert mean_deviance(wrong, blind.probe, blind.object) == pytest.approx(
        blind.settings["convergence"]["deviance"][-1], rel=0.02
    )


def test_the_amplitude_stays_where_only_the_phase_is_asked_for(noisy):
    result = made(noisy, phase_only=True)
    np.testing.assert_allclose(np.abs(result.object), flat_amplitude(noisy), rtol=1e-6)
    given = made(noisy, start=noisy.object, phase_only=True)
    np.testing.assert_allclose(np.abs(given.object), np.abs(noisy.object), rtol=1e-6)
    assert given.settings["convergence"]["deviance"][-1] < result.settings["convergence"]["deviance"][-1]


def test_it_starts_where_it_is_told_to(noisy):
    flat, near = made(noisy), made(noisy, start=noisy.object * np.complex64(1.02))
    assert near.settings["convergence"]["deviance"][0] < 0.5 * flat.settings["convergence"]["deviance"][0]
    assert near.settings["convergence"]["iterations"] < flat.settings["convergence"]["iterations"]


@pytest.mark.parametrize("bad", [np.ones((8, 8), complex), np.full(CANVAS, np.nan + 0j)], ids=["shape", "values"])
def test_a_start_that_does_not_fit_is_refused(noisy, bad):
    with pytest.raises(DataError, match=r"^ML: expected a finite start on the scan's 38 x 46 canvas, got .* crop or"):
        made(noisy, start=bad)


def test_the_dim_edge_stays_near_its_start(noisy):
    """Where less than one photon passed, plain likelihood says anything: measured 200 without the pull, 1.5 with it."""
    faint = replace(
        noisy,
        probe=noisy.probe / np.float32(10),
        photons=Frames(np.random.default_rng(1).poisson(noisy.photons.stored / 100).astype(np.uint16), whole=True),
    )
    assert np.abs(made(faint, iterations=60).object).max() < 3
    assert np.abs(made(faint, iterations=60, pull_photons=0).object).max() > 5


def test_an_early_end_is_told(noisy):
    for settings, reason in (({"iterations": 3}, "iteration limit"), ({"time_limit_s": 1e-9}, "time limit")):
        facts = made(noisy, **settings).settings["convergence"]
        assert (facts["converged"], facts["ended_by"]) == (False, reason)
        assert len(facts["deviance"]) == facts["iterations"] + 1


def test_frames_without_light_and_an_absent_device_are_refused(noisy):
    dark = replace(noisy, photons=Frames(np.zeros_like(noisy.photons.stored)))
    with pytest.raises(DataError, match="expected photons and probe light on the valid detector pixels"):
        made(dark)
    with pytest.raises(SettingsError, match="device = 'cuda:99': expected one that torch can use here"):
        made(noisy, device="cuda:99")


def test_it_is_an_engine_like_the_others(noisy, tmp_path):
    options = EngineOptions(epochs=5, fit_probe=False, time_limit_s=60)
    engine = make_reconstructor("ml", options, likelihood=LikelihoodOptions(phase_only=True))
    assert isinstance(engine, Reconstructor)
    assert isinstance(engine, MaximumLikelihoodReconstructor)
    assert engine.settings == LikelihoodSettings(iterations=5, phase_only=True, time_limit_s=60)
    assert make_reconstructor("ml", EngineOptions()).settings == LikelihoodSettings(fit_probe=True)
    result = replace(engine, progress=False).reconstruct(noisy)
    assert result.arm == engine.arm == "ML"
    assert result.settings["engine"] == "ml"
    assert result.data_digest == noisy.digest()
    result.save(tmp_path / "ml.npz")
    assert Reconstruction.load(tmp_path / "ml.npz").settings == result.settings


def test_more_modes_than_the_scan_has_are_refused():
    with pytest.raises(SettingsError, match=r"^engine ml: expected the probe modes of the scan, got probe_modes"):
        make_reconstructor("ml", EngineOptions(probe_modes=2))
