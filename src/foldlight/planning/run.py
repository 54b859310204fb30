"""What any method could reach with a scan: the dose limit for several doses, overlaps, and knowledge of the probe.

Without background the limit is proportional to 1 / dose, so each case is solved once and scaled.
Source: docs/physics.md, the dose limit.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from foldlight.compare.frc import Crossing, crossing, half_bit, ring_correlation
from foldlight.core.progress import progress_bar
from foldlight.core.seeds import generator
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.optics.limit import DoseLimit, dose_limit
from foldlight.optics.probes import disc, normalised, zone_plate
from foldlight.planning.settings import PlanningSettings
from foldlight.sampling.overlap import disc_overlap, linear_overlap, nearest_spacing_px, probe_diameters_px
from foldlight.scan import Scan, place_on_canvas
from foldlight.simulate.acquire import expected_frames
from foldlight.simulate.objects import make_object
from foldlight.simulate.trajectories import jittered_raster

__all__ = ["KNOWLEDGE", "Answer", "Case", "Plan", "plan"]

KNOWLEDGE: tuple[Literal["known", "blind"], ...] = ("known", "blind")
"""Whether the probe is known, or has to be found from the same photons."""


@dataclass(frozen=True)
class Case:
    """One way to scan, and its limits at the first of the plan's doses.

    Attributes:
        label: how it is called, for instance `60 % overlap`.
        linear: overlap of neighbours, `1 - step / D`; None for a single frame.
        area: the part of their area that two such discs share; None for a single frame.
        frames: number of frames.
        positions_px: (n, 2) (y, x) window centres [px].
        truth: (y, x) complex object.
        mask: (y, x) bool scored pixels: well lit, and between the outermost beam positions, since the fading rim says
            more of the size of a field than of how it is scanned.
        limits: with the probe `known`, and with it unknown (`blind`).
        half_bit: (ring,) half-bit threshold of the FRC.
    """

    label: str
    linear: float | None
    area: float | None
    frames: int
    positions_px: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    limits: dict[str, DoseLimit]
    half_bit: np.ndarray


@dataclass(frozen=True)
class Plan:
    """All cases, for one probe.

    Attributes:
        doses: rising photons per frame.
        own_dose: photons per frame that the scan itself has; None without one.
        diameter_px: participation diameter of the probe [px].
        window: (height, width) of a frame [px].
        cases: the ways to scan.
        settings: what was asked.
        notes: what was assumed, one sentence each.
    """

    doses: tuple[float, ...]
    own_dose: float | None
    diameter_px: float
    window: tuple[int, int]
    cases: tuple[Case, ...]
    settings: PlanningSettings
    notes: tuple[str, ...] = ()

    def limit(self, case: Case, probe: str, dose: float) -> DoseLimit:
        """The limit of a case at any dose [photon per frame]."""
        return case.limits[probe].at_dose(dose / self.doses[0])

    def answers(self) -> list["Answer"]:
        """Every case, knowledge of the probe and dose, in this order."""
        return [
            Answer.of(self, case, probe, dose) for case in self.cases for probe in case.limits for dose in self.doses
        ]


@dataclass(frozen=True)
class Answer:
    """A line of the table; numbers are None where the scan does not determine the object.

    Attributes:
        case: label of the way to scan.
        overlap_linear: `1 - step / D` of neighbours.
        overlap_area: shared part of their area.
        frames: number of frames.
        probe: known or blind.
        dose: photons per frame.
        photons_per_pixel: n, median photons through a scored object pixel.
        phase_rms_rad: least rms phase error [rad].
        amplitude_rms: least rms relative error of the amplitude; None for a phase object.
        cost: n times the least squared error: 1 is the least for amplitude and phase, 1/2 for the phase alone.
        precision: relative standard error of the errors from the random vectors.
        frc_half_nyquist: where the predicted FRC falls below 0.5, as a fraction of Nyquist; 1 when it never does.
        half_bit_nyquist: where it falls below the half-bit curve.
        resolution_px: half period of the latter [px].
        wanted_dose: photons per frame for the phase error wanted.
    """

    case: str
    overlap_linear: float | None
    overlap_area: float | None
    frames: int
    probe: str
    dose: float
    photons_per_pixel: float
    phase_rms_rad: float | None = None
    amplitude_rms: float | None = None
    cost: float | None = None
    precision: float | None = None
    frc_half_nyquist: float | None = None
    half_bit_nyquist: float | None = None
    resolution_px: float | None = None
    wanted_dose: float | None = None

    @classmethod
    def of(cls, plan: Plan, case: Case, probe: str, dose: float) -> "Answer":
        """The answer of a plan to one question."""
        found = plan.limit(case, probe, dose)
        known = cls(case.label, case.linear, case.area, case.frames, probe, dose, found.photons_per_pixel)
        if not found.determined:
            return known
        fine = _reached(crossing(found.nyquist, found.frc, case.half_bit))
        amplitude = max(found.bound - found.phase_bound, 0.0)
        return replace(
            known,
            phase_rms_rad=math.sqrt(found.phase_bound),
            amplitude_rms=None if found.parameters == "phase" else math.sqrt(amplitude),
            cost=found.bound * found.photons_per_pixel,
            precision=found.bound_error / found.bound / 2,
            frc_half_nyquist=_reached(crossing(found.nyquist, found.frc, 0.5)),
            half_bit_nyquist=fine,
            resolution_px=1 / fine if fine else None,
            wanted_dose=dose * found.phase_bound / plan.settings.wanted_phase_rms**2,
        )


def plan(settings: PlanningSettings, scan: Scan | None = None, progress: bool = False) -> Plan:
    """The limits of all cases that the settings ask for, or of one scan.

    Args:
        settings: what to plan.
        scan: its probe, positions, mask and, where it has one, object take the place of simulated ones; its
            photons only say what its own dose is.
        progress: show a bar.
    """
    if scan is None:
        make_probe = zone_plate if settings.probe == "zone-plate" else disc
        probe = make_probe((settings.window, settings.window), settings.probe_diameter_px)
        own, doses = None, settings.dose
    else:
        probe = scan.probe
        own = float(scan.photons.totals.mean())
        doses = (*settings.dose, own) if own > 0 else settings.dose
    diameter = probe_diameters_px(probe)["participation"]
    scenes = (
        [_part_of(scan, settings)]
        if scan is not None
        else [_raster(settings, part, diameter) for part in settings.overlap]
    )
    rising = tuple(sorted(set(doses)))
    cases = []
    with progress_bar("limit", len(scenes) * len(KNOWLEDGE), show=progress) as advance:
        for number, scene in enumerate(scenes):
            cases.append(_case(scene, probe, diameter, rising[0], settings, None if scan is None else scan.mask))
            advance((number + 1) * len(KNOWLEDGE), scene.label)
    return Plan(
        doses=rising,
        own_dose=own,
        diameter_px=diameter,
        window=(probe.shape[1], probe.shape[2]),
        cases=tuple(cases),
        settings=settings,
        notes=tuple(note for scene in scenes for note in scene.notes),
    )


@dataclass(frozen=True)
class _Scene:
    """Where a probe goes, and on what."""

    label: str
    step_px: float | None
    positions_px: np.ndarray
    truth: np.ndarray
    notes: tuple[str, ...] = ()


def _raster(settings: PlanningSettings, overlap: float, diameter_px: float) -> _Scene:
    """A jittered raster of one overlap over the field, and an object beneath it."""
    step = (1 - overlap) * diameter_px
    number = max(2, round(settings.field_px / step))
    window = (settings.window, settings.window)
    rng = generator(settings.seed, "positions")
    side = number * step
    grid = jittered_raster(number**2, ((0.0, 0.0), (side, side)), rng, settings.jitter)
    positions, canvas = place_on_canvas(grid, window)
    return _Scene(f"{100 * overlap:.3g} % overlap", step, positions, _object(settings, canvas))


def _object(settings: PlanningSettings, canvas: tuple[int, int]) -> np.ndarray:
    rng = generator(settings.seed, "object")
    return make_object(settings.object_kind, canvas, rng, settings.amplitude_min, settings.phase_range_rad)


def _part_of(scan: Scan, settings: PlanningSettings) -> _Scene:
    """The frames about a scan's centre, on its object or on a simulated one."""
    away = np.hypot(*(scan.positions_px - np.median(scan.positions_px, axis=0)).T)
    chosen = np.sort(np.argsort(away, kind="stable")[: settings.most_frames])
    notes = []
    if len(chosen) < len(scan):
        notes.append(f"{len(chosen)} of {len(scan)} frames, those about the centre, stand for the scan")
    if scan.object is None:
        notes.append(f"the scan has no object: one of the family {settings.object_kind} stands in for it")
    elif not scan.object_is_truth:
        notes.append("the scan's object is a guess; it stands in for the true one")
    truth = _object(settings, scan.canvas) if scan.object is None else scan.object
    positions = scan.positions_px[chosen]
    step = float(np.median(nearest_spacing_px(positions))) if len(positions) > 1 else None
    return _Scene("this scan", step, positions, truth, tuple(notes))


