"""What is seen in a notebook: short words, pages that stand by themselves, pictures that are read on any ground."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import foldlight as fl
from foldlight import doctor
from foldlight.core.shown import Displayed, Shown
from foldlight.display import figure, html
from foldlight.frames import LazyFrames
from foldlight.orient.symmetry import Reading
from foldlight.orient.verdict import Candidate, Verdict


@pytest.fixture(scope="module")
def results():
    scan = fl.simulate(object_size=64, window=32, probe_diameter_px=13, positions=36, dose=3e3, seed=3)
    made = fl.reconstruct(scan, "network", progress=False)
    return {
        "Scan": scan,
        "Reconstruction": made,
        "Comparison": fl.compare([made, fl.reconstruct(scan, "constant")]),
        "DoseLimit": fl.limit(scan),
        "Model": fl.pretrained(),
        "Diagnosis": fl.diagnose(scan, quick=True),
        "Verdict": Verdict(
            (Candidate((Reading(),), 0.0, False), Candidate((Reading("flip_y"),), 9.0, True)),
            25,
            (32, 32),
            7.0,
            1.0,
            ("frames <were> cut",),
        ),
    }


@pytest.fixture(scope="module")
def pages(results):
    return {kind: shown._repr_html_() for kind, shown in results.items()}


PICTURED = ["Scan", "Reconstruction", "Comparison", "DoseLimit"]
KINDS = [*PICTURED, "Model", "Diagnosis", "Verdict"]


class Page(HTMLParser):
    """Tags that were opened and not closed, and all that a page would load."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.loaded = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag != "img":
            self.open.append(tag)
        self.loaded += [value for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_about_it_is_one_short_line(results, kind):
    words = repr(results[kind])
    assert kind in words
    assert len(words) < 160
    assert "\n" not in words
    assert "array" not in words


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_loads_nothing_and_runs_nothing(pages, kind):
    page = Page(pages[kind])
    assert not page.open
    assert page.tags <= {"div", "p", "strong", "img", "table", "thead", "tbody", "tr", "th", "td", "details", "summary",
                         "ul", "li"}  # fmt: skip
    assert all(source.startswith("data:image/png;base64,") for source in page.loaded)
    assert len(page.loaded) == (kind in PICTURED)


@pytest.mark.parametrize("kind", PICTURED)
def test_pictures_in_a_page_have_no_ground_and_ink_for_any(pages, kind):
    data = re.search(r"base64,([^\"]+)", pages[kind]).group(1)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))
    corner = pixels[:3, :3]
    assert (corner[..., 3] == 0).all()
    ink = pixels[(pixels[..., 3] > 200) & (np.ptp(pixels[..., :3].astype(int), axis=2) < 3)][:, 0]
    assert np.count_nonzero(ink == 0x76) > 20


@pytest.mark.parametrize("kind", PICTURED)
def test_a_notebook_gets_a_png_of_what_is_shown(results, kind):
    assert results[kind].show()._repr_png_().startswith(b"\x89PNG")


def test_a_page_tells_scores_and_what_they_mean(results, pages):
    page = pages["Comparison"]
    row = results["Comparison"].rows[0]
    assert f"{row.phase_ssim:.3f}" in page
    assert "phase SSIM: Structural similarity of the phase" in page
    assert "success" in page
    assert "legacy" not in page


def test_a_page_tells_what_the_reader_found(results, monkeypatch):
    monkeypatch.setattr("foldlight.display.drawing.scan_figure", lambda _: results["DoseLimit"].show())
    scan = replace(results["Scan"], notes=("frames: <b>odd</b> & taken as they are",))
    assert "&lt;b&gt;odd&lt;/b&gt; &amp; taken" in scan._repr_html_()
    assert "<details>" not in replace(scan, notes=())._repr_html_()


def test_a_page_tells_the_findings_that_matter_and_folds_the_others():
    found = [doctor.Finding("hot-pixels", "caution", "3 of 1024 pixels", "likely", "mask them"),
             doctor.Finding("overlap", "fine", "80% linear")]  # fmt: skip
    page = html(doctor.Diagnosis.of(found, 36, 36))
    table, rest = page.split("</table>")
    assert all(word in table for word in ("Diagnosis: caution", "3 of 1024 pixels", "likely", "mask them"))
    assert "overlap: 80% linear" in rest
    assert "<table>" not in html(doctor.Diagnosis.of(found[1:], 36, 36))


def test_a_large_scan_is_glanced_at(results, monkeypatch):
    """No pass over frames that would take minutes: some are looked at, and the page says so."""
    scan, seen = results["Scan"], []
    inside = scan.photons

    def make(numbers):
        seen.extend(numbers)
        return inside[numbers % len(scan)]

    n = 70_000
    large = replace(
        scan,
        photons=replace(inside, stored=LazyFrames(make, np.arange(n), scan.window, np.dtype(np.float32))),
        positions_px=np.resize(scan.positions_px, (n, 2)),
        frame_index=np.arange(n),
    )
    monkeypatch.setattr("foldlight.display.drawing.describe", lambda shown: {"n": f"{shown.photons.totals.mean():g}"})
    monkeypatch.setattr("foldlight.display.drawing.scan_figure", lambda _: results["DoseLimit"].show())
    assert "128 of 70,000 frames" in html(large)
    assert len(seen) == 128
    repr(large)
    assert len(seen) == 128


def test_the_same_thing_gives_the_same_page(results, pages):
    assert html(results["Reconstruction"]) == pages["Reconstruction"]


def test_what_has_no_picture_is_refused():
    with pytest.raises(TypeError, match="show: expected a result of foldlight, got int"):
        figure(3)
    with pytest.raises(TypeError, match="html: expected a result of foldlight, got int"):
        html(3)
    assert not issubclass(fl.Model, Shown)
    assert issubclass(fl.Model, Displayed)
