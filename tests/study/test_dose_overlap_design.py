"""The design: defaults of the study, what is refused, one object from TOML or YAML, and where files lie."""

from pathlib import Path

import pytest

from foldlight.core.errors import SettingsError
from studies.fly64_dose_overlap import paths
from studies.fly64_dose_overlap.design import StudyDesign, get_study_design
from studies.fly64_dose_overlap.phase import dose_label

PROFILES = sorted(Path("studies/fly64_dose_overlap").glob("*.toml"))


def test_the_built_in_design_is_the_study():
    design = get_study_design()
    assert design.doses == (1e3, 1e4, 1e5)
    assert (design.seeds.simulation, design.seeds.grouping, design.seeds.subsampling) == (42, 123, 456)
    assert design.neighbours == 7
    assert {name: (view.gridsize, view.linear_overlap) for name, view in design.views.items()} == {
        "baseline": (1, None),
        "dense": (2, 0.7),
        "sparse": (2, 0.2),
    }
    assert (design.metrics.ms_ssim_sigma, design.metrics.frc_threshold) == (1.0, 0.5)
    assert (design.base.positions, design.base.object_size, design.base.window) == (10304, 464, 64)


def test_a_design_survives_being_written_down():
    design = StudyDesign.parse({"doses": [5e3, 2e2], "neighbours": 9, "training": {"pixels": 3e6}})
    assert StudyDesign.parse(design.plain()) == design


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_every_profile_is_a_design(profile):
    assert isinstance(get_study_design(profile), StudyDesign)
    assert {path.stem for path in PROFILES} == {"smoke", "quick", "full"}


def test_toml_and_yaml_say_the_same(tmp_path):
    (tmp_path / "a.toml").write_text("doses = [1e3, 2e3]\n[views.thin]\ngridsize = 2\nlinear_overlap = 0.5\n")
    (tmp_path / "a.yaml").write_text("doses: [1.0e+3, 2000]\nviews:\n  thin: {gridsize: 2, linear_overlap: 0.5}\n")
    assert get_study_design(tmp_path / "a.toml") == get_study_design(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"neighbours": 3}, r"K >= C = 4 for the view dense, got K = 3"),
        ({"doses": [1000, 1000.4]}, r"doses.*differ in their whole photons"),
        ({"doses": [0.5]}, r"doses.0 = 0.5"),
        ({"views": {"custom": {"gridsize": 1}}}, r"none named 'custom'"),
        ({"views": {"supervised": {"gridsize": 1}}}, r"none named 'custom' or 'supervised', got \['supervised'\]"),
        ({"repeats": 0}, r"repeats = 0"),
        ({"training": {"settings": {"supervision": "object"}}}, r"supervision to be left to the design"),
        ({"metrics": {"noise_draws": 0}}, r"metrics.noise_draws = 0"),
        ({"metrics": {"limit": "guessed"}}, r"metrics.limit = 'guessed'"),
        ({"views": {"dense": {"gridsize": 3}}}, r"views.dense.gridsize = 3"),
        ({"training": {"settings": {"epochs": 3}}}, r"epochs to be left to the design"),
        ({"training": {"least_epochs": 9, "most_epochs": 3}}, r"got 9 > 3"),
        ({"metrics": {"frc_threshold": 0.2}}, r"metrics.frc_threshold = 0.2"),
        ({"dozes": [1]}, r"unknown field 'dozes'"),
    ],
)
def test_what_is_refused_names_field_value_and_rule(values, message):
    with pytest.raises(SettingsError, match=message) as refused:
        StudyDesign.parse(values, "design")
    assert "\n" not in str(refused.value)


def test_a_missing_or_broken_design_file_is_one_line(tmp_path):
    with pytest.raises(SettingsError, match=r"none.toml: expected a settings file"):
        get_study_design(tmp_path / "none.toml")
    (tmp_path / "list.yml").write_text("- 1\n")
    with pytest.raises(SettingsError, match=r"list.yml: expected a mapping of settings, got list"):
        get_study_design(tmp_path / "list.yml")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(SettingsError, match=r"bad.yaml: expected YAML"):
        get_study_design(tmp_path / "bad.yaml")


def test_a_repeat_shifts_every_seed_and_nothing_else(tmp_path):
    design = StudyDesign.parse({"reconstruction": {"seed": 7}})
    assert design.repeated(0) == design
    second = design.repeated(2)
    assert second.seeds.plain() == {"simulation": 2042, "grouping": 2123, "subsampling": 2456}
    assert second.reconstruction.seed == 2007
    assert second.refinement.seed == 2000
    back = {name: getattr(design, name) for name in ("seeds", "reconstruction", "refinement")}
    assert second.model_copy(update=back) == design
    (tmp_path / "a.toml").write_text("[reconstruction]\nseed = 7\n")
    assert get_study_design(tmp_path / "a.toml", 2) == second
    with pytest.raises(SettingsError, match="--repeat -1: expected 0 or more"):
        get_study_design(None, -1)


def test_paths_are_those_of_the_contract():
    root = Path("r")
    assert paths.patched(root, 1e3, "train").as_posix() == "r/dose_1000/patched_train.npz"
    assert paths.view_data(root, 1e5, "dense", "test").as_posix() == "r/dose_100000/dense/dense_test.npz"
    assert paths.bundle(paths.model_folder(root, 1e3, "dense", 2, 2)).as_posix() == "r/dose_1000/dense/wts.h5.zip"
    assert paths.model_folder(root, 1e3, "dense", 1, 2).as_posix() == "r/dose_1000/dense_gs1"
    file = paths.ptychi_file(root, 1e4, "sparse", "test")
    assert file.as_posix() == "r/dose_10000/sparse/test/ptychi_reconstruction.npz"
    assert paths.comparison_folder(root, 1e4, "sparse", "test").as_posix() == "r/dose_10000/sparse/test"
    assert paths.supervised_folder(root, 1e4).as_posix() == "r/dose_10000/supervised/gs1"
    assert [paths.repeat_root(root, repeat).as_posix() for repeat in (0, 1)] == ["r", "r/repeat_1"]


def test_doses_are_found_by_their_folders(tmp_path):
    for name in ("dose_10000", "dose_200", "dose_x", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "dose_7").write_text("a file")
    assert paths.doses_in(tmp_path) == (200.0, 10000.0)


@pytest.mark.parametrize(
    ("dose", "label"), [(1e3, "1e+03"), (1e5, "1e+05"), (2500.0, "2.5e+03"), (1234.0, "1.234e+03")]
)
def test_a_dose_is_named_exactly_and_briefly(dose, label):
    assert dose_label(dose) == label
