"""What was found, in plain words: who is best where, whether that is more than noise, how far from the dose limit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foldlight.compare.summary import DIRECTIONS, Summary, summarise
from foldlight.compare.table import FLAT_ARM
from foldlight.report.collect import Case, Findings, arms_of

__all__ = ["case_name", "criterion", "facts_line", "joined", "method", "plain_dose", "removed", "setting", "summary"]

Row = Mapping[str, Any]

_CRITERIA = {
    "object_rmse": "error against the truth",
    "complex_correlation": "correlation with the truth",
    "deviance_heldout": "deviance of counts that no method has seen",
}
_CLEARLY_BELOW = 0.95  # of the limit: the limit itself is known to about a percent
_LIMIT = "the least that these photons allow a method without bias"


@dataclass(frozen=True)
class _Race:
    """All arms at one dose, view and split.

    Attributes:
        place: what it is, in words.
        first: summary of the best arm that is no flat image.
        second: that of the next one, or None.
        behind_flat: the flat image does better than any.
        noise: what is known of the lead: `larger`, `inside` or `unknown`.
        ratio: the best arm's error over the dose limit's, or None.
    """

    place: str
    first: Summary
    second: Summary | None
    behind_flat: bool
    noise: str
    ratio: float | None


def summary(findings: Findings) -> list[str]:
    """The result, a sentence an idea."""
    chosen, split = _unseen(findings)
    score = criterion(chosen)
    if score is None:
        return ["No method was scored: there are neither a true object nor held-out counts."]
    races = _races(chosen, score)
    if not races:
        return ["Only the flat image was scored."]
    told = [_one(races[0], score) if len(races) == 1 else _many(races, score)]
    if split == "test":
        told[0] += " (On the test half, which no network was trained on.)"
    return [*told, *_noise(races), *_limit(races), *_flat(races, chosen)]


def criterion(rows: Sequence[Row]) -> str | None:
    """The column that arms are judged by: error against truth, correlation with it, or deviance of unseen counts."""
    contenders = [row for row in rows if row["arm"] != FLAT_ARM]
    return next((name for name in _CRITERIA if any(row.get(name) is not None for row in contenders)), None)


def _unseen(findings: Findings) -> tuple[list[Row], str | None]:
    """The rows of what no network was trained on, where there are such."""
    test = [row for row in findings.rows if row.get("split") == "test"]
    return (test, "test") if test else (list(findings.rows), None)


def _races(rows: Sequence[Row], score: str) -> list[_Race]:
    groups: dict[tuple[Any, ...], list[Summary]] = {}
    for found in summarise(rows):
        groups.setdefault((found.dose, found.view, found.split), []).append(found)
    return [race for group in groups.values() if (race := _race(group, score))]


def _race(group: Sequence[Summary], score: str) -> _Race | None:
    better = DIRECTIONS[score]
    known = [found for found in group if found.arm != FLAT_ARM and score in found.values]
    if not known:
        return None
    known.sort(key=lambda found: -better * found.values[score].median)
    first = known[0]
    flat = next((found for found in group if found.arm == FLAT_ARM and score in found.values), None)
    behind = flat is not None and better * (flat.values[score].median - first.values[score].median) > 0
    second = known[1] if len(known) > 1 else None
    limit = first.values.get("limit_rmse")
    error = first.values.get("object_rmse")
    return _Race(
        place=setting(first.dose, first.view),
        first=first,
        second=second,
        behind_flat=behind,
        noise=_lead(first, second, score),
        ratio=error.median / limit.median if error and limit and limit.median > 0 else None,
    )


def _lead(first: Summary, second: Summary | None, score: str) -> str:
    """Whether the best arm leads the next one by more than noise; differences of both are to the group's best."""
    if second is None or len(first.seeds) < 2:
        return "unknown"
    mark = second.marks.get(score)
    if first.marks.get(score) != "best" or mark in {None, "unknown"}:
        return "unknown"
    return "inside" if mark in {"inside the noise", "better", "best"} else "larger"


