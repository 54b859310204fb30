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
        "phase_skill",
        "phase skill",
        ".3f",
        1,
        "SSIM of the phase on a scale where the best flat image has 0 and a perfect one 1.",
    ),
    Column("amplitude_skill", "amplitude skill", ".3f", 1, "The same of the amplitude."),
    Column(
        "phase_ssim",
        "phase SSIM",
        ".3f",
        1,
        "Structural similarity of the phase, 1 for a perfect image; a flat image has more than 0 where the object is"
        " uniform.",
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
        "object_rmse",
        "object error",
        ".4f",
        -1,
        "Root mean square of the complex object over the true one, less 1, as it was reconstructed: a wrong scale or"
        " place is an error too where the probe was known.",
    ),
    Column(
        "limit_rmse", "dose limit", ".4f", 0, "The least object error that the photons allow a method without bias."
    ),
    Column(
        "limit_bayes_rmse",
        "limit with prior",
        ".4f",
        0,
        "The least object error for any method that knows beforehand how strong each spatial frequency of this object"
        " is, biased ones too.",
    ),
    Column(
        "eta",
        "efficiency",
        ".3f",
        1,
        "Squared dose limit over squared object error: 1 when nothing is left to gain without bias. A biased method,"
        " one that smooths for instance, can pass 1: read it with the bias.",
    ),
    Column(
        "bias_fraction",
        "bias",
        ".2f",
        0,
        "Share of the squared error that stays the same when the exposure is repeated; the rest is noise, so that less"
        " is no better by itself.",
    ),
    Column(
        "photons_per_pixel",
        "photons per pixel",
        ".4g",
        0,
        "Photons through one object pixel, all frames together (median): the number that fixes the dose limit.",
    ),
    Column(
        "deviance_heldout",
        "held-out deviance",
        ".4g",
        -1,
        "Poisson deviance per detector pixel of counts no method has seen; 0 is a perfect fit, the least that noise"
        " allows is about 1 where counts are many.",
    ),
    Column(
        "deviance_fitted",
        "fitted deviance",
        ".4g",
        0,
        "The same of the counts that were reconstructed. Far below the held-out one, noise was fitted; that is why less"
        " is not marked as better.",
    ),
    Column("train_seconds", "training [s]", ".3g", 0, "Seconds spent on training; 0 where nothing is trained."),
    Column("infer_seconds_per_frame", "per frame [s]", ".2g", 0, "Seconds from frames to object, for each frame."),
    Column("status", "status", "", 0, "Collapsed: no better than the flat image."),
    Column(
        "legacy_phase_ssim",
        "phase SSIM (legacy)",
        ".3f",
        0,
        "An older definition, for comparison with published numbers only: uniform window, range 2, planes removed from"
        " truth and estimate apart.",
    ),
    Column("legacy_amplitude_ssim", "amplitude SSIM (legacy)", ".3f", 0, "The same of the amplitude, scaled by means."),
    Column(
        "legacy_phase_psnr",
        "phase PSNR (legacy)",
        ".1f",
        0,
        "An older definition: peak 255 on data of order 1, which adds about 48 dB; planes removed apart.",
    ),
    Column("legacy_amplitude_psnr", "amplitude PSNR (legacy)", ".1f", 0, "The same of the amplitude, scaled by means."),
    Column("legacy_phase_mae", "phase error (legacy)", ".4f", 0, "Mean absolute error, planes removed apart, in rad."),
    Column("legacy_amplitude_mae", "amplitude error (legacy)", ".4f", 0, "Mean absolute error, scaled by means."),
)
