"""What jobs do in tests: work, wait, fail in every way, leave children behind. No heavy import, so they start at once.

A function is a job of `foldlight.study.jobs`; as a module, `python -m toy_jobs FUNCTION JSON` is a task of a plan.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from foldlight.core.errors import DataError
from foldlight.study.skipping import tell_skipped

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def work(output: str = "", text: str = "done", seconds: float = 0.0, megabytes: int = 0) -> dict:
    """Hold memory, wait, write a file."""
    held = bytearray(b"x") * (megabytes * 2**20)
    time.sleep(seconds)
    if output:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_text(text)
    return {"pid": os.getpid(), "text": text, "bytes": len(held)}


def join(inputs: list, output: str) -> dict:
    """Write what lies in the inputs, joined."""
    return work(output, "+".join(Path(each).read_text() for each in inputs))


def note(line: str, path: str, output: str = "", fail: bool = False) -> dict:
    """Add a line to a diary that all tasks share, then succeed or refuse."""
    with Path(path).open("a") as diary:
        diary.write(f"{line}\n")
    if fail:
        raise DataError(f"{line}: expected success, got orders to fail")
    return work(output, line)


def nothing_to_do(path: str, **_: str) -> dict:
    """Add a line to the diary, tell why there is nothing to do, and end as a phase does that has skipped all."""
    with Path(path).open("a") as diary:
        diary.write("nothing\n")
    tell_skipped("expected 4 frames, got 1")
    sys.exit(2)


def tell_threads() -> dict:
    """The threads that libraries are told to use."""
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}


def refuse() -> dict:
    """Refuse on purpose."""
    print("about to refuse")  # noqa: T201
    raise DataError("expected\nsomething better")


def crash() -> dict:
    """Fail by accident."""
    raise ZeroDivisionError("nothing by nothing")


def leave_early() -> dict:
    """End well, without a result."""
    sys.exit(0)


def odd_result() -> dict:
    """Return what JSON can't say."""
    return {"a": float("nan")}


def family(pids: str, session: bool = False, stubborn: bool = False) -> dict:
    """Start a grandchild, perhaps in a session of its own, tell both pids, and wait; stubborn: SIGTERM is ignored."""
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen(SLEEPER, start_new_session=session)
    temporary = Path(f"{pids}.new")
    temporary.write_text(json.dumps([os.getpid(), grandchild.pid]))
    temporary.replace(pids)
    time.sleep(60)
    return {}


if __name__ == "__main__":
    try:
        globals()[sys.argv[1]](**json.loads(sys.argv[2]))
    except DataError as error:
        sys.exit(f"toy_jobs: {error}")
