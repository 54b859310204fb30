"""Any image of a run as a file, so that a figure for a paper needs no code: PNG, TIFF or NPZ.

Images are those of the report: aligned, on one scale for the whole run, cut to the box of what was scored.
"""

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import tifffile
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnchoredOffsetbox
from PIL import Image

from foldlight.compare.align import own_gauge
from foldlight.compare.files import Objects, read_frc_csv
from foldlight.core.errors import DataError, SettingsError
from foldlight.core.files import replacing, write_text
from foldlight.io.npz import write_npz
from foldlight.optics.coverage import bounding_box, well_lit
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.report.collect import Source, arms_of, scales_of, sources, stated_nm
from foldlight.report.figures import BLANK, arm_colours, percentile_range, save
from foldlight.report.images import TRUTH, Polar, Scale, error_limits, error_scale, polar, shared_scales, wrapped
from foldlight.report.settings import ExportSettings
from foldlight.report.words import joined, plain_dose

__all__ = ["export", "listing"]

_FIGURES = {"comparison": "comparison.png", "curves": "study.png", "gallery": "gallery.png"}
_KINDS = {"image": (".png", ".tif", ".tiff", ".npz"), "frc": (".png", ".npz", ".csv"), "figure": (".png",)}
_WIDTH_IN, _DPI = 4.2, 300  # of a column in print
_LABELS = ("dose", "view", "split", "repeat")


@dataclass(frozen=True)
class _Picture:
    """What is written.

    Attributes:
        values: (y, x); NaN where it was not scored.
        scale: its colours, range and unit.
        object: (y, x) complex64 aligned object on the whole canvas, or None for what is no object.
        mask: (y, x) bool pixels of the canvas that were scored.
        facts: JSON-ready: what it is and where it comes from.
    """

    values: np.ndarray
    scale: Scale
    object: np.ndarray | None
    mask: np.ndarray
    facts: dict[str, Any]


def listing(run: Path) -> list[str]:
    """What can be exported from a run, a line for each comparison.

    Raises:
        DataError: it is no run.
    """
    if run.is_file():
        return [f"{Reconstruction.load(run).arm}: phase, amplitude, coverage"]
    found = sources(run)
    lines = []
    for source in found:
        objects = source.objects()
        names = [*([TRUTH] if objects.truth is not None else []), *objects.arms]
        lines.append(f"{_told(source)}{': ' if _told(source) else ''}arms {', '.join(names)}")
    kinds = ["phase", "amplitude", *_against_truth(found), "coverage"]
    places = [run, *(source.folder for source in found)]
    figures = [name for name, file in _FIGURES.items() if any((place / file).is_file() for place in places)]
    return [*lines, f"images {', '.join(kinds)}", f"figures {', '.join(figures) or 'none'}"]


def export(run: Path, settings: ExportSettings, output: Path) -> str:
    """Write one image of a run; the file is whole or absent.

    Args:
        run: folder of a study, a demo or a comparison, or a file that `reconstruct` wrote.
        settings: which image.
        output: file to write. `.png` is coloured, with colour bar and scale bar; `.tif` holds 32-bit floats, with their
            unit in its description; `.npz` the values, the complex object and where they come from. `frc` knows `.csv`.

    Returns:
        What was written, in a line.

    Raises:
        SettingsError: the file's name says nothing known, or the run has several that the settings fit.
        DataError: the run has no such image, or the file can't be written.
    """
    kind = "figure" if settings.what in _FIGURES else "frc" if settings.what == "frc" else "image"
    if output.suffix.lower() not in _KINDS[kind]:
        raise SettingsError(
            f"output = {output}: expected a name that ends in {joined(_KINDS[kind])} for {settings.what}"
        )
    if kind == "figure":
        return _copy(run, settings, output)
    if kind == "frc":
        return _frc(_chosen(run, settings), settings, output)
    if run.is_dir() and settings.pixel_nm is None:
        settings = settings.model_copy(update={"pixel_nm": stated_nm(_chosen(run, settings))})
    picture = _of_file(run, settings) if run.is_file() else _of_run(run, settings)
    _WRITERS[output.suffix.lower()](picture, settings, output)
    height, width = picture.values.shape
    return f"{picture.scale.name} of {picture.facts['arm'] or 'the light'}, {height} x {width} px -> {output}"


