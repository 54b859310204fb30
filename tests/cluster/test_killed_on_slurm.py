"""What is killed in the middle of a study on a cluster: the runner, a worker, a block, the engine's helper. No job is
ever done twice at once, nothing is left running, and the same command ends it."""

import pytest
from process_checks import wait_for
from slurm_cluster import processes_of
from slurm_studies import (
    CAME,
    PATIENCE_S,
    SETTINGS,
    SLURM,
    TOGETHER,
    diary,
    nothing_is_left,
    run,
    started,
    states,
    victim,
)

from foldlight.core.files import read_json


def test_a_runner_that_is_killed_and_started_again_ends_the_same(slurm, folder):
    root = folder / "out"
    (folder / "cluster.toml").write_text(SETTINGS.replace("= 5", "= 60"))  # the block does not end before it is found
    with started(folder, slurm, "dozen", *SLURM) as first:
        wait_for(lambda: diary(root)["right begins"] and diary(root)["slow begins"], PATIENCE_S)
        first.kill()
        first.wait()
        assert (root / "engine.json").is_file()
    with started(folder, slurm, "dozen", *SLURM) as second:
        wait_for(lambda: diary(root)["right begins"] == 2, PATIENCE_S)
        (folder / "go").touch()
        assert second.wait(PATIENCE_S) == 1
    told = (folder / "told").read_text()
    assert "Traceback" not in told
    assert f"cleared up behind process {first.pid} on" in told
    assert "ended 1 block of slurm" in told
    came = states(root)
    assert {name: came[name] for name in CAME} == CAME
    assert (root / "last").read_text() == f"last({TOGETHER})"
    told = diary(root)
    assert not [line for line in told if line.endswith("twice")]
    assert {told[f"first{n} begins"] for n in range(4)} == {1}  # what was done is not done again
    assert (told["right begins"], told["right ends"]) == (2, 1)
    nothing_is_left(folder, slurm)


def test_a_runner_that_is_killed_for_good_leaves_nothing(slurm, folder):
    with started(folder, slurm, "dozen", *SLURM) as runner:
        wait_for(lambda: diary(folder / "out")["right begins"], PATIENCE_S)
        runner.kill()
        runner.wait()
    slurm.wait(PATIENCE_S)  # the block misses its runner, within a few heartbeats
    wait_for(lambda: not processes_of(folder), 30)
    assert diary(folder / "out")["right ends"] == 0


@pytest.mark.parametrize("lost", ["worker", "block", "interchange"])
def test_what_is_lost_under_the_runner_fails_its_jobs_alone(slurm, folder, lost):
    root = folder / "out"
    with started(folder, slurm, "pair", *SLURM) as runner:
        wait_for(lambda: diary(root)["waits begins"], PATIENCE_S)
        if lost == "block":
            slurm.ask("scancel", "--me")
        else:
            victim(root, lost).kill()
        wait_for(lambda: states(root).get("waits") not in {"running", "queued"}, PATIENCE_S)
        (folder / "go").touch()
        assert runner.wait(PATIENCE_S) == 1
    told = (folder / "told").read_text()
    assert "Traceback" not in told
    status = read_json(root / "jobs/waits/status.json")
    assert status["state"] in {"failed", "interrupted"}
    assert status["error"]
    assert "\n" not in status["error"]
    assert diary(root)["waits ends"] == 0
    again = run(folder, slurm, "pair")  # goes on, on another engine
    assert again.returncode == 0, again.stdout + again.stderr
    assert (root / "after").read_text() == "after(waits()+other())"
    assert "waits twice" not in diary(root)
    nothing_is_left(folder, slurm)
