"""Diffraction frames: stored in any way, read as photons with the zero frequency in the centre."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np

from foldlight.core.errors import DataError
from foldlight.core.provenance import sha256_arrays

__all__ = [
    "ORIENTATIONS",
    "Frames",
    "Index",
    "LazyFrames",
    "Orientation",
    "Stored",
    "Summary",
    "composed",
    "transposes",
    "turn",
]

_BLOCK_PIXELS = 2**22  # 16 MiB of float32 at a time
_COPIED_BYTES = 2**28  # the most that a selection of mapped frames copies into memory

Index = int | slice | Sequence[int] | np.ndarray

Orientation = Literal[
    "as_stored", "flip_y", "flip_x", "rotate_180", "transpose", "rotate_90", "rotate_270", "anti_transpose"
]
ORIENTATIONS: tuple[Orientation, ...] = get_args(Orientation)

_TURNS: dict[Orientation, tuple[bool, bool, bool]] = {  # first transposed, then flipped along y, then along x
    "as_stored": (False, False, False),
    "flip_y": (False, True, False),
    "flip_x": (False, False, True),
    "rotate_180": (False, True, True),
    "transpose": (True, False, False),
    "rotate_90": (True, True, False),
    "rotate_270": (True, False, True),
    "anti_transpose": (True, True, True),
}


def turn(images: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Images (..., y, x) transposed and flipped about the pixel `[N // 2, N // 2]`, which stays where it is.

    Along an axis of even size a flip takes index k to -k from that pixel: row 0 stays too. `rotate_90` is
    counter-clockwise, as `numpy.rot90`. A plain flip, whose axis lies between pixels, differs by a shift of one pixel:
    in frames that is a phase ramp across the object, which no intensity shows.
    """
    transposed, *flipped = _TURNS[orientation]
    turned = np.swapaxes(images, -2, -1) if transposed else images
    for axis, flip in zip((-2, -1), flipped, strict=True):
        if flip:
            turned = np.roll(np.flip(turned, axis), 1 - turned.shape[axis] % 2, axis)
    return turned


def transposes(orientation: Orientation) -> bool:
    """Whether the axes change places."""
    return _TURNS[orientation][0]


def composed(first: Orientation, then: Orientation) -> Orientation:
    """The orientation that does both, one after the other."""
    transposed, *flipped = _TURNS[first]
    again, *more = _TURNS[then]
    if again:
        flipped.reverse()
    both = (transposed != again, flipped[0] != more[0], flipped[1] != more[1])
    return next(name for name, turns in _TURNS.items() if turns == both)


@runtime_checkable
class Stored(Protocol):
    """Frames (n, y, x) that are read by index: an array, a memory-mapped file, or `LazyFrames`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, y, x)."""
        ...

    @property
    def ndim(self) -> int:
        """Number of axes, 3."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Of the stored values."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass(frozen=True)
class LazyFrames:
    """Frames that are made whenever they are read, behind the face of an array; none is kept.

    Attributes:
        make: turns the numbers (k,) int64 of frames into these frames (k, y, x). A frame must depend on its number
            alone, so that it is the same in every block that it is read with (`core.seeds.numbered`); loaders call it
            from several threads.
        numbers: (n,) int64 number of each frame.
        window: (height, width) of a frame [px].
        dtype: of the values that `make` returns.
        recipe: text that determines what `make` returns, so that a digest need not read the frames; none when empty.

    Raises:
        DataError: on reading, when `make` returns another shape.
    """

    make: Callable[[np.ndarray], np.ndarray]
    numbers: np.ndarray
    window: tuple[int, int]
    dtype: np.dtype
    recipe: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, y, x)."""
        return (len(self.numbers), *self.window)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 3

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Index) -> np.ndarray:
        """Frames by index, made now."""
        numbers = self.numbers[index]
        made = self.make(np.atleast_1d(numbers))
        if made.shape != (numbers.size, *self.window):
            raise DataError(
                f"lazy frames: expected {(numbers.size, *self.window)} for {numbers.size} numbers, got {made.shape};"
                " correct what makes them"
            )
        return made if numbers.ndim else made[0]

    def select(self, index: Index) -> "LazyFrames":
        """Some of the frames; they keep their numbers, and none is made."""
        return replace(self, numbers=self.numbers[index])


