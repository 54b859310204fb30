"""What a cluster has to be told, and the guard that ends what a killed runner left behind there.

Jobs run in blocks: batch jobs of the cluster in which workers wait for jobs of the study. A runner that is killed
leaves its blocks in the queue or on their nodes; `engine.json` in the study's folder tells the next one which they are.
"""

import json
import os
import platform
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import psutil
from pydantic import Field

from foldlight.core.errors import EngineError
from foldlight.core.files import read_json, write_json
from foldlight.core.settings import Settings
from foldlight.study.machine import Resources
from foldlight.study.records import Facts, process_facts, running_process

__all__ = ["ENGINE_FILE", "ClusterSettings", "Trace", "blocks_of", "clear_leftovers", "end_blocks", "engine_folder"]

ENGINE_FILE = "engine.json"
"""In the study's folder while an engine with processes of its own works for it."""

_PATIENCE_S = 120.0  # until a cancelled block has left its node
_COMMAND_S = 60.0
_HELPERS = ("foldlight.study.engine", "interchange")  # before and after Parsl gives it a title


class ClusterSettings(Settings):
    """How to ask a cluster for blocks of nodes, and what a node has."""

    partition: str | None = None
    """Partition (Slurm) or queue (PBS); the cluster's own default when not given."""
    gpu_partition: str | None = None
    """The same for jobs that need a GPU; `partition` when not given."""
    account: str | None = None
    """Account that pays."""
    walltime: Annotated[str, Field(pattern=r"^\d{1,3}:[0-5]\d:[0-5]\d$")] = "08:00:00"
    """Longest life of a block, `HH:MM:SS`."""
    nodes_per_block: int = Field(default=1, ge=1)
    """Nodes that are asked for at once."""
    max_blocks: int = Field(default=1, ge=1)
    """Most blocks at a time, for jobs with and without a GPU each."""
    cores_per_node: int = Field(default=1, ge=1)
    """Cores to ask of each node."""
    memory_gb_per_node: int | None = Field(default=None, ge=1)
    """Memory to ask of each node [GB]; what the cluster gives when not given."""
    gpus_per_node: int = Field(default=0, ge=0)
    """GPUs to ask of each node for jobs that need one; each job gets one."""
    exclusive: bool = True
    """Ask for nodes that nobody else uses (Slurm)."""
    scheduler_options: str = ""
    """More lines for the batch script, `#SBATCH ...` or `#PBS ...`."""
    select_options: str = ""
    """More words for `#PBS -l select=` (PBS)."""
    worker_init: str = ""
    """Shell lines that a node needs first, `module load cuda`; this environment's programs are found without."""
    launcher: Literal["single", "srun", "mpiexec"] | None = None
    """How a block starts a worker on each of its nodes; the engine's own way when not given."""
    address: str | None = None
    """Address of this machine that the nodes reach; that of its name when not given."""
    heartbeat_s: int = Field(default=30, ge=5)
    """Silence after which a node counts as lost, and the runner for its workers [s]."""
    idle_s: float = Field(default=120, gt=0)
    """Time after which a block without work is given back [s]."""

    @property
    def walltime_s(self) -> float:
        """Longest life of a block [s]."""
        hours, minutes, seconds = map(int, self.walltime.split(":"))
        return 3600.0 * hours + 60.0 * minutes + seconds

    def refusal(self, need: Resources) -> str | None:
        """Why a job can never run on such a node, in words, or None."""
        if need.threads > self.cores_per_node:
            return f"{need.threads} threads where a node has cores_per_node = {self.cores_per_node}"
        if self.memory_gb_per_node and need.memory_gb > self.memory_gb_per_node:
            return f"{need.memory_gb:g} GB where a node has memory_gb_per_node = {self.memory_gb_per_node}"
        if need.gpus > min(1, self.gpus_per_node):
            return f"{need.gpus} GPUs where a node has gpus_per_node = {self.gpus_per_node} and each job gets one"
        if need.time_limit_s and need.time_limit_s > self.walltime_s:
            return f"{need.time_limit_s:g} s where a block lives for walltime = {self.walltime}"
        return None

    def workers_per_node(self, threads: int, memory_gb: float, gpu: bool) -> int:
        """Jobs that a node has room for, each as large as the largest."""
        rooms = [self.cores_per_node // threads]
        if self.memory_gb_per_node and memory_gb:
            rooms.append(int(self.memory_gb_per_node / memory_gb))
        if gpu:
            rooms.append(self.gpus_per_node)
        return max(1, min(rooms))


class Trace:
    """What an engine leaves in `engine.json` while it works, so that its successor can clear up behind it."""

    def __init__(self, root: Path, engine: str, label: str) -> None:
        self._path = root / ENGINE_FILE
        self._facts: Facts = {"engine": engine, "label": label, "driver": process_facts(os.getpid())}

    def leave(self, **more: object) -> None:
        """Write it, with more facts."""
        self._facts |= more
        write_json(self._path, self._facts)

    def remove(self) -> None:
        """The engine has ended well."""
        self._path.unlink(missing_ok=True)


def engine_folder(root: Path) -> Path:
    """Where the engine of a study keeps its logs."""
    return root / ".engine"


def clear_leftovers(root: Path) -> str | None:
    """End what an engine left behind whose runner was killed; what was done, in a line, or None.

    To be called by who holds the study's folder, since then no other runner is at work.

    Raises:
        EngineError: the cluster can't be asked, or its blocks don't end.
    """
    path = root / ENGINE_FILE
    if not path.is_file():
        return None
    left = read_json(path)
    engine, label = (str(left.get(name)) for name in ("engine", "label"))
    for facts in left.get("interchanges", []):
        process = running_process(facts)
        with suppress(psutil.NoSuchProcess):
            if process is not None and any(word in " ".join(process.cmdline()) for word in _HELPERS):
                process.kill()
    try:
        ended = end_blocks(engine, label)
    except EngineError as error:
        raise EngineError(
            f"{path}: expected to end what {_driver(left)} left in the queue, but {error}; once no block {label} is"
            " there any more, remove this file"
        ) from None
    _remove_certificates(root)
    path.unlink(missing_ok=True)
    blocks = f"{len(ended)} block{'' if len(ended) == 1 else 's'}"
    return f"cleared up behind {_driver(left)}, which was killed: ended {blocks} of {engine}"


def _remove_certificates(root: Path) -> None:
    """The keys of an engine that has ended; nobody needs them."""
    for folder in engine_folder(root).glob("*/*/certificates"):
        shutil.rmtree(folder, ignore_errors=True)


def end_blocks(engine: str, label: str) -> list[str]:
    """Cancel the blocks of an engine and wait until they have left their nodes; their numbers.

    Raises:
        EngineError: the cluster can't be asked, or a block doesn't end.
    """
    found = blocks_of(engine, label)
    if not found:
        return []
    _asked("scancel" if engine == "slurm" else "qdel", *found)
    deadline = time.monotonic() + _PATIENCE_S
    while blocks_of(engine, label):
        if time.monotonic() > deadline:
            raise EngineError(f"expected the blocks {' '.join(found)} to end within {_PATIENCE_S:g} s, they did not")
        time.sleep(0.5)
    return found


def blocks_of(engine: str, label: str) -> list[str]:
    """Numbers of an engine's blocks that wait or run, by the label in their names.

    Raises:
        EngineError: the cluster can't be asked.
    """
    if engine == "slurm":
        lines = _asked("squeue", "--noheader", "--format=%i %j", f"--user={os.getuid()}").splitlines()
        named = [line.split(maxsplit=1) for line in lines if line.strip()]
        return [number for number, name in named if name.startswith(f"parsl.{label}")]
    jobs = json.loads(_asked("qstat", "-f", "-F", "json") or "{}").get("Jobs", {})
    return [number for number, job in jobs.items() if str(job.get("Job_Name")).startswith(f"parsl.{label}")]


def _asked(*words: str) -> str:
    """What a command of the cluster prints."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except FileNotFoundError:
        raise EngineError(f"{words[0]} is not found on {platform.node()}") from None
    except subprocess.TimeoutExpired:
        raise EngineError(f"{words[0]} has not answered within {_COMMAND_S:g} s") from None
    if done.returncode:
        raise EngineError(f"{words[0]} ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _driver(left: Facts) -> str:
    driver = left.get("driver") or {}
    return f"process {driver.get('pid')} on {driver.get('host')}"
