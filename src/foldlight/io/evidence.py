"""What frames say about themselves: photons or their roots, centred or not, which axis counts them.

Each judge weighs, in this order: the user's option, what the file declares, what the numbers prove, what the format
prescribes; and when nothing decides, it refuses and names the option that does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foldlight.core.errors import DataError
from foldlight.frames import Stored

__all__ = ["Verdict", "beam_shares", "is_whole", "judge_axis_order", "judge_values", "judge_zero_frequency", "spread"]

_CLEAR = 4.0  # times more photons here than there; a measured far-field scan shows 3,600
_CHANCE = 1e-6  # that real numbers would look like counts by accident
_SMALLEST = 1e-15  # unit of counts that were scaled
_LEVELS = 64  # the lowest distinct values: small counts prove most


@dataclass(frozen=True)
class Verdict:
    """A choice and why.

    Attributes:
        choice: one of the option's words.
        reason: half a sentence for the notes.
        scale: factor on the stored numbers that the numbers themselves reveal; 1 where they reveal none.
    """

    choice: str
    reason: str
    scale: float = 1.0


def spread(stored: Stored, count: int) -> np.ndarray:
    """Up to `count` frames, evenly spread over the scan, first and last among them."""
    index = np.unique(np.linspace(0, len(stored) - 1, min(count, len(stored))).astype(int))
    return np.asarray(stored[index])


def judge_values(
    sample: np.ndarray, asked: str = "auto", declared: str | None = None, convention: str | None = None
) -> Verdict:
    """Whether stored numbers are `amplitude` or `intensity`.

    Whole numbers above 1 are counts; numbers that are not whole but whose squares are whole multiples of one unit are
    roots of counts.

    Args:
        sample: some frames as stored.
        asked: the option.
        declared: what the file says.
        convention: what the format prescribes, if it does.

    Raises:
        DataError: nothing decides.
    """
    found = _value_evidence(sample)
    scale = found.scale if found else 1.0
    if asked != "auto":
        return Verdict(asked, "as the option values says", scale if found and found.choice == asked else 1.0)
    if declared is not None:
        doubt = (
            f"; set values to {found.choice} if that is wrong: {found.reason}"
            if found and found.choice != declared
            else ""
        )
        return Verdict(declared, f"as the file declares{doubt}")
    if found is not None:
        return Verdict(found.choice, found.reason + _against(found.choice, convention), scale)
    if convention is not None:
        return Verdict(convention, "as the format prescribes; the numbers alone do not tell")
    raise DataError(
        "expected whole numbers (counts) or roots of whole numbers (amplitudes), got neither;"
        " set the option values to amplitude or intensity"
    )


@np.errstate(all="ignore")  # absurd numbers prove nothing
def _value_evidence(sample: np.ndarray) -> Verdict | None:
    """What the numbers prove, or None; 0 and 1 are their own squares and prove nothing."""
    if np.issubdtype(sample.dtype, np.integer):
        return Verdict("intensity", "stored as integers")
    levels = np.unique(sample[sample > 0])[:_LEVELS].astype(np.float64)
    if not len(levels) or levels[-1] == 1.0:
        return None
    error = 4 * _rounding(sample.dtype)  # scaling rounds again, and the unit is as inexact as the numbers
    if _unit(levels, error) is not None:
        # multiples of another unit than 1 may be scaled counts or amplitudes of a coarse number format
        return Verdict("intensity", "they are whole numbers") if is_whole(sample) else None
    unit = _unit(levels**2, error)
    if unit is None:
        return None
    return Verdict("amplitude", f"their squares are whole multiples of {unit:.6g}", float(1 / np.sqrt(unit)))


def _unit(levels: np.ndarray, error: float) -> float | None:
    """The number of which all levels are whole multiples: 1, or the lowest level over a small whole number."""
    for unit in (1.0, *(levels[0] / divisor for divisor in range(1, 5))):
        multiples = levels / unit
        if not unit > _SMALLEST or not (np.abs(multiples - np.rint(multiples)) <= error * multiples).all():
            continue
        proof = multiples if unit == 1.0 else multiples[1:]  # the level that gave the unit proves nothing
        if _convincing(error * proof):
            return 1.0 if unit == 1.0 else float(levels.sum() / np.rint(multiples).sum())
    return None


def is_whole(values: np.ndarray, stored_as: np.dtype | None = None, roundings: float = 1.25) -> bool:
    """Whether all numbers are whole within their rounding, and too many so for accident.

    Args:
        values: numbers >= 0.
        stored_as: the type whose rounding their roots suffered; their own by default.
        roundings: how often they were rounded, 1.25 for once and a margin.
    """
    if np.issubdtype(values.dtype, np.integer):
        return True
    levels = np.unique(values[values > 0]).astype(np.float64)
    allowed = roundings * _rounding(stored_as or values.dtype) * levels
    return bool((np.abs(levels - np.rint(levels)) <= allowed).all()) and _convincing(allowed)


def _convincing(allowed: np.ndarray) -> bool:
    """Whether numbers that far or less from whole ones would be an unlikely accident."""
    return bool(np.log(np.minimum(1.0, 2 * allowed)).sum() < np.log(_CHANCE))


def _rounding(dtype: np.dtype) -> float:
    """Relative error of a squared number of this type; wide types often hold what was narrow before."""
    narrow = np.finfo(dtype).eps if dtype.kind == "f" else 0
    return float(max(narrow, np.finfo(np.float32).eps))


def beam_shares(image: np.ndarray) -> tuple[float, float]:
    """Share of an image's sum near the centre `[N // 2, N // 2]` and near the corner `[0, 0]`: within N / 8 of them.

    Args:
        image: (y, x) numbers >= 0, for instance a mean frame or a probe's power.
    """
    total = float(image.sum(dtype=np.float64)) or 1.0
    return _central(image) / total, _central(np.fft.fftshift(image)) / total


def _central(image: np.ndarray) -> float:
    rows, columns = (slice(n // 2 - max(1, n // 8), n // 2 + max(1, n // 8) + 1) for n in image.shape)
    return float(image[rows, columns].sum(dtype=np.float64))


def judge_zero_frequency(
    mean_frame: np.ndarray, asked: str = "auto", declared: str | None = None, convention: str | None = None
) -> Verdict:
    """Whether the direct beam is in the `centre` or in the `corner`, by where the photons are.

    Args:
        mean_frame: (y, x) mean of some frames, as stored.
        asked: the option.
        declared: what the file says.
        convention: what the format prescribes, named in the reason when the photons contradict it.

    Raises:
        DataError: neither place holds clearly more photons, and nobody has said which it is.
    """
    centre, corner = beam_shares(mean_frame)
    seen = f"{100 * centre:.3g} % of the photons near the centre, {100 * corner:.3g} % near the corners"
    if asked != "auto":
        return Verdict(asked, f"as the option zero_frequency says; {seen}")
    if declared is not None:
        return Verdict(declared, f"as the file declares; {seen}")
    if centre > _CLEAR * corner or corner > _CLEAR * centre:
        choice = "centre" if centre > corner else "corner"
        return Verdict(choice, seen + _against(choice, convention))
    raise DataError(
        f"expected the direct beam in the centre or in the corner of the mean frame, got {seen};"
        " set the option zero_frequency to centre or corner"
    )


def judge_axis_order(
    shape: Sequence[int], n_positions: int, asked: str = "auto", declared: str | None = None
) -> Verdict:
    """Whether the frame number is the first axis, `nyx`, or the last, `yxn`, by the number of positions.

    Args:
        shape: the three sizes.
        n_positions: frames there have to be.
        asked: the option.
        declared: what the file says.

    Raises:
        DataError: no axis, or more than one, has that size, or not the one that was named.
    """
    sizes = {"nyx": shape[0], "yxn": shape[2]}
    named = declared if asked == "auto" else asked
    fits = [order for order, size in sizes.items() if size == n_positions and named in {None, order}]
    if not fits:
        where = f"along axis {named.index('n')} ({named}) " if named else ""
        raise DataError(f"expected {n_positions} frames {where}for as many positions, got shape {tuple(shape)}")
    if len(fits) > 1:
        raise DataError(
            f"expected one axis of {n_positions} frames, got shape {tuple(shape)};"
            " set the option axis_order to nyx or yxn"
        )
    source = (
        "as the option axis_order says"
        if asked != "auto"
        else "as the file declares"
        if declared
        else "by the number of positions"
    )
    return Verdict(fits[0], source)


def _against(choice: str, convention: str | None) -> str:
    """What to add when the numbers overrule the format."""
    return f", although the format prescribes {convention}" if convention not in {None, choice} else ""
