"""The picture and the page of each kind of result; one function of either for a type, and here alone."""

from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from foldlight.bundle import Model
from foldlight.compare.row import Row
from foldlight.compare.table import Comparison
from foldlight.core.progress import duration
from foldlight.display.markup import card, fact_table, folded, picture, table
from foldlight.doctor.findings import Diagnosis
from foldlight.frames import Summary
from foldlight.inspection import describe
from foldlight.optics.limit import DoseLimit
from foldlight.orient.verdict import Verdict
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.report.columns import COLUMNS
from foldlight.report.figures import Picture, comparison_figure, reconstruction_figure, scan_figure
from foldlight.scan import Scan

__all__ = ["figure", "html"]

_READ_PIXELS = 2**26  # of all frames: up to here they are read for their facts, a second or so; beyond, some of them
_LOOKED_AT = 128  # frames, then
_SCORES = (
    *("phase_ssim", "amplitude_ssim", "complex_correlation", "frc_half_nyquist", "object_rmse", "limit_rmse"),
    *("eta", "deviance_heldout", "deviance_fitted", "train_seconds", "infer_seconds_per_frame", "status"),
)


@singledispatch
def figure(shown: Any) -> Figure:
    """The picture of a result.

    Raises:
        TypeError: there is none of such a thing.
    """
    raise TypeError(f"show: expected a result of foldlight, got {type(shown).__name__}")


@singledispatch
def html(shown: Any) -> str:
    """The page of a result: a title, facts, a picture; HTML that stands by itself.

    Raises:
        TypeError: there is none of such a thing.
    """
    raise TypeError(f"html: expected a result of foldlight, got {type(shown).__name__}")


@figure.register
def _(scan: Scan) -> Figure:
    return scan_figure(scan)


@html.register
def _(scan: Scan) -> str:
    seen, looked_at = _glanced(scan)
    facts = {**looked_at, **describe(seen)}
    return card(
        _title(scan),
        picture(scan_figure(seen), f"frames, mean frame, probe, positions and light of {scan!r}"),
        fact_table(facts),
        folded("What the reader found and changed", scan.notes),
    )


@figure.register
def _(made: Reconstruction) -> Figure:
    return reconstruction_figure(made)


@html.register
def _(made: Reconstruction) -> str:
    ledger = made.ledger
    facts = {
        "frames": "unknown" if ledger.n_frames is None else f"{ledger.n_frames:,}",
        "photons": "unknown" if ledger.photons is None else f"{ledger.photons:,.0f}",
        "training": _seconds(ledger.train_seconds),
        "reconstruction": f"{_seconds(ledger.infer_seconds)} on {ledger.device}",
        "probe": f"{len(made.probe)} mode{'s' * (len(made.probe) > 1)} of {made.probe.shape[1]} x"
        f" {made.probe.shape[2]} px",
        "of data": made.data_digest[:12] or "unknown",
    }
    words = picture(reconstruction_figure(made), f"amplitude, phase and probe of {made!r}")
    settings = [f"{name}: {value}" for name, value in made.settings.items()]
    return card(_title(made), words, fact_table(facts), folded("Settings", settings))


@figure.register
def _(comparison: Comparison) -> Figure:
    return comparison_figure(comparison)


@html.register
def _(comparison: Comparison) -> str:
    columns = [
        column
        for name in _SCORES
        for column in COLUMNS
        if column.name == name and any(_cell(row, name, column.digits) for row in comparison.rows)
    ]
    lines = [[row.arm, *(_cell(row, each.name, each.digits) for each in columns)] for row in comparison.rows]
    words = [f"{column.label}: {column.meaning}" for column in columns]
    return card(
        _title(comparison),
        table(["arm", *(column.label for column in columns)], lines),
        folded("What the columns mean", words),
        picture(comparison_figure(comparison), f"images and curves of {comparison!r}"),
    )


