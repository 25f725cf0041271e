"""What tricks are handed when they act: random numbers of their own, and a ledger for their receipts.

Every member has one random stream for each slot. Switching one trick on or off therefore never shifts the random numbers of
another, arms of a comparison stay paired, and a member draws the same numbers in a stack as alone.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import torch
from torch import Generator, Tensor

_RANDOMNESS = threading.RLock()
_WORD = 0xFFFFFFFF


def derived_seed(seed: int, *names: str | int) -> int:
    """A seed for one purpose, independent of those for other purposes.

    Example:
        >>> derived_seed(0, "dropout") != derived_seed(0, "order")
        True
    """
    words = [seed & _WORD, seed >> 32] if seed >> 32 else [seed]
    return _scattered([*words, *(crc32(str(name).encode()) for name in names)]) >> 1


def _scattered(words: list[int]) -> int:
    """64 bits that all bits of some words of 32 bits have a share in.

    Source: `numpy.random.SeedSequence(words).generate_state(1, numpy.uint64)`, which it equals; after O'Neill 2015, "Developing
    a seed_seq alternative".
    """
    factor = 0x43B0D7E5

    def stirred(word: int, by: int) -> int:
        nonlocal factor
        word ^= factor
        factor = factor * by & _WORD
        word = word * factor & _WORD
        return word ^ word >> 16

    def mixed(one: int, other: int) -> int:
        word = (0xCA01F9DD * one - 0x4973F715 * other) & _WORD
        return word ^ word >> 16

    filled = words + [0] * (4 - len(words))
    pool = [stirred(word, 0x931E8875) for word in filled[:4]]
    for source in range(4):
        for target in range(4):
            if source != target:
                pool[target] = mixed(pool[target], stirred(pool[source], 0x931E8875))
    for word in filled[4:]:
        for target in range(4):
            pool[target] = mixed(pool[target], stirred(word, 0x931E8875))
    factor = 0x8B51F9DD
    low, high = (stirred(word, 0x58F38DED) for word in pool[:2])
    return low | high << 32


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Sets torch's global random stream, which threads share, and puts it back; one thread at a time."""
    with _RANDOMNESS, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class Streams:
    """Random streams of k members, one for each slot.

    Args:
        seeds: one for each member.
        device: where numbers are drawn. Streams that move to another kind of device and back go on where they were; what is
            drawn in between is new.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.seeds = list(seeds)
        self.device = device
        self._generators: dict[str, list[Generator]] = {}
        self._kind, self._elsewhere = "", dict[str, list[Tensor]]()
        self._part: tuple[int, ...] = ()

    def of(self, slot: str) -> list[Generator]:
        """The slot's generators, one for each member."""
        if slot not in self._generators:
            # Another kind of device cannot go on with these states: it draws numbers that have not been drawn there.
            moved = [self._kind] if self._elsewhere.pop(slot, None) is not None else []
            part = self._part if slot != "order" else ()
            self._generators[slot] = [
                Generator(self.device).manual_seed(derived_seed(seed, slot, *moved, *part)) for seed in self.seeds
            ]  # fmt: skip
        return self._generators[slot]

    def bytes(self, slot: str, shape: Sequence[int], start: int, stop: int) -> Tensor:
        """Uniform bytes (uint8) [stop - start, *shape] for the members from `start` to `stop`.

        Whole 64-bit words are drawn and read as bytes: eight times fewer calls into the generator than drawing floats.
        """
        count = math.prod(shape)
        words = torch.empty(stop - start, (count + 7) // 8, dtype=torch.int64, device=self.device)
        for row, generator in zip(words, self.of(slot)[start:stop], strict=True):
            row.random_(-(2**63), None, generator=generator)
        return words.view(torch.uint8)[:, :count].reshape(stop - start, *shape)

    def uniform(self, slot: str, shape: Sequence[int], start: int, stop: int) -> Tensor:
        """Uniform floats in [0, 1), [stop - start, *shape]."""
        drawn = torch.empty(stop - start, *shape, device=self.device)
        for row, generator in zip(drawn, self.of(slot)[start:stop], strict=True):
            row.uniform_(generator=generator)
        return drawn

    def normal(self, slot: str, shape: Sequence[int], start: int, stop: int) -> Tensor:
        """Standard normal floats [stop - start, *shape]."""
        drawn = torch.empty(stop - start, *shape, device=self.device)
        for row, generator in zip(drawn, self.of(slot)[start:stop], strict=True):
            row.normal_(generator=generator)
        return drawn

    def place(self, slots: Sequence[str]) -> dict[str, list[Tensor]]:
        """Where the streams of some slots are now, for `back_at` and `load`."""
        return {slot: [generator.get_state() for generator in self.of(slot)] for slot in slots}

    @contextmanager
    def back_at(self, place: dict[str, list[Tensor]]) -> Iterator[None]:
        """Draws from a place on once more for a while, and then goes on from here.

        Example:
            >>> streams = Streams([0], torch.device("cpu"))
            >>> place = streams.place(["dropout"])
            >>> drawn = streams.bytes("dropout", [9], 0, 1)
            >>> with streams.back_at(place):
            ...     torch.equal(streams.bytes("dropout", [9], 0, 1), drawn)
            True
        """
        here = self.place(list(place))
        self.load(place)
        try:
            yield
        finally:
            self.load(here)

    def keep(self, members: Sequence[int]) -> None:
        """Goes on with the given members only."""
        self.seeds = [self.seeds[k] for k in members]
        self._generators = {slot: [found[k] for k in members] for slot, found in self._generators.items()}
        self._elsewhere = {slot: [found[k] for k in members] for slot, found in self._elsewhere.items()}

    def part(self, rank: int, step: int) -> None:
        """From now on the same order, but other numbers than the processes beside this one; all have come to `step`."""
        self._part = (rank, step)
        self._generators = {slot: found for slot, found in self._generators.items() if slot == "order"}
        self._elsewhere = {}

    def __getstate__(self) -> dict[str, Any]:
        """For another process; generators themselves cannot travel."""
        mine = {slot: (self.device.type, found) for slot, found in self.state().items()}
        others = {slot: (self._kind, found) for slot, found in self._elsewhere.items()}
        return {"seeds": self.seeds, "device": self.device, "state": others | mine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["seeds"], state["device"])  # type: ignore[misc]  # as pickle itself would not
        for slot, (kind, found) in state["state"].items():
            if kind == self.device.type:
                self.load({slot: found})
            else:
                self._kind, self._elsewhere[slot] = kind, found

    def state(self) -> dict[str, list[Tensor]]:
        """Everything needed to go on from here, for `load`."""
        return self.place(list(self._generators))

    def load(self, state: dict[str, list[Tensor]]) -> None:
        """Goes on from a state that `state` has returned."""
        for slot, found in state.items():
            for generator, saved in zip(self.of(slot), found, strict=True):
                generator.set_state(saved.cpu())


class Ledger:
    """Counts what each trick did, member by member, without waiting for the device.

    Counting costs passes over memory, so tricks that act on every unit are asked only in some steps: `probing` says when.
    """

    def __init__(self, members: int, device: torch.device) -> None:
        self.members = members
        self.device = device
        self.probing = True
        self._acted: dict[str, Tensor] = {}
        self._seen: dict[str, Tensor] = {}

    def add(self, path: str, start: int, stop: int, acted: Tensor | float, seen: Tensor | float) -> None:
        """Books that the trick at `path` acted on `acted` of `seen` units of each member from `start` to `stop`."""
        if path not in self._acted:
            self._acted[path] = torch.zeros(self.members, dtype=torch.float64, device=self.device)
            self._seen[path] = torch.zeros(self.members, dtype=torch.float64, device=self.device)
        self._acted[path][start:stop] += acted
        self._seen[path][start:stop] += seen

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Books nothing for a while: what tricks do then, they have done and booked before."""
        probing, booked, seen = self.probing, self._acted, self._seen
        self.probing, self._acted, self._seen = False, {}, {}
        try:
            yield
        finally:
            self.probing, self._acted, self._seen = probing, booked, seen

    def read(self) -> dict[str, tuple[list[float], list[float]]]:
        """For each path the units acted on and seen, by member."""
        return {path: (self._acted[path].tolist(), self._seen[path].tolist()) for path in self._acted}

    def keep(self, members: Sequence[int]) -> None:
        """Goes on with the given members only."""
        self.members = len(members)
        chosen = torch.as_tensor(list(members), device=self.device)
        self._acted = {path: counts[chosen] for path, counts in self._acted.items()}
        self._seen = {path: counts[chosen] for path, counts in self._seen.items()}

    def state(self) -> dict[str, Any]:
        """Everything needed to go on from here, for `load`."""
        return {"acted": {p: t.clone() for p, t in self._acted.items()}, "seen": {p: t.clone() for p, t in self._seen.items()}}

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from a state that `state` has returned."""
        self._acted = {path: counts.clone() for path, counts in state["acted"].items()}
        self._seen = {path: counts.clone() for path, counts in state["seen"].items()}
