"""Studies that are disturbed: started as anybody would start them, ended like by a power cut, and compared by content.

Two runs of one study have the same results when every file but those of `UNCOMPARED` holds the same once the words of
`TOLD_APART` are left out: they tell when and by which process a result was made, and nothing else may differ.
"""

import csv
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).parents[2]

_DEATH_S = 10.0  # for a process that was killed to be gone

UNCOMPARED = (
    *("*.log", "*.lock", "heartbeat", "engine.json", ".runner.json"),  # of processes
    *("*.png", "report.html", "study.md", "comparison_summary.txt"),  # made of the results, and showing seconds
)
"""Files that hold no results; nor do those in `.engine`."""

TOLD_APART = {
    # wall times and the clock
    *("seconds", "train_seconds", "infer_seconds", "infer_seconds_per_frame", "started", "recorded", "created"),
    *("updated", "mtime_ns", "ended"),
    # processes and what they took
    *("pid", "host", "peak_rss_mb", "runner", "driver", "attempts"),
    # how often it was asked for, and which of several commands at a time came last
    *("runs", "superseded", "command_line", "filters", "flags"),
}
"""Names of the fields of JSON and the columns of CSV in which two runs of the same study may differ."""


def study_words(root: Path, only: str = "split=test") -> list[str]:
    """The command of a study that goes through every phase in about a minute."""
    tiny = ROOT / "tests/faults/tiny.toml"
    words = [sys.executable, "-m", "foldlight", "study", "run", str(ROOT / "studies/fly64_dose_overlap")]
    return [*words, "--design", str(tiny), "--only", only, "--output", str(root)]


def toy_words(root: Path, design: Path) -> list[str]:
    """The command of a study of four jobs that only write a line each; the design says what the second one does."""
    study = ROOT / "tests/faults/toy_study"
    words = [sys.executable, "-m", "foldlight", "study", "run", str(study), "--design", str(design)]
    return [*words, "--output", str(root)]


def environment(**more: str) -> dict[str, str]:
    """One thread, on which results repeat to the bit; compiled once, as many short processes are started."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "PYTHONUNBUFFERED": "1", **more}


def start(words: list[str], log: Path, **more: str) -> subprocess.Popen:
    """Start a command in a session of its own; what it says is added to the log."""
    with log.open("ab") as stream:
        return subprocess.Popen(
            words,
            cwd=ROOT,
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@contextmanager
def started(words: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """A command that runs inside the block and leaves no process after it."""
    process = start(words, log)
    try:
        yield process
    finally:
        if process.poll() is None:
            kill_tree(process)


def run(words: list[str], log: Path, seconds: float = 600.0, **more: str) -> tuple[int, str]:
    """Run a command to its end: its exit code and what it said."""
    before = log.stat().st_size if log.is_file() else 0
    process = start(words, log, **more)
    try:
        code = process.wait(seconds)
    finally:
        if process.poll() is None:
            kill_tree(process)
    return code, log.read_bytes()[before:].decode(errors="replace")


def kill_tree(process: subprocess.Popen) -> None:
    """SIGKILL for a process and all its descendants, as when the power goes: none of them sees another one end."""
    leader, held = psutil.Process(process.pid), set()
    while fresh := {each for each in _family(leader) if each not in held}:
        for each in fresh:  # stopped, it starts no more children
            with suppress(psutil.NoSuchProcess):
                each.suspend()
        held |= fresh
    for each in held:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + _DEATH_S
    while any(map(_lives, held)) and time.monotonic() < deadline:  # large ones take a moment to go
        time.sleep(0.01)


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _family(leader: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [leader, *leader.children(recursive=True)]
    return []


def workers_of(root: Path) -> list[psutil.Process]:
    """Processes whose command line names a folder of the study."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(str(root) in word for word in process.cmdline()) and process.pid != os.getpid() and _lives(process):
                found.append(process)
    return found


def jobs(root: Path) -> dict[str, dict]:
    """What each job's `status.json` says; a damaged one is an error."""
    below = root / "jobs"
    files = sorted(below.rglob("status.json"))
    return {path.parent.relative_to(below).as_posix(): json.loads(path.read_text()) for path in files}


def wait_until(condition, seconds: float, process: subprocess.Popen | None = None):
    """The condition's value as soon as it is true; None when the process has ended before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        if process is not None and process.poll() is not None:
            return None
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def ends_within(process: subprocess.Popen, seconds: float) -> bool:
    """Whether a process ends in this time."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is not None


def manifests_are_read(root: Path) -> None:
    """Every manifest in a folder is one that its reader accepts, whatever happened to its writers."""
    from foldlight.study.manifest import Manifest

    for path in root.rglob("*manifest.json"):
        phase = json.loads(path.read_text())["phase"]
        Manifest(path, phase, ("dose",)).read()


def results(root: Path) -> dict[str, str]:
    """Digest of the content of every result below a folder, by its path."""
    found = {}
    for path in sorted(root.rglob("*")):
        engine = path.relative_to(root).parts[0] == ".engine"
        if path.is_file() and not engine and not any(path.match(pattern) for pattern in UNCOMPARED):
            found[path.relative_to(root).as_posix()] = hashlib.sha256(_content(path, root)).hexdigest()
    return found


def differences(one: Path, other: Path) -> list[str]:
    """Results of two folders that differ, or that only one of them has."""
    first, second = results(one), results(other)
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def _content(path: Path, root: Path) -> bytes:
    """What a file holds, without what may differ."""
    if path.suffix == ".json":
        return json.dumps(_plain(json.loads(path.read_text()), path.parent, root), sort_keys=True).encode()
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(path.read_text()))
        return json.dumps([_plain(row, path.parent, root) for row in rows]).encode()
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return b"".join(name.encode() + _bytes(archive[name], path.parent, root) for name in sorted(archive.files))
    return path.read_bytes()


def _bytes(array: np.ndarray, folder: Path, root: Path) -> bytes:
    if array.dtype.kind == "U":
        return json.dumps(_plain(json.loads(str(array)), folder, root), sort_keys=True).encode()
    return f"{array.dtype.str}{array.shape}".encode() + array.tobytes()


def _plain(value, folder: Path, root: Path):
    """JSON without the words of `TOLD_APART`, the folder's own name, and the digests of files that hold such words."""
    if isinstance(value, dict):
        if {"sha256", "bytes", "path"} <= value.keys():
            return {**_rest(value, folder, root), "sha256": _told_truly(value, folder / value["path"])}
        return {
            name: {**_rest(each, folder, root), "sha256": _told_truly(each, root / name)}
            if isinstance(each, dict) and {"sha256", "bytes"} <= each.keys() and "path" not in each
            else _plain(each, folder, root)
            for name, each in value.items()
            if name not in TOLD_APART
        }
    if isinstance(value, list):
        return [_plain(each, folder, root) for each in value]
    if isinstance(value, str):
        return value.replace(str(root), "ROOT")
    return value


def _rest(facts: dict, folder: Path, root: Path) -> dict:
    return _plain({name: each for name, each in facts.items() if name not in {"sha256", "bytes"}}, folder, root)


def _told_truly(facts: dict, path: Path) -> str:
    """That a record has the digest of the file as it is; what is in the file is compared by itself."""
    if not path.is_file():
        return "no such file"
    return "as recorded" if hashlib.sha256(path.read_bytes()).hexdigest() == facts["sha256"] else "changed since"


def debris(root: Path) -> list[str]:
    """Temporary files that somebody left."""
    hidden = re.compile(r"^\..*[0-9a-f]{8}(\.\w+)?$")
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if hidden.match(path.name)]
