"""Laws of the operators, on rectangles, with complex asymmetric fields."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from scipy.ndimage import gaussian_filter

from foldlight.optics.coverage import coverage_map
from foldlight.optics.forward import expected_frames, expected_photons, illumination, lift, place_probe
from foldlight.optics.fourier import fourier, inverse_fourier, shift
from foldlight.optics.patches import add_windows, gather, scatter

WINDOW = (12, 18)
CANVAS = (40, 50)
sizes = st.sampled_from([(8, 8), (9, 12), (12, 7), (16, 10)])
seeds = st.integers(0, 2**31)
laws = settings(max_examples=25, deadline=None)


def field(seed: int, *shape: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


def places(seed: int, n: int, whole: bool = False) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    low = np.array(WINDOW) // 2 + 1
    high = np.array(CANVAS) - np.array(WINDOW) + np.array(WINDOW) // 2 - 1
    found = rng.uniform(low, high, (1, n, 2))
    return torch.from_numpy(np.rint(found) if whole else found)


def inner(a: torch.Tensor, b: torch.Tensor) -> complex:
    return complex(torch.sum(a.conj() * b))


@laws
@given(seeds, sizes)
def test_fourier_is_unitary_and_inverse_is_its_adjoint(seed, size):
    a, b = field(seed, *size), field(seed + 1, *size)
    assert torch.allclose(inverse_fourier(fourier(a)), a)
    assert np.isclose(inner(fourier(a), b), inner(a, inverse_fourier(b)))
    assert np.isclose(torch.linalg.norm(fourier(a)), torch.linalg.norm(a))


def test_fourier_agrees_with_the_defining_sum():
    """Zero frequency and zero position sit at N // 2, also where N is odd."""
    image = field(3, 6, 9)
    y, x = np.arange(6) - 3, np.arange(9) - 4
    kernel_y = np.exp(-2j * np.pi * np.outer(y, y) / 6) / np.sqrt(6)
    kernel_x = np.exp(-2j * np.pi * np.outer(x, x) / 9) / np.sqrt(9)
    assert np.allclose(fourier(image).numpy(), kernel_y @ image.numpy() @ kernel_x.T)


@laws
@given(seeds, sizes, st.floats(-3, 3), st.floats(-3, 3))
def test_shift_is_unitary_with_the_opposite_shift_as_adjoint(seed, size, dy, dx):
    a, b = field(seed, *size), field(seed + 1, *size)
    move = torch.tensor([dy, dx], dtype=torch.float64)
    assert np.isclose(inner(shift(a, move), b), inner(a, shift(b, -move)))
    assert torch.allclose(shift(shift(a, move), -move), a)


def test_shift_by_whole_pixels_rolls_towards_larger_coordinates():
    image = field(5, 8, 10)
    moved = shift(image, torch.tensor([2.0, -3.0], dtype=torch.float64))
    assert torch.allclose(moved, torch.roll(image, (2, -3), dims=(0, 1)))


@laws
@given(seeds, st.integers(1, 4), st.booleans())
def test_gather_and_scatter_are_adjoint(seed, n, whole):
    position = places(seed, n, whole)
    image, patches = field(seed, 1, *CANVAS), field(seed + 1, 1, n, *WINDOW)
    assert np.isclose(inner(gather(image, position, WINDOW), patches), inner(image, scatter(patches, position, CANVAS)))


@laws
@given(seeds)
def test_gather_is_linear(seed):
    position = places(seed, 3)
    a, b = field(seed, 1, *CANVAS), field(seed + 1, 1, *CANVAS)
    both = gather(2j * a + b, position, WINDOW)
    assert torch.allclose(both, 2j * gather(a, position, WINDOW) + gather(b, position, WINDOW))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_gather_and_scatter_keep_the_dtype(dtype):
    position = places(1, 2)
    patches = gather(field(0, 1, *CANVAS).to(dtype), position, WINDOW)
    assert patches.dtype == dtype
    assert scatter(patches, position, CANVAS).dtype == dtype


