"""Workers on a Ray cluster: the only file that imports `ray`.

An actor takes the place of a process of this machine, and the same bytes travel to it (`titrant.train.workers`). What many
tasks share, the data above all, goes into Ray's object store once, so that each node fetches it once. A lost actor or node
costs the cohort that it was training, which is then trained elsewhere.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib import import_module
from typing import Any, TypeVar

from titrant.errors import TitrantError
from titrant.texts import say
from titrant.train.workers import Shared, WorkerLostError, answered, begun

T = TypeVar("T")

_PATIENCE = 5.0  # seconds for an answer at an address


class Cluster:
    """A connection to a Ray cluster, and its actors.

    Args:
        address: "local" starts one on this machine, "auto" finds the one that this machine belongs to, anything else is where a
            cluster listens, such as `ray://head:10001`.

    Attributes:
        count: actors that the cluster has processors for.

    Raises:
        TitrantError: Ray is not installed, or there is no such cluster.
    """

    def __init__(self, address: str) -> None:
        try:
            self._ray: Any = import_module("ray")
        except ImportError:
            raise TitrantError(say("A cluster needs one more package: pip install 'titrant[ray]'.")) from None
        quiet = {"configure_logging": False, "log_to_driver": False, "logging_level": "ERROR"}
        self._mine = not self._ray.is_initialized()
        try:
            with own_signals():
                if not self._mine:
                    pass  # somebody in this process has connected already
                elif address == "local":
                    self._ray.init(address="local", include_dashboard=False, **quiet)
                else:
                    _knock(address)
                    self._ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise TitrantError(
                say("There is no Ray cluster at {address!r} ({reason}). Start one (`ray start --head`) and name its address, "
                    "or use --cluster local.", address=address, reason=reason)
            ) from None  # fmt: skip
        self.count = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._actor = self._ray.remote(Actor).options(num_cpus=1, max_concurrency=2, max_restarts=0)
        self._stored: dict[bytes, Any] = {}

    def worker(self) -> "RayWorker":
        """One more actor."""
        return RayWorker(self)

    def start(self) -> Any:
        """Asks Ray for an actor."""
        return self._actor.remote()

    def stored(self, content: bytes) -> Any:
        """Where content lies in the object store; equal content lies there once."""
        key = sha256(content).digest()
        if key not in self._stored:
            self._stored[key] = self._ray.put(content)
        return self._stored[key]

    def get(self, reference: Any) -> Any:
        """What a reference stands for.

        Raises:
            WorkerLostError: its actor is lost.
        """
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            raise WorkerLostError from error

    def end(self, actor: Any) -> None:
        """Ends an actor, whatever it does."""
        with suppress(Exception):  # a lost one is ended already
            self._ray.kill(actor)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        if self._mine:
            self._ray.shutdown()


@contextmanager
def own_signals() -> Iterator[None]:
    """Puts back what happens at Ctrl-C and SIGTERM: Ray ends the process at once, where a run ends gracefully."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in kept.items():
                signal.signal(number, handler)


def _knock(address: str) -> None:
    """Sees whether anybody listens at an address with a port, which Ray itself would try for minutes.

    Raises:
        OSError: nobody does.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), _PATIENCE).close()


class RayWorker:
    """A worker that is an actor; see `titrant.train.workers.Worker`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.actor = cluster.start()
        self._shared = Shared()

    def wait(self) -> bool:
        """Waits until it can begin; False if it is lost."""
        try:
            return bool(self._cluster.get(self.actor.ready.remote()))
        except WorkerLostError:
            return False

    def run(self, task: Callable[[], T]) -> T:
        """Has a task done; see `titrant.train.workers.Worker.run`."""
        definitions, message = self._shared.pack(task)
        for definition in definitions:
            self._cluster.get(self.actor.define.remote(self._cluster.stored(definition)))
        kind, answer = self._cluster.get(self.actor.do.remote(message))
        return self._shared.result(kind, answer)  # type: ignore[no-any-return]  # what the function returns

    def stop(self) -> None:
        """Asks the task under way to end as if its clock had rung."""
        with suppress(Exception):  # a lost one has ended
            self.actor.stop.remote()

    def close(self) -> None:
        """Ends the actor, whatever it does."""
        self._cluster.end(self.actor)


class Actor:
    """What runs on a node of the cluster: one task at a time, in one thread."""

    def __init__(self) -> None:
        self._shared, self._interrupt = begun()

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
