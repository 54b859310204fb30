"""`product.h5` of ptychodus as it lies in the file: metres, all modes, all layers; read and written whole.

Root attributes: `name`, `comments` (text); `detector_object_distance_m`, `focus_object_distance_m`, `photon_energy_eV`
(`probe_energy_eV` in older files), `probe_photon_count`, `exposure_time_s`, `mass_attenuation_m2_per_kg`,
`tomography_angle_deg`, `tilt_angle_deg` (numbers; 0 where nobody said), `far_field` (bool, True when absent),
`polarization` (text, or absent).

Data sets:

- `probe_position_indexes` (n,) integers: which pattern a position belongs to, see `paired`.
- `probe_position_x_m`, `probe_position_y_m` (n,) reals: of the beam on the sample [m].
- `probe_photon_counts` (n,) reals, or absent: light of each exposure [photon].
- `probe` (coherent, incoherent, y, x) complex; three or two axes are the last of these. Attributes `pixel_width_m`,
  `pixel_height_m`; those of the object when absent.
- `opr_weights` (n, coherent) reals, or absent: at position i the first incoherent mode is `sum_c w[i, c] probe[c, 0]`,
  and the others are `probe[0, m]`.
- `object` (layer, y, x) complex, or (y, x). Attributes `center_x_m`, `center_y_m`, `pixel_width_m`, `pixel_height_m`.
- `object_layer_spacing_m` (layer - 1,) reals [m], or absent for a single layer.
- `loss_epochs`, `loss_values` (k,), or absent.

The middle of the object array, `(size - 1) / 2`, lies at the centre; the middle of the probe array lies at the
position: `x_px = (x_m - center_x_m) / pixel_width_m + (width_px - 1) / 2` is where, in the object array. Written are
all of these, the array types as they come. Source: files of ptychodus 1.7.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foldlight.core.errors import DataError
from foldlight.core.files import replacing
from foldlight.io.frames import finite, numbers
from foldlight.io.hdf5 import Hdf5, open_hdf5, reserve, told_writing, written_hdf5
from foldlight.io.npz import about
from foldlight.io.units import words

__all__ = ["Product", "paired", "read_product", "write_product"]

_NUMBERS = (
    "photon_energy_eV",
    "detector_object_distance_m",
    "focus_object_distance_m",
    "probe_photon_count",
    "exposure_time_s",
    "mass_attenuation_m2_per_kg",
    "tomography_angle_deg",
    "tilt_angle_deg",
)
_TEXTS = ("name", "comments", "polarization")
_OLD_ENERGY = "probe_energy_eV"
_NOTES_BYTES = 2**16  # what HDF5 writes beside arrays
_MOST = 1e18  # of a field or a weight; more is damage, and its square would be too much for anything
_SMALLEST_M, _FARTHEST_M = 1e-15, 1e3


@dataclass(frozen=True)
class Product:
    """What a product file holds, in the file's own terms.

    Attributes:
        indexes: (n,) int64 number of the pattern of each position.
        positions_m: (n, 2) float64 (y, x) [m].
        probe: (coherent, incoherent, y, x) complex.
        object: (layer, y, x) complex.
        pixel_size_m: (y, x) of an object pixel [m].
        centre_m: (y, x) of the middle of the object array [m].
        probe_pixel_m: (y, x) of a probe pixel [m]; that of the object when None.
        opr_weights: (n, coherent) float, or None.
        layer_spacing_m: (layer - 1,) float64 [m].
        photon_counts: (n,) float64 light of each exposure [photon], or None.
        losses: (k, 2) float64 epoch and loss.
        facts: the root attributes that are there, by name, JSON-ready.

    Raises:
        DataError: shapes, kinds of numbers or lengths that do not fit each other.
    """

    indexes: np.ndarray
    positions_m: np.ndarray
    probe: np.ndarray
    object: np.ndarray
    pixel_size_m: tuple[float, float]
    centre_m: tuple[float, float]
    probe_pixel_m: tuple[float, float] | None = None
    opr_weights: np.ndarray | None = None
    layer_spacing_m: np.ndarray = field(default_factory=lambda: np.empty(0))
    photon_counts: np.ndarray | None = None
    losses: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.indexes)
        if not n or self.positions_m.shape != (n, 2):
            raise DataError(
                f"probe_position_indexes: expected one or more, and as many positions, got {n} and"
                f" {self.positions_m.shape}"
            )
        finite(self.positions_m)
        for name, array, axes in (("probe", self.probe, 4), ("object", self.object, 3)):
            with about(name):
                numbers(array, axes, "c")
                if not array.size:
                    raise DataError(f"expected some pixels, got shape {array.shape}")
        if self.opr_weights is not None and self.opr_weights.shape != (n, len(self.probe)):
            raise DataError(
                f"opr_weights: expected {(n, len(self.probe))}, one a position and coherent mode, got"
                f" {self.opr_weights.shape}"
            )
        if self.layer_spacing_m.shape != (len(self.object) - 1,):
            raise DataError(
                f"object_layer_spacing_m: expected {len(self.object) - 1} between {len(self.object)} layers, got shape"
                f" {self.layer_spacing_m.shape}"
            )
        lengths = (*self.pixel_size_m, *(self.probe_pixel_m or ()))
        if not (min(lengths) > _SMALLEST_M and max(*lengths, *map(abs, self.centre_m)) < _FARTHEST_M):
            raise DataError(
                f"object, probe: expected positive pixel sizes and a finite centre [m], got {lengths} and"
                f" {self.centre_m}"
            )

    @property
    def modes(self) -> np.ndarray:
        """(mode, y, x) incoherent modes of the probe; of one that varies, with its mean weights."""
        if self.opr_weights is None:
            return self.probe[0]
        first = np.tensordot(self.opr_weights.mean(axis=0), self.probe[:, 0], axes=1)
        return np.concatenate([first[None], self.probe[0, 1:]])

    @property
    def variation(self) -> float:
        """Share of the first mode's light that varies from position to position, 0 to 1; it is not in `modes`."""
        if self.opr_weights is None:
            return 0.0
        coherent = self.probe[:, 0].reshape(len(self.probe), -1)
        gram = np.real(coherent.conj() @ coherent.T)
        mean = self.opr_weights.mean(axis=0)
        every = float(np.einsum("nc,cd,nd->n", self.opr_weights, gram, self.opr_weights).mean())
        return max(0.0, 1 - float(mean @ gram @ mean) / every) if every > 0 else 0.0


