"""What ties frames together: overlap, gaps, the order of a grid, and whether frames belong to their positions."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, KDTree, QhullError

from foldlight.doctor.evidence import Evidence, Pairs
from foldlight.doctor.findings import Finding
from foldlight.doctor.layout import SAME_PX, extent_px
from foldlight.sampling.overlap import disc_overlap, linear_overlap

__all__ = ["belonging", "lattice", "overlap"]

_ADVISED, _SPARSE = 0.6, 0.4  # linear: advised, and where images get worse. Source: Bunk et al., see overlap
_FAR = 3.0  # diameters: no scan is meant so
_SHARED = 0.8  # of a diameter: discs so far apart share a tenth of their area
_FEW = 0.05  # share of the positions that are outliers, not pieces
_PATCH, _LATTICE_PATCH = 20_000, 2048  # positions in the middle that are looked at
_AROUND = 6  # neighbours
_MANY = 16  # positions that make a scan, or pairs a statistic
_FINE, _BINS = 6, 4096  # bins a step; and at the most along a side
_ORDER = 0.85  # an rms of 6 % of the step; jitter by a quarter step either way gives 0.4 to 0.45, a spiral 0.13
_CLOSE = 0.6  # linear overlap from which neighbours have to be alike
_TELLING = 8.0  # standard errors of what frames differ by
_ALIKE = 0.1  # good scans gave 0.2 and more, shuffled ones within 0.03 of none
_AS_RANDOM = 0.3  # of the likeness that an object without order would give; and that likeness, for this to be likely


def overlap(evidence: Evidence) -> Iterator[Finding]:
    """Linear and area overlap of neighbours by the mean step, and whether all frames hang together.

    The step is the side of the square that each position has for itself, for the nearest neighbour says little of
    rows that are far apart. Source: Bunk et al., Ultramicroscopy 108 (2008) 481: 60 % is advised.
    """
    positions, diameter = evidence.scan.positions_px, evidence.diameter_px
    if len(positions) < 2 or extent_px(positions)[0] < SAME_PX:
        return
    nearest = float(np.median(evidence.nearest[0]))
    step = max(nearest, mean_step_px(positions))
    linear, area = (float(each(step, diameter)) for each in (linear_overlap, disc_overlap))
    others = ", ".join(f"{name.replace('_', ' ')} {value:.1f}" for name, value in evidence.diameters_px.items())
    told = (
        f"{linear:.0%} linear, {area:.0%} of the area for the participation diameter ({others} px) at a mean step of"
        f" {step:.1f} px, {nearest:.1f} px to the nearest"
    )
    numbers = {
        "linear": linear,
        "area": area,
        "linear_nearest": float(linear_overlap(nearest, diameter)),
        "mean_step_px": step,
        "nearest_px": nearest,
        **{f"{name}_px": value for name, value in evidence.diameters_px.items()},
    }
    if step > _FAR * diameter:
        remedy = "check the unit of the positions and the size of a pixel (--pixel-nm)"
        told += f": {step / diameter:.0f} probes apart"
        yield Finding("overlap", "caution", told, "likely", remedy, numbers)
    elif linear < _SPARSE:
        remedy = "take smaller steps; of this scan, --engine hybrid or network with a well-known probe makes the most"
        yield Finding("overlap", "caution", told, "certain", remedy, numbers)
    else:
        remedy = "" if linear >= _ADVISED else f"{_ADVISED:.0%} linear is advised"
        yield Finding("overlap", "note" if remedy else "fine", told, "certain", remedy, numbers)
        yield from _pieces(evidence)


def mean_step_px(positions: np.ndarray) -> float:
    """Side of the square that a position has for itself, by the distance of its sixth neighbour [px].

    `pi r^2 / 6`, the median over positions, each place counted once; of a square grid it gives 1.02 steps. For too few
    places, most of which lie at an edge, 0.
    """
    places = np.unique(np.round(positions / SAME_PX), axis=0) * SAME_PX
    if len(places) < _MANY:
        return 0.0
    distance, _ = KDTree(places).query(places[:: -(-len(places) // _PATCH)], k=_AROUND + 1)
    return float(np.median(distance[:, -1]) * np.sqrt(np.pi / _AROUND))


def _pieces(evidence: Evidence) -> Iterator[Finding]:
    """Groups of frames that share nothing with each other, however close they are within."""
    positions = _middle(evidence.scan.positions_px, _PATCH)
    n = len(positions)
    if n < 4:
        return
    try:
        mesh = Delaunay(positions, qhull_options="QJ Pp")  # holds the shortest tree between all
    except QhullError:
        return
    edges = np.concatenate([mesh.simplices[:, ends] for ends in ((0, 1), (1, 2), (2, 0))])
    apart = np.hypot(*(positions[edges[:, 0]] - positions[edges[:, 1]]).T)
    joined = edges[apart < _SHARED * evidence.diameter_px]
    graph = coo_matrix((np.ones(len(joined)), (joined[:, 0], joined[:, 1])), shape=(n, n))
    count, label = connected_components(graph, directed=False)
    largest = int(np.bincount(label).max())
    if n - largest <= max(1, _FEW * n):
        return
    yield Finding(
        "scan-in-pieces",
        "caution",
        f"positions fall into {count} groups that share less than a tenth of a probe, the largest {largest} of {n}",
        "certain",
        "look for missing rows, or take each group by itself: nothing ties their phases together",
        {"groups": int(count), "largest": largest},
    )


def _middle(positions: np.ndarray, count: int) -> np.ndarray:
    """The positions nearest to the middle of all."""
    if len(positions) <= count:
        return positions
    away = ((positions - np.median(positions, axis=0)) ** 2).sum(axis=1)
    return positions[np.argpartition(away, count)[:count]]


def lattice(evidence: Evidence) -> Iterator[Finding]:
    """Whether positions repeat on a grid, so that a wrong probe and a periodic object can stand in for each other.

    The structure factor `|sum_j exp(2 pi i k r_j)|^2 / n^2` is 1 at the frequencies of a perfect grid, and
    `exp(-(2 pi s)^2)` for rms deviations of s steps. Source: Thibault et al., Ultramicroscopy 109 (2009) 338.
    """
    positions = _middle(evidence.scan.positions_px, _LATTICE_PATCH)
    step = float(np.median(evidence.nearest[0]))
    if len(positions) < _MANY or step < SAME_PX or extent_px(positions)[1] < step:
        return
    order = structure_factor(positions, step)
    if order < _ORDER:
        told = f"positions have {order:.0%} of the order of a perfect grid"
        yield Finding("grid", "fine", told, numbers={"order": order})
        return
    yield Finding(
        "grid",
        "caution",
        f"positions lie on a regular grid of {step:.1f} px ({order:.0%} of perfect order): errors can repeat with it",
        "possible",
        "nothing with a well-known probe; jitter the steps or scan a spiral next time",
        {"order": order, "step_px": step},
    )


def structure_factor(positions: np.ndarray, step: float) -> float:
    """Greatest structure factor about the frequency of a grid of that step, from a half to one and a half of it."""
    place = np.floor((positions - positions.min(axis=0)) * _FINE / step).astype(int)
    sides = [int(2 ** np.ceil(np.log2(2 * (most + 1)))) for most in place.max(axis=0)]
    if max(sides) > _BINS:
        return 0.0  # scattered too widely to be a grid
    image = np.zeros(sides)
    np.add.at(image, (place[:, 0], place[:, 1]), 1.0)
    y, x = np.fft.fftfreq(sides[0])[:, None], np.fft.rfftfreq(sides[1])
    power = np.abs(np.fft.rfft2(image)) ** 2 / (len(positions) * np.sinc(y) * np.sinc(x)) ** 2
    reach = np.hypot(y, x) * _FINE
    return float(power[(reach > 0.5) & (reach < 1.5)].max())


def belonging(evidence: Evidence) -> Iterator[Finding]:
    """Whether frames of neighbouring positions are alike in what they have above the mean frame.

    Photon noise of two frames is independent and does not count. The least that neighbours can be alike is what an
    object without any order gives; smooth ones give more.
    """
    pairs = evidence.pairs
    if pairs is None or len(pairs) < _MANY:
        return
    own = float(pairs.own.mean())
    telling = own / max(float(pairs.own.std()) / np.sqrt(len(pairs)), 1e-300)
    if telling < _TELLING:
        told = "frames differ by hardly more than photon noise: too few photons, or no object, to tell more"
        yield Finding("frames-alike", "note", told, numbers={"standard_errors": telling})
        return
    yield _likeness(pairs, own, float(linear_overlap(np.median(pairs.distance_px), evidence.diameter_px)))


def _likeness(pairs: Pairs, own: float, close: float) -> Finding:
    """What neighbours have in common, against what they must.

    Args:
        pairs: of frames.
        own: mean of `pairs.own`.
        close: linear overlap of the pairs.
    """
    likeness = float(pairs.shared.mean()) / own
    error = float((pairs.shared - likeness * pairs.own).std()) / np.sqrt(len(pairs)) / own
    due = float(pairs.same_light.mean())
    numbers = {"likeness": likeness, "standard_error": error, "due_at_least": due, "linear_overlap": close}
    told = f"frames beside each other have {likeness:.0%} of what makes them differ from the mean in common"
    if close < _CLOSE or likeness + 2 * error > max(_ALIKE, _AS_RANDOM * due):
        return Finding("frames-belong", "fine", told, numbers=numbers)
    if due < _ALIKE:
        remedy = "nothing if the object is fine: this probe makes all its frames unlike; else check their order"
        return Finding("frames-unlike", "note", told, "possible", remedy, numbers)
    return Finding(
        "frames-misplaced",
        "caution",
        f"{told}, though they overlap by {close:.0%} (linear): frames do not belong to their positions",
        "likely" if due > _AS_RANDOM else "possible",
        "check the order of frames and positions, dropped frames, and the size of a pixel (--pixel-nm)",
        numbers,
    )
