"""From a verdict to the options that read the file so, and the verb that says them."""

import json

import numpy as np
import pytest

from foldlight.cli import main
from foldlight.core.settings import Settings
from foldlight.frames import ORIENTATIONS
from foldlight.io import read_scan, write_container, write_data001
from foldlight.io.options import ReadOptions
from foldlight.optics.probes import aberrated, disc
from foldlight.orient.answer import flags, read_options
from foldlight.orient.settings import OrientSettings
from foldlight.orient.symmetry import READINGS, Reading
from foldlight.scan import Scan, place_on_canvas
from foldlight.simulate.acquire import acquire
from foldlight.simulate.objects import make_object


def scan_of(probe: np.ndarray) -> Scan:
    draw = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), -1).reshape(-1, 2)
    positions, canvas = place_on_canvas(2.2 * grid + draw.uniform(-0.5, 0.5, (16, 2)), probe.shape[1:])
    return acquire(make_object("dead-leaves", canvas, draw, 0.5, 1.5), probe, positions, 1e5, seed=3)


@pytest.fixture(scope="module")
def scan() -> Scan:
    return scan_of(aberrated((16, 16), 7.0, np.random.default_rng(2), strength=0.15))


@pytest.mark.parametrize("name", ["scan.npz", "scan.h5"])
@pytest.mark.parametrize(
    "given", [{}, {"orientation": "rotate_90", "translation_sign": "sample"}, {"position_order": "xy"}], ids=str
)
def test_the_options_read_the_file_as_the_reading_says(tmp_path, scan, name, given):
    path = tmp_path / name
    (write_container if name.endswith(".h5") else write_data001)(path, scan)
    options = ReadOptions.parse({**given, "ignore_object": True})
    found = read_scan(path, options)
    for reading in READINGS[::3]:
        wanted = reading.of(found)
        again = read_scan(path, read_options(path, options, found, reading))
        assert np.array_equal(again.photons[:], wanted.photons[:]), reading
        assert np.allclose(again.positions_px - again.positions_px[0], wanted.positions_px - wanted.positions_px[0])


def test_flags_name_what_is_not_by_default():
    assert flags(ReadOptions()) == ""
    options = ReadOptions(orientation="flip_y", translation_sign="sample", position_order="xy")
    assert flags(options) == "--orientation flip_y --translation-sign sample --position-order xy"


def test_settings_are_refused_that_ask_nothing():
    assert issubclass(OrientSettings, Settings)
    with pytest.raises(Exception, match="doubt"):
        OrientSettings.parse({"doubt": ()})
    with pytest.raises(Exception, match="frames = 5"):
        OrientSettings.parse({"frames": 5})


def test_the_verb_tells_the_options_to_use(tmp_path, scan, capsys):
    path = tmp_path / "scan.npz"
    write_data001(path, Reading(negated=True).of(scan))
    words = ["orient", str(path), "--doubt", "sign", "--threads", "1"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert "told: frames as_stored, positions negated" in said
    assert "read it with: --translation-sign sample" in said

    with pytest.raises(SystemExit) as ended:
        main([*words, "--translation-sign", "sample", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0
    assert answer["told"]
    assert answer["as_read"]
    assert answer["read_options"]["translation_sign"] == "sample"
    assert answer["read_options"]["orientation"] in ORIENTATIONS


def test_the_verb_says_that_it_cannot_tell(tmp_path, capsys):
    path = tmp_path / "scan.npz"
    write_data001(path, scan_of(disc((16, 16), 7.0)))
    with pytest.raises(SystemExit) as ended:
        main(["orient", str(path), "--doubt", "sign", "--threads", "1"])
    said = capsys.readouterr().out
    assert ended.value.code == 3
    assert said.startswith("cannot tell: only the probe could")
    assert "read it with" not in said
