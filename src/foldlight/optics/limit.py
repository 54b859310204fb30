"""The dose limit: the least error that any unbiased method can reach with a scan, and with a stated prior, any method.

Errors are relative, `e = estimate / truth - 1`, so that bright and dark pixels count alike; for a phase object they are
phases [rad]. What no data can tell, the gauge, is taken out of errors and bound alike: a constant phase; for an unknown
probe also both phase ramps and, where the amplitude is unknown, its constant logarithm. Without background the bound is
proportional to 1 / dose.

Source: docs/physics.md, the dose limit; Wei et al., Phys. Rev. A 102 (2020) 043516; Van Trees, Detection, Estimation,
and Modulation Theory I (1968), sec. 2.4.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from scipy.fft import next_fast_len
from scipy.ndimage import gaussian_filter
from torch import Tensor

from foldlight.core.errors import DataError, SettingsError
from foldlight.core.seeds import generator
from foldlight.core.shown import Shown
from foldlight.optics.coverage import bounding_box
from foldlight.optics.fisher import Fisher, Parameters, conjugate_gradients
from foldlight.optics.prior import Prior
from foldlight.optics.rings import Rings, tapered, tapered_window

__all__ = ["DoseLimit", "Method", "dose_limit", "squared_error"]

Method = Literal["auto", "dense", "matrix-free"]

_DENSE_SIZE = 2000  # parameters up to which the matrix is made and factored: a second or two; 4,000 take some ten
_RIDGE = 1e-11  # of the scaled matrix, whose eigenvalues lie in [0, 2]: keeps the gauge from breaking the factors
_VECTOR_PIXELS = 30_000  # scored pixels times random vectors for about 1 %
_MOST_VECTORS = 16
_TOLERANCE = 2e-3  # share of the bound that the last iterations may still add
_BAYES_TOLERANCE = 5e-3
_POOLED = 60  # spectral samples times vectors that the noise of a ring is averaged over at least
_UNDETERMINED = 1e6  # times 1 / n: no scan that determines its object comes near, rounding alone keeps others finite
_SMOOTHED = 600  # pixels times vectors that the variance of a pixel is averaged over: some 5 % of noise
_OPAQUE = 1e-3  # of the brightest transmission: a relative error of less has no meaning


@dataclass(frozen=True, repr=False)
class DoseLimit(Shown):
    """The least mean squared error on the scored pixels.

    Attributes:
        parameters: what is unknown of the object: amplitude and phase (`complex`), or the phase alone.
        probe: whether the probe is known.
        bound: least mean over the scored pixels of `E |e|^2`; for a phase object of the squared phase error [rad^2].
        bound_error: standard error of `bound` from the random vectors; 0 when dense.
        bayes: the same for any method that knows the prior, biased ones too (Van Trees); None when not asked for.
        photons_per_pixel: n, median over the scored pixels of the photons through one, `sum_jm |P_jm|^2 |O|^2`.
        nyquist: (ring,) frequency of the rings of `compare.frc.ring_correlation` for the same mask.
        signal: (ring,) mean power of the tapered truth without its mean.
        noise: (ring,) mean power of the least error of the object, in the same window.
        iterations: of the solver; 0 when dense.
        unsettled: share of `bound` that the solver's last iterations still added; a bound that is not settled is too
            low, so still a bound.
        phase_bound: the part of `bound` that is phase [rad^2]; the rest is relative error of the amplitude.
        variance: (y, x) `E |e|^2` of each pixel, NaN where none is scored; a local mean where random vectors gave it.
    """

    parameters: Parameters
    probe: Literal["known", "blind"]
    bound: float
    bound_error: float
    bayes: float | None
    photons_per_pixel: float
    nyquist: np.ndarray
    signal: np.ndarray
    noise: np.ndarray
    iterations: int = 0
    unsettled: float = 0.0
    phase_bound: float = math.nan
    variance: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    def __repr__(self) -> str:
        least = f"least error {math.sqrt(self.bound):.3g}" if self.determined else "not determined"
        dose = f"{self.photons_per_pixel:.3g} photons per object pixel"
        return f"<DoseLimit: {least} of {self.parameters} object, {self.probe} probe, {dose}>"

    @property
    def frc(self) -> np.ndarray:
        """(ring,) Fourier ring correlation against the truth of an estimate with just this noise.

        `1 / sqrt(1 + N / S)`. Source: docs/physics.md, the dose limit.
        """
        ratio = np.divide(self.noise, self.signal, out=np.full(self.noise.shape, np.inf), where=self.signal > 0)
        return 1 / np.sqrt(1 + ratio)

    @property
    def determined(self) -> bool:
        """Whether the data determine the object at all; where not, `bound` is a large number without meaning."""
        return self.bound * self.photons_per_pixel < _UNDETERMINED

    def at_dose(self, factor: float) -> "DoseLimit":
        """The limit of the same scan with `factor` times the photons: exact without background, but for the prior."""
        return replace(
            self,
            bound=self.bound / factor,
            bound_error=self.bound_error / factor,
            bayes=None,
            photons_per_pixel=self.photons_per_pixel * factor,
            noise=self.noise / factor,
            phase_bound=self.phase_bound / factor,
            variance=self.variance / factor,
        )


def dose_limit(
    truth: Complex[np.ndarray, "y x"],
    probe: Complex[np.ndarray, "mode py px"],
    positions_px: Float[np.ndarray, "n 2"],
    mask: Bool[np.ndarray, "y x"],
    *,
    detector_mask: Bool[np.ndarray, "py px"] | None = None,
    parameters: Parameters = "complex",
    probe_known: bool = True,
    background: float = 0.0,
    vectors: int | None = None,
    iterations: int | None = None,
    seed: int = 0,
    prior: Prior | None = None,
    method: Method = "auto",
) -> DoseLimit:
    """The least error that Poisson counts of this scan allow on the pixels of a mask.

    All illuminated pixels are unknown, and so is the whole probe when it is not known; only pixels of the mask count.
    The Fisher matrix is taken at the truth, for the Bayesian bound too.

    Args:
        truth: transmission of the object.
        probe: incoherent modes [sqrt(photon)].
        positions_px: (y, x) window centres [px].
        mask: pixels to score, for instance `coverage.well_lit`; opaque and unlit ones are left out.
        detector_mask: detector pixels that count; all when None.
        parameters: what is unknown of the object.
        probe_known: False for the bound of a blind reconstruction.
        background: photons a detector pixel counts without any object.
        vectors: random sign vectors of the matrix-free way; 1 to 16, for about 1 %, when None.
        iterations: most conjugate-gradient iterations; 150, or 400 with an unknown probe, when None.
        seed: of the random vectors.
        prior: spectrum of the Bayesian bound.
        method: `dense` makes the matrix, `matrix-free` never does, `auto` does up to 2,000 parameters.

    Raises:
        DataError: no pixel is left to score, or a window leaves the canvas.
        SettingsError: no vector or no iteration is asked for.
    """
    _check(vectors, iterations)
    scan = (truth, probe, positions_px, detector_mask, parameters, probe_known, background)
    fisher = Fisher(*scan, dtype=torch.complex64)
    score = _Score.of(fisher, truth, mask, probe_known)
    unknowns = int(fisher.active.sum())
    dense = method == "dense" or (method == "auto" and unknowns <= _DENSE_SIZE)
    if dense:
        found = _dense(Fisher(*scan), score, prior)
    else:
        number = vectors or int(np.clip(np.ceil(_VECTOR_PIXELS / score.pixels), 1, _MOST_VECTORS))
        most = iterations or (150 if probe_known else 400)
        found = _matrix_free(fisher, score, prior, number, most, seed)
    variance = found.pop("variance")
    return DoseLimit(
        parameters=parameters,
        probe="known" if probe_known else "blind",
        photons_per_pixel=float(np.median(fisher.photons[score.mask])),
        nyquist=score.rings.nyquist,
        signal=score.rings.mean(np.abs(np.fft.fft2(tapered(truth[bounding_box(mask)], score.window))) ** 2),
        **found,
        variance=score.on_canvas(variance, fisher.box, (truth.shape[0], truth.shape[1])),
    )


def squared_error(
    estimate: Complex[np.ndarray, "y x"],
    truth: Complex[np.ndarray, "y x"],
    mask: Bool[np.ndarray, "y x"],
    parameters: Parameters = "complex",
    probe_known: bool = True,
) -> float:
    """Mean squared error of an estimate as `dose_limit` bounds it: relative, the gauge projected out.

    The constant phase is removed exactly, and for an unknown probe the scale; small ramps are projected out. The
    estimate is not registered: a shift, or a ramp of more than a radian or so, is for `compare.align` to remove.

    Raises:
        DataError: no pixel is left to score.
    """
    scored = _scored(truth, mask)
    ratio = estimate[scored].astype(np.complex128) / truth[scored]
    turn = np.exp(-1j * np.angle(np.sum(ratio / np.maximum(np.abs(ratio), 1e-300))))
    gauge = _gauge(scored, parameters, probe_known)
    if parameters == "phase":
        phase = np.angle(ratio * turn)
        return float(np.mean((phase - gauge.T @ (gauge @ phase)) ** 2))
    if not probe_known:
        size = float(np.median(np.abs(ratio)))
        ratio = ratio / (size if size > 0 else 1.0)
    error = _pairs(ratio * turn - 1)
    return float(np.sum((error - gauge.T @ (gauge @ error)) ** 2) / scored.sum())


@dataclass(frozen=True)
class _Score:
    """Where a parameter vector is scored, and without what. Score space holds the scored entries, pixel by pixel."""

    mask: np.ndarray  # (y, x) on the cropped canvas
    parameters: Parameters
    places: Tensor  # (scored,) of a parameter vector
    gauge: Tensor  # (g, scored) orthonormal directions
    truth: np.ndarray  # (pixel,)
    inside: np.ndarray  # (pixel,) index in the box of the FRC
    window: np.ndarray  # (y, x) taper in that box
    rings: Rings

    @classmethod
    def of(cls, fisher: Fisher, truth: np.ndarray, mask: np.ndarray, probe_known: bool) -> "_Score":
        lit = np.zeros_like(mask)
        lit[fisher.box] = fisher.lit
        scored = _scored(truth, mask & lit)
        pixels = np.flatnonzero(scored[fisher.box])
        both = fisher.parameters == "complex"
        box = bounding_box(mask)
        window = tapered_window(mask[box])
        return cls(
            mask=scored[fisher.box],
            parameters=fisher.parameters,
            places=torch.from_numpy((2 * pixels[:, None] + [0, 1]).ravel() if both else pixels),
            gauge=torch.from_numpy(_gauge(scored, fisher.parameters, probe_known)),
            truth=truth[scored].astype(np.complex128),
            inside=np.flatnonzero(scored[box]),
            window=window,
            rings=Rings.of(window.shape),
        )

    @property
    def pixels(self) -> int:
        """Number of scored pixels."""
        return len(self.truth)

    @property
    def size(self) -> int:
        """Entries of score space."""
        return len(self.places)

    def without_gauge(self, values: Float[Tensor, "v scored"]) -> Float[Tensor, "v scored"]:
        """`Q z`."""
        return values - (values @ self.gauge.T) @ self.gauge

    def taken(self, vectors: Float[Tensor, "v size"]) -> Float[Tensor, "v scored"]:
        """`Q S x`: scored entries of parameter vectors in double precision, without the gauge."""
        return self.without_gauge(vectors[:, self.places].double())

    def placed(self, values: Float[Tensor, "v scored"], size: int) -> Float[Tensor, "v size"]:
        """`S^T Q z`, its adjoint."""
        vectors = torch.zeros(len(values), size, dtype=torch.float64)
        vectors[:, self.places] = self.without_gauge(values)
        return vectors

    def spectrum(self, values: Float[Tensor, " scored"]) -> np.ndarray:
        """(y, x) spectrum of a deviation of the object, cut, freed of its mean and tapered as in the FRC."""
        entries = values.numpy().reshape(self.pixels, -1)
        deviation = entries[:, 0] + 1j * entries[:, 1] if self.parameters == "complex" else 1j * entries[:, 0]
        image = np.zeros(self.window.shape, dtype=np.complex128)
        image.ravel()[self.inside] = self.truth * deviation
        return np.fft.fft2(tapered(image, self.window))

    def shares(self, trace: Float[np.ndarray, " scored"]) -> dict[str, Any]:
        """What the diagonal of a covariance says: its phase part, and the variance of every pixel."""
        entries = trace.reshape(self.pixels, -1)
        return {"phase_bound": float(entries[:, -1].mean()), "variance": entries.sum(axis=1)}

    def smoothed(self, values: Float[np.ndarray, " pixel"], vectors: int) -> Float[np.ndarray, " pixel"]:
        """Noisy values of pixels, averaged within the mask over about `_SMOOTHED` samples."""
        radius = math.sqrt(_SMOOTHED / (4 * math.pi * vectors))
        image = np.zeros(self.mask.shape)
        image[self.mask] = values
        total, share = gaussian_filter(image, radius), gaussian_filter(self.mask.astype(float), radius)
        return np.maximum(total[self.mask] / share[self.mask], 0)

    def on_canvas(self, values: Float[np.ndarray, " pixel"], box: tuple, canvas: tuple[int, int]) -> np.ndarray:
        """(y, x) values of pixels on the whole canvas, NaN where none is scored."""
        image = np.full(canvas, np.nan)
        image[box][self.mask] = values
        return image


def _matrix_free(
    fisher: Fisher, score: _Score, prior: Prior | None, vectors: int, iterations: int, seed: int
) -> dict[str, Any]:
    """Traces from random sign vectors z: `E z^T A z = tr A`.

    The variance of one is `2 (|A|^2 - sum A_ii^2)`, at most `2 (E |A z|^2 - (tr A)^2 / size)`.
    Source: Hutchinson, Commun. Statist. Simul. 18 (1989) 1059.
    """
    rng = generator(seed, "dose limit")
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], size=(vectors, score.size)))
    right = score.placed(signs, fisher.size)
    scale = fisher.scale.float()
    solved = conjugate_gradients(fisher.product, lambda r: r / scale, right.float(), iterations, _TOLERANCE)
    error = score.taken(solved.solution)
    trace = float(solved.value.mean())
    spread = 2 * max(float(error.square().sum(dim=1).mean()) - trace**2 / score.size, 0.0)
    crossed = [
        (score.spectrum(z).conj() * score.spectrum(e)).real
        for z, e in zip(score.without_gauge(signs), error, strict=True)
    ]
    shares = score.shares((signs * error).mean(dim=0).numpy())
    return {
        "bound": trace / score.pixels,
        "bound_error": float(np.sqrt(spread / vectors)) / score.pixels,
        "bayes": None if prior is None else _bayes_matrix_free(fisher, score, prior, right, iterations),
        "noise": _pooled(score.rings, np.mean(crossed, axis=0), vectors).clip(min=0),
        "iterations": solved.iterations,
        "unsettled": float(solved.left.max()),
        "phase_bound": shares["phase_bound"],
        "variance": score.smoothed(shares["variance"], vectors),
    }


def _dense(fisher: Fisher, score: _Score, prior: Prior | None) -> dict[str, Any]:
    """The same from the matrix: `tr(Q S F^-1 S^T Q) = |L^-1 S^T Q|^2` with `F = L L^T`, in units of its diagonal."""
    active = fisher.active
    root = fisher.scale[active].sqrt()
    matrix = fisher.dense() / (root[:, None] * root)
    columns = score.placed(torch.eye(score.size, dtype=torch.float64), fisher.size)[:, active].T / root[:, None]
    halves = _halves(matrix, columns)
    power = sum((np.abs(score.spectrum(half)) ** 2 for half in halves), np.zeros(score.window.shape))
    return {
        "bound": float(halves.square().sum()) / score.pixels,
        "bound_error": 0.0,
        "bayes": None if prior is None else _bayes_dense(fisher, score, prior),
        "noise": score.rings.mean(power),
        **score.shares(halves.square().sum(dim=0).numpy()),
    }


def _pooled(rings: Rings, power: Float[np.ndarray, "y x"], vectors: int) -> Float[np.ndarray, " ring"]:
    """(ring,) mean power, of neighbouring rings too where one alone has too few samples for a steady mean."""
    total, samples = np.cumsum([0, *rings.sum(power)]), np.cumsum([0, *rings.samples])
    number = len(rings.samples)
    means = []
    for ring in range(number):
        reach = next(
            (
                r
                for r in range(number)
                if vectors * (samples[min(ring + r + 1, number)] - samples[max(ring - r, 0)]) >= _POOLED
            ),
            number,
        )
        first, last = max(ring - reach, 0), min(ring + reach + 1, number)
        means.append((total[last] - total[first]) / (samples[last] - samples[first]))
    return np.array(means)


class _Whitened:
    """The Bayesian problem in units of the prior: `1 + R^T F R`, with `R R^T = S` the prior's covariance.

    Solving for `R^-1 c` needs no inverse of the prior's power, which spans many decades. The prior lives on a canvas a
    little larger, of a size that is fast to transform, round which it wraps; a probe has no prior.
    """

    def __init__(self, fisher: Fisher, prior: Prior) -> None:
        self.fisher = fisher
        self._canvas = (next_fast_len(fisher.canvas[0], True), next_fast_len(fisher.canvas[1], True))
        powers = prior.spectra(self._canvas) if fisher.parameters == "complex" else prior.spectra(self._canvas)[1:]
        real = torch.zeros(0, dtype=fisher.dtype).real.dtype
        self._power = torch.from_numpy(np.stack(powers)[..., : self._canvas[1] // 2 + 1]).to(real)
        self._probe_scale = fisher.scale[fisher.object_size :].to(real)
        # one number for the whole canvas makes the preconditioner a filter
        self._light = float(2 * np.median(fisher.photons[fisher.lit]))

    @property
    def object_size(self) -> int:
        """Entries of a white vector that belong to the object."""
        return len(self._power) * self._canvas[0] * self._canvas[1]

    @property
    def scale(self) -> Float[Tensor, " white"]:
        """About the diagonal: 1 for the object, the probe's own."""
        return torch.cat([torch.ones(self.object_size, dtype=self._probe_scale.dtype), self._probe_scale])

    def product(self, vectors: Float[Tensor, "v white"]) -> Float[Tensor, "v white"]:
        """`(1 + R^T F R) d`, without the 1 for the probe."""
        image = self.whitened(self.fisher.product(self.coloured(vectors)))
        image[:, : self.object_size] += vectors[:, : self.object_size]
        return image

    def precondition(self, vectors: Float[Tensor, "v white"]) -> Float[Tensor, "v white"]:
        """The inverse for even light, frequency by frequency."""
        fields = self._filtered(self._fields(vectors), 1 / (1 + self._light * self._power))
        return torch.cat([fields.flatten(1), vectors[:, self.object_size :] / self._probe_scale], dim=1)

    def coloured(self, vectors: Float[Tensor, "v white"]) -> Float[Tensor, "v size"]:
        """`R d`: white fields become fields of the prior, cut to the canvas of the scan."""
        height, width = self.fisher.canvas
        fields = self._filtered(self._fields(vectors), self._power.sqrt())[:, :, :height, :width]
        return torch.cat([fields.permute(0, 2, 3, 1).flatten(1), vectors[:, self.object_size :]], dim=1)

    def whitened(self, vectors: Float[Tensor, "v size"]) -> Float[Tensor, "v white"]:
        """`R^T d`, the adjoint of `coloured`."""
        height, width = self.fisher.canvas
        fields = torch.zeros(len(vectors), len(self._power), *self._canvas, dtype=vectors.dtype)
        some = vectors[:, : self.fisher.object_size].reshape(len(vectors), height, width, -1)
        fields[:, :, :height, :width] = some.permute(0, 3, 1, 2)
        coloured = self._filtered(fields, self._power.sqrt())
        return torch.cat([coloured.flatten(1), vectors[:, self.fisher.object_size :]], dim=1)

    def _fields(self, vectors: Tensor) -> Tensor:
        return vectors[:, : self.object_size].reshape(len(vectors), -1, *self._canvas)

    def _filtered(self, fields: Tensor, transfer: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(fields) * transfer, s=self._canvas)


