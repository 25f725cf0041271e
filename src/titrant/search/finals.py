"""The finals: the best recipes are trained again on folds of all development rows, and the best of those becomes the model.

Each fold's network learns from the other folds and is judged by its own, so every development row is predicted by a network
that never saw it. That estimate rests on several times more rows than the search's validation part, which guards against a
recipe that only had luck there. The networks of the winning recipe form the final model; their predictions are averaged.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from titrant.clock import Clock
from titrant.models.table import Factory
from titrant.record import MemberRecord
from titrant.search.halving import advanced, record_of, same, stacks
from titrant.search.pace import Pace
from titrant.train.cohort import Cohort
from titrant.train.member import Member, Trained
from titrant.train.metrics import Metric
from titrant.train.problem import Problem


@dataclass(frozen=True)
class Finalist:
    """A recipe that was trained again on folds.

    Args:
        networks: one for each fold that was trained.
        rows: the rows that they held out [n].
        predicted: predictions for those rows, each by the network that never saw it: [n, c] or [n].
        score: of these predictions.
        loss: their plain loss.
    """

    networks: list[Trained]
    rows: Tensor
    predicted: Tensor
    score: float
    loss: float

    @classmethod
    def judged(cls, problem: Problem, metric: Metric, networks: list[Trained], rows: Tensor, predicted: Tensor) -> "Finalist":
        """Scores predictions for held-out rows."""
        target = problem.target[rows]
        loss = float(problem.plain_loss(predicted, target))
        return cls(networks, rows, predicted, float(metric.score(predicted, target)), loss)

    def with_folds_of(self, other: "Finalist", problem: Problem, metric: Metric) -> "Finalist":
        """The same recipe with the networks of further folds."""
        rows, predicted = torch.cat([self.rows, other.rows]), torch.cat([self.predicted, other.predicted])
        return Finalist.judged(problem, metric, [*self.networks, *other.networks], rows, predicted)


class Final:
    """One recipe's networks over folds, about to be trained.

    Args:
        problem: the data.
        members: one for each fold, with the fold's rows held out.
        metric: what is measured on held-out rows.
        clock: when to end at the latest.
        factory: the network of `model: custom`.
        pace: how cohorts are laid out; what is usual if None.

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
    ) -> None:
        self.problem = problem
        self.metric = metric
        self.clock = clock
        self.factory = factory
        self.folds = len(members)
        self._pace = pace or Pace.usual(problem.device, members)
        self._stacks = stacks(members, problem, self._pace)
        self._cohorts: list[Cohort] = []

    def begin(self, share: float) -> float:
        """Trains the first steps, a share of all of them, and returns the seconds that the others will take."""
        begun = time.monotonic()
        self._train(0.0)
        made = time.monotonic()
        self._train(share)
        moved = made - begun if self._pace.workers else 0.0  # between processes; at the end once more
        return (time.monotonic() - made) * (1 - share) / share + moved

    def run(self) -> tuple[Finalist | None, list[MemberRecord]]:
        """Trains to the end and scores the held-out rows.

        Returns:
            None in place of the finalist if the clock cut the training short, because its networks then stand in the middle of
            their schedules, or if no network is usable; and the records of what was trained.
        """
        whole = self._train(1.0)
        records = [record_of(cohort, k, "interrupted") for cohort in self._cohorts for k in range(len(cohort.members))]
        return _finalist(self.problem, self._cohorts, self.metric) if whole else None, records

    def _train(self, share: float) -> bool:
        """Trains all stacks side by side to a share of their steps; False if the clock rang first."""
        makes: list[Callable[[], Cohort]] = [partial(same, cohort) for cohort in self._cohorts] or [
            partial(Cohort, self.problem, stack, self.metric, self.clock, self.factory) for stack in self._stacks
        ]
        turns = [partial(advanced, place, made, share, self.clock) for place, made in enumerate(makes)]
        found = sorted(self._pace.side_by_side(turns, len(turns)), key=lambda turn: turn[0])
        self._cohorts = [cohort for _, cohort, _ in found]
        return all(in_time for _, _, in_time in found)


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
