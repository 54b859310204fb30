"""Networks from frames and a probe to complex patches of the object.

A network is a module `(photons, probes) -> patches`, with the probe of each frame as it stands in the frame's
window (`optics.forward.place_probe`). The probe is an input, so one set of weights serves many. A third argument, the
mask of valid detector pixels, keeps what the others counted out of every result; without one all pixels are valid.
Real channels hold (real, imaginary) pairs; a patch starts as the flat object 1.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from foldlight.core.errors import SettingsError
from foldlight.networks.blocks import FourierBody, UNet, zeroed
from foldlight.networks.channels import as_channels, as_complex, bounded
from foldlight.networks.settings import NetworkSettings
from foldlight.networks.unrolled import UnrolledNetwork
from foldlight.optics.forward import expected_photons, illumination, lift, trust, wavefields
from foldlight.optics.fourier import inverse_fourier
from foldlight.optics.patches import merge

__all__ = ["ENCODERS", "ConsistencyStep", "PatchNetwork", "amplitude_gradient", "build", "filled"]


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
        mask: Bool[Tensor, "y x"] | None = None,
    ) -> Complex[Tensor, "n y x"]:
        """The patches after the step."""
        gradient = amplitude_gradient(patches, photons, probes, mask)
        channels = torch.cat(
            [as_channels(patches - 1), as_channels(gradient), trust(probes, self._floor)[:, None]], dim=1
        )
        change = self.update(channels.contiguous(memory_format=torch.channels_last))
        return patches - self.step * gradient + bounded(as_complex(change))


class PatchNetwork(nn.Module):
    """A U-Net or Fourier layers on what an encoder makes of a frame, then a few consistency steps."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        channels, self._encode = ENCODERS[settings.kind]
        self._body = settings.body
        self.add_module(settings.body, _body(settings, channels))  # its weights are named after it
        self.steps = nn.ModuleList(
            ConsistencyStep(settings.width, settings.light_floor) for _ in range(settings.consistency_steps)
        )
        self._floor = settings.light_floor
        self.merge_floor = settings.merge_floor

    def forward(
        self,
        photons: Float[Tensor, "n y x"],
        probes: Complex[Tensor, "n mode y x"],
        mask: Bool[Tensor, "y x"] | None = None,
    ) -> Complex[Tensor, "n y x"]:
        """Transmission of the object under each frame.

        Args:
            photons: counted ones; any value where they are not valid.
            probes: the probe in each frame's window [sqrt(photon)].
            mask: valid detector pixels; None, which saves a transform a frame, where all are.
        """
        if mask is not None:
            photons = filled(photons, probes, mask)
        shown = self._encode(photons, probes, self._floor)
        patches = 1 + bounded(as_complex(self.get_submodule(self._body)(shown)))
        for step in self.steps:
            patches = step(patches, photons, probes, mask)
        return patches

    def objects(
        self,
        photons: Float[Tensor, "group n y x"],
        positions_px: Float[Tensor, "group n 2"],
        probes: Complex[Tensor, "group n mode y x"],
        mask: Bool[Tensor, "y x"],
        canvas: tuple[int, int],
    ) -> Complex[Tensor, "group h w"]:
        """The object of each group of frames: their patches, merged; see `UnrolledNetwork.objects`."""
        groups = photons.shape[:2]
        patches = self(photons.flatten(0, 1), probes.flatten(0, 1), mask).unflatten(0, groups)
        return merge(patches, positions_px, trust(probes, self.merge_floor), canvas)


def _body(settings: NetworkSettings, channels: int) -> nn.Module:
    """What turns channels of a frame into the real and imaginary part of its patch."""
    if settings.body == "fourier":
        return FourierBody(channels, 2, settings.width, settings.layers, settings.modes)
    return UNet(channels, 2, settings.width, settings.levels)


def _lifted(
    photons: Float[Tensor, "n y x"], probes: Complex[Tensor, "n mode y x"], floor: float
) -> Float[Tensor, "n 3 y x"]:
    """Frames lifted into the object's pixel frame by the probe's phase, and where to believe them."""
    return torch.cat([as_channels(lift(photons, probes, floor)), trust(probes, floor)[:, None]], dim=1)


def _raw(
    photons: Float[Tensor, "n y x"], probes: Complex[Tensor, "n mode y x"], floor: float
) -> Float[Tensor, "n 2 y x"]:
    """Measured amplitudes in units of the probe's mean: the field's usual input, kept for comparison."""
    unit = illumination(probes).mean(dim=(-2, -1), keepdim=True).sqrt()
    return torch.cat([(photons.sqrt() / unit)[:, None], trust(probes, floor)[:, None]], dim=1)


