"""Successive halving: many members start, the weaker two thirds leave at each rung, a few finish.

Members whose tensors have equal shapes share cohorts; a rung is a share of each member's own full training, so that members of
different batch sizes are compared at equal parts of their schedules.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from titrant.clock import Clock
from titrant.models.network import Factory
from titrant.record import MemberRecord
from titrant.search.pace import Pace
from titrant.train.build import cohort_key
from titrant.train.cohort import Cohort
from titrant.train.member import Member, Trained
from titrant.train.metrics import Metric
from titrant.train.problem import Problem

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


_SORTED_BY = ("normalize", "activation", "optimizer", "dropout", "average", "mix")


@dataclass(frozen=True)
class Tried:
    """A member that left training.

    Args:
        member: which.
        score: on validation rows, NaN if it diverged before its first evaluation.
        loss: the plain validation loss at that point, which decides between equal scores.
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
    """A key that sorts better scores first, the lower loss first between equal or missing scores."""
    return (metric.as_loss(score) if score == score else math.inf, loss)


class Bracket:
    """One round of successive halving.

    Args:
        problem: the data.
        members: who starts, the most promising first.
        metric: who is better.
        clock: when to end at the latest.
        factory: the network of `model: custom`.
        rungs: shares of the full training; (1.0,) trains everybody to the end.
        paced: True starts no further stack in a rung that has used up its share of the time, so that later rungs get theirs.
        pace: how cohorts are laid out; what is usual if None.
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
    ) -> None:
        self.paced = paced
        self.metric = metric
        self.clock = clock
        self.rungs = list(rungs)
        self.tried: list[Tried] = []
        self.best: Trained | None = None
        self._best_rank = (math.inf, math.inf, 0)
        self._making = (problem, metric, clock, factory)
        self._pace = pace or Pace.usual(problem.device, [member.recipe for member in members])
        self._waiting = stacks(members, problem, self._pace)
        self.cohorts: list[Cohort] = []

    def run(self, watch: Callable[[int, int], None]) -> bool:
        """Trains rung by rung; `watch(rung, members alive)` is told after each cohort. False if the clock rang first."""
        alive = sum(len(stack) for stack in self._waiting)
        begun, allowed = self.clock.elapsed, self.clock.left
        for rung in range(len(self.rungs)):
            in_time = self._train(rung, begun, allowed, partial(watch, rung, alive))
            if not in_time:
                self._leave_all("interrupted")
                return False
            alive = self._drop(rung, last=rung == len(self.rungs) - 1)
            if alive == 0:
                break
        return True

    def _train(self, rung: int, begun: float, allowed: float, watch: Callable[[], None]) -> bool:
        """Trains all cohorts to a rung, several side by side; False if the clock rang first."""
        expected = len(self.cohorts) or len(self._waiting)
        before = dict(enumerate(self.cohorts)) if rung else {}
        whole = True
        watch()
        for place, cohort, in_time in self._pace.side_by_side(self._turns(rung, begun, allowed), expected):
            before[place] = cohort
            self.cohorts = [before[known] for known in sorted(before)]  # in an order that does not depend on who was first
            self._remember_best(cohort)
            whole = whole and in_time
            if in_time:
                for history in cohort.histories:
                    history.rung = rung
            watch()
        return whole

    def _turns(self, rung: int, begun: float, allowed: float) -> Iterator[Callable[[], tuple[int, Cohort, bool]]]:
        """Training to a rung, cohort by cohort, while the rung has time.

        In the first rung a cohort is made when its turn comes: one that the clock does not reach costs neither time nor memory.
        """
        problem, metric, clock, factory = self._making
        share = self.rungs[rung]
        going: list[Callable[[], Cohort]] = [partial(same, cohort) for cohort in self.cohorts] if rung else []
        going += [partial(Cohort, problem, stack, metric, clock, factory) for stack in self._waiting]
        self._waiting = []
        for place, cohort in enumerate(going):
            if self.paced and self.best is not None and clock.elapsed - begun > _PACE[rung - len(self.rungs)] * allowed:
                return
            yield partial(advanced, place, cohort, share, clock)

    @property
    def begun(self) -> int:
        """Members that have begun to train."""
        return len(self.tried) + sum(len(cohort.members) for cohort in self.cohorts)

    def _remember_best(self, cohort: Cohort) -> None:
        """Keeps the best member's network as soon as there is one, so that there is always a usable model."""
        for k, member in enumerate(cohort.members):
            mine = (*rank(self.metric, *_standing(cohort, k)), member.number)
            if mine < self._best_rank:
                self._best_rank, self.best = mine, cohort.trained(k)

    def _drop(self, rung: int, *, last: bool) -> int:
        """Sends the weaker members away; returns how many go on."""
        standing = [
            (rank(self.metric, *_standing(cohort, k)), cohort, k) for cohort in self.cohorts for k in range(len(cohort.members))
        ]
        standing.sort(key=lambda entry: entry[0])
        places = 0 if last else max(1, round(len(standing) * KEPT))
        staying = [(cohort, k) for _, cohort, k in standing[:places] if cohort.histories[k].alive]
        for cohort in self.cohorts:
            mine = sorted(k for owner, k in staying if owner is cohort)
            for k in range(len(cohort.members)):
                if k not in mine:
                    self._leave(cohort, k, "stopped")
            if 0 < len(mine) < len(cohort.members):
                cohort.keep(mine)
        self.cohorts = [cohort for cohort in self.cohorts if any(owner is cohort for owner, _ in staying)]
        return len(staying)

    def _leave_all(self, state: str) -> None:
        for cohort in self.cohorts:
            for k in range(len(cohort.members)):
                self._leave(cohort, k, state)
        self.cohorts = []

    def _leave(self, cohort: Cohort, k: int, state: str) -> None:
        score, loss = _standing(cohort, k)
        record = record_of(cohort, k, state)
        self.tried.append(Tried(cohort.members[k], score, loss, record))


