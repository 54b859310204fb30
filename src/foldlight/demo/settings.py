"""What the demo runs."""

from pathlib import Path

from pydantic import Field

from foldlight.core.settings import Settings

__all__ = ["DemoSettings"]


class DemoSettings(Settings):
    """A scan, four ways to reconstruct it, one report."""

    scan: Path | None = None
    """Measured scan to use; without one a scan is simulated."""
    output: Path = Path("demo")
    """Folder for the picture, `metrics.csv`, `report.html` and everything they came from."""
    small: bool = False
    """A run of a minute or two: a smaller simulation, or fewer epochs on a measured scan; the numbers are worse."""
    dose: float = Field(default=1e4, gt=0)
    """Photons per simulated frame."""
    adapt_steps: int | None = Field(default=None, ge=0)
    """Steps that adapt the packaged network to the scan; 60 when not given, 0 for none."""
    iterations: int | None = Field(default=None, ge=1)
    """Epochs of pty-chi; 60 when not given."""
    heldout_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Photons of a measured scan that no method sees; all are scored on them."""
    seed: int = Field(default=42, ge=0)
    """Root seed of the simulation, the thinning, the network and pty-chi."""
    device: str = "cpu"
    """Where the network trains: `cpu`, `cuda` or `cuda:1`."""
