"""Successive halving: many members start, the weaker two thirds leave at each rung, a few finish.

Members whose tensors have equal shapes share cohorts; a rung is a share of each member's own full training, so that members of
different batch sizes are compared at equal parts of their schedules.

    Race                    lanes                Bracket
    next() of the oldest -> train a cohort -> done(): best so far; the rung's last one -> who goes on -> the next rung

In a rung all wait for the last cohort. With many lanes, a race lets younger brackets use those that would idle.

Under cross-validation a recipe is several members of one number, one for each fold: they train side by side as any others do,
are judged by the mean over the folds, and stay or leave together.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from statistics import fmean
from typing import TypeVar

from titrant.clock import Clock
from titrant.models.network import Factory
from titrant.record import MemberRecord, Point, Receipt
from titrant.search.pace import Pace
from titrant.train.build import cohort_key
from titrant.train.cohort import Cohort
from titrant.train.member import Member, Trained
from titrant.train.metrics import Metric
from titrant.train.problem import Problem

P = TypeVar("P")

RUNGS = (1 / 6, 1 / 2, 1.0)
"""Shares of a full training at which members are compared.

At a ninth of its schedule the best of 31 members stood twelfth, at a sixth fourth, at a quarter first.
"""

_PACE = (0.45, 0.75, 1.0)  # shares of a bracket's time after which a rung starts no further stack

KEPT = 1 / 3
"""Share of the members that goes on after a rung."""


def cost(rungs: Sequence[float]) -> float:
    """Full trainings that a member of a bracket costs on average.

    Example:
        >>> cost([1.0]), round(cost(RUNGS), 2)
        (1.0, 0.33)
    """
    return sum(KEPT**place * (share - before) for place, (before, share) in enumerate(pairwise([0.0, *rungs])))


def going_on(ranks: Sequence[tuple[float, float]]) -> list[int]:
    """The places of those that go on after a rung, the best first; at least one.

    Args:
        ranks: of those that have reached it, see `rank`.

    Example:
        >>> going_on([(0.3, 0.0), (0.1, 0.0), (0.2, 0.0), (0.9, 0.0), (0.15, 0.0)])
        [1, 4]
    """
    order = sorted(range(len(ranks)), key=ranks.__getitem__)
    return order[: max(1, round(len(ranks) * KEPT))]


Networks = list[tuple[Cohort, int]]
"""A recipe's networks in training: cohorts, and places in them."""

_SORTED_BY = ("normalize", "activation", "optimizer", "dropout", "average", "mix")


@dataclass(frozen=True)
class Tried:
    """A recipe that left training.

    Args:
        member: which; of several folds the first.
        score: on validation rows, NaN if it diverged before its first evaluation; the mean over folds.
        loss: the plain validation loss at that point, which decides between equal scores; the mean over folds.
        record: what is kept of it.
    """

    member: Member
    score: float
    loss: float
    record: MemberRecord

    def rank(self, metric: Metric) -> tuple[float, float]:
        """Sorts the better before the worse."""
        return rank(metric, self.score, self.loss)


def rank(metric: Metric, score: float, loss: float) -> tuple[float, float]:
    """A key that sorts better scores first, the lower loss first between equal or missing ones; see `Metric.heeding`."""
    if score != score:
        return math.inf, loss
    return metric.as_loss(score) + (metric.say * loss if metric.say else 0.0), loss


@dataclass(frozen=True)
class Turn:
    """A cohort's training to a rung: where the cohort stands in its bracket, what makes it, and the share of its steps."""

    place: int
    made: Callable[[], Cohort]
    share: float


