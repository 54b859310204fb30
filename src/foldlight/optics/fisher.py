"""What Poisson counts tell about an object, and about the probe where it is unknown: the Fisher matrix, never stored.

Notation: object `O (1 + c)`, with `c = u + i v` the unknown (relative) deviation; `Psi_jm = F[P_jm O_j]` the wave of
frame j and mode m; `lam_j = sum_m |Psi_jm|^2 + b`; `W_jm = 2 Psi_jm / sqrt(lam_j)`, zero on detector pixels that are
left out. Then

`(J d)_jq = Re sum_m conj(W_jm) F[O_j (P_jm c_j + p_jm)]`,  Fisher matrix `J^T J`,

with `p_m` the unknown deviation of the probe [sqrt(photon)], moved by each position's sub-pixel part as the probe is.
`O (1 + c)` has the same Fisher matrix as `O exp(c)`, so `u` is also the log-amplitude and `v` the phase [rad].

Source: docs/physics.md, the dose limit; Wei et al., Phys. Rev. A 102 (2020) 043516.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from foldlight.core.errors import DataError
from foldlight.optics.forward import illumination, place_probe, wavefields
from foldlight.optics.patches import fraction_px, gather, scatter

__all__ = ["Energy", "Fisher", "Parameters", "conjugate_gradients"]

Parameters = Literal["complex", "phase"]
"""What is unknown of the object: amplitude and phase, or the phase alone."""

_LIT = 1e-12  # of the brightest pixel's photons: below, a pixel is dark and no parameter
_BLOCK_PIXELS = 2**19  # window pixels at a time: 4 MB of complex64, measured best on one core
_KEPT_BYTES = 2**30  # of waves and weights kept between products; beyond, they are made anew each time


@dataclass(frozen=True)
class _Block:
    """Some frames: what a product needs of them. Spectra are stored as `fft2` orders them, without any shift."""

    positions: Tensor  # (frame, 2) on the cropped canvas
    patches: Tensor  # (frame, y, x) O_j
    waves: Tensor  # (frame, mode, y, x) P_jm O_j
    weights: Tensor  # (frame, mode, y, x) W_jm
    moves: tuple[Tensor, Tensor] | None  # (frame, y, 1), (frame, 1, x) spectra of the sub-pixel moves


class Fisher:
    """The Fisher matrix of a scan as an operator on real parameter vectors.

    A vector holds `c` of every pixel of the cropped canvas, row by row, as pairs (u, v), or as `v` alone where only the
    phase is unknown; and then, for an unknown probe, the pairs (real, imaginary) of `p` of every mode and window pixel.
    Pixels that saw no light are no parameters: their entries are ignored, and zero in every result.

    Attributes:
        parameters: what is unknown of the object.
        probe_known: False adds the probe to the unknowns.
        box: rows and columns of the truth that the windows reach; the canvas here is cropped to it.
        photons: (y, x) float64 photons through each object pixel, `n = sum_jm |P_jm|^2 |O|^2`, on the cropped canvas.
        lit: (y, x) bool, the pixels that are parameters.
        size: entries of a vector.

    Args:
        truth: (y, x) complex transmission.
        probe: (mode, y, x) complex [sqrt(photon)].
        positions_px: (n, 2) (y, x) window centres [px].
        detector_mask: (y, x) bool, detector pixels that count; all when None.
        parameters: what is unknown of the object.
        probe_known: False adds the probe to the unknowns.
        background: `b`, photons a detector pixel counts without any object.
        dtype: complex128 where the matrix itself is wanted, complex64 for products.

    Raises:
        DataError: a window leaves the canvas.
    """

    def __init__(
        self,
        truth: np.ndarray,
        probe: np.ndarray,
        positions_px: np.ndarray,
        detector_mask: np.ndarray | None = None,
        parameters: Parameters = "complex",
        probe_known: bool = True,
        background: float = 0.0,
        dtype: torch.dtype = torch.complex128,
    ) -> None:
        self.parameters, self.probe_known, self.dtype = parameters, probe_known, dtype
        self._window = (int(probe.shape[-2]), int(probe.shape[-1]))
        self.box, corner = _reach(positions_px, self._window, (truth.shape[0], truth.shape[1]))
        self._positions = torch.from_numpy(positions_px.astype(np.float64) - corner)
        self._object = torch.from_numpy(truth[self.box].astype(np.complex128))
        self._probe = torch.from_numpy(probe.astype(np.complex128))
        self._valid = torch.ones(self._window) if detector_mask is None else torch.from_numpy(detector_mask).double()
        self._background = background
        kept = len(positions_px) * (2 * len(probe) + 1) * self._window[0] * self._window[1] * dtype.itemsize
        blocks = self._built()
        self._blocks: Callable[[], Iterator[_Block]] = self._built
        if kept <= _KEPT_BYTES:
            stored = list(blocks)
            self._blocks = lambda: iter(stored)
        self._light, photons = self._light_of_object(), self._photons()
        self.photons: np.ndarray = photons.numpy()
        self._lit = photons > _LIT * photons.max()
        self.lit: np.ndarray = self._lit.numpy()

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) of the cropped canvas."""
        return int(self._object.shape[0]), int(self._object.shape[1])

    @property
    def object_size(self) -> int:
        """Entries of a vector that belong to the object."""
        return self._object.numel() * (2 if self.parameters == "complex" else 1)

    @property
    def size(self) -> int:
        """Entries of a vector."""
        return self.object_size + (0 if self.probe_known else 2 * self._probe.numel())

    @property
    def scale(self) -> Float[Tensor, " size"]:
        """About the diagonal of the matrix: 2 n of each pixel, 2 sum_j |O_j|^2 of the probe's; 1 where no parameter is.

        Source: docs/physics.md: phase and log-amplitude of a pixel share an information of 4 n.
        """
        light = torch.from_numpy(np.where(self.lit, 2 * self.photons, 1.0)).reshape(-1)
        per_pixel = light.repeat_interleave(2 if self.parameters == "complex" else 1)
        if self.probe_known:
            return per_pixel
        probe = torch.where(self._light > 0, 2 * self._light, torch.ones_like(self._light))
        return torch.cat([per_pixel, probe.reshape(-1).repeat_interleave(2).repeat(len(self._probe))])

    @property
    def active(self) -> Bool[Tensor, " size"]:
        """The entries that are parameters."""
        lit = self._lit.reshape(-1).repeat_interleave(2 if self.parameters == "complex" else 1)
        return torch.cat([lit, torch.ones(self.size - self.object_size, dtype=torch.bool)])

    def forward(self, vectors: Float[Tensor, "v size"]) -> Float[Tensor, "v frame y x"]:
        """`J d`: change of each count over its standard deviation, detector pixels in the order of `fft2`."""
        return torch.cat([self._forward(block, *self._unpacked(vectors)) for block in self._blocks()], dim=1)

    def adjoint(self, counts: Float[Tensor, "v frame y x"]) -> Float[Tensor, "v size"]:
        """`J^T g`."""
        taken, total = 0, self._zeros(len(counts))
        for block in self._blocks():
            frames = len(block.positions)
            self._adjoint(block, counts[:, taken : taken + frames], *total)
            taken += frames
        return self._packed(*total)

    def product(self, vectors: Float[Tensor, "v size"]) -> Float[Tensor, "v size"]:
        """`J^T J d`."""
        total, unknown = self._zeros(len(vectors)), self._unpacked(vectors)
        for block in self._blocks():
            self._adjoint(block, self._forward(block, *unknown), *total)
        return self._packed(*total)

    def dense(self, block: int = 16) -> Float[Tensor, "active active"]:
        """The matrix of the active parameters, column by column."""
        places = self.active.nonzero()[:, 0]
        real = torch.zeros(0, dtype=self.dtype).real.dtype
        columns = []
        for start in range(0, len(places), block):
            some = places[start : start + block]
            units = torch.zeros(len(some), self.size, dtype=real)
            units[torch.arange(len(some)), some] = 1
            columns.append(self.product(units)[:, places])
        matrix = torch.cat(columns)
        return (matrix + matrix.T) / 2

    def _forward(self, block: _Block, deviation: Tensor, probe: Tensor) -> Tensor:
        """Change of the counts of a block of frames for each vector."""
        places = block.positions.expand(len(deviation), -1, -1)
        waves = gather(deviation, places, self._window)[:, :, None] * block.waves
        if not self.probe_known:
            spectrum = probe[:, None]
            if block.moves is not None:
                spectrum = spectrum * block.moves[0][:, None] * block.moves[1][:, None]
            waves = waves + block.patches[:, None] * torch.fft.ifft2(spectrum)
        seen = torch.fft.fft2(waves, norm="ortho")
        return (seen.real * block.weights.real + seen.imag * block.weights.imag).sum(dim=2)

    def _adjoint(self, block: _Block, counts: Tensor, deviation: Tensor, probe: Tensor) -> None:
        """Add a block's share to the totals, in place."""
        back = torch.fft.ifft2(counts[:, :, None] * block.weights, norm="ortho")
        places = block.positions.expand(len(counts), -1, -1)
        deviation += scatter((back * block.waves.conj()).sum(dim=2), places, self.canvas)
        if not self.probe_known:
            spectrum = torch.fft.fft2(back * block.patches.conj()[:, None])
            if block.moves is not None:
                spectrum = spectrum * block.moves[0].conj()[:, None] * block.moves[1].conj()[:, None]
            probe += spectrum.sum(dim=1)

    def _unpacked(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Deviation of the object (v, y, x), and the spectrum of the probe's (v, mode, y, x)."""
        part = vectors[:, : self.object_size]
        if self.parameters == "complex":
            deviation = torch.view_as_complex(part.reshape(len(part), *self.canvas, 2).contiguous())
        else:
            deviation = 1j * part.reshape(len(part), *self.canvas)
        deviation = torch.where(self._lit, deviation, 0).to(self.dtype)
        if self.probe_known:
            return deviation, deviation
        pairs = vectors[:, self.object_size :].reshape(len(part), *self._probe.shape, 2).contiguous()
        return deviation, torch.fft.fft2(torch.view_as_complex(pairs).to(self.dtype))

    def _packed(self, deviation: Tensor, probe: Tensor) -> Tensor:
        """The vectors of an object's deviation and the spectrum of a probe's: the adjoint of `_unpacked`."""
        deviation = torch.where(self._lit, deviation, 0)
        complex_too = self.parameters == "complex"
        part = torch.view_as_real(deviation).flatten(1) if complex_too else deviation.imag.flatten(1)
        if self.probe_known:
            return part
        return torch.cat([part, torch.view_as_real(torch.fft.ifft2(probe)).flatten(1)], dim=1)

    def _zeros(self, number: int) -> tuple[Tensor, Tensor]:
        modes = 0 if self.probe_known else len(self._probe)
        shapes = (number, *self.canvas), (number, modes, *self._window)
        return torch.zeros(shapes[0], dtype=self.dtype), torch.zeros(shapes[1], dtype=self.dtype)

    def _built(self) -> Iterator[_Block]:
        """Blocks of frames; waves and weights in double precision first, since dark pixels have a phase too."""
        step = max(1, _BLOCK_PIXELS // (self._window[0] * self._window[1] * len(self._probe)))
        # fft2 of a window as it is, times this, is fft2 of the window with its centre pixel first
        centre = torch.zeros(self._window, dtype=torch.complex128)
        centre[0, 0] = 1
        ramp = torch.fft.fft2(torch.fft.ifftshift(centre))
        valid = torch.fft.ifftshift(self._valid)
        for start in range(0, len(self._positions), step):
            positions = self._positions[start : start + step]
            patches = gather(self._object[None], positions[None], self._window)[0]
            probes = place_probe(self._probe, positions)
            seen = torch.fft.ifftshift(wavefields(probes, patches), dim=(-2, -1))
            expected = illumination(seen)[:, None] + self._background
            weights = torch.where(expected > 0, 2 * seen / expected.clamp(min=1e-300).sqrt(), 0) * valid * ramp.conj()
            yield _Block(
                positions,
                patches.to(self.dtype),
                (probes * patches[:, None]).to(self.dtype),
                weights.to(self.dtype),
                _moves(fraction_px(positions), self._window, self.dtype),
            )

    def _photons(self) -> Tensor:
        """(y, x) photons through each object pixel."""
        total = torch.zeros(self.canvas, dtype=torch.float64)
        for block in self._blocks():
            total += scatter(illumination(block.waves).double()[None], block.positions[None], self.canvas)[0]
        return total

    def _light_of_object(self) -> Tensor:
        """(y, x) `sum_j |O_j|^2` of each window pixel: what light of the probe the object lets through."""
        return sum((block.patches.abs().double().square().sum(dim=0) for block in self._blocks()), torch.zeros(()))


@dataclass(frozen=True)
class Energy:
    """`b^T A^-1 b` of some right-hand sides, as conjugate gradients build it up from below.

    Attributes:
        solution: (v, size) `A^-1 b`.
        value: (v,) `b^T A^-1 b`.
        left: (v,) share of it that the last `delay` iterations have added: about what is still missing.
        iterations: how many were made.
    """

    solution: Tensor
    value: Tensor
    left: Tensor
    iterations: int


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    right: Float[Tensor, "v size"],
    iterations: int,
    tolerance: float,
    delay: int = 10,
) -> Energy:
    """Preconditioned conjugate gradients on several right-hand sides at once.

    Iteration k adds `alpha_k r_k^T z_k` to `b^T A^-1 b`; what the last `delay` iterations have added estimates from
    below what the iterations before them had missed. They end when that is less than `tolerance` of the whole.

    Source: Strakos & Tichy, Electron. Trans. Numer. Anal. 13 (2002) 56.
    """
    solution, residual = torch.zeros_like(right), right.clone()
    direction = towards = precondition(residual)
    size = _dots(residual, towards)
    added: list[Tensor] = []
    for _ in range(iterations):
        image = product(direction)
        curvature = _dots(direction, image)
        length = torch.where(curvature > 0, size / curvature.clamp(min=1e-300), 0)
        solution += length[:, None].to(right.dtype) * direction
        residual -= length[:, None].to(right.dtype) * image
        added.append(length * size)
        towards = precondition(residual)
        size, before = _dots(residual, towards), size
        direction = (
            towards + torch.where(before > 0, size / before.clamp(min=1e-300), 0)[:, None].to(right.dtype) * direction
        )
        recent, total = (torch.stack(part).sum(dim=0) for part in (added[-delay:], added))
        if len(added) >= delay and bool((recent <= tolerance * total).all()):
            break
    value = torch.stack(added).sum(dim=0)
    left = torch.stack(added[-delay:]).sum(dim=0) / value.clamp(min=1e-300)
    return Energy(solution, value, left, len(added))


def _dots(first: Tensor, second: Tensor) -> Tensor:
    """(v,) inner products in double precision."""
    return torch.einsum("vs,vs->v", first, second).double()


def _reach(
    positions_px: np.ndarray, window: tuple[int, int], canvas: tuple[int, int]
) -> tuple[tuple[slice, slice], np.ndarray]:
    """The part of the canvas that the windows reach, and its corner."""
    first = np.rint(positions_px).astype(int) - np.array(window) // 2
    low, high = first.min(axis=0), first.max(axis=0) + window
    if (low < 0).any() or (high > np.array(canvas)).any():
        raise DataError(
            f"positions: expected every {window[0]} x {window[1]} window inside the {canvas[0]} x {canvas[1]} object,"
            f" got windows from {low.tolist()} to {high.tolist()}; check units and origin"
        )
    return (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))), low


def _moves(
    fractions: Float[Tensor, "frame 2"], window: tuple[int, int], dtype: torch.dtype
) -> tuple[Complex[Tensor, "frame y 1"], Complex[Tensor, "frame 1 x"]] | None:
    """Spectra of sub-pixel shifts along each axis, as `fourier.shift` has them; None when all are zero."""
    if not fractions.any():
        return None
    turns = [fractions[:, axis, None] * torch.fft.fftfreq(window[axis], dtype=torch.float64) for axis in (0, 1)]
    rows, columns = (torch.exp(-2j * torch.pi * turn).to(dtype) for turn in turns)
    return rows[:, :, None], columns[:, None, :]