def same(cohort: Cohort) -> Cohort:
    """A cohort that there is already, where one may have to be made."""
    return cohort


def advanced(place: int, made: Callable[[], Cohort], share: float, clock: Clock) -> tuple[int, Cohort, bool]:
    """A cohort after a share of its steps, perhaps in another process, and whether that was reached before the clock rang."""
    cohort = made()
    return place, cohort, cohort.advance(math.ceil(cohort.steps * share), clock)


def stacks(members: Sequence[Member], problem: Problem, pace: Pace) -> list[list[Member]]:
    """Groups members that can share a cohort, in the order of their first member, and cuts groups that would not fit the cache.

    Inside a stack members of like kind stand together, so that each kind of trick acts once on neighbouring rows. Groups are
    cut further where there would be fewer stacks than lanes, so that none of them idles.
    """
    groups: dict[Hashable, list[Member]] = {}
    for member in members:
        groups.setdefault(cohort_key(member.recipe), []).append(member)
    sizes = [len(group) for group in groups.values()]
    parts = [math.ceil(len(group) / pace.stack_size(group[0], problem.columns)) for group in groups.values()]
    if len(sizes) == 1:
        parts = [min(sizes[0], math.ceil(parts[0] / pace.lanes) * pace.lanes)]
    while sum(parts) < min(pace.lanes, len(members)):
        largest = max(range(len(sizes)), key=lambda place: sizes[place] / parts[place])
        parts[largest] += 1
    cut: list[list[Member]] = []
    for group, count in zip(groups.values(), parts, strict=True):
        ends = [round(len(group) * part / count) for part in range(count + 1)]
        cut += [_alike_together(group[begin:end]) for begin, end in pairwise(ends)]
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


def _standing(cohort: Cohort, k: int) -> tuple[float, float]:
    """A member's score and the loss at the evaluation that gave it."""
    return (cohort.histories[k].best, cohort.histories[k].best_loss)


def record_of(cohort: Cohort, k: int, state: str) -> MemberRecord:
    """What a run keeps of a member; `state` is what ended it, unless it had ended by itself."""
    member, history = cohort.members[k], cohort.histories[k]
    state = "diverged" if history.diverged else "finished" if history.finished else state
    score = history.best
    return MemberRecord.model_validate(
        {
            "number": member.number,
            "origin": member.origin,
            "recipe": member.recipe.plain(),
            "parameters": cohort.parameters,
            "seed": member.seed,
            "state": state,
            "rung": history.rung,
            "steps": cohort.step,
            "epochs": sum(cohort.sizes[: cohort.step]) / max(1, len(member.rows)),
            "seconds": history.seconds,
            "score_validation": score if math.isfinite(score) else None,
            "curve": history.curve,
            "receipts": cohort.receipts(k),
            "parts": cohort.parts,
        }
    )
