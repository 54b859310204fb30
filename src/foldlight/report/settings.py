"""What can be chosen of an export."""

from typing import Literal

from pydantic import Field

from foldlight.core.settings import Settings

__all__ = ["ExportSettings"]


class ExportSettings(Settings):
    """Which image of a run, and how."""

    what: Literal[
        "phase",
        "amplitude",
        "phase-error",
        "amplitude-error",
        "error",
        "coverage",
        "frc",
        "comparison",
        "curves",
        "gallery",
    ] = "phase"
    """`phase`, `amplitude`, their errors, the complex `error` |estimate - truth|, `coverage` (light on each pixel),
    `frc` curves, or a finished figure: `comparison`, and of a study `curves` and `gallery`."""
    arm: str | None = None
    """Name of the method, or `truth`; may be left out where there is one."""
    dose: float | None = Field(default=None, gt=0)
    """Photons per frame; may be left out where there is one."""
    view: str | None = None
    """Overlap view; may be left out where there is one."""
    split: str | None = None
    """Half of the scan; may be left out where there is one."""
    repeat: int = Field(default=0, ge=0)
    """Repeat of the study, 0 for the first."""
    bare: bool = False
    """PNG with a pixel for each object pixel and nothing else; no scale, no bars."""
    low: float | None = None
    """Value of the first colour, instead of the run's own."""
    high: float | None = None
    """Value of the last colour, instead of the run's own."""
    pixel_nm: float | None = Field(default=None, gt=0)
    """Size of an object pixel [nm], for the scale bar and the files' metadata; what the run says when not given."""
