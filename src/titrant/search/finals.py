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
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from titrant.clock import Clock
from titrant.models.network import Factory
from titrant.recipe import Recipe
from titrant.record import MemberRecord
from titrant.search.finalist import Finalist
from titrant.search.halving import Tried, advanced, rank, record_of, same, stacks
from titrant.search.pace import Pace
from titrant.search.starts import Plan
from titrant.train.cohort import Cohort, batch_sizes
from titrant.train.member import Member, Trained
from titrant.train.metrics import Metric
from titrant.train.problem import Problem
from titrant.tricks.acting import derived_seed

_BEGUN = 0.02  # share of a finalist's steps after which it is clear how long it will take
_SHORTEST = 0.25  # share of its searched length to which a finalist's training may be cut
_CONTENDERS = 6  # recipes that meet in the finals at most
_ATTEMPTS = 3  # at finding the length of training that fits a finalist
_LAST_RESORT = 0.85  # share of what would fit that a finalist trains for if all attempts were too long
_PACED = 3  # steps, at least, by which the pace of a training is measured

Part = tuple[Tensor, Tensor, dict[str, int] | None]
"""Rows to learn from, rows to be judged by, and which fold they are, see `titrant.train.member.Member`."""

CAUTION = 0.93
"""Share of the remaining time that a finalist may plan with."""


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


@dataclass(frozen=True)
class Contender:
    """What became of a contender: where it stood in the search, its networks, and seconds for each fold."""

    leader: Tried
    finalist: Finalist
    seconds: float


