"""Child processes that never outlive who asked for them."""

import contextlib
import os
import signal
import threading
import time

import psutil

__all__ = ["die_with", "end_tree"]

_WATCH_S = 0.1


def die_with(parent: int) -> None:
    """End this process group as soon as the parent is gone, whatever ended it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_S)
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def end_tree(leader: int, grace_s: float = 0.0) -> None:
    """End a process that leads its group, the group, and its descendants in other sessions.

    Args:
        leader: process id; it may be gone already.
        grace_s: time between SIGTERM, on which a process can still tidy up, and SIGKILL [s].
    """
    try:
        members = [psutil.Process(leader), *psutil.Process(leader).children(recursive=True)]
    except psutil.NoSuchProcess:
        members = []
    if grace_s > 0:
        _signal_group(leader, signal.SIGTERM)
        for member in members[1:]:  # those in other sessions too
            with contextlib.suppress(psutil.NoSuchProcess):
                member.terminate()
        # The leader is not reaped here: who started it wants its exit status.
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and any(map(_runs, members)):
            time.sleep(0.05)
    _signal_group(leader, signal.SIGKILL)
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()


def _signal_group(leader: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
