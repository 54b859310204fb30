"""A comparison on disk, and what is read back from it: tables, curves and the aligned objects.

Columns and keys are written in `specs/compare_models.md`.
"""

import csv
import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldlight.compare.align import Gauge
from foldlight.compare.table import Comparison, Row
from foldlight.core.errors import DataError
from foldlight.core.files import write_json, write_text
from foldlight.io.npz import about, open_npz, write_npz
from foldlight.optics.limit import DoseLimit

__all__ = [
    "Objects",
    "read_frc_csv",
    "read_metrics_csv",
    "read_objects",
    "read_residual_frames",
    "read_residual_rings",
    "write_frc_csv",
    "write_metrics_csv",
    "write_metrics_json",
    "write_objects",
    "write_residual_frames",
    "write_residual_rings",
    "write_rows",
]

_WORDS = {"view", "split", "arm", "status", "frc_half_state", "counts"}
_WHOLE = {"seed", "n_frames", "radius_px", "frame"}
_LABELS = ("dose", "view", "split", "arm", "seed")
_CURVE = (*_LABELS, "frequency_nyquist", "frc", "samples", "half_bit", "frc_limit")
_RINGS = (*_LABELS, "counts", "radius_px", "deviance")
_FRAMES = (*_LABELS, "counts", "frame", "y_px", "x_px", "deviance")
_ALL = Row.columns(legacy=True)
_NEWER = {"frc_limit", *_ALL[_ALL.index("photons_per_pixel") :]}  # a table of before lacks them
_SHARED = ("truth", "mask", "coverage")
_KINDS = {"mask": "bool", "coverage": "float"}  # all others are complex


def write_metrics_csv(path: Path, comparison: Comparison) -> None:
    """Write one line for each arm; the columns of `Row`."""
    write_rows(path, comparison.plain())


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of any number of comparisons as one `metrics.csv`; a column that a row lacks is an empty cell.

    The older definitions have columns only where a row has one of them.
    """
    lines = list(rows)
    columns = _present(lambda column: any(row.get(column) is not None for row in lines))
    _write_csv(path, columns, [[row.get(column) for column in columns] for row in lines])


def read_metrics_csv(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.csv` as numbers and words; None for an empty cell, and for a column it is too old to have.

    Raises:
        DataError: the file can't be read, lacks a column, or a cell is not the number it should be.
    """
    lines = _read_csv(path, _ALL, "metrics table", _NEWER)
    columns = _present(lambda column: any(line[column] is not None for line in lines))
    return [{column: line[column] for column in columns} for line in lines]


def write_frc_csv(path: Path, comparison: Comparison) -> None:
    """Write one line for each arm and ring: frequency, correlation, samples, half-bit threshold, and dose limit.

    The last is the correlation that the dose limit lets expect, empty where there is no limit.
    """
    labels = _labels(comparison)
    limit = comparison.limit if comparison.limit is not None and comparison.limit.determined else None
    lines = [
        (*labels[arm], *ring)
        for arm, curve in comparison.curves.items()
        for ring in zip(
            *(found.tolist() for found in (curve.nyquist, curve.correlation, curve.samples, curve.half_bit)),
            [None] * len(curve.nyquist) if limit is None else limit.frc.tolist(),
            strict=True,
        )
    ]
    _write_csv(path, _CURVE, lines)


def read_frc_csv(path: Path) -> list[dict[str, Any]]:
    """The lines of a `frc_curves.csv`; raises as `read_metrics_csv`."""
    return _read_csv(path, _CURVE, "table of FRC curves", _NEWER)


def write_residual_rings(path: Path, comparison: Comparison) -> None:
    """Write the deviance against detector radius, of fitted and of held-out counts.

    A radius at which there is no valid pixel has no line.
    """
    labels = _labels(comparison)
    lines = [
        (*labels[arm], counts, radius, float(value))
        for counts, rings in (("fitted", comparison.fitted_residuals), ("heldout", comparison.residuals))
        for arm, values in rings.items()
        for radius, value in enumerate(values)
        if np.isfinite(value)
    ]
    _write_csv(path, _RINGS, lines)


def read_residual_rings(path: Path) -> list[dict[str, Any]]:
    """The lines of a `residual_rings.csv`; raises as `read_metrics_csv`."""
    return _read_csv(path, _RINGS, "table of residuals by detector ring")


def write_residual_frames(path: Path, comparison: Comparison) -> None:
    """Write the deviance of each frame and where it was taken, of fitted and of held-out counts."""
    labels = _labels(comparison)
    places = list(zip(comparison.frame_index.tolist(), *comparison.positions_px.T.tolist(), strict=True))
    lines = [
        (*labels[arm], counts, *place, float(value))
        for counts, frames in (
            ("fitted", comparison.frame_deviances),
            ("heldout", comparison.heldout_frame_deviances),
        )
        for arm, values in frames.items()
        for place, value in zip(places, values, strict=True)
    ]
    _write_csv(path, _FRAMES, lines)


def read_residual_frames(path: Path) -> list[dict[str, Any]]:
    """The lines of a `residual_frames.csv`; raises as `read_metrics_csv`."""
    return _read_csv(path, _FRAMES, "table of residuals by frame")


