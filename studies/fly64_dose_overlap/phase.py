"""What all phases share: how they are called, what they say, how they end.

Exit codes: 0 all executed jobs succeeded; 1 a job failed, or the phase refused; 2 bad usage, or nothing matched.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from foldlight.core.errors import FoldlightError, SettingsError
from foldlight.study.jobs import JobResult
from foldlight.study.manifest import COMMANDS_DOCUMENT, Manifest
from foldlight.study.skipping import tell_skipped
from studies.fly64_dose_overlap.design import StudyDesign

__all__ = [
    "BAD_USAGE",
    "DONE",
    "FAILED",
    "NOTHING",
    "begin",
    "dose_label",
    "file_lists",
    "finish",
    "job_facts",
    "outcome_facts",
    "run_phase",
    "say",
]

DONE, FAILED, NOTHING, BAD_USAGE = 0, 1, 2, 2

Flags = TypeVar("Flags")


def run_phase(flags: type[Flags], phase: Callable[[Flags], int], name: str, words: Sequence[str] | None) -> int:
    """Parse the words and run the phase of this name; a refusal is one line on standard error."""
    chosen = tyro.cli(flags, args=words, prog=f"python -m {__package__}.{name}")
    try:
        return phase(chosen)
    except FoldlightError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return BAD_USAGE if isinstance(error, SettingsError) else FAILED


def say(*lines: str) -> None:
    """Print at once, so that a log shows it while the phase runs."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def dose_label(dose: float) -> str:
    """`1e+03` for 1000: as few digits as name the dose exactly."""
    return next(text for digits in range(17) if float(text := f"{dose:.{digits}e}") == dose)


def begin(
    manifest: Manifest, design: StudyDesign, filters: Mapping[str, Any], flags: Mapping[str, Any], repeat: int = 0
) -> None:
    """Note a run in its manifest; a commands document that is named and not there earns a warning.

    Raises:
        SettingsError: the folder holds jobs of another repeat, which have the same names.
    """
    known = manifest.read()
    held = known.get("repeat", 0)
    if known["jobs"] and held != repeat:
        raise SettingsError(f"--repeat {repeat}: expected a folder of its own, but {manifest.path} is of repeat {held}")
    named = os.environ.get(COMMANDS_DOCUMENT)
    if named and not Path(named).is_file():
        sys.stderr.write(f"warning: {COMMANDS_DOCUMENT} = {named}: expected a file, found none\n")
    manifest.begin(
        {
            "design": design.plain(),
            "seeds": design.seeds.plain(),
            "repeat": repeat,
            "filters": dict(filters),
            "flags": dict(flags),
        }
    )


def job_facts(job: Any) -> dict[str, Any]:
    """What a record says of a job before it is run: its fields, without a reason where there is none."""
    return {name: value for name, value in vars(job).items() if name != "reason" or value is not None}


def outcome_facts(result: JobResult) -> dict[str, Any]:
    """How a job ended, for its record."""
    outcome = result.outcome
    facts = {
        "status": outcome.status,
        "returncode": outcome.returncode,
        "seconds": round(outcome.seconds, 3),
        "peak_rss_mb": round(outcome.peak_rss_mb, 1),
        "timed_out": outcome.timed_out,
    }
    told = {"signal": outcome.signal, "error": outcome.error}
    return {**facts, **{name: value for name, value in told.items() if value}}


def file_lists(result: JobResult) -> dict[str, Any]:
    """Inputs and outputs with sha256 and size, for a job's record."""
    return {
        "inputs": [{"role": role, **facts} for role, facts in result.inputs.items()],
        "outputs": [{"role": role, **facts} for role, facts in result.outputs.items()],
    }


def finish(
    manifest: Manifest, statuses: Sequence[str], what: str, reasons: Sequence[str] = (), errors: Sequence[str] = ()
) -> int:
    """Say how a run went and return its exit code.

    Args:
        manifest: of the phase.
        statuses: those of this run's jobs.
        what: the phase, in words.
        reasons: why jobs were skipped; when all were, whoever runs the study is told.
        errors: why jobs failed; said last, where whoever runs the study looks for the reason.
    """
    if not statuses or set(statuses) == {"skipped"}:
        if reasons:
            tell_skipped("; ".join(dict.fromkeys(reasons)))
        say(f"nothing to do: no {what} matched, or all were skipped; see {manifest.path}")
        return NOTHING
    counts = ", ".join(f"{statuses.count(word)} {word}" for word in dict.fromkeys(statuses))
    say(f"{what}: {counts} -> {manifest.path}")
    if errors:
        say(f"{what}: {'; '.join(dict.fromkeys(errors))}")
    return FAILED if "failed" in statuses else DONE
