"""Pixels that are not like those around them.

Speckles of a diffraction frame are a pixel wide at the least, so that a sound pixel has bright neighbours when it is
bright; but a flat wide probe's beam is not much wider than a pixel, and a hard-edged probe has fringes a hundred times
darker than their sides. What the probe alone explains is therefore let pass.
"""

import numpy as np

__all__ = ["dead_pixels", "hot_pixels"]

_HOT, _HOT_UNITS = 8.0, 30.0  # times, and more than, what the third brightest neighbour ever counted
_EXPLAINED = 0.25  # of its brightest value, by the probe's far field
_DEAD_UNITS = 100.0  # in all, in its third darkest neighbour
_FRINGE = 0.2  # of what the probe sends to that neighbour
_NEIGHBOURS = 5  # trusted ones that a pixel needs to be judged by them


def hot_pixels(peak: np.ndarray, mask: np.ndarray, explained: np.ndarray) -> np.ndarray:
    """(y, x) bool trusted pixels whose greatest count is far above that of their neighbours.

    Args:
        peak: (y, x) most that each pixel ever counted.
        mask: (y, x) bool pixels to trust.
        explained: (y, x) what the probe alone would have it count in the brightest frame.
    """
    beside, judged = _third(peak, mask, largest=True)
    return judged & (peak > _HOT * beside + _HOT_UNITS) & (explained < _EXPLAINED * peak)


def dead_pixels(constant: np.ndarray, sums: np.ndarray, mask: np.ndarray, far_field: np.ndarray) -> np.ndarray:
    """(y, x) bool trusted pixels that never change although light falls beside them.

    Args:
        constant: (y, x) bool pixels of the same number in all frames.
        sums: (y, x) counts of each pixel in all frames.
        mask: (y, x) bool pixels to trust.
        far_field: (y, x) photons that the probe alone sends to each pixel.
    """
    beside, judged = _third(sums, mask, largest=False)
    sent, _ = _third(far_field, mask, largest=False)
    return judged & constant & (beside > _DEAD_UNITS) & (far_field >= _FRINGE * sent)


def _third(image: np.ndarray, mask: np.ndarray, largest: bool) -> tuple[np.ndarray, np.ndarray]:
    """(y, x) third largest, or third smallest, of the trusted among eight neighbours; and where there are enough."""
    beyond = -np.inf if largest else np.inf
    padded, known = np.pad(np.where(mask, image, beyond), 1, constant_values=beyond), np.pad(mask, 1)
    height, width = image.shape
    places = [np.s_[y : y + height, x : x + width] for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    third = np.sort(np.stack([padded[place] for place in places]), axis=0)[-3 if largest else 2]
    judged = mask & (np.stack([known[place] for place in places]).sum(axis=0) >= _NEIGHBOURS)
    return np.where(judged, third, 0), judged
