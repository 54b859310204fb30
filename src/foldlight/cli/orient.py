"""The verb that finds out which way is up."""

import json
import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from foldlight.cli.common import Flat, Threads, say, use_threads
from foldlight.io.options import ReadOptions
from foldlight.orient.settings import OrientSettings

__all__ = ["orient"]

_CANNOT_TELL = 3


def orient(
    scan: Positional[Path],
    settings: Annotated[OrientSettings, Flat] = OrientSettings(),
    options: Annotated[ReadOptions, Flat] = ReadOptions(),
    as_json: Annotated[bool, arg(name="json")] = False,
    threads: Threads = None,
) -> None:
    """Tell which way is up: the turn of the frames, the sign and the order of the positions, by held-out photons.

    Exit code 0: told, with the read options to use. 3: cannot tell, with what is left.

    Args:
        scan: file to read.
        settings: what is in doubt, and how much to try.
        options: how it is read now; the answer starts from there.
        as_json: print the answer as JSON.
        threads: CPU threads.
    """
    from foldlight.io import read_scan
    from foldlight.orient.answer import flags, read_options
    from foldlight.orient.run import orient as run

    use_threads(threads)
    found = read_scan(scan, options)
    verdict = run(found, settings, progress=True)
    use = None if verdict.reading is None else read_options(scan, options, found, verdict.reading)
    if as_json:
        names = {"orientation", "translation_sign", "position_order"}
        answer = {"read_options": None if use is None else use.model_dump(include=names)}
        say(json.dumps({**answer, **verdict.plain()}, indent=2))
    else:
        say(*verdict.words)
        if use is not None:
            say(f"read it with: {flags(use) or 'no options, it is right as it is'}")
    sys.exit(0 if verdict.told else _CANNOT_TELL)
