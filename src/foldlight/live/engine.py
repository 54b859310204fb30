"""New frames to a piece of the object, with as many of their neighbours as an update has time for."""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from foldlight.bundle import Model
from foldlight.core.errors import DataError, SettingsError
from foldlight.frames import Frames
from foldlight.live.follow import Piece, Start
from foldlight.live.mosaic import Mosaic
from foldlight.live.settings import LiveSettings
from foldlight.live.spool import Spool
from foldlight.networks.generators import PatchNetwork
from foldlight.optics.forward import illumination, place_probe, trust
from foldlight.optics.patches import merge, scatter
from foldlight.sampling.overlap import probe_diameters_px
from foldlight.sampling.tiles import Box
from foldlight.scan import Scan, place_on_canvas
from foldlight.train.device import usable_device

__all__ = ["LiveEngine", "Update", "with_probe"]

_FARTHEST_PX = 10**7  # that positions may lie from their origin: further ones are a mistake of units
_LARGEST_PX = 2**28  # of a mosaic
_PRESSED_CONTEXT = 2  # older frames for each new one, at most, while frames wait


@dataclass(frozen=True)
class Update:
    """What one update did.

    Attributes:
        new: frames that are in the image now and were not before.
        context: older frames that they were looked at with.
        pixels: of the piece's canvas.
        seconds: wall time.
        delays_s: (new,) from when each frame was found to now.
    """

    new: int
    context: int
    pixels: int
    seconds: float
    delays_s: np.ndarray


