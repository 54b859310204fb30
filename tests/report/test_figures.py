from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from foldlight.compare.table import FLAT_ARM, compare
from foldlight.reconstruct.protocol import Ledger
from foldlight.report.figures import arm_colours, comparison_picture, reconstruction_picture, scan_picture


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


@pytest.mark.parametrize("frames", [1, 40])
def test_a_scan_of_any_length_is_drawn(scan, frames, tmp_path):
    scan_picture(scan.select(np.arange(frames)), tmp_path / "scan.png")
    assert colourful(tmp_path / "scan.png")


def test_drawing_the_same_twice_gives_the_same_file(against_truth, tmp_path):
    for name in ("first.png", "second.png"):
        comparison_picture(against_truth, tmp_path / name)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


@pytest.mark.parametrize("which", [0, 2])
def test_a_reconstruction_is_drawn_flat_or_not(arms, which, tmp_path):
    reconstruction_picture(arms[which], tmp_path / "made.png", "dense, test split")
    assert colourful(tmp_path / "made.png")


def test_a_reconstruction_of_unknown_cost_and_two_modes_is_drawn(arms, tmp_path):
    unknown = Ledger(None, None, None, None, None, device="unknown")
    reconstruction_picture(
        replace(arms[0], ledger=unknown, probe=np.tile(arms[0].probe, (2, 1, 1))), tmp_path / "a.png"
    )
    assert colourful(tmp_path / "a.png")


class TestArmColours:
    def test_are_told_apart(self):
        colours = arm_colours(["PtychoPINN", "Baseline", "PtyChi", FLAT_ARM, "Hybrid"])
        assert len(set(colours.values())) == len(colours) >= 5

    def test_of_a_study_stay_when_an_arm_is_missing(self):
        every = arm_colours(["PtychoPINN", "Baseline", "PtyChi", FLAT_ARM])
        assert arm_colours([FLAT_ARM, "PtyChi"])["PtyChi"] == every["PtyChi"]

    def test_of_others_begin_at_the_first(self):
        assert arm_colours(["Network"])["Network"] == arm_colours(["PtychoPINN"])["PtychoPINN"]
