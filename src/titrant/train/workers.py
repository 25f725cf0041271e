"""Processes that train: each takes one task at a time from this process and sends its result back.

    this process                                    worker
    Worker.run(partial(function, ...)) --- pipe -->  function(...)
               result or exception     <-- pipe ---

Processes rather than threads, because Python lets one thread run at a time: two threads that each take thousands of small
tensor operations a second spend their time waiting for one another. Steps of stacks of 4 to 16 narrow members took 1.2 to 1.5
times as long in two threads as in two processes, and those of single members twice as long.

A task is a function of a module with its arguments. What many tasks share (the problem with its data, the rows of members, the
interrupt) is sent once and known by name afterwards, so that a cohort costs as much as its own numbers. A worker holds nothing
that this process does not have: if it dies, its task is done again elsewhere. The bytes on the pipes are written and read by
these two processes only; nothing that comes from a file is read this way.
"""

import io
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import IO, Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from titrant.clock import Clock, Interrupt
from titrant.train.hardware import prepare
from titrant.train.member import Member
from titrant.train.problem import Problem
from titrant.tricks.hardware import Hardware

T = TypeVar("T")

LARGEST = 1 << 26
"""Bytes of raw data up to which workers are used: each holds a copy, and large data makes steps long enough for threads."""

CPU = torch.device("cpu")

_START = "import sys; sys.path[:] = {path!r}; from titrant.train.workers import serve; serve()"
_LENGTH = struct.Struct(">Q")
_LOOK = 0.1  # seconds after which a person's interrupt is noticed at the latest


class WorkerLostError(Exception):
    """A worker has died; its task was not done."""


class CannotTravelError(Exception):
    """Something cannot be sent to another process, such as a function that belongs to no module."""


class Worker:
    """A process that does tasks one at a time, in one thread.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self) -> None:
        if not sys.executable:  # as in a program that embeds Python
            raise OSError
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is for this process, which ends its workers in good order
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: IO[bytes] = self._process.stdin
        self._from: IO[bytes] = self._process.stdout
        self._sending = threading.Lock()
        self._shared = Shared()

    def wait(self) -> bool:
        """Waits until it can begin; False if it has died."""
        with suppress(OSError, EOFError, ValueError):
            return _receive(self._from)[0] == b"ready"
        return False

    def run(self, task: Callable[[], T]) -> T:
        """Has a task done, after `wait`.

        Args:
            task: a function of a module, or a `functools.partial` of one; its arguments are copied, and the originals stay as
                they are.

        Raises:
            WorkerLostError: the process has died.
            Exception: what the task raised.
        """
        definitions, message = self._shared.pack(task)
        try:
            with self._sending:
                for definition in definitions:
                    _send(self._to, b"define", definition)
                _send(self._to, b"do", message)
            kind, answer = _receive(self._from)
        except (OSError, EOFError, ValueError) as error:
            raise WorkerLostError from error
        return self._shared.result(kind, answer)  # type: ignore[no-any-return]  # what the function returns

    def stop(self) -> None:
        """Asks the task under way to end as if its clock had rung."""
        with suppress(OSError, ValueError), self._sending:
            _send(self._to, b"stop", b"")

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._to, self._from):
            with suppress(OSError):
                pipe.close()

    @property
    def number(self) -> int:
        """The number of the process."""
        return self._process.pid


class Executor(Protocol):
    """Whatever does tasks elsewhere: a process of this machine, an actor of a cluster. See `Worker`."""

    def wait(self) -> bool:
        """Waits until it can begin; False if it has died."""
        ...

    def run(self, task: Callable[[], T]) -> T:
        """Has a task done."""
        ...

    def stop(self) -> None:
        """Asks the task under way to end."""
        ...

    def close(self) -> None:
        """Ends it."""
        ...


class Workers:
    """Some workers.

    Args:
        count: how many; fewer are there if the system refuses.
        interrupt: ends their tasks when a person asks.
        make: makes one; processes of this machine if None.
        awaited: a task waits for one to be idle while there is any and this clock has not rung; None does it in this process.

    Attributes:
        lanes: how many tasks they take together, where they are to do all of them; None where this process trains beside them.
        idle: those that have nothing to do; empty until the first has started, which takes some seconds.

    Example:
        >>> from functools import partial
        >>> with Workers(1) as workers:
        ...     worker = workers.idle.get()
        ...     worker.run(partial(divmod, 7, 3))
        (2, 1)
    """

    def __init__(
        self,
        count: int,
        interrupt: Interrupt | None = None,
        make: Callable[[], Executor] | None = None,
        awaited: Clock | None = None,
    ) -> None:
        self.interrupt = interrupt
        self.awaited = awaited
        self._alive, self._counting = 0, threading.Lock()
        self.lanes = None if make is None else count
        self.idle: SimpleQueue[Executor] = SimpleQueue()
        self._all: list[Executor] = []
        with suppress(OSError):
            for _ in range(count):
                worker = (make or Worker)()
                self._all.append(worker)
                self._alive += 1
                threading.Thread(target=self._welcome, args=[worker], daemon=True).start()

    def _welcome(self, worker: Executor) -> None:
        if worker.wait():
            self.idle.put(worker)
        else:
            self.lose()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def free(self) -> Executor | None:
        """One that has nothing to do, which the caller puts back into `idle`, or counts as lost; None if there is none."""
        with suppress(Empty):
            if self.awaited is None:
                return self.idle.get_nowait()
        while self.awaited is not None and self._alive > 0 and self.awaited.left > 0:
            with suppress(Empty):
                return self.idle.get(timeout=_LOOK)
        return None

    def lose(self) -> None:
        """Counts one that has died."""
        with self._counting:
            self._alive -= 1

    def stop_if_asked(self) -> None:
        """Passes a person's interrupt on."""
        if self.interrupt is not None and self.interrupt.asked:
            for worker in self._all:
                worker.stop()

    def close(self) -> None:
        """Ends all processes; what asks for one afterwards finds none."""
        while not self.idle.empty():
            self.idle.get()
        while self._all:
            self._all.pop().close()


