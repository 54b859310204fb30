"""Each judge: decides, is overruled, refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.core.errors import DataError
from foldlight.io.evidence import beam_shares, is_whole, judge_axis_order, judge_values, judge_zero_frequency, spread

RNG = np.random.default_rng(7)
COUNTS = RNG.poisson(5.0, (3, 10, 8)).astype(np.float32)
ROOTS = np.sqrt(COUNTS)
SMOOTH = RNG.uniform(0.1, 3.0, (3, 10, 8)).astype(np.float32)


def beam(height: int, width: int) -> np.ndarray:
    """A frame with its light around [N // 2, N // 2] and a little everywhere."""
    frame = np.full((height, width), 0.01)
    frame[height // 2, width // 2] = 10
    frame[height // 2 - 1, width // 2] = 5
    return frame


@settings(max_examples=25, deadline=None)
@given(
    dose=st.floats(0.5, 3e5),
    scale=st.sampled_from([1.0, 0.37, 81.4]),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_roots_of_counts_are_amplitudes_and_reveal_their_scale(
    dose: float, scale: float, seed: int, dtype: type
) -> None:
    counts = np.random.default_rng(seed).poisson(dose * np.geomspace(1e-3, 1, 512), (2, 512)).reshape(2, 16, 32)
    counts.flat[:4] = 1, 2, 3, 5  # a few photons somewhere, as in every measured frame
    verdict = judge_values((np.sqrt(counts) / scale).astype(dtype), convention="intensity")
    assert verdict.choice == "amplitude"
    assert "although the format prescribes intensity" in verdict.reason
    assert verdict.scale == pytest.approx(scale, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64, np.float16])
def test_whole_numbers_are_counts_whatever_the_format_prescribes(dtype: type) -> None:
    verdict = judge_values(COUNTS.astype(dtype), convention="amplitude")
    assert verdict.choice == "intensity"
    assert "although the format prescribes amplitude" in verdict.reason
    assert verdict.scale == 1.0


@pytest.mark.parametrize(
    "sample",
    [SMOOTH, (COUNTS > 4).astype(np.float32), np.zeros_like(COUNTS), COUNTS * 0.1, np.full_like(COUNTS, 2.0)],
    ids=["smooth", "zeros and ones", "dark", "other unit", "one value"],
)
def test_where_numbers_tell_nothing_the_format_or_nobody_decides(sample: np.ndarray) -> None:
    assert judge_values(sample, convention="amplitude").choice == "amplitude"
    assert judge_values(sample, convention="intensity").choice == "intensity"
    with pytest.raises(DataError, match="got neither; set the option values to amplitude or intensity"):
        judge_values(sample)


def test_options_and_declarations_overrule_numbers() -> None:
    assert judge_values(COUNTS, asked="amplitude", declared="intensity").choice == "amplitude"
    declared = judge_values(COUNTS, declared="amplitude", convention="intensity")
    assert declared.choice == "amplitude"
    assert "set values to intensity if that is wrong: they are whole numbers" in declared.reason
    assert "wrong" not in judge_values(ROOTS, declared="amplitude").reason
    assert judge_values(ROOTS / 4, asked="amplitude").scale == pytest.approx(4)
    assert judge_values(ROOTS / 4, asked="intensity").scale == 1.0


def test_whole_within_the_rounding_of_the_stored_type() -> None:
    counts = np.arange(2**22, 0, -997.0)
    squares = np.sqrt(counts).astype(np.float32).astype(np.float64) ** 2
    assert is_whole(squares, np.dtype(np.float32))
    assert not is_whole(squares + 0.3, np.dtype(np.float32))
    assert not is_whole(np.zeros(3))
    assert not is_whole(np.array([1e7, 3e7, 5e8]), np.dtype(np.float32))  # too large for the fraction to mean anything


@settings(max_examples=20, deadline=None)
@given(height=st.integers(4, 20).map(lambda n: 2 * n), width=st.integers(4, 20).map(lambda n: 2 * n))
def test_the_beam_is_found_in_both_places(height: int, width: int) -> None:
    centred = beam(height, width)
    assert judge_zero_frequency(centred).choice == "centre"
    cornered = np.fft.ifftshift(centred)
    assert judge_zero_frequency(cornered).choice == "corner"
    assert beam_shares(centred) == pytest.approx(beam_shares(cornered)[::-1])


def test_a_beam_against_the_convention_wins_and_is_told() -> None:
    verdict = judge_zero_frequency(beam(16, 24), convention="corner")
    assert verdict.choice == "centre"
    assert "% of the photons near the centre" in verdict.reason
    assert "although the format prescribes corner" in verdict.reason


@pytest.mark.parametrize("frame", [np.ones((16, 24)), np.zeros((16, 24)), beam(16, 24) + np.fft.fftshift(beam(16, 24))])
def test_an_unclear_beam_is_refused_with_both_shares_unless_somebody_says(frame: np.ndarray) -> None:
    with pytest.raises(
        DataError, match=r"got \S+ % of the photons near the centre, \S+ % near the corners; set the option zero_freq"
    ):
        judge_zero_frequency(frame, convention="centre")
    assert judge_zero_frequency(frame, declared="centre").choice == "centre"
    assert judge_zero_frequency(frame, asked="corner", declared="centre").choice == "corner"


def test_the_option_overrules_the_beam() -> None:
    assert judge_zero_frequency(beam(16, 24), asked="corner").choice == "corner"


def test_the_axis_that_fits_the_positions_counts_the_frames() -> None:
    assert judge_axis_order((5, 8, 10), 5).choice == "nyx"
    assert judge_axis_order((8, 10, 5), 5).choice == "yxn"


def test_equal_axes_are_refused_unless_somebody_says() -> None:
    with pytest.raises(DataError, match=r"one axis of 8 frames, got shape \(8, 10, 8\); set the option axis_order"):
        judge_axis_order((8, 10, 8), 8)
    assert judge_axis_order((8, 10, 8), 8, declared="nyx").choice == "nyx"
    assert judge_axis_order((8, 10, 8), 8, asked="yxn", declared="nyx").choice == "yxn"


@pytest.mark.parametrize(
    ("asked", "message"), [("auto", "expected 7 frames for as many"), ("nyx", r"frames along axis 0 \(nyx\)")]
)
def test_no_axis_that_fits_is_refused(asked: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        judge_axis_order((8, 10, 8), 7, asked=asked)
    with pytest.raises(DataError, match=r"expected 8 frames along axis 2 \(yxn\).*got shape \(8, 10, 9\)"):
        judge_axis_order((8, 10, 9), 8, asked="yxn")


def test_witnesses_are_spread_over_the_scan() -> None:
    frames = np.arange(10.0)[:, None, None]
    assert spread(frames, 4).ravel().tolist() == [0, 3, 6, 9]
    assert len(spread(frames[:3], 4)) == 3
