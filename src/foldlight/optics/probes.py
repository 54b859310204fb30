"""Model probes, as complex arrays of unit power. `scan` and `simulate` scale them to photons.

Notation: `N` window size [px], `q` spatial frequency [cycles/px], Nyquist at 1/2, `D` diameter [px].
"""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

from foldlight.core.errors import SettingsError

__all__ = [
    "PROBES",
    "aberrated",
    "decentred",
    "defocused",
    "diffuser",
    "disc",
    "gaussian",
    "make_probe",
    "normalised",
    "participation_px",
    "partly_coherent",
    "zone_plate",
]


def disc(window: tuple[int, int], diameter_px: float, soft_px: float = 1.0) -> np.ndarray:
    """(1, y, x) flat-phase disc with an edge about `soft_px` wide."""
    radius = _radius(window)
    amplitude = _soft_step(diameter_px / 2 - radius, soft_px)
    return normalised(amplitude[None].astype(np.complex128))


def diffuser(
    window: tuple[int, int],
    diameter_px: float,
    rng: np.random.Generator,
    grain_px: float = 3.0,
    phase_rms_rad: float = 1.5,
) -> np.ndarray:
    """(1, y, x) disc behind a diffuser: a smooth random phase of rms `phase_rms_rad`, correlated over `grain_px`."""
    flat = disc(window, diameter_px)
    grain = gaussian_filter(rng.standard_normal(window), grain_px, mode="wrap")
    return normalised(flat * np.exp(1j * phase_rms_rad * grain / grain.std()))


def gaussian(window: tuple[int, int], diameter_px: float, curvature: float = 0.2) -> np.ndarray:
    """(1, y, x) Gaussian beam whose participation diameter is `diameter_px`.

    Its intensity `exp(-r^2 / s^2)` has the participation diameter `D = 2 sqrt(2) s`; its phase is `q_D pi r^2 / D`, so
    that the light at `r = D / 2` travels at the frequency `q_D / 2`.

    Args:
        window: (height, width) [px].
        diameter_px: D [px].
        curvature: q_D in fractions of Nyquist; 0 is a flat phase, the sign tells converging from diverging.

    Source: Goodman, Introduction to Fourier Optics, ch. 5 (a quadratic phase).
    """
    squared = _radius(window) ** 2
    exponent = -4 * squared / diameter_px**2 + 0.5j * curvature * np.pi * squared / diameter_px
    return normalised(np.exp(exponent)[None])


def zone_plate(window: tuple[int, int], diameter_px: float, aperture: float = 0.5, stop: float = 0.3) -> np.ndarray:
    """(1, y, x) defocused focus of a zone plate with a central stop.

    The pupil is a ring at the detector; defocus is the phase `alpha q^2` on it. A ray through `q` lands
    `alpha q / pi` from the axis (the gradient of the phase over `2 pi`), so the diameter asked for fixes `alpha`.

    Args:
        window: (height, width) [px].
        diameter_px: geometric diameter of the defocused beam [px]; 0 is the focus itself.
        aperture: outer radius of the pupil at the detector, in fractions of Nyquist.
        stop: radius of the central stop, in fractions of the aperture.

    Raises:
        SettingsError: `aperture` or `stop` outside (0, 1) and [0, 1).

    Source: Goodman, Introduction to Fourier Optics, ch. 5 (a lens in the Fresnel approximation).
    """
    if not (0 < aperture <= 1 and 0 <= stop < 1):
        raise SettingsError(f"zone plate: expected 0 < aperture <= 1 and 0 <= stop < 1, got {aperture} and {stop}")
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(size) for size in window), indexing="ij"))
    outer = aperture / 2
    edge = 1.0 / min(window)
    pupil = _soft_step(outer - frequency, edge) * _soft_step(frequency - stop * outer, edge)
    alpha = np.pi * diameter_px / 2 / outer
    field = np.fft.fftshift(np.fft.ifft2(pupil * np.exp(1j * alpha * frequency**2)))
    return normalised(field[None])


