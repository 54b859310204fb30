"""Pictures and tables of a study, from made-up rows with holes."""

import numpy as np
import pytest
from matplotlib.image import imread

from foldlight.compare.files import Objects, read_objects, write_objects
from foldlight.core.errors import DataError
from foldlight.report.study import Panel, study_curves, study_gallery, study_table

SKILL = {"PtychoPINN": 0.3, "Baseline": 0.15, "PtyChi": 0.25, "Constant": 0.0}


def made_up_rows() -> list[dict]:
    rows = []
    for dose in (1e3, 1e4, 1e5):
        for view in ("dense", "sparse", "baseline"):
            for split in ("train", "test"):
                for arm, skill in SKILL.items():
                    score = skill * (np.log10(dose) - 2) * (0.6 if view == "sparse" else 1)
                    collapsed = score < 0.13 and arm != "Constant"
                    rows.append(
                        {
                            "dose": dose,
                            "view": view,
                            "split": split,
                            "arm": arm,
                            "seed": 42,
                            "phase_ssim": score - 0.05 * (split == "test" and arm != "Constant"),
                            "amplitude_ssim": 0.8 * score if view != "sparse" else None,
                            "frc_half_nyquist": score if score > 0.3 else None,
                            "frc_half_state": "crosses" if score > 0.3 else "below",
                            "deviance_heldout": 1.0 + 0.3 * (1 - score) * dose / 1e4,
                            "infer_seconds_per_frame": 0.002,
                            "status": "collapsed" if collapsed else "success",
                        }
                    )
    return rows


def as_words(rows: list[dict]) -> list[dict]:
    """Rows as `csv.DictReader` gives them."""
    return [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]


class TestCurves:
    def test_are_the_same_from_words_and_numbers(self, tmp_path):
        rows = [row for row in made_up_rows() if row["view"] != "baseline"]
        study_curves(rows, tmp_path / "numbers.png")
        study_curves(as_words(rows), tmp_path / "words.png")
        assert (tmp_path / "numbers.png").read_bytes() == (tmp_path / "words.png").read_bytes()
        assert min(imread(tmp_path / "words.png").shape[:2]) > 600

    @pytest.mark.parametrize("keep", [1, 20])
    def test_stand_holes(self, keep, tmp_path):
        lost = {"dose": 1e3, "view": "dense", "split": "test", "arm": "Baseline", "status": "failed"}
        study_curves([lost, *made_up_rows()[:keep]], tmp_path / "curves.png")
        assert (tmp_path / "curves.png").exists()

    def test_of_several_seeds_are_drawn(self, tmp_path):
        rows = [row for row in made_up_rows() if row["view"] == "dense"]
        study_curves(
            [*rows, *({**row, "seed": 7, "phase_ssim": row["phase_ssim"] + 0.1} for row in rows)], tmp_path / "a.png"
        )
        assert (tmp_path / "a.png").exists()

    @pytest.mark.parametrize("rows", [[], [{"dose": 1e3, "view": "dense", "arm": "PtyChi", "status": "failed"}]])
    def test_of_nothing_are_refused(self, rows, tmp_path):
        with pytest.raises(DataError, match="study: expected rows with a dose and a score, got none"):
            study_curves(rows, tmp_path / "curves.png")


@pytest.fixture(scope="module")
def objects(against_truth, tmp_path_factory) -> Objects:
    path = tmp_path_factory.mktemp("objects") / "reconstructions.npz"
    write_objects(path, against_truth)
    return read_objects(path)


class TestGallery:
    def test_is_drawn_with_an_arm_missing(self, objects, tmp_path):
        fewer = Objects({"Dead": objects.arms["Dead"]}, objects.truth, objects.mask, objects.coverage)
        study_gallery(
            [Panel(1e3, "dense", objects, {"Dead": 0.1}), Panel(2e4, "sparse", fewer)], tmp_path / "gallery.png"
        )
        assert min(imread(tmp_path / "gallery.png").shape[:2]) > 300

    def test_is_drawn_without_truth(self, objects, tmp_path):
        study_gallery(
            [Panel(1e3, "dense", Objects(objects.arms, None, objects.mask, objects.coverage))], tmp_path / "a.png"
        )
        assert (tmp_path / "a.png").exists()

    def test_of_nothing_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="gallery: expected at least one comparison's objects, got none"):
            study_gallery([], tmp_path / "gallery.png")


class TestTable:
    def test_is_of_fixed_width_and_markdown(self):
        lines = study_table(made_up_rows()).splitlines()
        assert len({len(line) for line in lines}) == 1
        assert len({line.count("|") for line in lines}) == 1
        assert set(lines[1]) <= set("|-: ")
        assert lines[1].startswith("| ---")
        assert len(lines) == 2 + len(made_up_rows())

    def test_marks_the_best_of_each_group(self):
        rows = [row for row in made_up_rows() if row["dose"] == 1e5 and row["view"] == "dense"]
        marked = [line for line in study_table(rows).splitlines() if "**" in line]
        assert len(marked) == 2
        assert all("PtychoPINN" in line and line.count("**") == 2 * 4 for line in marked)

    def test_leaves_empty_cells_empty(self):
        row = {"dose": "1000.0", "view": "dense", "split": "", "arm": "A|B", "phase_ssim": "nan", "status": "failed"}
        *_, line = study_table([row]).splitlines()
        cells = [cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")]
        assert cells == ["1000", "dense", "", "A/B", *[""] * 7, "failed"]

    def test_names_seeds_only_where_there_are_several(self):
        rows = made_up_rows()
        assert "seed" not in study_table(rows)
        assert "| seed |" in study_table([*rows, {**rows[0], "seed": 7}])

    def test_is_the_same_from_words_and_numbers(self):
        assert study_table(made_up_rows()) == study_table(as_words(made_up_rows()))

    def test_of_nothing_is_its_heading(self):
        assert len(study_table([]).splitlines()) == 2
