"""Verbs that several processes run together: `torchrun --nproc-per-node 2 -m foldlight train SCAN`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from foldlight.cli.common import use_threads

if TYPE_CHECKING:
    from foldlight.train.distributed import Ranks

__all__ = ["started_together"]


@contextmanager
def started_together(device: str, threads: int | None) -> Iterator["Ranks"]:
    """The processes that `torchrun` started, on a fixed number of CPU threads; those of one machine share its cores.

    Args:
        device: where to compute.
        threads: of each process; its share of the cores when None.
    """
    from foldlight.train.distributed import joined

    use_threads(threads)
    with joined(device) as ranks:
        if threads is None and not ranks.alone:
            use_threads(max(1, (os.cpu_count() or 1) // ranks.local_size))
        yield ranks
