"""Phase E on small real data: bundles, digests, records, and everything that can go wrong with a job."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from dataclasses import replace

import psutil
import pytest
import torch

from foldlight.bundle import read_bundle
from foldlight.core.errors import DataError, SettingsError
from foldlight.core.files import write_json
from foldlight.core.provenance import sha256_file
from foldlight.io import read_scan, write_data001
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings
from foldlight.train import fit as fit_module
from studies.fly64_dose_overlap import paths, training
from studies.fly64_dose_overlap.design import BASELINE, CUSTOM, SPLITS, get_study_design
from studies.fly64_dose_overlap.training import (
    TrainingJob,
    TrainingOptions,
    build_training_jobs,
    execute_training_job,
    main,
    run_training_job,
)

SMALL = SimulationSettings(object_size=80, window=32, positions=80, probe_diameter_px=14.0, dose=3e4)
DESIGN = """
neighbours = 5

[training]
pixels = 165888  # two epochs of 81 frames of 32 x 32 px
least_epochs = 1

[training.settings]
batch_frames = 16
guard_px = 4.0

[training.network]
width = 4
levels = 2
consistency_steps = 1
"""
REPEATABLE = ("--accelerator", "cpu", "--deterministic", "--num-workers", 0)

Study = namedtuple("Study", "c d design_file design")
Ran = namedtuple("Ran", "code out err")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """Phase C with one dose, phase D with the view `dense` alone, and a design for tiny networks."""
    root = tmp_path_factory.mktemp("study")
    c, d, design = root / "phase_c", root / "phase_d", root / "design.toml"
    for seed, split in enumerate(SPLITS):
        scan = simulate(SMALL.model_copy(update={"seed": seed}))
        write_data001(paths.patched(c, 1000, split), scan)
        write_data001(paths.view_data(d, 1000, "dense", split), scan)
    design.write_text(DESIGN)
    return Study(c, d, design, get_study_design(design))


def run(study: Study, root, *words) -> Ran:
    given = ["--phase-c-root", study.c, "--phase-d-root", study.d, "--artifact-root", root]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in (*given, "--design", study.design_file, *words)])
    return Ran(code, out.getvalue(), err.getvalue())


def manifest(root) -> dict:
    return json.loads((root / training.MANIFEST).read_text())


def record(root, view: str) -> dict:
    return next(job for job in manifest(root)["jobs"] if job["view"] == view)


def job_of(study: Study, root, view: str, **filters) -> TrainingJob:
    return build_training_jobs(study.c, study.d, root, [1000.0], [view], design=study.design, **filters)[0]


@pytest.fixture(scope="module")
def trained(study, tmp_path_factory):
    """Two runs into one root, one view each, as a user makes them."""
    root = tmp_path_factory.mktemp("phase_e")
    runs = [
        run(study, root, "--dose", 1000, "--view", "dense", "--gridsize", 2, *REPEATABLE),
        run(study, root, "--dose", 1000, "--view", "baseline", "--gridsize", 1, *REPEATABLE),
    ]
    return root, runs


def test_training_cli_keeps_both_runs_in_one_manifest(trained):
    root, runs = trained
    assert [ran.code for ran in runs] == [0, 0]
    document = manifest(root)
    assert [(job["view"], job["gridsize"], job["status"]) for job in document["jobs"]] == [
        ("baseline", 1, "success"),
        ("dense", 2, "success"),
    ]
    counts = {name: document[name] for name in ("n_jobs", "n_executed", "n_success", "n_failed", "n_skipped")}
    assert counts == {"n_jobs": 2, "n_executed": 2, "n_success": 2, "n_failed": 0, "n_skipped": 0}
    assert document["skipped_views"] == []
    assert json.loads((root / document["skip_summary_path"]).read_text()) == {"skipped_views": []}
    assert len(document["runs"]) == 2


def test_training_cli_prints_and_records_the_digest_of_the_file(trained):
    root, runs = trained
    for ran, view in zip(runs, ("dense", "baseline"), strict=True):
        bundle, result = root / f"dose_1000/{view}/wts.h5.zip", record(root, view)["result"]
        digest, size = sha256_file(bundle), bundle.stat().st_size
        assert re.fullmatch(r"[0-9a-f]{64}", digest)
        assert (result["bundle_sha256"], result["bundle_size_bytes"]) == (digest, size)
        assert result["bundle_path"] == f"dose_1000/{view}/wts.h5.zip"
        assert ran.out.splitlines()[1:4] == [
            f"    → Bundle [{view}/dose=1e+03]: dose_1000/{view}/wts.h5.zip",
            f"    → SHA256 [{view}/dose=1e+03]: {digest}",
            f"    → Size [{view}/dose=1e+03]: {size} bytes",
        ]


def test_training_cli_records_what_was_asked_and_what_was_used(trained):
    root, _ = trained
    job = record(root, "dense")
    result = job["result"]
    assert job["asked"] == {
        "accelerator": "cpu",
        "deterministic": True,
        "num_workers": 0,
        "epochs": None,
        "timeout": None,
    }
    used = {name: result[name] for name in ("device", "deterministic", "threads", "interop_threads", "num_workers")}
    assert used == {"device": "cpu", "deterministic": True, "threads": 1, "interop_threads": 1, "num_workers": 0}
    assert (result["epochs_completed"], result["n_images"], result["window"]) == (2, 81, [32, 32])
    assert result["best_validation_loss"] < result["flat_loss"]
    assert result["collapsed"] is False
    assert result["peak_rss_mb"] > 50
    assert 0 < result["train_seconds"] < result["seconds"]


def test_training_cli_lists_every_file_with_its_digest(trained):
    root, _ = trained
    job = record(root, "dense")
    assert [given["role"] for given in job["inputs"]] == ["train", "test"]
    for listed in (*job["inputs"], *job["outputs"]):
        path = root / listed["path"]
        assert (listed["sha256"], listed["bytes"]) == (sha256_file(path), path.stat().st_size)
    folder = root / job["artifact_dir"]
    assert {path.name for path in folder.iterdir()} == {"wts.h5.zip", "history.csv", "training.json", "train.log"}
    log = (root / job["log_path"]).read_text()
    assert re.search(r"^epoch 2/2 ", log, flags=re.MULTILINE)
    assert job["result"]["bundle_sha256"] in log


def test_training_cli_teaches_a_network_the_true_object_when_asked_to(study, tmp_path):
    ran = run(study, tmp_path, "--dose", 1000, "--view", "supervised", *REPEATABLE)
    assert ran.code == 0
    job = manifest(tmp_path)["jobs"][0]
    bundle = tmp_path / "dose_1000/supervised/gs1/wts.h5.zip"
    assert (job["view"], job["gridsize"], job["data_source"]) == ("supervised", 1, "generation")
    assert ran.out.splitlines()[1:3] == [
        "    → Bundle [supervised/gs1/dose=1e+03]: dose_1000/supervised/gs1/wts.h5.zip",
        f"    → SHA256 [supervised/gs1/dose=1e+03]: {sha256_file(bundle)}",
    ]
    model = read_bundle(bundle)
    assert (model.supervision, model.group_size) == ("object", 1)
    by_default = build_training_jobs(study.c, study.d, tmp_path, [1000], design=study.design)
    assert [each.view for each in by_default] == ["baseline", "dense", "sparse"]


def test_training_cli_teaches_nobody_by_frames_without_a_true_object(study, tmp_path):
    c = tmp_path / "phase_c"
    for split in SPLITS:
        scan = read_scan(paths.patched(study.c, 1000, split))
        write_data001(paths.patched(c, 1000, split), replace(scan, object_is_truth=False))
    ran = run(study._replace(c=c), tmp_path / "e", "--dose", 1000, "--view", "supervised")
    assert ran.code == 2
    skipped = manifest(tmp_path / "e")["skipped_views"]
    told = f"{paths.patched(c, 1000, 'train')}: expected simulated frames with their true object, got none"
    assert [each["reason"] for each in skipped] == [f"{told}; leave out --view supervised"]
    paths.patched(c, 1000, "train").write_bytes(b"no scan")
    assert run(study._replace(c=c), tmp_path / "e", "--dose", 1000, "--view", "supervised").code == 1


def test_training_cli_of_a_repeat_has_its_own_seed_and_folder(study, trained, tmp_path):
    ran = run(study, tmp_path, "--dose", 1000, "--view", "dense", "--epochs", 1, "--repeat", 1, *REPEATABLE)
    assert ran.code == 0
    document, first = manifest(tmp_path), manifest(trained[0])
    assert (document["repeat"], first["repeat"]) == (1, 0)
    assert document["seeds"] == {name: seed + 1000 for name, seed in first["seeds"].items()}
    assert read_bundle(tmp_path / "dose_1000/dense/wts.h5.zip").training["settings"]["seed"] == 1123
    mixed = run(study, tmp_path, "--dose", 1000, "--view", "dense")
    assert mixed.code == 2
    assert (
        f"--repeat 0: expected a folder of its own, but {tmp_path}/training_manifest.json is of repeat 1" in mixed.err
    )
    assert run(study, tmp_path / "f", "--repeat", -1).code == 2
    assert not (tmp_path / "f").exists()


def test_training_cli_takes_the_whole_split_of_phase_c_for_a_baseline_without_a_view(trained, study):
    root, _ = trained
    job = record(root, "baseline")
    assert job["data_source"] == "generation"
    assert (root / job["train_data_path"]).resolve() == paths.patched(study.c, 1000, "train").resolve()
    assert record(root, "dense")["data_source"] == "overlap"


def test_execute_training_job_persists_bundle(study, trained, tmp_path):
    job = job_of(study, tmp_path, "dense")
    facts = execute_training_job(job, study.design, TrainingOptions(accelerator="cpu", deterministic=True))
    bundle = job.artifact_dir / "wts.h5.zip"
    model = read_bundle(bundle)
    assert (model.window, model.group_size) == ((32, 32), 4)
    assert model.training["settings"]["neighbours"] == 5
    assert model.training["settings"]["seed"] == study.design.seeds.grouping
    assert model.training["final_loss"] == facts["final_loss"]
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    # the same data, seed and threads: the same bytes, in whatever process
    assert sha256_file(bundle) == record(trained[0], "dense")["result"]["bundle_sha256"]


def kill_first_job() -> None:
    """As an operator or the kernel would."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "foldlight.study.child" in child.cmdline():
                    child.kill()
                    return
        time.sleep(0.02)


