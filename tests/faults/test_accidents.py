"""An accident fails the job that it meets, with its reason; the others end, and the same command makes up for it.

The accidents are real: a disk that is full, one that can't be written, a limit of memory, a signal. What needs rights
that the tests do not have is skipped with the reason.
"""

import json
import os
import subprocess
import textwrap
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from faults import debris, jobs, kill_tree, manifests_are_read, run, start, toy_words, wait_until, workers_of
from foldlight.core.files import owner_gone

in_full = pytest.mark.skipif("FAULT_KILLS" not in os.environ, reason="one like it is run; `make faults` runs all")
LINES = {"first": "first", "victim": "victim<first", "after": "after<victim<first", "other": "other<first"}


class Toy:
    """The toy study in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.log = folder, folder / "out", folder / "said.log"
        self.design, self.started, self.go = folder / "design.toml", folder / "started", folder / "go"
        self.source = folder / "source"

    def victim(self, function: str, **more) -> "Toy":
        lines = [f"{name} = {json.dumps(value)}" for name, value in {"function": function, **more}.items()]
        self.design.write_text("\n".join(["[victim]", *lines]))
        return self

    def waiting_victim(self, **more) -> "Toy":
        return self.victim("wait", started=str(self.started), go=str(self.go), **more)

    @property
    def words(self) -> list[str]:
        return toy_words(self.root, self.design)

    def run(self, **variables: str) -> tuple[int, str]:
        code, said = run(self.words, self.log, 120, **variables)
        assert "Traceback" not in said
        assert workers_of(self.root) == []
        return code, said

    @contextmanager
    def in_the_middle(self, **variables: str):
        """Inside the block the victim waits; after it, the run goes on to its end: its exit code and what it said."""
        found = {}
        before = self.log.stat().st_size if self.log.is_file() else 0
        process = start(self.words, self.log, **variables)
        try:
            assert wait_until(self.started.exists, 60, process), self.log.read_text()
            found["driver"] = process.pid
            yield found
            self.go.touch()
            found["code"] = process.wait(120)
        finally:
            if process.poll() is None:
                kill_tree(process)
        found["said"] = self.log.read_text()[before:]
        assert "Traceback" not in found["said"]

    def failed_alone(self, reason: str, killed: bool = False) -> None:
        """The victim failed for this reason, what needs it was not run, and the others are well.

        Who is killed while it writes leaves its temporary file, which the next writer removes.
        """
        known = jobs(self.root)
        assert known["victim"]["state"] == "failed"
        assert reason in known["victim"]["error"], known["victim"]["error"]
        assert "\n" not in known["victim"]["error"]
        assert known["first"]["state"] == known["other"]["state"] == "success"
        assert known.get("after", {}).get("state") != "success"
        assert not (self.root / "files" / "after").exists()
        manifests_are_read(self.root)
        assert [each for each in debris(self.root) if not (killed and owner_gone(self.root / each))] == []

    def ends_well(self, **variables: str) -> None:
        """The same command makes up for what was not done; the results are those of an undisturbed run."""
        code, said = self.run(**variables)
        assert code == 0, said
        assert self.lines() == LINES
        assert {each["state"] for each in jobs(self.root).values()} == {"success"}
        manifests_are_read(self.root)
        entered = json.loads((self.root / "toy_manifest.json").read_text())["jobs"]
        assert {each["job"]: each["status"] for each in entered} == dict.fromkeys(LINES, "success")
        assert debris(self.root) == []

    def processes(self, driver: int) -> list[psutil.Process]:
        """Those between the driver and the victim, the victim last."""
        below = psutil.Process(driver).children(recursive=True)
        below = [each for each in below if each.status() != psutil.STATUS_ZOMBIE]
        named = [each for each in below if any("victim" in word for word in each.cmdline())]
        return sorted(named, key=lambda each: len(each.parents()))

    def lines(self) -> dict[str, str]:
        return {path.name: path.read_text().strip() for path in (self.root / "files").iterdir() if not path.suffix}


@pytest.fixture
def toy(tmp_path) -> Toy:
    return Toy(tmp_path)


@pytest.fixture
def mounted():
    """`mounted(path, *options)` mounts a small disk of its own; all are gone after the test."""
    made = []

    def mount(path: Path, options: str) -> None:
        path.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "foldlight-faults", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"a small disk needs the right to mount: {done.stderr.strip()}")
        made.append(path)

    yield mount
    for path in reversed(made):
        if path.is_mount():
            subprocess.run(["umount", "--lazy", str(path)], check=True)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


class TestFullDisk:
    def test_a_job_that_finds_no_room_fails_and_leaves_room_for_the_others(self, toy, mounted):
        mounted(toy.root, "size=2m")
        beside = toy.root / "files" / "victim.bin"
        code, said = toy.victim("large", megabytes=4, beside=str(beside)).run()
        assert code == 1
        assert "No space left on device" in said
        toy.failed_alone("No space left on device")
        remount(toy.root, "size=16m")
        toy.ends_well()
        assert beside.stat().st_size == 4 * 2**20

    def test_a_disk_without_room_for_the_record_is_told_of_on_the_terminal(self, toy, mounted):
        mounted(toy.root, "size=1m")
        filler = toy.root / "filler"
        filler.touch()
        code, said = toy.victim("fill", path=str(filler)).run()
        assert code == 1
        assert "No space left on device" in said
        assert "1 task" not in said or "victim" in said
        manifests_are_read(toy.root)
        for status in jobs(toy.root).values():
            assert status["state"] in {"running", "success", "failed", "skipped"}, "what is there is whole"
        filler.unlink()
        toy.ends_well()

    @in_full
    def test_a_study_that_finds_no_room_at_all_is_refused_in_one_line(self, toy, mounted):
        mounted(toy.root, "size=64k")
        with suppress(OSError), (toy.root / "filler").open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))
        code, said = toy.victim("plain").run()
        assert code == 1
        assert "No space left on device" in said.strip().splitlines()[-1]
        (toy.root / "filler").unlink()
        toy.ends_well()

    @in_full
    def test_a_limit_of_file_size_is_told_by_its_name(self, toy):
        """Where nothing can be mounted, this is as near as one gets."""
        toy.victim("large", megabytes=4, beside=str(toy.root / "files" / "victim.bin"))
        limited = ["prlimit", f"--fsize={2**20}", *toy.words]
        if subprocess.run(["prlimit", "--version"], capture_output=True, check=False).returncode:
            pytest.skip("needs prlimit of util-linux")
        code, said = run(limited, toy.log, 120)
        assert (code, "Traceback" in said) == (1, False)
        toy.failed_alone("File too large")
        toy.ends_well()


class TestReadOnly:
    @in_full
    def test_a_root_that_cannot_be_written_is_refused_in_one_line(self, toy, mounted):
        mounted(toy.root, "size=4m,ro")
        code, said = toy.victim("plain").run()
        assert code == 1
        assert "Read-only file system" in said.strip().splitlines()[-1]
        remount(toy.root, "rw")
        toy.ends_well()

    @in_full
    def test_a_folder_that_cannot_be_written_fails_the_job_that_writes_there(self, toy, mounted):
        elsewhere = toy.folder / "elsewhere"
        mounted(elsewhere, "size=16m")
        toy.victim("large", megabytes=1, beside=str(elsewhere / "victim.bin"))
        remount(elsewhere, "ro")
        code, said = toy.run()
        assert code == 1
        assert "Read-only file system" in said
        toy.failed_alone("Read-only file system")
        remount(elsewhere, "rw")
        toy.ends_well()

    def test_a_record_that_can_no_longer_be_written_is_told_of_on_the_terminal(self, toy, mounted):
        with toy.waiting_victim().in_the_middle() as found:
            mounted(toy.root / "jobs" / "victim", "size=4m,ro")
        assert found["code"] == 1
        assert "Read-only file system" in found["said"]
        assert jobs(toy.root)["other"]["state"] == "success"
        subprocess.run(["umount", str(toy.root / "jobs" / "victim")], check=True)
        assert jobs(toy.root)["victim"]["state"] == "running", "the last that was known"
        toy.ends_well()


@in_full
def test_an_input_that_vanishes_in_the_middle_fails_the_job_that_needs_it(toy):
    toy.source.write_text("first")
    (toy.folder / "go").unlink(missing_ok=True)
    toy.victim("plain", source=str(toy.source))
    assert toy.run()[0] == 0
    toy.source.unlink()
    (toy.root / "files" / "other").unlink()
    code, said = toy.run()
    assert code == 1
    assert "source: expected a file, got No such file or directory" in said
    assert jobs(toy.root)["victim"]["state"] == "failed"
    assert jobs(toy.root)["other"]["state"] == "success", "the others are run"
    toy.source.write_text("first")
    assert toy.run()[0] == 0
    assert toy.lines() == {**LINES, "victim": "victim<first<first", "after": "after<victim<first<first"}


def test_an_input_that_vanishes_under_a_running_job_fails_it_and_is_made_again(toy):
    with toy.waiting_victim().in_the_middle() as found:
        (toy.root / "files" / "first").unlink()
    assert found["code"] == 1
    assert "No such file or directory" in found["said"]
    assert jobs(toy.root)["victim"]["state"] == "failed"
    assert "first" in jobs(toy.root)["victim"]["error"]
    toy.ends_well()


class TestMemory:
    @in_full
    def test_a_job_beyond_its_limit_of_memory_fails_alone(self, toy):
        toy.victim("hoard", megabytes=3000)
        if subprocess.run(["prlimit", "--version"], capture_output=True, check=False).returncode:
            pytest.skip("needs prlimit of util-linux")
        code, said = run(["prlimit", f"--as={2500 * 2**20}", *toy.words], toy.log, 120)
        assert (code, "Traceback" in said) == (1, False)
        assert "MemoryError" in said
        toy.failed_alone("MemoryError")
        toy.victim("hoard", megabytes=1)
        toy.ends_well()

    def test_a_job_that_the_kernel_ends_for_its_memory_fails_alone(self, toy, little_memory):
        group, limit = little_memory
        code, said = toy.victim("hoard", megabytes=600, group=str(group)).run()
        assert code == 1
        assert "SIGKILL" in said
        toy.failed_alone("because memory was short")
        limit.write_text(str(2**31))
        toy.ends_well()


@pytest.fixture
def little_memory():
    """A control group of 300 MB, and the file that says so."""
    for parent, name in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path("/sys/fs/cgroup") / parent / f"foldlight-faults-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
            try:
                (group / name).write_text(str(300 * 2**20))
                break
            except OSError:
                group.rmdir()
    else:
        pytest.skip("needs a memory control group that may be written")
    yield group, group / name
    wait_until(lambda: not (group / "cgroup.procs").read_text().strip(), 20)
    group.rmdir()


CLOCK = """
    import datetime, os, time
    real, calls = time.time_ns, [0]

    def jumping():  # a day ahead, a day back, and as it is, from call to call
        calls[0] += 1
        return real() + (os.getpid() + calls[0]) % 3 * 86_400 * 10**9 - 86_400 * 10**9

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime.fromtimestamp(jumping() / 1e9, tz)

    time.time_ns, time.time = jumping, lambda: jumping() / 1e9
    datetime.datetime = Jumping
