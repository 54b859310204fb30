"""Folders of runs: read, compared in words, as a table and drawn; and the command."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread

from foldlight.cli import main
from foldlight.compare.files import write_metrics_csv, write_metrics_json, write_rows
from foldlight.compare.runs import compare_runs
from foldlight.core.errors import DataError
from foldlight.core.files import write_json
from foldlight.report.runs import publish_differences, read_run, run_words
from foldlight.study.plan import Plan


def rows(gain: float = 0.0, seeds: tuple[int, ...] = (1, 2, 3)) -> list[dict]:
    return [
        {
            "dose": dose,
            "view": view,
            "split": "test",
            "arm": arm,
            "seed": seed,
            "phase_ssim": skill + 0.1 * seed + gain * skill * (1 + 0.1 * seed),
            "deviance_heldout": 1.0 + 0.1 * seed,
            "train_seconds": 3.0,
            "status": "success",
        }
        for dose in (1e3, 1e4)
        for view in ("dense", "sparse")
        for seed in seeds
        for arm, skill in (("PtychoPINN", 0.3), ("Constant", 0.0))
    ]


def study(folder: Path, found: list[dict], torch: str = "2.1", seconds: float = 3.0) -> Path:
    """A study of three repeats, as it lies on disk."""
    for seed in sorted({row["seed"] for row in found}):
        root = folder / f"repeat_{seed - 1}" if seed > 1 else folder
        mine = [{**row, "train_seconds": seconds} for row in found if row["seed"] == seed]
        write_rows(root / "phase_g" / "metrics.csv", mine)
        write_json(
            root / "phase_g" / "comparison_manifest.json",
            {"versions": {"torch": torch}, "seeds": {"grouping": seed}, "command_line": str(folder)},
        )
        for view in ("dense", "sparse"):
            told = {
                "rows": [row for row in mine if (row["dose"], row["view"]) == (1e3, view)],
                "data_sha256": f"{view}{seed}",
            }
            write_json(root / "phase_g" / "dose_1000" / view / "metrics.json", told)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    return study(tmp_path / "a", rows()), study(tmp_path / "b", rows(0.2), "2.2", 9.0)


class TestReading:
    def test_a_study_is_read_with_all_its_repeats(self, runs):
        found = read_run(runs[0])
        assert len(found.rows) == len(rows())
        assert found.digests[1000, "dense", "test", 2] == "dense2"
        assert found.facts == {"versions.torch": "2.1", "seeds.grouping": "1, 2, 3"}

    def test_a_plan_says_where_the_tables_are(self, tmp_path):
        write_rows(tmp_path / "elsewhere" / "mine.csv", rows())
        write_rows(tmp_path / "metrics.csv", rows(seeds=(9,)))
        plan = Plan(
            title="toy",
            root=tmp_path,
            working_directory=tmp_path,
            tasks=(),
            tables=(tmp_path / "elsewhere" / "mine.csv", tmp_path / "not_yet.csv"),
        )
        write_json(tmp_path / "plan.json", plan.plain())
        assert {row["seed"] for row in read_run(tmp_path).rows} == {1, 2, 3}
        write_json(tmp_path / "plan.json", {"title": "of another version"})
        assert {row["seed"] for row in read_run(tmp_path).rows} == {9}

    def test_a_comparison_is_read_with_its_settings(self, against_truth, tmp_path):
        labelled = against_truth.labelled(dose=1e4, seed=3)
        write_metrics_csv(tmp_path / "metrics.csv", labelled)
        write_metrics_json(tmp_path / "metrics.json", labelled)
        write_json(tmp_path / "settings.json", {"demo": {"seed": 3, "output": "x"}, "environment": {"torch": "2.1"}})
        found = read_run(tmp_path)
        assert set(found.digests.values()) == {against_truth.data_sha256}
        assert found.facts["environment.torch"] == "2.1"
        assert found.facts["settings.registration"] == "true"
        assert "demo.output" not in found.facts
        assert compare_runs(found, replace(found, name="again")).equal

    def test_any_other_folder_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="expected the folder of a study, a demo or a comparison"):
            read_run(tmp_path)

    def test_a_damaged_record_is_refused(self, runs):
        write_json(runs[0] / "phase_g" / "comparison_manifest.json", [1])
        with pytest.raises(DataError, match="expected a mapping, got list"):
            read_run(runs[0])


class TestDifferences:
    def test_are_told_in_words(self, runs):
        text = "\n".join(run_words(compare_runs(*map(read_run, runs))))
        assert "24 rows of the same dose, view, split, seed and arm are paired" in text
        assert "the same sha256 in 6 of 12 data sets, not recorded for 6" in text
        assert "versions.torch: 2.1 -> 2.2" in text
        assert "equal in every score (times aside): Constant" in text
        line = next(line for line in text.splitlines() if line.startswith("| PtychoPINN | phase SSIM"))
        assert [cell.strip() for cell in line.split("|")][-5:-1] == ["+0.072", "+0.066 to +0.078", "6", "better"]
        assert "+0.072 ▲" in text

    def test_of_equal_runs_are_said_to_be_none(self, tmp_path):
        folders = study(tmp_path / "a", rows()), study(tmp_path / "b", rows(), seconds=9.0)
        text = "\n".join(publish_differences(*folders, tmp_path / "out"))
        assert "equal: every score of all 24 rows is the same number (times aside)" in text
        assert "better" not in text

    def test_are_written_and_drawn(self, runs, tmp_path):
        publish_differences(*runs, tmp_path / "out")
        with (tmp_path / "out" / "differences.csv").open() as stream:
            lines = list(csv.DictReader(stream))
        overall = lines[0]
        assert (overall["dose"], overall["arm"], overall["score"]) == ("", "PtychoPINN", "phase_ssim")
        assert (overall["pairs"], overall["verdict"]) == ("6", "better")
        assert float(overall["low"]) < float(overall["median"]) < float(overall["high"])
        assert {line["verdict"] for line in lines if line["score"] == "deviance_heldout"} == {"equal"}
        assert {line["verdict"] for line in lines if line["score"] == "train_seconds"} == {"higher"}
        assert min(imread(tmp_path / "out" / "differences.png").shape[:2]) > 300

    def test_of_one_seed_claim_nothing(self, tmp_path):
        one, other = (study(tmp_path / name, rows(gain, (1,))) for name, gain in (("a", 0.0), ("b", 0.5)))
        words = "\n".join(publish_differences(one, other, tmp_path / "out"))
        groups = [line for line in words.splitlines() if line.startswith("| 1000 dense test")]
        assert len(groups) == 1
        assert "?" in groups[0]

    def test_of_many_lone_rows_are_counted(self, runs, tmp_path):
        few = study(tmp_path / "few", rows(seeds=(1,)))
        text = "\n".join(run_words(compare_runs(read_run(runs[0]), read_run(few))))
        assert "only in A:" in text
        assert "  and 4 more" in text


class TestCommand:
    def test_two_folders_are_compared(self, runs, tmp_path, capsys):
        main(["compare", *map(str, runs), "--output", str(tmp_path / "out")])
        told = capsys.readouterr().out
        assert "| PtychoPINN | phase SSIM" in told
        assert (tmp_path / "out" / "differences.csv").is_file()

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["{a}", "scan.npz"], "expected a scan and its reconstructions, or the folders of two runs, got 2 paths"),
            (["scan.npz", "{a}"], "2 paths with 1 folders among them"),
            (["{a}", "{b}", "{a}"], "3 paths with 3 folders among them"),
            (["{a}"], "1 paths with 1 folders among them"),
            (["{a}", "{b}", "--heldout", "x.npz", "--legacy"], "expected --output alone, got --heldout, --legacy"),
            (["{a}", "{b}", "--values", "amplitude"], "expected --output alone, got options of the scan file"),
        ],
    )
    def test_mixtures_are_refused_in_one_line(self, words, reason, runs, tmp_path):
        known = {"a": runs[0], "b": runs[1]}
        with pytest.raises(SystemExit, match=reason) as refusal:
            main(["compare", *(word.format(**known) for word in words), "--output", str(tmp_path / "out")])
        assert "\n" not in str(refusal.value)
        assert not (tmp_path / "out").exists()
