from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from foldlight.compare.table import compare
from foldlight.report.figures import comparison_picture, scan_picture


def colourful(path: Path) -> bool:
    """A picture of some size that is not all one colour."""
    image = imread(path)
    return min(image.shape[:2]) > 300 and len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 100


@pytest.mark.parametrize("which", ["against_truth", "against_counts"])
def test_a_comparison_is_drawn(which, tmp_path, request):
    comparison_picture(request.getfixturevalue(which), tmp_path / "comparison.png")
    assert colourful(tmp_path / "comparison.png")


def test_a_comparison_without_truth_or_heldout_counts_still_shows_the_light(scan, arms, tmp_path):
    found = compare(replace(scan, object_is_truth=False), arms[:1])
    comparison_picture(found, tmp_path / "comparison.png")
    assert colourful(tmp_path / "comparison.png")


def test_a_phase_that_wraps_is_drawn(scan, arms, tmp_path):
    strong = replace(scan, object=scan.object**6)
    comparison_picture(compare(strong, [replace(arms[0], object=arms[0].object ** 6)]), tmp_path / "comparison.png")
    assert colourful(tmp_path / "comparison.png")


@pytest.mark.parametrize("frames", [1, 2, 40])
def test_a_scan_of_any_length_is_drawn(scan, frames, tmp_path):
    scan_picture(scan.select(np.arange(frames)), tmp_path / "scan.png")
    assert colourful(tmp_path / "scan.png")


def test_drawing_the_same_twice_gives_the_same_file(against_truth, tmp_path):
    for name in ("first.png", "second.png"):
        comparison_picture(against_truth, tmp_path / name)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
