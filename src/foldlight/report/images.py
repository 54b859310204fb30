"""Objects as a page and an export show them: amplitude and phase of all arms on one scale, eight bits each.

A page stores every image once, as a grey PNG with the amplitude above the phase; the browser colours them and forms the
errors from them. Code 0 is a pixel that was not scored; 1 to 255 span the stored range, which is wider than the shown
one, so that an error is seldom clipped: for a phase that spans 1.2 rad a step is 0.01 rad.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image

from foldlight.compare.files import Objects
from foldlight.compare.metrics import phase_pair
from foldlight.compare.table import FLAT_ARM
from foldlight.optics.coverage import bounding_box
from foldlight.report.figures import percentile_range, phase_scale

__all__ = [
    "AMPLITUDE_COLOURS",
    "ERROR_COLOURS",
    "TRUTH",
    "Polar",
    "Scale",
    "colour_table",
    "decode",
    "encode",
    "error_limits",
    "error_scale",
    "polar",
    "reduction",
    "shared_scales",
    "stored",
    "wrapped",
]

TRUTH = "truth"
AMPLITUDE_COLOURS, ERROR_COLOURS = "cividis", "coolwarm"  # perceptual; the second diverges [Moreland 2009]

_LEVELS = 254  # steps between code 1 and code 255
_MARGIN = 0.5  # of the shown range, on both sides, that is stored as well
_BUDGET = 20e6  # codes of all images of a page: about as many bytes where all are noise, half as many in practice


@dataclass(frozen=True)
class Scale:
    """How a quantity is shown, the same in every image of it.

    Attributes:
        name: what it is.
        unit: of its values; empty for a ratio.
        low: value of the first colour.
        high: value of the last colour.
        stored: least and greatest value that is stored.
        colours: name of a matplotlib colour map.
        cyclic: its ends are the same value, as those of a wrapped phase.
    """

    name: str
    unit: str
    low: float
    high: float
    stored: tuple[float, float]
    colours: str
    cyclic: bool = False


@dataclass(frozen=True)
class Polar:
    """One object on the scored box; NaN where it was not scored.

    Attributes:
        amplitude: (y, x).
        phase: (y, x) [rad], in (-pi, pi].
    """

    amplitude: np.ndarray
    phase: np.ndarray


def polar(objects: Objects, reference: str = TRUTH, step: int = 1) -> dict[str, Polar]:
    """The truth, where it is known, and each arm, cut to the box of what was scored.

    Phases are turned by the mean phase of what the arms were aligned to, so that they seldom wrap.

    Args:
        objects: images of one comparison.
        reference: name of what the arms were aligned to; the first arm is taken where there is none of that name.
        step: every pixel of the result is the mean over step x step object pixels.
    """
    images = {**({} if objects.truth is None else {TRUTH: objects.truth}), **objects.arms}
    anchor = images.get(reference, next(iter(images.values())))
    turned = phase_pair(anchor, anchor, objects.mask, objects.coverage)[0]
    turn = np.exp(1j * (turned - np.angle(anchor)))
    box = bounding_box(objects.mask)
    inside = _means(objects.mask[box].astype(np.float64), step) > 0.5
    found = {}
    for name, image in images.items():
        mean = _means((np.where(objects.mask, image * turn, 0))[box], step) if step > 1 else (image * turn)[box]
        blank = np.where(inside, 1.0, np.nan)
        found[name] = Polar(np.abs(mean) * blank, np.angle(mean) * blank)
    return found


def _means(image: np.ndarray, step: int) -> np.ndarray:
    """Means over blocks of step x step; what is left over at the far edges is left out."""
    height, width = image.shape[0] // step, image.shape[1] // step
    return image[: height * step, : width * step].reshape(height, step, width, step).mean(axis=(1, 3))


def reduction(shapes: Iterable[tuple[int, int, int]]) -> int:
    """By how much images of shapes (number, y, x) have to be reduced to fit on one page."""
    codes = 2.0 * sum(float(np.prod(shape)) for shape in shapes)
    return max(1, int(np.ceil(np.sqrt(codes / _BUDGET))))


def shared_scales(anchors: Sequence[Polar]) -> dict[str, Scale]:
    """The scales of phase and amplitude that fit all of these images; a phase that wraps gets a cyclic one."""
    amplitudes = [percentile_range(_known(each.amplitude)) for each in anchors]
    phases = [phase_scale(_known(each.phase)) for each in anchors]
    cyclic = next((colours for _, colours, extend in phases if extend == "neither"), None)
    low, high = _range([norm for norm, _, _ in phases])
    turn = (-np.pi, np.pi)
    phase = (
        Scale("phase", "rad", *turn, turn, cyclic, True)
        if cyclic
        else Scale("phase", "rad", low, high, _wider(low, high, turn), phases[0][1])
    )
    low, high = _range(amplitudes)
    return {
        "phase": phase,
        "amplitude": Scale("amplitude", "", low, high, _wider(low, high, (0.0, np.inf)), AMPLITUDE_COLOURS),
    }


def error_limits(images: Mapping[str, Polar]) -> dict[str, float]:
    """Greatest error that the error maps of one comparison tell apart, by quantity: that of the arms worth a look."""
    truth = images.get(TRUTH)
    arms = [image for name, image in images.items() if name not in {TRUTH, FLAT_ARM}]
    arms = arms or [image for name, image in images.items() if name != TRUTH]
    if truth is None or not arms:
        return {}
    phase = [np.percentile(np.abs(_known(wrapped(arm.phase - truth.phase))), 98) for arm in arms]
    size = [np.percentile(np.abs(_known(arm.amplitude - truth.amplitude)), 98) for arm in arms]
    return {"phase": _two_digits(float(np.median(phase))), "amplitude": _two_digits(float(np.median(size)))}


def error_scale(scale: Scale, limit: float) -> Scale:
    """The scale of the error of a quantity, zero in the middle."""
    return Scale(f"{scale.name} error", scale.unit, -limit, limit, (-limit, limit), ERROR_COLOURS)


def wrapped(phase: np.ndarray) -> np.ndarray:
    """A phase difference [rad] in (-pi, pi]."""
    found: np.ndarray = np.pi - (np.pi - phase) % (2 * np.pi)
    return found


def encode(image: Polar, scales: Mapping[str, Scale]) -> np.ndarray:
    """(2, y, x) uint8: codes of amplitude and phase."""
    return np.stack([_codes(image.amplitude, scales["amplitude"]), _codes(image.phase, scales["phase"])])


def _codes(values: np.ndarray, scale: Scale) -> np.ndarray:
    low, high = scale.stored
    levels = np.clip(np.round((values - low) / (high - low) * _LEVELS), 0, _LEVELS)
    return np.where(np.isfinite(levels), 1 + np.nan_to_num(levels), 0).astype(np.uint8)


def decode(codes: np.ndarray, scale: Scale) -> np.ndarray:
    """(y, x) values of one quantity as the browser sees them; NaN where it was not scored."""
    low, high = scale.stored
    return np.where(codes == 0, np.nan, low + (codes.astype(np.float64) - 1) / _LEVELS * (high - low))


def stored(codes: np.ndarray) -> str:
    """Codes (2, y, x) as the data URI of a grey PNG, the amplitude above the phase."""
    buffer = io.BytesIO()
    Image.fromarray(codes.reshape(-1, codes.shape[-1])).save(buffer, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def colour_table(name: str) -> str:
    """256 colours of a map, as hexadecimal digits one after the other."""
    colours: Any = mpl.colormaps[name](np.linspace(0, 1, 256))
    return np.round(colours[:, :3] * 255).astype(np.uint8).tobytes().hex()


def _known(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _range(norms: Sequence[Any]) -> tuple[float, float]:
    return min(norm.vmin for norm in norms), max(norm.vmax for norm in norms)


def _wider(low: float, high: float, most: tuple[float, float]) -> tuple[float, float]:
    margin = _MARGIN * (high - low)
    return max(low - margin, most[0]), min(high + margin, most[1])


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}") or 1.0
