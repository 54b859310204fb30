"""Endless small scans, no two alike: objects, probes, trajectories, doses and faults from stated ranges.

A scan depends on the settings, the seed and its index alone, so a training can draw them in any order, on any number of
workers, and again.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from foldlight.core.errors import SettingsError
from foldlight.core.seeds import generator
from foldlight.frames import Frames
from foldlight.optics.coverage import well_lit
from foldlight.optics.forward import expected_photons, illumination, place_probe
from foldlight.optics.patches import gather, scatter
from foldlight.optics.probes import (
    aberrated,
    decentred,
    defocused,
    diffuser,
    disc,
    gaussian,
    normalised,
    participation_px,
    partly_coherent,
    zone_plate,
)
from foldlight.scan import Scan
from foldlight.simulate.acquire import smallest_counts
from foldlight.simulate.objects import siemens_star, thickness_map
from foldlight.simulate.settings import VarietySettings
from foldlight.simulate.trajectories import fermat_spiral, jittered_raster, uniform_random

__all__ = ["Draw", "VarietySettings", "draw", "draw_probe", "draw_scan", "held_out_probes"]

_MARGIN_PX = 1.0  # room for the light that a sub-pixel move carries past the window's edge
_POSITION_TAIL = 2.0  # of the position noise, kept free at the canvas edge; what lies further out is clipped
_RASTER_TURN_RAD = 0.1  # a scan stage is never quite aligned with the detector


@dataclass(frozen=True)
class Draw:
    """A scan as methods see it, and what it was made with.

    Attributes:
        scan: counts, and the positions, the probe and the mask that methods are given.
        probe: (mode, y, x) complex64 the true probe [sqrt(photon)].
        positions_px: (n, 2) float64 true positions [px].
    """

    scan: Scan
    probe: np.ndarray
    positions_px: np.ndarray


def draw_scan(settings: VarietySettings, seed: int, index: int, frames: int, canvas: tuple[int, int]) -> Scan:
    """Scan number `index` of the endless set that the settings and the seed describe; see `draw`."""
    return draw(settings, seed, index, frames, canvas).scan


def draw(settings: VarietySettings, seed: int, index: int, frames: int, canvas: tuple[int, int]) -> Draw:
    """A small scan about the middle of a canvas, with what methods do not see of it.

    The object's phase is measured from the light-weighted mean of its transmission, which is real and positive, so that
    there is no absolute phase to learn. Counts on masked pixels are zero. What was drawn is in `scan.origin`.

    Args:
        settings: the ranges.
        seed: root seed of the set.
        index: number of the scan.
        frames: number of frames.
        canvas: (height, width) of the object [px].

    Raises:
        SettingsError: no frame, or a canvas too small for the window.
    """
    _check(settings, frames, canvas)
    rngs = {
        name: generator(seed, "variety", index, name) for name in ("object", "probe", "positions", "photons", "faults")
    }
    window = (settings.window, settings.window)
    true_probe, probe_facts = draw_probe(settings, rngs["probe"])
    given_probe, error_facts = _given_probe(settings, true_probe, rngs["faults"])
    noise_px = _sometimes(settings.position_noise_share, settings.position_noise_px, rngs["faults"])
    positions, position_facts = _positions(settings, true_probe, frames, canvas, noise_px, rngs["positions"])
    given_positions = _given_positions(positions, noise_px, window, canvas, rngs["faults"])
    mask, mask_facts = _mask(settings, rngs["faults"])
    transmission, object_facts = _object(settings, canvas, rngs["object"])
    low, high = np.log(settings.photons_per_pixel)
    wanted = float(np.exp(rngs["photons"].uniform(low, high)))
    truth, expected, power = _exposed(transmission, true_probe, positions, wanted)
    expected *= mask
    scale = np.float32(np.sqrt(power))
    scan = Scan(
        photons=Frames(smallest_counts(rngs["photons"].poisson(expected)), whole=True),
        positions_px=given_positions,
        probe=given_probe * scale,
        canvas=canvas,
        object=truth,
        object_is_truth=True,
        mask=mask,
        origin={
            "seed": seed,
            "index": index,
            "photons_per_pixel": wanted,
            **object_facts,
            **probe_facts,
            **position_facts,
            **error_facts,
            "position_noise_px": noise_px,
            **mask_facts,
        },
    )
    return Draw(scan, true_probe * scale, positions)


def _check(settings: VarietySettings, frames: int, canvas: tuple[int, int]) -> None:
    """Room for every scan of the set, whatever this one draws."""
    if frames < 1:
        raise SettingsError(f"frames = {frames}: expected at least one")
    need = settings.window + int(np.ceil(2 * (_MARGIN_PX + _POSITION_TAIL * settings.position_noise_px))) + 1
    if min(canvas) < need:
        raise SettingsError(
            f"canvas = {canvas[0]} x {canvas[1]}: expected at least {need} px each way for a window of"
            f" {settings.window} px"
        )


def draw_probe(settings: VarietySettings, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
    """A (mode, y, x) probe of unit power, and how it was made."""
    window = (settings.window, settings.window)
    kind = str(rng.choice(settings.probes))
    diameter = float(rng.uniform(*settings.diameter)) * settings.window
    probe = _probe(kind, window, diameter, rng)
    if rng.random() < 0.5:  # the other side of the focus
        probe = probe.conj()
    shift, spectrum = rng.uniform(-settings.decentre_px, settings.decentre_px, (2, 2))
    probe = decentred(probe, tuple(shift.tolist()), tuple(np.rint(spectrum).tolist()))  # whole pixels keep it periodic
    powers: tuple[float, ...] = (1.0,)
    if rng.random() < settings.modes_share:
        powers = (1.0, *sorted(rng.uniform(0.02, 0.3, int(rng.integers(1, 3))).tolist(), reverse=True))
        probe = partly_coherent(probe, powers, rng)
    facts = {"probe": kind, "probe_diameter_px": diameter, "probe_powers": list(powers)}
    return normalised(probe), facts


def _probe(kind: str, window: tuple[int, int], diameter: float, rng: np.random.Generator) -> np.ndarray:
    """A probe of one family with its other numbers drawn."""
    if kind == "disc":
        return disc(window, diameter, float(rng.uniform(1.0, 3.0)))
    if kind == "diffuser":
        return diffuser(window, diameter, rng, float(rng.uniform(2.0, 5.0)), float(rng.uniform(0.5, 2.0)))
    if kind == "gaussian":
        return gaussian(window, diameter, float(rng.uniform(0.0, 0.6)))
    aperture = float(rng.uniform(0.3, 0.8))
    if kind == "zone-plate":
        return zone_plate(window, diameter, aperture, float(rng.uniform(0.0, 0.5)))
    square = bool(rng.random() < 0.5)
    stop = 0.0 if square else float(rng.uniform(0.0, 0.4))
    return aberrated(window, diameter, rng, aperture, stop, square, float(rng.uniform(0.005, 0.05)))


def _object(
    settings: VarietySettings, canvas: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, Any]]:
    """(y, x) complex64 transmission; how far amplitude follows phase, and the phase's sign, are drawn too."""
    kind = str(rng.choice(settings.objects))
    amplitude_min = float(rng.uniform(*settings.amplitude_min))
    phase_range = float(rng.uniform(*settings.phase_range_rad)) * (1 if rng.random() < 0.5 else -1)
    softness, shared = float(rng.uniform(*settings.softness_px)), float(rng.uniform(0.2, 1.0))
    thickness = gaussian_filter(_thickness(kind, canvas, rng).astype(np.float32), softness)
    absorption = shared * thickness + (1 - shared) * _cloud(canvas, rng)
    amplitude = 1 - (1 - amplitude_min) * absorption
    made = (amplitude * np.exp(1j * np.float32(phase_range) * thickness)).astype(np.complex64)
    return made, {"object": kind, "amplitude_min": amplitude_min, "phase_range_rad": phase_range}


