"""What is read from a folder, and how a folder that is none is refused."""

import json
import shutil
from dataclasses import replace

import pytest

from foldlight.core.errors import DataError
from foldlight.geometry import Geometry
from foldlight.report.collect import arms_of, collect, sources


@pytest.fixture(scope="module")
def findings(study):
    return collect(study)


def test_a_study_is_its_plan_tables_and_first_repeat(findings):
    assert findings.title == "toy study"
    assert len(findings.rows) == 2 * 2 * 2 * 2 * 3
    assert {row["seed"] for row in findings.rows} == {42, 1042}
    assert len({(case.dose, case.view, case.split) for case in findings.cases}) == len(findings.cases) == 8


def test_a_case_holds_images_curves_and_residuals(findings):
    case = findings.cases[0]
    assert set(case.pictures) == {"truth", "Network <b>", "Dead", "Constant"}
    assert len({codes.shape for codes in case.pictures.values()}) == 1
    assert set(case.error_limits) == {"phase", "amplitude"}
    assert {row["counts"] for row in case.rings} == {"fitted", "heldout"}
    assert len(case.frames) == 2 * 3 * case.facts["n_frames"]
    assert set(arms_of(case.curves)) == set(case.pictures) - {"truth"}


def test_a_training_is_named_as_its_task(findings):
    (training,) = findings.trainings
    assert (training.name, training.dose) == ("dense", 1e3)
    assert training.history["validation_loss"] == [3.0, 2.5]
    assert training.facts["best_epoch"] == 2


def test_the_record_tells_commands_versions_tasks_and_digests(findings):
    assert list(findings.record.commands) == ["python -m toy <all>"]
    assert findings.record.sections["versions"] == {"python": "3.11"}
    (task,) = findings.record.tasks
    assert (task.title, task.state, task.seconds) == ("training dose=1000 view=dense", "success", 3.0)
    assert task.outputs == {"phase_e/wts.h5.zip": "ab" * 32}


def test_a_moved_study_is_read_where_it_is(study, tmp_path):
    moved = shutil.copytree(study, tmp_path / "elsewhere")
    assert all(source.folder.is_relative_to(moved) for source in sources(moved))
    assert len(sources(moved)) == 16


def test_of_one_comparison_only_the_numbers_are_needed(one, tmp_path):
    shutil.copy(one / "metrics.csv", tmp_path)
    found = collect(tmp_path)
    assert len(found.rows) == 3
    assert found.scales == {}
    assert found.cases[0].pictures == {}


def test_a_study_without_results_and_a_folder_without_anything_are_refused(study, tmp_path):
    with pytest.raises(DataError, match=r"expected the folder of a study \(plan.json\) or of a comparison"):
        collect(tmp_path)
    plan = json.loads((study / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**plan, "root": str(tmp_path), "tables": [], "tasks": []}))
    with pytest.raises(DataError, match=r"expected results of a study .* found none yet"):
        collect(tmp_path)


def test_a_damaged_history_is_named(one, tmp_path):
    shutil.copy(one / "metrics.csv", tmp_path)
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "history.csv").write_text("epoch,train_loss\n1,oops\n")
    with pytest.raises(DataError, match=r"history\.csv: expected the numbers of a training, an epoch a line"):
        collect(tmp_path)


@pytest.mark.parametrize(("pixel_size_m", "stated"), [((20e-9, 20e-9), 20.0), ((20e-9, 30e-9), None)])
def test_the_scans_own_pixel_is_taken_where_it_is_square(against_truth, written, tmp_path, pixel_size_m, stated):
    written(tmp_path, replace(against_truth, geometry=Geometry(pixel_size_m)))
    assert collect(tmp_path).pixel_nm == (None if stated is None else pytest.approx(stated))
    assert collect(tmp_path, 7.0).pixel_nm == 7.0
