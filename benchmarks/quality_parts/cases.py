"""What is measured: data, arms, cases. Pure description, JSON-ready; nothing here computes.

A unit is one arm on one data set. Its key is a digest of all that can change its numbers, so a unit that several cases
share is measured once, and an interrupted run goes on where it was.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from benchmarks.suite import Size
from foldlight.core.settings import Settings
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.settings import IterativeSettings, LikelihoodSettings
from foldlight.train.settings import TrainingSettings

__all__ = [
    "Arm",
    "Bounds",
    "Case",
    "Condition",
    "Iterative",
    "Likelihood",
    "Measured",
    "Scale",
    "Simulated",
    "Trained",
    "Unit",
    "cases",
    "scale",
]


class Simulated(Settings):
    """A simulated scan: a jittered raster over an object that is drawn from a family."""

    source: Literal["simulated"] = "simulated"
    probe: Literal["zone-plate", "disc", "diffuser"] = "zone-plate"
    """Curved (a defocused zone plate), a flat disc, or a disc behind a diffuser, the same one always."""
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
    family: Literal["lines", "dead-leaves", "siemens-star"] = "lines"
    """Of the object."""
    probe_error: float = Field(default=0.0, ge=0)
    """Relative error of the probe that methods are given; 0: they know it."""
    role: Literal["scored", "training"] = "scored"
    """Objects, positions and photons of the two have nothing in common."""
    seed: int = Field(default=0, ge=0)
    """Root seed."""

    def training(self, side: int) -> "Simulated":
        """A scan of another object of the family to train on, with the same probe, step and light."""
        return self.model_copy(update={"role": "training", "side": side})


class Measured(Settings):
    """A measured scan, by its content; where it lies is told to who reads it."""

    source: Literal["measured"] = "measured"
    sha256: str
    seed: int = Field(default=0, ge=0)
    """Of the thinning into halves."""


Data = Annotated[Simulated | Measured, Field(discriminator="source")]


class Bounds(Settings):
    """The least error these counts allow, and the best flat image: ceiling and floor of a data set."""

    kind: Literal["bounds"] = "bounds"

    @property
    def name(self) -> str:
        """In tables."""
        return "Constant"


class Trained(Settings):
    """A network trained on another object of the family, then one forward pass."""

    kind: Literal["network"] = "network"
    side: int = Field(ge=2)
    """Frames along each side of the training raster."""
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    draws: int = Field(default=0, ge=0)
    """Noise draws that tell its bias; fewer than two: none."""

    @property
    def name(self) -> str:
        """In tables."""
        learner = "Supervised" if self.training.supervision == "object" else "Network"
        return f"{learner}, C = {self.training.group_size}, {self.side**2} frames"


class Likelihood(Settings):
    """Poisson maximum likelihood, from a flat object or from a network's."""

    kind: Literal["likelihood"] = "likelihood"
    engine: LikelihoodSettings = LikelihoodSettings()
    start: Trained | None = None
    draws: int = Field(default=0, ge=0)
    """Noise draws that tell its bias; fewer than two: none."""

    @property
    def name(self) -> str:
        """In tables."""
        blind = ", probe refined" if self.engine.fit_probe else ""
        if self.start is None:
            return f"ML{blind}"
        return f"Network + {self.engine.iterations} ML steps" if self.engine.iterations <= 10 else "ML from the network"


class Iterative(Settings):
    """pty-chi, from a flat object."""

    kind: Literal["iterative"] = "iterative"
    engine: IterativeSettings = IterativeSettings()

    @property
    def name(self) -> str:
        """In tables."""
        return f"{self.engine.arm}{', probe refined' if self.engine.fit_probe else ''}"


Arm = Annotated[Bounds | Trained | Likelihood | Iterative, Field(discriminator="kind")]


