"""The verbs of the package: what a notebook calls, on tiny scans."""

import subprocess
import sys
from inspect import signature, unwrap
from pathlib import Path

import numpy as np
import pytest
from phantom import phantom_scan

import foldlight as fl
from foldlight.reconstruct.engines import ENGINES, options_taken
from foldlight.reconstruct.settings import EngineOptions, LikelihoodOptions, RefineOptions


@pytest.fixture(scope="module")
def scan():
    return fl.simulate(object_size=64, window=32, probe_diameter_px=13, positions=36, dose=3e3, seed=3)


def unchecked(function):
    """As it is without the checker of tests, which refuses wrong types before the function can."""
    return unwrap(function)


@pytest.fixture(scope="module")
def flat(scan):
    return fl.reconstruct(scan, "constant")


def test_five_lines_to_the_first_picture(tmp_path, scan):
    fl.write_data001(tmp_path / "scan.npz", scan)
    found = fl.read_scan(str(tmp_path / "scan.npz"))
    image = fl.reconstruct(found, engine="network", progress=False)
    image.show().savefig(tmp_path / "image.png")
    assert image.object.shape == scan.canvas
    assert isinstance(image.object, np.ndarray)
    assert (tmp_path / "image.png").stat().st_size > 10_000


def test_verbs_stay_verbs_whatever_is_imported(scan):
    """A sub-package of the same name must not take the verb's place once it is imported."""
    from foldlight.compare.table import compare
    from foldlight.reconstruct import engines

    for _ in range(2):
        assert fl.simulate(object_size=64, window=32, positions=4).window == (32, 32)
        assert fl.compare([fl.reconstruct(scan, "constant")], limit="off").n_frames == len(scan)
    assert fl.compare.table.compare is compare
    assert fl.reconstruct.engines is engines
    assert "adapt" in signature(fl.reconstruct).parameters
    assert fl.reconstruct.__doc__.startswith("The image of a scan's object")


@pytest.mark.parametrize("first", ["foldlight.reconstruct.settings", "foldlight"])
def test_a_verb_is_one_whoever_imports_its_package_first(first):
    code = f"import {first}, foldlight.core; print(callable(foldlight.reconstruct), callable(foldlight.core))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_every_option_of_the_settings_belongs_to_an_engine_and_every_engine_to_the_list():
    fields = [*EngineOptions.model_fields, *LikelihoodOptions.model_fields, *RefineOptions.model_fields]
    assert len(fields) == len(set(fields))
    taken = {name for engine in ENGINES for name in options_taken(engine)}
    assert taken == {*fields, "adapt", "model", "start"}


def test_options_reach_the_engine(scan):
    made = fl.reconstruct(scan, "ml", epochs=2, fit_probe=False, phase_only=True, progress=False)
    assert made.settings["iterations"] == 2
    assert made.settings["phase_only"]
    assert made.scan is scan


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"engine": "lsqm"}, "expected an engine of network, hybrid, .*, got 'lsqm'"),
        ({"engine": "network", "epochs": 3}, r"engine='network'.*options adapt, device, model, seed, got 'epochs'"),
        ({"engine": "ml", "epoch": 3}, "got 'epoch'; did you mean epochs"),
        ({"engine": "ml", "epochs": 0}, "epochs = 0: .*greater than or equal to 1"),
        ({"engine": "constant", "adapt": 3}, "expected no option, got 'adapt'"),
        ({"engine": "lsqml", "adapt": 3}, "expected no adaptation without a network"),
    ],
)
def test_what_an_engine_does_not_take_is_refused(scan, keywords, message):
    with pytest.raises(fl.FoldlightError, match=message):
        fl.reconstruct(scan, **keywords)


def test_what_is_no_scan_is_refused(scan, flat, tmp_path):
    with pytest.raises(fl.FoldlightError, match=r"expected a scan or the path of one, got ndarray; .*scan_from_arrays"):
        unchecked(fl.api.reconstruct)(scan.probe)
    with pytest.raises(fl.FoldlightError, match="expected reconstructions or their files, got Scan"):
        unchecked(fl.api.compare)([flat, scan])
    with pytest.raises(fl.FoldlightError, match="did you mean dose"):
        fl.simulate(doses=3)
    with pytest.raises(fl.FoldlightError, match=r"read_scan: expected some of .*, got 'value'; did you mean values"):
        fl.read_scan(tmp_path / "none.npz", value="amplitude")


