"""Quality against the targets: `python -m benchmarks.quality --help`."""

import sys
from typing import Annotated

import tyro

from benchmarks.quality_parts.run import QualitySettings, run_quality
from benchmarks.suite import answer, say

__all__ = ["main"]


def main(words: list[str] | None = None) -> None:
    """The command line; a refusal, or a unit that failed, is one line on standard error and exit code 1."""

    def run(settings: Annotated[QualitySettings, tyro.conf.arg(name="")]) -> int:
        return len(run_quality(settings, say, show=True).failed)

    description = "Images of known objects against the dose limit, the best flat image and the targets."
    failed = answer("quality", description, "the same command goes on from here", run, words)
    if failed:
        sys.exit(f"quality: {failed} units failed; their reasons are above")


if __name__ == "__main__":
    main()
