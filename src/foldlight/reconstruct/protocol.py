"""What every reconstruction method takes and gives back."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from foldlight.core.errors import DataError
from foldlight.core.files import replacing
from foldlight.core.progress import duration
from foldlight.core.shown import Shown
from foldlight.scan import Scan

__all__ = ["Ledger", "Reconstruction", "Reconstructor"]


@dataclass(frozen=True)
class Ledger:
    """What a reconstruction cost and what it was allowed to see; None where that is unknown, as of a foreign file.

    Attributes:
        train_seconds: wall time spent training on this or other data; 0 where nothing is trained.
        infer_seconds: wall time from frames to object.
        epochs: passes over the frames (of training, or of the iteration).
        n_frames: frames used.
        photons: photons in those frames, all together.
        device: where it ran, for instance `cpu` or `cuda:0`.
        threads: CPU threads it was given.
    """

    train_seconds: float | None
    infer_seconds: float | None
    epochs: int | None
    n_frames: int | None
    photons: float | None
    device: str = "cpu"
    threads: int | None = 1


@dataclass(frozen=True, repr=False)
class Reconstruction(Shown):
    """An image of a scan's object, in the scan's own canvas and units.

    Attributes:
        arm: name of the method, as tables and pictures print it.
        object: (y, x) complex64 transmission on the scan's canvas.
        probe: (mode, y, x) complex64 [sqrt(photon)], as used or as refined.
        positions_px: (n, 2) float64, as used or as refined.
        coverage: (y, x) float32 photons that passed each object pixel, `sum_j |P(r - r_j)|^2`.
        ledger: what it cost.
        settings: JSON-ready settings that made it.
        data_digest: `Scan.digest` of what the method saw; empty when unknown.
        scan: the scan that was reconstructed, for who compares; not saved, so None after loading.
    """

    arm: str
    object: np.ndarray
    probe: np.ndarray
    positions_px: np.ndarray
    coverage: np.ndarray
    ledger: Ledger
    settings: dict[str, Any] = field(default_factory=dict)
    data_digest: str = ""
    scan: Scan | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.object.ndim != 2 or self.object.shape != self.coverage.shape:
            raise DataError(
                f"{self.arm}: expected object and coverage of one (y, x) shape, got {self.object.shape} and"
                f" {self.coverage.shape}"
            )
        if not np.isfinite(self.object).all():
            raise DataError(f"{self.arm}: expected a finite object, got NaN or infinity; the method diverged")

    def __repr__(self) -> str:
        seconds = self.ledger.infer_seconds
        took = "" if seconds is None else f", {duration(seconds)}"
        frames = "" if self.ledger.n_frames is None else f", {self.ledger.n_frames:,} frames"
        return f"<Reconstruction by {self.arm}: {self.object.shape[0]} x {self.object.shape[1]} px{frames}{took}>"

    def save(self, path: str | Path) -> None:
        """Write an NPZ: arrays under their names, the rest as a JSON string `_metadata`."""
        facts = {
            "arm": self.arm,
            "ledger": asdict(self.ledger),
            "settings": self.settings,
            "data_digest": self.data_digest,
        }
        with replacing(Path(path)) as temporary:
            np.savez_compressed(
                temporary,
                object=self.object,
                probe=self.probe,
                positions_px=self.positions_px,
                coverage=self.coverage,
                _metadata=np.array(json.dumps(facts, allow_nan=False)),
            )

    @classmethod
    def load(cls, path: str | Path) -> "Reconstruction":
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing, damaged or holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                facts = json.loads(str(archive["_metadata"]))
                arrays = {name: archive[name] for name in ("object", "probe", "positions_px", "coverage")}
            ledger, digest = Ledger(**facts["ledger"]), str(facts.get("data_digest", ""))
            return cls(facts["arm"], **arrays, ledger=ledger, settings=facts["settings"], data_digest=digest)
        except FileNotFoundError:
            raise DataError(f"{path}: expected a reconstruction file, found none; run reconstruct first") from None
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"{path}: expected a foldlight reconstruction: {type(error).__name__}: {error}") from None


@runtime_checkable
class Reconstructor(Protocol):
    """A way from a scan to an object; whoever compares results knows no more than this."""

    @property
    def arm(self) -> str:
        """Name of the method in tables."""
        ...

    def reconstruct(self, scan: Scan) -> Reconstruction:
        """The object of a scan. Never looks at `scan.object`."""
        ...
