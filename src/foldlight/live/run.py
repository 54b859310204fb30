"""A scan followed from its first frame to its last: look, reconstruct, tell."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from foldlight.bundle import Model
from foldlight.core.errors import FoldlightError
from foldlight.live.board import Board, State, Status
from foldlight.live.engine import LiveEngine, with_probe
from foldlight.live.follow import Follower, follow
from foldlight.live.settings import LiveSettings
from foldlight.optics.coverage import coverage_map
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.sampling.tiles import Box

__all__ = ["LiveRun"]

_POLL_S = 0.02  # between looks while nothing is to be done
_TELL_S = 0.25  # between tellings while the image stays as it is
_READ_BYTES = 1 << 25  # of frames at a time
_RATE_S = 5.0  # over which a rate is taken
_DELAYS = 5000  # frames whose delay is remembered


class LiveRun:
    """One scan and who follows it. `run` is called once; `board` may be read, and `stop` called, from other threads.

    Args:
        path: HDF5 container that is being written, or folder that fills; it need not be there yet.
        model: the network.
        settings: how to follow.
        probe: (mode, y, x) complex64 [sqrt(photon)] in place of the scan's own.
    """

    def __init__(self, path: Path, model: Model, settings: LiveSettings, probe: np.ndarray | None = None) -> None:
        self.board = Board(path.name, settings.picture_px)
        self._path = path
        self._model = model
        self._settings = settings
        self._probe = probe
        self._stopped = False
        self._began = time.monotonic()
        self._news = self._began  # when the last frame turned up
        self._updated = -np.inf  # when the last update began
        self._updates = 0
        self._busy_s = 0.0
        self._delays: deque[float] = deque(maxlen=_DELAYS)
        self._arrivals: deque[tuple[float, int]] = deque()
        self._told = -np.inf
        self._picture: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None

    def stop(self) -> None:
        """Ask `run` to end soon, as Ctrl-C does."""
        self._stopped = True

    def run(self) -> Reconstruction | None:
        """Follow the scan to its end.

        Returns:
            The object, in the scan's own canvas where it has one; None when no frame came. `board.status` says how it
            ended.

        Raises:
            FoldlightError: it is no scan, the network does not fit it, or it was begun again.
        """
        follower = follow(self._path)
        engine: LiveEngine | None = None
        try:
            engine = self._opened(follower)
            if engine is None:
                self._tell(follower, None, "stopped" if self._stopped else "given up", self._nothing(follower))
                return None
            ended = self._follow(follower, engine)
            made = self._finish(follower, engine, ended)
            self._tell(follower, engine, ended, self._words(ended, follower), image=made is not None)
        except FoldlightError as error:
            self._tell(follower, engine, "failed", str(error))
            raise
        finally:
            follower.close()
            if engine is not None:
                engine.close()
        return made

    def _opened(self, follower: Follower) -> LiveEngine | None:
        """The engine, once the scan has said what it is; None when it never did."""
        try:
            while not self._over():
                follower.look()
                start = follower.start()
                if start is not None:
                    engine = LiveEngine(self._model, with_probe(start, self._probe), self._settings)
                    self._picture = engine.mosaic.cut
                    return engine
                self._now_and_then(follower, None, f"waiting for {self._path.name}")
        except KeyboardInterrupt:
            self._stopped = True
        return None

    def _follow(self, follower: Follower, engine: LiveEngine) -> State:
        """Take frames in and put them into the image until there are no more; tells how it ended."""
        try:
            while not self._stopped:
                self._take_in(follower, engine)
                if engine.waiting and (self._due(engine) or follower.complete):
                    self._update(follower, engine)
                elif engine.waiting:
                    time.sleep(_POLL_S)
                elif follower.complete:
                    return "complete"
                elif self._over():
                    return "given up"
                else:
                    self._now_and_then(follower, engine, self._progress(engine))
        except KeyboardInterrupt:
            pass
        return "stopped"

    def _due(self, engine: LiveEngine) -> bool:
        """Enough waits, or enough time went by since the last update began."""
        return (
            engine.waiting >= self._settings.new_frames or time.monotonic() - self._updated >= self._settings.interval_s
        )

    def _take_in(self, follower: Follower, engine: LiveEngine) -> None:
        before = follower.received
        follower.look()
        now = time.monotonic()
        if follower.received > before or not self._arrivals:
            self._news = now
            self._arrivals.append((now, follower.received))
        most = max(1, _READ_BYTES // engine.frame_bytes)
        while most > 0 and (piece := follower.read(most)) is not None:
            engine.add(piece, now)
            most -= len(piece.frames)

    def _update(self, follower: Follower, engine: LiveEngine) -> None:
        self._updated = time.monotonic()
        done = engine.update()
        if done is None:
            return
        self._updates += 1
        self._busy_s += done.seconds
        self._delays.extend(done.delays_s.tolist())
        self._tell(follower, engine, "measuring", self._progress(engine), image=True)

    def _finish(self, follower: Follower, engine: LiveEngine, ended: State) -> Reconstruction | None:
        """The object of all frames: made once more from all of them together, or as it stands."""
        if not engine.taken:
            return None
        scan, moved = engine.scan({"path": self._path.name, "format": "followed while it was measured"})
        if self._settings.final_pass and ended != "stopped":
            self._tell(follower, engine, "final pass", f"reconstructing all {engine.taken:,} frames together")
            try:
                arm = NeuralReconstructor(self._model, device=self._settings.device, progress=False)
                made = arm.reconstruct(scan)
                made = replace(made, settings={**made.settings, "live": self._settings.plain()})
            except KeyboardInterrupt:
                pass
            else:
                image, coverage = made.object, made.coverage
                self._picture = lambda: (image, coverage)
                return made
        image, _ = engine.mosaic.cut(Box(-moved[0], -moved[1], scan.canvas[0] - moved[0], scan.canvas[1] - moved[1]))
        ledger = Ledger(
            train_seconds=0.0,
            infer_seconds=self._busy_s,
            epochs=int(self._model.training.get("epochs_completed", 0)),
            n_frames=engine.reconstructed,
            photons=float(scan.photons.totals.sum()),
            device=self._settings.device,
            threads=torch.get_num_threads(),
        )
        return Reconstruction(
            arm="Network (live)",
            object=image,
            probe=scan.probe,
            positions_px=scan.positions_px,
            coverage=coverage_map(scan.probe, scan.positions_px, scan.canvas),
            ledger=ledger,
            settings={"network": self._model.network.plain(), "live": self._settings.plain()},
            data_digest=scan.digest(),
        )

    def _over(self) -> bool:
        """Stopped, or nothing came for too long."""
        return self._stopped or time.monotonic() - self._news > self._settings.timeout_s

    def _now_and_then(self, follower: Follower, engine: LiveEngine | None, message: str) -> None:
        """Tell how things stand if that was long ago, and rest a little."""
        if time.monotonic() - self._told >= _TELL_S:
            self._tell(follower, engine, "measuring" if engine else "waiting", message)
        time.sleep(_POLL_S)

    def _progress(self, engine: LiveEngine) -> str:
        quiet = time.monotonic() - self._news
        if quiet > 2 and not engine.waiting:
            return f"no new frame for {quiet:.0f} s; given up after {self._settings.timeout_s:g} s"
        return "measuring"

    def _nothing(self, follower: Follower) -> str:
        if self._stopped:
            return "stopped before the first frame"
        why = f" ({'; '.join(follower.troubles)})" if follower.troubles else ""
        return (
            f"{self._path}: expected a scan that grows, got none within {self._settings.timeout_s:g} s{why}; start the"
            " measurement, correct the path, or raise --timeout-s"
        )

    def _words(self, ended: State, follower: Follower) -> str:
        if ended == "given up":
            return (
                f"{self._path}: expected more frames or the word that the scan is complete, got neither for"
                f" {self._settings.timeout_s:g} s after frame {follower.received:,}; the writer may have died"
            )
        return {"complete": "the scan is complete", "stopped": "stopped; the image is as it was then"}[ended]

    def _tell(
        self, follower: Follower, engine: LiveEngine | None, state: State, message: str, image: bool = False
    ) -> None:
        now = time.monotonic()
        self._told = now
        while len(self._arrivals) > 2 and now - self._arrivals[1][0] > _RATE_S:
            self._arrivals.popleft()
        status = Status(state=state, message=message, elapsed_s=now - self._began, notes=follower.troubles)
        if engine is not None:
            delays = np.array(self._delays) if self._delays else None
            lost = engine.dropped + follower.lost
            status = replace(
                status,
                received=follower.received,
                reconstructed=engine.reconstructed,
                waiting=follower.received - engine.reconstructed - lost,
                deferred=engine.deferred,
                dropped=lost,
                notes=(*follower.troubles, *(f"{n:,} frames dropped: {why}" for why, n in engine.reasons.items())),
                in_order=engine.in_order,
                updates=self._updates,
                rate_hz=self._rate(now),
                latency_median_s=None if delays is None else float(np.median(delays)),
                latency_p99_s=None if delays is None else float(np.percentile(delays, 99)),
            )
        self.board.tell(status, self._picture if image else None, image)

    def _rate(self, now: float) -> float:
        """Frames received a second, of late [Hz]."""
        if len(self._arrivals) < 2:
            return 0.0
        (first, few), (_, many) = self._arrivals[0], self._arrivals[-1]
        return (many - few) / max(now - first, 1e-3)
