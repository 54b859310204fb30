"""The conformance set: made by formulas, read back by every reader, and any mistake is seen."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldlight import conformance
from foldlight.cli import main
from foldlight.conformance import WINDOWS, canonical, check_conformance, phantom, write_conformance
from foldlight.core.errors import DataError
from foldlight.frames import ORIENTATIONS, transposes
from foldlight.io import writers


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place: Path = tmp_path_factory.mktemp("conformance")
    write_conformance(place)
    return place


def test_every_format_is_read_as_written(folder):
    results = check_conformance(folder)
    assert {each.form for each in results} == set(writers())
    assert [each for each in results if each.faults] == []


def test_the_experiment_is_what_the_specification_says():
    """The formulas of specs/conformance.md once more, slowly: a sum for each pixel instead of a fast transform."""
    height, width = WINDOWS["oblong"]
    scan = phantom("oblong")
    j = 3
    y, x = height / 2 + 2 + (5 * j) % 11 + (j % 4) / 8, width / 2 + 2 + (3 * j * j + 2 * j) % 17 + (3 * j % 8) / 8
    np.testing.assert_array_equal(scan.positions_px[j], [y, x])
    exits = np.zeros((2, height, width), complex)
    power = 0.0
    for row in range(height):
        for column in range(width):
            u, v = row - height // 2, column - width // 2
            bell = np.exp(-((u - 0.7) ** 2) / 8 - (v + 0.4) ** 2 / 14)
            bell = bell * np.exp(1j * (0.05 * u * u - 0.03 * v * v + 0.07 * u * v))
            t = np.sin(0.35 * (y + u)) * np.cos(0.2 * (x + v) + 0.1 * (y + u)) + 0.03 * (x + v)
            for mode, value in enumerate((100 * bell, 5 * (u + 2 * v) * bell)):
                whole = np.rint(value.real) + 1j * np.rint(value.imag)
                power += abs(whole) ** 2
                exits[mode, row, column] = whole * np.exp(-(0.25 + 1j) * 0.6 * t)
    assert power == 172_929
    rows, columns = np.arange(height) - height // 2, np.arange(width) - width // 2
    turn_y = np.exp(-2j * np.pi * np.outer(rows, rows) / height)
    turn_x = np.exp(-2j * np.pi * np.outer(columns, columns) / width)
    waves = turn_y @ (exits * np.sqrt(40_000 / power)) @ turn_x / np.sqrt(height * width)
    counts = np.rint((np.abs(waves) ** 2).sum(axis=0))
    counts[1, 3] = 0
    np.testing.assert_array_equal(scan.photons[j], counts)
    digest = hashlib.sha256(np.ascontiguousarray(scan.photons[:], "<u4").tobytes()).hexdigest()
    assert canonical(scan)["photons"] == digest
    assert canonical(scan)["pixel_pm"] == [206640, 154980]


@pytest.mark.parametrize("name", WINDOWS)
def test_no_mistake_leaves_the_experiment_as_it_is(name):
    scan = phantom(name)
    straight = canonical(scan)
    turns = [each for each in ORIENTATIONS[1:] if name == "square" or not transposes(each)]
    for orientation in turns:
        assert canonical(scan.turned(orientation))["photons"] != straight["photons"]
        assert canonical(scan.turned(orientation))["mask"] != straight["mask"]
    wrong = [canonical(scan.turned(negated=True)), canonical(scan.turned(swapped=True))]
    assert straight["positions"] not in {each["positions"] for each in wrong}
    for probe in (scan.probe[::-1], scan.probe.conj(), scan.probe[:, ::-1], scan.probe[:, :, ::-1], -scan.probe):
        assert canonical(replace(scan, probe=probe))["probe"] != straight["probe"]
    stronger = canonical(replace(scan, probe=scan.probe * 2))
    assert stronger["probe"] == straight["probe"]
    assert stronger["probe_photons"] == pytest.approx(160_000, rel=1e-5)


def test_counts_do_not_hang_on_the_last_digit():
    """No expected number of photons is close to a half, and neither are positions and the probe."""
    for name in WINDOWS:
        scan = phantom(name)
        photons = np.stack([conformance._expected_photons(scan.probe, place) for place in scan.positions_px])
        assert np.abs(photons - np.floor(photons) - 0.5).min() > 1e-3
        noise = np.random.default_rng(0).normal(scale=1e-6, size=scan.positions_px.shape)
        moved = canonical(replace(scan, positions_px=scan.positions_px + noise, probe=scan.probe * (1 + 1e-6)))
        moved["probe_photons"] = canonical(scan)["probe_photons"]
        assert moved == canonical(scan)


def test_a_wrong_file_is_named_with_what_is_wrong(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "set")
    stated = json.loads((tmp_path / "set/expected.json").read_text())
    entry = next(each for each in stated["files"] if each["format"] == "cxi" and each["experiment"] == "oblong")
    entry["expected"]["photons"] = "0" * 64
    entry["expected"]["probe_photons"] *= 1.01
    (tmp_path / "set/expected.json").write_text(json.dumps(stated))
    (tmp_path / "set/square/tike.npz").write_bytes(b"PK nothing")
    faults = {each.file: each.faults for each in check_conformance(tmp_path / "set") if each.faults}
    assert set(faults) == {"oblong/cxi.cxi", "square/tike.npz"}
    assert faults["oblong/cxi.cxi"][0].startswith('photons: expected "0000000000000000000..., got "')
    assert faults["oblong/cxi.cxi"][1].startswith("probe_photons: expected 40400")
    assert "expected an NPZ" in faults["square/tike.npz"][0]


def test_the_same_set_has_the_same_bytes(folder, tmp_path):
    again = write_conformance(tmp_path / "again")
    assert again[-1].name == "expected.json"
    for file in again:
        other = folder / file.relative_to(tmp_path / "again")
        assert file.read_bytes() == other.read_bytes()
    stated = json.loads(again[-1].read_text())
    assert {name for entry in stated["files"] for name in entry["files"]} == {
        file.relative_to(tmp_path / "again").as_posix() for file in again[:-1]
    }


FAULTS: dict[str, tuple[Any, str]] = {
    "another version": ({"version": 9, "files": []}, "expected a conformance set of version 1; write it again"),
    "a list": ([], "expected a conformance set of version 1"),
    "no entries": ({"version": 1}, "expected a conformance set of version 1"),
    "an entry without files": (
        {"version": 1, "files": [{"format": "cxi", "files": {}, "expected": {}}]},
        "expected format, files and expected in each entry, got {'format': 'cxi'",
    ),
    "an entry that is none": ({"version": 1, "files": [3]}, "expected format, files and expected in each entry, got 3"),
}


@pytest.mark.parametrize(("stated", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_what_is_no_set_is_refused(tmp_path, stated, message):
    (tmp_path / "expected.json").write_text(json.dumps(stated))
    with pytest.raises(DataError, match=rf"expected\.json: {message}"):
        check_conformance(tmp_path)


def test_unknown_experiments_and_missing_sets_are_refused(tmp_path):
    with pytest.raises(DataError, match="experiment round: expected one of oblong, square"):
        phantom("round")
    with pytest.raises(DataError, match=r"expected\.json: expected a JSON file, got No such file"):
        check_conformance(tmp_path)


def test_the_verb_writes_and_checks(tmp_path, capsys):
    main(["conformance", str(tmp_path)])
    assert f"-> {tmp_path}" in capsys.readouterr().out
    main(["conformance", str(tmp_path), "--check"])
    assert "oblong/cxi.cxi                       as expected" in capsys.readouterr().out
    (tmp_path / "square/tike.npz").unlink()
    with pytest.raises(
        SystemExit, match=r"foldlight: .*expected \d+ files to be read as written, 1 were not; see above"
    ):
        main(["conformance", str(tmp_path), "--check"])
    assert "tike.npz: expected a readable file, got No such file" in capsys.readouterr().out


def test_no_torch_is_needed():
    code = "import sys, foldlight.conformance; assert not {'torch', 'scipy', 'h5py', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
