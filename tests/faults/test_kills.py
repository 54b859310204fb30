"""A study whose whole process tree is killed at any moment, and started again by the same command, ends as undisturbed.

Three kills of a part without comparisons by default; `FAULT_KILLS=100` for more, and of all phases (`make faults`);
`FAULT_SEED` for other moments.
"""

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from faults import (
    ROOT,
    debris,
    differences,
    ends_within,
    jobs,
    kill_tree,
    manifests_are_read,
    results,
    run,
    started,
    study_words,
    toy_words,
    wait_until,
    workers_of,
)

KILLS, SEED = int(os.environ.get("FAULT_KILLS", "3")), int(os.environ.get("FAULT_SEED", "0"))
PART = "split=test" if KILLS > 10 else "phase=training,phase=reconstruction,view=baseline,split=test"
DRIVER_ALONE = 0.2  # of the kills: its jobs have to notice by themselves
pytestmark = pytest.mark.timeout(4 * 3600 if KILLS > 10 else 600)


def tell(line: str) -> None:
    """For whoever watches a long run (`-s`)."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")


@dataclass(frozen=True)
class Undisturbed:
    """A study that ran through.

    Attributes:
        words: its command in another folder.
        root: its folder.
        seconds: how long it took.
    """

    words: Callable[[Path], list[str]]
    root: Path
    seconds: float

    @classmethod
    def of(cls, words: Callable[[Path], list[str]], root: Path) -> "Undisturbed":
        began = time.monotonic()
        code, said = run(words(root), root.with_suffix(".log"))
        assert code == 0, said
        tell(f"undisturbed: {time.monotonic() - began:.1f} s, {len(results(root))} results")
        return cls(words, root, time.monotonic() - began)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Undisturbed:
    return Undisturbed.of(lambda root: study_words(root, PART), tmp_path_factory.mktemp("undisturbed") / "study")


@pytest.fixture(scope="module")
def undisturbed_toy(tmp_path_factory) -> Undisturbed:
    """Of jobs that take no time, so that kills meet the runner and its records."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "design.toml").write_text('[victim]\nfunction = "plain"\n')
    return Undisturbed.of(lambda root: toy_words(root, folder / "design.toml"), folder / "study")


def test_killed_at_any_moment_the_same_command_ends_with_the_same_results(undisturbed, tmp_path):
    check_kills(undisturbed, tmp_path)


def test_records_are_whole_wherever_the_runner_is_killed(undisturbed_toy, tmp_path):
    check_kills(undisturbed_toy, tmp_path)


def check_kills(study: Undisturbed, folder: Path) -> None:
    """Kill studies at moments drawn over a whole run, each followed by the same command, and compare the ends."""
    rng = np.random.default_rng(SEED)
    killed, met = 0, Counter()
    for number in itertools.count():
        root, log = folder / f"study_{number}" / "out", folder / f"study_{number}.log"
        root.parent.mkdir()
        while killed < KILLS:
            after_s, alone = rng.uniform(0, study.seconds), rng.random() < DRIVER_ALONE
            with started(study.words(root), log) as process:
                if ends_within(process, after_s):
                    break
                busy = running(root)
                kill(process, root, alone)
            killed += 1
            met.update(name.split("/")[0] for name in busy)
            whom = "the driver" if alone else "all"
            tell(f"kill {killed} of {KILLS}, {whom} after {after_s:.1f} s: {', '.join(busy)}")
        code, said = run(study.words(root), log)
        assert code == 0, said
        assert differences(study.root, root) == []
        assert debris(root) == []
        manifests_are_read(root)
        tell(f"study {number}: ended as undisturbed")
        shutil.rmtree(root)
        if killed == KILLS:
            break
    tell(f"{killed} kills met {dict(met)}")


def running(root: Path) -> list[str]:
    """Jobs that are on record as begun."""
    begun = {"queued", "running"}
    return sorted(name for name, each in jobs(root).items() if each["state"] in begun) or ["between jobs"]


def kill(process: subprocess.Popen, root: Path, alone: bool) -> None:
    """Kill a driver, with all its processes or `alone`; whatever it leaves, its records are whole."""
    if alone:
        process.kill()
        process.wait()
    else:
        kill_tree(process)
        assert workers_of(root) == []
    jobs(root)
    manifests_are_read(root)


def test_a_training_goes_on_from_its_last_epoch_to_the_same_bundle(undisturbed, tmp_path):
    expected = undisturbed.root
    words = [sys.executable, "-m", "studies.fly64_dose_overlap.training", "--dose", "1e5", "--view", "baseline"]
    words += ["--phase-c-root", str(expected / "phase_c"), "--phase-d-root", str(expected / "phase_d")]
    words += ["--artifact-root", str(tmp_path), "--design", str(ROOT / "tests/faults/tiny.toml")]
    words += ["--accelerator", "cpu", "--deterministic"]
    folder, said = tmp_path / "dose_100000" / "baseline", tmp_path / "said.log"
    with started(words, said) as process:
        wait_until(lambda: _epochs(folder) >= 2, 60, process)
        kill_tree(process)
    done = _epochs(folder)
    assert done >= 2
    code, told = run(words, said)
    assert code == 0, told
    log = (folder / "train.log").read_text()
    assert "goes on after epoch" in log
    assert "epoch 1/" not in log
    bundle = Path("dose_100000/baseline/wts.h5.zip")
    assert (tmp_path / bundle).read_bytes() == (expected / "phase_e" / bundle).read_bytes()
    assert _losses(tmp_path / bundle) == _losses(expected / "phase_e" / bundle)
    assert not (folder / "checkpoint.pt").exists()


def _losses(bundle: Path) -> list[list[str]]:
    return [line.split(",")[:-1] for line in bundle.with_name("history.csv").read_text().splitlines()]


def _epochs(folder: Path) -> int:
    path = folder / "history.csv"
    return len(path.read_text().splitlines()) - 1 if (folder / "checkpoint.pt").is_file() and path.is_file() else 0


def test_processes_whose_driver_is_killed_alone_end_by_themselves(tmp_path):
    root = tmp_path / "out"
    with started(study_words(root, PART), tmp_path / "said.log") as process:
        wait_until(lambda: any(each["state"] == "running" for each in jobs(root).values()), 60, process)
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
    assert below
    wait_until(lambda: not workers_of(root), 10)
