"""Which steps are looked at: many at the start, where most goes wrong, then fewer and fewer, then one in `every`."""

from typing import TypeVar

Item = TypeVar("Item")


class Schedule:
    """Steps 0, 1, 2, ... with gaps that grow by a sixth, up to `every`.

    Args:
        every: the widest gap between looks, in steps, from 1. Higher costs less and sees less.

    Example:
        >>> schedule = Schedule(every=100)
        >>> [step for step in range(30) if schedule.due(step)]
        [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 16, 19, 23, 27]
    """

    def __init__(self, every: int = 250) -> None:
        self._every = every
        self._next = 0

    def due(self, step: int) -> bool:
        """True if this step is to be looked at; asked once for each step, in order."""
        if step < self._next:
            return False
        self._next = step + max(1, min(self._every, -(-step // 6)))
        return True


def thin(items: list[Item], most: int) -> None:
    """Drops every second item but the last, in place, once there are more than `most`.

    Example:
        >>> numbers = list(range(6))
        >>> thin(numbers, 5); numbers
        [0, 2, 4, 5]
    """
    if len(items) > most:
        last = items[-1]
        items[:] = items[::2]
        if items[-1] is not last:
            items.append(last)
