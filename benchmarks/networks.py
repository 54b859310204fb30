"""Networks on single frames, compared at equal training: `python -m benchmarks.networks --help`."""

import sys
from typing import Annotated

import tyro

from benchmarks.network_parts.run import NetworksSettings, run_networks
from benchmarks.suite import answer, say

__all__ = ["main"]


def main(words: list[str] | None = None) -> None:
    """The command line; a refusal, or a unit that failed, is one line on standard error and exit code 1."""

    def run(settings: Annotated[NetworksSettings, tyro.conf.arg(name="")]) -> int:
        return len(run_networks(settings, say, show=True).failed)

    description = "Inputs, consistency steps and bodies of the network on single frames, at equal training."
    failed = answer("networks", description, "the same command goes on from here", run, words)
    if failed:
        sys.exit(f"networks: {failed} units failed; their reasons stand on the page")


if __name__ == "__main__":
    main()
