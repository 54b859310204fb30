"""A plan is data: it checks itself, travels as JSON, and can be cut to a part that still has all it needs."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldlight.core.errors import DataError, SettingsError
from foldlight.study.plan import Plan, Task, ask_plan, parse_filters, profile_file, read_plan
from foldlight.study.state import identities
from studies.fly64_dose_overlap.design import StudyDesign, View, get_study_design
from studies.fly64_dose_overlap.plan import main, study_plan

STUDY = Path(__file__).parents[2] / "studies" / "fly64_dose_overlap"


def task(name, *needs, **more) -> Task:
    return Task(name=name, module="toy_jobs", needs=needs, **more)


def plan(*tasks, root=Path("/r")) -> Plan:
    return Plan(title="toy", root=root, working_directory=Path("/w"), tasks=tasks)


def fly64(root=Path("/r"), accelerator="cpu", **design) -> Plan:
    return study_plan(StudyDesign(**design), root, accelerator=accelerator)


def test_tasks_stand_after_what_they_need():
    made = plan(task("c", "b", "a"), task("b", "a"), task("a"))
    assert [each.name for each in made.tasks] == ["a", "b", "c"]


@given(st.permutations(range(6)), st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_any_order_without_a_circle_is_put_right(order, pairs):
    needs = {n: [f"t{low}" for low, high in pairs if high == n and low < high] for n in range(6)}
    made = plan(*(task(f"t{n}", *needs[n]) for n in order))
    place = {each.name: n for n, each in enumerate(made.tasks)}
    assert all(place[need] < place[each.name] for each in made.tasks for need in each.needs)


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        ([task("a"), task("a")], "expected tasks with names of their own, got a twice"),
        ([task("a", "b")], "task a needs b, which is no task of the plan"),
        ([task("a", "b"), task("b", "c"), task("c", "a")], "expected tasks that can be ordered, got . needs . needs"),
    ],
)
def test_what_is_no_plan_is_refused_in_one_line(tasks, told):
    with pytest.raises(SettingsError, match=told) as refusal:
        plan(*tasks)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 120


@pytest.mark.parametrize("name", ["", "/a", "a/", "..", "a/../b", "a b", "a//b", "../a", ".hidden"])
def test_names_are_folders_below_the_root(name):
    with pytest.raises(SettingsError, match="name"):
        Task.parse({"name": name, "module": "m"})


def test_a_plan_survives_json_and_a_move(tmp_path):
    made = fly64(tmp_path / "a")
    assert Plan.parse(json.loads(json.dumps(made.plain()))) == made
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "plan.json").write_text(json.dumps(made.plain()))
    assert read_plan(tmp_path / "b") == fly64(tmp_path / "b")
    with pytest.raises(DataError, match=r"plan\.json: expected the plan of a study that was run here, found none"):
        read_plan(tmp_path)
    (tmp_path / "b" / "plan.json").write_text("[]")
    with pytest.raises(SettingsError, match=r"plan\.json: expected a plan, got list"):
        read_plan(tmp_path / "b")
    (tmp_path / "b" / "plan.json").write_text("{}")
    with pytest.raises(SettingsError, match="plan: expected a mapping with a list of tasks"):
        read_plan(tmp_path / "b")


def test_a_part_has_what_it_needs_and_nothing_else():
    part = fly64().only(parse_filters("dose=1000,view=dense,phase=comparison,split=test"))
    assert {each.name for each in part.tasks} == {
        "generation/dose_1000",
        "overlap/dose_1000/baseline",
        "overlap/dose_1000/dense",
        "training/dose_1000/baseline",
        "training/dose_1000/dense",
        "training/dose_1000/supervised",
        "reconstruction/dose_1000/dense/test",
        "comparison/dose_1000/dense/test",
    }
    assert {each.labels["dose"] for each in fly64().only(parse_filters("dose=1e3,dose=1e+05")).tasks} == {1e3, 1e5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dose", "--only dose: expected name=value"),
        ("dose=", "expected name=value"),
        ("dosis=3", "--only dosis: expected one of phase, dose, repeat, view, split"),
        ("dose=1001", "--only dose=1001: expected one of 1000, 10000, 100000"),
        ("view=dense,view=dens", "--only view=dens: expected one of baseline, dense, sparse"),
    ],
)
def test_filters_that_match_nothing_are_refused(text, told):
    with pytest.raises(SettingsError, match=told):
        fly64().only(parse_filters(text))


def test_the_study_has_one_task_for_each_phase_dose_view_and_split():
    made = fly64()
    counts = {phase: sum(each.phase == phase for each in made.tasks) for phase in {each.phase for each in made.tasks}}
    assert counts == {"generation": 3, "overlap": 9, "training": 9 + 3, "reconstruction": 18, "comparison": 18}
    outputs = [path for each in made.tasks for path in each.outputs]
    assert len(set(outputs)) == len(outputs)
    known = set(outputs)
    needed = {each.name: {path for need in each.needs for path in made[need].outputs} for each in made.tasks}
    for each in made.tasks:
        assert set(each.inputs) <= known
        assert set(each.inputs) <= needed[each.name], "a task needs whoever makes its inputs"


def test_a_change_of_the_design_touches_only_what_depends_on_it():
    def changed(**design) -> set[str]:
        other = {each.name: each.settings for each in fly64(**design).tasks}
        return {each.phase for each in fly64().tasks if other.get(each.name, each.settings) != each.settings}

    assert changed(doses=(1e3, 1e6)) == set()
    assert changed(repeats=3) == set()
    assert changed(supervised=False) == set()
    assert changed(hybrid=False) == {"comparison"}
    assert changed(time_limit_s=5) == set()
    assert changed(metrics={"ms_ssim_sigma": 1.5}) == {"comparison"}
    assert changed(metrics={"limit": "blind", "noise_draws": 5}) == {"comparison"}
    assert changed(reconstruction={"epochs": 7}) == {"reconstruction"}
    assert changed(training={"pixels": 7}) == {"training"}
    assert changed(base={"positions": 7}) == {"generation", "overlap", "training", "reconstruction", "comparison"}
    views = {**StudyDesign().views, "dense": View(gridsize=2, linear_overlap=0.6)}
    assert "generation" not in changed(views=views)
    assert {"overlap", "training"} <= changed(views=views)


def test_a_repeat_is_the_whole_study_again_with_seeds_and_folders_of_its_own():
    once, thrice = fly64(doses=(1e3,)), fly64(doses=(1e3,), repeats=3)
    root = once.root
    assert thrice.tasks[0].labels == {"phase": "generation", "dose": 1e3, "repeat": 0}
    assert {each.name: each for each in once.tasks} == {
        each.name: each for each in thrice.tasks if each.labels["repeat"] == 0
    }, "more repeats change nothing of the first"
    assert thrice.tables == (
        root / "phase_g/metrics.csv",
        root / "repeat_1/phase_g/metrics.csv",
        root / "repeat_2/phase_g/metrics.csv",
    )
    for each in once.tasks:
        again = thrice[f"repeat_2/{each.name}"]
        assert again.labels == {**each.labels, "repeat": 2}
        assert again.needs == tuple(f"repeat_2/{need}" for need in each.needs)
        assert again.outputs == tuple(root / "repeat_2" / path.relative_to(root) for path in each.outputs)
        flag = again.arguments.index("--repeat")
        words = (*again.arguments[:flag], *again.arguments[flag + 2 :])
        assert again.arguments[flag + 1] == "2"
        assert tuple(word.replace(f"{root}/repeat_2", str(root)) for word in words) == each.arguments
        shifted = {name: seed + 2000 for name, seed in each.settings["seeds"].items()}
        assert again.settings["seeds"] == shifted
        if each.phase == "reconstruction":
            assert again.settings["reconstruction"]["seed"] == each.settings["reconstruction"]["seed"] + 2000
    part = thrice.only(parse_filters("repeat=1,phase=comparison,view=sparse"))
    assert {each.labels["repeat"] for each in part.tasks} == {1}
    assert once["training/dose_1000/dense"].title == "training dose=1000 view=dense"
    assert part.tasks[-1].title == "comparison dose=1000 view=sparse split=test repeat=1"


def test_repeats_that_are_added_leave_what_is_done_as_it_is():
    known = identities(fly64())
    more = identities(fly64(repeats=2))
    assert {name: more[name] for name in known} == known
    assert len(more) == 2 * len(known)


def test_the_supervised_network_learns_from_the_frames_of_the_baseline():
    made = fly64()
    taught, plain = made["training/dose_1000/supervised"], made["training/dose_1000/baseline"]
    assert (taught.inputs, taught.needs) == (plain.inputs, plain.needs)
    assert taught.outputs == (made.root / "phase_e/dose_1000/supervised/gs1/wts.h5.zip",)
    for each in made.tasks:
        if each.phase == "comparison":
            assert f"training/dose_{each.labels['dose']:.0f}/supervised" in each.needs
    assert not any("supervised" in each.name for each in fly64(supervised=False).tasks)


def test_a_custom_design_without_a_baseline_compares_what_there_is():
    made = fly64(doses=(1e4,), views={"only": View(gridsize=2)})
    needs = made["comparison/dose_10000/only/test"].needs
    assert [need for need in needs if need.startswith("training")] == ["training/dose_10000/only"]


def test_the_library_asks_the_study_for_its_plan(tmp_path):
    words = ["--output-root", str(tmp_path), "--design", str(STUDY / "smoke.toml"), "--base-npz", str(tmp_path / "b")]
    made = ask_plan(STUDY, words)
    assert made.working_directory == STUDY.parents[1]
    assert made.tables[0] == tmp_path / "phase_g" / "metrics.csv"
    assert len(made.tables) == get_study_design(STUDY / "smoke.toml").repeats
    assert len(ask_plan(STUDY, [*words, "--repeats", "3"]).tables) == 3
    assert made["generation/dose_100000"].inputs == (tmp_path / "b",)
    with pytest.raises(SettingsError, match=r"none\.toml: expected a settings file"):
        ask_plan(STUDY, ["--output-root", str(tmp_path), "--design", str(tmp_path / "none.toml")])
    with pytest.raises(SettingsError, match="output"):
        ask_plan(STUDY, [])
    with pytest.raises(SettingsError, match="--repeats: repeats = 0: "):
        ask_plan(STUDY, [*words, "--repeats", "0"])


def test_a_study_is_a_folder_with_a_plan_and_profiles(tmp_path):
    with pytest.raises(SettingsError, match=r"expected the folder of a study, with a plan\.py"):
        ask_plan(tmp_path, [])
    with pytest.raises(SettingsError, match=r"--profile huge: expected a profile of .*fly64_dose_overlap, which has"):
        profile_file(STUDY, "huge")
    assert profile_file(STUDY, "quick") == STUDY / "quick.toml"
    toy = tmp_path / "deep" / "toy"
    toy.mkdir(parents=True)
    (toy.parent / "__init__.py").write_text("")
    (toy / "plan.py").write_text("print(__name__, __package__)")
    with pytest.raises(SettingsError, match=r"deep\.toy\.plan: expected a plan as JSON on standard output"):
        ask_plan(toy, [])


def test_the_plan_module_prints_json(tmp_path, capsys):
    assert main(["--output-root", str(tmp_path)]) == 0
    assert Plan.parse(json.loads(capsys.readouterr().out)) == fly64(tmp_path)


def test_tasks_say_what_they_take(monkeypatch):
    made, cuda = fly64(), fly64(accelerator="cuda")
    phases = {task.phase: task.resources for task in made.tasks}
    assert {task.gpus for task in made.tasks} == {0}
    assert {phase for phase, need in phases.items() if need.time_limit_s is None} == set()
    assert phases["comparison"].time_limit_s < phases["training"].time_limit_s
    assert phases["training"].memory_gb > phases["overlap"].memory_gb > 0
    on_device = {task.phase for task in cuda.tasks if task.gpus == 1}
    assert on_device == {"training", "reconstruction", "comparison"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert {task.phase for task in fly64(accelerator="auto").tasks if task.gpus} == on_device
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not any(task.gpus for task in fly64(accelerator="auto").tasks)
    keys = identities(made)
    fewer = made.model_copy(update={"tasks": tuple(t.model_copy(update={"memory_gb": 9.0}) for t in made.tasks)})
    assert identities(fewer) == keys, "what a task takes does not decide what comes out"
