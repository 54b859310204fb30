"""Plots are valid plotly figures with the right numbers in them."""

from dataclasses import replace

import plotly.graph_objects as go
import pytest

from foldlight.report import plots
from foldlight.report.collect import Findings, collect


@pytest.fixture(scope="module")
def findings(study) -> Findings:
    return collect(study)


def every_plot(findings: Findings) -> list[plots.Plot]:
    case = findings.cases[0]
    found = [*plots.ring_plots(case, findings), *plots.time_plots(case, findings), *plots.frame_plots(case)]
    found += plots.residual_plots(case, findings)
    for group in (plots.dose_plots(findings), plots.loss_plots(findings.trainings)):
        found += [plot for row in group.values() for plot in row]
    return found


def coloured(part):
    """With the page's colours put in, as the page does."""
    if isinstance(part, dict):
        return {name: "#000" if value in ("ink", "soft") else coloured(value) for name, value in part.items()}
    return [coloured(each) for each in part] if isinstance(part, list) else part


def test_plotly_takes_them_all_and_each_is_described(findings):
    found = every_plot(findings)
    assert len(found) > 20
    for plot in found:
        go.Figure(coloured({"data": plot["data"], "layout": plot["layout"]}))
        assert len(plot["alt"]) > 20


def test_dose_plots_have_a_view_each_bars_over_seeds_and_the_limit(findings):
    row = plots.dose_plots(findings)["object_rmse|test"]
    assert [plot["layout"]["title"]["text"] for plot in row] == ["dense", "sparse"]
    assert row[0]["layout"]["yaxis"]["range"] == row[1]["layout"]["yaxis"]["range"]
    traces = {trace["name"]: trace for trace in row[0]["data"]}
    assert traces["dose limit"]["y"] == [0.16, 0.08]
    assert traces["Dead"]["x"] == [1e3, 1e4]
    assert all(length > 0 for length in traces["Dead"]["error_y"]["array"])


def test_one_dose_has_no_dose_plot(findings):
    assert plots.dose_plots(replace(findings, rows=[row for row in findings.rows if row["dose"] == 1e3])) == {}


def test_measures_begin_with_what_arms_are_judged_by(findings):
    assert plots.measures(findings)[0].name == "object_rmse"


def test_ring_plots_have_thresholds_every_arm_and_the_predicted_curve(findings):
    case = findings.cases[0]
    known = replace(case, curves=[{**row, "frc_limit": 0.9} for row in case.curves])
    (plot,) = plots.ring_plots(known, findings)
    names = {"Network <b>", "Dead", "Constant", "half-bit", "dose limit"}
    assert {trace["name"] for trace in plot["data"]} == names
    assert [round(shape["y0"], 3) for shape in plot["layout"]["shapes"]] == [0.5, 0.143]
    (plot,) = plots.ring_plots(case, findings)
    assert {trace["name"] for trace in plot["data"]} == names - {"dose limit"}


def test_time_is_with_and_without_training(findings):
    (plot,) = plots.time_plots(findings.cases[0], findings)
    network = next(trace for trace in plot["data"] if trace["name"] == "Network <b>")
    assert network["x"] == pytest.approx([3.0, 703.0])


def test_keys_are_those_of_the_choosers():
    assert plots.case_key(1e4, "dense", None) == "10000|dense|"
