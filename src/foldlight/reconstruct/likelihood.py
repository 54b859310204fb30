"""Poisson maximum likelihood of a whole scan by L-BFGS: nothing but the forward model, its gradient and the photons.

Minimised over the object, and over the probe and the positions when asked:

`sum_jq w_q [lam_jq - y_jq log(lam_jq + eps)] + pull sum_r |O(r) - O_start(r)|^2`

Each unknown is measured in its own standard error, `1 / sqrt(2 sum_j |P_j|^2)` for the two parts of an object pixel, so
that bright and dim pixels converge together and L-BFGS starts from a curvature of about one everywhere.

Where the start's usual errors are known, of power S(k) at frequency k, `sum_k |dO(k)|^2 / S(k)` takes the place of the
pull, dO the change of the object under the unitary Fourier transform. That leads to the most probable object, were the
start's errors independent of the photons. The change is then measured in its standard error by frequency, the root of
`S / (1 + share n S)`, n the photons through a pixel, of which slow detail gets a small share.

Positions move the probe in windows that stay where they were cut. Now and then the windows are cut anew; L-BFGS begins
afresh there. Until positions have settled, the object changes without its finest detail, from coarse to fine: from a
flat start, positions wrong by more than the object's grain are found in this way and not without. A shift of object and
positions together changes no frame: the mean of all positions stays what it was.

Source: docs/physics.md, forward model (objective) and dose limit (Fisher information); Liu & Nocedal, Math. Program. 45
(1989) 503; Thibault & Guizar-Sicairos, New J. Phys. 14 (2012) 063004.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float, Inexact
from scipy.optimize import minimize
from torch import Tensor

from foldlight.core.errors import DataError, SettingsError
from foldlight.core.progress import progress_bar
from foldlight.optics.coverage import coverage_map
from foldlight.optics.flat import flat_amplitude
from foldlight.optics.spectrum import ErrorSpectrum, lit_photons
from foldlight.reconstruct.canvas import checked_start, inside
from foldlight.reconstruct.misfit import Misfit
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.reconstruct.settings import LikelihoodSettings
from foldlight.scan import Scan
from foldlight.train.device import usable_device

__all__ = ["MaximumLikelihoodReconstructor"]

_MEMORY = 20  # steps from which L-BFGS learns the curvature; 10 to 20 measured alike
_WINDOW = 10  # iterations over which a gain is judged: single ones stutter
_TOLD = 10.0  # photons through a pixel times the start's error there, from which on photons need no help
_SLOW_SHARE = 0.01  # of the photons tell of slow detail, by which steps are scaled: 0.003 to 0.1 measured alike
_DIM = 1e-6  # of the brightest pixel's light: what is darker is no better known than this
_ROUNDS = ((10, 2.0), (20, 1.0), (20, 0.5))  # while positions are sought: iterations, of 100 or more in all, and the
# blur [px] of all change of the object; detail that is drawn at wrong positions would hold them there
_ROUNDS_OF = 100  # iterations; with fewer, rounds are shorter
_SHARPNESS = 0.03  # rad / px: change of a transmission that a probe sees; with photons, how well a position is known
_MARGIN_PX = 8  # room around the canvas for positions on the move


@dataclass(frozen=True)
class MaximumLikelihoodReconstructor:
    """The object under which the counted photons are most likely.

    Attributes:
        settings: how to look for it.
        start: (y, x) complex object on the scan's canvas to start from; the best flat image when None.
        progress: show a bar on stderr.
        heldout: other counts of the same frames, as `sampling.thinning` deals them; what each iteration expects of them
            is scored, and nothing is fitted to them.
        errors: how wrong the start is as a rule; the most probable object is looked for, given that, instead of the one
            that makes the photons most likely.
    """

    settings: LikelihoodSettings = field(default_factory=LikelihoodSettings)
    start: np.ndarray | None = None
    progress: bool = False
    heldout: Scan | None = None
    errors: ErrorSpectrum | None = None

    @property
    def arm(self) -> str:
        """Name of the method in tables."""
        return "ML"

    def reconstruct(self, scan: Scan) -> Reconstruction:
        """The object of a scan, and its probe and positions where they are refined; never looks at `scan.object`.

        Settings of the result hold `convergence`: converged, why it ended, iterations, evaluations, unknowns, and the
        deviance per valid detector pixel at the start and after each iteration, of the held-out counts too where there
        are some. A refined probe has the power of `scan.probe`; the object takes the rest. Refined positions keep their
        mean.

        Raises:
            DataError: the frames and the probe hold no light to compare, or the start or the held-out counts do not fit
                the scan.
            SettingsError: no such device on this machine, or errors are told of a start that is none, or of the phase
                alone.
        """
        if self.errors is not None and (self.start is None or self.settings.phase_only):
            raise SettingsError(
                f"{self.arm}: expected errors of a start that may change in amplitude and phase, got none"
            )
        began = time.perf_counter()
        room = _MARGIN_PX if self.settings.fit_positions else 0
        start, heldout = self._start(scan), self._heldout(scan)
        with progress_bar(self.arm, self.settings.iterations, self.progress) as advance:
            descent = _Descent(
                self.settings, _grown(scan, room), heldout and _grown(heldout, room), advance, self.errors
            )
            found = descent.run(np.pad(start, room, mode="edge"))
            advance(self.settings.iterations)
        inner = tuple(slice(room, room + side) for side in scan.canvas)
        image, probe, positions = found.image.cpu().numpy()[inner], scan.probe, scan.positions_px
        if self.settings.fit_probe:
            probe = found.probe.cpu().numpy()
            gauge = np.sqrt(np.sum(np.abs(scan.probe) ** 2, dtype=np.float64) / np.sum(np.abs(probe) ** 2))
            image, probe = image / gauge, (probe * gauge).astype(np.complex64)
        if self.settings.fit_positions:
            positions = inside(found.positions_px.cpu().numpy() - room, scan)
        refined = self.settings.fit_probe or self.settings.fit_positions
        return Reconstruction(
            arm=self.arm,
            object=image.astype(np.complex64),
            probe=probe,
            positions_px=positions,
            coverage=coverage_map(probe, positions, scan.canvas) if refined else descent.light,
            ledger=Ledger(
                train_seconds=0.0,
                infer_seconds=time.perf_counter() - began,
                epochs=descent.evaluations,
                n_frames=len(scan),
                photons=float(scan.photons.totals.sum()),
                device=self.settings.device,
                threads=torch.get_num_threads(),
            ),
            settings={"engine": "ml", **self.settings.plain(), "convergence": descent.facts()},
            data_digest=scan.digest(),
        )

    def _start(self, scan: Scan) -> np.ndarray:
        """(y, x) complex128 object to start from."""
        if self.start is None:
            return np.full(scan.canvas, flat_amplitude(scan), dtype=np.complex128)
        return checked_start(self.start, scan, self.arm).astype(np.complex128)

    def _heldout(self, scan: Scan) -> Scan | None:
        if self.heldout is not None and self.heldout.photons.shape != scan.photons.shape:
            raise DataError(
                f"{self.arm}: expected held-out counts of the scan's frames, {scan.photons.shape}, got"
                f" {self.heldout.photons.shape}; split the counts of one scan"
            )
        return self.heldout


def _grown(scan: Scan, room: int) -> Scan:
    """The scan on a canvas with room on all sides; its object stays behind."""
    height, width = scan.canvas
    return replace(
        scan,
        positions_px=scan.positions_px + room,
        canvas=(height + 2 * room, width + 2 * room),
        object=None,
        object_is_truth=False,
    )


@dataclass(frozen=True)
class _Estimate:
    """Object on the canvas, probe [sqrt(photon)] and positions [px], in double precision."""

    image: Complex[Tensor, "h w"]
    probe: Complex[Tensor, "mode y x"]
    positions_px: Float[Tensor, "n 2"]


@dataclass(frozen=True)
class _Unknowns:
    """Object, probe and positions as functions of one real vector of scaled variables, zero at the start.

    Attributes:
        start: what they are at zero.
        scale: standard error of a variable of each object pixel; of the phase [rad] when that alone is unknown.
        probe_scale: standard error of a variable of the probe [sqrt(photon)]; None when it is known.
        position_scale: of a coordinate of a position [px]; None when they are known.
        phase_only: one variable a pixel, the phase, and not two.
        number: variables that the photons can tell.
        blur_px: standard deviation of a blur of all change of the object [px].
        spread: standard error of the object's change by frequency, in place of `scale`; None where none is known.
    """

    start: _Estimate
    scale: Float[Tensor, "h w"]
    probe_scale: float | None
    position_scale: float | None
    phase_only: bool
    number: int
    blur_px: float = 0.0
    spread: Float[Tensor, "h w"] | None = None

    @classmethod
    def of(cls, scan: Scan, settings: LikelihoodSettings, start: _Estimate, light: np.ndarray) -> "_Unknowns":
        dimmest = max(settings.pull_photons, _DIM * float(light.max()))
        power = np.abs(start.image.cpu().numpy()) ** 2
        mean_power = float(np.average(power, weights=light))
        phase = np.maximum(power, _DIM * mean_power) if settings.phase_only else 1.0
        photons = float(scan.photons.totals.mean())
        return cls(
            start=start,
            scale=torch.from_numpy(1 / np.sqrt(2 * phase * (light + dimmest))).to(start.image.device),
            probe_scale=float(1 / np.sqrt(2 * len(scan) * mean_power)) if settings.fit_probe else None,
            position_scale=float(1 / (2 * _SHARPNESS * np.sqrt(photons))) if settings.fit_positions else None,
            phase_only=settings.phase_only,
            number=(1 if settings.phase_only else 2) * int((light > dimmest).sum())
            + (2 * scan.probe.size if settings.fit_probe else 0)
            + (2 * len(scan) if settings.fit_positions else 0),
        )

    @property
    def sizes(self) -> list[int]:
        """Variables of the object, of the probe and of the positions."""
        image, probe, positions = (1 if self.phase_only else 2) * self.start.image.numel(), 0, 0
        if self.probe_scale is not None:
            probe = 2 * self.start.probe.numel()
        if self.position_scale is not None:
            positions = self.start.positions_px.numel()
        return [image, probe, positions]

    def at(self, variables: Float[Tensor, " v"]) -> _Estimate:
        """What they are."""
        pixels, modes, coordinates = torch.split(variables, self.sizes)
        image, probe, positions = self.start.image, self.start.probe, self.start.positions_px
        if self.phase_only:
            turn = self._smooth(self.scale * pixels.view(image.shape))
            image = image * torch.complex(turn.cos(), turn.sin())
        else:
            image = image + self._smooth(self._change(torch.complex(*pixels.view(2, *image.shape))))
        if self.probe_scale is not None:
            probe = probe + self.probe_scale * torch.complex(*modes.view(2, *probe.shape))
        if self.position_scale is not None:
            moves = coordinates.view(positions.shape)
            positions = positions + self.position_scale * (moves - moves.mean(dim=0))
        return _Estimate(image, probe, positions)

    def _change(self, variables: Complex[Tensor, "h w"]) -> Complex[Tensor, "h w"]:
        """What variables of one standard error each mean for the object."""
        if self.spread is None:
            return self.scale * variables
        return torch.fft.ifft2(self.spread * torch.fft.fft2(variables))

    def _smooth(self, change: Inexact[Tensor, "h w"]) -> Inexact[Tensor, "h w"]:
        """A change of the object without its finest detail."""
        if not self.blur_px:
            return change
        rows, columns = (
            torch.exp(-2 * (torch.pi * self.blur_px * torch.fft.fftfreq(side, device=change.device)) ** 2)
            for side in change.shape
        )
        smooth = torch.fft.ifft2(torch.fft.fft2(change) * rows[:, None] * columns)
        return smooth if change.is_complex() else smooth.real


@dataclass(frozen=True)
class _Problem:
    """Minus the log-likelihood of a scan, less that of a perfect fit, as a function of the scaled unknowns.

    Attributes:
        unknowns: what is looked for.
        misfit: what the photons say of it.
        pull: weight of keeping the object near `anchor` [photon].
        anchor: the object that all began with.
        prior: usual power of its error by frequency, which speaks for it in place of `pull`; None where none is known.
    """

    unknowns: _Unknowns
    misfit: Misfit
    pull: float
    anchor: Complex[Tensor, "h w"]
    prior: Float[Tensor, "h w"] | None = None

    @classmethod
    def of(
        cls,
        scan: Scan,
        settings: LikelihoodSettings,
        start: _Estimate,
        light: Float[np.ndarray, "h w"],
        anchor: Complex[Tensor, "h w"],
    ) -> "_Problem":
        unknowns = _Unknowns.of(scan, settings, start, light.astype(np.float64))
        return cls(unknowns, _misfit(scan, settings, start), settings.pull_photons, anchor)

    def value_and_gradient(self, variables: Float[Tensor, " v"]) -> tuple[float, Float[Tensor, " v"]]:
        """The value, and its exact gradient: of object, probe and positions, and through them of the variables."""
        leaf = variables.detach().requires_grad_()
        found = self.unknowns.at(leaf)
        pulled = self._pulled(found.image)
        fields = [found.image, found.probe, found.positions_px]
        value, gradients = self.misfit.value_and_gradients(
            found.image.detach(),
            found.probe.detach(),
            found.positions_px.detach(),
            probe_too=self.unknowns.probe_scale is not None,
            positions_too=self.unknowns.position_scale is not None,
        )
        through = [(part, gradient) for part, gradient in zip(fields, gradients, strict=True) if gradient is not None]
        outputs, weights = zip((pulled, torch.ones_like(pulled)), *through, strict=True)
        return value + float(pulled.detach()), torch.autograd.grad(outputs, leaf, weights)[0]

    def _pulled(self, image: Complex[Tensor, "h w"]) -> Float[Tensor, ""]:
        """What speaks against an object for being far from the start."""
        change = image - self.anchor
        if self.prior is None:
            return self.pull * change.abs().square().sum()
        return (torch.fft.fft2(change, norm="ortho").abs().square() / self.prior).sum()


def _estimate(scan: Scan, settings: LikelihoodSettings, image: np.ndarray) -> _Estimate:
    """An object, and the probe and positions of a scan."""
    parts = (image.astype(np.complex128), scan.probe.astype(np.complex128), scan.positions_px)
    device = usable_device(settings.device)
    return _Estimate(*(torch.from_numpy(part).to(device) for part in parts))


def _misfit(scan: Scan, settings: LikelihoodSettings, at: _Estimate, share: float = 1.0) -> Misfit:
    """The misfit of a scan, its windows cut where they are now, under that share of the probe's amplitude."""
    low = torch.tensor([side // 2 for side in scan.window])
    high = torch.tensor(scan.canvas) - torch.tensor(scan.window) + low
    cut = at.positions_px.round().clamp(low.to(at.positions_px), high.to(at.positions_px))
    fixed = not (settings.fit_probe or settings.fit_positions)
    return Misfit(
        scan,
        scan.canvas,
        cut,
        known=(share * at.probe, at.positions_px) if fixed else None,
        real=torch.float32 if settings.precision == "single" else torch.float64,
        device=at.image.device,
    )


class _Descent:
    """L-BFGS, its windows cut anew between rounds, and what there is to tell of it."""

    def __init__(
        self,
        settings: LikelihoodSettings,
        scan: Scan,
        heldout: Scan | None,
        advance: Callable[..., None],
        errors: ErrorSpectrum | None = None,
    ) -> None:
        self._settings, self._scan, self._heldout, self._advance = settings, scan, heldout, advance
        self._errors = errors
        self._deadline = time.monotonic() + (settings.time_limit_s or np.inf)
        self._pixels = len(scan) * int(scan.mask.sum())
        self._values: list[float] = []
        self._heldout_values: list[float] = []
        self._number = 0
        self._ended = ""
        self.light = coverage_map(scan.probe, scan.positions_px, scan.canvas)
        self.evaluations = 0

    def run(self, start: np.ndarray) -> _Estimate:
        """The best object, probe and positions from a start on the canvas."""
        estimate = _estimate(self._scan, self._settings, start)
        anchor = estimate.image
        prior, spread = self._known(anchor)
        for most, blur_px in self._rounds():
            problem = _Problem.of(self._scan, self._settings, estimate, self.light, anchor)
            unknowns = replace(problem.unknowns, blur_px=blur_px, spread=spread)
            estimate = self._round(replace(problem, unknowns=unknowns, prior=prior), most, last=blur_px == 0)
            if self._ended:
                break
        return estimate

    def _known(self, start: Complex[Tensor, "h w"]) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """Usual power of the start's error by frequency, and the standard error that photons leave of it.

        Neither, where the photons tell far more than the start at every frequency.
        """
        if self._errors is None:
            return None, None
        photons, light = lit_photons(self.light), torch.from_numpy(self.light).to(start.device)
        brightness = float((start.abs().square() * light).sum() / light.sum())
        power = brightness * torch.from_numpy(self._errors.at(photons, self._scan.canvas)).to(start.device)
        if photons * float(power.min()) > _TOLD:
            return None, None
        return power, (power / (1 + _SLOW_SHARE * photons * power)).sqrt()

    def _rounds(self) -> Iterator[tuple[int, float]]:
        """Iterations at the most, and blur, of one round after the other; the last has no blur."""
        whole = self._settings.iterations
        if self._settings.fit_positions:
            for most, blur_px in _ROUNDS:
                if share := most * min(whole, _ROUNDS_OF) // _ROUNDS_OF:
                    yield share, blur_px
        yield whole - self._iterations, 0.0

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        curves = {"deviance": self._values, **({"deviance_heldout": self._heldout_values} if self._heldout else {})}
        return {
            "converged": self._ended in {"tolerance", "rounding"},
            "ended_by": self._ended,
            "iterations": self._iterations,
            "evaluations": self.evaluations,
            "unknowns": self._number,
            **{name: [2 * value / self._pixels for value in values] for name, values in curves.items()},
        }

    @property
    def _iterations(self) -> int:
        return max(0, len(self._values) - 1)

    def _round(self, problem: _Problem, most: int, last: bool) -> _Estimate:
        """Iterate until the windows want cutting, or to the end."""
        first = self._iterations
        self._number = problem.unknowns.number
        unseen = self._unseen(problem)
        device = problem.anchor.device

        def function(variables: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = problem.value_and_gradient(torch.from_numpy(variables).to(device))
            self.evaluations += 1
            if not self._values:
                self._note(value, unseen, variables)
            return value, gradient.cpu().numpy()

        def after_step(intermediate_result: Any) -> None:
            self._note(float(intermediate_result.fun), unseen, intermediate_result.x)
            settled = self._settled(first)
            if settled and last:
                self._ended = "tolerance"
            elif time.monotonic() > self._deadline:
                self._ended = "time limit"
            if settled or self._ended:
                raise StopIteration

        limits = {"maxiter": most, "maxfun": 100 * most, "ftol": 0, "gtol": 0}
        found = minimize(
            function,
            np.zeros(sum(problem.unknowns.sizes)),
            jac=True,
            method="L-BFGS-B",
            callback=after_step,
            options={"maxcor": _MEMORY, **limits},
        )
        if last and not self._ended:  # rounding: a descent direction along which nothing lower is found
            self._ended = "iteration limit" if found.nit >= most else "rounding"
        return problem.unknowns.at(torch.from_numpy(found.x).to(device))

    def _note(self, value: float, unseen: Callable[[np.ndarray], float] | None, variables: np.ndarray) -> None:
        """Write down where a step has led."""
        self._values.append(value)
        if unseen is not None:
            self._heldout_values.append(unseen(variables))
        self._advance(self._iterations, f"deviance {2 * value / self._pixels:.4f}")

    def _settled(self, first: int) -> bool:
        """Whether the last iterations of a round have gained next to nothing."""
        values = self._values[first:]
        gain = values[-1 - _WINDOW] - values[-1] if len(values) > _WINDOW else np.inf
        return bool(gain < self._settings.tolerance * self._number)

    def _unseen(self, problem: _Problem) -> Callable[[np.ndarray], float] | None:
        """Misfit of the held-out counts at a vector of variables."""
        if self._heldout is None:
            return None
        powers = (np.sum(np.abs(scan.probe) ** 2, dtype=np.float64) for scan in (self._heldout, self._scan))
        share = float(np.sqrt(next(powers) / next(powers)))
        misfit = _misfit(self._heldout, self._settings, problem.unknowns.start, share)

        def value(variables: np.ndarray) -> float:
            found = problem.unknowns.at(torch.from_numpy(variables).to(problem.anchor.device))
            return misfit.value(found.image, share * found.probe, found.positions_px)

        return value
