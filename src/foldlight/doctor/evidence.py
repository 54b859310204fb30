"""What the checks look at: a scan's positions, and one pass over some of its frames, or all.

Frames are read in blocks and forgotten; what is kept are images and a few numbers a frame. Masked pixels count as dark.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import KDTree

from foldlight.doctor.defects import dead_pixels, hot_pixels
from foldlight.doctor.gain import Gain, gain_of
from foldlight.sampling.overlap import probe_diameters_px
from foldlight.scan import Scan

__all__ = ["Evidence", "Pairs", "Pass", "gather"]

_QUICK_PIXELS = 2**23  # some tenths of a second
_ALL_PIXELS = 2**28
_LEAST_FRAMES = 12
_BLOCK_PIXELS = 2**21
_EPOCHS = 8
_PAIRS = 160
_PAIR_PIXELS = 2**21  # in all first frames of pairs
_SAMPLED = 24
_TELLING = 16.0  # photons of a frame that is like another by chance no more


@dataclass(frozen=True)
class Pass:
    """What a pass over frames keeps.

    Attributes:
        index: (k,) int64 which frames, in the order in which they were taken.
        totals: (k,) float64 photons of each.
        mean: (y, x) float64 mean of each pixel.
        peak: (y, x) float32 most that each pixel counted.
        least: (y, x) float32 least that each pixel counted.
        brightest: (k, y) float32 greatest value of each row of each frame.
        epochs: (e, y, x) float64 mean frames of the first part of the scan, of the second, and so on.
        sample: (s, y, x) float32 some whole frames.
        twins: frames with light that equal an earlier one in every pixel.
    """

    index: np.ndarray
    totals: np.ndarray
    mean: np.ndarray
    peak: np.ndarray
    least: np.ndarray
    brightest: np.ndarray
    epochs: np.ndarray
    sample: np.ndarray
    twins: int


@dataclass(frozen=True)
class Pairs:
    """Frames, each beside the frame nearest to it, so that noise and likeness can be told.

    Pairs of equal frames, which are copies, are left out.

    Attributes:
        distance_px: (p,) from each to its nearest.
        mean: (y, x) mean of all pairs.
        variance: (y, x) mean of half their squared differences: photon noise, and what the object changed.
        lags: (y, x) mean power of the unitary Fourier transform of their differences, over two; bad pixels filled.
        shared: (p,) sum over pixels of the product of what each has above the mean frame.
        own: (p,) the same of each with itself, the mean of the two, less their photons, whose variance they are.
        same_light: (p,) shared over own for an object without order.
    """

    distance_px: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    lags: np.ndarray
    shared: np.ndarray
    own: np.ndarray
    same_light: np.ndarray

    def __len__(self) -> int:
        return len(self.distance_px)


@dataclass(frozen=True)
class Evidence:
    """A scan and what is measured of it, each once."""

    scan: Scan
    frames: Pass

    @cached_property
    def pairs(self) -> Pairs | None:
        """Pairs of neighbours; None where there are too few frames that differ."""
        return _pairs(self) if len(self.scan) >= 4 else None

    @cached_property
    def gain(self) -> Gain | None:
        """Units of the frames' numbers per photon; None where too little light tells."""
        pairs = self.pairs
        if pairs is None:
            return None
        return gain_of(pairs.mean, pairs.variance, pairs.lags, self.scan.mask & ~self.hot, len(pairs))

    @property
    def unit(self) -> float:
        """Units per photon, 1 where nothing speaks against it."""
        return self.gain.unit if self.gain else 1.0

    @cached_property
    def hot(self) -> np.ndarray:
        """(y, x) bool trusted pixels that in some frame counted what none around them ever did."""
        frames = self.frames
        explained = self.far_field * (frames.totals.max() / self.far_field.sum())
        return hot_pixels(frames.peak.astype(np.float64), self.scan.mask, explained)

    @cached_property
    def dead(self) -> np.ndarray:
        """(y, x) bool trusted pixels of the same number in all frames although light falls beside them."""
        frames = self.frames
        sums = frames.mean * len(frames.index)
        constant = (frames.peak == frames.least) & (frames.peak < frames.peak.max())  # not at a ceiling
        return (
            dead_pixels(constant, sums, self.scan.mask, self.far_field) if len(frames.index) >= 8 else constant & False
        )

    @cached_property
    def diameters_px(self) -> dict[str, float]:
        """Diameter of the probe by each definition [px]."""
        return probe_diameters_px(self.scan.probe)

    @property
    def diameter_px(self) -> float:
        """Participation diameter of the probe [px]."""
        return self.diameters_px["participation"]

    @cached_property
    def nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """(n,) distance of each position to its nearest other [px], infinite for one, and (n,) which that is."""
        n = len(self.scan)
        if n < 2:
            return np.full(n, np.inf), np.zeros(n, dtype=np.int64)
        distance, number = KDTree(self.scan.positions_px).query(self.scan.positions_px, k=2)
        first = number[:, 0] == np.arange(n)  # of two at one place, either may come first
        return distance[:, 1], np.where(first, number[:, 1], number[:, 0])

    @cached_property
    def light(self) -> np.ndarray:
        """(y, x) float64 photons of the probe in each pixel of its window."""
        return np.asarray(np.sum(np.abs(self.scan.probe.astype(np.complex128)) ** 2, axis=0))

    @cached_property
    def far_field(self) -> np.ndarray:
        """(y, x) float64 photons that the probe alone would send to each pixel of the detector."""
        modes = np.fft.ifftshift(self.scan.probe.astype(np.complex128), axes=(1, 2))
        spectrum = np.abs(np.fft.fft2(modes, norm="ortho")) ** 2
        return np.asarray(np.fft.fftshift(spectrum.sum(axis=0)))


