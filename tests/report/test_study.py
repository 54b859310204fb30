"""Pictures of a study, from made-up rows with holes."""

import numpy as np
import pytest
from matplotlib.image import imread

from foldlight.compare.files import Objects, read_objects, write_objects
from foldlight.core.errors import DataError
from foldlight.report.study import Panel, study_curves, study_gallery

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

    def test_of_several_seeds_show_their_spread(self, tmp_path):
        """The medians are the same with and without the spread, so the pictures differ by the bars alone."""
        rows = [row for row in made_up_rows() if row["view"] == "dense"]
        others = {
            shift: [
                {**row, "seed": seed, "phase_ssim": row["phase_ssim"] + shift * way}
                for seed, way in ((7, 1), (8, -1))
                for row in rows
            ]
            for shift in (0.0, 0.1)
        }
        for shift, more in others.items():
            study_curves([*rows, *more], tmp_path / f"{shift}.png")
        tight, wide = imread(tmp_path / "0.0.png"), imread(tmp_path / "0.1.png")
        assert tight.shape == wide.shape
        changed = np.flatnonzero(np.any(tight != wide, axis=(1, 2)))
        assert 0 < len(changed) < 0.4 * len(wide)  # the row of the phase SSIM, and no other
        assert changed.max() < len(wide) / 2

    def test_leave_out_what_no_row_has(self, tmp_path):
        rows = [row for row in made_up_rows() if (row["view"], row["split"]) == ("dense", "test")]
        study_curves(rows, tmp_path / "all.png")
        study_curves([{**row, "amplitude_ssim": None} for row in rows], tmp_path / "fewer.png")
        assert len(imread(tmp_path / "fewer.png")) < 0.85 * len(imread(tmp_path / "all.png"))

    def test_have_rows_for_errors_and_efficiency_with_their_limits(self, tmp_path):
        rows = [row for row in made_up_rows() if (row["view"], row["split"]) == ("dense", "test")]
        errors = [{**row, "object_rmse": 30 / row["dose"] ** 0.5, "eta": 0.5} for row in rows]
        study_curves(rows, tmp_path / "before.png")
        study_curves(errors, tmp_path / "errors.png")
        study_curves([{**row, "limit_rmse": 21 / row["dose"] ** 0.5} for row in errors], tmp_path / "limit.png")
        assert len(imread(tmp_path / "errors.png")) > 1.3 * len(imread(tmp_path / "before.png"))
        assert (tmp_path / "errors.png").read_bytes() != (tmp_path / "limit.png").read_bytes()

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
