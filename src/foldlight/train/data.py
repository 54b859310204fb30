"""Batches of groups, gathered by index from frames that are stored once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from foldlight.core.errors import DataError
from foldlight.core.seeds import generator
from foldlight.optics.patches import gather
from foldlight.sampling.grouping import neighbour_groups
from foldlight.sampling.thinning import thin
from foldlight.scan import Scan
from foldlight.train.settings import TrainingSettings

__all__ = ["Batch", "GroupedFrames", "held_out_photons", "true_object"]


_SEEN_SHARE = 0.8  # of the photons of a validation frame
_AHEAD = 2  # batches a loader keeps ready: they bound the memory, and one waits while the next is made


@dataclass(frozen=True)
class Batch:
    """Photons (group, n, y, x), positions (group, n, 2) on each group's own canvas, and the probe (mode, y, x).

    With supervision by the object also the true patches (group, n, y, x).
    """

    photons: Tensor
    positions_px: Tensor
    probe: Tensor
    truth: Tensor | None = None


@dataclass(frozen=True)
class GroupedFrames:
    """Some frames of a scan with their groups.

    Attributes:
        scan: the whole scan; frames are read from it, never copied.
        frames: (n,) indexes of the frames to use.
        groups: (g, C) indexes into the scan; one group a frame, or fewer where `TrainingSettings.groups` says so.
        canvas: (height, width) that holds any group [px].
        supervised: batches carry patches of the scan's true object.
    """

    scan: Scan
    frames: np.ndarray
    groups: np.ndarray
    canvas: tuple[int, int]
    supervised: bool = False

    @classmethod
    def of(cls, scan: Scan, frames: np.ndarray, settings: TrainingSettings, purpose: str) -> "GroupedFrames":
        """Neighbour groups among the given frames; the draw depends on the seed and the purpose.

        Purpose `train` keeps no more than `settings.groups` of them, in stored order. Which ones is drawn apart, so the
        members of a group don't depend on how many are kept.
        """
        positions = scan.positions_px[frames]
        rng = generator(settings.seed, "groups", purpose)
        groups = frames[neighbour_groups(positions, settings.group_size, settings.neighbours, rng)]
        if purpose == "train" and settings.groups is not None and settings.groups < len(groups):
            kept = generator(settings.seed, "kept groups", purpose).permutation(len(groups))[: settings.groups]
            groups = groups[np.sort(kept)]
        members = np.rint(scan.positions_px[groups])
        extent = np.ptp(members, axis=1).max(axis=0).astype(int)
        height, width = (np.array(scan.window) + extent).tolist()
        return cls(scan, frames, groups, (height, width), purpose == "train" and settings.supervision == "object")

    @property
    def groups_per_epoch(self) -> int:
        """Groups that use each frame about once: one for C frames, or all where there are fewer."""
        return max(1, min(len(self.groups), len(self.frames) // self.groups.shape[1]))

    def epoch(
        self, groups_per_batch: int, rng: np.random.Generator | None = None, loader_workers: int = 0
    ) -> Iterator[Batch]:
        """Batches that use each frame about once: one group in C, shuffled, or in stored order without `rng`.

        Batches and their order are the same for any number of background loaders.
        """
        order = np.arange(len(self.groups)) if rng is None else rng.permutation(len(self.groups))
        order = order[:: self.groups.shape[1]] if rng is None else order[: self.groups_per_epoch]
        parts = (order[start : start + groups_per_batch] for start in range(0, len(order), groups_per_batch))
        return _prepared(self._batch, (self.groups[part] for part in parts), loader_workers)

    def with_photons(self, scan: Scan) -> "GroupedFrames":
        """The same groups of the same frames, with another exposure's photons and probe."""
        return replace(self, scan=scan)

    def _batch(self, groups: np.ndarray) -> Batch:
        # What a bad pixel counted must not reach the network, let alone a hot one.
        photons = np.where(self.scan.mask, self.scan.photons[groups.ravel()], np.float32(0))
        photons = photons.reshape(*groups.shape, *self.scan.window)
        positions = self.scan.positions_px[groups]
        corner = np.rint(positions).min(axis=1, keepdims=True) - np.array(self.scan.window) // 2
        truth = _patches(self.scan, positions) if self.supervised else None
        return Batch(
            torch.from_numpy(photons), torch.from_numpy(positions - corner), torch.from_numpy(self.scan.probe), truth
        )


def held_out_photons(scan: Scan, frames: np.ndarray, settings: TrainingSettings) -> tuple[GroupedFrames, GroupedFrames]:
    """Validation frames twice: the photons a network may see, and those it is scored on.

    A network has each frame as its input, so it can copy that frame's noise, and on the same photons copying looks like
    skill. Photons are therefore thinned. Values that are not counts can't be: then both are the same.
    """
    part = scan.select(frames)
    seen = held = part
    if scan.photons.whole:
        seen, held = thin(part, _SEEN_SHARE, generator(settings.seed, "validation photons"))
    groups = GroupedFrames.of(seen, np.arange(len(frames)), settings, "validation")
    return groups, groups.with_photons(held)


def true_object(scan: Scan) -> np.ndarray:
    """(y, x) complex64 object that a supervised network learns from.

    Raises:
        DataError: the scan does not know it.
    """
    if scan.truth is None:
        raise DataError(
            "supervision: expected a simulated scan with its true object, got one without; train with --supervision"
            " photons"
        )
    return scan.truth.astype(np.complex64, copy=False)


def _patches(scan: Scan, positions_px: np.ndarray) -> Tensor:
    """True patches (group, n, y, x) in the windows of positions (group, n, 2), cut where the forward model cuts."""
    positions = torch.from_numpy(positions_px.reshape(1, -1, 2))
    canvas = torch.from_numpy(true_object(scan))
    return gather(canvas[None], positions, scan.window).reshape(*positions_px.shape[:2], *scan.window)


def _prepared(make: Callable[[np.ndarray], Batch], items: Iterable[np.ndarray], workers: int) -> Iterator[Batch]:
    """`make` of each item, in order; with workers, made in threads a few items ahead of their use.

    Threads, not the processes of torch's DataLoader: reading, converting and copying frames is numpy's work, which
    releases the interpreter, so threads do overlap with training. Measured on 47 batches of 32 frames of 64 x 64 px:
    0.02 s with threads, 0.3 s with processes, nearly all of it their start, and that in every epoch. Processes would
    also fork one that already runs torch's threads, and pass batches through shared memory, often short in containers.
    """
    if not workers:
        yield from map(make, items)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="foldlight-loader")
    waiting: deque[Future[Batch]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