def gather(scan: Scan, quick: bool = False) -> Evidence:
    """Read frames spread over the scan, all where they are few enough, and keep what the checks ask for.

    Args:
        scan: any scan.
        quick: some 8 million pixels at the most, in place of 256 million.
    """
    return Evidence(scan, _passed(scan, _spread(scan, _QUICK_PIXELS if quick else _ALL_PIXELS)))


def _spread(scan: Scan, pixels: int) -> np.ndarray:
    """(k,) int64 frames spread over the scan, in the order in which they were taken."""
    order = np.argsort(scan.frame_index, kind="stable")
    count = min(len(scan), max(_LEAST_FRAMES, pixels // int(np.prod(scan.window))))
    return order[np.linspace(0, len(scan) - 1, count).astype(np.int64)]


def _passed(scan: Scan, index: np.ndarray) -> Pass:
    """One pass over these frames."""
    height, width = scan.window
    totals, brightest = np.empty(len(index)), np.empty((len(index), height), dtype=np.float32)
    peak, least = np.zeros((height, width), np.float32), np.full((height, width), np.inf, np.float32)
    epoch = np.arange(len(index)) * _EPOCHS // len(index)
    sums = np.zeros((_EPOCHS, height, width))
    seen: set[int] = set()
    twins = 0
    for block in _blocks(len(index), height * width):
        photons = scan.photons[index[block]] * scan.mask
        totals[block] = photons.sum(axis=(1, 2), dtype=np.float64)
        peak, least = np.maximum(peak, photons.max(axis=0)), np.minimum(least, photons.min(axis=0))
        brightest[block] = photons.max(axis=2)
        for part in np.unique(epoch[block]):
            sums[part] += photons[epoch[block] == part].sum(axis=0, dtype=np.float64)
        keys = [hash(frame.tobytes()) for frame in photons[totals[block] > _TELLING]]
        fresh = set(keys) - seen
        twins += len(keys) - len(fresh)
        seen |= fresh
    counts = np.bincount(epoch, minlength=_EPOCHS)
    return Pass(
        index=index,
        totals=totals,
        mean=sums.sum(axis=0) / len(index),
        peak=peak,
        least=least,
        brightest=brightest,
        epochs=sums[counts > 0] / counts[counts > 0, None, None],
        sample=scan.photons[index[:: -(-len(index) // _SAMPLED)]] * scan.mask,
        twins=twins,
    )


def _pairs(evidence: Evidence) -> Pairs | None:
    """Nearest pairs of the nearer half of all, spread over the scan."""
    scan, (distance, number) = evidence.scan, evidence.nearest
    height, width = scan.window
    count = min(_PAIRS, len(scan), max(8, _PAIR_PIXELS // (height * width)))
    closer = np.sort(np.argsort(distance, kind="stable")[: max(count, len(scan) // 2)])
    one = closer[np.linspace(0, len(closer) - 1, count).astype(np.int64)]
    other = number[one]
    bad = ~scan.mask | evidence.hot | evidence.dead
    mean, variance, lags = np.zeros((3, height, width))
    shared, own, differ = np.empty(count), np.empty(count), np.empty(count, dtype=bool)
    for block in _blocks(count, height * width):
        first, second = ((scan.photons[each[block]] * scan.mask).astype(np.float64) for each in (one, other))
        difference = first - second
        differ[block] = difference.any(axis=(1, 2))
        mean += (first + second)[differ[block]].sum(axis=0) / 2
        variance += (difference**2).sum(axis=0) / 2
        lags += (np.abs(np.fft.fft2(_filled(difference, bad), norm="ortho")) ** 2).sum(axis=0) / 2
        above, beside = first - evidence.frames.mean, second - evidence.frames.mean
        shared[block] = (above * beside).sum(axis=(1, 2))
        own[block] = (above**2 + beside**2 - first - second).sum(axis=(1, 2)) / 2
    pairs = int(differ.sum())
    if not pairs:
        return None
    one, other = one[differ], other[differ]
    alike = _same_light(scan, np.rint(scan.positions_px[one] - scan.positions_px[other]).astype(int))
    return Pairs(distance[one], mean / pairs, variance / pairs, lags / pairs, shared[differ], own[differ], alike)


def _filled(images: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Images (n, y, x) with bad pixels as the mean of the good among their eight neighbours, or 0."""
    if not bad.any():
        return images
    good = np.pad(~bad, 1)
    padded = np.pad(np.where(bad, 0, images), ((0, 0), (1, 1), (1, 1)))
    filled = images.copy()
    for y, x in np.argwhere(bad):
        around = good[y : y + 3, x : x + 3]
        filled[:, y, x] = padded[:, y : y + 3, x : x + 3][:, around].mean(axis=1) if around.any() else 0
    return filled


def _blocks(n: int, pixels: int) -> list[slice]:
    """Slices of n frames of so many pixels, a few at a time."""
    step = max(1, _BLOCK_PIXELS // pixels)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _same_light(scan: Scan, moves: np.ndarray) -> np.ndarray:
    """(p,) how alike two frames of an object without any order are after a move (y, x) [px]: 1 for none.

    For a delta-correlated object the covariance of two far fields is the autocorrelation of the probe at the move;
    that of their intensities is its square. Source: Goodman, Speckle Phenomena in Optics (2007), ch. 2 and 5.
    """
    spectra = np.fft.fft2(scan.probe.astype(np.complex128))
    products = (spectra.conj()[:, None] * spectra[None]).reshape(-1, *scan.window)
    alike = (np.abs(np.fft.ifft2(products)) ** 2).sum(axis=0)
    window = np.array(scan.window)
    inside = (np.abs(moves) < window).all(axis=1)
    y, x = (moves % window).T
    return np.asarray(np.where(inside, alike[y, x] / alike[0, 0], 0.0))
