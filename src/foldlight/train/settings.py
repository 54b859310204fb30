"""How to train."""

from typing import Any, Literal

from pydantic import Field

from foldlight.core.errors import SettingsError
from foldlight.core.settings import Settings

__all__ = ["TrainingSettings", "epochs_for"]


class TrainingSettings(Settings):
    """Self-supervised training: groups of neighbouring frames must agree and explain their photons.

    Or, where the true object is known, supervised training of the same network, to compare with.
    """

    gridsize: Literal[1, 2] = 2
    """Frames of a group: C = gridsize squared must agree where they overlap; 1 is single-shot."""
    neighbours: int = Field(default=7, ge=1)
    """Nearest frames K that a group's members are drawn from; at least C - 1."""
    groups: int | None = Field(default=None, ge=1)
    """Groups drawn in all, at most one a training frame; none given: one a frame. With fewer than frames, some frames
    are only neighbours, or not used."""
    epochs: int = Field(default=15, ge=1)
    """Passes over the training frames."""
    batch_frames: int = Field(default=32, ge=1)
    """Frames in a step, in whole groups [frame]."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak step size of Adam; warmed up, then lowered along a cosine."""
    loss: Literal["poisson", "amplitude"] = "poisson"
    """Misfit of photons, trained on or validated with: Poisson likelihood, or squared amplitude error."""
    supervision: Literal["photons", "object"] = "photons"
    """What a network learns from: `photons`, its patches must explain them; or `object`, each patch must equal the
    scan's true object (simulations only). Validation looks at held-back photons in both cases."""
    validation: Literal["frames", "photons", "auto"] = "frames"
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

    def plain(self) -> dict[str, Any]:
        """The settings as JSON-ready values.

        `supervision` is named where it is not the usual one: bundles and checkpoints of before it existed stay valid,
        and the same training still gives the same bytes.
        """
        values = super().plain()
        return values if self.supervision != "photons" else {k: v for k, v in values.items() if k != "supervision"}


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