def _one(race: _Race, score: str) -> str:
    value = race.first.values[score].median
    ahead = f", ahead of {race.second.arm} ({race.second.values[score].median:.3g})" if race.second else ""
    return f"{race.first.arm} is best, judged by the {_CRITERIA[score]}: {value:.3g}{ahead}."


def _many(races: Sequence[_Race], score: str) -> str:
    wins: dict[str, list[str]] = {}
    for race in races:
        wins.setdefault(race.first.arm, []).append(race.place)
    doses = len({race.first.dose for race in races})
    parts = []
    for arm, places in sorted(wins.items(), key=lambda item: -len(item[1])):
        number = f"all {len(races)}" if len(places) == len(races) else f"{len(places)} of {len(races)}"
        named = "" if len(places) == len(races) else f" ({_places(places, doses)})"
        parts.append(f"{arm} is best in {number} settings{named}")
    return f"Judged by the {_CRITERIA[score]}, {'; '.join(parts)}."


def _places(places: Sequence[str], doses: int = 0) -> str:
    """Settings in words, those of one view together; `doses` is how many there are in all."""
    views: dict[str, list[str]] = {}
    for place in places:
        view, _, dose = place.rpartition(" at ")
        views.setdefault(view, []).append(dose)
    told = {
        view: "at every dose" if len(found) == doses > 1 else f"at {joined(found)}" for view, found in views.items()
    }
    return "; ".join(f"{view} {found}" if view else found.removeprefix("at ") for view, found in told.items())


def _noise(races: Sequence[_Race]) -> list[str]:
    leads = [race for race in races if race.second is not None]
    seeds = max((len(race.first.seeds) for race in races), default=1)
    if not leads:
        return []
    if seeds < 2:
        return ["One seed: whether a small lead is more than noise is not known."]
    inside = [race.place for race in leads if race.noise == "inside"]
    unknown = [race.place for race in leads if race.noise == "unknown"]
    if not inside and not unknown:
        return [f"Each lead over the next arm is larger than the noise between {seeds} seeds."]
    said = []
    if inside:
        said.append(f"The lead over the next arm is inside the noise between {seeds} seeds in {_places(inside)}.")
    if unknown:
        said.append(f"Whether the lead is more than noise is not known in {_places(unknown)}.")
    return said


def _limit(races: Sequence[_Race]) -> list[str]:
    known = sorted((race for race in races if race.ratio is not None), key=lambda race: race.ratio or 0.0)
    if not known:
        return []
    if len(known) == 1:
        return [f"Its error is {_times(known[0])} times the dose limit, {_LIMIT}.{_below(known)}"]
    near, far = known[0], known[-1]
    ends = (f"{_times(race)} ({race.first.arm}, {race.place})" for race in (near, far))
    return [f"The best arm's error is {' to '.join(ends)} times the dose limit, {_LIMIT}.{_below(known)}"]


def _below(races: Sequence[_Race]) -> str:
    """What an error below the limit means, where there is one."""
    low = any(race.ratio is not None and race.ratio < _CLEARLY_BELOW for race in races)
    return " Below it, an error is small by bias: by what a method smooths, or believes beforehand." if low else ""


def _times(race: _Race) -> str:
    ratio = race.ratio or 0.0
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def _flat(races: Sequence[_Race], rows: Sequence[Row]) -> list[str]:
    said = []
    if behind := [race.place for race in races if race.behind_flat]:
        said.append(f"No method does better than a flat image in {_places(behind)}.")
    lost: dict[str, list[str]] = {}
    for row in rows:
        if row.get("status") == "collapsed":
            lost.setdefault(str(row["arm"]), []).append(setting(row.get("dose"), row.get("view")))
    for arm, places in lost.items():
        named = _places(list(dict.fromkeys(places)))
        said.append(f"{arm} did no better than a flat image{f' in {named}' if named and len(races) > 1 else ''}.")
    return said


