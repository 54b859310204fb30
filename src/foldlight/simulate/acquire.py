"""Object, probe, positions and dose become a scan of counted photons."""

from dataclasses import replace

import numpy as np
import torch

from foldlight.core.errors import DataError, SettingsError
from foldlight.core.seeds import generator
from foldlight.frames import Frames
from foldlight.optics import forward
from foldlight.optics.probes import make_probe, normalised, partly_coherent
from foldlight.scan import Scan
from foldlight.simulate.objects import make_object
from foldlight.simulate.settings import SimulationSettings
from foldlight.simulate.trajectories import fermat_spiral, jittered_raster, uniform_random

__all__ = ["acquire", "expected_frames", "expose_again", "simulate", "smallest_counts"]

_MARGIN_PX = 1  # room for the light that a sub-pixel move carries past the window's edge
_MODE_POWER = 1 / 6  # of a mode, relative to the one before it
_TRAJECTORIES = {"raster": jittered_raster, "spiral": fermat_spiral, "random": uniform_random}


def simulate(settings: SimulationSettings, noise: str = "photons") -> Scan:
    """The scan that the settings describe; `noise` names the photon draw, so a second name is a second exposure."""
    side, size = settings.object_size, settings.window
    if side < size + 2 * _MARGIN_PX + 2:
        raise SettingsError(f"object_size = {side}: expected at least {size + 4} px for a window of {size} px")
    truth = make_object(
        settings.object_kind,
        (side, side),
        generator(settings.seed, "object"),
        settings.amplitude_min,
        settings.phase_range_rad,
    )
    low, high = size // 2 + _MARGIN_PX, side - (size - size // 2) - _MARGIN_PX
    positions = _TRAJECTORIES[settings.trajectory](
        settings.positions, ((low, low), (high, high)), generator(settings.seed, "positions")
    )
    rng = generator(settings.seed, "probe")
    probe = make_probe(settings.probe_kind, (size, size), settings.probe_diameter_px, rng)
    if settings.probe_modes > 1:
        probe = partly_coherent(probe, tuple(_MODE_POWER**mode for mode in range(settings.probe_modes)), rng)
    scan = acquire(truth, probe, positions, settings.dose, settings.seed, noise)
    scan.origin["simulation"] = settings.plain()
    return scan


def acquire(
    truth: np.ndarray, probe: np.ndarray, positions_px: np.ndarray, dose: float, seed: int, noise: str = "photons"
) -> Scan:
    """Photons counted behind an object.

    Args:
        truth: (y, x) complex transmission.
        probe: (mode, y, x) complex, any scale.
        positions_px: (n, 2) float64 (y, x) window centres [px].
        dose: wanted mean over frames of the expected photons per frame.
        seed: root seed of the Poisson draw, which depends on (seed, dose, noise) alone.
        noise: name of the draw.

    Source: docs/physics.md, forward model: the probe is scaled by `sqrt(dose / mean_j sum_r |P O_j|^2)`.
    """
    unit = normalised(probe)
    frame_totals = [block.sum(axis=(1, 2), dtype=np.float64) for block in expected_frames(truth, unit, positions_px)]
    transmitted = np.concatenate(frame_totals).mean()
    scaled = normalised(unit, dose / float(transmitted))
    photons = _counted(truth, scaled, positions_px, generator(seed, "poisson", dose, noise))
    return Scan(
        photons=photons,
        positions_px=positions_px,
        probe=scaled,
        canvas=(truth.shape[0], truth.shape[1]),
        object=truth.astype(np.complex64),
        object_is_truth=True,
        notes=(f"simulated at {dose:g} photons a frame, {photons.totals.mean():.1f} counted",),
        origin={"dose": dose, "seed": seed, "noise": noise},
    )


def expose_again(scan: Scan, seed: int, noise: str = "held out") -> Scan:
    """A second, independent exposure of a simulated scan: new photons, all else as it is.

    Counts are drawn from the truth, the probe and the positions as the scan holds them; nothing is normalised. The draw
    depends on (seed, noise, digest of the scan): the same scan always gets the same photons, and two parts of one scan,
    even where they share frames, get photons independent of each other's.

    Raises:
        DataError: the scan does not know the object its frames were made from.
    """
    if scan.truth is None:
        raise DataError(
            "second exposure: expected a simulated scan with its true object, got one without; split the counts"
            " instead (foldlight.sampling.thinning)"
        )
    rng = generator(seed, "poisson", noise, scan.digest())
    photons = _counted(scan.truth, scan.probe, scan.positions_px, rng)
    return replace(
        scan,
        photons=photons,
        notes=(*scan.notes, f"exposed again ({noise}), {photons.totals.mean():.1f} photons a frame counted"),
        origin={**scan.origin, "exposed_again": {"seed": seed, "noise": noise}},
    )


def _counted(truth: np.ndarray, probe: np.ndarray, positions_px: np.ndarray, rng: np.random.Generator) -> Frames:
    """Poisson counts about the expected frames, in the smallest type that holds them."""
    expected = expected_frames(truth, probe, positions_px)
    counts = np.concatenate([smallest_counts(rng.poisson(block.astype(np.float64))) for block in expected])
    return Frames(counts, whole=True)


def smallest_counts(counts: np.ndarray) -> np.ndarray:
    """Whole counts in the smallest of uint16, uint32 and uint64 that holds them."""
    most = counts.max(initial=0)
    return counts.astype(np.uint16 if most < 2**16 else np.uint32 if most < 2**32 else np.uint64)


def expected_frames(
    transmission: np.ndarray, probe: np.ndarray, positions_px: np.ndarray, block: int = 256
) -> list[np.ndarray]:
    """Expected photons of every frame, float32, in blocks of frames."""
    canvas = torch.from_numpy(transmission.astype(np.complex64))[None]
    modes = torch.from_numpy(probe.astype(np.complex64))
    starts = range(0, len(positions_px), block)
    places = (torch.from_numpy(positions_px[None, start : start + block]) for start in starts)
    return [forward.expected_frames(canvas, modes, place)[0].numpy() for place in places]
