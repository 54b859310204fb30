"""What a killed writer leaves is removed by the next one; a checkpoint is taken up only by the run that it is of."""

import platform
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from faults import wait_until
from foldlight.bundle import write_bundle
from foldlight.core.errors import DataError
from foldlight.core.files import owned_name, owner_gone, replacing, write_text
from foldlight.networks.settings import NetworkSettings
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings
from foldlight.study.manifest import Manifest
from foldlight.train import fit as fit_module
from foldlight.train.fit import fit
from foldlight.train.settings import TrainingSettings

WRITER = """
import sys, time
from pathlib import Path
from foldlight.core.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    time.sleep(60)
"""


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path):
    path = tmp_path / "result.txt"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    left = wait_until(lambda: hidden(tmp_path), 30, writer)[0]
    with replacing(path) as temporary:
        temporary.write_text("whole")
        assert left.exists(), "of a writer that lives"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert owner_gone(left)
    write_text(tmp_path / "other.txt", "another file")
    assert left.exists()
    write_text(path, "whole again")
    assert hidden(tmp_path) == []
    assert path.read_text() == "whole again"


def test_only_what_a_process_of_this_machine_left_is_taken_for_left_behind():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = f"{zlib.crc32(platform.node().encode()):08x}"
    assert owner_gone(Path(f".x.{here}-{ended.pid}-0123abcd.npz"))
    assert not owner_gone(Path(f".x.{owned_name()}.npz"))
    assert not owner_gone(Path(f".x.{int(here, 16) ^ 1:08x}-{ended.pid}-0123abcd.npz")), "of another machine"
    assert not owner_gone(Path(".x.0123abcd.npz")), "nobody knows whose"


def test_a_manifest_that_cannot_be_written_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    manifest = Manifest(tmp_path / "file" / "run_manifest.json", "toy", ("job",))
    with pytest.raises(
        DataError, match=r"run_manifest.json: expected a writable place, got (Not a directory|File exists)"
    ):
        manifest.record({"job": "a", "status": "success"})


@pytest.fixture(scope="module")
def scan():
    return simulate(SimulationSettings(object_size=64, window=16, positions=60, probe_diameter_px=8.0, dose=1e4))


class TestCheckpoint:
    """`resume=None`: go on where that gives the bits of an undisturbed run."""

    def train(self, scan, folder, **changes):
        wanted = {"epochs": 3, "batch_frames": 16, "gridsize": 1, "validation": "photons"} | changes
        network, said = NetworkSettings(kind="lifted", width=4, levels=2, consistency_steps=1), []
        options = {"resume": None, "progress": False, "keep_collapsed": True, "report": said.append}
        training = fit(scan, network, TrainingSettings(**wanted), folder, **options)
        return write_bundle(folder / "wts.h5.zip", training.model), said

    def test_it_goes_on_to_the_same_bundle_also_when_nothing_is_left_to_do(self, scan, tmp_path):
        digest, said = self.train(scan, tmp_path)
        assert len(said) == 3
        (tmp_path / "history.csv").unlink()
        again, said = self.train(scan, tmp_path)
        assert again == digest
        assert said == ["goes on after epoch 3"]
        assert len((tmp_path / "history.csv").read_text().splitlines()) == 4

    def test_it_begins_anew_where_anything_differs_or_is_damaged(self, scan, tmp_path, monkeypatch):
        digest, _ = self.train(scan, tmp_path)
        assert len(self.train(scan, tmp_path, seed=5)[1]) == 3, "another seed"
        monkeypatch.setattr(fit_module, "versions", lambda: {"foldlight": "0.0.1"})
        assert len(self.train(scan, tmp_path, seed=5)[1]) == 3, "another version"
        monkeypatch.undo()
        assert len(self.train(scan, tmp_path, seed=5)[1]) == 3
        (tmp_path / "checkpoint.pt").write_bytes(b"cut short")
        again, said = self.train(scan, tmp_path)
        assert (again, len(said)) == (digest, 3)
