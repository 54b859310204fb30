from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from foldlight.compare import efficiency
from foldlight.compare.efficiency import bias_fraction, error_gauge, measured_bias, suited_limit
from foldlight.compare.files import read_frc_csv, write_frc_csv
from foldlight.compare.table import CompareSettings, Comparison, compare
from foldlight.core.errors import DataError, SettingsError
from foldlight.core.seeds import generator
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.reconstruct.constant import ConstantReconstructor
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.scan import Scan
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings


@pytest.fixture(scope="module")
def small() -> Scan:
    probe = {"window": 16, "probe_diameter_px": 8.0}
    return simulate(SimulationSettings(object_size=32, positions=60, trajectory="random", dose=2e3, **probe))


def draws(truth: np.ndarray, number: int, noise: float, bias: float) -> list[np.ndarray]:
    """Estimates with noise of their own, relative to the truth, and an error that all share."""
    rng = generator(4, "draws")

    def field_of(level: float) -> np.ndarray:
        return level * (rng.normal(size=truth.shape) + 1j * rng.normal(size=truth.shape)) / np.sqrt(2)

    shared = field_of(bias)
    return [truth * (1 + shared + field_of(noise)) * np.exp(1j * turn) for turn in rng.uniform(-3, 3, number)]


class TestBiasFraction:
    @pytest.mark.parametrize("gauge", ["known", "blind"])
    @pytest.mark.parametrize(("noise", "bias"), [(0.05, 0.0), (0.05, 0.05), (0.0, 0.05), (0.05, 0.02)])
    def test_is_the_share_that_all_draws_have(self, truth, coverage, noise, bias, gauge):
        wanted = bias**2 / (bias**2 + noise**2)
        found = bias_fraction(draws(truth, 4, noise, bias), truth, well_lit(coverage), gauge)
        assert found == pytest.approx(wanted, abs=0.03)

    def test_does_not_depend_on_the_number_of_draws(self, truth, coverage):
        mask = well_lit(coverage)
        few, many = (bias_fraction(draws(truth, number, 0.05, 0.03), truth, mask) for number in (2, 12))
        assert few == pytest.approx(many, abs=0.04)

    def test_needs_two(self, truth, coverage):
        with pytest.raises(DataError, match="expected estimates of two or more noise draws, got 1; expose again"):
            bias_fraction([truth], truth, well_lit(coverage))


@dataclass(frozen=True)
class _Noisy:
    """The truth with noise that follows the frames, as from an unbiased method."""

    truth: np.ndarray
    arm: str = "Noisy"
    seen: list[str] = field(default_factory=list)

    def reconstruct(self, scan: Scan) -> Reconstruction:
        rng = generator(int(scan.photons.totals.sum()), "stand-in")
        self.seen.append(scan.digest())
        image = self.truth * (1 + 0.05 * (rng.normal(size=scan.canvas) + 1j * rng.normal(size=scan.canvas)))
        light = coverage_map(scan.probe, scan.positions_px, scan.canvas)
        ledger = Ledger(0.0, 1.0, 1, len(scan), 1.0)
        made = (image.astype(np.complex64), scan.probe, scan.positions_px, light, ledger)
        return Reconstruction(self.arm, *made, data_digest=scan.digest())


class TestMeasuredBias:
    def test_flat_images_are_all_bias_and_an_unbiased_method_has_none(self, small):
        assert measured_bias(ConstantReconstructor(), small, draws=3) > 0.99
        method = _Noisy(np.asarray(small.truth))
        assert abs(measured_bias(method, small, draws=6)) < 0.1
        assert len(set(method.seen)) == 6

    def test_needs_two_draws(self, small):
        with pytest.raises(SettingsError, match="draws = 1: expected 2 or more"):
            measured_bias(ConstantReconstructor(), small, draws=1)


class TestGauge:
    def test_is_known_for_an_arm_of_these_counts_and_this_probe_alone(self, scan, truth, reconstruction):
        foreign = reconstruction("A", truth)
        ours = replace(foreign, data_digest=scan.digest())
        refined = replace(ours, probe=ours.probe * np.complex64(1.01))
        assert [error_gauge(made, scan) for made in (ours, refined, foreign)] == ["known", "blind", "blind"]

    def test_the_limit_is_blind_only_where_no_arm_knew_the_probe(self, scan, truth, reconstruction):
        foreign = reconstruction("A", truth)
        ours = replace(foreign, arm="B", data_digest=scan.digest())
        flat = ConstantReconstructor().reconstruct(scan)
        assert suited_limit([foreign, flat], scan) == "blind"
        assert suited_limit([foreign, ours, flat], scan) == suited_limit([flat], scan) == "known"


@pytest.fixture(scope="module")
def found(small) -> Comparison:
    arms = [_Noisy(np.asarray(small.truth)).reconstruct(small), ConstantReconstructor().reconstruct(small)]
    return compare(small, arms, settings=CompareSettings(limit="known"))


class TestLimitOfAComparison:
    def test_eta_is_the_bound_over_the_error(self, found):
        row = found.rows[0]
        assert row.object_rmse == pytest.approx(0.05 * np.sqrt(2), rel=0.1)
        assert row.limit_rmse == pytest.approx(np.sqrt(found.limit.bound))
        assert row.eta == pytest.approx((row.limit_rmse / row.object_rmse) ** 2)
        assert row.limit_bayes_rmse < row.limit_rmse
        assert 0 < row.limit_frc_half_nyquist <= 1

    def test_photons_per_pixel_are_those_of_the_limit(self, found):
        assert found.rows[0].photons_per_pixel == pytest.approx(found.limit.photons_per_pixel, rel=0.01)

    def test_there_is_a_curve_for_the_rings_of_the_arms(self, found):
        assert len(found.limit.frc) == len(found.curves["Noisy"].nyquist)

    def test_it_is_computed_once_and_only_when_asked_for(self, small, monkeypatch):
        calls = []

        def counted(*given, **named):
            calls.append(named)
            return real(*given, **named)

        real = efficiency.dose_limit
        monkeypatch.setattr(efficiency, "dose_limit", counted)
        arms = [replace(ConstantReconstructor().reconstruct(small), arm=name) for name in "AB"]
        assert compare(small, arms).limit is None
        assert not calls
        assert compare(small, arms, settings=CompareSettings(limit="blind")).limit.probe == "blind"
        assert len(calls) == 1

    def test_a_bias_fraction_is_filled_in_by_who_knows_it(self, found):
        assert [row.bias_fraction for row in found.with_bias({"Noisy": 0.2}).rows] == [0.2, None]


def test_frames_that_do_not_overlap_have_no_limit_and_no_efficiency(tmp_path):
    """Each island's phase is its own: the bound means nothing, and no cell claims that it does."""
    probe = {"window": 16, "probe_diameter_px": 6.0}
    whole = simulate(SimulationSettings(object_size=64, positions=4, trajectory="raster", dose=2e3, **probe))
    found = compare(whole, [ConstantReconstructor().reconstruct(whole)], settings=CompareSettings(limit="known"))
    assert found.limit is not None
    assert not found.limit.determined
    assert found.rows[0].eta is None
    assert found.rows[0].limit_rmse is None
    assert found.rows[0].limit_frc_half_nyquist is None
    assert found.rows[0].object_rmse is not None
    write_frc_csv(tmp_path / "frc.csv", found)
    assert {line["frc_limit"] for line in read_frc_csv(tmp_path / "frc.csv")} == {None}
