"""Cohorts side by side: each trained by a thread of its own, which leaves the threads inside of tensor operations idle.

Small networks give an operation too little work to share it: two cores that share every operation of a stacked step were
1.3 to 1.5 times slower than two cores that each train a cohort of their own, and 5 to 20 times slower where another program
wanted the same cores (`torch` waits for its slowest thread after every operation). Most operations let go of Python's lock
while they compute. A device other than the CPU has a queue of its own and gets one cohort at a time.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

from titrant.recipe import Recipe
from titrant.tricks.model import Custom

T = TypeVar("T")

_RANDOMNESS = threading.RLock()


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Sets torch's global random stream, which threads share, and puts it back; one thread at a time."""
    with _RANDOMNESS, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def lanes(device: torch.device, recipes: Sequence[Recipe] = ()) -> int:
    """How many cohorts may be trained at the same time: one for each thread that torch may use on a CPU.

    One if a recipe holds a person's own module, which may use anything that threads share, or is to be compiled.
    """
    if device.type != "cpu" or any(isinstance(r.model, Custom) or r.hardware.compile for r in recipes):
        return 1
    return torch.get_num_threads()


def side_by_side(tasks: Iterable[Callable[[], T]], lanes: int, expected: int | None = None) -> Iterator[T]:
    """Runs tasks, `lanes` of them at a time, and yields their results as they come.

    A task is taken only when there is a lane for it, so an iterator may stop giving tasks as time passes. The threads that
    torch may use are divided among the lanes.

    Args:
        tasks: functions without arguments; everything that they share must be left alone or locked.
        lanes: 1 runs them here, one after another.
        expected: how many tasks there are at most, if that is known; fewer lanes than that get more threads each.

    Raises:
        Exception: what a task raised, after the tasks that had begun are done.
    """
    lanes = min(lanes, expected or lanes)
    if lanes <= 1:
        for task in tasks:
            yield task()
        return
    mine = torch.get_num_threads()
    coming = iter(tasks)
    running: set[Future[T]] = set()
    with ThreadPoolExecutor(lanes, "titrant", torch.set_num_threads, (max(1, mine // lanes),)) as pool:
        try:
            while True:
                for task in coming:
                    running.add(pool.submit(task))
                    if len(running) == lanes:
                        break
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            torch.set_num_threads(mine)  # it sets what new threads start from, too
