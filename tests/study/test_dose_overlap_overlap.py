"""Phase D: spacing as asked, metrics beside the data, nothing refused for its geometry."""

import json

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from foldlight.core.provenance import sha256_file
from foldlight.io import read_scan, write_data001
from foldlight.sampling.overlap import probe_diameters_px
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings
from studies.fly64_dose_overlap import overlap, paths
from studies.fly64_dose_overlap.design import SPLITS

SMALL = SimulationSettings(object_size=128, window=32, probe_diameter_px=14.0, positions=400, trajectory="random")
NEEDED = [
    "metrics_version",
    "gridsize",
    "s_img",
    "n_groups",
    "neighbor_count",
    "probe_diameter_px",
    "probe_diameter_definition",
    "seeds",
    "metric_1_group_based_avg",
    "metric_2_image_based_avg",
    "metric_3_group_to_group_avg",
    "n_total",
    "n_kept",
    "n_unique_positions",
    "spacing_threshold_px",
    "n_accepted",
    "n_rejected",
    "acceptance_rate",
    "min_spacing_px",
    "mean_spacing_px",
    "median_spacing_px",
    "selection_strategy",
    "linear_overlap_reached",
    "area_overlap_reached",
]


@pytest.fixture(scope="module")
def phase_c(tmp_path_factory):
    """Two halves of one dose, where generation would have put them."""
    root = tmp_path_factory.mktemp("c")
    for split, seed in zip(SPLITS, (1, 2), strict=True):
        write_data001(paths.patched(root, 1000, split), simulate(SMALL.model_copy(update={"seed": seed})))
    return root


@pytest.fixture(scope="module")
def made(phase_c, tmp_path_factory):
    root = tmp_path_factory.mktemp("d")
    words = ["--phase-c-root", phase_c, "--output-root", root, "--doses", 1000, "--artifact-root", root / "prep"]
    assert overlap.main([str(word) for word in words]) == 0
    return root


def run(phase_c, root, *words) -> int:
    given = ["--phase-c-root", phase_c, "--output-root", root, "--doses", 1000, *words]
    return overlap.main([str(word) for word in given])


def metrics(root, view, split) -> dict:
    return json.loads(paths.view_metrics(root, 1000, view, split).read_text())


def manifest(root) -> dict:
    return json.loads((root / overlap.MANIFEST).read_text())


@pytest.mark.parametrize(("view", "asked"), [("dense", 0.7), ("sparse", 0.2)])
@pytest.mark.parametrize("split", SPLITS)
def test_kept_frames_are_as_far_apart_as_asked(made, view, asked, split):
    scan = read_scan(paths.view_data(made, 1000, view, split))
    found = metrics(made, view, split)
    diameter = probe_diameters_px(scan.probe)["participation"]
    assert found["spacing_threshold_px"] == pytest.approx((1 - asked) * diameter)
    assert pdist(scan.positions_px).min() == pytest.approx(found["min_spacing_px"])
    assert found["min_spacing_px"] >= found["spacing_threshold_px"] * (1 - 1e-6)
    assert found["n_accepted"] == len(scan) == found["n_total"] - found["n_rejected"]
    assert found["linear_overlap_reached"] <= asked + 1e-6


def test_every_view_has_all_its_numbers(made):
    for view in ("baseline", "dense", "sparse"):
        for split in SPLITS:
            found = metrics(made, view, split)
            assert not set(NEEDED) - set(found)
            assert (found["metric_1_group_based_avg"] is None) == (view == "baseline")
    bundle = json.loads((made / "dose_1000/dense/metrics_bundle.json").read_text())
    assert bundle == {split: metrics(made, "dense", split) for split in SPLITS}
    assert json.loads((made / "prep/dose_1000/dense/metrics_bundle.json").read_text()) == bundle


def test_denser_views_overlap_more(made):
    by_view = [metrics(made, view, "train")["metric_2_image_based_avg"] for view in ("baseline", "dense", "sparse")]
    assert by_view == sorted(by_view, reverse=True)
    assert by_view[0] > by_view[1] > by_view[2]


