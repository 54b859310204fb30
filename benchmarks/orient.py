"""How often `foldlight orient` is right: `python -m benchmarks.orient --help`.

Simulated scans, no two alike, are turned in a way that is drawn for each, and the photons are asked. The answer is
right when it is told and the true reading is in it: where twins can't be told apart, by the probe or by the photons, it
names them all.
"""

import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from pydantic import Field

from benchmarks.suite import say
from foldlight.core.files import write_json
from foldlight.core.progress import duration
from foldlight.core.provenance import environment
from foldlight.core.seeds import generator
from foldlight.core.settings import Settings
from foldlight.frames import ORIENTATIONS, composed
from foldlight.orient.run import orient
from foldlight.orient.settings import OrientSettings
from foldlight.orient.symmetry import READINGS, Reading
from foldlight.orient.verdict import Verdict
from foldlight.scan import Scan
from foldlight.simulate.settings import VarietySettings
from foldlight.simulate.variety import draw_scan

__all__ = ["OrientBenchmark", "case", "main", "outcome"]

_TARGET = 0.95  # of the cases right; the others untold, not wrong


class OrientBenchmark(Settings):
    """What to ask."""

    cases: int = Field(default=100, ge=1)
    """Scans."""
    first: int = Field(default=0, ge=0)
    """Number of the first."""
    frames: int = Field(default=100, ge=20)
    """Frames of each, of which `orient` takes its patch."""
    canvas: int = Field(default=192, ge=80)
    """Side of each object [px]."""
    seed: int = 3
    """Root seed of all cases."""
    scans: VarietySettings = VarietySettings(
        photons_per_pixel=(30.0, 1e5),
        overlap=(0.5, 0.85),
        phase_range_rad=(0.5, 2.5),
        wrong_probe_share=0.5,
        probe_error=0.2,
        modes_share=0.1,
    )
    """What scans are drawn from: the probe that is given is wrong in half of them."""
    orient: OrientSettings = OrientSettings()
    """How they are asked."""
    threads: int = Field(default=1, ge=1)
    """CPU threads."""
    output: Path = Path("benchmarks/results/orient.json")
    """Where the numbers are written."""


def main() -> None:
    """Ask, print a line a case, and write all."""
    settings = tyro.cli(Annotated[OrientBenchmark, tyro.conf.arg(name="")], description=__doc__)
    torch.set_num_threads(settings.threads)
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    for number in range(settings.first, settings.first + settings.cases):
        rows.append(outcome(settings, number))
        say(_line(rows[-1]))
        write_json(
            settings.output,
            {
                "settings": settings.plain(),
                "counts": dict(Counter(row["outcome"] for row in rows)),
                "rows": rows,
                "environment": environment(),
            },
        )
    counts = Counter(row["outcome"] for row in rows)
    told = [row for row in rows if row["outcome"] == "right"]
    right = counts["right"] / len(rows)
    verdict = "met" if right >= _TARGET and not counts["wrong"] else "missed"
    say(
        ", ".join(f"{name} {count}" for name, count in counts.most_common())
        + f" of {len(rows)} in {duration(time.perf_counter() - began)}; target {_TARGET:.0%}, none wrong: {verdict}",
        f"of the right ones {sum(row['alone'] for row in told)} are a single reading; the others name twins too, and"
        f" the truth is of the kind named first in {sum(row['named_first'] for row in told)}",
        f"numbers -> {settings.output}",
    )


def case(settings: OrientBenchmark, number: int) -> tuple[Scan, Reading]:
    """A scan as somebody may read it, and the reading that puts it right."""
    truth = READINGS[int(generator(settings.seed, "reading", number).integers(len(READINGS)))]
    size = (settings.canvas, settings.canvas)
    scan = draw_scan(settings.scans, settings.seed, number, settings.frames, size)
    back = next(name for name in ORIENTATIONS if composed(truth.orientation, name) == "as_stored")
    return Reading(back, truth.negated, truth.swapped).of(scan), truth


def outcome(settings: OrientBenchmark, number: int) -> dict[str, Any]:
    """What was asked and answered, JSON-ready."""
    scan, truth = case(settings, number)
    verdict = orient(scan, settings.orient)
    facts = ("object", "probe", "probe_powers", "photons_per_pixel", "linear_overlap", "probe_defocus_error")
    return {
        "number": number,
        "outcome": _judged(verdict, truth),
        "alone": verdict.told and len(verdict.left[0].readings) == 1,
        "named_first": truth in verdict.left[0].same,
        "truth": truth.words,
        **{name: scan.origin[name] for name in (*facts, "position_noise_px", "beamstop")},
        **verdict.plain(),
    }


def _judged(verdict: Verdict, truth: Reading) -> str:
    """`right`, `untold` with the truth among what is left, `untold, truth lost`, or `wrong`."""
    among = any(truth in candidate.readings for candidate in verdict.left)
    if verdict.told:
        return "right" if among else "wrong"
    return "untold" if among else "untold, truth lost"


def _line(row: dict[str, Any]) -> str:
    candidates = row["candidates"]
    left = sum(not each["ruled_out"] for each in candidates)
    return (
        f"{row['number']:4d} {row['outcome']:<8} {row['object']}, {row['probe']} x {len(row['probe_powers'])},"
        f" n = {row['photons_per_pixel']:.0f}, overlap {row['linear_overlap']:.2f}, defocus"
        f" {row['probe_defocus_error']:+.2f}, positions {row['position_noise_px']:.2f} px: {left} of {len(candidates)}"
        f" groups left, ahead {row['standard_errors_ahead']:.1f}, {row['seconds']:.1f} s"
    )


if __name__ == "__main__":
    main()
