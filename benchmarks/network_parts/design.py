"""What is compared: networks, data sets, and the one training that all of them get. Nothing here computes.

A unit is one network, trained on one object and scored on another of the family: the units of `benchmarks.quality`,
with its measurements and its files.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks.quality_parts.cases import Scale, Simulated, Trained, Unit, scale
from benchmarks.suite import Size
from foldlight.networks.settings import NetworkSettings

__all__ = ["BASE", "Condition", "Design", "Variant", "design"]

BASE = "lifted, U-Net"
"""The network that the others are compared with."""

_TRAINING: dict[Size, tuple[int, int]] = {"toy": (6, 72), "small": (16, 1024), "full": (45, 50_000)}
_NETWORK: dict[Size, dict[str, int]] = {
    "toy": {"width": 4, "levels": 2},
    "small": {"width": 8, "levels": 3},
    "full": {"width": 8, "levels": 3},
}
_STEPS: dict[Size, int] = {"toy": 1, "small": 3, "full": 3}
_DOSES: dict[Size, tuple[float, ...]] = {"toy": (1e5,), "small": (1e3, 1e4, 1e6), "full": (1e3, 1e4, 1e6)}
_GRIDSIZES: tuple[Literal[1, 2], ...] = (2, 1)
_PROBES: tuple[Literal["zone-plate", "disc"], ...] = ("zone-plate", "disc")


@dataclass(frozen=True)
class Variant:
    """A network by name; all that makes it."""

    name: str
    network: NetworkSettings


@dataclass(frozen=True)
class Condition:
    """Light, probe and C.

    Attributes:
        probe: its family.
        dose: photons a frame.
        gridsize: C is its square.
    """

    probe: Literal["zone-plate", "disc"]
    dose: float
    gridsize: Literal[1, 2]

    @property
    def label(self) -> str:
        """In tables."""
        return f"{self.probe}, {self.dose:,.0f} photons a frame, C = {self.gridsize**2}"


@dataclass(frozen=True)
class Design:
    """Every network under every condition.

    Attributes:
        scale: how large everything is.
        variants: in the order shown.
        conditions: in the order measured and shown.
    """

    scale: Scale
    variants: tuple[Variant, ...]
    conditions: tuple[Condition, ...]

    def data(self, condition: Condition, seed: int) -> Simulated:
        """The scored scan; its object, positions and photons depend on the seed."""
        return self.scale.data(probe=condition.probe, dose=condition.dose, seed=seed)

    def unit(self, condition: Condition, variant: Variant, seed: int) -> Unit:
        """One network under one condition; the seed draws weights and order of training, too."""
        arm = self.scale.trained(gridsize=condition.gridsize)
        training = arm.training.model_copy(update={"seed": seed, "validation": "photons"})
        return Unit(
            self.data(condition, seed), Trained(side=arm.side, network=variant.network, training=training, draws=0)
        )

    def units(self, seeds: Iterable[int]) -> Iterator[Unit]:
        """All of a seed before the next seed."""
        return (self.unit(where, each, seed) for seed in seeds for where in self.conditions for each in self.variants)


def design(size: Size) -> Design:
    """The comparison at a size: C = 4 and 1 of a data set stand together, since they share its scan."""
    side, visits = _TRAINING[size]
    of = replace(scale(size), training_side=side, visits=visits)
    conditions = tuple(
        Condition(probe, dose, gridsize) for dose in _DOSES[size] for probe in _PROBES for gridsize in _GRIDSIZES
    )
    return Design(of, _variants(size), conditions)


def _variants(size: Size) -> tuple[Variant, ...]:
    """The same U-Net behind three inputs; steps, or another body of its flop, behind the lifted one; one unrolled."""
    shape, steps = _NETWORK[size], _STEPS[size]
    fourier = {"body": "fourier", "width": 2 * shape["width"], "layers": shape["levels"] + 1}
    return (
        _variant("raw, U-Net", shape, kind="raw"),
        _variant("log, U-Net", shape, kind="log"),
        _variant(BASE, shape, kind="lifted"),
        _variant("lifted, Fourier layers", shape, kind="lifted", **fourier),
        _variant(f"{BASE}, {steps} consistency steps", shape, kind="lifted", consistency_steps=steps),
        Variant("unrolled, tiny", NetworkSettings(kind="unrolled", size="tiny")),
    )


def _variant(name: str, shape: dict[str, int], **changes: Any) -> Variant:
    return Variant(name, NetworkSettings.parse({**shape, "consistency_steps": 0, **changes}, name))
