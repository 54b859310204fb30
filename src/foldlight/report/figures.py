"""Pictures of scans, of reconstructions and of comparisons, made to be read at a glance.

Each figure is an object of its own (no pyplot, no global state). Amplitude is gray, phase viridis (twilight once it
wraps), errors inferno; a row of images shares one scale; pixels that are not scored are left blank.
"""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, FigureBase
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Circle

from foldlight.compare.align import own_gauge
from foldlight.compare.metrics import phase_pair
from foldlight.compare.table import FLAT_ARM, Comparison, Row
from foldlight.core.errors import DataError
from foldlight.core.files import replacing
from foldlight.optics.coverage import bounding_box, coverage_map, well_lit
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.sampling.overlap import probe_diameters_px
from foldlight.scan import Scan
from foldlight.simulate.acquire import expected_frames
from foldlight.study.models import TESTED_ARMS

__all__ = [
    "BLANK",
    "Picture",
    "arm_colours",
    "comparison_figure",
    "comparison_picture",
    "object_picture",
    "percentile_range",
    "phase_scale",
    "reconstruction_figure",
    "reconstruction_picture",
    "save",
    "scan_figure",
    "scan_picture",
]

BLANK = "0.93"
"""Gray of pixels that are not scored."""

_SHOWN_DPI = 110
_COLUMN_IN, _PLOT_IN = 2.5, 2.9  # inches
_WRAPS = 5.5  # rad: a phase of wider range is shown on a cyclic map
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#882255")  # told apart by most eyes
_FRAMES_SHOWN = 3
_ALIKE = 1e-5  # relative spread that is only rounding
_LEAST_DEVIANCE = 1e-3  # per pixel: below, the detector is dark


