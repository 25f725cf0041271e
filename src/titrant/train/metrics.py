"""Scores of many members at once, on the device.

Predictions are class probabilities [..., n, c] or values [..., n]; targets are [n] or [..., n]; scores are [...]. Every score
equals scikit-learn's of the same name (macro averages for several classes).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from titrant.errors import TitrantError
from titrant.record import Direction, Task
from titrant.texts import say

_SAY = 6.0  # of the loss, for one row


@dataclass(frozen=True)
class Metric:
    """A score: its name, which way is better, and how it is computed.

    Args:
        name: as people write it.
        direction: which way is better.
        regression: whether it judges values.
        score: of predictions and targets.
        counts: whether it counts rows that are right, and is therefore rough on few rows.
        say: of the plain loss where members are ranked, see `heeding`.
    """

    name: str
    direction: Direction
    regression: bool
    score: Callable[[Tensor, Tensor], Tensor]
    counts: bool = False
    say: float = 0.0

    def heeding(self, rows: int) -> "Metric":
        """The same score, for ranking members on so many rows: where it counts rows that are right, the loss has a say.

        On 150 rows the standard error of an accuracy of 0.75 is 0.035, more than most recipes differ by; their log loss tells
        more, as it heeds how sure each prediction is. It counts by 6 / √rows, 1 at most: 0.5 for 150 rows, 0.06 for 10,000.

        Example:
            >>> METRICS["accuracy"].heeding(144).say, METRICS["log_loss"].heeding(144).say
            (0.5, 0.0)
        """
        return replace(self, say=min(1.0, _SAY / max(1, rows) ** 0.5)) if self.counts else self

    def better(self, one: float, other: float) -> bool:
        """True if `one` beats `other`; NaN beats nothing, and anything beats NaN."""
        if one != one:
            return False
        return other != other or (one > other if self.direction == "maximize" else one < other)

    def as_loss(self, score: float) -> float:
        """The score turned so that lower is better."""
        return -score if self.direction == "maximize" else score


def accuracy(probability: Tensor, target: Tensor) -> Tensor:
    """Share of rows whose likeliest class is right."""
    return _poisoned((probability.argmax(-1) == target).float().mean(-1), probability)


def balanced_accuracy(probability: Tensor, target: Tensor) -> Tensor:
    """Mean over the classes that occur of the share of their rows that are right."""
    right, actual, _ = _counts(probability, target)
    there = actual > 0
    return _poisoned((right / actual.clamp(min=1)).sum(-1) / there.sum(-1), probability)


def f1(probability: Tensor, target: Tensor) -> Tensor:
    """F1 of the second class for two classes, else the mean over the classes that occur or are predicted."""
    right, actual, predicted = _counts(probability, target)
    by_class = 2 * right / (actual + predicted).clamp(min=1)
    if probability.shape[-1] == 2:
        return _poisoned(by_class[..., 1], probability)
    there = (actual + predicted) > 0
    return _poisoned(by_class.sum(-1) / there.sum(-1), probability)


def log_loss(probability: Tensor, target: Tensor) -> Tensor:
    """Mean negative log of the probability given to the right class, at least the smallest float32 step above zero."""
    chosen = probability.gather(-1, _like(target, probability).unsqueeze(-1)).squeeze(-1)
    return -chosen.clamp(min=torch.finfo(torch.float32).eps).log().mean(-1)


def roc_auc(probability: Tensor, target: Tensor) -> Tensor:
    """Area under the ROC curve; for several classes the mean of one-against-rest over the classes that occur."""
    target = _like(target, probability)
    classes = [1] if probability.shape[-1] == 2 else range(probability.shape[-1])
    areas = torch.stack([_area(probability[..., c].contiguous(), target == c) for c in classes])
    return _poisoned(areas.nanmean(0), probability)


def rmse(value: Tensor, target: Tensor) -> Tensor:
    """Root of the mean squared error."""
    return (value.double() - target).square().mean(-1).sqrt().float()


def mae(value: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error."""
    return (value - target).abs().mean(-1)


def r2(value: Tensor, target: Tensor) -> Tensor:
    """Share of the target's variance that is explained; of a constant target 1 for a perfect prediction, else 0."""
    wide = target.double()
    residual = (value.double() - wide).square().mean(-1)
    variance = wide.var(-1, correction=0)
    explained = torch.where(variance > 0, 1 - residual / torch.where(variance > 0, variance, 1.0), (residual == 0).double())
    return torch.where(residual.isfinite(), explained, torch.nan).float()


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "maximize", False, accuracy, counts=True),
        Metric("balanced_accuracy", "maximize", False, balanced_accuracy, counts=True),
        Metric("f1", "maximize", False, f1, counts=True),
        Metric("log_loss", "minimize", False, log_loss),
        Metric("roc_auc", "maximize", False, roc_auc),
        Metric("rmse", "minimize", True, rmse),
        Metric("mae", "minimize", True, mae),
        Metric("r2", "maximize", True, r2),
    )
}


def metric_for(task: Task, name: str | None = None) -> Metric:
    """The metric of that name, or the task's own: accuracy for classes, RMSE for values.

    Raises:
        TitrantError: there is no such metric, or it does not fit the task.
    """
    if name is None:
        return METRICS["rmse" if task == "regression" else "accuracy"]
    fitting = [metric.name for metric in fitting_metrics(task)]
    if name not in fitting:
        raise TitrantError(
            say(
                "{name!r} is not a metric for {task}. Choose one of {fitting}.",
                name=name,
                task=task,
                fitting=", ".join(fitting),
            )
        )
    return METRICS[name]


def fitting_metrics(task: Task) -> list[Metric]:
    """All metrics that fit a task."""
    return [metric for metric in METRICS.values() if metric.regression == (task == "regression")]


def _like(target: Tensor, probability: Tensor) -> Tensor:
    return target.expand(probability.shape[:-1])


def _poisoned(score: Tensor, prediction: Tensor) -> Tensor:
    """NaN where any prediction is not finite: a comparison would hide it."""
    return torch.where(prediction.isfinite().flatten(-2).all(-1), score, torch.nan)


def _counts(probability: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows right, rows of the class, rows predicted as it: each [..., c]."""
    classes = torch.arange(probability.shape[-1], device=probability.device)
    predicted = probability.argmax(-1, keepdim=True) == classes
    actual = _like(target, probability).unsqueeze(-1) == classes
    return (predicted & actual).sum(-2).float(), actual.sum(-2).float(), predicted.sum(-2).float()


def _area(score: Tensor, positive: Tensor) -> Tensor:
    """Share of (positive, negative) pairs in the right order, ties counting half; NaN if a side is empty. [..., n] to [...]."""
    negatives = torch.where(positive, torch.inf, score).sort(-1).values
    below = torch.searchsorted(negatives, score) + torch.searchsorted(negatives, score, right=True)
    p, n = positive.sum(-1).double(), (~positive).sum(-1).double()
    pairs = torch.where(positive, below.double() / 2, 0).sum(-1)
    return (pairs / (p * n)).float()
