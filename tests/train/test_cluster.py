"""Workers on a real Ray cluster of two nodes on this machine: tasks, what is shared, lost actors and nodes, and a whole fit."""

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import titrant
from titrant.clock import Clock, Interrupt
from titrant.errors import TitrantError
from titrant.record import read_members
from titrant.train import cluster as module
from titrant.train.cluster import Cluster, RayWorker, own_signals
from titrant.train.lanes import side_by_side
from titrant.train.tables import TableProblem
from titrant.train.workers import WorkerLostError, Workers

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of Ray itself, and of the processes that it leaves to the system
]

TABLE = {"x": [i / 60 for i in range(60)], "y": ["low"] * 30 + ["high"] * 30}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Two nodes of one processor each."""
    utilities = pytest.importorskip("ray.cluster_utils")
    before = os.environ.get("RAY_AUTH_MODE")
    os.environ["RAY_AUTH_MODE"] = "disabled"
    made = utilities.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    ray.init(address=made.address, configure_logging=False, log_to_driver=False)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()
    if before is None:
        del os.environ["RAY_AUTH_MODE"]


@pytest.fixture
def cluster(nodes: Any) -> Iterator[Cluster]:
    with Cluster("auto") as found:
        yield found


@pytest.fixture
def worker(cluster: Cluster) -> Iterator[RayWorker]:
    found = cluster.worker()
    assert found.wait()
    yield found
    found.close()


def problem() -> TableProblem:
    numbers = torch.arange(2000.0).view(1000, 2)
    nothing = torch.zeros(1000, 0, dtype=torch.int64)
    target, rows = numbers[:, 0].contiguous(), torch.arange(1000)
    return TableProblem(numbers, nothing, target, (), "regression", 1, rows, torch.device("cpu"))


def first_number(given: TableProblem, row: int) -> float:
    return float(given.numbers[row, 0])


def where() -> int:
    return os.getpid()


def slowly(number: int) -> tuple[int, int]:
    time.sleep(0.5)
    return number, os.getpid()


def until_it_rings(clock: Clock) -> float:
    begun = time.monotonic()
    while clock.left > 0:
        time.sleep(0.01)
    return time.monotonic() - begun


def test_tasks_are_done_elsewhere_and_errors_travel(worker: RayWorker) -> None:
    assert worker.run(partial(divmod, 7, 3)) == (2, 1)
    assert worker.run(where) != os.getpid()
    with pytest.raises(ZeroDivisionError):
        worker.run(partial(divmod, 1, 0))
    assert worker.run(partial(divmod, 7, 3)) == (2, 1)


def test_data_lie_in_the_object_store_once(cluster: Cluster) -> None:
    given, workers = problem(), [cluster.worker() for _ in range(2)]
    assert [one.run(partial(first_number, given, 7)) for one in workers[:1]] == [14.0]
    stored = len(cluster._stored)
    assert stored > 0
    assert [one.run(partial(first_number, given, row)) for one in workers for row in (1, 2)] == [2.0, 4.0, 2.0, 4.0]
    assert len(cluster._stored) == stored
    for one in workers:
        one.close()


def test_a_clock_keeps_its_time_on_the_way(worker: RayWorker) -> None:
    assert worker.run(partial(until_it_rings, Clock.of(1.0))) == pytest.approx(1.0, abs=0.5)


def test_an_interrupt_ends_the_task_under_way(cluster: Cluster) -> None:
    interrupt = Interrupt()
    with Workers(1, interrupt, cluster.worker) as workers:
        first = workers.idle.get()
        workers.idle.put(first)
        begun = time.monotonic()

        def tasks() -> Iterator[Any]:
            yield partial(until_it_rings, Clock.of(60.0, interrupt=interrupt))
            yield partial(divmod, 7, 3)
            interrupt.asked = True

        found = list(side_by_side(tasks(), 2, workers=workers))
    assert time.monotonic() - begun < 30
    assert (2, 1) in found


def test_a_lost_actor_costs_nothing_but_its_task(cluster: Cluster) -> None:
    with Workers(2, None, cluster.worker) as workers:
        both = [workers.idle.get() for _ in range(2)]
        ray.kill(both[0].actor)  # type: ignore[attr-defined]
        for one in both:
            workers.idle.put(one)
        found = list(side_by_side((partial(slowly, number) for number in range(6)), 2, workers=workers))
    assert sorted(number for number, _ in found) == list(range(6))
    assert os.getpid() in {process for _, process in found}


def test_the_same_fit_on_a_cluster_and_here(cluster: Cluster, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"budget": "5m", "members": 4}
    there = titrant.fit(TABLE, "y", cluster="auto", out=tmp_path / "there", **settings)
    here = titrant.fit(TABLE, "y", out=tmp_path / "here", **settings)
    np.testing.assert_allclose(there.predict_proba(TABLE), here.predict_proba(TABLE), atol=1e-5)
    one, other = (
        sorted(read_members(tmp_path / name / "members.jsonl"), key=lambda record: record.number) for name in ("there", "here")
    )
    assert [record.recipe for record in one] == [record.recipe for record in other]


def test_a_lost_node_ends_its_workers_and_not_the_search(nodes: Any, cluster: Cluster, tmp_path: Path) -> None:
    gone = nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    workers = [cluster.worker() for _ in range(3)]
    assert all(one.wait() for one in workers)
    nodes.remove_node(gone)
    lost = 0
    for one in workers:
        try:
            one.run(partial(divmod, 7, 3))
        except WorkerLostError:
            lost += 1
        one.close()
    assert lost == 1


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(module, "import_module", missing)
    with pytest.raises(TitrantError, match=r"pip install 'titrant\[ray\]'"):
        Cluster("local")


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_an_address_where_nobody_listens_is_said_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # whatever other tests have connected
    begun = time.monotonic()
    with pytest.raises(TitrantError, match=r"There is no Ray cluster at '.*127\.0\.0\.1:9'.*ray start --head"):
        Cluster(address)
    assert time.monotonic() - begun < 20


def test_what_connects_does_not_take_over_a_persons_interrupt() -> None:
    with Interrupt():
        mine = signal.getsignal(signal.SIGTERM)
        with own_signals():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert signal.getsignal(signal.SIGTERM) == mine


def test_networks_of_ones_own_stay_here() -> None:
    with pytest.raises(TitrantError, match="cannot be sent"):
        titrant.fit(TABLE, "y", model=torch.nn.Linear, cluster="local")
