"""A contest of arms: their costs, the tuning of each, and replicates of all, within a time.

measure    what a step of each arm takes
plan       how long, on how many rows, with how many candidates and replicates the time allows
tune       candidates of every arm on tuning rows; the better half, then the best one, goes on
compare    replicates of the arms, judged on rows that nothing above has seen
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from titrant.errors import BudgetError
from titrant.evidence.arms import candidates
from titrant.evidence.records import Difference
from titrant.evidence.statistics import Estimate
from titrant.evidence.training import Costs, Job, Outcome, Trainings
from titrant.recipe import Recipe
from titrant.record import Point, finite
from titrant.texts import say
from titrant.train.metrics import Metric

REPLICATES = 32
"""Replicates of each arm at most: enough to see, among eight tricks, a gain of one standard deviation between seeds."""

_TUNING = 1_000_000  # the number of the first replicate that tunes
_MORE = 2  # replicates of the better half of the candidates
_FEWEST = 2  # replicates that tell anything
_USED = 0.9  # share of the time that a plan may fill
_TUNING_SHARE = 2 / 3  # of the time that is left, at most: costs may be measured too low, and arms must be judged
_MEASURING = 0.03  # share of the time after which no further pass begins
_PASSES = 3  # over the arms, to measure what their steps take
_PLANS = [  # what to give up first as time gets short: (length, share of rows, candidates, replicates at least)
    *((length, 1.0, 6, 12) for length in (1.0, 0.7, 0.5)),
    *((length, 1.0, 4, 8) for length in (0.7, 0.5, 0.35)),
    *((0.35, share, 4, 6) for share in (1.0, 0.5, 0.25)),
    *((0.35, share, 2, 4) for share in (0.5, 0.25, 0.125)),
    (0.2, 0.125, 1, 3),
]


@dataclass(frozen=True)
class Plan:
    """How a contest spends its time.

    Args:
        length: share of the recipe's epochs that arms are trained for.
        share: of the training rows.
        candidates: settings of the nuisance doses for each arm; 0 where nothing is tuned.
        replicates: of each arm.
    """

    length: float
    share: float
    candidates: int
    replicates: int


def tuning_trainings(count: int) -> int:
    """Trainings that choosing among so many candidates takes.

    Example:
        >>> tuning_trainings(1), tuning_trainings(6)
        (0, 12)
    """
    return 0 if count == 1 else count + _MORE * math.ceil(count / 2)


def planned(seconds: float, each: Sequence[float], replicates: int = REPLICATES) -> Plan:
    """The most careful plan that the time allows.

    Args:
        seconds: that all lanes together have.
        each: seconds of one whole training of each arm in one lane.
        replicates: at most.

    Raises:
        BudgetError: there is no time for three replicates of every arm on an eighth of the rows.

    Example:
        >>> planned(1000.0, [1.0] * 20)
        Plan(length=1.0, share=1.0, candidates=6, replicates=32)
        >>> planned(100.0, [1.0] * 20)
        Plan(length=0.35, share=0.5, candidates=4, replicates=17)
    """
    whole = sum(each)
    for length, share, count, least in _PLANS:
        found = math.floor(_USED * seconds / (whole * length * share) - tuning_trainings(count))
        if found >= min(least, replicates):
            return Plan(length, share, count, min(found, replicates))
    length, share, count, least = _PLANS[-1]
    needed = whole * length * share * (tuning_trainings(count) + least) / (_USED * max(seconds, 1e-9))
    raise BudgetError(
        say("There is no time to train each of {arms} arms at least {trainings} times, a shortened training on an eighth of "
            "the rows each: that takes about {times:.1f} times as long. Compare less at once, or give more time.",
            arms=len(each), trainings=tuning_trainings(count) + least, times=math.ceil(10 * needed + 1) / 10)
    )  # fmt: skip


@dataclass
class Contest:
    """Arms that are tuned alike and meet the same replicates.

    Args:
        trainings: trains and judges.
        arms: their recipes by name.
        watch: is told (phase, arms, trainings done).
        part: of the time that is left, how much the contest may take.

    Attributes:
        costs: by arm, once measured.
        tuned: their recipes with what was tuned, once it was.
        outcomes: by arm and replicate.
    """

    trainings: Trainings
    arms: dict[str, Recipe]
    watch: Callable[[str, int, int], None]
    part: float = 1.0
    costs: dict[str, Costs] = field(default_factory=dict)
    tuned: dict[str, Recipe] = field(default_factory=dict)
    outcomes: dict[str, dict[int, Outcome]] = field(default_factory=lambda: defaultdict(dict))
    _end: float = math.inf
    _cut_short: bool = False

    def measure(self) -> None:
        """Measures what training each arm takes, in passes over all of them, so that a slow moment hits no arm alone."""
        self.watch(say("measuring costs"), len(self.arms), 0)
        self.trainings.settle(next(iter(self.arms.values())))
        until = time.monotonic() + _MEASURING * self.trainings.clock.left
        for place in range(_PASSES):
            if place and time.monotonic() > until:
                break
            for name, arm in self.arms.items():
                found = self.trainings.cost(arm)
                self.costs[name] = found.least(self.costs.get(name, found))

    def plan(self, replicates: int) -> Plan:
        """The plan for the time that is left; the arms are shortened accordingly.

        Raises:
            BudgetError: the time is too short.
        """
        self._end = time.monotonic() + self.part * self.trainings.clock.left
        seconds = self._left * self.trainings.pace.lanes
        plan = planned(seconds, [self.costs[name].training for name in self.arms], replicates)
        self.trainings.use(plan.share)
        self.arms = {name: of_length(arm, plan.length) for name, arm in self.arms.items()}
        return plan

    @property
    def _left(self) -> float:
        """Seconds until the contest should be over, none after an interrupt."""
        return min(self.trainings.clock.left, self._end - time.monotonic())

    def tune(self, paths: Sequence[str], plan: Plan) -> Plan:
        """Chooses each arm's nuisance doses by its scores on tuning rows.

        Returns:
            The plan with the replicates that fit in the time that is left, at the pace that the tuning had; with one candidate
            where there was no time to choose among them.
        """
        begun = time.monotonic()
        left = self._left
        settings = {name: candidates(arm, paths, plan.candidates, self.trainings.seed) for name, arm in self.arms.items()}
        standing: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
        alive = {name: list(range(len(found))) for name, found in settings.items()}
        clock = self.trainings.clock.before_end(self.trainings.clock.left - _TUNING_SHARE * left)
        for numbers in ([0], range(1, 1 + _MORE)) if plan.candidates > 1 else ():
            entries = [(name, place, number) for number in numbers for name, places in alive.items() for place in places]
            jobs = [self._job(name, settings[name][place], _TUNING + number) for name, place, number in entries]
            outcomes = self.trainings.run(jobs, lambda done: self.watch(say("tuning"), len(self.arms), done), clock)
            ended = [outcome for outcome in outcomes if outcome is not None]
            self._cut_short = len(ended) < len(jobs)
            if self._cut_short:  # a choice among what ended by chance is not alike for all arms: the last whole round decides
                break
            for (name, place, _), outcome in zip(entries, ended, strict=True):
                standing[name, place].append(_rank(self.trainings.metric, outcome))
            for name, places in alive.items():
                ranks = {place: _mean_rank(standing[name, place]) for place in places}
                alive[name] = sorted(places, key=ranks.__getitem__)[: math.ceil(plan.candidates / 2)]
        self.tuned = {name: settings[name][places[0]] for name, places in alive.items()}
        lanes = self.trainings.pace.lanes
        round_ = sum(self.costs[name].training for name in self.arms) * plan.length * plan.share / lanes
        if plan.candidates > 1:
            round_ = (time.monotonic() - begun) / tuning_trainings(plan.candidates)  # evaluations and all
        fits = math.floor(_USED * self._left / max(round_, 1e-9))
        chosen = plan.candidates if standing else 1
        return replace(plan, candidates=chosen, replicates=max(_FEWEST, min(plan.replicates, fits)))

    def _job(self, name: str, recipe: Recipe, replicate: int) -> Job:
        return Job(recipe, replicate, self.costs[name].training)

    def compare(self, names: Iterable[str], replicates: range) -> None:
        """Trains replicates of arms and judges them; those that the clock does not let end are missing.

        The first two come before the others, so that an early end leaves something to conclude from.
        """
        arms = list(names)
        first = max(0, _FEWEST - replicates.start)
        for part in filter(None, (replicates[:first], replicates[first:])):
            entries = [(name, replicate) for replicate in part for name in arms]
            jobs = [self._job(name, self.tuned[name], replicate) for name, replicate in entries]
            outcomes = self.trainings.run(jobs, lambda done: self.watch(say("comparing"), len(self.arms), done))
            for (name, replicate), outcome in zip(entries, outcomes, strict=True):
                if outcome is not None:
                    self.outcomes[name][replicate] = outcome

    def common(self, one: str, other: str) -> list[int]:
        """Replicates that both arms have."""
        return sorted(self.outcomes[one].keys() & self.outcomes[other].keys())

    def gain(self, *parts: tuple[str, float]) -> Estimate:
        """A contrast of arms, such as one arm over another, paired over the replicates that all of them have.

        Args:
            parts: arms and their weights: `("a", 1), ("b", -1)` is the gain of a over b; above zero is better.
        """
        numbers = sorted(set.intersection(*(set(self.outcomes[name]) for name, _ in parts)))
        return self.trainings.contrast([[(self.outcomes[name][r], weight) for name, weight in parts] for r in numbers])

    def over(self, one: str, other: str) -> Estimate:
        """How much better one arm scores than another."""
        return self.gain((one, 1.0), (other, -1.0))

    def score(self, name: str) -> Estimate:
        """An arm's score by itself, in the metric's own direction."""
        sign = 1.0 if self.trainings.metric.direction == "maximize" else -1.0
        return self.gain((name, sign))

    @property
    def _interrupted(self) -> bool:
        interrupt = self.trainings.clock.interrupt
        return interrupt is not None and interrupt.asked

    def described(self, plan: Plan, paths: list[str]) -> dict[str, Any]:
        """What the record of a study says of it, by field; see `titrant.evidence.records.Studied`."""
        trainings, clock = self.trainings, self.trainings.clock
        drawn = trainings.replicate(0)
        return {
            "metric": trainings.metric.name,
            "direction": trainings.metric.direction,
            "nuisances": paths,
            "candidates": plan.candidates,
            "replicates": plan.replicates,
            "length": plan.length,
            "rows_trained": len(drawn.rows),
            "rows_judged": len(drawn.judging),
            "judged": trainings.judged,
            "shared": trainings.shared,
            "trainings": trainings.done,
            "seconds_total": clock.elapsed,
            "budget_seconds": clock.end - clock.start,
            "interrupted": self._interrupted,
            "warnings": self.warnings(plan),
            "seed": trainings.seed,
        }

    def warnings(self, plan: Plan) -> list[str]:
        """What was given up for time, or is missing."""
        found = []
        if self._interrupted:
            found.append(say("Interrupted: what is said rests on the replicates that were trained until then."))
        if plan.length < 1:
            found.append(say("To keep the time, trainings were {length:.0%} as long as the recipe says.", length=plan.length))
        if plan.share < 1:
            found.append(say("To keep the time, arms were trained on {share:.0%} of the rows.", share=plan.share))
        if self._cut_short:
            found.append(
                say("Tuning the arms took longer than expected and was ended early, at the same point for all of them.")
            )
        if 0 < plan.candidates < 4:
            found.append(say("There was little time to tune the arms: {count} candidates each.", count=plan.candidates))
        if not self.trainings.shared:
            found.append(
                say("The data have no held-out rows: effects are judged by rows that may have chosen the recipe, which "
                    "flatters it.")
            )  # fmt: skip
        return found


def difference(estimate: Estimate) -> Difference:
    """An estimate as it is kept."""
    low, high = estimate.interval()
    return Difference(mean=estimate.mean, low=finite(low), high=finite(high), p=estimate.p, count=estimate.count)


def mean_curve(curves: Sequence[Sequence[Point]]) -> list[Point]:
    """The mean of learning curves, at the evaluations that all of them had; a value that one of them lacks is None.

    Example:
        >>> first = Point(
        ...     step=8, epoch=1, seconds=None, loss_train=1.0, loss_validation=2.0, score_validation=None, learning_rate=0.1
        ... )
        >>> mean_curve([[first], [first.model_copy(update={"loss_train": 2.0}), first]])[0].loss_train
        1.5
    """

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return finite(float(np.mean(known))) if len(known) == len(values) else None

    return [
        points[0].model_copy(
            update={"seconds": None}
            | {
                name: mean([getattr(point, name) for point in points])
                for name in ("loss_train", "loss_validation", "score_validation")
            }
        )
        for points in zip(*curves, strict=False)
    ]


def of_length(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with its training so many times as long."""
    if factor == 1:
        return recipe
    return recipe.replace("stop.epochs", min(10_000.0, max(0.01, float(f"{recipe.stop.epochs * factor:.4g}"))))


def _rank(metric: Metric, outcome: Outcome) -> tuple[float, float]:
    tuned = metric.as_loss(outcome.tuned) if math.isfinite(outcome.tuned) else math.inf
    return tuned, outcome.tuned_loss


def _mean_rank(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Sorts the better before the worse."""
    return float(np.mean([score for score, _ in found])), float(np.mean([loss for _, loss in found]))
