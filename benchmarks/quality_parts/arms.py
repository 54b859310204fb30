"""What is measured: data and arms. Pure description, JSON-ready; nothing here computes.

A unit is one arm on one data set. Its key is a digest of all that can change its numbers, so a unit that several cases
share is measured once, and an interrupted run goes on where it was.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from foldlight.core.settings import Settings
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.settings import IterativeSettings, LikelihoodSettings, RefineSettings
from foldlight.train.settings import TrainingSettings

__all__ = [
    "FAULTS",
    "AnyArm",
    "AnyData",
    "Arm",
    "Bounds",
    "Data",
    "Fault",
    "HeldOut",
    "Hybrid",
    "Iterative",
    "Likelihood",
    "Measured",
    "Pretrained",
    "Simulated",
    "Trained",
    "Unit",
    "digest",
    "placed",
    "seeded",
]

Fault = Literal["none", "defocus", "power", "bad pixels", "beamstop", "missing frames"]
FAULTS: dict[Fault, str] = {
    "none": "",
    "defocus": "probe given with 10 % more defocus",
    "power": "probe given with 10 % more power",
    "bad pixels": "2 % of the detector's pixels invalid",
    "beamstop": "detector blind within N / 25 of its centre",
    "missing frames": "20 % of the frames missing",
}
"""What can be wrong with a scan, in words."""


class Simulated(Settings):
    """A simulated scan: a jittered raster over an object that is drawn from a family."""

    source: Literal["simulated"] = "simulated"
    probe: Literal["zone-plate", "disc", "diffuser", "veiled", "aberrated"] = "zone-plate"
    """Curved (a defocused zone plate), a flat disc, a disc behind a diffuser, a zone plate behind one (no pretraining
    sees its like), or imperfect optics as measured ones are; of each the same one always."""
    dose: float | None = Field(default=None, gt=0)
    """Photons a frame; or none, and n says it."""
    photons_per_pixel: float | None = Field(default=None, gt=0)
    """n, photons through one object pixel over all frames."""
    side: int = Field(default=12, ge=2)
    """Frames along each side of the raster."""
    step_px: float = Field(default=10.0, gt=0)
    """Of the raster, before jitter by a quarter of it [px]."""
    window: int = Field(default=64, ge=8, multiple_of=2)
    """N [px]."""
    diameter_px: float = Field(default=26.0, gt=2)
    """Geometric diameter of the probe [px]."""
    margin_px: int = Field(default=2, ge=1)
    """Room around all windows: for light that a sub-pixel move carries over an edge, or for wrong positions [px]."""
    family: Literal["lines", "dead-leaves", "siemens-star", "grains", "spheres", "speckle"] = "lines"
    """Of the object."""
    probe_error: float = Field(default=0.0, ge=0)
    """Relative error of the probe that methods are given; 0: they know it."""
    position_error_px: float = Field(default=0.0, ge=0)
    """Root mean square length of the error of the positions that methods are given [px]; its mean is none."""
    fault: Fault = "none"
    """What else is wrong."""
    gauge: Literal["known", "blind"] = "known"
    """Errors are freed of a constant phase, or of shift, ramps and scale too, which a wrong probe leaves unknown."""
    role: Literal["scored", "training"] = "scored"
    """Objects, positions and photons of the two have nothing in common."""
    seed: int = Field(default=0, ge=0)
    """Root seed."""

    def training(self, side: int) -> "Simulated":
        """A scan of another object of the family to train on, with the same probe, step and light."""
        return self.model_copy(update={"role": "training", "side": side})


class HeldOut(Settings):
    """Every probe that no training set holds, over an object of every family, one scan each."""

    source: Literal["held-out"] = "held-out"
    photons_per_pixel: float = Field(default=1e4, gt=0)
    """n, photons through one object pixel over all frames."""
    side: int = Field(default=10, ge=2)
    """Frames along each side of the raster."""
    window: int = Field(default=64, ge=8, multiple_of=2)
    """N [px]."""
    overlap: float = Field(default=0.6, gt=0, lt=1)
    """Linear, of each probe's participation diameter."""
    probes: int = Field(default=12, ge=1, le=12)
    """How many of the twelve."""
    seed: int = Field(default=0, ge=0)
    """Root seed of objects, positions and photons."""


class Measured(Settings):
    """A measured scan, by its content; where it lies is told to who reads it."""

    source: Literal["measured"] = "measured"
    sha256: str
    probe_epochs: int = Field(default=20, ge=1)
    """Of LSQML on each half, which refines the probe that all other arms are given for it."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where it does."""
    seed: int = Field(default=0, ge=0)
    """Of the thinning into halves."""


AnyData = Simulated | HeldOut | Measured
Data = Annotated[AnyData, Field(discriminator="source")]


class Bounds(Settings):
    """The best flat image, and the least error that the counts allow: floor and ceiling of a data set."""

    kind: Literal["bounds"] = "bounds"
    limit: bool = True
    """Ask for the ceiling, which costs more than all networks."""

    @property
    def name(self) -> str:
        """In tables."""
        return "Constant"