def test_a_start_a_probe_and_a_model_may_be_objects_or_files(tmp_path, scan, flat):
    other = scan.probe * np.complex64(1.1)
    flat.save(tmp_path / "flat.npz")
    few = {"engine": "ml", "epochs": 1, "fit_probe": False, "progress": False}
    by_object = fl.reconstruct(scan, start=flat, probe=other[0], **few)
    by_file = fl.reconstruct(scan, start=tmp_path / "flat.npz", probe=other, **few)
    np.testing.assert_array_equal(by_object.object, by_file.object)
    np.testing.assert_array_equal(by_object.scan.probe, other)
    assert fl.reconstruct(scan, probe=by_object, **few).scan.notes[-1] == "probe of ML"
    by_object.save(tmp_path / "ml.npz")
    lent = fl.reconstruct(scan, probe=str(tmp_path / "ml.npz"), **few)
    np.testing.assert_array_equal(lent.scan.probe, by_object.probe)
    assert "that of ml.npz" in lent.scan.notes[-1]
    fl.write_bundle(tmp_path / "wts.h5.zip", fl.pretrained())
    with_model = [
        fl.reconstruct(scan, "network", model=model, progress=False)
        for model in (None, fl.pretrained(), tmp_path, str(tmp_path))
    ]
    for made in with_model[1:]:
        np.testing.assert_array_equal(made.object, with_model[0].object)


def test_comparing_needs_no_scan_where_one_is_remembered(tmp_path, scan, flat):
    found = fl.compare([flat])
    assert found.truth is not None
    assert found.limit is not None
    flat.save(tmp_path / "flat.npz")
    with pytest.raises(fl.FoldlightError, match="remembers its scan, got Constant; give it as scan"):
        fl.compare([tmp_path / "flat.npz"])
    with pytest.raises(fl.FoldlightError, match="remembers its scan, got none"):
        fl.compare([])
    again = fl.compare(str(tmp_path / "flat.npz"), scan, limit="off")
    assert again.rows[0].object_rmse == found.rows[0].object_rmse
    assert again.limit is None


def test_arms_may_be_named(flat):
    found = fl.compare({"one": flat, "another": flat}, limit="off", registration=False)
    assert [row.arm for row in found.rows] == ["one", "another"]
    assert not found.settings.registration
    with pytest.raises(fl.FoldlightError, match="several named 'Constant'"):
        fl.compare([flat, flat])
    with pytest.raises(fl.FoldlightError, match=r"compare: expected some of .*did you mean registration"):
        fl.compare([flat], registratoin=False)


def test_held_out_photons_know_their_exposure(scan):
    kept, unseen = fl.thin(scan, 0.8, seed=1)
    made = fl.reconstruct(kept, "constant")
    found = fl.compare([made], heldout=unseen, limit="off")
    assert found.exposure_ratio == pytest.approx(0.25)
    assert found.rows[0].deviance_heldout is not None
    assert fl.compare([made], heldout=unseen, exposure_ratio=0.3, limit="off").exposure_ratio == 0.3


def test_the_limit_needs_a_truth(scan):
    known = fl.limit(scan)
    assert known.probe == "known"
    assert 0 < known.bound < 1
    with pytest.raises(fl.FoldlightError, match="expected probe known or blind, got 'guessed'"):
        unchecked(fl.api.limit)(scan, "guessed")
    with pytest.raises(fl.FoldlightError, match="expected a scan with its true object, got one without"):
        fl.limit(fl.scan_from_arrays(scan.photons[:], scan.positions_px, scan.probe))


def test_training_leaves_a_bundle(tmp_path, scan):
    model = fl.train(scan, tmp_path / "model", epochs=1, size="tiny", gridsize=3, progress=False)
    assert fl.read_bundle(tmp_path / "model/wts.h5.zip").digest() == model.digest()
    assert fl.reconstruct(scan, "network", model=model, progress=False).arm == "Network"
    with pytest.raises(fl.FoldlightError, match=r"train: expected .*, got 'epoch'"):
        fl.train(scan, tmp_path / "model", epoch=1)


