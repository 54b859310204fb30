"""What engines would take on this machine, and whether they can."""

from collections.abc import Iterator

import psutil

from foldlight.core.progress import duration
from foldlight.doctor.findings import Finding
from foldlight.forecast import Forecast, memory_gb, shortage
from foldlight.scan import Scan

__all__ = ["memory", "time"]

_LONG_S = 24 * 3600.0
_ENGINES = ("network", "hybrid", "ml", "lsqml")


def memory(scan: Scan, engine: str | None) -> Iterator[Finding]:
    """Memory of one engine, or of each."""
    total = psutil.virtual_memory().total / 1e9
    needs = {name: memory_gb(scan, name) for name in ((engine,) if engine else _ENGINES)}
    short = {name: line for name in needs if (line := shortage(scan, name))}
    numbers = {"machine_gb": total, **{f"{name}_gb": need for name, need in needs.items()}}
    told = ", ".join(f"{name} {need:.2g} GB" for name, need in needs.items())
    if not short:
        yield Finding("memory", "fine", f"{told} of the machine's {total:.3g} GB", numbers=numbers)
        return
    for name, line in short.items():
        gone = engine is not None and needs[name] > total
        yield Finding("memory", "stop" if gone else "caution", line.removeprefix("memory: "), "likely", numbers=numbers)


def time(forecasts: tuple[Forecast, ...]) -> Iterator[Finding]:
    """Engines that would take longer than a day."""
    for each in forecasts:
        if each.seconds > _LONG_S:
            yield Finding(
                "time",
                "caution",
                f"{each.engine} would take {duration(each.seconds)}",
                "likely",
                "take a part of the scan, a GPU, or --engine network",
                {"engine": each.engine, "seconds": each.seconds},
            )
