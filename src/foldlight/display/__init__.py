"""What is seen when something is looked at: `figure` for `show`, `html` for notebooks.

Facts are a table, the picture is a PNG inside the text: no script, no style sheet, nothing loaded from anywhere, so
that a page that was saved, sent or cleaned by a viewer still shows it, on a light ground and on a dark one.
"""

from foldlight.display.drawing import figure, html

__all__ = ["figure", "html"]
