"""Quality against the targets: `python -m benchmarks.quality --help`."""

import sys
from typing import Annotated

import tyro
from pydantic import ValidationError

from benchmarks.quality_parts.run import QualitySettings, run_quality
from foldlight.core.errors import FoldlightError
from foldlight.core.settings import describe

__all__ = ["main"]


def main(words: list[str] | None = None) -> None:
    """The command line; a refusal, or a unit that failed, is one line on standard error and exit code 1."""

    def run(settings: Annotated[QualitySettings, tyro.conf.arg(name="")]) -> int:
        return len(run_quality(settings, _say, show=True).failed)

    try:
        failed = tyro.cli(
            run,
            prog="python -m benchmarks.quality",
            description="Images of known objects against the dose limit, the best flat image and the targets.",
            args=words,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    except ValidationError as error:
        sys.stderr.write(f"quality: {describe(error)}\n")
        sys.exit(2)
    except FoldlightError as error:
        sys.exit(f"quality: {error}")
    except KeyboardInterrupt:
        sys.exit("quality: interrupted; the same command goes on from here")
    if failed:
        sys.exit(f"quality: {failed} units failed; their reasons are above")


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
