"""The unrolled network: all frames of a region to one object, physics and a small U-Net taking turns.

A step first goes over the frames in a few subsets, each of which moves the object towards what its frames counted; then
a U-Net on the object's canvas, which also sees how much light fell where, decides what to make of the change.
Neighbouring frames agree because they share the canvas. Its area is a small part of that of all windows together, so a
pass costs little more than its Fourier transforms, whatever the U-Net.

Nothing depends on the size of the window or of the canvas: one set of weights serves all.

Sources: Adler & Oktem, IEEE Trans. Med. Imaging 37 (2018) 1322 (learned iterative reconstruction); Hudson & Larkin,
IEEE Trans. Med. Imaging 13 (1994) 601 (ordered subsets); Godard et al., Opt. Express 20 (2012) 25914 (the direction,
here with Anscombe's constant, Biometrika 35 (1948) 246).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from foldlight.networks.canvas import ResidualUNet
from foldlight.networks.channels import as_channels, as_complex, bounded
from foldlight.networks.settings import NetworkSettings
from foldlight.optics.forward import illumination
from foldlight.optics.patches import add_windows, gather, scatter

__all__ = ["UnrolledNetwork"]

_SUBSETS = 4  # of frames in a step: measured better than one, at any dose, for the same number of transforms
_MEMORY = 4  # channels that a U-Net hands on to the next
_ANSCOMBE = 3 / 8  # photons
_DOUBT = 3.0  # photons that a pixel needs to be moved half the way: less would follow noise
_DIM = 0.02  # of the brightest object pixel's light: what is darker counts less
_LEAST_OFFSET = 1e-2  # photons: keeps the root's slope finite
_BLOCK_PIXELS = 2**17  # detector pixels at a time: measured best on one core, where a block stays in the cache
_PASS_PIXELS = 2**18  # the same without gradients


class UnrolledNetwork(nn.Module):
    """Steps of physics and U-Net, each with weights of its own."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        steps = settings.consistency_steps
        self.unets = nn.ModuleList(
            ResidualUNet(8 + _MEMORY, 2 + _MEMORY, settings.width, settings.levels) for _ in range(steps)
        )
        self.sizes = nn.Parameter(torch.ones(steps))
        self.damping = nn.Parameter(torch.full((steps,), 0.5))
        self.doubt = nn.Parameter(torch.full((steps,), _DOUBT))
        self.offsets = nn.Parameter(torch.full((steps,), _ANSCOMBE))
        self._multiple = 2**settings.levels
        # Measured: a sixth off a step of training, a quarter off a pass.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self,
        photons: Float[Tensor, "group n y x"],
        positions_px: Float[Tensor, "group n 2"],
        probes: Complex[Tensor, "group n mode y x"],
        mask: Bool[Tensor, "*#group y x"],
        canvas: tuple[int, int],
    ) -> Complex[Tensor, "group h w"]:
        """The object of each group of frames.

        Args:
            photons: counted ones; any finite value where they are not valid.
            positions_px: window centres on the group's canvas [px].
            probes: the probe in each frame's window [sqrt(photon)].
            mask: valid detector pixels.
            canvas: (height, width) of the objects [px].
        """
        return self.objects(photons, positions_px, probes, mask, canvas)

    def objects(
        self, photons: Tensor, positions_px: Tensor, probes: Tensor, mask: Tensor, canvas: tuple[int, int]
    ) -> Complex[Tensor, "group h w"]:
        """The same, under the name that every network has."""
        height, width = (size + -size % self._multiple for size in canvas)
        region = _Region.of(photons, positions_px, probes, mask, (height, width))
        image = torch.ones_like(region.light, dtype=torch.complex64)
        last = torch.zeros_like(image)
        memory = image.real.new_zeros(len(image), _MEMORY, height, width)
        for number, unet in enumerate(self.unets):
            offset = self.offsets[number].abs() + _LEAST_OFFSET
            damping, doubt = self.damping[number].abs(), self.doubt[number].abs()
            explained = region.passed(image, self.sizes[number], damping, doubt, offset)
            changes = (explained - 1, explained - image, last)
            shown = torch.cat([*map(as_channels, changes), region.shown, memory], dim=1)
            found = unet(shown.contiguous(memory_format=torch.channels_last))
            after = explained + bounded(as_complex(found[:, :2]))
            image, last, memory = after, after - image, found[:, 2:]
        return image[:, : canvas[0], : canvas[1]] * region.flat[:, None, None]


