"""Where jobs run: on this machine or in blocks of a cluster. The only module that knows Parsl.

Each job is the command `python -m foldlight.study.job FOLDER`; an engine only places it and waits for its end, and is
told nothing but the folder. What came of the job is on its record.

`threads`: each job is a child of this process; no other process, no open port. `slurm`, `pbs`: Parsl's high-throughput
executor, whose helper process (the interchange) hands jobs to workers in batch jobs of the cluster, over encrypted
connections. The helper ends with its runner; `foldlight.study.cluster` clears up behind a runner that was killed.
"""

import importlib.util
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from foldlight.core.errors import EngineError, SettingsError
from foldlight.core.processes import die_with, end_tree
from foldlight.study.cluster import ClusterSettings, Trace, end_blocks, engine_folder
from foldlight.study.machine import Budget, Machine, Resources, this_machine
from foldlight.study.records import Facts, process_facts

__all__ = ["ClusterEngine", "Engine", "EngineName", "ThreadsEngine", "open_engine", "run_command"]

EngineName = Literal["threads", "slurm", "pbs"]

_POLL_S = 0.1
_END_S = 15.0  # for a job that is asked to end: its child's time to tidy up, and its record
_HEARTBEATS = 5  # that a node may miss
_LEAST_S = 30  # for a block to begin and to end
_QUEUE_S = 10  # between two looks at the queue
_AHEAD = 2  # jobs handed to a cluster for each that it has room for, so that no worker waits for the next


@runtime_checkable
class Engine(Protocol):
    """Runs the jobs of a study.

    Attributes:
        name: as people call it.
        places: most jobs that run at a time.
    """

    name: str
    places: int

    def refusal(self, need: Resources) -> str | None:
        """Why a job can never run here, in words, or None."""
        ...

    def lacking(self, need: Resources) -> str | None:
        """What a job has to wait for now: `devices`, `memory` or `cores`; None when it can be submitted."""
        ...

    def submit(self, folder: Path, need: Resources) -> "Future[Facts]":
        """Start the job of a folder; the future has what `run_command` returns.

        Raises:
            EngineError: the engine can't be started.
        """
        ...

    def tend(self) -> str | None:
        """Look after what the engine started, now and then; what it waits for, in words, or None."""
        ...

    def close(self) -> None:
        """End all that still runs, and the engine."""
        ...


def open_engine(
    name: EngineName, root: Path, workers: int | None, needs: Sequence[Resources], settings: Path | None = None
) -> Engine:
    """An engine by name, which starts nothing before the first job.

    Args:
        name: `threads`, `slurm` or `pbs`.
        root: folder of the study; the logs of the engine go to `.engine` in it.
        workers: most jobs at a time; as many as there is room for when None.
        needs: what each of the jobs takes.
        settings: TOML file of a cluster.

    Raises:
        SettingsError: the engine or its settings are not what they have to be, or no worker is asked for.
    """
    if workers is not None and workers < 1:
        raise SettingsError(f"--workers {workers}: expected 1 or more")
    if importlib.util.find_spec("parsl") is None:
        raise SettingsError("expected the package parsl, which places jobs, found none; pip install 'foldlight[study]'")
    if name == "threads":
        if settings is not None:
            raise SettingsError(f"--engine-settings {settings}: expected --engine slurm or pbs with it")
        return ThreadsEngine(root, this_machine(any(need.gpus for need in needs)), workers)
    if settings is None:
        raise SettingsError(f"--engine {name}: expected --engine-settings FILE.toml, which describes the cluster")
    return ClusterEngine(name, root, ClusterSettings.read(settings), workers, needs)