def test_training_cli_goes_on_after_a_killed_job_and_repeats_the_other_to_the_bit(study, trained, tmp_path):
    root = tmp_path / "phase_e"
    shutil.copytree(trained[0], root)
    before = record(root, "dense")["result"]["bundle_sha256"]
    killer = threading.Thread(target=kill_first_job)
    killer.start()
    ran = run(study, root, "--dose", 1000, "--view", "dense", "baseline", *REPEATABLE)
    killer.join()
    assert ran.code == 1
    killed, repeated = record(root, "baseline"), record(root, "dense")
    assert (killed["status"], killed["result"]["signal"]) == ("failed", "SIGKILL")
    assert "ended by SIGKILL" in killed["result"]["error"]
    assert f"failed [baseline/dose=1e+03]: {killed['result']['error']}" in ran.out
    assert not (root / "dose_1000/baseline/wts.h5.zip").exists()  # that of an earlier run must not pass for this one's
    assert killed["outputs"] == []
    assert repeated["status"] == "success"
    assert repeated["result"]["bundle_sha256"] == before
    document = manifest(root)
    assert [job["view"] for job in document["superseded"]] == ["baseline", "dense"]
    assert (document["n_executed"], document["n_success"], document["n_failed"]) == (2, 1, 1)


def test_training_cli_ends_a_job_at_its_time_limit(study, tmp_path):
    ran = run(study, tmp_path, "--dose", 1000, "--view", "dense", "--timeout", 1, *REPEATABLE)
    assert ran.code == 1
    result = record(tmp_path, "dense")["result"]
    assert (result["status"], result["timed_out"]) == ("failed", True)
    assert re.search("expected an end within 1 s.*raise --timeout", result["error"])
    assert result["error"] in (tmp_path / "dose_1000/dense/train.log").read_text()


