"""How a task tells its runner that there was nothing to do: it leaves the reason in a file that the runner names."""

import os
from contextlib import suppress
from pathlib import Path

from foldlight.core.files import write_text

__all__ = ["NOTE", "read_note", "tell_skipped"]

NOTE = "FOLDLIGHT_SKIP_NOTE"
"""Environment variable with the path of the note; not set where no runner listens."""


def tell_skipped(reason: str) -> None:
    """Say that this process has nothing to do, and why, in one line; what needs it will be skipped too."""
    if path := os.environ.get(NOTE):
        write_text(Path(path), f"{reason}\n")


def read_note(path: Path) -> str | None:
    """The reason that was left, or None."""
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").strip() or None
    return None
