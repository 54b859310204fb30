"""One network for many scans: supervised training on an endless set of simulated ones, no two alike.

Nothing of a measured scan enters. Every scan is drawn from its number (`simulate.variety`), the step size is a function
of the step, and weights start from the seed, so the same settings on one thread of the same machine give the same bits,
undisturbed or resumed.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from foldlight.bundle import Model
from foldlight.core.errors import SettingsError, TrainingError
from foldlight.core.files import write_json, write_text
from foldlight.core.progress import progress_bar
from foldlight.core.provenance import environment
from foldlight.core.seeds import generator, integer_seed
from foldlight.networks.settings import NetworkSettings
from foldlight.optics.coverage import well_lit
from foldlight.optics.forward import illumination, place_probe
from foldlight.optics.patches import scatter
from foldlight.optics.spectrum import ErrorSpectrum, error_power, lit_photons
from foldlight.scan import Scan
from foldlight.simulate.variety import draw_scan
from foldlight.train.data import prepared, true_object
from foldlight.train.device import usable_device
from foldlight.train.distributed import ALONE, Ranks
from foldlight.train.loop import as_csv, learning_rate, read_checkpoint, started, write_checkpoint
from foldlight.train.objective import region_error
from foldlight.train.settings import PretrainingSettings

__all__ = ["Regions", "pretrain"]

_CLIP = 2.0  # of the usual gradient: what is longer is shortened, so that no odd scan undoes many others
_USUAL = 0.02  # of a gradient's length enters the usual one
_TINY = 1e-6  # beside a gradient's length: it may be none
_LEAST = 1e-7  # of the relative squared error: finer is rounding
_KEPT_EVERY = 100  # steps between checkpoints
_LOGGED_EVERY = 20  # steps of a row in the log
_AHEAD = 1  # loaders
_LEAST_MARGIN_PX = 8  # of a canvas around one window: room for wrong positions
_TESTED = 96  # scans that tell the error at the end


@dataclass(frozen=True)
class Regions:
    """Some simulated scans of as many frames, side by side.

    Attributes:
        photons: (group n y x) counted.
        positions_px: (group n 2) window centres, each on its own canvas.
        probes: (group n mode y x) as given, in each frame's window; modes that a scan lacks are dark.
        mask: (group 1 y x) valid detector pixels.
        truth: (group h w) objects that explain the photons with these probes.
    """

    photons: Float[Tensor, "group n y x"]
    positions_px: Float[Tensor, "group n 2"]
    probes: Complex[Tensor, "group n mode y x"]
    mask: Tensor
    truth: Complex[Tensor, "group h w"]

    @classmethod
    def of(cls, scans: list[Scan]) -> "Regions":
        """Of scans that agree in number of frames, window and canvas, and know their objects."""
        most = max(len(scan.probe) for scan in scans)
        padded = [np.pad(scan.probe, ((0, most - len(scan.probe)), (0, 0), (0, 0))) for scan in scans]
        places = [torch.from_numpy(scan.positions_px) for scan in scans]
        placed = zip(padded, places, strict=True)
        return cls(
            torch.from_numpy(np.stack([scan.photons[:].astype(np.float32) for scan in scans])),
            torch.stack(places),
            torch.stack([place_probe(torch.from_numpy(probe), positions) for probe, positions in placed]),
            torch.from_numpy(np.stack([scan.mask[None] for scan in scans])),
            torch.from_numpy(np.stack([_seen_object(scan) for scan in scans])),
        )

    def to(self, device: torch.device) -> "Regions":
        """The same on another device."""
        return Regions(*(part.to(device, non_blocking=True) for part in vars(self).values()))

    @property
    def light(self) -> Float[Tensor, "group h w"]:
        """Photons through each object pixel, with the probes as given."""
        return scatter(illumination(self.probes), self.positions_px, self._canvas)

    def objects(self, network: Callable[..., Tensor]) -> Complex[Tensor, "group h w"]:
        """What the network makes of each scan."""
        return network(self.photons, self.positions_px, self.probes, self.mask, self._canvas)

    def errors(self, network: Callable[..., Tensor]) -> Float[Tensor, " group"]:
        """Relative squared error of what the network makes of each scan."""
        return region_error(self.objects(network), self.truth, self.light)

    @property
    def _canvas(self) -> tuple[int, int]:
        return (self.truth.shape[-2], self.truth.shape[-1])


def pretrain(
    network: NetworkSettings,
    settings: PretrainingSettings,
    folder: Path,
    resume: bool = False,
    progress: bool = True,
    *,
    start: Model | None = None,
    report: Callable[[str], None] | None = None,
    ranks: Ranks = ALONE,
) -> Model:
    """Train a network on simulated scans, for scans it has never seen.

    Writes into `folder` as it goes: `history.csv`, `checkpoint.pt`, and at the end `training.json`.

    Args:
        network: what to build, an unrolled one.
        settings: what to draw and how long to train.
        folder: where log and checkpoint go.
        resume: go on from the folder's checkpoint, to the same weights as an undisturbed run.
        progress: show a bar.
        start: a model whose weights to begin with, to narrow it to other scans; weights are drawn when None.
        report: gets a line now and then.
        ranks: the processes that share the scans of each step; the result is that of one, within rounding. The first
            writes the files.

    Raises:
        SettingsError: the network is not an unrolled one, the start is another, the checkpoint belongs to other
            settings, or a step has fewer scans than there are processes.
        DataError: there is no checkpoint to resume from.
        TrainingError: the loss is no number.
    """
    run = _Run.start(network, settings, start, ranks)
    if resume:
        run.load(folder / "checkpoint.pt")
    with progress_bar("pretraining", settings.steps, progress and ranks.first) as advance:
        advance(run.step)
        batches = prepared(run.batch, range(run.step, settings.steps), workers=_AHEAD)
        for batch in batches:
            run.learn(batch)
            advance(run.step)
            if run.step % _LOGGED_EVERY == 0 or run.step == settings.steps:
                row = run.log()
                advance(run.step, f"error {np.exp(row['loss']):.4f}")
                if ranks.first:
                    write_text(folder / "history.csv", as_csv(run.history))
                if report is not None:
                    report(f"step {run.step}/{settings.steps}  error {np.exp(row['loss']):.4f}  {run.seconds:.0f} s")
            if run.step % _KEPT_EVERY == 0 or run.step == settings.steps:
                run.save(folder / "checkpoint.pt")
    model = run.model()
    if ranks.first:
        write_json(folder / "training.json", {**model.training, "seconds": run.seconds, "environment": environment()})
    return model


@dataclass
class _Run:
    """State between steps."""

    network_settings: NetworkSettings
    settings: PretrainingSettings
    network: nn.Module
    learning: Callable[..., Tensor]
    optimiser: torch.optim.Adam
    device: torch.device
    step: int
    history: list[dict[str, float]]
    losses: list[Tensor]
    seconds: float
    began: float
    usual: Tensor
    begun_with: str | None = None
    ranks: Ranks = ALONE

    @classmethod
    def start(
        cls, network: NetworkSettings, settings: PretrainingSettings, start: Model | None = None, ranks: Ranks = ALONE
    ) -> "_Run":
        if network.kind != "unrolled":
            raise SettingsError(f"kind = {network.kind}: expected unrolled; other networks are trained on one scan")
        if settings.scans < ranks.size:
            raise SettingsError(
                f"pretraining: expected a scan or more in each step for each of {ranks.size} processes, got"
                f" {settings.scans}; set --scans {ranks.size} or use fewer processes"
            )
        device = usable_device(ranks.device(settings.device))
        module = started(start, network, (settings.data.window,) * 2, settings.seed, device)
        optimiser = torch.optim.Adam(module.parameters(), lr=settings.learning_rate)
        begun = None if start is None else start.digest()
        now = time.perf_counter()
        usual = torch.zeros((), dtype=torch.float64, device=device)
        learning = module.train() if ranks.alone else ranks.learning(module.train())
        run = cls(network, settings, module, learning, optimiser, device, 0, [], [], 0.0, now, usual, begun, ranks)
        ranks.agree(json.dumps(run.key, sort_keys=True), "pretraining")
        return run

    @property
    def key(self) -> dict[str, Any]:
        start = {} if self.begun_with is None else {"start": self.begun_with}
        return {"network": self.network_settings.plain(), "settings": self.settings.plain(), **start}

    def batch(self, step: int) -> Regions:
        """This process's scans of a step."""
        scans = _scans(self.settings, step)
        mine = scans[self.ranks.share(len(scans))] or scans[:1]  # all take part in every step, see `weight`
        return Regions.of([draw() for draw in mine])

    def weight(self, step: int) -> float:
        """Part of a step's scans that are this process's."""
        number = len(_scans(self.settings, step))
        share = self.ranks.share(number)
        return (share.stop - share.start) / number

    def learn(self, batch: Regions) -> None:
        """One step: every scan's relative error weighs alike in its logarithm, whatever its photons allow."""
        rate = learning_rate(self.settings.learning_rate, self.step, self.settings.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if self.step % _KEPT_EVERY == 0:
            self.ranks.aligned(self.network)
        loss = 0.5 * self.weight(self.step) * (batch.to(self.device).errors(self.learning) + _LEAST).log().mean()
        self.optimiser.zero_grad()
        (loss * self.ranks.size).backward()  # type: ignore[no-untyped-call]  # DDP takes the mean
        self.clip()
        self.optimiser.step()
        self.losses.append(loss.detach())
        self.step += 1

    def clip(self) -> None:
        """Shorten a gradient that is far longer than usual; the host does not wait for the device."""
        found = nn.utils.clip_grad_norm_(self.network.parameters(), torch.inf)  # only measures
        length = found.double()
        if self.step:
            most = _CLIP * self.usual
            share = ((found + _TINY).reciprocal() * most.float()).clamp(max=1)
            for weight in self.network.parameters():
                if weight.grad is not None:
                    weight.grad.mul_(share)
            self.usual = self.usual + _USUAL * (torch.minimum(length, most) - self.usual)
        else:
            self.usual = length

    def log(self) -> dict[str, float]:
        """A row of the history: the mean loss since the last."""
        now = time.perf_counter()
        self.seconds, self.began = self.seconds + now - self.began, now
        loss = float(self.ranks.summed(torch.stack(self.losses)).mean())
        if not np.isfinite(loss):
            raise TrainingError(
                f"pretraining: expected a finite loss, got {loss} near step {self.step}; lower --learning-rate"
                f" (now {self.settings.learning_rate:g})"
            )
        self.losses = []
        row = {"step": self.step, "loss": loss, "seconds": round(self.seconds, 3)}
        self.history.append(row)
        return row

    def model(self) -> Model:
        """The network, and what it can do on scans it has not seen."""
        errors, spectrum = _tested(self.network, self.settings, self.device)
        return Model(
            network=self.network_settings,
            window=(self.settings.data.window,) * 2,
            group_size=self.settings.frames,
            weights={name: value.cpu().numpy() for name, value in self.network.state_dict().items()},
            training={
                "method": "pretraining",
                **self.key,
                "steps_completed": self.step,
                "final_loss": self.history[-1]["loss"],
                "error_by_photons": errors,
                "threads": torch.get_num_threads(),
            },
            errors=spectrum,
        )

    def save(self, path: Path) -> None:
        losses = self.ranks.summed(torch.stack(self.losses)) if self.losses else self.losses
        if not self.ranks.first:
            return
        state = {
            "key": self.key,
            "step": self.step,
            "history": self.history,
            "losses": list(losses),
            "seconds": self.seconds,
            "usual": float(self.usual),
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        write_checkpoint(path, state)

    def load(self, path: Path) -> None:
        state = read_checkpoint(path, self.key, self.device, self.ranks)
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        for name in ("step", "history", "losses", "seconds"):
            setattr(self, name, state[name])
        if not self.ranks.first:  # the first one's hold the parts of all
            self.losses = [torch.zeros_like(loss) for loss in self.losses]
        self.usual.fill_(state["usual"])


def _seen_object(scan: Scan) -> np.ndarray:
    """(y, x) complex64: where the given probe is too strong, the photons tell of a darker object, and of none else."""
    return true_object(scan) / np.float32(np.sqrt(1 + scan.origin.get("probe_power_error", 0.0)))


def _scans(settings: PretrainingSettings, step: int) -> list[Callable[[], Scan]]:
    """What draws each scan of a step: large regions as a rule; at times few frames, single ones, or wide windows."""
    data, scans, frames, margin = settings.data, settings.scans, settings.frames, settings.canvas_px
    margin -= data.window
    chance = generator(settings.seed, "kind of a step", step).random()
    single, few = settings.single_share, settings.single_share + settings.few_share
    if chance < single:
        scans, frames, margin = 3 * scans, 1, _LEAST_MARGIN_PX
    elif chance < few:
        scans, frames, margin = 2 * scans, 4, margin // 2
    elif chance < few + settings.wide_share:
        data = data.model_copy(update={"window": 2 * data.window})
        scans, frames = max(1, scans // 4), max(4, 2 * frames // 3)
    side = data.window + margin
    # Numbers of a step are its own whatever its kind, so no scan is drawn twice.
    first = step * 3 * settings.scans
    return [partial(draw_scan, data, settings.seed, first + i, frames, (side, side)) for i in range(scans)]


def _tested(
    network: nn.Module, settings: PretrainingSettings, device: torch.device
) -> tuple[dict[str, float], ErrorSpectrum]:
    """On scans of another seed: median relative error by the decade of their photons per pixel, and its spectrum."""
    seed, side = integer_seed(settings.seed, "held-out scans"), settings.canvas_px
    errors: dict[str, list[float]] = {}
    powers = []
    with torch.inference_mode():
        for index in range(_TESTED):
            scan = draw_scan(settings.data, seed, index, settings.frames, (side, side))
            batch = Regions.of([scan]).to(device)
            found, light = batch.objects(network), batch.light
            error = float(region_error(found, batch.truth, light)[0].sqrt())
            decade = f"1e{int(np.floor(np.log10(scan.origin['photons_per_pixel'])))}"
            errors.setdefault(decade, []).append(error)
            image, truth, lit = (each[0].cpu().numpy() for each in (found, batch.truth, light))
            powers.append((lit_photons(lit), error_power(image, truth, well_lit(lit))))
    medians = {decade: float(np.median(found)) for decade, found in sorted(errors.items())}
    return medians, ErrorSpectrum.of(powers)
