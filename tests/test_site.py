"""The pages tell of what is there: every public name, every format, options by names that exist."""

import ast
import re
from pathlib import Path

import pytest

import foldlight as fl
from foldlight import io
from foldlight.compare.row import CompareSettings
from foldlight.io.options import ReadOptions
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.engines import ENGINES, options_taken
from foldlight.simulate.settings import SimulationSettings
from foldlight.train.settings import TrainingSettings

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = sorted((DOCS / "gallery").glob("plot_*.py"))
SETTINGS = (ReadOptions, CompareSettings, NetworkSettings, SimulationSettings, TrainingSettings)


def test_every_public_name_is_in_the_reference():
    text = (DOCS / "api.md").read_text()
    missing = [name for name in fl.__all__ if not re.search(rf"\.\. auto\w+:: (\S+\.)?{name}$", text, re.MULTILINE)]
    assert [name for name in missing if not issubclass(getattr(fl, name), fl.FoldlightError)] == []


def test_every_format_is_on_the_page_of_formats():
    (listed,) = re.findall(r"^FORMATS = (\{.*?^\})", (DOCS / "conf.py").read_text(), re.MULTILINE | re.DOTALL)
    assert set(ast.literal_eval(listed)) == {*io._NPZ_FORMATS, *io._HDF5_FORMATS}


def test_there_are_six_examples_in_order():
    assert [path.name.split("_")[1] for path in EXAMPLES] == list("123456")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_python_that_uses_what_there_is(path):
    """They are run when the pages are built; names that have gone are found here."""
    tree = ast.parse(path.read_text())
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "fl"
    }
    assert used
    assert used <= {*fl.__all__}


def test_keywords_in_the_pages_exist():
    known = {name for engine in ENGINES for name in options_taken(engine)} | {"engine", "scan", "probe"}
    known |= {name for settings in SETTINGS for name in settings.model_fields}
    text = (DOCS / "coming_from.md").read_text()
    named = set(re.findall(r"`(\w+)=", text)) | set(re.findall(r"[(,] ?(\w+)=", text))
    assert named
    assert named - known - {"axis"} == set()
