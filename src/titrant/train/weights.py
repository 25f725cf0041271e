"""The learned numbers of k members, a row for each, and their running statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", str, int)


@dataclass
class Weights:
    """Everything that a network needs to predict.

    Args:
        flat: learned numbers [k, P].
        buffers: running statistics by name, [k, ...] each.
    """

    flat: Tensor
    buffers: dict[str, Tensor]

    def copy(self) -> "Weights":
        """A copy that goes its own way."""
        return Weights(self.flat.detach().clone(), copied(self.buffers))

    def of(self, members: Tensor) -> "Weights":
        """The rows of the given members [m]."""
        return Weights(self.flat.detach()[members], {name: b[members] for name, b in self.buffers.items()})

    def put(self, rows: slice | Tensor, other: "Weights") -> None:
        """Takes over rows of others, in place."""
        self.flat[rows] = other.flat.detach()[rows]
        for name, buffer in self.buffers.items():
            buffer[rows] = other.buffers[name][rows]


def copied(tensors: dict[Key, Tensor]) -> dict[Key, Tensor]:
    """Copies that go their own way."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


def places(members: Sequence[int], device: torch.device) -> Tensor:
    """Members as an index."""
    return torch.as_tensor(list(members), dtype=torch.int64, device=device)
