"""What jobs take and what a machine has: cores, memory, devices."""

import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from foldlight.core.errors import EngineError

__all__ = ["Budget", "Machine", "Resources", "this_machine", "visible_devices"]

_DEVICES = "CUDA_VISIBLE_DEVICES"
_CGROUP = Path("/sys/fs/cgroup")
_LIST_DEVICES = ("nvidia-smi", "--query-gpu=index", "--format=csv,noheader")


@dataclass(frozen=True)
class Resources:
    """What a job takes while it runs.

    Attributes:
        threads: CPU threads that it keeps busy.
        memory_gb: memory that it needs [GB]; 0 when nobody said.
        gpus: devices that it computes on, none of which another job may use.
        time_limit_s: wall time after which it is ended [s]; none: no limit.
    """

    threads: int = 1
    memory_gb: float = 0.0
    gpus: int = 0
    time_limit_s: float | None = None


@dataclass(frozen=True)
class Machine:
    """What there is to share out.

    Attributes:
        cores: cores that this process may use.
        memory_gb: memory that is free now [GB].
        devices: names of the devices, as `CUDA_VISIBLE_DEVICES` takes them.
    """

    cores: int
    memory_gb: float
    devices: tuple[str, ...] = ()

    def refusal(self, need: Resources) -> str | None:
        """Why a job can never run here, in words, or None."""
        if need.threads > self.cores:
            return f"{need.threads} threads where there are {self.cores} cores"
        if need.memory_gb > self.memory_gb:
            return f"{need.memory_gb:g} GB of memory where {self.memory_gb:.1f} GB are free"
        if need.gpus > len(self.devices):
            return f"{need.gpus} GPUs where there are {len(self.devices) or 'none'}"
        return None


def this_machine(gpus: bool = False) -> Machine:
    """What this process may use; devices are only looked for when they are asked for."""
    return Machine(_cores(), _free_memory_gb(), tuple(visible_devices()) if gpus else ())


def visible_devices() -> list[str]:
    """Names of the CUDA devices that a process started here would see, without loading any of their libraries."""
    if (given := os.environ.get(_DEVICES)) is not None:
        names = [each.strip() for each in given.split(",")]
        end = next((n for n, each in enumerate(names) if each in {"", "-1"}), len(names))  # CUDA stops there too
        return names[:end]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(_LIST_DEVICES, capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.split()
    return []


@dataclass
class Budget:
    """Shares a machine out among jobs that come and go; safe to be used by several threads.

    Attributes:
        machine: what there is.
        places: most jobs at a time.
    """

    machine: Machine
    places: int
    taken: list[Resources] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.devices = list(self.machine.devices)
        self._lock = threading.Lock()

    def lacking(self, need: Resources) -> str | None:
        """What a job has to wait for now: `devices`, `memory` or `cores`; None when there is room for it."""
        if need.gpus > len(self.devices):
            return "devices"
        if need.memory_gb and sum(each.memory_gb for each in self.taken) + need.memory_gb > self.machine.memory_gb:
            return "memory"
        busy = sum(each.threads for each in self.taken)
        return "cores" if busy + need.threads > self.machine.cores or len(self.taken) >= self.places else None

    def take(self, need: Resources) -> tuple[str, ...]:
        """Take what a job needs and say which devices are its own.

        Raises:
            EngineError: there is no room for it.
        """
        with self._lock:
            if lacking := self.lacking(need):
                raise EngineError(f"expected room for a job, but {lacking} are taken")
            devices, self.devices = self.devices[: need.gpus], self.devices[need.gpus :]
            self.taken.append(need)
            return tuple(devices)

    def give_back(self, need: Resources, devices: Sequence[str]) -> None:
        """Give back what `take` took."""
        with self._lock:
            self.taken.remove(need)
            self.devices = sorted({*self.devices, *devices}, key=self.machine.devices.index)


def _cores() -> int:
    """Cores of the affinity mask, or fewer where a container has a share of them only."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        share, period = (_CGROUP / "cpu.max").read_text(encoding="utf-8").split()
        return max(1, min(cores, int(share) // int(period)))
    return cores


def _free_memory_gb() -> float:
    """Memory that can be had without swapping [GB], within the limit of a container."""
    return min([psutil.virtual_memory().available, *_container_memory()]) / 1e9


def _container_memory() -> Iterator[int]:
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):  # not limited, or of the other version
            most, now = (int((_CGROUP / name).read_text(encoding="utf-8")) for name in (limit, used))
            text = (_CGROUP / used).with_name("memory.stat").read_text(encoding="utf-8")
            counts = dict(line.split() for line in text.splitlines())
            yield most - now + int(counts.get(cached, 0))
