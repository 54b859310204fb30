"""Accidents of the real phases: one whose place fails says so, the others end, the same command makes up for it.

Only in full (`make faults`), as every study takes a minute.
"""

import os
import subprocess
import sys

import pytest

from faults import ROOT, debris, differences, jobs, manifests_are_read, run, study_words

PART = "split=test,view=baseline"
pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif("FAULT_KILLS" not in os.environ, reason="takes minutes; `make faults` runs it"),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed") / "study"
    code, said = run(study_words(root, PART), root.with_suffix(".log"))
    assert code == 0, said
    return root


@pytest.fixture
def small_disk():
    made = []

    def mount(path, options):
        path.mkdir(parents=True, exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", options, "foldlight-faults", str(path)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small disk needs the right to mount: {done.stderr.strip()}")
        made.append(path)

    yield mount
    for path in made:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def remount(path, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


def test_a_full_and_a_read_only_phase_fail_and_the_others_end(undisturbed, small_disk, tmp_path):
    root, log = tmp_path / "out", tmp_path / "said.log"
    small_disk(root / "phase_e", "size=60k")  # room for a manifest and a log, and for no checkpoint
    small_disk(root / "phase_f", "size=16m,ro")
    code, said = run(study_words(root, PART), log)
    assert code == 1
    assert "Traceback" not in said
    known = jobs(root)
    training, reconstruction = (known[f"{name}/dose_100000/baseline{half}"] for name, half in _JOBS)
    assert training["state"] == reconstruction["state"] == "failed"
    assert "No space left on device" in training["error"]
    assert "Read-only file system" in reconstruction["error"]
    assert known["overlap/dose_100000/baseline"]["state"] == "success"
    manifests_are_read(root)
    remount(root / "phase_e", "size=16m")
    remount(root / "phase_f", "rw")
    code, said = run(study_words(root, PART), log)
    assert code == 0, said
    assert differences(undisturbed, root) == []
    assert debris(root) == []


_JOBS = (("training", ""), ("reconstruction", "/test"))


def test_a_temporary_folder_without_room_fails_what_needs_it_with_its_reason(undisturbed, small_disk, tmp_path):
    root, log, temporary = tmp_path / "out", tmp_path / "said.log", tmp_path / "tmp"
    small_disk(temporary, "size=100k")
    code, said = run(study_words(root, PART), log, TMPDIR=str(temporary))
    assert code == 1
    assert "Traceback" not in said
    reconstruction = jobs(root)["reconstruction/dose_100000/baseline/test"]
    assert reconstruction["state"] == "failed"
    assert "No space left on device" in reconstruction["error"], reconstruction["error"]
    remount(temporary, "size=64m")
    assert run(study_words(root, PART), log, TMPDIR=str(temporary))[0] == 0
    assert differences(undisturbed, root) == []


def test_frames_that_vanish_between_two_phases_are_made_again(undisturbed, tmp_path):
    root, log = tmp_path / "out", tmp_path / "said.log"
    assert run(study_words(root, "phase=overlap,view=baseline"), log)[0] == 0
    frames = root / "phase_d/dose_100000/baseline/baseline_train.npz"
    words = [sys.executable, "-m", "studies.fly64_dose_overlap.training", "--phase-c-root", str(root / "phase_c")]
    words += ["--phase-d-root", str(root / "phase_d"), "--artifact-root", str(root / "phase_e"), "--dose", "1e5"]
    words += ["--view", "baseline", "--design", str(ROOT / "tests/faults/tiny.toml"), "--deterministic"]
    frames.write_bytes(frames.read_bytes()[:5000])
    code, said = run([*words, "--accelerator", "cpu"], log)
    assert code == 1
    assert "Traceback" not in said
    manifests_are_read(root)
    frames.unlink()
    code, said = run(study_words(root, PART), log)
    assert code == 0, said
    assert "overlap dose=100000 view=baseline  success" in said
    assert [name for name in differences(undisturbed, root) if not name.startswith("phase_e/skip")] == []
