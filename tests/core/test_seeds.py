"""Draws by number: the same whatever else is drawn, and unrelated to each other."""

import numpy as np

from foldlight.core.seeds import numbered


def drawn(key, numbers):
    return [rng.random(3).tolist() for rng in numbered(key, numbers)]


def test_a_number_draws_the_same_in_any_company_and_after_any_use():
    alone = drawn(7, [5])[0]
    assert drawn(7, np.array([900, 5, 0, 5]))[1::2] == [alone, alone]
    greedy = []
    for rng in numbered(7, [1, 5]):
        greedy.append(rng.random(3).tolist())
        rng.integers(0, 3, 1001, dtype=np.uint8)  # leaves odd halves behind
    assert greedy[1] == alone


def test_keys_and_numbers_draw_apart():
    everything = [tuple(each) for key in (0, 7, 2**63 - 1) for each in drawn(key, [0, 1, 2, 10**12])]
    assert len(set(everything)) == 12
    values = np.array([rng.standard_normal() for rng in numbered(3, range(4000))])
    assert abs(values.mean()) < 0.06
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.06
