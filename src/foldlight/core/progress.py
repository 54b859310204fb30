"""Progress of long steps on standard error, silent when it is not wanted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Progress", "duration", "progress_bar"]


Progress = Callable[..., None]
"""`(done, note=None)`: how far a step is, in the units of its total, and a new word to show beside the bar."""


@contextmanager
def progress_bar(title: str, total: float, show: bool = True) -> Iterator[Progress]:
    """A bar with elapsed and remaining time; on a file or pipe, only its last state is printed."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=16),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(stderr=True), disable=not show) as bars:
        task = bars.add_task(title, total=total, note="")

        def advance(done: float, note: str | None = None) -> None:
            bars.update(task, completed=done)
            if note is not None:
                bars.update(task, note=note)

        yield advance


def duration(seconds: float) -> str:
    """Time in the unit that people would use."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"