class Pretrained(Settings):
    """The weights that come with the package: one pass, and nothing of this scan's kind was trained on."""

    kind: Literal["pretrained"] = "pretrained"
    weights: str = ""
    """Hex sha256 of the bundle."""
    gridsize: Literal[1, 2, 7] = 7
    """Frames of a group, squared: 1 and 2 make groups apart and stitch them; 7 takes the whole scan as one."""
    adapt: int = Field(default=0, ge=0)
    """Steps of training on the photons of the scored scan itself, before the pass."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to compute."""
    draws: int = Field(default=0, ge=0)
    """Noise draws that tell its bias; fewer than two: none."""

    @property
    def name(self) -> str:
        """In tables."""
        grouped = "" if self.gridsize == 7 else f", C = {self.gridsize**2}"
        return f"Pretrained{grouped}" + (f" + {self.adapt} steps on this scan" if self.adapt else "")


class Trained(Settings):
    """A network trained on another object of the family, then one forward pass."""

    kind: Literal["network"] = "network"
    side: int = Field(ge=2)
    """Frames along each side of the training raster."""
    network: NetworkSettings = NetworkSettings()
    """Not asked where training begins with pretrained weights."""
    training: TrainingSettings = TrainingSettings()
    start: Literal["scratch", "pretrained"] = "scratch"
    """Weights to begin with."""
    weights: str = ""
    """Hex sha256 of the pretrained bundle."""
    draws: int = Field(default=0, ge=0)
    """Noise draws that tell its bias; fewer than two: none."""

    @property
    def name(self) -> str:
        """In tables."""
        if self.start == "pretrained":
            return f"Pretrained, trained on {self.side**2} frames"
        learner = "Supervised" if self.training.supervision == "object" else "Network"
        return f"{learner}, C = {self.training.group_size}, {self.side**2} frames"


_FEW_STEPS = 10  # as the targets have it


class Hybrid(Settings):
    """The pretrained network's pass, then steps of likelihood, as many as held-out photons ask for."""

    kind: Literal["hybrid"] = "hybrid"
    first: Pretrained = Pretrained()
    refine: RefineSettings = RefineSettings(likelihood=LikelihoodSettings(iterations=_FEW_STEPS, precision="single"))
    draws: int = Field(default=0, ge=0)
    """Noise draws that tell its bias; fewer than two: none."""

    @property
    def name(self) -> str:
        """In tables."""
        most = self.refine.likelihood.iterations
        return f"Hybrid{'' if most == _FEW_STEPS else f', at most {most} steps'}{_refined(self.refine.likelihood)}"


class Likelihood(Settings):
    """Poisson maximum likelihood, from a flat object or from the network's."""

    kind: Literal["likelihood"] = "likelihood"
    engine: LikelihoodSettings = LikelihoodSettings()
    start: Pretrained | None = None
    draws: int = Field(default=0, ge=0)
    """Noise draws that tell its bias; fewer than two: none."""

    @property
    def name(self) -> str:
        """In tables."""
        return f"ML{_begun(self.start)}{_refined(self.engine)}"


class Iterative(Settings):
    """pty-chi, from a flat object or from the network's."""

    kind: Literal["iterative"] = "iterative"
    engine: IterativeSettings = IterativeSettings()
    start: Pretrained | None = None

    @property
    def name(self) -> str:
        """In tables."""
        epochs = "" if self.start is None else f", {self.engine.epochs} epochs"
        return f"{self.engine.arm}{_begun(self.start)}{_refined(self.engine)}{epochs}"


AnyArm = Bounds | Pretrained | Trained | Hybrid | Likelihood | Iterative
Arm = Annotated[AnyArm, Field(discriminator="kind")]


@dataclass(frozen=True)
class Unit:
    """One arm on one data set."""

    data: AnyData
    arm: AnyArm

    @property
    def settings(self) -> dict[str, Any]:
        """JSON-ready: all that decides its numbers, but for the code and the machine."""
        return {"data": self.data.plain(), "arm": self.arm.plain()}

    def key(self, code: str) -> str:
        """Digest of the settings and of the code that measures them."""
        return digest({**self.settings, "code": code})

    @property
    def estimated_s(self) -> float:
        """About how long it takes on one free core [s]."""
        if isinstance(self.data, Measured):
            return _measured_s(self.arm)
        frames = self.data.side**2 * (self.data.window / 64) ** 2
        if isinstance(self.data, HeldOut):
            return self.data.probes * 6 * (0.3 + _pass_s(self.data, frames, self.arm))
        return _SCORING_S + _pass_s(self.data, frames, self.arm) + _trained_s(self.data, self.arm)


