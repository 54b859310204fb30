"""foldlight: ptychography with physics-informed networks and iterative engines, measured on equal footing.

The names below are the way in; each is imported when it is first used, so `import foldlight` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foldlight.bundle import Model, pretrained, read_bundle, write_bundle
    from foldlight.compare.table import Comparison, compare
    from foldlight.core.errors import FoldlightError
    from foldlight.io import read_scan, write_data001
    from foldlight.optics.limit import DoseLimit, dose_limit
    from foldlight.reconstruct.constant import ConstantReconstructor
    from foldlight.reconstruct.hybrid import HybridReconstructor
    from foldlight.reconstruct.iterative import IterativeReconstructor
    from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
    from foldlight.reconstruct.neural import NeuralReconstructor
    from foldlight.reconstruct.protocol import Reconstruction, Reconstructor
    from foldlight.scan import Scan
    from foldlight.simulate.acquire import simulate
    from foldlight.train.fit import adapt, fit
    from foldlight.train.pretraining import pretrain

_HOMES = {
    "Comparison": "foldlight.compare.table",
    "ConstantReconstructor": "foldlight.reconstruct.constant",
    "DoseLimit": "foldlight.optics.limit",
    "FoldlightError": "foldlight.core.errors",
    "HybridReconstructor": "foldlight.reconstruct.hybrid",
    "IterativeReconstructor": "foldlight.reconstruct.iterative",
    "MaximumLikelihoodReconstructor": "foldlight.reconstruct.likelihood",
    "Model": "foldlight.bundle",
    "NeuralReconstructor": "foldlight.reconstruct.neural",
    "Reconstruction": "foldlight.reconstruct.protocol",
    "Reconstructor": "foldlight.reconstruct.protocol",
    "Scan": "foldlight.scan",
    "adapt": "foldlight.train.fit",
    "compare": "foldlight.compare.table",
    "dose_limit": "foldlight.optics.limit",
    "fit": "foldlight.train.fit",
    "pretrain": "foldlight.train.pretraining",
    "pretrained": "foldlight.bundle",
    "read_bundle": "foldlight.bundle",
    "read_scan": "foldlight.io",
    "simulate": "foldlight.simulate.acquire",
    "write_bundle": "foldlight.bundle",
    "write_data001": "foldlight.io",
}

__all__ = [
    "Comparison",
    "ConstantReconstructor",
    "DoseLimit",
    "FoldlightError",
    "HybridReconstructor",
    "IterativeReconstructor",
    "MaximumLikelihoodReconstructor",
    "Model",
    "NeuralReconstructor",
    "Reconstruction",
    "Reconstructor",
    "Scan",
    "adapt",
    "compare",
    "dose_limit",
    "fit",
    "pretrain",
    "pretrained",
    "read_bundle",
    "read_scan",
    "simulate",
    "write_bundle",
    "write_data001",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'foldlight' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
