"""The error tree.

```
FoldlightError
├── DataError        a file or an array is not what it has to be
├── SettingsError    an option is unknown, out of range or contradicts another
├── BundleError      a model bundle is damaged, foreign or of another schema
├── TrainingError    training diverged, or collapsed to a flat image
└── EngineError      an external engine failed; its log is named
```
Every message is one line: what was expected, what came, what to do.
"""

__all__ = [
    "BundleError",
    "DataError",
    "EngineError",
    "FoldlightError",
    "SettingsError",
    "TrainingError",
]


class FoldlightError(Exception):
    """Anything foldlight refuses on purpose; the command line prints it as one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class DataError(FoldlightError):
    """A file or an array is not what it has to be."""


class SettingsError(FoldlightError):
    """An option is unknown, out of range or contradicts another."""


class BundleError(FoldlightError):
    """A model bundle is damaged, foreign or of another schema."""


class TrainingError(FoldlightError):
    """Training diverged, or ended no better than a flat image."""


class EngineError(FoldlightError):
    """An external engine failed; the message names its log."""
