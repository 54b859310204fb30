"""What every training shares: where weights begin, the step size, the log, and how a checkpoint is taken up again."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foldlight.bundle import Model
from foldlight.core.errors import DataError, SettingsError
from foldlight.core.files import replacing
from foldlight.core.seeds import integer_seed
from foldlight.networks.generators import PatchNetwork, build
from foldlight.networks.settings import NetworkSettings
from foldlight.networks.unrolled import UnrolledNetwork
from foldlight.train.distributed import ALONE, Ranks

__all__ = ["as_csv", "learning_rate", "read_checkpoint", "started", "write_checkpoint"]

_WARMUP_STEPS = 30


def started(
    start: Model | None, network: NetworkSettings, window: tuple[int, int], seed: int, device: torch.device
) -> PatchNetwork | UnrolledNetwork:
    """The network to train: with the weights of a model, or with weights drawn from the seed.

    Raises:
        SettingsError: the model is another network.
    """
    if start is None:
        return build(network, window, integer_seed(seed, "weights")).to(device)
    if start.network.plain() != network.plain():
        raise SettingsError(
            f"start: expected a network of {network.plain()}, got one of {start.network.plain()}; train with its"
            " settings"
        )
    return start.module(str(device))


def learning_rate(peak: float, step: int, total: int) -> float:
    """Of a step: linear warm-up, then a cosine to 1 % of the peak."""
    cosine = 0.505 + 0.495 * np.cos(np.pi * step / total)
    return float(peak * min((step + 1) / _WARMUP_STEPS, cosine))


def as_csv(rows: list[dict[str, float]]) -> str:
    """Rows of a log, named by the first."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def read_checkpoint(path: Path, key: dict[str, Any], device: torch.device, ranks: Ranks = ALONE) -> dict[str, Any]:
    """The state that a run has saved, if it is the same run.

    Args:
        path: of the checkpoint.
        key: what decides the bits of the run that goes on.
        device: where its tensors are needed.
        ranks: who needs it; only the first process reads the file.

    Raises:
        DataError: there is no checkpoint, or it can't be read.
        SettingsError: it belongs to another run.
    """
    try:
        state: dict[str, Any] = torch.load(
            io.BytesIO(ranks.told(path.read_bytes)), map_location=device, weights_only=True
        )
    except FileNotFoundError:
        raise DataError(f"{path}: expected a checkpoint to resume from, found none; train without --resume") from None
    except Exception as error:
        raise DataError(f"{path}: expected a checkpoint: {type(error).__name__}; train without --resume") from None
    if not isinstance(state, dict) or "key" not in state:
        raise DataError(f"{path}: expected a checkpoint, got another file of torch; train without --resume")
    if state["key"] != key:
        names = sorted(state["key"].keys() | key.keys())
        differing = [name for name in names if state["key"].get(name) != key.get(name)]
        raise SettingsError(f"{path}: expected a checkpoint of the same run, got other {', '.join(differing)}")
    return state


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write what `read_checkpoint` reads, in one step.

    Raises:
        DataError: the folder can't be written.
    """
    buffer = io.BytesIO()  # torch's own writer does not say what was wrong with the disk
    torch.save(state, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
