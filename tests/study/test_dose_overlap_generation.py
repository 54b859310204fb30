"""Phase C: doses as asked, halves that share no pixel, positions of the base, honest manifests."""

import json

import numpy as np
import pytest

from foldlight.core.provenance import sha256_file
from foldlight.io import read_scan, write_data001
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings
from studies.fly64_dose_overlap import generation, paths
from studies.fly64_dose_overlap.design import StudyDesign

SMALL = SimulationSettings(object_size=128, window=32, probe_diameter_px=14.0, positions=240, dose=1e4, seed=5)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "base.npz"
    write_data001(path, simulate(SMALL))
    return path


@pytest.fixture(scope="module")
def generated(base, tmp_path_factory):
    """A root with two doses, made by the command."""
    root = tmp_path_factory.mktemp("c")
    words = ["--base-npz", str(base), "--output-root", str(root), "--doses", "1000", "50000"]
    assert generation.main(words) == 0
    return root


def manifest(root) -> dict:
    return json.loads((root / generation.MANIFEST).read_text())


def test_dose_asked_and_measured_agree_within_counting_error(generated):
    found = manifest(generated)
    assert [job["dose"] for job in found["jobs"]] == [1000, 50000]
    for job in found["jobs"]:
        facts = job["result"]
        assert facts["dose_asked"] == job["dose"]
        assert abs(facts["dose_measured"] - job["dose"]) < 5 * facts["dose_counting_error"]
        halves = [read_scan(paths.patched(generated, job["dose"], split)) for split in ("train", "test")]
        counted = [half.photons.totals.mean() for half in halves]
        assert counted == pytest.approx([facts["dose_measured_train"], facts["dose_measured_test"]])
        assert halves[0].origin["dose"] == job["dose"]


def test_no_illuminated_pixel_is_in_both_halves(generated):
    train, test = (read_scan(paths.patched(generated, 1000, split)) for split in ("train", "test"))
    rows = [np.rint(half.positions_px[:, 0]) for half in (train, test)]
    assert rows[1].min() - rows[0].max() >= train.window[0]
    assert train.canvas == test.canvas
    np.testing.assert_array_equal(train.probe, test.probe)


def test_positions_and_object_are_those_of_the_base(base, generated):
    whole = read_scan(base)
    for split in ("train", "test"):
        half = read_scan(paths.patched(generated, 50000, split))
        np.testing.assert_array_equal(half.positions_px, whole.positions_px[half.frame_index])
        np.testing.assert_array_equal(half.truth, whole.object)


def test_the_manifest_lists_every_file_with_its_digest(base, generated):
    found = manifest(generated)
    assert (found["n_jobs"], found["n_executed"], found["n_success"], found["n_failed"]) == (2, 2, 2, 0)
    job = found["jobs"][0]
    assert job["inputs"][0]["sha256"] == sha256_file(base)
    for listed in job["outputs"]:
        path = generated / listed["path"]
        assert (listed["sha256"], listed["bytes"]) == (sha256_file(path), path.stat().st_size)
    assert (generated / job["log_path"]).read_text()
    assert found["design"] == StudyDesign().plain()


def test_new_positions_are_drawn_when_asked(base, tmp_path):
    words = ["--base-npz", str(base), "--output-root", str(tmp_path), "--doses", "2000", "--new-positions", "150"]
    assert generation.main(words) == 0
    facts = manifest(tmp_path)["jobs"][0]["result"]
    assert facts["n_frames"] == 150
    half = read_scan(paths.patched(tmp_path, 2000, "train"))
    old = read_scan(base).positions_px
    assert not np.isin(half.positions_px, old).any()


def test_without_a_base_the_embedded_one_is_simulated_and_left(tmp_path):
    design = tmp_path / "design.toml"
    design.write_text(
        "doses = [3000]\n[base]\nobject_size = 100\nwindow = 32\nprobe_diameter_px = 14.0\npositions = 90\n"
    )
    assert generation.main(["--output-root", str(tmp_path), "--design", str(design)]) == 0
    base = read_scan(paths.base_file(tmp_path))
    assert len(base) == 90
    assert manifest(tmp_path)["jobs"][0]["result"]["base_sha256"] == sha256_file(paths.base_file(tmp_path))


def test_repeats_of_a_base_differ_in_photons_alone(base, generated, tmp_path):
    words = ["--base-npz", str(base), "--output-root", str(tmp_path), "--doses", "1000", "--repeat", "1"]
    assert generation.main(words) == 0
    first, second = (read_scan(paths.patched(root, 1000, "test")) for root in (generated, tmp_path))
    np.testing.assert_array_equal(first.truth, second.truth)
    np.testing.assert_array_equal(first.positions_px, second.positions_px)
    assert not np.array_equal(first.photons[:], second.photons[:])
    told = manifest(tmp_path)
    assert (told["repeat"], told["seeds"]["simulation"]) == (1, 1042)
    assert told["flags"]["repeats_differ_in"] == "photons, thinning, networks, engine seeds"
    assert manifest(generated)["repeat"] == 0


def test_repeats_of_the_embedded_base_differ_in_their_object(tmp_path):
    design = tmp_path / "design.toml"
    design.write_text(
        "doses = [3000]\n[base]\nobject_size = 100\nwindow = 32\nprobe_diameter_px = 14.0\npositions = 90\n"
    )
    for repeat in ("0", "1"):
        words = ["--output-root", str(tmp_path / repeat), "--design", str(design), "--repeat", repeat]
        assert generation.main(words) == 0
    first, second = (read_scan(paths.base_file(tmp_path / repeat)) for repeat in ("0", "1"))
    assert not np.array_equal(first.object, second.object)
    assert not np.array_equal(first.positions_px, second.positions_px)
    told = manifest(tmp_path / "1")["flags"]["repeats_differ_in"]
    assert told == "object, positions, photons, thinning, networks, engine seeds"


def test_a_wrong_base_says_how_to_get_one(base, tmp_path, capsys):
    assert generation.main(["--base-npz", str(tmp_path / "none.npz"), "--output-root", str(tmp_path / "x")]) == 1
    said = capsys.readouterr().err
    assert "none.npz: expected a base file, found none" in said
    assert "foldlight prepare SCAN --output base.npz" in said
    assert not (tmp_path / "x").exists()

    from dataclasses import replace

    bare = tmp_path / "bare.npz"
    write_data001(bare, replace(read_scan(base), object=None, object_is_truth=False))
    words = ["--base-npz", str(bare), "--output-root", str(tmp_path / "y"), "--doses", "1000"]
    assert generation.main(words) == 1
    job = manifest(tmp_path / "y")["jobs"][0]
    assert job["status"] == "failed"
    assert "objectGuess" in job["error"]
    assert "foldlight prepare" in job["error"]
    assert not paths.patched(tmp_path / "y", 1000, "train").exists()


def test_bad_usage_is_exit_code_two(tmp_path):
    with pytest.raises(SystemExit) as stop:
        generation.main(["--output-rot", str(tmp_path)])
    assert stop.value.code == 2
    assert not list(tmp_path.iterdir())


def test_a_commands_document_that_is_missing_earns_a_warning(base, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AUTHORITATIVE_CMDS_DOC", str(tmp_path / "GUIDE.md"))
    words = ["--base-npz", str(base), "--output-root", str(tmp_path), "--doses", "1000"]
    assert generation.main(words) == 0
    assert "GUIDE.md: expected a file, found none" in capsys.readouterr().err
    assert manifest(tmp_path)["commands_document"] == str(tmp_path / "GUIDE.md")
