"""The training loop: small, exact, resumable to the bit.

Everything random is keyed by the seed and by what it is for (weights, groups, the order of an epoch), and the step size
is a function of the step, so a checkpoint holds weights and optimiser state and nothing else can differ.
"""

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from foldlight.bundle import Model
from foldlight.core.errors import DataError, SettingsError, TrainingError
from foldlight.core.files import write_json, write_text
from foldlight.core.progress import progress_bar
from foldlight.core.provenance import environment, sha256_arrays, versions
from foldlight.core.seeds import generator
from foldlight.networks.generators import PatchNetwork
from foldlight.networks.settings import NetworkSettings
from foldlight.networks.unrolled import UnrolledNetwork
from foldlight.optics.flat import flat_amplitude
from foldlight.optics.forward import expected_photons, place_probe
from foldlight.optics.spectrum import ErrorSpectrum
from foldlight.sampling.overlap import probe_diameters_px
from foldlight.sampling.split import spatial_split
from foldlight.scan import Scan
from foldlight.train.data import Batch, GroupedFrames, held_out_photons, room_for_frames, true_object
from foldlight.train.device import usable_device
from foldlight.train.distributed import ALONE, Ranks
from foldlight.train.loop import as_csv, learning_rate, read_checkpoint, started, write_checkpoint
from foldlight.train.objective import LOSSES, object_loss, object_weight, photon_loss, photon_weight
from foldlight.train.settings import TrainingSettings

__all__ = ["Training", "adapt", "fit"]

_CLIP_NORM = 1.0
_VALIDATED_FRAMES = 64  # at least, where photons of all are held back, and they are so many
_SPARED = 4  # one in so many is enough to validate on: a pass over all costs a third of an epoch
_LEAST_TRAINED = 0.5  # of the frames, where validation chooses by itself what it holds back
_LEAST_GAIN = 10.0  # log-likelihood over a flat object on all validation photons; chance alone gives about 1


@dataclass(frozen=True)
class Training:
    """What came out of training.

    Attributes:
        model: the weights with the best validation loss.
        history: one row an epoch: epoch, train_loss, validation_loss, learning_rate, seconds.
        flat_loss: validation loss of the best flat object: the floor to beat.
        seconds: wall time, over all sittings.
        collapsed: the model is no better than a flat object.
    """

    model: Model
    history: list[dict[str, float]]
    flat_loss: float
    seconds: float
    collapsed: bool = False


def fit(
    scan: Scan,
    network: NetworkSettings,
    settings: TrainingSettings,
    folder: Path,
    resume: bool | None = False,
    progress: bool = True,
    *,
    start: Model | None = None,
    keep_collapsed: bool = False,
    loader_workers: int = 0,
    report: Callable[[str], None] | None = None,
    ranks: Ranks = ALONE,
) -> Training:
    """Train a network on the frames of one scan; its object is not looked at, unless it is the one to learn from.

    With `supervision = "object"` training compares patches with the true ones. All else is the same: the validation
    loss, which early stopping looks at, still tells how well the patches explain held-back photons, so networks can be
    compared by it whatever they learned from.

    Writes into `folder` after every epoch: `history.csv`, `checkpoint.pt`, and at the end `training.json`.

    Args:
        scan: frames, positions and probe.
        network: what to build.
        settings: how to train it.
        folder: where log and checkpoint go.
        resume: go on from the folder's checkpoint, to the same weights as an undisturbed run; None: only where it is
            one of this run, made by the same versions on as many threads, and from the beginning otherwise.
        progress: show a bar.
        start: a model whose weights to begin with, of the same network; weights are drawn when None.
        keep_collapsed: return a network that ended no better than a flat object, marked as `collapsed`, as a result.
        loader_workers: background threads that prepare batches; any number gives the same weights.
        report: gets one line an epoch, for a log that is read while training runs.
        ranks: the processes that share the work, each of which calls this with the same scan; the result is that of
            one, within rounding. The first writes the files, and resumes also what another number has begun.

    Raises:
        DataError: supervision by an object that the scan does not know.
        SettingsError: the checkpoint belongs to other settings or data; too few frames for groups or the split; the
            start is another network; a step has fewer groups than there are processes.
        TrainingError: the loss is no number, or, unless `keep_collapsed`, training ended no better than a flat object.
    """
    if loader_workers < 0:
        raise SettingsError(f"loader_workers = {loader_workers}: expected 0 or more")
    loop = _Loop.start(scan, network, settings, loader_workers, start, ranks)
    if resume or (resume is None and loop.made(folder / "checkpoint.pt")):
        loop.load(folder / "checkpoint.pt")
        if ranks.first:
            write_text(folder / "history.csv", as_csv(loop.history))  # no epoch may be left to write it
        if report is not None:
            report(f"goes on after epoch {loop.epoch}")
    with progress_bar("training", settings.epochs, progress and ranks.first) as advance:
        advance(loop.epoch)
        while loop.epoch < settings.epochs and loop.epoch - loop.best_epoch < settings.patience:
            row = loop.run_epoch(lambda done: advance(loop.epoch + done))
            advance(loop.epoch, f"loss {row['train_loss']:.3f}, held out {row['validation_loss']:.3f}")
            if ranks.first:
                write_text(folder / "history.csv", as_csv(loop.history))
                loop.save(folder / "checkpoint.pt")
            if report is not None:
                report(_line(loop.history, settings.epochs))
    training = loop.finish(keep_collapsed)
    if ranks.first:
        write_json(
            folder / "training.json",
            {**training.model.training, "seconds": training.seconds, "environment": environment()},
        )
    return training