"""


class TestClock:
    @pytest.fixture
    def jumps(self, tmp_path) -> dict[str, str]:
        """Every process reads a clock that jumps by a day between two looks."""
        folder = tmp_path / "clock"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(textwrap.dedent(CLOCK))
        return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}

    def test_a_clock_that_jumps_changes_no_result(self, toy, jumps):
        toy.victim("plain").ends_well(**jumps)
        for status in jobs(toy.root).values():
            assert 0 <= status["seconds"] < 100, "durations are of a clock that does not jump"
        code, said = toy.run(**jumps)
        assert code == 0
        assert ": 0 tasks to run" in said

    @in_full
    def test_files_from_the_future_or_the_past_are_known_by_what_they_hold(self, toy, jumps):
        toy.victim("plain").ends_well()
        for number, path in enumerate(sorted((toy.root / "files").iterdir())):
            moment = path.stat().st_mtime + 86_400 * (-1) ** number
            os.utime(path, (moment, moment))
        assert ": 0 tasks to run" in toy.run(**jumps)[1]

    @in_full
    def test_a_failure_under_a_jumping_clock_is_made_up_for(self, toy, jumps):
        with toy.waiting_victim().in_the_middle(**jumps) as found:
            toy.processes(found["driver"])[-1].kill()
        assert found["code"] == 1
        toy.failed_alone("SIGKILL", killed=True)
        toy.ends_well(**jumps)


class TestDeadWorker:
    @in_full
    def test_a_job_that_is_killed_fails_alone(self, toy):
        with toy.waiting_victim().in_the_middle() as found:
            toy.processes(found["driver"])[-1].kill()
        assert found["code"] == 1
        assert "ended by SIGKILL" in found["said"]
        toy.failed_alone("ended by SIGKILL", killed=True)
        toy.ends_well()

    def test_a_wrapper_that_is_killed_takes_its_job_along_and_no_other(self, toy):
        with toy.waiting_victim().in_the_middle() as found:
            wrapper, *below = toy.processes(found["driver"])
            wrapper.kill()
        assert found["code"] == 1
        wait_until(lambda: not any(each.is_running() for each in below), 10)
        toy.failed_alone("from outside", killed=True)
        toy.ends_well()
