"""From object patches to expected photons, and one step back from photons to a first object.

`psi_jm = P_m O_j`, `Psi = F psi`, `lam_j = sum_m |Psi_jm|^2`. Source: design/physics, forward model.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from foldlight.optics.fourier import fourier, inverse_fourier

__all__ = ["expected_photons", "illumination", "lift", "wavefields"]


def wavefields(
    probe: Complex[Tensor, "mode y x"], patches: Complex[Tensor, "*batch y x"]
) -> Complex[Tensor, "*batch mode y x"]:
    """Waves at the detector, one for each probe mode [sqrt(photon)]."""
    return fourier(probe * patches.unsqueeze(-3))


def expected_photons(
    probe: Complex[Tensor, "mode y x"], patches: Complex[Tensor, "*batch y x"]
) -> Float[Tensor, "*batch y x"]:
    """Expected photons on the detector; modes add as intensities.

    Args:
        probe: incoherent modes [sqrt(photon)].
        patches: transmission of the object under each probe position, dimensionless.
    """
    waves = wavefields(probe, patches)
    return (waves.real.square() + waves.imag.square()).sum(dim=-3)


def illumination(probe: Complex[Tensor, "mode y x"]) -> Float[Tensor, "y x"]:
    """Photons through each pixel of the window, all modes together [photon]."""
    return (probe.real.square() + probe.imag.square()).sum(dim=0)


def lift(
    photons: Float[Tensor, "*batch y x"], probe: Complex[Tensor, "mode y x"], floor: float = 0.05
) -> Complex[Tensor, "*batch y x"]:
    """Measured amplitudes, back-propagated with the phase that the empty probe has at the detector.

    `psi0 = F^-1[sqrt(y) exp(i arg F P)]`, `O0 = psi0 P* / (|P|^2 + floor max|P|^2)`: a first, noisy transmission in the
    object's own pixel frame. Uses the strongest probe mode. Source: design/architecture, physics-lifted input.
    """
    strongest = probe[(probe.real.square() + probe.imag.square()).sum(dim=(-2, -1)).argmax()]
    direction = torch.exp(1j * fourier(strongest).angle())
    exit_wave = inverse_fourier(photons.sqrt() * direction)
    power = strongest.real.square() + strongest.imag.square()
    return exit_wave * strongest.conj() / (power + floor * power.max())
