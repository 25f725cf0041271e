"""Budgets as people write them, and the hard clock that every part of a run looks at."""

import os
import re
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from titrant.errors import BudgetError
from titrant.texts import say

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"\d+(?:\.\d+)?"
_PART = re.compile(rf"({_NUMBER})\s*(ms|min|s|m|h|d)\s*")


def seconds(budget: str | float) -> float:
    """Reads a budget such as `90`, `"90s"`, `"10m"`, `"1h30m"` as a number of seconds.

    Raises:
        BudgetError: it cannot be read, or is not a positive, finite time.

    Example:
        >>> seconds("1h30m"), seconds("45s"), seconds(20)
        (5400.0, 45.0, 20.0)
    """
    if isinstance(budget, str):
        text = budget.strip().lower()
        if re.fullmatch(_NUMBER, text):
            value = float(text)
        elif re.fullmatch(rf"(?:{_PART.pattern})+", text):
            value = sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text))
        else:
            raise BudgetError(say("The budget {budget!r} is not a time. Write it as 90s, 10m, 2h or 1h30m.", budget=budget))
    else:
        value = float(budget)
    if not 0 < value < float("inf"):
        raise BudgetError(say("The budget {budget!r} must be longer than nothing. Write it as 90s, 10m, 2h.", budget=budget))
    return value


def process_started() -> float:
    """When this process began, on the scale of `time.monotonic`, so that a command's budget includes its own start-up.

    Read from `/proc` where there is one; elsewhere this moment stands in for it, some seconds late at most.
    """
    try:
        ticks = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return ticks / os.sysconf("SC_CLK_TCK") + time.monotonic() - time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic()


class Interrupt:
    """Lets a person end a run early and keep the best so far: the first Ctrl-C or SIGTERM asks, the second one insists.

    Example:
        >>> with Interrupt() as interrupt:
        ...     interrupt.asked
        False
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupt":
        """Takes over both signals; outside the main thread, where Python forbids that, nothing changes."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@dataclass(frozen=True)
class Clock:
    """A deadline: `start` and `end` on the scale of `time.monotonic`, and the interrupt that can bring it forward."""

    start: float
    end: float
    interrupt: Interrupt | None = None

    @classmethod
    def of(cls, budget: float, start: float | None = None, interrupt: Interrupt | None = None) -> "Clock":
        """A clock that rings `budget` seconds after `start` (default: now), or when a person interrupts."""
        begun = time.monotonic() if start is None else start
        return cls(begun, begun + budget, interrupt)

    @property
    def left(self) -> float:
        """Seconds until the deadline, not positive after it or after an interrupt."""
        if self.interrupt is not None and self.interrupt.asked:
            return 0.0
        return self.end - time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    def before_end(self, reserve: float) -> "Clock":
        """A clock with the same start that rings `reserve` seconds earlier."""
        return Clock(self.start, max(self.start, self.end - reserve), self.interrupt)
