"""The demo: what it leaves, and what it does when one method fails."""

import csv

import pytest

from foldlight.core.errors import TrainingError
from foldlight.demo import run as demo
from foldlight.demo.settings import DemoSettings
from foldlight.io import ReadOptions, read_scan


def arms(folder) -> list[str]:
    with (folder / "metrics.csv").open() as stream:
        return [row["arm"] for row in csv.DictReader(stream)]


def test_a_method_that_fails_does_not_take_the_others_with_it(tmp_path, monkeypatch):
    def collapsed(*_, **__):
        raise TrainingError("training: collapsed")

    monkeypatch.setattr(demo, "adapt", collapsed)
    said: list[str] = []
    with pytest.raises(TrainingError, match="collapsed"):
        demo.run_demo(
            DemoSettings(small=True, output=tmp_path, iterations=3), ReadOptions(), lambda *lines: said.extend(lines)
        )
    assert arms(tmp_path) == ["LSQML", "Constant"]
    assert "failed: training: collapsed" in said
    assert "failed: training: collapsed" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "run.log").read_text().splitlines() == said


def test_a_measured_scan_keeps_photons_from_every_method(tmp_path):
    demo.run_demo(
        DemoSettings(small=True, output=tmp_path, iterations=2, adapt_steps=0), ReadOptions(), lambda *_: None
    )
    settings = DemoSettings(
        scan=tmp_path / "scan.npz",
        small=True,
        output=tmp_path / "measured",
        iterations=2,
        adapt_steps=3,
        heldout_fraction=0.2,
    )
    comparison = demo.run_demo(settings, ReadOptions(ignore_object=True), lambda *_: None)
    total = read_scan(tmp_path / "scan.npz").photons.totals.mean()
    assert comparison.truth is None
    assert comparison.photons_per_frame == pytest.approx(0.8 * total, rel=0.01)
    assert all(row.deviance_heldout is not None for row in comparison.rows)
    command = f"--scan {tmp_path}/scan.npz --small --adapt-steps 3 --iterations 2 --heldout-fraction 0.2"
    assert command in (tmp_path / "measured" / "report.html").read_text()
