from foldlight.compare.files import read_metrics_csv, read_objects
from foldlight.report.publish import publish_comparison


def test_every_file_is_written_and_told(against_truth, tmp_path):
    told = publish_comparison(tmp_path / "out", against_truth)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *("metrics.csv", "metrics.json", "frc_curves.csv", "reconstructions.npz", "comparison.png", "report.html")
    }
    assert all(str(tmp_path / "out") in line for line in told)
    arms = [row["arm"] for row in read_metrics_csv(tmp_path / "out" / "metrics.csv")]
    assert list(read_objects(tmp_path / "out" / "reconstructions.npz").arms) == arms


def test_without_truth_there_are_no_curves(against_counts, tmp_path):
    publish_comparison(tmp_path, against_counts)
    assert not (tmp_path / "frc_curves.csv").exists()
