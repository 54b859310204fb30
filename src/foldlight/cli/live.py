"""Verbs about scans that run: live, live-simulate."""

import os
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from foldlight.cli.common import Flat, say, use_threads
from foldlight.live.settings import LiveSettings, PlaySettings
from foldlight.simulate.settings import SimulationSettings

__all__ = ["live", "live_simulate"]


def live(
    scan: Positional[Path],
    settings: Annotated[LiveSettings, Flat] = LiveSettings(),
    model: Path | None = None,
    probe: Path | None = None,
    output: Path | None = None,
    threads: int | None = None,
) -> None:
    """Follow a scan while it is written, and show its image on a page of this machine; Ctrl-C ends it.

    Args:
        scan: HDF5 scan container that is being written (SWMR), or a folder that fills with NPZ pieces; it need not be
            there yet.
        settings: how to follow it.
        model: bundle of the network, or the folder that `train` wrote; when not given, the network that comes with the
            package.
        probe: file that `reconstruct` wrote, whose probe is used in place of the scan's; needed where it has none.
        output: NPZ to write at the end, as `reconstruct` does.
        threads: CPU threads; all cores but one, which the writer and the page need, when not given.
    """
    # The writer and the browser want the same cores: threads that wait must not spin (measured: ten times slower). Read
    # once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from foldlight.live.session import follow_and_show

    use_threads(max(1, (os.cpu_count() or 1) - 1) if threads is None else threads)
    follow_and_show(scan, settings, model, probe, output, say)


def live_simulate(
    output: Positional[Path],
    simulation: Annotated[SimulationSettings, Flat] = SimulationSettings(),
    settings: Annotated[PlaySettings, Flat] = PlaySettings(),
) -> None:
    """Simulate a scan and write it at a chosen rate, as an instrument would, to practise `foldlight live` on.

    Args:
        output: file ending in .h5 for HDF5 SWMR, or a folder for NPZ pieces.
        simulation: what to simulate.
        settings: how fast, and how.
    """
    from foldlight.live.simulator import play
    from foldlight.simulate.acquire import simulate

    scan = simulate(simulation)
    say(*scan.notes, f"writing {len(scan)} frames at {settings.rate:g} a second -> {output}")
    played = play(output, scan, settings)
    say(f"{len(scan)} frames, {played.rate_hz:.1f} a second -> {output}")