def run_command(folder: str, variables: dict[str, str], ended: Callable[[], bool]) -> Facts:
    """Run the command of a job to its end, as a child that leaves nothing behind.

    Returns:
        `returncode`, negative the signal that ended it, and `told`, the last line on its standard error.

    Args:
        folder: of the job.
        variables: more of its environment.
        ended: says that the job has to end.
    """
    words = [sys.executable, "-m", "foldlight.study.job", folder, "--parent", str(os.getpid())]
    process = subprocess.Popen(
        words,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    left_s = _END_S
    try:
        while True:
            try:
                _, text = process.communicate(timeout=_POLL_S)
                break
            except subprocess.TimeoutExpired:
                if not ended():
                    continue
                if left_s == _END_S:
                    process.terminate()
                left_s -= _POLL_S
                if left_s <= 0:
                    end_tree(process.pid)
    finally:
        end_tree(process.pid)
        process.wait()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return {"returncode": process.returncode, "told": lines[-1].removeprefix("foldlight: ") if lines else ""}


class ThreadsEngine:
    """Jobs as children of this process, as many as it has cores, memory and devices for.

    Args:
        root: folder of the study.
        machine: what there is.
        workers: most jobs at a time; none: as many as there are cores.
    """

    name = "threads"

    def __init__(self, root: Path, machine: Machine, workers: int | None = None) -> None:
        self.places = min(workers or machine.cores, machine.cores)
        self._budget = Budget(machine, self.places)
        self._folder = engine_folder(root) / "threads"
        self._stop = threading.Event()
        self._kernel: Any = None

    def refusal(self, need: Resources) -> str | None:
        """Why a job can never run on this machine."""
        return self._budget.machine.refusal(need)

    def lacking(self, need: Resources) -> str | None:
        """What is taken that a job needs."""
        return self._budget.lacking(need)

    def submit(self, folder: Path, need: Resources) -> "Future[Facts]":
        """Start a job in a thread; its devices are its own until it ends."""
        if self._kernel is None:
            from parsl.executors import ThreadPoolExecutor

            shutil.rmtree(self._folder, ignore_errors=True)  # of a runner that was killed
            self._kernel = _kernel([ThreadPoolExecutor(label=self.name, max_threads=self.places)], self._folder, "none")
        devices = self._budget.take(need)

        def job(path: str) -> Facts:
            try:
                return run_command(path, _pinned(devices), self._stop.is_set)
            finally:
                self._budget.give_back(need, devices)

        return self._kernel.submit(job, (str(folder),), [self.name], False, None, {})

    def tend(self) -> str | None:
        """There is nothing to look after."""
        return None

    def close(self) -> None:
        """End the jobs that run, and wait for them."""
        self._stop.set()
        if self._kernel is not None:
            self._kernel.cleanup()
            self._kernel = None
            shutil.rmtree(self._folder, ignore_errors=True)
            with suppress(OSError):  # a cluster's logs are kept in it
                self._folder.parent.rmdir()


class ClusterEngine:
    """Jobs in blocks of a cluster; those that need a GPU in blocks of their own.

    Every worker is as large as the largest job, since a block is asked for before it is known which jobs come.

    Args:
        name: `slurm` or `pbs`.
        root: folder of the study, which the nodes see at the same place.
        settings: what the cluster has to be told.
        workers: most jobs at a time; none: as many as there is room for.
        needs: what each of the jobs takes.
    """

    def __init__(
        self, name: EngineName, root: Path, settings: ClusterSettings, workers: int | None, needs: Sequence[Resources]
    ) -> None:
        self.name: str = name
        self._root, self._settings = root, settings
        self._kinds = {
            kind: chosen
            for kind, gpu in (("cpu", False), ("gpu", True))
            if (chosen := [need for need in needs if (need.gpus > 0) == gpu])
        }
        nodes = settings.max_blocks * settings.nodes_per_block
        room = {kind: nodes * self._workers_per_node(kind) for kind in self._kinds}
        self.places = min(workers or sys.maxsize, sum(room.values()) or 1)
        self._most = workers or _AHEAD * self.places
        self._running: set[Future[Facts]] = set()
        self._label = f"foldlight-{secrets.token_hex(4)}"
        self._trace = Trace(root, name, self._label)
        self._executors: list[Any] = []
        self._kernel: Any = None

    def refusal(self, need: Resources) -> str | None:
        """Why a job can never run on a node."""
        return self._settings.refusal(need)

    def lacking(self, need: Resources) -> str | None:  # noqa: ARG002 - the cluster knows what is free
        """Enough jobs wait in the queue."""
        self._running = {each for each in self._running if not each.done()}
        return "cores" if len(self._running) >= self._most else None

    def submit(self, folder: Path, need: Resources) -> "Future[Facts]":
        """Hand a job to the workers."""
        if self._kernel is None:
            self._start()
        kind = "gpu" if need.gpus else "cpu"
        future: Future[Facts] = self._kernel.submit(_on_worker, (str(folder),), [self._executor(kind)], False, None, {})
        self._running.add(future)
        return future

    def tend(self) -> str | None:
        """End and fail what is out when a helper has died, which Parsl does not see; tell when all blocks wait."""
        for executor in self._executors if self._kernel else ():
            if executor.interchange_proc.poll() is not None and not executor.bad_state_is_set:
                end_blocks(self.name, executor.label)
                executor.set_bad_state_and_fail_all(EngineError(f"its helper has ended; logs: {executor.logdir}"))
        states = {status.state.name for each in self._executors for status in each.status_facade.values()}
        return f"the queue of {self.name}" if states == {"PENDING"} else None

    def close(self) -> None:
        """Give back the blocks, with all that runs in them, and wait until they have left their nodes."""
        if self._kernel is None:
            return
        self._kernel.cleanup()
        end_blocks(self.name, self._label)
        for folder in Path(self._kernel.run_dir).glob("*/certificates"):
            shutil.rmtree(folder, ignore_errors=True)
        self._trace.remove()
        self._kernel = None

    def _start(self) -> None:
        """Start the interchange and ask for the first block; what is left of it if we are killed is known before."""
        self._trace.leave()
        folder = engine_folder(self._root)
        try:
            self._executors = [self._high_throughput(kind) for kind in self._kinds]
            self._kernel = _kernel(self._executors, folder, "htex_auto_scale", self._settings.idle_s)
        except Exception as error:
            raise EngineError(
                f"--engine {self.name}: expected it to start, got {_one_line(error)}; logs: {folder}"
            ) from error
        helpers = [each.interchange_proc.pid for each in self._executors]
        self._trace.leave(interchanges=[process_facts(pid) for pid in helpers], logs=self._kernel.run_dir)

    def _high_throughput(self, kind: str) -> Any:
        from parsl.executors import HighThroughputExecutor

        class Watched(HighThroughputExecutor):
            """One that does not wait for ever for a helper that has died."""

            def connected_managers(self) -> list[dict[str, Any]]:
                return self._answer("MANAGERS")

            def connected_blocks(self) -> list[str]:
                return self._answer("CONNECTED_BLOCKS")

            def _answer(self, question: str) -> list[Any]:
                helper, client = self.interchange_proc, self.command_client  # type: Any, Any
                return [] if helper is None or helper.poll() is not None else client.run(question, timeout_s=60)

        settings = self._settings
        threads, memory_gb = self._largest(kind)
        limits = [need.time_limit_s for need in self._kinds[kind]]
        longest = max((limit for limit in limits if limit), default=0.0)
        drain_s = int(settings.walltime_s - longest - _LEAST_S) if all(limits) else 0
        return Watched(
            label=self._executor(kind),
            provider=self._provider(kind),
            address=settings.address or _own_address(),
            encrypted=True,
            cores_per_worker=threads,
            mem_per_worker=memory_gb or None,
            max_workers_per_node=self._workers_per_node(kind),
            available_accelerators=settings.gpus_per_node if kind == "gpu" else (),
            prefetch_capacity=0,
            heartbeat_period=max(1, settings.heartbeat_s // _HEARTBEATS),
            heartbeat_threshold=settings.heartbeat_s,
            # No job is begun that the end of its block would cut off, unless that leaves no time for any.
            drain_period=drain_s if drain_s >= _LEAST_S else None,
            interchange_launch_cmd=[sys.executable, "-m", __name__, str(os.getpid()), str(engine_folder(self._root))],
        )

    def _provider(self, kind: str) -> Any:
        settings = self._settings
        asked: dict[str, Any] = {
            "account": settings.account,
            "nodes_per_block": settings.nodes_per_block,
            "init_blocks": 1,
            "min_blocks": 0,
            "max_blocks": settings.max_blocks,
            "walltime": settings.walltime,
            "scheduler_options": settings.scheduler_options,
            "worker_init": _worker_init(settings.worker_init),
            "launcher": self._launcher(),
            "cmd_timeout": 60,
        }
        partition = (settings.gpu_partition if kind == "gpu" else None) or settings.partition
        gpus = settings.gpus_per_node if kind == "gpu" else 0
        if self.name == "slurm":
            from parsl.providers import SlurmProvider

            class Slurm(SlurmProvider):
                status_polling_interval = _QUEUE_S  # Parsl's minute is long for a block that was lost

            return Slurm(
                partition=partition,
                cores_per_node=settings.cores_per_node,
                mem_per_node=settings.memory_gb_per_node,
                gpus_per_node=gpus or None,
                exclusive=settings.exclusive,
                **asked,
            )
        from parsl.providers import PBSProProvider

        memory = f"mem={settings.memory_gb_per_node}gb" if settings.memory_gb_per_node else ""
        select = ":".join(filter(None, [memory, f"ngpus={gpus}" if gpus else "", settings.select_options]))
        make: Any = PBSProProvider  # it has no types
        return make(queue=partition, cpus_per_node=settings.cores_per_node, select_options=select, **asked)

    def _launcher(self) -> Any:
        from parsl.launchers import MpiExecLauncher, SingleNodeLauncher, SrunLauncher

        several = "srun" if self.name == "slurm" else "mpiexec"
        chosen = self._settings.launcher or (several if self._settings.nodes_per_block > 1 else "single")
        return {"single": SingleNodeLauncher, "srun": SrunLauncher, "mpiexec": MpiExecLauncher}[chosen]()

    def _largest(self, kind: str) -> tuple[int, float]:
        """Threads and memory [GB] of the greediest job."""
        needs = self._kinds[kind]
        return max(need.threads for need in needs), max(need.memory_gb for need in needs)

    def _workers_per_node(self, kind: str) -> int:
        return self._settings.workers_per_node(*self._largest(kind), gpu=kind == "gpu")

    def _executor(self, kind: str) -> str:
        return f"{self._label}-{kind}"


def _kernel(executors: Sequence[Any], folder: Path, strategy: str, idle_s: float = 120.0) -> Any:
    """Parsl with these executors and nothing else: no memory of earlier results, no second try, nothing sent home."""
    from parsl.config import Config
    from parsl.dataflow.dflow import DataFlowKernel

    return DataFlowKernel(
        Config(
            executors=list(executors),
            run_dir=str(folder),
            strategy=strategy,
            strategy_period=1,
            max_idletime=idle_s,
            retries=0,
            usage_tracking=0,
            initialize_logging=strategy != "none",
        )
    )


def _on_worker(folder: str) -> Facts:
    """Run a job in a worker of a block; it ends when the worker's own parent is gone, however that ended."""
    manager = os.getppid()
    return run_command(folder, _block_devices(), lambda: os.getppid() != manager)


_ALL_DEVICES = "FOLDLIGHT_BLOCK_DEVICES"


def _block_devices() -> dict[str, str]:
    """The worker's device by the name that the cluster gave it: Parsl counts from 0 whatever devices a block has."""
    given = [name for name in os.environ.get(_ALL_DEVICES, "").split(",") if name]
    number = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if "PARSL_WORKER_RANK" in os.environ and number.isdecimal() and int(number) < len(given):
        return _pinned([given[int(number)]])
    return {}


def _pinned(devices: Sequence[str]) -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {}


def _worker_init(given: str) -> str:
    """What a node runs before its workers: it has to find this environment's programs."""
    programs = shlex.quote(str(Path(sys.executable).parent))
    return "\n".join(
        filter(None, [given, f"export PATH={programs}:$PATH", f'export {_ALL_DEVICES}="$CUDA_VISIBLE_DEVICES"'])
    )


def _own_address() -> str:
    """Address that this machine's name has, that of the machine itself when it has none."""
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _interchange(runner: int, folder: Path) -> None:
    """Be Parsl's interchange, in a session of its own, and end with the runner, whatever ended it.

    Its output goes to a file: it must not hold the runner's open.
    """
    import runpy

    os.setsid()
    die_with(runner)
    with (folder / "interchange.log").open("ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    runpy.run_module("parsl.executors.high_throughput.interchange", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _interchange(int(sys.argv[1]), Path(sys.argv[2]))