class Bracket:
    """One round of successive halving.

    In the first rung a cohort is made when its turn comes: one that the clock does not reach costs neither time nor memory.

    Args:
        problem: the data.
        members: who starts, the most promising first; those of one number are one recipe's folds, and stand together.
        metric: who is better.
        clock: when to end at the latest.
        factory: the network of `model: custom`.
        rungs: shares of the full training; (1.0,) trains everybody to the end.
        paced: True starts no further stack in a rung that has used up its share of the time, so that later rungs get theirs.
        pace: how cohorts are laid out; what is usual if None.
        smallest: members below which no stack is cut for the sake of lanes.
        sick: tells of what is kept of a recipe whether it leaves at the next rung, whatever its score; None for none.

    Attributes:
        members: those who start.
        number: of the first of them.
        rung: under way.
        alive: recipes that have reached it, or may.
        width: cohorts of the rung.
        over: whether all members have left.
        in_time: False if the clock has rung first.
        tried: recipes that have left.
        best: the best network so far.
    """

    def __init__(
        self,
        problem: Problem,
        members: Sequence[Member],
        metric: Metric,
        clock: Clock,
        factory: Factory | None = None,
        rungs: Sequence[float] = RUNGS,
        paced: bool = False,
        pace: Pace | None = None,
        smallest: int = 1,
        sick: Callable[[MemberRecord], bool] | None = None,
    ) -> None:
        self.members = list(members)
        self._sick = sick
        self.number = members[0].number if members else -1
        self.paced = paced
        self.metric = metric
        self.clock = clock
        self.rungs = list(rungs)
        self.tried: list[Tried] = []
        self.best: Trained | None = None
        self.pace = pace or Pace.usual(problem.device, [member.recipe for member in members])
        self._folds = Counter(member.number for member in members)
        self._first = {member.number: member.seed for member in reversed(members)}  # the seed of the first fold
        self.rung, self.alive, self.in_time, self.over = 0, len(self._folds), True, not members
        self._best_rank = (math.inf, math.inf, 0)
        self._making = (problem, metric, clock, factory)
        self._cohorts: dict[int, Cohort] = {}  # by place, so that nothing depends on who was first
        self._waiting = [
            Turn(place, self._maker(stack), self.rungs[0])
            for place, stack in enumerate(stacks(members, problem, self.pace, smallest))
        ]
        self.width, self._under_way = len(self._waiting), 0
        self._begun: tuple[float, float] | None = None

    def run(self, watch: Callable[[int, int], None]) -> bool:
        """Trains rung by rung; `watch(rung, recipes alive)` is told often. False if the clock rang first."""
        coming = iter([self])

        def told(bracket: Bracket) -> None:
            if not bracket.over:
                watch(bracket.rung, bracket.alive)

        Race(self.pace, lambda: next(coming, None), told).run()
        return self.in_time

    def next(self) -> Turn | None:
        """What can begin now; nothing while a rung waits for what is under way, or when all is over."""
        if self._begun is None:
            self._begun = (self.clock.elapsed, self.clock.left)
        while not self.over:
            if self._waiting and not self._late:
                self._under_way += 1
                return self._waiting.pop(0)
            self._waiting = []
            if self._under_way:
                return None
            self._end_rung()
        return None

    def done(self, place: int, cohort: Cohort, in_time: bool) -> None:
        """Takes a cohort back; `in_time` is False if the clock rang before it was at the rung."""
        self._under_way -= 1
        self._cohorts[place] = cohort
        self._remember_best(cohort)
        if in_time:
            for history in cohort.histories:
                history.rung = self.rung
        else:
            self.in_time, self._waiting = False, []

    @property
    def cohorts(self) -> list[Cohort]:
        """Those in training, in the order in which they were made."""
        return [self._cohorts[place] for place in sorted(self._cohorts)]

    @property
    def begun(self) -> int:
        """Recipes that have begun to train."""
        return len(self.tried) + len(self._in_training())

    def standing(self) -> list[tuple[Member, float, float]]:
        """Recipes in training that have been judged, with their scores and losses so far."""
        found = [(_member(networks), *self._standing(networks)) for networks in self._in_training()]
        return [one for one in found if math.isfinite(one[2])]

    def _in_training(self) -> list[Networks]:
        """The networks of each recipe that has begun, in the order of the cohorts."""
        found: dict[int, Networks] = {}
        for cohort in self.cohorts:
            for k, member in enumerate(cohort.members):
                found.setdefault(member.number, []).append((cohort, k))
        return list(found.values())

    def _standing(self, networks: Networks) -> tuple[float, float]:
        """A recipe's score and loss so far: nothing, unless all its folds have been judged."""
        if len(networks) < self._folds[_member(networks).number]:
            return math.nan, math.inf
        return _mean_standing(networks)

    def _maker(self, stack: list[Member]) -> Callable[[], Cohort]:
        problem, metric, clock, factory = self._making
        return partial(Cohort, problem, stack, metric, clock, factory)

    @property
    def _late(self) -> bool:
        """Whether the rung has used up its time."""
        if not self.paced or self.best is None or self._begun is None:
            return False
        begun, allowed = self._begun
        return self.clock.elapsed - begun > _PACE[self.rung - len(self.rungs)] * allowed

    def _end_rung(self) -> None:
        if not self.in_time:
            self._leave_all("interrupted")
            self.over = True
            return
        last = self.rung == len(self.rungs) - 1
        self.alive = self._drop(last=last)
        self.over = last or self.alive == 0
        if not self.over:
            self.rung += 1
            cohorts = self.cohorts
            self._cohorts = dict(enumerate(cohorts))
            self._waiting = [Turn(place, partial(same, cohort), self.rungs[self.rung]) for place, cohort in enumerate(cohorts)]
            self.width = len(cohorts)

    def _remember_best(self, cohort: Cohort) -> None:
        """Keeps the best member's network as soon as there is one, so that there is always a usable model.

        Of several folds that of the first: networks that were judged by the same rows can be compared.
        """
        for k, member in enumerate(cohort.members):
            mine = (*rank(self.metric, *_mean_standing([(cohort, k)])), member.number)
            if member.seed == self._first[member.number] and mine < self._best_rank:
                self._best_rank, self.best = mine, cohort.trained(k)

    def _drop(self, *, last: bool) -> int:
        """Sends the weaker recipes away; returns how many go on."""
        training = self._in_training()
        places = [] if last else going_on([rank(self.metric, *self._standing(networks)) for networks in training])
        staying = [training[place] for place in places if _alive(training[place]) and not self._is_sick(training[place])]
        for networks in training:
            if networks not in staying:
                self._leave(networks, "stopped")
        for place, cohort in sorted(self._cohorts.items()):
            mine = sorted(k for networks in staying for owner, k in networks if owner is cohort)
            if not mine:
                del self._cohorts[place]
            elif len(mine) < len(cohort.members):
                cohort.keep(mine)
        return len(staying)

    def _is_sick(self, networks: Networks) -> bool:
        return self._sick is not None and self._sick(record_of(networks, "stopped", *self._standing(networks)))

    def _leave_all(self, state: str) -> None:
        for networks in self._in_training():
            self._leave(networks, state)
        self._cohorts = {}

    def _leave(self, networks: Networks, state: str) -> None:
        score, loss = self._standing(networks)
        self.tried.append(Tried(_member(networks), score, loss, record_of(networks, state, score, loss)))