@dataclass(frozen=True)
class Unit:
    """One arm on one data set."""

    data: Simulated | Measured
    arm: Bounds | Trained | Likelihood | Iterative

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
        data, arm = self.data, self.arm
        if isinstance(data, Measured):
            return 2 * (12 + 516 * (arm.engine.epochs or 100) * 5e-3) if isinstance(arm, Iterative) else 0.0
        pixels = (data.window / 64) ** 2
        frames = pixels * data.side**2
        if isinstance(arm, Bounds):
            return 1 + frames * 0.01
        if isinstance(arm, Iterative):
            return 6 + frames * (arm.engine.epochs or 100) * (1.5e-3 if arm.engine.fit_probe else 1.1e-3)
        if isinstance(arm, Trained):
            return 3 + pixels * _visits(arm) * 0.0125 + arm.draws * frames * 5e-3
        passes = min(arm.engine.iterations, _PASSES_BLIND if arm.engine.fit_probe else _passes(data))
        network = 0.0 if arm.start is None else 5e-3
        return 1 + (1 + arm.draws) * frames * (passes * 3.5e-4 + network)


@dataclass(frozen=True)
class Condition:
    """A data set, once a seed, and the arms that are scored on it; bounds are always among them."""

    label: str
    data: Simulated | Measured
    arms: tuple[Trained | Likelihood | Iterative, ...]

    @property
    def all_arms(self) -> tuple[Bounds | Trained | Likelihood | Iterative, ...]:
        """Floor and ceiling first; a measured scan has neither."""
        return self.arms if isinstance(self.data, Measured) else (Bounds(), *self.arms)

    def unit(self, arm: Bounds | Trained | Likelihood | Iterative, seed: int) -> Unit:
        """An arm on the data set of one seed, which seeds everything of the arm too."""
        return Unit(self.data.model_copy(update={"seed": seed}), _seeded(arm, seed))

    def units(self, seeds: Iterable[int]) -> Iterator[Unit]:
        """All arms on all seeds."""
        return (self.unit(arm, seed) for seed in seeds for arm in self.all_arms)


