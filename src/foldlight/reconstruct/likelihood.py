"""Poisson maximum likelihood of a whole scan by L-BFGS: nothing but the forward model, its gradient and the photons.

Minimised over the object, and over the probe when asked:

`sum_jq w_q [lam_jq - y_jq log(lam_jq + eps)] + pull sum_r |O(r) - O_start(r)|^2`

Each unknown is measured in its own standard error, `1 / sqrt(2 sum_j |P_j|^2)` for the two parts of an object pixel, so
that bright and dim pixels converge together and L-BFGS starts from a curvature of about one everywhere.

Source: docs/physics.md, forward model (objective) and dose limit (Fisher information); Liu & Nocedal, Math. Program. 45
(1989) 503; Thibault & Guizar-Sicairos, New J. Phys. 14 (2012) 063004.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from scipy.optimize import minimize
from torch import Tensor

from foldlight.core.errors import DataError
from foldlight.core.progress import progress_bar
from foldlight.optics.coverage import coverage_map
from foldlight.optics.flat import flat_amplitude
from foldlight.optics.forward import expected_photons, place_probe
from foldlight.optics.patches import gather
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.reconstruct.settings import LikelihoodSettings
from foldlight.scan import Scan
from foldlight.train.device import usable_device

__all__ = ["MaximumLikelihoodReconstructor"]

_EPS = 1e-6  # photons: keeps the logarithm finite where the model expects none
_BLOCK_PIXELS = 2**17  # detector pixels at a time: measured best on one core, where a block stays in the cache
_KEPT_BYTES = 2**30  # of frames and moved probes kept between passes; beyond, they are made anew each time
_MEMORY = 20  # steps from which L-BFGS learns the curvature; 10 to 20 measured alike
_WINDOW = 10  # iterations over which a gain is judged: single ones stutter
_DIM = 1e-6  # of the brightest pixel's light: what is darker is no better known than this


@dataclass(frozen=True)
class MaximumLikelihoodReconstructor:
    """The object under which the counted photons are most likely.

    Attributes:
        settings: how to look for it.
        start: (y, x) complex object on the scan's canvas to start from; the best flat image when None.
        progress: show a bar on stderr.
    """

    settings: LikelihoodSettings = field(default_factory=LikelihoodSettings)
    start: np.ndarray | None = None
    progress: bool = False

    @property
    def arm(self) -> str:
        """Name of the method in tables."""
        return "ML"

    def reconstruct(self, scan: Scan) -> Reconstruction:
        """The object of a scan, and its probe where that is refined; never looks at `scan.object`.

        Settings of the result hold `convergence`: converged, why it ended, iterations, evaluations, unknowns, and the
        deviance per valid detector pixel at the start and after each iteration. A refined probe has the power of
        `scan.probe`; the object takes the rest.

        Raises:
            DataError: the frames and the probe hold no light to compare, or the start does not fit the scan.
            SettingsError: no such device on this machine.
        """
        began = time.perf_counter()
        problem = _Problem.of(scan, self.settings, self._start(scan))
        with progress_bar(self.arm, self.settings.iterations, self.progress) as advance:
            variables, convergence = _minimise(problem, self.settings, advance)
            advance(self.settings.iterations)
        with torch.no_grad():
            image, probe = (part.cpu().numpy() for part in problem.unknowns.at(variables))
        if self.settings.fit_probe:
            gauge = np.sqrt(np.sum(np.abs(scan.probe) ** 2, dtype=np.float64) / np.sum(np.abs(probe) ** 2))
            image, probe = image / gauge, (probe * gauge).astype(np.complex64)
        else:
            probe = scan.probe
        return Reconstruction(
            arm=self.arm,
            object=image.astype(np.complex64),
            probe=probe,
            positions_px=scan.positions_px,
            coverage=coverage_map(probe, scan.positions_px, scan.canvas),
            ledger=Ledger(
                train_seconds=0.0,
                infer_seconds=time.perf_counter() - began,
                epochs=convergence["evaluations"],
                n_frames=len(scan),
                photons=float(scan.photons.totals.sum()),
                device=self.settings.device,
                threads=torch.get_num_threads(),
            ),
            settings={"engine": "ml", **self.settings.plain(), "convergence": convergence},
            data_digest=scan.digest(),
        )

    def _start(self, scan: Scan) -> np.ndarray:
        """(y, x) complex128 object to start from."""
        if self.start is None:
            return np.full(scan.canvas, flat_amplitude(scan), dtype=np.complex128)
        if self.start.shape != scan.canvas or not np.isfinite(self.start).all():
            raise DataError(
                f"{self.arm}: expected a finite start on the scan's {scan.canvas[0]} x {scan.canvas[1]} canvas, got"
                f" {int((~np.isfinite(self.start)).sum())} bad values in shape {self.start.shape}; crop or clean it"
            )
        return self.start.astype(np.complex128)


@dataclass(frozen=True)
class _Unknowns:
    """Object and probe as functions of one real vector of scaled variables, zero at the start.

    Attributes:
        start: object at zero.
        scale: standard error of a variable of each object pixel; of the phase [rad] when that alone is unknown.
        probe: probe at zero [sqrt(photon)].
        probe_scale: standard error of a variable of the probe [sqrt(photon)]; None when it is known.
        phase_only: one variable a pixel, the phase, and not two.
        number: variables that the photons can tell.
    """

    start: Complex[Tensor, "y x"]
    scale: Float[Tensor, "y x"]
    probe: Complex[Tensor, "mode py px"]
    probe_scale: float | None
    phase_only: bool
    number: int

    @classmethod
    def of(cls, scan: Scan, settings: LikelihoodSettings, start: np.ndarray) -> "_Unknowns":
        light = coverage_map(scan.probe, scan.positions_px, scan.canvas).astype(np.float64)
        dimmest = max(settings.pull_photons, _DIM * float(light.max()))
        power = np.abs(start) ** 2
        mean_power = float(np.average(power, weights=light))
        phase = np.maximum(power, _DIM * mean_power) if settings.phase_only else 1.0
        fitted = len(scan) * mean_power if settings.fit_probe else None
        device = usable_device(settings.device)
        return cls(
            start=torch.from_numpy(start).to(device),
            scale=torch.from_numpy(1 / np.sqrt(2 * phase * (light + dimmest))).to(device),
            probe=torch.from_numpy(scan.probe.astype(np.complex128)).to(device),
            probe_scale=None if fitted is None else float(1 / np.sqrt(2 * fitted)),
            phase_only=settings.phase_only,
            number=(1 if settings.phase_only else 2) * int((light > dimmest).sum())
            + (2 * scan.probe.size if settings.fit_probe else 0),
        )

    @property
    def sizes(self) -> list[int]:
        """Variables of the object and of the probe."""
        fitted = 0 if self.probe_scale is None else 2 * self.probe.numel()
        return [(1 if self.phase_only else 2) * self.start.numel(), fitted]

    def at(self, variables: Float[Tensor, " v"]) -> tuple[Complex[Tensor, "y x"], Complex[Tensor, "mode py px"]]:
        """Object and probe."""
        pixels, modes = torch.split(variables, self.sizes)
        if self.phase_only:
            turn = self.scale * pixels.view(self.start.shape)
            image = self.start * torch.complex(turn.cos(), turn.sin())
        else:
            image = self.start + self.scale * torch.complex(*pixels.view(2, *self.start.shape))
        if self.probe_scale is None:
            return image, self.probe
        return image, self.probe + self.probe_scale * torch.complex(*modes.view(2, *self.probe.shape))


@dataclass(frozen=True)
class _Block:
    """Some frames: photons, zero on bad pixels; positions; and the probe in each window, None while it is unknown."""

    photons: Float[Tensor, "n y x"]
    positions_px: Float[Tensor, "n 2"]
    probes: Complex[Tensor, "n mode y x"] | None


@dataclass(frozen=True)
class _Problem:
    """Minus the log-likelihood of a scan, less that of a perfect fit, as a function of the scaled unknowns."""

    scan: Scan
    unknowns: _Unknowns
    pull: float
    mask: Float[Tensor, "y x"]

    @classmethod
    def of(cls, scan: Scan, settings: LikelihoodSettings, start: np.ndarray) -> "_Problem":
        unknowns = _Unknowns.of(scan, settings, start)
        mask = torch.from_numpy(scan.mask).to(unknowns.start.device, torch.float64)
        return cls(scan, unknowns, settings.pull_photons, mask)

    def deviance(self, value: float) -> float:
        """Of a value, the deviance per valid detector pixel."""
        return 2 * value / (len(self.scan) * int(self.scan.mask.sum()))

    def value_and_gradient(self, variables: Float[Tensor, " v"]) -> tuple[float, Float[Tensor, " v"]]:
        """The value, and its exact gradient: block by block for object and probe, then for the variables."""
        leaf = variables.detach().requires_grad_()
        found = self.unknowns.at(leaf)
        pulled = self.pull * (found[0] - self.unknowns.start).abs().square().sum()
        image, probe = (part.detach().requires_grad_() for part in found)
        value = self._perfect + float(pulled.detach())
        for block in self._blocks():
            misfit = self._misfit(image, probe, block)
            misfit.backward()  # type: ignore[no-untyped-call]
            value += float(misfit.detach())
        outputs, gradients = [found[0], pulled], [image.grad, None]
        if self.unknowns.probe_scale is not None:
            outputs.append(found[1])
            gradients.append(probe.grad)
        return value, torch.autograd.grad(outputs, leaf, gradients)[0]

    def _misfit(self, image: Tensor, probe: Tensor, block: _Block) -> Float[Tensor, ""]:
        """`sum lam - y log(lam + eps)` over valid pixels of some frames."""
        probes = place_probe(probe, block.positions_px) if block.probes is None else block.probes
        patches = gather(image[None], block.positions_px[None], self.scan.window)[0]
        expected = expected_photons(probes, patches) * self.mask
        return (expected - block.photons * torch.log(expected + _EPS)).sum()

    @cached_property
    def _perfect(self) -> float:
        """What a model that expects just what was counted would leave, to be taken off."""
        parts = (torch.xlogy(block.photons, block.photons) - block.photons for block in self._blocks())
        return float(sum(part.sum() for part in parts))

    def _blocks(self) -> Iterator[_Block]:
        """All frames; from memory where they fit."""
        yield from self._kept if self._kept is not None else self._made()

    @cached_property
    def _kept(self) -> list[_Block] | None:
        modes = 0 if self.unknowns.probe_scale is not None else len(self.scan.probe)
        size = int(np.prod(self.scan.photons.shape)) * (8 + 16 * modes)
        return list(self._made()) if size <= _KEPT_BYTES else None

    def _made(self) -> Iterator[_Block]:
        device = self.unknowns.start.device
        height, width = self.scan.window
        step = max(1, _BLOCK_PIXELS // (height * width))
        for first in range(0, len(self.scan), step):
            frames = np.where(self.scan.mask, self.scan.photons[first : first + step], 0).astype(np.float64)
            positions = torch.from_numpy(self.scan.positions_px[first : first + step]).to(device)
            known = self.unknowns.probe_scale is None
            probes = place_probe(self.unknowns.probe, positions) if known else None
            yield _Block(torch.from_numpy(frames).to(device), positions, probes)


def _minimise(
    problem: _Problem, settings: LikelihoodSettings, advance: Callable[..., None]
) -> tuple[Float[Tensor, " v"], dict[str, Any]]:
    """The best variables, and JSON-ready facts of the way there."""
    device = problem.unknowns.start.device
    deadline = time.monotonic() + (settings.time_limit_s or np.inf)
    enough = settings.tolerance * problem.unknowns.number
    values: list[float] = []
    ended = ""

    def function(variables: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = problem.value_and_gradient(torch.from_numpy(variables).to(device))
        if not values:
            values.append(value)
        return value, gradient.cpu().numpy()

    def after_step(intermediate_result: Any) -> None:
        nonlocal ended
        values.append(float(intermediate_result.fun))
        advance(len(values) - 1, f"deviance {problem.deviance(values[-1]):.4f}")
        if len(values) > _WINDOW and values[-1 - _WINDOW] - values[-1] < enough:
            ended = "tolerance"
        elif time.monotonic() > deadline:
            ended = "time limit"
        if ended:
            raise StopIteration

    limits = {"maxiter": settings.iterations, "maxfun": 100 * settings.iterations, "ftol": 0, "gtol": 0}
    found = minimize(
        function,
        np.zeros(sum(problem.unknowns.sizes)),
        jac=True,
        method="L-BFGS-B",
        callback=after_step,
        options={"maxcor": _MEMORY, **limits},
    )
    if not ended:  # a descent direction along which nothing lower is found: all that is left is rounding
        ended = "iteration limit" if found.nit >= settings.iterations else "rounding"
    convergence = {
        "converged": ended in {"tolerance", "rounding"},
        "ended_by": ended,
        "iterations": int(found.nit),
        "evaluations": int(found.nfev),
        "unknowns": problem.unknowns.number,
        "deviance": [problem.deviance(value) for value in values],
    }
    return torch.from_numpy(found.x).to(device), convergence