class Race:
    """Brackets that share the lanes.

    Args:
        pace: the lanes.
        begin: the next bracket; None if none is to begin now.
        told: hears of a bracket after everything that happens to it.
        overlapping: True asks for another bracket wherever a lane would idle, and beforehand while all lanes are at work; False
            only when there is none.
    """

    def __init__(
        self, pace: Pace, begin: Callable[[], Bracket | None], told: Callable[[Bracket], object], overlapping: bool = False
    ) -> None:
        self.pace = pace
        self.brackets: dict[int, Bracket] = {}
        self.overlapping = overlapping
        self._begin, self._told = begin, told
        self._ready: Bracket | None = None
        self._count = 0

    def run(self) -> None:
        """Trains until no bracket is left and none begins."""
        meanwhile = self.prepare if self.overlapping else None
        for (number, place), cohort, in_time in self.pace.side_by_side(self.tasks(), self.width, meanwhile):
            self.done(number, place, cohort, in_time)

    def done(self, number: int, place: int, cohort: Cohort, in_time: bool) -> None:
        """Takes a cohort back."""
        bracket = self.brackets[number]
        bracket.done(place, cohort, in_time)
        self._told(bracket)

    def tasks(self) -> Iterator[Callable[[], tuple[tuple[int, int], Cohort, bool]] | None]:
        """What to do next, the oldest bracket first; None where that hangs on what is under way."""
        while True:
            found = self._turn()
            if found is not None:
                number, turn = found
                yield partial(advanced, (number, turn.place), turn.made, turn.share, self.brackets[number].clock)
            elif self.brackets and not self.overlapping:
                yield None
            elif (bracket := self._next()) is not None:
                self.brackets[self._count] = bracket
                self._count += 1
                self._told(bracket)
            elif self.brackets:
                yield None
            else:
                return

    def prepare(self) -> None:
        """Has the next bracket ready before a lane asks for it."""
        self._ready = self._next()

    def width(self) -> int:
        """Tasks that may be under way together."""
        lone = len(self.brackets) == 1 and (self._ready is None or not self.overlapping)
        return next(iter(self.brackets.values())).width if lone else self.pace.lanes

    def _turn(self) -> tuple[int, Turn] | None:
        for number, bracket in list(self.brackets.items()):
            rung, turn = bracket.rung, bracket.next()
            if bracket.over:
                del self.brackets[number]
            if bracket.over or bracket.rung != rung:
                self._told(bracket)
            if turn is not None:
                return number, turn
        return None

    def _next(self) -> Bracket | None:
        found, self._ready = self._ready, None
        return found or self._begin()


