"""Tasks side by side: cohorts, each trained by a core of its own, so that no operation is shared between cores.

Small networks give an operation too little work to share it: two cores that share every operation of a stacked step were
1.3 to 1.5 times slower than two cores that each train a cohort of their own, and 5 to 20 times slower where another program
wanted the same cores (`torch` waits for its slowest thread after every operation). A lane hands its task to a worker process
while one is idle, and does it in a thread of this process otherwise. A device other than the CPU has a queue of its own and
gets one cohort at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TypeVar

import torch

from titrant.recipe import Recipe
from titrant.train.hardware import out_of_memory
from titrant.train.team import here
from titrant.train.workers import WorkerLostError, Workers
from titrant.tricks.model import Custom

T = TypeVar("T")

_LISTENING = 0.1  # seconds after which a person's interrupt is passed on at the latest


def may_share(device: torch.device, recipes: Sequence[Recipe] = ()) -> bool:
    """Whether cohorts may be trained at the same time, here or elsewhere: on CPUs.

    Not if a recipe holds a person's own module, which may use anything that threads share, or is to be compiled, nor where
    several processes train each cohort together.
    """
    alone = any(isinstance(r.model, Custom) or r.hardware.compile for r in recipes)
    return device.type == "cpu" and here() is None and not alone


def lanes(device: torch.device, recipes: Sequence[Recipe] = ()) -> int:
    """How many cohorts may be trained at the same time here: one for each thread that torch may use."""
    return torch.get_num_threads() if may_share(device, recipes) else 1


def side_by_side(
    tasks: Iterable[Callable[[], T] | None],
    lanes: int,
    expected: int | Callable[[], int] | None = None,
    workers: Workers | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Iterator[T]:
    """Runs tasks, `lanes` of them at a time, and yields their results as they come.

    A task is taken only when there is a lane for it, so an iterator may stop giving tasks as time passes. The threads that
    torch may use are divided among the lanes.

    Args:
        tasks: functions without arguments; everything that they share must be left alone or locked. With workers they must be
            functions of modules or `functools.partial`s of such, and only what they return may count: a worker changes copies.
            None says that the next one hangs on a result to come.
        lanes: 1 runs them here, one after another, unless workers are awaited.
        expected: how many tasks there are at most, if that is known, or what says so of those that may be under way beside the
            one that was taken last; fewer than lanes get more threads each.
        workers: processes that take tasks while they are idle.
        meanwhile: what this thread does whenever all lanes are at work.

    Raises:
        Exception: what a task raised, after the tasks that had begun are done.
    """
    if isinstance(expected, int):
        lanes, expected = min(lanes, expected), None
    elsewhere = workers is not None and workers.awaited is not None
    if lanes <= 1 and not elsewhere:
        for task in tasks:
            assert task is not None  # nothing is under way
            yield task()
        return
    mine = torch.get_num_threads()
    coming = iter(tasks)
    running: set[Future[T]] = set()
    with ThreadPoolExecutor(lanes, "titrant") as pool:
        try:
            while True:
                for task in coming:
                    if task is None:
                        break
                    together = lanes if expected is None else min(lanes, expected())
                    helping = workers if together > 1 or elsewhere else None
                    running.add(pool.submit(_done, task, max(1, mine // together), helping))
                    if len(running) == lanes:
                        break
                if not running:
                    return
                if meanwhile is not None and len(running) == lanes:
                    meanwhile()
                done: set[Future[T]] = set()
                while not done:
                    done, running = wait(running, None if workers is None else _LISTENING, FIRST_COMPLETED)
                    if workers is not None:
                        workers.stop_if_asked()
                for future in done:
                    yield future.result()
        finally:
            torch.set_num_threads(mine)  # it sets what new threads start from, too


def _done(task: Callable[[], T], threads: int, workers: Workers | None) -> T:
    """Has a task done by an idle worker, or does it in this thread, also if its worker dies or has too little memory."""
    alike = partial(_with_threads, threads, task)
    worker = None if workers is None else workers.free()
    if worker is None or workers is None:
        return alike()
    try:
        result = worker.run(alike)
    except WorkerLostError:
        workers.lose()
        return _done(task, threads, workers) if workers.awaited is not None else alike()
    except BaseException as error:
        if out_of_memory(error):
            workers.lose()
            worker.close()  # what it holds is free for others, this process among them
            return alike()
        workers.idle.put(worker)
        raise
    workers.idle.put(worker)
    return result


def _with_threads(threads: int, task: Callable[[], T]) -> T:
    torch.set_num_threads(threads)
    return task()
