"""Jobs that notice when a second process does the same one at the same time, and note it in a diary that all share."""

import fcntl
import json
import os
import sys
import time
from pathlib import Path


def work(
    name: str,
    folder: str,
    inputs: list[str] = [],  # noqa: B006
    seconds: float = 0.0,
    fail: bool = False,
    devices: bool = False,
    gate: str = "",
) -> None:
    """Join the inputs under this name, after some seconds and when the gate is there; refuse, or tell the devices that
    are seen, when asked."""
    held = os.open(Path(folder, f"{name}.lock"), os.O_CREAT | os.O_RDWR)  # until the process ends
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note(folder, f"{name} twice")
    note(folder, f"{name} begins")
    time.sleep(seconds)
    while gate and not Path(gate).exists():
        time.sleep(0.05)
    if fail:
        sys.exit(f"{name}: expected success, got orders to fail")
    text = "+".join(Path(folder, each).read_text() for each in inputs)
    Path(folder, name).write_text(f"{name}({text})" + (os.environ.get("CUDA_VISIBLE_DEVICES", "") if devices else ""))
    note(folder, f"{name} ends")


def note(folder: str, line: str) -> None:
    """Add a line, in one write."""
    with Path(folder, "diary").open("a") as diary:
        diary.write(f"{line}\n")


if __name__ == "__main__":
    work(**json.loads(sys.argv[1]))
