"""A scan that stays in its container: the same results as from memory, and memory that does not follow its size."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foldlight.bundle import Model
from foldlight.cli import main
from foldlight.core.errors import DataError
from foldlight.core.seeds import generator
from foldlight.frames import Frames
from foldlight.inspection import describe
from foldlight.io import read_scan, write_container, write_data001
from foldlight.networks.generators import build
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.settings import LikelihoodSettings
from foldlight.sampling.thinning import thin
from foldlight.scan import Scan
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings
from foldlight.train.fit import fit
from foldlight.train.settings import TrainingSettings

NETWORK = NetworkSettings(width=4, levels=1, consistency_steps=1)


@pytest.fixture(scope="module")
def in_memory() -> Scan:
    settings = SimulationSettings(window=16, positions=49, object_size=48, probe_diameter_px=7.0, dose=400.0)
    whole = simulate(settings)
    mask = np.ones(whole.window, dtype=bool)
    mask[3, 5:9] = False
    return replace(whole, mask=mask)


@pytest.fixture(scope="module", params=[False, True], ids=["contiguous", "packed"])
def stored(request, in_memory, tmp_path_factory) -> Scan:
    path = tmp_path_factory.mktemp("container") / "scan.h5"
    write_container(path, in_memory, request.param)
    return read_scan(path)


def test_every_method_sees_the_same_scan(in_memory, stored):
    assert stored.digest() == in_memory.digest()
    told, expected = describe(stored), describe(in_memory)
    assert told.pop("stored as") == "uint8 intensity, read when needed"
    expected.pop("stored as")
    assert told == expected


def test_training_and_reconstruction_are_the_same_to_the_bit(in_memory, stored, tmp_path):
    settings = TrainingSettings(gridsize=3, epochs=1, validation="photons")
    weights = [
        fit(scan, NETWORK, settings, tmp_path, progress=False, keep_collapsed=True).model.digest()
        for scan in (in_memory, stored)
    ]
    assert weights[0] == weights[1]
    module = build(NETWORK, in_memory.window, 1)
    model = Model(NETWORK, in_memory.window, 9, {name: each.numpy() for name, each in module.state_dict().items()})
    engines = [
        NeuralReconstructor(model, progress=False),
        MaximumLikelihoodReconstructor(LikelihoodSettings(iterations=3), progress=False),
    ]
    for engine in engines:
        np.testing.assert_array_equal(engine.reconstruct(stored).object, engine.reconstruct(in_memory).object)


def test_thinned_exposures_are_the_same_whether_held_or_dealt_when_read(in_memory, stored, monkeypatch):
    sides = thin(in_memory, 0.8, generator(1, "thin"))
    for most in (0, 2**30):
        monkeypatch.setattr("foldlight.sampling.thinning.HELD_BYTES", most)
        for one, other in zip(sides, thin(stored, 0.8, generator(1, "thin")), strict=True):
            np.testing.assert_array_equal(one.photons[:], other.photons[:])
            assert one.digest() == other.digest()
    whole = Frames(np.where(in_memory.mask, in_memory.photons[:], 0))
    np.testing.assert_array_equal(sides[0].photons[:] + sides[1].photons[:], whole[:])


def test_counts_dealt_from_small_numbers_are_small(in_memory):
    assert in_memory.photons.stored.dtype == np.uint16
    assert thin(in_memory, 0.5, generator(1, "thin"))[0].photons.stored.dtype == np.uint16
    wide = replace(in_memory, photons=Frames(in_memory.photons[:], whole=True))
    kept = thin(wide, 0.5, generator(1, "thin"))[0]
    assert kept.photons.stored.dtype == np.uint32
    assert kept.digest() == thin(in_memory, 0.5, generator(1, "thin"))[0].digest()


def test_convert_and_thin_from_the_command_line(in_memory, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data001(Path("scan.npz"), in_memory)
    main(["convert", "scan.npz", "scan.h5"])
    assert "49 frames, " in (told := capsys.readouterr().out)
    assert "-> scan.h5" in told
    main(["convert", "scan.h5", "packed.hdf5", "--pack"])
    main(["convert", "packed.hdf5", "back.npz"])
    assert {read_scan(Path(name)).digest() for name in ("scan.h5", "packed.hdf5", "back.npz")} == {in_memory.digest()}
    main(["thin", "scan.h5", "--fraction", "0.75", "--seed", "3"])
    told = capsys.readouterr().out
    assert "kept: 75% of the photons, by binomial thinning, " in told
    assert "foldlight compare kept.h5 ... --heldout heldout.h5 --exposure-ratio 0.333333" in told
    kept, rest = (read_scan(Path(name)) for name in ("kept.h5", "heldout.h5"))
    assert [side.digest() for side in (kept, rest)] == [
        side.digest() for side in thin(in_memory, 0.75, generator(3, "thin"))
    ]
    assert kept.origin["thinning"] == {"fraction": 0.75, "seed": 3}
    assert (kept.origin["exposure_share"], rest.origin["exposure_share"]) == (0.75, 0.25)
    main(["inspect", "kept.h5", "--verify"])
    assert "49 frames agree with their digests" in capsys.readouterr().out


BAD = {
    "an unknown ending": (["convert", "scan.h5", "scan.tif"], "expected a name that ends in .h5, .hdf5, .npz"),
    "a packed npz": (["convert", "scan.h5", "scan.npz", "--pack"], "pack: expected a container"),
    "one file for both": (
        ["thin", "scan.h5", "--heldout", "kept.h5"],
        "expected another file than that of the photons",
    ),
    "thinned into npz": (["thin", "scan.h5", "--output", "kept.npz"], "expected a name that ends in .h5 or .hdf5"),
    "all photons": (["thin", "scan.h5", "--fraction", "1"], "expected a fraction between 0 and 1, got 1.0"),
}


@pytest.mark.parametrize(("words", "message"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_written_is_refused(in_memory, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    write_container(Path("scan.h5"), in_memory)
    with pytest.raises(SystemExit, match=message):
        main(words)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.h5"]


def test_exposures_of_scaled_values_are_refused(in_memory, tmp_path):
    path = tmp_path / "scan.h5"
    write_container(path, replace(in_memory, photons=Frames(in_memory.photons[:] + np.float32(0.5))))
    with pytest.raises(DataError, match="thinning: expected counted photons"):
        thin(read_scan(path), 0.5, generator(0, "thin"))


READS = """
import sys
import numpy as np
from pathlib import Path
from foldlight.io import read_scan

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

scan = read_scan(Path(sys.argv[1]))
scan.photons[np.arange(64)]
before = resident()
rng = np.random.default_rng(0)
for _ in range(200):
    scan.photons[rng.integers(0, len(scan), 64)]
for block in scan.photons.blocks():
    scan.photons.stored[block]
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system does not tell a process's peak memory")
def test_reading_all_frames_keeps_none_in_memory(tmp_path):
    """67 MB of frames, all read: memory grows by a block at the most, 4 MB, and what the allocator spares."""
    photons = np.zeros((16_384, 64, 64), dtype=np.uint8)
    photons[:, 32, 32] = 200
    probe = np.ones((1, 64, 64), dtype=np.complex64)
    whole = Scan(Frames(photons, whole=True), np.full((len(photons), 2), 40.0), probe, (80, 80))
    write_container(tmp_path / "scan.h5", whole)
    done = subprocess.run(
        [sys.executable, "-c", READS, tmp_path / "scan.h5"], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) < 16_000
