"""From stored arrays to the parts of a Scan: what every reader does the same way."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from foldlight.core.errors import DataError
from foldlight.io.evidence import is_whole, judge_axis_order, judge_values, judge_zero_frequency, spread
from foldlight.io.npz import about
from foldlight.io.options import ReadOptions
from foldlight.scan import Frames, place_on_canvas

__all__ = ["Storage", "finite", "moved_to_canvas", "numbers", "photon_frames", "probe_modes", "scaled_to_photons"]

_BLOCK_BYTES = 1 << 24
_SAMPLE = 32  # frames that bear witness


@dataclass(frozen=True)
class Storage:
    """How a format, and then one file, stores its frames.

    Attributes:
        values: `amplitude` or `intensity`, as the format prescribes; None if it does not.
        zero_frequency: `centre` or `corner`, likewise.
        declared: what this file says itself, under the names of the options.
        scale: what this file says its numbers are to be multiplied by; None if it does not.
    """

    values: str | None = None
    zero_frequency: str | None = None
    declared: Mapping[str, str] = field(default_factory=dict)
    scale: float | None = None


def photon_frames(
    key: str, stored: np.ndarray, n_positions: int, storage: Storage, options: ReadOptions
) -> tuple[Frames, tuple[str, ...]]:
    """Frames that give photons, from an array as it lies in a file, and notes on what was found.

    The array is read in blocks to refuse bad numbers, and stays memory-mapped if it was.

    Raises:
        DataError: not three axes of real numbers >= 0, not as many as the positions, or nothing says how to read them.
    """
    with about(key):
        stored, notes = _frame_first(numbers(stored, 3), n_positions, storage, options)
        _refuse_bad(stored)
        sample = spread(stored, min(_SAMPLE, max(4, 4 * _BLOCK_BYTES // stored[0].nbytes)))
        values = judge_values(sample, options.values, storage.declared.get("values"), storage.values)
        amplitude, scale = values.choice == "amplitude", options.scale or storage.scale or values.scale
        photons = (sample.astype(np.float64) * scale) ** (2 if amplitude else 1)
        beam = judge_zero_frequency(
            photons.mean(axis=0), options.zero_frequency, storage.declared.get("zero_frequency"), storage.zero_frequency
        )
    whole = is_whole(photons, stored.dtype, roundings=1.25 if scale == 1.0 else 3.0)  # scaling rounded too
    corner = beam.choice == "corner"
    formula = f"(stored * {scale:.9g})^2" if amplitude else f"stored * {scale:.9g}"
    unknown = not (whole or options.scale or storage.scale)
    unit = "whole numbers" if whole else "in the file's own unit, no scale is known" if unknown else "not whole numbers"
    notes += [
        f"{values.choice}, {values.reason}; photons = {formula}, {unit}",
        f"zero frequency in the {beam.choice}{', moved to the centre' * corner}: {beam.reason}",
    ]
    return Frames(stored, amplitude, scale, corner, whole), tuple(f"{key}: {note}" for note in notes)


def _frame_first(
    stored: np.ndarray, n_positions: int, storage: Storage, options: ReadOptions
) -> tuple[np.ndarray, list[str]]:
    """The same frames as (n, y, x)."""
    if not stored.size:
        raise DataError(f"expected at least one frame, got an empty scan of shape {stored.shape}")
    order = judge_axis_order(stored.shape, n_positions, options.axis_order, storage.declared.get("axis_order"))
    if order.choice == "nyx":
        return stored, []
    turned = np.moveaxis(stored, -1, 0)
    if isinstance(stored, np.memmap):  # one frame would touch every page of the file
        turned = np.array(turned, order="C", subok=False)
    return turned, [f"axes (y, x, n) turned to (n, y, x), {order.reason}"]


def _refuse_bad(stored: np.ndarray) -> None:
    """Refuse what is negative or not finite, a block at a time."""
    step = max(1, _BLOCK_BYTES // stored[0].nbytes)
    for start in range(0, len(stored), step):
        block = stored[start : start + step]
        if block.min() >= 0 and np.isfinite(block.max()):  # NaN fails the comparison
            continue
        for fault, bad in (("not finite", ~np.isfinite(block)), ("negative", block < 0)):
            if bad.any():
                first = start + int(np.argwhere(bad.any(axis=(1, 2)))[0, 0])
                raise DataError(
                    f"expected finite numbers >= 0, got {int(bad.sum())} {fault}, first in frame {first};"
                    " mend or leave out such frames"
                )


def numbers(array: np.ndarray, ndim: int, kinds: str = "iuf") -> np.ndarray:
    """The array itself, if it has that many axes and that kind of numbers.

    Raises:
        DataError: it has not.
    """
    words = {"c": "complex numbers", "b": "booleans"}.get(kinds, "real numbers")
    if array.dtype.kind not in kinds:
        raise DataError(f"expected {words}, got {array.dtype}")
    if array.ndim != ndim:
        raise DataError(f"expected {ndim} axes, got shape {array.shape}")
    return array


def finite(array: np.ndarray) -> np.ndarray:
    """The array itself, if all its values are finite.

    Raises:
        DataError: they are not.
    """
    bad = ~np.isfinite(array)
    if bad.any():
        raise DataError(f"expected finite values, got {int(bad.sum())} that are not, first at {_first(bad)}")
    return array


def _first(bad: np.ndarray) -> list[int]:
    return [int(index) for index in np.argwhere(bad)[0]]


def probe_modes(key: str, stored: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """(mode, y, x) complex64 in memory, from (y, x) or (mode, y, x), in the file's unit.

    Raises:
        DataError: not complex, not of the frames' size, not finite.
    """
    with about(key):
        modes = numbers(stored[None] if stored.ndim == 2 else stored, 3, "c")
        if modes.shape[1:] != window or not len(modes):
            size = f"{window[0]}, {window[1]}"
            raise DataError(f"expected ({size}) or (modes, {size}) as the frames, got {stored.shape}")
        return finite(np.array(modes, dtype=np.complex64, subok=False))


def scaled_to_photons(key: str, probe: np.ndarray, frames: Frames) -> tuple[np.ndarray, str]:
    """A probe of unknown unit, scaled so that its power is the mean photons per frame, and a note.

    The least wrong guess for an object that absorbs little. Source: docs/physics.md, forward model.

    Raises:
        DataError: there is no light in the probe or in the frames.
    """
    power = float(np.sum(np.abs(probe.astype(np.complex128)) ** 2))
    mean = float(frames.totals.mean())
    if not (power > 0 and mean > 0):
        raise DataError(f"{key}: expected light, got a probe of power {power:g} and {mean:g} photons per frame")
    factor = np.sqrt(mean / power)
    note = f"{key}: unit unknown, rescaled by {factor:.6g} to the mean photons per frame, {mean:.6g}"
    return (probe * factor).astype(np.complex64), note


def moved_to_canvas(positions_px: np.ndarray, window: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int], str]:
    """`place_on_canvas` and a note of what it did."""
    moved, canvas = place_on_canvas(positions_px, window)
    shift_y, shift_x = moved[0] - positions_px[0]
    note = (
        f"positions: moved by (y, x) = ({shift_y:.9g}, {shift_x:.9g}) px onto a canvas of {canvas[0]} x {canvas[1]} px"
    )
    return moved, canvas, note
