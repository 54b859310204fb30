"""What the doctor says, how it is written down, and with which exit code it leaves."""

import json
from collections import namedtuple
from dataclasses import replace

import numpy as np
import psutil
import pytest
from doctored import SPOILED, good_scan, with_frames

from foldlight.cli import main
from foldlight.cli.doctor import look_over
from foldlight.core.errors import DataError, SettingsError
from foldlight.doctor import Diagnosis, Finding, diagnose, refused
from foldlight.doctor.costs import time
from foldlight.doctor.run import EXPLAINS
from foldlight.forecast import Forecast
from foldlight.io import write_container


@pytest.fixture(scope="module")
def good():
    return good_scan()


def doctor(capsys, *words) -> tuple[int, str]:
    """Exit code, and what is printed."""
    try:
        main(["doctor", *map(str, words)])
    except SystemExit as end:
        return end.code, capsys.readouterr().out
    return 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("levels", "verdict", "code"),
    [((), "go", 0), (("fine", "note"), "go", 0), (("note", "caution"), "caution", 3), (("stop", "fine"), "stop", 4)],
)
def test_the_gravest_finding_decides(levels, verdict, code):
    diagnosis = Diagnosis.of([Finding(level, level, "found") for level in levels])
    assert (diagnosis.verdict, diagnosis.exit_code) == (verdict, code)
    assert [each.level for each in diagnosis.findings] == sorted(levels, key=["stop", "caution", "note", "fine"].index)


def test_a_line_tells_what_how_sure_and_what_to_do():
    finding = Finding("beam-drift", "caution", "the beam moved by 3 px", "likely", "align the frames")
    assert finding.line == "caution  beam-drift: the beam moved by 3 px (likely); align the frames"
    assert Finding("mask", "fine", "0 pixels", "possible").line == "fine     mask: 0 pixels"


def test_json_holds_all_of_it(good):
    spoiled = with_frames(good, np.sqrt(good.photons[:]))
    diagnosis = diagnose(spoiled)
    told = json.loads(diagnosis.json())
    assert told["schema"] == 1
    assert (told["verdict"], told["exit_code"]) == ("stop", 4)
    assert told["frames"] == told["frames_seen"] == len(good)
    first = told["findings"][0]
    assert first.keys() == {"code", "level", "what", "sure", "do", "numbers"}
    assert first["code"] == "amplitude-as-intensity"
    assert len(told["findings"]) == len(diagnosis.findings)


def test_the_same_scan_gets_the_same_diagnosis(good):
    assert diagnose(good, quick=True).json() == diagnose(good, quick=True).json()


def test_causes_are_codes_and_never_explain_each_other():
    for cause, consequences in EXPLAINS.items():
        assert cause not in consequences
    order = list(EXPLAINS)
    for later, consequences in enumerate(EXPLAINS.values()):
        assert not consequences & set(order[:later]), "a cause is explained by one that comes after it"


def test_the_specification_lists_every_code():
    import re
    from pathlib import Path

    root = Path(__file__).parents[2]
    listed = set(re.findall(r"`([a-z-]+)`", (root / "specs/doctor.md").read_text()))
    known = {code for code, _, _ in SPOILED.values()} | set(EXPLAINS) | set().union(*EXPLAINS.values())
    assert known <= listed


def test_an_unknown_engine_is_refused(good):
    with pytest.raises(SettingsError, match=r"engine = 'epie': expected one of network, hybrid"):
        diagnose(good, engine="epie")


def test_memory_is_told_for_the_engine_that_is_asked_for(good, monkeypatch):
    memory = namedtuple("Memory", "available total")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(1e8, 16e9))
    grave = diagnose(good, engine="network").grave
    assert [(each.code, each.level) for each in grave] == [("memory", "caution")]
    assert "network is expected to take" in grave[0].what
    assert len(diagnose(good).grave) == 4
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(1e8, 2e8))
    assert diagnose(good, engine="network").verdict == "stop"
    assert diagnose(good).verdict == "caution", "another engine may do"


def test_more_than_a_day_is_a_caution():
    (finding,) = time((Forecast("ml", 3e5, 1.0, "500 iterations"), Forecast("network", 3.0, 1.0, "one pass")))
    assert finding.level == "caution"
    assert "ml would take 83.3 h" in finding.what


def test_a_quick_look_is_silent_when_all_is_well(good, capsys):
    look_over(good)
    assert capsys.readouterr() == ("", "")


def test_a_quick_look_warns_and_refuses_what_cannot_be_right(good, capsys):
    draw = np.random.default_rng(0)
    look_over(SPOILED["drifting"][2](good, draw))
    assert capsys.readouterr().err.startswith("doctor: caution  beam-drift: the beam moved by")
    corner = SPOILED["corner"][2](good, draw)
    with pytest.raises(DataError, match=r"beam-in-corner: .*--zero-frequency corner.*--no-doctor"):
        look_over(corner)
    look_over(corner, refuse=False)
    assert capsys.readouterr().err.count("stop     beam-in-corner") == 2


def test_the_command_goes_cautions_and_stops(good, tmp_path, capsys):
    path = tmp_path / "scan.h5"
    write_container(path, good)
    code, told = doctor(capsys, path, "--no-forecast")
    assert code == 0
    assert told.rstrip().endswith("verdict: go")
    assert "fine     overlap: " in told

    write_container(path, replace(good, probe=good.probe / 3))
    code, told = doctor(capsys, path, "--quick", "--json")
    assert code == 3
    facts = json.loads(told)
    assert (facts["file"], facts["verdict"]) == ("scan.h5", "caution")
    assert facts["findings"][0]["code"] == "probe-power"

    path.write_bytes(path.read_bytes()[:2000])
    code, told = doctor(capsys, path, "--json")
    assert code == 4
    (finding,) = json.loads(told)["findings"]
    assert (finding["code"], finding["level"]) == ("unreadable", "stop")
    assert "scan.h5" in finding["what"]


def test_times_are_told_when_asked_for(good, tmp_path, capsys):
    path = tmp_path / "scan.h5"
    write_container(path, good.select(np.arange(8)))
    code, told = doctor(capsys, path, "--engine", "network")
    assert code in {0, 3}
    assert "forecast network" in told
    assert "forecast ml" not in told


def test_a_refusal_is_a_stop():
    diagnosis = refused(DataError("scan.npz: expected light"))
    assert diagnosis.exit_code == 4
    assert diagnosis.lines() == ("stop     unreadable: scan.npz: expected light", "verdict: stop")