def read_product(source: Path | Hdf5, limit_bytes: int = 16 << 30) -> Product:
    """A product from its file, or from one that is open.

    Raises:
        DataError: no HDF5 file, a data set or attribute is missing, or not what it has to be; one line that names it.
    """
    opened: AbstractContextManager[Hdf5] = (
        open_hdf5(source, limit_bytes) if isinstance(source, Path) else nullcontext(source)
    )
    with opened as file:
        position_y, position_x = (_column(file, f"probe_position_{axis}_m") for axis in "yx")
        if len(position_y) != len(position_x):
            raise DataError(
                f"probe_position_y_m: expected as many as probe_position_x_m, got {len(position_y)} and"
                f" {len(position_x)}"
            )
        indexes = _whole(file, "probe_position_indexes")
        probe, thing = _stack(file, "probe", 4), _stack(file, "object", 3)
        optional = {
            name: _reals(file, name, axes) if name in file else None
            for name, axes in (("opr_weights", 2), ("object_layer_spacing_m", 1), ("probe_photon_counts", 1))
        }
        spacing = optional["object_layer_spacing_m"]
        return Product(
            indexes,
            np.stack([position_y, position_x], axis=1),
            probe,
            thing,
            _pair(file, "object", "pixel_height_m", "pixel_width_m"),
            _pair(file, "object", "center_y_m", "center_x_m"),
            _pair(file, "probe", "pixel_height_m", "pixel_width_m") if _has_pixel(file, "probe") else None,
            optional["opr_weights"],
            np.empty(0) if spacing is None else spacing,
            optional["probe_photon_counts"],
            _losses(file),
            _facts(file),
        )


