"""What came out: one reading, several that give the same picture but for a turn, or none."""

from dataclasses import dataclass
from typing import Any

from foldlight.core.shown import Displayed
from foldlight.orient.symmetry import Reading, between

__all__ = ["Candidate", "Verdict"]


@dataclass(frozen=True)
class Candidate:
    """Readings that can't be told apart, and what speaks against them.

    Attributes:
        same: readings whose probes are the same, those that change least first.
        behind: standard errors by which the best candidate explains unseen photons better; 0 for the best.
        ruled_out: that is enough.
        unsure: more readings, which the probe would tell apart from those if photons bore out its shape.
    """

    same: tuple[Reading, ...]
    behind: float
    ruled_out: bool
    unsure: tuple[Reading, ...] = ()

    @property
    def readings(self) -> tuple[Reading, ...]:
        """All of them."""
        return self.same + self.unsure

    @property
    def first(self) -> Reading:
        """The one to name: as the scan was read, where that is among them."""
        return Reading() if Reading() in self.readings else self.same[0]

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "readings": [_plain(reading) for reading in self.readings],
            "standard_errors_behind": round(self.behind, 2),
            "ruled_out": self.ruled_out,
        }


@dataclass(frozen=True, repr=False)
class Verdict(Displayed):
    """Which way is up.

    Attributes:
        candidates: all that were tried, the best first.
        frames: how many frames it was tried on.
        window: (height, width) they were cut to [px].
        above_mean: standard errors by which the best candidate predicts frames it has not seen better than the mean of
            the others does.
        seconds: that it took.
        notes: what limits the answer, one sentence each.
    """

    candidates: tuple[Candidate, ...]
    frames: int
    window: tuple[int, int]
    above_mean: float
    seconds: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Verdict: {self.words[0]}>"

    @property
    def left(self) -> tuple[Candidate, ...]:
        """Candidates that are not ruled out, the best first."""
        return tuple(candidate for candidate in self.candidates if not candidate.ruled_out)

    @property
    def told(self) -> bool:
        """Something is ruled out, and what is left makes the same picture, but for what `words` tell."""
        return len(self.left) == 1 < len(self.candidates)

    @property
    def reading(self) -> Reading | None:
        """The reading to use; None where it can't be told."""
        return self.left[0].first if self.told else None

    @property
    def as_read(self) -> bool:
        """The scan may stay as it was read, for all that is known."""
        return any(Reading() in candidate.readings for candidate in self.left)

    @property
    def lead(self) -> float:
        """Standard errors between the best candidate and the next."""
        return self.candidates[1].behind if len(self.candidates) > 1 else 0.0

    @property
    def words(self) -> tuple[str, ...]:
        """The answer in a few lines."""
        lines = [self._headline(), *self._open(), *self.notes]
        tried = sum(len(candidate.readings) for candidate in self.candidates)
        lines.append(
            f"tried {tried} readings in {len(self.candidates)} groups on {self.frames} frames of"
            f" {self.window[0]} x {self.window[1]} px, {self.seconds:.0f} s"
        )
        return tuple(lines)

    def _headline(self) -> str:
        if self.reading is not None:
            reading = "as it was read" if self.reading == Reading() else self.reading.words
            return f"told: {reading}, {self.lead:.1f} standard errors ahead of the next"
        if len(self.candidates) == 1:
            return "cannot tell: only the probe could, and these readings are alike for it"
        return f"cannot tell: {len(self.left)} kinds of readings explain unseen photons about as well"

    def _open(self) -> list[str]:
        """What is left open, with its reason."""
        lines = []
        for candidate in self.left:
            first = candidate.first
            if not self.told:
                lines.append(f"  {first.words}, {candidate.behind:.1f} standard errors behind")
            twins = [(other, between(first, other)) for other in candidate.readings]
            lines += [f"    or {other.words}: the picture {twin.words}" for other, twin in twins if twin]
            if candidate.unsure:
                lines.append("    (these photons don't tell: they don't bear out how the probe, so turned, differs)")
            elif len(candidate.same) > 1:
                lines.append("    (no photon can tell: the probe, so turned, is the same)")
        return lines

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "told": self.told,
            "reading": None if self.reading is None else _plain(self.reading),
            "as_read": self.as_read,
            "standard_errors_ahead": round(self.lead, 2),
            "standard_errors_above_mean_frame": round(self.above_mean, 2),
            "frames": self.frames,
            "window": list(self.window),
            "seconds": round(self.seconds, 1),
            "notes": list(self.notes),
            "candidates": [candidate.plain() for candidate in self.candidates],
        }


def _plain(reading: Reading) -> dict[str, Any]:
    return {"orientation": reading.orientation, "negated": reading.negated, "swapped": reading.swapped}
