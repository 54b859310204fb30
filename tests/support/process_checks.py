"""Waiting for other processes, and telling whether they are gone."""

import time

import psutil


def wait_for(condition, seconds: float = 20.0):
    """The condition's value as soon as it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def gone(pid: int) -> bool:
    """A process has ended, even if nobody asked how."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
