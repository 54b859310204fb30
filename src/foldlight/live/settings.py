"""How to follow a scan, and how to play one."""

from pydantic import Field

from foldlight.core.settings import Settings

__all__ = ["LiveSettings", "PlaySettings"]


class LiveSettings(Settings):
    """How a scan is followed and shown."""

    interval_s: float = Field(default=0.1, ge=0, le=60)
    """Least time from update to update while the image keeps up [s]; longer asks for less work, shorter for less delay.
    When frames wait, updates follow each other at once."""
    new_frames: int = Field(default=112, ge=1)
    """Most new frames of an update."""
    region_frames: int = Field(default=160, ge=1)
    """Most frames of an update, with the older neighbours that new frames are looked at with; bounds its time."""
    tile_px: int = Field(default=256, ge=16)
    """Side of the part of the object that an update may add to [px]; bounds its time where a scan jumps."""
    allow_skip: bool = False
    """When frames come too fast, first take every second, third ... one, so that the image is of the whole scan; the
    others wait until there is time, and are told. Without it they are taken in order, and the image lags."""
    final_pass: bool = True
    """When the scan is complete, reconstruct it once more from all frames together, as `foldlight reconstruct` does."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Without a new frame for so long, the scan counts as given up: the page says so and the image is kept [s]."""
    device: str = "cpu"
    """Where the network runs: `cpu`, `cuda`, `cuda:1` ..."""
    picture_px: int = Field(default=768, ge=64, le=4096)
    """Longest side of the pictures on the page [px]; larger objects are shown reduced."""
    page: bool = True
    """Show the page. Without it nothing listens, and the command ends when the scan does."""
    port: int = Field(default=0, ge=0, le=65535)
    """Port of the page on this machine's own address, 127.0.0.1; 0: any that is free."""
    browser: bool = False
    """Open the page in a browser; its address is printed in any case."""
    stay: bool = True
    """Keep the page up after the end of the scan, until Ctrl-C."""


class PlaySettings(Settings):
    """How a scan is played back to whoever follows it."""

    rate: float = Field(default=200.0, gt=0, le=1e5)
    """Frames a second [Hz]."""
    burst_s: float = Field(default=0.005, gt=0, le=10)
    """Frames that became due within this time are written together [s]; a folder gets a file each time."""
    chunk_frames: int = Field(default=1, ge=1)
    """Frames a chunk of the HDF5 file: more are quicker to read, and a started one is written again and again."""
    planned: bool = True
    """Say at the start where all frames will be, so that the picture has its size at once."""
    complete: bool = True
    """Say at the end that the scan is complete; without it the writer just stops, as one that was killed."""
