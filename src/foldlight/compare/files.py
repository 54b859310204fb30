"""A comparison on disk, and what is read back from it: tables, curves and the aligned objects.

Columns and keys are written in `specs/compare_models.md`.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foldlight.compare.align import Gauge
from foldlight.compare.table import Comparison, Row
from foldlight.core.errors import DataError
from foldlight.core.files import write_json, write_text
from foldlight.io.npz import about, open_npz, write_npz

__all__ = [
    "Objects",
    "read_metrics_csv",
    "read_objects",
    "write_frc_csv",
    "write_metrics_csv",
    "write_metrics_json",
    "write_objects",
    "write_rows",
]

_WORDS = {"view", "split", "arm", "status", "frc_half_state"}
_WHOLE = {"seed", "n_frames"}
_SHARED = ("truth", "mask", "coverage")
_KINDS = {"mask": "bool", "coverage": "float"}  # all others are complex


def write_metrics_csv(path: Path, comparison: Comparison) -> None:
    """Write one line for each arm; the columns of `Row`."""
    write_rows(path, comparison.plain())


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of any number of comparisons as one `metrics.csv`; a column that a row lacks is an empty cell."""
    columns = Row.columns()
    _write_csv(path, columns, [[row.get(column) for column in columns] for row in rows])


def read_metrics_csv(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.csv` as numbers and words; None for an empty cell.

    Raises:
        DataError: the file can't be read, lacks a column, or a cell is not the number it should be.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines = csv.DictReader(stream)
            if missing := [column for column in Row.columns() if column not in (lines.fieldnames or ())]:
                raise DataError(
                    f"{path}: expected the column {missing[0]!r}, found {', '.join(lines.fieldnames or ())}"
                )
            return [{column: _value(column, line[column]) for column in Row.columns()} for line in lines]
    except OSError as error:
        raise DataError(f"{path}: expected a metrics table, got {error.strerror}; run the comparison first") from None
    except ValueError as error:
        raise DataError(f"{path}: expected a metrics table: {error}") from None


def write_frc_csv(path: Path, comparison: Comparison) -> None:
    """Write one line for each arm and ring: its frequency, correlation, samples and half-bit threshold."""
    labels = {row.arm: (row.dose, row.view, row.split, row.arm, row.seed) for row in comparison.rows}
    lines = [
        (*labels[arm], *map(float, ring))
        for arm, curve in comparison.curves.items()
        for ring in zip(curve.nyquist, curve.correlation, curve.samples, curve.half_bit, strict=True)
    ]
    columns = ["dose", "view", "split", "arm", "seed", "frequency_nyquist", "frc", "samples", "half_bit"]
    _write_csv(path, columns, lines)


def write_metrics_json(path: Path, comparison: Comparison) -> None:
    """Write the rows, what was removed from each arm and how it came about, and what they share; no NaN."""
    arms = {arm: {"gauge": _plain_gauge(gauge), **comparison.origins[arm]} for arm, gauge in comparison.gauges.items()}
    facts = {
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
        "settings": comparison.settings.plain(),
    }
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
