"""Batches of groups, gathered by index from frames that are stored once."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from foldlight.core.errors import DataError, SettingsError
from foldlight.core.seeds import generator
from foldlight.sampling.grouping import neighbour_groups, neighbour_regions
from foldlight.sampling.thinning import thin
from foldlight.scan import Scan
from foldlight.train.settings import TrainingSettings

__all__ = ["Batch", "GroupedFrames", "held_out_photons", "prepared", "room_for_frames", "true_object"]


Item = TypeVar("Item")
Made = TypeVar("Made")

_SEEN_SHARE = 0.8  # of the photons, where a network sees some and is scored on the others
_AHEAD = 2  # batches a loader keeps ready: they bound the memory, and one waits while the next is made


@dataclass(frozen=True)
class Batch:
    """Groups of frames.

    Attributes:
        photons: (group, n, y, x) what a network sees.
        positions_px: (group, n, 2) on each group's own canvas [px].
        probe: (mode, y, x) for these photons.
        canvas: (height, width) that holds every group [px].
        scored: (group, n, y, x) photons that the result has to explain, where they are not the same.
        scored_probe: (mode, y, x) for those.
        truth: (group, h, w) the true objects, with supervision by them.
    """

    photons: Tensor
    positions_px: Tensor
    probe: Tensor
    canvas: tuple[int, int]
    scored: Tensor | None = None
    scored_probe: Tensor | None = None
    truth: Tensor | None = None

    def part(self, groups: slice) -> "Batch":
        """Some of the groups, on the canvas of all."""
        scored = None if self.scored is None else self.scored[groups]
        truth = None if self.truth is None else self.truth[groups]
        return replace(
            self, photons=self.photons[groups], positions_px=self.positions_px[groups], scored=scored, truth=truth
        )


@dataclass(frozen=True)
class GroupedFrames:
    """Some frames of a scan with their groups.

    Attributes:
        scan: the whole scan; frames are read from it, never copied.
        frames: (n,) indexes of the frames to use.
        groups: (g, C) indexes into the scan. Small groups: one a frame, or fewer where `TrainingSettings.groups` says
            so. Regions: enough to hold each frame.
        regional: groups are regions, few of which hold a frame.
        redrawn: regions are drawn anew for each epoch.
        split: the photons of each batch are dealt out: a network sees some and has to explain the others.
        supervised: batches carry the scan's true object.
        kept: (n, y, x) the scan's valid photons on the device that trains, see `kept_on`.
    """

    scan: Scan
    frames: np.ndarray
    groups: np.ndarray
    regional: bool = False
    redrawn: bool = False
    split: bool = False
    supervised: bool = False
    kept: Tensor | None = None

    @classmethod
    def of(cls, scan: Scan, frames: np.ndarray, settings: TrainingSettings, purpose: str) -> "GroupedFrames":
        """Neighbour groups among the given frames; the draw depends on the seed and the purpose.

        Purpose `train` keeps no more than `settings.groups` of them, in stored order. Which ones is drawn apart, so the
        members of a group don't depend on how many are kept.
        """
        positions = scan.positions_px[frames]
        rng = generator(settings.seed, "groups", purpose)
        size = settings.group_size
        if settings.regional:
            groups = frames[neighbour_regions(positions, min(size, len(frames)), rng)]
        else:
            groups = frames[neighbour_groups(positions, size, settings.neighbours, rng)]
        training = purpose == "train"
        fewer = training and settings.groups is not None and settings.groups < len(groups)
        if fewer:
            kept = generator(settings.seed, "kept groups", purpose).permutation(len(groups))[: settings.groups]
            groups = groups[np.sort(kept)]
        split = training and settings.supervision == "photons" and settings.scored == "held-back"
        if split and not scan.photons.whole:
            raise SettingsError(
                "scored = held-back: expected counted photons (whole numbers) to deal out, got scaled values; give the"
                " photon scale, or --scored same"
            )
        supervised = training and settings.supervision == "object"
        redrawn = settings.regional and training and not fewer
        return cls(scan, frames, groups, settings.regional, redrawn, split, supervised)

    @property
    def groups_per_epoch(self) -> int:
        """Groups that use each frame about once: regions all; small groups one for C frames, or all if fewer."""
        if self.regional:
            return len(self.groups)
        return max(1, min(len(self.groups), len(self.frames) // self.groups.shape[1]))

    def epoch(
        self,
        groups_per_batch: int,
        rng: np.random.Generator | None = None,
        loader_workers: int = 0,
        only: slice = slice(None),
    ) -> Iterator[Batch]:
        """Batches that use each frame about once, shuffled, or in stored order without `rng`.

        Batches and their order are the same for any number of background loaders, and whichever `only` are made.
        """
        groups = self.groups
        if self.redrawn and rng is not None:
            groups = self.frames[neighbour_regions(self.scan.positions_px[self.frames], groups.shape[1], rng)]
        if rng is None:
            order = np.arange(len(groups))[:: 1 if self.regional else groups.shape[1]]
        else:
            order = rng.permutation(len(groups))[: self.groups_per_epoch]
        starts = range(0, len(order), groups_per_batch)
        parts = [groups[order[start : start + groups_per_batch]] for start in starts]
        seeds = rng.integers(2**63, size=len(parts)).tolist() if rng is not None and self.split else [None] * len(parts)
        return prepared(self._batch, zip(parts[only], seeds[only], strict=True), loader_workers)

    def with_photons(self, scan: Scan) -> "GroupedFrames":
        """The same groups of the same frames, with another exposure's photons and probe."""
        return replace(self, scan=scan, kept=None)

    def kept_on(self, device: torch.device, memory_bytes: float | None = None) -> "GroupedFrames":
        """The same with the frames stored on a device, if they fit there: batches are then gathered by index.

        Photons are dealt out there as well, by the device's own generator.

        Args:
            device: the one that trains.
            memory_bytes: what the frames may take; see `room_for_frames` when None.
        """
        if memory_bytes is None:
            memory_bytes = room_for_frames(device)
        shape = self.scan.photons.shape
        if 4 * math.prod(shape) > memory_bytes:
            return self
        kept = torch.empty(shape, device=device)
        for block in self.scan.photons.blocks():
            kept[block] = self._valid(block).to(device)
        return replace(self, kept=kept)

    def _valid(self, frames: np.ndarray | slice) -> Tensor:
        """Photons of some frames; what a bad pixel counted must not reach a network, let alone a hot one."""
        if self.kept is not None:
            return self.kept[torch.as_tensor(frames, device=self.kept.device)]
        return torch.from_numpy(np.where(self.scan.mask, self.scan.photons[frames], np.float32(0)))

    def _dealt(self, photons: Tensor, seed: int) -> Tensor:
        """A part of the photons, drawn one by one."""
        if self.kept is not None:
            draw = torch.Generator(photons.device).manual_seed(seed)
            return torch.binomial(photons, torch.full_like(photons, _SEEN_SHARE), generator=draw)
        counts = photons.numpy().astype(np.int64)
        return torch.from_numpy(np.random.default_rng(seed).binomial(counts, _SEEN_SHARE).astype(np.float32))

    def _batch(self, drawn: tuple[np.ndarray, int | None]) -> Batch:
        groups, seed = drawn
        photons = self._valid(groups.ravel()).reshape(*groups.shape, *self.scan.window)
        positions = self.scan.positions_px[groups]
        whole = np.rint(positions).astype(int)
        corner = whole.min(axis=1, keepdims=True) - np.array(self.scan.window) // 2
        height, width = (np.array(self.scan.window) + np.ptp(whole, axis=1).max(axis=0)).tolist()
        canvas = (height, width)
        probe = torch.from_numpy(self.scan.probe)
        truth = _true_regions(self.scan, corner[:, 0], canvas) if self.supervised else None
        scored = scored_probe = None
        if seed is not None:
            counts, photons = photons, self._dealt(photons, seed)
            scored = counts - photons
            probe, scored_probe = probe * _SEEN_SHARE**0.5, probe * (1 - _SEEN_SHARE) ** 0.5
        places = torch.from_numpy(positions - corner)
        return Batch(photons, places, probe, canvas, scored, scored_probe, truth)


def room_for_frames(device: torch.device) -> float:
    """What the frames of a scan may take on a device: half of what is free on a GPU, or nothing elsewhere [byte]."""
    return 0.5 * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0.0


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


def _true_regions(scan: Scan, corners: np.ndarray, canvas: tuple[int, int]) -> Tensor:
    """(group, h, w) true objects on canvases whose first pixels lie at these corners; 1 beyond the scan's canvas."""
    truth = np.pad(true_object(scan), ((0, canvas[0]), (0, canvas[1])), constant_values=1)
    cut = [truth[top : top + canvas[0], left : left + canvas[1]] for top, left in corners.tolist()]
    return torch.from_numpy(np.stack(cut))


def prepared(make: Callable[[Item], Made], items: Iterable[Item], workers: int) -> Iterator[Made]:
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
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