@dataclass(frozen=True)
class _Region:
    """The frames of some groups, in subsets; the unit of objects is the amplitude of the best flat one.

    Windows and detectors have their origin at pixel 0, which spares every transform two shifts: moving the exit wave
    turns the phases at the detector, and only their modulus is compared.

    Attributes:
        subsets: frames that move the object together.
        light: (group h w) photons through each object pixel.
        flat: (group,) amplitude of the best flat object.
        mask: (y x) or (group 1 y x) 1 on valid detector pixels.
    """

    subsets: tuple["_Subset", ...]
    light: Float[Tensor, "group h w"]
    flat: Float[Tensor, " group"]
    mask: Float[Tensor, "*#group y x"]

    @classmethod
    def of(
        cls, photons: Tensor, positions_px: Tensor, probes: Tensor, mask: Tensor, canvas: tuple[int, int]
    ) -> "_Region":
        valid = torch.fft.ifftshift(mask, dim=(-2, -1)).to(photons.dtype)
        photons = torch.fft.ifftshift(photons, dim=(-2, -1)) * valid
        flat = _flat_amplitude(photons, probes, valid)
        probes = probes * flat[:, None, None, None, None]
        subsets = tuple(
            _Subset.of(photons[:, part], positions_px[:, part], probes[:, part], canvas)
            for part in _parts(photons.shape[1], photons.device)
        )
        light = torch.stack([subset.light for subset in subsets]).sum(dim=0)
        return cls(subsets, light, flat, valid)

    @cached_property
    def shown(self) -> Float[Tensor, "group 2 h w"]:
        """What a U-Net is told of the light: how much, and how sure that makes a pixel within its region."""
        return torch.stack([torch.log(self.light + 0.1) / 8, self.light / (self.light + self._dim)], dim=1)

    @cached_property
    def _dim(self) -> Float[Tensor, "group 1 1"]:
        return _DIM * self.light.amax(dim=(-2, -1), keepdim=True) + 1e-3

    def passed(
        self, image: Complex[Tensor, "group h w"], size: Tensor, damping: Tensor, doubt: Tensor, offset: Tensor
    ) -> Complex[Tensor, "group h w"]:
        """The objects after one pass over the frames, a subset at a time."""
        share = (damping * self.light + self._dim + doubt) / len(self.subsets)
        for subset in self.subsets:
            image = image - size * subset.gradient(image, self.mask, offset) / (subset.light + share)
        return image


@dataclass(frozen=True)
class _Subset:
    """Some frames of each group, and the light that they bring to each object pixel."""

    photons: Float[Tensor, "group n y x"]
    positions_px: Float[Tensor, "group n 2"]
    probes: Complex[Tensor, "group n mode y x"]
    light: Float[Tensor, "group h w"]

    @classmethod
    def of(cls, photons: Tensor, positions_px: Tensor, probes: Tensor, canvas: tuple[int, int]) -> "_Subset":
        return cls(photons, positions_px, probes, scatter(illumination(probes), positions_px, canvas))

    def gradient(
        self, image: Complex[Tensor, "group h w"], mask: Float[Tensor, "*#group y x"], offset: Tensor
    ) -> Complex[Tensor, "group h w"]:
        """Of half the sum of `(sqrt(lam + offset) - sqrt(y + offset))^2` over valid pixels."""
        canvas = (image.shape[-2], image.shape[-1])
        window = (self.photons.shape[-2], self.photons.shape[-1])
        total = torch.zeros_like(image)
        for block in self._blocks():
            positions, probes = self.positions_px[:, block], self.probes[:, block]
            waves = torch.fft.fft2(probes * gather(image, positions, window).unsqueeze(-3), norm="ortho")
            expected = (waves.real.square() + waves.imag.square()).sum(dim=-3)
            excess = (1 - ((self.photons[:, block] + offset) / (expected + offset)).sqrt()) * mask
            back = torch.fft.ifft2(excess.unsqueeze(-3) * waves, norm="ortho")
            moved = (probes.conj() * back).sum(dim=-3)
            if torch.is_inference_mode_enabled():  # in place: else each block costs a canvas, which grows with the scan
                add_windows(total, moved, positions)
            else:
                total = total + scatter(moved, positions, canvas)
        return total

    def _blocks(self) -> Iterator[slice]:
        groups, frames, height, width = self.photons.shape
        pixels = _PASS_PIXELS if torch.is_inference_mode_enabled() else _BLOCK_PIXELS
        step = max(1, pixels // (groups * height * width))
        return (slice(first, first + step) for first in range(0, frames, step))


def _flat_amplitude(photons: Tensor, probes: Tensor, valid: Tensor) -> Float[Tensor, " group"]:
    """See `optics.flat.flat_amplitude`; 1 where there is no light to tell."""
    power = torch.zeros_like(photons)
    for mode in range(probes.shape[2]):
        wave = torch.fft.fft2(probes[:, :, mode], norm="ortho")
        power = power + wave.real.square() + wave.imag.square()
    counted, expected = (part.sum(dim=(-3, -2, -1)) for part in (photons, power * valid))
    return torch.where((counted > 0) & (expected > 0), counted / expected.clamp(min=1e-12), 1.0).sqrt()


def _parts(frames: int, device: torch.device) -> tuple[Tensor, ...]:
    """Indexes of each subset's frames: spread over the scan, whatever the order of its positions."""
    golden = torch.arange(frames, dtype=torch.float64) * ((5**0.5 - 1) / 2) % 1.0
    order = golden.argsort().to(device)
    return order.tensor_split(min(_SUBSETS, frames))