class LiveEngine:
    """The frames of a scan that are there, and what has been made of them.

    An update takes the oldest frames that wait, those of one part of the object, and reconstructs them together with
    their nearest neighbours among all frames that are there; how many it takes is bounded, and so is its time.

    Args:
        model: a network that takes regions, or frames one by one.
        start: what the scan says of itself.
        settings: bounds of an update.

    Raises:
        SettingsError: a network that takes small groups, or no such device.
        DataError: frames that the network was not trained for, or no probe.
    """

    def __init__(self, model: Model, start: Start, settings: LiveSettings) -> None:
        if start.probe is None:
            raise DataError("scan: expected a probe, got none; give one with --probe, a file that reconstruct wrote")
        if model.network.kind == "unrolled" and not model.regional:
            raise SettingsError(
                f"model: expected a network that takes regions or single frames, got one for groups of"
                f" {model.group_size}; train with a larger gridsize, or leave --model out"
            )
        if not model.fits(start.window):
            raise DataError(f"scan: expected frames of {model.window} px as in training, got {start.window}")
        self.mosaic = Mosaic()
        self.dropped = 0
        self.reasons: dict[str, int] = {}
        self.positions_px = np.empty((0, 2))
        self._start = start
        self._probe = start.probe
        self._settings = settings
        self._device = usable_device(settings.device)
        self._network = model.module(settings.device)
        self._modes = torch.from_numpy(start.probe).to(self._device)
        self._valid = torch.from_numpy(start.mask).to(self._device)
        self._floor = model.network.merge_floor
        self._halo = min(max(start.window), int(np.ceil(1.5 * probe_diameters_px(start.probe)["participation"])))
        self._spool = Spool(start.window, start.dtype)
        self._found = np.empty(0)
        self._done = np.empty(0, dtype=bool)
        self._deferred = np.empty(0, dtype=bool)
        self._reach_plan()

    def _reach_plan(self) -> None:
        """Give the mosaic its size at once where the scan says it."""
        if self._start.planned_px is not None:
            self.mosaic.reach(self._box(self._start.planned_px))
        elif self._start.canvas is not None and np.prod(self._start.canvas) <= _LARGEST_PX:
            self.mosaic.reach(Box(0, 0, *self._start.canvas))

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame as it is stored."""
        return int(np.prod(self._start.window)) * self._start.dtype.itemsize

    @property
    def taken(self) -> int:
        """Frames that were taken in, all but the dropped ones."""
        return len(self._done)

    @property
    def reconstructed(self) -> int:
        """Frames that are in the image."""
        return int(self._done.sum())

    @property
    def waiting(self) -> int:
        """Frames that were taken in and are not in the image."""
        return self.taken - self.reconstructed

    @property
    def deferred(self) -> int:
        """Of the waiting frames, those that stand back until there is time."""
        return int((self._deferred & ~self._done).sum())

    @property
    def in_order(self) -> int:
        """All frames before this one are in the image."""
        return self.taken if self._done.all() else int(self._done.argmin())

    def add(self, piece: Piece, found: float | None = None) -> None:
        """Take frames in; what can't be a frame is dropped, counted, and the reason kept.

        Args:
            piece: in the order of the scan.
            found: `time.monotonic` when they were found; now when None.
        """
        good = self._good(piece)
        if not good.all():
            piece = Piece(piece.frames[good], piece.positions_px[good])
        if not len(piece.frames):
            return
        number = len(piece.frames)
        self._spool.append(piece.frames)
        self.positions_px = np.concatenate([self.positions_px, piece.positions_px])
        self._found = np.concatenate([self._found, np.full(number, time.monotonic() if found is None else found)])
        self._done = np.concatenate([self._done, np.zeros(number, dtype=bool)])
        self._deferred = np.concatenate([self._deferred, np.zeros(number, dtype=bool)])

    def update(self) -> Update | None:
        """Reconstruct some of the frames that wait; None when there are none."""
        began = time.monotonic()
        chosen, pressed = self._next()
        if not len(chosen):
            return None
        spare = max(0, self._settings.region_frames - len(chosen))
        context = self._neighbours(chosen, min(spare, _PRESSED_CONTEXT * len(chosen)) if pressed else spare)
        image, light, corner = self._object(np.sort(np.concatenate([chosen, context])))
        self.mosaic.blend(image, light, corner)
        self._done[chosen] = True
        now = time.monotonic()
        return Update(len(chosen), len(context), image.size, now - began, now - self._found[chosen])

    def scan(self, origin: dict[str, object]) -> tuple[Scan, tuple[int, int]]:
        """The scan of all frames taken in, and by how much (y, x) its canvas moved them [px].

        They stay where the scan had them if its canvas holds them.

        Raises:
            DataError: no frame was taken in.
        """
        if not self.taken:
            raise DataError("scan: expected one frame or more, got none")
        positions, canvas = self.positions_px, self._start.canvas
        box = self._box(positions)
        if canvas is None or min(box.corner) < 0 or box.bottom > canvas[0] or box.right > canvas[1]:
            positions, canvas = place_on_canvas(positions, self._start.window)
        moved = np.rint(positions[0] - self.positions_px[0]).astype(int).tolist()
        scan = Scan(
            photons=Frames(self._spool, whole=self._start.whole),
            positions_px=positions,
            probe=self._probe,
            canvas=canvas,
            mask=self._start.mask,
            origin=dict(origin),
        )
        return scan, (moved[0], moved[1])

    def close(self) -> None:
        """Give the room of the frames back."""
        self._spool.close()

    def _good(self, piece: Piece) -> np.ndarray:
        """(k,) bool: what can be a frame of this scan."""
        frames, positions = piece.frames, piece.positions_px
        known = (np.abs(np.nan_to_num(positions, nan=np.inf)) < _FARTHEST_PX).all(axis=1)
        unsigned = frames.dtype.kind == "u"
        least, most = (np.zeros(len(frames)),) * 2 if unsigned else (f(frames, axis=(1, 2)) for f in (np.min, np.max))
        counted = (least >= 0) & np.isfinite(most)  # NaN fails the comparison
        near = self._within_reach(positions, known)
        self._drop("their position is not a number of pixels", int((~known).sum()))
        self._drop("their photons are negative or not finite", int((known & ~counted).sum()))
        self._drop("they lie too far from the rest for one image", int((known & counted & ~near).sum()))
        return known & counted & near

    def _within_reach(self, positions_px: np.ndarray, known: np.ndarray) -> np.ndarray:
        """(k,) bool: positions that keep the image at a size that memory holds."""
        if not known.any():
            return known
        box, held = self._box(positions_px[known]), self.mosaic.box
        if not held.shape[0]:
            held = box
        sides = np.maximum(box[2:], held[2:]) - np.minimum(box.corner, held.corner)
        return known & bool(np.prod(sides, dtype=np.float64) <= _LARGEST_PX)

    def _drop(self, reason: str, frames: int) -> None:
        if frames:
            self.dropped += frames
            self.reasons[reason] = self.reasons.get(reason, 0) + frames

    def _next(self) -> tuple[np.ndarray, bool]:
        """The frames of the next update, ascending, and whether others are left waiting."""
        most = self._settings.new_frames
        waiting = np.flatnonzero(~self._done)
        urgent = waiting[~self._deferred[waiting]]
        if self._settings.allow_skip and len(urgent) > 2 * most:
            back = np.ones(len(urgent), dtype=bool)
            back[:: -(-len(urgent) // most)] = False
            self._deferred[urgent[back]] = True
            urgent = urgent[~back]
        some = urgent if len(urgent) else waiting
        if not len(some):
            return some, False
        parts = np.floor(self.positions_px[some] / self._settings.tile_px)
        chosen = some[(parts == parts[0]).all(axis=1)][:most]
        return chosen, len(waiting) > len(chosen)

    def _neighbours(self, chosen: np.ndarray, most: int) -> np.ndarray:
        """Of the other frames, those nearest to any of the chosen ones."""
        places = self.positions_px[chosen]
        low, high = places.min(axis=0) - self._halo, places.max(axis=0) + self._halo
        near = ((self.positions_px >= low) & (self.positions_px <= high)).all(axis=1)
        near[chosen] = False
        others = np.flatnonzero(near)
        if not (most and len(others)):
            return others[:0]
        apart, _ = cKDTree(places).query(self.positions_px[others], distance_upper_bound=self._halo)
        order = np.argsort(apart, kind="stable")[:most]
        found: np.ndarray = others[order[np.isfinite(apart[order])]]
        return found

    def _object(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """(h, w) complex64 object and float32 light of some frames, and the first pixel of their canvas."""
        box = self._box(self.positions_px[frames])
        places = torch.from_numpy(self.positions_px[frames] - np.array(box.corner))[None].to(self._device)
        stored = self._spool[frames].astype(np.float32, copy=False)
        photons = torch.from_numpy(np.where(self._start.mask, stored, np.float32(0))).to(self._device)
        with torch.inference_mode():
            probes = place_probe(self._modes, places)
            light = scatter(illumination(probes), places, box.shape)[0]
            if isinstance(self._network, PatchNetwork):
                mask = None if self._start.mask.all() else self._valid
                patches = self._network(photons, probes[0], mask)
                image = merge(patches[None], places, trust(probes, self._floor), box.shape)[0]
            else:
                image = self._network.objects(photons[None], places, probes, self._valid, box.shape)[0]
        made = image.cpu().numpy()
        if not np.isfinite(made).all():
            raise DataError("live: expected a finite object, got NaN or infinity; check the probe and its power")
        return made, light.cpu().numpy(), box.corner

    def _box(self, positions_px: np.ndarray) -> Box:
        """The pixels that windows at these positions see. Source: docs/physics.md, frames and units."""
        centres = np.rint(positions_px).astype(np.int64)
        size = np.array(self._start.window)
        top, left = (centres.min(axis=0) - size // 2).tolist()
        bottom, right = (centres.max(axis=0) - size // 2 + size).tolist()
        return Box(top, left, bottom, right)


def with_probe(start: Start, probe: np.ndarray | None) -> Start:
    """The same start with another probe (mode, y, x), where one is given."""
    return start if probe is None else replace(start, probe=probe.astype(np.complex64))
