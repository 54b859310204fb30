"""Which arms are measured on which data, how large, how often. Pure description; nothing here computes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from benchmarks.quality_parts.arms import (
    FAULTS,
    AnyArm,
    AnyData,
    Bounds,
    Fault,
    HeldOut,
    Hybrid,
    Iterative,
    Likelihood,
    Measured,
    Pretrained,
    Simulated,
    Trained,
    Unit,
    digest,
    placed,
    seeded,
)
from benchmarks.suite import Size
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.settings import IterativeSettings, LikelihoodSettings, RefineSettings
from foldlight.train.settings import TrainingSettings

__all__ = [
    "Case",
    "Condition",
    "Scale",
    "Simulated",
    "Trained",
    "Unit",
    "cases",
    "digest",
    "scale",
]


@dataclass(frozen=True)
class Condition:
    """A data set, once a seed, and the arms that are scored on it; a simulated one's floor is always among them.

    Attributes:
        label: in tables.
        data: of any seed.
        arms: floor and ceiling are not named here.
        limit: the ceiling is asked for.
        trials: seeds of its own, counted from the first of a run, in place of the run's.
    """

    label: str
    data: AnyData
    arms: tuple[AnyArm, ...]
    limit: bool = True
    trials: tuple[int, ...] = ()

    @property
    def all_arms(self) -> tuple[AnyArm, ...]:
        """Floor and ceiling first; a measured scan has neither, nor has a table of many data sets."""
        return (Bounds(limit=self.limit), *self.arms) if isinstance(self.data, Simulated) else self.arms

    def unit(self, arm: AnyArm, seed: int) -> Unit:
        """An arm on the data set of one seed, which seeds everything of the arm too."""
        return Unit(self.data.model_copy(update={"seed": seed}), seeded(arm, seed))

    def seeds(self, seeds: Iterable[int]) -> tuple[int, ...]:
        """Those that it is measured with in a run with these."""
        given = tuple(seeds)
        return tuple(min(given) + trial for trial in self.trials) if self.trials else given

    def units(self, seeds: Iterable[int]) -> Iterator[Unit]:
        """All arms on all seeds."""
        return (self.unit(arm, seed) for seed in self.seeds(seeds) for arm in self.all_arms)


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
        probes: of the case `lines`.
        doses: photons a frame of the ladder.
        ladder_n: photons per pixel of the ladder, the first that of most targets.
        lsqml_n: those of them with LSQML; below it would show only noise.
        few_sides: sides of the few-data curve's training scans, without the full one.
        twins: the few-data curve has networks from scratch at each size, and their supervised twins.
        adapt: steps of adaptation to the scored scan.
        epochs: of LSQML.
        iterations: of maximum likelihood, at most.
        draws: of noise, for the bias of the pretrained network and of the hybrid at the first `ladder_n`.
        robust_n: photons per pixel of the case `robust`.
        robust_likelihood: maximum likelihood is shown there, too.
        held_out: of each held-out probe and family.
        collapse_side: side of the scans, and `collapse_visits` the frames shown, of the case `collapse`.
        collapse_every: every trial at every dose, not one dose a trial.
        star_epochs: of LSQML on the halves of a measured scan.
        star_iterations: of maximum likelihood there.
        network: of networks trained from scratch.
        collapse_network: the same of the case `collapse`.
        weights: hex sha256 of the pretrained bundle.
    """

    window: int = 64
    diameter_px: float = 26.0
    step_px: float = 10.0
    side: int = 12
    training_side: int = 20
    visits: int = 800
    lines_dose: float = 1e9
    probes: tuple[Literal["zone-plate", "disc", "diffuser"], ...] = ("zone-plate", "disc")
    doses: tuple[float, ...] = (1e9,)
    ladder_n: tuple[float, ...] = (300.0, 1e4, 26.0, 7.9, 2.6)
    lsqml_n: tuple[float, ...] = (300.0,)
    few_sides: tuple[int, ...] = (8,)
    twins: bool = False
    adapt: int = 10
    epochs: int = 30
    iterations: int = 500
    draws: int = 8
    robust_n: tuple[float, ...] = (300.0, 1e5)
    robust_likelihood: bool = False
    held_out: HeldOut = field(default_factory=HeldOut)
    collapse_side: int = 5
    collapse_visits: int = 200
    collapse_every: bool = True
    star_epochs: int = 20
    star_iterations: int = 200
    network: NetworkSettings = field(default_factory=NetworkSettings)
    collapse_network: NetworkSettings = field(default_factory=lambda: NetworkSettings(size="tiny"))
    weights: str = ""

    def data(self, **choices: Any) -> Simulated:
        """A scored scan of this size."""
        common = {"window": self.window, "diameter_px": self.diameter_px, "step_px": self.step_px, "side": self.side}
        return Simulated(**{**common, **choices})

    def trained(
        self,
        side: int | None = None,
        gridsize: Literal[1, 2, 7] = 2,
        supervision: Literal["photons", "object"] = "photons",
        **choices: Any,
    ) -> Trained:
        """A network and its training; as many frames are shown however many there are."""
        side = side or self.training_side
        epochs = max(2, round(self.visits / side**2))
        training = TrainingSettings(gridsize=gridsize, supervision=supervision, epochs=epochs, validation="photons")
        if gridsize < _WHOLE:  # of the networks that make a patch of each frame
            training = training.model_copy(update={"batch_frames": 8, "validation": "auto"})
        return Trained(side=side, training=training, **{"network": self.network, **choices})

    def pretrained(self, **choices: Any) -> Pretrained:
        """The packaged network."""
        return Pretrained(weights=self.weights, **choices)

    def hybrid(self, **choices: Any) -> Hybrid:
        """The packaged network and at most ten steps of likelihood."""
        return Hybrid(first=self.pretrained(), **choices)

    @property
    def likelihood(self) -> Likelihood:
        """To convergence, from flat."""
        return Likelihood(engine=LikelihoodSettings(iterations=self.iterations))

    @property
    def lsqml(self) -> Iterative:
        """Tuned, to convergence, from flat, with the known probe."""
        return Iterative(engine=IterativeSettings(epochs=self.epochs, fit_probe=False, threads=1))


