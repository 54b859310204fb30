"""The results as a page of Markdown."""

from collections.abc import Callable, Iterable, Sequence

from benchmarks.quality_parts.arms import AnyArm, HeldOut, Simulated
from benchmarks.quality_parts.cases import Case, Condition
from benchmarks.quality_parts.pictures import DOSE_LADDER, FEW_DATA
from benchmarks.quality_parts.results import Findings
from benchmarks.quality_parts.scoreboard import arm_named
from benchmarks.report import Provenance
from benchmarks.results import Result
from foldlight.compare.paired import Spread, paired_difference, spread

__all__ = ["page"]

_COLUMNS = {
    "eta": "eta",
    "object_rmse": "RMSE",
    "over_bayes": "RMSE / Bayesian",
    "bias_fraction": "bias fraction",
    "amplitude_ssim": "amplitude SSIM",
    "amplitude_psnr": "amplitude PSNR [dB]",
    "amplitude_psnr_of_1": "the same, peak 1.0",
    "phase_ssim": "phase SSIM",
    "phase_mae": "phase MAE [rad]",
    "amplitude_skill": "amplitude skill",
    "phase_skill": "phase skill",
    "frc_half_nyquist": "FRC 0.5 [Nyquist]",
    "frc_half_bit_nyquist": "half-bit [Nyquist]",
    "frc_area": "FRC area to 0.5",
    "positions_left_px": "positions wrong by [px]",
    "deviance_heldout": "held-out deviance",
    "train_seconds": "training [s]",
    "infer_ms_per_frame": "inference [ms/frame]",
}
_PAIRED = {"object_rmse": -1, "amplitude_ssim": 1, "phase_ssim": 1}
_ROUNDING = 1e-10  # far below the least error or efficiency of any table
_PICTURES = {"dose-ladder": DOSE_LADDER, "few-data": FEW_DATA}
_TARGET_SEEDS = 3


def page(findings: Findings, rows: Sequence[Result], provenance: Provenance, reused: int) -> str:
    """Scoreboard, one section a case, and where the numbers come from."""
    sections = [section for case in findings.cases for section in _section(findings, case)]
    lines = ["# Quality", "", *_preface(findings, provenance), "## Against the targets", "", *_board(rows), *sections]
    return "\n".join([*lines, *_origin(findings, provenance, reused)]) + "\n"


def _preface(findings: Findings, provenance: Provenance) -> list[str]:
    lines = []
    if provenance.settings["size"] == "toy":
        lines += ["**Size toy: this only shows that everything runs; its numbers mean nothing.**", ""]
    if len(findings.seeds) < _TARGET_SEEDS:
        lines += [f"**{len(findings.seeds)} seeds: the targets ask for {_TARGET_SEEDS} at least.**", ""]
    words = (
        "Medians over seeds with [least, greatest]; a seed draws object, positions, photons, weights and the order of"
        " training anew. `Pretrained` is one pass of the weights that come with the package, which no scan here has"
        " trained; `+ N steps on this scan` adapts them to its photons first; `Hybrid` is one pass, then at most 10"
        " steps of likelihood, stopped by held-out photons. Other networks are trained on one object of a family and"
        " scored on another. RMSE is relative, `estimate / truth - 1` over the well-lit pixels; eta is the dose limit"
        " over its square, and where counts are sparse bias alone can pass 1: there read the Bayesian bound. Limits"
        " know the probe where the methods do. The Bayesian bound's prior: Gaussian fields with the very object's ring"
        " power. `Constant` is the best flat image; skills are 0 there."
    )
    return [*lines, words, ""]


def _board(rows: Sequence[Result]) -> list[str]:
    heads = ("#", "figure", "best known", "target", "measured", "verdict", "measured on")
    cells = [
        (
            row.row,
            row.quantity,
            str(row.facts.get("best_known", "")),
            row.target.text if row.target else "",
            _told(row.measured.spread if row.measured else None),
            f"**{row.verdict}**" if row.verdict in {"met", "missed"} else row.verdict,
            _measured_on(row),
        )
        for row in rows
    ]
    remarks = [
        f"- {row.row}, {row.quantity}: {'; '.join(filter(None, (row.reason, row.note)))}"
        for row in rows
        if row.reason or row.note
    ]
    return [*_table(heads, cells), "", *remarks, ""]


def _measured_on(row: Result) -> str:
    found = row.facts.get("data") or []
    return f"{row.facts['arm']}; {_data_words(found[0])}" if found and row.measured else ""