def test_the_baseline_is_the_whole_half_to_the_photon(phase_c, made):
    whole, same = (
        read_scan(paths.patched(phase_c, 1000, "test")),
        read_scan(paths.view_data(made, 1000, "baseline", "test")),
    )
    assert whole.digest() == same.digest()


def test_a_view_holds_frames_of_its_half_untouched(phase_c, made):
    whole, thin = (
        read_scan(paths.patched(phase_c, 1000, "test")),
        read_scan(paths.view_data(made, 1000, "dense", "test")),
    )
    np.testing.assert_array_equal(thin.photons[:], whole.photons[thin.frame_index])
    np.testing.assert_array_equal(thin.truth, whole.truth)


def test_the_manifest_knows_every_file(made):
    found = manifest(made)
    assert (found["n_jobs"], found["n_success"]) == (3, 3)
    for job in found["jobs"]:
        assert len(job["outputs"]) == 5
        for listed in job["outputs"]:
            assert listed["sha256"] == sha256_file(made / listed["path"])


def test_explicit_control(phase_c, tmp_path):
    assert run(phase_c, tmp_path, "--s-img", 0.25, "--n-groups", 20, "--gridsize", 2) == 0
    found = metrics(tmp_path, "custom", "train")
    assert (found["n_kept"], found["n_groups"], found["selection_strategy"]) == (100, 20, "seeded-fraction")
    assert found["s_img"] == 0.25


def test_a_repeat_keeps_other_frames(phase_c, made, tmp_path):
    assert run(phase_c, tmp_path, "--views", "dense", "--repeat", 1) == 0
    first, second = (read_scan(paths.view_data(root, 1000, "dense", "test")).frame_index for root in (made, tmp_path))
    assert not np.array_equal(first, second)
    assert metrics(tmp_path, "dense", "test")["seeds"]["subsampling"] == 1456


def test_a_given_diameter_is_used_and_said(phase_c, tmp_path):
    assert run(phase_c, tmp_path, "--views", "dense", "--probe-diameter-px", 20) == 0
    found = metrics(tmp_path, "dense", "test")
    assert found["spacing_threshold_px"] == pytest.approx(6)
    assert (found["probe_diameter_px"], found["probe_diameter_definition"]) == (20, "given")


def test_too_few_frames_for_a_group_skip_the_view_with_the_reason(phase_c, tmp_path, monkeypatch):
    assert run(phase_c, tmp_path, "--views", "sparse", "baseline", "--probe-diameter-px", 140) == 0
    jobs = {job["view"]: job for job in manifest(tmp_path)["jobs"]}
    assert jobs["baseline"]["status"] == "success"
    assert jobs["sparse"]["status"] == "skipped"
    assert "expected at least C = 4 frames" in jobs["sparse"]["reason"]
    assert not paths.view_data(tmp_path, 1000, "sparse", "train").exists()
    note = tmp_path / "note"
    monkeypatch.setenv("FOLDLIGHT_SKIP_NOTE", str(note))
    assert run(phase_c, tmp_path, "--views", "baseline", "sparse", "--probe-diameter-px", 140) == 0
    assert not note.exists()
    assert run(phase_c, tmp_path, "--views", "sparse", "--probe-diameter-px", 140) == 2
    assert note.read_text() == jobs["sparse"]["reason"] + "\n"


def test_what_is_missing_names_file_and_phase(tmp_path):
    assert run(tmp_path / "nothing", tmp_path, "--views", "dense") == 1
    job = manifest(tmp_path)["jobs"][0]
    assert "dose_1000/patched_train.npz: expected a file, found none; generation makes it" in job["error"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--views", "thin"], "expected baseline, dense, sparse, custom, got 'thin'"),
        (["--views", "dense", "--s-img", "0.5"], "s_img: expected --views custom with these flags, got dense"),
        (["--views", "custom"], "expected --gridsize 1 or 2 with the view custom"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(phase_c, tmp_path, capsys, words, message):
    assert run(phase_c, tmp_path, *words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