def test_training_cli_skips_what_has_no_data_and_says_who_makes_it(study, tmp_path):
    ran = run(study, tmp_path, "--dose", 1000, 7000, "--view", "sparse", "baseline", "--dry-run")
    assert ran.code == 0  # the baseline of 1000 photons could be trained
    ran = run(study, tmp_path, "--dose", 1000, 7000, "--view", "sparse")
    assert ran.code == 2
    document = manifest(tmp_path)
    reasons = {(each["dose"], each["view"]): each["reason"] for each in document["skipped_views"]}
    own = paths.view_data(study.d, 1000, "sparse", "train")
    assert reasons[1000, "sparse"] == f"{own}: expected a file, found none; overlap makes it"
    assert str(paths.view_data(study.d, 7000, "sparse", "train")) in reasons[7000, "sparse"]
    assert "generation" in reasons[7000, "sparse"]
    assert "skipped: " + reasons[1000, "sparse"] in ran.out
    assert document["n_skipped"] == 2
    summary = json.loads((tmp_path / "skip_summary.json").read_text())
    assert summary["skipped_views"] == document["skipped_views"]


def test_training_cli_dry_run_tells_and_replaces_nothing(study, trained, tmp_path):
    root = tmp_path / "phase_e"
    shutil.copytree(trained[0], root)
    ran = run(study, root, "--dose", 1000, "--dry-run")
    assert ran.code == 0
    assert "[dense/dose=1e+03]: gridsize 2" in ran.out
    jobs = manifest(root)["jobs"]
    assert [(job["view"], job["status"]) for job in jobs] == [
        ("baseline", "success"),
        ("dense", "success"),
        ("sparse", "dry-run"),
    ]
    assert sha256_file(root / "dose_1000/dense/wts.h5.zip") == record(root, "dense")["result"]["bundle_sha256"]