def same(cohort: Cohort) -> Cohort:
    """A cohort that there is already, where one may have to be made."""
    return cohort


def advanced(place: P, made: Callable[[], Cohort], share: float, clock: Clock) -> tuple[P, Cohort, bool]:
    """A cohort after a share of its steps, perhaps in another process, and whether that was reached before the clock rang.

    Args:
        place: is handed back.
        made: makes the cohort.
        share: of all its steps.
        clock: rings.
    """
    cohort = made()
    return place, cohort, cohort.advance(math.ceil(cohort.steps * share), clock)


def stacks(members: Sequence[Member], problem: Problem, pace: Pace, smallest: int = 1) -> list[list[Member]]:
    """Groups members that can share a cohort, in the order of their first member, and cuts groups that would not fit the cache.

    Inside a stack members of like kind stand together, so that each kind of trick acts once on neighbouring rows. Groups are
    cut further where there would be fewer stacks than lanes, so that none of them idles, down to `smallest` members. Folds of
    one recipe stay in one stack where that is possible: the clock then judges all of them or none.
    """
    groups: dict[Hashable, list[Member]] = {}
    for member in members:
        groups.setdefault(cohort_key(member.recipe), []).append(member)
    sizes = [len(group) for group in groups.values()]
    parts = [math.ceil(len(group) / pace.stack_size(group[0], problem.columns)) for group in groups.values()]
    most = [max(count, math.ceil(size / smallest)) for size, count in zip(sizes, parts, strict=True)]
    if len(sizes) == 1:
        parts = [min(most[0], math.ceil(parts[0] / pace.lanes) * pace.lanes)]
    while sum(parts) < min(pace.lanes, sum(most)):
        uncut = [place for place in range(len(sizes)) if parts[place] < most[place]]
        parts[max(uncut, key=lambda place: sizes[place] / parts[place])] += 1
    cut: list[list[Member]] = []
    for group, count in zip(groups.values(), parts, strict=True):
        whole = [list(folds) for _, folds in groupby(group, key=lambda member: member.number)]
        units = whole if count <= len(whole) else [[member] for member in group]
        ends = [round(len(units) * part / count) for part in range(count + 1)]
        cut += [_alike_together([member for unit in units[begin:end] for member in unit]) for begin, end in pairwise(ends)]
    return cut


