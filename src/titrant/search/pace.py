"""How fast this machine trains on this data: measured once, before the search is planned.

Small stacks repeat the fixed cost of a step too often, large ones fall out of the caches; where the best size lies differs from
machine to machine.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch

from titrant.clock import Clock
from titrant.recipe import Recipe
from titrant.train.cohort import Cohort
from titrant.train.lanes import lanes, may_share, side_by_side
from titrant.train.member import Member
from titrant.train.workers import Workers

T = TypeVar("T")

_WORKING_SET = 1 << 19
_MOST = 64  # members of a stack
_TRIED = (4, 8, 16, 32)
_STEPS = 7
_WORSE = 2  # larger stacks that do not pay in a row, after which none is tried
_GAIN = 0.97  # a larger stack must need less than this share of the time, because it also ties more members together
_LONGEST = 0.02  # share of the time that is left which the measurement may take


@dataclass(frozen=True)
class Pace:
    """How cohorts are laid out.

    Args:
        lanes: cohorts that are trained at the same time.
        working_set: activations of one layer, in numbers, that a stack may hold.
        seconds: lane-seconds for a step of one member in a stack, for the recipe that was measured; None if none was.
        workers: processes that take the place of lanes in this one; None trains everything here.
    """

    lanes: int
    working_set: int = _WORKING_SET
    seconds: float | None = None
    workers: Workers | None = None

    @classmethod
    def usual(cls, device: torch.device, recipes: Sequence[Recipe], workers: Workers | None = None) -> "Pace":
        """What needs no measurement: as many lanes as the recipes allow, stacks that fit the caches of most machines."""
        elsewhere = workers.lanes if workers is not None and may_share(device, recipes) else None
        return cls(elsewhere or lanes(device, recipes), workers=workers)

    def side_by_side(
        self,
        tasks: Iterable[Callable[[], T] | None],
        expected: int | Callable[[], int],
        meanwhile: Callable[[], None] | None = None,
    ) -> Iterator[T]:
        """Runs tasks in the lanes; see `titrant.train.lanes.side_by_side`."""
        return side_by_side(tasks, self.lanes, expected, self.workers, meanwhile)

    def stack_size(self, member: Member, columns: int) -> int:
        """How many members of this shape are trained in one stack.

        Args:
            member: one of them.
            columns: number columns of the data.
        """
        return max(1, min(_MOST, self.working_set // _activations(member, columns)))


def _activations(member: Member, columns: int) -> int:
    """Numbers that one layer of a member holds in a step."""
    model = member.recipe.model
    width = max(getattr(model, "width", 128), columns)
    return int(width * min(member.recipe.batch.size, len(member.rows)) * getattr(model, "views", 1))


def measured(make: Callable[[list[Member]], Cohort], member: Member, columns: int, pace: Pace, clock: Clock) -> Pace:
    """Measures steps of stacks of one recipe, and takes the size that costs a member least.

    Lanes that share this process are measured at work together, because they disturb one another.

    Args:
        make: makes a cohort of members; a function of a module or a `functools.partial` of one.
        member: whose recipe is measured.
        columns: number columns of the data.
        pace: the lanes.
        clock: of which the measurement takes 2 % of what is left, and a few steps at least.
    """
    until = time.monotonic() + _LONGEST * clock.left
    alone = 1 if pace.workers is not None else pace.lanes  # processes do not get in one another's way
    best: float | None = None
    size, worse = 1, 0
    for tried in (1, *_TRIED):
        if best is not None and (time.monotonic() > until or tried * _activations(member, columns) > 8 * _WORKING_SET):
            break
        stack = [replace(member, number=-1 - place, seed=member.seed + place) for place in range(tried)]
        taken = list(side_by_side([partial(step_seconds, partial(make, stack), clock)] * alone, pace.lanes))
        cost = max(taken) / tried
        if best is None or cost < _GAIN * best:
            best, size, worse = cost, tried, 0
        else:
            worse += 1
        if worse == _WORSE:
            break
    return replace(pace, working_set=size * _activations(member, columns), seconds=best)


def step_seconds(made: Callable[[], Cohort], clock: Clock, steps: int = _STEPS) -> float:
    """Seconds of a step of average work, by steps that are thrown away: the median of a few."""
    cohort = made()
    cohort.train(1, clock)
    taken = [cohort.paced(cohort.step + 1, clock) for _ in range(steps)]
    return sorted(taken)[len(taken) // 2] * cohort.work(0, cohort.steps) / cohort.steps