_WHOLE = 7  # gridsize from which a reconstruction takes the whole scan at once
_TINY = NetworkSettings(width=4, levels=1, consistency_steps=1)

_SCALES: dict[Size, Scale] = {
    "toy": Scale(
        window=32,
        diameter_px=13.0,
        step_px=5.0,
        side=4,
        training_side=6,
        visits=72,
        doses=(1e4, 1e9),
        ladder_n=(300.0, 26.0),
        lsqml_n=(300.0,),
        few_sides=(4,),
        adapt=2,
        epochs=2,
        iterations=12,
        draws=2,
        robust_n=(300.0,),
        held_out=HeldOut(side=3, window=32, probes=2),
        collapse_side=3,
        collapse_visits=18,
        collapse_every=False,
        star_epochs=1,
        star_iterations=3,
        network=_TINY,
        collapse_network=_TINY,
    ),
    "small": Scale(),
    "full": Scale(
        side=20,
        training_side=45,
        visits=20_000,
        probes=("zone-plate", "disc", "diffuser"),
        doses=tuple(10.0**power for power in range(2, 10)),
        lsqml_n=(300.0, 1e4, 26.0, 7.9, 2.6),
        few_sides=(8, 11, 16, 23, 32),
        twins=True,
        adapt=100,
        epochs=200,
        iterations=2000,
        robust_likelihood=True,
        held_out=HeldOut(side=16),
        collapse_side=8,
        collapse_visits=2000,
        star_epochs=200,
        collapse_network=NetworkSettings(),
    ),
}

_REFINED_STEPS = 100  # of likelihood, where probe or positions are refined too
_BLIND_STEP = 1.08  # of the ladder's step: 57 % linear overlap beside 60 %
_WRONG = 0.1
_WRONG_PX = 2.0
_NOISE_PX = 1.0
_ROOM_PX = 8  # for wrong positions
_COLLAPSE_TRIALS = 10
_LSQML_FROM = 1e3  # photons a frame


def scale(size: Size, window: int | None = None) -> Scale:
    """What a size means, for frames of another N where one is given."""
    return _SCALES[size] if window is None else _sized(_SCALES[size], window)


def _sized(of: Scale, window: int) -> Scale:
    """The same with frames of N = `window` px; probes and steps grow alike."""
    times = window / of.window
    return replace(
        of,
        window=window,
        diameter_px=times * of.diameter_px,
        step_px=times * of.step_px,
        held_out=of.held_out.model_copy(update={"window": window}),
    )


def cases(
    size: Size,
    star: str | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    *,
    weights: str = "",
    window: int | None = None,
) -> tuple[Case, ...]:
    """Every case of a size.

    Args:
        size: how large.
        star: sha256 of a measured scan, where one is given.
        device: where networks and engines compute.
        weights: sha256 of the pretrained bundle.
        window: N [px]; the size's own when None.
    """
    of = replace(scale(size, window), weights=weights)
    found = (
        _lines(of),
        _ladder(of),
        _few_data(of),
        _blind(of),
        _robust(of),
        _held_out(of),
        _collapse(of),
        _star(of, star, device),
        _window_128(of, device),
    )
    return tuple(replace(case, conditions=tuple(_on(each, device) for each in case.conditions)) for case in found)


