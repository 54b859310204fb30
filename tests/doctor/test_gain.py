"""The unit of a photon by its noise: laws of the two bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.doctor.beam import offset_px
from foldlight.doctor.gain import gain_of
from foldlight.doctor.ties import mean_step_px, structure_factor

SHAPE = (24, 32)


def measured(mean, frames, draw, factor=1.0):
    """Mean, variance and lags of pairs of counts about one expectation, in units of `factor` a photon."""
    one, other = factor * draw.poisson(mean, (2, frames, *SHAPE))
    difference = one - other
    lags = (np.abs(np.fft.fft2(difference, norm="ortho")) ** 2).mean(axis=0) / 2
    return (one + other).mean(axis=0) / 2, (difference**2).mean(axis=0) / 2, lags


def spot(light):
    y, x = (np.arange(size) - size // 2 for size in SHAPE)
    return light * np.exp(-(y[:, None] ** 2 + x**2) / 20.0) + 0.01


@settings(max_examples=10, deadline=None)
@given(factor=st.floats(0.1, 100.0), light=st.floats(30.0, 300.0))
def test_counts_in_any_unit_tell_it(factor, light):
    mean, variance, lags = measured(spot(light), 64, np.random.default_rng(0), factor)
    gain = gain_of(mean, variance, lags, np.ones(SHAPE, dtype=bool), 64)
    assert gain.value == pytest.approx(factor, rel=0.2)
    assert gain.too_low == (gain.value + 3 * gain.error < 0.8)


def test_too_little_light_tells_nothing():
    mean, variance, lags = measured(spot(0.01), 4, np.random.default_rng(0))
    assert gain_of(mean, variance, lags, np.ones(SHAPE, dtype=bool), 4) is None


def test_what_an_object_changes_does_not_raise_the_unit():
    """Frames that differ by far more than noise, in light that stays within half of the lags."""
    draw = np.random.default_rng(0)
    window = np.outer(np.hanning(12), np.hanning(16))
    waves = draw.standard_normal((2, 40, 12, 16)) + 1j * draw.standard_normal((2, 40, 12, 16))
    fields = np.abs(np.fft.fft2(waves * window, s=SHAPE, norm="ortho")) ** 2
    one, other = draw.poisson(300 * fields)
    difference = one - other
    lags = (np.abs(np.fft.fft2(difference, norm="ortho")) ** 2).mean(axis=0) / 2
    mean, variance = (one + other).mean(axis=0) / 2, (difference**2).mean(axis=0) / 2
    gain = gain_of(mean, variance, lags, np.ones(SHAPE, dtype=bool), 40)
    assert (variance / mean).min() > 3
    assert gain.value == pytest.approx(1, abs=0.1)
    assert not gain.too_low
    assert not gain.too_high


@settings(max_examples=20, deadline=None)
@given(y=st.floats(-6, 6), x=st.floats(-6, 6))
def test_offsets_are_found_to_a_part_of_a_pixel(y, x):
    rows, columns = (np.arange(size) - size // 2 for size in SHAPE)
    image = np.exp(-((rows[:, None] - y) ** 2 + (columns - x) ** 2) / 12.0)
    other = np.exp(-(rows[:, None] ** 2 + columns**2) / 12.0)
    (found_y, found_x), likeness = offset_px(image, other)
    assert (found_y, found_x) == pytest.approx((y, x), abs=0.1)
    assert likeness > 0.9


def test_a_grid_has_all_of_its_order_and_jitter_takes_it():
    y, x = np.mgrid[:20, :30] * 3.0
    grid = np.stack([y.ravel(), x.ravel()], axis=1)
    draw = np.random.default_rng(0)
    assert structure_factor(grid, 3.0) == pytest.approx(1, abs=0.1)
    turned = grid @ np.array([[0.8, -0.6], [0.6, 0.8]])
    assert structure_factor(turned, 3.0) > 0.9
    for spread in (0.05, 0.1, 0.15):
        jittered = grid + draw.normal(0, 3.0 * spread, grid.shape)
        assert structure_factor(jittered, 3.0) == pytest.approx(np.exp(-((2 * np.pi * spread) ** 2)), abs=0.08)
    assert structure_factor(draw.uniform(0, 60, (600, 2)), 3.0) < 0.1


@pytest.mark.parametrize("scale", [0.1, 1.0, 7.0])
def test_the_mean_step_is_that_of_a_square_grid_however_often_it_is_visited(scale):
    y, x = np.mgrid[:15, :25] * scale
    grid = np.stack([y.ravel(), x.ravel()], axis=1)
    assert mean_step_px(grid) == pytest.approx(scale, rel=0.05)
    assert mean_step_px(np.repeat(grid, 3, axis=0)) == pytest.approx(scale, rel=0.05)
    assert mean_step_px(np.concatenate([grid, [[1e4, 1e4]]])) == pytest.approx(scale, rel=0.05)
    assert mean_step_px(grid[:9]) == 0
