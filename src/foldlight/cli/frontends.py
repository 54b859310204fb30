"""Verbs by which other programs call this one: ptychodus."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from foldlight.cli.common import Threads, say
from foldlight.cli.ranks import started_together
from foldlight.core.errors import SettingsError

__all__ = ["ptychodus"]

_USAGE, _CANCELLED = 2, 130


def ptychodus(
    input_directory: Annotated[Path, arg(aliases=("-i",))],
    output_directory: Annotated[Path, arg(aliases=("-o",))],
    batch: Annotated[Literal["reconstruct", "train"], arg(aliases=("-b",))] = "reconstruct",
    settings: Annotated[Path | None, arg(aliases=("-s",))] = None,
    threads: Threads = None,
) -> None:
    """Work on a batch folder of ptychodus, in place of `ptychodus -b ACTION -i INPUT -o OUTPUT`.

    Exit code 0: done; 1: tried and failed; 2: nothing was tried, as a file is missing or a setting wrong; 130:
    interrupted.

    Args:
        input_directory: folder with `diffraction.h5`, `product.h5`, and perhaps `settings.ini` with sections
            [FoldlightRead], [FoldlightReconstruct] and [FoldlightTrain], and `model.h5.zip`.
        output_directory: folder to write `product.h5` and `reconstruction.npz`, or `model.h5.zip`, to.
        batch: what to do.
        settings: further settings file; what the folder's own says counts more.
        threads: CPU threads, in place of those of the settings.
    """
    from foldlight.frontends.settings import batch_of

    try:
        work = batch_of(batch, input_directory, output_directory, settings, threads)
    except SettingsError as error:
        sys.stderr.write(f"foldlight: {error}\n")
        sys.exit(_USAGE)
    from foldlight.frontends.ptychodus import run_batch

    try:
        with started_together(work.device, work.threads) as ranks:
            run_batch(work, say, ranks)
    except KeyboardInterrupt:
        sys.stderr.write("foldlight: interrupted; nothing half-written was left\n")
        sys.exit(_CANCELLED)
