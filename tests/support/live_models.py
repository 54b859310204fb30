"""Small networks for the tests of live scans, that make something of a scan without being trained."""

import numpy as np

from foldlight.bundle import Model
from foldlight.networks.generators import build
from foldlight.networks.settings import NetworkSettings

WINDOW = (16, 24)
UNROLLED = NetworkSettings(width=8, levels=1, consistency_steps=2)
PATCHES = NetworkSettings(kind="lifted", width=4, levels=2, consistency_steps=1)


def model_of(network: NetworkSettings, group_size: int = 48, window: tuple[int, int] = (32, 32)) -> Model:
    """A network with a little noise on all of its weights, as some layers start at zero."""
    rng = np.random.default_rng(1)
    drawn = build(network, window, seed=1).state_dict()
    noisy = {name: value.numpy() + 0.05 * rng.normal(size=value.shape) for name, value in drawn.items()}
    return Model(network, window, group_size, {name: np.asarray(value, np.float32) for name, value in noisy.items()})