@dataclass(frozen=True)
class Case:
    """Conditions that belong in one table.

    Attributes:
        name: what `--only` takes.
        title: heads the table.
        conditions: in the order shown.
        pairs: names of arms (or beginnings of them) whose differences are shown seed by seed, first less second.
        absent: why there is nothing to measure; empty when there is.
    """

    name: str
    title: str
    conditions: tuple[Condition, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    absent: str = ""


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        window: N [px].
        diameter_px: of the probe.
        step_px: of the raster.
        side: frames along each side of a scored scan.
        training_side: the same of a full training scan.
        visits: frames shown to a network in a training, all epochs together.
        lines_dose: photons a frame of the case `lines`.
        doses: photons a frame of the ladder.
        network_n: photons per pixel at which the ladder has networks, and a rung.
        few_sides: sides of the few-data curve's training scans, without the full one.
        epochs: of LSQML.
        lsqml_everywhere: on every rung of the ladder, or not where it would show only noise: below 1e3 photons a frame
            and after the second of `network_n`.
        iterations: of maximum likelihood, at most.
        draws: of noise, for the bias of networks along the ladder, and of maximum likelihood at the first `network_n`.
        star_epochs: of LSQML on the halves of a measured scan.
        network: of every network.
    """

    window: int = 64
    diameter_px: float = 26.0
    step_px: float = 10.0
    side: int = 12
    training_side: int = 20
    visits: int = 1600
    lines_dose: float = 1e9
    doses: tuple[float, ...] = (1e2, 1e5, 1e9)
    network_n: tuple[float, ...] = (300.0, 26.0, 7.9, 2.6)
    few_sides: tuple[int, ...] = (8, 13)
    epochs: int = 60
    lsqml_everywhere: bool = False
    iterations: int = 500
    draws: int = 8
    star_epochs: int = 20
    network: NetworkSettings = field(default_factory=NetworkSettings)

    def data(self, **choices: Any) -> Simulated:
        """A scored scan of this size."""
        common = {"window": self.window, "diameter_px": self.diameter_px, "step_px": self.step_px, "side": self.side}
        return Simulated(**{**common, **choices})

    def trained(
        self,
        side: int | None = None,
        gridsize: Literal[1, 2] = 2,
        supervision: Literal["photons", "object"] = "photons",
    ) -> Trained:
        """A network and its training; as many frames are shown however many there are."""
        side = side or self.training_side
        epochs = max(2, round(self.visits / side**2))
        training = TrainingSettings(
            gridsize=gridsize, supervision=supervision, epochs=epochs, batch_frames=8, validation="auto"
        )
        return Trained(side=side, network=self.network, training=training)

    @property
    def likelihood(self) -> Likelihood:
        """To convergence, from flat."""
        return Likelihood(engine=LikelihoodSettings(iterations=self.iterations))

    @property
    def lsqml(self) -> Iterative:
        """Tuned, to convergence, from flat, with the known probe."""
        return Iterative(engine=IterativeSettings(epochs=self.epochs, fit_probe=False, threads=1))


_SCALES: dict[Size, Scale] = {
    "toy": Scale(
        window=32,
        diameter_px=13.0,
        step_px=5.0,
        side=4,
        training_side=6,
        visits=72,
        doses=(1e4, 1e9),
        network_n=(300.0, 26.0),
        few_sides=(4,),
        epochs=2,
        iterations=12,
        draws=2,
        star_epochs=1,
        network=NetworkSettings(width=4, levels=2, consistency_steps=1),
    ),
    "small": Scale(),
    "full": Scale(
        side=20,
        training_side=45,
        visits=50_000,
        doses=tuple(10.0**power for power in range(2, 10)),
        few_sides=(8, 11, 16, 23, 32),
        epochs=200,
        lsqml_everywhere=True,
        iterations=2000,
        star_epochs=200,
    ),
}

_LSQML_FROM = 1e3  # photons a frame
_EXACT_STEPS = 10  # of likelihood after a network, at the most (row 1)
_BLIND_STEP = 1.08  # of the ladder's step: 57 % linear overlap beside 60 %
_WRONG = 0.1


def scale(size: Size) -> Scale:
    """What a size means."""
    return _SCALES[size]


def cases(size: Size, star: str | None = None, gpu: bool = False) -> tuple[Case, ...]:
    """Every case of a size.

    Args:
        size: how large.
        star: sha256 of a measured scan, where one is given.
        gpu: there is one.
    """
    of = scale(size)
    return (_lines(of), _ladder(of), _few_data(of), _blind(of), _star(of, star), _window_128(of, gpu))


def _lines(of: Scale) -> Case:
    """Three probes, with and without groups."""
    arms = (of.lsqml, of.likelihood, of.trained(gridsize=1), of.trained())
    probes: tuple[Literal["zone-plate", "disc", "diffuser"], ...] = ("zone-plate", "disc", "diffuser")
    return Case(
        "lines",
        "Lines, three probes, with and without groups",
        tuple(Condition(probe, of.data(probe=probe, dose=of.lines_dose), arms) for probe in probes),
        (("Network, C = 4", "Network, C = 1"), ("Network, C = 4", "LSQML")),
    )


def _ladder(of: Scale) -> Case:
    """From too few photons to plenty; networks where a target asks."""
    faint = () if of.lsqml_everywhere else of.network_n[2:]
    rungs = [
        Condition(
            f"{dose:.0e} photons",
            of.data(dose=dose),
            (of.lsqml, of.likelihood) if of.lsqml_everywhere or dose >= _LSQML_FROM else (of.likelihood,),
        )
        for dose in of.doses
    ]
    network = of.trained().model_copy(update={"draws": of.draws})
    for number, n in enumerate(of.network_n):
        arms: list[Trained | Likelihood | Iterative] = [of.likelihood, network]
        if n not in faint:
            arms.append(of.lsqml)
        if not number:
            exact = LikelihoodSettings(iterations=_EXACT_STEPS)
            arms[0] = of.likelihood.model_copy(update={"draws": of.draws})
            arms += [
                Likelihood(engine=exact, start=network, draws=of.draws),
                Likelihood(engine=of.likelihood.engine, start=network),
            ]
        rungs.append(Condition(f"n = {n:g}", of.data(photons_per_pixel=n), tuple(arms)))
    return Case(
        "dose-ladder",
        "Dose ladder, known probe",
        tuple(rungs),
        (("Network, C = 4", "ML"), ("Network +", "ML"), ("LSQML", "ML")),
    )


def _few_data(of: Scale) -> Case:
    """Self-supervised against supervised, by the size of the training scan."""
    sides = (*of.few_sides, of.training_side)
    arms = [of.trained(side, supervision=how) for side in sides for how in ("photons", "object")]
    arms[-2] = arms[-2].model_copy(update={"draws": of.draws})  # the ladder's network
    n = of.network_n[0]
    pairs = tuple((f"Network, C = 4, {side**2} ", f"Supervised, C = 4, {side**2} ") for side in sides)
    return Case(
        "few-data",
        "Few training frames: self-supervised against its supervised twin",
        (Condition(f"n = {n:g}", of.data(photons_per_pixel=n), tuple(arms)),),
        pairs,
    )


def _blind(of: Scale) -> Case:
    """The probe is given wrong, and refined."""
    data = of.data(photons_per_pixel=of.network_n[0], probe_error=_WRONG, step_px=_BLIND_STEP * of.step_px)
    lsqml = Iterative(engine=IterativeSettings(epochs=2 * of.epochs, fit_probe=True, threads=1))
    engine = LikelihoodSettings(iterations=of.iterations, fit_probe=True)
    arms = (lsqml, Likelihood(engine=engine))
    return Case("blind-probe", f"Blind: the probe is given {_WRONG:.0%} wrong", (Condition("blind", data, arms),))


def _star(of: Scale, sha256: str | None) -> Case:
    """A measured scan against itself."""
    title = "Measured scan, its photons thinned into halves"
    if sha256 is None:
        return Case("measured-scan", title, (), absent="no measured scan was given (--scan)")
    engine = IterativeSettings(epochs=of.star_epochs, fit_probe=True, threads=1)
    return Case("measured-scan", title, (Condition("halves", Measured(sha256=sha256), (Iterative(engine=engine),)),))


def _window_128(of: Scale, gpu: bool) -> Case:
    """Larger frames, on a GPU."""
    title = "Lines, N = 128, curved probe"
    if not gpu:
        return Case("window-128", title, (), absent="no GPU on this machine")
    data = of.data(window=128, diameter_px=52.0, step_px=2 * of.step_px, dose=1e5, side=45)
    network = of.trained(45)
    longer = network.training.model_copy(update={"epochs": 25, "device": "cuda"})
    lsqml = Iterative(engine=IterativeSettings(epochs=100, fit_probe=False, device="cuda", threads=1))
    arms = (lsqml, network.model_copy(update={"training": longer}))
    return Case("window-128", title, (Condition("zone-plate", data, arms),))


_PASSES_BLIND = 150


def _passes(data: Simulated) -> int:
    """About how often maximum likelihood passes over all frames: more photons, more digits to find."""
    return 250 if (data.dose or 0) > 1e6 else 70


def _visits(arm: Trained) -> float:
    return arm.training.epochs * arm.side**2


def _seeded(arm: Any, seed: int) -> Any:
    """The arm with that seed in it, wherever it takes one."""
    changes: dict[str, Any] = {}
    if isinstance(arm, Trained):
        changes["training"] = arm.training.model_copy(update={"seed": seed})
    elif isinstance(arm, Iterative):
        changes["engine"] = arm.engine.model_copy(update={"seed": seed})
    elif isinstance(arm, Likelihood) and arm.start is not None:
        changes["start"] = _seeded(arm.start, seed)
    return arm.model_copy(update=changes)


def digest(value: Any) -> str:
    """Hex sha256 of JSON-ready values, cut to what a file name bears."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]
