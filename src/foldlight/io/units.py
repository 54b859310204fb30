"""Lengths and energies of an HDF5 file in metres and electronvolts, by their `units` attribute or by what fits.

Source of the constants: the exact SI values of 2019.
"""

from contextlib import suppress

import numpy as np

from foldlight.core.errors import DataError
from foldlight.geometry import energy_of, wavelength_of
from foldlight.io.hdf5 import Hdf5
from foldlight.io.npz import about

__all__ = ["JOULE_EV", "fixed_length", "lengths", "photon_energy", "photon_wavelength", "unit_of", "words"]

_LENGTHS = {
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1.0),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1e-3),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre"), 1e-6),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e-9),
    **dict.fromkeys(("a", "å", "ang", "angstrom", "angstroms"), 1e-10),
    **dict.fromkeys(("pm", "picometer", "picometers", "picometre", "picometres"), 1e-12),
}
JOULE_EV = 1 / 1.602176634e-19
"""Electronvolts in a joule."""

_ENERGIES = {
    **dict.fromkeys(("j", "joule", "joules"), JOULE_EV),
    **dict.fromkeys(("ev", "electronvolt", "electron volt"), 1.0),
    "kev": 1e3,
    "gev": 1e9,
}
_MOST_M = 1e6  # no instrument is longer
_ALIKE = 1e-3  # relative: numbers of which one, their mean, is as good as each


def words(value: object) -> str | None:
    """An attribute that is text, as fixed or variable length or as an array of one; None for anything else."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return str(value).strip() if isinstance(value, str) else None


def unit_of(file: Hdf5, name: str) -> str | None:
    """What the attribute `units` (or `unit`) of a dataset says; None where it says nothing."""
    return words(file.attribute("units", name)) or words(file.attribute("unit", name)) or None


def lengths(file: Hdf5, name: str) -> np.ndarray:
    """float64 lengths [m] of any shape; metres where the dataset has no units.

    Raises:
        DataError: no numbers, not finite, absurdly long, or of another unit.
    """
    values = np.asarray(_reals(file, name) * _factor(name, unit_of(file, name) or "m", _LENGTHS))
    if values.size and (farthest := np.abs(values).max()) > _MOST_M:
        raise DataError(f"{name}: expected lengths up to {_MOST_M:g} m, got {farthest:.6g} m; correct its units")
    return values


def fixed_length(file: Hdf5, name: str) -> float | None:
    """One length [m], of a dataset of one number or of many that are alike; None where there is no such dataset.

    Raises:
        DataError: as `lengths`, or numbers that differ.
    """
    return _single(name, lengths(file, name)) if name in file else None


def photon_energy(file: Hdf5, name: str, unit: str | None = None) -> tuple[float, str]:
    """Photon energy [eV] of a dataset, and a note.

    Args:
        file: where it lies.
        name: of the dataset.
        unit: what a number without units is in; None for whichever of joule, eV and keV makes it a photon's energy,
            when it is but one.

    Raises:
        DataError: no number, of another unit, outside 50 eV to 200 keV, or nothing says its unit.
    """
    value = _single(name, _reals(file, name))
    said = unit_of(file, name)
    with about(name):
        if said is None and unit is None:
            unit = _only_unit(value)
        energy = value * _factor(name, said or unit or "", _ENERGIES)
        try:
            wavelength_of(energy)
        except DataError as error:
            meant = [other for other in _fitting(value) if not said]
            hint = f"{value:.6g} {said or unit}{f', which may be {meant[0]}' if meant else ''}"
            raise DataError(f"{hint}: {error}") from None
    return energy, f"{name}: {value:.6g} {said or f'{unit}, as it has no units'}, {energy / 1e3:.6g} keV"


def photon_wavelength(file: Hdf5, name: str) -> tuple[float, str]:
    """Photon energy [eV] of a dataset that holds a wavelength, and a note.

    Raises:
        DataError: as `photon_energy`.
    """
    wavelength = _single(name, lengths(file, name))
    with about(name):
        return energy_of(wavelength), f"{name}: {wavelength:.6g} m"


def _only_unit(value: float) -> str:
    """The unit in which a number is a photon's energy, if it is one only."""
    fits = _fitting(value)
    if len(fits) != 1:
        found = f"{value:.6g} may be {' or '.join(fits)}" if fits else f"{value:.6g} is one in no unit"
        raise DataError(
            f"expected a photon energy with units (50 eV to 200 keV), got none, and {found}; set the option energy_kev"
        )
    return fits[0]


def _fitting(value: float) -> list[str]:
    """The units in which a number is a photon's energy."""
    fits = []
    for unit in ("joule", "eV", "keV"):
        with suppress(DataError):
            wavelength_of(value * _ENERGIES[unit.lower()])
            fits.append(unit)
    return fits


def _reals(file: Hdf5, name: str) -> np.ndarray:
    with about(name):
        if file.dataset(name).dtype.kind not in "iuf":
            raise DataError(f"expected real numbers, got {file.dataset(name).dtype}")
    values = file.array(name).astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{name}: expected finite numbers, got {int((~np.isfinite(values)).sum())} that are not")
    return values


def _single(name: str, values: np.ndarray) -> float:
    mean = float(values.mean()) if values.size else 0.0
    if not values.size or np.ptp(values) > _ALIKE * abs(mean):
        found = f"{values.size} from {values.min():.6g} to {values.max():.6g}" if values.size else "none"
        raise DataError(f"{name}: expected one number for the whole scan, got {found}; split the scan")
    return mean


def _factor(name: str, unit: str, known: dict[str, float]) -> float:
    if (factor := known.get(unit.strip().lower())) is None:
        kinds = "m, mm, um, nm, angstrom or pm" if known is _LENGTHS else "J, eV or keV"
        raise DataError(f"{name}: expected units of {kinds}, got {unit!r}; correct the attribute units")
    return factor
