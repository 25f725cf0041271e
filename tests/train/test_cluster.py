"""Workers on a real Ray cluster of two nodes on this machine: tasks, what is shared, lost actors and nodes, and a whole fit."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

import titrant
from titrant import samples
from titrant.clock import Clock, Interrupt
from titrant.errors import TitrantError
from titrant.record import Summary, read_members
from titrant.train import cluster as module
from titrant.train.cluster import Cluster, RayWorker
from titrant.train.lanes import side_by_side
from titrant.train.tables import TableProblem
from titrant.train.workers import WorkerLostError, Workers

pytest.importorskip("ray")
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
    made.wait_for_nodes()
    yield made
    made.shutdown()
    if before is None:
        del os.environ["RAY_AUTH_MODE"]


@pytest.fixture(scope="module")
def cluster(nodes: Any) -> Iterator[Cluster]:
    with Cluster(nodes.address) as found:
        yield found


@pytest.fixture(scope="class")
def pair(cluster: Cluster) -> Iterator[list[RayWorker]]:
    """An actor on each processor: whoever needs another one waits until these are closed."""
    found = [cluster.worker() for _ in range(2)]
    assert all(one.wait() for one in found)
    yield found
    for one in found:
        one.close()


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


class TestTwoActors:
    """What two actors do; the last test ends them."""

    def test_tasks_are_done_elsewhere_and_errors_travel(self, pair: list[RayWorker]) -> None:
        worker, _ = pair
        assert worker.run(partial(divmod, 7, 3)) == (2, 1)
        assert worker.run(where) != os.getpid()
        with pytest.raises(ZeroDivisionError):
            worker.run(partial(divmod, 1, 0))
        assert worker.run(partial(divmod, 7, 3)) == (2, 1)

    def test_data_lie_in_the_object_store_once(self, cluster: Cluster, pair: list[RayWorker]) -> None:
        given, before = problem(), len(cluster._stored)
        assert [one.run(partial(first_number, given, 7)) for one in pair[:1]] == [14.0]
        stored = len(cluster._stored)
        assert stored > before
        assert [one.run(partial(first_number, given, row)) for one in pair for row in (1, 2)] == [2.0, 4.0, 2.0, 4.0]
        assert len(cluster._stored) == stored

    def test_a_clock_keeps_its_time_on_the_way(self, pair: list[RayWorker]) -> None:
        assert pair[0].run(partial(until_it_rings, Clock.of(1.0))) == pytest.approx(1.0, abs=0.5)

    def test_a_lost_actor_costs_nothing_but_its_task(self, pair: list[RayWorker]) -> None:
        with Workers(2, None, iter(pair).__next__) as workers:
            both = [workers.idle.get() for _ in range(2)]
            os.kill(both[0].run(where), signal.SIGKILL)
            for one in both:
                workers.idle.put(one)
            found = list(side_by_side((partial(slowly, number) for number in range(6)), 2, workers=workers))
        assert sorted(number for number, _ in found) == list(range(6))
        assert os.getpid() in {process for _, process in found}


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


def test_the_same_fit_on_a_cluster_and_here(nodes: Any, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"budget": "5m", "members": 4}
    there = titrant.fit(TABLE, "y", cluster=nodes.address, out=tmp_path / "there", **settings)
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


@contextmanager
def head(port: int) -> Iterator[psutil.Process]:
    """A cluster of its own, which is killed at the end."""
    place = tempfile.mkdtemp(prefix="ray")  # short: the names of sockets below it are limited
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}", "--num-cpus=2", "--block",
               "--include-dashboard=false", f"--temp-dir={place}"]  # fmt: skip
    quiet = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    process = subprocess.Popen(command, env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.2)
        time.sleep(3)  # its node joins after the head
        yield psutil.Process(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(place, ignore_errors=True)


def trains(node: psutil.Process) -> bool:
    """Whether an actor of a node is doing a task."""
    for process in node.children(recursive=True):
        with suppress(psutil.Error):
            if "ray::Actor.do" in " ".join(process.cmdline()):
                return True
    return False


@pytest.mark.slow
def test_when_the_head_is_lost_the_run_ends_in_time_and_goes_on_with_a_new_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, folder = f"127.0.0.1:{port}", tmp_path / "run"
    command = [sys.executable, "-m", "titrant", "fit", "--cluster", address, "--quiet", "--budget"]
    quiet = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    with head(port) as node:
        begun = time.monotonic()
        process = subprocess.Popen(
            [*command, "40s", str(samples.path("adult")), "--target", "income", "--out", str(folder)],
            env=quiet, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while time.monotonic() < begun + 30:
            time.sleep(0.3)
            if (folder / "summary.json").exists() and trains(node):
                break
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert time.monotonic() - begun < 60
    before = Summary.read(folder / "summary.json")
    lost = f"workers on the Ray cluster at {address}; what they had begun was trained again"
    assert any(warning.startswith("Lost: ") and lost in warning for warning in before.warnings), before.warnings
    with head(port):
        done = subprocess.run(
            [*command, "45s", "--resume", str(folder)], env=quiet, capture_output=True, text=True, timeout=100, check=False
        )
    assert done.returncode == 0, done.stderr
    after = Summary.read(folder / "summary.json")
    assert after.n_members > before.n_members
    assert not any(warning.startswith("Lost: ") for warning in after.warnings if warning not in before.warnings)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(TitrantError, match=r"pip install 'titrant\[ray\]'"):
        Cluster("local")


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_an_address_where_nobody_listens_is_said_at_once(address: str) -> None:
    begun = time.monotonic()
    with pytest.raises(TitrantError, match=r"There is no Ray cluster at '.*127\.0\.0\.1:9'.*ray start --head"):
        Cluster(address)
    assert time.monotonic() - begun < 20


def test_a_lost_bridge_is_a_lost_worker_and_its_task_is_done_here(nodes: Any) -> None:
    with Cluster(nodes.address) as found, Workers(1, None, found.worker) as workers:
        one = workers.idle.get(timeout=60)
        workers.idle.put(one)
        killer = threading.Timer(0.8, found.bridge.kill)
        killer.start()
        done = list(side_by_side((partial(slowly, number) for number in range(6)), 2, workers=workers))
        killer.join()
        with pytest.raises(WorkerLostError):
            one.run(where)
    assert sorted(number for number, _ in done) == list(range(6))
    assert len({process for _, process in done}) == 2
    assert found.lost == 1


def test_networks_of_ones_own_stay_here() -> None:
    with pytest.raises(TitrantError, match="cannot be sent"):
        titrant.fit(TABLE, "y", model=torch.nn.Linear, cluster="local")


# ------------------------------------------------------------------------ GPUs


def gpus_given() -> list[str]:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")


def test_each_gpu_gets_an_actor_and_all_training(nodes: Any, tmp_path: Path) -> None:
    """Ray is told of GPUs that are not there, so the actors compute on processors, but each is given one."""
    node = nodes.add_node(num_cpus=2, num_gpus=2)
    try:
        nodes.wait_for_nodes()
        with Cluster(nodes.address) as cluster:
            assert (cluster.count, cluster.gpus) == (2, 2)
            workers = [cluster.worker() for _ in range(2)]
            assert sorted(worker.run(gpus_given) for worker in workers) == [["0"], ["1"]]
            for worker in workers:
                worker.close()
        run = titrant.fit(TABLE, target="y", budget="60s", members=3, cluster=nodes.address, out=tmp_path / "run")
        assert run.summary.n_members == 3
    finally:
        nodes.remove_node(node)


def test_a_device_is_not_named_beside_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(TitrantError, match="leave out --device cuda"):
        titrant.fit(TABLE, target="y", budget="10s", cluster="local", device="cuda", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
