"""The unrolled network: laws that hold whatever its weights, on rectangular frames under complex, odd probes."""

import cmath
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from foldlight.networks.canvas import ResidualUNet
from foldlight.networks.channels import as_channels, as_complex, bounded
from foldlight.networks.generators import build
from foldlight.networks.settings import NetworkSettings
from foldlight.networks.unrolled import UnrolledNetwork, _parts
from foldlight.optics.forward import expected_photons, illumination, place_probe
from foldlight.optics.likelihood import amplitude_error
from foldlight.optics.patches import gather, scatter

WINDOW = (16, 24)
REACH_PX = 14  # of a U-Net of one level: what lies further away does not enter a pixel
SMALL = {"width": 8, "levels": 1, "consistency_steps": 2}


@dataclass(frozen=True)
class Scene:
    """What a network is given."""

    photons: Tensor
    positions_px: Tensor
    probes: Tensor
    mask: Tensor
    canvas: tuple[int, int]

    def by(self, network: UnrolledNetwork) -> Tensor:
        with torch.inference_mode():
            return network(self.photons, self.positions_px, self.probes, self.mask, self.canvas)

    @property
    def light(self) -> Tensor:
        return scatter(illumination(self.probes), self.positions_px, self.canvas)


def probe(window: tuple[int, int], modes: int, photons: float) -> Tensor:
    """A curved spot off the centre, and a weaker, odd mode."""
    y, x = np.mgrid[: window[0], : window[1]] - np.array(window)[:, None, None] / 2
    spot = np.exp(-((y - 1) ** 2) / 12 - (x + 1) ** 2 / 20 + 1j * (0.08 * y**2 + 0.05 * x * y))
    stack = np.stack([spot, 0.1 * (x - 1) * spot])[:modes]
    return torch.from_numpy((stack * np.sqrt(photons / np.sum(np.abs(stack) ** 2))).astype(np.complex64))


def scene(
    groups: int = 2,
    n: int = 7,
    margin: int = 0,
    window: tuple[int, int] = WINDOW,
    modes: int = 2,
    photons: float = 1e3,
) -> Scene:
    """Poisson counts of frames whose windows keep `margin` px from the canvas's edge; no mask.

    Few photons, as many make rounding grow from step to step: the direction of a wave that should be bright and is all
    but dark is chance. With 30 times as many, two steps end at 1e-3 where these end at 3e-6.
    """
    rng = np.random.default_rng(5)
    low = np.array(window) // 2 + margin
    high = low + np.array([9, 13])
    canvas = tuple((high + low + 1).tolist())
    positions = torch.from_numpy(rng.uniform(low, high, (groups, n, 2)))
    image = 1 + 0.3 * (rng.standard_normal((groups, *canvas)) + 1j * rng.standard_normal((groups, *canvas)))
    probes = place_probe(probe(window, modes, photons), positions)
    patches = gather(torch.from_numpy(image.astype(np.complex64)), positions, window)
    counts = rng.poisson(expected_photons(probes, patches).numpy())
    mask = torch.ones(window, dtype=torch.bool)
    return Scene(torch.from_numpy(counts.astype(np.float32)), positions, probes, mask, canvas)


def bad_pixels(window: tuple[int, int] = WINDOW) -> Tensor:
    """A beamstop off the centre, and a dead line."""
    mask = torch.ones(window, dtype=torch.bool)
    mask[6:9, 10:15] = False
    mask[:, 3] = False
    return mask


def network(size: float = 0.1, **changes) -> UnrolledNetwork:
    """A network with noise on every weight, as some layers start at zero; `size` 0 leaves it untrained."""
    made = build(NetworkSettings(**{**SMALL, **changes}), WINDOW, seed=1)
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn(weight.shape, generator=noise), alpha=size)
    return made.eval()


def close(found: Tensor, expected: Tensor, atol: float = 2e-5) -> bool:
    """Equal but for rounding; measured below 3e-6."""
    return torch.allclose(found, expected, rtol=0, atol=atol)