def write_metrics_json(path: Path, comparison: Comparison) -> None:
    """Write the rows, what was removed from each arm and how it came about, and what they share; no NaN."""
    arms = {
        arm: {
            "gauge": _plain_gauge(gauge),
            "error_gauge": comparison.error_gauges.get(arm),
            **comparison.origins[arm],
        }
        for arm, gauge in comparison.gauges.items()
    }
    facts: dict[str, Any] = {
        "rows": comparison.plain(),
        "arms": arms,
        "data_sha256": comparison.data_sha256,
        "n_frames": comparison.n_frames,
        "photons_per_frame": comparison.photons_per_frame,
        "window_px": list(comparison.window),
        "canvas_px": list(comparison.mask.shape),
        "scored_pixels": int(comparison.mask.sum()),
        "reference": comparison.reference,
        "exposure_ratio": comparison.exposure_ratio,
        "limit": None if comparison.limit is None else _plain_limit(comparison.limit),
        "settings": comparison.settings.plain(),
    }
    if comparison.geometry is not None:
        facts["geometry"] = comparison.geometry.plain()
    with about(str(path)):
        try:
            write_json(path, facts)
        except (TypeError, ValueError) as error:
            raise DataError(f"expected JSON-ready settings in every reconstruction: {error}") from None


@dataclass(frozen=True)
class Objects:
    """The images of one comparison, all on one canvas.

    Attributes:
        arms: (y, x) complex64 aligned object of each arm.
        truth: (y, x) complex64 object they are aligned to, or None.
        mask: (y, x) bool, the pixels scored.
        coverage: (y, x) float32 photons through each object pixel.
    """

    arms: Mapping[str, np.ndarray]
    truth: np.ndarray | None
    mask: np.ndarray
    coverage: np.ndarray


def write_objects(path: Path, comparison: Comparison) -> None:
    """Write the aligned objects as NPZ, each under its arm's name, with `truth` where there is one, `mask`, `coverage`.

    The same comparison gives the same bytes.

    Raises:
        DataError: an arm has the name of another array, or the file can't be written.
    """
    if taken := sorted(set(_SHARED) & set(comparison.objects)):
        raise DataError(f"{path}: expected other names of arms than {', '.join(_SHARED)}, got {taken[0]!r}; rename it")
    truth = {} if comparison.truth is None else {"truth": comparison.truth.astype(np.complex64)}
    arms = {arm: image.astype(np.complex64) for arm, image in comparison.objects.items()}
    light = comparison.coverage.astype(np.float32)
    write_npz(path, {**arms, **truth, "mask": comparison.mask, "coverage": light})


def read_objects(path: Path) -> Objects:
    """Read what `write_objects` wrote.

    Raises:
        DataError: the file is missing, damaged, or holds something else.
    """
    with open_npz(path) as archive:
        mask, coverage = archive["mask"], archive["coverage"]
        images = {key: archive[key] for key in archive.keys if key not in {"mask", "coverage"}}
        for key, image in {"mask": mask, "coverage": coverage, **images}.items():
            kind = _KINDS.get(key, "complex")
            if image.ndim != 2 or image.shape != mask.shape or not image.dtype.name.startswith(kind):
                raise DataError(
                    f"{key}: expected a {kind} image on the canvas of all, got {image.dtype} {image.shape}; give a file"
                    " that a comparison wrote"
                )
    return Objects({key: image for key, image in images.items() if key != "truth"}, images.get("truth"), mask, coverage)


def _plain_gauge(gauge: Gauge) -> dict[str, Any]:
    return {**asdict(gauge), "scale": {"real": gauge.scale.real, "imag": gauge.scale.imag}}


def _plain_limit(limit: DoseLimit) -> dict[str, Any]:
    """The limit without its curves, which are in `frc_curves.csv`."""
    return {
        "parameters": limit.parameters,
        "probe": limit.probe,
        "determined": limit.determined,
        "bound": limit.bound,
        "bound_error": limit.bound_error,
        "bayes": limit.bayes,
        "photons_per_pixel": limit.photons_per_pixel,
    }


def _present(has: Callable[[str], bool]) -> list[str]:
    """The columns of a table: all but the older definitions that it has none of."""
    standard = Row.columns()
    return [column for column in _ALL if column in standard or has(column)]


def _labels(comparison: Comparison) -> dict[str, tuple[Any, ...]]:
    return {row.arm: tuple(getattr(row, name) for name in _LABELS) for row in comparison.rows}


def _read_csv(path: Path, columns: Sequence[str], what: str, newer: Collection[str] = ()) -> list[dict[str, Any]]:
    """The lines of a table as numbers and words; a newer column may be missing and is then empty."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines = csv.DictReader(stream)
            found = lines.fieldnames or ()
            if missing := [column for column in columns if column not in found and column not in newer]:
                raise DataError(f"{path}: expected the column {missing[0]!r}, found {', '.join(found)}")
            return [{column: _value(column, line.get(column)) for column in columns} for line in lines]
    except OSError as error:
        raise DataError(f"{path}: expected a {what}, got {error.strerror}; run the comparison first") from None
    except ValueError as error:
        raise DataError(f"{path}: expected a {what}: {error}") from None


def _write_csv(path: Path, columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in line] for line in lines)
    write_text(path, text.getvalue())


def _cell(value: Any) -> str:
    """A value as a table shows it: floats in seven digits, an empty cell for None."""
    if value is None:
        return ""
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _value(column: str, cell: str | None) -> Any:
    """What a cell of a column says."""
    if not cell:
        return None
    if column in _WORDS:
        return cell
    return int(cell) if column in _WHOLE else float(cell)
