"""Every engine by its name."""

import json
from pathlib import Path
from typing import Literal

from foldlight.bundle import read_bundle
from foldlight.core.errors import SettingsError
from foldlight.reconstruct.constant import ConstantReconstructor
from foldlight.reconstruct.iterative import IterativeReconstructor
from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.protocol import Reconstructor
from foldlight.reconstruct.settings import EngineOptions, IterativeSettings, LikelihoodOptions, LikelihoodSettings

__all__ = ["EngineName", "load_network", "make_reconstructor"]

EngineName = Literal["network", "ml", "lsqml", "rpie", "dm", "constant"]


def make_reconstructor(
    engine: EngineName,
    options: EngineOptions,
    model: Path | None = None,
    log_path: Path | None = None,
    likelihood: LikelihoodOptions | None = None,
) -> Reconstructor:
    """The reconstructor of a name.

    Args:
        engine: which one.
        options: of the iterative engines; the network takes the device.
        model: the network's bundle, or the folder that training wrote.
        log_path: where the output of a pty-chi engine goes.
        likelihood: what only `ml` asks for.

    Raises:
        SettingsError: the network without a model, or an option that the engine does not have.
        BundleError: the model can't be used.
    """
    if engine == "constant":
        return ConstantReconstructor()
    if engine == "network":
        if model is None:
            raise SettingsError("engine network: expected --model with a bundle that train wrote, got none")
        return load_network(model, options.device)
    if engine == "ml":
        return MaximumLikelihoodReconstructor(LikelihoodSettings.of(options, likelihood), progress=True)
    settings = IterativeSettings(engine=engine, **options.model_dump())
    return IterativeReconstructor(settings, log_path=log_path, progress=True)


def load_network(model: Path, device: str = "cpu", progress: bool = True) -> NeuralReconstructor:
    """A trained network from its bundle, or from the folder it lies in.

    The seconds its training took are read from `training.json` beside the bundle; 0 when that is not there.
    """
    path = model / "wts.h5.zip" if model.is_dir() else model
    try:
        seconds = float(json.loads((path.parent / "training.json").read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        seconds = 0.0
    return NeuralReconstructor(read_bundle(path), seconds, device=device, progress=progress)
