"""What every reader does the same way: bad pixels, crops, lengths, positions, probes, frames that stay in HDF5."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from phantom import phantom_scan

from foldlight.core.errors import DataError
from foldlight.io import ReadOptions, read_scan, write_scan
from foldlight.io.frames import Storage, geometry_of, photon_frames, placed_positions, probe_for
from foldlight.io.hdf5 import open_hdf5
from foldlight.io.probes import guessed_probe, read_probe

COUNTS = phantom_scan(12, 16).photons[:].astype(np.uint32)
CENTRED = Storage("intensity", "centre")


def frames_of(stored=COUNTS, bad=None, storage=CENTRED, **options):
    return photon_frames("frames", stored, len(stored), storage, ReadOptions(**options), bad)


@pytest.mark.parametrize(
    ("kind", "mark"), [("<u4", 2**32 - 1), ("<u2", 2**16 - 1), ("<i4", -1), ("<f4", -2.0), ("<f8", np.nan)]
)
def test_a_detectors_mark_in_every_frame_is_a_bad_pixel(kind, mark):
    stored = COUNTS.astype(kind)
    stored[:, 4, 7] = mark
    frames, notes = frames_of(stored)
    assert not frames.mask[4, 7]
    assert frames.mask.sum() == frames.mask.size - 1
    assert not frames[:][:, 4, 7].any()
    assert "1 pixels hold a mark of a bad pixel in every frame" in " ".join(notes)


def test_a_byte_full_of_photons_is_no_mark():
    stored = np.minimum(COUNTS, 255).astype(np.uint8)
    stored[:, 6, 8] = 255
    assert frames_of(stored)[0].mask.all()


def test_bad_pixels_of_the_file_may_hold_anything():
    stored = COUNTS.astype(np.float32)
    stored[0, 2, 3], stored[2, 2, 3] = np.inf, -7
    bad = np.zeros((12, 16), dtype=bool)
    bad[2, 3] = True
    frames, notes = frames_of(stored, bad)
    assert np.isfinite(frames[:]).all()
    assert not frames.mask[2, 3]
    assert "1 bad pixels, as the file says" in " ".join(notes)
    with pytest.raises(DataError, match="frames: expected finite numbers >= 0, got 1 not finite, first in frame 0"):
        frames_of(stored)
    with pytest.raises(DataError, match=r"expected bad pixels of shape \(12, 16\) as the frames, got \(16, 12\)"):
        frames_of(stored, bad.T)


def test_a_number_that_is_bad_in_some_frames_only_is_refused_with_its_frame():
    stored = COUNTS.astype(np.int32)
    stored[3:, 1, 1] = -1
    with pytest.raises(DataError, match=f"got {len(stored) - 3} negative, first in frame 3"):
        frames_of(stored)


def test_the_noise_of_a_subtracted_dark_frame_is_read_as_zero_where_asked():
    stored = COUNTS.astype(np.float32) - 0.5
    with pytest.raises(DataError, match=r"negative, first in frame 0; .*or read them as 0, with the option negative"):
        frames_of(stored)
    frames, notes = frames_of(stored, negative="zero", values="intensity")
    np.testing.assert_array_equal(frames[:], np.maximum(stored, 0))
    assert "numbers below 0 read as 0" in " ".join(notes)


def test_a_crop_puts_the_named_pixel_in_the_middle():
    stored = np.zeros((2, 20, 30), dtype=np.uint16)
    stored[:, 8, 17] = 50
    stored[:, 9, 18] = 3
    frames, notes = frames_of(stored, crop_px=8, centre_px=(8.2, 16.9))
    assert frames.shape == (2, 8, 8)
    assert frames[:][0, 4, 4] == 50
    assert frames[:][0, 5, 5] == 3
    assert "8 x 8 px taken of 20 x 30" in " ".join(notes)
    assert frames_of(stored, centre_px=(8, 17))[0].shape == (2, 16, 26)
    with pytest.raises(DataError, match="expected a crop inside the 20 x 30 frame, got 18 x 18 around"):
        frames_of(stored, crop_px=18, centre_px=(8, 17))


def test_frames_with_the_beam_in_the_corner_are_not_cropped():
    with pytest.raises(DataError, match="expected frames with the zero frequency in the middle to crop"):
        frames_of(COUNTS, zero_frequency="corner", crop_px=8)


def test_formats_in_pixels_refuse_a_crop(tmp_path):
    write_scan(tmp_path / "scan.h5", phantom_scan(), "container")
    with pytest.raises(DataError, match="crop_px, centre_px: expected neither for a format with positions in pixels"):
        read_scan(tmp_path / "scan.h5", ReadOptions(crop_px=8))


def test_lengths_come_from_the_file_or_the_user_and_turn_with_the_frames():
    frames, _ = frames_of(orientation="transpose")
    known = {"wavelength_m": 1e-10, "distance_m": 2.0, "detector_pixel_m": (50e-6, 100e-6)}
    geometry, notes = geometry_of(frames, ReadOptions(orientation="transpose"), **known)
    assert frames.shape[1:] == (16, 12)
    assert geometry.pixel_size_m == pytest.approx((2e-10 / (16 * 100e-6), 2e-10 / (12 * 50e-6)))
    assert notes == []
    upright, _ = frames_of()
    asked, notes = geometry_of(
        upright, ReadOptions(energy_kev=12.39841984332, distance_m=1.0), 5e-10, 9.0, (1e-5, 1e-5)
    )
    assert asked.wavelength_m == pytest.approx(1e-10)
    assert asked.distance_m == 1.0
    assert len(notes) == 2
    stated, notes = geometry_of(upright, ReadOptions(), **known, pixel_size_m=(1e-9, 1e-9))
    assert stated.pixel_size_m == (1e-9, 1e-9)
    assert "although light, distance and detector pixel make" in notes[0]
    assert geometry_of(upright, ReadOptions(pixel_nm=3), **known)[0].pixel_size_m == pytest.approx((3e-9, 3e-9))


def test_missing_lengths_are_named_with_their_options():
    frames, _ = frames_of()
    with pytest.raises(DataError, match="set pixel_nm, or energy_kev, detector_pixel_um"):
        geometry_of(frames, ReadOptions(), distance_m=1.0)


def test_positions_are_swapped_turned_to_pixels_and_signed():
    metres = np.array([[1.0, 2.0], [3.0, 5.0]]) * 1e-9
    frames, _ = frames_of()
    geometry, _ = geometry_of(frames, ReadOptions(pixel_nm=1), pixel_size_m=(1e-9, 1e-9))
    as_is, notes = placed_positions("p", metres, geometry, ReadOptions())
    np.testing.assert_allclose(as_is, [[1, 2], [3, 5]])
    assert "metres turned to object pixels" in notes[0]
    sample, notes = placed_positions("p", metres, geometry, ReadOptions(position_order="xy"), "sample")
    np.testing.assert_allclose(sample, [[-2, -1], [-5, -3]])
    assert "as the format says, so negated" in notes[-1]
    beam, _ = placed_positions("p", metres, geometry, ReadOptions(translation_sign="beam"), "sample")
    np.testing.assert_allclose(beam, as_is)
    with pytest.raises(DataError, match=r"p: expected \(n, 2\) positions, got shape \(2, 3\)"):
        placed_positions("p", np.zeros((2, 3)), None, ReadOptions())


def test_the_named_probe_counts_more_than_that_of_the_file(tmp_path):
    frames, _ = frames_of()
    probe = phantom_scan(12, 16).probe
    np.save(tmp_path / "probe.npy", 3 * probe)
    found, notes = probe_for("probe", probe[:1], frames, None, ReadOptions(probe_from=tmp_path / "probe.npy"))
    assert len(found) == 2
    assert np.sum(np.abs(found) ** 2) == pytest.approx(frames.totals.mean(), rel=1e-5)
    assert "that of probe.npy" in notes[0]
    own, notes = probe_for("probe", probe, frames, None, ReadOptions(), in_photons=True)
    np.testing.assert_array_equal(own, probe)
    assert notes == []


def test_a_probe_that_nobody_has_is_guessed_and_said_so():
    frames, _ = frames_of()
    probe, notes = probe_for("probe", None, frames, None, ReadOptions())
    assert probe.shape == (1, 12, 16)
    assert np.sum(np.abs(probe) ** 2) == pytest.approx(frames.totals.mean(), rel=1e-5)
    assert "guessed as the mean frame" in notes[-1]
    with pytest.raises(DataError, match="defocus_um: expected wavelength and object pixel to be known"):
        probe_for("probe", None, frames, None, ReadOptions(defocus_um=5))


def test_a_guess_out_of_focus_is_a_lens_wave_carried_along():
    scan = phantom_scan(12, 16)
    focus, near = (guessed_probe(scan.photons, scan.geometry, at) for at in (0.0, 40e-6))
    assert np.sum(np.abs(near) ** 2) == pytest.approx(np.sum(np.abs(focus) ** 2), rel=1e-5)
    assert np.abs(focus).max() > np.abs(near).max()


@pytest.mark.parametrize("key", ["probe", "probeGuess"])
def test_probes_are_found_in_other_files(tmp_path, key):
    probe = phantom_scan(12, 16).probe
    np.savez(tmp_path / "p.npz", **{key: probe})
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["probe"] = probe[None, None]
    np.testing.assert_array_equal(read_probe(tmp_path / "p.npz")[0], probe)
    np.testing.assert_array_equal(read_probe(tmp_path / "p.h5")[0], probe)


@pytest.mark.parametrize(("form", "name"), [("container", "s.h5"), ("data001", "s.npz")])
def test_a_probe_of_ours_keeps_its_photons(tmp_path, form, name):
    scan = phantom_scan(12, 12)
    write_scan(tmp_path / name, scan, form)
    probe, lit = read_probe(tmp_path / name)
    assert lit
    weaker = frames_of(scan.photons[:] // 2)[0]
    found, _ = probe_for("probe", None, weaker, None, ReadOptions(probe_from=tmp_path / name))
    np.testing.assert_array_equal(found, probe)


def test_files_without_a_probe_are_refused(tmp_path):
    np.savez(tmp_path / "p.npz", other=np.ones(3))
    np.save(tmp_path / "p.npy", np.ones((4, 4)))
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["other"] = 1
    for name, message in {
        "p.npz": "expected a probe as probe or probeGuess, found other",
        "p.npy": "expected a complex probe",
        "p.h5": "expected a probe as probe or",
        "none.npy": "expected a readable file, got No such file",
    }.items():
        with pytest.raises(DataError, match=message):
            read_probe(tmp_path / name)


def written(path: Path, how: str) -> Path:
    """Frames as files of beamlines hold them."""
    raster = COUNTS[:6].reshape(2, 3, 12, 16)
    with h5py.File(path, "w") as file:
        if how == "contiguous":
            file["f"] = raster
        elif how == "big-endian":
            file["f"] = raster.astype(">u4")
        elif how == "packed":
            file.create_dataset("f", data=raster, chunks=(1, 2, 12, 16), compression="gzip", shuffle=True)
        else:
            with h5py.File(path.with_name("other.h5"), "w") as other:
                other.create_dataset("data", data=raster, chunks=(1, 1, 12, 16))
            if how == "linked":
                file["f"] = h5py.ExternalLink("other.h5", "/data")
            else:
                layout = h5py.VirtualLayout((2, 3, 12, 16), "<u4")
                layout[:] = h5py.VirtualSource("other.h5", "data", (2, 3, 12, 16))
                file.create_virtual_dataset("f", layout)
    return path


@pytest.mark.parametrize("how", ["contiguous", "big-endian", "packed", "linked", "virtual"])
def test_rasters_in_hdf5_are_frames_one_after_the_other(tmp_path, how):
    with open_hdf5(written(tmp_path / "raster.h5", how)) as file:
        stored = file.frames("f")
    assert stored.shape == (6, 12, 16)
    np.testing.assert_array_equal(stored[[5, 0, 1, 2, 3]], COUNTS[[5, 0, 1, 2, 3]])
    np.testing.assert_array_equal(stored[1:5], COUNTS[1:5])
    np.testing.assert_array_equal(stored[4], COUNTS[4])
    frames, _ = photon_frames("f", stored, 6, CENTRED, ReadOptions())
    np.testing.assert_array_equal(frames[:], COUNTS[:6])


def test_a_filter_that_is_not_here_is_named(tmp_path):
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((1, 8, 8))
        settings.set_filter(32_099, h5py.h5z.FLAG_OPTIONAL)  # nobody's number
        space, kind = h5py.h5s.create_simple((2, 8, 8)), h5py.h5t.NATIVE_UINT16
        h5py.h5d.create(file.id, b"f", kind, space, settings)
    with (
        open_hdf5(tmp_path / "odd.h5") as file,
        pytest.raises(DataError, match=r"f: expected a packing that HDF5 knows here, .*foldlight\[beamline\]"),
    ):
        file.frames("f")


def test_names_numbers_and_words_of_hdf5(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a/b"] = [3.5]
        file["a/words"] = "two words"
        file["a/bytes"] = np.bytes_("short")
        file["a/many"] = np.zeros(3)
    with open_hdf5(tmp_path / "x.h5") as file:
        assert set(file.members("a")) == {"b", "words", "bytes", "many"}
        assert file.members("nowhere") == ()
        assert file.number("a/b") == 3.5
        assert file.number("a/none") is None
        assert file.text("a/words") == "two words"
        assert file.text("a/bytes") == "short"
        assert file.text("a/b") is None
        with pytest.raises(DataError, match=r"a/many: expected one number, got shape \(3,\)"):
            file.number("a/many")


@pytest.mark.parametrize("form", ["container", "data001"])
def test_lengths_and_options_of_turning_hold_for_our_own_formats(tmp_path, form):
    scan = phantom_scan(12, 12)
    (path,) = write_scan(tmp_path / ("s.h5" if form == "container" else "s.npz"), scan, form)
    assert read_scan(path).geometry == scan.geometry
    turned = read_scan(path, ReadOptions(orientation="flip_y", translation_sign="sample", ignore_object=True))
    expected = scan.turned("flip_y", negated=True)
    np.testing.assert_array_equal(turned.photons[:], expected.photons[:])
    np.testing.assert_array_equal(turned.mask, expected.mask)
    np.testing.assert_allclose(np.diff(turned.positions_px, axis=0), np.diff(expected.positions_px, axis=0))


def test_unknown_formats_are_listed(tmp_path):
    with pytest.raises(DataError, match="format GIF: expected one of"):
        write_scan(tmp_path / "x", phantom_scan(), "GIF")
