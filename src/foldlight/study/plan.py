"""What a study runs, as data: tasks, what they need, read and leave. Who runs them, and where, is not known here.

A study is a package with a module `plan` that prints its plan as JSON, so the library never imports a study.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from foldlight.core.errors import DataError, SettingsError
from foldlight.core.files import read_json
from foldlight.core.settings import Settings
from foldlight.study.machine import Resources

__all__ = ["PLAN_FILE", "Filters", "Plan", "Task", "ask_plan", "parse_filters", "profile_file", "read_plan"]

PLAN_FILE = "plan.json"
"""Name of the plan in the folder that it fills."""

Label = str | int | float
Filters = Mapping[str, tuple[str, ...]]
"""Values that a label may have, by its name."""

_NAME = r"^[\w=+-][\w=.+-]*(/[\w=+-][\w=.+-]*)*$"


class Task(Settings):
    """One command of a study, `python -m module arguments`."""

    name: Annotated[str, Field(pattern=_NAME)]
    """Unique, and a folder: `training/dose_1000/dense`."""
    module: str
    """Module to run."""
    arguments: tuple[str, ...] = ()
    """Its arguments; paths in them are absolute."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """What of a settings file decides its result, so that a change of it makes the result stale."""
    labels: dict[str, Label] = Field(default_factory=dict)
    """What it is about: phase, dose, view, split, repeat."""
    needs: tuple[str, ...] = ()
    """Names of the tasks that must have succeeded before."""
    inputs: tuple[Path, ...] = ()
    """Files it reads."""
    outputs: tuple[Path, ...] = ()
    """Files it leaves, and no other task does."""
    threads: int = Field(default=1, ge=1)
    """CPU threads it keeps busy."""
    memory_gb: float = Field(default=0.0, ge=0)
    """Memory it needs [GB]; 0 when nobody said."""
    gpus: int = Field(default=0, ge=0)
    """Devices it computes on, which no other task may use meanwhile."""
    time_limit_s: float | None = Field(default=None, gt=0)
    """Wall time after which it is ended [s]; none: no limit."""
    weight: float = Field(default=1.0, gt=0)
    """Rough cost, until tasks of its phase were measured."""

    @property
    def resources(self) -> Resources:
        """What it takes while it runs."""
        return Resources(self.threads, self.memory_gb, self.gpus, self.time_limit_s)

    @property
    def phase(self) -> str:
        """Its phase: tasks of one phase cost alike by weight."""
        return str(self.labels.get("phase", self.module))

    @property
    def title(self) -> str:
        """`training dose=1000 view=dense`; the first repeat goes without saying."""
        unsaid = {"phase": self.labels.get("phase"), "repeat": 0}
        others = [f"{name}={_word(value)}" for name, value in self.labels.items() if unsaid.get(name, ...) != value]
        return " ".join([str(self.labels.get("phase", self.name)), *others])


class Plan(Settings):
    """All tasks of a study and where their results lie."""

    title: str
    """Name of the study, for people."""
    root: Path
    """Folder that holds everything the tasks leave."""
    working_directory: Path
    """Where `python -m` finds the modules."""
    tasks: tuple[Task, ...]
    """Every task after those it needs."""
    tables: tuple[Path, ...] = ()
    """CSVs with a row for each result, one a repeat, shown when the plan has been run."""

    @model_validator(mode="before")
    @classmethod
    def _in_order(cls, values: Any) -> Any:
        """Sort the tasks. What is wrong is said in one line; the values are too many to be shown with it."""
        if not isinstance(values, dict) or not isinstance(values.get("tasks"), list | tuple):
            raise SettingsError("plan: expected a mapping with a list of tasks")
        tasks = [each if isinstance(each, Task) else Task.parse(each, "plan: task") for each in values["tasks"]]
        named = {task.name: task for task in tasks}
        if len(named) < len(tasks):
            twice = next(name for name in named if sum(task.name == name for task in tasks) > 1)
            raise SettingsError(f"plan: expected tasks with names of their own, got {twice} twice")
        for task in tasks:
            unknown = [name for name in task.needs if name not in named]
            if unknown:
                raise SettingsError(f"plan: task {task.name} needs {unknown[0]}, which is no task of the plan")
        try:
            order = list(TopologicalSorter({task.name: task.needs for task in tasks}).static_order())
        except CycleError as error:
            circle = " needs ".join(reversed(error.args[1]))
            raise SettingsError(f"plan: expected tasks that can be ordered, got {circle}") from None
        return {**values, "tasks": tuple(named[name] for name in order)}

    def __getitem__(self, name: str) -> Task:
        return next(task for task in self.tasks if task.name == name)

    def only(self, filters: Filters) -> "Plan":
        """The tasks whose labels match, with all they need; a task without a label of that name matches.

        Raises:
            SettingsError: no task has such a label, or none has such a value.
        """
        for name, wanted in filters.items():
            known = dict.fromkeys(_word(task.labels[name]) for task in self.tasks if name in task.labels)
            lost = [value for value in wanted if not any(_equal(value, each) for each in known)]
            if not known:
                labels = dict.fromkeys(label for task in self.tasks for label in task.labels)
                raise SettingsError(f"--only {name}: expected one of {', '.join(labels)}")
            if lost:
                raise SettingsError(f"--only {name}={lost[0]}: expected one of {', '.join(known)}")
        kept = {task.name for task in self.tasks if _matches(task, filters)}
        for task in reversed(self.tasks):
            if task.name in kept:
                kept.update(task.needs)
        return self.model_copy(update={"tasks": tuple(task for task in self.tasks if task.name in kept)})

    def at(self, root: Path) -> "Plan":
        """The same plan in a folder that was moved."""
        old, new = str(self.root), str(root)

        def moved(value: Any) -> Any:
            if isinstance(value, str):
                return new + value[len(old) :] if value == old or value.startswith(old + os.sep) else value
            if isinstance(value, list):
                return [moved(each) for each in value]
            return {name: moved(each) for name, each in value.items()} if isinstance(value, dict) else value

        return Plan.parse(moved(self.plain()), "plan")


def parse_filters(text: str) -> dict[str, tuple[str, ...]]:
    """`dose=1000,view=dense,view=sparse` as values by name.

    Raises:
        SettingsError: a part of it is no `name=value`.
    """
    found: dict[str, tuple[str, ...]] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not (name and equals and value):
            raise SettingsError(f"--only {text}: expected name=value[,name=value ...], got {part!r}")
        found[name] = (*found.get(name, ()), value)
    return found


def read_plan(root: Path) -> Plan:
    """The plan that was run into a folder, which may have been moved since.

    Raises:
        DataError: there is none.
        SettingsError: it is damaged.
    """
    path = root / PLAN_FILE
    if not path.is_file():
        raise DataError(f"{path}: expected the plan of a study that was run here, found none")
    return _as_plan(read_json(path), str(path)).at(root.resolve())


def profile_file(study: Path, profile: str) -> Path:
    """The design file of a study's profile.

    Raises:
        SettingsError: the folder is no study, or has no such profile.
    """
    _module(study)
    path = study / f"{profile}.toml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in study.glob("*.toml"))) or "none"
        raise SettingsError(f"--profile {profile}: expected a profile of {study}, which has {known}")
    return path


def ask_plan(study: Path, words: Sequence[str]) -> Plan:
    """The plan that the study's own module prints.

    Args:
        study: folder of the study.
        words: arguments of its `plan` module; paths in them are absolute.

    Raises:
        SettingsError: the folder is no study, or its module refuses or prints something else.
    """
    module, home = _module(study)
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise SettingsError(lines[-1] if done.returncode == 1 and lines else f"{module}: {' '.join(lines)}")
    try:
        values = json.loads(done.stdout)
    except ValueError as error:
        raise SettingsError(f"{module}: expected a plan as JSON on standard output: {error}") from None
    return _as_plan(values, module)


def _as_plan(values: Any, origin: str) -> Plan:
    if not isinstance(values, dict):
        raise SettingsError(f"{origin}: expected a plan, got {type(values).__name__}")
    return Plan.parse(values, origin)


def _module(study: Path) -> tuple[str, Path]:
    """Name of a study's plan module, and the folder that it is imported from."""
    if not (study / "plan.py").is_file():
        raise SettingsError(f"{study}: expected the folder of a study, with a plan.py")
    names, home = ["plan", study.resolve().name], study.resolve().parent
    while (home / "__init__.py").is_file():
        names.append(home.name)
        home = home.parent
    return ".".join(reversed(names)), home


def _matches(task: Task, filters: Filters) -> bool:
    return all(
        any(_equal(value, _word(task.labels[name])) for value in wanted)
        for name, wanted in filters.items()
        if name in task.labels
    )


def _equal(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other


def _word(value: Label) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)
