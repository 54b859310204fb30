"""A Slurm cluster of one node on this machine, as `scripts/slurm_loopback.sh` starts it, and what a test asks of it."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil
from process_checks import gone, wait_for

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm_loopback.sh"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
DAEMONS = ("munged", "slurmctld", "slurmd")


def why_not() -> str | None:
    """Why no cluster can be started here, or None."""
    lost = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]
    if lost:
        return f"Slurm is not installed (no {lost[0]}); as root, scripts/slurm_loopback.sh install"
    return None if os.geteuid() == 0 else "a Slurm cluster of one's own is started as root"


def script(*words: object, seconds: float = 60) -> subprocess.CompletedProcess:
    """Run the script."""
    return subprocess.run([SCRIPT, *map(str, words)], capture_output=True, text=True, timeout=seconds, check=False)


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs.

    Attributes:
        folder: where everything of it lies.
        variables: an environment in which Slurm's commands speak to it.
    """

    folder: Path
    variables: dict[str, str]

    @classmethod
    def start(cls, folder: Path, *words: object) -> "Cluster":
        """Start one, or speak to the one of this folder.

        Raises:
            RuntimeError: it did not start; with what the script told.
        """
        told = script("start", "--folder", folder, *words)
        if told.returncode:
            raise RuntimeError(told.stderr.strip())
        exports = (line.removeprefix("export ").split("=", 1) for line in told.stdout.splitlines())
        return cls(folder, os.environ | {name: value.strip("'") for name, value in exports})

    def stop(self) -> None:
        """End its jobs and its daemons."""
        assert script("stop", "--folder", self.folder).returncode == 0

    def pids(self) -> dict[str, int]:
        """Process ids of its daemons."""
        return {name: int((self.folder / "run" / f"{name}.pid").read_text()) for name in DAEMONS}

    def ask(self, *words: object, seconds: float = 20) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(
            list(map(str, words)), env=self.variables, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    def queue(self) -> list[str]:
        """Names of the jobs that wait or run."""
        return self.ask("squeue", "--noheader", "--format=%j").splitlines()

    def wait(self, seconds: float = 30) -> None:
        """Until no job waits or runs."""
        wait_for(lambda: not self.queue(), seconds)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Processes that work in a folder or are told of it, but for this one and those above it."""
    mine = {os.getpid(), *(each.pid for each in psutil.Process().parents())}
    return [each for each in psutil.process_iter() if each.pid not in mine and not gone(each.pid) and _of(each, folder)]


def _of(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(folder) or any(str(folder) in word for word in process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
