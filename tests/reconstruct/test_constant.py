import numpy as np
import pytest

from foldlight.core.errors import DataError
from foldlight.frames import Frames
from foldlight.optics.flat import flat_amplitude
from foldlight.reconstruct.constant import ConstantReconstructor
from foldlight.scan import Scan

WINDOW = (12, 16)
CANVAS = (30, 41)


@pytest.fixture
def scan() -> Scan:
    """Frames of a uniform object of amplitude 0.7 and phase 1.1 under a complex, asymmetric, two-mode probe."""
    rng = np.random.default_rng(3)
    probe = (rng.normal(size=(2, *WINDOW)) + 1j * rng.normal(size=(2, *WINDOW))).astype(np.complex64)
    wave = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe, axes=(1, 2)), norm="ortho"), axes=(1, 2))
    frame = 0.49 * (np.abs(wave) ** 2).sum(axis=0)
    positions = np.array([[6.0, 8.0], [10.3, 20.6], [24.0, 33.0]])
    return Scan(Frames(np.repeat(frame[None], 3, axis=0)), positions, probe, CANVAS)


def test_amplitude_of_a_uniform_object_is_recovered(scan):
    assert flat_amplitude(scan) == pytest.approx(0.7, rel=1e-6)


def test_masked_pixels_do_not_count(scan):
    mask = np.ones(WINDOW, dtype=bool)
    mask[3:5, 2:9] = False
    spoiled = np.where(mask, scan.photons.stored, 1e9)
    masked = Scan(Frames(spoiled), scan.positions_px, scan.probe, CANVAS, mask=mask)
    assert flat_amplitude(masked) == pytest.approx(0.7, rel=1e-6)


def test_reconstruction_is_flat_real_and_accounted_for(scan):
    result = ConstantReconstructor().reconstruct(scan)
    assert result.arm == "Constant"
    assert result.object.shape == CANVAS
    assert result.object.dtype == np.complex64
    np.testing.assert_allclose(result.object, 0.7, rtol=1e-5)
    assert result.coverage.sum() == pytest.approx(3 * np.sum(np.abs(scan.probe) ** 2), rel=1e-2)
    assert result.ledger.n_frames == 3
    assert result.ledger.photons == pytest.approx(scan.photons.stored.sum(), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_frames_without_usable_photons_are_refused(scan, value):
    empty = Scan(Frames(np.full_like(scan.photons.stored, value)), scan.positions_px, scan.probe, CANVAS)
    with pytest.raises(DataError, match=r"expected photons and probe light on the valid detector pixels, got .* check"):
        flat_amplitude(empty)
