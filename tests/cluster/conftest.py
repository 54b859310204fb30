"""One Slurm cluster for all tests of this folder; they are skipped with the reason where there can be none."""

import importlib.util

import pytest
import slurm_cluster
from slurm_studies import write_studies


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    if reason := slurm_cluster.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    try:
        running = slurm_cluster.Cluster.start(folder)
    except RuntimeError as error:
        pytest.skip(f"Slurm could not be started here: {error}")
    yield running
    running.stop()


@pytest.fixture
def folder(tmp_path):
    """A folder with toy studies."""
    if importlib.util.find_spec("parsl") is None:
        pytest.skip("parsl, which places jobs, is not installed")
    return write_studies(tmp_path)
