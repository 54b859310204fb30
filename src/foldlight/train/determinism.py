"""The same bits from every run with the same number of threads."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

from foldlight.core.errors import SettingsError

__all__ = ["deterministic"]

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic(threads: int) -> Iterator[dict[str, Any]]:
    """Only deterministic algorithms of torch, on a fixed number of threads, inside a `with` block.

    An operation that has none raises RuntimeError rather than give other bits each time. On a CPU, foldlight gives the
    same bits with and without this block (measured on one thread and on two); it is for CUDA, and a guard elsewhere.

    A block and not a switch, so that a notebook or a test gets its process back as it was. Two things torch can't undo:
    the number of inter-op threads is set once in a process (where it was set, or used, it stays), and cuBLAS reads its
    workspace setting with the first product on a CUDA device, so the block has to begin before that.

    Args:
        threads: of one operation, and between operations; results repeat for the same number.

    Yields:
        What is in force, JSON-ready: deterministic, threads, interop_threads, cublas_workspace.

    Raises:
        SettingsError: fewer than one thread.
    """
    if threads < 1:
        raise SettingsError(f"threads = {threads}: expected 1 or more")
    with ExitStack() as restored:
        _set_workspace(restored)
        _set_algorithms(restored)
        _set_threads(threads, restored)
        yield {
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "threads": torch.get_num_threads(),
            "interop_threads": torch.get_num_interop_threads(),
            "cublas_workspace": os.environ[_CUBLAS],
        }


def _set_workspace(restored: ExitStack) -> None:
    """A workspace with which cuBLAS repeats; the user's own choice stays."""
    if _CUBLAS not in os.environ:
        os.environ[_CUBLAS] = ":4096:8"
        restored.callback(os.environ.pop, _CUBLAS, None)


def _set_algorithms(restored: ExitStack) -> None:
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    restored.callback(torch.use_deterministic_algorithms, before, warn_only=warn_only)
    torch.use_deterministic_algorithms(True)
    cudnn = torch.backends.cudnn
    for name, value in (("deterministic", True), ("benchmark", False)):
        restored.callback(setattr, cudnn, name, getattr(cudnn, name))
        setattr(cudnn, name, value)


def _set_threads(threads: int, restored: ExitStack) -> None:
    restored.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(threads)
    with suppress(RuntimeError):  # set before, or in use: it can't be changed any more
        torch.set_num_interop_threads(threads)
