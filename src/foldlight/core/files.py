"""Files that are whole or absent."""

import json
import os
import platform
import re
import secrets
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from foldlight.core.errors import DataError

__all__ = ["owned_name", "owner_gone", "read_json", "replacing", "write_json", "write_text"]

_OWNED = re.compile(r"(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}")


def owned_name() -> str:
    """A name that nothing else has and that tells which process it is of: `<host>-<pid>-<random>`."""
    return f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"


def owner_gone(path: Path) -> bool:
    """Whether what bears an `owned_name` was left behind: its process was one of this machine and has ended."""
    found = _OWNED.search(path.name)
    if found is None or found["host"] != _host():
        return False
    try:
        os.kill(int(found["pid"]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # it runs, as somebody else
        return False
    return False


def _host() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place if the block ends well and vanishes if not.

    The suffix is kept, since writers such as `numpy.savez` look at it. What an earlier writer of the same path left
    when it was killed is removed first.

    Raises:
        DataError: the folder can't be made or written.
    """
    temporary = path.with_name(f".{path.stem}.{owned_name()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path}: expected a writable place, got {error.strerror or error}") from None
    finally:
        with suppress(OSError):  # the parent is a file or can't be written, so there is nothing to remove
            temporary.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of writers of this path that were killed."""
    with os.scandir(path.parent) as entries:
        names = [each.name for each in entries if each.name.startswith(f".{path.stem}.")]
    for each in map(path.with_name, names):
        if each.suffix == path.suffix and owner_gone(each):
            each.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one step; NaN and infinity are refused, since JSON has neither."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        DataError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: expected a JSON file, got {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: expected JSON: {error}") from None
