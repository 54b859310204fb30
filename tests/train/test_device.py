import pytest
import torch

from foldlight.core.errors import SettingsError
from foldlight.train.device import resolve_accelerator, usable_device


@pytest.fixture(params=[0, 2])
def found(request, monkeypatch) -> int:
    """A machine with so many CUDA devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    return request.param


def test_words_for_what_is_there(found):
    assert resolve_accelerator("cpu") == "cpu"
    if not found:
        assert resolve_accelerator("auto") == "cpu"
        return
    words = {"auto": "cuda", "gpu": "cuda", "cuda": "cuda", "cuda:0": "cuda:0", "cuda:1": "cuda:1"}
    assert {word: resolve_accelerator(word) for word in words} == words
    with pytest.raises(SettingsError, match="accelerator = 'cuda:2': expected cuda:0 to cuda:1, the devices"):
        resolve_accelerator("cuda:2")


@pytest.mark.parametrize("found", [0], indirect=True)
@pytest.mark.parametrize("word", ["gpu", "cuda", "cuda:0"])
@pytest.mark.usefixtures("found")
def test_a_missing_device_is_not_replaced_silently(word):
    with pytest.raises(
        SettingsError, match=f"accelerator = '{word}': expected a CUDA device, torch finds none here; use"
    ):
        resolve_accelerator(word)


@pytest.mark.parametrize("word", ["", "tpu", "GPU", "cuda:", "cuda:x", "gpu:0", "cuda:01", "cuda:-1"])
@pytest.mark.usefixtures("found")
def test_other_words_are_refused(word):
    with pytest.raises(SettingsError, match=r"accelerator = .*: expected auto, cpu, gpu, cuda or cuda:N"):
        resolve_accelerator(word)


def test_auto_is_always_usable():
    assert usable_device(resolve_accelerator("auto")).type in {"cpu", "cuda"}


def test_an_absent_device_is_refused():
    with pytest.raises(SettingsError, match="device = 'cuda:99': expected one that torch can use here"):
        usable_device("cuda:99")
