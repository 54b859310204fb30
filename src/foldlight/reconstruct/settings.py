"""How to run an iterative engine."""

import os
from typing import Literal, NamedTuple

from pydantic import Field

from foldlight.core.errors import SettingsError
from foldlight.core.settings import Settings

__all__ = [
    "EngineOptions",
    "IterativeSettings",
    "LikelihoodOptions",
    "LikelihoodSettings",
    "RefineOptions",
    "RefineSettings",
]

Engine = Literal["lsqml", "rpie", "dm"]


class _Engine(NamedTuple):
    """Name in tables; epochs and largest batch that suit the engine."""

    arm: str
    epochs: int
    batch_size: int


# rPIE diverges with large batches; the difference map drifts when noisy data keep it going.
_ENGINES: dict[Engine, _Engine] = {
    "lsqml": _Engine("LSQML", epochs=100, batch_size=100),
    "rpie": _Engine("rPIE", epochs=50, batch_size=10),
    "dm": _Engine("DM", epochs=30, batch_size=100),
}


class EngineOptions(Settings):
    """How to run any iterative engine. The defaults suit measured data whose probe is a guess.

    Maximum likelihood (ml) takes epochs, fit_probe, fit_positions, device and time_limit_s from here; the rest is
    pty-chi's.
    """

    epochs: int | None = Field(default=None, ge=1)
    """Passes over all frames; none given: 100 for lsqml, 50 for rpie, 30 for dm. For ml the most iterations: 500."""

    batch_size: int | None = Field(default=None, ge=1)
    """Frames between two updates; none given: 10 for rpie (it diverges with many more), for the others a fifth of the
    frames but no more than 100. For dm it bounds the memory and changes nothing else."""

    object_step: float = Field(default=1.0, gt=0)
    """Factor on the engine's own step of the object (lsqml, rpie)."""

    probe_step: float = Field(default=1.0, gt=0)
    """Factor on the engine's own step of the probe (lsqml, rpie)."""

    rpie_alpha: float = Field(default=0.5, gt=0, le=1)
    """Regularisation of rpie: small is fast and amplifies noise where the probe is dark; 1 is ePIE."""

    dm_relaxation: float = Field(default=0.2, gt=0, le=1)
    """Part of the exit wave's update that dm applies; less is slower and steadier on noisy data."""

    fit_probe: bool = True
    """Refine the probe too. Switch it off when the probe is known exactly (not hybrid: see refine_probe)."""

    fit_probe_from: int = Field(default=1, ge=0)
    """Epochs that pass before the probe is refined, so that the object takes shape first."""

    probe_modes: int = Field(default=1, ge=1)
    """Incoherent modes to refine; modes the scan's probe lacks start as weak Hermite relatives of its first. Two or
    three help where the light is not fully coherent or the stage moves; all but the first ignore sub-pixel shifts."""

    fit_positions: bool = False
    """Refine the positions too."""

    fit_positions_from: int = Field(default=20, ge=0)
    """Epochs that pass before the positions are refined: they need a recognisable object (not ml)."""

    seed: int = Field(default=0, ge=0)
    """Seed of the order of frames; the same seed on one CPU thread gives the same bits."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where the engine computes."""

    threads: int | None = Field(default=None, ge=1)
    """CPU threads; all cores when not given. On one, results repeat to the bit."""

    time_limit_s: float | None = Field(default=None, gt=0)
    """Wall time after which the child process of pty-chi is ended, or ml keeps what it has [s]."""