def _bayes_matrix_free(fisher: Fisher, score: _Score, prior: Prior, right: Tensor, iterations: int) -> float:
    """`tr(Q S (F + S^-1)^-1 S^T Q)` over pixels, with the same random vectors."""
    white = _Whitened(fisher, prior)
    solved = conjugate_gradients(
        white.product, white.precondition, white.whitened(right.float()), iterations, _BAYES_TOLERANCE
    )
    return float(solved.value.mean()) / score.pixels


def _bayes_dense(fisher: Fisher, score: _Score, prior: Prior) -> float:
    """The same from the matrix."""
    white = _Whitened(fisher, prior)
    root = white.scale.sqrt()
    units = torch.eye(len(root), dtype=torch.float64)
    matrix = torch.cat([white.product(units[start : start + 16]) for start in range(0, len(units), 16)])
    columns = white.whitened(score.placed(torch.eye(score.size, dtype=torch.float64), fisher.size)).T / root[:, None]
    return float(_halves(matrix / (root[:, None] * root), columns).square().sum()) / score.pixels


def _halves(matrix: Tensor, columns: Tensor) -> Tensor:
    """`L^-1 B` with `L L^T` the matrix, in double precision."""
    factor = torch.linalg.cholesky((matrix + matrix.T) / 2 + _RIDGE * torch.eye(len(matrix), dtype=torch.float64))
    return torch.linalg.solve_triangular(factor, columns, upper=False)


