"""Statistics, verdicts, tables and files of the benchmarks; how rows run and fail. No clock is judged."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.machine import work_of
from benchmarks.report import Document, Provenance, read_results, table, write_report
from benchmarks.results import Result, Target, not_measured, ratio, result_from, series
from benchmarks.speed import SPEED
from benchmarks.suite import BenchmarkSettings, Row, Suite, chosen, main, run_suite
from benchmarks.timing import interleaved, process_seconds
from foldlight.core.errors import DataError, EngineError, SettingsError

NUMBERS = st.floats(1e-6, 1e6)
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=7)
BELOW_HALF = Target("at most half", 0.5, "at most", "peer")


def made(values=(2.0, 4.0, 3.0), base=(8.0, 8.0, 4.0), **changes) -> Result:
    measured = series("s", values)
    found = Result("row", "thing", measured, (ratio("peer", "peer", measured, series("s", base)),), BELOW_HALF)
    return replace(found, **changes)


@given(PAIRS)
def test_ratios_are_formed_repeat_by_repeat_and_survive_json(pairs):
    values, base = zip(*pairs, strict=True)
    result = made(values, base)
    ratios = result.ratios[0].values
    assert ratios.values == pytest.approx([value / under for value, under in pairs])
    assert ratios.spread.low <= ratios.spread.median == np.median(ratios.values) <= ratios.spread.high
    assert result_from(json.loads(json.dumps(result.plain()))) == result


def test_a_slow_minute_that_both_see_changes_no_ratio():
    slow = np.array([1.0, 10.0, 1.0])
    assert made((2.0, 2.0, 2.0) * slow, (8.0, 8.0, 8.0) * slow).ratios[0].values.values == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (made(), "met"),
        (made((8.0,), (8.0,)), "missed"),
        (made(target=Target("2 s", 3.0, "at most")), "met"),
        (made(target=Target("2 s", 3.1, "at least")), "missed"),
        (made(target=None), "no target"),
        (made(reason="a stand-in"), "not measured"),
        (not_measured("row", "thing", "no such engine", BELOW_HALF), "not measured"),
    ],
)
def test_verdicts_go_by_the_median_of_what_the_target_is_about(result, verdict):
    assert result.verdict == verdict
    assert result.plain()["verdict"] == verdict


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: series("s", []), r"expected one or more finite values \[s\], got \[\]"),
        (lambda: series("s", [1.0, np.nan]), "finite values"),
        (
            lambda: ratio("peer", "peer", series("s", [1]), series("ms", [1])),
            "1 repeats in s as the value has, got 1 in ms",
        ),
        (lambda: ratio("peer", "peer", series("s", [1, 2]), series("s", [1])), "expected 2 repeats"),
        (lambda: ratio("peer", "peer", series("s", [1]), series("s", [0])), "expected bases above 0"),
        (lambda: Result("row", "thing", None), "row, thing: expected a number or a reason"),
        (lambda: made(ratios=made().ratios * 2), "expected one ratio of a name, got peer, peer"),
        (lambda: made(ratios=()), "expected the ratio 'peer' that the target judges, got none"),
        (lambda: result_from({"row": "row"}), "benchmark result: quantity"),
    ],
)
def test_what_is_no_measurement_is_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()


def test_actions_take_turns():
    order = []
    found = interleaved(3, {name: lambda name=name: order.append(name) or len(order) for name in "ab"})
    assert order == ["a", "b"] * 3
    assert found == {"a": [1, 3, 5], "b": [2, 4, 6]}


def test_a_process_that_fails_says_why():
    with pytest.raises(EngineError, match=r"expected exit code 0, got 3: .*no luck"):
        process_seconds(["sh", "-c", "echo no luck; exit 3"])


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_work_counts_transforms_and_flop_in_every_mode(mode):
    image, layer = torch.ones(2, 3, 8, 12), torch.nn.Conv2d(3, 5, 3, padding=1)
    fields = torch.ones(4, 8, 12, dtype=torch.complex64)

    def action():
        with mode():
            torch.fft.ifft2(torch.fft.fft2(fields))
            layer(image)

    work = work_of(action, (8, 12))
    assert work.transforms == 8
    assert work.flops == 2 * 2 * 5 * 3 * 9 * 8 * 12


def test_the_table_shows_medians_spreads_verdicts_and_reasons():
    text = table([made(), not_measured("other", "a | b", "no such engine"), made((1.0,), (4.0,), note="once")])
    first, other, last = text.splitlines()[2:5]
    assert first == (
        "| row | thing | 3.00 s (2.00 to 4.00) | 0.500 (0.250 to 0.750) x peer peer (8.00 s) | at most half | **met** |"
    )
    assert other == "| other | a \\| b |  |  |  | not measured |"
    assert "| 1.00 s | 0.250 x peer" in last
    assert text.endswith("\n- other, a | b: no such engine\n- row, thing: once\n")


def test_files_hold_every_repeat_and_where_it_comes_from(tmp_path):
    settings = {"size": "toy", "repeats": 3, "seed": 1, "only": ["row"]}
    told = Provenance.now("speed", settings).after(2.0)
    results = (made(), not_measured("other", "thing", "not now"))
    write_report(tmp_path, Document("speed", "Speed", "How.", told, results))
    assert read_results(tmp_path / "speed.json") == list(results)
    origin = json.loads((tmp_path / "speed.json").read_text())["provenance"]
    assert origin["command"] == "python -m benchmarks.speed --size toy --repeats 3 --seed 1 --only row"
    assert {"cpu", "cores", "environment", "load_before", "memory_gb", "began", "seconds", "settings"} <= set(origin)
    page = (tmp_path / "speed.md").read_text()
    assert page.startswith("# Speed\n\n**Size toy: this only shows")
    assert origin["command"] in page
    (tmp_path / "speed.json").write_text("{}")
    with pytest.raises(DataError, match="expected benchmark results of schema"):
        read_results(tmp_path / "speed.json")


def test_the_command_tells_the_frames_of_large_scans_where_they_were_chosen():
    settings = {"size": "toy", "repeats": 3, "seed": 1, "only": ["memory"], "frames": 4000}
    assert Provenance.now("speed", settings).command.endswith("--seed 1 --frames 4000 --only memory")


def test_unknown_rows_are_refused_by_name(tmp_path):
    with pytest.raises(SettingsError, match=r"expected some of training, .*; got 'speed of light'"):
        chosen(SPEED.rows, ["startup", "speed of light"])
    with pytest.raises(SystemExit, match="got 'speed of light'"):
        main(SPEED, ["--only", "speed of light", "--output", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_rows_keep_the_order_of_the_suite_and_have_names_of_their_own():
    assert [row.name for row in chosen(SPEED.rows, ["stitching", "training"])] == ["training", "stitching"]
    assert len({row.name for row in SPEED.rows}) == len(SPEED.rows)


def test_bad_settings_are_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        main(SPEED, ["--repeats", "0"])
    assert stop.value.code == 2
    assert re.fullmatch(r"speed: repeats = 0: .*\n", capsys.readouterr().err)


def test_a_row_that_fails_has_its_reason_and_the_others_are_measured(tmp_path):
    suite = Suite(
        "speed",
        "Speed",
        (
            Row("broken", "benchmarks.speed_rows.startup:no_such_name"),
            Row("first-picture", "benchmarks.speed_rows.first_picture:measure"),
        ),
    )
    said = []
    settings = BenchmarkSettings(size="toy", output=tmp_path)
    results = run_suite(suite, settings, lambda *lines: said.extend(lines))
    assert [result.row for result in results] == ["broken", "first-picture"]
    assert results[0].reason.startswith("failed: exit code 1: AttributeError")
    assert results[1].reason == "measured at --size full only"
    assert read_results(tmp_path / "speed.json") == results
    assert said[-1].endswith("speed.md")
    with pytest.raises(SystemExit, match="1 rows failed: broken"):
        main(suite, ["--size", "toy", "--only", "broken", "--output", str(tmp_path)])
