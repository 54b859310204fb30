"""What a user may tell a reader that the file does not."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from foldlight.core.settings import Settings
from foldlight.frames import Orientation

__all__ = ["ReadOptions"]


class ReadOptions(Settings):
    """How to read a scan. `auto` asks the file, then its numbers, then its format, and says what it found."""

    values: Literal["auto", "amplitude", "intensity"] = "auto"
    """What the stored numbers are: square roots of intensities, or intensities (counts)."""

    scale: float | None = Field(default=None, gt=0)
    """Factor that makes stored numbers photons (intensity) or square roots of photons (amplitude); none: as found."""

    negative: Literal["refuse", "zero"] = "refuse"
    """What to do with frames that hold numbers below 0, as after a dark frame was subtracted: zero reads these as 0,
    which adds a little light where there is none."""

    zero_frequency: Literal["auto", "centre", "corner"] = "auto"
    """Where frames hold the direct beam: at [N // 2, N // 2] or at [0, 0]."""

    axis_order: Literal["auto", "nyx", "yxn"] = "auto"
    """Axes of the frames: number of the frame first or last."""

    position_order: Literal["auto", "yx", "xy"] = "auto"
    """Order of the two coordinates; xy swaps those of a file that has them the wrong way round."""

    translation_sign: Literal["auto", "beam", "sample"] = "auto"
    """Whose motion the positions are: the beam's over the sample, or the sample's, which is negated. `foldlight orient`
    asks the photons."""

    orientation: Orientation = "as_stored"
    """How to turn the frames, so that their axes are those of probe and positions. `foldlight orient` finds it."""

    energy_kev: float | None = Field(default=None, gt=0)
    """Photon energy [keV], where the file has none or a wrong one."""

    distance_m: float | None = Field(default=None, gt=0)
    """From the sample to the detector [m], likewise."""

    detector_pixel_um: float | None = Field(default=None, gt=0)
    """Size of a detector pixel [um], likewise."""

    pixel_nm: float | None = Field(default=None, gt=0)
    """Size of an object pixel [nm], in place of energy, distance and detector pixel."""

    crop_px: int | None = Field(default=None, ge=8, multiple_of=2)
    """Take so many rows and columns of the frames, around `centre_px`."""

    centre_px: tuple[float, float] | None = None
    """Where the direct beam is in the stored frames (row, column) [px]; their middle N // 2 when not given."""

    probe_from: Path | None = None
    """A file that has the probe: a scan, what `reconstruct` wrote, or an array as .npy. A measured scan's own is often
    a guess, and an engine that refines it finds a better one."""

    defocus_um: float = 0.0
    """For a probe that has to be guessed from the frames: from the focus down to the sample [um]."""

    companion: Path | None = None
    """The second file of a format that has two; found by its name when not given."""

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
