"""What a user may tell a reader that the file does not."""

from typing import Literal

from pydantic import Field

from foldlight.core.settings import Settings

__all__ = ["ReadOptions"]


class ReadOptions(Settings):
    """How to read a scan. `auto` asks the file, then its numbers, then its format, and says what it found."""

    values: Literal["auto", "amplitude", "intensity"] = "auto"
    """What the stored numbers are: square roots of intensities, or intensities (counts)."""

    scale: float | None = Field(default=None, gt=0)
    """Factor that makes stored numbers photons (intensity) or square roots of photons (amplitude); none: as found."""

    zero_frequency: Literal["auto", "centre", "corner"] = "auto"
    """Where frames hold the direct beam: at [N // 2, N // 2] or at [0, 0]."""

    axis_order: Literal["auto", "nyx", "yxn"] = "auto"
    """Axes of the frames: number of the frame first or last."""

    position_order: Literal["auto", "yx", "xy"] = "auto"
    """Order of the two coordinates; xy swaps those of a file that has them the wrong way round."""

    ignore_object: bool = False
    """Leave out the object a file brings along, for instance because its positions are in another frame."""

    unpacked_limit_gib: float = Field(default=16.0, gt=0)
    """Most that a packed file or a compressed array may unpack to [GiB]."""

    unfinished: bool = False
    """Take the frames that are there of a scan container that is still being written, or whose writer was ended."""

    @property
    def limit_bytes(self) -> int:
        """`unpacked_limit_gib` in bytes."""
        return int(self.unpacked_limit_gib * 2**30)