def _on(condition: Condition, device: Literal["cpu", "cuda"]) -> Condition:
    return replace(condition, arms=tuple(placed(arm, device) for arm in condition.arms))


def _lines(of: Scale) -> Case:
    """Curved and flat probes; the whole scan as one, groups of four, and every frame apart."""
    whole, fours, single = (of.pretrained(gridsize=gridsize) for gridsize in (_WHOLE, 2, 1))
    arms: tuple[AnyArm, ...] = (of.lsqml, whole, fours, single, of.hybrid())
    return Case(
        "lines",
        "Lines, curved and flat probes: the whole scan at once, groups of four, single frames",
        tuple(Condition(probe, of.data(probe=probe, dose=of.lines_dose), arms) for probe in of.probes),
        (("Pretrained", "Pretrained, C = 4"), ("Pretrained, C = 4", "Pretrained, C = 1"), ("Pretrained", "LSQML")),
    )


def _ladder(of: Scale) -> Case:
    """From too few photons to plenty."""
    rungs = [Condition(f"{dose:.0e} photons", of.data(dose=dose), _rung(of, dose >= _LSQML_FROM)) for dose in of.doses]
    for number, n in enumerate(of.ladder_n):
        arms = _rung(of, n in of.lsqml_n)
        arms += (of.hybrid(refine=RefineSettings()),)
        if n <= of.ladder_n[0]:
            arms += (of.pretrained(adapt=of.adapt),)
        if not number:
            arms = (*map(_drawn(of.draws), arms), *_started(of))
        rungs.append(Condition(f"n = {n:g}", of.data(photons_per_pixel=n), arms))
    return Case(
        "dose-ladder",
        "Dose ladder, known probe",
        tuple(rungs),
        (("Pretrained", "ML"), ("Hybrid", "ML"), ("LSQML", "ML"), (f"Pretrained + {of.adapt} ", "Pretrained")),
    )


def _rung(of: Scale, lsqml: bool) -> tuple[AnyArm, ...]:
    return (of.likelihood, of.pretrained(), of.hybrid(), *((of.lsqml,) if lsqml else ()))


def _drawn(draws: int) -> Any:
    """Arms that are cheap to repeat, with noise draws; the others as they are."""

    def drawn(arm: AnyArm) -> AnyArm:
        cheap = isinstance(arm, Hybrid) or (isinstance(arm, Pretrained) and not arm.adapt)
        return arm.model_copy(update={"draws": draws}) if cheap else arm

    return drawn


