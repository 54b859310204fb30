"""Lengths behind the pixels."""

import json

import pytest

from foldlight.core.errors import DataError
from foldlight.geometry import Geometry, energy_of, wavelength_of


def test_energy_and_wavelength_are_each_others_inverse():
    assert wavelength_of(12398.41984332) == pytest.approx(1e-10, rel=1e-12)
    assert energy_of(wavelength_of(708.3)) == pytest.approx(708.3, rel=1e-12)


@pytest.mark.parametrize(
    ("energy_ev", "message"),
    [
        (8.8, "8.8 may be keV"),
        (1.4099e-15, "may be joule, 8.7999 keV"),
        (6e9, "a storage ring's electrons"),
        (3e5, "expected 50 eV to 200 keV, got 300000 eV; give it with the option energy_kev"),
        (float("nan"), "got nan eV"),
        (-1.0, "got -1 eV"),
    ],
)
def test_energies_that_no_photons_have_are_explained(energy_ev, message):
    with pytest.raises(DataError, match=message):
        wavelength_of(energy_ev)


def test_far_field_pixels_follow_from_light_and_detector():
    geometry = Geometry.far_field((64, 128), 1e-10, 2.0, (50e-6, 100e-6))
    assert geometry.pixel_size_m == pytest.approx((1e-10 * 2 / (64 * 50e-6), 1e-10 * 2 / (128 * 100e-6)))
    assert geometry.energy_ev == pytest.approx(12398.42)
    assert geometry.transposed().transposed() == geometry
    assert geometry.transposed().detector_pixel_m == (100e-6, 50e-6)


@pytest.mark.parametrize(
    "geometry",
    [Geometry((1e-8, 2e-8)), Geometry.far_field((8, 12), 1e-10, 2.0, (50e-6, 100e-6)), Geometry((1e-9, 1e-9), 1e-12)],
)
def test_geometries_go_through_json(geometry):
    assert Geometry.parse(json.loads(json.dumps(geometry.plain()))) == geometry


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "expected pixel_size_m and of"),
        ([1, 2], "expected pixel_size_m and of"),
        ({"pixel_size_m": [1e-9, 1e-9], "colour": 1}, "expected pixel_size_m and of"),
        ({"pixel_size_m": 1e-9}, "expected pixel_size_m as two numbers"),
        ({"pixel_size_m": [1e-9, "a"]}, "expected pixel_size_m as a number"),
        ({"pixel_size_m": [1e-9, 1e-9], "distance_m": True}, "expected distance_m as a number"),
        ({"pixel_size_m": [1e-9, 0]}, "object pixel: expected a positive number of metres, got 0"),
        ({"pixel_size_m": [1e-9, 1e-9], "wavelength_m": -1}, "wavelength: expected a positive"),
    ],
)
def test_other_facts_are_refused(facts, message):
    with pytest.raises(DataError, match=message):
        Geometry.parse(facts)


def test_lengths_have_to_be_positive():
    with pytest.raises(DataError, match="wavelength: expected a positive number of metres, got 0"):
        energy_of(0.0)
    with pytest.raises(DataError, match="detector pixel: expected a positive number"):
        Geometry.far_field((8, 8), 1e-10, 1.0, (0.0, 1e-6))