def _case(
    scene: _Scene,
    probe: np.ndarray,
    diameter_px: float,
    dose: float,
    settings: PlanningSettings,
    detector_mask: np.ndarray | None,
) -> Case:
    positions, truth = scene.positions_px, scene.truth
    canvas = (truth.shape[0], truth.shape[1])
    unit = normalised(probe)
    carried = np.concatenate([block.sum(axis=(1, 2)) for block in expected_frames(truth, unit, positions)])
    lit = normalised(unit, dose / float(carried.mean()))
    mask = _field(well_lit(coverage_map(lit, positions, canvas)), positions)
    limits: dict[str, DoseLimit] = {
        known: dose_limit(
            truth,
            lit,
            positions,
            mask,
            detector_mask=detector_mask,
            parameters=settings.unknown,
            probe_known=known == "known",
            seed=settings.seed,
            method="matrix-free",
        )
        for known in KNOWLEDGE
    }
    itself = ring_correlation(truth, truth, mask)
    return Case(
        label=scene.label,
        linear=None if scene.step_px is None else float(linear_overlap(scene.step_px, diameter_px)),
        area=None if scene.step_px is None else float(disc_overlap(scene.step_px, diameter_px)),
        frames=len(positions),
        positions_px=positions,
        truth=truth,
        mask=mask,
        limits=limits,
        half_bit=half_bit(itself.samples * itself.fill),
    )


def _field(mask: np.ndarray, positions_px: np.ndarray) -> np.ndarray:
    """The part of a mask between the outermost positions, at least a few pixels of it."""
    low, high = np.rint(positions_px.min(axis=0)).astype(int) - 4, np.rint(positions_px.max(axis=0)).astype(int) + 5
    inside = np.zeros_like(mask)
    inside[max(low[0], 0) : high[0], max(low[1], 0) : high[1]] = True
    return mask & inside


def _reached(found: Crossing) -> float | None:
    """Where a curve crosses, 1 where it never falls so low, None where it never was so high."""
    return {"crosses": found.nyquist, "above": 1.0, "below": None}[found.state]
