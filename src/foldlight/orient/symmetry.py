"""Ways to read a scan, and which of them a probe can't tell apart.

A reading turns the frames and the positions of a scan, and leaves its probe as it is. Two exact symmetries of far-field
diffraction make readings equivalent, whatever the photons:

- an experiment that is turned or mirrored as a whole, frames, positions, probe and object, is an experiment;
- `|F psi*|^2 (q) = |F psi|^2 (-q)`: with probe and object conjugated, all frames turn by 180 degrees.

Of the eight turns of the first, four keep a reading's positions among those that can be read (as they are, negated,
swapped, both). With the second they make eight twins of every reading, the reading among them, that fit the same
photons equally well, each with its own twin of the probe. So a probe that is unknown leaves 4 classes of 8 readings; a
known one tells those twins apart that change it by more than its place, its tilt and its phase, which the object takes
up. Point-symmetric curved probes, a zone plate's for instance, leave 8 classes of 4: how the picture is turned is open.
A flat one leaves the sign of the object's phase open too.

Source: Bates, Optik 61 (1982) 247 (the twin image); docs/physics.md, gauge.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from scipy.fft import fft2, ifft2
from scipy.optimize import minimize

from foldlight.frames import ORIENTATIONS, Orientation, composed, transposes, turn
from foldlight.scan import Scan

__all__ = ["READINGS", "TWINS", "Reading", "Twin", "asymmetry", "between", "classes", "halfway", "likeness"]

_REACH_PX = 4  # by so much may centres of light of unevenly bright probes be wrong


@dataclass(frozen=True)
class Reading:
    """A way to read a scan, from the way it was read.

    Attributes:
        orientation: how the frames are turned.
        negated: the positions are; they were the sample's motion.
        swapped: the positions' coordinates change places.
    """

    orientation: Orientation = "as_stored"
    negated: bool = False
    swapped: bool = False

    def of(self, scan: Scan) -> Scan:
        """The scan, so read.

        Raises:
            DataError: frames that are not square would be transposed.
        """
        return scan.turned(self.orientation, self.negated, self.swapped)

    @property
    def changes(self) -> int:
        """How much of what was read is not as it was: 0 to 3."""
        return (self.orientation != "as_stored") + self.negated + self.swapped

    @property
    def words(self) -> str:
        """In a few words."""
        frames = f"frames {self.orientation}"
        positions = " and ".join(word for word, true in (("swapped", self.swapped), ("negated", self.negated)) if true)
        return f"{frames}, positions {positions or 'as read'}"

    @property
    def positions(self) -> Orientation:
        """What becomes of the positions, as a turn."""
        return _POSITIONS[self.swapped, self.negated]

    @property
    def relation(self) -> Orientation:
        """How the frames lie to the positions, up to 180 degrees: alike for twins, and only for them."""
        turned = composed(self.orientation, self.positions)  # a turn of positions is its own inverse
        return min(turned, composed(turned, "rotate_180"))


_POSITIONS: dict[tuple[bool, bool], Orientation] = {
    (False, False): "as_stored",
    (False, True): "rotate_180",
    (True, False): "transpose",
    (True, True): "anti_transpose",
}

READINGS: tuple[Reading, ...] = tuple(
    sorted(
        (Reading(*each) for each in product(ORIENTATIONS, (False, True), (False, True))),
        key=lambda reading: reading.changes,
    )
)
"""All 32, those that change least first."""


@dataclass(frozen=True)
class Twin:
    """What takes a reading, and the probe it needs, to another that explains the same photons as well.

    Attributes:
        turned: how frames, positions, probe and object are turned, all alike.
        conjugated: probe and object are conjugated, and the frames turned by another 180 degrees.
    """

    turned: Orientation
    conjugated: bool

    def of(self, reading: Reading) -> Reading:
        """The twin of a reading."""
        frames = composed(reading.orientation, self.turned)
        positions = composed(reading.positions, self.turned)
        swapped, negated = next(signs for signs, name in _POSITIONS.items() if name == positions)
        return Reading(composed(frames, "rotate_180") if self.conjugated else frames, negated, swapped)

    def probe(self, probe: np.ndarray) -> np.ndarray:
        """The twin of a probe (mode, y, x)."""
        turned = turn(probe, self.turned)
        return turned.conj() if self.conjugated else turned

    @cached_property
    def words(self) -> str:
        """What it does to the picture."""
        turned = {
            "as_stored": "",
            "rotate_180": "turned by 180 degrees",
            "transpose": "transposed",
            "anti_transpose": "transposed and turned by 180 degrees",
        }[self.turned]
        return " and ".join(word for word in (turned, "of the opposite phase" if self.conjugated else "") if word)


TWINS: tuple[Twin, ...] = tuple(
    Twin(turned, conjugated) for turned, conjugated in product(_POSITIONS.values(), (False, True))
)[1:]
"""All but the one that changes nothing."""


def between(one: Reading, other: Reading) -> Twin | None:
    """The twin that takes one reading to the other; None where they are no twins, or the same."""
    return next((twin for twin in TWINS if twin.of(one) == other), None)


def classes(probe: np.ndarray, readings: tuple[Reading, ...], same: float) -> list[tuple[Reading, ...]]:
    """Readings in groups that a probe can't tell apart, each beginning with what changes least.

    Args:
        probe: (mode, y, x) complex.
        readings: to group.
        same: most asymmetry of a probe that counts as none.
    """
    blind = [twin for twin in _possible(probe) if asymmetry(probe, twin) <= same]
    groups: list[tuple[Reading, ...]] = []
    left = list(readings)
    while left:
        group = {left[0]}
        while (more := group | {twin.of(reading) for twin in blind for reading in group}) != group:
            group = more
        groups.append(tuple(reading for reading in left if reading in group))
        left = [reading for reading in left if reading not in group]
    return groups


def _possible(probe: np.ndarray) -> list[Twin]:
    """The twins that leave a probe its window."""
    square = probe.shape[-2] == probe.shape[-1]
    return [twin for twin in TWINS if square or not transposes(twin.turned)]


def asymmetry(probe: np.ndarray, twin: Twin) -> float:
    """Part of a probe's light that its twin lacks: 0 where they are the same but for place, tilt and phase, up to 1."""
    return 1 - likeness(probe, twin.probe(probe))


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """How alike two probes (mode, y, x) are, but for place, tilt and phase: 1 where they are the same, down to 0.

    `sum_mn |<P_m, Q_n>|^2 / sqrt(sum_mn |<P_m, P_n>|^2 sum_mn |<Q_m, Q_n>|^2)`, the overlap of mutual intensities,
    which does not care how light is divided among modes; greatest over all tilts and over shifts of some pixels from
    where their centres of light are the same.
    """
    return _laid_over(one, other).likeness