def aberrated(
    window: tuple[int, int],
    diameter_px: float,
    rng: np.random.Generator,
    aperture: float = 0.5,
    stop: float = 0.0,
    square: bool = False,
    strength: float = 0.03,
) -> np.ndarray:
    """(1, y, x) defocused focus of imperfect optics: random astigmatism, coma, trefoil and spherical aberration.

    As `zone_plate`, with `sum_k c_k Z_k(q / q_outer)` added to the phase of the pupil. The c_k are drawn from a normal
    distribution and scaled so that their root sum of squares is `strength` times the defocus at the pupil's edge.

    Args:
        window: (height, width) [px].
        diameter_px: geometric diameter without the aberrations [px].
        rng: draws the aberrations.
        aperture: outer radius (half side of a square) of the pupil at the detector, in fractions of Nyquist.
        stop: radius of the central stop, in fractions of the aperture.
        square: a square pupil, as crossed mirrors have, in place of a round one.
        strength: of the aberrations, in fractions of the defocus.

    Raises:
        SettingsError: `aperture` or `stop` outside (0, 1) and [0, 1).

    Source: Noll, J. Opt. Soc. Am. 66 (1976) 207, table I (Zernike polynomials 5 to 11).
    """
    if not (0 < aperture <= 1 and 0 <= stop < 1):
        raise SettingsError(f"aberrated probe: expected 0 < aperture <= 1 and 0 <= stop < 1, got {aperture} and {stop}")
    outer, edge = aperture / 2, 1.0 / min(window)
    y, x = np.meshgrid(*(np.fft.fftfreq(size) for size in window), indexing="ij")
    frequency = np.hypot(y, x)
    size = np.maximum(np.abs(y), np.abs(x)) if square else frequency
    pupil = _soft_step(outer - size, edge) * (_soft_step(frequency - stop * outer, edge) if stop else 1)
    weights = rng.standard_normal(7)
    defocus_rad = np.pi * diameter_px / 2 * outer
    weights *= strength * defocus_rad / np.sqrt(np.sum(weights**2))
    phase = defocus_rad * (frequency / outer) ** 2 + np.tensordot(weights, _aberrations(y / outer, x / outer), 1)
    field = np.fft.fftshift(np.fft.ifft2(pupil * np.exp(1j * phase)))
    return normalised(field[None])


PROBES: dict[str, Callable[..., np.ndarray]] = {
    "zone-plate": zone_plate,
    "disc": disc,
    "diffuser": diffuser,
    "gaussian": gaussian,
    "aberrated": aberrated,
}
_RANDOM = frozenset({"diffuser", "aberrated"})


def make_probe(kind: str, window: tuple[int, int], diameter_px: float, rng: np.random.Generator) -> np.ndarray:
    """(1, y, x) probe of one family; only `diffuser` and `aberrated` draw from the generator.

    Raises:
        SettingsError: the family is unknown.
    """
    if kind not in PROBES:
        raise SettingsError(f"probe: expected one of {', '.join(PROBES)}, got {kind!r}")
    return PROBES[kind](window, diameter_px, rng) if kind in _RANDOM else PROBES[kind](window, diameter_px)


