"""Iterative ptychography with pty-chi, in a child process.

The parent writes the scan to a working folder, starts `ptychi_child` on it, watches its log, and reads the result back.
pty-chi never sees `scan.object`: it starts from the best flat image.
"""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from foldlight.core.errors import EngineError
from foldlight.core.files import write_json
from foldlight.core.settings import Settings
from foldlight.optics.coverage import coverage_map
from foldlight.reconstruct.constant import flat_amplitude
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.scan import Scan

__all__ = ["IterativeReconstructor", "IterativeSettings"]

_BLOCK = 256  # frames copied at a time
_POLL_S = 0.2
_LAUNCHER_VARIABLES = {"GROUP_RANK", "ROLE_RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK", "RANK", "WORLD_SIZE"}

Engine = Literal["lsqml", "rpie", "dm"]


class _Engine(NamedTuple):
    """Name in tables; epochs and largest batch that suit the engine."""

    arm: str
    epochs: int
    batch_size: int


# rPIE diverges with large batches; the difference map drifts when noisy data keep it going.
_ENGINES: dict[Engine, _Engine] = {
    "lsqml": _Engine("LSQML", epochs=100, batch_size=100),
    "rpie": _Engine("rPIE", epochs=50, batch_size=10),
    "dm": _Engine("DM", epochs=30, batch_size=100),
}