def halfway(probe: np.ndarray, twin: Twin) -> np.ndarray:
    """(mode, y, x) complex64 mean of a probe and its twin, laid over each other as well as they go; of its power."""
    best = _laid_over(probe, twin.probe(probe))
    mean = best.one + best.other
    power = np.sum(np.abs(probe) ** 2, dtype=np.float64) / max(float(np.sum(np.abs(mean) ** 2)), 1e-30)
    return np.asarray((mean * np.sqrt(power)).astype(np.complex64))


@dataclass(frozen=True)
class _Pair:
    """Two probes (mode, y, x) in complex128 as they lie over each other best, and how alike they are there."""

    one: np.ndarray
    other: np.ndarray
    likeness: float


def _laid_over(one: np.ndarray, other: np.ndarray) -> _Pair:
    """The second probe moved and tilted, its modes' phases turned, so that it is as like the first as can be.

    Of every shift by whole pixels the overlaps at all tilts, in half pixels of the detector, are one padded Fourier
    transform; the best is followed to its top.
    """
    fixed, moving = _centred(one), _centred(other)
    padded = (2 * one.shape[1], 2 * one.shape[2])
    most, start = -1.0, np.zeros(4)
    for move in product(range(-_REACH_PX, _REACH_PX + 1), repeat=2):
        products = fixed[:, None] * np.roll(moving, move, (1, 2)).conj()[None]
        overlap = np.sum(np.abs(fft2(products.astype(np.complex64), padded)) ** 2, axis=(0, 1))
        peak = int(np.argmax(overlap))
        if overlap.flat[peak] > most:
            tilt = (np.array(divmod(peak, padded[1])) + one.shape[1:]) % padded - one.shape[1:]
            most, start = float(overlap.flat[peak]), np.array([*move, *(tilt / 2)])
    simplex = start + np.vstack([np.zeros(4), 0.3 * np.eye(4)])
    options = {"initial_simplex": simplex, "xatol": 0.01, "fatol": 1e-4 * most, "maxfev": 150}
    top = minimize(lambda at: -_overlap(fixed, _moved(moving, at)), start, method="Nelder-Mead", options=options).x
    laid = _moved(moving, top)
    phases = np.angle(np.sum(fixed * laid.conj(), axis=(1, 2), keepdims=True))
    whole = np.sqrt(_overlap(fixed, fixed) * _overlap(moving, moving))
    return _Pair(fixed, laid * np.exp(1j * phases), float(_overlap(fixed, laid) / whole))


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """`sum_mn |<P_m, Q_n>|^2`."""
    products = one.reshape(len(one), -1).conj() @ other.reshape(len(other), -1).T
    return float(np.sum(np.abs(products) ** 2))


def _moved(probe: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The probe shifted by (y, x) pixels, then tilted by (y, x) pixels of the detector."""
    sizes = probe.shape[1:]
    shifts, tilts = (
        [np.exp(sign * 2j * np.pi * move * axis) for move, axis in zip(moves, axes, strict=True)]
        for sign, moves, axes in (
            (-1, at[:2], [np.fft.fftfreq(size) for size in sizes]),
            (1, at[2:], [np.arange(size) / size for size in sizes]),
        )
    )
    shifted = ifft2(fft2(probe) * shifts[0][:, None] * shifts[1])
    return np.asarray(shifted * tilts[0][:, None] * tilts[1])


def _centred(probe: np.ndarray) -> np.ndarray:
    """The probe in complex128, moved by whole pixels so that the circular mean of its light is at `N // 2`."""
    light = np.sum(np.abs(probe) ** 2, axis=0, dtype=np.float64)
    moves = []
    for axis, size in enumerate(light.shape):
        angles = 2 * np.pi * (np.arange(size) - size // 2) / size
        mean = float(np.angle(np.sum(light.sum(axis=1 - axis) * np.exp(1j * angles))))
        moves.append(-round(mean * size / (2 * np.pi)))
    return np.roll(probe.astype(np.complex128), moves, (1, 2))
