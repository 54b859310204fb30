"""What the verbs share: what they print, threads, and how a class of settings becomes flags."""

import os
import sys
from typing import Annotated

from tyro.conf import arg

from foldlight.core.errors import SettingsError

__all__ = ["Flat", "Threads", "say", "use_threads"]

Flat = arg(name="")  # a settings class whose fields become flags without a prefix
Threads = Annotated[int | None, arg(help="CPU threads; all cores when not given. Results repeat for the same number.")]


def say(*lines: str) -> None:
    """Print lines at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def use_threads(threads: int | None) -> None:
    """Fix the number of CPU threads: results repeat to the bit for the same number."""
    import torch

    if threads is not None and threads < 1:
        raise SettingsError(f"threads = {threads}: expected 1 or more")
    torch.set_num_threads(threads or os.cpu_count() or 1)
