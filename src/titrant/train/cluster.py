"""Workers on a Ray cluster: the only file that imports `ray`.

    this process                     a bridge on this machine                     the cluster
    RayWorker.run(task)  -- bytes -->  Driver.do  -- object store, actor calls -->  Actor.do

An actor takes the place of a process of this machine, and the same bytes travel to it (`titrant.train.workers`). What many
tasks share, the data above all, goes into Ray's object store once, so that each node fetches it once. A lost actor or node
costs the cohort that it was training, which is then trained elsewhere.

Ray ends the process that is connected with it, at once and without a word, when the head of its cluster is lost; it also takes
over that process's signals. So it has a process of its own, the bridge. If that ends, all workers are lost, and the search
goes on in this process. The bytes between the two go through a socket that only they know the key of.
"""

import json
import math
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.managers import BaseManager
from pathlib import Path
from threading import Lock, Thread
from typing import Any, TypeVar

import torch

from titrant.errors import TitrantError
from titrant.texts import say
from titrant.train.hardware import device_of
from titrant.train.workers import CPU, Shared, WorkerLostError, answered, begun

T = TypeVar("T")

_PATIENCE = 5.0  # seconds for an answer at an address, and for the bridge to end
_START = "import sys; sys.path[:] = {path!r}; from titrant.train.cluster import bridge; bridge()"


class Cluster:
    """A connection to a Ray cluster, and its actors.

    Args:
        address: "local" starts one on this machine, "auto" finds the one that this machine belongs to, anything else is where a
            cluster listens, such as `ray://head:10001`.

    Attributes:
        count: actors that the cluster has GPUs for, one each, or else processors.
        gpus: of the cluster.

    Raises:
        TitrantError: Ray is not installed, or there is no such cluster.
    """

    def __init__(self, address: str) -> None:
        if find_spec("ray") is None:
            raise TitrantError(say("A cluster needs one more package: pip install 'titrant[ray]'."))
        if address not in {"local", "auto"}:
            _knock(address)
        self._workers: list[RayWorker] = []
        self._stored: set[bytes] = set()
        self._storing = Lock()
        with ExitStack() as ending:
            place = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="titrant-"))) / "bridge"
            self.bridge, key = _started(), secrets.token_bytes()
            ending.callback(_ended, self.bridge)
            answer = _asked(self.bridge, {"place": str(place), "key": key.hex(), "address": address})
            if "count" not in answer:
                raise TitrantError(
                    answer.get("error") or say("Ray cannot be used: `python -c 'import ray; ray.init()'` may say why.")
                )
            self.count: int = answer["count"]
            self.gpus: int = answer["gpus"]
            manager = _Manager(str(place), key)
            manager.connect()
            self._driver: Any = manager.driver()  # type: ignore[attr-defined]  # registered below
            self._ending = ending.pop_all()

    @property
    def lost(self) -> int:
        """Workers that were lost, as far as they were asked for anything since."""
        return sum(worker.lost for worker in self._workers)

    def worker(self) -> "RayWorker":
        """One more actor."""
        self._workers.append(found := RayWorker(self))
        return found

    def ask(self, what: str, *arguments: Any) -> Any:
        """Has the bridge do something.

        Raises:
            WorkerLostError: the actor, or the bridge, is lost.
        """
        try:
            return getattr(self._driver, what)(*arguments)
        except (OSError, EOFError) as error:
            raise WorkerLostError from error

    def stored(self, content: bytes) -> bytes:
        """The name of content in the object store; equal content travels and lies there once."""
        key = sha256(content).digest()
        with self._storing:
            if key not in self._stored:
                self.ask("put", key, content)
                self._stored.add(key)
        return key

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()


def _knock(address: str) -> None:
    """Sees whether anybody listens at an address with a port, which Ray itself would try for minutes.

    Raises:
        TitrantError: nobody does.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host, int(port)), _PATIENCE).close()
        except OSError as error:
            raise _nobody(address, error) from None


def _nobody(address: str, error: Exception) -> TitrantError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return TitrantError(
        say("There is no Ray cluster at {address!r} ({reason}). Start one (`ray start --head`) and name its address, "
            "or use --cluster local.", address=address, reason=reason)
    )  # fmt: skip


def _started() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", _START.format(path=sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is for this process, which ends its workers in good order
    )


def _asked(bridge: "subprocess.Popen[bytes]", what: dict[str, str]) -> dict[str, Any]:
    """The bridge's first answer, empty if it has ended."""
    assert bridge.stdin is not None
    assert bridge.stdout is not None
    with suppress(OSError):
        bridge.stdin.write(json.dumps(what).encode() + b"\n")
        bridge.stdin.flush()
    return json.loads(bridge.stdout.readline() or b"{}")  # type: ignore[no-any-return]  # as `bridge` writes it


def _ended(bridge: "subprocess.Popen[bytes]") -> None:
    """Lets the bridge end, which takes it from the cluster in good order, or ends it."""
    assert bridge.stdin is not None
    assert bridge.stdout is not None
    with suppress(OSError):
        bridge.stdin.close()
    try:
        bridge.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        bridge.kill()
        bridge.wait()
    bridge.stdout.close()


