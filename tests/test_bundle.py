"""Bundles: reproducible bytes, the same network back, nothing trusted in."""

import json
import zipfile
from dataclasses import replace
from hashlib import sha256

import h5py
import numpy as np
import pytest
import torch

from foldlight.bundle import (
    BUNDLE_NAME,
    SCHEMA,
    Model,
    _read_weights,
    pretrained,
    read_bundle,
    starting_model,
    write_bundle,
)
from foldlight.core.errors import BundleError
from foldlight.networks.generators import build
from foldlight.networks.settings import NetworkSettings
from foldlight.optics.spectrum import ErrorSpectrum


@pytest.fixture
def model():
    settings = NetworkSettings(width=8, levels=1, consistency_steps=1)
    weights = {name: value.numpy() for name, value in build(settings, (16, 24), seed=3).state_dict().items()}
    return Model(settings, (16, 24), 4, weights, {"seed": 3, "best_loss": -1.5})


def rewritten(path, **members):
    """The bundle with some members replaced and the digests left as they were."""
    with zipfile.ZipFile(path) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    found.update(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in found.items():
            archive.writestr(name, data)
    return path


def test_a_bundle_comes_back_equal_and_with_the_same_bytes(model, tmp_path):
    first = write_bundle(tmp_path / "a.zip", model)
    back = read_bundle(tmp_path / "a.zip")
    assert replace(back, weights={}) == replace(model, weights={})
    assert all(np.array_equal(back.weights[name], value) for name, value in model.weights.items())
    assert write_bundle(tmp_path / "b.zip", back) == first
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_the_spectrum_of_errors_comes_back_and_belongs_to_the_bytes(model, tmp_path):
    assert read_bundle(write_and_tell(tmp_path / "without.zip", model)).errors is None
    errors = ErrorSpectrum(np.array([3.0, 40.0]), np.array([0.1, 0.5]), np.array([[0.25, 1e-3], [0.1, 1e-4]]))
    path = write_and_tell(tmp_path / "with.zip", replace(model, errors=errors))
    assert read_bundle(path).errors.plain() == errors.plain()
    assert read_bundle(path).digest() == model.digest()
    with zipfile.ZipFile(path) as archive:
        config, manifest = (json.loads(archive.read(name)) for name in ("config.json", "MANIFEST.json"))
    config["error_spectrum"]["power"][0][0] = -1.0
    changed = json.dumps(config).encode()
    with pytest.raises(BundleError, match=r"digest in MANIFEST.json for config.json"):
        read_bundle(rewritten(path, **{"config.json": changed}))
    manifest["members"]["config.json"] = sha256(changed).hexdigest()
    with pytest.raises(BundleError, match=r"with\.zip: .*finite powers above 0"):
        read_bundle(rewritten(path, **{"MANIFEST.json": json.dumps(manifest).encode()}))


def write_and_tell(path, model):
    write_bundle(path, model)
    return path


def test_members_are_those_of_the_contract(model, tmp_path):
    write_bundle(tmp_path / "wts.h5.zip", model)
    with zipfile.ZipFile(tmp_path / "wts.h5.zip") as archive:
        assert archive.namelist() == ["MANIFEST.json", "config.json", "wts.h5"]
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        manifest = json.loads(archive.read("MANIFEST.json"))
        archive.extract("wts.h5", tmp_path)
    assert manifest["schema"] == SCHEMA
    assert manifest["training"] == model.training
    with h5py.File(tmp_path / "wts.h5") as store:
        assert set(store) == set(model.weights)
        assert store.attrs["width"] == 8


def test_a_write_that_fails_leaves_nothing(model, tmp_path):
    broken = replace(model, weights={"odd": np.zeros(3, dtype=np.float32)})
    with pytest.raises(BundleError, match=r"expected those of .* got other names or shapes"):
        write_bundle(tmp_path / "a.zip", broken)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 10, 500, -30])
def test_a_truncated_bundle_is_refused(model, tmp_path, keep):
    path = tmp_path / "a.zip"
    write_bundle(path, model)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BundleError, match=r"a\.zip: expected"):
        read_bundle(path)


def test_changed_and_foreign_bundles_are_refused(model, tmp_path):
    def fresh():
        write_bundle(tmp_path / "a.zip", model)
        return tmp_path / "a.zip"

    with pytest.raises(BundleError, match="found no file; run train first"):
        read_bundle(tmp_path / "none.zip")
    with pytest.raises(BundleError, match=r"expected the digest in MANIFEST\.json for config.json, got another"):
        read_bundle(rewritten(fresh(), **{"config.json": b"{}"}))
    with pytest.raises(BundleError, match=r"expected members .*, got .*evil.py"):
        read_bundle(rewritten(fresh(), **{"evil.py": b"print()"}))
    manifest = json.dumps({"schema": 99, "members": {}, "training": {}}).encode()
    with pytest.raises(BundleError, match=f"expected bundle schema {SCHEMA}, got 99; train it again"):
        read_bundle(rewritten(fresh(), **{"MANIFEST.json": manifest}))
    with pytest.raises(BundleError, match="expected a model bundle: JSONDecodeError"):
        read_bundle(rewritten(fresh(), **{"MANIFEST.json": b"not json"}))


