from foldlight.compare.files import read_metrics_csv, read_objects
from foldlight.report.publish import publish_comparison, publish_study
from foldlight.study.plan import read_plan

FILES = {
    *("metrics.csv", "metrics.json", "frc_curves.csv", "residual_rings.csv", "residual_frames.csv"),
    *("reconstructions.npz", "comparison.png", "record.json", "report.html"),
}


def test_every_file_is_written_and_told(against_truth, tmp_path):
    told = publish_comparison(tmp_path / "out", against_truth)
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert all(str(tmp_path / "out") in line for line in told)
    arms = [row["arm"] for row in read_metrics_csv(tmp_path / "out" / "metrics.csv")]
    assert list(read_objects(tmp_path / "out" / "reconstructions.npz").arms) == arms


def test_without_truth_there_are_no_curves_and_old_ones_are_removed(against_truth, against_counts, tmp_path):
    publish_comparison(tmp_path, against_truth)
    publish_comparison(tmp_path, against_counts)
    assert not (tmp_path / "frc_curves.csv").exists()


def test_facts_of_any_kind_are_kept(against_truth, tmp_path):
    publish_comparison(tmp_path, against_truth, {"inputs": {"data": tmp_path / "frames.npz", "none": None}})
    assert str(tmp_path / "frames.npz") in (tmp_path / "report.html").read_text()


def test_a_study_is_published_from_the_tables_of_all_repeats(study):
    told = publish_study(read_plan(study))
    for name in ("study.md", "study.png", "gallery.png", "report.html"):
        assert (study / name).is_file()
        assert any(str(study / name) in line for line in told)


def test_a_study_without_results_says_so(study):
    assert publish_study(read_plan(study).model_copy(update={"tables": ()})) == ["no results yet"]