class TestWhatItStartsFrom:
    """Untrained it is physics alone: it keeps a flat object flat, and moves any other towards its photons."""

    @pytest.mark.parametrize("transmission", [1.0, 0.6, 0.02])
    def test_frames_of_a_flat_object_give_it_back(self, transmission):
        given = scene()
        flat = torch.full((2, *given.canvas), transmission, dtype=torch.complex64)
        photons = expected_photons(given.probes, gather(flat, given.positions_px, WINDOW))
        for mask in (given.mask, bad_pixels()):
            assert close(replace(given, photons=photons, mask=mask).by(network(0)), flat, 1e-3 * transmission)

    def test_every_step_explains_the_photons_better(self):
        given = scene(photons=3e4)
        misfits = []
        for steps in (0, 1, 2, 4):
            image = given.by(network(0, consistency_steps=steps))
            expected = expected_photons(given.probes, gather(image, given.positions_px, WINDOW))
            misfits.append(float(amplitude_error(expected, given.photons, given.mask)))
        assert misfits == sorted(misfits, reverse=True)
        assert misfits[-1] < 0.2 * misfits[0]  # measured 0.12

    def test_without_light_the_object_is_flat(self):
        given = scene()
        dark = replace(given, photons=torch.zeros_like(given.photons))
        unlit = replace(dark, probes=torch.zeros_like(given.probes))
        assert close(unlit.by(network(0)), torch.ones(2, *given.canvas, dtype=torch.complex64))
        for empty in (dark, unlit):
            assert torch.isfinite(torch.view_as_real(empty.by(network()))).all()


class TestGauge:
    """What the photons can't tell is handed over from what is given, to rounding."""

    @pytest.mark.parametrize("power", [0.25, 4.0, 1024.0])
    def test_a_brighter_probe_means_a_darker_object_exactly(self, power):
        given = scene()
        brighter = replace(given, probes=given.probes * power)
        assert torch.equal(brighter.by(network()) * power, given.by(network()))

    def test_the_probes_constant_phase_is_nothing(self):
        given = scene()
        assert close(replace(given, probes=given.probes * cmath.exp(2j)).by(network()), given.by(network()))

    @pytest.mark.parametrize("moved", [(0, 6), (4, 0), (8, 2)])
    def test_a_moved_scan_moves_its_object_where_no_edge_is_near(self, moved):
        """By the U-Net's stride, or multiples of it: what its layers see between two strides differs."""
        margin = 2 * REACH_PX
        given, model = scene(margin=margin), network()
        canvas = tuple(size + shift for size, shift in zip(given.canvas, moved, strict=True))
        other = replace(given, positions_px=given.positions_px + torch.tensor(moved), canvas=canvas)
        inner = tuple(slice(margin, size - margin) for size in given.canvas)
        there = tuple(slice(part.start + shift, part.stop + shift) for part, shift in zip(inner, moved, strict=True))
        assert close(other.by(model)[:, *there], given.by(model)[:, *inner])

    def test_more_canvas_changes_nothing_where_no_edge_is_near(self):
        margin = 2 * REACH_PX
        given, model = scene(margin=margin), network()
        larger = replace(given, canvas=(given.canvas[0] + 7, given.canvas[1] + 12))
        inner = tuple(slice(margin, size - margin) for size in given.canvas)
        found, expected = larger.by(model), given.by(model)
        assert found.shape == (2, *larger.canvas)
        assert close(found[:, *inner], expected[:, *inner])

    def test_near_an_edge_the_canvas_matters_a_little(self):
        """So a canvas is part of what a result depends on: callers keep it the same for the same frames."""
        given, model = scene(), network()
        larger = replace(given, canvas=(given.canvas[0] + 8, given.canvas[1] + 8))
        found = larger.by(model)[:, : given.canvas[0], : given.canvas[1]]
        assert not close(found, given.by(model))


class TestWhoElseIsThere:
    """Groups are apart, dark modes are none, and what a bad pixel counted is nowhere."""

    def test_groups_do_not_see_each_other(self):
        given, model = scene(groups=3), network()
        whole = given.by(model)
        order = [2, 0, 1]
        turned = replace(
            given, photons=given.photons[order], positions_px=given.positions_px[order], probes=given.probes[order]
        )
        assert close(turned.by(model), whole[order])
        alone = replace(
            given, photons=given.photons[1:2], positions_px=given.positions_px[1:2], probes=given.probes[1:2]
        )
        assert close(alone.by(model), whole[1:2])

    def test_a_dark_mode_is_none(self):
        given, model = scene(modes=1), network()
        dark = torch.cat([given.probes, torch.zeros_like(given.probes)], dim=2)
        assert close(replace(given, probes=dark).by(model), given.by(model))

    def test_the_order_of_modes_is_nothing(self):
        given, model = scene(modes=2), network()
        assert close(replace(given, probes=given.probes.flip(2)).by(model), given.by(model))

    @pytest.mark.parametrize("value", [0.0, 7.0, 1e9, -1.0])
    def test_what_bad_pixels_counted_changes_nothing(self, value):
        given, model = replace(scene(), mask=bad_pixels()), network()
        spoilt = torch.where(given.mask, given.photons, value)
        assert torch.equal(replace(given, photons=spoilt).by(model), given.by(model))
        assert not torch.equal(replace(given, mask=torch.ones_like(given.mask)).by(model), given.by(model))

    def test_every_group_may_have_a_mask_of_its_own(self):
        given, model = scene(groups=3), network()
        masks = torch.stack([bad_pixels(), given.mask, bad_pixels().flip(0)])[:, None]
        together = replace(given, mask=masks).by(model)
        for group in range(3):
            one = slice(group, group + 1)
            alone = Scene(given.photons[one], given.positions_px[one], given.probes[one], masks[group, 0], given.canvas)
            assert close(together[one], alone.by(model))

    @pytest.mark.parametrize("n", [1, 2, 3, 5])
    def test_any_number_of_frames_makes_an_object(self, n):
        given = scene(n=n)
        found = given.by(network())
        assert found.shape == (2, *given.canvas)
        assert found.dtype == torch.complex64
        assert torch.isfinite(torch.view_as_real(found)).all()