@dataclass
class Finals:
    """Who comes to the finals, over how many folds, and how long each trains, so that the clock is kept.

    Args:
        problem: all development rows.
        parts: their folds: others than those of the search, by which the recipes were chosen.
        metric: who is better in the search.
        judging: who is better by predictions of all development rows.
        clock: when to end at the latest.
        plan: how a search on such data divides its time.
        pace: how cohorts are laid out.
        factory: the network of `model: custom`.
        seed: of all random choices.
        length: share of their recipes' length that trainings had in the search.
        number: from which final trainings are counted.
        fewest: networks at least; fewer are not worth it.
        timed: False trains the best recipe alone, and does not look at the clock.
        whole: whether it then trains over all folds, as a person has asked for.
        best: the search's best network.
        tell: is told how many folds are trained next.
        records: takes what was trained, recipe after recipe.
    """

    problem: Problem
    parts: Sequence[Part]
    metric: Metric
    judging: Metric
    clock: Clock
    plan: Plan
    pace: Pace
    factory: Factory | None
    seed: int
    length: float
    number: int
    fewest: int
    timed: bool
    whole: bool
    best: Trained | None
    tell: Callable[[int], None]
    records: list[MemberRecord]

    def run(self, leaders: Sequence[Tried]) -> list[Contender]:
        """Trains the best recipes in turn, over as many folds as the time allows, while there is time for another.

        Where there is no time for all folds of the leader, only the plain baseline contends: more folds of the leader are worth
        more than a closer look at the next best.
        """
        found: list[Contender] = []
        places = len(self.parts) if self.timed or self.whole else min(len(self.parts), self.plan.folds)
        for leader in self._contenders(leaders):
            if found and places < len(self.parts) and leader.member.origin != "baseline":
                continue
            self.tell(places)
            ready = self._affordable(leader, places, first=not found)
            if ready is None:
                continue
            begun = time.monotonic()
            places = ready.folds
            finalist, records = ready.run()
            self.records += records
            if finalist is not None:
                found.append(Contender(leader, finalist, (time.monotonic() - begun) / places))
        if self.plan.lengthens and self.best is not None:  # one that the clock cut short may be worse than what there is
            found = [one for one in found if one.finalist.rank(self.metric) <= rank_of(self.best, self.metric)]
        found.sort(key=lambda one: one.finalist.rank(self.judging))
        if found and self.timed:
            found[0] = self._with_more_folds(found[0], places)
        return found

    def _with_more_folds(self, winner: Contender, places: int) -> Contender:
        """The winner, trained over as many of the remaining folds as the time that is left allows."""
        # Fewer folds than before take less time, but not in proportion: the fixed cost of a step stays.
        affordable = int(CAUTION * self.clock.left / max(winner.seconds, 1e-6))
        more = range(places, min(len(self.parts), places + affordable))
        if not more or (len(more) < places / 2 and winner.seconds * places / 2 > CAUTION * self.clock.left):
            return winner
        self.tell(len(more))
        recipe = winner.finalist.networks[0].member.recipe
        members = [self._member(winner.leader, recipe, fold) for fold in more]
        finalist, records = Final(self.problem, members, self.metric, self.clock, self.factory, self.pace).run()
        self.records += records
        if finalist is None:
            return winner
        return replace(winner, finalist=winner.finalist.with_folds_of(finalist, self.problem, self.metric))

    def _contenders(self, leaders: Sequence[Tried]) -> list[Tried]:
        """The best recipes; the plain baseline comes second, so that the model loses to it only by chance."""
        usable = [one for one in leaders if math.isfinite(one.loss)]
        if not self.timed or not self.plan.rivals:
            return usable[:1]
        if self.plan.varied:
            families = [(one.member.recipe.model.kind, one.member.recipe.data.features.kind) for one in usable]
            firsts = [one for place, one in enumerate(usable) if families[place] not in families[:place]]
            usable = [*firsts, *(one for one in usable if one not in firsts)]
        plain = [one for one in usable[1:] if one.member.origin == "baseline" and not self.plan.varied]
        return [*usable[:1], *plain, *(one for one in usable[1:] if one not in plain)][:_CONTENDERS]

    def _affordable(self, leader: Tried, places: int, *, first: bool) -> Final | None:
        """A recipe in training over folds, within the time that is left; None if it would take too long.

        The first one may have fewer folds or a shorter training to fit; later ones are compared with it on the same folds, and
        train as long as their recipe says, or shorter where networks of other kinds are wanted (`Plan.varied`).
        """
        if places < self.fewest:
            return None
        recipe = leader.member.recipe
        if not self.timed:
            return self._final(leader, recipe, places)
        shortest, yields = _SHORTEST, first or self.plan.varied
        if self.plan.lengthens and leader.member.origin != "given":
            recipe, shortest = shortened(recipe, 1 / self.length), _SHORTEST * self.length
        lanes = self.pace.lanes
        fold = self._seconds_of_a_fold(leader, recipe, lanes)
        share = CAUTION * (self.plan.first_final if first else 1.0)
        if fold * places > share * self.clock.left:
            if not yields:
                return None
            if first:
                affordable = max(self.fewest, int(share * self.clock.left / fold))
                places = min(places, math.ceil(affordable / lanes) * lanes)  # a lane that idles costs as much
        length = min(1.0, CAUTION * self.clock.left / (fold * places))
        # What a step took in the search, in other company, is a guess; the folds' own first steps are not.
        for attempt in range(_ATTEMPTS):
            if length < shortest:
                return None
            final = self._final(leader, shortened(recipe, length), places)
            fits = CAUTION * self.clock.left / max(final.begin(_BEGUN), 1e-9)
            last = not yields or attempt == _ATTEMPTS - 1
            if fits >= 1.0 and (last or length >= 1.0 or fits < self.plan.worthwhile):
                return final
            if not yields:
                return None
            fewer = min(places, math.ceil(self.fewest / lanes) * lanes) if fits < 1.0 and first else places
            length, places = min(1.0, length * 0.98 * fits * places / fewer), fewer
        return self._final(leader, shortened(recipe, _LAST_RESORT * length), places) if first else None

    def _final(self, leader: Tried, recipe: Recipe, places: int) -> Final:
        members = [self._member(leader, recipe, fold) for fold in range(places)]
        return Final(self.problem, members, self.metric, self.clock, self.factory, self.pace, self.plan.lengthens)

    def _seconds_of_a_fold(self, leader: Tried, recipe: Recipe, lanes: int) -> float:
        """What one of many folds will cost: its encoding, measured on the first, and the leader's own pace."""
        begun = time.monotonic()
        learned, _, _ = self.parts[0]
        self.problem.encoded(leader.member.recipe.data, learned)
        made = time.monotonic() - begun
        step = leader.record.seconds / max(1, len(leader.record.folds)) / max(1, leader.record.steps)
        return made + step * len(batch_sizes(recipe, len(learned))) / lanes

    def _member(self, leader: Tried, recipe: Recipe, fold: int) -> Member:
        number = leader.member.number
        seed = derived_seed(self.seed, "final", number, fold)
        return Member(self.number + len(self.parts) * number + fold, recipe, seed, "refit", *self.parts[fold])


def rank_of(trained: Trained, metric: Metric) -> tuple[float, float]:
    """Sorts the better network before the worse."""
    return rank(metric, trained.history.best, trained.history.best_loss)


def shortened(recipe: Recipe, length: float) -> Recipe:
    """The recipe with its training at a share `length` of its epochs; the schedule shrinks or grows with it."""
    if length == 1.0:
        return recipe
    return recipe.replace("stop.epochs", max(0.01, float(f"{recipe.stop.epochs * length:.3g}")))


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
