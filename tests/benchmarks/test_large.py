"""The benchmark of large data runs at toy size and gives finite numbers."""

import json

from benchmarks import large
from benchmarks.results import result_from
from benchmarks.suite import Setup


def test_every_stage_tells_its_memory(monkeypatch):
    plain = {"path": str}
    monkeypatch.setattr(
        large,
        "_run",
        lambda stage, **given: getattr(large, stage)(**{name: plain.get(name, int)(it) for name, it in given.items()}),
    )
    results = large.measure(Setup("toy", repeats=1, seed=3, frames=100))
    assert len(results) == 10
    for result in results:
        assert result.row == "large"
        assert result_from(json.loads(json.dumps(result.plain(), allow_nan=False))) == result
        assert result.measured is not None
    peaks = [result for result in results if result.quantity.endswith("peak memory")]
    assert len(peaks) == 7
    assert {result.reason for result in peaks} == {"measured on 100 frames"}
