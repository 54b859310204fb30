"""Sizes of the unrolled network, pretrained alike: `python -m benchmarks.sizes --help`."""

from typing import Annotated

import tyro

from benchmarks.network_parts.sizes import SizesSettings, run_sizes
from benchmarks.suite import answer, say

__all__ = ["main"]


def main(words: list[str] | None = None) -> None:
    """The command line; a refusal is one line on standard error and exit code 1."""

    def run(settings: Annotated[SizesSettings, tyro.conf.arg(name="")]) -> None:
        run_sizes(settings, say)

    description = "Shapes of the unrolled network: quality against cost at equal pretraining."
    answer("sizes", description, "the same command goes on from here", run, words)


if __name__ == "__main__":
    main()
