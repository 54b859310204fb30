"""Whether two scans are the same experiment: what a reader must not change, whatever the format."""

import numpy as np

from foldlight.scan import Scan


def same_experiment(
    found: Scan, expected: Scan, pixels: bool = True, probe: bool = False, atol_px: float = 1e-3
) -> None:
    """Photons, mask and positions from one another are equal; with `pixels` lengths too, with `probe` that."""
    np.testing.assert_array_equal(found.photons[:], expected.photons[:])
    np.testing.assert_array_equal(found.mask, expected.mask)
    moves = [one.positions_px - one.positions_px[0] for one in (found, expected)]
    np.testing.assert_allclose(*moves, atol=atol_px)
    if pixels:
        assert found.geometry is not None
        assert expected.geometry is not None
        np.testing.assert_allclose(found.geometry.pixel_size_m, expected.geometry.pixel_size_m, rtol=1e-6)
    if probe:
        np.testing.assert_allclose(found.probe, expected.probe, atol=1e-5 * np.abs(expected.probe).max())
