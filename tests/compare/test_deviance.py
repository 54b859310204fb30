from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import xlogy

from foldlight.compare.deviance import heldout_deviance, misfit, radial_mean
from foldlight.core.errors import DataError, SettingsError
from foldlight.frames import Frames
from foldlight.optics.forward import expected_photons, place_probe
from foldlight.optics.patches import gather


def test_the_truth_is_close_to_one_where_counts_are_dense(reconstruction, scan, truth):
    bright = scan.photons.stored.mean(axis=0) > 20
    found = misfit(reconstruction("truth", truth), scan).pixels
    assert found[bright].mean() == pytest.approx(1, abs=0.05)


def test_the_truth_beats_everything_else(reconstruction, held, truth, other):
    best = heldout_deviance(reconstruction("truth", truth), held, 0.5)
    assert best < heldout_deviance(reconstruction("other", other), held, 0.5)
    assert best < heldout_deviance(reconstruction("flat", np.full_like(truth, truth.mean())), held, 0.5)


def test_the_exposure_ratio_has_a_minimum_where_it_is_right(reconstruction, held, truth):
    made = reconstruction("truth", truth)
    right = heldout_deviance(made, held, 0.5)
    assert right < heldout_deviance(made, held, 0.45)
    assert right < heldout_deviance(made, held, 0.55)


def test_it_is_the_formula_in_any_blocks(reconstruction, held, other):
    made = reconstruction("other", other)
    masked = replace(held, mask=np.arange(24) > np.zeros((32, 1)) + 2)
    places = torch.from_numpy(made.positions_px)[None]
    patches = gather(torch.from_numpy(made.object)[None], places, held.window)
    probes = place_probe(torch.from_numpy(made.probe), places)
    expected = 0.5 * expected_photons(probes, patches)[0].numpy().astype(np.float64)
    counts = held.photons[:].astype(np.float64)
    terms = 2 * (xlogy(counts, counts / expected) - (counts - expected))
    assert heldout_deviance(made, masked, 0.5, block=7) == pytest.approx(terms[:, masked.mask].mean(), rel=1e-4)
    found = misfit(made, masked, 0.5, block=7)
    assert np.allclose(found.frames, terms[:, masked.mask].mean(axis=1), rtol=1e-3)
    assert np.allclose(found.pixels, terms.mean(axis=0), rtol=1e-3, atol=1e-5)  # where the model expects none
    assert np.array_equal(found.rings, radial_mean(found.pixels, masked.mask), equal_nan=True)


def test_refined_positions_may_leave_the_canvas(reconstruction, held, truth):
    made = reconstruction("moved", truth)
    shift = np.array([-40.0, 31.5])
    moved = replace(made, positions_px=made.positions_px + shift)
    assert np.isfinite(heldout_deviance(moved, held, 0.5))


def test_too_smooth_an_object_misfits_at_high_angles(reconstruction, scan, truth):
    kept = np.hypot(np.fft.fftfreq(96)[:, None], np.fft.fftfreq(112)) < 0.1  # cycles/px: 3 px on a 32 px detector
    blurred = np.fft.ifft2(np.fft.fft2(truth) * kept)
    sharp = misfit(reconstruction("sharp", truth), scan).rings
    excess = misfit(reconstruction("blurred", blurred), scan).rings / sharp
    assert excess[6] > 2 * excess[0]


def test_a_spoiled_frame_shows(reconstruction, scan, truth):
    stored = scan.photons.stored.copy()
    stored[17] = np.roll(stored[17], 5, axis=0)
    found = misfit(reconstruction("truth", truth), replace(scan, photons=Frames(stored)))
    assert int(found.frames.argmax()) == 17
    assert found.mean == pytest.approx(found.frames.mean(), rel=1e-6)


class TestRefused:
    def test_another_number_of_frames(self, reconstruction, held, truth):
        fewer = held.select(np.arange(10))
        with pytest.raises(DataError, match=r"of its \d+ frames, got 10 held-out frames; split counts, not frames"):
            heldout_deviance(reconstruction("truth", truth), fewer, 0.5)

    def test_another_window(self, reconstruction, held, truth):
        smaller = replace(
            held, photons=Frames(held.photons.stored[:, :24]), probe=held.probe[:, :24], mask=held.mask[:24]
        )
        with pytest.raises(DataError, match=r"held-out frames of the probe's \(32, 24\) px, got \(24, 24\)"):
            heldout_deviance(reconstruction("truth", truth), smaller, 0.5)

    @pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), float("inf")])
    def test_an_exposure_that_is_none(self, reconstruction, held, truth, ratio):
        with pytest.raises(SettingsError, match=r"exposure_ratio = .*: expected held-out over fitted exposure"):
            heldout_deviance(reconstruction("truth", truth), held, ratio)


def test_radial_mean_groups_pixels_by_whole_distance_and_skips_masked_ones():
    values = np.zeros((8, 12))
    values[4, 6], values[3, 6], values[4, 7] = 5.0, 2.0, 100.0
    mask = np.ones((8, 12), dtype=bool)
    mask[4, 7] = False
    found = radial_mean(values, mask)
    assert found[0] == 5
    assert found[1] == pytest.approx(2 / 7)  # eight neighbours round to a distance of 1, one of them masked
