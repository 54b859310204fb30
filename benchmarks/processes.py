"""Functions called in processes of their own, so that threads, memory and faults of one measurement stay with it."""

import contextlib
import threading
from pathlib import Path
from typing import Any

import psutil

from foldlight.study.jobs import Job, run_job

__all__ = ["Sampled", "called"]

_POLL_S = 0.02


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


class Sampled:
    """Samples the memory of this process and its children while a block runs."""

    def __enter__(self) -> "Sampled":
        self._process, self._ended = psutil.Process(), threading.Event()
        self._before, self._resident = self._now()
        self._peak = self._before
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def told(self) -> dict[str, int]:
        """Private bytes before the block and at the most in it, and resident bytes at the most."""
        return {"before": self._before, "peak": self._peak, "resident": self._resident}

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_S):
            private, resident = self._now()
            self._peak, self._resident = max(self._peak, private), max(self._resident, resident)

    def _now(self) -> tuple[int, int]:
        """(private, resident) bytes; where the system does not tell shared pages apart, both are resident."""
        private = resident = 0
        for process in (self._process, *self._process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                told = process.memory_info()
                private, resident = private + told.rss - getattr(told, "shared", 0), resident + told.rss
        return private, resident
