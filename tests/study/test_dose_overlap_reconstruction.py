"""Phase F on small real data, with pty-chi in its process: files, fairness, logs, and jobs that fail."""

import contextlib
import io
import json
import re
import threading
import time
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from foldlight.core.errors import SettingsError
from foldlight.core.provenance import sha256_file
from foldlight.io import read_scan, write_data001
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings
from foldlight.train import device
from studies.fly64_dose_overlap import paths, reconstruction
from studies.fly64_dose_overlap.design import SPLITS, get_study_design
from studies.fly64_dose_overlap.reconstruction import PtychiOptions, build_ptychi_jobs, main, run_ptychi_job

SMALL = SimulationSettings(object_size=80, window=32, positions=80, probe_diameter_px=14.0, dose=3e4)

Study = namedtuple("Study", "c d design_file design")
Ran = namedtuple("Ran", "code out err")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """Phase C with one dose, phase D with the view `dense` alone, and a design with a short engine run."""
    root = tmp_path_factory.mktemp("study")
    c, d, design = root / "phase_c", root / "phase_d", root / "design.toml"
    for seed, split in enumerate(SPLITS):
        scan = simulate(SMALL.model_copy(update={"seed": seed}))
        write_data001(paths.patched(c, 1000, split), scan)
        write_data001(paths.view_data(d, 1000, "dense", split), scan)
    design.write_text("[reconstruction]\nepochs = 3\n")
    return Study(c, d, design, get_study_design(design))


def run(study: Study, root, *words) -> Ran:
    given = ["--phase-c-root", study.c, "--phase-d-root", study.d, "--artifact-root", root]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in (*given, "--design", study.design_file, *words)])
    return Ran(code, out.getvalue(), err.getvalue())


def manifest(root) -> dict:
    return json.loads((root / reconstruction.MANIFEST).read_text())


def record(root, view: str, split: str) -> dict:
    return next(job for job in manifest(root)["jobs"] if (job["view"], job["split"]) == (view, split))


@pytest.fixture(scope="module")
def made(study, tmp_path_factory):
    """One half of a view that is there, and of one that is not, with another engine than the design's."""
    root = tmp_path_factory.mktemp("phase_f")
    words = ("--dose", 1000, "--view", "dense", "sparse", "--split", "test", "--engine", "dm", "--accelerator", "cpu")
    return root, run(study, root, *words)


def test_the_reconstruction_is_of_the_frames_with_the_scans_own_probe(study, made):
    root, _ = made
    found = Reconstruction.load(paths.ptychi_file(root, 1000, "dense", "test"))
    scan = read_scan(paths.view_data(study.d, 1000, "dense", "test"))
    assert (found.arm, found.object.shape) == ("DM", scan.canvas)
    assert found.data_digest == scan.digest()
    assert (found.probe == scan.probe).all()
    assert found.settings["fit_probe"] is False
    assert found.ledger.n_frames == len(scan)


def test_the_record_says_what_was_done_and_lists_every_file(study, made):
    root, _ = made
    job = record(root, "dense", "test")
    result = job["result"]
    said = {name: result[name] for name in ("status", "engine", "arm", "epochs", "n_frames", "device", "threads")}
    assert said == {
        "status": "success",
        "engine": "dm",
        "arm": "DM",
        "epochs": 3,
        "n_frames": 81,
        "device": "cpu",
        "threads": 1,
    }
    assert result["data_digest"] == read_scan(paths.view_data(study.d, 1000, "dense", "test")).digest()
    assert job["asked"] == {"engine": "dm", "num_epochs": None, "accelerator": "cpu", "timeout": None}
    assert [given["role"] for given in job["inputs"]] == ["test"]
    assert [left["role"] for left in job["outputs"]] == ["reconstruction", "picture"]
    for listed in (*job["inputs"], *job["outputs"]):
        path = root / listed["path"]
        assert (listed["sha256"], listed["bytes"]) == (sha256_file(path), path.stat().st_size)
    assert result["reconstruction_path"] == "dose_1000/dense/test/ptychi_reconstruction.npz"


def test_one_log_holds_the_job_and_the_engine(made):
    root, _ = made
    log = (root / "dose_1000/dense/test/ptychi.log").read_text()
    losses = re.findall(r"^epoch (\d)/3: loss ([^,]+),", log, flags=re.MULTILINE)
    assert [epoch for epoch, _ in losses] == ["1", "2", "3"]
    assert float(losses[-1][1]) == record(root, "dense", "test")["result"]["final_loss"]
    before, after = log.index("81 frames, 3 epochs of DM on cpu"), log.index("ptychi_reconstruction.npz")
    assert before < log.index("epoch 1/3") < log.index("epoch 3/3") < after


def test_a_view_without_data_is_a_failed_job_and_stops_no_other(study, made):
    root, ran = made
    assert ran.code == 1
    job = record(root, "sparse", "test")
    lost = paths.view_data(study.d, 1000, "sparse", "test")
    assert (job["status"], job["result"]["error"]) == (
        "failed",
        f"{lost}: expected a file, found none; overlap makes it",
    )
    assert f"failed [sparse/test/dose=1e+03]: {job['result']['error']}" in ran.out
    assert "→ DM [dense/test/dose=1e+03]: 3 epochs, 81 frames" in ran.out
    document = manifest(root)
    assert (document["n_executed"], document["n_success"], document["n_failed"]) == (2, 1, 1)