def _facts(file: Hdf5) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name in _TEXTS:
        if (said := words(file.attribute(name))) is not None:
            facts[name] = said
    for name in _NUMBERS:
        stored = file.attribute(name)
        if stored is None and name == "photon_energy_eV":
            stored = file.attribute(_OLD_ENERGY)
        if stored is not None:
            facts[name] = _number(name, stored)
    if (far := file.attribute("far_field")) is not None:
        facts["far_field"] = bool(_number("far_field", far))
    return facts


def _number(name: str, value: Any) -> float:
    """A number of an attribute."""
    stored = np.asarray(value)
    if stored.size != 1 or stored.dtype.kind not in "biuf" or not np.isfinite(stored).all():
        raise DataError(f"attribute {name}: expected one finite number, got {value!r:.60}")
    return float(stored.item())


def _has_pixel(file: Hdf5, name: str) -> bool:
    return all(file.attribute(f"pixel_{side}_m", name) is not None for side in ("height", "width"))


def _pair(file: Hdf5, of: str, *names: str) -> tuple[float, float]:
    """(y, x) of two attributes of a data set."""
    values = []
    for name in names:
        stored = file.attribute(name, of)
        if stored is None:
            raise DataError(f"{of}: expected the attribute {name}, found none; write the product again")
        values.append(_number(f"{name} of {of}", stored))
    return values[0], values[1]


def _reals(file: Hdf5, name: str, axes: int) -> np.ndarray:
    """float64 numbers that are finite."""
    with about(name):
        if file.dataset(name).dtype.kind not in "iuf":
            raise DataError(f"expected real numbers, got {file.dataset(name).dtype}")
    stored = file.array(name)
    with about(name):
        found = numbers(stored, axes).astype(np.float64)
        _refuse_large(found, _FARTHEST_M if name.endswith("_m") else _MOST)
        return found


def _column(file: Hdf5, name: str) -> np.ndarray:
    return _reals(file, name, 1)


def _whole(file: Hdf5, name: str) -> np.ndarray:
    """(n,) int64."""
    stored = file.array(name)
    with about(name):
        return numbers(stored, 1, "iu").astype(np.int64)


def _stack(file: Hdf5, name: str, axes: int) -> np.ndarray:
    """A complex array with leading axes of length 1 where it has fewer."""
    stored = file.array(name)
    with about(name):
        if stored.dtype.kind != "c" or not 2 <= stored.ndim <= axes:
            raise DataError(f"expected 2 to {axes} axes of complex numbers, got shape {stored.shape} of {stored.dtype}")
        _refuse_large(stored.view(stored.real.dtype) if stored.size else stored.real, _MOST)
        return stored.reshape((1,) * (axes - stored.ndim) + stored.shape)


def _refuse_large(values: np.ndarray, most: float) -> None:
    """Refuse numbers that are not finite, or larger than anything that was ever measured."""
    finite(values)
    if values.size and (largest := float(np.abs(values).max())) > most:
        raise DataError(f"expected numbers up to {most:g}, got {largest:g}; the file is damaged")


def _losses(file: Hdf5) -> np.ndarray:
    """(k, 2) epoch and loss; none where they are absent or do not belong together; a loss may be NaN."""
    if not ("loss_epochs" in file and "loss_values" in file):
        return np.empty((0, 2))
    columns = [file.array(name) for name in ("loss_epochs", "loss_values")]
    if any(column.dtype.kind not in "iuf" or column.ndim != 1 for column in columns):
        raise DataError("loss_epochs, loss_values: expected two lists of numbers; write the product again")
    return np.stack([column[: min(map(len, columns))].astype(np.float64) for column in columns], axis=1)


def write_product(path: Path, product: Product) -> None:
    """Write a product, so that ptychodus opens it; the same product gives the same bytes.

    Raises:
        DataError: it has no photon energy or detector distance, which ptychodus asks for, or the place can't be
            written.
    """
    for name in ("photon_energy_eV", "detector_object_distance_m"):
        if name not in product.facts:
            raise DataError(f"{path}: expected {name}, which ptychodus asks for, got none")
    arrays = _arrays(product)
    with replacing(path) as temporary, told_writing(path), written_hdf5(temporary) as file:
        reserve(file, sum(array.nbytes for array in arrays.values()) + _NOTES_BYTES)
        for name, value in _attributes(product).items():
            file.attrs[name] = value
        for name, array in arrays.items():
            file[name] = array
        for name, pixel in (("object", product.pixel_size_m), ("probe", product.probe_pixel_m)):
            height, width = pixel or product.pixel_size_m
            file[name].attrs["pixel_height_m"], file[name].attrs["pixel_width_m"] = height, width
        file["object"].attrs["center_y_m"], file["object"].attrs["center_x_m"] = product.centre_m


