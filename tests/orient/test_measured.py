"""A measured scan whose orientation is known: as it is read it is right."""

from pathlib import Path

import pytest

from foldlight.io import read_scan
from foldlight.orient.run import orient, sign_test
from foldlight.orient.settings import OrientSettings
from foldlight.orient.symmetry import Reading
from foldlight.scan import Scan

STAR = Path(__file__).parents[3] / "shared" / "data" / "siemens_star_small.npz.bz2"


@pytest.fixture(scope="module")
def star() -> Scan:
    if not STAR.exists():
        pytest.skip(f"the measured scan is not there: {STAR.name}")
    return read_scan(STAR)


def test_the_sign_of_the_siemens_star_is_as_it_is_read(star):
    settings = OrientSettings(frames=30, iterations=20)
    assert sign_test(star, settings).reading == Reading()
    assert sign_test(Reading(negated=True).of(star), settings).reading == Reading(negated=True)


@pytest.mark.slow
def test_the_siemens_star_is_as_it_is_read(star):
    verdict = orient(star)
    assert verdict.reading == Reading()
    assert all(reading.relation == Reading().relation for reading in verdict.left[0].readings)
