"""How fast this machine trains on this data: measured once, before the search is planned.

Small stacks repeat the fixed cost of a step too often, large ones fall out of the caches; where the best size lies differs from
machine to machine. So does whether cores do better with a cohort each or with every operation shared.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from titrant.clock import Clock
from titrant.train.cohort import Cohort
from titrant.train.member import Member
from titrant.train.workers import lanes, side_by_side

_WORKING_SET = 1 << 19
_MOST = 64  # members of a stack
_TRIED = (4, 8, 16, 32)
_STEPS = 4
_GAIN = 0.97  # a larger stack must need less than this share of the time, because it also ties more members together
_LONGEST = 0.02  # share of the time that is left which the measurement may take


@dataclass(frozen=True)
class Pace:
    """How cohorts are laid out.

    Args:
        lanes: cohorts that are trained at the same time.
        working_set: activations of one layer, in numbers, that a stack may hold.
        seconds: lane-seconds for a step of one member in a stack, for the recipe that was measured; None if none was.
    """

    lanes: int
    working_set: int = _WORKING_SET
    seconds: float | None = None

    @classmethod
    def usual(cls, device: torch.device, members: Sequence[Member]) -> "Pace":
        """What needs no measurement: a lane for each thread, stacks that fit the caches of most machines."""
        return cls(lanes(device, [member.recipe for member in members]))

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


def measured(
    make: Callable[[Sequence[Member]], Cohort], member: Member, columns: int, device: torch.device, clock: Clock
) -> Pace:
    """Measures steps of stacks of one recipe with all lanes at work, and takes the size that costs a member least.

    Args:
        make: makes a cohort of members.
        member: whose recipe is measured.
        columns: number columns of the data.
        device: where it trains.
        clock: of which the measurement takes 2 % of what is left, and two steps at least.
    """
    pace = Pace.usual(device, [member])
    until = time.monotonic() + _LONGEST * clock.left
    best: float | None = None
    size = 1
    for tried in (1, *_TRIED):
        if best is not None and (time.monotonic() > until or tried * _activations(member, columns) > 8 * _WORKING_SET):
            break
        stack = [replace(member, number=-1 - place, seed=member.seed + place) for place in range(tried)]
        cohorts = [make(stack) for _ in range(pace.lanes)]
        cost = max(side_by_side([partial(_step, cohort, clock) for cohort in cohorts], pace.lanes)) / tried
        if best is not None and cost > _GAIN * best:
            break
        best, size = cost, tried
    return replace(pace, working_set=size * _activations(member, columns), seconds=best)


def _step(cohort: Cohort, clock: Clock) -> float:
    """Seconds of a step, by steps that are thrown away."""
    cohort.train(1, clock)
    begun, before = time.monotonic(), cohort.step
    cohort.train(before + _STEPS, clock)
    return (time.monotonic() - begun) / max(1, cohort.step - before)
