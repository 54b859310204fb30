import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from foldlight.compare.files import (
    read_frc_csv,
    read_metrics_csv,
    read_objects,
    read_residual_frames,
    read_residual_rings,
    write_frc_csv,
    write_metrics_csv,
    write_metrics_json,
    write_objects,
    write_residual_frames,
    write_residual_rings,
    write_rows,
)
from foldlight.compare.table import FLAT_ARM, CompareSettings, Comparison, Row, compare
from foldlight.core.errors import DataError
from foldlight.io.npz import write_npz
from foldlight.optics.limit import DoseLimit


@pytest.fixture(scope="module")
def arms(reconstruction, truth):
    noise = 0.02 * np.random.default_rng(8).normal(size=truth.shape)
    return [reconstruction("Network", 1j * truth + noise, 60.0), reconstruction(FLAT_ARM, np.full_like(truth, 0.8))]


@pytest.fixture(scope="module")
def comparison(scan, held, arms) -> Comparison:
    return compare(scan, arms, held, 0.5)


def limit_of(rings: int) -> DoseLimit:
    spectra = {"nyquist": np.linspace(0.1, 1, rings), "signal": np.ones(rings), "noise": np.linspace(0, 9, rings)}
    return DoseLimit("complex", "known", 1e-3, 0.0, 5e-4, 900.0, **spectra)


class TestTables:
    def test_metrics_have_empty_cells_and_all_arms(self, comparison, tmp_path):
        write_metrics_csv(tmp_path / "metrics.csv", comparison)
        with (tmp_path / "metrics.csv").open() as stream:
            lines = list(csv.DictReader(stream))
        assert list(lines[0]) == Row.columns()
        assert [line["arm"] for line in lines] == ["Network", FLAT_ARM]
        assert lines[0]["eta"] == lines[0]["phase_ms_ssim"] == lines[1]["frc_half_nyquist"] == ""
        assert float(lines[0]["phase_ssim"]) == pytest.approx(comparison.rows[0].phase_ssim, rel=1e-6)

    def test_metrics_are_read_back_as_numbers(self, comparison, tmp_path):
        labelled = comparison.labelled(dose=1e4, view="dense", split="test", seed=42)
        write_metrics_csv(tmp_path / "metrics.csv", labelled)
        for found, wanted in zip(read_metrics_csv(tmp_path / "metrics.csv"), labelled.plain(), strict=True):
            assert found == {
                name: pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
                for name, value in wanted.items()
            }

    def test_rows_of_many_comparisons_make_one_table(self, comparison, tmp_path):
        write_rows(tmp_path / "all.csv", [*comparison.plain(), {"arm": "Lost", "status": "failed"}])
        last = read_metrics_csv(tmp_path / "all.csv")[-1]
        assert {name for name, value in last.items() if value is not None} == {"arm", "status"}

    def test_curves_have_a_line_for_each_ring(self, comparison, tmp_path):
        write_frc_csv(tmp_path / "frc_curves.csv", comparison.labelled(dose=1e4))
        with (tmp_path / "frc_curves.csv").open() as stream:
            lines = list(csv.DictReader(stream))
        assert len(lines) == sum(len(curve.nyquist) for curve in comparison.curves.values())
        assert lines[0]["dose"] == "10000"
        assert 0 < float(lines[0]["half_bit"]) < 1

    def test_curves_are_read_back_with_the_limit_only_where_there_is_one(self, comparison, tmp_path):
        limit = limit_of(len(comparison.curves["Network"].nyquist))
        for name, found in (("plain", comparison), ("limited", replace(comparison, limit=limit))):
            write_frc_csv(tmp_path / f"{name}.csv", found.labelled(dose=1e4, seed=3))
        assert all(line["frc_limit"] is None for line in read_frc_csv(tmp_path / "plain.csv"))
        lines = read_frc_csv(tmp_path / "limited.csv")
        assert (lines[0]["dose"], lines[0]["seed"], lines[0]["arm"]) == (1e4, 3, "Network")
        own = [line for line in lines if line["arm"] == FLAT_ARM]
        assert np.allclose([line["frc_limit"] for line in own], limit.frc)
        assert np.allclose([line["samples"] for line in own], comparison.curves[FLAT_ARM].samples)

    def test_older_definitions_have_columns_only_when_asked_for(self, scan, arms, comparison, tmp_path):
        write_metrics_csv(tmp_path / "plain.csv", comparison)
        write_metrics_csv(tmp_path / "legacy.csv", compare(scan, arms, settings=CompareSettings(legacy=True)))
        assert "legacy" not in (tmp_path / "plain.csv").read_text()
        assert list(read_metrics_csv(tmp_path / "plain.csv")[0]) == Row.columns()
        found = read_metrics_csv(tmp_path / "legacy.csv")
        assert list(found[0]) == Row.columns(legacy=True)
        assert all(row["legacy_phase_psnr"] > 40 for row in found)

    def test_a_table_of_before_lacks_the_newer_columns(self, comparison, tmp_path):
        older = Row.columns()[: Row.columns().index("photons_per_pixel")]
        lines = [",".join(older), ",".join("x" if name in {"arm", "status"} else "" for name in older)]
        (tmp_path / "old.csv").write_text("\n".join(lines) + "\n")
        found = read_metrics_csv(tmp_path / "old.csv")[0]
        assert (found["arm"], found["object_rmse"], found["phase_skill"]) == ("x", None, None)
        assert list(found) == Row.columns()

    def test_what_is_no_table_is_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"none\.csv: expected a metrics table, got No such file"):
            read_metrics_csv(tmp_path / "none.csv")
        (tmp_path / "other.csv").write_text("arm,phase_ssim\nA,1\n")
        with pytest.raises(DataError, match="expected the column 'dose', found arm, phase_ssim"):
            read_metrics_csv(tmp_path / "other.csv")
        write_rows(tmp_path / "odd.csv", [{"arm": "A", "dose": "much"}])
        with pytest.raises(DataError, match=r"odd\.csv: expected a metrics table: could not convert"):
            read_metrics_csv(tmp_path / "odd.csv")


