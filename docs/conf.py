"""How the pages are built: `make docs`, or `sphinx-build -c docs . build/docs` from the root.

The source is the whole repository, so that pages link to specifications and to each other as they lie. Nothing is
loaded from anywhere, neither while building nor while reading.
"""

import ast
import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(Path(__file__).parent))

project = "foldlight"
author = copyright = "the foldlight authors"  # noqa: A001
version = release = version_of("foldlight")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_gallery.gen_gallery"]
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/*.md", "docs/**", "specs/**"]
exclude_patterns = [".*", "**/.*", "build", "outputs", "demo", "src", "tests", "studies", "scripts", "docs/gallery"]
exclude_patterns += ["**/*.ipynb", "**/*.py", "**/*.json", "**/*.zip", "**/*.md5", "**/sg_execution_times*"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
suppress_warnings = ["config.cache"]  # the gallery's functions below

default_role = "code"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature has them; shapes in them are no types
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "foldlight"
html_show_sourcelink = False
html_copy_source = False
html_extra_path = ["front"]  # index.html, which leads to the pages
html_theme_options = {"navigation_with_keys": True}


FORMATS = {
    "cxi": "CXI",
    "nexus": "NeXus (NXcxi_ptycho)",
    "ptychodus": "ptychodus",
    "foldslice": "fold_slice",
    "ptypy": "ptypy",
    "ptylab": "PtyLab",
    "tike": "tike",
    "slac": "NPZ of the SLAC tools",
    "data001": "DATA-001",
    "container": "Scan container",
}


def write_formats(folder: Path) -> None:
    """One page of all formats, from the docstrings of their modules, which are the specifications."""
    parts = [
        "# Formats",
        "",
        "Each is read by `fl.read_scan` and `foldlight` alike, judged by what is in the file.",
        "",
    ]
    for name, title in FORMATS.items():
        source = Path(__file__).parents[1] / f"src/foldlight/io/{name}.py"
        parts += [f"## {title}", "", ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "", ""]
    (folder / "formats.md").write_text("\n".join(parts), encoding="utf-8")


def setup(app: Any) -> None:
    """Pages that are made before the others are read."""
    folder = Path(app.srcdir) / "docs/auto_formats"
    folder.mkdir(exist_ok=True)
    write_formats(folder)


def pictures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """The figure that a block of an example ends with; foldlight's are none of pyplot's."""
    from matplotlib.figure import Figure
    from sphinx_gallery.scrapers import figure_rst

    del block
    names = block_vars["example_globals"]
    last = names.get("___")  # of this block, or of the one before it that ended with an expression
    if not isinstance(last, Figure) or last is names.get("__drawn__"):
        return ""
    names["__drawn__"] = last
    path = next(block_vars["image_path_iterator"])
    last.savefig(path, dpi=90, facecolor="white")
    return str(figure_rst([path], gallery_conf["src_dir"]))


sphinx_gallery_conf = {
    "examples_dirs": "docs/gallery",
    "gallery_dirs": "docs/auto_gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": (pictures,),
    "capture_repr": ("_repr_html_", "__repr__"),
    "ignore_repr_types": r"matplotlib|Picture|Figure",
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "download_all_examples": False,
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "plot_gallery": True,
    "doc_module": ("foldlight",),
    "default_thumb_file": str(Path(__file__).parent / "images/demo.png"),
}
