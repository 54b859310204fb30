"""Runs a plan with plain local processes: in order, several at a time, each under the job wrapper.

A failed task blocks those that need it and nothing else; what needs a task that had nothing to do is skipped with it,
and that is no failure. One runner works in a folder at a time; its tasks die with it.
"""

import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from foldlight.core.errors import DataError, FoldlightError, SettingsError
from foldlight.core.files import read_json, write_json, write_text
from foldlight.core.processes import end_tree
from foldlight.core.progress import progress_bar
from foldlight.study.jobs import run_words
from foldlight.study.plan import PLAN_FILE, Plan, Task
from foldlight.study.skipping import NOTE, read_note
from foldlight.study.state import Digests, Facts, TaskFolder, identities, states

__all__ = ["Result", "RunReport", "default_workers", "run_plan", "run_task"]

Say = Callable[..., None]

_LOCK, _HOLDER = ".runner.lock", ".runner.json"
_LOOK_S = 0.5  # between two updates of the bar
_SETTLED = {"done": "unchanged", "skipped": "skipped"}  # what a resumed run makes of a state that it leaves as it is


@dataclass(frozen=True)
class Result:
    """What came of a task.

    Attributes:
        status: `success`, `failed`, `blocked`, `interrupted`, `skipped` when there was nothing to do, or `unchanged`
            when it was done already.
        seconds: wall time.
        error: one line, None on success; of a skipped one, why.
    """

    status: str
    seconds: float = 0.0
    error: str | None = None

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
        """Tasks that failed or could not be run."""
        return {name: each for name, each in self.results.items() if not each.well and each.status != "skipped"}