def _section(findings: Findings, case: Case) -> list[str]:
    lines = [f"## {case.title}", ""]
    if case.absent:
        return [*lines, f"Not measured: {case.absent}.", ""]
    if case.name in _SECTIONS:
        return [*lines, *(_SECTIONS[case.name](findings, case) or [f"Not measured: run the case {case.name}."]), ""]
    arms = [(condition, arm) for condition in case.conditions for arm in condition.all_arms]
    names = [name for name in _COLUMNS if any(findings.numbers(*each, name) for each in arms)]
    if not names:
        return [*lines, f"Not measured: run the case {case.name}.", ""]
    heads = ("data", "photons a frame", "n", "limit RMSE", "Bayesian RMSE", "arm", *(_COLUMNS[name] for name in names))
    cells = [
        (*_light(findings, condition), arm.name, *_numbers(findings, condition, arm, names)) for condition, arm in arms
    ]
    words = [f"- {each.label}: {_data_words(found[0])}" for each in case.conditions if (found := findings.facts(each))]
    picture = [f"![{case.title}]({_PICTURES[case.name]})", ""] if case.name in _PICTURES else []
    return [*lines, *_table(heads, cells), "", *words, "", *picture, *_pairs(findings, case)]


def _robust(findings: Findings, case: Case) -> list[str]:
    """Errors over those of the same arm on the same scan with nothing wrong, seed by seed."""
    cells, clean = [], None
    for condition in case.conditions:
        data = condition.data
        if isinstance(data, Simulated) and data.fault == "none" and not data.position_error_px:
            clean = condition
        for arm in condition.all_arms if condition is clean else condition.arms:
            errors = findings.numbers(condition, arm, "object_rmse")
            before = {} if clean is None else findings.numbers(clean, arm, "object_rmse")
            ratios = [errors[seed] / before[seed] for seed in errors if seed in before]
            told = [_told(spread(findings.numbers(condition, arm, name).values())) for name in _ROBUST]
            if errors:
                cells.append((condition.label, arm.name, _told(spread(errors.values())), _told(spread(ratios)), *told))
    if not cells:
        return []
    heads = ("data", "arm", "RMSE", "over the clean scan's", *_ROBUST.values())
    words = (
        "Methods are given probe, positions and the detector's mask as the label says, and nothing refines them."
        " Errors are freed of shift, ramps and scale in every line, as a probe of wrong power or defocus leaves them"
        " unknown; what is lit is what the remaining frames light."
    )
    return [words, "", *_table(heads, cells)]


def _held_out(findings: Findings, case: Case) -> list[str]:
    """Medians over seeds for every probe and family."""
    lines: list[str] = []
    for condition in case.conditions:
        for arm in condition.arms:
            found = findings.facts(condition, arm)
            if not found or not isinstance(condition.data, HeldOut):
                continue
            areas = [each["frc_areas"] for each in found]
            families = list(next(iter(areas[0].values())))
            cells = [
                (probe, *(_told(spread(each[probe][family] for each in areas)) for family in families))
                for probe in areas[0]
            ]
            words = (
                f"{arm.name}: area under the FRC against truth from 0 to half of Nyquist; {_data_words(found[0])},"
                f" {condition.data.overlap:.0%} linear overlap of each probe's participation diameter. The flat image's"
                " is 0."
            )
            lines += [words, "", *_table(("probe", *families), cells)]
    return lines


def _collapse(findings: Findings, case: Case) -> list[str]:
    """How many trainings ended no better than flat."""
    cells = []
    for condition in case.conditions:
        for arm in condition.arms:
            ended = findings.trials(condition, arm)
            if ended:
                lost = sum(bool(facts["collapsed"]) for facts, _ in ended.values())
                blank = sum(bool(flat) for _, flat in ended.values())
                error = _told(spread(findings.numbers(condition, arm, "object_rmse").values()))
                floor = _told(spread(findings.numbers(condition, condition.all_arms[0], "object_rmse").values()))
                cells.append((condition.label, arm.name, str(len(ended)), str(lost), str(blank), error, floor))
    if not cells:
        return []
    heads = ("data", "arm", "seeds", "collapsed", "image no better than flat", "RMSE", "RMSE of the flat image")
    words = (
        "Collapsed: held-out photons are explained no better than by a flat object. No better than flat: no skill"
        " against the truth in amplitude, phase or correlation."
    )
    return [words, "", *_table(heads, cells)]