class Picture(Figure):
    """A figure that notebooks show, whatever matplotlib's backend is."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        _write(self, buffer, _SHOWN_DPI)
        return buffer.getvalue()


def comparison_picture(comparison: Comparison, path: Path) -> None:
    """`comparison_figure` as a PNG."""
    save(comparison_figure(comparison), path)


def comparison_figure(comparison: Comparison) -> Picture:
    """Truth and every arm side by side, with their errors, key numbers and curves.

    Without truth the arms are shown in the gauge of one of them, which the title says.
    """
    images = _panels(comparison)
    columns = list(images)
    n_rows = 3 if comparison.truth is not None else 2
    box = bounding_box(comparison.mask)
    height, width = comparison.mask[box].shape
    row_in = min(max(_COLUMN_IN * height / width, 1.2), 2 * _COLUMN_IN)
    size = (_COLUMN_IN * max(len(columns), 2) + 0.9, row_in * n_rows + _PLOT_IN + 1.5)
    figure = Picture(figsize=size, layout=ConstrainedLayoutEngine(hspace=0.03, wspace=0.02))
    figure.suptitle(_title(comparison), fontsize=11)
    upper, lower = np.ravel(figure.subfigures(2, 1, height_ratios=[row_in * n_rows + 0.9, _PLOT_IN], squeeze=False))
    axes = upper.subplots(n_rows, len(columns), squeeze=False)
    for row, (name, norm, colours, extend) in enumerate(_scales(comparison, images, n_rows)):
        for column, label in enumerate(columns):
            _image(axes[row, column], images[label][row], comparison, norm, colours)
        axes[row, 0].set_ylabel(name, fontsize=10)
        bar = upper.colorbar(ScalarMappable(norm, colours), ax=list(axes[row]), extend=extend, fraction=0.05, pad=0.01)
        bar.ax.tick_params(labelsize=8)
    for column, label in enumerate(columns):
        axes[0, column].set_title(label, fontsize=10, fontweight="bold")
    for found in comparison.rows:
        axes[-1, columns.index(found.arm)].set_xlabel(_key_numbers(found), fontsize=8.5, linespacing=1.35)
    _plots(lower, comparison)
    return figure


def scan_picture(scan: Scan, path: Path) -> None:
    """`scan_figure` as a PNG."""
    save(scan_figure(scan), path)


def scan_figure(scan: Scan) -> Picture:
    """What a scan holds: frames, their mean, the probe, where it went and how much light fell where."""
    figure = Picture(figsize=(13, 6.6), layout="constrained")
    axes = figure.subplots(2, 4)
    figure.suptitle(_scan_facts(scan.window, len(scan), float(scan.photons.totals.mean())), fontsize=11)
    shown = np.linspace(0, len(scan) - 1, min(_FRAMES_SHOWN, len(scan))).round().astype(int)
    frames = scan.photons[shown]
    norm = Normalize(0, float(np.log10(1 + frames.max())) or 1.0)
    for place in range(_FRAMES_SHOWN):
        if place >= len(shown):
            axes[0, place].axis("off")
            continue
        picture = axes[0, place].imshow(np.where(scan.mask, np.log10(1 + frames[place]), np.nan), "magma", norm=norm)
        axes[0, place].set_title(f"frame {shown[place]}", fontsize=10)
    figure.colorbar(picture, ax=list(axes[0, :_FRAMES_SHOWN]), label="log10(1 + photons)", fraction=0.05, pad=0.01)
    mean = axes[0, 3].imshow(np.where(scan.mask, np.log10(1 + scan.photons.mean_frame), np.nan), "magma")
    axes[0, 3].set_title("mean frame", fontsize=10)
    figure.colorbar(mean, ax=axes[0, 3], label="log10(1 + photons)", fraction=0.05, pad=0.02)
    _probe(figure, axes[1, 0], axes[1, 1], scan.probe)
    _positions(axes[1, 2], scan)
    light = axes[1, 3].imshow(coverage_map(scan.probe, scan.positions_px, scan.canvas), "viridis")
    axes[1, 3].set_title("light on the object", fontsize=10)
    figure.colorbar(light, ax=axes[1, 3], label="photons per pixel", fraction=0.05, pad=0.02)
    for axis in axes.flat:
        axis.set_facecolor(BLANK)
        axis.tick_params(labelsize=7)
    return figure


def reconstruction_picture(made: Reconstruction, path: Path, title: str = "") -> None:
    """`reconstruction_figure` as a PNG."""
    save(reconstruction_figure(made, title), path)


def reconstruction_figure(made: Reconstruction, title: str = "") -> Picture:
    """One reconstruction: amplitude and phase of the object where it is well lit, and of the probe.

    The phase is shown without its mean and its ramp, which the figure says; the reconstruction keeps both.

    Args:
        made: what to draw.
        title: heading; the name of the arm when empty.
    """
    mask = well_lit(made.coverage)
    box = bounding_box(mask)
    shown = own_gauge(made.object, made.coverage)[0]
    height, width = mask[box].shape
    row_in = min(max(3.1 * height / width, 2.0), 7.0)
    figure = Picture(figsize=(13, row_in + 1.3), layout="constrained")
    figure.suptitle(f"{title or made.arm}\n{_ledger_facts(made.ledger)}", fontsize=11)
    axes = figure.subplots(1, 4, width_ratios=[2, 2, 1, 1])
    phase = np.angle(shown)
    panels = (
        ("object amplitude", np.abs(shown), (percentile_range(np.abs(shown)[mask]), "gray", "both"), ""),
        ("object phase, without its mean and ramp\n(for display only)", phase, phase_scale(phase[mask]), "rad"),
    )
    for axis, (name, values, (norm, colours, extend), unit) in zip(axes, panels, strict=False):
        picture = axis.imshow(np.where(mask, values, np.nan)[box], colours, norm=norm, interpolation="nearest")
        axis.set_title(name, fontsize=10)
        figure.colorbar(picture, ax=axis, label=unit, extend=extend, fraction=0.05, pad=0.02)
    _probe(figure, axes[2], axes[3], made.probe)
    for axis in axes:
        axis.set_facecolor(BLANK)
        axis.tick_params(labelsize=7)
    return figure


def object_picture(scan: Scan, path: Path, title: str = "") -> None:
    """The object a scan knows, on its whole canvas, its probe, and one frame beside what both expect there, as a PNG.

    Raises:
        DataError: the scan has no object.
    """
    if scan.object is None:
        raise DataError("object picture: expected a scan with an object, got none")
    mask = well_lit(coverage_map(scan.probe, scan.positions_px, scan.canvas))
    row_in = min(max(4.7 * scan.canvas[0] / scan.canvas[1], 4.0), 8.0)
    figure = Figure(figsize=(15, row_in + 1.0), layout="constrained")
    facts = _scan_facts(scan.window, len(scan), float(scan.photons.totals.mean()))
    figure.suptitle(f"{title}\n{facts}" if title else facts, fontsize=11)
    axes = figure.subplot_mosaic([["amplitude", "phase", "probe", "turn"], ["amplitude", "phase", "frame", "expected"]],
                                 width_ratios=[2, 2, 1, 1])  # fmt: skip
    size, phase = np.abs(scan.object), np.angle(scan.object)
    for name, values, (norm, colours, extend), unit in (
        ("amplitude", size, (percentile_range(size[mask]), "gray", "both"), ""),
        ("phase", phase, phase_scale(phase[mask]), "rad"),
    ):
        picture = axes[name].imshow(values, colours, norm=norm, interpolation="nearest")
        axes[name].contour(mask, [0.5], colors=_COLOURS[1], linewidths=0.6)
        axes[name].set_title(f"object {name}; well lit inside the line", fontsize=10)
        figure.colorbar(picture, ax=axes[name], label=unit, extend=extend, fraction=0.05, pad=0.02)
    _probe(figure, axes["probe"], axes["turn"], scan.probe)
    middle = int(np.argmin(np.linalg.norm(scan.positions_px - np.array(scan.canvas) / 2, axis=1)))
    expected = expected_frames(scan.object, scan.probe, scan.positions_px[[middle]])[0][0]
    counted = scan.photons[middle]
    norm = Normalize(0, float(np.log10(1 + max(counted[scan.mask].max(), expected.max()))) or 1.0)
    for name, values, words in (("frame", counted, f"frame {middle}"), ("expected", expected, "expected there")):
        picture = axes[name].imshow(np.where(scan.mask, np.log10(1 + values), np.nan), "magma", norm=norm)
        axes[name].set_title(words, fontsize=10)
        figure.colorbar(picture, ax=axes[name], label="log10(1 + photons)", fraction=0.05, pad=0.02)
    for axis in axes.values():
        axis.set_facecolor(BLANK)
        axis.tick_params(labelsize=7)
    save(figure, path)


def _ledger_facts(ledger: Ledger) -> str:
    """Frames, photons and cost in words; what is unknown is left out."""
    words = [] if ledger.n_frames is None else [f"{ledger.n_frames:,} frames"]
    if ledger.n_frames and ledger.photons is not None:
        words.append(_photons_per_frame(ledger.photons / ledger.n_frames))
    if ledger.train_seconds:
        words.append(f"{_seconds(ledger.train_seconds)} training")
    if ledger.infer_seconds is not None:
        words.append(f"{_seconds(ledger.infer_seconds)} to reconstruct")
    return ", ".join(words)


def _panels(comparison: Comparison) -> dict[str, list[np.ndarray]]:
    """Amplitude, phase and error of each column."""
    columns = dict(comparison.objects)
    truth = comparison.truth
    if truth is None:
        anchor = columns[comparison.reference]
        return {arm: _amplitude_and_phase(anchor, image, comparison) for arm, image in columns.items()}
    found = {"truth": [*_amplitude_and_phase(truth, truth, comparison), np.full(truth.shape, np.nan)]}
    for arm, image in columns.items():
        found[arm] = [*_amplitude_and_phase(truth, image, comparison), np.abs(image - truth)]
    return found


def _amplitude_and_phase(anchor: np.ndarray, image: np.ndarray, comparison: Comparison) -> list[np.ndarray]:
    phase = phase_pair(anchor, image, comparison.mask, comparison.coverage)[1]
    return [np.abs(image), (phase + np.pi) % (2 * np.pi) - np.pi]


def _scales(
    comparison: Comparison, images: dict[str, list[np.ndarray]], n_rows: int
) -> list[tuple[str, Normalize, str, str]]:
    """Name, range, colours and open ends of each row: the anchor's range; for errors that of the arms worth a look."""
    mask = comparison.mask
    anchor = images["truth" if comparison.truth is not None else comparison.reference]
    scales = [
        ("amplitude", percentile_range(anchor[0][mask]), "gray", "both"),
        ("phase [rad]", *phase_scale(anchor[1][mask])),
    ]
    if n_rows > len(scales):
        seen = {row.arm for row in comparison.rows if row.arm != FLAT_ARM and row.status == "success"}
        errors = [np.percentile(images[arm][2][mask], 99.5) for arm in (seen or set(comparison.objects))]
        scales.append(("error |estimate - truth|", Normalize(0, max(errors) or 1.0), "inferno", "max"))
    return scales


