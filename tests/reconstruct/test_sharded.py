"""Two processes reconstruct what one does, from the command line as well; an error is told once."""

from pathlib import Path

import numpy as np
import pytest
import rank_jobs

from foldlight.bundle import read_bundle
from foldlight.core.errors import SettingsError
from foldlight.io import write_data001
from foldlight.reconstruct.constant import ConstantReconstructor
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.reconstruct.sharded import reconstruct_on
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings
from foldlight.train.distributed import ALONE, Ranks

SCRIPT = Path(rank_jobs.__file__)


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> dict[str, np.ndarray]:
    """What two processes made."""
    folder = tmp_path_factory.mktemp("together")
    ended = rank_jobs.on_two(SCRIPT, "images", folder)
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr
    return dict(np.load(folder / "images.npz"))


@pytest.mark.parametrize("name", ["groups", "tiles"])
def test_groups_and_tiles_are_stitched_to_the_same_bits(together, name):
    alone = rank_jobs.image(name, ALONE)
    assert np.ptp(np.abs(alone)) > 0.1
    assert np.array_equal(together[name], alone)


@pytest.mark.parametrize("n", [31, 1], ids=["many", "fewer than processes"])
def test_sums_of_patches_are_the_same_but_for_rounding(together, n):
    found = together["patches" if n > 1 else "one frame"]
    np.testing.assert_allclose(found, rank_jobs.image("patches", ALONE, n), atol=2e-6)


def test_a_network_is_adapted_once_for_all(together):
    assert np.array_equal(together["adapted"], rank_jobs.image("tiles", ALONE, adapt=2))
    assert not np.array_equal(together["adapted"], together["tiles"])


def test_only_the_network_shares_its_work():
    scan = simulate(SimulationSettings(object_size=40, window=16, positions=9, probe_diameter_px=8.0))
    with pytest.raises(SettingsError, match=r"expected one process, got 2, and only the network shares its work"):
        reconstruct_on(Ranks(0, 2), ConstantReconstructor(), scan)
    assert reconstruct_on(ALONE, ConstantReconstructor(), scan) is not None


class TestCommandLine:
    """`torchrun -m foldlight`."""

    @pytest.fixture
    def scan(self, tmp_path) -> Path:
        path = tmp_path / "scan.npz"
        settings = SimulationSettings(object_size=80, window=16, positions=150, probe_diameter_px=8.0, dose=1e4)
        write_data001(path, simulate(settings))
        return path

    def test_two_processes_train_and_reconstruct(self, scan, tmp_path):
        shape = ["--width", 8, "--levels", 1, "--consistency-steps", 1]
        options = ["--gridsize", 2, "--epochs", 2, "--guard-px", 8, "--threads", 1]
        ended = rank_jobs.on_two("-m", "foldlight", "train", scan, *shape, *options, "--output", tmp_path / "model")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("bundle -> ") == ended.stdout.count("sha256 ") == 1
        assert read_bundle(tmp_path / "model" / "wts.h5.zip").training["processes"] == 2
        words = ["--engine", "network", "--model", tmp_path / "model", "--output", tmp_path / "made.npz"]
        ended = rank_jobs.on_two("-m", "foldlight", "reconstruct", scan, *words)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("-> ") == 1
        assert Reconstruction.load(tmp_path / "made.npz").object.shape == (80, 80)

    def test_an_error_of_all_is_told_once(self, tmp_path):
        ended = rank_jobs.on_two("-m", "foldlight", "train", tmp_path / "none.npz", "--output", tmp_path)
        assert ended.returncode != 0
        assert ended.stderr.count("foldlight: ") == ended.stderr.count("none.npz: expected") == 1
