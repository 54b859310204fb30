"""Every engine by its name."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from foldlight.bundle import Model, pretrained, read_bundle
from foldlight.core.errors import SettingsError
from foldlight.reconstruct.constant import ConstantReconstructor
from foldlight.reconstruct.hybrid import (
    GivenReconstructor,
    HybridReconstructor,
    SavedReconstructor,
    StartedReconstructor,
)
from foldlight.reconstruct.iterative import IterativeReconstructor
from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.protocol import Reconstruction, Reconstructor
from foldlight.reconstruct.settings import (
    EngineOptions,
    IterativeSettings,
    LikelihoodOptions,
    LikelihoodSettings,
    RefineOptions,
    RefineSettings,
)

__all__ = ["ENGINES", "EngineName", "load_network", "make_reconstructor", "options_taken"]

EngineName = Literal["network", "hybrid", "ml", "lsqml", "rpie", "dm", "constant"]

ENGINES: tuple[EngineName, ...] = get_args(EngineName)

_NETWORK = ("adapt", "model")  # what takes the network, or can begin with it
_LIKELIHOOD = ("fit_positions", "device", "time_limit_s", *LikelihoodOptions.model_fields, "start")
_TAKEN: dict[EngineName, tuple[str, ...]] = {
    "network": (*_NETWORK, "device", "seed"),
    "hybrid": (*_NETWORK, *RefineOptions.model_fields, *_LIKELIHOOD, "seed"),
    "ml": (*_NETWORK, "epochs", "fit_probe", *_LIKELIHOOD, "seed"),
    **dict.fromkeys(("lsqml", "rpie", "dm"), (*_NETWORK, *EngineOptions.model_fields, "start")),
    "constant": (),
}


def options_taken(engine: EngineName) -> tuple[str, ...]:
    """Names of the options that have a meaning for an engine, those that `make_reconstructor` takes apart among them.

    `adapt`, `model` and, for `ml`, `seed` are those of a network that it starts from.
    """
    return tuple(sorted(set(_TAKEN[engine])))


def make_reconstructor(
    engine: EngineName,
    options: EngineOptions,
    model: Path | Model | None = None,
    log_path: Path | None = None,
    likelihood: LikelihoodOptions | None = None,
    refine: RefineOptions | None = None,
    start: str | Reconstruction | None = None,
    adapt_steps: int = 0,
    progress: bool = True,
) -> Reconstructor:
    """The reconstructor of a name.

    Args:
        engine: which one.
        options: of the iterative engines; the network takes the device.
        model: the network, its bundle, or the folder that training wrote; None: the network that comes with the
            package.
        log_path: where the output of a pty-chi engine goes.
        likelihood: what only `ml` and `hybrid` ask for.
        refine: what only `hybrid` asks for.
        start: where `hybrid` and the iterative engines begin: `network`, a reconstruction, or the path of its file.
            None: the network for `hybrid`, the best flat image for the others.
        adapt_steps: of training that adapt the network to the scan; 0 for none.
        progress: show bars on stderr.

    Raises:
        SettingsError: a start for an engine that has none, or an option that the engine does not have.
        BundleError: the model can't be used.
    """
    if adapt_steps < 0:
        raise SettingsError(f"adapt = {adapt_steps}: expected 0 steps or more")
    begins = start if start is not None else "network" if engine in {"network", "hybrid"} else "flat"
    if begins != "network":
        _needs_no_network(engine, model, adapt_steps)
    network = partial(_network, model, options.device, adapt_steps, options.seed, progress)
    if engine == "hybrid":
        first = _first(begins, network)
        return HybridReconstructor(first, RefineSettings.of(options, likelihood, refine), progress)
    if engine in {"constant", "network"}:
        if start is not None:
            raise SettingsError(f"engine {engine}: expected no start, got {start}; give it to an iterative engine")
        return ConstantReconstructor() if engine == "constant" else network()
    chosen = _iterative(engine, options, log_path, likelihood, progress)
    return chosen if start is None else StartedReconstructor(_first(start, network), chosen)


def _needs_no_network(engine: EngineName, model: Path | Model | None, adapt_steps: int) -> None:
    """Refuse what only a network takes, or it would be ignored."""
    if model is not None:
        raise SettingsError(f"engine {engine}: expected no model without a network, got {model}; use --start network")
    if adapt_steps:
        raise SettingsError(
            f"engine {engine}: expected no adaptation without a network, got {adapt_steps} steps; use --start network"
        )


def _iterative(
    engine: EngineName,
    options: EngineOptions,
    log_path: Path | None,
    likelihood: LikelihoodOptions | None,
    progress: bool,
) -> IterativeReconstructor | MaximumLikelihoodReconstructor:
    if engine == "ml":
        return MaximumLikelihoodReconstructor(LikelihoodSettings.of(options, likelihood), progress=progress)
    settings = IterativeSettings.parse({"engine": engine, **options.plain()})
    return IterativeReconstructor(settings, log_path=log_path, progress=progress)


def _first(start: str | Reconstruction, network: Callable[[], NeuralReconstructor]) -> Reconstructor:
    """Who makes the start."""
    if isinstance(start, Reconstruction):
        return GivenReconstructor(start)
    return network() if start == "network" else SavedReconstructor(Path(start))


def _network(
    model: Path | Model | None, device: str, adapt_steps: int, seed: int, progress: bool
) -> NeuralReconstructor:
    if isinstance(model, Path):
        made = load_network(model, device, progress)
    else:
        made = NeuralReconstructor(model or pretrained(), device=device, progress=progress)
    return replace(made, adapt_steps=adapt_steps, seed=seed)


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
