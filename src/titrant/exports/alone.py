"""What stands in an exported script for parts of this project that serve many members at once, with the same behaviour.

In a script there is one network at a time: a trick is a plain value, its doses are plain numbers, and nobody counts what it
did. `titrant.exports.source` puts each definition here in the place of that of the same name in `PLACES`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from titrant.tricks.acting import derived_seed

PLACES = {
    "Trick": "titrant.tricks.base",
    "Off": "titrant.tricks.base",
    "Segment": "titrant.tricks.base",
    "segments": "titrant.tricks.base",
    "active_segments": "titrant.tricks.base",
    "by_segment": "titrant.tricks.base",
    "Streams": "titrant.tricks.acting",
    "own_randomness": "titrant.tricks.acting",
    "say": "titrant.texts",
}
"""By name, the module whose definition is replaced."""


class Trick:
    """One technique; its fields are its doses."""

    is_off = False

    def values(self) -> dict[str, Any]:
        """The doses by name."""
        return dict(vars(self))


class Off(Trick):
    """The trick is absent."""

    is_off = True


@dataclass(frozen=True)
class Segment:
    """Members `start` to `stop` of a batch that hold a trick of one kind, here the only one; `values` are its doses."""

    kind: type[Trick]
    start: int
    stop: int
    values: dict[str, Any]

    def __len__(self) -> int:
        return self.stop - self.start


def segments(tricks: Sequence[Trick], *, axes: int = 0, device: torch.device | str = "cpu") -> list[Segment]:
    """The only member's trick."""
    return [Segment(type(tricks[0]), 0, 1, tricks[0].values())]


def active_segments(tricks: Sequence[Trick], *, axes: int = 0, device: torch.device | str = "cpu") -> list[Segment]:
    """The only member's trick; nothing where it is absent."""
    return [] if isinstance(tricks[0], Off) else segments(tricks)


def by_segment(parts: Sequence[Segment], x: Tensor, act: Callable[[Segment, Tensor], Tensor]) -> Tensor:
    """What the only member's trick makes of x."""
    return act(parts[0], x)


class Streams:
    """Random numbers, a stream for each trick, so that switching one off never shifts the numbers of another."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.seed = seeds[0]
        self.device = device
        self.generators: dict[str, Generator] = {}

    def of(self, slot: str) -> list[Generator]:
        """The stream of a trick."""
        if slot not in self.generators:
            self.generators[slot] = Generator(self.device).manual_seed(derived_seed(self.seed, slot))
        return [self.generators[slot]]

    def bytes(self, slot: str, shape: Sequence[int], start: int, stop: int) -> Tensor:
        """Uniform bytes (uint8) [1, *shape], drawn as words of eight: eight times fewer calls into the generator."""
        count = math.prod(shape)
        words = torch.empty((count + 7) // 8, dtype=torch.int64, device=self.device)
        words.random_(-(2**63), None, generator=self.of(slot)[0])
        return words.view(torch.uint8)[:count].reshape(1, *shape)

    def uniform(self, slot: str, shape: Sequence[int], start: int, stop: int) -> Tensor:
        """Uniform floats in [0, 1), [1, *shape]."""
        return torch.empty(1, *shape, device=self.device).uniform_(generator=self.of(slot)[0])

    def normal(self, slot: str, shape: Sequence[int], start: int, stop: int) -> Tensor:
        """Standard normal floats [1, *shape]."""
        return torch.empty(1, *shape, device=self.device).normal_(generator=self.of(slot)[0])


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Sets torch's global random stream, and puts it back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def say(text: str, /, **values: object) -> str:
    """A message with its values."""
    return text.format(**values)
