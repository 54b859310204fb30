"""Two tiny networks and a reconstruction file on a tiny simulation, through the library and through the script."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from foldlight.bundle import write_bundle
from foldlight.compare.files import read_objects
from foldlight.compare.table import FLAT_ARM, CompareSettings
from foldlight.core.errors import BundleError, DataError
from foldlight.io import read_scan, write_data001
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.constant import ConstantReconstructor
from foldlight.reconstruct.settings import RefineSettings
from foldlight.simulate.acquire import expose_again, simulate
from foldlight.simulate.settings import SimulationSettings
from foldlight.study.models import (
    BASELINE_ARM,
    HYBRID_ARM,
    ITERATIVE_ARM,
    PINN_ARM,
    SUPERVISED_ARM,
    TESTED_ARMS,
    compare_models,
    read_iterative,
)
from foldlight.train.fit import fit
from foldlight.train.settings import TrainingSettings
from scripts.compare_models import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scan, two networks briefly trained on it, and three reconstruction files."""
    folder = tmp_path_factory.mktemp("models")
    scan = simulate(SimulationSettings(object_size=80, window=16, positions=150, probe_diameter_px=8.0, dose=1e4))
    write_data001(folder / "scan.npz", scan)
    for name, gridsize in (("pinn", 2), ("baseline", 1)):
        wanted = TrainingSettings(epochs=3, batch_frames=16, guard_px=8.0, learning_rate=3e-3, gridsize=gridsize)
        network = NetworkSettings(width=4, levels=2, consistency_steps=1)
        training = fit(scan, network, wanted, folder / name, progress=False)
        write_bundle(folder / name / "wts.h5.zip", training.model)
    flat = ConstantReconstructor().reconstruct(scan)
    made = replace(flat, arm="LSQML", object=(0.98 * scan.truth).astype(np.complex64), settings={"engine": "lsqml"})
    made.save(folder / "lsqml.npz")
    replace(made, data_digest="a" * 64).save(folder / "other.npz")
    np.savez(folder / "foreign.npz", reconstructed_object=7j * scan.truth)
    return folder


@pytest.fixture(scope="module")
def scan(folder):
    return read_scan(folder / "scan.npz")


class TestCompareModels:
    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, scan, folder):
        heldout = expose_again(scan, 42)
        return compare_models(scan, folder / "pinn", folder / "baseline", folder / "lsqml.npz", None, heldout)

    def test_every_arm_has_its_name_and_sees_the_same_data(self, found, scan):
        assert [row.arm for row in found.rows] == [PINN_ARM, BASELINE_ARM, ITERATIVE_ARM, FLAT_ARM]
        assert found.data_sha256 == scan.digest()
        assert all(row.deviance_heldout is not None for row in found.rows)

    def test_the_engine_stays_in_the_settings(self, found):
        assert found.origins[ITERATIVE_ARM]["settings"] == {"engine": "lsqml", "made_by": "LSQML"}

    def test_each_network_keeps_its_own_settings(self, found):
        origins = [found.origins[arm]["settings"]["training"]["settings"] for arm in (PINN_ARM, BASELINE_ARM)]
        assert [origin["gridsize"] for origin in origins] == [2, 1]
        assert not np.array_equal(found.objects[PINN_ARM], found.objects[BASELINE_ARM])

    def test_training_is_on_the_ledger(self, found):
        assert all(row.train_seconds > 0 for row in found.rows[:2])

    def test_the_supervised_network_stands_after_the_baseline(self, scan, folder):
        found = compare_models(
            scan, folder / "pinn", folder / "baseline", folder / "lsqml.npz", supervised=folder / "baseline"
        )
        assert [row.arm for row in found.rows] == [PINN_ARM, BASELINE_ARM, SUPERVISED_ARM, ITERATIVE_ARM, FLAT_ARM]
        assert np.array_equal(found.objects[SUPERVISED_ARM], found.objects[BASELINE_ARM])

    def test_the_refined_network_explains_unseen_counts_better(self, scan, folder):
        heldout, refine = expose_again(scan, 42), RefineSettings()
        files = (folder / "pinn", folder / "baseline", folder / "lsqml.npz")
        found = compare_models(scan, *files, heldout=heldout, supervised=folder / "baseline", refine=refine)
        assert [row.arm for row in found.rows] == [*TESTED_ARMS, FLAT_ARM]
        deviance = {row.arm: row.deviance_heldout for row in found.rows}
        assert deviance[HYBRID_ARM] < deviance[PINN_ARM]
        settings = found.origins[HYBRID_ARM]["settings"]
        assert settings["start"]["arm"] == PINN_ARM
        assert settings["refinement"]["stopped_by"] == "held-out"
        alone = compare_models(scan, None, None, folder / "lsqml.npz", refine=refine)
        assert [row.arm for row in alone.rows] == [ITERATIVE_ARM, FLAT_ARM]

    def test_further_exposures_tell_the_bias_of_networks(self, scan, folder):
        found = compare_models(scan, folder / "pinn", None, folder / "lsqml.npz", noise_draws=3, seed=1)
        bias = {row.arm: row.bias_fraction for row in found.rows}
        assert 0 < bias[PINN_ARM] <= 1
        assert bias[ITERATIVE_ARM] is bias[FLAT_ARM] is None
        assert compare_models(scan, folder / "pinn", None, None).rows[0].bias_fraction is None
        bare = replace(scan, object_is_truth=False)
        assert compare_models(bare, folder / "pinn", None, None, noise_draws=2).rows[0].bias_fraction is None

    def test_arms_without_a_file_are_left_out(self, scan, folder):
        found = compare_models(scan, None, folder / "baseline" / "wts.h5.zip", None)
        assert [row.arm for row in found.rows] == [BASELINE_ARM, FLAT_ARM]

    def test_a_reconstruction_of_other_data_is_refused(self, scan, folder):
        with pytest.raises(DataError, match="PtyChi: expected a reconstruction of this scan"):
            compare_models(scan, None, None, folder / "other.npz")

    def test_a_missing_bundle_is_named(self, scan, folder):
        with pytest.raises(BundleError, match=r"none: expected a model bundle, found no file"):
            compare_models(scan, folder / "none", None, None)

    def test_only_the_iterative_arm_can_be_registered(self, scan, folder):
        settings = CompareSettings(registered_arms=(ITERATIVE_ARM,))
        found = compare_models(scan, folder / "pinn", None, folder / "lsqml.npz", settings)
        assert found.gauges[PINN_ARM].shift_px == (0.0, 0.0)
        assert np.array_equal(found.truth, scan.truth)