def test_training_cli_without_anything_to_do_writes_its_manifest_and_ends_with_2(study, tmp_path):
    empty = Study(tmp_path / "nothing", tmp_path / "nowhere", study.design_file, study.design)
    assert run(empty, tmp_path / "e").code == 2
    document = manifest(tmp_path / "e")
    assert {job["status"] for job in document["jobs"]} == {"skipped"}
    assert all("generation" in each["reason"] for each in document["skipped_views"])
    ran = run(study, tmp_path / "f", "--view", "dense", "coarse")
    assert ran.code == 2
    assert "expected one of baseline, dense, sparse, custom, supervised, got coarse" in ran.err
    assert manifest(tmp_path / "f")["jobs"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--accelerator", "tpu"), "expected auto, cpu, gpu, cuda or cuda:N"),
        (("--epochs", "0"), "--epochs: expected 1 or more"),
        (("--num-workers", "-1"), "--num-workers: expected 0 or more"),
        (("--gridsize", "3"), "invalid choice '3'"),
        (("--views", "dense"), "--view"),
    ],
)
def test_training_cli_bad_usage_ends_with_2_and_writes_nothing(study, tmp_path, capsys, words, said):
    given = ["--phase-c-root", study.c, "--phase-d-root", study.d, "--artifact-root", tmp_path / "e", *words]
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in given])
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", "").split())
    assert not (tmp_path / "e").exists()


def test_training_cli_answers_for_help_without_torch():
    code = "import sys; import studies.fly64_dose_overlap.training; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_jobs_come_by_dose_then_in_the_order_of_the_design(study, tmp_path):
    jobs = build_training_jobs(study.c, study.d, tmp_path, [1e5, 1000], ["sparse", "dense"], design=study.design)
    assert [(job.dose, job.view) for job in jobs] == [(1e3, "dense"), (1e3, "sparse"), (1e5, "dense"), (1e5, "sparse")]
    (tmp_path / "phase_c/dose_500").mkdir(parents=True)
    everything = build_training_jobs(tmp_path / "phase_c", study.d, tmp_path, design=study.design)
    assert [job.dose for job in everything if job.view == BASELINE] == [500, 1e3, 1e4, 1e5]