def setting(dose: float | None, view: str | None) -> str:
    """`sparse at 10,000` photons a frame."""
    words = [str(view)] if view else []
    words += [f"at {plain_dose(dose)}"] if dose else []
    return " ".join(words).removeprefix("at ") if not view else " ".join(words)


def plain_dose(dose: float | None) -> str:
    """10,000 photons as people read them."""
    if dose is None:
        return ""
    return f"{dose:,.0f}" if dose >= 100 else f"{dose:g}"


def joined(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def case_name(case: Case) -> str:
    """`10,000 photons per frame, dense, test half`; empty where nothing tells it from others."""
    words = [f"{plain_dose(case.dose)} photons per frame"] if case.dose else []
    words += [case.view] if case.view else []
    words += [f"{case.split} half"] if case.split else []
    return ", ".join(words)


def facts_line(findings: Findings) -> str:
    """What was compared, in a line of numbers."""
    rows = findings.rows
    words = []
    for label, many in (("dose", "doses"), ("view", "overlap views"), ("split", "halves")):
        number = len(set(findings.distinct(label)) - {None})
        if number > 1:
            words.append(f"{number} {many}")
    if len(findings.cases) == 1 and (facts := findings.cases[0].facts):
        height, width = facts.get("window_px", ("?", "?"))
        words.append(f"{facts.get('n_frames', 0):,} frames of {height} × {width} pixels")
        words.append(f"{plain_dose(facts.get('photons_per_frame'))} photons per frame")
    seeds = {row.get("seed") for row in rows} - {None}
    words.append(f"{len(arms_of(rows))} methods")
    words += [f"{len(seeds)} seeds"] if len(seeds) > 1 else []
    return ", ".join(words)


def method(findings: Findings) -> list[str]:
    """How the comparison was made, in words that hold for any folder."""
    said = ["Each method turned the same frames, with the same probe and positions, into an image of the object."]
    said += _frames_used(findings)
    facts = [case.facts for case in findings.cases if case.facts]
    truth = any(each.get("reference") == "truth" for each in facts)
    if truth:
        said.append(
            "A reconstruction cannot know its overall complex scale, a phase ramp or a small shift, so"
            f" {removed(facts[0])}, before it was scored on the well-lit object pixels."
        )
    elif facts:
        said.append(
            "There is no true object here, so no image is called right or wrong: the images are shown in the gauge of"
            f" {facts[0].get('reference')}, for display only."
        )
    if any(row.get("deviance_heldout") is not None for row in findings.rows):
        said.append("Methods are also judged by how well they predict photon counts that were kept from them.")
    return said


def removed(facts: Mapping[str, Any]) -> str:
    """What was taken out of the images before they were scored."""
    settings = facts.get("settings", {})
    arms, chosen = facts.get("arms", {}), settings.get("registered_arms")
    if settings.get("registration", True) and (chosen is None or set(chosen) >= set(arms)):
        return "these were removed from each image once, by a fit to the truth"
    only = f", ramp and shift from {', '.join(chosen)} alone" if chosen and settings.get("registration", True) else ""
    return f"the scale was removed from each image{only}, once, by a fit to the truth"


def _frames_used(findings: Findings) -> list[str]:
    """Whether all methods used all frames of a comparison, as their ledgers say."""
    if len(findings.cases) != 1 or "n_frames" not in findings.cases[0].facts:
        return []
    number = findings.cases[0].facts["n_frames"]
    others = [row for row in findings.rows if row.get("n_frames") != number]
    if not others:
        return [f"All used its {number:,} frames."]
    numbers = {str(row["arm"]): row.get("n_frames") for row in others}
    used = [f"{arm} {'unknown' if frames is None else format(frames, ',')}" for arm, frames in numbers.items()]
    return [f"They did not all use its {number:,} frames, as far as is known: {', '.join(used)}."]