def partly_coherent(probe: np.ndarray, powers: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """(mode, y, x) orthogonal modes of a source of finite size: the probe, and the probe times linear ramps.

    A source point off the axis tilts the probe; to first order in the tilt, the light of all points is the probe itself
    and two modes `y P` and `x P`, here in a random direction.

    Args:
        probe: (1, y, x) the coherent probe.
        powers: relative power of one to three modes.
        rng: draws the direction.

    Raises:
        SettingsError: no powers, more than three, or negative ones.

    Source: Thibault & Menzel, Nature 494 (2013) 68 (mixed states).
    """
    if not (1 <= len(powers) <= 3 and min(powers) >= 0 and max(powers) > 0):
        raise SettingsError(f"probe modes: expected one to three powers, none negative, got {powers}")
    size = probe.shape[1:]
    y, x = np.meshgrid(*(np.arange(side) - side // 2 for side in size), indexing="ij")
    angle = rng.uniform(0, 2 * np.pi)
    ramps = (np.ones(size), np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y)
    fields = np.stack([(probe[0] * ramp).ravel() for ramp in ramps[: len(powers)]], axis=1).astype(np.complex128)
    basis, _ = np.linalg.qr(fields)
    basis[:, 0] = fields[:, 0] / np.linalg.norm(fields[:, 0])  # as it was, not up to a phase
    return normalised((basis * np.sqrt(powers)).T.reshape(len(powers), *size))


def defocused(probe: np.ndarray, share: float) -> np.ndarray:
    """The probe a little further on: `F^-1[exp(i alpha q^2) F P]`, the power unchanged.

    `alpha = pi share D / (2 q_edge)` with D the participation diameter and `q_edge = sqrt(2) q_rms` the radius of the
    uniform pupil with the probe's mean square frequency: rays at the edge move by `share D / 2`, which is `share` of
    the defocus of a probe that defocus made.

    Args:
        probe: (mode, y, x) complex, any scale.
        share: relative change, of either sign.

    Source: Goodman, Introduction to Fourier Optics, ch. 4 (Fresnel propagation).
    """
    spectrum = np.fft.fft2(probe.astype(np.complex128))
    y, x = np.meshgrid(*(np.fft.fftfreq(size) for size in probe.shape[1:]), indexing="ij")
    power = np.sum(np.abs(spectrum) ** 2, axis=0)
    power /= power.sum()
    centre_y, centre_x = np.sum(power * y), np.sum(power * x)
    squared = (y - centre_y) ** 2 + (x - centre_x) ** 2
    edge = np.sqrt(2 * np.sum(power * squared))
    alpha = np.pi * share * participation_px(probe) / 2 / edge
    return np.fft.ifft2(spectrum * np.exp(1j * alpha * squared)).astype(np.complex64)


def decentred(probe: np.ndarray, shift_px: tuple[float, float], spectrum_px: tuple[float, float]) -> np.ndarray:
    """The probe moved by (y, x) `shift_px` in its window and `spectrum_px` on the detector, round the edges of both.

    A spectrum moved by part of a pixel leaves a step at the window's edges, where the probe is not quite dark.
    """
    size = probe.shape[1:]
    y, x = np.meshgrid(*(np.arange(side) - side // 2 for side in size), indexing="ij")
    tilt = np.exp(2j * np.pi * (spectrum_px[0] * y / size[0] + spectrum_px[1] * x / size[1]))
    qy, qx = np.meshgrid(*(np.fft.fftfreq(side) for side in size), indexing="ij")
    move = np.exp(-2j * np.pi * (shift_px[0] * qy + shift_px[1] * qx))
    return (np.fft.ifft2(np.fft.fft2(probe.astype(np.complex128)) * move) * tilt).astype(np.complex64)


def participation_px(probe: np.ndarray) -> float:
    """Participation diameter `2 sqrt((sum |P|^2)^2 / (pi sum |P|^4))` [px]. Source: docs/physics.md, overlap."""
    intensity = np.sum(np.abs(probe.astype(np.complex128)) ** 2, axis=0)
    return float(2 * intensity.sum() / np.sqrt(np.pi * (intensity**2).sum()))


def normalised(probe: np.ndarray, photons: float = 1.0) -> np.ndarray:
    """The probe as complex64, scaled to a total power of `photons` over all modes."""
    power = float(np.sum(np.abs(probe) ** 2))
    return (probe * np.sqrt(photons / power)).astype(np.complex64)


def _aberrations(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(7, y, x) Zernike polynomials of unit rms on the unit disc; clipped where they would run away outside it."""
    squared = np.minimum(y**2 + x**2, 2.0)
    return np.stack(
        [
            np.sqrt(6) * 2 * y * x,
            np.sqrt(6) * (x**2 - y**2),
            np.sqrt(8) * (3 * squared - 2) * y,
            np.sqrt(8) * (3 * squared - 2) * x,
            np.sqrt(8) * (3 * x**2 - y**2) * y,
            np.sqrt(8) * (x**2 - 3 * y**2) * x,
            np.sqrt(5) * (6 * squared**2 - 6 * squared + 1),
        ]
    )


def _radius(window: tuple[int, int]) -> np.ndarray:
    """(y, x) distance from the centre pixel `N // 2`."""
    axes = (np.arange(size) - size // 2 for size in window)
    return np.hypot(*np.meshgrid(*axes, indexing="ij"))


def _soft_step(inside: np.ndarray, width: float) -> np.ndarray:
    """0 outside, 1 inside, a raised cosine of the given width between."""
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(inside / width + 0.5, 0, 1))