class TestResiduals:
    def test_rings_of_fitted_and_heldout_counts_come_back(self, comparison, tmp_path):
        write_residual_rings(tmp_path / "residual_rings.csv", comparison.labelled(view="dense"))
        lines = read_residual_rings(tmp_path / "residual_rings.csv")
        for counts, rings in (("fitted", comparison.fitted_residuals), ("heldout", comparison.residuals)):
            own = [line for line in lines if (line["arm"], line["counts"]) == ("Network", counts)]
            assert [line["radius_px"] for line in own] == list(range(len(own)))
            assert np.allclose([line["deviance"] for line in own], rings["Network"], rtol=1e-6)
            assert own[0]["view"] == "dense"

    def test_frames_come_back_with_their_place_and_number(self, scan, arms, held, tmp_path):
        order = np.arange(len(scan))[::-1][:40]
        some = [replace(made, positions_px=made.positions_px[order]) for made in arms]
        found = compare(scan.select(order), some, held.select(order), 0.5)
        write_residual_frames(tmp_path / "residual_frames.csv", found)
        lines = read_residual_frames(tmp_path / "residual_frames.csv")
        assert len(lines) == 2 * 2 * 40
        own = [line for line in lines if (line["arm"], line["counts"]) == (FLAT_ARM, "heldout")]
        assert [line["frame"] for line in own] == order.tolist()
        assert np.allclose([(line["y_px"], line["x_px"]) for line in own], scan.positions_px[order], rtol=1e-6)
        assert np.allclose([line["deviance"] for line in own], found.heldout_frame_deviances[FLAT_ARM], rtol=1e-6)

    def test_without_heldout_counts_there_are_the_fitted_ones(self, scan, arms, tmp_path):
        write_residual_rings(tmp_path / "rings.csv", compare(scan, arms))
        assert {line["counts"] for line in read_residual_rings(tmp_path / "rings.csv")} == {"fitted"}

    def test_another_table_is_refused(self, tmp_path):
        (tmp_path / "other.csv").write_text("arm\nA\n")
        with pytest.raises(DataError, match=r"other\.csv: expected the column 'dose', found arm"):
            read_residual_frames(tmp_path / "other.csv")
        with pytest.raises(DataError, match=r"none\.csv: expected a table of FRC curves, got No such file"):
            read_frc_csv(tmp_path / "none.csv")


