import contextlib
import functools
import importlib
import math
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from foldlight.compare import metrics
from foldlight.compare.align import align
from foldlight.optics.coverage import well_lit


@pytest.fixture(scope="module")
def second_opinion() -> Iterator[ModuleType]:
    """torchmetrics' image functions; its torchvision does not load beside a CPU-only torch without these schemas."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # a whole torchvision has defined them
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    yield importlib.import_module("torchmetrics.functional.image")
    del library


def pair(shape: tuple[int, int] = (96, 112)) -> tuple[np.ndarray, np.ndarray]:
    """A real image and a noisy copy of it."""
    rng = np.random.default_rng(11)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.sin(y / 7) + 0.5 * np.cos(x / 5 + y / 20)
    return image, image + 0.2 * rng.normal(size=shape)


def everywhere(image: np.ndarray) -> np.ndarray:
    return np.ones(image.shape, dtype=bool)


def as_torch(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image)[None, None]


class TestAgainstOthers:
    def test_psnr_is_scikit_images(self):
        truth, noisy = pair()
        expected = peak_signal_noise_ratio(truth, noisy, data_range=3.0)
        assert metrics.psnr(truth, noisy, everywhere(truth), 3.0) == pytest.approx(expected)

    def test_ssim_is_torchmetrics(self, second_opinion):
        truth, noisy = pair()
        mask = truth > -0.5
        mask[:5], mask[-5:], mask[:, :5], mask[:, -5:] = False, False, False, False  # edges are padded otherwise there
        _, similarity = second_opinion.structural_similarity_index_measure(
            as_torch(noisy), as_torch(truth), data_range=3.0, return_full_image=True
        )
        assert metrics.ssim(truth, noisy, mask, 3.0) == pytest.approx(similarity[0, 0].numpy()[mask].mean(), rel=1e-6)

    @pytest.mark.parametrize("sigma", [1.0, 1.5])
    def test_ms_ssim_is_torchmetrics_scale_by_scale(self, second_opinion, sigma):
        truth, noisy = pair((192, 208))
        images, expected, edge = (as_torch(noisy), as_torch(truth)), 1.0, int(3.5 * sigma + 0.5)
        ssim = functools.partial(second_opinion.structural_similarity_index_measure, data_range=3.0, sigma=sigma)
        for scale, power in enumerate(metrics.MS_SSIM_WEIGHTS):
            term = ssim(*images, return_contrast_sensitivity=True)[1]
            if scale == 4:
                term = ssim(*images, return_full_image=True)[1][..., edge:-edge, edge:-edge].mean()
            expected *= float(term) ** power
            images = tuple(torch.nn.functional.avg_pool2d(image, 2) for image in images)
        assert metrics.ms_ssim(truth, noisy, everywhere(truth), 3.0, sigma) == pytest.approx(expected, rel=1e-6)

    def test_ms_ssim_is_close_to_torchmetrics_which_pads_the_coarsest_scale(self, second_opinion):
        truth, noisy = pair((192, 208))
        expected = second_opinion.multiscale_structural_similarity_index_measure(
            as_torch(noisy), as_torch(truth), data_range=3.0
        )
        assert metrics.ms_ssim(truth, noisy, everywhere(truth), 3.0, 1.5) == pytest.approx(float(expected), rel=1e-3)

    def test_pearson_is_numpys(self):
        truth, noisy = pair()
        mask = truth > -1
        expected = np.corrcoef(truth[mask], noisy[mask])[0, 1]
        assert metrics.pearson(truth, noisy, mask) == pytest.approx(expected)
        assert metrics.pearson(truth, -noisy, mask) == pytest.approx(-expected)

    def test_complex_correlation_is_numpys(self, truth, other):
        mask = everywhere(truth)
        mixed = truth + 0.7j * other
        expected = abs(np.corrcoef(truth.ravel(), mixed.ravel())[0, 1])
        assert metrics.complex_correlation(truth, mixed, mask) == pytest.approx(expected)


def test_mean_absolute_error_counts_the_mask_alone():
    truth, estimate = np.zeros((4, 6)), np.full((4, 6), 100.0)
    mask = np.zeros((4, 6), dtype=bool)
    mask[1, 2] = mask[3, 5] = True
    estimate[1, 2], estimate[3, 5] = -2.0, 1.0
    assert metrics.mean_absolute_error(truth, estimate, mask) == 1.5


def slow_ssim(truth: np.ndarray, estimate: np.ndarray, data_range: float) -> np.ndarray:
    """The textbook: a double loop over pixels, a Gaussian window of 11 px and 1.5 px, for those it fits around."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    found = np.full(truth.shape, np.nan)
    for row in range(5, truth.shape[0] - 5):
        for column in range(5, truth.shape[1] - 5):
            t, e = (image[row - 5 : row + 6, column - 5 : column + 6] for image in (truth, estimate))
            mean_t, mean_e = np.sum(window * t), np.sum(window * e)
            varied = [
                np.sum(window * (a - m) * (b - n)) for a, m, b, n in ((t, mean_t, t, mean_t), (e, mean_e, e, mean_e))
            ]
            shared = np.sum(window * (t - mean_t) * (e - mean_e))
            luminance = (2 * mean_t * mean_e + c1) / (mean_t**2 + mean_e**2 + c1)
            found[row, column] = luminance * (2 * shared + c2) / (sum(varied) + c2)
    return found