def test_missing_data_can_be_allowed(study, tmp_path):
    ran = run(study, tmp_path, "--dose", 1000, 7000, "--view", "sparse", "--split", "test", "--allow-missing-phase-d")
    assert ran.code == 2
    skipped = json.loads((tmp_path / "skip_summary.json").read_text())["skipped_views"]
    assert skipped == manifest(tmp_path)["skipped_views"]
    assert [(each["dose"], each["view"], each["split"]) for each in skipped] == [
        (1000, "sparse", "test"),
        (7000, "sparse", "test"),
    ]
    assert skipped[0]["reason"].endswith("sparse_test.npz: expected a file, found none; overlap makes it")
    assert "generation" in skipped[1]["reason"]


def test_a_dry_run_tells_and_does_nothing(study, tmp_path):
    ran = run(study, tmp_path, "--dry-run")
    assert ran.code == 0
    document = manifest(tmp_path)
    assert [(job["view"], job["split"], job["status"]) for job in document["jobs"]] == [
        (view, split, "dry-run") for view in ("baseline", "dense", "sparse") for split in ("test", "train")
    ]
    assert document["n_executed"] == 0
    assert "[dense/train/dose=1e+03]" in ran.out
    assert not (tmp_path / "dose_1000").exists()


def test_jobs_come_by_dose_view_and_split(study, tmp_path):
    jobs = build_ptychi_jobs(study.c, study.d, tmp_path, [1e5, 1e3], ["sparse", "dense"], design=study.design)
    assert [(job.dose, job.view, job.split) for job in jobs] == [
        (dose, view, split) for dose in (1e3, 1e5) for view in ("dense", "sparse") for split in ("train", "test")
    ]
    default = build_ptychi_jobs(study.c, study.d, tmp_path, design=study.design)
    assert {job.dose for job in default} == {1e3}  # what was generated
    whole = next(job for job in default if job.view == "baseline")
    assert (whole.data_path, whole.data_source) == (paths.patched(study.c, 1000, "train"), "generation")
    only = build_ptychi_jobs(study.c, study.d, tmp_path, split_filter=["test"], design=study.design)
    assert {job.split for job in only} == {"test"}


def test_nothing_generated_and_unknown_views_end_with_2(study, tmp_path):
    empty = study._replace(c=tmp_path / "nothing")
    assert run(empty, tmp_path / "e").code == 2
    assert manifest(tmp_path / "e")["jobs"] == []
    ran = run(study, tmp_path / "f", "--view", "coarse")
    assert (ran.code, "expected one of baseline, dense, sparse, custom, got coarse" in ran.err) == (2, True)


@pytest.mark.parametrize("words", [("--engine", "epie"), ("--num-epochs", "0"), ("--accelerator", "tpu")])
def test_bad_usage_ends_with_2_and_writes_nothing(study, tmp_path, capsys, words):
    given = ["--phase-c-root", study.c, "--phase-d-root", study.d, "--artifact-root", tmp_path / "e", *words]
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in given])
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


def test_a_gpu_that_the_engine_can_not_take_is_refused(study, tmp_path, monkeypatch):
    job = build_ptychi_jobs(study.c, study.d, tmp_path, [1000], ["dense"], design=study.design)[0]
    monkeypatch.setattr(device, "resolve_accelerator", lambda name: name)
    with pytest.raises(SettingsError, match=r"--accelerator cuda:1: .* set CUDA_VISIBLE_DEVICES=1 and --accelerator"):
        reconstruction.execute_ptychi_job(job, study.design, PtychiOptions(accelerator="cuda:1"))


def test_an_engine_at_work_can_be_followed_and_ends_with_its_job(study, tmp_path):
    job = build_ptychi_jobs(study.c, study.d, tmp_path, [1000], ["dense"], design=study.design)[1]
    engines: list[psutil.Process] = []

    def kill_at_work() -> None:
        """When the log tells of an epoch, as somebody reads who then ends the job hard."""
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and not re.search("^epoch 2/", _text(job.log_path), re.MULTILINE):
            time.sleep(0.05)
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "foldlight.reconstruct.ptychi_child" in child.cmdline():
                    engines.append(child)
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "foldlight.study.child" in child.cmdline():
                    child.kill()

    killer = threading.Thread(target=kill_at_work)
    killer.start()
    facts = run_ptychi_job(job, study.design, PtychiOptions(num_epochs=100_000, timeout=120))
    killer.join()
    assert (facts["status"], facts["result"]["signal"]) == ("failed", "SIGKILL")
    # not always the last line: the engine notices within half a second, and may log epochs till then
    assert "ended by SIGKILL" in _text(job.log_path)
    assert not paths.ptychi_file(tmp_path, 1000, "dense", "test").exists()
    assert len(engines) == 1
    engines[0].wait(timeout=10)
    assert not engines[0].is_running()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
