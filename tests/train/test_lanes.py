"""Tasks side by side."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from titrant.train.lanes import side_by_side
from titrant.tricks.acting import own_randomness


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_every_task_is_done_once(lanes: int) -> None:
    tasks: list[Callable[[], int]] = [lambda n=n: n for n in range(7)]  # type: ignore[misc]
    assert sorted(side_by_side(tasks, lanes, len(tasks))) == list(range(7))


def test_no_more_tasks_run_than_there_are_lanes() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def task() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    list(side_by_side([task] * 12, 3))
    assert most == 3


def test_a_task_is_taken_only_when_there_is_a_lane_for_it() -> None:
    done = 0

    def task() -> None:
        nonlocal done
        time.sleep(0.01)
        done += 1

    def tasks() -> Iterator[Callable[[], None]]:
        for taken in range(8):
            assert taken <= done + 2
            yield task

    list(side_by_side(tasks(), 2))
    assert done == 8


@pytest.mark.parametrize("lanes", [2, 3])
def test_a_task_may_hang_on_a_result_to_come(lanes: int) -> None:
    found: list[int] = []

    def tasks() -> Iterator[Callable[[], int] | None]:
        """Three tasks, each of which is known when the one before is done; more lanes than that have nothing to do."""
        for number in range(3):
            while len(found) < number:
                yield None
            yield partial(abs, number)

    found.extend(side_by_side(tasks(), lanes))  # one after another, as they come
    assert found == [0, 1, 2]


def test_meanwhile_is_used_when_all_lanes_are_at_work() -> None:
    seen: list[int] = []
    running = 0
    lock = threading.Lock()
    go_on = threading.Event()

    def task() -> None:
        nonlocal running
        with lock:
            running += 1
        go_on.wait(10)
        with lock:
            running -= 1

    def meanwhile() -> None:
        while running < 2 and not go_on.is_set():
            time.sleep(0.001)
        seen.append(running)
        go_on.set()

    list(side_by_side([task] * 3, 2, meanwhile=meanwhile))
    assert seen[0] == 2
    seen.clear()
    list(side_by_side([task], 2, meanwhile=meanwhile))
    assert seen == []


def test_what_a_task_raises_arrives_here() -> None:
    def broken() -> None:
        raise ArithmeticError("broken")

    with pytest.raises(ArithmeticError, match="broken"):
        list(side_by_side([broken, lambda: None], 2))


def test_threads_inside_of_operations_are_divided_and_given_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert set(side_by_side([torch.get_num_threads] * 2, 2)) == {2}
        assert set(side_by_side([torch.get_num_threads], 8, expected=1)) == {4}
        assert set(side_by_side([torch.get_num_threads] * 3, 4, lambda: 2)) == {2}
        assert set(side_by_side([torch.get_num_threads] * 3, 4, lambda: 1)) == {4}
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_the_global_stream_is_set_for_one_thread_and_put_back() -> None:
    def draw(seed: int) -> float:
        with own_randomness(seed):
            first = torch.rand(()).item()
            time.sleep(0.002)
            return first + torch.rand(()).item()

    alone = {seed: draw(seed) for seed in range(6)}
    state = torch.get_rng_state()
    tasks: list[Callable[[], tuple[int, float]]] = [lambda seed=seed: (seed, draw(seed)) for seed in alone]  # type: ignore[misc]
    assert dict(side_by_side(tasks, 3)) == alone
    assert torch.equal(torch.get_rng_state(), state)
