"""One cohort on several processes: each computes a part of every batch, and all take the same step.

    this process, rank 0                                           ranks 1, 2, ...
    lead(cohort, until)  -- the cohort, by broadcast -->           serve(): the same cohort, its own random streams
    gradient of its rows  <-- all_reduce: mean, losses, clock -->  gradient of its rows

For networks that are too large to train several at a time. The gradient of all parameters is one tensor, so a step exchanges
one tensor, and whether the clock of rank 0 has rung goes with it: all stop after the same step. Every process evaluates, and
comes to the same numbers. If a process is lost, this one goes on alone, from the step that was under way.

Source: Li et al. 2020, "PyTorch Distributed: experiences on accelerating data parallel training" (arXiv 2006.15704).
Departures: one exchange for the whole gradient after the backward pass, where `DistributedDataParallel` begins with the last
layers while the first are computed; batch normalisation sees the rows of its own process, as there.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, distributed

from titrant.clock import Clock, Interrupt
from titrant.errors import TitrantError
from titrant.texts import say
from titrant.train.hardware import prepare
from titrant.train.workers import CPU, CannotTravelError, Shared
from titrant.tricks.acting import Streams
from titrant.tricks.hardware import Hardware

_PATIENCE = timedelta(days=30)  # others wait while the leader does something else; one that ends is noticed at once
_START = "import sys; sys.path[:] = {path!r}; from titrant.train.team import serve; serve({place!r}, {rank}, {size}, {threads})"
_END, _DEFINITION, _TASK = b"", b"d", b"t"


class TeamLostError(Exception):
    """A process of the team is gone."""


class Team:
    """Processes that train one cohort together.

    Args:
        rank: of this process; 0 leads.
        size: how many.
        device: where this one computes.

    Attributes:
        rang: whether the leader's clock has rung, as all have heard.
        lost: whether the team is no more.
    """

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank = rank
        self.size = size
        self.device = device
        self.rang = False
        self.lost = False
        self._clock: Clock | None = None

    def part(self, rows: Tensor) -> Tensor:
        """This process's part of each member's rows [k, b]; all of them where there are fewer than processes."""
        return rows.tensor_split(self.size, dim=1)[self.rank] if rows.shape[1] >= self.size else rows

    def mean(self, lost: Tensor, total: Tensor, mine: int, rows: int) -> tuple[Tensor, Tensor]:
        """Losses [k] and gradients [k, P] of all `rows`, from those of `mine`, as `part` gives them.

        Raises:
            TeamLostError: a process is gone.
        """
        members, share = len(lost), mine / rows if rows >= self.size else 1 / self.size
        rang = self._clock is not None and self._clock.left <= 0
        together = torch.cat([share * total.flatten(), share * lost, lost.new_tensor([float(rang and self.rank == 0)])])
        self._exchanged(lambda: distributed.all_reduce(together))
        self.rang = bool(together[-1] > 0)
        return together[-members - 1 : -1], together[: -members - 1].view_as(total)

    def begin(self, clock: Clock) -> None:
        """Before training to some step."""
        self._clock, self.rang = clock, False

    def broadcast(self, content: bytes = b"") -> bytes:
        """What the leader says; the others give nothing.

        Raises:
            TeamLostError: a process is gone.
        """
        length = torch.tensor([len(content)], device=self.device)
        self._exchanged(lambda: distributed.broadcast(length, 0))
        if int(length) == 0:
            return b""
        if self.rank == 0:
            letters = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(self.device)
        else:
            letters = torch.empty(int(length), dtype=torch.uint8, device=self.device)
        self._exchanged(lambda: distributed.broadcast(letters, 0))
        return content or letters.cpu().numpy().tobytes()

    def _exchanged(self, do: Callable[[], object]) -> None:
        try:
            do()
        except RuntimeError as error:  # of a connection that has ended, or of one that says nothing any more
            self.lost = True
            raise TeamLostError from error


class Trainee(Protocol):
    """What a team trains: see `titrant.train.cohort.Cohort`."""

    team: Team | None
    step: int
    clock: Clock
    streams: Streams

    def advance(self, until: int, clock: Clock) -> bool:
        """Trains and evaluates up to a step."""
        ...

    def train(self, until: int, clock: Clock) -> bool:
        """Trains up to a step."""
        ...


class Leader(Team):
    """Starts the other processes, and has them train beside this one while it is entered.

    Args:
        size: processes, this one among them.
        device: where this one computes.

    Raises:
        TitrantError: they do not come together.

    Example:
        >>> with Leader(2, torch.device("cpu")) as team:
        ...     team.size
        2
    """

    def __init__(self, size: int, device: torch.device) -> None:
        super().__init__(0, size, device)
        self._shared = Shared(device)
        self._ending = ExitStack()

    def __enter__(self) -> "Leader":
        global _here
        threads = max(1, torch.get_num_threads() // self.size)
        with ExitStack() as ending:
            place = ""
            if launched() is None:
                place = str(Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="titrant-"))) / "meeting")
                for rank in range(1, self.size):
                    ending.callback(_ended, _started(place, rank, self.size, threads))
            else:
                threads = torch.get_num_threads()
            try:
                _meet(place, 0, self.size, self.device)
            except (RuntimeError, OSError, ValueError) as error:
                raise TitrantError(
                    say("{size} processes could not come together to train one network ({reason}). Use hardware.processes: 1.",
                        size=self.size, reason=str(error).splitlines()[0])
                ) from None  # fmt: skip
            ending.callback(distributed.destroy_process_group)
            ending.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
            self._ending = ending.pop_all()
        _here = self
        return self

    def __exit__(self, *_: object) -> None:
        global _here
        _here = None
        if not self.lost:
            with suppress(TeamLostError):
                self.broadcast(_END)
        self._ending.close()

    def lead(self, cohort: "Trainee", do: str, until: int, clock: Clock) -> bool:
        """Has all train a cohort; see `Cohort.advance` and `Cohort.train`, whose name `do` is."""
        if clock.left <= 0 and cohort.step < until:
            return False
        try:
            definitions, message = self._packed(cohort, do, until)
            for content in (*(_DEFINITION + one for one in definitions), _TASK + message):
                self.broadcast(content)
        except TeamLostError:
            return bool(getattr(cohort, do)(until, clock))
        self.begin(clock)
        cohort.team = self
        try:
            return bool(getattr(cohort, do)(until, clock))
        except BaseException:
            self.lost = True  # the others wait in the middle of a step
            raise
        finally:
            cohort.team = None

    def _packed(self, cohort: "Trainee", do: str, until: int) -> tuple[list[bytes], bytes]:
        try:
            return self._shared.pack((cohort, do, until))
        except CannotTravelError as error:
            raise TitrantError(
                say("Several processes can train a network only if it is made by a function of a module that each of them can "
                    "import ({reason}). Use hardware.processes: 1.", reason=error)
            ) from None  # fmt: skip


_here: Leader | None = None


def here() -> Leader | None:
    """The team of this process, as long as it is whole."""
    return None if _here is None or _here.lost else _here


def _started(place: str, rank: int, size: int, threads: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", _START.format(path=sys.path, place=place, rank=rank, size=size, threads=threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is for this process, which ends the others in good order
    )


def _ended(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def launched() -> tuple[int, int] | None:
    """Rank and number of processes, if `torchrun` has started this one beside others; it decides where they meet.

    Example:
        >>> launched() is None
        True
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    return (int(os.environ.get("RANK", "0")), size) if size > 1 and "MASTER_ADDR" in os.environ else None


def _meet(place: str, rank: int, size: int, device: torch.device) -> None:
    """Waits for all processes.

    Those of this machine meet in a folder that only this user can read, and talk over the loopback interface.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    if place:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    distributed.init_process_group(backend, f"file://{place}" if place else "env://", _PATIENCE, size, rank)


def serve(place: str, rank: int, size: int, threads: int = 0) -> None:
    """The whole life of another process: trains beside the leader what that broadcasts, until it ends."""
    local = int(os.environ.get("LOCAL_RANK", rank))
    device = torch.device("cuda", local % torch.cuda.device_count()) if torch.cuda.is_available() else CPU
    prepare(Hardware(threads=threads), device)
    shared, team = Shared(device), Team(rank, size, device)
    shared.interrupt = Interrupt()
    _meet(place, rank, size, device)
    with suppress(TeamLostError):
        while content := team.broadcast():
            if content[:1] == _DEFINITION:
                shared.define(content[1:])
                continue
            cohort, do, until = shared.unpack(content[1:])
            cohort.streams.part(rank, cohort.step)
            team.begin(cohort.clock)
            cohort.team = team
            getattr(cohort, do)(until, cohort.clock)