def phase_scale(values: np.ndarray) -> tuple[Normalize, str, str]:
    """Range, colours and open ends of phases [rad]: a cyclic map for those that wrap."""
    norm = percentile_range(values)
    if (norm.vmax or 0) - (norm.vmin or 0) > _WRAPS:
        return Normalize(-np.pi, np.pi), "twilight", "neither"
    return norm, "viridis", "both"


def percentile_range(values: np.ndarray) -> Normalize:
    """The range of all values but the odd ones; some width for values that are all alike."""
    low, high = np.percentile(values, [0.5, 99.5]).tolist()
    alike = high - low < _ALIKE * max(1.0, abs(high))
    return Normalize(low - 0.5, high + 0.5) if alike else Normalize(low, high)


def _image(axis: Axes, values: np.ndarray, comparison: Comparison, norm: Normalize, colours: str) -> None:
    box = bounding_box(comparison.mask)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_facecolor(BLANK)
    if np.isnan(values).all():
        axis.patch.set_visible(False)
        axis.spines[:].set_visible(False)
        return
    axis.imshow(np.where(comparison.mask, values, np.nan)[box], cmap=colours, norm=norm, interpolation="nearest")


def _key_numbers(row: Row) -> str:
    """The few numbers that say how good an arm is, one below the other."""
    lines = []
    if row.phase_ssim is not None:
        lines.append(f"phase SSIM {row.phase_ssim:.3f}")
    if row.complex_correlation is not None:
        lines.append(f"correlation {row.complex_correlation:.3f}")
    if row.deviance_heldout is not None:
        lines.append(f"held-out deviance {row.deviance_heldout:.4g}")
    if row.train_seconds is not None and row.infer_seconds_per_frame is not None and row.n_frames is not None:
        trained = f"{_seconds(row.train_seconds)} training + " if row.train_seconds > 0 else ""
        lines.append(f"{trained}{_seconds(row.infer_seconds_per_frame * row.n_frames)}")
    if row.status != "success":
        lines.append(row.status.upper())
    return "\n".join(lines)