def _chosen(run: Path, settings: ExportSettings) -> Source:
    """The one comparison that the settings fit."""
    if run.is_file():
        raise DataError(f"{run}: expected the folder of a comparison for {settings.what}, got a file")
    found = sources(run)
    fitting = [source for source in found if _fits(source, settings)]
    if len(fitting) == 1:
        return fitting[0]
    asked = ", ".join(f"{name} {getattr(settings, name)}" for name in _LABELS if getattr(settings, name) is not None)
    if not fitting:
        there = "; ".join(_told(source) for source in found[:4]) + (" ..." if len(found) > 4 else "")
        raise DataError(f"{run}: expected a comparison of {asked}, found {there or 'none'}; see --list")
    open_labels = [name for name in _LABELS if len({getattr(source, name) for source in fitting}) > 1]
    values = {
        name: ", ".join(dict.fromkeys(_text(getattr(source, name)) for source in fitting)) for name in open_labels
    }
    flags = "; ".join(f"--{name} ({found})" for name, found in values.items())
    raise SettingsError(f"{run}: expected one comparison, {len(fitting)} fit; choose with {flags}")


def _fits(source: Source, settings: ExportSettings) -> bool:
    return source.repeat == settings.repeat and all(
        (wanted := getattr(settings, name)) is None or wanted == getattr(source, name)
        for name in ("dose", "view", "split")
    )


def _told(source: Source) -> str:
    words = [f"{name} {_text(getattr(source, name))}" for name in ("dose", "view", "split") if getattr(source, name)]
    return ", ".join([*words, *([f"repeat {source.repeat}"] if source.repeat else [])])


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _against_truth(found: Sequence[Source]) -> list[str]:
    known = any(source.reference == TRUTH for source in found)
    return ["phase-error", "amplitude-error", "error", "frc"] if known else []


def _of_run(run: Path, settings: ExportSettings) -> _Picture:
    source = _chosen(run, settings)
    objects = source.objects()
    scales = scales_of(each for each in sources(run) if each.repeat == 0)
    facts = {name: getattr(source, name) for name in _LABELS}
    facts["data_sha256"] = source.facts.get("data_sha256")
    images = polar(objects, source.reference)
    return _picture(objects, images, scales, settings, {"run": run.resolve().name, **facts})


def _of_file(path: Path, settings: ExportSettings) -> _Picture:
    """From a reconstruction alone: its own gauge, without mean phase and ramp."""
    made = Reconstruction.load(path)
    image = own_gauge(made.object, made.coverage)[0].astype(np.complex64)
    objects = Objects({made.arm: image}, None, well_lit(made.coverage), made.coverage)
    images = polar(objects, made.arm)
    facts = {"run": path.name, "data_sha256": made.data_digest or None}
    return _picture(objects, images, shared_scales(list(images.values())), settings, facts)


def _picture(
    objects: Objects,
    images: dict[str, Polar],
    scales: dict[str, Scale],
    settings: ExportSettings,
    facts: dict[str, Any],
) -> _Picture:
    box = bounding_box(objects.mask)
    if settings.what == "coverage":
        values = np.where(objects.mask, objects.coverage, np.nan)[box]
        norm = percentile_range(values[np.isfinite(values)])
        scale = Scale("coverage", "photons per object pixel", norm.vmin or 0.0, norm.vmax or 1.0, (0, 0), "viridis")
        arm, whole = None, None
    else:
        arm = _arm(images, settings)
        values, scale = _values(images, arm, scales, settings.what)
        whole = objects.truth if arm == TRUTH else objects.arms[arm]
    low = scale.low if settings.low is None else settings.low
    high = scale.high if settings.high is None else settings.high
    if not low < high:
        raise SettingsError(f"low = {low:g}, high = {high:g}: expected low below high")
    scale = Scale(scale.name, scale.unit, low, high, (low, high), scale.colours, scale.cyclic)
    told = {
        "quantity": scale.name,
        "unit": scale.unit or "1",
        "arm": arm,
        **facts,
        "box_px": [[side.start, side.stop] for side in box],
        "pixel_nm": settings.pixel_nm,
    }
    return _Picture(values, scale, whole, objects.mask, told)


