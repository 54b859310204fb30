"""A scan followed while it is written: `python -m benchmarks.live --help`.

An instrument (`foldlight live-simulate`, in a process of its own), `foldlight live` in another, and a browser's part,
which asks for the picture as the page does and notes when it had it, share this machine. A frame's latency runs from
when a reader could see it to when a picture that it is in was received. Rates rise until frames are left waiting.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from pydantic import Field

from benchmarks.suite import say
from foldlight.core.errors import EngineError
from foldlight.core.files import write_json
from foldlight.core.provenance import environment
from foldlight.core.settings import Settings

__all__ = ["LiveBenchmark", "main"]

_PLAYER = """
import sys, numpy as np
from pathlib import Path
from foldlight.io import read_scan
from foldlight.live.settings import PlaySettings
from foldlight.live.simulator import play
scan = read_scan(Path(sys.argv[1]))
sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()
played = play(Path(sys.argv[2]), scan, PlaySettings(rate=float(sys.argv[3])))
np.savez(sys.argv[4], written_s=played.written_s)
"""
_LATE_S, _LATE = 1.0, 0.02  # the last picture comes so long after the last frame, or the image did not keep up
_TARGET_HZ, _TARGET_S = 500.0, 1.0


class LiveBenchmark(Settings):
    """What to measure."""

    rates: tuple[float, ...] = (100.0, 200.0, 350.0, 500.0, 700.0, 1000.0)
    """Frames a second, each tried in turn [Hz]."""
    seconds: float = Field(default=20.0, gt=1)
    """How long a scan is, at its rate [s]."""
    object_size: int = Field(default=512, ge=128)
    """Side of the object [px]; the scan's step follows."""
    window: int = Field(default=64, ge=16)
    """Frame size [px]."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of `foldlight live`; the instrument and the browser take a core."""
    folder: bool = False
    """A folder that fills in place of an HDF5 file."""
    output: Path = Path("benchmarks/results/live.json")
    """Where the numbers are written."""


def main() -> None:
    """Measure, print a line a rate, and write all numbers."""
    settings = tyro.cli(Annotated[LiveBenchmark, tyro.conf.arg(name="")], description=__doc__)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for rate in settings.rates:
            rows.append(_measured(settings, rate, Path(name)))
            say(_line(rows[-1]))
    kept = [row["rate_hz"] for row in rows if row["kept_up"]]
    best = next((row for row in rows if row["asked_hz"] == _TARGET_HZ), None)
    say(f"highest rate that was kept up with: {max(kept, default=0):.0f} Hz, on {settings.threads} threads")
    if best is not None:
        met = best["kept_up"] and best["latency_p99_s"] <= _TARGET_S and best["dropped"] == 0
        say(f"row 11, {_TARGET_HZ:.0f} Hz, nothing dropped, p99 within {_TARGET_S:g} s: {'met' if met else 'missed'}")
    write_json(settings.output, {"settings": settings.plain(), "rows": rows, "environment": environment()})
    say(f"numbers -> {settings.output}")


def _measured(settings: LiveBenchmark, rate: float, folder: Path) -> dict[str, Any]:
    """One rate."""
    frames = int(rate * settings.seconds)
    source = folder / f"{frames}.npz"
    scan = folder / (f"scan_{frames}" if settings.folder else f"scan_{frames}.h5")
    times = folder / f"times_{frames}.npz"
    simulate = ("simulate", "--positions", str(frames), "--object-size", str(settings.object_size))
    _run(sys.executable, "-m", "foldlight", *simulate, "--window", str(settings.window), "--output", str(source))
    follow = (
        "live",
        str(scan),
        "--threads",
        str(settings.threads),
        "--no-final-pass",
        "--timeout-s",
        "60",
        "--no-stay",
    )
    player = subprocess.Popen(
        (sys.executable, "-c", _PLAYER, str(source), str(scan), str(rate), str(times)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    live = subprocess.Popen((sys.executable, "-m", "foldlight", *follow), stdout=subprocess.PIPE, text=True)
    try:
        assert live.stdout and player.stdout and player.stdin  # noqa: PT018, S101  (pipes were asked for)
        address = live.stdout.readline().split(" on ")[1].split(" ")[0]
        player.stdout.readline()
        watched = _Watcher(address)
        player.stdin.write("go\n")
        player.stdin.flush()
        player.wait(timeout=settings.seconds * 4 + 60)
        watched.join()
        live.wait(timeout=60)
    finally:
        for process in (player, live):
            process.kill()
            process.communicate()
    with np.load(times) as stored:
        written = stored["written_s"]
    return _numbers(rate, written, watched)


class _Watcher(threading.Thread):
    """Asks for the picture as the page does, and notes when which frames were in it."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address = address
        self.seen: list[tuple[int, float]] = []  # frames in the picture, and when it was here
        self.last: dict[str, Any] = {}
        self.most_waiting = 0
        self.picture_bytes = 0
        self.start()

    def run(self) -> None:
        revision, version = -1, -1
        while not self.last.get("ended"):
            try:
                told = json.loads(self._get(f"state.json?after={revision}"))
                if told["picture"] and told["picture"]["version"] != version:
                    self.picture_bytes += sum(len(self._get(f"{name}.png")) for name in ("amplitude", "phase"))
                    version = told["picture"]["version"]
                    self.seen.append((told["in_order"], time.monotonic()))
            except OSError:
                break
            self.last, revision = told, told["revision"]
            self.most_waiting = max(self.most_waiting, told["waiting"])

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self._address + path, timeout=30) as answer:  # noqa: S310  (loopback)
            found: bytes = answer.read()
        return found


def _numbers(rate: float, written_s: np.ndarray, watched: _Watcher) -> dict[str, Any]:
    """What a rate came to; a frame that no picture showed has the latency of the end."""
    counts = np.array([frames for frames, _ in watched.seen] or [0])
    when = np.array([at for _, at in watched.seen] or [time.monotonic()])
    if not watched.last:
        raise EngineError("foldlight live: expected it to answer, got nothing; run it by hand")
    first = np.searchsorted(counts, np.arange(len(written_s)), side="right").clip(max=len(when) - 1)
    latency = when[first] - written_s
    span = float(written_s[-1] - written_s[0])
    late = float(when[-1] - written_s[-1])  # of the last picture, after the last frame
    return {
        "asked_hz": rate,
        "rate_hz": (len(written_s) - 1) / span,
        "frames": len(written_s),
        "latency_median_s": float(np.median(latency)),
        "latency_p99_s": float(np.percentile(latency, 99)),
        "latency_most_s": float(latency.max()),
        "late_s": late,
        "kept_up": late < _LATE_S + _LATE * span,
        "most_waiting": watched.most_waiting,
        "reconstructed": watched.last["reconstructed"],
        "dropped": watched.last["dropped"],
        "updates": watched.last["updates"],
        "pictures": len(watched.seen),
        "picture_bytes": watched.picture_bytes,
    }


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['asked_hz']:6.0f} Hz asked, {row['rate_hz']:6.1f} written: latency median"
        f" {row['latency_median_s']:.2f} s, p99 {row['latency_p99_s']:.2f} s; at most {row['most_waiting']} waiting,"
        f" {row['dropped']} dropped,"
        f" {row['frames'] / max(1, row['updates']):.0f} frames an update, {row['pictures']} pictures;"
        f" {'kept up' if row['kept_up'] else 'fell behind'}, last frame {row['late_s']:.2f} s late"
    )


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"{' '.join(words[1:4])}: expected exit code 0, got {done.returncode}: {done.stderr[-300:]}")


if __name__ == "__main__":
    main()
