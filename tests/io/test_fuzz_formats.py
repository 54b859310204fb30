"""Damaged files of every format: one line, or a sound scan; nothing written, no room for what is not there."""

import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from damage import damage

from foldlight.conformance import WINDOWS, phantom
from foldlight.core.errors import DataError
from foldlight.io import read_scan, write_scan, writers
from foldlight.scan import Scan

SEEDS = 100
LONGEST_LINE = 900
MOST_MEMORY_KB = 2**20
FORMATS = sorted(writers())


def written(folder: Path, form: str) -> list[Path]:
    """The oblong experiment, or the square one where the format asks for it."""
    for name in WINDOWS:
        place = folder / "scan" if form == "ptychodus" else folder / "scan.dat"
        try:
            return [path.relative_to(folder) for path in write_scan(place, phantom(name), form)]
        except DataError:
            continue
    raise AssertionError(f"{form} is not written")


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def outcome(path: Path) -> Scan | DataError:
    """What reading gives, all frames included."""
    try:
        scan = read_scan(path)
        scan.digest()
    except DataError as error:
        return error
    return scan


@pytest.mark.parametrize("form", FORMATS)
def test_damage_is_refused_in_one_line_or_read_as_a_sound_scan(tmp_path, form):
    good, bad = tmp_path / "good", tmp_path / "bad"
    files = written(good, form)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for seed in range(SEEDS):
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good, bad)
        how = f"{form}, seed {seed}: {damage(bad / files[seed % len(files)], seed)}"
        damaged = content(bad)
        found = outcome(bad / files[0])
        assert content(bad) == damaged, how
        if isinstance(found, DataError):
            refused += 1
            assert "\n" not in str(found), how
            assert len(str(found)) < LONGEST_LINE + 2 * len(str(bad)), how
            assert str(bad) in str(found), how
        else:
            assert np.isfinite(found.photons[:]).all(), how
            assert found.photons[:].min() >= 0, how
    assert refused > SEEDS // 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY_KB


@pytest.mark.parametrize("form", FORMATS)
def test_an_undamaged_file_is_read(tmp_path, form):
    files = written(tmp_path, form)
    assert isinstance(outcome(tmp_path / files[0]), Scan)


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_file_and_a_text_are_refused(tmp_path, form):
    first = tmp_path / written(tmp_path, form)[0]
    for text in (b"", b"n,y,x\n1,2,3\n", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"):
        first.write_bytes(text)
        found = outcome(first)
        assert isinstance(found, DataError)
        assert str(found).startswith(str(first))
