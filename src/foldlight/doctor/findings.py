"""What a doctor says: findings, and the verdict that follows from them. `specs/doctor.md` lists the codes."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from foldlight.core.errors import FoldlightError
from foldlight.core.progress import duration
from foldlight.core.shown import Displayed
from foldlight.forecast import Forecast

__all__ = ["EXIT_CODES", "Diagnosis", "Finding", "Level", "Sureness", "Verdict", "refused"]

Level = Literal["fine", "note", "caution", "stop"]
Sureness = Literal["certain", "likely", "possible"]
Verdict = Literal["go", "caution", "stop"]

EXIT_CODES: dict[Verdict, int] = {"go": 0, "caution": 3, "stop": 4}
"""Of the command line; 1 and 2 are a refusal and bad usage of any verb."""

_ORDER: tuple[Level, ...] = ("stop", "caution", "note", "fine")
_SCHEMA = 1


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        code: its name, stable from version to version.
        level: `fine`, `note` (good to know), `caution` (the image suffers, or may), `stop` (no image will be right).
        what: what was found, with the number, half a sentence.
        sure: that it is what it seems.
        do: the remedy; empty where none is needed.
        numbers: what was measured, JSON-ready, with units in the names.
    """

    code: str
    level: Level
    what: str
    sure: Sureness = "certain"
    do: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """In one line."""
        sure = "" if self.level in {"fine", "note"} or self.sure == "certain" else f" ({self.sure})"
        return f"{self.level:<8} {self.code}: {self.what}{sure}{f'; {self.do}' if self.do else ''}"


@dataclass(frozen=True, repr=False)
class Diagnosis(Displayed):
    """All findings about a scan, the gravest first.

    Attributes:
        findings: of each check at least one.
        frames_seen: how many frames were read for them; positions are always looked at all.
        frames: how many there are.
        forecasts: what engines would take; none of a quick diagnosis.
    """

    findings: tuple[Finding, ...]
    frames_seen: int = 0
    frames: int = 0
    forecasts: tuple[Forecast, ...] = ()

    @classmethod
    def of(
        cls,
        findings: Iterable[Finding],
        frames_seen: int = 0,
        frames: int = 0,
        forecasts: tuple[Forecast, ...] = (),
    ) -> "Diagnosis":
        """A diagnosis with its findings put in order."""
        return cls(tuple(sorted(findings, key=lambda each: _ORDER.index(each.level))), frames_seen, frames, forecasts)

    def __repr__(self) -> str:
        codes = ", ".join(each.code for each in self.grave)
        return f"<Diagnosis: {self.verdict}{f', for {codes}' if codes else ''}; {self.frames:,} frames>"

    @property
    def verdict(self) -> Verdict:
        """The gravest finding decides."""
        levels = {each.level for each in self.findings}
        return "stop" if "stop" in levels else "caution" if "caution" in levels else "go"

    @property
    def exit_code(self) -> int:
        """0 go, 3 caution, 4 stop."""
        return EXIT_CODES[self.verdict]

    @property
    def grave(self) -> tuple[Finding, ...]:
        """Cautions and stops."""
        return tuple(each for each in self.findings if each.level in {"caution", "stop"})

    def lines(self) -> tuple[str, ...]:
        """For people: a line a finding, what engines would take, and the verdict."""
        told = tuple(
            f"forecast {each.engine:<10} {duration(each.seconds):<8} {each.memory_gb:>5.1f} GB   {each.steps}"
            for each in self.forecasts
        )
        return (*(each.line for each in self.findings), *told, f"verdict: {self.verdict}")

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "schema": _SCHEMA,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "frames": self.frames,
            "frames_seen": self.frames_seen,
            "findings": [vars(each) for each in self.findings],
            "forecasts": [vars(each) for each in self.forecasts],
        }

    def json(self) -> str:
        """The text of `plain`."""
        return json.dumps(self.plain(), indent=2, allow_nan=False)


def refused(error: FoldlightError) -> Diagnosis:
    """The diagnosis of a file that no reader takes: its one line."""
    return Diagnosis((Finding("unreadable", "stop", str(error)),))
