"""All checks, one after the other."""

from collections.abc import Callable, Iterator

from foldlight.core.errors import SettingsError
from foldlight.doctor import beam, costs, counting, detector, layout, probe, ties
from foldlight.doctor.evidence import Evidence, gather
from foldlight.doctor.findings import Diagnosis, Finding
from foldlight.forecast import forecast
from foldlight.reconstruct.engines import ENGINES
from foldlight.scan import Scan

__all__ = ["CHECKS", "diagnose"]

CHECKS: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    counting.units,
    counting.amount,
    beam.centre,
    beam.drift,
    beam.steadiness,
    probe.power,
    probe.sampling,
    probe.lengths,
    detector.pixels,
    detector.saturation,
    detector.background,
    detector.masked,
    layout.spread,
    ties.overlap,
    ties.lattice,
    ties.belonging,
    layout.numbering,
)
"""Each looks at the evidence and yields what it found, sound things too."""

_OF_PHOTONS = {
    *("photon-unit", "no-noise", "photons", "probe-power", "probe-unlike-frames", "brightness-drift", "dark-frames"),
    *("hot-pixels", "dead-pixels", "background", "truncated-frames", "frames-misplaced", "frames-alike"),
}
_OF_POSITIONS = {"overlap", "photons", "photon-unit", "frames-misplaced", "duplicate-positions", "grid"}

EXPLAINS: dict[str, set[str]] = {
    "mask": _OF_PHOTONS | {"beam-off-centre", "beam-in-corner", "beam-drift", "identical-frames"},
    "frozen-frames": _OF_PHOTONS | {"saturation"},
    "saturation": {"amplitude-as-intensity", "photon-unit", "probe-power", "hot-pixels", "probe-unlike-frames"},
    "positions-all-equal": _OF_POSITIONS | {"amplitude-as-intensity"},
    "positions-too-close": _OF_POSITIONS,
    "positions-on-a-line": _OF_POSITIONS,
    "beam-drift": {"beam-off-centre", "frames-misplaced", "photon-unit"},
    "amplitude-as-intensity": _OF_PHOTONS,
    "intensity-as-amplitude": _OF_PHOTONS | {"identical-frames"},
    "photon-unit": {"photons", "probe-power", "frames-misplaced", "frames-alike"},
    "no-noise": {"photons", "probe-power"},
    "beam-in-corner": {"background", "truncated-frames", "dead-pixels", "hot-pixels", "probe-unlike-frames"},
    "beam-off-centre": {"dead-pixels", "hot-pixels", "truncated-frames"},
    "probe-in-corner": {"probe-cut-off", "undersampled"},
    "hot-pixels": {"probe-power", "probe-unlike-frames"},
    "probe-unlike-frames": {"dead-pixels"},
    "brightness-drift": {"frames-misplaced"},
    "background": {"probe-power"},
    "overlap": {"photons"},
}
"""Causes, first those of others: their mere consequences, on the right, are left out where they are found."""

_ENGINES = (*ENGINES, "train")


def diagnose(scan: Scan, quick: bool = False, engine: str | None = None, timed: bool = False) -> Diagnosis:
    """What is wrong or odd with a scan; its true object and how it was simulated are not looked at.

    Args:
        scan: any scan.
        quick: look at some frames only, in about a second, and not at memory: for those who are about to go on.
        engine: the one that is to be used, for what it would take; the usual ones when None.
        timed: also try engines on pieces of the scan, some seconds, and tell how long they would take.

    Raises:
        SettingsError: the engine is unknown.
    """
    if engine is not None and engine not in _ENGINES:
        raise SettingsError(f"engine = {engine!r}: expected one of {', '.join(_ENGINES)}")
    evidence = gather(scan, quick)
    findings = _causes([finding for check in CHECKS for finding in check(evidence)])
    forecasts = tuple(each for each in forecast(scan) if engine in {None, each.engine}) if timed else ()
    if not quick:
        findings += [*costs.memory(scan, engine), *costs.time(forecasts)]
    return Diagnosis.of(findings, len(evidence.frames.index), len(scan), forecasts)


def _causes(findings: list[Finding]) -> list[Finding]:
    """Findings without the mere consequences of others; sound things stay."""
    grave = {each.code for each in findings if each.level in {"caution", "stop"}}
    explained: set[str] = set()
    for cause, consequences in EXPLAINS.items():
        if cause in grave - explained:
            explained |= consequences
    return [each for each in findings if each.code not in explained or each.level == "fine"]