def _started(of: Scale) -> tuple[AnyArm, ...]:
    """Iterations that begin with the network's image, beside those from flat."""
    first, epochs = of.pretrained(), {share: max(1, of.epochs // share) for share in (5, 10)}
    fewer = (of.lsqml.engine.model_copy(update={"epochs": each}) for each in sorted(set(epochs.values())))
    return (
        of.likelihood.model_copy(update={"start": first}),
        *(Iterative(engine=engine, start=first) for engine in fewer),
    )


def _few_data(of: Scale) -> Case:
    """A probe unlike those of pretraining: what is gained by training with it, by the frames there are."""
    arms: list[AnyArm] = [of.pretrained(), of.pretrained(adapt=of.adapt)]
    for side in (*of.few_sides, of.training_side):
        arms.append(of.trained(side, gridsize=7, start="pretrained", weights=of.weights))
        if of.twins or side == of.training_side:
            arms.append(of.trained(side, gridsize=7))
        if of.twins:
            arms.append(of.trained(side, gridsize=7, supervision="object"))
    n, full = of.ladder_n[0], of.training_side**2
    return Case(
        "few-data",
        "A new probe, and few frames to train on",
        (Condition(f"n = {n:g}", of.data(probe="veiled", photons_per_pixel=n), tuple(arms)),),
        ((f"Pretrained, trained on {full} ", "Pretrained"), (f"Network, C = 49, {full} ", "Pretrained")),
    )


def _blind(of: Scale) -> Case:
    """Probe or positions are given wrong, and refined."""
    n, step = of.ladder_n[0], _BLIND_STEP * of.step_px
    wrong_probe = of.data(photons_per_pixel=n, probe_error=_WRONG, step_px=step, gauge="blind")
    wrong_places = of.data(photons_per_pixel=n, position_error_px=_WRONG_PX, step_px=step, margin_px=_ROOM_PX)
    steps = min(_REFINED_STEPS, of.iterations)
    likelihood = RefineSettings().likelihood.model_copy(update={"iterations": steps, "fit_probe": True})
    probe = (
        Iterative(engine=IterativeSettings(epochs=2 * of.epochs, fit_probe=True, threads=1)),
        Likelihood(engine=LikelihoodSettings(iterations=of.iterations, fit_probe=True)),
        of.hybrid(refine=RefineSettings(likelihood=likelihood)),
    )
    positions = (
        of.pretrained(),
        of.likelihood,
        Likelihood(engine=LikelihoodSettings(iterations=of.iterations, fit_positions=True)),
    )
    return Case(
        "blind-probe",
        f"The probe is given {_WRONG:.0%} wrong, or the positions {_WRONG_PX:g} px",
        (Condition("blind", wrong_probe, probe), Condition("positions", wrong_places, positions)),
    )


def _robust(of: Scale) -> Case:
    """What goes wrong at a beamline, against the same scan without it."""
    arms = (of.pretrained(), of.hybrid(), *((of.likelihood,) if of.robust_likelihood else ()))
    conditions = []
    for n in of.robust_n:
        clean = of.data(photons_per_pixel=n, margin_px=_ROOM_PX, gauge="blind")
        faulty: dict[str, dict[str, Any]] = {
            words or "nothing wrong": {"fault": fault} for fault, words in FAULTS.items()
        }
        faulty[f"positions wrong by {_NOISE_PX:g} px rms"] = {"position_error_px": _NOISE_PX}
        conditions += [
            Condition(f"n = {n:g}: {words}", clean.model_copy(update=changes), arms, limit=False)
            for words, changes in faulty.items()
        ]
    return Case("robust", "When something is wrong, and no method is told", tuple(conditions))


def _held_out(of: Scale) -> Case:
    """One set of weights for all."""
    conditions = (Condition("held-out probes", of.held_out, (of.pretrained(),)),)
    title = "One set of weights: probes that no training set holds, every family of objects"
    return Case("held-out-probes", title, conditions)


def _collapse(of: Scale) -> Case:
    """Short trainings, many seeds: does any end no better than flat?"""
    epochs = max(2, round(of.collapse_visits / of.collapse_side**2))
    training = of.trained(of.collapse_side, gridsize=7, network=of.collapse_network).training
    arms = (
        Trained(
            side=of.collapse_side,
            network=of.collapse_network,
            training=training.model_copy(update={"epochs": epochs}),
        ),
        of.pretrained(adapt=max(2, of.adapt // 2)),
    )
    faults: tuple[Fault, ...] = ("defocus", "power")
    wrong: list[tuple[float, Fault]] = [(n, "none") for n in of.ladder_n] + [(of.ladder_n[0], each) for each in faults]
    conditions = []
    for window in (of.window, 2 * of.window):
        sized = _sized(of, window)
        for number, (n, fault) in enumerate(wrong):
            trials = range(_COLLAPSE_TRIALS) if of.collapse_every else range(number, _COLLAPSE_TRIALS, len(wrong))
            if trials:
                data = sized.data(photons_per_pixel=n, fault=fault, side=of.collapse_side)
                label = f"N = {window}, n = {n:g}" + (f", {FAULTS[fault]}" if fault != "none" else "")
                conditions.append(Condition(label, data, arms, limit=False, trials=tuple(trials)))
    return Case("collapse", "Short trainings with few frames: does any end no better than flat?", tuple(conditions))


def _star(of: Scale, sha256: str | None, device: Literal["cpu", "cuda"]) -> Case:
    """A measured scan against itself."""
    title = "Measured scan, its photons thinned into halves"
    if sha256 is None:
        return Case("measured-scan", title, (), absent="no measured scan was given (--scan)")
    data = Measured(sha256=sha256, probe_epochs=of.star_epochs, device=device)
    iterations = LikelihoodSettings(iterations=of.star_iterations, precision="single", tolerance=0)
    arms = (
        Iterative(engine=IterativeSettings(epochs=of.star_epochs, fit_probe=True, threads=1)),
        of.pretrained(),
        of.hybrid(),
        Likelihood(engine=iterations),
    )
    return Case("measured-scan", title, (Condition("halves", data, arms),))


def _window_128(of: Scale, device: Literal["cpu", "cuda"]) -> Case:
    """Larger frames and more of them, on a GPU."""
    title = "Lines, N = 128, imperfect optics"
    if device == "cpu":
        return Case("window-128", title, (), absent="it is for a GPU (--device cuda)")
    data = _sized(of, 128).data(probe="aberrated", dose=1e5, side=45)
    lsqml = Iterative(engine=IterativeSettings(epochs=100, fit_probe=False, threads=1))
    return Case("window-128", title, (Condition("aberrated", data, (lsqml, of.pretrained(), of.hybrid())),))
