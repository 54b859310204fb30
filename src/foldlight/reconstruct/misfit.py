"""Minus the log-likelihood of a scan's photons, with its exact gradient in object, probe and positions.

`sum_jq w_q [lam_jq - y_jq log(lam_jq + eps)]`, less what a model that expects just what was counted would leave. With
`chi_jm = 2 F^-1[w (1 - y / lam) Psi_jm]` the gradient is `sum_m conj(P_jm) chi_jm` for the patches, `conj(O_j) chi_jm`
for the probe in its window, and through the phase ramp of the Fourier shift for the place where that stands. Written
out, it costs half of what automatic differentiation does: one pair of FFTs a frame and mode where probe and positions
are known, two pairs where they are not.

Everything here has the zero frequency in the corner: where a field lies in its window changes only the phase behind it.

Source: docs/physics.md, forward model; Wirtinger gradients as in Guizar-Sicairos & Fienup, Opt. Express 16 (2008) 7264.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from foldlight.optics.patches import gather, scatter
from foldlight.scan import Scan

__all__ = ["KEPT_BYTES", "Gradients", "Misfit"]

_EPS = 1e-6  # photons: keeps the logarithm finite where the model expects none
_BLOCK_PIXELS = 2**17  # detector pixels at a time: measured best on one core, where a block stays in the cache

KEPT_BYTES = 2**30
"""Of frames and moved probes that are kept between passes; beyond, they are made anew each time."""


class Gradients(NamedTuple):
    """Steepest ascent of a misfit: real and imaginary parts of a complex number are two variables.

    Attributes:
        image: of the object.
        probe: of the probe's modes; None where it is known.
        positions_px: of the positions [1 / px]; None where they are known.
    """

    image: Complex[Tensor, "h w"]
    probe: Complex[Tensor, "mode y x"] | None
    positions_px: Float[Tensor, "n 2"] | None


@dataclass(frozen=True)
class _Block:
    """Some frames: photons, zero on bad pixels; where their windows are cut; and the placed probe where it is kept."""

    frames: slice
    photons: Float[Tensor, "n y x"]
    cut_px: Float[Tensor, "n 2"]
    probes: Complex[Tensor, "n mode y x"] | None


@dataclass(frozen=True)
class Misfit:
    """The misfit of one scan.

    Windows are cut where `cut_px` says, whatever becomes of the positions: what lies between moves the probe.

    Attributes:
        scan: its photons, mask and window are used.
        canvas: (height, width) of the object.
        cut_px: (n, 2) whole-pixel window centres on that canvas [px].
        real: precision of all that is done with frames; sums are in double precision.
        device: where to compute.
        known: probe and positions, where nothing else is asked for: placed once and kept.
    """

    scan: Scan
    canvas: tuple[int, int]
    cut_px: Float[Tensor, "n 2"]
    real: torch.dtype
    device: torch.device
    known: tuple[Complex[Tensor, "mode y x"], Float[Tensor, "n 2"]] | None = None

    def value(
        self, image: Complex[Tensor, "h w"], probe: Complex[Tensor, "mode y x"], positions_px: Float[Tensor, "n 2"]
    ) -> float:
        """The misfit alone: half the work."""
        field, spectrum = self._own(image), torch.fft.fft2(self._own(probe))
        value = self._perfect
        for block in self._blocks():
            _, waves = self._behind(block, field, self._placed(block, spectrum, positions_px))
            value += float(self._misfit(block, _intensity(waves)))
        return value

    def value_and_gradients(
        self,
        image: Complex[Tensor, "h w"],
        probe: Complex[Tensor, "mode y x"],
        positions_px: Float[Tensor, "n 2"],
        probe_too: bool = False,
        positions_too: bool = False,
    ) -> tuple[float, Gradients]:
        """The misfit and its gradients, added up in double precision.

        Args:
            image: transmission on the canvas.
            probe: modes [sqrt(photon)].
            positions_px: window centres on the canvas [px]; near `cut_px`, or the probe wraps round its window.
            probe_too: the gradient of the probe is wanted.
            positions_too: that of the positions is.
        """
        field, spectrum = self._own(image), torch.fft.fft2(self._own(probe))
        value = self._perfect
        of_image = torch.zeros(self.canvas, dtype=torch.complex128, device=self.device)
        of_spectrum = torch.zeros(spectrum.shape, dtype=torch.complex128, device=self.device)
        of_positions = torch.zeros_like(positions_px)
        for block in self._blocks():
            probes = self._placed(block, spectrum, positions_px)
            patches, waves = self._behind(block, field, probes)
            expected = _intensity(waves)
            value += float(self._misfit(block, expected))
            excess = self._mask * (1 - block.photons / (expected + _EPS))
            exits = torch.fft.ifft2(2 * excess[:, None] * waves, norm="ortho")
            of_image += scatter((probes.conj() * exits).sum(dim=1)[None], block.cut_px[None], self.canvas)[0]
            if probe_too or positions_too:
                ramp = self._ramp(positions_px[block.frames] - block.cut_px)
                back = torch.fft.fft2(patches.conj() * exits) * ramp.conj()
                of_spectrum += back.sum(dim=0)
                of_positions[block.frames] = self._slopes(back, spectrum)
        of_probe = torch.fft.ifft2(of_spectrum) if probe_too else None
        return value, Gradients(of_image, of_probe, of_positions if positions_too else None)

    def _behind(
        self, block: _Block, image: Complex[Tensor, "h w"], probes: Complex[Tensor, "n mode y x"]
    ) -> tuple[Complex[Tensor, "n 1 y x"], Complex[Tensor, "n mode y x"]]:
        """Patches, and the waves that reach the detector behind them."""
        patches = gather(image[None], block.cut_px[None], self.scan.window)[0][:, None]
        return patches, torch.fft.fft2(probes * patches, norm="ortho")

    def _misfit(self, block: _Block, expected: Float[Tensor, "n y x"]) -> Float[Tensor, ""]:
        """`sum lam - y log(lam + eps)` over valid pixels of some frames."""
        valid = expected * self._mask
        return (valid - block.photons * torch.log(valid + _EPS)).sum(dtype=torch.float64)

    def _placed(
        self, block: _Block, spectrum: Complex[Tensor, "mode y x"], positions_px: Float[Tensor, "scan 2"]
    ) -> Complex[Tensor, "n mode y x"]:
        """The probe as it stands in each window."""
        if block.probes is not None:
            return block.probes
        return torch.fft.ifft2(spectrum * self._ramp(positions_px[block.frames] - block.cut_px))

    def _ramp(self, move_px: Float[Tensor, "n 2"]) -> Complex[Tensor, "n 1 y x"]:
        """What a shift is in Fourier space, see `optics.fourier.shift`."""
        sides = (torch.exp(-2j * torch.pi * move_px[:, axis, None] * self._frequencies[axis]) for axis in (0, 1))
        rows, columns = (side.to(self._complex) for side in sides)
        return (rows[:, :, None] * columns[:, None, :])[:, None]

    def _slopes(
        self, back: Complex[Tensor, "n mode y x"], spectrum: Complex[Tensor, "mode y x"]
    ) -> Float[Tensor, "n 2"]:
        """Gradient of the positions, from that of the spectrum, which a shift multiplies by `-2 pi i` frequency."""
        turned = (back.conj() * spectrum).imag.sum(dim=1)
        rows, columns = (turned.sum(dim=axis, dtype=torch.float64) for axis in (2, 1))
        scale = 2 * torch.pi / (spectrum.shape[-2] * spectrum.shape[-1])
        return scale * torch.stack([rows @ self._frequencies[0], columns @ self._frequencies[1]], dim=-1)

    @cached_property
    def _frequencies(self) -> tuple[Float[Tensor, " y"], Float[Tensor, " x"]]:
        """Of the window's pixels [cycles / px]."""
        height, width = self.scan.window
        return (
            torch.fft.fftfreq(height, dtype=torch.float64, device=self.device),
            torch.fft.fftfreq(width, dtype=torch.float64, device=self.device),
        )

    @property
    def _complex(self) -> torch.dtype:
        return torch.complex64 if self.real == torch.float32 else torch.complex128

    def _own(self, field: Tensor) -> Tensor:
        return field.to(self.device, self._complex)

    @cached_property
    def _mask(self) -> Float[Tensor, "y x"]:
        return torch.from_numpy(np.fft.ifftshift(self.scan.mask)).to(self.device, self.real)

    @cached_property
    def _perfect(self) -> float:
        """What a model that expects just what was counted would leave, to be taken off."""
        parts = (torch.xlogy(block.photons, block.photons) - block.photons for block in self._blocks())
        return float(sum(part.sum(dtype=torch.float64) for part in parts))

    def _blocks(self) -> Iterator[_Block]:
        """All frames; from memory where they fit."""
        yield from self._kept if self._kept is not None else self._made()

    @cached_property
    def _kept(self) -> list[_Block] | None:
        modes = 0 if self.known is None else len(self.known[0])
        size = int(np.prod(self.scan.photons.shape)) * (1 + 2 * modes) * self.real.itemsize
        return list(self._made()) if size <= KEPT_BYTES else None

    def _made(self) -> Iterator[_Block]:
        height, width = self.scan.window
        step = max(1, _BLOCK_PIXELS // (height * width))
        for first in range(0, len(self.scan), step):
            frames = slice(first, first + step)
            counted = np.fft.ifftshift(np.where(self.scan.mask, self.scan.photons[frames], 0), axes=(-2, -1))
            photons = torch.from_numpy(counted).to(self.device, self.real)
            block = _Block(frames, photons, self.cut_px[frames], None)
            if self.known is not None:
                probe, positions = self.known
                block = replace(block, probes=self._placed(block, torch.fft.fft2(self._own(probe)), positions))
            yield block


def _intensity(waves: Complex[Tensor, "n mode y x"]) -> Float[Tensor, "n y x"]:
    """Photons of all modes."""
    return (waves.real.square() + waves.imag.square()).sum(dim=1)
