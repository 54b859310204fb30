"""The benchmark of orientations runs at toy size."""

import json

from benchmarks.orient import OrientBenchmark, case, outcome
from foldlight.orient.settings import OrientSettings
from foldlight.simulate.settings import VarietySettings

TOY = OrientBenchmark(
    frames=20,
    canvas=80,
    scans=VarietySettings(window=16, probes=("gaussian",), overlap=(0.6, 0.8)),
    orient=OrientSettings(frames=12, iterations=10, doubt=("order",)),
)


def test_a_case_is_the_same_each_time_and_its_outcome_is_told():
    (first, truth), (again, same) = case(TOY, 3), case(TOY, 3)
    assert truth == same
    assert first.digest() == again.digest()
    row = json.loads(json.dumps(outcome(TOY, 3), allow_nan=False))
    assert row["outcome"] in {"right", "wrong", "untold", "untold, truth lost"}
    assert row["truth"] == truth.words
    assert isinstance(row["named_first"], bool)
