"""Iterative ptychography with pty-chi, in a child process.

The parent writes the scan to a working folder, starts `ptychi_child` on it, watches its log, and reads the result back.
pty-chi never sees `scan.object`: it starts from the best flat image, or from what it is given.
"""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foldlight.core.errors import DataError, EngineError
from foldlight.core.files import write_json
from foldlight.core.progress import Progress, progress_bar
from foldlight.optics.coverage import coverage_map
from foldlight.optics.flat import flat_amplitude
from foldlight.reconstruct.canvas import checked_start, inside
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.reconstruct.settings import IterativeSettings
from foldlight.scan import Scan

__all__ = ["IterativeReconstructor"]

_BLOCK = 256  # frames copied at a time
_POLL_S = 0.2
_LAUNCHER_VARIABLES = {"GROUP_RANK", "ROLE_RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK", "RANK", "WORLD_SIZE"}


@dataclass(frozen=True)
class IterativeReconstructor:
    """pty-chi as a `Reconstructor`.

    Attributes:
        settings: engine and its options.
        log_path: where the child's output streams to; without one it is kept only when the child fails.
        progress: show a bar on stderr.
        append_log: the child's output goes to the end of the file at `log_path`, which others write to as well; by
            default the file begins anew.
        start: (y, x) complex object on the scan's canvas to start from; the best flat image when None.
    """

    settings: IterativeSettings = field(default_factory=IterativeSettings)
    log_path: Path | None = None
    progress: bool = False
    append_log: bool = False
    start: np.ndarray | None = None

    @property
    def arm(self) -> str:
        """Name of the method in tables."""
        return self.settings.arm

    def reconstruct(self, scan: Scan) -> Reconstruction:
        """The object of a scan, and its probe and positions where they are refined.

        The scale that objects and probes share is settled as the scan has it: the probe returned has the power of
        `scan.probe` (it is `scan.probe` unless refined), and the object takes the rest.

        Raises:
            DataError: the frames and the probe hold no light to compare, the start does not fit the scan, or the log
                can't be written.
            EngineError: pty-chi is not installed, failed, diverged or took too long; the log is named.
        """
        if importlib.util.find_spec("ptychi") is None:
            raise EngineError(f"{self.arm}: expected pty-chi, it is not installed; run pip install 'foldlight[ptychi]'")
        began = time.perf_counter()
        settings = self.settings.filled(len(scan))
        start = None if self.start is None else checked_start(self.start, scan, self.arm)
        with tempfile.TemporaryDirectory(prefix="foldlight-ptychi-") as name, self._log() as log:
            folder = Path(name)
            _write_inputs(folder, scan, settings, start)
            _run_child(folder, log, settings, self.progress)
            found = _read_result(folder, log, self.arm)
        seconds = time.perf_counter() - began

        gauge = np.sqrt(_power(scan.probe) / _power(found["probe"]))
        probe = (found["probe"] * gauge).astype(np.complex64) if settings.fit_probe else scan.probe
        positions = inside(found["positions_px"], scan) if settings.fit_positions else scan.positions_px
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
                threads=settings.threads or 1,
            ),
            settings=settings.plain(),
            data_digest=scan.digest(),
        )

    @contextmanager
    def _log(self) -> Iterator[Path]:
        """The file to log to; without a wish it is a temporary one that stays only when the block fails.

        Raises:
            DataError: the wish can't be written.
        """
        if self.log_path is not None:
            try:
                self.log_path.parent.mkdir(parents=True, exist_ok=True)
                self.log_path.open("ab" if self.append_log else "wb").close()
            except OSError as error:
                raise DataError(f"{self.log_path}: expected a writable place, got {error.strerror or error}") from None
            yield self.log_path
            return
        handle, name = tempfile.mkstemp(prefix="foldlight-ptychi-", suffix=".log")
        os.close(handle)
        yield Path(name)
        Path(name).unlink(missing_ok=True)


def _power(probe: np.ndarray) -> float:
    return float(np.sum(np.abs(probe) ** 2, dtype=np.float64))


def _write_inputs(folder: Path, scan: Scan, settings: IterativeSettings, start: np.ndarray | None) -> None:
    """The working folder as `ptychi_child` reads it.

    The probe takes the level of the best flat image, so that objects begin about 1, from flat and from a start alike.
    """
    level = np.float32(flat_amplitude(scan))
    _write_frames(folder / "frames.npy", scan)
    np.savez(
        folder / "scan.npz",
        positions_px=scan.positions_px,
        probe=scan.probe * level,
        mask=scan.mask,
        object=np.ones(scan.canvas, np.complex64) if start is None else (start / level).astype(np.complex64),
    )
    write_json(folder / "settings.json", settings.plain())


def _write_frames(path: Path, scan: Scan) -> None:
    """Frames block by block, masked pixels as zeros, zero frequency in the corner: what pty-chi works on.

    Written, not mapped: this process's memory stays at one block.
    """
    header = {"descr": "<f4", "fortran_order": False, "shape": scan.photons.shape}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for first in range(0, len(scan), _BLOCK):
            photons = np.where(scan.mask, scan.photons[first : first + _BLOCK], np.float32(0))
            stream.write(np.fft.ifftshift(photons, axes=(-2, -1)).data)


def _read_result(folder: Path, log: Path, arm: str) -> dict[str, np.ndarray]:
    """What the child found, finite or refused."""
    with np.load(folder / "result.npz", allow_pickle=False) as archive:
        found = {name: archive[name] for name in archive.files}
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise EngineError(f"{arm}: expected a finite {name}, got NaN or infinity; lower the step sizes; log: {log}")
    return found


def _run_child(folder: Path, log: Path, settings: IterativeSettings, progress: bool) -> None:
    """Run `ptychi_child` on the folder to its end; whatever happens, no process of its group is left.

    Raises:
        EngineError: it failed or took too long.
    """
    command = [sys.executable, "-m", "foldlight.reconstruct.ptychi_child", str(folder), str(os.getpid())]
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,  # `-m` imports from here first: nothing of the user's may be mistaken for a package
            env=_environment(settings.threads or 1),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with progress_bar(settings.arm, settings.epochs or 1, progress) as advance:
            code = _wait(process, log, settings.time_limit_s, advance)
            advance(_epochs_done(log))
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


def _wait(process: subprocess.Popen[bytes], log: Path, time_limit_s: float | None, advance: Progress) -> int | None:
    """The exit code, or None when the time is up."""
    deadline = time.monotonic() + (np.inf if time_limit_s is None else time_limit_s)
    while time.monotonic() < deadline:
        try:
            return process.wait(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            advance(_epochs_done(log))
    return None


def _epochs_done(log: Path) -> int:
    found = re.findall(r"^epoch (\d+)/", log.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)
    return int(found[-1]) if found else 0


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
