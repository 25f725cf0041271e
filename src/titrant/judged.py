"""How models did on rows that no choice has seen: scores, their intervals, and what the report shows of single rows."""

import math

import numpy as np
import torch
from torch import Tensor

from titrant.data.learnable import Learnable, truth_of
from titrant.data.series import Series
from titrant.predictor import Predictor
from titrant.record import Evaluation, finite
from titrant.report.lines import forecasts
from titrant.report.mistakes import mistakes
from titrant.train.hardware import threads
from titrant.train.metrics import Metric, fitting_metrics

_RESAMPLES = 500
_SAMPLE = 2000  # test rows drawn in the report's scatter plot
_BINS = 10

Ends = tuple[float, float] | None
"""The ends of an interval, if there is one."""


def evaluated(
    dataset: Learnable, metric: Metric, predictor: Predictor, baseline: Predictor | None
) -> tuple[Evaluation, tuple[Ends, Ends]]:
    """What the models did on test rows; the interval of the score, and that of its gain over the baseline's."""
    rows = dataset.split.test
    if len(rows) == 0:
        return Evaluation(metrics={}), (None, None)
    truth = truth_of(dataset)[rows]
    inputs = [tensor[rows] for tensor in dataset.inputs]
    predicted = predictor.raw(*inputs)
    plain = None if baseline is None else baseline.raw(*inputs)
    evaluation = Evaluation(
        metrics=_scores(predicted, truth, dataset),
        metrics_baseline={} if plain is None else _scores(plain, truth, dataset),
        recipe_baseline=None if baseline is None else baseline.recipes[0].plain(),
    )
    if predictor.classifies:
        classes = len(dataset.schema.classes)
        hit = predicted.argmax(1)
        counts = torch.bincount(truth * classes + hit, minlength=classes**2).view(classes, classes)
        evaluation = evaluation.model_copy(
            update={
                "confusion": counts.tolist(),
                "reliability": _reliability(predicted, truth),
                "mistakes": mistakes(dataset, rows, predicted),
            }
        )
    else:
        most = max(1, _SAMPLE // truth[:1].numel())
        shown = torch.linspace(0, len(rows) - 1, min(len(rows), most)).long()
        sample = {"truth": truth[shown].flatten().tolist(), "predicted": predicted[shown].flatten().tolist()}
        evaluation = evaluation.model_copy(update=sample)
        if isinstance(dataset, Series):
            evaluation = evaluation.model_copy(update=forecasts(dataset, rows, predicted, predictor.band))
    with threads(1):  # small operations, for which threads only wait for one another
        return evaluation, intervals(metric, predicted, plain, truth)


def _scores(predicted: Tensor, truth: Tensor, dataset: Learnable) -> dict[str, float | None]:
    return {metric.name: finite(_score(metric, predicted, truth)) for metric in fitting_metrics(dataset.schema.task)}


def _score(metric: Metric, predicted: Tensor, truth: Tensor) -> float:
    """A score; several values of a row count like rows."""
    return float(metric.score(predicted.flatten(), truth.flatten()) if metric.regression else metric.score(predicted, truth))


def _reliability(predicted: Tensor, truth: Tensor) -> list[tuple[float, float, int]]:
    """(mean confidence, share right, rows) in equal bins of confidence."""
    confidence, hit = predicted.max(1)
    bins = (confidence * _BINS).long().clamp(max=_BINS - 1)
    found = []
    for place in range(_BINS):
        mine = bins == place
        if mine.any():
            found.append((float(confidence[mine].mean()), float((hit == truth)[mine].float().mean()), int(mine.sum())))
    return found


def intervals(metric: Metric, predicted: Tensor, plain: Tensor | None, truth: Tensor) -> tuple[Ends, Ends]:
    """95 % percentile bootstrap over the test rows, of a score and of its gain over the baseline's on the same resamples.

    The gain's interval is narrower than those of the two scores, because rows that are hard for one are hard for the other.
    Fewer resamples where rows are many and the intervals are narrow. Resamples of rows that are all right are all right
    too, which says nothing of rows to come: such an accuracy has the exact interval of Clopper and Pearson (1934), and another
    score has none.
    """

    generator = torch.Generator().manual_seed(0)
    resamples = max(100, min(_RESAMPLES, 4_000_000 // max(1, predicted.numel())))
    scores, gains = [], []
    for _ in range(resamples):
        drawn = torch.randint(len(truth), (len(truth),), generator=generator)
        scores.append(_score(metric, predicted[drawn], truth[drawn]))
        if plain is not None:
            gains.append(metric.as_loss(_score(metric, plain[drawn], truth[drawn])) - metric.as_loss(scores[-1]))
    ends = _ends(scores, resamples)
    if ends is not None and ends[0] == ends[1]:
        ends = _exact(ends[0], len(truth)) if metric.name == "accuracy" else None
    return ends, _ends(gains, resamples)


def _exact(share: float, rows: int) -> Ends:
    """The interval of a share of rows that is 0 or 1; None for another, which one row alone can have."""
    low = 0.025 ** (1 / rows)
    return {0.0: (0.0, 1 - low), 1.0: (low, 1.0)}.get(share)


def _ends(values: list[float], resamples: int) -> Ends:
    """The middle 95 % of values; None if half of them or more are missing."""
    known = [value for value in values if math.isfinite(value)]
    if 2 * len(known) <= resamples:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
