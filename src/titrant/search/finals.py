"""The finals: the best recipes are trained again on folds of all development rows, and the best of those becomes the model.

Each fold's network learns from the other folds and is judged by its own, so every development row is predicted by a network
that never saw it. That estimate rests on several times more rows than the search's validation part, which guards against a
recipe that only had luck there. The networks of the winning recipe form the final model, with those of others where the mean of
both predicts better; their predictions are averaged, each network's probabilities first scaled by a temperature that those rows
decide.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from titrant.clock import Clock
from titrant.models.network import Factory
from titrant.record import MemberRecord
from titrant.search.halving import advanced, rank, record_of, same, stacks
from titrant.search.pace import Pace
from titrant.train.cohort import Cohort
from titrant.train.member import Member, Trained
from titrant.train.metrics import Metric
from titrant.train.problem import Problem, tempered

_PICKS = 12  # finalists that are averaged at most, one that is chosen twice counted twice
_PACED = 3  # steps, at least, by which the pace of a training is measured
_JUDGED = 20_000  # rows that decide on the temperature


@dataclass(frozen=True)
class Finalist:
    """A recipe that was trained again on folds.

    Args:
        networks: one for each fold that was trained.
        weights: the share of each in the mean of their predictions.
        temperatures: by which the logarithms of each one's probabilities are divided.
        rows: the rows that they held out [n], in rising order.
        raw: predictions for those rows before the temperatures, each by the network that never saw it: [n, c] or [n].
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
        raw=sum((share * one.raw for one, share in chosen), torch.zeros(())),
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
    if problem.is_regression:
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


class Final:
    """One recipe's networks over folds, about to be trained.

    Args:
        problem: the data.
        members: one for each fold, with the fold's rows held out.
        metric: what is measured on held-out rows.
        clock: when to end at the latest.
        factory: the network of `model: custom`.
        pace: how cohorts are laid out; what is usual if None.
        cut_short: True takes networks as they are when the clock rings.

    Attributes:
        folds: how many networks will be trained.
    """

    def __init__(
        self,
        problem: Problem,
        members: Sequence[Member],
        metric: Metric,
        clock: Clock,
        factory: Factory | None = None,
        pace: Pace | None = None,
        cut_short: bool = False,
    ) -> None:
        self.problem = problem
        self.cut_short = cut_short
        self.metric = metric
        self.clock = clock
        self.factory = factory
        self.folds = len(members)
        self._pace = pace or Pace.usual(problem.device, [member.recipe for member in members])
        self._stacks = stacks(members, problem, self._pace)
        self._cohorts: list[Cohort] = []

    def begin(self, share: float) -> float:
        """Trains the first steps, a share of all of them, and returns the seconds that the others will take."""
        begun = time.monotonic()
        self._train(0.0)
        made = time.monotonic()
        turns = [partial(_begun, place, cohort, share, self.clock) for place, cohort in enumerate(self._cohorts)]
        found = sorted(self._pace.side_by_side(turns, len(turns)), key=lambda turn: turn[0])
        self._cohorts = [cohort for _, cohort, _ in found]
        moved = made - begun if self._pace.workers else 0.0  # between processes; at the end once more
        return sum(seconds for _, _, seconds in found) / min(self._pace.lanes, len(found)) + moved

    def run(self) -> tuple[Finalist | None, list[MemberRecord]]:
        """Trains to the end and scores the held-out rows.

        Returns:
            None in place of the finalist if the clock cut the training short, because its networks then stand in the middle of
            their schedules, or if no network is usable; and the records of what was trained.
        """
        whole = self._train(1.0)
        records = [
            record_of([(cohort, k)], "interrupted", history.best, history.best_loss)
            for cohort in self._cohorts
            for k, history in enumerate(cohort.histories)
        ]
        return _finalist(self.problem, self._cohorts, self.metric) if whole or self.cut_short else None, records

    def _train(self, share: float) -> bool:
        """Trains all stacks side by side to a share of their steps; False if the clock rang first."""
        makes: list[Callable[[], Cohort]] = [partial(same, cohort) for cohort in self._cohorts] or [
            partial(Cohort, self.problem, stack, self.metric, self.clock, self.factory) for stack in self._stacks
        ]
        turns = [partial(advanced, place, made, share, self.clock) for place, made in enumerate(makes)]
        found = sorted(self._pace.side_by_side(turns, len(turns)), key=lambda turn: turn[0])
        self._cohorts = [cohort for _, cohort, _ in found]
        return all(in_time for _, _, in_time in found)


def _begun(place: int, cohort: Cohort, share: float, clock: Clock) -> tuple[int, Cohort, float]:
    """A cohort after a share of its steps, perhaps in another process, and the seconds that all the rest will take."""
    last = cohort.steps - 1  # is left to the training itself, which evaluates after it
    cohort.train(min(1, last), clock)  # the first step takes longer than those that follow
    pace = cohort.paced(min(last, max(cohort.step + _PACED, math.ceil(cohort.steps * share))), clock)
    return place, cohort, pace * cohort.work(cohort.step, cohort.steps) + cohort.judging()


def _finalist(problem: Problem, cohorts: Sequence[Cohort], metric: Metric) -> Finalist | None:
    networks: list[Trained] = []
    predictions: list[Tensor] = []
    rows: list[Tensor] = []
    for cohort in cohorts:
        for k, member in enumerate(cohort.members):
            if math.isfinite(cohort.histories[k].best_loss):
                networks.append(cohort.trained(k))
                predictions.append(cohort.held_out_predictions(k))
                rows.append(member.held_out[: len(predictions[-1])])
    return Finalist.judged(problem, metric, networks, torch.cat(rows), torch.cat(predictions)) if networks else None