class RayWorker:
    """A worker that is an actor; see `titrant.train.workers.Worker`.

    Attributes:
        lost: whether it was found to have died.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.lost = False
        self._cluster = cluster
        self._actor = cluster.ask("start")
        self._shared = Shared()

    def wait(self) -> bool:
        """Waits until it can begin; False if it is lost."""
        with suppress(WorkerLostError):
            return bool(self._cluster.ask("ready", self._actor))
        self.lost = True
        return False

    def run(self, task: Callable[[], T]) -> T:
        """Has a task done; see `titrant.train.workers.Worker.run`."""
        definitions, message = self._shared.pack(task)
        try:
            for definition in definitions:
                self._cluster.ask("define", self._actor, self._cluster.stored(definition))
            kind, answer = self._cluster.ask("do", self._actor, message)
        except WorkerLostError:
            self.lost = True
            raise
        return self._shared.result(kind, answer)  # type: ignore[no-any-return]  # what the function returns

    def stop(self) -> None:
        """Asks the task under way to end as if its clock had rung."""
        with suppress(WorkerLostError):  # it has ended
            self._cluster.ask("stop", self._actor)

    def close(self) -> None:
        """Ends the actor, whatever it does."""
        with suppress(WorkerLostError):
            self._cluster.ask("end", self._actor)


# ------------------------------------------------------------------- in the bridge


class Driver:
    """What the bridge does with the cluster; each call has a thread of its own.

    Args:
        address: see `Cluster`.

    Attributes:
        count: actors that the cluster has GPUs for, or else processors.
        gpus: of the cluster.

    Raises:
        TitrantError: there is no such cluster.
    """

    def __init__(self, address: str) -> None:
        self._ray: Any = import_module("ray")
        self._actors: list[Any] = []
        self._stored: dict[bytes, Any] = {}
        quiet = {"configure_logging": False, "log_to_driver": False, "logging_level": "ERROR"}
        try:
            if address == "local":
                self._ray.init(address="local", include_dashboard=False, **quiet)
            else:
                self._ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise _nobody(address, error) from None
        has = self._ray.cluster_resources()
        self.gpus = int(has.get("GPU", 0))
        each = {"num_cpus": 1, "num_gpus": 1} if self.gpus else {"num_cpus": 1}
        self._actor = self._ray.remote(Actor).options(max_concurrency=2, max_restarts=0, **each)
        self.count = max(1, min(self.gpus or math.inf, int(has.get("CPU", 1))))

    def start(self) -> int:
        """Asks Ray for an actor; returns its number."""
        self._actors.append(self._actor.remote(self.gpus > 0))
        return len(self._actors) - 1

    def put(self, key: bytes, content: bytes) -> None:
        """Puts content into the object store."""
        self._stored[key] = self._ray.put(content)

    def ready(self, actor: int) -> int:
        """Waits until an actor can begin."""
        return int(self._get(self._actors[actor].ready.remote()))

    def define(self, actor: int, key: bytes) -> None:
        """Has an actor take over a definition from the object store."""
        self._get(self._actors[actor].define.remote(self._stored[key]))

    def do(self, actor: int, content: bytes) -> Any:
        """Has an actor do a task."""
        return self._get(self._actors[actor].do.remote(content))

    def stop(self, actor: int) -> None:
        """Has the task of an actor end early."""
        with suppress(Exception):  # a lost one has ended
            self._actors[actor].stop.remote()

    def end(self, actor: int) -> None:
        """Ends an actor, whatever it does."""
        with suppress(Exception):  # a lost one is ended already
            self._ray.kill(self._actors[actor])

    def close(self) -> None:
        """Leaves the cluster; one that was started here ends."""
        self._ray.shutdown()

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError:
            raise WorkerLostError from None


class _Manager(BaseManager):
    """Calls from this process to the bridge."""


_Manager.register("driver")


def bridge() -> None:
    """The bridge's whole life: does what it is asked for, until its standard input closes."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    asked = json.loads(source.readline() or b"{}")
    try:
        driver = Driver(asked["address"])
        _Manager.register("driver", callable=lambda: driver)
        server = _Manager(asked["place"], bytes.fromhex(asked["key"])).get_server()
        answer: dict[str, Any] = {"count": driver.count, "gpus": driver.gpus}
    except TitrantError as error:
        answer = {"error": str(error)}
    sink.write(json.dumps(answer).encode() + b"\n")
    sink.flush()
    if "count" not in answer:
        return

    def listen() -> None:
        """Ends when whoever has started the bridge ends, however that is."""
        source.read()
        driver.close()
        os._exit(0)  # calls to lost actors may hang

    Thread(target=listen, daemon=True).start()
    server.serve_forever()


class Actor:
    """What runs on a node of the cluster: one task at a time, in one thread.

    Args:
        gpu: whether it has been given one.
    """

    def __init__(self, gpu: bool) -> None:
        self._shared, self._interrupt = begun(device_of("cuda") if gpu and torch.cuda.is_available() else CPU)

    def ready(self) -> int:
        """The number of its process."""
        return os.getpid()

    def define(self, content: bytes) -> None:
        """Takes over a definition."""
        self._shared.define(content)

    def do(self, content: bytes) -> tuple[bytes, bytes]:
        """Does a task: "done" or "raised", and the packed result or exception."""
        return answered(self._shared, content)

    def stop(self) -> None:
        """The task under way, and all that follow, end at once."""
        self._interrupt.asked = True
