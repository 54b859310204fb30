"""Runs a plan: each task after those it needs, under the job wrapper, several at a time, where an engine places them.

What is done is left as it is. Tasks that need a failed one are skipped, and nothing else; so are those that need a task
that had nothing to do, and that is no failure. One runner works in a folder at a time; its tasks die with it.
"""

import json
import os
import platform
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from foldlight.core.errors import DataError, EngineError, FoldlightError, SettingsError
from foldlight.core.files import read_json, write_json, write_text
from foldlight.core.processes import end_tree
from foldlight.core.progress import duration, progress_bar
from foldlight.study.cluster import clear_leftovers
from foldlight.study.engine import Engine, EngineName, open_engine
from foldlight.study.job import HEARTBEAT_S
from foldlight.study.plan import PLAN_FILE, Plan, Task
from foldlight.study.records import FINAL, Digests, Facts, TaskFolder
from foldlight.study.state import TaskState, asked, identities, state_of, states

__all__ = ["Result", "RunReport", "run_plan"]

Say = Callable[..., None]

_LOCK, _HOLDER = ".runner.lock", ".runner.json"
_LOOK_S = 0.5  # between two updates of the bar
_DEATH_S = 1.0  # in which a job has noticed that its worker is gone
_SETTLED = {"done": "unchanged", "skipped": "skipped"}  # what a run makes of a state that it leaves as it is


@dataclass(frozen=True)
class Result:
    """What came of a task.

    Attributes:
        status: `success`, `failed`, `interrupted`, `skipped` when there was nothing to do or a task failed that it
            needs, or `unchanged` when it was done already.
        seconds: wall time.
        error: one line, None on success; of a skipped one, why.
        blames: the failed task that it was skipped for; None when it had nothing to do.
    """

    status: str
    seconds: float = 0.0
    error: str | None = None
    blames: str | None = None

    @property
    def well(self) -> bool:
        """What needs it can go on."""
        return self.status in {"success", "unchanged"}


@dataclass(frozen=True)
class RunReport:
    """What came of a run.

    Attributes:
        plan: what was run.
        results: of each of its tasks, by name.
        seconds: wall time.
    """

    plan: Plan
    results: Mapping[str, Result]
    seconds: float

    @property
    def troubles(self) -> dict[str, Result]:
        """Tasks that failed, or could not be run because of one that did."""
        idle = {name for name, each in self.results.items() if each.status == "skipped" and each.blames is None}
        return {name: each for name, each in self.results.items() if not each.well and name not in idle}


def run_plan(
    plan: Plan,
    chosen: Plan,
    say: Say,
    resume: bool = True,
    workers: int | None = None,
    show: bool = False,
    engine: EngineName = "threads",
    engine_settings: Path | None = None,
) -> RunReport:
    """Run tasks of a plan, each after those it needs, the costliest first.

    Args:
        plan: the whole plan; it is written to the folder, so that its state can be told later.
        chosen: the part of it that is run, as `Plan.only` gives it.
        say: receives each line as it happens.
        resume: run only what is not done; all of it otherwise.
        workers: most tasks at a time; as many as there is room for when None.
        show: show a bar on standard error.
        engine: where the tasks run.
        engine_settings: TOML file of a cluster.

    Raises:
        SettingsError: no worker is asked for, the engine's settings are wrong, or a task can never run there.
        DataError: the folder can't be written, or another runner works in it, or one of its jobs runs elsewhere.
        EngineError: what a killed runner left on a cluster can't be ended.
        KeyboardInterrupt: it was interrupted; all tasks were ended, and are run again by the next run.
    """
    needs = [task.resources for task in chosen.tasks]
    opened = open_engine(engine, plan.root, workers, needs, engine_settings)
    for task in chosen.tasks:
        if refused := opened.refusal(task.resources):
            raise SettingsError(f"task {task.name}: expected what --engine {engine} can give, got {refused}")
    with _only_runner(plan.root):
        if cleared := clear_leftovers(plan.root):
            say(cleared)
        _end_leftovers(chosen)
        write_text(plan.root / PLAN_FILE, json.dumps(plan.plain(), indent=1) + "\n")
        return _Run(plan, chosen, say, resume, opened).run(show)


