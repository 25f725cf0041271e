"""The blocks of a network's body: what `hardware.checkpoint` computes again in the backward pass, instead of keeping it.

A network is trained in less memory if only what goes from block to block is kept for its gradient. What stands inside a block
is computed once more when the backward pass comes to it, from the same inputs, with the same random numbers and the same
running statistics as before, so that training gives the same weights. It costs one more forward pass at most.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from titrant.errors import TitrantError
from titrant.models.layers import Drop, Skip
from titrant.surgery import matrices
from titrant.texts import say
from titrant.tricks.acting import Ledger, Streams

Home = tuple[dict[str, Any], str]
"""Where a module keeps a parameter or a buffer: the place, and the key there."""


class Blocks(nn.Sequential):
    """Layers one after another, in blocks: each begins with a layer that multiplies by a matrix or convolves.

    Args:
        layers: as of `nn.Sequential`; parameters are named as there.

    Attributes:
        again: the blocks, those that are computed again in the backward pass as such; None keeps everything.

    Shape: x and what each layer is given besides to what the last layer makes of it.

    Example:
        >>> found = Blocks(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> [list(dict(block.named_children())) for block in found.parts()]
        [['0', '1'], ['2', '3'], ['4']]
    """

    again: "Sequence[Again | Blocks] | None" = None

    def forward(self, x: Tensor, *more: Tensor | None) -> Tensor:
        """Layer after layer."""
        thrifty = self.again if self.training and torch.is_grad_enabled() else None
        for layer in self if thrifty is None else thrifty:
            x = layer(x, *more)
        return x

    def parts(self) -> "list[Blocks]":
        """The blocks; layers before the first that multiplies belong to the first block, the others to the one before them."""
        places = [0, *_beginnings(self)[1:], len(self)]
        return [Blocks(OrderedDict(list(self._modules.items())[begin:end])) for begin, end in pairwise(places)]


class Foreign(Blocks):
    """Blocks of somebody else's network, whose layers draw their random numbers from torch's own stream."""


class Again:
    """A block that is computed a second time in the backward pass, to the same numbers.

    Args:
        block: the layers.
        streams: the members' random streams.
        ledger: where tricks book what they do.
        foreign: whether the layers draw from torch's own stream.

    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost" (arXiv 1604.06174), by `torch.utils.checkpoint`.
    Departure: running statistics and receipts are booked once, and members' own random streams are set back too.
    """

    def __init__(self, block: Blocks, streams: Streams, ledger: Ledger, *, foreign: bool) -> None:
        self.block = block
        self.streams = streams
        self.ledger = ledger
        self.foreign = foreign
        self._slots = sorted({layer.slot for layer in block.modules() if isinstance(layer, Drop | Skip) and layer.acts})
        self._learned = [(module._parameters, name) for module in block.modules() for name in module._parameters]
        self._running = [(module._buffers, name) for module in block.modules() for name in module._buffers]

    def __call__(self, x: Tensor, *more: Tensor | None) -> Tensor:
        """What the block makes of its inputs, of which only these are kept.

        Raises:
            TitrantError: the block changes its input in place.
        """
        # The weights that stand in the modules now are those of this step, whoever has put them there.
        learned = [home[name] for home, name in self._learned]
        running = _copies(self._running)
        place, version, first = self.streams.place(self._slots), x._version, True

        def run(x: Tensor, *more: Tensor | None) -> Tensor:
            nonlocal first
            if first:
                first = False
                return self.block(x, *more)  # type: ignore[no-any-return]  # a module call is untyped
            held = [home[name] for home, name in self._learned], [home[name] for home, name in self._running]
            _put(self._learned, learned)
            _put(self._running, running)
            try:
                with self.streams.back_at(place), self.ledger.silent():
                    return self.block(x, *more)  # type: ignore[no-any-return]  # a module call is untyped
            finally:
                _put(self._learned, held[0])
                _put(self._running, held[1])

        out: Tensor = checkpoint(run, x, *more, use_reentrant=False, preserve_rng_state=self.foreign)
        if x._version != version:
            raise TitrantError(
                say("hardware.checkpoint = true: layer {name} of the network changes its input in place, from which it would "
                    "have to be computed again. Use inplace=False there, or hardware.checkpoint: false.",
                    name=next(iter(dict(self.block.named_children()))))
            )  # fmt: skip
        return out


def recompute(network: nn.Module, streams: Streams, ledger: Ledger) -> None:
    """Has a network compute its blocks again in the backward pass, wherever it has more than one in a row.

    Args:
        network: whose `Blocks` shall do so.
        streams: the random streams of the members that it trains.
        ledger: where their tricks book what they do.
    """
    for module in _sequences(network):
        *early, last = module.parts()
        foreign = isinstance(module, Foreign)
        # The backward pass needs the last block at once: to keep it takes no more memory at any time.
        module.again = [*(Again(block, streams, ledger, foreign=foreign) for block in early), last]


def recomputed(network: nn.Module) -> int:
    """How many blocks of a network can be computed again; 0 where `hardware.checkpoint` has no effect.

    Example:
        >>> recomputed(Blocks(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1)))
        2
    """
    return sum(max(0, len(_beginnings(module)) - 1) for module in _sequences(network))


def in_blocks(network: nn.Module) -> bool:
    """Makes blocks of the sequences of somebody else's network, in place; False where it has none of two blocks and more.

    Of sequences inside one another the one with the most blocks is taken, the inner one of equals.

    Example:
        >>> in_blocks(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))), in_blocks(nn.Linear(2, 1))
        (True, False)
    """
    found = [module for module in network.modules() if type(module) is nn.Sequential and len(_beginnings(module)) > 1]
    taken: list[nn.Sequential] = []
    for module in sorted(found, key=lambda one: (len(_beginnings(one)), found.index(one)), reverse=True):
        if not any(module in other.modules() or other in module.modules() for other in taken):
            taken.append(module)
    for module in taken:
        module.__class__ = Foreign  # what it is and holds stays: hooks, names and parameters
    return bool(taken)


def _beginnings(layers: nn.Sequential) -> list[int]:
    """The places of the layers that multiply by a matrix or convolve."""
    return [place for place, layer in enumerate(layers) if any(matrices(module) for module in layer.modules())]


def _sequences(network: nn.Module) -> Iterator[Blocks]:
    return (module for module in network.modules() if isinstance(module, Blocks))


def _copies(homes: Sequence[Home]) -> list[Tensor | None]:
    found = [home[name] for home, name in homes]
    return [None if tensor is None else tensor.clone() for tensor in found]


def _put(homes: Sequence[Home], tensors: Sequence[Any]) -> None:
    for (home, name), tensor in zip(homes, tensors, strict=True):
        home[name] = tensor
