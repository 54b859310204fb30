"""What the columns of a table are called, how they are printed, and which of two values is better."""

from dataclasses import dataclass

__all__ = ["COLUMNS", "Column"]


@dataclass(frozen=True)
class Column:
    """A column of the page's table.

    Attributes:
        name: field of `Row`.
        label: heading.
        digits: format of its numbers.
        better: 1 when more is better, -1 when less is, 0 when it is a cost or a fact and nothing is marked as best.
        meaning: definition, in a sentence.
    """

    name: str
    label: str
    digits: str
    better: int
    meaning: str


COLUMNS = (
    Column(
        "phase_ssim", "phase SSIM", ".3f", 1, "Structural similarity of the phase, 1 for a perfect image, 0 for none."
    ),
    Column("amplitude_ssim", "amplitude SSIM", ".3f", 1, "Structural similarity of the amplitude."),
    Column(
        "phase_ms_ssim",
        "phase MS-SSIM",
        ".3f",
        1,
        "The same over five scales, from fine to coarse; empty where the image is too small for them.",
    ),
    Column("complex_correlation", "correlation", ".3f", 1, "Of the complex objects without their means, from 0 to 1."),
    Column("phase_mae", "phase error", ".4f", -1, "Mean absolute error of the phase, wrapped, in rad."),
    Column("amplitude_mae", "amplitude error", ".4f", -1, "Mean absolute error of the amplitude, in truth units."),
    Column(
        "phase_psnr",
        "phase PSNR",
        ".1f",
        1,
        "Peak signal-to-noise ratio of the phase in dB; the peak is the truth's range.",
    ),
    Column(
        "frc_half_nyquist",
        "FRC 0.5",
        ".3f",
        1,
        "Where the Fourier ring correlation with the truth falls below 0.5, as a fraction of Nyquist; empty when it"
        " never does.",
    ),
    Column(
        "deviance_heldout",
        "held-out deviance",
        ".4g",
        -1,
        "Poisson deviance per detector pixel of counts no method has seen; 0 is a perfect fit, the least that noise"
        " allows is about 1 where counts are many.",
    ),
    Column("train_seconds", "training [s]", ".3g", 0, "Seconds spent on training; 0 where nothing is trained."),
    Column("infer_seconds_per_frame", "per frame [s]", ".2g", 0, "Seconds from frames to object, for each frame."),
    Column("status", "status", "", 0, "Collapsed: no better than the flat image."),
)
