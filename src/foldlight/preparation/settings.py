"""How to prepare a base file from a measured scan."""

from typing import Literal

from pydantic import Field

from foldlight.core.settings import Settings
from foldlight.reconstruct.settings import IterativeSettings

__all__ = ["PreparationSettings"]


class PreparationSettings(Settings):
    """How the scan is reconstructed, with pty-chi's LSQML from a flat object, its probe refined."""

    epochs: int = Field(default=100, ge=1)
    """Passes over all frames."""
    probe_modes: int = Field(default=1, ge=1)
    """Incoherent modes of the base's probe: one is fully coherent light, which every method handles; further modes in
    the file are left out from the start, so that the one takes on their light."""
    fit_positions: bool = False
    """Refine the positions too; otherwise they stay as measured."""
    seed: int = Field(default=0, ge=0)
    """Seed of the order of frames; the same seed on one CPU thread gives the same bits."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where pty-chi computes."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; all cores when not given. On one, results repeat to the bit."""
    time_limit_s: float | None = Field(default=None, gt=0)
    """Wall time after which the reconstruction is ended [s]."""

    @property
    def engine(self) -> IterativeSettings:
        """The engine's settings."""
        return IterativeSettings(engine="lsqml", fit_probe=True, **self.model_dump())
