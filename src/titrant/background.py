"""Work beside training that may wait for others: a database, a server, a disk.

Training never waits for it. What fails is tried again, later and later, and whoever closes it learns what was left undone.
"""

import threading
from collections.abc import Callable

LATEST = 30.0
"""Seconds between two attempts after failures, at most."""

_FIRST = 1.0  # and at least


class Background:
    """Does something again and again in a thread of its own: when it is woken, and every so often.

    Args:
        name: of the thread.
        work: what to do; it does nothing twice that it has done.
        pending: whether work is left that must be done before the end.
        troubles: what `work` may raise when somebody else is away; it is then done again later.
        reason: an error in one line.
        every: seconds between two turns that nobody asked for; None for none.

    Attributes:
        lost: why the last turn failed, or None.

    Example:
        >>> left = [3, 2, 1]
        >>> background = Background("example", left.clear, lambda: bool(left), (OSError,), str)
        >>> background.close(5.0), left
        (None, [])
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], None],
        pending: Callable[[], bool],
        troubles: tuple[type[Exception], ...],
        reason: Callable[[BaseException], str],
        every: float | None = None,
    ) -> None:
        self.lost: str | None = None
        self._work, self._pending, self._troubles, self._reason, self._every = work, pending, troubles, reason, every
        self._woken, self._turned, self._ending = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    def turn(self, patience: float) -> None:
        """Waits until everything up to now is done, for `patience` seconds at most."""
        self._turned.clear()
        self._woken.set()
        self._turned.wait(patience)

    def close(self, seconds: float) -> None:
        """Ends the thread once nothing is left to do, it fails again, or the time is over."""
        self._ending.set()
        self._woken.set()
        self._thread.join(max(0.0, seconds))

    def _run(self) -> None:
        pause = self._every
        while True:
            # while somebody is away, something new to do is no reason to knock earlier
            (self._woken if self.lost is None else self._ending).wait(pause)
            self._woken.clear()
            try:
                self._work()
                self.lost, pause = None, self._every
                self._turned.set()
            except self._troubles as error:
                self.lost, pause = self._reason(error), min(LATEST, 2 * (pause or _FIRST))
            if self._ending.is_set() and (self.lost is not None or not self._pending()):
                return
