import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldlight.core.errors import SettingsError
from foldlight.train.settings import TrainingSettings, epochs_for

SIZES = st.integers(1, 10_000)


@given(SIZES, st.tuples(SIZES, SIZES), st.floats(0, 1e15), SIZES, SIZES)
def test_epochs_spend_the_budget_to_half_an_epoch_or_stop_at_a_bound(n, window, pixels, a, b):
    least, most = sorted((a, b))
    epochs, an_epoch = epochs_for(n, window, pixels, least, most), n * window[0] * window[1]
    assert least <= epochs <= most
    if least < epochs < most:
        assert abs(epochs * an_epoch - pixels) <= an_epoch / 2 * (1 + 1e-9)
    elif epochs == least < most:
        assert pixels <= (epochs + 0.5) * an_epoch * (1 + 1e-9)
    elif epochs == most > least:
        assert pixels >= (epochs - 0.5) * an_epoch * (1 - 1e-9)


def test_impossible_budgets_are_refused():
    with pytest.raises(SettingsError, match="expected bounds 1 <= least <= most, got 9 and 3"):
        epochs_for(10, (8, 8), 1e6, 9, 3)
    with pytest.raises(SettingsError, match="expected frames to divide a budget by, got 0 of 8 x 8"):
        epochs_for(0, (8, 8), 1e6, 3, 9)


def test_no_groups_at_all_are_refused():
    with pytest.raises(SettingsError, match="groups = 0: Input should be greater than or equal to 1"):
        TrainingSettings.parse({"groups": 0})
