"""What a probe can't tell apart: the twins are exact, and the classes are those of theory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.frames import composed, turn
from foldlight.optics.probes import aberrated, disc, zone_plate
from foldlight.orient.symmetry import READINGS, TWINS, Reading, asymmetry, between, classes, halfway, likeness
from foldlight.simulate.acquire import expected_frames

SIDE, CANVAS = 16, 48
readings = st.sampled_from(READINGS)
twins = st.sampled_from(TWINS)


def lopsided(seed: int = 0, modes: int = 2, side: int = SIDE) -> np.ndarray:
    """A probe that is like none of its twins, dark on the first row and column, which turns leave where they are."""
    draw = np.random.default_rng(seed)
    probe = draw.normal(size=(modes, side, side)) + 1j * draw.normal(size=(modes, side, side))
    probe[:, 0] = probe[:, :, 0] = 0
    return probe.astype(np.complex64)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: f"{twin.turned}-{twin.conjugated}")
def test_a_twin_with_its_probe_and_object_makes_the_same_photons(twin):
    draw = np.random.default_rng(1)
    probe = lopsided()
    image = (draw.normal(size=(CANVAS, CANVAS)) + 1j * draw.normal(size=(CANVAS, CANVAS))).astype(np.complex64)
    positions = draw.integers(12, 36, (5, 2)).astype(np.float64)
    frames = np.concatenate(expected_frames(image, probe, positions))

    reading = twin.of(Reading())
    centred = positions - CANVAS // 2
    centred = centred[:, ::-1] if reading.swapped else centred
    turned_positions = (-centred if reading.negated else centred) + CANVAS // 2
    turned_image = turn(image, twin.turned)
    turned_image = turned_image.conj() if twin.conjugated else turned_image
    made = np.concatenate(expected_frames(turned_image, twin.probe(probe), turned_positions))
    assert np.allclose(made, turn(frames, reading.orientation), rtol=1e-4, atol=1e-4 * frames.max())


def test_all_readings_are_there_once_the_least_change_first():
    assert len(set(READINGS)) == len(READINGS) == 32
    assert READINGS[0] == Reading()
    assert READINGS[0].words == "frames as_stored, positions as read"
    changes = [reading.changes for reading in READINGS]
    assert changes == sorted(changes)
    assert Reading("flip_x", True, True).words == "frames flip_x, positions swapped and negated"


@given(readings, readings)
def test_readings_are_twins_where_frames_lie_to_positions_alike(one, other):
    assert (between(one, other) is not None or one == other) == (one.relation == other.relation)


@given(readings, twins)
def test_a_twin_of_a_twin_is_the_reading_itself(reading, twin):
    assert twin.of(reading) != reading
    assert twin.of(twin.of(reading)) == reading
    assert between(reading, twin.of(reading)) == twin
    assert twin.words


@given(readings)
def test_turns_of_positions_are_their_own_inverse(reading):
    assert composed(reading.positions, reading.positions) == "as_stored"


@pytest.mark.parametrize(
    ("probe", "number", "members"),
    [
        (disc((32, 32), 14.0), 4, 8),
        (zone_plate((32, 32), 14.0), 8, 4),
        (aberrated((32, 32), 14.0, np.random.default_rng(2), strength=0.1), 32, 1),
    ],
    ids=["flat", "curved", "aberrated"],
)
def test_classes_follow_from_the_probe(probe, number, members):
    found = classes(probe, READINGS, same=0.02)
    assert [len(group) for group in found] == [members] * number
    assert sorted(reading.words for group in found for reading in group) == sorted(each.words for each in READINGS)
    assert found[0][0] == Reading()


def test_frames_that_are_not_square_have_no_transposed_twins():
    probe = np.ones((1, 12, 16), dtype=np.complex64)
    upright = tuple(reading for reading in READINGS if reading.relation in ("as_stored", "flip_x", "flip_y"))
    for group in classes(probe, upright, same=0.02):
        assert len({reading.swapped for reading in group}) == 1


@given(st.integers(-2, 2), st.integers(-2, 2), st.integers(-2, 2), st.floats(0, 6))
@settings(max_examples=15, deadline=None)
def test_place_tilt_and_phase_make_no_difference(down, right, tilt, phase):
    probe = aberrated((32, 32), 12.0, np.random.default_rng(3), strength=0.05)
    ramp = np.exp(2j * np.pi * tilt * np.arange(32) / 32 + 1j * phase)
    moved = np.roll(probe, (down, right), (1, 2)) * ramp
    assert likeness(probe, moved) == pytest.approx(1, abs=1e-4)
    assert asymmetry(moved, TWINS[0]) == pytest.approx(asymmetry(probe, TWINS[0]), abs=0.02)


def test_light_divided_otherwise_among_modes_is_the_same_light():
    probe = lopsided()
    half = np.sqrt(np.float32(0.5))
    mixed = np.stack([half * (probe[0] + probe[1]), half * (probe[0] - probe[1])])
    assert likeness(probe, mixed) == pytest.approx(1, abs=1e-5)
    assert likeness(probe, lopsided(seed=1)) < 0.3


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: f"{twin.turned}-{twin.conjugated}")
def test_halfway_a_probe_is_as_like_itself_as_its_twin_and_as_bright(twin):
    probe = aberrated((32, 32), 12.0, np.random.default_rng(4), strength=0.03)
    between_them, other = halfway(probe, twin), twin.probe(probe)
    assert likeness(between_them, probe) == pytest.approx(likeness(between_them, other), abs=0.01)
    assert likeness(between_them, probe) > likeness(probe, other) + 0.01
    assert np.sum(np.abs(between_them) ** 2) == pytest.approx(np.sum(np.abs(probe) ** 2), rel=1e-4)
    assert between_them.dtype == np.complex64
