"""Pieces of HTML that stand by themselves."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.spines import Spine
from matplotlib.text import Text

__all__ = ["card", "fact_table", "folded", "picture", "table"]

_INK = "#767676"
"""Gray that is read as well on white as on black: a contrast of 4.5 to either."""

_UNSCORED = to_rgba(_INK, 0.15)
_INLINE_DPI = 72
_DARK = 0.45  # lightness up to which a line is ink, and is lost on a dark ground
_COLOURFUL = 0.1  # between the strongest and the weakest of red, green and blue


def card(title: str, *parts: str) -> str:
    """A title and what belongs to it."""
    return f"<div><p><strong>{escape(title)}</strong></p>{''.join(parts)}</div>"


def fact_table(facts: Mapping[str, str]) -> str:
    """Names and values, a line each."""
    lines = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f"<table><tbody>{lines}</tbody></table>"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]], words: bool = False) -> str:
    """Cells under heads, set to the right but for the first column; all to the left where they are words."""

    def row(cells: Sequence[str], tag: str) -> str:
        sides = ["left", *["left" if words else "right"] * (len(cells) - 1)]
        marked = (
            f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>' for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(marked)}</tr>"

    body = "".join(row(line, "td") for line in lines)
    return f"<table><thead>{row(heads, 'th')}</thead><tbody>{body}</tbody></table>"


def folded(title: str, lines: Sequence[str]) -> str:
    """Lines that are seen when they are asked for; nothing when there are none."""
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<details><summary>{escape(title)}</summary><ul>{items}</ul></details>"


def picture(figure: Figure, words: str) -> str:
    """A figure in the text, without a ground of its own; it is changed for that, and no longer fit to be printed.

    Args:
        figure: to draw.
        words: what it shows, for who cannot see it.
    """
    _groundless(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_INLINE_DPI, format="png", transparent=True, metadata={"Software": "foldlight"})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="{escape(words)}" style="max-width:100%" src="data:image/png;base64,{data}">'


def _groundless(figure: FigureBase) -> None:
    """Ink that shows on any ground, and no ground."""
    for part in figure.findobj(_inked):
        if isinstance(part, Text | Line2D):
            part.set_color(_INK)
        elif isinstance(part, Spine):
            part.set_edgecolor(_INK)
        elif isinstance(part, Axes):
            part.set_facecolor(_UNSCORED)
            part.tick_params(color=_INK, labelcolor=_INK)


def _inked(part: Artist) -> bool:
    if isinstance(part, Line2D):
        red, green, blue, _ = to_rgba(part.get_color())
        return max(red, green, blue) < _DARK and max(red, green, blue) - min(red, green, blue) < _COLOURFUL
    return isinstance(part, Text | Spine | Axes)
