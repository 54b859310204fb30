"""One call for the command line: follow a scan, show it, write what it became."""

import time
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from foldlight.bundle import pretrained
from foldlight.core.errors import DataError
from foldlight.live.run import LiveRun
from foldlight.live.server import serve
from foldlight.live.settings import LiveSettings
from foldlight.reconstruct.engines import load_network
from foldlight.reconstruct.protocol import Reconstruction

__all__ = ["follow_and_show"]

_LOOK_S = 0.2


def follow_and_show(
    path: Path,
    settings: LiveSettings,
    model: Path | None,
    probe: Path | None,
    output: Path | None,
    say: Callable[..., None],
) -> None:
    """Follow a scan to its end, with a page on this machine where one is wanted, and write the object.

    Args:
        path: container that is being written, or folder that fills.
        settings: how.
        model: bundle or folder of the network; the package's own when None.
        probe: file that `reconstruct` wrote.
        output: NPZ to write; nothing is written when None.
        say: prints lines.

    Raises:
        DataError: nothing came, or not to the end, within the time; what there is is written first.
        FoldlightError: whatever else `LiveRun.run` refuses.
    """
    if output is not None and output.suffix != ".npz":
        raise DataError(f"output = {output}: expected a name that ends in .npz")
    network = pretrained() if model is None else load_network(model).model
    run = LiveRun(path, network, settings, None if probe is None else Reconstruction.load(probe).probe)
    with ExitStack() as stack:
        if settings.page:
            address = stack.enter_context(serve(run.board, settings.port))
            say(f"following {path} on {address} (this machine only; Ctrl-C ends it)")
            if settings.browser:
                webbrowser.open(address)
        made = run.run()
        status = run.board.status
        say(
            f"{status.message}: {status.received:,} frames received, {status.reconstructed:,} in the image,"
            f" {status.waiting:,} waiting, {status.dropped:,} dropped, {status.elapsed_s:.1f} s",
            *status.notes,
        )
        if made is not None and output is not None:
            made.save(output)
            say(f"{made.arm} -> {output}")
        if settings.page and settings.stay and status.state != "stopped":
            say("the page stays up until Ctrl-C")
            with suppress(KeyboardInterrupt):
                while True:
                    time.sleep(_LOOK_S)
    if status.state == "given up":
        raise DataError(status.message)
