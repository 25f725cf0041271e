"""Scores of many members at once, each equal to scikit-learn's of the same name."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from titrant.errors import TitrantError
from titrant.train.metrics import METRICS, Metric, fitting_metrics, metric_for


def labels(probability: np.ndarray) -> np.ndarray:
    return probability.argmax(-1)


def reference_roc_auc(target: np.ndarray, probability: np.ndarray) -> float:
    if probability.shape[1] == 2:
        return float(sk.roc_auc_score(target, probability[:, 1]))
    there = [c for c in range(probability.shape[1]) if c in target]
    return float(np.mean([sk.roc_auc_score(target == c, probability[:, c]) for c in there]))


def reference_f1(target: np.ndarray, probability: np.ndarray) -> float:
    average = "binary" if probability.shape[1] == 2 else "macro"
    return float(sk.f1_score(target, labels(probability), average=average, zero_division=0))


OF_CLASSES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": lambda y, p: sk.accuracy_score(y, labels(p)),
    "balanced_accuracy": lambda y, p: sk.balanced_accuracy_score(y, labels(p)),
    "f1": reference_f1,
    "log_loss": lambda y, p: sk.log_loss(y, p, labels=list(range(p.shape[1]))),
    "roc_auc": reference_roc_auc,
}
OF_VALUES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "rmse": sk.root_mean_squared_error,
    "mae": sk.mean_absolute_error,
    "r2": sk.r2_score,
}


@st.composite
def classified(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [k, n, c] with many ties, and targets [n] of at least two classes."""
    classes = draw(st.integers(2, 4))
    rows = draw(st.integers(2, 30))
    members = draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([2, 3, 1000]))
    raw = random.integers(1, levels + 1, (members, rows, classes)).astype(np.float64)
    target = random.integers(0, classes, rows)
    target[:2] = random.permutation(classes)[:2]
    return raw / raw.sum(-1, keepdims=True), target


