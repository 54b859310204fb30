"""The table of a study, from made-up rows with holes."""

import re

import pytest

from foldlight.core.errors import DataError
from foldlight.report.columns import COLUMNS
from foldlight.report.study import study_table
from foldlight.report.tables import laid_out

SKILL = {"PtychoPINN": 0.6, "PtyChi": 0.5, "Constant": 0.0}


def made_up_rows(seeds: tuple[int, ...] = (42,), noise: float = 0.0) -> list[dict]:
    """A score for each arm; each data set is as hard as its seed, and noise comes and goes."""
    return [
        {
            "dose": dose,
            "view": view,
            "split": "test",
            "arm": arm,
            "seed": seed,
            "phase_ssim": skill + 0.05 * place + noise * (-1) ** place * (arm == "PtyChi"),
            "amplitude_ssim": 0.8 * skill + 0.05 * place if view != "sparse" else None,
            "deviance_heldout": 2.0 - skill,
            "eta": 0.86,
            "bias_fraction": 0.12,
            "infer_seconds_per_frame": 0.002 * (1 + place),
            "status": "success",
        }
        for dose in (1e3, 1e5)
        for view in ("dense", "sparse")
        for place, seed in enumerate(seeds)
        for arm, skill in SKILL.items()
    ]


def as_words(rows: list[dict]) -> list[dict]:
    """Rows as `csv.DictReader` gives them."""
    return [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]


def parts(text: str) -> tuple[list[str], list[dict[str, str]], str]:
    """The table's lines, its cells by heading, and what is said below."""
    table, _, note = text.partition("\n\n")
    lines = table.strip().splitlines()
    heads, _, *cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return lines, [dict(zip(heads, each, strict=True)) for each in cells], note.strip()


class TestTable:
    @pytest.mark.parametrize("seeds", [(42,), (1, 2, 3)])
    def test_is_of_fixed_width_and_markdown(self, seeds):
        lines, cells, _ = parts(study_table(made_up_rows(seeds)))
        assert len({len(line) for line in lines}) == 1
        assert len({line.count("|") for line in lines}) == 1
        assert set(lines[1]) <= set("|-: ")
        assert lines[1].startswith("| ---")
        assert len(cells) == 2 * 2 * len(SKILL)

    def test_of_one_seed_marks_the_best_number_and_says_that_the_spread_is_unknown(self):
        text = study_table(made_up_rows())
        _, cells, note = parts(text)
        assert [each["arm"] for each in cells if "**" in each["phase SSIM"]] == ["PtychoPINN"] * 4
        assert text.count("the spread is unknown") == 1
        assert note.startswith("One seed:")
        assert "±" not in text

    def test_of_several_seeds_tells_medians_and_half_their_range(self):
        _, cells, note = parts(study_table(made_up_rows((1, 2, 3))))
        assert cells[0]["phase SSIM"] == "**0.650** ±0.050"
        assert cells[0]["per frame [s]"] == "0.004 ±0.002"
        assert cells[0]["seeds"] == "3"
        assert "Medians of 3 seeds; ± is half the range" in note

    def test_marks_whom_only_noise_parts_from_the_best(self):
        _, cells, _ = parts(study_table(made_up_rows((1, 2, 3), noise=0.15)))
        assert [each["arm"] for each in cells[:3] if "**" in each["phase SSIM"]] == ["PtychoPINN", "PtyChi"]
        _, cells, _ = parts(study_table(made_up_rows((1, 2, 3), noise=0.001)))
        assert [each["arm"] for each in cells[:3] if "**" in each["phase SSIM"]] == ["PtychoPINN"]

    def test_counts_the_seeds_that_have_no_number(self):
        rows = made_up_rows((1, 2, 3))
        rows[0]["phase_ssim"] = None
        rows[1]["status"] = "collapsed"
        _, cells, _ = parts(study_table(rows))
        assert "(2 of 3)" in cells[0]["phase SSIM"]
        assert cells[1]["status"] == "collapsed 1 of 3"

    def test_tells_when_seeds_differ_in_number(self):
        rows = [row for row in made_up_rows((1, 2)) if row["seed"] == 1 or row["dose"] == 1e3]
        assert "Medians of 1 to 2 seeds" in study_table(rows)

    def test_says_how_much_of_the_error_is_bias(self):
        label = next(column.label for column in COLUMNS if column.name == "eta")
        _, cells, _ = parts(study_table(made_up_rows()))
        assert cells[0][label] == "**0.860** (bias 0.12)"

    def test_leaves_empty_cells_empty_and_empty_columns_out(self):
        row = {"dose": "1000.0", "view": "dense", "split": "", "arm": "A|B", "phase_ssim": "nan", "status": "failed"}
        _, (cells,), _ = parts(study_table([row]))
        assert cells == {"dose": "1000", "view": "dense", "arm": "A\\|B", "status": "failed"}
        _, cells, _ = parts(study_table(made_up_rows()))
        assert {each["amplitude SSIM"] == "" for each in cells if each["view"] == "sparse"} == {True}

    def test_is_the_same_from_words_and_numbers(self):
        rows = made_up_rows((1, 2, 3), noise=0.05)
        assert study_table(rows) == study_table(as_words(rows))

    def test_of_nothing_is_its_heading(self):
        assert len(study_table([]).splitlines()) == 2

    def test_of_one_data_set_twice_is_refused(self):
        with pytest.raises(DataError, match="one row for each arm and data set, got two of PtychoPINN"):
            study_table([*made_up_rows(), *made_up_rows()])

    def test_layout_escapes_bars(self):
        lines = laid_out(["name", "value"], [["a|b", "1"]], [False, True]).splitlines()
        assert lines == ["| name | value |", "| ---- | ----: |", "| a\\|b |     1 |"]