def _arm(images: dict[str, Polar], settings: ExportSettings) -> str:
    known = [name for name in images if not (name == TRUTH and "error" in settings.what)]
    if settings.arm is None and len(known) == 1:
        return known[0]
    if settings.arm not in known:
        got = "none" if settings.arm is None else repr(settings.arm)
        raise SettingsError(f"--arm: expected one of {', '.join(known)} for {settings.what}, got {got}")
    return settings.arm


def _values(images: dict[str, Polar], arm: str, scales: dict[str, Scale], what: str) -> tuple[np.ndarray, Scale]:
    """The quantity and how it is shown."""
    if what in scales:
        return (images[arm].phase if what == "phase" else images[arm].amplitude), scales[what]
    if TRUTH not in images:
        raise DataError(
            f"--what {what}: expected a run with a true object, got one without; ask for phase or amplitude"
        )
    mine, truth, limits = images[arm], images[TRUTH], error_limits(images)
    if what == "phase-error":
        return wrapped(mine.phase - truth.phase), error_scale(scales["phase"], limits["phase"])
    if what == "amplitude-error":
        return mine.amplitude - truth.amplitude, error_scale(scales["amplitude"], limits["amplitude"])
    values = np.abs(mine.amplitude * np.exp(1j * mine.phase) - truth.amplitude * np.exp(1j * truth.phase))
    high = float(np.nanpercentile(values, 99.5)) or 1.0
    return values, Scale("error |estimate - truth|", "", 0.0, high, (0.0, high), "inferno")