def test_ssim_is_the_textbooks():
    truth, noisy = pair((24, 30))
    mask = np.zeros(truth.shape, dtype=bool)
    mask[5:-5, 7:-5] = True
    assert metrics.ssim(truth, noisy, mask, 3.0) == pytest.approx(slow_ssim(truth, noisy, 3.0)[mask].mean(), rel=1e-6)


def test_phase_errors_are_those_of_a_double_loop(truth, other, coverage):
    mask = well_lit(coverage)
    wanted = []
    for row, column in np.argwhere(mask):
        error = np.angle(other[row, column]) - np.angle(truth[row, column])
        while error > np.pi:
            error -= 2 * np.pi
        while error <= -np.pi:
            error += 2 * np.pi
        wanted.append(abs(error))
    found = metrics.mean_absolute_error(*metrics.phase_pair(truth, other, mask, coverage), mask)
    assert found == pytest.approx(np.mean(wanted))


class TestSkill:
    def test_is_nothing_for_the_flat_image_and_one_for_a_perfect_one(self):
        assert metrics.skill(0.3, 0.3) == 0
        assert metrics.skill(1.0, 0.3) == 1
        assert metrics.skill(0.2, 0.3) < 0

    def test_is_empty_where_flat_is_perfect_or_there_is_no_ssim(self):
        assert metrics.skill(1.0, 1.0) is None
        assert metrics.skill(None, 0.3) is None
        assert metrics.skill(0.3, None) is None


class TestPhasePair:
    def test_a_wrap_is_no_error(self, truth, coverage):
        turned = truth * np.exp(1j * (np.pi - 0.9))  # the phase now straddles +-pi
        phase, estimate = metrics.phase_pair(turned, turned * np.exp(0.1j), well_lit(coverage), coverage)
        assert np.allclose(estimate - phase, 0.1, atol=1e-6)
        assert np.abs(phase).max() < 2.5

    def test_both_are_turned_alike(self, truth, other, coverage):
        mask = well_lit(coverage)
        plain = metrics.phase_pair(truth, other, mask, coverage)
        turned = metrics.phase_pair(truth * np.exp(2j), other * np.exp(2j), mask, coverage)
        assert np.allclose(plain, turned)

    def test_errors_are_wrapped(self, truth, other, coverage):
        phase, estimate = metrics.phase_pair(truth**8, other**8, well_lit(coverage), coverage)
        assert np.abs(phase - estimate).max() <= np.pi + 1e-9


class TestFlatImages:
    def test_a_flat_estimate_scores_nothing(self, truth, coverage):
        mask = well_lit(coverage)
        flat, _ = align(np.ones_like(truth), truth, coverage)
        scores = metrics.score(truth, flat, flat, mask, coverage, 1.5)
        assert abs(scores.phase_ssim) < 0.05
        assert scores.complex_correlation == scores.phase_correlation == 0.0

    def test_a_truth_without_contrast_has_no_such_scores(self, truth, other, coverage):
        phase_only = np.exp(1j * np.angle(truth)).astype(np.complex64)
        scores = metrics.score(phase_only, other, np.ones_like(other), well_lit(coverage), coverage, 1.5)
        assert scores.amplitude_psnr is None
        assert scores.amplitude_ssim is None
        assert scores.amplitude_mae > 0
        assert scores.phase_ssim is not None

    def test_correlation_with_a_flat_truth_is_empty(self, truth):
        flat = np.ones_like(truth)
        assert metrics.complex_correlation(flat, truth, everywhere(truth)) is None
        assert metrics.pearson(flat.real, truth.real, everywhere(truth)) is None


def test_a_perfect_estimate_scores_best(truth, coverage):
    mask = well_lit(coverage)
    scores = metrics.score(truth, truth, np.ones_like(truth), mask, coverage, 1.5)
    assert scores.amplitude_mae == 0
    assert scores.phase_mae < 1e-15
    assert scores.amplitude_psnr == math.inf
    assert scores.phase_ssim == pytest.approx(1)
    assert scores.complex_correlation == pytest.approx(1)


def test_every_score_falls_with_noise(truth, coverage):
    rng = np.random.default_rng(1)
    noise = rng.normal(size=truth.shape) + 1j * rng.normal(size=truth.shape)
    mask = well_lit(coverage)
    little, much = (
        metrics.score(truth, truth + level * noise, np.ones_like(truth), mask, coverage, 1.5) for level in (0.01, 0.1)
    )
    for name in ("amplitude_psnr", "phase_psnr", "amplitude_ssim", "phase_ssim", "complex_correlation"):
        assert getattr(little, name) > getattr(much, name), name
    assert little.phase_mae < much.phase_mae


class TestTooSmall:
    def test_ms_ssim_needs_five_scales(self):
        truth, noisy = pair((160, 160))
        assert metrics.ms_ssim(truth, noisy, everywhere(truth), 3.0, 1.5) is None
        assert metrics.ms_ssim(truth, noisy, everywhere(truth), 3.0, 1.0) is not None

    def test_ssim_needs_one_window(self):
        truth, noisy = pair((10, 40))
        assert metrics.ssim(truth, noisy, everywhere(truth), 3.0) is None
