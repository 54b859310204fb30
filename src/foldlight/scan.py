"""A ptychographic scan, in one unit and one convention.

Photons, not amplitudes; zero frequency at `[N // 2, N // 2]`; arrays are `(y, x)`; positions are float64 object
pixels and name the object coordinate under the window's centre pixel `N // 2`. Readers bring every file to this
form; nothing after them sees another one. Source: docs/physics.md, frames and units.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from foldlight.core.errors import DataError
from foldlight.core.provenance import sha256_arrays
from foldlight.core.shown import Shown
from foldlight.frames import Frames, Orientation, transposes, turn
from foldlight.geometry import Geometry

__all__ = ["Scan", "place_on_canvas"]


@dataclass(frozen=True, repr=False)
class Scan(Shown):
    """Frames, where they were taken, and with what light.

    Attributes:
        photons: n frames [photon], see `Frames`.
        positions_px: (n, 2) float64 (y, x) [object px]; every window lies inside the object canvas.
        probe: (mode, y, x) complex64 [sqrt(photon)]; its power is the photons per frame through an empty object.
        object: (y, x) complex64 true or guessed transmission on the canvas, or None.
        object_is_truth: `object` is what the frames were made from, not somebody's reconstruction.
        canvas: (height, width) of the object array, in pixels.
        mask: (y, x) bool, detector pixels to trust; all of them when none is given.
        notes: what the reader found and changed, one sentence each.
        origin: JSON-ready facts about where the scan comes from.
        frame_index: (n,) int64 number of each frame in the scan it was first read from; 0 to n - 1 when none is given.
        geometry: the lengths behind the pixels, or None; nothing is computed from it.

    Raises:
        DataError: anything above does not hold.
    """

    photons: Frames
    positions_px: np.ndarray
    probe: np.ndarray
    canvas: tuple[int, int]
    object: np.ndarray | None = None
    object_is_truth: bool = False
    mask: np.ndarray = field(default_factory=lambda: np.ones(0, dtype=bool))
    notes: tuple[str, ...] = ()
    origin: dict[str, Any] = field(default_factory=dict)
    frame_index: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    geometry: Geometry | None = None

    def __post_init__(self) -> None:
        if self.photons.stored.ndim != 3:
            raise DataError(f"diffraction: expected (n, y, x) frames, got shape {self.photons.stored.shape}")
        if self.mask.size == 0:
            object.__setattr__(self, "mask", np.ones(self.window, dtype=bool))
        if self.frame_index.size == 0:
            object.__setattr__(self, "frame_index", np.arange(len(self), dtype=np.int64))
        self._check_frames()
        self._check_positions()
        self._check_probe()
        if self.object is not None:
            _expect("object", self.object, np.complexfloating, self.canvas)

    def _check_frames(self) -> None:
        n, height, width = self.photons.shape
        if n == 0:
            raise DataError("diffraction: expected at least one frame, got an empty scan")
        if height % 2 or width % 2 or min(height, width) < 8:
            raise DataError(
                f"diffraction: expected even frame sizes of 8 px or more, got {height} x {width}; crop or pad them"
            )
        _expect("frame_index", self.frame_index, np.int64, (n,))
        _expect("mask", self.mask, np.bool_, (height, width))
        if not self.mask.any():
            raise DataError("mask: expected at least one valid detector pixel, got none")

    def _check_positions(self) -> None:
        positions = self.positions_px
        _expect("positions_px", positions, np.float64, (len(self.photons), 2))
        low = positions - np.array(self.window) // 2
        high = low + np.array(self.window)
        outside = (low < 0) | (high > np.array(self.canvas))
        if outside.any():
            worst = int(np.flatnonzero(outside.any(axis=1))[0])
            raise DataError(
                f"positions: expected every {self.window[0]} x {self.window[1]} window inside the"
                f" {self.canvas[0]} x {self.canvas[1]} object, got {outside.any(axis=1).sum()} outside, first frame"
                f" {worst} at (y, x) = ({positions[worst, 0]:g}, {positions[worst, 1]:g}) px; check units and origin"
            )

    def _check_probe(self) -> None:
        if self.probe.ndim != 3 or not len(self.probe):
            raise DataError(f"probe: expected (mode, y, x), got shape {self.probe.shape}")
        _expect("probe", self.probe, np.complexfloating, (len(self.probe), *self.window))
        if not np.any(self.probe):
            raise DataError("probe: expected some power, got zeros")

    def __len__(self) -> int:
        return len(self.photons)

    def __repr__(self) -> str:
        n, height, width = self.photons.shape
        modes = f"{len(self.probe)} probe mode{'s' * (len(self.probe) > 1)}"
        unit = "photons counted" if self.photons.whole else "photons scaled"
        known = ", true object known" if self.object_is_truth else ""
        canvas = f"canvas {self.canvas[0]} x {self.canvas[1]} px"
        return f"<Scan: {n:,} frames of {height} x {width} px, {unit}, {modes}, {canvas}{known}>"

    @property
    def window(self) -> tuple[int, int]:
        """(height, width) of a frame and of the probe [px]."""
        return self.photons.shape[1:]

    @property
    def truth(self) -> np.ndarray | None:
        """The object the frames were made from, where it is known."""
        return self.object if self.object_is_truth else None

    def digest(self) -> str:
        """Hex sha256 of what a method may see: photons, positions, probe and mask; not the numbers of frames."""
        return sha256_arrays(*self.photons.digests, self.positions_px, self.probe, self.mask)

    def with_probe(self, probe: np.ndarray, note: str) -> "Scan":
        """The same scan with another probe (mode, y, x), and a note that says whose.

        Raises:
            DataError: the probe's window is not that of the frames.
        """
        return replace(self, probe=probe, notes=(*self.notes, note))

    def turned(self, orientation: Orientation = "as_stored", negated: bool = False, swapped: bool = False) -> "Scan":
        """The scan as it is if frames or positions were read the wrong way round.

        Positions that change are placed on a new canvas, and the object that belonged to the old one is left out; the
        probe stays. Where object pixels are not square, positions keep their metres.

        Args:
            orientation: how to turn frames and mask.
            negated: positions are those of the sample's motion, so those of the beam on it are their negatives.
            swapped: the positions' two coordinates are in the wrong order; swapped first, then negated.

        Raises:
            DataError: frames that are not square were transposed, and no longer fit the probe.
        """
        photons, mask = self.photons.turned(orientation), turn(self.mask, orientation)
        positions, canvas, geometry = self.positions_px, self.canvas, self.geometry
        turned = geometry.transposed() if geometry and transposes(orientation) else geometry
        sizes = np.array([each.pixel_size_m if each else (1.0, 1.0) for each in (geometry, turned)])
        stretch = (sizes[0, ::-1] if swapped else sizes[0]) / sizes[1]
        if negated or swapped or not np.allclose(stretch, 1):
            positions = (positions[:, ::-1] if swapped else positions) * stretch
            positions, canvas = place_on_canvas(-positions if negated else positions, photons.shape[1:])
        words = [
            *([f"frames turned: {orientation}"] if orientation != "as_stored" else []),
            *(["positions: y and x swapped"] if swapped else []),
            *(["positions: negated, they were the sample's motion"] if negated else []),
        ]
        moved = canvas is not self.canvas
        if moved and self.object is not None:
            words.append("object left out: its canvas was that of the positions before")
        return replace(
            self,
            photons=photons,
            mask=np.ascontiguousarray(mask),
            positions_px=np.ascontiguousarray(positions),
            canvas=canvas,
            object=None if moved else self.object,
            object_is_truth=self.object_is_truth and not moved,
            notes=(*self.notes, *words),
            geometry=turned,
        )

    def select(self, index: np.ndarray) -> "Scan":
        """The scan of some of its frames, on the same canvas; each keeps its number."""
        return replace(
            self,
            photons=self.photons.select(index),
            positions_px=self.positions_px[index],
            frame_index=self.frame_index[index],
        )


def place_on_canvas(
    positions_px: np.ndarray, window: tuple[int, int], margin_px: int = 2
) -> tuple[np.ndarray, tuple[int, int]]:
    """Move positions of any origin by whole pixels so that every window fits a canvas with a margin.

    Whole pixels keep the sub-pixel part of each position as it was measured. Canvas sizes are even.

    Returns:
        The moved (n, 2) positions and the canvas (height, width).
    """
    size = np.array(window)
    offset = size // 2 + margin_px - np.floor(positions_px.min(axis=0))
    moved = positions_px + offset
    extent = np.ceil(moved.max(axis=0)).astype(int) - size // 2 + size + margin_px
    height, width = (extent + extent % 2).tolist()
    return moved, (height, width)


def _expect(name: str, array: np.ndarray, kind: type, shape: tuple[int, ...]) -> None:
    """One shape, one kind of number, nothing that is not finite."""
    if array.shape != shape:
        raise DataError(f"{name}: expected shape {shape}, got {array.shape}")
    if not np.issubdtype(array.dtype, kind):
        raise DataError(f"{name}: expected {kind.__name__}, got {array.dtype}")
    if array.dtype != bool and not np.isfinite(array).all():
        raise DataError(f"{name}: expected finite values, got {int((~np.isfinite(array)).sum())} that are not")
