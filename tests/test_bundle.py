"""Bundles: reproducible bytes, the same network back, nothing trusted in."""

import json
import zipfile
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from foldlight.bundle import SCHEMA, Model, _read_weights, read_bundle, write_bundle
from foldlight.core.errors import BundleError
from foldlight.networks.generators import build
from foldlight.networks.settings import NetworkSettings


@pytest.fixture
def model():
    settings = NetworkSettings(width=4, levels=2, consistency_steps=1)
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
        assert store.attrs["width"] == 4


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


def test_the_module_is_ready_to_use(model):
    module = model.module()
    assert not module.training
    patches = module(torch.ones(1, 16, 24), torch.ones(1, 1, 16, 24, dtype=torch.complex64))
    assert patches.shape == (1, 16, 24)
