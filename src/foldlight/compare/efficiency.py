"""How close an arm comes to what its counts allow: the dose limit of a scan, the error beside it, and the bias in it.

An estimate with bias can be better than the limit of unbiased ones, so an efficiency is read together with the bias
fraction. Source: docs/physics.md, the dose limit.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Complex, Float

from foldlight.compare.align import align
from foldlight.core.errors import DataError, SettingsError
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.optics.limit import DoseLimit, dose_limit, squared_error
from foldlight.optics.prior import prior_of
from foldlight.reconstruct.protocol import Reconstruction, Reconstructor
from foldlight.scan import Scan
from foldlight.simulate.acquire import expose_again

__all__ = [
    "ErrorGauge",
    "bias_fraction",
    "error_gauge",
    "measured_bias",
    "object_error",
    "photons_per_pixel",
    "scan_limit",
    "suited_limit",
]

ErrorGauge = Literal["known", "blind"]
"""What is taken out of an error: what a known probe leaves free, a constant phase; or what an unknown one does."""


def error_gauge(made: Reconstruction, scan: Scan) -> ErrorGauge:
    """Which gauge an arm's error is free of.

    `known` when the arm was made from this scan's counts with this scan's probe; `blind` when it refined the probe, or
    when nobody knows what it was made from.
    """
    same = made.probe.shape == scan.probe.shape and np.array_equal(made.probe, scan.probe)
    return "known" if same and made.data_digest else "blind"


def suited_limit(reconstructions: Sequence[Reconstruction], scan: Scan) -> ErrorGauge:
    """The limit to hold arms against: the blind one only where no arm knew the probe; a flat image does not count.

    An arm that refined the probe among others that did not is held against theirs, which is lower.
    """
    gauges = {error_gauge(made, scan) for made in reconstructions if np.ptp(np.abs(made.object)) > 0}
    return "blind" if gauges == {"blind"} else "known"


def object_error(
    estimate: Complex[np.ndarray, "y x"],
    truth: Complex[np.ndarray, "y x"],
    mask: Bool[np.ndarray, "y x"],
    gauge: ErrorGauge,
) -> float:
    """Mean squared relative error `|estimate / truth - 1|^2` of an object as the dose limit bounds it.

    With a known probe nothing is registered: shift, ramp and scale are known, and getting them wrong is an error. With
    an unknown probe they are not, and the estimate is freed of them first.

    Raises:
        DataError: the truth lets no light through where it should be compared.
    """
    free = estimate if gauge == "known" else align(estimate, truth, mask.astype(np.float64))[0]
    return squared_error(free, truth, mask, "complex", gauge == "known")


def photons_per_pixel(
    truth: Complex[np.ndarray, "y x"], coverage: Float[np.ndarray, "y x"], mask: Bool[np.ndarray, "y x"]
) -> float:
    """Photons through one object pixel, all frames together: the median of `|O|^2 sum_j |P|^2` over the mask."""
    return float(np.median((np.abs(truth.astype(np.complex128)) ** 2 * coverage)[mask]))


def scan_limit(
    scan: Scan, truth: Complex[np.ndarray, "y x"], mask: Bool[np.ndarray, "y x"], gauge: ErrorGauge
) -> DoseLimit:
    """The dose limit of a scan's own probe, positions and valid detector pixels, for an object of unknown amplitude.

    The Bayesian bound's prior is the isotropic spectrum of the true object itself: the most that a prior of this kind
    can know.

    Raises:
        FoldlightError: see `optics.limit.dose_limit`.
    """
    return dose_limit(
        truth,
        scan.probe,
        scan.positions_px,
        mask,
        detector_mask=scan.mask,
        probe_known=gauge == "known",
        prior=prior_of(truth, mask),
    )


def bias_fraction(
    estimates: Sequence[Complex[np.ndarray, "y x"]],
    truth: Complex[np.ndarray, "y x"],
    mask: Bool[np.ndarray, "y x"],
    gauge: ErrorGauge = "known",
) -> float:
    """Share of the squared error that does not change with the noise, from reconstructions of several noise draws.

    With E the mean squared error of k draws and M that of their mean image, the noise is `(E - M) k / (k - 1)`; the
    rest of E is bias. The factor keeps few draws from passing their noise off as bias, so that the fraction can come
    out a little below 0 where there is none.

    Args:
        estimates: objects from two or more exposures of the same object, probe and positions.
        truth: the object they were made from.
        mask: object pixels to score.
        gauge: what is taken out of each error first.

    Raises:
        DataError: fewer than two estimates.
    """
    number = len(estimates)
    if number < 2:
        raise DataError(f"bias fraction: expected estimates of two or more noise draws, got {number}; expose again")
    alike = [_turned(estimate, truth, mask, gauge) for estimate in estimates]
    known = gauge == "known"
    error = float(np.mean([squared_error(image, truth, mask, "complex", known) for image in alike]))
    of_mean = squared_error(np.mean(alike, axis=0), truth, mask, "complex", known)
    return 1 - (error - of_mean) * number / (number - 1) / error if error > 0 else 0.0


def measured_bias(method: Reconstructor, scan: Scan, draws: int = 8, seed: int = 0) -> float:
    """The bias fraction of a method on a simulated scan, which it reconstructs from fresh exposures.

    Args:
        method: trained on other counts, or not at all.
        scan: with its true object.
        draws: exposures; each has noise of its own.
        seed: root seed of the exposures.

    Raises:
        DataError: the scan has no truth.
        SettingsError: fewer than two draws.
    """
    if draws < 2:
        raise SettingsError(f"draws = {draws}: expected 2 or more, or noise can't be told from bias")
    exposures = (expose_again(scan, seed, f"bias {draw}") for draw in range(draws))
    made = [method.reconstruct(exposure) for exposure in exposures]
    gauge: ErrorGauge = "blind" if any(error_gauge(each, scan) == "blind" for each in made) else "known"
    mask = well_lit(coverage_map(scan.probe, scan.positions_px, scan.canvas))
    return bias_fraction([each.object for each in made], np.asarray(scan.truth), mask, gauge)


def _turned(estimate: np.ndarray, truth: np.ndarray, mask: np.ndarray, gauge: ErrorGauge) -> np.ndarray:
    """An estimate in the truth's gauge, so that several can be averaged."""
    if gauge == "blind":
        return align(estimate, truth, mask.astype(np.float64))[0]
    turned: np.ndarray = estimate * np.exp(-1j * np.angle(np.vdot(truth[mask], estimate[mask])))
    return turned
