"""Exports are read back by independent readers and hold what the report shows."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from foldlight.compare.files import read_objects
from foldlight.core.errors import DataError, SettingsError
from foldlight.geometry import Geometry
from foldlight.report.collect import sources
from foldlight.report.export import export, listing
from foldlight.report.images import polar
from foldlight.report.settings import ExportSettings

CASE = {"dose": 1e4, "view": "dense", "split": "test"}


def wanted(**values) -> ExportSettings:
    return ExportSettings(**values)


@pytest.fixture(scope="module")
def images(one):
    return polar(read_objects(one / "reconstructions.npz"))


def test_a_tiff_holds_floats_and_says_their_unit(one, images, tmp_path):
    told = export(one, wanted(what="phase", arm="Dead", pixel_nm=20.0), tmp_path / "phase.tif")
    height, width = images["Dead"].phase.shape
    assert told == f"phase of Dead, {height} x {width} px -> {tmp_path}/phase.tif"
    with tifffile.TiffFile(tmp_path / "phase.tif") as file:
        values, description = file.asarray(), json.loads(file.pages[0].description)
        assert file.pages[0].tags["XResolution"].value[0] / file.pages[0].tags["XResolution"].value[1] == 5e5
    assert values.dtype == np.float32
    assert np.allclose(values, images["Dead"].phase, equal_nan=True, atol=1e-6)
    assert (description["unit"], description["arm"], description["pixel_nm"]) == ("rad", "Dead", 20.0)


def test_the_scans_own_pixel_is_in_the_file(against_truth, written, tmp_path):
    written(tmp_path, replace(against_truth, geometry=Geometry((4e-8, 4e-8))))
    export(tmp_path, wanted(what="phase", arm="Dead"), tmp_path / "phase.tif")
    with tifffile.TiffFile(tmp_path / "phase.tif") as file:
        assert json.loads(file.pages[0].description)["pixel_nm"] == pytest.approx(40.0)


def test_an_npz_holds_the_complex_object_and_where_it_comes_from(study, tmp_path):
    export(study, wanted(arm="truth", **CASE), tmp_path / "truth.npz")
    source = next(each for each in sources(study) if (each.dose, each.view, each.split) == tuple(CASE.values()))
    with np.load(tmp_path / "truth.npz", allow_pickle=False) as file:
        assert np.array_equal(file["object"], source.objects().truth)
        facts = json.loads(str(file["_metadata"]))
        (top, bottom), (left, right) = facts["box_px"]
        assert file["values"].shape == (bottom - top, right - left)
        inside = file["mask"][top:bottom, left:right]
        assert np.array_equal(np.isfinite(file["values"]), inside)
    assert (facts["dose"], facts["view"], facts["split"], facts["repeat"]) == (1e4, "dense", "test", 0)
    assert len(facts["data_sha256"]) == 64


def test_a_bare_png_has_a_pixel_for_each_pixel(one, images, tmp_path):
    export(one, wanted(what="amplitude", arm="Dead", bare=True, low=0.0, high=1.0), tmp_path / "bare.png")
    with Image.open(tmp_path / "bare.png") as file:
        image = np.asarray(file)
    assert image.shape == (*images["Dead"].amplitude.shape, 4)
    assert np.array_equal(image[..., 3] == 255, np.isfinite(images["Dead"].amplitude))
    assert len(np.unique(image[image[..., 3] == 255], axis=0)) > 10


@pytest.mark.parametrize("what", ["phase", "amplitude", "phase-error", "amplitude-error", "error", "coverage", "frc"])
def test_every_kind_is_drawn(one, what, tmp_path):
    arm = None if what in {"coverage", "frc"} else "Dead"
    export(one, wanted(what=what, arm=arm, pixel_nm=800.0), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert min(image.size) > 300


def test_errors_are_estimate_less_truth(one, images, tmp_path):
    export(one, wanted(what="amplitude-error", arm="Dead"), tmp_path / "error.tif")
    expected = images["Dead"].amplitude - images["truth"].amplitude
    assert np.allclose(tifffile.imread(tmp_path / "error.tif"), expected, equal_nan=True, atol=1e-6)


def test_curves_are_tables_and_arrays(one, tmp_path):
    export(one, wanted(what="frc", arm="Dead"), tmp_path / "frc.csv")
    with (tmp_path / "frc.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["arm"] for row in rows} == {"Dead"}
    export(one, wanted(what="frc"), tmp_path / "frc.npz")
    with np.load(tmp_path / "frc.npz") as file:
        assert np.allclose(file["Dead_frc"], [float(row["frc"]) for row in rows])


def test_a_reconstruction_alone_is_exported(arms, tmp_path):
    arms[0].save(tmp_path / "made.npz")
    assert listing(tmp_path / "made.npz") == ["Network <b>: phase, amplitude, coverage"]
    export(tmp_path / "made.npz", wanted(), tmp_path / "phase.tif")
    assert np.isfinite(tifffile.imread(tmp_path / "phase.tif")).any()
    with pytest.raises(DataError, match="expected a run with a true object"):
        export(tmp_path / "made.npz", wanted(what="error"), tmp_path / "error.tif")


def test_the_listing_names_comparisons_arms_and_kinds(study):
    lines = listing(study)
    assert "dose 10000, view dense, split test: arms truth, Network <b>, Dead, Constant" in lines
    assert "dose 10000, view dense, split test, repeat 1: arms truth, Network <b>, Dead, Constant" in lines
    assert any(line.startswith("images phase, amplitude, phase-error") for line in lines)


@pytest.mark.parametrize(
    ("settings", "name", "error", "words"),
    [
        ({}, "a.jpg", SettingsError, r"a\.jpg: expected a name that ends in \.png, \.tif, \.tiff and \.npz for phase"),
        (
            {"arm": "Dead"},
            "a.png",
            SettingsError,
            r"8 fit; choose with --dose \(1000, 10000\); --view \(dense, sparse\)",
        ),
        ({"arm": "Dead", "dose": 5.0}, "a.png", DataError, r"expected a comparison of dose 5.0, repeat 0, found dose"),
        (
            CASE,
            "a.png",
            SettingsError,
            r"--arm: expected one of truth, Network <b>, Dead, Constant for phase, got none",
        ),
        ({**CASE, "arm": "Net"}, "a.png", SettingsError, r"--arm: expected one of .* got 'Net'"),
        (
            {**CASE, "arm": "truth", "what": "error"},
            "a.png",
            SettingsError,
            r"expected one of Network <b>, Dead, Constant",
        ),
        ({**CASE, "arm": "Dead", "low": 2.0, "high": 1.0}, "a.png", SettingsError, r"low = 2, high = 1: expected low"),
        (
            {**CASE, "what": "comparison"},
            "a.png",
            DataError,
            r"comparison\.png: expected a figure that the run has drawn",
        ),
        ({**CASE, "what": "frc", "arm": "Net"}, "a.csv", DataError, r"expected curves of Net, found none"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(study, settings, name, error, words, tmp_path):
    with pytest.raises(error, match=words):
        export(study, wanted(**settings), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_figure_of_the_run_is_copied(one, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_bytes((one / "metrics.csv").read_bytes())
    (tmp_path / "run" / "comparison.png").write_bytes(b"drawn")
    export(tmp_path / "run", wanted(what="comparison"), tmp_path / "copy.png")
    assert (tmp_path / "copy.png").read_bytes() == b"drawn"


def test_a_place_that_cannot_be_written_is_named(one, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="expected a writable place"):
        export(one, wanted(arm="Dead"), tmp_path / "file" / "a.tif")