class TestForeignFiles:
    def test_scale_and_cost_are_not_made_up(self, scan, folder):
        made = read_iterative(folder / "foreign.npz", scan)
        assert np.abs(made.object).mean() == pytest.approx(np.abs(scan.truth).mean(), rel=0.01)
        assert made.ledger.n_frames is made.ledger.train_seconds is made.ledger.infer_seconds is None
        assert made.settings["made_by"] == "unknown"
        assert made.data_digest == ""

    def test_light_on_bad_pixels_counts_for_nothing(self, scan, folder):
        mask = np.ones(scan.window, dtype=bool)
        mask[6:9, 6:9] = False
        made = read_iterative(folder / "foreign.npz", replace(scan, mask=mask))
        assert np.abs(made.object).mean() == pytest.approx(np.abs(scan.truth).mean(), rel=0.02)

    @pytest.mark.parametrize("key", ["object", "objectGuess"])
    def test_other_keys_are_known(self, key, scan, tmp_path):
        np.savez(tmp_path / "a.npz", **{key: 2 * scan.truth})
        assert read_iterative(tmp_path / "a.npz", scan).settings["key"] == key

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"image": np.ones(3)}, "expected a foldlight reconstruction or one of the keys .*, found image"),
            (
                {"object": np.ones((80, 80))},
                "object: expected a complex object on the scan's 80 x 80 canvas, got float",
            ),
            ({"object": np.ones((60, 80), complex)}, "80 x 80 canvas, got complex128 .60, 80.; crop or pad"),
            ({"object": np.full((80, 80), np.nan + 0j)}, "expected a finite object, got NaN"),
            ({"object": np.zeros((80, 80), complex)}, "expected an object that lets light through"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, arrays, message, scan, tmp_path):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(DataError, match=message):
            read_iterative(tmp_path / "a.npz", scan)

    def test_the_truth_is_no_reconstruction(self, scan, folder):
        np.savez(folder / "truth.npz", objectGuess=scan.truth)
        with pytest.raises(DataError, match="expected a reconstruction, got the scan's own true object"):
            read_iterative(folder / "truth.npz", scan)


class TestScript:
    def words(self, folder, output, *more) -> list[str]:
        files = {"--pinn_dir": "pinn", "--baseline_dir": "baseline", "--test_data": "scan.npz"}
        named = [word for flag, name in files.items() for word in (flag, str(folder / name))]
        return [*named, "--output_dir", str(output), *map(str, more)]

    def test_every_flag_works_as_written(self, folder, tmp_path, capsys):
        more = ("--tike_recon_path", folder / "foreign.npz", "--ms-ssim-sigma", 1.0, "--register-ptychi-only")
        main(self.words(folder, tmp_path / "out", *more, "--supervised-dir", folder / "baseline"))
        said = capsys.readouterr().out
        with (tmp_path / "out" / "metrics.csv").open() as stream:
            rows = {row["arm"]: row for row in csv.DictReader(stream)}
        assert SUPERVISED_ARM in rows
        assert list(rows) == list(read_objects(tmp_path / "out" / "reconstructions.npz").arms)
        assert float(rows[ITERATIVE_ARM]["phase_ssim"]) > 0.99
        assert rows[ITERATIVE_ARM]["n_frames"] == rows[ITERATIVE_ARM]["train_seconds"] == ""
        assert float(rows[ITERATIVE_ARM]["deviance_heldout"]) < float(rows[FLAT_ARM]["deviance_heldout"])
        assert f"metrics -> {tmp_path / 'out' / 'metrics.csv'}" in said

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (("--register-ptychi-only",), "expected --tike_recon_path with what to register, got none"),
            (("--tike-recon-path", "a", "--skip-registration", "--register-ptychi-only"), "registration is off"),
            (("--ms-ssim-sigma", "-1"), "ms_ssim_sigma = -1.0"),
            (("--sigma", "1"), "--sigma"),
        ],
    )
    def test_bad_usage_is_exit_2(self, more, message, folder, tmp_path, capsys):
        with pytest.raises(SystemExit) as ended:
            main(self.words(folder, tmp_path / "out", *more))
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_a_refusal_is_one_line(self, folder, tmp_path):
        words = self.words(folder, tmp_path / "out", "--tike-recon-path", folder / "other.npz", "--skip-registration")
        with pytest.raises(SystemExit, match="compare_models: PtyChi: expected a reconstruction of this scan") as ended:
            main(words)
        assert "\n" not in str(ended.value.code)