def _log(
    photons: Float[Tensor, "n y x"], probes: Complex[Tensor, "n mode y x"], floor: float
) -> Float[Tensor, "n 2 y x"]:
    """`log(1 + amplitude)` over that of the brightest pixel behind no object: most values lie between 0 and 1."""
    peak = _empty(probes).amax(dim=(-2, -1), keepdim=True)
    shown = torch.log1p(photons.sqrt()) / torch.log1p(peak.sqrt())
    return torch.cat([shown[:, None], trust(probes, floor)[:, None]], dim=1)


ENCODERS: dict[str, tuple[int, Callable[[Tensor, Tensor, float], Tensor]]] = {
    "lifted": (3, _lifted),
    "log": (2, _log),
    "raw": (2, _raw),
}
"""Channels and function of each way to show a frame to the body; `NetworkSettings.kind` names one."""


def build(settings: NetworkSettings, window: tuple[int, int], seed: int) -> PatchNetwork | UnrolledNetwork:
    """A network with weights drawn from the seed; torch's global generator is left as it was.

    Raises:
        SettingsError: the window can't be halved `levels` times, or is too small for `modes` waves; to an unrolled
            network any window is right.
    """
    if settings.kind != "unrolled":
        _check_window(settings, window)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UnrolledNetwork(settings) if settings.kind == "unrolled" else PatchNetwork(settings)


def _check_window(settings: NetworkSettings, window: tuple[int, int]) -> None:
    factor, least = 2**settings.levels, 2 * settings.modes - 1
    size = f"{window[0]} x {window[1]}"
    if settings.body == "unet" and (window[0] % factor or window[1] % factor):
        raise SettingsError(
            f"levels = {settings.levels}: expected a window that is a multiple of {factor} px, got {size}; use fewer"
            " levels"
        )
    if settings.body == "fourier" and min(window) < least:
        raise SettingsError(
            f"modes = {settings.modes}: expected a window of at least {least} px, got {size}; use fewer modes"
        )


def filled(
    photons: Float[Tensor, "n y x"], probes: Complex[Tensor, "n mode y x"], mask: Bool[Tensor, "y x"]
) -> Float[Tensor, "n y x"]:
    """The frames with what the probe alone would send where a pixel is not valid.

    The probe is dimmed as the frame's valid pixels are. A count of 0 would be a statement, and behind a beamstop or on
    a dead pixel in the direct beam a wrong one.
    """
    empty = _empty(probes)
    counted, known = (torch.where(mask, each, 0.0).sum(dim=(-2, -1), keepdim=True) for each in (photons, empty))
    share = (counted / known.clamp(min=1e-6)).clamp(max=1)  # no light but beside a beamstop says nothing of the object
    return torch.where(mask, photons, share * empty)


def amplitude_gradient(
    patches: Complex[Tensor, "n y x"],
    photons: Float[Tensor, "n y x"],
    probes: Complex[Tensor, "n mode y x"],
    mask: Bool[Tensor, "y x"] | None = None,
) -> Complex[Tensor, "n y x"]:
    """Gradient of the amplitude misfit with respect to each patch, over the peak illumination.

    Args:
        patches: transmission of the object in each window.
        photons: counted ones; 0 or more also where they are not valid.
        probes: the probe in each frame's window [sqrt(photon)].
        mask: valid detector pixels; the others have no misfit.

    Source: Godard et al., Opt. Express 20 (2012) 25914 (the variance-stabilised form of the Poisson likelihood).
    """
    waves = wavefields(probes, patches)
    expected = (waves.real.square() + waves.imag.square()).sum(dim=-3, keepdim=True)
    # Two roots, not the root of the ratio: its derivative is infinite where no photon was counted.
    excess = 1 - photons.unsqueeze(-3).sqrt() / (expected + 1e-3).sqrt()
    if mask is not None:
        excess = excess * mask
    back = inverse_fourier(excess * waves)
    return (probes.conj() * back).sum(dim=-3) / illumination(probes).amax(dim=(-2, -1), keepdim=True)


def _empty(probes: Complex[Tensor, "n mode y x"]) -> Float[Tensor, "n y x"]:
    """Photons expected behind no object."""
    return expected_photons(probes, torch.ones_like(probes[:, 0]))
