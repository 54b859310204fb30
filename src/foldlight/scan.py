"""A ptychographic scan, in one unit and one convention.

Photons, not amplitudes; zero frequency at `[N // 2, N // 2]`; arrays are `(y, x)`; positions are float64 object
pixels and name the object coordinate under the window's centre pixel `N // 2`. Readers bring every file to this
form; nothing after them sees another one. Source: docs/physics.md, frames and units.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np

from foldlight.core.errors import DataError
from foldlight.core.provenance import sha256_arrays

__all__ = ["Frames", "LazyFrames", "Scan", "Stored", "Summary", "place_on_canvas"]

_BLOCK_PIXELS = 2**22  # 16 MiB of float32 at a time
_COPIED_BYTES = 2**28  # the most that a selection of mapped frames copies into memory

Index = int | slice | Sequence[int] | np.ndarray


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
        known: what a file says about these frames, all of them, as they are read; found by reading them when None.
    """

    stored: Stored
    amplitude: bool = False
    scale: float = 1.0
    corner: bool = False
    whole: bool = False
    known: Summary | None = None

    def __getitem__(self, index: Index) -> np.ndarray:
        """Frames by index as float32 photons, zero frequency centred."""
        values = np.array(self.stored[index], dtype=np.float32)
        if self.scale != 1.0:
            values = values * np.float32(self.scale)
        if self.amplitude:
            values = values * values
        if self.whole:
            values = np.rint(values)
        if self.corner:
            values = np.fft.fftshift(values, axes=(-2, -1))
        return values

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, y, x) of the frames."""
        n, height, width = self.stored.shape
        return n, height, width

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
        _, height, width = self.shape
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
            reading = f"{lazy.recipe} {self.amplitude} {self.scale!r} {self.corner} {self.whole}"
            return (_bytes_of(sha256_arrays(np.frombuffer(reading.encode(), dtype=np.uint8), lazy.numbers)),)
        return tuple(self.map(_digest))


@dataclass(frozen=True)
class Scan:
    """Frames, where they were taken, and with what light.

    Attributes:
        photons: n frames [photon], see `Frames`.
        positions_px: (n, 2) float64 (y, x) [object px]; every window lies inside the object canvas.
        probe: (mode, y, x) complex64 [sqrt(photon)]; its power is the photons per frame through an empty object.
        object: (y, x) complex64 true or guessed transmission on the canvas, or None.
        object_is_truth: `object` is what the frames were made from, not somebody's reconstruction.
        canvas: (height, width) of the object array, in pixels.
        mask: (y, x) bool, detector pixels to trust; all of them when none is given.
        notes: what the reader found and changed, one sentence each.
        origin: JSON-ready facts about where the scan comes from.
        frame_index: (n,) int64 number of each frame in the scan it was first read from; 0 to n - 1 when none is given.

    Raises:
        DataError: anything above does not hold.
    """

    photons: Frames
    positions_px: np.ndarray
    probe: np.ndarray
    canvas: tuple[int, int]
    object: np.ndarray | None = None
    object_is_truth: bool = False
    mask: np.ndarray = field(default_factory=lambda: np.ones(0, dtype=bool))
    notes: tuple[str, ...] = ()
    origin: dict[str, Any] = field(default_factory=dict)
    frame_index: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if self.photons.stored.ndim != 3:
            raise DataError(f"diffraction: expected (n, y, x) frames, got shape {self.photons.stored.shape}")
        if self.mask.size == 0:
            object.__setattr__(self, "mask", np.ones(self.window, dtype=bool))
        if self.frame_index.size == 0:
            object.__setattr__(self, "frame_index", np.arange(len(self), dtype=np.int64))
        self._check_frames()
        self._check_positions()
        self._check_probe()
        if self.object is not None:
            _expect("object", self.object, np.complexfloating, self.canvas)

    def _check_frames(self) -> None:
        n, height, width = self.photons.shape
        if n == 0:
            raise DataError("diffraction: expected at least one frame, got an empty scan")
        if height % 2 or width % 2 or min(height, width) < 8:
            raise DataError(
                f"diffraction: expected even frame sizes of 8 px or more, got {height} x {width}; crop or pad them"
            )
        _expect("frame_index", self.frame_index, np.int64, (n,))
        _expect("mask", self.mask, np.bool_, (height, width))
        if not self.mask.any():
            raise DataError("mask: expected at least one valid detector pixel, got none")

    def _check_positions(self) -> None:
        positions = self.positions_px
        _expect("positions_px", positions, np.float64, (len(self.photons), 2))
        low = positions - np.array(self.window) // 2
        high = low + np.array(self.window)
        outside = (low < 0) | (high > np.array(self.canvas))
        if outside.any():
            worst = int(np.flatnonzero(outside.any(axis=1))[0])
            raise DataError(
                f"positions: expected every {self.window[0]} x {self.window[1]} window inside the"
                f" {self.canvas[0]} x {self.canvas[1]} object, got {outside.any(axis=1).sum()} outside, first frame"
                f" {worst} at (y, x) = ({positions[worst, 0]:g}, {positions[worst, 1]:g}) px; check units and origin"
            )

    def _check_probe(self) -> None:
        if self.probe.ndim != 3 or not len(self.probe):
            raise DataError(f"probe: expected (mode, y, x), got shape {self.probe.shape}")
        _expect("probe", self.probe, np.complexfloating, (len(self.probe), *self.window))
        if not np.any(self.probe):
            raise DataError("probe: expected some power, got zeros")

    def __len__(self) -> int:
        return len(self.photons)

    @property
    def window(self) -> tuple[int, int]:
        """(height, width) of a frame and of the probe [px]."""
        return self.photons.shape[1:]

    @property
    def truth(self) -> np.ndarray | None:
        """The object the frames were made from, where it is known."""
        return self.object if self.object_is_truth else None

    def digest(self) -> str:
        """Hex sha256 of what a method may see: photons, positions, probe and mask; not the numbers of frames."""
        return sha256_arrays(*self.photons.digests, self.positions_px, self.probe, self.mask)

    def with_probe(self, probe: np.ndarray, note: str) -> "Scan":
        """The same scan with another probe (mode, y, x), and a note that says whose.

        Raises:
            DataError: the probe's window is not that of the frames.
        """
        return replace(self, probe=probe, notes=(*self.notes, note))

    def select(self, index: np.ndarray) -> "Scan":
        """The scan of some of its frames, on the same canvas; each keeps its number."""
        return replace(
            self,
            photons=self.photons.select(index),
            positions_px=self.positions_px[index],
            frame_index=self.frame_index[index],
        )


def place_on_canvas(
    positions_px: np.ndarray, window: tuple[int, int], margin_px: int = 2
) -> tuple[np.ndarray, tuple[int, int]]:
    """Move positions of any origin by whole pixels so that every window fits a canvas with a margin.

    Whole pixels keep the sub-pixel part of each position as it was measured. Canvas sizes are even.

    Returns:
        The moved (n, 2) positions and the canvas (height, width).
    """
    size = np.array(window)
    offset = size // 2 + margin_px - np.floor(positions_px.min(axis=0))
    moved = positions_px + offset
    extent = np.ceil(moved.max(axis=0)).astype(int) - size // 2 + size + margin_px
    height, width = (extent + extent % 2).tolist()
    return moved, (height, width)


def _sums(photons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a block of frames: (k,) photons of each frame, (y, x) photons of each pixel."""
    return photons.sum(axis=(1, 2), dtype=np.float64), photons.sum(axis=0, dtype=np.float64)


def _digest(photons: np.ndarray) -> np.ndarray:
    """(32,) uint8 sha256 of a block of frames."""
    return _bytes_of(sha256_arrays(photons))


def _bytes_of(digest: str) -> np.ndarray:
    """The bytes of a hex digest as an array."""
    return np.frombuffer(bytes.fromhex(digest), dtype=np.uint8)


def _expect(name: str, array: np.ndarray, kind: type, shape: tuple[int, ...]) -> None:
    """One shape, one kind of number, nothing that is not finite."""
    if array.shape != shape:
        raise DataError(f"{name}: expected shape {shape}, got {array.shape}")
    if not np.issubdtype(array.dtype, kind):
        raise DataError(f"{name}: expected {kind.__name__}, got {array.dtype}")
    if array.dtype != bool and not np.isfinite(array).all():
        raise DataError(f"{name}: expected finite values, got {int((~np.isfinite(array)).sum())} that are not")