def default_workers(plan: Plan) -> int:
    """As many tasks at a time as keep the cores busy, each on as many threads as the greediest takes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max((task.threads for task in plan.tasks), default=1))


def run_plan(
    plan: Plan, chosen: Plan, say: Say, resume: bool = False, workers: int | None = None, show: bool = False
) -> RunReport:
    """Run tasks of a plan, each after those it needs, the costliest first.

    Args:
        plan: the whole plan; it is written to the folder, so that its state can be told later.
        chosen: the part of it that is run, as `Plan.only` gives it.
        say: receives each line as it happens.
        resume: run only what is not done; all of it otherwise.
        workers: tasks at a time; `default_workers` when None.
        show: show a bar on standard error.

    Raises:
        SettingsError: no worker is asked for.
        DataError: the folder can't be written, or another runner works in it.
        KeyboardInterrupt: it was interrupted; all tasks were ended, and are run again by a resumed run.
    """
    count = default_workers(chosen) if workers is None else workers
    if count < 1:
        raise SettingsError(f"--workers {count}: expected 1 or more")
    with _only_runner(plan.root):
        write_text(plan.root / PLAN_FILE, json.dumps(plan.plain(), indent=1) + "\n")
        return _Run(plan, chosen, say, resume, count).run(show)


def run_task(
    plan: Plan, task: Task, identity: Facts, digests: Digests, stop: threading.Event, resume: bool = False
) -> Result:
    """Run one task in a process of its own and keep its records; it never raises, but tells what went wrong.

    Args:
        plan: where it runs and writes.
        task: what to run.
        identity: what decides its result, as `identities` gives it.
        digests: known digests of files.
        stop: ends the task when it is set.
        resume: leave it as it is when it is done.
    """
    folder = TaskFolder(plan.root, task.name)
    try:
        if resume and (state := folder.state(identity, digests)).state in _SETTLED:
            return Result(_SETTLED[state.state], state.seconds, state.reason)
        if (leftover := folder.left_running()) is not None:  # of a runner that was killed a moment ago
            end_tree(leftover.pid)
        return _run_recorded(plan, task, folder, identity, digests, stop)
    except (FoldlightError, OSError) as error:
        with suppress(FoldlightError):
            folder.write(state="failed", error=str(error), outputs={})
        return Result("failed", error=str(error))


def _run_recorded(
    plan: Plan, task: Task, folder: TaskFolder, identity: Facts, digests: Digests, stop: threading.Event
) -> Result:
    folder.begin(task, identity, digests)
    for output in task.outputs:
        output.unlink(missing_ok=True)
    words = ["run", task.module, *task.arguments]
    note = {NOTE: str(folder.skip_note)}
    outcome = run_words(
        words, folder.log, None, task.threads, plan.working_directory, folder.running, stop, variables=note
    )
    status, error, outputs = outcome.status, outcome.error, {}
    if status == "failed" and stop.is_set():
        status = "interrupted"
    elif status == "failed" and (reason := read_note(folder.skip_note)):
        status, error = "skipped", reason
    if status == "success":
        try:
            outputs = folder.files(task.outputs, digests)
        except DataError as lost:
            status, error = "failed", f"expected the task to leave its outputs; {lost}"
    folder.write(
        state=status,
        seconds=round(outcome.seconds, 3),
        returncode=outcome.returncode,
        signal=outcome.signal,
        peak_rss_mb=round(outcome.peak_rss_mb, 1),
        error=error,
        outputs=outputs,
    )
    return Result(status, outcome.seconds, error)


@dataclass
class _Run:
    """One run: what waits, what runs, what came of the rest."""

    plan: Plan
    chosen: Plan
    say: Say
    resume: bool
    workers: int
    results: dict[str, Result] = field(default_factory=dict)
    running: dict[Future[Result], tuple[Task, float]] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    digests: Digests = field(default_factory=Digests)

    def run(self, show: bool) -> RunReport:
        """Run to the end."""
        began = time.monotonic()
        self.identities = identities(self.plan)
        self.waiting = {task.name: task for task in self.chosen.tasks}
        known = states(self.chosen, self.digests) if self.resume else {}
        self.done_before = {name for name, state in known.items() if state.state in _SETTLED}
        self.measured = [(self.chosen[name], state.seconds) for name, state in known.items() if state.state == "done"]
        self.counted = 0
        self.say(self._opening())
        total = sum(task.weight for task in self.chosen.tasks)
        with progress_bar("study", total, show) as advance, ThreadPoolExecutor(self.workers) as pool:
            try:
                while self.waiting or self.running:
                    self._start(pool)
                    finished, _ = wait(self.running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                    for future in finished:
                        task, _ = self.running.pop(future)
                        self._settle(task, future.result())
                    advance(total - self._weight_left(), self._now())
            finally:
                self.stop.set()
        return RunReport(self.chosen, self.results, time.monotonic() - began)

    def _start(self, pool: ThreadPoolExecutor) -> None:
        """Start what is ready, the costliest first."""
        ready = [task for task in self.waiting.values() if all(need in self.results for need in task.needs)]
        for task in sorted(ready, key=lambda each: -each.weight)[: self.workers - len(self.running)]:
            del self.waiting[task.name]
            job = (self.plan, task, self.identities[task.name], self.digests, self.stop, self.resume)
            self.running[pool.submit(run_task, *job)] = (task, time.monotonic())

    def _settle(self, task: Task, result: Result) -> None:
        """Note and tell what came of a task; those that needed it in vain are blocked, or skipped with it."""
        self.results[task.name] = result
        if result.status == "success":
            self.measured.append((task, result.seconds))
        if result.status not in _SETTLED.values() or task.name not in self.done_before:
            self.done_before.discard(task.name)
            self._tell(task, result)
        if not result.well:
            fate = "failed" if result.status == "failed" else f"was {result.status}"
            word = "skipped" if result.status == "skipped" else "blocked"
            for other in [each for each in self.waiting.values() if task.name in each.needs]:
                if self.waiting.pop(other.name, None):
                    self._settle(other, Result(word, error=f"needs {task.name}, which {fate}"))

    def _tell(self, task: Task, result: Result) -> None:
        self.counted += 1
        place = f"[{self.counted}/{len(self.chosen.tasks) - len(self.done_before)}]"
        took = "" if result.status in {"blocked", "skipped"} else f"  {_duration(result.seconds)}"
        left = self._seconds_left() if self.waiting or self.running else None
        soon = "" if left is None else f"  about {_duration(left)} left"
        self.say(f"{place} {task.title}  {result.status}{took}{soon}")
        if result.error:
            self.say(f"    {result.error}")
        if result.status == "failed":
            self.say(f"    log: {TaskFolder(self.plan.root, task.name).log}")

    def _opening(self) -> str:
        todo = len(self.chosen.tasks) - len(self.done_before)
        done = f", {len(self.done_before)} are done already" if self.done_before else ""
        at_a_time = f"{self.workers} at a time" if self.workers > 1 else "one at a time"
        return f"{self.chosen.title}: {todo} tasks to run, {at_a_time}{done} -> {self.plan.root}"

    def _now(self) -> str:
        return ", ".join(task.title for task, _ in self.running.values())

    def _expected(self, task: Task) -> float | None:
        """Seconds that a task will take, from those of its phase that were measured, or from all."""
        alike = [(each, seconds) for each, seconds in self.measured if each.phase == task.phase] or self.measured
        weight = sum(each.weight for each, _ in alike)
        return sum(seconds for _, seconds in alike) * task.weight / weight if weight else None

    def _left(self) -> dict[str, float]:
        """Seconds that each unfinished task still takes, 0 where that is not known."""
        now = time.monotonic()
        left = {
            task.name: max(0.0, (self._expected(task) or 0.0) - (now - began)) for task, began in self.running.values()
        }
        todo = [task for task in self.waiting.values() if task.name not in self.done_before]
        return left | {task.name: self._expected(task) or 0.0 for task in todo}

    def _seconds_left(self) -> float | None:
        """Seconds until all is done: the work shared by the workers, or the longest chain of needs."""
        if not self.measured:
            return None
        left, chain = self._left(), dict[str, float]()
        for task in self.chosen.tasks:
            chain[task.name] = left.get(task.name, 0.0) + max((chain[need] for need in task.needs), default=0.0)
        return max(sum(left.values()) / self.workers, *chain.values())

    def _weight_left(self) -> float:
        """Weight of what is not finished, less the share of the running tasks that is behind them."""
        waiting = sum(task.weight for task in self.waiting.values())
        now, running = time.monotonic(), 0.0
        for task, began in self.running.values():
            expected = self._expected(task)
            behind = min(0.95, (now - began) / expected) if expected else 0.0
            running += task.weight * (1.0 - behind)
        return waiting + running


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


def _duration(seconds: float) -> str:
    """Time in the unit that people would use."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"
