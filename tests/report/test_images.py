"""Images as a page stores them: near to the truth after eight bits, on one scale, NaN where nothing was scored."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from foldlight.compare.files import Objects, read_objects
from foldlight.report.images import (
    TRUTH,
    Polar,
    colour_table,
    decode,
    encode,
    error_limits,
    error_scale,
    polar,
    reduction,
    shared_scales,
    stored,
    wrapped,
)


@pytest.fixture(scope="module")
def objects(one) -> Objects:
    return read_objects(one / "reconstructions.npz")


def test_what_is_stored_is_near_to_what_was_there(objects):
    images = polar(objects)
    scales = shared_scales([images[TRUTH]])
    codes = encode(images[TRUTH], scales)
    for place, (name, values) in enumerate((("amplitude", images[TRUTH].amplitude), ("phase", images[TRUTH].phase))):
        scale, back = scales[name], decode(codes[place], scales[name])
        inside = (values >= scale.stored[0]) & (values <= scale.stored[1])
        step = (scale.stored[1] - scale.stored[0]) / 254
        assert np.abs(back - values)[inside].max() <= 0.5 * step * (1 + 1e-6)
        assert np.array_equal(np.isnan(back), np.isnan(values))
        assert scale.stored[0] <= scale.low < scale.high <= scale.stored[1]


def test_images_are_cut_to_the_scored_box_and_keep_the_amplitude(objects):
    amplitude = polar(objects)[TRUTH].amplitude
    rows, columns = (np.flatnonzero(objects.mask.any(axis=side)) for side in (1, 0))
    assert amplitude.shape == (np.ptp(rows) + 1, np.ptp(columns) + 1)
    assert np.nanmax(amplitude) == pytest.approx(np.abs(objects.truth)[objects.mask].max())


def test_phases_do_not_know_of_a_turn_of_all(objects):
    turned = replace(
        objects,
        arms={arm: image * np.exp(2.5j) for arm, image in objects.arms.items()},
        truth=objects.truth * np.exp(2.5j),
    )
    for name, image in polar(objects).items():
        assert np.nanmax(np.abs(wrapped(polar(turned)[name].phase - image.phase))) < 1e-4


def test_a_reduced_image_is_the_mean_of_blocks(objects):
    flat = replace(objects, truth=np.full_like(objects.truth, 0.5))
    whole, reduced = polar(flat)[TRUTH].amplitude, polar(flat, step=3)[TRUTH].amplitude
    assert reduced.shape == tuple(side // 3 for side in whole.shape)
    assert np.nanmax(reduced) == pytest.approx(0.5)


@pytest.mark.parametrize(("number", "step"), [(1, 1), (10, 1), (100, 4)])
def test_many_or_large_images_are_reduced(number, step):
    assert reduction([(number, 1000, 1000)]) == step


def test_a_phase_that_wraps_gets_a_cyclic_scale():
    phase = np.random.default_rng(3).uniform(-np.pi, np.pi, (8, 9))
    scale = shared_scales([Polar(np.ones((8, 9)), phase)])["phase"]
    assert scale.cyclic
    assert (scale.low, scale.high) == (-np.pi, np.pi)


def test_errors_are_shown_around_zero_and_wrapped(objects):
    images = polar(objects)
    scale = error_scale(shared_scales([images[TRUTH]])["phase"], error_limits(images)["phase"])
    assert scale.low == -scale.high
    assert wrapped(np.array([3.5, -3.5, np.pi])) == pytest.approx([3.5 - 2 * np.pi, 2 * np.pi - 3.5, np.pi])
    assert error_limits({"Network": images[TRUTH]}) == {}


def test_a_stored_image_is_a_grey_png_of_both(objects):
    image = polar(objects)[TRUTH]
    codes = encode(image, shared_scales([image]))
    head, _, body = stored(codes).partition(",")
    assert head == "data:image/png;base64"
    read = Image.open(io.BytesIO(base64.b64decode(body)))
    assert read.mode == "L"
    assert np.array_equal(np.asarray(read).reshape(codes.shape), codes)


def test_a_colour_table_has_256_colours():
    assert len(colour_table("viridis")) == 256 * 6
    assert colour_table("viridis").startswith("440154")
