"""Sizes of the unrolled network: equal pretraining, nothing made twice, a front that no other betters."""

import importlib
import json

import pytest

from benchmarks.network_parts import sizes
from benchmarks.network_parts.sizes import SHAPES, SizesSettings, front, run_sizes
from benchmarks.sizes import main
from foldlight.core.errors import DataError
from foldlight.networks.settings import NetworkSettings


def in_this_process(function, arguments, _):
    """What `_call` does in a process of its own, whose start would take longer than the work."""
    module, name = function.split(":")
    return json.loads(json.dumps(getattr(importlib.import_module(module), name)(**arguments)))


def row(flop, *errors):
    return {"cost": {"flop": flop}, "numbers": {"error": list(errors)}}


def test_shapes_are_of_the_kind_that_is_pretrained_and_no_two_alike():
    found = [NetworkSettings.parse(shape, name).plain() for name, shape in SHAPES.items()]
    assert {each["kind"] for each in found} == {"unrolled"}
    assert len({(each["width"], each["levels"], each["consistency_steps"]) for each in found}) == len(SHAPES)


def test_the_front_leaves_out_what_another_betters_at_no_more_flop():
    rows = {"a": row(1, 3.0), "b": row(2, 3.5, 3.0, 4.0), "c": row(2, 2.0), "d": row(4, 2.0)}
    assert front(rows, "error", higher=False) == ["a", "c"]
    assert front(rows, "error", higher=True) == ["a", "b"]
    assert front({"e": row(1, 1.0), "f": row(1, 1.0)}, "error", higher=False) == ["e", "f"]


def test_networks_are_pretrained_and_scored_once(tmp_path, monkeypatch):
    settings = SizesSettings(size="toy", seeds=1, output=tmp_path)
    monkeypatch.setattr(sizes, "_call", in_this_process)
    lines: list[str] = []
    first = run_sizes(settings, lambda *words: lines.extend(words))
    assert set(first["networks"]) == {"tiny", "base"}
    for found in first["networks"].values():
        assert all(len(values) == 1 for values in found["numbers"].values())
    page = (tmp_path / "sizes.md").read_text(encoding="utf-8")
    assert "numbers mean nothing" in page
    assert "`python -m benchmarks.sizes --size toy --seeds 1`" in page
    monkeypatch.setattr(sizes, "_call", None)
    assert run_sizes(settings, lambda *_: None)["networks"] == first["networks"]
    assert json.loads((tmp_path / "sizes.json").read_text(encoding="utf-8"))["schema"] == "foldlight-sizes-1"


def test_a_stage_that_fails_is_told(tmp_path):
    arguments = {"network": {"kind": "lifted"}, "settings": {}, "folder": str(tmp_path)}
    with pytest.raises(DataError, match=r"make_bundle: .*expected unrolled"):
        sizes._call("benchmarks.network_parts.sizes:make_bundle", arguments, tmp_path / "log.txt")
    assert not list(tmp_path.rglob("wts.h5.zip"))


def test_a_refusal_is_one_line(capsys):
    with pytest.raises(SystemExit):
        main(["--seeds", "0"])
    assert "seeds" in capsys.readouterr().err