def _write_png(picture: _Picture, settings: ExportSettings, output: Path) -> None:
    if settings.bare:
        level = (picture.values - picture.scale.low) / (picture.scale.high - picture.scale.low)
        colours: Any = mpl.colormaps[picture.scale.colours](np.clip(np.nan_to_num(level), 0, 1), bytes=True)
        colours[..., 3] = np.where(np.isfinite(picture.values), 255, 0)
        with replacing(output) as temporary:
            Image.fromarray(colours).save(temporary, "png")
        return
    height, width = picture.values.shape
    figure = Figure(figsize=(_WIDTH_IN + 0.9, _WIDTH_IN * height / width + 0.3), layout="constrained")
    axis = figure.subplots()
    norm = Normalize(picture.scale.low, picture.scale.high)
    axis.imshow(picture.values, cmap=picture.scale.colours, norm=norm, interpolation="nearest")
    axis.set_facecolor(BLANK)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    _scale_bar(axis, width, settings.pixel_nm)
    bar = figure.colorbar(
        ScalarMappable(norm, picture.scale.colours),
        ax=axis,
        fraction=0.046,
        pad=0.02,
        extend="neither" if picture.scale.cyclic else "both",
    )
    unit = f" [{picture.scale.unit}]" if picture.scale.unit else ""
    bar.set_label(f"{picture.scale.name}{unit}", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    save(figure, output, _DPI)


def _scale_bar(axis: Axes, width_px: int, pixel_nm: float | None) -> None:
    """A bar of round length, about a quarter of the width, on a dark patch of its own."""
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    size = pixel_nm or 1.0
    wanted = width_px * size / 4
    power = 10.0 ** np.floor(np.log10(wanted))
    length = next(step * power for step in (5, 2, 1) if step * power <= wanted)
    unit = "px" if pixel_nm is None else "µm" if length >= 1000 else "nm"
    text = f"{length / 1000 if unit == 'µm' else length:g} {unit}"
    bar: AnchoredOffsetbox = AnchoredSizeBar(
        axis.transData, length / size, text, "lower left", pad=0.3, color="white", size_vertical=width_px / 120, sep=3
    )
    bar.patch.set(facecolor="black", alpha=0.55, edgecolor="none")
    axis.add_artist(bar)


def _write_tiff(picture: _Picture, settings: ExportSettings, output: Path) -> None:
    described = json.dumps(picture.facts, sort_keys=True)
    per_cm = None if settings.pixel_nm is None else (1e7 / settings.pixel_nm,) * 2
    with replacing(output) as temporary:
        tifffile.imwrite(
            temporary,
            picture.values.astype(np.float32),
            description=described,
            metadata=None,
            resolution=per_cm,
            resolutionunit=None if per_cm is None else "CENTIMETER",
            software="foldlight",
        )


def _write_npz(picture: _Picture, _: ExportSettings, output: Path) -> None:
    arrays = {"values": picture.values.astype(np.float32), "mask": picture.mask}
    if picture.object is not None:
        arrays["object"] = picture.object.astype(np.complex64)
    write_npz(output, {**arrays, "_metadata": np.array(json.dumps(picture.facts, sort_keys=True))})


_WRITERS: dict[str, Callable[[_Picture, ExportSettings, Path], None]] = {
    ".png": _write_png,
    ".tif": _write_tiff,
    ".tiff": _write_tiff,
    ".npz": _write_npz,
}


def _copy(run: Path, settings: ExportSettings, output: Path) -> str:
    """A figure that the run has drawn already."""
    name = _FIGURES[settings.what]
    folder = run if (run / name).is_file() or settings.what != "comparison" else _chosen(run, settings).folder
    if not (folder / name).is_file():
        raise DataError(f"{folder / name}: expected a figure that the run has drawn, found none; see --list")
    with replacing(output) as temporary:
        shutil.copyfile(folder / name, temporary)
    return f"{settings.what} -> {output}"


def _frc(source: Source, settings: ExportSettings, output: Path) -> str:
    """Ring correlation curves of all arms, or of one: drawn, as the table, or as arrays."""
    path = source.folder / "frc_curves.csv"
    rows = [row for row in read_frc_csv(path) if settings.arm in {None, row["arm"]}]
    if not rows:
        raise DataError(f"{path}: expected curves of {settings.arm or 'an arm'}, found none; see --list")
    if output.suffix == ".csv":
        _write_curves(path, output, settings.arm)
    elif output.suffix == ".npz":
        arrays: dict[str, np.ndarray] = {}
        for arm in arms_of(rows):
            own = [row for row in rows if row["arm"] == arm]
            for column in ("frequency_nyquist", "frc", "half_bit", "frc_limit"):
                if all(row.get(column) is not None for row in own):
                    arrays[f"{arm}_{column}"] = np.array([row[column] for row in own])
        write_npz(output, arrays)
    else:
        _draw_frc(rows, source, output)
    return f"Fourier ring correlation of {', '.join(arms_of(rows))} -> {output}"


def _write_curves(path: Path, output: Path, arm: str | None) -> None:
    """The lines of a table, or those of one arm, as they are."""
    head, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    place = head.rstrip("\n").split(",").index("arm")
    kept = [line for line in lines if arm is None or next(csv.reader([line]))[place] == arm]
    write_text(output, "".join([head, *kept]))


def _draw_frc(rows: Sequence[dict[str, Any]], source: Source, output: Path) -> None:
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axis = figure.subplots()
    colours = arm_colours(arms_of(rows))
    for arm in arms_of(rows):
        own = [row for row in rows if row["arm"] == arm and row["frc"] is not None]
        axis.plot([row["frequency_nyquist"] for row in own], [row["frc"] for row in own], color=colours[arm], label=arm)
    first = [row for row in rows if row["arm"] == rows[0]["arm"]]
    for column, label, style in (("frc_limit", "dose limit", "k--"), ("half_bit", "half-bit", "k:")):
        known = [row for row in first if row.get(column) is not None]
        if known:
            x, y = ([row[name] for row in known] for name in ("frequency_nyquist", column))
            axis.plot(x, y, style, lw=1, label=label)
    for level, text in ((0.5, "0.5"), (1 / 7, "1/7")):
        axis.axhline(level, color="0.6", lw=0.8)
        axis.text(1.01, level, text, fontsize=8, va="center", color="0.4")
    axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="spatial frequency / Nyquist", ylabel="Fourier ring correlation")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False)
    if source.dose:
        axis.set_title(f"{plain_dose(source.dose)} photons per frame, {source.view or 'all frames'}", fontsize=9)
    save(figure, output, _DPI)
