"""Verbs about studies: run, status, job."""

import sys
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from foldlight.cli.common import say

__all__ = ["study_job", "study_run", "study_status"]


def study_run(
    study: Positional[Path],
    profile: str = "quick",
    only: str = "",
    resume: bool = True,
    base_npz: Path | None = None,
    output: Path | None = None,
    workers: int | None = None,
    design: Path | None = None,
    accelerator: Literal["auto", "cpu", "gpu", "cuda"] = "cpu",
    repeats: int | None = None,
    engine: Literal["threads", "slurm", "pbs"] = "threads",
    engine_settings: Path | None = None,
) -> None:
    """Run all phases of a study, several jobs at a time, and show the table of its results.

    The same command again goes on where the study was stopped: what is done and still true is not run again.

    Args:
        study: folder of the study.
        profile: size of the study, a TOML file beside its code: `smoke`, `quick` or `full`.
        only: run a part and what it needs, for instance `dose=1000,view=dense`.
        resume: run only what failed, was interrupted, is missing, or whose files or settings have changed; all of it
            with `--no-resume`.
        base_npz: file with the object, probe and positions to start from, instead of the simulated ones.
        output: folder for everything; `outputs/STUDY/PROFILE` when not given.
        workers: most jobs at a time; as many as there is room for when not given.
        design: settings file instead of a profile.
        accelerator: where networks and pty-chi compute; on a CPU results repeat to the bit.
        repeats: times that the study is made, each with seeds of its own; as the design says when not given.
        engine: where jobs run: `threads` of this machine, or blocks of a `slurm` or `pbs` cluster.
        engine_settings: TOML file that describes the cluster; `studies/cluster.example.toml` shows all of it.
    """
    from foldlight.study.plan import ask_plan, parse_filters, profile_file
    from foldlight.study.runner import run_plan

    chosen = design or profile_file(study, profile)
    root = output or _study_output(study, chosen.stem)
    base = [] if base_npz is None else ["--base-npz", base_npz.resolve()]
    words = ["--output-root", root.resolve(), "--design", chosen.resolve(), "--accelerator", accelerator, *base]
    words += [] if repeats is None else ["--repeats", repeats]
    plan = ask_plan(study, list(map(str, words)))
    part = plan.only(parse_filters(only))
    try:
        show = sys.stdout.isatty() and sys.stderr.isatty()
        report = run_plan(plan, part, say, resume, workers, show, engine, engine_settings)
    except KeyboardInterrupt:
        sys.exit("foldlight: interrupted; all jobs were ended; go on with the same command")
    from foldlight.report.publish import publish_study  # it loads much that a runner of days has no use for

    say(*publish_study(plan), f"everything -> {root}")
    if report.troubles:
        lines = [f"    {name}: {result.status}: {result.error}" for name, result in report.troubles.items()]
        say(f"{len(lines)} of {len(report.results)} tasks did not succeed:", *lines, f"logs -> {root / 'jobs'}")
        sys.exit("foldlight: not all tasks succeeded; remove the cause and go on with the same command")


def study_status(path: Positional[Path] = Path("outputs"), profile: str = "quick") -> None:
    """Tell what of a study is done, skipped, running, queued, failed, stale, interrupted or missing, and why.

    Args:
        path: folder that a study was run into, folder of the study, or folder with the outputs of several.
        profile: which of the study's default output folders is meant.
    """
    from foldlight.study.plan import PLAN_FILE, read_plan
    from foldlight.study.state import STATES, states

    root = _study_output(path, profile) if (path / "plan.py").is_file() else path
    below = sorted(found.parent for found in root.glob(f"*/*/{PLAN_FILE}"))
    roots = below if below and not (root / PLAN_FILE).is_file() else [root]
    for each in roots:
        plan = read_plan(each)
        found = states(plan)
        words = [state.state for state in found.values()]
        counts = ", ".join(f"{words.count(word)} {word}" for word in STATES if word in words)
        say(f"{plan.title} -> {each}: {counts}")
        for task in plan.tasks if len(roots) == 1 else ():
            state = found[task.name]
            told = state.reason or (f"{state.seconds:.0f} s" if state.seconds else "")
            say(f"  {state.state:<11} {task.title}  {told}".rstrip())


def study_job(folder: Positional[Path]) -> None:
    """Run one job of a study by hand, on any machine that sees its folder; exit code 1 when it fails.

    Args:
        folder: the job's folder, `jobs/NAME` of the study, with its `job.json`.
    """
    from foldlight.study.job import run_recorded, told

    job, status = run_recorded(folder)
    say(told(job, status))
    if status["state"] not in {"success", "skipped"}:
        sys.exit(f"foldlight: {job['name']}: the job did not succeed; log: {folder / 'out.log'}")


def _study_output(study: Path, profile: str) -> Path:
    """Where a study's results go when nothing else is said."""
    return Path("outputs") / study.resolve().name / profile