class IterativeSettings(EngineOptions):
    """An engine of pty-chi and how to run it."""

    engine: Engine = "lsqml"
    """`lsqml` least squares of maximum likelihood, `rpie` regularised PIE, or `dm` the difference map."""

    @property
    def arm(self) -> str:
        """Name of the engine in tables."""
        return _ENGINES[self.engine].arm

    def filled(self, n_frames: int) -> "IterativeSettings":
        """These settings with the engine's own choice in place of what was not given."""
        own = _ENGINES[self.engine]
        batch = own.batch_size if self.engine == "rpie" else min(own.batch_size, -(-n_frames // 5))
        return self.model_copy(
            update={
                "epochs": self.epochs or own.epochs,
                "batch_size": self.batch_size or min(batch, n_frames),
                "threads": self.threads or os.cpu_count() or 1,
            }
        )


class LikelihoodOptions(Settings):
    """What only maximum likelihood asks for."""

    phase_only: bool = False
    """Look for the object's phase alone; its amplitude stays that of the start (ml)."""

    tolerance: float = Field(default=1e-4, ge=0)
    """Converged when ten iterations gain less log-likelihood than this for each unknown; fitting the noise is worth 0.5
    each, whatever the dose. 0 goes on until rounding stops the descent (ml)."""

    precision: Literal["single", "double"] | None = None
    """Of all that is done with frames; none given: double for ml, single for hybrid, which is faster and enough where
    photons are counted (ml, hybrid)."""

    pull_photons: float = Field(default=0.1, ge=0)
    """Weight of keeping a pixel near its start, as that of so many photons through it [photon]: nothing where the
    object is lit, but at the dim edge it stops values that hang on less than one photon. 0 is plain likelihood (ml)."""


class LikelihoodSettings(LikelihoodOptions):
    """Poisson maximum likelihood by L-BFGS, with a known probe at known positions unless told otherwise."""

    precision: Literal["single", "double"] = "double"
    """Of all that is done with frames."""

    iterations: int = Field(default=500, ge=1)
    """Iterations at the most; each passes over all frames once, now and then twice."""

    fit_probe: bool = False
    """Refine the probe too, every mode that the scan has."""

    fit_positions: bool = False
    """Refine the positions too; they may be wrong by a few pixels, and their mean is kept."""

    device: str = "cpu"
    """Where to compute: `cpu`, `cuda` or `cuda:1`."""

    time_limit_s: float | None = Field(default=None, gt=0)
    """Wall time after which the best object so far is kept [s]."""

    @classmethod
    def of(cls, options: EngineOptions, own: LikelihoodOptions | None = None) -> "LikelihoodSettings":
        """What is common to all engines, and what is asked of this one.

        Raises:
            SettingsError: an option that this engine does not have.
        """
        if options.probe_modes > 1:
            raise SettingsError(
                f"engine ml: expected the probe modes of the scan, got probe_modes = {options.probe_modes}; refine them"
                " with lsqml"
            )
        shared = options.model_dump(include={"fit_probe", "fit_positions", "device", "time_limit_s"})
        if options.epochs is not None:
            shared["iterations"] = options.epochs
        return cls(**(own or LikelihoodOptions()).model_dump(exclude_none=True), **shared)


_REFINE = 60  # measured: held-out photons choose 4 at n = 300, 53 at n = 1e4


class RefineOptions(Settings):
    """What only `hybrid` asks for: likelihood after an estimate."""

    refine: int = Field(default=_REFINE, ge=1)
    """Steps of likelihood after the network, at the most; few photons ask for few of them, many for all (hybrid)."""

    refine_probe: bool = False
    """Refine the probe too; the network was given it (hybrid)."""

    stop: Literal["auto", "held-out", "none"] = "auto"
    """How many of the steps are made: `held-out` as many as explain photons best that were kept from them, `none` all;
    `auto` asks the held-out photons where the photons are counted (hybrid)."""

    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of the photons that chooses the number of steps (hybrid)."""

    prior: Literal["auto", "network", "none"] = "auto"
    """What speaks for staying near the network's image: `network`, its usual errors by fineness and dose, where its
    bundle tells them; `none`, nothing, plain likelihood; `auto` tries both where held-out photons choose the steps, and
    lets them choose this too (hybrid)."""


class RefineSettings(Settings):
    """How an estimate is refined."""

    likelihood: LikelihoodSettings = LikelihoodSettings(iterations=_REFINE, precision="single")
    """The likelihood; its iterations are the most steps there may be."""

    stop: Literal["auto", "held-out", "none"] = "auto"
    """See `RefineOptions`."""

    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of the photons that chooses the number of steps."""

    prior: Literal["auto", "network", "none"] = "auto"
    """See `RefineOptions`."""

    seed: int = Field(default=0, ge=0)
    """Root seed of the draw that splits the photons."""

    @classmethod
    def of(
        cls, options: EngineOptions, likelihood: LikelihoodOptions | None = None, own: RefineOptions | None = None
    ) -> "RefineSettings":
        """What is common to all engines, to those of likelihood, and what is asked of this one.

        Raises:
            SettingsError: an option that this engine does not have.
        """
        own = own or RefineOptions()
        wanted = likelihood or LikelihoodOptions()
        if wanted.precision is None:
            wanted = wanted.model_copy(update={"precision": "single"})
        steps = options.model_copy(update={"epochs": own.refine, "fit_probe": own.refine_probe})
        if options.epochs is not None:
            raise SettingsError(f"engine hybrid: expected refine steps, got epochs = {options.epochs}; use --refine")
        return cls(
            likelihood=LikelihoodSettings.of(steps, wanted),
            seed=options.seed,
            **own.model_dump(include={"stop", "held_out", "prior"}),
        )
