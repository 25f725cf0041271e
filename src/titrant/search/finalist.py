"""A recipe's networks over folds, judged by rows that none of them saw: its temperature, and what it is worth beside others."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from titrant.search.halving import rank
from titrant.train.member import Trained
from titrant.train.metrics import Metric
from titrant.train.problem import Problem, tempered

_PICKS = 12  # finalists that are averaged at most, one that is chosen twice counted twice
_JUDGED = 20_000  # rows that decide on the temperature


@dataclass(frozen=True)
class Finalist:
    """A recipe that was trained again on folds.

    Args:
        networks: one for each fold that was trained.
        weights: the share of each in the mean of their predictions.
        temperatures: by which the logarithms of each one's probabilities are divided.
        rows: the rows that they held out [n], in rising order.
        raw: predictions for those rows before the temperatures, each by the network that never saw it: [n, c] or [n]; of
            several recipes together as `predicted`.
        predicted: the same after them.
        score: of these predictions.
        loss: their plain loss.
    """

    networks: list[Trained]
    weights: list[float]
    temperatures: list[float]
    rows: Tensor
    raw: Tensor
    predicted: Tensor
    score: float
    loss: float

    @classmethod
    def judged(
        cls,
        problem: Problem,
        metric: Metric,
        networks: list[Trained],
        rows: Tensor,
        raw: Tensor,
    ) -> "Finalist":
        """Finds the temperature of a recipe's networks, and scores their predictions for held-out rows; they count alike."""
        order = rows.argsort()
        rows, raw = rows[order], raw[order]
        found = temperature(problem, rows, raw)
        predicted = raw if found == 1 else tempered(raw, found)
        count = len(networks)
        return cls(
            networks, [1 / count] * count, [found] * count, rows, raw, predicted, *_scores(problem, metric, rows, predicted)
        )

    def with_folds_of(self, other: "Finalist", problem: Problem, metric: Metric) -> "Finalist":
        """The same recipe with the networks of further folds."""
        rows, raw = torch.cat([self.rows, other.rows]), torch.cat([self.raw, other.raw])
        return Finalist.judged(problem, metric, [*self.networks, *other.networks], rows, raw)

    def rank(self, metric: Metric) -> tuple[float, float]:
        """Sorts the better before the worse."""
        return rank(metric, self.score, self.loss)


def blended(problem: Problem, metric: Metric, finalists: Sequence[Finalist]) -> Finalist:
    """The best finalist, with others as long as the mean of their predictions scores better on the rows that all held out.

    Source: Caruana et al. 2004, "Ensemble selection from libraries of models": one finalist after another joins, each time the
    one that helps most, the same one perhaps several times. Departure: it stops where none improves the score.

    Args:
        problem: the data.
        metric: who is better.
        finalists: the best first; those that held out other rows than the best are passed over.
    """
    candidates = [one for one in finalists if torch.equal(one.rows, finalists[0].rows)]
    counts = [1] + [0] * (len(candidates) - 1)
    rows, total = candidates[0].rows, candidates[0].predicted
    reached = candidates[0].score, candidates[0].loss
    while sum(counts) < _PICKS:
        means = [(total + one.predicted) / (sum(counts) + 1) for one in candidates]
        scores = [_scores(problem, metric, rows, mean) for mean in means]
        place = min(range(len(candidates)), key=lambda one: rank(metric, *scores[one]))
        if not rank(metric, *scores[place]) < rank(metric, *reached):
            break
        counts[place] += 1
        total, reached = total + candidates[place].predicted, scores[place]
    if sum(counts) == counts[0]:
        return finalists[0]
    chosen = [(one, count / sum(counts)) for one, count in zip(candidates, counts, strict=True) if count]
    return Finalist(
        networks=[network for one, _ in chosen for network in one.networks],
        weights=[share * weight for one, share in chosen for weight in one.weights],
        temperatures=[found for one, _ in chosen for found in one.temperatures],
        rows=rows,
        raw=total / sum(counts),
        predicted=total / sum(counts),
        score=reached[0],
        loss=reached[1],
    )


def temperature(problem: Problem, rows: Tensor, predicted: Tensor) -> float:
    """By what the logarithms of probabilities are divided so that they fit held-out rows best; 1 where that is not certain.

    Each row was predicted by one network, so the temperature is that of single networks and acts on each before their mean,
    which is more even already.

    Source: Guo et al. 2017, "On calibration of modern neural networks". Departure: it stays 1 unless the gain in log loss is
    twice its standard error.

    Args:
        problem: the data; 1 for values.
        rows: that were held out [n]; at most 20,000 of them are looked at.
        predicted: their probabilities [n, c].
    """
    if problem.is_regression or not bool(predicted.isfinite().all()):
        return 1.0
    shown = torch.linspace(0, len(rows) - 1, min(len(rows), _JUDGED)).long().to(rows.device)
    probability = predicted[shown].double()
    target = problem.target[rows[shown]].unsqueeze(-1)

    def losses(logarithm: float) -> Tensor:
        return -tempered(probability, math.exp(logarithm)).gather(-1, target).squeeze(-1).log()

    found = float(minimize_scalar(lambda t: float(losses(t).mean()), bounds=(-2.0, 2.0), method="bounded").x)
    gain = losses(0.0) - losses(found)
    certain = len(gain) > 1 and float(gain.mean()) > 2 * float(gain.std()) / math.sqrt(len(gain))
    return math.exp(found) if certain else 1.0


def _scores(problem: Problem, metric: Metric, rows: Tensor, predicted: Tensor) -> tuple[float, float]:
    """What predictions of some rows score, and their plain loss."""
    target = problem.target[rows]
    score = float(metric.score(problem.flat(predicted), problem.flat(target)))
    return score, float(problem.plain_loss(predicted, target))
