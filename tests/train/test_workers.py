"""Worker processes: what they do equals what is done here, and their end costs nothing but time."""

import math
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from operator import truediv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from titrant.clock import Clock, Interrupt
from titrant.recipe import Recipe
from titrant.train.cohort import Cohort
from titrant.train.lanes import side_by_side
from titrant.train.member import Member
from titrant.train.metrics import METRICS
from titrant.train.tables import TableProblem
from titrant.train.workers import Shared, Worker, WorkerLostError, Workers
from titrant.tricks.acting import Streams

Problems = Callable[..., TableProblem]


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(1) as found:
        yield found


@pytest.fixture
def worker(workers: Workers) -> Iterator[Worker]:
    found = workers.idle.get(timeout=60)
    yield found
    workers.idle.put(found)


def members_of(problem: TableProblem) -> list[Member]:
    recipe = Recipe().replace("model.width", 8).replace("dropout", "bernoulli").replace("average", "ema")
    recipe = recipe.replace("stop.epochs", 6).replace("batch.size", 16).replace("normalize", "batch")
    held_out = torch.arange(64, 96)
    kinds = ["adamw", "muon", "sgd"]
    return [
        Member(number, recipe.replace("optimizer", kind), 10 + number, "test", problem.rows, held_out)
        for number, kind in enumerate(kinds)
    ]


def trained_to(made: Callable[[], Cohort], step: int) -> Cohort:
    """A cohort after so many steps."""
    cohort = made()
    cohort.advance(step, cohort.clock)
    return cohort


def same(thing: Any) -> Any:
    return thing


def everything(state: Any) -> Iterator[Tensor | float | str | None]:
    """All numbers of a state, in order."""
    match state:
        case dict():
            for key in state:
                yield from everything(state[key])
        case list() | tuple():
            for part in state:
                yield from everything(part)
        case _ if hasattr(state, "__dict__") and not isinstance(state, Tensor):
            yield from everything({key: value for key, value in vars(state).items() if key != "seconds"})
        case _:
            yield state


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_cohort_goes_on_elsewhere_as_it_would_here(task: str, worker: Worker, make_problem: Problems) -> None:
    problem = make_problem(task)
    metric = METRICS["accuracy" if task == "multiclass" else "rmse"]
    make = partial(Cohort, problem, members_of(problem), metric, Clock.of(3600.0))
    here = trained_to(make, 24)
    there = worker.run(partial(trained_to, make, 7))
    assert there.step == 7
    assert there.problem is problem
    assert there.members[0].rows is problem.rows
    there.keep([0, 2])
    here_kept = trained_to(make, 7)
    here_kept.keep([0, 2])
    back = trained_to(partial(same, there), 15)
    there = worker.run(partial(trained_to, partial(same, back), 24))
    straight = trained_to(partial(same, here_kept), 24)
    for one, other in zip(everything(there.state()), everything(straight.state()), strict=True):
        if isinstance(one, Tensor):
            assert isinstance(other, Tensor)
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
        else:
            assert one == other or (one != one and other != other)
    assert there.receipts(1) == straight.receipts(1)
    assert there.histories[0].best == here.histories[0].best
    one, other = there.trained(0).network.state_dict(), straight.trained(0).network.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_what_is_shared_is_sent_once(worker: Worker, make_problem: Problems) -> None:
    problem = replace(make_problem(), numbers=torch.randn(96, 8))
    members = members_of(problem)
    first, _ = worker._shared.pack(partial(same, (problem, members)))
    again, message = worker._shared.pack(partial(same, (problem, members[:1])))
    assert len(first) >= 5
    assert again == []
    assert len(message) < sum(len(part) for part in first)


def test_what_a_task_raises_there_arrives_here(worker: Worker) -> None:
    with pytest.raises(ZeroDivisionError):
        worker.run(partial(truediv, 1, 0))
    assert worker.run(partial(truediv, 1, 2)) == 0.5


def test_what_a_task_prints_disturbs_nothing(worker: Worker) -> None:
    assert worker.run(partial(print, "between the answers")) is None  # type: ignore[func-returns-value]
    assert worker.run(partial(math.sqrt, 4.0)) == 2.0