@html.register
def _(model: Model) -> str:
    facts = {
        "network": ", ".join(f"{name} {value}" for name, value in model.network.plain().items()),
        "weights": f"{model.n_weights:,}",
        "learned from": model.supervision,
        "frames": "any size" if model.fits((0, 0)) else f"{model.window[0]} x {model.window[1]} px",
        "frames that agree": f"{model.group_size}",
        "usual errors": "unknown" if model.errors is None else "known, for hybrid",
        "digest": model.digest()[:12],
    }
    return card(_title(model), fact_table(facts))


@figure.register
def _(limit: DoseLimit) -> Figure:
    drawn = Picture(figsize=(9, 3.4), layout="constrained")
    curve, image = drawn.subplots(1, 2)
    curve.plot(limit.nyquist, limit.frc, color="#0072b2", lw=1.8)
    for level in (0.5, 1 / 7):
        curve.axhline(level, color="0.6", lw=0.8, ls=":")
    curve.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="spatial frequency / Nyquist", ylabel="Fourier ring correlation")
    curve.set_title("the most any unbiased method reaches", fontsize=10)
    if limit.variance.size:
        least = image.imshow(np.sqrt(limit.variance), "inferno", vmin=0)
        drawn.colorbar(least, ax=image, label="least error of a pixel", fraction=0.05, pad=0.02)
        image.set_title("where it is worst", fontsize=10)
    else:
        image.axis("off")
    return drawn


@html.register
def _(limit: DoseLimit) -> str:
    facts = {
        "least error": f"{limit.bound**0.5:.4g} ± {limit.bound_error / (2 * limit.bound**0.5):.1g}",
        "with a prior": "not asked for" if limit.bayes is None else f"{limit.bayes**0.5:.4g}",
        "photons per object pixel": f"{limit.photons_per_pixel:.4g} (median)",
        "unknown": f"{'phase' if limit.parameters == 'phase' else 'amplitude and phase'}; probe {limit.probe}",
    }
    return card(_title(limit), fact_table(facts), picture(figure(limit), f"least error by fineness, of {limit!r}"))


@html.register
def _(diagnosis: Diagnosis) -> str:
    odd = [each for each in diagnosis.findings if each.level != "fine"]
    sound = [f"{each.code}: {each.what}" for each in diagnosis.findings if each.level == "fine"]
    lines = [[each.level, each.code, each.what, each.sure, each.do] for each in odd]
    heads = ["level", "finding", "what was found", "how sure", "what to do"]
    return card(
        _title(diagnosis),
        table(heads, lines, words=True) if lines else "",
        folded(f"{len(sound)} findings that are fine", sound),
    )


@html.register
def _(verdict: Verdict) -> str:
    first, *others = verdict.words
    lines = [[each.strip()] for each in others]
    return card(f"Which way is up: {first}", table([""], lines, words=True) if lines else "")


def _title(shown: Any) -> str:
    """The short form, without its brackets."""
    return repr(shown).strip("<>")


def _glanced(scan: Scan) -> tuple[Scan, dict[str, str]]:
    """The scan to look at: itself, or with the sums of some frames in place of all, and a fact that says so."""
    frames = scan.photons
    n, height, width = frames.shape
    if frames.known is not None or n * height * width <= _READ_PIXELS:
        return scan, {}
    some = frames[np.linspace(0, n - 1, _LOOKED_AT).astype(int)].astype(np.float64)
    sums = Summary(np.resize(some.sum(axis=(1, 2)), n), some.mean(axis=0), ())
    return replace(scan, photons=replace(frames, known=sums)), {"looked at": f"{_LOOKED_AT} of {n:,} frames"}


def _seconds(seconds: float | None) -> str:
    return "unknown" if seconds is None else duration(seconds) if seconds else "none"


def _cell(row: Row, name: str, digits: str) -> str:
    value = getattr(row, name)
    return "" if value is None else format(value, digits)
