"""One method begins, another goes on: a network's estimate refined by likelihood, or as the start of an engine.

How many steps of likelihood an estimate gains from, the photons tell: a tenth of them is dealt out (binomial thinning),
the estimate and its refinement see the rest, and the number of steps after which the unseen tenth is explained best is
the one that all photons get. Source: docs/physics.md, splitting counts instead of frames.

Where a network's usual errors are known (`optics.spectrum`), the steps lead to the object that is most probable given
these and the photons: slow detail, which networks get wrong, from the photons, and fine detail, which drowns in their
noise, from the network. Whether that holds for the scan at hand, and not only for simulated ones, the held-out photons
tell too.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from foldlight.core.errors import SettingsError
from foldlight.core.seeds import generator
from foldlight.optics.spectrum import ErrorSpectrum
from foldlight.reconstruct.canvas import checked_start
from foldlight.reconstruct.iterative import IterativeReconstructor
from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.protocol import Ledger, Reconstruction, Reconstructor
from foldlight.reconstruct.settings import RefineSettings
from foldlight.sampling.thinning import thin
from foldlight.scan import Scan

__all__ = ["GivenReconstructor", "HybridReconstructor", "SavedReconstructor", "StartedReconstructor"]


@dataclass(frozen=True)
class GivenReconstructor:
    """What was reconstructed before.

    Attributes:
        made: the result.
        origin: what messages call it.
    """

    made: Reconstruction
    origin: str = "start"

    @property
    def arm(self) -> str:
        """Name of the method in tables."""
        return self.made.arm

    def reconstruct(self, scan: Scan) -> Reconstruction:
        """What was given.

        Raises:
            DataError: its object does not lie on the scan's canvas.
        """
        checked_start(self.made.object, scan, self.origin)
        return self.made


@dataclass(frozen=True)
class SavedReconstructor:
    """What was reconstructed before, from its file.

    Attributes:
        path: file that `Reconstruction.save` wrote.
    """

    path: Path

    @property
    def arm(self) -> str:
        """Name of the method in tables."""
        return "Saved"

    def reconstruct(self, scan: Scan) -> Reconstruction:
        """What the file holds.

        Raises:
            DataError: the file is missing or damaged, or its object does not lie on the scan's canvas.
        """
        return GivenReconstructor(Reconstruction.load(self.path), str(self.path)).reconstruct(scan)


@dataclass(frozen=True)
class StartedReconstructor:
    """An iterative engine that starts from what another method has found.

    The engine takes the object; probe and positions too where they were refined on these very photons.

    Attributes:
        first: makes the start.
        engine: goes on from there, in place of its flat image.
    """

    first: Reconstructor
    engine: IterativeReconstructor | MaximumLikelihoodReconstructor

    @property
    def arm(self) -> str:
        """Name of the method in tables."""
        return self.engine.arm

    def reconstruct(self, scan: Scan) -> Reconstruction:
        """The engine's reconstruction; its ledger has the time of both.

        Raises:
            FoldlightError: what either raises.
        """
        began = time.perf_counter()
        start = self.first.reconstruct(scan)
        made = replace(self.engine, start=start.object).reconstruct(_adopting(scan, start))
        ledger = replace(
            made.ledger, train_seconds=start.ledger.train_seconds, infer_seconds=time.perf_counter() - began
        )
        settings = {**made.settings, "start": _told(start)}
        return replace(made, ledger=ledger, settings=settings, data_digest=scan.digest())


@dataclass(frozen=True)
class HybridReconstructor:
    """An estimate, then some steps of Poisson likelihood of the whole scan.

    Attributes:
        first: makes the estimate; a network, as a rule.
        settings: how to refine it.
        progress: show a bar on stderr.
    """

    first: Reconstructor
    settings: RefineSettings = field(default_factory=RefineSettings)
    progress: bool = False

    @property
    def arm(self) -> str:
        """Name of the method in tables."""
        return "Hybrid"

    def reconstruct(self, scan: Scan) -> Reconstruction:
        """The refined estimate.

        Settings of the result hold `refinement`: steps made, how they were chosen, the deviance of the held-out counts
        before the first step and after each, and that of the photons that were fitted.

        Raises:
            FoldlightError: what the first method or the likelihood raises.
            SettingsError: held-out counts were asked for, and the photons are not whole numbers.
        """
        began = time.perf_counter()
        chosen = self._chosen(scan)
        start = self.first.reconstruct(scan)
        made, facts = start, {"iterations": 0, "evaluations": 0}
        if chosen["steps"]:
            likelihood = self.settings.likelihood.model_copy(update={"iterations": chosen["steps"]})
            errors = self._priors()[chosen["prior"]]
            engine = MaximumLikelihoodReconstructor(likelihood, start.object, self.progress, errors=errors)
            made = engine.reconstruct(_adopting(scan, start))
            facts = made.settings["convergence"]
        ledger = Ledger(
            train_seconds=start.ledger.train_seconds,
            infer_seconds=time.perf_counter() - began,
            epochs=facts["evaluations"] + chosen.get("evaluations", 0),
            n_frames=len(scan),
            photons=start.ledger.photons if start.ledger.photons is not None else float(scan.photons.totals.sum()),
            device=self.settings.likelihood.device,
            threads=made.ledger.threads,
        )
        return replace(
            made,
            arm=self.arm,
            ledger=ledger,
            settings={
                "engine": "hybrid",
                **self.settings.plain(),
                "start": _told(start),
                "refinement": {**chosen, "fit": facts},
            },
            data_digest=scan.digest(),
        )

    def _priors(self) -> dict[str, ErrorSpectrum | None]:
        """What may speak for the first method's image, by name, the best known first."""
        first, wanted = self.first, self.settings.prior
        known = first.model.errors if isinstance(first, NeuralReconstructor) else None
        if known is None or wanted == "none" or self.settings.likelihood.phase_only:
            return {"none": None}
        return {"network": known} if wanted == "network" else {"network": known, "none": None}

    def _chosen(self, scan: Scan) -> dict[str, Any]:
        """How many steps to make from which prior, and why, JSON-ready."""
        most, whole = self.settings.likelihood.iterations, scan.photons.whole
        if self.settings.stop == "held-out" and not whole:
            raise SettingsError(
                "stop = held-out: expected counted photons (whole numbers), got scaled values; give the photon scale,"
                " or stop = none"
            )
        if self.settings.stop == "none" or not whole:
            reason = "as asked" if self.settings.stop == "none" else "the photons are not whole numbers"
            return {"steps": most, "stopped_by": "none", "reason": reason, "prior": next(iter(self._priors()))}
        rng = generator(self.settings.seed, "held-out photons")
        seen, unseen = thin(scan, 1 - self.settings.held_out, rng)
        start = self.first.reconstruct(seen)
        tried = {
            name: self._tried(_adopting(seen, start), start, unseen, each) for name, each in self._priors().items()
        }
        prior = min(tried, key=lambda name: min(tried[name]["deviance_heldout"]))
        deviance = tried[prior]["deviance_heldout"]
        best = int(np.argmin(deviance))
        reason = "the last step was the best, more may help" if best == most else "further steps explain them worse"
        return {
            "steps": best,
            "stopped_by": "held-out",
            "reason": reason,
            "prior": prior,
            "deviance_heldout": deviance,
            "least_deviance_heldout": {name: min(facts["deviance_heldout"]) for name, facts in tried.items()},
            "evaluations": sum(facts["evaluations"] for facts in tried.values()),
        }

    def _tried(
        self, seen: Scan, start: Reconstruction, unseen: Scan, errors: ErrorSpectrum | None
    ) -> Mapping[str, Any]:
        """How all steps fare on photons that they do not see."""
        engine = MaximumLikelihoodReconstructor(self.settings.likelihood, start.object, self.progress, unseen, errors)
        facts: Mapping[str, Any] = engine.reconstruct(seen).settings["convergence"]
        return facts


def _adopting(scan: Scan, start: Reconstruction) -> Scan:
    """The scan with the probe and the positions that were refined on its photons, where they were."""
    if start.data_digest != scan.digest():
        return scan
    return replace(scan, probe=start.probe, positions_px=start.positions_px)


def _told(start: Reconstruction) -> dict[str, Any]:
    """Who made a start, and what it cost."""
    return {"arm": start.arm, "ledger": asdict(start.ledger), "settings": start.settings}
