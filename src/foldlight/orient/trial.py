"""How well a reading of a scan explains photons that its fit has not seen.

An object and a probe are fitted to most photons of most frames, from a flat object and the probe of the scan. Two
scores are kept for each reading: the Poisson deviance of the other photons of these frames, and that of frames in
between that were left out altogether, which only frames and positions that belong together can predict.

What the fit begins with treats all readings alike: the probe's spectrum is first moved to where the light is on the
detector, for how a beam is centred says nothing of which way is up and would favour a reading by a pixel.

Source: docs/physics.md, splitting counts instead of frames.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from foldlight.core.seeds import generator
from foldlight.optics.forward import expected_frames
from foldlight.optics.fourier import fourier
from foldlight.optics.likelihood import poisson_deviance
from foldlight.orient.symmetry import Reading
from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.reconstruct.settings import LikelihoodSettings
from foldlight.sampling.thinning import thin
from foldlight.scan import Scan

__all__ = ["Evidence", "Trial", "advantage"]

_SHARE = 0.9  # of the photons that a fit sees
_FINER = 4  # parts of a pixel to which a beam is centred
_LEAST_LIGHT = 0.05  # of a beam that is seen, for a place to be in question: a beamstop may hide the rest
_LEAST_ERROR = 1e-4  # of a mean logarithm: readings that differ by rounding alone are equal


@dataclass(frozen=True)
class Evidence:
    """Mean Poisson deviance a valid pixel of photons that a fit has not seen.

    Attributes:
        photons: (n,) of the fitted frames' other photons; None where photons are not counted and can't be dealt.
        frames: (k,) of the frames that were left out.
        probe: (mode, y, x) the probe that was found.
    """

    photons: np.ndarray | None
    frames: np.ndarray
    probe: np.ndarray


@dataclass(frozen=True)
class Trial:
    """What all readings are tried on, dealt once, so that they are compared on the same photons.

    Attributes:
        seen: the photons to fit to, all frames.
        unseen: the others; None where photons are not counted.
        fitted: (n,) numbers of the frames that are fitted.
        left_out: (k,) of those that are not.
    """

    seen: Scan
    unseen: Scan | None
    fitted: np.ndarray
    left_out: np.ndarray

    @classmethod
    def of(cls, part: Scan, seed: int) -> "Trial":
        """A trial on a patch, nearest to its middle first; frames are left out in its inner part."""
        numbers = np.arange(len(part))
        left_out = numbers[1 : 3 * len(part) // 5 : 3]
        seen, unseen = part, None
        if part.photons.whole:
            seen, unseen = thin(part, _SHARE, generator(seed, "orient"))
        return cls(seen, unseen, np.setdiff1d(numbers, left_out), left_out)

    def run(self, reading: Reading, iterations: int, probe: np.ndarray | None = None) -> Evidence:
        """The evidence for one reading.

        Args:
            reading: how to read the scan.
            iterations: of likelihood.
            probe: (mode, y, x) to begin with in place of the scan's, of its power.
        """
        seen = self.seen if probe is None else replace(self.seen, probe=probe)
        read = _beam_met(reading.of(seen))
        settings = LikelihoodSettings(iterations=iterations, fit_probe=True, precision="single", tolerance=0)
        found = MaximumLikelihoodReconstructor(settings).reconstruct(read.select(self.fitted))
        photons = None
        if self.unseen is not None:
            photons = _deviances(found, reading.of(self.unseen), self.fitted, (1 - _SHARE) / _SHARE)
        return Evidence(photons, _deviances(found, read, self.left_out), found.probe)

    def of_mean_frame(self) -> np.ndarray:
        """(k,) deviance of the frames left out under the mean of the fitted ones: no reading should be worse."""
        mean = torch.from_numpy(self.seen.photons[self.fitted].mean(axis=0, keepdims=True))
        photons = torch.from_numpy(self.seen.photons[self.left_out])
        return np.asarray(poisson_deviance(mean.expand_as(photons), photons, torch.from_numpy(self.seen.mask)).numpy())


def advantage(one: Evidence, other: Evidence) -> float:
    """Standard errors by which one reading explains unseen photons better than another; negative when worse.

    The logarithm of the ratio of their deviances, frame by frame, over the standard error of its mean: taken for the
    other photons and for the frames left out, which are independent, and combined as `(t_1 + t_2) / sqrt 2`.
    Source: Stouffer et al., The American Soldier (1949), vol. 1, for the combination.
    """
    scores = [paired(one.frames, other.frames)]
    if one.photons is not None and other.photons is not None:
        scores.append(paired(one.photons, other.photons))
    return float(np.sum(scores) / np.sqrt(len(scores)))


def paired(one: np.ndarray, other: np.ndarray) -> float:
    """Mean of `log(other / one)` over frames, in its standard errors."""
    ratio = np.log(np.maximum(other, 1e-30) / np.maximum(one, 1e-30)).astype(np.float64)
    error = float(ratio.std(ddof=1)) / np.sqrt(len(ratio))
    return float(ratio.mean()) / max(error, _LEAST_ERROR)


def _deviances(found: Reconstruction, scan: Scan, frames: np.ndarray, exposure_ratio: float = 1.0) -> np.ndarray:
    """(n,) mean deviance a valid pixel of some frames of a scan, expected at a multiple of the fitted exposure."""
    places = torch.from_numpy(scan.positions_px[None, frames])
    expected = expected_frames(torch.from_numpy(found.object)[None], torch.from_numpy(found.probe), places)[0]
    photons = torch.from_numpy(scan.photons[frames])
    return np.asarray(poisson_deviance(expected * exposure_ratio, photons, torch.from_numpy(scan.mask)).numpy())


def _beam_met(scan: Scan) -> Scan:
    """The scan, its probe tilted so that the empty beam lies on the detector where the mean frame does.

    Amplitudes are laid over each other, whose edges count: the centre of mass of an unevenly bright beam is none.
    """
    beam = np.sqrt(np.sum(np.abs(fourier(torch.from_numpy(scan.probe)).numpy()) ** 2, axis=0))
    move = _offset(np.sqrt(scan.photons.mean_frame), beam, scan.mask)
    return replace(scan, probe=_tilted(scan.probe, move).astype(np.complex64))


def _offset(seen: np.ndarray, whole: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(y, x) by which an image has to move to lie on what is seen of another, to part of a pixel.

    Of all moves the one with the least `sum_mask (seen - c moved)^2`, c free: where `sum_mask seen moved` over the root
    of `sum_mask moved^2` is greatest. What is masked does not move, so it has to be left out of the norm too.
    """
    shared, norm = _correlation(seen * mask, whole), _correlation(mask.astype(np.float64), whole**2)
    fit = shared / np.sqrt(np.maximum(norm, _LEAST_LIGHT * float(np.sum(whole**2))))
    peak, sizes = np.array(np.unravel_index(np.argmax(fit), fit.shape)), np.array(fit.shape)
    return np.asarray(((peak + sizes // 2) % sizes - sizes // 2) / _FINER)


def _correlation(still: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Sum of products for all moves, in parts of a pixel, round the edges."""
    spectrum = np.fft.fftshift(np.fft.fft2(still) * np.fft.fft2(moved).conj())
    padding = [((_FINER - 1) * size // 2, (_FINER - 1) * size - (_FINER - 1) * size // 2) for size in still.shape]
    return np.asarray(np.fft.ifft2(np.fft.ifftshift(np.pad(spectrum, padding))).real * _FINER**2)


def _tilted(probe: np.ndarray, move_px: np.ndarray) -> np.ndarray:
    """The probe (mode, y, x) with its spectrum moved by (y, x) pixels of the detector."""
    y, x = (np.arange(size) - size // 2 for size in probe.shape[1:])
    turns = move_px[0] * y[:, None] / len(y) + move_px[1] * x[None, :] / len(x)
    return np.asarray(probe * np.exp(2j * np.pi * turns))
