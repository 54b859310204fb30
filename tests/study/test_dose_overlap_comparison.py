"""Phase G: every arm on the same frames, honest records of what fails, tables of all that succeeded."""

import csv
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from foldlight.bundle import write_bundle
from foldlight.core.errors import BundleError, DataError
from foldlight.core.files import write_json
from foldlight.core.provenance import sha256_file
from foldlight.io import read_scan, write_data001
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.engines import load_network
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.sampling.views import acceptance
from foldlight.simulate.acquire import expose_again, simulate
from foldlight.simulate.settings import SimulationSettings
from foldlight.study.jobs import Input
from foldlight.train.fit import fit
from foldlight.train.settings import TrainingSettings
from studies.fly64_dose_overlap import comparison, paths
from studies.fly64_dose_overlap.comparison import build_comparison_jobs, execute_comparison_job, execute_comparison_jobs
from studies.fly64_dose_overlap.design import StudyDesign, View

DOSE = 1000
DIAMETER = 14.0
SMALL = SimulationSettings(object_size=80, window=32, probe_diameter_px=DIAMETER, positions=80, dose=DOSE)
NETWORK = NetworkSettings(width=4, levels=2, consistency_steps=1)
REPOSITORY = Path(__file__).parents[2]
ARMS = ["PtychoPINN", "Baseline", "Hybrid", "PtyChi", "Constant"]
FILES = (
    *("metrics.csv", "metrics.json", "frc_curves.csv", "residual_rings.csv", "residual_frames.csv"),
    *("reconstructions.npz", "comparison.png", "record.json", "report.html"),
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A tiny study as phases C to F leave it: one dose, two views, two networks, an iterative result for each job."""
    root = tmp_path_factory.mktemp("study")
    c, d, e, f = (root / f"phase_{letter}" for letter in "cdef")
    bundles, trained = {}, []
    for split, seed in (("train", 5), ("test", 6)):
        scan = simulate(SMALL.model_copy(update={"seed": seed}))
        for view, step in (("dense", 1), ("sparse", 2)):
            part = scan.select(np.arange(0, len(scan), step))
            write_data001(paths.view_data(d, DOSE, view, split), part)
            kept = acceptance(scan.positions_px, part.frame_index, None, DIAMETER, "all")
            write_json(paths.view_metrics(d, DOSE, view, split), {**kept.plain(), "probe_diameter_px": DIAMETER})
        write_data001(paths.patched(c, DOSE, split), scan)
        if split == "train":
            for gridsize in (2, 1):
                settings = TrainingSettings(gridsize=gridsize, guard_px=4, epochs=2)
                bundles[gridsize] = fit(scan, NETWORK, settings, root / "fit", progress=False).model
    for view, gridsize in (("dense", 2), ("sparse", 2), ("baseline", 1)):
        path = paths.bundle(paths.model_folder(e, DOSE, view, gridsize, gridsize))
        digest = write_bundle(path, bundles[gridsize])
        write_json(path.with_name("training.json"), {"seconds": 2.5})
        trained.append({"dose": DOSE, "view": view, "gridsize": gridsize, "result": {"bundle_sha256": digest}})
    write_json(e / "training_manifest.json", {"phase": "training", "jobs": trained})
    for view in ("dense", "sparse"):
        for split in ("train", "test"):
            scan = read_scan(paths.view_data(d, DOSE, view, split))
            made = load_network(paths.bundle(e / f"dose_{DOSE}" / "dense"), progress=False).reconstruct(scan)
            replace(made, arm="LSQML").save(paths.ptychi_file(f, DOSE, view, split))
    return SimpleNamespace(c=c, d=d, e=e, f=f, root=root)


@pytest.fixture
def own(study, tmp_path):
    """A copy of the study to do harm to."""
    shutil.copytree(study.root, tmp_path / "study")
    return SimpleNamespace(root=tmp_path / "study", **{x: tmp_path / "study" / f"phase_{x}" for x in "cdef"})


def words(study, root, *more) -> list[str]:
    flags = {"--phase-c-root": study.c, "--phase-e-root": study.e, "--phase-f-root": study.f, "--artifact-root": root}
    return [*(str(word) for pair in flags.items() for word in pair), *map(str, more)]


def jobs_of(study, **filters):
    return build_comparison_jobs(study.c, study.e, study.f, **filters)


def manifest(root) -> dict:
    return json.loads((root / comparison.MANIFEST).read_text())


def table(path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def record(root, view, split) -> dict:
    return next(job for job in manifest(root)["jobs"] if (job["view"], job["split"]) == (view, split))


def keys(jobs) -> list[tuple]:
    return [(job.dose, job.view, job.split) for job in jobs]


def arguments(job, folder) -> dict:
    files = {role: str(given.path) for role, given in job.inputs.items()}
    design = StudyDesign().plain()
    return {
        "design": design,
        "dose": job.dose,
        "view": job.view,
        "split": job.split,
        "files": files,
        "folder": str(folder),
    }


@pytest.fixture(scope="module")
def ran(study, tmp_path_factory):
    """A root that two runs filled at the same time; the iterative result of the second saw other frames."""
    root = tmp_path_factory.mktemp("ran")
    shutil.copytree(study.root, root / "study")
    harmed = SimpleNamespace(**{letter: root / "study" / f"phase_{letter}" for letter in "cdef"})
    other = paths.ptychi_file(harmed.f, DOSE, "dense", "test")
    shutil.copy(other, paths.ptychi_file(harmed.f, DOSE, "sparse", "test"))
    codes = {}

    def run(view):
        codes[view] = comparison.main(words(harmed, root / "g", "--view", view, "--split", "test"))

    runs = [threading.Thread(target=run, args=(view,)) for view in ("sparse", "dense")]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    return SimpleNamespace(root=root / "g", codes=codes, study=harmed)


# -- which jobs


def test_comparison_jobs_come_by_dose_then_view_then_split(study, tmp_path):
    for dose in (100000, 5000):
        (tmp_path / f"dose_{dose}").mkdir()
    found = keys(build_comparison_jobs(tmp_path, study.e, study.f))
    halves = [(view, split) for view in ("dense", "sparse") for split in ("train", "test")]
    assert found == [(dose, *half) for dose in (5000, 100000) for half in halves]


def test_comparison_order_is_that_of_overlap_not_of_names(study):
    views = {"a": View(gridsize=2, linear_overlap=0.1), "b": View(gridsize=2), "baseline": View(gridsize=1)}
    jobs = jobs_of(study, split_filter="test", view_filter=["a", "b", "baseline"], design=StudyDesign(views=views))
    assert [job.view for job in jobs] == ["b", "baseline", "a"]


def test_comparison_filters_take_one_value_or_several(study):
    assert keys(jobs_of(study, dose_filter=1000, view_filter="sparse", split_filter="test")) == [
        (1000, "sparse", "test")
    ]
    several = jobs_of(study, dose_filter=(1e4, 1e3), view_filter=["sparse", "dense"], split_filter={"test"})
    assert keys(several) == [(dose, view, "test") for dose in (1e3, 1e4) for view in ("dense", "sparse")]
    assert jobs_of(study, dose_filter=777) == []
    assert jobs_of(study, view_filter="lush") == []
    assert [job.view for job in jobs_of(study, view_filter="custom", split_filter="test")] == ["custom"]


def test_comparison_of_the_baseline_has_no_grouped_arm(study):
    job = jobs_of(study, view_filter="baseline", split_filter="test")[0]
    assert list(job.inputs) == ["data", "baseline", "iterative"]
    assert list(jobs_of(study)[0].inputs) == ["data", "pinn", "baseline", "iterative"]


def test_comparison_of_a_repeat_has_the_supervised_network_where_one_was_trained(own):
    folder = paths.supervised_folder(own.e, DOSE)
    shutil.copytree(own.e / f"dose_{DOSE}" / "baseline", folder)
    job = jobs_of(own, view_filter="dense", split_filter="test")[0]
    assert list(job.inputs) == ["data", "pinn", "baseline", "supervised", "iterative"]
    assert list(jobs_of(own, view_filter="baseline")[0].inputs) == ["data", "baseline", "supervised", "iterative"]
    without = jobs_of(own, design=StudyDesign(supervised=False))[0]
    assert "supervised" not in without.inputs
    flags = ("--view", "dense", "--split", "test", "--repeat", "1")
    assert comparison.main(words(own, own.root / "g", *flags)) == 0
    document = manifest(own.root / "g")
    made = document["jobs"][0]
    assert made["bundle_recorded"] is False  # no training told of this bundle
    rows = {row["arm"]: row for row in made["result"]["rows"]}
    assert list(rows) == ["PtychoPINN", "Baseline", "Supervised", "Hybrid", "PtyChi", "Constant"]
    assert rows["Supervised"]["phase_ssim"] == rows["Baseline"]["phase_ssim"]
    # and the repeat has seeds of its own: other held-out counts, another name in the table
    assert (document["repeat"], {row["seed"] for row in rows.values()}) == (1, {1123})
    drawn = expose_again(read_scan(job.inputs["data"].path), StudyDesign().seeds.simulation + 1000)
    assert made["result"]["heldout_digest"] == drawn.digest()


# -- where the frames are


def test_comparison_finds_frames_in_the_root_it_is_given(own):
    (own.root / "elsewhere").mkdir()
    job = jobs_of(own, phase_d_root=own.root / "elsewhere")[0]
    assert job.inputs["data"].path == paths.view_data(own.root / "elsewhere", DOSE, "dense", "train")
    assert job.data_found_by == "--phase-d-root"


@pytest.mark.parametrize(
    ("phase", "name"), [("f", "reconstruction_manifest.json"), ("e", "training_manifest.json")], ids=["f", "e"]
)
def test_comparison_finds_frames_that_a_manifest_names(own, phase, name):
    own.d.rename(own.root / "views")
    frames = paths.view_data(own.root / "views", DOSE, "dense", "test")
    root = getattr(own, phase)
    listed = {"role": "test", "path": f"../views/{frames.relative_to(own.root / 'views').as_posix()}"}
    other = {"dose": 10 * DOSE, "view": "dense", "inputs": [{"role": "test", "path": "../views/dense_test.npz"}]}
    write_json(root / name, {"jobs": [other, {"dose": DOSE, "view": "dense", "inputs": [listed]}]})
    job = jobs_of(own, view_filter="dense", split_filter="test")[0]
    assert (job.inputs["data"].path, job.data_found_by) == (frames, f"named in {name}")


def test_comparison_finds_frames_beside_phase_c(own):
    assert jobs_of(own)[0].data_found_by == "phase_d beside phase C"
    renamed = own.d.rename(own.root / "views")
    missed = jobs_of(own)[0]
    assert missed.data_found_by == "no manifest names it and nothing beside phase C holds overlap_manifest.json"
    write_json(renamed / "overlap_manifest.json", {})
    job = jobs_of(own)[0]
    assert job.inputs["data"].path == paths.view_data(renamed, DOSE, "dense", "train")
    assert job.data_found_by == "views beside phase C holds overlap_manifest.json"
    write_json(own.root / "more" / "overlap_manifest.json", {})
    assert "more, views beside phase C all hold" in jobs_of(own)[0].data_found_by


def test_comparison_of_the_baseline_uses_phase_c_where_phase_d_has_no_copy(own):
    job = jobs_of(own, view_filter="baseline", split_filter="test")[0]
    assert job.inputs["data"].path == paths.patched(own.c, DOSE, "test")
    assert job.data_found_by == "generation's own frames"
    listed = {"role": "test", "path": f"../phase_c/dose_{DOSE}/patched_test.npz"}
    write_json(
        own.f / "reconstruction_manifest.json", {"jobs": [{"dose": DOSE, "view": "baseline", "inputs": [listed]}]}
    )
    again = jobs_of(own, view_filter="baseline", split_filter="test")[0]
    assert again.inputs["data"].path == paths.patched(own.c, DOSE, "test")
    assert again.data_found_by == "named in reconstruction_manifest.json"


# -- what a run leaves


def test_execute_comparison_jobs_records_summary(study, tmp_path):
    first, second = jobs_of(study, split_filter="test")
    second = replace(second, inputs={**second.inputs, "pinn": Input(tmp_path / "none" / "wts.h5.zip", "training")})
    document = execute_comparison_jobs([first, second], tmp_path / "g")
    assert document == manifest(tmp_path / "g")
    counts = ("n_jobs", "n_executed", "n_success", "n_failed", "n_skipped")
    assert [document[name] for name in counts] == [2, 2, 1, 1, 0]
    good, bad = document["execution_results"]
    assert (
        good.items() >= {"dose": DOSE, "view": "dense", "split": "test", "returncode": 0, "status": "success"}.items()
    )
    assert good["metrics_path"] == f"dose_{DOSE}/dense/test/metrics.csv"
    assert "error" not in good
    assert bad["status"] == "failed"
    assert bad["metrics_path"] is None
    assert re.search(r"none/wts\.h5\.zip: expected a file, found none; training makes it", bad["error"])
    for result in document["execution_results"]:
        assert (tmp_path / "g" / result["log_path"]).read_text()
    summary = (tmp_path / "g" / comparison.SUMMARY).read_text()
    assert summary.startswith("comparisons: 1 succeeded, 1 failed")
    assert all(re.search(rf"\| *1000 \| dense \| test +\| {arm} ", summary) for arm in ARMS)
    assert "failed: sparse/test/dose=1e+03: " in summary


def test_comparison_runs_at_the_same_time_keep_both_records(ran):
    assert ran.codes == {"dense": 0, "sparse": 1}
    document = manifest(ran.root)
    assert [document[name] for name in ("n_jobs", "n_success", "n_failed")] == [2, 1, 1]
    assert len(document["runs"]) == 2
    assert "failed: sparse" in (ran.root / comparison.SUMMARY).read_text()
    assert {row["view"] for row in table(ran.root / "metrics.csv")} == {"dense"}


def test_comparison_leaves_what_the_manifest_lists(ran):
    job = record(ran.root, "dense", "test")
    folder = ran.root / f"dose_{DOSE}" / "dense" / "test"
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {*FILES, "comparison.log"}
    assert [listed["role"] for listed in job["inputs"]] == ["data", "pinn", "baseline", "iterative"]
    assert {Path(listed["path"]).name for listed in job["outputs"]} == set(FILES)
    for listed in job["inputs"] + job["outputs"]:
        path = ran.root / listed["path"]
        assert (listed["sha256"], listed["bytes"]) == (sha256_file(path), path.stat().st_size)
    assert job["data_found_by"] == "phase_d beside phase C"
    assert job["bundle_recorded"] is True
    measured = json.loads(paths.view_metrics(ran.study.d, DOSE, "dense", "test").read_text())
    assert job["acceptance"] == {name: measured[name] for name in job["acceptance"]}
    assert {"n_accepted", "selection_strategy", "linear_overlap_reached", "probe_diameter_px"} <= set(job["acceptance"])


def test_comparison_scores_every_arm_on_the_same_frames_and_unseen_counts(ran):
    job, rows = record(ran.root, "dense", "test"), table(ran.root / "metrics.csv")
    scan = read_scan(paths.view_data(ran.study.d, DOSE, "dense", "test"))
    assert job["result"]["data_digest"] == scan.digest()
    assert job["result"]["heldout_digest"] == expose_again(scan, StudyDesign().seeds.simulation).digest()
    assert [row["arm"] for row in rows] == ARMS
    for row in rows:
        assert (row["dose"], row["view"], row["split"], row["seed"]) == ("1000", "dense", "test", "123")
        assert row["n_frames"] == str(len(scan))
        assert float(row["phase_ssim"]) <= 1
        assert float(row["deviance_heldout"]) > 0
    assert [row["train_seconds"] for row in rows] == ["2.5", "2.5", "2.5", "2.5", "0"]
    told = json.loads((ran.root / f"dose_{DOSE}" / "dense" / "test" / "metrics.json").read_text())
    assert told["settings"]["ms_ssim_sigma"] == StudyDesign().metrics.ms_ssim_sigma


def test_comparison_tells_the_dose_limit_and_the_bias_of_networks(ran):
    rows = {row["arm"]: row for row in table(ran.root / "metrics.csv")}
    for arm, row in rows.items():
        assert float(row["eta"]) > 0
        assert float(row["limit_rmse"]) == pytest.approx(float(rows["Constant"]["limit_rmse"]))
        assert (row["bias_fraction"] != "") == (arm in {"PtychoPINN", "Baseline", "Hybrid"})
    told = json.loads((ran.root / f"dose_{DOSE}" / "dense" / "test" / "metrics.json").read_text())
    assert told["limit"]["probe"] == StudyDesign().metrics.limit == "known"


def test_comparison_refuses_a_reconstruction_of_other_frames(ran, study, tmp_path):
    job = record(ran.root, "sparse", "test")
    assert "PtyChi: expected a reconstruction of this scan" in job["error"]
    assert job["error"] in (ran.root / job["log_path"]).read_text()
    assert job["outputs"] == []
    assert job["returncode"] == 1
    folder = ran.root / f"dose_{DOSE}" / "sparse" / "test"
    assert not any((folder / name).exists() for name in FILES)
    unknown = jobs_of(study, view_filter="dense", split_filter="test")[0]
    made = Reconstruction.load(unknown.inputs["iterative"].path)
    replace(made, data_digest="").save(tmp_path / "unknown.npz")
    unknown = replace(unknown, inputs={**unknown.inputs, "iterative": Input(tmp_path / "unknown.npz", "me")})
    with pytest.raises(DataError, match=r"unknown\.npz: expected it to say which frames it was made from; run recon"):
        execute_comparison_job(**arguments(unknown, tmp_path))


def test_comparison_root_table_is_that_of_all_jobs_that_succeeded(ran, tmp_path):
    root = shutil.copytree(ran.root, tmp_path / "g")
    done = comparison._manifest(root, StudyDesign())
    job = record(root, "dense", "test")
    for dose, split in ((20000, "test"), (DOSE, "train")):
        rows = [{**row, "dose": dose, "split": split} for row in job["result"]["rows"]]
        done.record({**job, "dose": dose, "split": split, "result": {**job["result"], "rows": rows}})
    comparison._write_tables(done, StudyDesign())
    rows = table(root / "metrics.csv")
    order = [("1000", "train"), ("1000", "test"), ("20000", "test")]
    assert [(row["dose"], row["split"]) for row in rows] == [key for key in order for _ in ARMS]
    assert rows[len(ARMS) : 2 * len(ARMS)] == table(root / f"dose_{DOSE}" / "dense" / "test" / "metrics.csv")


def test_comparison_that_fails_later_supersedes_the_one_that_succeeded(ran, tmp_path):
    root = shutil.copytree(ran.root, tmp_path / "g")
    before = record(root, "dense", "test")
    gone = SimpleNamespace(c=ran.study.c, e=tmp_path / "no_e", f=ran.study.f)
    assert comparison.main(words(gone, root, "--view", "dense", "--split", "test")) == 1
    document = manifest(root)
    assert [document[name] for name in ("n_jobs", "n_success", "n_failed")] == [2, 0, 2]
    assert document["superseded"] == [before]
    assert table(root / "metrics.csv") == []
    assert (root / "metrics.csv").read_text() == ",".join(table_columns()) + "\n"
    assert not any((root / f"dose_{DOSE}" / "dense" / "test" / name).exists() for name in FILES)


def table_columns() -> list[str]:
    from foldlight.compare.table import Row

    return Row.columns()


# -- what fails


def test_comparison_names_each_missing_file_and_its_phase(own, tmp_path, capsys):
    paths.bundle(own.e / f"dose_{DOSE}" / "baseline").unlink()
    paths.ptychi_file(own.f, DOSE, "dense", "train").unlink()
    shutil.rmtree(own.d)
    root = tmp_path / "g"
    assert comparison.main(words(own, root, "--split", "train")) == 1
    errors = {result["view"]: result["error"] for result in manifest(root)["execution_results"]}
    assert list(errors) == ["dense", "sparse"]
    for error in errors.values():
        assert re.search(r"dose_1000/baseline/wts\.h5\.zip: expected a file, found none; training makes it", error)
        assert re.search(
            r"phase_d/dose_1000/\w+/\w+_train\.npz: expected a file, found none; no manifest names it and nothing"
            r" beside phase C holds overlap_manifest\.json; overlap makes it",
            error,
        )
    assert "ptychi_reconstruction.npz: expected a file, found none; reconstruction makes it" in errors["dense"]
    assert "ptychi" not in errors["sparse"]
    assert "comparison [dense/train/dose=1e+03]: failed: " in capsys.readouterr().out
    for job in manifest(root)["jobs"]:
        assert job["bundle_recorded"] is False
        assert job["acceptance"] is None
        assert errors[job["view"]] in (root / job["log_path"]).read_text()


def test_comparison_fails_when_one_arm_fails(study, tmp_path):
    job = jobs_of(study, split_filter="test")[0]
    broken = tmp_path / "broken" / "wts.h5.zip"
    broken.parent.mkdir()
    broken.write_bytes(job.inputs["pinn"].path.read_bytes()[:-200])
    job = replace(job, inputs={**job.inputs, "pinn": Input(broken, "training")})
    with pytest.raises(BundleError, match="expected a whole zip file"):
        execute_comparison_job(**arguments(job, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_comparison_without_truth_leaves_the_same_files_and_no_deviance(study, tmp_path):
    job = jobs_of(study, split_filter="test")[0]
    bare = tmp_path / "bare.npz"
    write_data001(bare, replace(read_scan(job.inputs["data"].path), object=None, object_is_truth=False))
    job = replace(job, inputs={**job.inputs, "data": Input(bare, "overlap")})
    made = execute_comparison_job(**arguments(job, tmp_path / "out"))
    assert made["heldout_digest"] is None
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(FILES)
    assert {row["deviance_heldout"] for row in table(tmp_path / "out" / "metrics.csv")} == {""}
    assert table(tmp_path / "out" / "frc_curves.csv") == []


def test_comparison_ends_at_its_time_limit_and_the_next_one_runs(study, tmp_path):
    assert comparison.main(words(study, tmp_path, "--view", "dense", "--timeout", "0.2")) == 1
    results = manifest(tmp_path)["execution_results"]
    assert [result["split"] for result in results] == ["train", "test"]
    for result in results:
        assert "expected an end within 0.2 s" in result["error"]
        assert result["error"] in (tmp_path / result["log_path"]).read_text()
        assert record(tmp_path, "dense", result["split"])["timed_out"] is True


def test_comparison_that_is_killed_from_outside_is_recorded_as_failed(study, tmp_path):
    killed = threading.Thread(target=_kill_child, daemon=True)
    killed.start()
    document = execute_comparison_jobs(jobs_of(study, view_filter="dense", split_filter="test"), tmp_path)
    killed.join(timeout=30)
    job = document["jobs"][0]
    assert (job["status"], job["signal"], job["returncode"]) == ("failed", "SIGKILL", -9)
    assert "ended by SIGKILL" in job["error"]
    assert "ended by SIGKILL" in (tmp_path / job["log_path"]).read_text()


def _kill_child() -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):  # others come and go
                if "foldlight.study.child" in child.cmdline():
                    child.kill()
                    return
        time.sleep(0.02)


# -- how it is called


def test_comparison_dry_run_tells_and_changes_no_result(ran, tmp_path, capsys):
    assert comparison.main(words(ran.study, tmp_path / "new", "--dry-run")) == 0
    said = capsys.readouterr().out
    assert "comparison [dense/train/dose=1e+03]: dry-run: its 4 files are there" in said
    document = manifest(tmp_path / "new")
    assert {job["status"] for job in document["jobs"]} == {"dry-run"}
    assert (document["n_jobs"], document["n_executed"], document["execution_results"]) == (4, 0, [])
    assert [path.name for path in (tmp_path / "new").iterdir() if path.suffix != ".lock"] == [comparison.MANIFEST]
    root = shutil.copytree(ran.root, tmp_path / "g")
    gone = SimpleNamespace(c=ran.study.c, e=tmp_path / "no_e", f=ran.study.f)
    assert comparison.main(words(gone, root, "--dry-run", "--split", "test")) == 0
    assert "no_e/dose_1000/dense/wts.h5.zip: expected a file, found none; training makes it" in capsys.readouterr().out
    assert record(root, "dense", "test") == record(ran.root, "dense", "test")
    assert (root / "metrics.csv").read_bytes() == (ran.root / "metrics.csv").read_bytes()


def test_comparison_that_matches_nothing_is_exit_code_two_with_a_manifest(study, tmp_path, capsys):
    for name, value in (("--view", "lush"), ("--dose", "777")):
        assert comparison.main(words(study, tmp_path / value, name, value)) == 2
        assert manifest(tmp_path / value)["n_jobs"] == 0
        said = capsys.readouterr()
        assert f"warning: {name} {value}" in said.err
        assert "no comparison matched" in said.out
    empty = SimpleNamespace(c=tmp_path / "none", e=study.e, f=study.f)
    assert comparison.main(words(empty, tmp_path / "g")) == 2
    assert "none: expected dose folders, found none; generation makes them" in capsys.readouterr().err


@pytest.mark.parametrize(
    "bad",
    [("--dos", "1000"), ("--split", "validation"), ("--timeout", "0"), ("--accelerator", "abacus")],
    ids=lambda bad: bad[0],
)
def test_comparison_bad_usage_is_exit_code_two_without_a_manifest(study, tmp_path, bad):
    with pytest.raises(SystemExit) as stop:
        comparison.main(words(study, tmp_path / "g", *bad))
    assert stop.value.code == 2
    assert not (tmp_path / "g").exists()


def test_comparison_is_a_command_that_starts_without_torch(study, tmp_path):
    started = [sys.executable, "-X", "importtime", "-m", "studies.fly64_dose_overlap.comparison"]
    flags = ["--dose", "1000", "--view", "sparse", "--split", "train", "--dry-run"]
    done = subprocess.run(
        [*started, *words(study, tmp_path, *flags)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "comparison [sparse/train/dose=1e+03]: dry-run" in done.stdout
    assert not re.search(r"\| +torch$", done.stderr, flags=re.MULTILINE)
