"""A manifest is whole and true whoever writes it, however often, and whenever a writer dies."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlight.core.errors import DataError
from foldlight.study.manifest import COMMANDS_DOCUMENT, STATUSES, Manifest, json_ready

KEY = ("dose", "view")
WRITER = (
    "import sys, pathlib; from foldlight.study.manifest import Manifest\n"
    "book = Manifest(pathlib.Path(sys.argv[1]), 'training', ('dose', 'view'))\n"
    "first = int(sys.argv[2])\n"
    "for n in range(first, first + int(sys.argv[3])):\n"
    "    book.record({'dose': float(n), 'view': 'dense', 'status': 'success', 'marks': [n] * 50})\n"
)


def manifest(folder, **more) -> Manifest:
    return Manifest(folder / "training_manifest.json", "training", KEY, **more)


def record(dose=1e3, view="dense", status="success", **more) -> dict:
    return {"dose": dose, "view": view, "status": status, **more}


def test_a_run_is_noted_with_what_made_it(tmp_path, monkeypatch):
    monkeypatch.setenv(COMMANDS_DOCUMENT, "docs/GUIDE.md")
    book = manifest(tmp_path)
    book.begin(
        {"seeds": {"grouping": 123}, "base": tmp_path / "a" / "base.npz"}, ["python", "-m", "x", "--name", "a b"]
    )
    book.begin({"seeds": {"grouping": 124}}, ["again"])
    found = json.loads(book.path.read_text())
    assert found["phase"] == "training"
    assert found["schema_version"] == 1
    assert found["base"] == "a/base.npz"
    assert found["commands_document"] == "docs/GUIDE.md"
    assert found["seeds"] == {"grouping": 124}
    assert [run["command_line"] for run in found["runs"]] == ["python -m x --name 'a b'", "again"]
    assert found["created"] <= found["started"] <= found["updated"]
    assert {"python", "torch", "foldlight"} <= found["versions"].keys()
    assert found["machine"]["cores"] >= 1


def test_records_are_merged_by_key_and_what_is_replaced_is_kept(tmp_path):
    book = manifest(tmp_path)
    book.record(record(1e4))
    book.record(record(1e3, status="failed"))
    book.record(record(1e3, "sparse"))
    book.record(record(1000, mark="second"))  # the same dose as a whole number
    found = book.read()
    assert [(job["dose"], job["view"]) for job in found["jobs"]] == [(1e3, "dense"), (1e3, "sparse"), (1e4, "dense")]
    assert found["jobs"][0]["mark"] == "second"
    assert [job["status"] for job in found["superseded"]] == ["failed"]
    assert (found["n_jobs"], found["n_executed"], found["n_success"], found["n_failed"]) == (3, 3, 3, 0)


@pytest.mark.parametrize("status", ["success", "failed", "skipped"])
def test_a_dry_run_never_replaces_a_real_record(tmp_path, status):
    book = manifest(tmp_path)
    book.record(record(status="dry-run", mark=0))
    book.record(record(status="dry-run", mark=1))
    assert book.read()["jobs"][0]["mark"] == 1
    book.record(record(status=status))
    book.record(record(status="dry-run"))
    assert [job["status"] for job in book.read()["jobs"]] == [status]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([1e3, 1e4, 1e5]), st.sampled_from(["dense", "sparse"]), st.sampled_from(STATUSES)),
        max_size=8,
    )
)
def test_counts_agree_with_the_jobs(jobs):
    with tempfile.TemporaryDirectory() as folder:
        book = manifest(Path(folder))
        for job in jobs:
            book.record(record(*job))
        found = book.read()
        told = [job["status"] for job in found["jobs"]]
        assert len(told) == len({job[:2] for job in jobs})
        if jobs:
            assert found["n_jobs"] == len(told)
            assert found["n_success"] + found["n_failed"] == found["n_executed"]
            counts = {status: told.count(status) for status in STATUSES}
            assert (found["n_success"], found["n_failed"]) == (counts["success"], counts["failed"])
            assert found["n_skipped"] == counts["skipped"]


def test_numbers_that_are_none_become_null_and_paths_relative(tmp_path):
    folder = tmp_path / "phase_e"
    book = manifest(folder)
    numbers = {"nan": float("nan"), "inf": [np.float32("inf")], "whole": np.int64(3), "pair": (1.5, True)}
    book.record(record(paths={"below": folder / "dose_1000" / "x", "beside": tmp_path / "c" / "y"}, **numbers))
    job = book.read()["jobs"][0]
    assert job["paths"] == {"below": "dose_1000/x", "beside": "../c/y"}
    assert (job["nan"], job["inf"], job["whole"], job["pair"]) == (None, [None], 3, [1.5, True])
    assert json_ready({1: Path("a") / "b"}) == {"1": "a/b"}


def test_what_is_derived_follows_every_change(tmp_path):
    book = manifest(tmp_path, derived=lambda document: {"views": [job["view"] for job in document["jobs"]]})
    book.record(record(view="sparse"))
    book.record(record(view="dense"))
    assert book.read()["views"] == ["dense", "sparse"]


@pytest.mark.parametrize("bad", [{"status": "great"}, {"view": None, "status": ""}, {"status": None}])
def test_a_record_without_its_key_or_with_another_status_is_refused(tmp_path, bad):
    with pytest.raises(DataError, match="expected a record with dose, view and a status of success, failed"):
        manifest(tmp_path).record({**record(), **bad})
    with pytest.raises(DataError, match=r"got \['dose', 'status'\] and 'success'"):
        manifest(tmp_path).record({"dose": 1.0, "status": "success"})
    assert not manifest(tmp_path).path.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "expected JSON"),
        ("[]", "expected a manifest of the phase training; move it away"),
        ('{"phase": "overlap"}', "expected a manifest of the phase training; move it away"),
        ('{"phase": "training", "schema_version": 7}', "expected manifest schema 1, got 7"),
        ('{"phase": "training", "schema_version": 1}', "expected lists of jobs and superseded jobs"),
    ],
)
def test_a_foreign_file_is_refused_and_left_alone(tmp_path, content, told):
    book = manifest(tmp_path)
    book.path.write_text(content)
    for change in (lambda: book.record(record()), lambda: book.begin({})):
        with pytest.raises(DataError, match=told) as refusal:
            change()
        assert "\n" not in str(refusal.value)
    assert book.path.read_text() == content


def test_two_writers_at_the_same_time_lose_nothing(tmp_path):
    path = tmp_path / "training_manifest.json"
    words = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*words, str(first), "50"]) for first in (0, 1000)]
    assert [writer.wait() for writer in writers] == [0, 0]
    doses = {job["dose"] for job in json.loads(path.read_text())["jobs"]}
    assert doses == {*map(float, range(50)), *map(float, range(1000, 1050))}


def test_a_writer_killed_at_any_moment_leaves_a_whole_manifest(tmp_path):
    """Forked writers die by SIGKILL at 40 random moments; the file stays valid JSON and every record in it whole."""
    book, chance, met = manifest(tmp_path), np.random.default_rng(1), []
    for turn in range(40):
        begun = len(book.read()["jobs"])
        ready, say = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(say, b"x")
                for n in range(begun, 10_000):
                    book.record(record(float(n), marks=[turn] * 50))
            finally:
                os._exit(1)
        os.read(ready, 1)
        time.sleep(chance.uniform(0, 0.06))
        os.kill(pid, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
        os.close(ready)
        os.close(say)
        if book.path.exists():
            jobs = json.loads(book.path.read_text())["jobs"]
            assert all(job["marks"] == [job["marks"][0]] * 50 for job in jobs)
            assert [job["dose"] for job in jobs] == [float(n) for n in range(len(jobs))]
            met.append(len(jobs))
            assert len(jobs) >= begun
    assert met[-1] > 20
    book.record(record(1.0))
    assert book.read()["jobs"][1]["status"] == "success"
