import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titrant.report.words import Difference, by_trick, differences, duration, effort, gain, headline, number
from titrant.space import flatten

values = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(-2, 2)
    | st.sampled_from(["off", "adam"])
    | st.lists(st.integers(0, 3))
)
recipes = st.recursive(
    st.dictionaries(st.sampled_from(["kind", "p", "peak", "size"]), values, max_size=4),
    lambda inner: st.dictionaries(st.sampled_from(["data", "dropout", "batch"]), inner | values, max_size=3),
    max_leaves=8,
)


@given(st.floats(-1e300, 1e300).filter(lambda value: value == 0 or abs(value) > 1e-300))
def test_a_number_keeps_four_significant_digits(value):
    assert math.isclose(float(number(value).replace(",", "")), value, rel_tol=0.5001e-3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.99996, "1.000"),
        (0.9, "0.9000"),
        (-0.5, "-0.5000"),
        (999.96, "1,000"),
        (1e20, "1.000e+20"),
        (0, "0"),
        (float("nan"), "-"),
        (None, "-"),
    ],
)
def test_numbers_as_they_are_shown(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (0.04, "0 s"), (61, "1 min 1 s"), (3600, "1 h"), (90061, "25 h 1 min")]
)
def test_durations_as_people_say_them(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            "ROC AUC 0.9158 on held-out rows (95% interval 0.9101 to 0.9214; higher is better), "
            "better than the plain baseline's 0.8987 by 0.017 (0.015 to 0.019).",
        ),
        (
            {"baseline_score_test": 0.93, "gain_interval": (-0.02, -0.01)},
            "worse than the plain baseline's 0.9300 by 0.014 (0.010 to 0.020).",
        ),
        (
            {"baseline_score_test": 0.9150, "gain_interval": (-0.001, 0.003)},
            "the gain over the plain baseline's 0.9150 is 0.00080 (-0.0010 to 0.0030), so it is not certain.",
        ),
        ({"gain_interval": None}, "higher is better), better than the plain baseline's 0.8987."),
        ({"baseline_score_test": 0.93, "gain_interval": None}, "higher is better), worse than the plain baseline's 0.9300."),
        ({"baseline_score_test": 0.9158}, "the same as the plain baseline."),
        ({"baseline_score_test": None}, "the plain baseline was not scored."),
        (
            {"score_test_interval": None, "gain_interval": None},
            "ROC AUC 0.9158 on held-out rows (higher is better), better than the plain baseline's 0.8987.",
        ),
        ({"score_test": None}, "The final model has no ROC AUC score on held-out rows."),
        ({"score_test": None, "interrupted": True}, "The run was interrupted before its model was scored on held-out rows."),
    ],
)
def test_the_headline_says_what_was_measured(made, changes, expected):
    assert headline(made.summary("binary", **changes)).endswith(expected)


def test_lower_is_better_where_the_metric_says_so(made):
    summary = made.summary("regression")
    assert gain(summary, new=0.3, old=0.4) == pytest.approx(0.1)
    assert headline(summary).endswith("lower is better), better than the plain baseline's 0.4412.")


def test_the_budget_is_kept_exceeded_or_cut_short(made):
    assert effort(made.summary()).startswith("Budget kept: 58.2 s of 1 min.")
    assert effort(made.summary(seconds_total=62)).startswith("Budget exceeded by 2 s: 1 min 2 s of 1 min.")
    assert effort(made.summary(interrupted=True)).startswith("Interrupted after 58.2 s of a 1 min budget.")


@given(recipes)
def test_a_recipe_does_not_differ_from_itself(recipe):
    assert differences(recipe, recipe) == []


@given(recipes, recipes)
def test_every_dose_that_changed_or_came_is_named(recipe, baseline):
    new, old = flatten(recipe), flatten(baseline)
    changed = {path.removesuffix(".kind") for path in new if path not in old or old[path] != new[path]}
    named = {difference.path for difference in differences(recipe, baseline)}
    gone = {path.removesuffix(".kind") for path in old if path not in new}
    assert changed <= named <= changed | gone


def test_doses_of_a_trick_that_was_switched_are_not_listed_as_gone():
    sgd = {"optimizer": {"kind": "sgd", "momentum": 0.9}, "clip": {"norm": 1.0, "value": 2.0}}
    adam = {"optimizer": {"kind": "adam", "beta1": 0.9}, "clip": {"norm": 1.0}}
    assert differences(adam, sgd) == [
        Difference("optimizer", kind=True, old="sgd", new="adam"),
        Difference("optimizer.beta1", kind=False, old=None, new="0.9"),
        Difference("clip.value", kind=False, old="2", new=None),
    ]


def test_differences_are_gathered_by_trick():
    found = differences(
        {"regularize": {"l2": {"kind": "decoupled", "rate": 0.01}}, "batch": {"size": 64}, "seed": 3},
        {"regularize": {"l2": {"kind": "off"}}, "batch": {"size": 256}, "seed": 4},
    )
    assert by_trick(found) == [("regularize.l2", "decoupled, rate 0.01"), ("batch", "size 64"), ("seed", "3")]
