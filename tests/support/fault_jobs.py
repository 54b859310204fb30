"""What the jobs of a disturbed toy study do, `python -m fault_jobs FUNCTION JSON ROOT`; they write as real phases do.

Every job ends by writing one line that is made of the lines it read, and enters itself into a manifest that all share.
"""

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from foldlight.core.errors import FoldlightError
from foldlight.core.files import replacing, write_text
from foldlight.study.manifest import Manifest


def plain(name: str, inputs: list, output: str, manifest: str) -> None:
    """Write the line and the record."""
    record = Manifest(Path(manifest), "toy", ("job",))
    record.begin({"job": name})
    lines = [Path(each).read_text().strip() for each in inputs]
    write_text(Path(output), "<".join([name, *lines]) + "\n")
    record.record({"job": name, "status": "success", "seconds": time.time()})


def large(megabytes: float, beside: str, **words) -> None:
    """Write a large file besides, as one piece or not at all."""
    with replacing(Path(beside)) as temporary, temporary.open("wb") as stream:
        for _ in range(int(megabytes * 4)):
            stream.write(bytes(2**18))
    plain(**words)


def fill(path: str, **words) -> None:
    """Take what the disk has left, to the last byte, and keep it; where that was done before, go on."""
    if not Path(path).exists():
        return plain(**words)
    with suppress(OSError), Path(path).open("ab", buffering=0) as stream:
        for size in (2**16, 1):
            with suppress(OSError):
                while True:
                    stream.write(b"x" * size)
    return plain(**words)


def hoard(megabytes: int, group: str = "", **words) -> None:
    """Hold so much memory, in a control group as a cluster would give it."""
    if group:
        (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    held = bytearray(b"x") * (megabytes * 2**20)
    plain(**words)
    del held


def wait(started: str, go: str, **words) -> None:
    """Say that it has begun, and wait for leave to go on."""
    Path(started).touch()
    deadline = time.monotonic() + 60
    while not Path(go).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    plain(**words)


if __name__ == "__main__":
    os.chdir(sys.argv[3])
    try:
        globals()[sys.argv[1]](**json.loads(sys.argv[2]))
    except FoldlightError as error:
        sys.exit(f"fault_jobs: {error}")
