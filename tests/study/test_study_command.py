"""`foldlight study`: one command runs everything, another tells where it stands."""

from pathlib import Path

import pytest

from foldlight.cli import main

SUPPORT = Path(__file__).parents[1] / "support"
PLAN = """
import json, pathlib, sys
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
root = pathlib.Path(words["--output-root"])
design = pathlib.Path(words["--design"]).read_text()
def task(name, fail=False, needs=()):
    given = {"line": name, "path": str(root / "diary"), "output": str(root / name), "fail": fail}
    return {"name": name, "module": "toy_jobs", "arguments": ["note", json.dumps(given)], "needs": needs,
            "outputs": [str(root / name)], "labels": {"phase": name}}
tasks = [task("first"), task("second", "fail" in design, ["first"]), task("third", needs=["second"])]
print(json.dumps({"title": "toy", "root": str(root), "working_directory": SUPPORT, "tasks": tasks}))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "toy"
    made.mkdir()
    (made / "plan.py").write_text(f"SUPPORT = {str(SUPPORT)!r}\n{PLAN}")
    (made / "quick.toml").write_text("# well")
    (made / "bad.toml").write_text("# fail")
    return made


def command(capsys, *words) -> tuple[object, str, str]:
    """Exit code or last words, standard output and standard error."""
    code = 0
    try:
        main(["study", *map(str, words)])
    except SystemExit as stop:
        code = stop.code
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def test_the_command_runs_a_study_and_tells_its_state(folder, capsys):
    code, out, _ = command(capsys, "run", folder, "--profile", "bad")
    assert code == "foldlight: not all tasks succeeded; remove the cause and go on with the same command"
    assert "[2/3] second  failed" in out
    assert "2 of 3 tasks did not succeed:" in out
    assert "    third: skipped: needs second, which failed" in out
    assert "logs -> outputs/toy/bad/jobs" in out
    code, out, _ = command(capsys, "status", folder, "--profile", "bad")
    assert code == 0
    assert "1 done, 1 skipped, 1 failed" in out
    assert "failed      second  exit code 1: toy_jobs: second: expected success" in out
    code, out, err = command(capsys, "run", folder)
    assert (code, err) == (0, "")
    assert "no results yet" in out
    code, out, _ = command(capsys, "run", folder, "--resume", "--only", "phase=second")
    assert code == 0
    assert "0 tasks to run" in out
    assert "2 are done already" in out
    code, out, _ = command(capsys, "status")
    assert [line.split(": ")[1] for line in out.splitlines()] == ["1 done, 1 skipped, 1 failed", "3 done"]
    assert command(capsys, "status", "outputs/toy/quick")[1].count("done") == 4


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "toy", "--profile", "huge"], "--profile huge: expected a profile of toy, which has bad, quick"),
        (["run", "nowhere"], "nowhere: expected the folder of a study, with a plan.py"),
        (["run", "toy", "--only", "view=3"], "--only view: expected one of phase"),
        (["run", "toy", "--workers", "0"], "--workers 0: expected 1 or more"),
        (["status", "toy"], "expected the plan of a study that was run here, found none"),
    ],
)
def test_refusals_are_one_line(capsys, words, told):
    code, _, _ = command(capsys, *words)
    assert told in code
    assert code.startswith("foldlight: ")
    assert "\n" not in code


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("words", [[], ["walk"], ["run"], ["run", "toy", "--wrong", "1"]])
def test_bad_usage_is_exit_code_two(capsys, words):
    assert command(capsys, *words)[0] == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--help"], "study"), (["study", "--help"], "status"), (["study", "run", "--help"], "--resume")],
)
def test_help_lists_the_study_and_its_verbs(capsys, words, told):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    assert told in capsys.readouterr().out
