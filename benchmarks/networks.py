"""Networks on single frames, compared at equal training: `python -m benchmarks.networks --help`."""

import sys
from typing import Annotated

import tyro
from pydantic import ValidationError

from benchmarks.network_parts.run import NetworksSettings, run_networks
from foldlight.core.errors import FoldlightError
from foldlight.core.settings import describe

__all__ = ["main"]


def main(words: list[str] | None = None) -> None:
    """The command line; a refusal, or a unit that failed, is one line on standard error and exit code 1."""

    def run(settings: Annotated[NetworksSettings, tyro.conf.arg(name="")]) -> int:
        return len(run_networks(settings, _say, show=True).failed)

    try:
        failed = tyro.cli(
            run,
            prog="python -m benchmarks.networks",
            description="Inputs, consistency steps and bodies of the network on single frames, at equal training.",
            args=words,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    except ValidationError as error:
        sys.stderr.write(f"networks: {describe(error)}\n")
        sys.exit(2)
    except FoldlightError as error:
        sys.exit(f"networks: {error}")
    except KeyboardInterrupt:
        sys.exit("networks: interrupted; the same command goes on from here")
    if failed:
        sys.exit(f"networks: {failed} units failed; their reasons stand on the page")


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
