"""What can be looked at: results that notebooks draw by themselves, and everyone else with `show`.

Pictures need layers far above the data, so who draws is found by name when something is shown: data classes know no
more than that they can be looked at.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Displayed", "Shown"]

_ARTIST = "foldlight.display"


class Displayed:
    """A result that a notebook lays out; `foldlight.display` knows how."""

    def _repr_html_(self) -> str:
        """What a notebook shows: facts and picture, in one piece that needs nothing else."""
        page: str = _artist().html(self)
        return page


class Shown(Displayed):
    """A result with a picture."""

    def show(self) -> "Figure":
        """The picture, as a matplotlib figure that a notebook shows and `savefig` writes."""
        figure: Figure = _artist().figure(self)
        return figure


def _artist() -> Any:
    return importlib.import_module(_ARTIST)