def test_arrays_make_the_scan_that_they_came_from():
    """Rectangular frames, two modes, a bad pixel: to the last bit with a truth, up to whole pixels without."""
    phantom = phantom_scan()
    frames = phantom.photons[:]
    given = {"probe": phantom.probe, "mask": phantom.mask, "geometry": phantom.geometry, "probe_in_photons": True}
    same = fl.scan_from_arrays(frames, phantom.positions_px, truth=phantom.object, **given)
    assert same.digest() == phantom.digest()
    assert same.geometry == phantom.geometry
    np.testing.assert_array_equal(same.truth, phantom.object)
    moved = fl.scan_from_arrays(frames, phantom.positions_px - 100.0, **given)
    steps = moved.positions_px - phantom.positions_px
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
    np.testing.assert_allclose(np.diff(moved.positions_px, axis=0), np.diff(phantom.positions_px, axis=0), atol=1e-9)
    assert moved.object is None
    assert any("moved" in note for note in moved.notes)


def test_arrays_are_read_as_files_are():
    phantom = phantom_scan()
    corner = np.fft.ifftshift(np.sqrt(phantom.photons[:]), axes=(1, 2))
    read = fl.scan_from_arrays(
        corner, phantom.positions_px[:, ::-1], phantom.probe * 7,
        zero_frequency="corner", values="amplitude", position_order="xy",
    )  # fmt: skip
    np.testing.assert_allclose(read.photons[:], phantom.photons[:], rtol=1e-5)
    np.testing.assert_allclose(np.diff(read.positions_px, axis=0), np.diff(phantom.positions_px, axis=0), atol=1e-9)
    power = np.sum(np.abs(read.probe) ** 2)
    assert power == pytest.approx(read.photons.totals.mean(), rel=1e-5)


def test_a_probe_that_is_not_given_is_guessed():
    phantom = phantom_scan(16, 16)
    read = fl.scan_from_arrays(phantom.photons[:], phantom.positions_px)
    assert read.probe.shape == (1, 16, 16)
    assert any("guessed" in note for note in read.notes)


def test_arrays_that_do_not_fit_are_refused():
    phantom = phantom_scan()
    frames, positions = phantom.photons[:], phantom.positions_px
    with pytest.raises(fl.FoldlightError, match=r"positions_px: expected \(n, 2\) \(y, x\), got shape \(2, 7\)"):
        fl.scan_from_arrays(frames, positions.T)
    with pytest.raises(fl.FoldlightError, match=r"frames: expected .*6"):
        fl.scan_from_arrays(frames, positions[:6])
    with pytest.raises(fl.FoldlightError, match=r"probe: expected .*12, 16"):
        fl.scan_from_arrays(frames, positions, phantom.probe[:, :8])
    with pytest.raises(fl.FoldlightError, match="every 12 x 16 window inside"):
        fl.scan_from_arrays(frames, positions + 50, phantom.probe, truth=phantom.object)


def test_any_format_is_written_by_its_name(tmp_path, scan):
    for form in ("container", "data001"):
        (path,) = fl.write_scan(str(tmp_path / form), scan, form)
        assert fl.read_scan(path).digest() == scan.digest()
    with pytest.raises(fl.FoldlightError, match=r"write_scan: expected a format of .*container.*, got 'tiff'"):
        fl.write_scan(tmp_path / "scan", scan, "tiff")


def test_the_doctor_warns_before_a_verb_goes_on(scan):
    """Roots of counts that were read as counts: no image will be right."""
    odd = fl.scan_from_arrays(np.sqrt(scan.photons[:]), scan.positions_px, scan.probe, values="intensity")
    with pytest.warns(fl.ScanWarning, match=r"stop .*amplitude-as-intensity: .*read with --values amplitude"):
        fl.reconstruct(odd, "constant")
    fl.reconstruct(odd, "constant", doctor=False)


def test_diagnosis_and_orientation_are_verbs_too(scan):
    assert fl.diagnose(scan, quick=True).verdict == "go"
    with pytest.raises(fl.FoldlightError, match=r"orient: expected some of the options .*got 'doubts'; did you mean"):
        fl.orient(scan, doubts=("sign",))


def test_a_home_directory_is_understood(monkeypatch, tmp_path, scan):
    monkeypatch.setenv("HOME", str(tmp_path))
    fl.write_data001(tmp_path / "scan.npz", scan)
    assert len(fl.read_scan(Path("~/scan.npz"))) == len(scan)
