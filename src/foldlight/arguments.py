"""What is given to a verb, as what the library takes: paths become scans, keywords settings, odd ones a refusal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from foldlight.core.errors import DataError, SettingsError
from foldlight.core.settings import Settings
from foldlight.io import ReadOptions, read_scan
from foldlight.io.frames import probe_for
from foldlight.scan import Scan

if TYPE_CHECKING:
    from foldlight.reconstruct.protocol import Reconstruction

__all__ = [
    "chosen_settings",
    "expect_known",
    "exposure_ratio_of",
    "part_of",
    "reconstructions_of",
    "remembered_scan",
    "scan_of",
    "with_probe",
]

SettingsT = TypeVar("SettingsT", bound=Settings)


def scan_of(who: str, given: Any) -> Scan:
    """A scan that is given, or read from the path of its file.

    Raises:
        DataError: neither, or the file is not sound; `who` is the verb.
    """
    if isinstance(given, Scan):
        return given
    if isinstance(given, str | Path):
        return read_scan(Path(given).expanduser())
    raise DataError(
        f"{who}: expected a scan or the path of one, got {type(given).__name__}; make one with scan_from_arrays"
    )


def with_probe(scan: Scan, probe: "Reconstruction | np.ndarray | str | Path | None") -> Scan:
    """The scan, with another probe where one is given: an array, a reconstruction's, or that of a file.

    Raises:
        DataError: the probe is not of the frames' size, or the file is not sound.
    """
    from foldlight.reconstruct.protocol import Reconstruction

    if probe is None:
        return scan
    if isinstance(probe, str | Path):
        named = ReadOptions(probe_from=Path(probe).expanduser())
        modes, notes = probe_for("probe", None, scan.photons, scan.geometry, named)
        return scan.with_probe(modes, "; ".join(notes))
    if isinstance(probe, Reconstruction):
        return scan.with_probe(probe.probe, f"probe of {probe.arm}")
    array = np.asarray(probe).astype(np.complex64)
    return scan.with_probe(array[None] if array.ndim == 2 else array, "probe given as an array")


def reconstructions_of(given: Any) -> "Sequence[Reconstruction]":
    """What is to be compared, in order, under the names that are wanted: one, several or a mapping, files or not.

    Raises:
        DataError: something else is among them.
    """
    from foldlight.reconstruct.protocol import Reconstruction

    def loaded(each: Any) -> Reconstruction:
        if isinstance(each, str | Path):
            return Reconstruction.load(each)
        if isinstance(each, Reconstruction):
            return each
        raise DataError(f"compare: expected reconstructions or their files, got {type(each).__name__}")

    if isinstance(given, Mapping):
        return [replace(loaded(each), arm=name) for name, each in given.items()]
    several = isinstance(given, Iterable) and not isinstance(given, str)
    return [loaded(each) for each in (given if several else [given])]


def remembered_scan(made: "Sequence[Reconstruction]") -> Scan:
    """The scan that one of them was made from.

    Raises:
        DataError: none remembers it.
    """
    found = next((each.scan for each in made if each.scan is not None), None)
    if found is None:
        names = ", ".join(each.arm for each in made)
        raise DataError(
            f"compare: expected a reconstruction that remembers its scan, got {names or 'none'}; give it as scan"
        )
    return found


def exposure_ratio_of(scan: Scan, heldout: Scan) -> float:
    """Exposure of one scan over that of the other, as `thin` noted it; 1 where it did not."""
    unseen, seen = (each.origin.get("exposure_share") for each in (heldout, scan))
    return float(unseen / seen) if unseen and seen else 1.0


def chosen_settings(
    who: str, kind: type[SettingsT], settings: SettingsT | None, keywords: Mapping[str, Any]
) -> SettingsT:
    """Settings as given, those of the keywords taking their place.

    Raises:
        SettingsError: an option is unknown or out of range; `who` is the verb.
    """
    expect_known(who, keywords, kind.model_fields)
    return kind.parse({**(settings.model_dump(exclude_unset=True) if settings else {}), **keywords}, who)


def part_of(who: str, kind: type[SettingsT], options: Mapping[str, Any]) -> SettingsT:
    """The settings of one class among options of several.

    Raises:
        SettingsError: one is out of range.
    """
    return kind.parse({name: value for name, value in options.items() if name in kind.model_fields}, who)


def expect_known(who: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a keyword that nothing would look at, with the name that was probably meant.

    Raises:
        SettingsError: there is one.
    """
    names = sorted(known)
    for name in given:
        if name not in names:
            near = get_close_matches(name, names, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            options = f"some of the options {', '.join(names)}" if names else "no option"
            raise SettingsError(f"{who}: expected {options}, got {name!r}{meant}")
