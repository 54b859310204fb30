"""One line of a table of reconstructions, and how the numbers in it are made.

What each column means, and when a cell is empty, is written in `specs/compare_models.md`.
"""

from dataclasses import dataclass, fields
from typing import Literal

from pydantic import Field, model_validator

from foldlight.core.settings import Settings

__all__ = ["FLAT_ARM", "CompareSettings", "Row"]

FLAT_ARM = "Constant"
"""The arm that is the best flat image: whoever does not beat it has collapsed."""

_LEGACY = "legacy_"


class CompareSettings(Settings):
    """How reconstructions are compared."""

    ms_ssim_sigma: float = Field(default=1.5, gt=0, le=5)
    """Standard deviation of the MS-SSIM window [px]; SSIM always uses 1.5."""

    registration: bool = True
    """Remove shift and phase ramp as well as the global scale."""

    registered_arms: tuple[str, ...] | None = None
    """Only these arms are freed of shift and ramp; all of them when not given."""

    limit: Literal["off", "known", "blind"] = "off"
    """Dose limit to compute where there is a truth: with the probe known, or with the probe unknown as well."""

    legacy: bool = False
    """Add the field's older definitions, as columns that say so."""

    @model_validator(mode="after")
    def _agree(self) -> "CompareSettings":
        if self.registered_arms is not None and not self.registration:
            raise ValueError("registered_arms are given, but registration is off; leave out one of the two")
        return self

    def registers(self, arm: str) -> bool:
        """Whether an arm is freed of shift and ramp."""
        return self.registration and (self.registered_arms is None or arm in self.registered_arms)


@dataclass(frozen=True)
class Row:
    """One line of `metrics.csv`: fields are its columns, None an empty cell."""

    dose: float | None
    view: str | None
    split: str | None
    arm: str
    seed: int | None
    n_frames: int | None
    photons_per_frame: float | None
    amplitude_mae: float | None = None
    phase_mae: float | None = None
    amplitude_psnr: float | None = None
    phase_psnr: float | None = None
    amplitude_ssim: float | None = None
    phase_ssim: float | None = None
    amplitude_ms_ssim: float | None = None
    phase_ms_ssim: float | None = None
    frc_half_nyquist: float | None = None
    eta: float | None = None
    deviance_heldout: float | None = None
    train_seconds: float | None = None
    infer_seconds_per_frame: float | None = None
    status: str = "success"
    complex_correlation: float | None = None
    phase_correlation: float | None = None
    frc_half_state: str | None = None
    frc_seventh_nyquist: float | None = None
    frc_half_bit_nyquist: float | None = None
    photons_per_pixel: float | None = None
    object_rmse: float | None = None
    limit_rmse: float | None = None
    limit_bayes_rmse: float | None = None
    bias_fraction: float | None = None
    phase_skill: float | None = None
    amplitude_skill: float | None = None
    deviance_fitted: float | None = None
    limit_frc_half_nyquist: float | None = None
    legacy_amplitude_mae: float | None = None
    legacy_phase_mae: float | None = None
    legacy_amplitude_psnr: float | None = None
    legacy_phase_psnr: float | None = None
    legacy_amplitude_ssim: float | None = None
    legacy_phase_ssim: float | None = None

    @classmethod
    def columns(cls, legacy: bool = False) -> list[str]:
        """Names of the columns, in order; the older definitions, which come last, only when asked for."""
        names = [column.name for column in fields(cls)]
        return names if legacy else [name for name in names if not name.startswith(_LEGACY)]
