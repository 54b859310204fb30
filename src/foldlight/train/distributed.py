"""Several processes on one task, started by `torchrun`: one a GPU, or a few on the cores of one machine.

`torchrun --standalone --nproc-per-node 2 -m foldlight train SCAN` trains what one process would, within rounding: the
groups of a step are shared out, and every process's gradient enters the mean with the weight that its groups have in
the loss of all, so shares may be uneven, or empty. Gradients go through torch's DistributedDataParallel, which sends
some while others are still computed. All else (losses, checkpoints, pieces of images) is small and goes from CPU to
CPU. Nothing is pickled.

What was tried: two processes of one machine without a GPU. Gradients of GPUs would go through NCCL, and several
machines need a folder that all of them see; both are written by torch's documentation and were not run.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from foldlight.core.errors import FoldlightError, SettingsError
from foldlight.networks.generators import PatchNetwork
from foldlight.networks.unrolled import UnrolledNetwork

__all__ = ["ALONE", "Ranks", "joined"]

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PATIENCE = timedelta(minutes=30)  # for a process that does not answer; torchrun ends the others of a dead one at once
_TELLING_S = 10.0  # that another process waits for the first to tell the error that both have


@dataclass(frozen=True)
class Ranks:
    """This process among those that work on one task.

    Attributes:
        rank: its number; 0 is the first, the one that writes and tells.
        size: how many there are.
        local_rank: its number on this machine.
        local_size: how many there are on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def alone(self) -> bool:
        """There is no other process."""
        return self.size == 1

    @property
    def first(self) -> bool:
        """This is the process that writes files and tells what happens."""
        return self.rank == 0

    @property
    def turns(self) -> slice:
        """The items of a sequence that are this process's when all take turns."""
        return slice(self.rank, None, self.size)

    def takes(self, turn: int) -> bool:
        """This process's turn."""
        return turn % self.size == self.rank

    def share(self, number: int) -> slice:
        """This process's contiguous share of so many items; the largest has one more than the smallest."""
        return slice(self.rank * number // self.size, (self.rank + 1) * number // self.size)

    def device(self, name: str) -> str:
        """Where this process computes when its user asked for a device: each one on the GPU of its own number.

        Raises:
            SettingsError: one GPU was named for several processes.
        """
        if self.alone or name == "cpu":
            return name
        if name != "cuda":
            raise SettingsError(
                f"device = {name!r}: expected cpu or cuda for {self.size} processes, each of which takes a GPU of its"
                " own; hide GPUs with CUDA_VISIBLE_DEVICES"
            )
        return f"cuda:{self.local_rank}"

    def summed(self, values: Tensor) -> Tensor:
        """Sum over all processes, the same bits in each."""
        if not self.alone:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def least(self, value: float) -> float:
        """The smallest of all processes' values."""
        if self.alone:
            return value
        found = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(found, dist.ReduceOp.MIN)
        return float(found)

    def in_turns(self, rows: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """All rows in order, when each process has those of its `turns`; every process gets all."""
        if self.alone:
            return rows
        total = int(self.summed(torch.tensor(len(rows))))
        found = torch.zeros(total, 2, dtype=torch.float64)
        found[self.turns] = torch.tensor(rows, dtype=torch.float64).reshape(-1, 2)
        return [(first, second) for first, second in self.summed(found).tolist()]

    def told(self, read: Callable[[], bytes]) -> bytes:
        """What the first process reads; the others don't call `read`.

        Raises:
            OSError: whatever `read` raises; FileNotFoundError in the others.
        """
        if self.alone:
            return read()
        length, data = torch.tensor(-1), b""
        try:
            if self.first:
                data = read()
                length.fill_(len(data))
        finally:
            dist.broadcast(length, 0)
        if length < 0:
            raise FileNotFoundError("the first process found no file")
        words = torch.from_numpy(
            np.frombuffer(data, np.uint8).copy() if self.first else np.empty(int(length), np.uint8)
        )
        dist.broadcast(words, 0)
        return words.numpy().tobytes()

    def agree(self, text: str, name: str) -> None:
        """Make sure that all processes work on the same.

        Args:
            text: what has to be the same.
            name: what it is, for the message.

        Raises:
            SettingsError: it is not the same in some; raised by all of them.
        """
        own = sha256(text.encode()).digest()
        others = int(self.summed(torch.tensor(int(self.told(lambda: own) != own))))
        if others:
            raise SettingsError(
                f"{name}: expected {self.size} processes with the same data and settings, got {others} that differ from"
                " the first; give all of them the same files and options"
            )

    def brought(
        self, turn: int, make: Callable[[], tuple[Tensor, ...]], like: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...] | None:
        """Tensors that the process whose turn it is makes, brought to the first; None in the others.

        Args:
            turn: number of the item; to be asked for in the same order by every process.
            make: called by one process alone.
            like: tensors of the shapes and types of those that it makes, on any device, `meta` say.
        """
        owner = turn % self.size
        found = make() if owner == self.rank else None
        if owner == 0 or self.rank not in {0, owner}:
            return found
        if found is not None:
            for part in found:
                dist.send(_real(part).cpu().contiguous(), 0)
            return None
        found = tuple(torch.empty_like(part, device="cpu") for part in like)
        for part in found:
            dist.recv(_real(part), owner)
        return found

    def learning(self, network: PatchNetwork | UnrolledNetwork) -> Callable[..., Tensor]:
        """The network's `objects`, with gradients that are the mean over all processes once they are computed.

        All processes begin with the weights of the first. Every one has to take part in every step, with a loss of
        weight 0 where it has nothing to learn from.
        """
        if self.alone:
            return network.objects
        return DistributedDataParallel(_Objects(network), gradient_as_bucket_view=True)

    def aligned(self, network: nn.Module) -> None:
        """Give all processes the first one's weights: different processors round differently, and errors add up."""
        if not self.alone:
            with torch.no_grad():
                for weight in network.parameters():
                    dist.broadcast(weight, 0)


ALONE = Ranks()
"""A process that nobody helps: all of its methods do nothing."""


class _Objects(nn.Module):
    """A network whose forward pass is its `objects`, under which every network can be called."""

    def __init__(self, network: PatchNetwork | UnrolledNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *batch: Any) -> Tensor:
        """See `UnrolledNetwork.objects`."""
        return self.network.objects(*batch)


@contextmanager
def joined(device: str = "cpu") -> Iterator[Ranks]:
    """The processes that `torchrun` started, ready to work together within a `with` block; `ALONE` without it.

    An error that all processes have is raised by the first alone; the others end with exit code 1. One that another
    process has by itself is raised there, with its number.

    Args:
        device: where they will compute; for `cuda`, gradients go from GPU to GPU.

    Raises:
        SettingsError: the environment is only in part that of a started group, or its processes can't be reached.
        FoldlightError: a process was lost.
    """
    ranks = _ranks()
    if ranks.alone:
        yield ranks
        return
    store = _started(ranks, device)
    try:
        with warnings.catch_warnings():
            # Of axes of one pixel, whose strides mean nothing.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            yield ranks
    except FoldlightError as error:
        raise _told(error, ranks, store) from None
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error).lower():
            raise
        lost = FoldlightError(f"expected every process to answer, one did not: {str(error).splitlines()[0]}")
        raise _told(lost, ranks, store, mine=False) from None
    dist.destroy_process_group()


def _real(values: Tensor) -> Tensor:
    """The same memory as real numbers."""
    return torch.view_as_real(values) if values.is_complex() else values


def _ranks() -> Ranks:
    """As the environment says."""
    given = [name for name in _VARIABLES if name in os.environ]
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(given):
        return ALONE  # some schedulers set one of them
    try:
        rank, size, local_rank, local_size = (int(os.environ[name]) for name in _VARIABLES[:4])
    except (KeyError, ValueError):
        missing = ", ".join(name for name in _VARIABLES if not os.environ.get(name))
        raise SettingsError(
            f"several processes: expected numbers in RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE, got none for"
            f" {missing or 'one'}; start them with torchrun"
        ) from None
    return Ranks(rank, size, local_rank, local_size)


def _started(ranks: Ranks, device: str) -> Store:
    """Join the others; a place where all can leave words."""
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    try:
        if device.startswith("cuda"):
            torch.cuda.set_device(ranks.local_rank)
        store, rank, size = next(rendezvous("env://", timeout=_PATIENCE))
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise SettingsError(
            f"several processes: expected {ranks.size} that reach each other, process {ranks.rank + 1} could not join:"
            f" {str(error).splitlines()[0]}"
        ) from None
    return PrefixStore("foldlight", store)


def _told(error: FoldlightError, ranks: Ranks, store: Store, mine: bool = True) -> BaseException:
    """What a process with an error has to raise, so that each error is told once.

    Args:
        error: what it is.
        ranks: who it is.
        store: where processes leave their errors.
        mine: it began here; else it only follows from what happened elsewhere.
    """
    if mine:
        with suppress(RuntimeError):  # the store went with whoever kept it
            store.set(f"error {ranks.rank}", str(error))
    if ranks.first and mine:
        return error
    deadline = time.monotonic() + _TELLING_S
    while time.monotonic() < deadline:
        with suppress(RuntimeError):
            for other in range(ranks.size):
                name = f"error {other}"
                if other == ranks.rank or not store.check([name]):
                    continue
                if not mine or (other == 0 and store.get(name).decode() == str(error)):
                    return SystemExit(1)
        time.sleep(0.05)
    return type(error)(f"process {ranks.rank + 1} of {ranks.size}: {error}")
