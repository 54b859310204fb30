"""A good scan of rectangular frames, and what can be wrong with it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from foldlight.frames import Frames
from foldlight.geometry import Geometry
from foldlight.optics.probes import aberrated, decentred, disc, normalised
from foldlight.scan import Scan, place_on_canvas
from foldlight.simulate.acquire import acquire, expected_frames
from foldlight.simulate.objects import make_object
from foldlight.simulate.trajectories import jittered_raster

WINDOW = (48, 64)
SIZES = (2.0e-8, 1.5e-8)  # of an object pixel [m]


def good_scan(dose: float = 3e4, frames: int = 168, step: float = 4.5, diameter: float = 20.0) -> Scan:
    """Counts behind a complex object and a probe without symmetry, beside its window's middle."""
    draw = np.random.default_rng(1)
    side = step * np.sqrt(frames)
    positions, canvas = place_on_canvas(jittered_raster(frames, ((0.0, 0.0), (side, 1.1 * side)), draw), WINDOW)
    truth = make_object("dead-leaves", canvas, draw, 0.6, 1.0)
    probe = decentred(aberrated(WINDOW, diameter, draw, 0.5, 0.2), (0.6, -0.8), (0.0, 0.0))
    scan = acquire(truth, probe, positions, dose, 1)
    pixels = tuple(1e-10 * 2 / (size * span) for size, span in zip(SIZES, WINDOW, strict=True))
    return replace(scan, geometry=Geometry.far_field(WINDOW, 1e-10, 2.0, (pixels[0], pixels[1])))


def with_frames(scan: Scan, frames: np.ndarray) -> Scan:
    """The scan with other numbers in its frames, taken for photons as they are."""
    return replace(scan, photons=Frames(np.ascontiguousarray(frames)))


def with_positions(scan: Scan, positions: np.ndarray) -> Scan:
    """The scan at other positions, on a canvas of their own."""
    placed, canvas = place_on_canvas(np.asarray(positions, dtype=np.float64), scan.window)
    return replace(scan, positions_px=placed, canvas=canvas, object=None, object_is_truth=False)


def counts(scan: Scan) -> np.ndarray:
    """(n, y, x) whole photons."""
    return scan.photons[:].astype(np.int64)


def expected(scan: Scan) -> np.ndarray:
    """(n, y, x) photons without noise."""
    return np.concatenate(expected_frames(scan.truth, scan.probe, scan.positions_px))


Spoil = Callable[[Scan, np.random.Generator], Scan]


def _noisy_roots(scan, draw):
    return with_frames(scan, (0.37 * np.sqrt(counts(scan)) * draw.normal(1, 0.01, scan.photons.shape)).astype("f4"))


def _readout(scan, draw):
    """A charge-integrating detector: 12.5 units a photon, 2 of noise, none below zero."""
    read = 12.5 * counts(scan) + draw.normal(0, 2.0, scan.photons.shape)
    return with_frames(scan, np.where(read > 6, np.rint(read), 0).astype(np.uint16))


def _averaged(scan, draw):
    return with_frames(scan, (draw.poisson(8 * expected(scan)) / 8).astype(np.float32))


def _drifting(scan, _draw):
    shifts = np.rint(np.linspace(-2, 2, len(scan))).astype(int)
    frames = zip(counts(scan), shifts, strict=True)
    return with_frames(scan, np.stack([np.roll(frame, shift, 0) for frame, shift in frames]).astype(np.uint16))


def _changed(place: tuple, value: Callable[[np.ndarray], object]) -> Spoil:
    """Numbers at a place of the stack replaced by what a function makes of all of them."""

    def spoil(scan, _draw):
        frames = counts(scan)
        frames[place] = value(frames)
        return with_frames(scan, frames.astype(np.uint32))

    return spoil


def _fading(scan, draw):
    left = np.broadcast_to(np.linspace(1, 0.4, len(scan))[:, None, None], scan.photons.shape)
    return with_frames(scan, draw.binomial(counts(scan), left).astype(np.uint16))


def _fainter(scan, draw):
    return replace(
        with_frames(scan, draw.binomial(counts(scan), 1e-3).astype(np.uint16)),
        probe=(scan.probe * np.sqrt(1e-3)).astype(np.complex64),
    )


def _brightest(scan: Scan) -> tuple[int, int]:
    y, x = np.unravel_index(np.argmax(counts(scan).sum(axis=0)), scan.window)
    return int(y), int(x)


def _without_a_pixel(scan, _draw):
    frames = counts(scan)
    frames[(slice(None), *_brightest(scan))] = 0
    return with_frames(scan, frames.astype(np.uint16))


def _clipped(scan, _draw):
    return with_frames(scan, np.minimum(counts(scan), int(0.6 * np.median(counts(scan).max(axis=(1, 2))))).astype("u2"))


def _on_a_line(scan, _draw):
    return with_positions(scan, scan.positions_px * [1.0, 0.0])


def _on_a_grid(scan, draw):
    """Taken anew, or frames would not belong to positions."""
    y, x = np.mgrid[:13, :13] * 4.5
    placed, canvas = place_on_canvas(np.stack([y.ravel(), x.ravel()], axis=1), scan.window)
    return acquire(make_object("dead-leaves", canvas, draw), scan.probe, placed, 3e4, 2)