# ------------------------------------------------------------------- in the worker


def serve() -> None:
    """The worker's whole life: does what arrives on standard input until that closes."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a task prints must not end up between the answers
    shared, interrupt = begun()
    arrived: SimpleQueue[tuple[bytes, bytes]] = SimpleQueue()

    def listen() -> None:
        """Hears of a stop, or of the other process's end, while a task is under way."""
        while True:
            try:
                kind, content = _receive(source)
            except (OSError, EOFError):
                kind, content = b"end", b""
            interrupt.asked = interrupt.asked or kind in {b"stop", b"end"}
            arrived.put((kind, content))
            if kind == b"end":
                return

    threading.Thread(target=listen, daemon=True).start()
    _send(sink, b"ready", b"")
    while True:
        kind, content = arrived.get()
        if kind == b"end":
            return
        if kind == b"define":
            shared.define(content)
        elif kind == b"do":
            _send(sink, *answered(shared, content))


def begun(device: torch.device = CPU) -> tuple["Shared", Interrupt]:
    """Sets a worker's process up: one thread, what the first task needs, and what ends a task early."""
    torch.set_num_threads(1)
    prepare(Hardware(), device)
    import_module("titrant.train.cohort")
    shared = Shared(device)
    shared.interrupt = interrupt = Interrupt()
    return shared, interrupt


def answered(shared: "Shared", content: bytes) -> tuple[bytes, bytes]:
    """Does a packed task: "done" or "raised", and the packed result or exception."""
    try:
        return b"done", shared.pack(shared.unpack(content)())[1]
    except Exception as error:  # goes to the process that asked, whatever it is
        return b"raised", _packed_error(shared, error)


def _packed_error(shared: "Shared", error: Exception) -> bytes:
    try:
        return shared.pack(error)[1]
    except Exception:  # some errors hold what cannot travel
        return shared.pack(RuntimeError(f"{type(error).__name__}: {error}"))[1]


# ----------------------------------------------------------------- on the pipes


def _send(pipe: IO[bytes], kind: bytes, content: bytes) -> None:
    pipe.write(_LENGTH.pack(len(kind)) + kind + _LENGTH.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[bytes, bytes]:
    return _part(pipe), _part(pipe)


def _part(pipe: IO[bytes]) -> bytes:
    length = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))[0]
    return _exactly(pipe, length)


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    found = pipe.read(count)
    if len(found) < count:
        raise EOFError
    return found