def adapt(
    scan: Scan, model: Model, steps: int, *, seed: int = 0, device: str = "cpu", progress: bool = True
) -> Training:
    """A model made to fit one scan: about so many steps of training on its photons, from the model's weights.

    A fifth of the photons judges: the weights that explain them best are kept, and those of the model are among them,
    so on a scan that there is nothing to learn from, nothing changes.

    Args:
        scan: frames, positions and probe.
        model: an unrolled network.
        steps: of one region of frames each.
        seed: of regions and of the dealing of photons.
        device: where to compute.
        progress: show a bar.

    Raises:
        SettingsError: the photons are not whole numbers, or there are too few frames.
    """
    gridsize = max(1, round(model.group_size**0.5))
    settings = TrainingSettings(gridsize=gridsize, validation="photons", seed=seed, device=device, epochs=1)
    loop = _Loop.start(scan, model.network, settings, 0, model)
    epochs = max(1, round(steps / loop.steps_per_epoch))
    loop.settings = loop.settings.model_copy(update={"epochs": epochs})
    with progress_bar("adapting", epochs, progress) as advance:
        while loop.epoch < epochs:
            row = loop.run_epoch(lambda done: advance(loop.epoch + done))
            advance(loop.epoch, f"held out {row['validation_loss']:.3f}")
    return loop.finish(keep_collapsed=True)


