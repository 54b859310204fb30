"""The gates of the dose limit: what has to hold before any efficiency counts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from foldlight.compare.frc import ring_correlation
from foldlight.core.errors import DataError, SettingsError
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.optics.fisher import Fisher, conjugate_gradients
from foldlight.optics.forward import expected_frames
from foldlight.optics.limit import DoseLimit, dose_limit, squared_error
from foldlight.optics.prior import Prior, prior_of
from foldlight.optics.probes import normalised, zone_plate
from foldlight.optics.rings import Rings, tapered_window

WINDOW = (8, 10)
CANVAS = (16, 20)
seeds = st.integers(0, 2**31)


def texture(rng, shape, smooth=1.0):
    image = gaussian_filter(rng.standard_normal(shape), smooth)
    return image / image.std()


def transmission(seed=0, shape=CANVAS, phase_only=False):
    rng = np.random.default_rng(seed)
    phase = 0.4 * texture(rng, shape)
    amplitude = np.ones(shape) if phase_only else np.exp(-0.2 * np.abs(texture(rng, shape)))
    return amplitude * np.exp(1j * phase)


def asymmetric_probe(modes=1, window=WINDOW, photons=1e4, seed=1):
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(*(np.arange(size) - size // 2 + 0.3 for size in window), indexing="ij")
    envelope = 0.01 + np.exp(-((y / (0.22 * window[0])) ** 2) - (x / (0.2 * window[1])) ** 2)
    fields = [
        envelope * np.exp(1j * (0.05 * y * x + 0.06 * y**2 + 0.3 * m * x)) * (1 + 0.2 * texture(rng, window))
        for m in range(modes)
    ]
    return normalised(np.stack(fields) * np.array([1.0, 0.5, 0.3])[:modes, None, None], photons).astype(np.complex128)


def jittered(steps=(4, 5), window=WINDOW, canvas=CANVAS, seed=2, whole=False):
    rng = np.random.default_rng(seed)
    low, high = np.array(window) // 2, np.array(canvas) - np.array(window) + np.array(window) // 2
    grid = np.stack(
        np.meshgrid(*(np.linspace(a, b, n) for a, b, n in zip(low, high, steps, strict=True)), indexing="ij")
    )
    places = grid.reshape(2, -1).T + rng.uniform(-1, 1, (steps[0] * steps[1], 2))
    places = np.clip(places, low, high)
    return np.rint(places) if whole else places


def fisher(modes=1, **options):
    whole = options.pop("whole", False)
    truth = options.pop("truth", transmission())
    return Fisher(truth, asymmetric_probe(modes), jittered(whole=whole), **options)


def limit(truth=None, probe=None, positions=None, **options) -> DoseLimit:
    truth = transmission() if truth is None else truth
    probe = asymmetric_probe() if probe is None else probe
    positions = jittered() if positions is None else positions
    return dose_limit(truth, probe, positions, well_lit(coverage_map(probe, positions, truth.shape)), **options)


KINDS = [
    {"parameters": "complex"},
    {"parameters": "phase"},
    {"parameters": "complex", "probe_known": False},
    {"parameters": "phase", "probe_known": False, "modes": 2},
    {"parameters": "complex", "modes": 3},
    {"parameters": "complex", "probe_known": False, "whole": True},
]
each_kind = pytest.mark.parametrize("options", KINDS, ids=lambda kind: " ".join(map(str, kind.values())))


# --- the operator ---------------------------------------------------------------------------------------------------


def bad_pixels():
    valid = np.ones(WINDOW, dtype=bool)
    valid[3:5, 7] = valid[6] = False
    return valid


@each_kind
def test_jacobian_agrees_with_finite_differences(options):
    """Of `2 sqrt(lam)`, whose derivative is `d lam / sqrt(lam)`, by the forward model that everyone uses."""
    options = dict(options)
    modes, whole = options.pop("modes", 1), options.pop("whole", False)
    found = fisher(modes, whole=whole, detector_mask=bad_pixels(), **options)
    rng = np.random.default_rng(3)
    step = torch.from_numpy(rng.standard_normal((1, found.size)))
    part = step[0, : found.object_size].numpy().reshape(*CANVAS, -1)
    deviation = part[..., 0] + 1j * part[..., 1] if part.shape[-1] == 2 else 1j * part[..., 0]
    pairs = step[0, found.object_size :].numpy().reshape(-1, *WINDOW, 2) if found.size > found.object_size else 0
    nudge = pairs[..., 0] + 1j * pairs[..., 1] if found.size > found.object_size else 0

    def root(size):
        truth = torch.from_numpy(transmission() * (1 + size * np.where(found.lit, deviation, 0)))[None]
        probe = torch.from_numpy(asymmetric_probe(modes) + size * nudge)
        places = torch.from_numpy(jittered(whole=whole))[None]
        return 2 * expected_frames(truth, probe, places)[0].sqrt()

    slope = (root(1e-6) - root(-1e-6)) / 2e-6
    expected = torch.fft.ifftshift(slope * torch.from_numpy(bad_pixels()), dim=(-2, -1))
    assert torch.allclose(found.forward(step)[0], expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@each_kind
@settings(max_examples=5, deadline=None)
@given(seeds)
def test_adjoint_and_product(options, seed):
    found = fisher(**options)
    rng = np.random.default_rng(seed)
    vectors = torch.from_numpy(rng.standard_normal((2, found.size)))
    counts = torch.from_numpy(rng.standard_normal((2, 20, *WINDOW)))
    there, back = found.forward(vectors), found.adjoint(counts)
    assert np.isclose(float((there * counts).sum()), float((vectors * back).sum()))
    assert torch.allclose(found.product(vectors), found.adjoint(there))


def test_blocks_of_frames_kept_or_not_change_nothing(monkeypatch):
    whole = fisher(probe_known=False)
    monkeypatch.setattr("foldlight.optics.fisher._BLOCK_PIXELS", 3 * WINDOW[0] * WINDOW[1])
    monkeypatch.setattr("foldlight.optics.fisher._KEPT_BYTES", 0)
    parts = fisher(probe_known=False)
    vectors = torch.ones(1, whole.size, dtype=torch.float64)
    assert torch.allclose(whole.product(vectors), parts.product(vectors))
    assert np.allclose(whole.photons, parts.photons)


def test_single_precision_products_are_good_to_five_digits():
    exact, quick = fisher(probe_known=False), fisher(probe_known=False, dtype=torch.complex64)
    vectors = torch.from_numpy(np.random.default_rng(0).standard_normal((1, exact.size)))
    expected, found = exact.product(vectors), quick.product(vectors.float()).double()
    assert torch.linalg.norm(found - expected) < 1e-5 * torch.linalg.norm(expected)


def test_information_of_a_pixel_is_four_photons():
    """F_phase + F_logamp = 4 n(r), whatever object and probe: half of what quantum mechanics would allow for each."""
    found = fisher()
    both = torch.diagonal(found.dense()).numpy().reshape(-1, 2).sum(axis=1)
    photons = found.photons[found.lit]
    assert np.abs(both / (4 * photons) - 1).max() < 1e-10
    from_columns = found.forward(torch.eye(found.size, dtype=torch.float64)[: 2 * CANVAS[1]])
    squares = from_columns.square().sum(dim=(1, 2, 3)).numpy().reshape(-1, 2).sum(axis=1)
    assert np.abs(squares - 4 * (found.photons * found.lit)[0]).max() < 1e-10 * photons.max()


def test_photons_are_light_times_transmission():
    found = fisher(modes=2)
    light = coverage_map(asymmetric_probe(2), jittered(), CANVAS) * np.abs(transmission()) ** 2
    assert np.allclose(found.photons, light, rtol=1e-4)


def test_modes_and_bad_pixels_only_lose_information():
    """With several modes, or fewer detector pixels, a photon tells less."""
    for found in (fisher(modes=2), fisher(detector_mask=bad_pixels()), fisher(background=5.0)):
        both = torch.diagonal(found.dense()).numpy().reshape(-1, 2).sum(axis=1)
        ratio = both / (4 * found.photons[found.lit])
        assert ratio.max() < 1 + 1e-12
        assert ratio.min() < 0.97


@pytest.mark.parametrize("parameters", ["complex", "phase"])
def test_gauge_directions_tell_the_data_nothing(parameters):
    """Constant phase with a known probe; with an unknown one the ramps and the logarithm of the amplitude too."""
    known = fisher(parameters=parameters)
    entries = 2 if parameters == "complex" else 1
    phase = torch.zeros(*CANVAS, entries, dtype=torch.float64)
    phase[..., -1] = 1
    assert float(known.product(phase.reshape(1, -1)).abs().max()) < 1e-9 * known.photons.max()

    probe = asymmetric_probe()
    blind = Fisher(transmission(), probe, jittered(whole=True), parameters=parameters, probe_known=False)
    y, x = (axis.astype(float) for axis in np.indices(CANVAS))
    q, p = (axis.astype(float) for axis in np.indices(WINDOW))
    for on_object, on_probe in ((1j, -1j), (1j * y, -1j * q), (1j * x, -1j * p), (np.ones(1), -1)):
        if parameters == "phase" and np.isrealobj(on_object):
            continue
        deviation = np.broadcast_to(on_object, CANVAS).astype(complex)
        pairs = np.stack([deviation.real, deviation.imag], axis=-1)[..., 2 - entries :]
        nudge = on_probe * probe
        vector = np.concatenate([pairs.ravel(), np.stack([nudge.real, nudge.imag], axis=-1).ravel()])[None]
        lost = blind.product(torch.from_numpy(vector)).abs() / blind.scale
        assert float(lost[:, : blind.object_size].max()) < 1e-9


def test_windows_outside_the_canvas_are_refused():
    with pytest.raises(DataError, match=r"expected every 8 x 10 window inside the 16 x 20 object, got windows from"):
        Fisher(transmission(), asymmetric_probe(), jittered() - [3, 0])


def test_the_canvas_is_cropped_to_what_the_windows_reach():
    large = np.ones((60, 70), dtype=complex)
    large[10:26, 20:40] = transmission()
    found = Fisher(large, asymmetric_probe(), jittered() + np.array([10, 20]))
    assert found.box == (slice(10, 26), slice(20, 40))
    vectors = torch.ones(1, found.size, dtype=torch.float64)
    assert torch.allclose(found.product(vectors), fisher().product(vectors))


def test_conjugate_gradients_end_when_nothing_is_left_to_add():
    rng = np.random.default_rng(4)
    half = torch.from_numpy(rng.standard_normal((40, 60)))
    matrix, right = half @ half.T, torch.from_numpy(rng.standard_normal((3, 40)))
    found = conjugate_gradients(lambda v: v @ matrix, lambda v: v / matrix.diagonal(), right, 200, 1e-9)
    exact = torch.linalg.solve(matrix, right.T).T
    assert torch.allclose(found.value, (right * exact).sum(dim=1), rtol=1e-8)
    assert torch.allclose(found.solution, exact, rtol=1e-4, atol=1e-6)
    assert 40 <= found.iterations < 200
    early = conjugate_gradients(lambda v: v @ matrix, lambda v: v / matrix.diagonal(), right, 8, 1e-9)
    assert (early.value < found.value).all()
    assert (early.left > 1e-9).all()


# --- the bound --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "known"),
    [
        ("complex", True),
        ("phase", True),
        ("phase", False),
        pytest.param("complex", False, marks=pytest.mark.slow),
    ],
)
def test_matrix_free_is_within_two_percent_of_dense(parameters, known):
    """At N = 32; 48 vectors bring the noise of the trace to about 1 %."""
    window, canvas = (32, 32), (34, 36)
    probe = zone_plate(window, 12).astype(np.complex128) * 100
    positions = jittered((3, 3), window, canvas)
    truth = transmission(shape=canvas)
    mask = well_lit(coverage_map(probe, positions, canvas))
    options = {"parameters": parameters, "probe_known": known}
    dense = dose_limit(truth, probe, positions, mask, method="dense", **options)
    free = dose_limit(truth, probe, positions, mask, method="matrix-free", vectors=48, **options)
    assert free.bound == pytest.approx(dense.bound, rel=0.02)
    assert dense.bound_error == 0
    assert free.bound_error < 0.015 * free.bound
    assert free.determined
    assert free.unsettled <= 0.002
    assert np.median(np.abs(free.noise / dense.noise - 1)) < 0.1
    assert np.allclose(free.signal, dense.signal)


def test_the_error_is_shared_among_pixels_and_parts():
    """Phase and amplitude add up to the bound, and so do the pixels; the smoothed map follows the dense one."""
    dense, free = limit(method="dense"), limit(method="matrix-free", vectors=200)
    scored = np.isfinite(dense.variance)
    assert dense.variance.shape == CANVAS
    assert np.array_equal(scored, well_lit(coverage_map(asymmetric_probe(), jittered(), CANVAS)))
    assert dense.variance[scored].mean() == pytest.approx(dense.bound)
    assert free.phase_bound == pytest.approx(dense.phase_bound, rel=0.03)
    assert 0.3 < dense.phase_bound / dense.bound < 0.7
    assert np.median(np.abs(free.variance[scored] / dense.variance[scored] - 1)) < 0.2
    phase = limit(parameters="phase", method="dense")
    assert phase.phase_bound == pytest.approx(phase.bound)


def test_a_scan_with_fewer_counts_than_unknowns_determines_nothing():
    """Two frames, and probe and object unknown."""
    found = limit(positions=jittered((1, 2)), probe_known=False, method="dense")
    assert not found.determined
    assert limit(method="dense").determined


@pytest.mark.parametrize("method", ["dense", "matrix-free"])
def test_islands_that_no_frame_joins_leave_the_object_undetermined(method):
    """Each has a constant phase of its own, and only one is a gauge."""
    canvas, positions = (16, 44), np.concatenate([jittered(), jittered() + np.array([0, 22])])
    assert not limit(transmission(shape=canvas), positions=positions, method=method).determined


def test_the_standard_error_is_that_of_the_vectors():
    """Single vectors scatter about the dense bound by as much as they say, up to the bound on it."""
    dense = limit(method="dense").bound
    found = [limit(method="matrix-free", vectors=1, seed=seed) for seed in range(25)]
    scatter = np.sqrt(np.mean([(one.bound - dense) ** 2 for one in found]))
    said = np.mean([one.bound_error for one in found])
    assert 0.6 * scatter < said < 2 * scatter


@pytest.mark.parametrize("parameters", ["complex", "phase"])
def test_no_bound_beats_the_photons(parameters):
    """`sigma_phi^2 >= 1 / (2 n)` and `var_phi + var_loga >= 1 / n`, on the mean over pixels of 1 / n."""
    truth = transmission(phase_only=parameters == "phase")
    found = limit(truth, parameters=parameters, method="dense")
    tight = fisher(truth=truth)
    mask = well_lit(coverage_map(asymmetric_probe(), jittered(), CANVAS))
    least = np.mean(1 / tight.photons[mask])
    assert found.bound > least * (0.5 if parameters == "phase" else 1) * (1 - 3 / mask.sum())
    assert found.bound < 20 * least


def test_what_is_not_known_costs():
    phase, both = (limit(parameters=kind, method="dense").bound for kind in ("phase", "complex"))
    blind = limit(probe_known=False, method="dense").bound
    assert phase < both < blind
    assert both < limit(detector_mask=bad_pixels(), method="dense").bound
    assert both < limit(background=1.0, method="dense").bound


def test_the_bound_is_proportional_to_one_over_dose():
    """Exactly, without background; with it a photon is worth more where there are many."""
    low, high = (limit(probe=asymmetric_probe(photons=dose), method="dense") for dose in (1e3, 1e5))
    assert low.bound == pytest.approx(100 * high.bound, rel=1e-5)
    scaled = low.at_dose(100)
    assert scaled.bound == pytest.approx(high.bound, rel=1e-5)
    assert scaled.photons_per_pixel == pytest.approx(high.photons_per_pixel, rel=1e-5)
    assert np.allclose(scaled.frc, high.frc, rtol=1e-5)
    low, high = (limit(probe=asymmetric_probe(photons=dose), background=1.0, method="dense") for dose in (1e3, 1e5))
    assert low.bound > 110 * high.bound


def test_predicted_frc_is_that_of_the_truth_with_such_noise():
    """Noise drawn from the dense bound, added to the truth, correlates with it as predicted."""
    canvas = (24, 28)
    truth, positions, probe = transmission(shape=canvas), jittered((6, 7), canvas=canvas), asymmetric_probe(photons=3e3)
    mask = well_lit(coverage_map(probe, positions, canvas))
    found = dose_limit(truth, probe, positions, mask, method="dense")
    operator = Fisher(truth, probe, positions)
    rng = np.random.default_rng(5)
    counts = torch.from_numpy(rng.standard_normal((24, len(positions), *WINDOW)))
    errors = conjugate_gradients(
        operator.product, lambda r: r / operator.scale, operator.adjoint(counts), 300, 1e-6
    ).solution.numpy()
    errors = errors.reshape(24, *canvas, 2)
    noisy = [truth * (1 + one[..., 0] + 1j * (one[..., 1] - one[..., 1][mask].mean())) for one in errors]
    scores = [ring_correlation(truth, one, mask) for one in noisy]
    assert np.allclose(found.nyquist, scores[0].nyquist)
    measured = np.mean([score.correlation for score in scores], axis=0)
    assert np.abs(measured - found.frc)[1:].max() < 0.08  # few samples a ring, and a correlation is never below 0
    assert np.mean([squared_error(one, truth, mask) for one in noisy]) == pytest.approx(found.bound, rel=0.05)
    assert ((found.frc > 0) & (found.frc <= 1)).all()
    assert found.frc[0] > 0.95
    assert found.frc[-1] < 0.8


def test_signal_is_that_of_the_ring_correlation():
    found = limit(method="dense")
    mask = well_lit(coverage_map(asymmetric_probe(), jittered(), CANVAS))
    assert np.array_equal(found.nyquist, ring_correlation(transmission(), transmission(), mask).nyquist)
    assert (found.signal > 0).all()
    assert replace(found, signal=0 * found.signal).frc.max() == 0


def test_opaque_pixels_are_not_scored():
    truth = transmission()
    truth[8, 10] = 0
    found = limit(truth, method="dense")
    assert found.bound < 2 * limit(method="dense").bound
    mask = well_lit(coverage_map(asymmetric_probe(), jittered(), CANVAS))
    assert squared_error(truth, truth, mask) < 1e-20


# --- the Bayesian bound -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameters", ["complex", "phase"])
def test_bayesian_bound_is_below_both_what_data_and_what_the_prior_tell(parameters):
    mask = well_lit(coverage_map(asymmetric_probe(), jittered(), CANVAS))
    prior = prior_of(transmission(), mask)
    dense, free = (
        limit(parameters=parameters, prior=prior, method=method, vectors=64) for method in ("dense", "matrix-free")
    )
    assert free.bayes == pytest.approx(dense.bayes, rel=0.03)
    assert dense.bayes < dense.bound
    dark = limit(probe=asymmetric_probe(photons=1e-3), parameters=parameters, prior=prior, method="dense")
    shape = (100, 100)
    variance = [power.mean() for power in prior.spectra(shape)]
    believed = sum(variance) if parameters == "complex" else variance[1]
    assert dark.bayes < 1.05 * believed  # less what the projection of the constant phase takes
    assert dark.bayes > 0.5 * believed
    bright = limit(probe=asymmetric_probe(photons=1e9), parameters=parameters, prior=prior, method="dense")
    assert bright.bayes == pytest.approx(bright.bound, rel=0.05)


def test_bayesian_bound_with_an_unknown_probe():
    mask = well_lit(coverage_map(asymmetric_probe(), jittered(), CANVAS))
    prior = prior_of(transmission(), mask)
    options = {"probe_known": False, "prior": prior, "parameters": "phase"}
    dense, free = limit(method="dense", **options), limit(method="matrix-free", vectors=64, **options)
    assert free.bayes == pytest.approx(dense.bayes, rel=0.03)
    assert limit(method="dense", prior=prior, parameters="phase").bayes < dense.bayes < dense.bound


def test_prior_gives_back_the_spectrum_of_a_field():
    rng = np.random.default_rng(6)
    shape = (96, 128)
    cycles = np.hypot(np.fft.fftfreq(96)[:, None], np.fft.fftfreq(128)[None])
    transfer = 0.3 / (1 + (cycles / 0.1) ** 2)
    fields = [np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) * transfer).real for _ in range(2)]
    found = prior_of(np.exp(0.1 * fields[0] + 1j * fields[1]), np.ones(shape, dtype=bool))
    log_amplitude, phase = found.spectra(shape)
    assert np.abs(np.log(Rings.of(shape).mean(phase / transfer**2))).mean() < 0.15
    assert np.median(phase / log_amplitude) == pytest.approx(100, rel=0.3)


def test_priors_that_make_no_sense_are_refused():
    rising, powers = np.array([0.1, 0.2]), np.ones(2)
    with pytest.raises(DataError, match=r"three 1-D arrays of one length, got shapes \(2,\), \(2,\) and \(3,\)"):
        Prior(rising, powers, np.ones(3))
    for wrong in (Prior, lambda f, a, p: Prior(f[::-1], a, p)):
        with pytest.raises(DataError, match="rising frequencies and powers above 0"):
            wrong(rising, powers, powers * (0 if wrong is Prior else 1))


# --- errors of estimates ----------------------------------------------------------------------------------------------

MASK = tapered_window(np.ones(CANVAS, dtype=bool)) > 0.5


@settings(max_examples=20, deadline=None)
@given(seeds, st.floats(-3, 3), st.floats(0.5, 2), st.floats(-0.05, 0.05))
def test_squared_error_is_blind_to_the_gauge_alone(seed, turn, size, ramp):
    rng = np.random.default_rng(seed)
    truth = transmission()
    noise = 0.02 * (rng.standard_normal(CANVAS) + 1j * rng.standard_normal(CANVAS))
    estimate = truth * (1 + noise)
    y, x = np.indices(CANVAS)
    for parameters in ("complex", "phase"):
        known = squared_error(estimate, truth, MASK, parameters)
        assert squared_error(estimate * np.exp(1j * turn), truth, MASK, parameters) == pytest.approx(known, rel=1e-9)
        blind = squared_error(estimate, truth, MASK, parameters, probe_known=False)
        moved = estimate * size * np.exp(1j * (turn + ramp * 0.1 * (y - 2 * x)))
        assert squared_error(moved, truth, MASK, parameters, probe_known=False) == pytest.approx(blind, rel=0.02)
        assert blind <= known * 1.01
    assert squared_error(estimate * (1 + abs(size - 1)), truth, MASK) >= 0.9 * squared_error(estimate, truth, MASK)


def test_squared_error_of_known_errors():
    truth = transmission()
    y, _ = np.indices(CANVAS)
    checker = np.where((y + np.indices(CANVAS)[1]) % 2, 0.1, -0.1)
    everywhere = np.ones(CANVAS, dtype=bool)
    assert squared_error(truth * (1 + checker), truth, everywhere) == pytest.approx(0.01)
    assert squared_error(truth * np.exp(1j * checker), truth, everywhere, "phase") == pytest.approx(0.01)
    assert squared_error(truth * (1 + checker), truth, everywhere, "phase") == pytest.approx(0)
    assert squared_error(1.1 * truth, truth, everywhere) == pytest.approx(0.01)
    assert squared_error(1.1 * truth, truth, everywhere, probe_known=False) == pytest.approx(0, abs=1e-20)
    assert squared_error(np.zeros_like(truth), truth, everywhere) == pytest.approx(1)


def test_refusals_say_what_is_wrong():
    truth, probe, positions = transmission(), asymmetric_probe(), jittered()
    with pytest.raises(DataError, match="expected at least one lit, transparent pixel to score"):
        dose_limit(truth, probe, positions, np.zeros(CANVAS, dtype=bool))
    with pytest.raises(SettingsError, match="vectors = 0: expected 1 or more"):
        limit(vectors=0)
    with pytest.raises(SettingsError, match="iterations = 0: expected 1 or more"):
        limit(iterations=0)