def test_position_names_the_coordinate_under_the_centre_pixel():
    image = torch.zeros(1, *CANVAS, dtype=torch.complex128)
    image[0, 20, 31] = 1j
    patch = gather(image, torch.tensor([[[20.0, 31.0]]], dtype=torch.float64), WINDOW)[0, 0]
    assert torch.argmax(patch.abs()) == (WINDOW[0] // 2) * WINDOW[1] + WINDOW[1] // 2


def test_groups_look_at_their_own_canvas():
    images = torch.cat([field(0, 1, *CANVAS), field(1, 1, *CANVAS)])
    position = torch.cat([places(2, 3), places(3, 3)])
    both = gather(images, position, WINDOW)
    for group in range(2):
        alone = gather(images[group : group + 1], position[group : group + 1], WINDOW)
        assert torch.allclose(both[group], alone[0])


@laws
@given(seeds, st.integers(1, 4))
def test_the_sub_pixel_pair_is_adjoint(seed, n):
    """Object to exit waves at sub-pixel positions, and back: `scatter(P_j* psi_j)`."""
    position, probe = places(seed, n), field(seed + 2, *WINDOW)[None]
    image, waves = field(seed, 1, *CANVAS), field(seed + 1, 1, n, *WINDOW)
    placed = place_probe(probe, position)[:, :, 0]
    there = placed * gather(image, position, WINDOW)
    back = scatter(placed.conj() * waves, position, CANVAS)
    assert np.isclose(inner(there, waves), inner(image, back))


@laws
@given(seeds, st.floats(-0.49, 0.49), st.floats(-0.49, 0.49))
def test_sub_pixel_frames_are_those_of_the_moved_object(seed, dy, dx):
    """For a band-limited object, moving the probe equals moving the canvas by its own Fourier shift.

    What is left is light that leaves the window on one side and comes back on the other: below 2e-4 here.
    """
    rng = np.random.default_rng(seed)
    texture = gaussian_filter(rng.standard_normal((48, 60)), 2.5, mode="wrap")
    image = torch.from_numpy(np.exp(1j * texture / texture.std()))[None]
    y, x = np.mgrid[-16:16, -20:20]
    probe = torch.from_numpy(np.exp(-((y / 5) ** 2) - (x / 6) ** 2 + 0.02j * y * x))[None]
    place = torch.tensor([[[24.0, 30.0]]], dtype=torch.float64)
    move = torch.tensor([[dy, dx]], dtype=torch.float64)
    frames = expected_frames(image, probe, place + move)
    exact = expected_frames(shift(image, -move), probe, place)
    assert (frames - exact).abs().sum() < 2e-4 * exact.sum()


@laws
@given(seeds, st.integers(-4, 4), st.integers(-4, 4))
def test_moving_object_and_positions_together_changes_nothing(seed, dy, dx):
    """Shift covariance: patches depend on where the beam is on the object, not on where the object is."""
    image = torch.zeros(1, 60, 70, dtype=torch.complex128)
    image[:, 10:50, 10:60] = field(seed, 1, *CANVAS)
    position = places(seed, 3) + 10
    moved = torch.roll(image, (dy, dx), dims=(1, 2))
    step = torch.tensor([dy, dx], dtype=torch.float64)
    assert torch.allclose(gather(image, position, WINDOW), gather(moved, position + step, WINDOW))


@laws
@given(seeds, st.integers(1, 3))
def test_energy_is_conserved_from_exit_wave_to_detector(seed, modes):
    probe, patches = field(seed, modes, *WINDOW), field(seed + 1, 4, *WINDOW)
    expected = expected_photons(probe, patches).sum(dim=(-2, -1))
    behind = (illumination(probe) * patches.abs().square()).sum(dim=(-2, -1))
    assert torch.allclose(expected, behind)


@laws
@given(seeds)
def test_modes_add_as_intensities(seed):
    probe, patches = field(seed, 3, *WINDOW), field(seed + 1, 2, *WINDOW)
    one_by_one = sum(expected_photons(mode[None], patches) for mode in probe)
    assert torch.allclose(expected_photons(probe, patches), one_by_one)


@laws
@given(seeds, st.floats(-3, 3))
def test_intensity_does_not_see_a_global_phase(seed, phase):
    probe, patches = field(seed, 2, *WINDOW), field(seed + 1, 2, *WINDOW)
    assert torch.allclose(expected_photons(probe, patches * np.exp(1j * phase)), expected_photons(probe, patches))


def test_lifting_the_frame_of_an_empty_object_gives_one():
    probe = field(0, 1, *WINDOW)
    frame = expected_photons(probe, torch.ones(1, *WINDOW, dtype=torch.complex128))
    lifted = lift(frame, probe[None], floor=1e-9)
    assert torch.allclose(lifted, torch.ones_like(lifted), atol=1e-5)


def test_annotations_are_checked():
    with pytest.raises(TypeCheckError):
        expected_photons(torch.ones(4, 4, dtype=torch.complex64), torch.ones(2, 4, 5, dtype=torch.complex64))


@laws
@given(seeds, st.integers(1, 3))
def test_adding_in_place_is_scattering_onto_what_is_there(seed, groups):
    positions = torch.cat([places(seed + group, 5) for group in range(groups)])
    there, patches = field(seed, groups, *CANVAS), field(seed + 1, groups, 5, *WINDOW)
    expected = there + scatter(patches, positions, CANVAS)
    add_windows(there, patches, positions)
    assert torch.allclose(there, expected)


def test_coverage_does_not_depend_on_blocks():
    probe, positions = field(1, 2, *WINDOW).to(torch.complex64), places(2, 9)
    whole = scatter(illumination(place_probe(probe, positions)), positions, CANVAS)[0].numpy()
    for block in (1, 4, 9):
        assert np.allclose(coverage_map(probe.numpy(), positions[0].numpy(), CANVAS, block), whole, rtol=1e-5)
