"""Real runs of pty-chi, each in its child process; runs whose numbers several tests share are made once."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.registration import phase_cross_correlation

from foldlight.core.errors import EngineError, SettingsError
from foldlight.frames import Frames
from foldlight.optics.coverage import coverage_map, well_lit
from foldlight.optics.forward import expected_frames
from foldlight.optics.likelihood import poisson_deviance
from foldlight.reconstruct.constant import ConstantReconstructor
from foldlight.reconstruct.iterative import IterativeReconstructor
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.reconstruct.settings import IterativeSettings
from foldlight.scan import Scan

N = 32
EVEN = (96, 112)
ODD = (97, 111)


def expected(probe: np.ndarray, image: np.ndarray, positions_px: np.ndarray) -> torch.Tensor:
    place = torch.from_numpy(positions_px)[None]
    return expected_frames(torch.from_numpy(image)[None], torch.from_numpy(probe), place)[0]


def simulate(canvas: tuple[int, int], photons: float, noise: bool = True) -> Scan:
    """A complex object, jittered sub-pixel positions, a lopsided defocused probe; about 80 frames."""
    rng = np.random.default_rng(11)
    texture = [gaussian_filter(rng.normal(size=canvas), 1.5) for _ in range(2)]
    grey, phase = (np.tanh(t / t.std()) for t in texture)
    truth = ((0.85 + 0.1 * grey) * np.exp(0.6j * phase)).astype(np.complex64)
    y, x = np.mgrid[:N, :N] - N // 2
    probe = np.exp(-((y - 1) ** 2) / 40 - (x + 0.5) ** 2 / 60 + 1j * (0.03 * y**2 + 0.02 * x**2 + 0.01 * x * y))
    probe = (probe * (1 + 0.02 * x)).astype(np.complex64)[None]
    low, high = np.array([N // 2, N // 2]), np.array(canvas) - N // 2
    rows, columns = np.linspace(low[0], high[0], 8), np.linspace(low[1], high[1], 10)
    positions = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    positions = np.clip(positions + rng.uniform(-1.5, 1.5, positions.shape), low, high)
    scan = Scan(Frames(np.zeros((len(positions), N, N), np.float32)), positions, probe, canvas, truth, True)
    dim = expected(probe, truth, positions).numpy()
    gain = photons / dim.sum(axis=(1, 2)).mean()
    counts = rng.poisson(dim * gain) if noise else dim * gain
    return replace(scan, photons=Frames(counts.astype(np.float32)), probe=probe * np.float32(np.sqrt(gain)))


def lit(scan: Scan) -> np.ndarray:
    return well_lit(coverage_map(scan.probe, scan.positions_px, scan.canvas))


def correlation(scan: Scan, image: np.ndarray) -> float:
    """Of the complex object with the truth, in well-lit pixels: blind to a constant factor, 1 when equal."""
    truth, found = scan.object[lit(scan)], image[lit(scan)]
    return abs(np.vdot(truth, found)) / np.linalg.norm(truth) / np.linalg.norm(found)


def deviance(scan: Scan, result: Reconstruction) -> float:
    lam = expected(result.probe, result.object, scan.positions_px)
    return float(poisson_deviance(lam, torch.from_numpy(scan.photons[:]), torch.from_numpy(scan.mask)).mean())


def reconstruct(scan: Scan, **settings) -> Reconstruction:
    return IterativeReconstructor(IterativeSettings(**{"threads": 1, **settings})).reconstruct(scan)


@pytest.fixture(scope="module", params=[("lsqml", EVEN), ("rpie", ODD), ("dm", (96, 111))], ids=lambda p: p[0])
def noisy(request) -> tuple[Scan, Reconstruction]:
    engine, canvas = request.param
    scan = simulate(canvas, photons=1e4)
    return scan, reconstruct(scan, engine=engine, fit_probe=False)


def test_every_engine_beats_the_flat_image(noisy):
    scan, result = noisy
    flat = ConstantReconstructor().reconstruct(scan)
    assert result.object.shape == scan.canvas
    # measured 1 - correlation: 0.005 (LSQML, rPIE), 0.017 (DM), 0.071 (flat); deviance 0.30, 0.78 and 6.4 or more
    assert 1 - correlation(scan, result.object) < 0.3 * (1 - correlation(scan, flat.object))
    assert deviance(scan, result) < 0.3 * deviance(scan, flat)


def test_object_comes_in_the_units_of_the_scan(noisy):
    scan, result = noisy
    found, truth = np.abs(result.object)[lit(scan)].mean(), np.abs(scan.object)[lit(scan)].mean()
    assert found == pytest.approx(truth, rel=0.03)  # measured 0.6 % (LSQML, rPIE) and 2 % (DM) low
    counted = scan.photons.totals.mean()
    assert float(expected(result.probe, result.object, scan.positions_px).sum(dim=(1, 2)).mean()) == pytest.approx(
        counted, rel=0.05
    )


def test_what_is_not_refined_stays_as_given(noisy):
    scan, result = noisy
    assert result.probe is scan.probe
    assert result.positions_px is scan.positions_px


def test_ledger_and_settings_say_what_was_done(noisy):
    scan, result = noisy
    assert result.arm in {"LSQML", "rPIE", "DM"}
    assert result.ledger.epochs == result.settings["epochs"] > 0
    assert result.ledger.n_frames == len(scan)
    assert result.ledger.photons == scan.photons.totals.sum()
    assert 0 < result.ledger.infer_seconds < 300
    assert result.data_digest == scan.digest()


@pytest.fixture(scope="module")
def exact() -> tuple[Scan, Reconstruction]:
    scan = simulate(ODD, photons=1e5, noise=False)
    return scan, reconstruct(scan, fit_probe=False)


def test_positions_mean_the_same_to_the_engine(exact):
    scan, result = exact
    box = (slice(24, -24), slice(24, -24))
    shift, _, _ = phase_cross_correlation(scan.object[box], result.object[box], upsample_factor=50, normalization=None)
    assert np.abs(shift).max() < 0.1  # px; measured 0.00
    assert deviance(scan, result) < 0.15  # measured 0.063, a flat image has 62


def test_half_a_pixel_off_is_visibly_worse(exact):
    scan, right = exact
    sign = np.random.default_rng(0).choice([-0.5, 0.5], size=scan.positions_px.shape)
    low = N // 2
    moved = np.clip(scan.positions_px + sign, low, np.array(scan.canvas) - low)
    wrong = reconstruct(replace(scan, positions_px=moved), fit_probe=False)
    # measured 0.51 against 0.063, and 0.0061 against 0.0021
    assert deviance(replace(scan, positions_px=moved), wrong) > 3 * deviance(scan, right)
    assert 1 - correlation(scan, wrong.object) > 2 * (1 - correlation(scan, right.object))


def test_a_guessed_probe_wrong_positions_and_hot_pixels_are_dealt_with(tmp_path):
    scan = simulate(EVEN, photons=1e5)
    y, x = np.mgrid[:N, :N] - N // 2
    rng = np.random.default_rng(5)
    moved = scan.positions_px + rng.normal(scale=0.6, size=scan.positions_px.shape)
    mask = np.ones((N, N), dtype=bool)
    mask[14, 17] = mask[5:7, 20:23] = False
    measured = replace(
        scan,
        photons=Frames(np.where(mask, scan.photons.stored, np.float32(np.nan))),
        mask=mask,
        positions_px=np.clip(moved, N // 2, np.array(scan.canvas) - N // 2),
        probe=(scan.probe * np.exp(0.003j * (x**2 + y**2))).astype(np.complex64),
        object=None,
        object_is_truth=False,
    )
    settings = IterativeSettings(fit_positions=True, fit_positions_from=10, probe_modes=2, threads=1)
    log = tmp_path / "logs" / "ptychi.log"
    result = IterativeReconstructor(settings, log_path=log).reconstruct(measured)
    error = [np.abs(p - scan.positions_px).mean() for p in (measured.positions_px, result.positions_px)]
    assert error[1] < 0.7 * error[0]
    assert result.probe.shape == (2, N, N)
    assert np.sum(np.abs(result.probe) ** 2) == pytest.approx(np.sum(np.abs(scan.probe) ** 2), rel=1e-4)
    assert 1 - correlation(scan, result.object) < 0.02
    assert "epoch 100/100: loss" in log.read_text()


def test_same_seed_same_bits_whatever_the_object_in_the_scan():
    scan = simulate(EVEN, photons=1e3)
    blind = replace(scan, object=None, object_is_truth=False)
    first, second = (reconstruct(s, epochs=4, seed=7) for s in (scan, blind))
    assert first.object.tobytes() == second.object.tobytes()
    assert first.probe.tobytes() == second.probe.tobytes()


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """A folder where working folders and kept logs of this test go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def running_below(folder: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words and b"ptychi_child" in words and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def wait_for(condition, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")


@needs_proc
def test_time_limit_ends_the_whole_group_and_keeps_the_log(temporary):
    settings = IterativeSettings(epochs=12345, time_limit_s=1.0)
    with pytest.raises(EngineError, match=r"LSQML: expected an end within 1 s, got 0 of 12345 epochs; raise .*; log: "):
        IterativeReconstructor(settings, progress=True).reconstruct(simulate(EVEN, 1e3))
    assert not running_below(temporary)
    assert [path.suffix for path in temporary.iterdir()] == [".log"]


@needs_proc
def test_a_child_that_is_killed_is_reported(temporary):
    def kill() -> None:
        wait_for(lambda: running_below(temporary))
        for pid in running_below(temporary):
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(EngineError, match=r"DM: pty-chi was ended by SIGKILL after 0 of 30 epochs; was memory short"):
        reconstruct(simulate(EVEN, 1e3), engine="dm")
    killer.join()


PARENT = """
import sys, tempfile
import numpy as np
from foldlight.reconstruct.iterative import IterativeReconstructor
from foldlight.frames import Frames
from foldlight.scan import Scan
tempfile.tempdir = sys.argv[1]
frames, probe = Frames(np.ones((5, 8, 8), np.float32)), np.ones((1, 8, 8), np.complex64)
IterativeReconstructor().reconstruct(Scan(frames, np.full((5, 2), 6.0), probe, (12, 12)))
"""


@needs_proc
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=lambda end: end.name)
def test_the_child_dies_with_its_parent(tmp_path, end):
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    parent = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        assert wait_for(lambda: running_below(tmp_path), seconds=60)
        time.sleep(1.5)  # torch is being imported, or the work has begun
        assert running_below(tmp_path)
    finally:
        parent.send_signal(end)
        parent.wait()
    assert wait_for(lambda: not running_below(tmp_path))


@pytest.mark.usefixtures("temporary")
def test_divergence_is_one_line_with_the_log():
    scan = simulate(EVEN, 1e3)
    with pytest.raises(
        EngineError, match=r"rPIE: pty-chi failed after \d+ of 50 epochs: diverged, loss .*; log: "
    ) as e:
        reconstruct(scan, engine="rpie", object_step=1e4)
    log = Path(str(e.value).rpartition("log: ")[2])
    assert "epoch 1/50" in log.read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
@pytest.mark.usefixtures("temporary")
def test_a_missing_device_is_not_replaced_silently():
    with pytest.raises(EngineError, match="expected a CUDA device, torch finds none; use device='cpu'"):
        reconstruct(simulate(EVEN, 1e3), device="cuda")


def test_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ptychi", None)
    with pytest.raises(EngineError, match=r"pip install 'foldlight\[ptychi\]'"):
        reconstruct(simulate(EVEN, 1e3))


def test_what_is_not_given_is_the_engines_own():
    assert IterativeSettings().filled(1000).batch_size == 100
    assert IterativeSettings().filled(80).batch_size == 16
    assert IterativeSettings(engine="rpie").filled(1000).batch_size == 10
    assert IterativeSettings(engine="rpie", epochs=3, batch_size=4).filled(9).plain()["epochs"] == 3
    assert IterativeSettings(engine="dm").filled(1000).epochs == 30


@pytest.mark.parametrize("values", [{"engine": "magic"}, {"epochs": 0}, {"epoch": 3}, {"rpie_alpha": 2.0}])
def test_bad_settings_are_refused(values):
    with pytest.raises(SettingsError, match=next(iter(values))):
        IterativeSettings.parse(values)