class IterativeSettings(Settings):
    """How to run pty-chi. The defaults suit measured data whose probe is a guess."""

    engine: Engine = "lsqml"
    """`lsqml` least squares of maximum likelihood, `rpie` regularised PIE, or `dm` the difference map."""

    epochs: int | None = Field(default=None, ge=1)
    """Passes over all frames; none given: 100 for lsqml, 50 for rpie, 30 for dm."""

    batch_size: int | None = Field(default=None, ge=1)
    """Frames between two updates; none given: 10 for rpie (it diverges with many more), for the others a fifth of the
    frames but no more than 100. For dm it bounds the memory and changes nothing else."""

    object_step: float = Field(default=1.0, gt=0)
    """Factor on the engine's own step of the object (lsqml, rpie)."""

    probe_step: float = Field(default=1.0, gt=0)
    """Factor on the engine's own step of the probe (lsqml, rpie)."""

    rpie_alpha: float = Field(default=0.5, gt=0, le=1)
    """Regularisation of rpie: small is fast and amplifies noise where the probe is dark; 1 is ePIE."""

    dm_relaxation: float = Field(default=0.2, gt=0, le=1)
    """Part of the exit wave's update that dm applies; less is slower and steadier on noisy data."""

    fit_probe: bool = True
    """Refine the probe too. Switch it off when the probe is known exactly."""

    fit_probe_from: int = Field(default=1, ge=0)
    """Epochs that pass before the probe is refined, so that the object takes shape first."""

    probe_modes: int = Field(default=1, ge=1)
    """Incoherent modes to refine; modes the scan's probe lacks start as weak Hermite relatives of its first. Two or
    three help where the light is not fully coherent or the stage moves; all but the first ignore sub-pixel shifts."""

    fit_positions: bool = False
    """Refine the positions too."""

    fit_positions_from: int = Field(default=20, ge=0)
    """Epochs that pass before the positions are refined: they need a recognisable object."""

    seed: int = Field(default=0, ge=0)
    """Seed of the order of frames; the same seed on one CPU thread gives the same bits."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where pty-chi computes."""

    threads: int = Field(default=1, ge=1)
    """CPU threads of the child process."""

    time_limit_s: float | None = Field(default=None, gt=0)
    """Wall time after which the child process is ended [s]."""

    @property
    def arm(self) -> str:
        """Name of the engine in tables."""
        return _ENGINES[self.engine].arm

    def filled(self, n_frames: int) -> "IterativeSettings":
        """These settings with the engine's own choice in place of what was not given."""
        own = _ENGINES[self.engine]
        batch = own.batch_size if self.engine == "rpie" else min(own.batch_size, -(-n_frames // 5))
        return self.model_copy(
            update={"epochs": self.epochs or own.epochs, "batch_size": self.batch_size or min(batch, n_frames)}
        )


@dataclass(frozen=True)
class IterativeReconstructor:
    """pty-chi as a `Reconstructor`.

    Attributes:
        settings: engine and its options.
        log_path: where the child's output streams to; without one it is kept only when the child fails.
        progress: show a bar on stderr.
    """

    settings: IterativeSettings = field(default_factory=IterativeSettings)
    log_path: Path | None = None
    progress: bool = False

    @property
    def arm(self) -> str:
        """Name of the method in tables."""
        return self.settings.arm

    def reconstruct(self, scan: Scan) -> Reconstruction:
        """The object of a scan, and its probe and positions where they are refined.

        The scale that objects and probes share is settled as the scan has it: the probe returned has the power of
        `scan.probe` (it is `scan.probe` unless refined), and the object takes the rest.

        Raises:
            DataError: the frames and the probe hold no light to compare.
            EngineError: pty-chi is not installed, failed, diverged or took too long; the log is named.
        """
        if importlib.util.find_spec("ptychi") is None:
            raise EngineError(f"{self.arm}: expected pty-chi, it is not installed; run pip install 'foldlight[ptychi]'")
        start = time.perf_counter()
        settings = self.settings.filled(len(scan))
        with tempfile.TemporaryDirectory(prefix="foldlight-ptychi-") as name, _kept_log(self.log_path) as log:
            folder = Path(name)
            _write_inputs(folder, scan, settings)
            _run_child(folder, log, settings, self.progress)
            found = _read_result(folder, log, self.arm)
        seconds = time.perf_counter() - start

        gauge = np.sqrt(_power(scan.probe) / _power(found["probe"]))
        probe = (found["probe"] * gauge).astype(np.complex64) if settings.fit_probe else scan.probe
        positions = _inside(found["positions_px"], scan) if settings.fit_positions else scan.positions_px
        return Reconstruction(
            arm=self.arm,
            object=(found["object"] / gauge).astype(np.complex64),
            probe=probe,
            positions_px=positions,
            coverage=coverage_map(probe, positions, scan.canvas),
            ledger=Ledger(
                train_seconds=0.0,
                infer_seconds=seconds,
                epochs=len(found["loss"]),
                n_frames=len(scan),
                photons=float(scan.photons.totals.sum()),
                device=settings.device,
                threads=settings.threads,
            ),
            settings=settings.plain(),
        )


def _power(probe: np.ndarray) -> float:
    return float(np.sum(np.abs(probe) ** 2, dtype=np.float64))


def _inside(positions_px: np.ndarray, scan: Scan) -> np.ndarray:
    """Positions whose windows stay on the canvas: refinement may carry those at its edge a little too far."""
    low = np.array(scan.window) // 2
    inside: np.ndarray = np.clip(positions_px, low, np.array(scan.canvas) - np.array(scan.window) + low)
    return inside


def _write_inputs(folder: Path, scan: Scan, settings: IterativeSettings) -> None:
    """The working folder as `ptychi_child` reads it; frames pass block by block, masked pixels as zeros."""
    frames = np.lib.format.open_memmap(folder / "frames.npy", mode="w+", dtype=np.float32, shape=scan.photons.shape)
    for first in range(0, len(scan), _BLOCK):
        frames[first : first + _BLOCK] = np.where(scan.mask, scan.photons[first : first + _BLOCK], 0)
    frames.flush()
    np.savez(
        folder / "scan.npz",
        positions_px=scan.positions_px,
        probe=scan.probe * np.float32(flat_amplitude(scan)),
        mask=scan.mask,
        canvas=np.array(scan.canvas),
    )
    write_json(folder / "settings.json", settings.plain())


def _read_result(folder: Path, log: Path, arm: str) -> dict[str, np.ndarray]:
    """What the child found, finite or refused."""
    with np.load(folder / "result.npz", allow_pickle=False) as archive:
        found = {name: archive[name] for name in archive.files}
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise EngineError(f"{arm}: expected a finite {name}, got NaN or infinity; lower the step sizes; log: {log}")
    return found


@contextmanager
def _kept_log(log_path: Path | None) -> Iterator[Path]:
    """Where to log; without a wish it is a temporary file that stays only when the block fails."""
    if log_path is not None:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        yield log_path
        return
    handle, name = tempfile.mkstemp(prefix="foldlight-ptychi-", suffix=".log")
    os.close(handle)
    yield Path(name)
    Path(name).unlink(missing_ok=True)


def _run_child(folder: Path, log: Path, settings: IterativeSettings, progress: bool) -> None:
    """Run `ptychi_child` on the folder to its end; whatever happens, no process of its group is left.

    Raises:
        EngineError: it failed or took too long.
    """
    command = [sys.executable, "-m", "foldlight.reconstruct.ptychi_child", str(folder), str(os.getpid())]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,  # `-m` imports from here first: nothing of the user's may be mistaken for a package
            env=_environment(settings.threads),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with _bar(settings, progress) as show:
            code = _wait(process, log, settings.time_limit_s, show)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code != 0:
        done = f"{_epochs_done(log)} of {settings.epochs} epochs"
        if code is None:
            what = (
                f"expected an end within {settings.time_limit_s:g} s, got {done}; raise time_limit_s or ask for fewer"
            )
        elif code < 0:
            what = f"pty-chi was ended by {signal.Signals(-code).name} after {done}; was memory short?"
        else:
            what = f"pty-chi failed after {done}: {_last_line(log)}"
        raise EngineError(f"{settings.arm}: {what}; log: {log}")


def _environment(threads: int) -> dict[str, str]:
    """The parent's environment, less the variables by which pty-chi would take itself for one of many ranks."""
    kept = {name: value for name, value in os.environ.items() if name not in _LAUNCHER_VARIABLES}
    return {**kept, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}


def _wait(
    process: subprocess.Popen[bytes], log: Path, time_limit_s: float | None, show: Callable[[int], None]
) -> int | None:
    """The exit code, or None when the time is up."""
    deadline = time.monotonic() + (np.inf if time_limit_s is None else time_limit_s)
    while time.monotonic() < deadline:
        try:
            return process.wait(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            show(_epochs_done(log))
    return None


def _epochs_done(log: Path) -> int:
    found = re.findall(r"^epoch (\d+)/", log.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)
    return int(found[-1]) if found else 0


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


@contextmanager
def _bar(settings: IterativeSettings, progress: bool) -> Iterator[Callable[[int], None]]:
    """A function that shows how many epochs are done, on stderr or nowhere."""
    if not progress:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(settings.arm, total=settings.epochs)
        yield lambda done: bar.update(task, completed=done)
        bar.update(task, completed=settings.epochs)
