"""The process of a job: it ends with its parent.

`python -m foldlight.study.child PARENT run MODULE [ARGUMENT ...]` runs a module as `python -m` would.
`... PARENT call MODULE:FUNCTION PAYLOAD RESULT` reads a function's keyword arguments from one JSON file and leaves what
it returns, or the one-line reason of its refusal, in another.
"""

import importlib
import runpy
import signal
import sys
from pathlib import Path
from typing import NoReturn

from foldlight.core.errors import FoldlightError
from foldlight.core.files import read_json, write_json
from foldlight.core.processes import die_with

__all__ = ["main"]


def main(words: list[str]) -> None:
    """Do what the words say."""
    die_with(int(words[0]))
    signal.signal(signal.SIGTERM, _leave)
    kind, target, *rest = words[1:]
    if kind == "run":
        sys.argv = [target, *rest]
        sys.orig_argv = [sys.executable, "-m", target, *rest]  # what a manifest gives as the command
        runpy.run_module(target, run_name="__main__", alter_sys=True)
        return
    _call(target, Path(rest[0]), Path(rest[1]))


def _call(target: str, payload: Path, result: Path) -> None:
    module, name = target.split(":")
    function = getattr(importlib.import_module(module), name)
    try:
        returned = function(**read_json(payload))
    except FoldlightError as error:
        write_json(result, {"error": str(error)})
        sys.exit(f"foldlight: {error}")
    write_json(result, {"result": returned})


def _leave(number: int, _: object) -> NoReturn:
    """Leave by an exception, so that temporary files go too."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main(sys.argv[1:])
