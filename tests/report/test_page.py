import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from foldlight.compare.table import CompareSettings, Row, compare
from foldlight.core.errors import DataError
from foldlight.reconstruct.protocol import Ledger
from foldlight.report.columns import COLUMNS
from foldlight.report.figures import scan_picture
from foldlight.report.page import write_report
from foldlight.report.publish import publish_comparison
from foldlight.report.record import write_record


class Page(HTMLParser):
    """Fails on a tag that is closed and was not open; remembers what a browser would load, and the text."""

    def __init__(self, path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.headings: list[int] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta", "img", "link", "input", "br"}:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.sources += [value for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text += data


@pytest.fixture(scope="module")
def page(tmp_path_factory, scan, against_truth) -> Page:
    folder = tmp_path_factory.mktemp("page")
    scan_picture(scan, folder / "scan.png")
    facts = {"command": "foldlight demo --seed 42", "seed": 42, "versions": {"python": "3.11"}, "nothing": None}
    publish_comparison(folder, against_truth, facts, ["moved by <2> px"], {"The scan": folder / "scan.png"})
    return Page(folder / "report.html")


@pytest.fixture(scope="module")
def study_page(study, tmp_path_factory) -> Page:
    return Page(write_report(study, tmp_path_factory.mktemp("study_page") / "study.html"))


@pytest.mark.parametrize("which", ["page", "study_page"])
def test_it_is_whole_loads_nothing_and_has_headings_in_order(which, request):
    found = request.getfixturevalue(which)
    assert not found.open
    assert all(source.startswith("data:") for source in found.sources)
    assert found.headings[0] == 1
    assert all(later - earlier <= 1 for earlier, later in zip(found.headings, found.headings[1:], strict=False))


def test_words_are_escaped_everywhere(tmp_path, scan, arms, written):
    nasty = "</script><b>"
    written(tmp_path, compare(scan, [replace(arms[0], arm=nasty), *arms[1:]]))
    write_record(tmp_path, {nasty: nasty}, [nasty], {}, title=nasty)
    assert nasty not in write_report(tmp_path).read_text(encoding="utf-8")
    assert Page(tmp_path / "report.html").text.count(nasty) >= 6


def test_it_says_what_was_run_and_found(page):
    for words in ("foldlight demo --seed 42", "versions", "Network <b> is best", "moved by <2> px", "collapsed"):
        assert words in page.text


def test_empty_columns_are_left_out_and_the_others_explained(page):
    shown = {column.name for column in COLUMNS if column.meaning in page.text}
    assert "deviance_heldout" not in shown  # no counts were held out
    assert "phase_ms_ssim" not in shown  # 64 x 80 px have no room for five scales
    assert {"phase_ssim", "complex_correlation", "status"} <= shown
    assert "nan" not in page.text.lower()


def test_every_column_is_a_column_of_the_table():
    assert {column.name for column in COLUMNS} <= set(Row.columns(legacy=True))


@pytest.mark.parametrize(
    "words",
    ["2 doses, 2 overlap views, 2 halves, 3 methods, 2 seeds", "python -m toy <all>", "ab" * 32, "Medians of 2 seeds"],
)
def test_a_study_tells_seeds_noise_commands_and_digests(study_page, words):
    assert words in study_page.text


def test_the_same_folder_gives_the_same_page(study, tmp_path):
    first, second = (write_report(study, tmp_path / name) for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()


def test_without_truth_it_says_whose_gauge_is_shown(against_counts, tmp_path, written):
    written(tmp_path, against_counts)
    text = Page(write_report(tmp_path)).text
    assert "the images are shown in the gauge of Network <b>, for display only" in text
    assert "phase SSIM" not in text
    assert "Phase error" not in text
    assert "judged by the deviance of counts that no method has seen" in text


def test_it_says_from_whom_ramp_and_shift_were_removed(scan, arms, tmp_path, written):
    for settings, words in (
        ({}, "so these were removed from each image once"),
        ({"registered_arms": ("Dead",)}, "removed from each image, ramp and shift from Dead alone, once"),
        ({"registration": False}, "so the scale was removed from each image, once"),
    ):
        written(tmp_path, compare(scan, arms, settings=CompareSettings(**settings)))
        assert words in Page(write_report(tmp_path)).text


def test_unknown_frames_are_called_unknown(scan, arms, tmp_path, written):
    foreign = replace(arms[0], ledger=Ledger(None, None, None, None, None, device="unknown"))
    written(tmp_path, compare(scan, [foreign, *arms[1:]]))
    assert "as far as is known: Network <b> unknown." in Page(write_report(tmp_path)).text


def test_a_missing_picture_and_a_damaged_record_are_named(one, tmp_path):
    shutil.copy(one / "metrics.csv", tmp_path)
    (tmp_path / "record.json").write_text(json.dumps({"pictures": {"gone": "absent.png"}}))
    with pytest.raises(DataError, match=r"absent\.png: expected a PNG picture for the page, got No such file"):
        write_report(tmp_path)
    (tmp_path / "record.json").write_text(json.dumps({"facts": 3}))
    with pytest.raises(DataError, match=r"record\.json: expected a mapping with facts"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
