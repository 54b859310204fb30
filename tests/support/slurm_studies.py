"""Toy studies and the real command that runs them, here or on a Slurm of one's own, and what is left of them."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from process_checks import wait_for
from slurm_cluster import Cluster, processes_of

from foldlight.core.files import read_json

SUPPORT = Path(__file__).parent
PLAN = """
import json, pathlib, sys
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
root = pathlib.Path(words["--output-root"])
def task(name, *needs, limit=None, gpus=0, **given):
    given |= {"name": name, "folder": str(root), "inputs": needs, "devices": bool(gpus)}
    return {"name": name, "module": "lonely_jobs", "arguments": [json.dumps(given)], "needs": needs, "gpus": gpus,
            "outputs": [str(root / name)], "labels": {"phase": name}, "time_limit_s": limit}
tasks = eval(pathlib.Path(words["--design"]).read_text())
print(json.dumps({"title": "toy", "root": str(root), "working_directory": SUPPORT, "tasks": tasks}))
"""
DOZEN = """(
[task(f"first{n}", seconds=0.3) for n in range(4)]
+ [task("left", "first0", "first1", seconds=0.3), task("right", "first2", "first3", gate=str(root.parent / "go"))]
+ [task("both", "left", "right"), task("last", "both")]
+ [task("refuses", "first0", fail=True), task("after_refusal", "refuses")]
+ [task("slow", "first1", limit=1.5, seconds=60), task("after_slow", "slow")])
"""
PAIR = """[task("waits", gate=str(root.parent / "go")), task("other", seconds=3), task("after", "waits", "other")]"""
TOGETHER = "both(left(first0()+first1())+right(first2()+first3()))"
CAME = {
    **dict.fromkeys(["first0", "first1", "first2", "first3", "left", "right", "both", "last"], "success"),
    **dict.fromkeys(["refuses", "slow"], "failed"),
}
SETTINGS = """
partition = "main"
cores_per_node = 2
memory_gb_per_node = 2
gpus_per_node = 2
walltime = "00:10:00"
exclusive = false
heartbeat_s = 5
address = "127.0.0.1"
"""
PATIENCE_S = 120  # a slow machine that does other things too
SLURM = ("--engine", "slurm", "--engine-settings", "cluster.toml")


def write_studies(folder: Path) -> Path:
    """The study `toy` with its profiles, and the settings of the cluster."""
    (folder / "toy").mkdir()
    (folder / "toy" / "plan.py").write_text(f"SUPPORT = {str(SUPPORT)!r}\n{PLAN}")
    (folder / "toy" / "dozen.toml").write_text(DOZEN)
    (folder / "toy" / "pair.toml").write_text(PAIR)
    (folder / "toy" / "devices.toml").write_text('[task(f"gpu{n}", gpus=1, seconds=1) for n in range(2)]')
    (folder / "cluster.toml").write_text(SETTINGS)
    return folder


def command(profile: str, *words: str) -> list[str]:
    """What runs the study into the folder `out`, or where the words say."""
    return [sys.executable, "-m", "foldlight", "study", "run", "toy", "--profile", profile, "--output", "out", *words]


def run(folder: Path, slurm: Cluster, profile: str, *words: str) -> subprocess.CompletedProcess:
    """Run the study to its end."""
    return subprocess.run(
        command(profile, *words),
        cwd=folder,
        env=slurm.variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@contextmanager
def started(folder: Path, slurm: Cluster, profile: str, *words: str) -> Iterator[subprocess.Popen]:
    """A runner at work, which is killed at the end if it still is; what it tells goes to the file `told`."""
    with (folder / "told").open("wb") as told:
        streams = {"stdin": subprocess.DEVNULL, "stdout": told, "stderr": told}
        runner = subprocess.Popen(command(profile, *words), cwd=folder, env=slurm.variables, **streams)
        try:
            yield runner
        finally:
            runner.kill()
            runner.wait()


def victim(root: Path, lost: str) -> psutil.Process:
    """The engine's helper of this study, or the worker that runs the job which waits."""
    if lost == "interchange":
        return psutil.Process(read_json(root / "engine.json")["interchanges"][0]["pid"])
    wrapper = read_json(root / "jobs/waits/status.json")["pid"]
    return psutil.Process(wrapper).parent()


def states(root: Path) -> dict[str, str]:
    """State of each job that left one."""
    found = sorted(root.glob("jobs/**/status.json"))
    return {path.parent.name: read_json(path)["state"] for path in found}


def diary(root: Path) -> Counter:
    """How often each job began, ended, or saw another process at the same job."""
    path = root / "diary"
    return Counter(path.read_text().splitlines()) if path.is_file() else Counter()


def results(root: Path) -> dict[str, str]:
    """What each job of the dozen left."""
    return {name: (root / name).read_text() for name in CAME if (root / name).is_file()}


def nothing_is_left(folder: Path, slurm: Cluster) -> None:
    """No block in the queue; no interchange, worker, job or child of one on the machine; no guard's note."""
    slurm.wait(30)
    wait_for(lambda: not processes_of(folder), 30)
    assert not list(folder.rglob("engine.json"))
    assert not list(folder.rglob("certificates"))