def test_a_dead_worker_is_noticed_and_its_task_done_here() -> None:
    with Workers(1) as workers:
        worker = workers.idle.get(timeout=60)
        workers.idle.put(worker)
        killer = threading.Timer(0.3, os.kill, [worker.number, signal.SIGKILL])
        killer.start()
        tasks = [partial(slow, place) for place in range(4)]
        assert sorted(side_by_side(tasks, 2, 4, workers)) == [0, 1, 2, 3]
        killer.join()
        with pytest.raises(WorkerLostError):
            worker.run(partial(math.sqrt, 4.0))
        assert workers.idle.empty()


def slow(place: int) -> int:
    time.sleep(0.4)
    return place


def hungry(home: int, place: int) -> tuple[int, int]:
    """Takes more memory than its process may have, but in the process `home`."""
    if os.getpid() != home:
        confined(256 << 20)
        torch.ones(1 << 32)
    return place, os.getpid()


def confined(more: int) -> None:
    """Lets this process take so many further bytes and no more."""
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + more, resource.RLIM_INFINITY))


def address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


needs_limits = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")


@needs_limits
def test_what_a_workers_memory_does_not_hold_is_done_here_and_the_worker_ends() -> None:
    with Workers(1) as workers:
        worker = workers.idle.get(timeout=60)
        workers.idle.put(worker)
        found = dict(side_by_side([partial(hungry, os.getpid(), place) for place in range(4)], 2, 4, workers))
        assert found == dict.fromkeys(range(4), os.getpid())
        assert worker._process.poll() is not None
        assert workers.idle.empty()


def trained_within(more: int, made: Callable[[], Cohort], step: int) -> Cohort:
    """A cohort after so many steps in a process that may take `more` bytes."""
    cohort = made()
    confined(more)
    return trained_to(partial(same, cohort), step)


@needs_limits
def test_a_batch_that_a_workers_memory_does_not_hold_is_computed_in_parts() -> None:
    numbers = torch.randn(1 << 15, 8, generator=torch.Generator().manual_seed(0))
    target = (numbers.sum(1) > 0).long()
    rows, nothing = torch.arange(len(numbers)), torch.zeros(len(numbers), 0, dtype=torch.int64)
    problem = TableProblem(numbers, nothing, target, (), "binary", 2, rows, torch.device("cpu"))
    recipe = Recipe().replace("model.width", 256).replace("batch.size", 1 << 15).replace("stop.epochs", 3)
    recipe = recipe.replace("dropout", "off").replace("normalize", "off")
    member = Member(0, recipe, 1, "test", problem.rows, torch.arange(64))
    make = partial(Cohort, problem, [member], METRICS["accuracy"], Clock.of(3600.0))
    here = trained_to(make, 2)
    assert here.parts == 1
    with Workers(1) as workers:
        there = workers.idle.get(timeout=60).run(partial(trained_within, 64 << 20, make, 2))
    assert there.parts > 1
    torch.testing.assert_close(there.weights.flat, here.weights.flat, rtol=1e-3, atol=1e-5)


def whose(place: int) -> tuple[int, int]:
    time.sleep(0.05)
    return place, os.getpid()


def test_lanes_use_idle_workers(workers: Workers) -> None:
    workers.idle.put(workers.idle.get(timeout=60))
    found = dict(side_by_side([partial(whose, place) for place in range(6)], 2, 6, workers))
    assert sorted(found) == list(range(6))
    assert os.getpid() in found.values()
    assert len(set(found.values())) == 2


def until_stopped(clock: Clock) -> bool:
    """True if the clock was brought forward."""
    while clock.left > 0:
        time.sleep(0.01)
    return clock.elapsed < 30


def test_an_interrupt_reaches_tasks_under_way() -> None:
    interrupt = Interrupt()
    clock = Clock.of(60.0, interrupt=interrupt)
    with Workers(1, interrupt) as workers:
        workers.idle.put(workers.idle.get(timeout=60))
        threading.Timer(0.3, setattr, [interrupt, "asked", True]).start()
        assert list(side_by_side([partial(until_stopped, clock)] * 2, 2, 2, workers)) == [True, True]