# Core-seconds, measured on a busy machine of 2 cores; a frame means one of 64 x 64 px.
_SCORING_S = 0.5
_NETWORK_S = {7: 3e-3, 2: 17e-3, 1: 36e-3}  # a frame, by gridsize
_STEP_S = 0.0145  # a frame of a training step, with the validation between steps
_LIKELIHOOD_S, _SINGLE_S = 3e-4, 2.8e-4  # a frame and pass; single precision, with what it prepares
_PASSES_BLIND, _PASSES_POSITIONS = 150, 150
_ENGINE_S, _EPOCH_S, _EPOCH_BLIND_S = 6.0, 1.1e-3, 1.5e-3  # of LSQML: the start, and a frame and epoch
_LIMIT_S = 0.015  # a frame


def _pass_s(data: Simulated | HeldOut, frames: float, arm: AnyArm) -> float:
    """Of a reconstruction, and of those of the noise draws."""
    if isinstance(arm, Bounds):
        return frames * _LIMIT_S if arm.limit else 0.0
    times = 1 + (0 if isinstance(arm, Iterative) else arm.draws)
    if isinstance(arm, Pretrained):
        return times * frames * _NETWORK_S[arm.gridsize]
    if isinstance(arm, Trained):
        return times * frames * _NETWORK_S[7]
    if isinstance(arm, Hybrid):
        return times * frames * 2 * (_NETWORK_S[7] + (arm.refine.likelihood.iterations + 1) * _SINGLE_S)
    started = 0.0 if arm.start is None else frames * _NETWORK_S[7]
    if isinstance(arm, Iterative):
        each = _EPOCH_BLIND_S if arm.engine.fit_probe else _EPOCH_S
        return started + _ENGINE_S + frames * (arm.engine.epochs or 100) * each
    bright = isinstance(data, Simulated) and (data.dose or data.photons_per_pixel or 0) > 1e6
    passes = _PASSES_BLIND if arm.engine.fit_probe else 250 if bright else 70  # more photons, more digits to find
    if arm.engine.fit_positions:
        passes = max(passes, _PASSES_POSITIONS) * 2
    return times * (started + frames * min(arm.engine.iterations, passes) * _LIKELIHOOD_S)


def _trained_s(data: Simulated, arm: AnyArm) -> float:
    pixels = (data.window / 64) ** 2
    if isinstance(arm, Pretrained):
        return pixels * arm.adapt * min(49, data.side**2) * _STEP_S
    if not isinstance(arm, Trained):
        return 0.0
    shape = arm.network
    whole = shape.kind == "unrolled" and arm.start == "scratch"
    share = shape.consistency_steps / 5 * (0.4 + 0.6 * (shape.width / 16) ** 2) if whole else 1.0
    return 1 + pixels * share * arm.training.epochs * arm.side**2 * _STEP_S


def _measured_s(arm: AnyArm) -> float:
    """Of the 516 frames of 128 x 128 px that the measured scan at hand has."""
    frames = 516 * 4.0
    if isinstance(arm, Iterative):
        return 2 * (_ENGINE_S + frames * (arm.engine.epochs or 100) * 1.2 * _EPOCH_BLIND_S)
    if isinstance(arm, Likelihood):
        return 3 + frames * arm.engine.iterations * _SINGLE_S
    single = _pass_s(HeldOut(), frames, arm)
    return 5 + 2 * single


def seeded(arm: AnyArm, seed: int) -> AnyArm:
    """The arm with that seed in it, wherever it takes one."""
    changes: dict[str, Any] = {}
    if isinstance(arm, Trained):
        changes["training"] = arm.training.model_copy(update={"seed": seed})
    elif isinstance(arm, Iterative):
        changes["engine"] = arm.engine.model_copy(update={"seed": seed})
    elif isinstance(arm, Hybrid):
        changes["refine"] = arm.refine.model_copy(update={"seed": seed})
    return arm.model_copy(update=changes)


def placed(arm: AnyArm, device: Literal["cpu", "cuda"]) -> AnyArm:
    """The arm on that device, in all its parts."""
    there = {"device": device}
    changes: dict[str, Any] = {}
    if isinstance(arm, Pretrained):
        changes = dict(there)
    elif isinstance(arm, Trained):
        changes["training"] = arm.training.model_copy(update=there)
    elif isinstance(arm, Hybrid):
        likelihood = arm.refine.likelihood.model_copy(update=there)
        changes["refine"] = arm.refine.model_copy(update={"likelihood": likelihood})
        changes["first"] = arm.first.model_copy(update=there)
    elif isinstance(arm, Likelihood | Iterative):
        changes["engine"] = arm.engine.model_copy(update=there)
        changes["start"] = None if arm.start is None else arm.start.model_copy(update=there)
    return arm.model_copy(update=changes)


def digest(value: Any) -> str:
    """Hex sha256 of JSON-ready values, cut to what a file name bears."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]


def _begun(start: Pretrained | None) -> str:
    return "" if start is None else " from the network"


def _refined(engine: IterativeSettings | LikelihoodSettings) -> str:
    probe = ", probe refined" if engine.fit_probe else ""
    return f"{probe}{', positions refined' if engine.fit_positions else ''}"