def _alike_together(members: Sequence[Member]) -> list[Member]:
    """Members of equal rows and scaling beside each other, then those of equal kinds; the same order in every process."""
    seen: dict[int, int] = {}
    for member in members:
        seen.setdefault(id(member.rows), len(seen))

    def likeness(member: Member) -> tuple[int, str, *tuple[str, ...]]:
        kinds = (member.recipe.at(slot).kind for slot in _SORTED_BY)
        return (seen[id(member.rows)], repr(member.recipe.data.scale), *kinds)

    return sorted(members, key=likeness)


def _member(networks: Networks) -> Member:
    cohort, k = networks[0]
    return cohort.members[k]


def _alive(networks: Networks) -> bool:
    """Whether more steps can change the result, and none of the folds is lost."""
    histories = [cohort.histories[k] for cohort, k in networks]
    return any(history.alive for history in histories) and not any(history.diverged for history in histories)


def _mean_standing(networks: Networks) -> tuple[float, float]:
    """A recipe's score and the loss at the evaluation that gave it: means over its folds, missing where one is missing."""
    histories = [cohort.histories[k] for cohort, k in networks]
    return fmean(history.best for history in histories), fmean(history.best_loss for history in histories)


def record_of(networks: Networks, state: str, score: float, loss: float) -> MemberRecord:
    """What a run keeps of a recipe that was tried.

    Args:
        networks: its networks; the mean of their curves is kept.
        state: what ended them, unless they had ended by themselves.
        score, loss: how they were judged; not finite where they were not.
    """
    cohort, member, histories = networks[0][0], _member(networks), [cohort.histories[k] for cohort, k in networks]
    if any(history.diverged for history in histories):
        state = "diverged"
    elif all(history.finished for history in histories):
        state = "finished"
    scores = [history.best if math.isfinite(history.best) else None for history in histories]
    return MemberRecord.model_validate(
        {
            "number": member.number,
            "origin": member.origin,
            "recipe": member.recipe.plain(),
            "parameters": cohort.parameters,
            "seed": member.seed,
            "state": state,
            "rung": min(history.rung for history in histories),
            "steps": cohort.step,
            "epochs": sum(cohort.sizes[: cohort.step]) / max(1, len(member.rows)),
            "seconds": sum(history.seconds for history in histories),
            "score_validation": score if math.isfinite(score) else None,
            "loss_validation": loss if math.isfinite(loss) else None,
            "folds": scores if len(scores) > 1 else [],
            "curve": [_mean_point(points) for points in zip(*(history.curve for history in histories), strict=False)],
            "receipts": _together([cohort.receipts(k) for cohort, k in networks]),
            "parts": max(cohort.parts for cohort, _ in networks),
        }
    )


def _mean_point(points: Sequence[Point]) -> Point:
    """What several folds showed at one evaluation, whose steps may differ by one or two."""

    def mean(name: str) -> float | None:
        values = [getattr(point, name) for point in points]
        return None if None in values else fmean(values)

    measured = ("loss_train", "loss_validation", "score_validation")
    return points[0] if len(points) == 1 else points[0].model_copy(update={name: mean(name) for name in measured})


def _together(receipts: Sequence[list[Receipt]]) -> list[Receipt]:
    """What the tricks did in all folds."""
    found: dict[tuple[str, str], Receipt] = {}
    for receipt in (one for of_fold in receipts for one in of_fold):
        before = found.get((receipt.trick, receipt.kind))
        acted = {"acted": before.acted + receipt.acted, "seen": before.seen + receipt.seen} if before else {}
        found[receipt.trick, receipt.kind] = receipt.model_copy(update=acted)
    return list(found.values())
