"""The verb that writes a tiny experiment in every format, or reads such a set back."""

from pathlib import Path

from tyro.conf import Positional

from foldlight.cli.common import say
from foldlight.core.errors import DataError

__all__ = ["conformance"]


def conformance(folder: Positional[Path], check: bool = False) -> None:
    """Write one tiny experiment in every format, with what a reader has to find in it, to test any program's readers.

    Args:
        folder: to write to; `expected.json` in it says what has to be found, `specs/conformance.md` how.
        check: read the set that is there instead, and compare.
    """
    from foldlight.conformance import check_conformance, write_conformance

    if not check:
        files = write_conformance(folder)
        say(f"{len(files)} files -> {folder}; foldlight conformance {folder} --check reads them back")
        return
    results = check_conformance(folder)
    for each in results:
        say(f"{each.file:<36} {'as expected' if not each.faults else '; '.join(each.faults)}")
    failed = sum(bool(each.faults) for each in results)
    if failed:
        raise DataError(f"{folder}: expected {len(results)} files to be read as written, {failed} were not; see above")
