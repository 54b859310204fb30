import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from foldlight.compare.table import CompareSettings, Row, compare
from foldlight.core.errors import DataError
from foldlight.reconstruct.protocol import Ledger
from foldlight.report.figures import scan_picture
from foldlight.report.columns import COLUMNS
from foldlight.report.page import write_page


class Balanced(HTMLParser):
    """Fails on a tag that is closed and was not open; remembers what a browser would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in {"meta", "img"}:
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory, scan, against_truth) -> str:
    folder = tmp_path_factory.mktemp("page")
    scan_picture(scan, folder / "scan.png")
    facts = {"command": "foldlight demo --seed 42", "seed": 42, "versions": {"python": "3.11"}, "nothing": None}
    write_page(folder / "page.html", against_truth, {"The scan": folder / "scan.png"}, facts, ["moved by <2> px"])
    return (folder / "page.html").read_text(encoding="utf-8")


def test_it_is_whole_and_loads_nothing(page):
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    assert "script" not in parser.tags
    assert len(parser.sources) == 1
    assert parser.sources[0].startswith("data:image/png;base64,")


def test_words_are_escaped(page):
    assert "Network &lt;b&gt;" in page
    assert "moved by &lt;2&gt; px" in page
    assert "<b>" not in page


def test_it_says_what_was_run_and_found(page):
    for words in ("foldlight demo --seed 42", "versions", "Network &lt;b&gt; came closest to the truth", "collapsed"):
        assert words in page


def test_empty_columns_are_left_out_and_the_others_explained(page):
    assert "held-out deviance" not in page
    for column in COLUMNS:
        # no counts were held out, and 64 x 80 px have no room for five scales
        assert (column.label in page) == (column.name not in {"deviance_heldout", "phase_ms_ssim"})
    assert "nan" not in re.sub(r"data:image[^\"]+", "", page).lower()


def test_every_column_is_a_column_of_the_table():
    assert {column.name for column in COLUMNS} <= set(Row.columns())


def test_without_truth_it_says_whose_gauge_is_shown(against_counts, tmp_path):
    write_page(tmp_path / "page.html", against_counts, {}, {}, [])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "the images are shown in the gauge of\nNetwork &lt;b&gt;, for display only" in page
    assert "phase SSIM" not in page
    assert "predicted the held-out counts best" in page


def test_it_says_from_whom_ramp_and_shift_were_removed(scan, arms, tmp_path):
    for settings, words in (
        ({}, "so these were removed from each image once"),
        ({"registered_arms": ("Dead",)}, "removed from each image, ramp and shift from Dead alone, once"),
        ({"registration": False}, "so the scale was removed from each image, once"),
    ):
        write_page(tmp_path / "page.html", compare(scan, arms, settings=CompareSettings(**settings)), {}, {}, [])
        assert words in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_unknown_frames_are_called_unknown(scan, arms, tmp_path):
    foreign = replace(arms[0], ledger=Ledger(None, None, None, None, None, device="unknown"))
    write_page(tmp_path / "page.html", compare(scan, [foreign, *arms[1:]]), {}, {}, [])
    assert "as far as is known: Network &lt;b&gt; unknown." in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_missing_picture_is_named(against_truth, tmp_path):
    with pytest.raises(DataError, match=r"absent\.png: expected a PNG picture for the page, got No such file"):
        write_page(tmp_path / "page.html", against_truth, {"gone": tmp_path / "absent.png"}, {}, [])
