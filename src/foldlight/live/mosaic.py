"""The object as far as it is known: pieces laid over one another, where of each pixel the best-lit estimate stands."""

import threading

import numpy as np

from foldlight.sampling.tiles import Box

__all__ = ["Mosaic"]

_ROOM = 0.25  # of the size, beyond what is needed, when the mosaic has to grow
_LEAST = 1e-4  # of the most light: darker pixels of a piece are not taken


class Mosaic:
    """An object that grows with the scan, on pixels counted from wherever the scan counts them.

    A piece comes with the photons that its frames sent through each pixel. Where it saw at least as many as the
    estimate that is there, it takes its place; where it saw less than half, it is left out; between, the two are
    blended. So a pixel at the border of what was scanned is made anew when its neighbours arrive, and nothing is made
    worse by a later look at fewer frames. One thread may write and others read.
    """

    def __init__(self) -> None:
        self._image = np.ones((0, 0), dtype=np.complex64)
        self._light = np.zeros((0, 0), dtype=np.float32)
        self._held = Box(0, 0, 0, 0)  # what the arrays hold
        self._asked = Box(0, 0, 0, 0)  # what was asked for, without the room beyond
        self._lock = threading.Lock()

    @property
    def box(self) -> Box:
        """The pixels that were asked for so far."""
        return self._asked

    def reach(self, box: Box) -> None:
        """Make sure that a box of pixels is there, and some room beyond it."""
        with self._lock:
            self._reach(box)

    def blend(self, image: np.ndarray, light: np.ndarray, corner: tuple[int, int]) -> None:
        """Lay a piece over what is there.

        Args:
            image: (h, w) complex64 transmission; its constant phase is turned to agree with what is there.
            light: (h, w) photons that the piece's frames sent through each pixel.
            corner: (y, x) of its first pixel.

        Source: docs/physics.md, gauge.
        """
        box = Box(*corner, corner[0] + image.shape[0], corner[1] + image.shape[1])
        with self._lock:
            self._reach(box)
            place = box.within(self._held)
            there, seen = self._image[place], self._light[place]
            known = np.where(light > _LEAST * light.max(), light, 0)
            agreement = complex(np.sum(image.conj() * there * np.minimum(known, seen), dtype=np.complex128))
            if agreement:
                image = image * np.complex64(agreement / abs(agreement))
            share = np.clip(2 * known / np.maximum(seen, 1e-30) - 1, 0, 1).astype(np.float32)
            there += share * (image - there)
            np.maximum(seen, known, out=seen)

    def cut(self, box: Box | None = None) -> tuple[np.ndarray, np.ndarray]:
        """A copy of image (y, x) complex64, 1 where nothing was seen, and light (y, x) float32 [photon].

        Args:
            box: the pixels wanted, whatever part of them is there; those that were asked for when None.
        """
        with self._lock:
            wanted = self._asked if box is None else box
            image, light = np.ones(wanted.shape, dtype=np.complex64), np.zeros(wanted.shape, dtype=np.float32)
            common = Box(*np.maximum(wanted.corner, self._held.corner), *np.minimum(wanted[2:], self._held[2:]))
            if common.top < common.bottom and common.left < common.right:
                here, there = common.within(wanted), common.within(self._held)
                image[here], light[here] = self._image[there], self._light[there]
        return image, light

    def _reach(self, box: Box) -> None:
        if not self._image.size:
            self._asked = box
            self._resize(box)
            return
        self._asked = _union(self._asked, box)
        grown = _union(self._held, box)
        if grown != self._held:
            room = [int(_ROOM * side) for side in grown.shape] * 2
            signs = (-1, -1, 1, 1)
            moved = [edge != was for edge, was in zip(grown, self._held, strict=True)]
            self._resize(Box(*(e + s * r * m for e, s, r, m in zip(grown, signs, room, moved, strict=True))))

    def _resize(self, new: Box) -> None:
        image, light = np.ones(new.shape, dtype=np.complex64), np.zeros(new.shape, dtype=np.float32)
        if self._image.size:
            place = self._held.within(new)
            image[place], light[place] = self._image, self._light
        self._image, self._light, self._held = image, light, new


def _union(one: Box, other: Box) -> Box:
    """The smallest box around two."""
    return Box(
        min(one.top, other.top), min(one.left, other.left), max(one.bottom, other.bottom), max(one.right, other.right)
    )
