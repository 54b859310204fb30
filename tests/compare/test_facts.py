"""What holds of every metric: which way is better, what the best and the flat image get, and what it is blind to.

One tester drives `compare`, as a user does, so that whatever a metric should not see is taken out where users have it
taken out.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.compare.table import FLAT_ARM, CompareSettings, Row, compare
from foldlight.core.seeds import generator
from foldlight.reconstruct.constant import ConstantReconstructor
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.report.columns import COLUMNS
from foldlight.scan import Scan
from foldlight.simulate.acquire import simulate
from foldlight.simulate.objects import FAMILIES
from foldlight.simulate.settings import SimulationSettings


@dataclass(frozen=True)
class Fact:
    """A metric.

    Attributes:
        better: 1 when more is better, -1 when less is.
        perfect: value of the truth itself; None where it is an empty cell, NaN where rounding decides.
        flat: value of the best flat image; NaN where that depends on the object, None where it is an empty cell.
        free: it does not see scale, ramp and shift.
        tolerance: relative, of its invariance: a shift of noise is interpolated, and thresholds are crossed elsewhere.
    """

    better: int
    perfect: float | None
    flat: float | None
    free: bool = True
    tolerance: float = 0.02


DEPENDS = math.nan
FACTS = {
    "amplitude_mae": Fact(-1, 0, DEPENDS),
    "phase_mae": Fact(-1, 0, DEPENDS),
    "amplitude_psnr": Fact(1, DEPENDS, DEPENDS, tolerance=0.01),
    "phase_psnr": Fact(1, DEPENDS, DEPENDS, tolerance=0.01),
    "amplitude_ssim": Fact(1, 1, DEPENDS),
    "phase_ssim": Fact(1, 1, DEPENDS),
    "amplitude_skill": Fact(1, 1, 0),
    "phase_skill": Fact(1, 1, 0),
    "complex_correlation": Fact(1, 1, 0),
    "phase_correlation": Fact(1, 1, 0),
    "frc_half_nyquist": Fact(1, None, None, tolerance=0.1),
    "frc_half_bit_nyquist": Fact(1, None, None, tolerance=0.1),
    "object_rmse": Fact(-1, 0, DEPENDS, free=False),
    "deviance_fitted": Fact(-1, DEPENDS, DEPENDS, free=False),
    "deviance_heldout": Fact(-1, DEPENDS, DEPENDS, free=False),
}
FREE = [name for name, fact in FACTS.items() if fact.free]
SKILLS = [name for name, fact in FACTS.items() if fact.flat == 0]

Made = Callable[..., Reconstruction]


def noisy(truth: np.ndarray, level: float) -> np.ndarray:
    rng = generator(8, "noise")
    return truth + level * (rng.normal(size=truth.shape) + 1j * rng.normal(size=truth.shape))


def gauged(image: np.ndarray, shift: tuple[float, float], ramp: tuple[float, float], scale: complex) -> np.ndarray:
    turns = np.fft.fftfreq(image.shape[0])[:, None] * shift[0] + np.fft.fftfreq(image.shape[1]) * shift[1]
    moved = np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * turns))
    y, x = np.arange(image.shape[0])[:, None], np.arange(image.shape[1])
    return scale * moved * np.exp(1j * (ramp[0] * y + ramp[1] * x))


@pytest.fixture(scope="module")
def by_level(scan: Scan, held: Scan, truth: np.ndarray, reconstruction: Made) -> list[Row]:
    """The truth, then more and more noise, then the flat image."""
    arms = [reconstruction(f"noise {level}", noisy(truth, level)) for level in (0.0, 0.01, 0.04, 0.16)]
    flat = ConstantReconstructor().reconstruct(scan)
    return list(compare(scan, [*arms, flat], held, 0.5).rows)


@pytest.mark.parametrize("name", FACTS)
class TestEachMetric:
    def test_is_best_for_the_truth(self, by_level, name):
        perfect = FACTS[name].perfect
        found = getattr(by_level[0], name)
        assert found is None if perfect is None else math.isnan(perfect) or found == pytest.approx(perfect, abs=1e-6)

    def test_gets_worse_with_noise(self, by_level, name):
        values = [found for row in by_level[:4] if (found := getattr(row, name)) is not None]
        assert len(values) >= 2
        assert all(FACTS[name].better * (earlier - later) > 0 for earlier, later in itertools.pairwise(values))

    def test_of_the_flat_image_is_what_it_should_be(self, by_level, name):
        flat, found = FACTS[name].flat, getattr(by_level[-1], name)
        assert found is None if flat is None else math.isnan(flat) or abs(found - flat) < 1e-6

    def test_a_table_marks_no_worse_one_as_best(self, name):
        for column in COLUMNS:
            if column.name == name:
                assert column.better in {FACTS[name].better, 0}


class TestBlindToTheGauge:
    """A reconstruction is known up to scale, ramp and shift: a score that followed them would score nothing."""

    @given(
        shift=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
        ramp=st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)),
        size=st.floats(0.3, 3),
        phase=st.floats(-3.1, 3.1),
    )
    @settings(max_examples=6, deadline=None)
    def test_as_compare_scores(self, scan, truth, reconstruction, by_level, shift, ramp, size, phase):
        image = gauged(noisy(truth, 0.04), shift, ramp, size * np.exp(1j * phase))
        found = compare(scan, [reconstruction("Turned", image)]).rows[0]
        for name in FREE:
            value, plain = getattr(found, name), getattr(by_level[2], name)
            assert value == pytest.approx(plain, rel=FACTS[name].tolerance), name

    @given(phase=st.floats(-3.1, 3.1))
    @settings(max_examples=3, deadline=None)
    def test_the_raw_error_is_free_of_a_phase_alone_where_the_probe_was_known(self, scan, truth, reconstruction, phase):
        def error(image: np.ndarray) -> float:
            made = replace(reconstruction("A", image), data_digest=scan.digest())
            return compare(scan, [made]).rows[0].object_rmse

        plain = error(noisy(truth, 0.04))
        assert error(np.exp(1j * phase) * noisy(truth, 0.04)) == pytest.approx(plain, rel=1e-4)
        assert error(1.1 * noisy(truth, 0.04)) > 1.5 * plain
        assert error(gauged(noisy(truth, 0.04), (1.5, 0.0), (0.0, 0.0), 1)) > 1.5 * plain

    def test_the_raw_error_is_free_of_all_of_it_where_the_probe_was_not(self, scan, truth, reconstruction):
        images = noisy(truth, 0.04), gauged(noisy(truth, 0.04), (0.5, -1.2), (0.05, 0.02), 3j)
        made = [reconstruction(name, image) for name, image in zip("AB", images, strict=True)]
        found = compare(scan, made)
        assert set(found.error_gauges.values()) == {"blind"}
        assert found.rows[1].object_rmse == pytest.approx(found.rows[0].object_rmse, rel=0.02)


def family_scan(kind: str, amplitude_min: float = 0.5) -> Scan:
    return simulate(
        SimulationSettings(
            object_kind=kind,
            object_size=96,
            amplitude_min=amplitude_min,
            window=32,
            probe_diameter_px=16.0,
            positions=120,
        )
    )


@pytest.fixture(scope="module", params=[*FAMILIES, "phase-only"])
def rows(request) -> dict[str, Row]:
    scan = family_scan("dead-leaves", 1.0) if request.param == "phase-only" else family_scan(request.param)
    flat = ConstantReconstructor().reconstruct(scan)
    nearly = replace(flat, arm="Nearly", object=(flat.object * noisy(np.ones(scan.canvas), 0.01)).astype(np.complex64))
    return {row.arm: row for row in compare(scan, [flat, nearly]).rows}


class TestFlatImage:
    """The gate: no score counts before the flat image scores near zero on every skill."""

    @pytest.mark.parametrize("name", SKILLS)
    def test_has_no_skill(self, rows, name):
        flat, nearly = getattr(rows[FLAT_ARM], name), getattr(rows["Nearly"], name)
        assert flat is None or abs(flat) < 0.02
        assert nearly is None or nearly < 0.1

    def test_agrees_with_the_truth_at_no_frequency(self, rows):
        assert rows[FLAT_ARM].frc_half_state == "below"
        assert (
            rows["Nearly"].frc_half_nyquist or 0
        ) < 0.15  # the first rings have 8 to 20 samples, so chance may cross

    def test_is_what_a_nearly_flat_one_is_held_against(self, rows):
        assert rows["Nearly"].status == "collapsed"
        assert rows[FLAT_ARM].status == "success"


def test_plain_ssim_gives_a_flat_image_something_where_the_object_is_uniform():
    scan = family_scan("lines")
    row = compare(scan, [ConstantReconstructor().reconstruct(scan)]).rows[0]
    assert row.amplitude_ssim > 0.1
    assert abs(row.amplitude_skill) < 1e-6


def test_settings_have_no_limit_unless_asked():
    assert CompareSettings().limit == "off"