def _in_rows(scan, draw):
    """Dense rows, a probe and a half apart."""
    y, x = np.mgrid[:5, :32] * np.array([1.5 * 20, 2.0])[:, None, None]
    places = np.stack([y.ravel(), x.ravel()], axis=1) + draw.uniform(-0.4, 0.4, (160, 2))
    placed, canvas = place_on_canvas(places, scan.window)
    return acquire(make_object("dead-leaves", canvas, draw), scan.probe, placed, 3e4, 2)


def _one_astray(scan, _draw):
    positions = scan.positions_px.copy()
    positions[7] += 300
    return with_positions(scan, positions)


def _standing_still(scan, _draw):
    positions = scan.positions_px.copy()
    positions[30:45] = positions[30]
    return with_positions(scan, positions)


def _other_lengths(scan, _draw):
    return replace(scan, geometry=replace(scan.geometry, pixel_size_m=(3e-8, 3e-8)))


def _alien_probe(scan, draw):
    """Right in place, power and size, with light in all directions."""
    probe = disc(scan.window, 20.0) * np.exp(2j * np.pi * draw.random(scan.window))
    return replace(scan, probe=normalised(probe, float(np.sum(np.abs(scan.probe) ** 2))))


SPOILED: dict[str, tuple[str, str, Spoil]] = {
    "roots": ("amplitude-as-intensity", "stop", lambda s, _: with_frames(s, np.sqrt(s.photons[:]))),
    "noisy roots": ("amplitude-as-intensity", "stop", _noisy_roots),
    "squares": ("intensity-as-amplitude", "stop", lambda s, _: with_frames(s, counts(s) ** 2)),
    "tenths": ("photon-unit", "caution", lambda s, _: with_frames(s, s.photons[:] * np.float32(0.1))),
    "sevens": ("photon-unit", "caution", lambda s, _: with_frames(s, counts(s) * 7)),
    "readout": ("photon-unit", "caution", _readout),
    "averaged": ("photon-unit", "caution", _averaged),
    "noise-free": ("no-noise", "caution", lambda s, _: with_frames(s, expected(s))),
    "corner": ("beam-in-corner", "stop", lambda s, _: with_frames(s, np.fft.fftshift(s.photons[:], axes=(1, 2)))),
    "off centre": ("beam-off-centre", "caution", lambda s, _: with_frames(s, np.roll(s.photons[:], (4, -3), (1, 2)))),
    "drifting": ("beam-drift", "caution", _drifting),
    "probe of a third": ("probe-power", "caution", lambda s, _: replace(s, probe=s.probe / 3)),
    "alien probe": ("probe-unlike-frames", "caution", _alien_probe),
    "probe in the corner": (
        "probe-in-corner",
        "stop",
        lambda s, _: replace(s, probe=np.fft.fftshift(s.probe, axes=(1, 2))),
    ),
    "dark frames": ("dark-frames", "caution", _changed(np.s_[20:27], lambda _: 0)),
    "beam lost": ("dark-frames", "caution", _changed(np.s_[150:], lambda frames: frames[150:] // 40)),
    "fading": ("brightness-drift", "caution", _fading),
    "copies": ("identical-frames", "caution", _changed(np.s_[50:53], lambda frames: frames[40:43])),
    "frozen": ("frozen-frames", "stop", _changed(np.s_[:], lambda frames: frames[:1])),
    "hot pixel": ("hot-pixels", "caution", _changed(np.s_[:, 3, 5], lambda frames: 5 * frames.max() + 100)),
    "cosmic ray": ("hot-pixels", "caution", _changed(np.s_[17, 40, 9], lambda frames: 5 * frames.max() + 100)),
    "dead pixel": ("dead-pixels", "caution", _without_a_pixel),
    "clipped": ("saturation", "caution", _clipped),
    "background": (
        "background",
        "caution",
        lambda s, draw: with_frames(s, counts(s) + draw.poisson(0.1 * counts(s).mean(), s.photons.shape)),
    ),
    "inverted mask": ("mask", "caution", lambda s, draw: replace(s, mask=draw.random(s.window) < 0.02)),
    "no motion": ("positions-all-equal", "stop", lambda s, _: with_positions(s, s.positions_px * 0)),
    "millimetres": ("positions-too-close", "caution", lambda s, _: with_positions(s, s.positions_px / 1e3)),
    "nanometres": ("overlap", "caution", lambda s, _: with_positions(s, s.positions_px * 30)),
    "one coordinate": ("positions-on-a-line", "caution", _on_a_line),
    "grid": ("grid", "caution", _on_a_grid),
    "rows": ("scan-in-pieces", "caution", _in_rows),
    "astray": ("positions-outlying", "caution", _one_astray),
    "standing still": ("duplicate-positions", "caution", _standing_still),
    "counted anew": ("duplicate-indexes", "caution", lambda s, _: replace(s, frame_index=np.arange(len(s)) % 150)),
    "other lengths": ("pixel-size", "caution", _other_lengths),
    "faint": ("photons", "caution", _fainter),
    "sparse": ("overlap", "caution", lambda _, __: good_scan(frames=100, step=14.0)),
    "wide probe": ("undersampled", "caution", lambda _, __: good_scan(diameter=40.0)),
}
"""What is wrong: the code and the level that have to be found, alone, and what makes a scan so."""