@st.composite
def valued(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Values [k, n] and targets [n] that are not all alike, at many scales."""
    rows, members = draw(st.integers(2, 30)), draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = 10.0 ** draw(st.integers(-6, 6))
    return scale * random.normal(size=(members, rows)), scale * random.normal(size=rows)


@pytest.mark.parametrize("name", list(OF_CLASSES))
@given(data=classified(), shared=st.booleans())
def test_scores_of_classes_equal_scikit_learn(name: str, data: tuple[np.ndarray, np.ndarray], shared: bool) -> None:
    probability, target = data
    p32 = torch.tensor(probability, dtype=torch.float32)
    y = torch.tensor(target)
    scores = METRICS[name].score(p32, y if shared else y.expand(len(p32), -1))
    assert scores.shape == (len(p32),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that are predicted and do not occur
        # Ties and likeliest classes are those of the numbers as float32.
        expected = [OF_CLASSES[name](target, p.double().numpy()) for p in p32]
    np.testing.assert_allclose(scores.numpy(), expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(METRICS[name].score(p32[0], y).item(), expected[0], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", list(OF_VALUES))
@given(data=valued())
def test_scores_of_values_equal_scikit_learn(name: str, data: tuple[np.ndarray, np.ndarray]) -> None:
    value, target = (torch.tensor(part, dtype=torch.float32) for part in data)
    expected = [OF_VALUES[name](target.double().numpy(), v.double().numpy()) for v in value]
    np.testing.assert_allclose(METRICS[name].score(value, target).numpy(), expected, rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_values_far_from_zero_lose_nothing(offset: float) -> None:
    target = offset + torch.linspace(0, 1, 50)
    value = target + torch.linspace(-0.1, 0.2, 50)
    for name, reference in OF_VALUES.items():
        expected = reference(target.double().numpy(), value.double().numpy())
        assert METRICS[name].score(value, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [5.0, 4.0])
def test_r2_of_a_constant_target_is_that_of_scikit_learn(value: float) -> None:
    target, predicted = np.full(10, 5.0), np.full(10, value)
    score = METRICS["r2"].score(torch.tensor(predicted).float(), torch.tensor(target).float()).item()
    assert score == sk.r2_score(target, predicted)


@pytest.mark.parametrize("name", list(METRICS))
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_sick_member_scores_nothing_and_leaves_the_others(name: str, wrong: float) -> None:
    metric = METRICS[name]
    target = torch.randn(12) if metric.regression else torch.arange(12) % 3
    predicted = torch.randn(3, 12) if metric.regression else torch.randn(3, 12, 3).softmax(-1)
    healthy = metric.score(predicted, target)
    sick = predicted.clone()
    sick[1, 4] = wrong
    scores = metric.score(sick, target)
    assert not scores[1].isfinite()
    assert scores[[0, 2]].tolist() == healthy[[0, 2]].tolist()
    if math.isnan(wrong):
        assert scores[1].isnan()


def test_the_loss_has_a_say_beside_scores_that_count_rows_and_the_less_the_more_rows() -> None:
    for metric in METRICS.values():
        says = [metric.heeding(rows).say for rows in (1, 36, 144, 14_400)]
        assert says == ([1.0, 1.0, 0.5, 0.05] if metric.counts else [0.0] * 4)
        assert metric.heeding(144).better(0.9, 0.8) == metric.better(0.9, 0.8)
    assert {metric.name for metric in METRICS.values() if metric.counts} == {"accuracy", "balanced_accuracy", "f1"}


def test_certain_and_wrong_costs_a_finite_amount() -> None:
    probability = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    expected = sk.log_loss([0, 1], probability.numpy())
    assert METRICS["log_loss"].score(probability, torch.tensor([0, 1])).item() == pytest.approx(expected, rel=1e-5)


def test_area_of_one_class_has_no_value() -> None:
    assert METRICS["roc_auc"].score(torch.rand(2, 5, 2), torch.zeros(5, dtype=torch.int64)).isnan().all()


def test_area_averages_over_the_classes_that_occur() -> None:
    probability = torch.rand(20, 4).softmax(-1)
    target = torch.arange(20) % 3
    expected = np.mean([sk.roc_auc_score(target.numpy() == c, probability[:, c].numpy()) for c in range(3)])
    assert METRICS["roc_auc"].score(probability, target).item() == pytest.approx(expected, rel=1e-5)


@given(one=st.floats(-9, 9) | st.just(math.nan), other=st.floats(-9, 9) | st.just(math.nan))
def test_better_follows_the_direction_and_nan_is_the_worst(one: float, other: float) -> None:
    for metric in METRICS.values():
        expected = not math.isnan(one) and (
            math.isnan(other) or (one > other if metric.direction == "maximize" else one < other)
        )
        assert metric.better(one, other) is expected
        if not math.isnan(one) and not math.isnan(other):
            assert (metric.as_loss(one) < metric.as_loss(other)) is expected


def test_each_task_has_its_metrics() -> None:
    assert metric_for("binary").name == metric_for("multiclass").name == "accuracy"
    assert metric_for("regression").name == "rmse"
    assert {metric.name for metric in fitting_metrics("regression")} == set(OF_VALUES)
    assert {metric.name for metric in fitting_metrics("multiclass")} == set(OF_CLASSES)
    for task, names in (("binary", OF_CLASSES), ("regression", OF_VALUES)):
        for name in names:
            assert metric_for(task, name) == METRICS[name]  # type: ignore[arg-type]  # a task


@pytest.mark.parametrize(("task", "name"), [("binary", "rmse"), ("regression", "accuracy"), ("binary", "acuracy")])
def test_a_metric_that_does_not_fit_is_refused_with_those_that_do(task: Any, name: str) -> None:
    with pytest.raises(TitrantError) as caught:
        metric_for(task, name)
    assert repr(name) in str(caught.value)
    assert metric_for(task).name in str(caught.value)


def test_directions_are_those_of_scikit_learn() -> None:
    """scikit-learn's scorers are better when higher, and say `neg_` where they had to turn a score."""
    scorers = set(sk.get_scorer_names())
    turned = {"log_loss": "neg_log_loss", "rmse": "neg_root_mean_squared_error", "mae": "neg_mean_absolute_error"}
    for name, metric in METRICS.items():
        assert isinstance(metric, Metric)
        assert (metric.direction == "minimize") is (name in turned)
        assert turned.get(name, name) in scorers