@dataclass
class _Loop:
    """State of a run between epochs."""

    scan: Scan
    network_settings: NetworkSettings
    settings: TrainingSettings
    key: dict[str, Any]
    train: GroupedFrames
    seen: GroupedFrames
    held: GroupedFrames
    network: PatchNetwork | UnrolledNetwork
    learning: Callable[..., torch.Tensor]
    optimiser: torch.optim.Adam
    mask: torch.Tensor
    ranks: Ranks = ALONE
    loader_workers: int = 0
    epoch: int = 0
    best_epoch: int = 0
    start_loss: float | None = None
    best_loss: float = float("inf")
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    errors: ErrorSpectrum | None = None  # of the network it began with; training on a scan makes them less

    @classmethod
    def start(
        cls,
        scan: Scan,
        network_settings: NetworkSettings,
        settings: TrainingSettings,
        loader_workers: int,
        start: Model | None = None,
        ranks: Ranks = ALONE,
    ) -> "_Loop":
        settings = settings.filled(started=start is not None)
        key = _key(scan, network_settings, settings, start)
        ranks.agree(json.dumps(key, sort_keys=True), "training")
        train, seen, held = _validated(scan, settings)
        device = usable_device(ranks.device(settings.device))
        network = started(start, network_settings, scan.window, settings.seed, device)
        loop = cls(
            scan=scan,
            network_settings=network_settings,
            settings=settings,
            key=key,
            train=train.kept_on(device, ranks.least(room_for_frames(device))),
            seen=seen,
            held=held,
            network=network,
            learning=ranks.learning(network),
            optimiser=torch.optim.Adam(network.parameters()),
            mask=torch.from_numpy(scan.mask).to(device),
            ranks=ranks,
            loader_workers=loader_workers,
        )
        loop.check_ranks()
        if start is not None:  # what it can do untrained is the mark to beat
            loop.start_loss, loop.best_weights = loop.evaluate(), loop.weights()
            loop.best_loss = loop.start_loss
            loop.errors = start.errors
        return loop

    def run_epoch(self, advance: Any) -> dict[str, float]:
        """One pass over the training groups, then the validation loss."""
        began = time.perf_counter()
        order = generator(self.settings.seed, "order", self.epoch)
        steps = self.steps_per_epoch
        self.ranks.aligned(self.network)
        self.network.train()
        losses = []
        for step, batch in enumerate(self.train.epoch(self.groups_per_batch, order, self.loader_workers)):
            self.set_learning_rate(self.epoch * steps + step, self.settings.epochs * steps)
            losses.append(self.learn(batch))
            advance((step + 1) / steps)
        train_loss = float(self.ranks.summed(torch.stack(losses)).mean())
        validation_loss = self.evaluate()
        if not np.isfinite(train_loss + validation_loss):
            raise TrainingError(
                f"training: expected a finite loss, got {train_loss} in epoch {self.epoch + 1}; lower --learning-rate"
                f" (now {self.settings.learning_rate}) and check the scan's probe and units with inspect"
            )
        self.epoch += 1
        self.seconds += time.perf_counter() - began
        if validation_loss < self.best_loss:
            self.best_epoch, self.best_loss = self.epoch, validation_loss
            self.best_weights = self.weights()
        row = {
            "epoch": self.epoch,
            "train_loss": train_loss,
            "validation_loss": validation_loss,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "seconds": round(self.seconds, 3),
        }
        self.history.append(row)
        return row

    @property
    def groups_per_batch(self) -> int:
        return max(1, self.settings.batch_frames // self.settings.group_size)

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.train.groups_per_epoch // self.groups_per_batch)

    def check_ranks(self) -> None:
        """No process may be idle throughout."""
        groups, size = min(self.groups_per_batch, self.train.groups_per_epoch), self.settings.group_size
        if groups < self.ranks.size:
            raise SettingsError(
                f"training: expected a group of {size} frames or more in each step for each of {self.ranks.size}"
                f" processes, got {groups}; set --batch-frames {size * self.ranks.size} (other steps, other weights) or"
                " use fewer processes"
            )

    def set_learning_rate(self, step: int, total: int) -> None:
        rate = learning_rate(self.settings.learning_rate or 0.0, step, total)
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def weights(self) -> dict[str, torch.Tensor]:
        """As they are now."""
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def learn(self, batch: Batch) -> torch.Tensor:
        """One step of training; its loss, or this process's term of it."""
        weight = None
        if not self.ranks.alone:
            batch, weight = self.shared(batch)
        loss = self.loss(batch) if batch.truth is None else self.supervised_loss(batch, batch.truth)
        if weight is not None:
            loss = weight * loss
        self.optimiser.zero_grad()
        (loss * self.ranks.size).backward()  # type: ignore[no-untyped-call]  # DDP takes the mean
        nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP_NORM)
        self.optimiser.step()
        return loss.detach()

    def shared(self, batch: Batch) -> tuple[Batch, torch.Tensor]:
        """This process's groups, and the weight of their loss in that of the whole batch.

        A loss is a sum over groups divided by another one, of photons say: weights are in proportion to the latter. A
        process without groups looks at the first one with weight 0, since all take part in every step.
        """
        share = self.ranks.share(len(batch.photons))
        mine = batch.part(share if share.start < share.stop else slice(0, 1))
        if mine.truth is None:
            explained = mine.photons if mine.scored is None else mine.scored
            weight = photon_weight(explained, self.mask.to(explained.device))
        else:
            probes = place_probe(mine.probe, mine.positions_px)
            weight = object_weight(mine.positions_px, probes, self.network_settings.merge_floor, mine.canvas).sum()
        weight = (weight.double() * (share.start < share.stop)).to(self.mask.device)
        return mine, (weight / self.ranks.summed(weight)).float()

    def loss(self, batch: Batch, target: Batch | None = None) -> torch.Tensor:
        """Misfit of what the network makes of a batch with the photons to be explained, or with a target's."""
        device = self.mask.device
        objects, positions, probes = self.objects(batch)
        photons, probe = batch.photons, None
        if target is not None:
            photons, probe = target.photons, target.probe
        elif batch.scored is not None and batch.scored_probe is not None:
            photons, probe = batch.scored, batch.scored_probe
        if probe is not None:
            probes = place_probe(probe.to(device), positions)
        return photon_loss(objects, photons.to(device), positions, probes, self.mask, self.settings.loss)

    def supervised_loss(self, batch: Batch, truth: torch.Tensor) -> torch.Tensor:
        """Misfit between what the network makes of a batch and the true objects."""
        objects, positions, probes = self.objects(batch)
        return object_loss(objects, truth.to(self.mask.device), positions, probes, self.network_settings.merge_floor)

    def objects(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the network makes of each group; the frames' positions, and the probe in their windows."""
        device = self.mask.device
        positions, photons = batch.positions_px.to(device), batch.photons.to(device)
        probes = place_probe(batch.probe.to(device), positions)
        made = self.learning if torch.is_grad_enabled() else self.network.objects
        return made(photons, positions, probes, self.mask, batch.canvas), positions, probes

    def evaluate(self) -> float:
        """Loss on held-out photons of the validation frames, each frame about once."""
        self.network.eval()
        seen_and_held = (
            side.epoch(self.groups_per_batch, None, self.loader_workers, self.ranks.turns)
            for side in (self.seen, self.held)
        )
        batches = zip(*seen_and_held, strict=True)
        with torch.inference_mode():
            losses = [(float(self.loss(seen, held)), float(len(held.photons))) for seen, held in batches]
        return _mean(self.ranks.in_turns(losses))

    def flat_loss(self) -> float:
        """The same of the best flat object."""
        flat = torch.full(self.scan.window, flat_amplitude(self.scan), dtype=torch.complex64)
        expected = expected_photons(torch.from_numpy(self.held.scan.probe), flat)
        loss, mask = LOSSES[self.settings.loss], self.mask.cpu()
        losses = [
            (float(loss(expected.expand(batch.photons.shape), batch.photons, mask)), float(len(batch.photons)))
            for batch in self.held.epoch(self.groups_per_batch, only=self.ranks.turns)
        ]
        return _mean(self.ranks.in_turns(losses))

    def finish(self, keep_collapsed: bool) -> Training:
        flat = self.flat_loss()
        photons = float(self.held.scan.photons.totals.sum())
        collapsed = (flat - self.best_loss) * photons < _LEAST_GAIN
        if collapsed and not keep_collapsed:
            raise TrainingError(
                f"training: collapsed: expected a validation loss clearly below {flat:.5f}, that of a flat object, got"
                f" {self.best_loss:.5f} after {self.epoch} epochs; check the probe and units with inspect, train longer"
                " (--epochs), or lower --learning-rate"
            )
        model = Model(
            network=self.network_settings,
            window=self.scan.window,
            group_size=self.settings.group_size,
            weights={name: value.cpu().numpy() for name, value in self.best_weights.items()},
            training={
                **self.key,
                "epochs_completed": self.epoch,
                "best_epoch": self.best_epoch,
                "final_loss": self.history[-1]["train_loss"],
                "best_validation_loss": self.best_loss,
                **({} if self.start_loss is None else {"start_loss": self.start_loss}),
                "flat_loss": flat,
                "collapsed": collapsed,
                "n_frames": len(self.train.frames),
                "n_groups": len(self.train.groups),
                "validation": "frames" if self.train.scan is self.scan else "photons",
                "threads": torch.get_num_threads(),
                **({} if self.ranks.alone else {"processes": self.ranks.size}),
            },
            errors=self.errors,
        )
        return Training(model, self.history, flat, self.seconds, collapsed)

    def save(self, path: Path) -> None:
        state = {
            "key": self.key,
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "best_weights": self.best_weights,
            "history": self.history,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "made_by": _made_by(),
        }
        write_checkpoint(path, state)

    def made(self, path: Path) -> bool:
        """Whether a checkpoint is one of this run, so that going on from it gives the bits of an undisturbed one."""
        found = False
        with suppress(DataError, SettingsError):
            found = read_checkpoint(path, self.key, self.mask.device, self.ranks).get("made_by") == _made_by()
        return bool(self.ranks.least(float(found)))

    def load(self, path: Path) -> None:
        state = read_checkpoint(path, self.key, self.mask.device, self.ranks)
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        for name in ("epoch", "best_epoch", "best_loss", "best_weights", "history", "seconds"):
            setattr(self, name, state[name])


def _made_by() -> dict[str, Any]:
    """What else than its key decides the bits of a run."""
    return {**versions(), "threads": torch.get_num_threads()}


def _key(
    scan: Scan, network: NetworkSettings, settings: TrainingSettings, start: Model | None = None
) -> dict[str, Any]:
    """What decides the bits of a run; a checkpoint goes on only where all of it is the same.

    Raises:
        DataError: supervision by an object that the scan does not know.
    """
    key = {"data": scan.digest(), "network": network.plain(), "settings": settings.plain()}
    if start is not None:
        key["start"] = start.digest()
    if settings.supervision == "photons":
        return key
    return {**key, "object": sha256_arrays(true_object(scan))}


def _validated(scan: Scan, settings: TrainingSettings) -> tuple[GroupedFrames, GroupedFrames, GroupedFrames]:
    """What is trained on; and what validation shows to the network, and scores it on.

    Raises:
        SettingsError: too few frames for the split, or for groups; or values that are no counts can't be split.
    """
    held_back = _frames_held_back(scan, settings)
    if held_back is not None:
        training, validation = held_back
        return (GroupedFrames.of(scan, training, settings, "train"), *held_out_photons(scan, validation, settings))
    if not scan.photons.whole:
        raise SettingsError(
            "validation: expected counted photons (whole numbers) to hold some of them back, got scaled values; set"
            " --validation frames, or give the photon scale"
        )
    everything = np.arange(len(scan))
    seen, held = held_out_photons(scan, everything, settings)
    some = seen.groups[:: min(max(1, len(scan) // _VALIDATED_FRAMES), _SPARED)]
    return (
        GroupedFrames.of(seen.scan, everything, settings, "train"),
        replace(seen, groups=some),
        replace(held, groups=some),
    )


def _frames_held_back(scan: Scan, settings: TrainingSettings) -> tuple[np.ndarray, np.ndarray] | None:
    """Training and validation frames, or None when photons are to be held back instead."""
    if settings.validation == "photons":
        return None
    guard = settings.guard_px
    if guard is None:
        guard = probe_diameters_px(scan.probe)["participation"]
    try:
        sides = spatial_split(
            scan.positions_px,
            guard,
            settings.validation_fraction,
            least=1 if settings.regional else settings.group_size,
        )
    except SettingsError:
        if settings.validation == "frames":
            raise
        return None
    too_dear = len(sides[0]) < _LEAST_TRAINED * len(scan) and scan.photons.whole
    return None if settings.validation == "auto" and too_dear else sides


def _mean(weighted: Iterable[tuple[float, float]]) -> float:
    values, weights = zip(*weighted, strict=True)
    return float(np.average(values, weights=weights))


def _line(history: list[dict[str, float]], epochs: int) -> str:
    """The last epoch in one line, with its own wall time and that of all epochs to come at its pace."""
    row = history[-1]
    seconds = row["seconds"] - (history[-2]["seconds"] if len(history) > 1 else 0)
    return (
        f"epoch {row['epoch']}/{epochs}  loss {row['train_loss']:.3f}  held out {row['validation_loss']:.3f}"
        f"  {seconds:.1f} s, {seconds * (epochs - row['epoch']):.0f} s left"
    )
