"""A study on a cluster: what fails fails alone, and what comes out is what comes out on this machine."""

from slurm_studies import CAME, SETTINGS, SLURM, TOGETHER, diary, nothing_is_left, results, run, states

from foldlight.core.files import read_json


def test_a_dozen_jobs_come_out_as_on_this_machine(slurm, folder):
    (folder / "go").touch()
    done = run(folder, slurm, "dozen", *SLURM)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    root = folder / "out"
    came = states(root)
    assert {name: came[name] for name in CAME} == CAME
    assert all(came.get(name, "skipped") == "skipped" for name in ("after_refusal", "after_slow"))
    assert "needs refuses, which failed" in done.stdout
    assert "needs slow, which failed" in done.stdout
    assert read_json(root / "jobs/refuses/status.json")["error"].endswith("expected success, got orders to fail")
    assert "expected an end within 1.5 s" in read_json(root / "jobs/slow/status.json")["error"]
    assert (root / "last").read_text() == f"last({TOGETHER})"
    told = diary(root)
    assert set(told.values()) == {1}
    assert len(told) == 2 * len(CAME) - 2  # all begin, all but two end
    nothing_is_left(folder, slurm)

    here = run(folder, slurm, "dozen", "--output", "here")
    assert here.returncode == 1
    assert results(folder / "here") == results(root)
    assert states(folder / "here") == came

    again = run(folder, slurm, "dozen", "--only", "phase=last", *SLURM)  # its needs are done
    assert again.returncode == 0, again.stderr
    assert diary(root) == told
    nothing_is_left(folder, slurm)


def test_jobs_on_devices_have_one_each(slurm, folder):
    done = run(folder, slurm, "devices", *SLURM)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted((folder / "out" / f"gpu{n}").read_text() for n in range(2)) in (
        ["gpu0()0", "gpu1()1"],
        ["gpu0()1", "gpu1()0"],
    )
    nothing_is_left(folder, slurm)


def test_a_partition_that_there_is_not_is_one_line(slurm, folder):
    (folder / "cluster.toml").write_text(SETTINGS.replace("main", "nowhere"))
    done = run(folder, slurm, "devices", *SLURM)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "nowhere" in done.stdout + done.stderr
    nothing_is_left(folder, slurm)
