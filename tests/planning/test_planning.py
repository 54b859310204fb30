"""What any method could reach: laws of the answers, their words, files and picture, at tiny size."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from foldlight.cli import main
from foldlight.io import write_data001
from foldlight.planning.files import write_plan
from foldlight.planning.run import Plan, plan
from foldlight.planning.settings import PlanningSettings
from foldlight.planning.words import advice, headline_dose, number, table
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings

TINY = {"window": 16, "probe_diameter_px": 7.0, "field_px": 18, "overlap": (0.4, 0.75), "dose": (1e3, 1e5)}
WORDS = ["--window", "16", "--probe-diameter-px", "7", "--field-px", "18", "--overlap", "0.4", "--threads", "1"]


@pytest.fixture(scope="module")
def found() -> Plan:
    return plan(PlanningSettings(**TINY))


@pytest.fixture(scope="module")
def scan():
    wanted = SimulationSettings(object_size=48, window=16, probe_diameter_px=7, positions=49, dose=2e4)
    return simulate(wanted)


def test_every_question_has_its_answer(found):
    answers = found.answers()
    assert [(a.case, a.probe, a.dose) for a in answers] == [
        (case, probe, dose)
        for case in ("40 % overlap", "75 % overlap")
        for probe in ("known", "blind")
        for dose in (1e3, 1e5)
    ]
    for answer in answers:
        assert answer.overlap_linear == pytest.approx(float(answer.case.split()[0]) / 100, abs=1e-6)
        assert answer.overlap_area < answer.overlap_linear
        assert answer.phase_rms_rad**2 + answer.amplitude_rms**2 >= 0.9 / answer.photons_per_pixel
        assert answer.cost == pytest.approx(
            answer.photons_per_pixel * (answer.phase_rms_rad**2 + answer.amplitude_rms**2), rel=1e-6
        )
        assert 0 < answer.precision < 0.05


def test_error_falls_with_the_root_of_the_dose_and_the_wanted_dose_inverts_it(found):
    for low, high in zip(found.answers()[::2], found.answers()[1::2], strict=True):
        assert low.phase_rms_rad == pytest.approx(10 * high.phase_rms_rad)
        assert low.amplitude_rms == pytest.approx(10 * high.amplitude_rms)
        assert low.wanted_dose == pytest.approx(high.wanted_dose)
        assert high.photons_per_pixel == pytest.approx(100 * low.photons_per_pixel)
        assert (high.half_bit_nyquist or 0) >= (low.half_bit_nyquist or 0)
    case = found.cases[0]
    wanted = found.answers()[0].wanted_dose
    assert np.sqrt(found.limit(case, "known", wanted).phase_bound) == pytest.approx(0.05)


def test_more_overlap_and_a_known_probe_help(found):
    by = {(a.case, a.probe): a.phase_rms_rad for a in found.answers() if a.dose == 1e5}
    assert by["75 % overlap", "known"] < by["40 % overlap", "known"]
    for case in ("40 % overlap", "75 % overlap"):
        assert by[case, "known"] < 1.02 * by[case, "blind"]


def test_the_answer_repeats(found):
    again = plan(PlanningSettings(**TINY))
    assert again.answers() == found.answers()


def test_advice_says_what_counts(found):
    assert headline_dose(found) == 1e5
    told = advice(found)
    first = found.answers()[1]
    assert told[0].startswith("At 100,000 photons a frame and 40 % overlap (")
    assert f"no unbiased method can do better than {number(first.phase_rms_rad)} rad rms in phase" in told[0]
    assert "if the probe has to be found too" in told[0]
    assert f"For 0.05 rad you need at least {number(first.wanted_dose)} at 40 % overlap" in told[2]
    assert "For the same light on the object" in told[3]
    dim = replace(found, doses=(1e3,), cases=tuple(found.cases))
    assert any("this limit is a guide, not a floor" in line for line in advice(dim))
    assert len(table(found)) == 2 + len(found.answers())
    assert len({len(line) for line in table(found)}) == 1


def test_a_scan_that_determines_nothing_is_told_so(found):
    case = found.cases[0]
    lost = {name: replace(limit, bound=1e9) for name, limit in case.limits.items()}
    hopeless = replace(found, cases=(replace(case, limits=lost),))
    assert advice(hopeless)[0].endswith("frames are too few or too far apart.")
    assert not any("you need" in line for line in advice(hopeless))
    assert all(answer.phase_rms_rad is None for answer in hopeless.answers())
    blind = replace(found, cases=(replace(case, limits=case.limits | {"blind": lost["blind"]}),))
    assert "with an unknown probe they do not determine the object" in advice(blind)[0]


def test_hopeless_plans_can_be_drawn_too(found, tmp_path):
    case = found.cases[0]
    lost = {name: replace(limit, bound=1e9) for name, limit in case.limits.items()}
    write_plan(tmp_path, replace(found, cases=(replace(case, limits=lost), found.cases[1])))
    assert (tmp_path / "limit.png").read_bytes().startswith(b"\x89PNG")


def test_a_scan_brings_probe_positions_object_and_dose(scan):
    found = plan(PlanningSettings(dose=(1e3,), most_frames=40), scan)
    assert found.own_dose == pytest.approx(2e4, rel=0.01)
    assert found.doses == (1e3, found.own_dose)
    assert headline_dose(found) == found.own_dose
    (case,) = found.cases
    assert case.frames == 40
    assert case.truth is scan.object
    assert found.notes == ("40 of 49 frames, those about the centre, stand for the scan",)
    stranger = replace(scan, object=None, object_is_truth=False)
    assert "one of the family dead-leaves stands in" in plan(PlanningSettings(), stranger).notes[0]
    guess = plan(PlanningSettings(unknown="phase"), replace(scan, object_is_truth=False))
    assert "is a guess" in guess.notes[0]
    assert guess.answers()[0].amplitude_rms is None


def test_files_hold_everything(found, tmp_path):
    told = write_plan(tmp_path, found, {"file": "scan.npz"})
    assert told[-1].endswith(str(tmp_path))
    rows = list(csv.DictReader((tmp_path / "limit.csv").read_text().splitlines()))
    assert len(rows) == 8
    assert float(rows[0]["phase_rms_rad"]) == found.answers()[0].phase_rms_rad
    held = json.loads((tmp_path / "limit.json").read_text())
    assert PlanningSettings.parse(held["settings"]) == found.settings
    assert held["scan"] == {"file": "scan.npz"}
    assert held["advice"] == advice(found)
    assert "numpy" in held["environment"]
    assert len(held["curves"]) == 8
    assert max(held["curves"][0]["frc"]) <= 1
    assert (tmp_path / "limit.png").read_bytes().startswith(b"\x89PNG")


def test_the_verb(scan, tmp_path, capsys):
    main(["limit", *WORDS, "--dose", "1e3", "1e4", "--probe", "disc", "--output", str(tmp_path / "a")])
    told = capsys.readouterr().out
    assert "At 10,000 photons a frame and 40 % overlap" in told
    assert len(list(csv.DictReader((tmp_path / "a" / "limit.csv").read_text().splitlines()))) == 4

    write_data001(tmp_path / "scan.npz", scan)
    main(["limit", str(tmp_path / "scan.npz"), "--unknown", "phase", "--threads", "1", "--output", str(tmp_path / "b")])
    assert "this scan" in capsys.readouterr().out
    held = json.loads((tmp_path / "b" / "limit.json").read_text())
    assert held["scan"]["file"] == "scan.npz"
    assert len(held["scan"]["sha256"]) == 64
    with pytest.raises(SystemExit, match=r"nothing\.npz"):
        main(["limit", str(tmp_path / "nothing.npz"), "--output", str(tmp_path / "c")])
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("field", "value"), [("dose", ()), ("dose", (0.0,)), ("overlap", (1.0,)), ("wanted_phase_rms", 0)]
)
def test_senseless_settings_are_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        PlanningSettings(**{field: value})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (0.0512, "0.051"),
        (9.96, "10"),
        (0.61, "0.61"),
        (48.3, "48"),
        (23456, "23,000"),
        (1.6e7, "1.6e7"),
    ],
)
def test_numbers_read_well(value, text):
    assert number(value) == text
