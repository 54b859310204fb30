"""Networks from frames and a probe to complex patches of the object.

A network is a module `(photons, probes) -> patches`, with the probe of each frame as it stands in the frame's
window (`optics.forward.place_probe`). The probe is an input, so one set of weights serves many.
Real channels hold (real, imaginary) pairs; a patch starts as the flat object 1.
"""

from collections.abc import Callable

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from foldlight.core.errors import SettingsError
from foldlight.networks.blocks import UNet, zeroed
from foldlight.networks.settings import NetworkSettings
from foldlight.optics.forward import illumination, lift, trust, wavefields
from foldlight.optics.fourier import inverse_fourier

__all__ = ["ENCODERS", "ConsistencyStep", "PatchNetwork", "build"]


class ConsistencyStep(nn.Module):
    """One learned step towards the measured amplitudes.

    The direction is the gradient of the amplitude misfit at the patch, `sum_m P_m* F^-1[(1 - sqrt(y) / |Psi|) Psi_m]`
    over the peak illumination; a small network turns it, the patch and the illumination into an update.
    """

    def __init__(self, width: int, floor: float) -> None:
        super().__init__()
        self._floor = floor
        last = zeroed(nn.Conv2d(width, 2, 3, padding=1))
        self.update = nn.Sequential(
            nn.Conv2d(5, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 3, padding=1), nn.GELU(), last
        )
        self.step = nn.Parameter(torch.tensor(0.5))

    def forward(
        self,
        patches: Complex[Tensor, "n y x"],
        photons: Float[Tensor, "n y x"],
        probes: Complex[Tensor, "n mode y x"],
    ) -> Complex[Tensor, "n y x"]:
        """The patches after the step."""
        gradient = amplitude_gradient(patches, photons, probes)
        channels = torch.cat([_channels(patches - 1), _channels(gradient), trust(probes, self._floor)[:, None]], dim=1)
        return patches - self.step * gradient + _bounded(_complex(self.update(channels)))


class PatchNetwork(nn.Module):
    """U-Net on what an encoder makes of a frame, then a few consistency steps."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        channels, self._encode = ENCODERS[settings.kind]
        self.unet = UNet(channels, 2, settings.width, settings.levels)
        self.steps = nn.ModuleList(
            ConsistencyStep(settings.width, settings.light_floor) for _ in range(settings.consistency_steps)
        )
        self._floor = settings.light_floor

    def forward(
        self, photons: Float[Tensor, "n y x"], probes: Complex[Tensor, "n mode y x"]
    ) -> Complex[Tensor, "n y x"]:
        """Transmission of the object under each frame."""
        patches = 1 + _bounded(_complex(self.unet(self._encode(photons, probes, self._floor))))
        for step in self.steps:
            patches = step(patches, photons, probes)
        return patches


def _lifted(
    photons: Float[Tensor, "n y x"], probes: Complex[Tensor, "n mode y x"], floor: float
) -> Float[Tensor, "n 3 y x"]:
    """Frames lifted into the object's pixel frame by the probe's phase, and where to believe them."""
    return torch.cat([_channels(lift(photons, probes, floor)), trust(probes, floor)[:, None]], dim=1)


def _raw(
    photons: Float[Tensor, "n y x"], probes: Complex[Tensor, "n mode y x"], floor: float
) -> Float[Tensor, "n 2 y x"]:
    """Measured amplitudes in units of the probe's mean: the field's usual input, kept for comparison."""
    unit = illumination(probes).mean(dim=(-2, -1), keepdim=True).sqrt()
    return torch.cat([(photons.sqrt() / unit)[:, None], trust(probes, floor)[:, None]], dim=1)


ENCODERS: dict[str, tuple[int, Callable[[Tensor, Tensor, float], Tensor]]] = {"lifted": (3, _lifted), "raw": (2, _raw)}
"""Channels and function of each way to show a frame to the U-Net; `NetworkSettings.kind` names one."""


def build(settings: NetworkSettings, window: tuple[int, int], seed: int) -> PatchNetwork:
    """A network with weights drawn from the seed; torch's global generator is left as it was.

    Raises:
        SettingsError: the window can't be halved `levels` times.
    """
    factor = 2**settings.levels
    if window[0] % factor or window[1] % factor:
        raise SettingsError(
            f"levels = {settings.levels}: expected a window that is a multiple of {factor} px, got"
            f" {window[0]} x {window[1]}; use fewer levels"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PatchNetwork(settings)


def amplitude_gradient(
    patches: Complex[Tensor, "n y x"], photons: Float[Tensor, "n y x"], probes: Complex[Tensor, "n mode y x"]
) -> Complex[Tensor, "n y x"]:
    """Gradient of the amplitude misfit with respect to each patch, over the peak illumination.

    Source: Godard et al., Opt. Express 20 (2012) 25914 (the variance-stabilised form of the Poisson likelihood).
    """
    waves = wavefields(probes, patches)
    expected = (waves.real.square() + waves.imag.square()).sum(dim=-3, keepdim=True)
    # Two roots, not the root of the ratio: its derivative is infinite where no photon was counted.
    excess = 1 - photons.unsqueeze(-3).sqrt() / (expected + 1e-3).sqrt()
    back = inverse_fourier(excess * waves)
    return (probes.conj() * back).sum(dim=-3) / illumination(probes).amax(dim=(-2, -1), keepdim=True)


def _bounded(change: Complex[Tensor, "n y x"], most: float = 3.0) -> Complex[Tensor, "n y x"]:
    """The change with its modulus kept below `most`, and untouched where it is small.

    A transmission differs from 1 by 2 at the most. Without a bound, a large step in training now and then sends one
    bright pixel of a few frames to 30 and the loss with it.
    """
    return change / (1 + (change.real.square() + change.imag.square()) / most**2).sqrt()


def _channels(image: Complex[Tensor, "n y x"]) -> Float[Tensor, "n 2 y x"]:
    return torch.view_as_real(image).movedim(-1, 1)


def _complex(channels: Float[Tensor, "n 2 y x"]) -> Complex[Tensor, "n y x"]:
    return torch.view_as_complex(channels.movedim(1, -1).contiguous())
