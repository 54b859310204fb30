"""From object patches to expected photons, and one step back from photons to a first object.

`psi_jm = P_jm O_j`, `Psi = F psi`, `lam_j = sum_m |Psi_jm|^2`, with `P_jm` the probe mode m moved by the sub-pixel part
of position j. Source: docs/physics.md, forward model.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from foldlight.optics.fourier import fourier, inverse_fourier, shift
from foldlight.optics.patches import fraction_px, gather

__all__ = ["expected_frames", "expected_photons", "illumination", "lift", "place_probe", "trust", "wavefields"]


def place_probe(
    probe: Complex[Tensor, "mode y x"], positions_px: Float[Tensor, "*batch 2"]
) -> Complex[Tensor, "*batch mode y x"]:
    """The probe as it stands in the window of each position: moved by the position's sub-pixel part.

    Args:
        probe: incoherent modes [sqrt(photon)], centred on pixel `N // 2`.
        positions_px: (y, x) window centres [px].
    """
    return shift(probe, fraction_px(positions_px)[..., None, :])


def wavefields(
    probes: Complex[Tensor, "*#batch mode y x"], patches: Complex[Tensor, "*#batch y x"]
) -> Complex[Tensor, "*#batch mode y x"]:
    """Waves at the detector, one for each probe mode [sqrt(photon)]."""
    return fourier(probes * patches.unsqueeze(-3))


def expected_photons(
    probes: Complex[Tensor, "*#batch mode y x"], patches: Complex[Tensor, "*#batch y x"]
) -> Float[Tensor, "*#batch y x"]:
    """Expected photons on the detector; modes add as intensities.

    Args:
        probes: incoherent modes [sqrt(photon)], one set for all patches or one for each (see `place_probe`).
        patches: transmission of the object in each window, dimensionless.
    """
    waves = wavefields(probes, patches)
    return (waves.real.square() + waves.imag.square()).sum(dim=-3)


def expected_frames(
    objects: Complex[Tensor, "group h w"],
    probe: Complex[Tensor, "mode y x"],
    positions_px: Float[Tensor, "group n 2"],
) -> Float[Tensor, "group n y x"]:
    """Expected photons of every frame: windows cut, probe placed, light propagated.

    Args:
        objects: one canvas a group; a whole scan is one group.
        probe: incoherent modes [sqrt(photon)].
        positions_px: (y, x) window centres on the group's canvas [px].
    """
    window = (probe.shape[-2], probe.shape[-1])
    return expected_photons(place_probe(probe, positions_px), gather(objects, positions_px, window))


def illumination(probes: Complex[Tensor, "*batch mode y x"]) -> Float[Tensor, "*batch y x"]:
    """Photons through each pixel of the window, all modes together [photon]."""
    return (probes.real.square() + probes.imag.square()).sum(dim=-3)


def trust(probes: Complex[Tensor, "*batch mode y x"], floor: float) -> Float[Tensor, "*batch y x"]:
    """How far to believe each pixel of a window, in [0, 1): its light over light plus `floor` times the peak.

    The peak of a focused probe lies far above its disc; plain intensity would let one pixel outvote the rest.
    """
    light = illumination(probes)
    return light / (light + floor * light.amax(dim=(-2, -1), keepdim=True))


def lift(
    photons: Float[Tensor, "*#batch y x"], probes: Complex[Tensor, "*#batch mode y x"], floor: float
) -> Complex[Tensor, "*#batch y x"]:
    """Measured amplitudes, back-propagated with the phase that the empty probe has at the detector.

    `psi0 = F^-1[sqrt(y) exp(i arg F P)]`, `O0 = psi0 P* / (|P|^2 + floor max|P|^2)`: a first, noisy transmission in the
    object's own pixel frame. Uses the strongest mode. Source: docs/physics.md, physics-lifted input.
    """
    powers = (probes.real.square() + probes.imag.square()).sum(dim=(-2, -1)).reshape(-1, probes.shape[-3])
    strongest = probes[..., powers.sum(dim=0).argmax(), :, :]
    direction = torch.exp(1j * fourier(strongest).angle())
    exit_wave = inverse_fourier(photons.sqrt() * direction)
    power = strongest.real.square() + strongest.imag.square()
    return exit_wave * strongest.conj() / (power + floor * power.amax(dim=(-2, -1), keepdim=True))
