"""Progress of long steps on standard error, silent when it is not wanted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Progress", "progress_bar"]


class Progress(Protocol):
    """Told how far a step is."""

    def __call__(self, done: float, note: str = "") -> None:
        """`done` in the units of the total; `note` is shown beside the bar."""
        ...


@contextmanager
def progress_bar(title: str, total: float, show: bool = True) -> Iterator[Progress]:
    """A bar with elapsed and remaining time; on a file or pipe, only its last state is printed."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(stderr=True), disable=not show) as bars:
        task = bars.add_task(title, total=total, note="")

        def advance(done: float, note: str = "") -> None:
            bars.update(task, completed=done, note=note)

        yield advance