class Shared:
    """What both sides know by name: problems, their raw data, rows of members; the interrupt, and each side's own device.

    Args:
        device: where this side computes; what lies on one side's device comes to lie on the other's.
    """

    def __init__(self, device: torch.device = CPU) -> None:
        self.device = device
        self.interrupt: Interrupt | None = None
        self._objects: dict[int, Any] = {}
        self._names: dict[int, int] = {}

    def pack(self, thing: Any) -> tuple[list[bytes], bytes]:
        """Definitions that the other side does not have yet, in order, and the thing itself."""
        definitions: list[bytes] = []
        return definitions, self._packed(thing, definitions)

    def unpack(self, content: bytes) -> Any:
        """The thing, made of this side's own shared objects."""
        return _Unpickler(self, content).load()

    def result(self, kind: bytes, answer: bytes) -> Any:
        """What a task gave, from what `answered` says; raises what it raised."""
        found = self.unpack(answer)
        if kind == b"raised":
            raise found
        return found

    def define(self, content: bytes) -> None:
        """Takes over a definition."""
        name, recipe = self.unpack(content)
        self._keep(name, recipe())

    def name_of(self, thing: Any, definitions: list[bytes]) -> Any:
        """The name of something shared, which is defined first if it is new; None for anything else."""
        if isinstance(thing, Interrupt):
            return "interrupt"
        if isinstance(thing, torch.device) and thing == self.device:
            return "device"
        if id(thing) in self._names:
            return self._names[id(thing)]
        if not isinstance(thing, Problem):
            return None
        return self.share(thing, definitions, partial(type(thing), **thing.parts()))

    def share(self, thing: Any, definitions: list[bytes], recipe: Callable[[], Any]) -> int:
        """Gives something a name, and defines it by what makes it."""
        if id(thing) not in self._names:
            if isinstance(thing, Problem):
                for raw in (part for part in thing.parts().values() if isinstance(part, Tensor)):
                    self.share(raw, definitions, partial(_tensor, raw.cpu().numpy(), False, raw.device))
            name = len(self._objects)
            self._keep(name, thing)
            definitions.append(self._packed((name, recipe), definitions))
        return self._names[id(thing)]

    def named(self, name: Any) -> Any:
        """What has a name."""
        if name == "device":
            return self.device
        return self.interrupt if name == "interrupt" else self._objects[name]

    def _keep(self, name: int, thing: Any) -> None:
        self._objects[name] = thing  # held, so that its identity is not given to anything else
        self._names[id(thing)] = name

    def _packed(self, thing: Any, definitions: list[bytes]) -> bytes:
        stream = io.BytesIO()
        try:
            _Pickler(self, stream, definitions).dump(thing)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise CannotTravelError(str(error).splitlines()[0]) from error
        return stream.getvalue()


def _tensor(array: "np.ndarray[Any, Any]", requires_grad: bool, device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device).requires_grad_(requires_grad)


def _clock(elapsed: float, left: float, interrupt: Interrupt | None) -> Clock:
    now = time.monotonic()
    return Clock(now - elapsed, now + left, interrupt)


class _Pickler(pickle.Pickler):
    """Writes shared objects as names, and tensors as arrays, which is several times faster than torch's own way."""

    def __init__(self, shared: Shared, stream: io.BytesIO, definitions: list[bytes]) -> None:
        super().__init__(stream, protocol=5)
        self._shared = shared
        self._definitions = definitions

    def persistent_id(self, obj: Any) -> Any:
        """The name of a shared object."""
        return self._shared.name_of(obj, self._definitions)

    def reducer_override(self, obj: Any) -> Any:
        """How tensors are taken apart; on the way, the rows of members become shared."""
        if isinstance(obj, Member):
            for rows in (obj.rows, obj.held_out):
                self._shared.share(rows, self._definitions, partial(_tensor, rows.cpu().numpy(), False, rows.device))
        if isinstance(obj, Clock):  # another machine counts from another moment
            now = time.monotonic()
            return _clock, (now - obj.start, obj.end - now, obj.interrupt)
        if isinstance(obj, Tensor):
            return _tensor, (obj.detach().cpu().numpy(), obj.requires_grad, obj.device)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, shared: Shared, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self._shared = shared

    def persistent_load(self, pid: Any) -> Any:
        """The shared object of a name."""
        return self._shared.named(pid)
