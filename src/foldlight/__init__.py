"""foldlight: ptychography with physics-informed networks and iterative engines, measured on equal footing.

```python
import foldlight as fl

scan = fl.read_scan("my_scan.npz")
image = fl.reconstruct(scan, engine="hybrid")
image.show()
```

The names below are the way in; each is imported when it is first used, so `import foldlight` costs next to nothing.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inspect import Signature

    from foldlight.api import (
        ScanWarning,
        compare,
        diagnose,
        limit,
        orient,
        read_scan,
        reconstruct,
        scan_from_arrays,
        simulate,
        thin,
        train,
        write_scan,
    )
    from foldlight.bundle import Model, pretrained, read_bundle, write_bundle
    from foldlight.compare.table import Comparison
    from foldlight.core.errors import FoldlightError
    from foldlight.geometry import Geometry
    from foldlight.io import ReadOptions, write_container, write_data001
    from foldlight.optics.limit import DoseLimit, dose_limit
    from foldlight.reconstruct.constant import ConstantReconstructor
    from foldlight.reconstruct.hybrid import HybridReconstructor
    from foldlight.reconstruct.iterative import IterativeReconstructor
    from foldlight.reconstruct.likelihood import MaximumLikelihoodReconstructor
    from foldlight.reconstruct.neural import NeuralReconstructor
    from foldlight.reconstruct.protocol import Reconstruction, Reconstructor
    from foldlight.scan import Scan
    from foldlight.simulate.settings import SimulationSettings
    from foldlight.train.fit import adapt, fit
    from foldlight.train.pretraining import pretrain

_HOMES = {
    "Comparison": "foldlight.compare.table",
    "ConstantReconstructor": "foldlight.reconstruct.constant",
    "DoseLimit": "foldlight.optics.limit",
    "FoldlightError": "foldlight.core.errors",
    "Geometry": "foldlight.geometry",
    "HybridReconstructor": "foldlight.reconstruct.hybrid",
    "IterativeReconstructor": "foldlight.reconstruct.iterative",
    "MaximumLikelihoodReconstructor": "foldlight.reconstruct.likelihood",
    "Model": "foldlight.bundle",
    "NeuralReconstructor": "foldlight.reconstruct.neural",
    "ReadOptions": "foldlight.io",
    "Reconstruction": "foldlight.reconstruct.protocol",
    "Reconstructor": "foldlight.reconstruct.protocol",
    "Scan": "foldlight.scan",
    "ScanWarning": "foldlight.api",
    "SimulationSettings": "foldlight.simulate.settings",
    "adapt": "foldlight.train.fit",
    "compare": "foldlight.api",
    "diagnose": "foldlight.api",
    "dose_limit": "foldlight.optics.limit",
    "fit": "foldlight.train.fit",
    "limit": "foldlight.api",
    "orient": "foldlight.api",
    "pretrain": "foldlight.train.pretraining",
    "pretrained": "foldlight.bundle",
    "read_bundle": "foldlight.bundle",
    "read_scan": "foldlight.api",
    "reconstruct": "foldlight.api",
    "scan_from_arrays": "foldlight.api",
    "simulate": "foldlight.api",
    "thin": "foldlight.api",
    "train": "foldlight.api",
    "write_bundle": "foldlight.bundle",
    "write_container": "foldlight.io",
    "write_data001": "foldlight.io",
    "write_scan": "foldlight.api",
}

__all__ = [
    "Comparison",
    "ConstantReconstructor",
    "DoseLimit",
    "FoldlightError",
    "Geometry",
    "HybridReconstructor",
    "IterativeReconstructor",
    "MaximumLikelihoodReconstructor",
    "Model",
    "NeuralReconstructor",
    "ReadOptions",
    "Reconstruction",
    "Reconstructor",
    "Scan",
    "ScanWarning",
    "SimulationSettings",
    "adapt",
    "compare",
    "diagnose",
    "dose_limit",
    "fit",
    "limit",
    "orient",
    "pretrain",
    "pretrained",
    "read_bundle",
    "read_scan",
    "reconstruct",
    "scan_from_arrays",
    "simulate",
    "thin",
    "train",
    "write_bundle",
    "write_container",
    "write_data001",
    "write_scan",
]


_VERBS = frozenset({"compare", "orient", "reconstruct", "simulate", "train"})
"""Names of the above that sub-packages have too."""


class _Verb(ModuleType):
    """A sub-package that can be called: `foldlight.compare(...)` beside `foldlight.compare.table`.

    Python binds a sub-package to its parent once anything in it is imported, in place of whatever had the name; so that
    a verb does not turn into a package between two calls, it always is both.
    """

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return _home(self.__name__.rpartition(".")[2])(*args, **keywords)

    @property
    def __signature__(self) -> "Signature":
        from inspect import signature

        return signature(_home(self.__name__.rpartition(".")[2]))

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return _home(self.__name__.rpartition(".")[2]).__doc__


class _Front(ModuleType):
    """This package, which makes verbs of some of its sub-packages when they are bound to it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _VERBS and isinstance(value, ModuleType):
            value.__class__ = _Verb
        super().__setattr__(name, value)


def _home(name: str) -> Any:
    return getattr(importlib.import_module(_HOMES[name]), name)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'foldlight' has no attribute {name!r}")
    return importlib.import_module(f"foldlight.{name}") if name in _VERBS else _home(name)


def __dir__() -> list[str]:
    return sorted(__all__)


sys.modules[__name__].__class__ = _Front