def test_a_task_waits_for_a_worker_where_this_process_is_not_to_train() -> None:
    """Also where workers are lost, until none is left or the clock rings."""
    with Workers(2, awaited=Clock.of(60.0)) as workers:
        found = dict(side_by_side([partial(whose, place) for place in range(6)], 4, 6, workers))
        assert os.getpid() not in found.values()
        first, second = workers.idle.get(timeout=60), workers.idle.get(timeout=60)
        first._process.kill()  # type: ignore[attr-defined]
        workers.idle.put(first)
        workers.idle.put(second)
        assert dict(side_by_side([partial(whose, place) for place in range(4)], 2, 4, workers)).keys() == {0, 1, 2, 3}
        assert workers.idle.get(timeout=60) is second
        workers.idle.put(second)
        for lanes, expected in ((1, None), (4, 1)):  # also where one lane would be this process
            (found_there,) = side_by_side([partial(whose, 0)], lanes, expected, workers)
            assert found_there[1] != os.getpid()
        assert workers.idle.get(timeout=60) is second
        second._process.kill()  # type: ignore[attr-defined]
        workers.idle.put(second)
        assert set(dict(side_by_side([partial(whose, place) for place in range(3)], 2, 3, workers)).values()) == {os.getpid()}
    with Workers(1, awaited=Clock.of(-1.0)) as workers:
        assert workers.free() is None


# ------------------------------------------------------------- devices


def test_what_lies_on_one_sides_device_comes_to_lie_on_the_others() -> None:
    """Meta tensors have a place but no numbers, which is enough to see where they go."""
    elsewhere = torch.device("meta")
    here, there = Shared(), Shared(elsewhere)
    arrived = there.unpack(here.pack((torch.ones(3), torch.device("cpu"), torch.nn.Linear(2, 2)))[1])
    assert arrived[0].device == arrived[1] == arrived[2].weight.device == elsewhere
    back = here.unpack(there.pack((elsewhere, torch.ones(3)))[1])  # what lay on the CPU there stays on the CPU
    assert back[0] == torch.device("cpu")
    assert torch.equal(back[1], torch.ones(3))


def test_data_and_members_go_to_the_workers_device(make_problem: Problems) -> None:
    here, there = Shared(), Shared(torch.device("meta"))
    problem = make_problem()
    member = Member(0, Recipe(), 1, "test", problem.rows, torch.arange(4))
    definitions, message = here.pack((problem, member))
    for definition in definitions:
        there.define(definition)
    arrived, moved = there.unpack(message)
    assert arrived.device == arrived.numbers.device == moved.rows.device == moved.held_out.device == torch.device("meta")


def test_streams_go_on_where_they_were_also_after_another_kind_of_device_had_them() -> None:
    """What a GPU has drawn cannot be drawn on by a CPU; its states pass through, and come back whole."""
    streams = Streams([1, 2], torch.device("cpu"))
    streams.uniform("dropout", (4,), 0, 2)
    untouched = deepcopy(streams)
    expected = streams.uniform("dropout", (4,), 0, 2)
    state = untouched.__getstate__()
    assert torch.equal(deepcopy(untouched).uniform("dropout", (4,), 0, 2), expected)
    # as a GPU would hand it in: states that this CPU cannot use
    foreign = {slot: ("cuda", found) for slot, (_, found) in state["state"].items()}
    passing = Streams.__new__(Streams)
    passing.__setstate__({**state, "state": foreign})
    assert passing.state() == {}
    assert passing.__getstate__()["state"]["dropout"][0] == "cuda"
    kept = deepcopy(passing)
    kept.keep([1])
    assert torch.equal(kept.__getstate__()["state"]["dropout"][1][0], foreign["dropout"][1][1])
    drawn = passing.uniform("dropout", (4,), 0, 2)
    assert not torch.equal(drawn, expected)
    assert not torch.equal(drawn, Streams([1, 2], torch.device("cpu")).uniform("dropout", (4,), 0, 2))
    assert passing.__getstate__()["state"]["dropout"][0] == "cpu"


def test_closing_ends_the_processes() -> None:
    workers = Workers(1)
    worker = workers.idle.get(timeout=60)
    workers.idle.put(worker)
    workers.close()
    assert worker._process.poll() is not None
    assert workers.idle.empty()
    assert list(side_by_side([partial(math.sqrt, 4.0)] * 3, 2, 3, workers)) == [2.0] * 3