def _end_leftovers(plan: Plan) -> None:
    """End the jobs of a runner that was killed a moment ago, and make sure that none runs on another machine.

    Raises:
        DataError: one does.
    """
    elsewhere: dict[TaskFolder, tuple[str, int | None]] = {}
    for task in plan.tasks:
        folder = TaskFolder(plan.root, task.name)
        for left in folder.left_running():
            end_tree(left.pid)
        if host := folder.elsewhere():
            elsewhere[folder] = (host, folder.beat())
    if elsewhere:
        time.sleep(2.0 * HEARTBEAT_S)  # clocks of machines differ: only a change tells
    for folder, (host, beat) in elsewhere.items():
        if folder.beat() != beat:
            raise DataError(f"{folder.path}: expected a job that nobody runs, but it runs on {host}; wait for its end")


@dataclass
class _Run:
    """One run: what waits, what runs, what came of the rest."""

    plan: Plan
    chosen: Plan
    say: Say
    resume: bool
    engine: Engine
    results: dict[str, Result] = field(default_factory=dict)
    running: dict[Future[Facts], tuple[Task, float]] = field(default_factory=dict)
    digests: Digests = field(default_factory=Digests)

    def run(self, show: bool) -> RunReport:
        """Run to the end."""
        began = time.monotonic()
        self.identities = identities(self.plan)
        self.tasks = {task.name: task for task in self.chosen.tasks}
        self.waiting = dict(self.tasks)
        self.dependents = _dependents(self.chosen)
        self.lacks = {task.name: set(task.needs) for task in self.chosen.tasks}
        known: Mapping[str, TaskState] = states(self.chosen, self.digests) if self.resume else {}
        self.done_before = {name for name, state in known.items() if state.settled}
        self.costs = _Costs()
        for name, state in known.items():
            if state.state == "done":
                self.costs.learn(self.tasks[name], state.seconds)
        self.counted = 0
        self.waits: str | None = None
        self.known_left: float | None = None
        self.look_again = 0.0
        self.say(self._opening())
        total = sum(task.weight for task in self.chosen.tasks)
        with progress_bar("study", total, show) as advance:
            try:
                while self.waiting or self.running:
                    self._start()
                    finished, _ = wait(self.running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                    for future in finished:
                        task, _ = self.running.pop(future)
                        self._settle(task, self._came_of(task, future))
                    advance(total - self._weight_left(), self._now())
                    self._tend()
            finally:
                self._close()
                for task, _ in self.running.values():
                    _note_interruption(TaskFolder(self.plan.root, task.name))
        return RunReport(self.chosen, self.results, time.monotonic() - began)

    def _tend(self) -> None:
        """Look after the engine, and tell when it begins to wait for something."""
        waits = self.engine.tend()
        if waits and waits != self.waits:
            self.say(f"    waiting for {waits}")
        self.waits = waits

    def _close(self) -> None:
        try:
            self.engine.close()
        except EngineError as error:  # the results are there, and the next run clears up
            self.say(f"    {error}")

    def _start(self) -> None:
        """Start what is ready and has room, the costliest first; what waits for room is not overtaken there."""
        held = set[str]()
        for task in sorted(self._ready(), key=lambda each: -each.weight):
            need = task.resources
            if "cores" in held:
                break
            if held & _taken_by(task):
                continue
            if lacking := self.engine.lacking(need):
                held.add(lacking)
                continue
            del self.waiting[task.name]
            result = self._begin(task)
            if result is not None:
                self._settle(task, result)

    def _ready(self) -> list[Task]:
        return [task for task in self.waiting.values() if not self.lacks[task.name]]

    def _begin(self, task: Task) -> Result | None:
        """Start a task, or say what came of it at once."""
        folder, identity = TaskFolder(self.plan.root, task.name), self.identities[task.name]
        try:
            if self.resume and (state := state_of(folder, identity, self.digests)).settled:
                return Result(_SETTLED[state.state], state.seconds, state.reason)
            folder.ask(asked(self.plan, task, identity, self.digests))
            self.running[self.engine.submit(folder.path, task.resources)] = (task, time.monotonic())
        except (FoldlightError, OSError) as error:
            return _failed(folder, str(error))
        return None

    def _came_of(self, task: Task, future: Future[Facts]) -> Result:
        """What is on a task's record, or why there is nothing."""
        folder, lost = TaskFolder(self.plan.root, task.name), future.exception()
        if lost is not None:
            _let_end(folder)
        status = folder.status() or {}
        if status.get("state") not in FINAL:
            return _failed(folder, _unrecorded(future.result()) if lost is None else f"the engine lost it: {lost}")
        for name, facts in status["outputs"].items():
            self.digests.learn(self.plan.root / name, facts)
        return Result(status["state"], float(status["seconds"]), status["error"])

    def _settle(self, task: Task, result: Result) -> None:
        """Note and tell what came of a task; those that need it in vain are skipped."""
        self.results[task.name] = result
        if result.status == "success":
            self.costs.learn(task, result.seconds)
        if result.status not in _SETTLED.values() or task.name not in self.done_before:
            self.done_before.discard(task.name)
            self._tell(task, result)
        if not result.well:
            self._skip_followers(task, result)
        for name in self.dependents[task.name]:
            self.lacks[name].discard(task.name)

    def _skip_followers(self, task: Task, result: Result) -> None:
        """Skip what needs a task in vain; a failure weighs more than that another need had nothing to do."""
        blamed = result.blames if result.status == "skipped" else task.name
        reason = f"needs {blamed}, which {_FATE[result.status]}" if blamed else f"needs {task.name}, which was skipped"
        fate = Result("skipped", error=reason, blames=blamed)
        for name in self.dependents[task.name]:
            if self.waiting.pop(name, None):
                self._settle(self.tasks[name], fate)
            elif blamed and self.results[name].blames is None:
                self.results[name] = fate
                self._skip_followers(self.tasks[name], fate)

    def _tell(self, task: Task, result: Result) -> None:
        self.counted += 1
        place = f"[{self.counted}/{len(self.chosen.tasks) - len(self.done_before)}]"
        took = "" if result.status == "skipped" else f"  {duration(result.seconds)}"
        left = self._seconds_left() if self.waiting or self.running else None
        soon = "" if left is None else f"  about {duration(left)} left"
        self.say(f"{place} {task.title}  {result.status}{took}{soon}")
        if result.error:
            self.say(f"    {result.error}")
        if result.status == "failed":
            self.say(f"    log: {TaskFolder(self.plan.root, task.name).log}")

    def _opening(self) -> str:
        todo = len(self.chosen.tasks) - len(self.done_before)
        done = f", {len(self.done_before)} are done already" if self.done_before else ""
        places = self.engine.places
        at_a_time = f"up to {places} at a time" if places > 1 else "one at a time"
        where = "" if self.engine.name == "threads" else f" by {self.engine.name}"
        return f"{self.chosen.title}: {todo} tasks to run, {at_a_time}{where}{done} -> {self.plan.root}"

    def _now(self) -> str:
        return ", ".join(task.title for task, _ in self.running.values())

    def _left(self) -> dict[str, float]:
        """Seconds that each unfinished task still takes, 0 where that is not known."""
        now = time.monotonic()
        left = {
            task.name: max(0.0, (self.costs.expected(task) or 0.0) - (now - began))
            for task, began in self.running.values()
        }
        todo = [task for task in self.waiting.values() if task.name not in self.done_before]
        return left | {task.name: self.costs.expected(task) or 0.0 for task in todo}

    def _seconds_left(self) -> float | None:
        """Seconds until all is done: the work shared by the places, or the longest chain of needs.

        With thousands of tasks it is not worked out anew for each line: it may take a fiftieth of the time.
        """
        began = time.monotonic()
        if not self.costs or began < self.look_again:
            return self.known_left
        left, chain = self._left(), dict[str, float]()
        for task in self.chosen.tasks:
            chain[task.name] = left.get(task.name, 0.0) + max((chain[need] for need in task.needs), default=0.0)
        self.known_left = max(sum(left.values()) / self.engine.places, *chain.values())
        ended = time.monotonic()
        self.look_again = ended + 50.0 * (ended - began)
        return self.known_left

    def _weight_left(self) -> float:
        """Weight of what is not finished, less the share of the running tasks that is behind them."""
        waiting = sum(task.weight for task in self.waiting.values())
        now, running = time.monotonic(), 0.0
        for task, began in self.running.values():
            expected = self.costs.expected(task)
            behind = min(0.95, (now - began) / expected) if expected else 0.0
            running += task.weight * (1.0 - behind)
        return waiting + running


class _Costs:
    """Seconds that tasks take, from those that were measured."""

    def __init__(self) -> None:
        self._phases: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._all = [0.0, 0.0]

    def __bool__(self) -> bool:
        return self._all[1] > 0

    def learn(self, task: Task, seconds: float) -> None:
        """A task took so long."""
        for sums in (self._phases[task.phase], self._all):
            sums[0] += seconds
            sums[1] += task.weight

    def expected(self, task: Task) -> float | None:
        """Seconds that a task will take, by those of its phase, or by all; None before there is one."""
        seconds, weight = self._phases.get(task.phase, self._all)
        return seconds * task.weight / weight if weight else None


_FATE = {"failed": "failed", "skipped": "failed", "interrupted": "was interrupted"}


def _dependents(plan: Plan) -> dict[str, list[str]]:
    """Names of the tasks that need each task."""
    found: dict[str, list[str]] = {task.name: [] for task in plan.tasks}
    for task in plan.tasks:
        for need in dict.fromkeys(task.needs):
            found[need].append(task.name)
    return found


def _taken_by(task: Task) -> set[str]:
    """Kinds of resources that not every task takes, and this one does."""
    return ({"memory"} if task.memory_gb else set()) | ({"devices"} if task.gpus else set())


def _failed(folder: TaskFolder, error: str) -> Result:
    """A failure that the job could not record itself; with a full disk nobody can, and the next run finds it undone."""
    line = " ".join(error.split())
    status: dict[str, Any] = {"state": "failed", "error": line, "seconds": 0.0, "inputs": {}, "outputs": {}}
    with suppress(FoldlightError):
        folder.write(**status)
    return Result("failed", error=line)


def _let_end(folder: TaskFolder) -> None:
    """See to it that a job whose worker was lost has ended too."""
    for left in folder.left_running():
        end_tree(left.pid)
    if folder.elsewhere():
        time.sleep(_DEATH_S)


def _unrecorded(ended: Facts) -> str:
    """Why a job's wrapper left no record."""
    code = ended["returncode"]
    if code < 0:
        return f"its wrapper was ended by {signal.Signals(-code).name} from outside, or because memory was short"
    return ended["told"] or f"its wrapper ended with {code} and left no record"


def _note_interruption(folder: TaskFolder) -> None:
    """Record that a job was ended with the run, where its own wrapper could not."""
    status = folder.status() or {}
    if status.get("state") not in FINAL:
        with suppress(FoldlightError):
            folder.write(state="interrupted", error="ended because the run was interrupted", inputs={}, outputs={})


@contextmanager
def _only_runner(root: Path) -> Iterator[None]:
    """Hold the folder for this process alone.

    Raises:
        DataError: another one holds it, or it can't be written.
    """
    holder = root / _HOLDER
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / _LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise DataError(
            f"{root}: expected no other runner, but {_holder(holder)} works here; wait for its end"
        ) from None
    except OSError as error:
        raise DataError(f"{root}: expected a writable folder, got {error.strerror}") from None
    try:
        write_json(holder, {"pid": os.getpid(), "host": platform.node(), "command": sys.argv[1:]})
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    try:
        known = read_json(path)
        return f"process {known['pid']} on {known['host']}"
    except (FoldlightError, KeyError, TypeError):
        return "one"