@dataclass(frozen=True)
class Summary:
    """What one pass over all frames finds, for a file to keep, so that opening it needs no pass.

    Attributes:
        totals: (n,) float64 photons in each frame.
        mean_frame: (y, x) float64 mean photons of each detector pixel.
        digests: (32,) uint8 sha256 of each block of frames in turn.
    """

    totals: np.ndarray
    mean_frame: np.ndarray
    digests: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, frames: "Frames", see: Callable[[slice, np.ndarray], object] | None = None) -> "Summary":
        """The summary of frames as they are read now, a block at a time; a recipe or what a file says is not asked.

        Args:
            frames: to read.
            see: is given the place of each block and its (k, y, x) photons before they are counted.
        """
        n, height, width = frames.shape
        totals, mean, digests = np.empty(n), np.zeros((height, width)), []
        for block in frames.blocks():
            photons = frames[block]
            if see is not None:
                see(block, photons)
            totals[block], total = _sums(photons)
            mean += total
            digests.append(_digest(photons))
        return cls(totals, mean / n, tuple(digests))


@dataclass(frozen=True)
class Frames:
    """Diffraction frames as they are stored, turned into photons when read.

    Attributes:
        stored: (n, y, x) counts or amplitudes: in memory, memory-mapped, or made when read (`LazyFrames`).
        amplitude: the stored values are amplitudes, so photons are `(value * scale) ** 2`.
        scale: factor on the stored values, before squaring when they are amplitudes.
        corner: zero frequency is stored at `[0, 0]`.
        whole: photons are whole numbers; rounding removes what float32 amplitudes lost.
        crop: (y0, y1, x0, x1) of the stored frames to take; all when None.
        bad: (y, x) bool of the stored frames, True where a pixel is not to be trusted and is read as 0; none when None.
        floored: stored values below 0 are read as 0, as the noise of frames from which a dark one was subtracted.
        orientation: how frames are turned once their zero frequency is in the centre, see `turn`.
        known: what a file says about these frames, all of them, as they are read; found by reading them when None.
    """

    stored: Stored
    amplitude: bool = False
    scale: float = 1.0
    corner: bool = False
    whole: bool = False
    crop: tuple[int, int, int, int] | None = None
    bad: np.ndarray | None = None
    floored: bool = False
    orientation: Orientation = "as_stored"
    known: Summary | None = None

    def __getitem__(self, index: Index) -> np.ndarray:
        """Frames by index as float32 photons, zero frequency centred, upright."""
        with np.errstate(over="ignore"):  # of bad pixels, which may hold anything
            values = np.array(self._cropped(self.stored[index]), dtype=np.float32)
        if self.bad is not None:
            values[..., self._cropped(self.bad)] = 0
        if self.floored:
            values = np.maximum(values, 0)
        if self.scale != 1.0:
            values = values * np.float32(self.scale)
        if self.amplitude:
            values = values * values
        if self.whole:
            values = np.rint(values)
        if self.corner:
            values = np.fft.fftshift(values, axes=(-2, -1))
        return values if self.orientation == "as_stored" else np.ascontiguousarray(turn(values, self.orientation))

    def _cropped(self, stored: np.ndarray) -> np.ndarray:
        if self.crop is None:
            return stored
        top, bottom, left, right = self.crop
        return stored[..., top:bottom, left:right]

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, y, x) of the frames as they are read."""
        n, height, width = self.stored.shape
        if self.crop is not None:
            top, bottom, left, right = self.crop
            height, width = bottom - top, right - left
        return (n, width, height) if transposes(self.orientation) else (n, height, width)

    @property
    def mask(self) -> np.ndarray:
        """(y, x) bool of the frames as they are read, True where a pixel is to be trusted."""
        if self.bad is None:
            return np.ones(self.shape[1:], dtype=bool)
        good = ~self._cropped(self.bad)
        return np.ascontiguousarray(turn(np.fft.fftshift(good) if self.corner else good, self.orientation))

    def turned(self, orientation: Orientation) -> "Frames":
        """The same frames, turned once more."""
        if orientation == "as_stored":
            return self
        return replace(self, orientation=composed(self.orientation, orientation), known=None)

    @property
    def in_memory(self) -> bool:
        """The frames lie in memory as they are, neither mapped from a file nor made when read."""
        return isinstance(self.stored, np.ndarray) and not isinstance(self.stored, np.memmap)

    def blocks(self) -> Iterator[slice]:
        """Slices of a few frames, in order, that cover all of them."""
        n, height, width = self.shape
        block = max(1, _BLOCK_PIXELS // (height * width))
        return (slice(start, min(start + block, n)) for start in range(0, n, block))

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
        """`function` of each block of frames in turn, so that a memory-mapped scan is never loaded whole."""
        return [function(self[block]) for block in self.blocks()]

    def select(self, index: Index) -> "Frames":
        """Some of the frames. Large selections of mapped frames, and lazy ones, are looked up when read, not copied."""
        if isinstance(self.stored, LazyFrames):
            return replace(self, stored=self.stored.select(index), known=None)
        numbers = np.arange(len(self))[index]
        _, height, width = self.stored.shape
        if self.in_memory or numbers.size * height * width * self.stored.dtype.itemsize <= _COPIED_BYTES:
            return replace(self, stored=self.stored[index], known=None)
        view = LazyFrames(self.stored.__getitem__, numbers, (height, width), self.stored.dtype)
        return replace(self, stored=view, known=None)

    @cached_property
    def totals(self) -> np.ndarray:
        """(n,) photons in each frame."""
        return self._sums[0] if self.known is None else self.known.totals

    @cached_property
    def mean_frame(self) -> np.ndarray:
        """(y, x) mean photons per detector pixel."""
        return self._sums[1] if self.known is None else self.known.mean_frame

    @cached_property
    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Photons of each frame and mean photons of each pixel, in one pass over the frames."""
        n, height, width = self.shape
        totals, mean = np.empty(n), np.zeros((height, width))
        for block in self.blocks():
            totals[block], total = _sums(self[block])
            mean += total
        return totals, mean / n

    @cached_property
    def digests(self) -> tuple[np.ndarray, ...]:
        """(32,) uint8 sha256 of each block of frames in turn; of their recipe, for lazy frames that have one."""
        lazy = self.stored
        if self.known is not None:
            return self.known.digests
        if isinstance(lazy, LazyFrames) and lazy.recipe:
            reading = f"{lazy.recipe} {self.amplitude} {self.scale!r} {self.corner} {self.whole}{self._view}"
            return (_bytes_of(sha256_arrays(np.frombuffer(reading.encode(), dtype=np.uint8), lazy.numbers)),)
        return tuple(self.map(_digest))

    @property
    def _view(self) -> str:
        """What is seen of the stored frames, in words; nothing where it is all of them, upright."""
        bad = None if self.bad is None else sha256_arrays(self.bad)
        seen = {
            "crop": self.crop,
            "bad": bad,
            "floored": self.floored or None,
            "orientation": None if self.orientation == "as_stored" else self.orientation,
        }
        return "".join(f" {name} {value}" for name, value in seen.items() if value is not None)


def _sums(photons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a block of frames: (k,) photons of each frame, (y, x) photons of each pixel."""
    return photons.sum(axis=(1, 2), dtype=np.float64), photons.sum(axis=0, dtype=np.float64)


def _digest(photons: np.ndarray) -> np.ndarray:
    """(32,) uint8 sha256 of a block of frames."""
    return _bytes_of(sha256_arrays(photons))


def _bytes_of(digest: str) -> np.ndarray:
    """The bytes of a hex digest as an array."""
    return np.frombuffer(bytes.fromhex(digest), dtype=np.uint8)
