"""What is known of a scan that runs: written by one thread, read by many."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from foldlight.live.pictures import Picture, draw

__all__ = ["Board", "State", "Status"]

State = Literal["waiting", "measuring", "final pass", "complete", "given up", "stopped", "failed"]


@dataclass(frozen=True)
class Status:
    """How a scan that is followed stands.

    Attributes:
        state: `waiting` for the first frame, `measuring`, `final pass`, and how it ended: `complete`, `given up` when
            nothing came any more, `stopped` by whoever follows, `failed`.
        message: the same in a sentence.
        received: frames that are there.
        reconstructed: frames that are in the image.
        waiting: frames that are there and not yet in the image.
        deferred: of these, the ones that stand back until there is time.
        dropped: frames that will not be in the image.
        notes: why frames were dropped, what could not be read, one sentence each.
        in_order: all frames before this one are in the image.
        updates: times the image changed.
        rate_hz: frames received a second, of late [Hz].
        latency_median_s: from when a frame was found to the image, of late [s]; None before the first.
        latency_p99_s: its 99th percentile [s].
        elapsed_s: since the scan was first looked for [s].
    """

    state: State = "waiting"
    message: str = ""
    received: int = 0
    reconstructed: int = 0
    waiting: int = 0
    deferred: int = 0
    dropped: int = 0
    notes: tuple[str, ...] = ()
    in_order: int = 0
    updates: int = 0
    rate_hz: float = 0.0
    latency_median_s: float | None = None
    latency_p99_s: float | None = None
    elapsed_s: float = 0.0

    @property
    def ended(self) -> bool:
        """Nothing will change any more."""
        return self.state in {"complete", "given up", "stopped", "failed"}


@dataclass(frozen=True)
class _Drawn:
    version: int = -1
    shape: tuple[int, int] = (0, 0)
    pictures: Mapping[str, Picture] = field(default_factory=dict)


class Board:
    """The latest status and image of a scan.

    Pictures are drawn when somebody asks for them, once a version: nobody watching costs nothing.

    Args:
        title: name of what is followed.
        picture_px: longest side of the pictures [px].
    """

    def __init__(self, title: str, picture_px: int = 768) -> None:
        self.title = title
        self._picture_px = picture_px
        self._changed = threading.Condition()
        self._drawing = threading.Lock()
        self._status = Status()
        self._revision = 0
        self._version = 0
        self._cut: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None
        self._drawn = _Drawn()

    @property
    def status(self) -> Status:
        """The latest one."""
        with self._changed:
            return self._status

    def tell(
        self, status: Status, cut: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None, image: bool = False
    ) -> None:
        """Put up a new status.

        Args:
            status: the new one.
            cut: gives a copy of image and light (y, x); other threads call it, whenever they like.
            image: the image has changed.
        """
        with self._changed:
            self._status = status
            self._revision += 1
            if image:
                self._cut, self._version = cut, self._version + 1
            self._changed.notify_all()

    def wait(self, after: int, at_most_s: float) -> None:
        """Until there is a revision other than `after`, but not for ever."""
        with self._changed:
            self._changed.wait_for(lambda: self._revision != after, at_most_s)

    def plain(self) -> dict[str, Any]:
        """JSON-ready: status, revision, and what the pictures of the latest image show; draws them."""
        with self._changed:
            status, revision = self._status, self._revision
        drawn = self._draw()
        scales = {name: [each.low, each.high] for name, each in drawn.pictures.items()}
        picture = {"version": drawn.version, "height": drawn.shape[0], "width": drawn.shape[1], "scales": scales}
        told = {**asdict(status), "title": self.title, "revision": revision, "ended": status.ended}
        return {**told, "picture": picture if drawn.version > 0 else None}

    def picture(self, name: str) -> tuple[int, bytes] | None:
        """Version and PNG of `amplitude` or `phase`; None while there is no image."""
        drawn = self._draw()
        found = drawn.pictures.get(name)
        return None if found is None else (drawn.version, found.png)

    def _draw(self) -> _Drawn:
        with self._drawing:
            with self._changed:
                if self._cut is None or self._drawn.version == self._version:
                    return self._drawn
                version, cut = self._version, self._cut
            image, light = cut()  # may be newer than its number, never older
            self._drawn = _Drawn(version, (image.shape[0], image.shape[1]), draw(image, light, self._picture_px))
            return self._drawn
