"""What a detector leaves in its frames: pixels that are not to be trusted, and more of them than are wanted."""

from dataclasses import dataclass

import numpy as np

from foldlight.core.errors import DataError
from foldlight.frames import Stored
from foldlight.io.options import ReadOptions

__all__ = ["BLOCK_BYTES", "MOST", "bad_pixels", "crop_of", "refuse_crop"]

BLOCK_BYTES = 1 << 24
"""Of frames that are looked at together."""

MOST = 1e15
"""More than a detector or a simulation puts into a pixel."""

_MOST_MARKED = 0.5  # of a detector that still sees something; more are a fault of the file
_NEGATIVE, _TOO_MUCH = "negative", f"above {MOST:g}"


def bad_pixels(
    stored: Stored, declared: np.ndarray | None = None, floored: bool = False
) -> tuple[np.ndarray | None, list[str]]:
    """Pixels that are bad by the file's word or by a detector's mark, None where all are good; and notes.

    All frames are read once, in blocks. A mark is the largest number of an unsigned type, one negative number, or no
    number, in every frame.

    Args:
        stored: (n, y, x).
        declared: (y, x) bool, True where the file says that a pixel is bad.
        floored: numbers below 0 that are no marks will be read as 0.

    Raises:
        DataError: bad numbers elsewhere, with the first frame that has some.
    """
    n, height, width = stored.shape
    if declared is not None and declared.shape != (height, width):
        raise DataError(f"expected bad pixels of shape {(height, width)} as the frames, got {declared.shape}")
    step = max(1, BLOCK_BYTES // (height * width * stored.dtype.itemsize))
    first, same = np.asarray(stored[0]), np.ones((height, width), dtype=bool)
    nothing = np.isnan(first)  # equal to nothing, itself included
    faults = {name: _Fault(np.zeros((height, width), dtype=np.int64)) for name in ("not finite", _NEGATIVE, _TOO_MUCH)}
    for start in range(0, n, step):
        block = np.asarray(stored[start : start + step])
        same &= np.where(nothing, np.isnan(block), block == first).all(axis=0)
        if block.min() >= 0 and block.max() <= MOST:  # NaN fails the comparison
            continue
        faults["not finite"] = faults["not finite"].and_of(~np.isfinite(block), start)
        faults[_NEGATIVE] = faults[_NEGATIVE].and_of(block < 0, start)
        faults[_TOO_MUCH] = faults[_TOO_MUCH].and_of(np.isfinite(block) & (block > MOST), start)
    marked = same & _marks(first)
    if n == 1 or marked.mean() > _MOST_MARKED:
        marked = np.zeros_like(marked)
    bad = marked if declared is None else marked | declared
    notes = []
    for name, fault in faults.items():
        count = int(fault.counts[~bad].sum())
        if count and floored and name == _NEGATIVE:
            notes.append(f"{count} numbers below 0 read as 0, {count / (n * height * width):.2%} of all")
        elif count:
            cure = "; or read them as 0, with the option negative" if name == _NEGATIVE else ""
            raise DataError(
                f"expected finite numbers >= 0, got {count} {name}, first in frame {fault.first(bad)};"
                f" mend or leave out such frames{cure}"
            )
    if declared is not None and declared.any():
        notes.append(f"{int(declared.sum())} bad pixels, as the file says")
    if more := int((marked & ~(np.zeros_like(marked) if declared is None else declared)).sum()):
        notes.append(f"{more} pixels hold a mark of a bad pixel in every frame, for instance {first[marked][0]:g}")
    return (bad if bad.any() else None), notes


def _marks(frame: np.ndarray) -> np.ndarray:
    """Where a frame holds what detectors write for a pixel that is broken, or hidden between modules."""
    if frame.dtype.kind == "f":
        return ~np.isfinite(frame) | (frame < 0)
    top = np.iinfo(frame.dtype).max
    return (frame < 0) | ((frame == top) & (top > 255))  # a byte is soon full of photons


@dataclass(frozen=True)
class _Fault:
    """One kind of bad number: how many in each pixel, and the pixels where frames first had some."""

    counts: np.ndarray
    seen: tuple[tuple[int, np.ndarray], ...] = ()

    def and_of(self, found: np.ndarray, start: int) -> "_Fault":
        """With those of a further block, whose first frame is `start`."""
        if not found.any():
            return self
        fresh = found.any(axis=0) & (self.counts == 0)
        frames = start + found.argmax(axis=0)
        more = ((start, np.where(fresh, frames, -1)),) if fresh.any() else ()
        return _Fault(self.counts + found.sum(axis=0), (*self.seen, *more))

    def first(self, bad: np.ndarray) -> int:
        """The first frame that had one outside of the bad pixels."""
        return min(int(at[(at >= 0) & ~bad].min()) for _, at in self.seen if ((at >= 0) & ~bad).any())


def crop_of(window: tuple[int, int], options: ReadOptions) -> tuple[tuple[int, int, int, int] | None, list[str]]:
    """(y0, y1, x0, x1) of the part of a frame that is asked for, with the direct beam on its pixel N // 2; and notes.

    Raises:
        DataError: it is not inside.
    """
    if options.crop_px is None and options.centre_px is None:
        return None, []
    centre = [round(at) for at in options.centre_px or (window[0] // 2, window[1] // 2)]
    room = [2 * min(at, size - at) for at, size in zip(centre, window, strict=True)]
    sizes = [options.crop_px or part for part in room]
    if min(room) < 8 or any(size > part for size, part in zip(sizes, room, strict=True)):
        raise DataError(
            f"expected a crop inside the {window[0]} x {window[1]} frame, got {sizes[0]} x {sizes[1]} around"
            f" {tuple(centre)}; at most {room[0]} x {room[1]} px fit, set crop_px or centre_px"
        )
    top, left = (at - size // 2 for at, size in zip(centre, sizes, strict=True))
    note = f"{sizes[0]} x {sizes[1]} px taken of {window[0]} x {window[1]}, around (y, x) = {tuple(centre)}"
    return (top, top + sizes[0], left, left + sizes[1]), [note]


def refuse_crop(options: ReadOptions) -> None:
    """Refuse to crop the frames of a format that has pixels instead of metres: other frames have other object pixels.

    Raises:
        DataError: a crop was asked for.
    """
    if options.crop_px is not None or options.centre_px is not None:
        raise DataError(
            "crop_px, centre_px: expected neither for a format with positions in pixels, since cropped frames have"
            " other object pixels; crop before such a file is written"
        )
