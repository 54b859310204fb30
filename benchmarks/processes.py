"""Functions called in processes of their own, so that threads, memory and faults of one measurement stay with it."""

from pathlib import Path
from typing import Any

from foldlight.study.jobs import Job, run_job

__all__ = ["called"]


def called(
    function: str, arguments: dict[str, Any], log: Path, limit_s: float | None = None, threads: int | None = 1
) -> tuple[dict[str, Any], str]:
    """What a function returns, and why it returned nothing; one of the two is empty.

    Args:
        function: `module:name`; it returns a JSON-ready dictionary.
        arguments: its keyword arguments, JSON-ready.
        log: where its output goes.
        limit_s: wall time after which it is ended [s]; none: no limit.
        threads: CPU threads of its process; all cores when None.
    """
    done = run_job(Job(function, arguments, inputs={}, outputs={}, log_path=log, time_limit_s=limit_s, threads=threads))
    return done.returned, done.outcome.error or ""