class TestJson:
    def test_it_says_what_was_compared_and_what_was_removed(self, comparison, scan, tmp_path):
        write_metrics_json(tmp_path / "metrics.json", comparison)
        found = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
        assert found["rows"] == json.loads(json.dumps(comparison.plain()))
        assert found["data_sha256"] == scan.digest()
        assert found["scored_pixels"] == comparison.mask.sum()
        assert (found["window_px"], found["canvas_px"]) == ([32, 24], [96, 112])
        assert found["exposure_ratio"] == 0.5
        assert found["photons_per_frame"] == pytest.approx(scan.photons.totals.mean())
        gauge = found["arms"]["Network"]["gauge"]
        assert complex(gauge["scale"]["real"], gauge["scale"]["imag"]) == pytest.approx(
            comparison.gauges["Network"].scale
        )
        assert found["arms"]["Network"]["ledger"]["train_seconds"] == 60
        assert found["arms"]["Network"]["error_gauge"] == "blind"
        assert found["limit"] is None

    def test_it_has_the_limit_without_its_curves(self, comparison, tmp_path):
        write_metrics_json(tmp_path / "metrics.json", replace(comparison, limit=limit_of(4)))
        found = json.loads((tmp_path / "metrics.json").read_text())["limit"]
        assert (found["probe"], found["bound"], found["bayes"], found["photons_per_pixel"]) == (
            "known",
            1e-3,
            5e-4,
            900,
        )
        assert "noise" not in found

    def test_without_heldout_counts_there_is_no_exposure_ratio(self, scan, arms, tmp_path):
        write_metrics_json(tmp_path / "metrics.json", compare(scan, arms))
        assert json.loads((tmp_path / "metrics.json").read_text())["exposure_ratio"] is None

    def test_settings_that_are_not_json_are_named(self, scan, arms, tmp_path):
        odd = compare(scan, [replace(arms[0], settings={"loss": float("nan")})])
        with pytest.raises(DataError, match=r"metrics\.json: expected JSON-ready settings in every reconstruction"):
            write_metrics_json(tmp_path / "metrics.json", odd)


class TestObjects:
    def test_come_back(self, comparison, tmp_path):
        write_objects(tmp_path / "reconstructions.npz", comparison)
        found = read_objects(tmp_path / "reconstructions.npz")
        assert list(found.arms) == ["Network", FLAT_ARM]
        assert all(np.allclose(found.arms[arm], comparison.objects[arm]) for arm in found.arms)
        assert found.arms["Network"].dtype == found.truth.dtype == np.complex64
        assert np.array_equal(found.mask, comparison.mask)
        assert np.array_equal(found.coverage, comparison.coverage)
        with np.load(tmp_path / "reconstructions.npz", allow_pickle=False) as archive:
            assert set(archive.files) == {"Network", FLAT_ARM, "truth", "mask", "coverage"}

    def test_have_no_truth_where_none_is_known(self, scan, arms, tmp_path):
        write_objects(tmp_path / "a.npz", compare(replace(scan, object_is_truth=False), arms))
        assert read_objects(tmp_path / "a.npz").truth is None

    def test_are_the_same_bytes_each_time(self, comparison, tmp_path):
        for name in ("a.npz", "b.npz"):
            write_objects(tmp_path / name, comparison)
        assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()

    def test_an_arm_named_truth_is_refused(self, scan, arms, tmp_path):
        with pytest.raises(DataError, match="expected other names of arms than truth, mask, coverage, got 'truth'"):
            write_objects(tmp_path / "a.npz", compare(scan, [replace(arms[0], arm="truth")]))

    def test_another_file_is_refused(self, tmp_path):
        write_npz(
            tmp_path / "a.npz", {"mask": np.ones((4, 6), bool), "coverage": np.ones((4, 6)), "A": np.ones((4, 5))}
        )
        with pytest.raises(DataError, match=r"a\.npz: A: expected a complex image on the canvas of all, got float64"):
            read_objects(tmp_path / "a.npz")