@pytest.mark.parametrize("n", [1, 3, 4, 5, 48, 100])
def test_subsets_hold_each_frame_once_and_are_alike(n):
    parts = _parts(n, torch.device("cpu"))
    assert sorted(torch.cat(parts).tolist()) == list(range(n))
    lengths = [len(part) for part in parts]
    assert len(parts) == min(4, n)
    assert max(lengths) - min(lengths) <= 1


def test_blocks_of_frames_change_nothing_but_rounding(monkeypatch):
    given, model = scene(), network()
    whole = given.by(model)
    monkeypatch.setattr("foldlight.networks.unrolled._BLOCK_PIXELS", 1)
    assert close(given.by(model), whole)


@pytest.mark.parametrize(("window", "n"), [((64, 64), 2), ((128, 96), 2), ((256, 256), 1)])
def test_the_same_weights_serve_any_window(window, n):
    """And any canvas, though the U-Net halves it: no size is a multiple of anything here."""
    given = scene(groups=1, n=n, window=window, modes=1)
    given = replace(given, canvas=(given.canvas[0] + 1, given.canvas[1] + 2))
    found = given.by(network(levels=3, consistency_steps=1))
    assert found.shape == (1, *given.canvas)
    assert torch.isfinite(torch.view_as_real(found)).all()


def test_every_weight_gets_a_finite_gradient_even_where_no_photon_fell():
    given = scene()
    faint = replace(given, photons=torch.where(given.photons > 20, 1.0, 0.0), mask=bad_pixels())
    model = build(NetworkSettings(**SMALL), WINDOW, seed=1)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(4):  # layers that start at zero pass gradients on once they have moved
        optimiser.zero_grad()
        found = model(faint.photons, faint.positions_px, faint.probes, faint.mask, faint.canvas)
        (found - 0.5).abs().square().mean().backward()
        optimiser.step()
    unused = {"unets.1.tail"}  # of the last U-Net the memory is for nobody
    for name, weight in model.named_parameters():
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().max() > 0, name
        if name.rpartition(".")[0] in unused:
            assert weight.grad[2:].abs().max() == 0


def test_weights_follow_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build(NetworkSettings(**SMALL), WINDOW, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("width", [4, 5, 11, 16])
@pytest.mark.parametrize("levels", [1, 3])
def test_a_residual_unet_starts_by_changing_nothing_at_any_width(width, levels):
    unet = ResidualUNet(3, 2, width, levels)
    assert all(weight.numel() for weight in unet.parameters())
    assert torch.equal(unet(torch.randn(2, 3, 16, 24)), torch.zeros(2, 2, 16, 24))


def test_sizes_are_named_sets_of_numbers_that_can_be_given_apart():
    base, tiny = NetworkSettings(), NetworkSettings(size="tiny")
    assert (tiny.width, tiny.levels, tiny.consistency_steps) == (8, 3, 3)
    assert (base.width, base.consistency_steps) == (16, 5)
    assert NetworkSettings(size="tiny", width=16, consistency_steps=5).plain() == base.plain()
    assert NetworkSettings.parse(tiny.plain()).plain() == tiny.plain()


def test_channels_are_real_and_imaginary_parts_and_back():
    image = torch.complex(torch.randn(2, 3, 4), torch.randn(2, 3, 4))
    assert torch.equal(as_complex(as_channels(image)), image)
    assert torch.equal(as_channels(image)[:, 1], image.imag)


def test_changes_keep_their_direction_below_a_bound_and_small_ones_their_size():
    image = torch.complex(torch.randn(2, 3, 4), torch.randn(2, 3, 4))
    large = bounded(1e4 * image)
    assert large.abs().max() <= 3 * (1 + 1e-6)
    assert torch.allclose(large.angle(), image.angle(), atol=1e-5)
    assert torch.allclose(bounded(1e-2 * image), 1e-2 * image, rtol=1e-3)
