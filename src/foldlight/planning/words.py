"""A plan in plain words: a few sentences of advice, and a table."""

from collections.abc import Iterable

from foldlight.planning.run import Answer, Plan

__all__ = ["advice", "headline_dose", "number", "table"]

_SPARSE = 80  # photons a pixel: below, errors of real methods lie on either side of the limit (docs/findings.md)
_ALIKE = 1.05  # ratio of costs below which two ways to scan are as good


def headline_dose(plan: Plan) -> float:
    """The dose that sentences are about: the scan's own, or the middle one asked for [photon per frame]."""
    return plan.own_dose or plan.doses[len(plan.doses) // 2]


def advice(plan: Plan) -> list[str]:
    """What the limit means for a beam time, one sentence each."""
    told = [answer for answer in plan.answers() if answer.dose == headline_dose(plan)]
    pairs = [(known, blind) for known, blind in zip(told[::2], told[1::2], strict=True)]
    lines = [_limit_sentence(*pair) for pair in pairs]
    lines += [_wanted_sentence(plan, pairs)]
    lines += [_choice_sentence([known for known, _ in pairs])]
    least = min(known.photons_per_pixel for known, _ in pairs)
    if least < _SPARSE:
        lines.append(
            f"With only {number(least)} photons through an object pixel this limit is a guide, not a floor: an estimate"
            " with bias can go below it, and even maximum likelihood is biased here."
        )
    return [line for line in lines if line]


def table(plan: Plan) -> list[str]:
    """The plan's answers in aligned columns, with a heading."""
    heads = ("case", "area", "probe", "dose", "n", "phase rms", "ampl. rms", "FRC 0.5", "half-bit", "half period")
    units = ("", "overlap", "", "/frame", "/pixel", "[rad]", "[%]", "[Nyq.]", "[Nyq.]", "[px]")
    rows = [heads, units, *(_cells(answer) for answer in plan.answers())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def number(value: float | None, digits: int = 2) -> str:
    """A number to read: few digits, thousands parted, powers of ten where it is long; a dash where there is none."""
    if value is None:
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        rounded = float(f"{value:.{digits}g}")
        return f"{rounded:,.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:g}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _cells(answer: Answer) -> tuple[str, ...]:
    amplitude = None if answer.amplitude_rms is None else 100 * answer.amplitude_rms
    return (
        answer.case,
        "-" if answer.overlap_area is None else f"{answer.overlap_area:.0%}",
        answer.probe,
        number(answer.dose, 3),
        number(answer.photons_per_pixel, 3),
        number(answer.phase_rms_rad),
        number(amplitude),
        number(answer.frc_half_nyquist),
        number(answer.half_bit_nyquist),
        number(answer.resolution_px),
    )


def _limit_sentence(known: Answer, blind: Answer) -> str:
    place = f"At {number(known.dose, 3)} photons a frame and {_place(known)}"
    if known.phase_rms_rad is None:
        return f"{place}, the photons do not determine the object: {known.frames} frames are too few or too far apart."
    amplitude = "" if known.amplitude_rms is None else f" and {number(100 * known.amplitude_rms)} % in amplitude"
    other = (
        "with an unknown probe they do not determine the object"
        if blind.phase_rms_rad is None
        else f"{number(blind.phase_rms_rad)} rad if the probe has to be found too"
    )
    return (
        f"{place}, no unbiased method can do better than {number(known.phase_rms_rad)} rad rms in phase{amplitude}"
        f" ({other})."
    )


def _place(answer: Answer) -> str:
    if answer.overlap_linear is None or answer.overlap_area is None:
        return "one frame"
    return (
        f"{100 * answer.overlap_linear:.0f} % overlap ({100 * answer.overlap_area:.0f} % of the area,"
        f" {number(answer.photons_per_pixel)} photons through an object pixel)"
    )


def _wanted_sentence(plan: Plan, pairs: Iterable[tuple[Answer, Answer]]) -> str:
    several = len(plan.cases) > 1
    needs = [
        f"{number(known.wanted_dose)}{f' at {known.case}' if several else ''}"
        + (f" ({number(blind.wanted_dose)} if the probe is unknown)" if blind.wanted_dose else "")
        for known, blind in pairs
        if known.wanted_dose is not None
    ]
    if not needs:
        return ""
    return f"For {plan.settings.wanted_phase_rms:g} rad you need at least {' or '.join(needs)} photons a frame."


def _choice_sentence(answers: list[Answer]) -> str:
    """Which overlap makes the most of the same light on the object."""
    costs = {answer.case: answer.cost for answer in answers if answer.cost is not None}
    if len(costs) < 2:
        return ""
    best, worst = min(costs, key=lambda case: costs[case]), max(costs, key=lambda case: costs[case])
    ratio = costs[worst] / costs[best]
    if ratio < _ALIKE:
        return "For the same light on the object, these overlaps are equally good: choose by time and stage."
    return (
        f"For the same light on the object, {best} is the best of these: {worst} needs {ratio:.2g} times the photons"
        " for the same error."
    )