def test_another_gridsize_has_a_folder_of_its_own(study, tmp_path):
    job = job_of(study, tmp_path, "dense", gridsize=1)
    assert (job.gridsize, job.artifact_dir) == (1, tmp_path / "dose_1000/dense_gs1")
    assert job.label == "dense_gs1/dose=1e+03"
    assert job_of(study, tmp_path, "dense", gridsize=2).artifact_dir == tmp_path / "dose_1000/dense"


@pytest.fixture
def custom(study, tmp_path) -> Study:
    """Phase D with the view `custom`, measured with its own numbers."""
    d = tmp_path / "phase_d"
    for split in SPLITS:
        path = paths.view_data(d, 1000, CUSTOM, split)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(paths.patched(study.c, 1000, split), path)
    facts = {"gridsize": 2, "neighbor_count": 6, "n_groups": 40}
    write_json(paths.view_metrics(d, 1000, CUSTOM, "train"), facts)
    return study._replace(d=d)


def test_custom_is_trained_as_phase_d_measured_it(custom, tmp_path):
    job = job_of(custom, tmp_path, CUSTOM)
    assert (job.gridsize, job.neighbours, job.groups, job.reason) == (2, 6, 40, None)
    execute_training_job(job, custom.design, TrainingOptions(accelerator="cpu", epochs=1, num_workers=1))
    model = read_bundle(paths.bundle(job.artifact_dir))
    assert model.training["n_groups"] == 40
    names = [given.view for given in build_training_jobs(custom.c, custom.d, tmp_path, [1000], design=custom.design)]
    assert CUSTOM not in names  # only when asked for


def test_custom_without_sound_metrics_is_refused(custom, tmp_path):
    path = paths.view_metrics(custom.d, 1000, CUSTOM, "train")
    write_json(path, {"gridsize": 2})
    with pytest.raises(DataError, match=r"train_metrics.json: expected whole numbers gridsize.*run overlap again"):
        job_of(custom, tmp_path, CUSTOM)
    path.unlink()
    assert (
        "train_metrics.json: expected a file, found none; overlap makes it" in job_of(custom, tmp_path, CUSTOM).reason
    )


def test_too_few_neighbours_are_refused_with_both_numbers(study, tmp_path):
    job = replace(job_of(study, tmp_path, "dense"), neighbours=3)
    with pytest.raises(SettingsError, match="expected K >= C = 4 for the view dense, got K = 3"):
        execute_training_job(job, study.design)


def test_halves_of_different_frame_size_are_refused(study, tmp_path):
    other = tmp_path / "other.npz"
    write_data001(other, simulate(SMALL.model_copy(update={"window": 16, "probe_diameter_px": 8.0})))
    job = replace(job_of(study, tmp_path, "dense"), test_data_path=other)
    with pytest.raises(DataError, match=r"other.npz: expected frames of 32 x 32 px .* got 16 x 16; run overlap again"):
        execute_training_job(job, study.design)


def test_a_collapsed_network_is_kept_and_called_so(study, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_module, "_LEAST_GAIN", 1e12)
    job = job_of(study, tmp_path, "dense")
    facts = execute_training_job(job, study.design, TrainingOptions(accelerator="cpu", epochs=1))
    assert facts["collapsed"] is True
    assert read_bundle(paths.bundle(job.artifact_dir)).training["collapsed"] is True
    # without --deterministic: all cores, and the process gets back what it had
    assert (facts["deterministic"], facts["threads"]) == (False, os.cpu_count())
    assert torch.get_num_threads() == 1


def test_a_skipped_job_is_a_record_without_a_process(study, tmp_path):
    skipped = run_training_job(job_of(study, tmp_path, "sparse"), study.design)
    assert (skipped["status"], skipped["result"]) == ("skipped", {"status": "skipped"})
    assert not (tmp_path / "dose_1000").exists()
