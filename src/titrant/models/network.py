"""What training asks of a network, whatever it reads, and of what it must know of the data."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from titrant.recipe import Recipe

Factory = Callable[..., nn.Module]
"""A person's own network: called with the numbers of inputs and outputs, and with the doses that it declares by name."""

Mixer = Callable[[Tensor], Tensor]
"""Blends features [k, b, d] of rows with those of others."""


class Net(nn.Module):
    """The learned part of a model, for one recipe or for many of equal shapes.

    Attributes:
        views: predictions that it makes of each row.
        products: multiplications for a row, about: what a step costs.
        widest: numbers that it holds of a row at a time, at most.

    Shape: inputs [k, b, ...], then a `Mixer` or None, to outputs [k, v·b, o]; all without k for a plain network.
    """

    views: int
    products: int
    widest: int


class Shape(Protocol):
    """What a network must know of the data."""

    def network(
        self,
        recipes: Sequence[Recipe],
        kin: Sequence[Recipe] | None = None,
        factory: Factory | None = None,
        device: torch.device | None = None,
    ) -> Net:
        """The network of these recipes.

        Args:
            recipes: the members' recipes; one makes a plain network.
            kin: all recipes whose tensors must have equal shapes and names; by default the members' own.
            factory: the network of `model: custom`.
            device: where the doses live; parameters are made where torch's default device says.
        """
        ...
