"""Clocks: actions that take turns, and whole processes."""

import gc
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from foldlight.core.errors import EngineError

__all__ = ["Action", "interleaved", "process_seconds", "repeated_seconds", "timed"]

Action = Callable[[], object]

_LAST_WORDS = 200  # characters of a failed process's output


def timed(action: Action) -> float:
    """Wall seconds of one call; the garbage of earlier ones is collected before, not during it."""
    gc.collect()
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def repeated_seconds(action: Action, at_least_s: float) -> float:
    """Wall seconds a call, over as many calls as fill a time: for actions too short for the clock or its noise."""
    calls, spent = 0, 0.0
    while spent < at_least_s:
        began = time.perf_counter()
        action()
        spent += time.perf_counter() - began
        calls += 1
    return spent / calls


def interleaved(repeats: int, clocks: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """What each clock reads, `repeats` times, in turns (A B A B ...), so that all see the same state of the machine.

    Args:
        repeats: readings of each clock.
        clocks: by name, what measures once and returns what it measured.
    """
    found: dict[str, list[float]] = {name: [] for name in clocks}
    for _ in range(repeats):
        for name, clock in clocks.items():
            found[name].append(clock())
    return found


def process_seconds(words: Sequence[str], folder: Path | None = None) -> float:
    """Wall seconds of a process from its start to its end; what it prints is dropped.

    Raises:
        EngineError: it failed; the end of its output is in the message.
    """
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        done = subprocess.run(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
        seconds = time.perf_counter() - began
        if done.returncode:
            output.seek(0)
            said = output.read().decode(errors="replace").strip()[-_LAST_WORDS:]
            raise EngineError(f"{' '.join(words)}: expected exit code 0, got {done.returncode}: {said}")
    return seconds
