"""Which way is up: turn frames and positions in all ways, and let photons choose that no fit has seen.

Readings that the probe can't tell apart (`symmetry`) are tried once. All get a quarter of the iterations; those that
are behind by far are dropped, and the others get all iterations, and twice as many where that does not decide. Of the
fits of a reading the one counts that explains unseen photons better, as few photons ask for few steps and many for
many. Where all that does not decide, twice the frames are asked about what is left.

The best rules another one out when it is `clear` standard errors ahead of it. Between twins the first fits count as
much as the last, since refinement makes any probe into its twin in time. But twins are told apart by the shape of the
probe alone, and a probe that is a guess has an asymmetry of its own: it has to be `_TRUSTED`, and the best has to be
ahead, by `_HALFWAY`, of itself with the probe halfway to the twin, or photons don't bear it out. Twins that photons
don't tell apart go with the best, for either makes the same picture but for a turn, and are named with it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from foldlight.core.progress import progress_bar
from foldlight.frames import transposes
from foldlight.orient.patch import coarse, patch
from foldlight.orient.settings import OrientSettings
from foldlight.orient.symmetry import READINGS, Reading, Twin, asymmetry, between, classes, halfway
from foldlight.orient.trial import Evidence, Trial, advantage, paired
from foldlight.orient.verdict import Candidate, Verdict
from foldlight.scan import Scan

__all__ = ["orient", "sign_test"]

_SAME = 0.02  # of its light that a probe may differ from its twin by and count as the same: guesses are no better
_FEWER, _MORE = 4, 2  # parts of the iterations for all readings, times the iterations where they don't decide
_MORE_FRAMES = 2  # times the frames, where they don't
_FAR = 7.0  # standard errors behind after these, from which on a reading is dropped
_DOUBT = 2.0  # more standard errors than are clear, below which more iterations are made
_TRUSTED = 0.25  # of its light that a probe differs from its twin by: less may be a wrong defocus of a flat beam
_HALFWAY = 2.0  # standard errors ahead of the probe between it and its twin
_AS_SET = OrientSettings()


def orient(scan: Scan, settings: OrientSettings = _AS_SET, progress: bool = False) -> Verdict:
    """How frames and positions of a scan lie to each other and to its probe.

    Args:
        scan: as it was read; its object is never looked at.
        settings: what is in doubt, and how much to try.
        progress: show a bar on stderr.

    Raises:
        DataError: too few frames, or no light in frames or probe.
    """
    began = time.perf_counter()
    verdict = _asked(scan, settings, settings.frames, _readings(settings, scan.window), progress)
    if len(verdict.left) > 1 and len(scan) > settings.frames:
        left = tuple(reading for reading in READINGS for each in verdict.left if reading in each.readings)
        again = _asked(scan, settings, _MORE_FRAMES * settings.frames, left, progress)
        out = tuple(candidate for candidate in verdict.candidates if candidate.ruled_out)
        verdict = replace(again, candidates=again.candidates + out)
    return replace(verdict, seconds=time.perf_counter() - began)


def _asked(scan: Scan, settings: OrientSettings, frames: int, readings: tuple[Reading, ...], progress: bool) -> Verdict:
    """The verdict of so many frames on some readings."""
    part = coarse(patch(scan, frames))
    groups = classes(part.probe, readings, _SAME)
    usual = len(groups) * settings.iterations
    with progress_bar("orient", usual, progress) as advance:
        court = _Court(Trial.of(part, settings.seed), settings, advance)
        court.hear([group[0] for group in groups], court.few)
        court.hear(court.near(_FAR), settings.iterations)
        if not court.decided:
            court.hear(court.near(settings.clear + _DOUBT), _MORE * settings.iterations)
        candidates = court.judged(groups)
        advance(usual, "")
        above_mean = paired(court.evidence[candidates[0].readings[0]].frames, court.trial.of_mean_frame())
    return Verdict(
        candidates,
        len(part),
        part.window,
        above_mean,
        0.0,
        _notes(scan, part, above_mean),
    )


def sign_test(scan: Scan, settings: OrientSettings = _AS_SET, progress: bool = False) -> Verdict:
    """Whether positions are the beam's motion over the sample or the sample's, everything else being as it was read.

    Only a curved or an asymmetric probe can tell: see `symmetry`.
    """
    return orient(scan, settings.model_copy(update={"doubt": ("sign",)}), progress)


def _readings(settings: OrientSettings, window: tuple[int, int]) -> tuple[Reading, ...]:
    """Those in doubt that the probe fits."""
    square = window[0] == window[1]
    return tuple(
        reading
        for reading in READINGS
        if ("frames" in settings.doubt or reading.orientation == "as_stored")
        and ("sign" in settings.doubt or not reading.negated)
        and ("order" in settings.doubt or not reading.swapped)
        and (square or not transposes(reading.orientation))
    )


def _notes(scan: Scan, part: Scan, above_mean: float) -> tuple[str, ...]:
    """What limits the answer."""
    notes = []
    if above_mean < 0:
        notes.append(
            "the mean frame predicts frames better than the best reading does: check the probe, the size of an object"
            " pixel and the unit of the positions, or measure with more overlap"
        )
    if not part.photons.whole:
        notes.append("photons are not counted, so only frames left out were scored; give the photon scale for more")
    if part.window[0] != part.window[1]:
        notes.append("frames are not square, so none was transposed; crop them to squares if they may be")
    if part.window != scan.window:
        notes.append(f"frames cut from {scan.window[0]} x {scan.window[1]} px to the middle that holds the light")
    return tuple(notes)


@dataclass
class _Court:
    """Hears evidence, and remembers the best for each reading.

    Attributes:
        trial: what readings are tried on.
        settings: of the run.
        advance: of the progress bar.
        first: by reading, the evidence of its first, short fit.
        evidence: by reading, that of the better of its fits.
        spent: iterations so far.
    """

    trial: Trial
    settings: OrientSettings
    advance: Callable[..., None]
    first: dict[Reading, Evidence] = field(default_factory=dict)
    evidence: dict[Reading, Evidence] = field(default_factory=dict)
    spent: int = 0

    def hear(self, readings: list[Reading], iterations: int) -> None:
        """Try some readings; the better fit of each is kept."""
        for reading in readings:
            found = self.trial.run(reading, iterations)
            self.first.setdefault(reading, found)
            known = self.evidence.get(reading, found)
            self.evidence[reading] = found if advantage(found, known) > 0 else known
            self.spent += iterations
            self.advance(self.spent, reading.words)

    @property
    def few(self) -> int:
        """Iterations of the first round."""
        return -(-self.settings.iterations // _FEWER)

    @property
    def best(self) -> Reading:
        """The reading that no other is ahead of, or else the one with the best record."""
        readings = list(self.evidence)
        worst = [max((self.behind(one, other) for other in readings if other != one), default=0.0) for one in readings]
        return readings[int(np.argmin(worst))]

    def behind(self, one: Reading, other: Reading) -> float:
        """Standard errors by which one reading is behind another."""
        return advantage(self.evidence[other], self.evidence[one])

    def near(self, most: float) -> list[Reading]:
        """What is worth more iterations: not further behind the best."""
        best = self.best
        return [reading for reading in self.evidence if self.behind(reading, best) < most]

    @property
    def decided(self) -> bool:
        """Nothing but twins of the best is near."""
        best = self.best
        rivals = [reading for reading in self.evidence if reading.relation != best.relation]
        return all(self.behind(reading, best) >= self.settings.clear + _DOUBT for reading in rivals)

    def judged(self, groups: list[tuple[Reading, ...]]) -> tuple[Candidate, ...]:
        """A candidate for the best and for each group that the photons can set against it, the best first."""
        best = self.best
        alike = next(group for group in groups if group[0] == best)
        unsure: tuple[Reading, ...] = ()
        others = []
        for group in groups:
            twin = between(best, group[0])
            if group[0] == best:
                continue
            behind = self.behind(group[0], best)
            if twin is not None:
                behind = max(behind, advantage(self.first[best], self.first[group[0]]))
                if behind < self.settings.clear or not self._bears_out(best, twin):
                    unsure += group
                    continue
            others.append(Candidate(group, max(behind, 0.0), behind >= self.settings.clear))
        others.sort(key=lambda candidate: candidate.behind)
        return Candidate(alike, 0.0, False, unsure), *others

    def _bears_out(self, best: Reading, twin: Twin) -> bool:
        """Whether photons speak for what sets the probe apart from its twin.

        Few iterations may not have found the object yet, and many may have mended the probe halfway, so both are asked.
        """
        if asymmetry(self.trial.seen.probe, twin) < _TRUSTED:
            return False
        between_them = halfway(self.trial.seen.probe, twin)
        rounds = ((self.few, self.first[best]), (self.settings.iterations, self.evidence[best]))
        return any(advantage(own, self.trial.run(best, most, between_them)) >= _HALFWAY for most, own in rounds)