_SECTIONS: dict[str, Callable[[Findings, Case], list[str]]] = {
    "robust": _robust,
    "held-out-probes": _held_out,
    "collapse": _collapse,
}
_ROBUST = {"amplitude_ssim": "amplitude SSIM", "phase_ssim": "phase SSIM", "frc_half_nyquist": "FRC 0.5 [Nyquist]"}


def _light(findings: Findings, condition: Condition) -> tuple[str, ...]:
    found = findings.facts(condition)

    def middle(name: str) -> str:
        return _short(around.median) if (around := spread(each.get(name) for each in found)) else ""

    return (condition.label, *map(middle, ("photons_per_frame", "n", "limit_rmse", "limit_bayes_rmse")))


def _numbers(findings: Findings, condition: Condition, arm: AnyArm, names: Iterable[str]) -> list[str]:
    return [_told(spread(findings.numbers(condition, arm, name).values())) for name in names]


def _pairs(findings: Findings, case: Case) -> list[str]:
    """Differences of arms on the same data, seed by seed."""
    cells = []
    for condition in case.conditions:
        for beginnings in case.pairs:
            first, second = (arm_named(condition, each) for each in beginnings)
            if first is None or second is None:
                continue
            for name, better in _PAIRED.items():
                found = paired_difference(
                    findings.numbers(condition, first, name), findings.numbers(condition, second, name), better
                )
                if found is not None:
                    interval = "" if found.low is None else f"{_short(found.low)} to {_short(found.high or 0.0)}"
                    words = f"{first.name} less {second.name}"
                    row = (condition.label, words, _COLUMNS[name], _short(found.median), interval, str(found.number))
                    cells.append((*row, found.verdict))
    if not cells:
        return []
    heads = ("data", "difference", "of", "median", "95 % interval of the mean", "pairs", "verdict")
    return ["Paired by seed:", "", *_table(heads, cells), ""]


def _data_words(facts: dict[str, float | str]) -> str:
    """What every table says of its data."""
    words = [
        f"N = {facts['N']}",
        f"{facts['frames']} frames",
        f"{_short(float(facts['photons_per_frame']))} photons a frame",
    ]
    if "n" in facts:
        words.append(f"n = {_short(float(facts['n']))}")
    if "step_px" in facts:
        words += [
            f"step {float(facts['step_px']):.3g} px",
            f"D = {float(facts['D_px']):.1f} px ({facts['D_definition']})",
            f"overlap {float(facts['linear_overlap']):.0%} linear, {float(facts['area_overlap']):.0%} by area",
            f"probe: {facts['probe']}",
            f"objects: {facts['family']}",
            *([str(facts["wrong"])] if facts.get("wrong") else []),
        ]
    return ", ".join(words)


def _origin(findings: Findings, provenance: Provenance, reused: int) -> list[str]:
    versions = ", ".join(f"{name} {value}" for name, value in provenance.environment.items() if value)
    load = "unknown" if provenance.load_before is None else f"{provenance.load_before:g}"
    failed = [f"- failed: {name}: {reason}" for name, reason in findings.failed.items()]
    machine = (
        f"- {provenance.cpu}, {provenance.cores} cores, {provenance.memory_gb:g} GB; load before: {load}; units run on"
        f" one thread each, {provenance.settings['workers']} at a time"
    )
    course = (
        f"- began {provenance.began}, took {provenance.seconds:.0f} s; {reused} units reused from earlier runs of the"
        f" same code (digest {findings.code}), {len(findings.units)} in all; settings, versions and times of each are"
        " in the JSON"
    )
    seeds = f"- seeds {', '.join(map(str, findings.seeds))}; rasters are jittered by a quarter of the step"
    heads = ["## Where the numbers come from", "", f"- `{provenance.command}`"]
    return [*heads, machine, course, seeds, f"- {versions}", *failed]


def _table(heads: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    rows = [heads, ("---",) * len(heads), *cells]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def _told(found: Spread | None) -> str:
    if found is None:
        return ""
    around = f" [{_short(found.low)}, {_short(found.high)}]" if found.number > 1 else ""
    return f"{_short(found.median)}{around}"


def _short(value: float) -> str:
    """Three digits; what rounding leaves of a zero is one."""
    if abs(value) < _ROUNDING:
        return "0"
    if abs(value) >= 1e5 or abs(value) < 1e-3:
        return f"{value:.2e}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
