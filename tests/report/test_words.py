"""The summary says who is best where, whether that is noise, and how far the dose limit is."""

from foldlight.report.collect import Findings
from foldlight.report.words import criterion, facts_line, joined, setting, summary

CLEAR = {"Net": [0.10, 0.11, 0.10], "Iter": [0.30, 0.31, 0.29], "Constant": [0.5, 0.5, 0.5]}
CLOSE = {"Net": [0.21, 0.20, 0.22], "Iter": [0.19, 0.23, 0.19], "Constant": [0.5, 0.5, 0.5]}


def rows(errors: dict, **more) -> list[dict]:
    """A row for each dose, view, arm and seed."""
    return [
        {"dose": dose, "view": view, "split": "test", "arm": arm, "seed": seed, "object_rmse": error, **more}
        for (dose, view), arms in errors.items()
        for arm, values in arms.items()
        for seed, error in enumerate(values)
    ]


def told(found: list[dict]) -> str:
    return " ".join(summary(Findings("title", found)))


def test_one_comparison_names_the_best_and_the_next():
    text = told(rows({(1e4, "dense"): CLEAR}))
    assert "Net is best, judged by the error against the truth: 0.1, ahead of Iter (0.3)." in text
    assert "larger than the noise between 3 seeds" in text


def test_several_settings_say_who_wins_where():
    other = {"Net": CLEAR["Iter"], "Iter": CLEAR["Net"]}
    text = told(rows({(1e3, "dense"): CLEAR, (1e4, "dense"): CLEAR, (1e4, "sparse"): other}))
    assert "Net is best in 2 of 3 settings (dense at every dose)" in text
    assert "Iter is best in 1 of 3 settings (sparse at 10,000)" in text
    assert "On the test half" in text


def test_a_lead_inside_the_noise_is_called_that():
    text = told(rows({(1e3, "dense"): CLEAR, (1e4, "dense"): CLOSE}))
    assert "inside the noise between 3 seeds in dense at 10,000." in text


def test_one_seed_says_nothing_of_noise():
    text = told(rows({(1e3, "dense"): {"Net": [0.1], "Iter": [0.2]}}))
    assert "One seed: whether a small lead is more than noise is not known." in text


def test_the_distance_from_the_dose_limit_is_told():
    above = told(rows({(1e3, "dense"): CLEAR}, limit_rmse=0.08))
    assert "Its error is 1.25 times the dose limit" in above
    assert "by bias" not in above
    assert "small by bias" in told(rows({(1e3, "dense"): CLEAR}, limit_rmse=0.2))
    text = told(rows({(1e3, "dense"): CLEAR, (1e4, "dense"): CLOSE}, limit_rmse=0.05))
    assert "2.00 (Net, dense at 1,000) to 3.80 (Iter, dense at 10,000) times the dose limit" in text


def test_arms_that_do_no_better_than_a_flat_image_are_named():
    found = rows({(1e3, "dense"): {"Net": [0.6], "Iter": [0.7], "Constant": [0.5]}, (1e4, "dense"): CLEAR})
    found[0]["status"] = "collapsed"
    assert "No method does better than a flat image in dense at 1,000." in told(found)
    assert "Net did no better than a flat image in dense at 1,000." in told(found)


def test_without_truth_unseen_counts_judge():
    found = [{"arm": "Net", "deviance_heldout": 1.1}, {"arm": "Iter", "deviance_heldout": 1.0}]
    assert criterion(found) == "deviance_heldout"
    words = "Iter is best, judged by the deviance of counts that no method has seen: 1, ahead of Net (1.1)."
    assert words in told(found)


def test_nothing_scored_is_said():
    assert "No method was scored" in told([{"arm": "Net"}])


def test_words():
    assert joined(["a", "b", "c"]) == "a, b and c"
    assert setting(1e4, "dense") == "dense at 10,000"
    assert setting(50.0, None) == "50"
    found = Findings("t", rows({(1e3, "dense"): CLEAR, (1e4, "dense"): CLEAR}))
    assert facts_line(found) == "2 doses, 3 methods, 3 seeds"