def _seconds(seconds: float) -> str:
    """A duration with two or three digits."""
    if seconds >= 90:
        return f"{seconds / 60:.2g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1e3 * seconds:.2g} ms"


def _plots(figure: FigureBase, comparison: Comparison) -> None:
    """Curves against truth if there is one, the light, and against held-out counts if there are some."""
    wanted = [_ring_plot] * bool(comparison.curves) + [_residual_plot] * bool(comparison.residuals)
    axes = figure.subplots(1, len(wanted) + (comparison.truth is None), squeeze=False)[0]
    for axis, plot in zip(axes, wanted, strict=False):
        plot(axis, comparison)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    if comparison.truth is None:
        light = axes[-1].imshow(comparison.coverage, "viridis")
        axes[-1].contour(comparison.mask, [0.5], colors="white", linewidths=1)
        axes[-1].set_title("photons per object pixel; scored inside the line", fontsize=9)
        axes[-1].tick_params(labelsize=8)
        figure.colorbar(light, ax=axes[-1])


def _ring_plot(axis: Axes, comparison: Comparison) -> None:
    colours = arm_colours(comparison.objects)
    for arm, curve in comparison.curves.items():
        axis.plot(curve.nyquist, curve.correlation, color=colours[arm], lw=1.8, label=arm)
    rings = next(iter(comparison.curves.values()))
    if comparison.limit is not None and comparison.limit.determined:
        axis.plot(comparison.limit.nyquist, comparison.limit.frc, color="black", lw=1.3, ls=":", label="dose limit")
    axis.plot(rings.nyquist, rings.half_bit, color="0.4", lw=1, ls="--", label="half-bit")
    for level, name in ((0.5, "0.5"), (1 / 7, "1/7")):
        axis.axhline(level, color="0.6", lw=0.8, ls=":")
        axis.text(1.005, level, name, fontsize=8, color="0.4", va="center")
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    axis.set_xlabel("spatial frequency / Nyquist", fontsize=9)
    axis.set_ylabel("Fourier ring correlation", fontsize=9)
    axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.04, 1), borderaxespad=0)


