"""The study as a list of commands: one for each repeat, phase, dose, view and split.

`python -m studies.fly64_dose_overlap.plan --output-root ROOT [--design FILE] [--base-npz FILE]` prints it as JSON.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from foldlight.study.machine import visible_devices
from foldlight.study.plan import Plan, Task
from studies.fly64_dose_overlap import paths
from studies.fly64_dose_overlap.design import BASELINE, SPLITS, SUPERVISED, StudyDesign, get_study_design
from studies.fly64_dose_overlap.phase import run_phase, say

__all__ = ["main", "study_plan"]

Accelerator = Literal["auto", "cpu", "gpu", "cuda"]

_WEIGHTS = {"generation": 2.0, "overlap": 1.0, "training": 10.0, "reconstruction": 4.0, "comparison": 3.0}

# Most memory that a phase held [GB]: as any program that computes, and with all positions of the profile `quick`.
_MEMORY_GB = {
    "generation": (0.3, 0.7),
    "overlap": (0.1, 0.2),
    "training": (0.4, 1.6),
    "reconstruction": (0.5, 0.8),
    "comparison": (0.4, 1.4),
}
_MEASURED_POSITIONS = 1600
_COPIES_OF_FRAMES = 6  # of four bytes a pixel
_BEFORE_AND_AFTER_S = 60.0  # that a command takes beside the job whose time is limited

_COMPARED = (
    *("metrics.csv", "metrics.json", "frc_curves.csv", "residual_rings.csv", "residual_frames.csv"),
    *("reconstructions.npz", "comparison.png"),
)

# What of the design a phase never sees, so that a change of it leaves its results valid.
_NEVER = {"doses", "views", "repeats", "supervised", "time_limit_s"}
_REFINED = {"hybrid", "refinement"}
_UNSEEN = {
    "generation": {*_NEVER, *_REFINED, "training", "reconstruction", "metrics"},
    "overlap": {*_NEVER, *_REFINED, "training", "reconstruction", "metrics"},
    "training": {*_NEVER, *_REFINED, "reconstruction", "metrics"},
    "reconstruction": {*_NEVER, *_REFINED, "training", "metrics"},
    "comparison": {*_NEVER, "training", "reconstruction"},
}


@dataclass(frozen=True)
class _Flags:
    """Print the plan of the study as JSON."""

    output_root: Path
    """Folder for everything that the study leaves."""
    design: Path | None = None
    """TOML or YAML file with the design."""
    base_npz: Path | None = None
    """DATA-001 file with object, probe and positions."""
    accelerator: Accelerator = "cpu"
    """Where networks and the iterative engine compute; only a CPU repeats to the bit."""
    timeout: float = 600.0
    """Time limit of a comparison [s]."""
    repeats: int | None = None
    """Times that the study is made; those of the design when not given."""


def main(words: Sequence[str] | None = None) -> int:
    """Print the plan and return the exit code."""
    return run_phase(_Flags, _run, "plan", words)


def _run(flags: _Flags) -> int:
    design = get_study_design(flags.design)
    if flags.repeats is not None:
        design = StudyDesign.parse({**design.plain(), "repeats": flags.repeats}, "--repeats")
    plan = study_plan(design, flags.output_root, flags.design, flags.base_npz, flags.accelerator, flags.timeout)
    say(json.dumps(plan.plain(), indent=1))
    return 0


def study_plan(
    design: StudyDesign,
    root: Path,
    design_file: Path | None = None,
    base_npz: Path | None = None,
    accelerator: Accelerator = "cpu",
    timeout_s: float = 600.0,
) -> Plan:
    """All commands of the study.

    Args:
        design: what is varied; its doses, views and repeats become tasks.
        root: folder for everything; each phase has a folder of its own in it, and each repeat but the first its own
            set of them.
        design_file: where the design came from, for the commands; None for the built-in one.
        base_npz: base file; without one the design's embedded base is simulated.
        accelerator: where networks and the iterative engine compute.
        timeout_s: time limit of a comparison [s].
    """
    files = (design_file and design_file.resolve(), base_npz and base_npz.resolve())
    whole = root.resolve()
    gpus = int(accelerator in {"gpu", "cuda"} or (accelerator == "auto" and bool(visible_devices())))
    repeats = [
        _Repeat(number, design.repeated(number), paths.repeat_root(whole, number), *files, accelerator, gpus)
        for number in range(design.repeats)
    ]
    return Plan(
        title=__package__.rsplit(".", maxsplit=1)[-1],
        root=whole,
        working_directory=Path(__file__).resolve().parents[2],
        tasks=tuple(task for repeat in repeats for task in repeat.tasks(timeout_s)),
        tables=tuple(repeat.g / "metrics.csv" for repeat in repeats),
    )


@dataclass(frozen=True)
class _Repeat:
    """The whole study once, with its own seeds in its own folder."""

    number: int
    design: StudyDesign
    root: Path
    design_file: Path | None
    base_npz: Path | None
    accelerator: Accelerator
    gpus: int
    """Devices of each job that computes on one."""

    c = property(lambda self: self.root / "phase_c")
    d = property(lambda self: self.root / "phase_d")
    e = property(lambda self: self.root / "phase_e")
    f = property(lambda self: self.root / "phase_f")
    g = property(lambda self: self.root / "phase_g")

    def tasks(self, timeout_s: float) -> Iterator[Task]:
        """Every task, phase by phase."""
        yield from (self.generation(dose) for dose in self.design.doses)
        yield from (self.overlap(dose, view) for dose, view in self.views())
        yield from (self.training(dose, view) for dose, view in self.views())
        if self.supervised:
            yield from (self.training(dose, SUPERVISED) for dose in self.design.doses)
        halves = [(dose, view, split) for dose, view in self.views() for split in SPLITS]
        yield from (self.reconstruction(*half) for half in halves)
        yield from (self.comparison(*half, timeout_s) for half in halves)

    @property
    def supervised(self) -> bool:
        """One network more is trained, on the frames of the baseline; what phase C makes always knows its object."""
        return self.design.supervised and BASELINE in self.design.views

    def views(self) -> Iterator[tuple[float, str]]:
        """Every dose and view."""
        return ((dose, view) for dose in self.design.doses for view in self.design.views)

    def generation(self, dose: float) -> Task:
        """Simulate one dose and split it."""
        base = [] if self.base_npz is None else ["--base-npz", self.base_npz]
        return self._task(
            ["--output-root", self.c, "--doses", dose, *base],
            {"phase": "generation", "dose": dose},
            inputs=[] if self.base_npz is None else [self.base_npz],
            outputs=[paths.patched(self.c, dose, split) for split in SPLITS],
            time_limit_s=self.design.time_limit_s + _BEFORE_AND_AFTER_S,
        )

    def overlap(self, dose: float, view: str) -> Task:
        """Thin both splits to a view."""
        roots = ["--phase-c-root", self.c, "--output-root", self.d, "--artifact-root", self.root / "metrics"]
        made = (paths.view_data, paths.view_metrics)
        return self._task(
            [*roots, "--doses", dose, "--views", view],
            {"phase": "overlap", "dose": dose, "view": view},
            needs=[self._name("generation", dose)],
            inputs=[paths.patched(self.c, dose, split) for split in SPLITS],
            outputs=[path(self.d, dose, view, split) for path in made for split in SPLITS],
            time_limit_s=self.design.time_limit_s + _BEFORE_AND_AFTER_S,
        )

    def training(self, dose: float, view: str) -> Task:
        """Train a view's network, or the supervised one."""
        roots = ["--phase-c-root", self.c, "--phase-d-root", self.d, "--artifact-root", self.e]
        chosen = ["--dose", dose, "--view", view]
        data = BASELINE if view == SUPERVISED else view
        return self._task(
            [*roots, *chosen, *self._device(), "--deterministic", "--num-workers", 0],
            {"phase": "training", "dose": dose, "view": view},
            needs=[self._name("overlap", dose, data)],
            inputs=[paths.view_data(self.d, dose, data, split) for split in SPLITS],
            outputs=[self._bundle(dose, view)],
            threads=self.design.training.threads,
            gpus=self.gpus,
            time_limit_s=self.design.time_limit_s + _BEFORE_AND_AFTER_S,
        )

    def reconstruction(self, dose: float, view: str, split: str) -> Task:
        """Reconstruct a split of a view with the iterative engine."""
        roots = ["--phase-c-root", self.c, "--phase-d-root", self.d, "--artifact-root", self.f]
        return self._task(
            [*roots, "--dose", dose, "--view", view, "--split", split, *self._device()],
            {"phase": "reconstruction", "dose": dose, "view": view, "split": split},
            needs=[self._name("overlap", dose, view)],
            inputs=[paths.view_data(self.d, dose, view, split)],
            outputs=[paths.ptychi_file(self.f, dose, view, split)],
            threads=self.design.reconstruction.threads or 1,
            gpus=self.gpus,
            time_limit_s=self.design.time_limit_s + _BEFORE_AND_AFTER_S,
        )

    def comparison(self, dose: float, view: str, split: str, timeout_s: float) -> Task:
        """Score all arms on a split of a view."""
        roots = ["--phase-c-root", self.c, "--phase-d-root", self.d, "--phase-e-root", self.e]
        roots += ["--phase-f-root", self.f, "--artifact-root", self.g]
        chosen = ["--dose", dose, "--view", view, "--split", split, "--timeout", timeout_s]
        others = [*([BASELINE] if BASELINE in self.design.views else []), *([SUPERVISED] if self.supervised else [])]
        networks = dict.fromkeys([view, *others])
        folder = paths.comparison_folder(self.g, dose, view, split)
        return self._task(
            [*roots, *chosen, *self._device()],
            {"phase": "comparison", "dose": dose, "view": view, "split": split},
            needs=[
                *(self._name("training", dose, network) for network in networks),
                self._name("reconstruction", dose, view, split),
                self._name("overlap", dose, view),
            ],
            inputs=[
                *(self._bundle(dose, network) for network in networks),
                paths.ptychi_file(self.f, dose, view, split),
                paths.view_data(self.d, dose, view, split),
                paths.view_metrics(self.d, dose, view, split),
            ],
            outputs=[folder / name for name in _COMPARED],
            gpus=self.gpus,
            time_limit_s=timeout_s + _BEFORE_AND_AFTER_S,
        )

    def _device(self) -> list[str]:
        return ["--accelerator", self.accelerator]

    def _bundle(self, dose: float, view: str) -> Path:
        if view == SUPERVISED:
            return paths.bundle(paths.supervised_folder(self.e, dose))
        gridsize = self.design.views[view].gridsize
        return paths.bundle(paths.model_folder(self.e, dose, view, gridsize, gridsize))

    def _task(self, arguments: Sequence[Any], labels: dict[str, Any], **facts: Any) -> Task:
        phase, view = str(labels["phase"]), labels.get("view")
        settings = self.design.model_dump(mode="json", exclude=_UNSEEN[phase])
        if view is not None:
            settings["view"] = self.design.views[BASELINE if view == SUPERVISED else view].plain()
        repeat = ["--repeat", self.number] if self.number else []  # the first keeps the command it always had
        design = [] if self.design_file is None else ["--design", self.design_file]
        return Task(
            name=self._name(*labels.values()),
            module=f"{__package__}.{phase}",
            arguments=tuple(str(word) for word in [*arguments, *repeat, *design]),
            settings=settings,
            labels={**labels, "repeat": self.number},
            weight=_WEIGHTS[phase],
            memory_gb=self._memory_gb(phase),
            **facts,
        )

    def _memory_gb(self, phase: str) -> float:
        """Memory that a phase needs, from what was measured; positions of a base file are taken for the design's."""
        least, measured = _MEMORY_GB[phase]
        positions = self.design.base.positions
        frames = _COPIES_OF_FRAMES * 4e-9 * positions * self.design.base.window**2
        return round(least + (measured - least) * min(1.0, positions / _MEASURED_POSITIONS) + frames, 2)

    def _name(self, phase: str, dose: float, *rest: str) -> str:
        repeat = [f"repeat_{self.number}"] if self.number else []
        return "/".join([*repeat, phase, f"dose_{int(dose)}", *rest])


if __name__ == "__main__":
    sys.exit(main())