def test_any_flipped_byte_is_noticed(model, tmp_path):
    path = tmp_path / "a.zip"
    write_bundle(path, model)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    unnoticed = 0
    for place in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        try:
            back = read_bundle(path)
        except BundleError:
            continue
        unnoticed += not all(np.array_equal(back.weights[name], value) for name, value in model.weights.items())
    assert unnoticed == 0


def test_weights_that_lie_elsewhere_are_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as store:
        store["secret"] = h5py.ExternalLink("/etc/other.h5", "/data")
    with pytest.raises(BundleError, match="expected plain data sets, got 'secret', which is a link"):
        _read_weights((tmp_path / "x.h5").read_bytes())


def untrained(**changes) -> Model:
    settings = NetworkSettings(**{"width": 8, "levels": 1, "consistency_steps": 1, **changes})
    weights = {name: value.numpy() for name, value in build(settings, (16, 24), seed=3).state_dict().items()}
    return Model(settings, (16, 24), 4, weights)


@pytest.mark.parametrize("kind", ["unrolled", "lifted"])
def test_the_module_is_ready_to_use(kind):
    module = untrained(kind=kind).module()
    assert not module.training
    photons, probes = torch.ones(2, 1, 16, 24), torch.ones(2, 1, 1, 16, 24, dtype=torch.complex64)
    places, mask = torch.tensor([[[8.0, 12.0]]]).expand(2, 1, 2), torch.ones(16, 24, dtype=torch.bool)
    objects = module.objects(photons, places, probes, mask, (17, 26))
    assert objects.shape == (2, 17, 26)
    assert objects.dtype == torch.complex64


def test_what_a_model_fits_and_how_it_takes_a_scan(model):
    patches = untrained(kind="lifted")
    assert model.fits((64, 10))
    assert patches.fits((16, 24))
    assert not patches.fits((24, 16))
    regions = [replace(each, group_size=size).regional for each in (model, patches) for size in (1, 4, 5, 49)]
    assert regions == [False, False, True, True, False, False, False, False]


def test_a_digest_is_of_the_weights_and_their_network_and_of_nothing_else(model):
    same = replace(model, window=(64, 64), group_size=49, training={"seed": 9})
    assert same.digest() == model.digest()
    name = sorted(model.weights)[0]
    other = replace(model, weights={**model.weights, name: model.weights[name] + np.float32(1e-6)})
    settings = model.network.model_copy(update={"merge_floor": 0.5})
    assert len({each.digest() for each in (model, other, replace(model, network=settings))}) == 3


class TestThePackagesOwn:
    """What training begins with, and what reconstructs a scan without any."""

    @pytest.fixture
    def package(self, model, tmp_path, monkeypatch):
        monkeypatch.setattr("foldlight.bundle.PRETRAINED", tmp_path / "pretrained.zip")
        write_bundle(tmp_path / "pretrained.zip", model)
        return tmp_path

    @pytest.mark.usefixtures("package")
    def test_it_is_read_from_the_package(self, model):
        assert pretrained().digest() == model.digest()

    def test_a_package_built_without_it_says_so(self, monkeypatch, tmp_path):
        monkeypatch.setattr("foldlight.bundle.PRETRAINED", tmp_path / "none.zip")
        with pytest.raises(BundleError, match=r"none\.zip: expected a model bundle, found no file"):
            pretrained()

    @pytest.mark.usefixtures("package")
    def test_training_begins_with_it_where_it_is_of_the_same_network(self, model):
        assert starting_model(None, model.network).digest() == model.digest()
        assert starting_model(None, untrained(consistency_steps=2).network) is None
        assert starting_model(None, untrained(kind="lifted").network) is None
        assert starting_model("scratch", model.network) is None
        assert starting_model("pretrained", untrained(kind="lifted").network).digest() == model.digest()

    def test_or_with_any_other_bundle_or_the_folder_it_lies_in(self, model, package):
        other = untrained(consistency_steps=2)
        write_bundle(package / "mine" / BUNDLE_NAME, other)
        for path in (package / "mine", package / "mine" / BUNDLE_NAME):
            assert starting_model(str(path), model.network).digest() == other.digest()
        with pytest.raises(BundleError, match="found no file"):
            starting_model(str(package / "nowhere"), model.network)


def test_sizes_have_a_name_no_more_and_the_same_network_the_same_bytes(tmp_path):
    named = untrained(size="tiny", width=8, levels=1, consistency_steps=1)
    digests = {write_bundle(tmp_path / f"{n}.zip", each) for n, each in enumerate((named, untrained()))}
    assert len(digests) == 1
