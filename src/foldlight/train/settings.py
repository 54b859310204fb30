"""How to train."""

from typing import Any, Literal

from pydantic import Field

from foldlight.core.errors import SettingsError
from foldlight.core.settings import Settings
from foldlight.networks.settings import SMALL_GROUP
from foldlight.simulate.settings import VarietySettings

__all__ = ["PretrainingSettings", "TrainingSettings", "epochs_for"]


_RATE, _RATE_STARTED = 2e-3, 4e-4


class TrainingSettings(Settings):
    """Self-supervised training: groups of neighbouring frames must agree and explain their photons.

    Or, where the true object is known, supervised training of the same network, to compare with.
    """

    gridsize: int = Field(default=7, ge=1, le=32)
    """Frames of a group: C = gridsize squared neighbours share one object. 1 is single-shot, 2 draws groups of four;
    from 3 on groups are compact regions of C frames, and a reconstruction takes the whole scan as one."""
    neighbours: int = Field(default=7, ge=1)
    """Nearest frames K that the members of a group of four are drawn from; at least C - 1."""
    groups: int | None = Field(default=None, ge=1)
    """Groups drawn in all; none given: one a frame, or as many regions as hold every frame. With fewer, some frames are
    only neighbours, or not used."""
    epochs: int = Field(default=15, ge=1)
    """Passes over the training frames."""
    batch_frames: int = Field(default=32, ge=1)
    """Frames in a step, in whole groups [frame]."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak step size of Adam, warmed up, then lowered along a cosine; none given: 2e-3, or 4e-4 where training begins
    with the weights of a model."""
    loss: Literal["poisson", "amplitude"] = "poisson"
    """Misfit of photons, trained on or validated with: Poisson likelihood, or squared amplitude error."""
    scored: Literal["held-back", "same"] = "held-back"
    """Photons that an object has to explain in training: `held-back`, a fifth of each frame's, dealt out anew in each
    step, which the network does not see, so that it can't learn to copy noise; or the `same` that it sees."""
    supervision: Literal["photons", "object"] = "photons"
    """What a network learns from: `photons`, its objects must explain them; or `object`, they must equal the
    scan's true one (simulations only). Validation looks at held-back photons in both cases."""
    validation: Literal["frames", "photons", "auto"] = "auto"
    """What early stopping looks at: `frames` held back at the largest y; `photons`, a fifth of all in every frame, for
    scans too small to spare frames; `auto`: frames where that leaves at least half of them for training."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=0.9)
    """Part of the scan that is held back, where frames are; they are scored on photons the network does not see."""
    guard_px: float | None = Field(default=None, ge=0)
    """Width of the band between training and validation frames [px]; by default the probe's participation diameter."""
    patience: int = Field(default=10, ge=1)
    """Epochs without a better validation loss before training stops."""
    seed: int = Field(default=42, ge=0)
    """Root seed of weights, groups and sample order."""
    device: str = "cpu"
    """Where to train: `cpu`, `cuda` or `cuda:1`."""

    @property
    def group_size(self) -> int:
        """C, the frames in a group."""
        return self.gridsize**2

    def filled(self, started: bool) -> "TrainingSettings":
        """These settings with a step size; `started`: training begins with the weights of a model."""
        own = _RATE_STARTED if started else _RATE
        return self.model_copy(update={"learning_rate": self.learning_rate or own})

    @property
    def regional(self) -> bool:
        """Groups are compact regions, few of which hold a frame."""
        return self.group_size > SMALL_GROUP

    def plain(self) -> dict[str, Any]:
        """The settings as JSON-ready values.

        `supervision` is named where it is not the usual one: bundles and checkpoints of before it existed stay valid,
        and the same training still gives the same bytes.
        """
        values = super().plain()
        return values if self.supervision != "photons" else {k: v for k, v in values.items() if k != "supervision"}


class PretrainingSettings(Settings):
    """Training on simulated scans, for scans that nobody has seen yet."""

    steps: int = Field(default=1200, ge=1)
    """Steps of training."""
    scans: int = Field(default=4, ge=1)
    """Simulated scans of a step."""
    frames: int = Field(default=48, ge=1)
    """Frames of a scan."""
    canvas_px: int = Field(default=144, ge=32)
    """Side of a scan's object [px]; scans whose overlap is small are as large as fits."""
    few_share: float = Field(default=0.1, ge=0, le=1)
    """Part of the steps whose scans have four frames."""
    single_share: float = Field(default=0.1, ge=0, le=1)
    """Part of the steps whose scans have one frame."""
    wide_share: float = Field(default=0.1, ge=0, le=1)
    """Part of the steps whose one scan has windows, and probes, of twice the size."""
    learning_rate: float = Field(default=1.5e-3, gt=0)
    """Peak step size of Adam; warmed up, then lowered along a cosine."""
    seed: int = Field(default=0, ge=0)
    """Root seed of weights and scans."""
    device: str = "cpu"
    """Where to train: `cpu`, `cuda` or `cuda:1`."""
    data: VarietySettings = VarietySettings(
        photons_per_pixel=(1.0, 3e5),
        phase_range_rad=(0.2, 2.5),
        amplitude_min=(0.2, 0.95),
        wrong_probe_share=0.1,
        position_noise_share=0.1,
        modes_share=0.04,
        bad_pixels_share=0.1,
        beamstop_share=0.05,
    )
    """What the scans are drawn from."""


def epochs_for(n_frames: int, window: tuple[int, int], pixels: float, least: int, most: int) -> int:
    """Epochs that spend a budget of detector pixels, so that small and large scans train for about as long.

    Args:
        n_frames: frames of an epoch.
        window: (height, width) of a frame [px].
        pixels: detector pixels to show to the network in all.
        least: epochs at the fewest, however large the scan.
        most: epochs at the most, however small it is.

    Raises:
        SettingsError: the two bounds are not `1 <= least <= most`, or there is nothing to divide by.
    """
    if not 1 <= least <= most:
        raise SettingsError(f"epochs: expected bounds 1 <= least <= most, got {least} and {most}")
    if min(n_frames, *window) < 1:
        raise SettingsError(
            f"epochs: expected frames to divide a budget by, got {n_frames} of {window[0]} x {window[1]}"
        )
    return min(max(round(pixels / (n_frames * window[0] * window[1])), least), most)
