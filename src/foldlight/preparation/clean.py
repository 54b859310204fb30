"""What a reconstruction needs before it can be the true object of new scans: small pure steps.

None of them changes what the frames are in the well-lit area, but for the few pixels that are clipped and the faint
light that is cut off the probe. Notation: object `O`, probe `P`, exit wave of frame j `P(r) O(r + r_j)`.
"""

import numpy as np
from jaxtyping import Bool, Complex, Float
from scipy.sparse import diags_array, eye_array, kron, sparray
from scipy.sparse.linalg import cg

from foldlight.compare.align import Gauge, centred_coordinates, own_gauge

__all__ = ["bounded", "continued", "strongest_modes", "tapered", "without_gauge"]

_Object = Complex[np.ndarray, "y x"]
_Probe = Complex[np.ndarray, "mode h w"]
_FADE_PX = 16.0
_BRIGHTEST = 99.9  # percentile; above it a well-lit pixel is taken for a freak of the noise


def without_gauge(image: _Object, probe: _Probe, coverage: Float[np.ndarray, "y x"]) -> tuple[_Object, _Probe, Gauge]:
    """Object and probe with the object's own mean phase and phase ramp moved into the probe.

    `P(r) exp(i k r) O(r + r_j) exp(-i k (r + r_j))` is the exit wave times one number of modulus 1 for each frame, so
    the frames stay what they are. Taken out of the object alone, the ramp would move every frame on the detector.

    Returns:
        Object and probe (complex128), and what was moved.

    Source: docs/physics.md, gauge.
    """
    plain, gauge = own_gauge(image, coverage)
    y, x = centred_coordinates((probe.shape[-2], probe.shape[-1]))
    ramp = np.exp(1j * (gauge.ramp_rad_per_px[0] * y + gauge.ramp_rad_per_px[1] * x))
    return plain, probe * ramp / gauge.scale, gauge


def bounded(
    image: _Object, probe: _Probe, lit: Bool[np.ndarray, "y x"], percentile: float = _BRIGHTEST
) -> tuple[_Object, _Probe, float]:
    """A transmission of modulus 1 at the most; the probe takes the factor between the two.

    Scale is a gauge, so the brightest thing in sight may be called open. Amplitudes above `percentile` of the well-lit
    area are clipped to it.

    Returns:
        Object and probe, and the factor: the amplitude that became 1.
    """
    # an amplitude that occurs, not one between two: a second time then finds it again
    limit = float(np.percentile(np.abs(image)[lit], percentile, method="higher"))
    size = np.abs(image)
    return image / np.maximum(size, limit), probe * limit, limit


def continued(image: _Object, lit: Bool[np.ndarray, "y x"], fade_px: float = _FADE_PX) -> _Object:
    """The object with everything outside the well-lit area replaced by a smooth continuation of what is inside.

    Outside it solves `laplace(O) = (O - mean) / fade_px^2`, with the object's values along the area's rim and no slope
    across the canvas's edge: it joins without a step, loses detail at once and contrast over `fade_px`, goes to the
    mean, and never exceeds the values it came from. Only well-lit pixels enter, so a second time changes nothing.

    Args:
        image: (y, x) transmission.
        lit: pixels to keep.
        fade_px: how far the rim is felt [px].
    """
    if lit.all():
        return image
    mean = complex(image[lit].mean())
    inside = lit.ravel()
    deviation: np.ndarray = (image - mean).ravel()
    steps = _grid_laplacian(lit.shape)[~inside]
    system = steps[:, ~inside] + eye_array(int((~inside).sum())) / fade_px**2
    # conjugate gradients, for they are quick however large the canvas: the condition is 1 + 8 fade_px^2 at the most
    deviation[~inside] = cg(system, -(steps[:, inside] @ deviation[inside]), rtol=1e-8)[0]
    return np.where(lit, image, mean + deviation.reshape(lit.shape))


def strongest_modes(probe: Complex[np.ndarray, "all h w"], number: int) -> tuple[_Probe, float]:
    """The modes that carry most light, strongest first, and their share of the power."""
    power = (np.abs(probe) ** 2).sum(axis=(1, 2))
    best = np.argsort(-power, kind="stable")[:number]
    return probe[best], float(power[best].sum() / power.sum())


def tapered(probe: _Probe, share: float) -> tuple[_Probe, float]:
    """The probe faded to zero at the window's edges by raised cosines, and the share of its power that went.

    Far from its middle a refined probe holds noise. It has to be dark at the edges anyway: moving it by part of a pixel
    wraps them round.

    Args:
        probe: incoherent modes.
        share: of the window's side, faded at each edge.
    """
    rows, columns = (_raised_cosine(size, share * size) for size in probe.shape[1:])
    faded = probe * rows[:, None] * columns
    return faded, 1 - float(np.sum(np.abs(faded) ** 2) / np.sum(np.abs(probe) ** 2))


def _raised_cosine(size: int, width: float) -> np.ndarray:
    """(size,) 1 inside, and 0 at both ends, within `width` of which it rises."""
    to_end = np.minimum(np.arange(size), np.arange(size)[::-1])
    rise: np.ndarray = np.sin(np.pi / 2 * np.clip(to_end / width, 0, 1)) ** 2
    return rise


def _grid_laplacian(shape: tuple[int, ...]) -> sparray:
    """Minus the Laplacian of a grid with reflecting edges, row by row: neighbours counted less neighbours summed."""
    along = []
    for size in shape:
        ends = np.full(size, 2.0)
        ends[[0, -1]] = 1.0
        along.append(diags_array([ends, -np.ones(size - 1), -np.ones(size - 1)], offsets=[0, 1, -1]))
    rows, columns = (eye_array(size) for size in shape)
    return (kron(along[0], columns) + kron(rows, along[1])).tocsr()