def _residual_plot(axis: Axes, comparison: Comparison) -> None:
    colours = arm_colours(comparison.objects)
    for arm, values in comparison.residuals.items():
        axis.semilogy(
            np.arange(len(values)), np.maximum(values, _LEAST_DEVIANCE), color=colours[arm], lw=1.8, label=arm
        )
    axis.set_ylim(bottom=_LEAST_DEVIANCE)
    axis.set_xlabel("detector radius [px]", fontsize=9)
    axis.set_ylabel("held-out deviance per pixel", fontsize=9)
    if not comparison.curves:
        axis.legend(fontsize=8, frameon=False)


def arm_colours(arms: Iterable[str]) -> dict[str, str]:
    """One colour an arm, the same in every plot; the flat arm is gray.

    The arms of a study keep their colours where one of them is missing.
    """
    named = [arm for arm in dict.fromkeys(arms) if arm != FLAT_ARM]
    places = list(dict.fromkeys([*TESTED_ARMS, *named])) if set(named) & set(TESTED_ARMS) else named
    return {FLAT_ARM: "0.6", **{arm: _COLOURS[place % len(_COLOURS)] for place, arm in enumerate(places)}}


def _title(comparison: Comparison) -> str:
    facts = _scan_facts(comparison.window, comparison.n_frames, comparison.photons_per_frame)
    if comparison.truth is not None:
        return facts
    gauge = f"shown in the gauge of {comparison.reference}, without its mean phase and ramp (for display only)"
    return f"{facts}\nno truth: {gauge}"


def _scan_facts(window: tuple[int, int], n_frames: int, photons: float) -> str:
    return f"{n_frames:,} frames of {window[0]} × {window[1]} px, {_photons_per_frame(photons)}"


def _photons_per_frame(photons: float) -> str:
    return f"{photons:,.0f} photons per frame" if photons >= 100 else f"{photons:.3g} photons per frame"


def _probe(figure: Figure, amplitude: Axes, phase: Axes, probe: np.ndarray) -> None:
    """The strongest mode, its phase only where there is light enough to have one."""
    power = np.sum(np.abs(probe) ** 2, axis=(1, 2))
    strongest = probe[int(power.argmax())]
    size = np.abs(strongest)
    modes = f", strongest of {len(probe)} modes" if len(probe) > 1 else ""
    figure.colorbar(amplitude.imshow(size, "gray"), ax=amplitude, label="√photons", fraction=0.05, pad=0.02)
    amplitude.set_title(f"probe amplitude{modes}", fontsize=10)
    seen = np.where(size > 0.05 * size.max(), np.angle(strongest), np.nan)
    picture = phase.imshow(seen, "twilight", vmin=-np.pi, vmax=np.pi)
    figure.colorbar(picture, ax=phase, label="rad", fraction=0.05, pad=0.02)
    phase.set_title("probe phase", fontsize=10)


def _positions(axis: Axes, scan: Scan) -> None:
    """The scan's path over the canvas, and one probe disc for scale."""
    y, x = scan.positions_px.T
    diameter = probe_diameters_px(scan.probe)["participation"]
    axis.plot(x, y, color="0.75", lw=0.5, zorder=1)
    axis.scatter(x, y, s=4, color=_COLOURS[0], zorder=2)
    middle = int(np.argmin(np.hypot(y - y.mean(), x - x.mean())))
    axis.add_patch(Circle((x[middle], y[middle]), diameter / 2, fill=False, color=_COLOURS[1], lw=1.5, zorder=3))
    axis.set(xlim=(0, scan.canvas[1]), ylim=(scan.canvas[0], 0), aspect="equal")
    axis.set_title(f"positions; probe {diameter:.0f} px wide (participation)", fontsize=10)


def save(figure: Figure, path: Path, dpi: int = 130) -> None:
    """Write a figure as PNG; the same figure gives the same bytes."""
    with replacing(path) as temporary:
        _write(figure, temporary, dpi)


def _write(figure: Figure, target: Path | io.BytesIO, dpi: int) -> None:
    figure.savefig(target, dpi=dpi, format="png", facecolor="white", metadata={"Software": "foldlight"})