def _scored(truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(y, x) bool: the mask without opaque pixels, whose relative error has no meaning."""
    modulus = np.abs(truth)
    scored: np.ndarray = mask & (modulus > _OPAQUE * modulus[mask].max(initial=0))
    if not scored.any():
        raise DataError(
            "dose limit: expected at least one lit, transparent pixel to score, got none; check mask and probe"
        )
    return scored


def _gauge(scored: np.ndarray, parameters: Parameters, probe_known: bool) -> np.ndarray:
    """(g, scored) orthonormal directions of score space that no data can tell."""
    y, x = np.nonzero(scored)
    one, none = np.ones(len(y)), np.zeros(len(y))
    phases = [one] if probe_known else [one, y - y.mean(), x - x.mean()]
    if parameters == "phase":
        directions = np.stack(phases)
    else:
        directions = np.stack([np.stack([none, phase], axis=-1).ravel() for phase in phases])
        if not probe_known:
            directions = np.concatenate([directions, np.stack([one, none], axis=-1).reshape(1, -1)])
    _, sizes, rows = np.linalg.svd(directions, full_matrices=False)
    independent: np.ndarray = rows[sizes > 1e-9 * sizes[0]]
    return independent


def _pairs(values: np.ndarray) -> np.ndarray:
    """(2 n,) real and imaginary parts in turns."""
    return np.stack([values.real, values.imag], axis=-1).ravel()


def _check(vectors: int | None, iterations: int | None) -> None:
    for name, value in (("vectors", vectors), ("iterations", iterations)):
        if value is not None and value < 1:
            raise SettingsError(f"{name} = {value}: expected 1 or more")