def _thickness(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A map of one family; a star of any number of spokes anywhere, as one that is always centred gives itself away."""
    if kind != "siemens-star":
        return thickness_map(kind, shape, rng)
    centre = tuple(rng.uniform(-0.25, 0.25, 2).tolist())
    return siemens_star(shape, rng, int(rng.integers(8, 37)), centre, float(rng.uniform(0.3, 0.6)))


def _cloud(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(y, x) float32 smooth random field in [0, 1] with features about an eighth of the shape across."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])) * min(shape)
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * np.exp(-((frequency / 6) ** 2)), s=shape)
    return ((field - field.min()) / np.ptp(field)).astype(np.float32)


def _positions(
    settings: VarietySettings,
    probe: np.ndarray,
    frames: int,
    canvas: tuple[int, int],
    noise_px: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, dict[str, Any]]:
    """(n, 2) positions about the canvas's middle, drawn in steps, then scaled to the overlap or to what fits."""
    size, area = settings.window, np.array(canvas, dtype=np.float64)
    low = size // 2 + _MARGIN_PX + _POSITION_TAIL * noise_px
    half = (area - size - 2 * (_MARGIN_PX + _POSITION_TAIL * noise_px)) / 2
    kind = str(rng.choice(settings.trajectories))
    steps = _trajectory(kind, frames, float(half[0] / half[1]), rng)
    diameter = participation_px(probe)
    overlap = float(rng.uniform(*settings.overlap))
    fitting = float(np.min(half / np.maximum(np.abs(steps).max(axis=0), 1e-9)))
    step = min((1 - overlap) * diameter, fitting)
    facts = {
        "trajectory": kind,
        "step_px": step,
        "participation_px": diameter,
        "linear_overlap": 1 - step / diameter,
        "linear_overlap_wanted": overlap,
    }
    return low + half + step * steps, facts


def _trajectory(kind: str, frames: int, aspect: float, rng: np.random.Generator) -> np.ndarray:
    """(n, 2) centred positions of one point per unit area, `aspect` times as high as wide."""
    rows = min(frames, max(1, round(np.sqrt(frames * aspect))))
    columns = -(-frames // rows)
    if kind == "raster":
        box = ((-rows / 2, -columns / 2), (rows / 2, columns / 2))
        angle = rng.uniform(-_RASTER_TURN_RAD, _RASTER_TURN_RAD)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        grid = jittered_raster(rows * columns, box, rng, float(rng.uniform(0.05, 0.35)))[:frames] @ turn
        return grid - (grid.min(axis=0) + grid.max(axis=0)) / 2
    height = np.sqrt(frames * aspect)
    width = frames / height
    if kind == "random":
        return uniform_random(frames, ((-height / 2, -width / 2), (height / 2, width / 2)), rng)
    around = 1 / np.sqrt(np.pi)  # an ellipse of the same area
    return fermat_spiral(frames, ((-height * around, -width * around), (height * around, width * around)), rng)


def _exposed(
    transmission: np.ndarray, probe: np.ndarray, positions_px: np.ndarray, photons_per_pixel: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """The object in its gauge, the expected frames at n photons a pixel, and the power of the probe that gives them."""
    canvas = (transmission.shape[0], transmission.shape[1])
    window = (probe.shape[1], probe.shape[2])
    places = torch.from_numpy(positions_px[None])
    probes = place_probe(torch.from_numpy(probe), places)
    coverage = scatter(illumination(probes), places, canvas)[0].numpy()
    lit = well_lit(coverage)
    mean = np.sum(transmission * coverage)
    truth = (transmission * (mean.conj() / np.abs(mean))).astype(np.complex64)
    power = photons_per_pixel / float(np.median((np.abs(truth) ** 2 * coverage)[lit]))
    patches = gather(torch.from_numpy(truth)[None], places, window)
    return truth, expected_photons(probes, patches)[0].numpy() * np.float32(power), power


def _sometimes(share: float, most: float, rng: np.random.Generator) -> float:
    """A number up to `most` in a share of the cases, else 0; the generator moves on alike in both."""
    chance, amount = rng.random(2).tolist()
    return most * amount if chance < share else 0.0


def _given_probe(
    settings: VarietySettings, probe: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, Any]]:
    """The probe that methods are told: wrong in defocus, power or both in a share of the scans."""
    chance = rng.random()
    defocus, power = rng.uniform(-settings.probe_error, settings.probe_error, 2).tolist()
    which = int(rng.integers(3))  # defocus, power, both
    if chance >= settings.wrong_probe_share or settings.probe_error == 0:
        return probe, {"probe_defocus_error": 0.0, "probe_power_error": 0.0}
    defocus, power = (0.0 if which == 1 else defocus), (0.0 if which == 0 else power)
    wrong = defocused(probe, defocus) if defocus else probe
    return wrong * np.float32(np.sqrt(1 + power)), {"probe_defocus_error": defocus, "probe_power_error": power}


def _given_positions(
    positions_px: np.ndarray,
    noise_px: float,
    window: tuple[int, int],
    canvas: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """Positions with noise; its mean is none, as object and positions may move together."""
    noise = rng.standard_normal(positions_px.shape)
    if noise_px == 0:
        return positions_px
    low = np.array(window) // 2
    given = positions_px + noise_px * (noise - noise.mean(axis=0))
    return np.clip(given, low, np.array(canvas) - np.array(window) + low)


def _mask(settings: VarietySettings, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
    """(y, x) bool detector pixels to trust."""
    size = settings.window
    mask = np.ones((size, size), dtype=bool)
    bad, stopped = (rng.random(2) < (settings.bad_pixels_share, settings.beamstop_share)).tolist()
    if bad:
        mask &= rng.random((size, size)) >= rng.uniform(0.0, 0.02)
        first, number = int(rng.integers(size)), int(rng.integers(3))
        lines = mask if rng.random() < 0.5 else mask.T
        lines[first : first + number] = False
    if stopped:
        y, x = np.indices((size, size)) - size // 2 - rng.uniform(-1, 1, 2)[:, None, None]
        mask &= np.hypot(y, x) > rng.uniform(0.02, 0.05) * size
    return mask, {"bad_pixels": int(size**2 - mask.sum()), "beamstop": bool(stopped)}


def held_out_probes(window: tuple[int, int]) -> dict[str, np.ndarray]:
    """Twelve named (mode, y, x) probes of unit power to test on; `draw_scan` makes none of them.

    Ten come from the families of `draw_probe` with numbers of their own, exactly centred; two are made as none of them
    is: a zone plate behind a diffuser, and two probes side by side, as a slit or a split mirror gives.

    Args:
        window: (height, width) [px].
    """
    side = min(window)

    def rng(name: str) -> np.random.Generator:
        return generator(0, "held-out probe", name)

    plate = zone_plate(window, 0.4 * side)
    veil = diffuser(window, 2.0 * side, rng("veiled"), 4.0, 0.6)
    return {
        "zone-plate": plate,
        "zone-plate-wide": zone_plate(window, 0.5 * side, 0.7, 0.45),
        "zone-plate-small": zone_plate(window, 0.25 * side, 0.35, 0.2),
        "zone-plate-veiled": normalised(plate * np.exp(1j * np.angle(veil))),
        "disc": disc(window, 0.4 * side),
        "disc-soft": disc(window, 0.3 * side, 2.5),
        "diffuser-fine": diffuser(window, 0.45 * side, rng("fine"), 2.5, 1.5),
        "diffuser-coarse": diffuser(window, 0.35 * side, rng("coarse"), 4.5, 1.8),
        "gaussian-curved": gaussian(window, 0.35 * side, 0.4),
        "aberrated": aberrated(window, 0.4 * side, rng("round"), 0.5, 0.3, strength=0.035),
        "aberrated-square": aberrated(window, 0.35 * side, rng("square"), 0.45, square=True, strength=0.025),
        "pair": _pair(window),
    }


def _pair(window: tuple[int, int]) -> np.ndarray:
    """(1, y, x) two unlike curved spots side by side."""
    side = min(window)
    large, small = gaussian(window, 0.3 * side, 0.35), gaussian(window, 0.2 * side, 0.3)
    apart = (0.0, 0.13 * side)
    return normalised(decentred(large, (0.05 * side, -apart[1]), (0, 0)) + 0.6j * decentred(small, apart, (0, 0)))