def _attributes(product: Product) -> dict[str, Any]:
    """The root attributes; ptychodus reads texts of variable length only."""
    texts = {name: str(product.facts.get(name, "")) for name in ("name", "comments")}
    if "polarization" in product.facts:
        texts["polarization"] = str(product.facts["polarization"])
    reals = {name: float(product.facts.get(name, 0.0)) for name in _NUMBERS}
    return {**texts, **reals, "far_field": np.bool_(product.facts.get("far_field", True))}


def _arrays(product: Product) -> dict[str, np.ndarray]:
    arrays = {
        "probe_position_indexes": product.indexes.astype(np.int64),
        "probe_position_x_m": np.ascontiguousarray(product.positions_m[:, 1]),
        "probe_position_y_m": np.ascontiguousarray(product.positions_m[:, 0]),
        "probe": product.probe,
        "object": product.object,
        "object_layer_spacing_m": product.layer_spacing_m,
        "loss_epochs": product.losses[:, 0].astype(np.int64),
        "loss_values": np.ascontiguousarray(product.losses[:, 1]),
    }
    optional = {"opr_weights": product.opr_weights, "probe_photon_counts": product.photon_counts}
    return arrays | {name: given for name, given in optional.items() if given is not None}


def paired(numbers_of_patterns: np.ndarray, product: Product) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Which patterns have a position, and which: patterns and positions of the same index belong together.

    As ptychodus does it: positions that share an index are averaged (a fly scan has several to a pattern); a pattern
    whose index lies between those of two positions lies between them, by linear interpolation; one beyond the first
    or last is left out, and so is a place in the file that no pattern ever filled, whose index is negative.

    Args:
        numbers_of_patterns: (m,) int64.
        product: with the positions.

    Returns:
        (k,) int64 rows of the patterns that are taken, (k, 2) float64 their positions (y, x) [m], and notes.

    Raises:
        DataError: no pattern has a position.
    """
    known, inverse, counts = np.unique(product.indexes, return_inverse=True, return_counts=True)
    mean = np.stack(
        [np.bincount(inverse, weights=axis) / counts for axis in product.positions_m.T],
        axis=1,
    )
    filled = numbers_of_patterns >= 0
    taken = np.flatnonzero(filled & (numbers_of_patterns >= known[0]) & (numbers_of_patterns <= known[-1]))
    wanted = numbers_of_patterns[taken]
    if not len(taken):
        raise DataError(
            f"indexes: expected patterns with the indexes of positions, {known[0]} to {known[-1]}, got"
            f" {_span(numbers_of_patterns[filled])}; the two files are of different scans"
        )
    places = np.stack([np.interp(wanted, known, axis) for axis in mean.T], axis=1)
    between = int((~np.isin(wanted, known)).sum())
    told = {
        f"{int((counts > 1).sum())} indexes have several positions, which are averaged": (counts > 1).any(),
        f"{between} of {len(wanted)} patterns have no position of their own: interpolated between their neighbours'": (
            between
        ),
        f"{int(filled.sum()) - len(taken)} patterns left out, their indexes are beyond those of the positions": (
            filled.sum() > len(taken)
        ),
        f"{int((~filled).sum())} patterns left out, they were never recorded": not filled.all(),
        f"{int((~np.isin(known, wanted)).sum())} positions left out, they have no pattern": (
            not np.isin(known, wanted).all()
        ),
    }
    return taken, places, [f"indexes: {note}" for note, holds in told.items() if holds]


def _span(indexes: np.ndarray) -> str:
    return f"{indexes.min()} to {indexes.max()}" if len(indexes) else "none"
