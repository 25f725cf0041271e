import json
import re

import numpy as np
import plotly.graph_objects as go
import pytest

from titrant.report import charts


def checked(figure):
    """The figure as Plotly's own classes accept it, each colour name replaced by a colour."""
    return go.Figure(json.loads(re.sub(r"var\(--[a-z]+\)", "#123456", json.dumps(figure, allow_nan=False))))


@pytest.fixture
def members(made):
    return [made.member(number, "binary") for number in range(40)]


def test_the_history_holds_every_scored_member_and_the_running_best(members):
    figure = checked(charts.history(members, "maximize", "roc_auc"))
    best, *marks = figure.data
    scored = [member for member in members if member.score_validation is not None]
    assert sorted(score for trace in marks for score in trace.y) == sorted(member.score_validation for member in scored)
    assert len({trace.marker.symbol for trace in marks}) == len(marks) == 4
    assert list(best.x) == sorted(best.x)
    by_time = sorted((second, score) for trace in marks for second, score in zip(trace.x, trace.y, strict=True))
    np.testing.assert_array_equal(best.y, np.maximum.accumulate([score for _, score in by_time]))


def test_the_history_of_an_error_runs_downwards(made):
    members = [made.member(number, "regression") for number in range(20)]
    best = checked(charts.history(members, "minimize", "rmse")).data[0]
    assert (np.diff(best.y) <= 0).all()


@pytest.mark.parametrize("bad", [1e6, -1e6])
def test_one_bad_recipe_does_not_flatten_the_rest(members, bad):
    point = members[3].curve[0].model_copy(update={"score_validation": bad})
    members[3] = members[3].model_copy(update={"curve": [point]})
    figure = charts.history(members, "minimize" if bad > 0 else "maximize", "roc_auc")
    low, high = figure["layout"]["yaxis"]["range"]
    assert high - low < 1
    assert charts.outside(figure) >= 1


def test_no_score_means_no_history(members):
    assert charts.history([], "maximize", "roc_auc") is None
    assert charts.history([member for member in members if member.state == "diverged"], "maximize", "roc_auc") is None


def test_equal_scores_are_shown_in_a_range_that_plotly_chooses(members):
    figure = charts.history(members[:1], "maximize", "roc_auc")
    assert figure["layout"]["yaxis"]["range"] is None
    assert charts.outside(figure) == 0


def test_learning_curves_follow_the_records(members):
    loss, score = charts.learning_curves([("best", members[4]), ("<b>", members[0])], "roc_auc")
    assert list(checked(loss).data[1].y) == [point.loss_train for point in members[4].curve]
    assert list(checked(score).data[1].y) == [point.score_validation for point in members[0].curve]
    assert loss["data"][2]["name"] == "&lt;b&gt;"
    assert "type" not in loss["layout"]["yaxis"]


def test_losses_of_several_magnitudes_get_a_logarithmic_axis(members):
    curve = [point.model_copy(update={"loss_train": 10.0**-point.epoch}) for point in members[4].curve[:4]]
    loss, _ = charts.learning_curves([("best", members[4].model_copy(update={"curve": curve}))], "roc_auc")
    assert checked(loss).layout.yaxis.type == "log"


def test_a_diverged_curve_without_numbers_can_be_drawn(members):
    for figure in charts.learning_curves([("diverged", members[8])], "roc_auc"):
        assert checked(figure).data[0].y[0] is None


def test_every_residual_is_counted_once(made):
    evaluation = made.evaluation("regression")
    scatter, residuals = map(checked, charts.predicted_against_truth(evaluation))
    assert list(scatter.data[1].x) == evaluation.truth
    assert sum(residuals.data[0].y) == len(evaluation.truth)
    mean = np.average(residuals.data[0].x, weights=residuals.data[0].y)
    assert mean == pytest.approx(np.mean(np.subtract(evaluation.truth, evaluation.predicted)), abs=0.02)


def test_reliability_shows_each_bin(made):
    figure = checked(charts.reliability(made.evaluation("binary")))
    assert list(zip(figure.data[1].x, figure.data[1].y, strict=True)) == [
        bin[:2] for bin in made.evaluation("binary").reliability
    ]
