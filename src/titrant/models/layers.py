"""The layers that all families are made of; each holds the members' own tricks.

Axes: k member (absent in a plain network), b row, d input feature, f unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from titrant.recipe import Recipe
from titrant.tricks.acting import Ledger, Streams
from titrant.tricks.activation import ActivationTrick
from titrant.tricks.base import Off, Segment, Trick, by_segment, segments
from titrant.tricks.dropout import DropoutTrick
from titrant.tricks.normalize import NormalizeTrick
from titrant.tricks.regularize import StochasticDepth
from titrant.tricks.weights import FEWEST, WeightsTrick


class Linear(nn.Linear):
    """`nn.Linear` whose weight [f, d] and bias [f] may carry a member axis: [k, f, d] and [k, f] for inputs [k, b, d]."""

    def forward(self, x: Tensor) -> Tensor:
        """One matrix product for each member, in one call."""
        if self.weight.dim() == 2:
            return super().forward(x)
        return torch.baddbmm(self.bias.unsqueeze(-2), x, self.weight.mT)


class Normalize(nn.Module):
    """Each member's normalisation, with learned gain and bias [f] and running statistics [f].

    Args:
        tricks: one for each member.
        width: f.
        kin: the tricks of all members that share their tensors' shapes; parameters exist if any of them needs some.
        device: where the doses live.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, tricks: Sequence[Trick], width: int, kin: Sequence[Trick], device: torch.device) -> None:
        super().__init__()
        self.parts = segments(tricks, axes=2, device=device)
        self.needed = any(not isinstance(trick, Off) for trick in kin)
        self.ledger: Ledger | None = None
        if self.needed:
            self.gain = nn.Parameter(torch.ones(width))
            self.bias = nn.Parameter(torch.zeros(width))
        if any(isinstance(trick, NormalizeTrick) and trick.tracks for trick in kin):
            self.register_buffer("mean", torch.zeros(width))
            self.register_buffer("variance", torch.ones(width))

    def forward(self, x: Tensor, places: int = 1) -> Tensor:
        """Normalises, scales and shifts rows of which so many that follow one another belong together: the places of a map."""
        return by_segment(self.parts, x, partial(self._act, places=places)) if self.needed else x

    def _act(self, part: Segment[Trick], x: Tensor, places: int) -> Tensor:
        kind = part.kind
        if not issubclass(kind, NormalizeTrick):
            return x
        mine = slice(part.start, part.stop) if x.dim() == 3 else slice(None)
        statistics = (self.mean[mine], self.variance[mine]) if kind.tracks else (self.gain[mine], self.gain[mine])
        if self.ledger is not None and self.training and self.ledger.probing:
            self.ledger.add("normalize", part.start, part.stop, 1.0, 1.0)
        over = {"places": places} if kind.spreads else {}
        return kind.apply(x, self.gain[mine], self.bias[mine], *statistics, self.training, **part.values, **over)


class Reweigh(nn.Module):
    """What each member makes of the weights of one convolution, with a learned gain [f] where a kind has one.

    Arguments as for `Normalize`.

    Shape: weights [f, c, h, w], or [k, f, c, h, w] of a stack; the output has the same shape.
    """

    def __init__(self, tricks: Sequence[Trick], width: int, kin: Sequence[Trick], device: torch.device) -> None:
        super().__init__()
        self.parts = segments(tricks, device=device)
        if any(isinstance(trick, WeightsTrick) and trick.learns for trick in kin):
            self.gain = nn.Parameter(torch.ones(width))

    def forward(self, weight: Tensor) -> Tensor:
        """Weights as the convolution uses them."""
        return by_segment(self.parts, weight.flatten(-3), self._act).view(weight.shape)

    def _act(self, part: Segment[Trick], x: Tensor) -> Tensor:
        kind = part.kind
        if not issubclass(kind, WeightsTrick):
            return x
        mine = slice(part.start, part.stop) if x.dim() == 3 else slice(None)
        return kind.apply(x, self.gain[mine] if kind.learns else None)


class Activate(nn.Module):
    """Each member's activation; learned slopes [f] where a kind has some. Arguments as for `Normalize`."""

    def __init__(self, tricks: Sequence[Trick], width: int, kin: Sequence[Trick], device: torch.device) -> None:
        super().__init__()
        self.parts = segments(tricks, axes=2, device=device)
        for trick in kin:
            if isinstance(trick, ActivationTrick):
                for name, start in trick.learned.items():
                    self.register_parameter(name, nn.Parameter(torch.full((width,), start)))

    def forward(self, x: Tensor, places: int = 1) -> Tensor:
        """Applies each member's own function, whichever rows belong together."""
        return by_segment(self.parts, x, self._act)

    def _act(self, part: Segment[Trick], x: Tensor) -> Tensor:
        kind = part.kind
        if not issubclass(kind, ActivationTrick):
            return x
        learned = {name: getattr(self, name) for name in kind.learned}
        if x.dim() == 3:
            learned = {name: value[part.start : part.stop].unsqueeze(-2) for name, value in learned.items()}
        return kind.apply(x, **part.values, **learned)


class Drop(nn.Module):
    """Each member's dropout; nothing in evaluation.

    Args:
        tricks: one for each member.
        device: where the doses live.
        axes: of what it acts on, after the members.
    """

    slot: ClassVar[str] = "dropout"

    def __init__(self, tricks: Sequence[Trick], device: torch.device, axes: int = 2) -> None:
        super().__init__()
        self.parts = segments(tricks, axes=axes, device=device)
        self.axes = axes
        self.acts = any(not isinstance(trick, Off) for trick in tricks)
        self.streams: Streams | None = None
        self.ledger: Ledger | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Drops units while training."""
        return by_segment(self.parts, x, self._act) if self.training and self.acts else x

    def _act(self, part: Segment[Trick], x: Tensor) -> Tensor:
        kind = part.kind
        if not issubclass(kind, DropoutTrick):
            return x
        dropped, kept = kind.apply(x, self._bytes(part, x, x.shape[-self.axes :]), **part.values)
        self._book(part, kept)
        return dropped

    def _bytes(self, part: Segment[Trick], x: Tensor, shape: Sequence[int]) -> Tensor:
        """Random bytes of a shape for each of a segment's members: of their own streams, or of torch's in a plain network."""
        lead = x.shape[: x.dim() - self.axes]
        if self.streams is None:
            return torch.randint(0, 256, (*lead, *shape), dtype=torch.uint8, device=x.device)
        return self.streams.bytes(self.slot, shape, part.start, part.stop).view(*lead, *shape)

    def _book(self, part: Segment[Trick], kept: Tensor) -> None:
        """Counts the units that were dropped."""
        if self.ledger is not None and self.ledger.probing:
            units = float(kept.numel() // len(part))
            self.ledger.add(self.slot, part.start, part.stop, units - kept.view(len(part), -1).sum(1), units)


class Skip(nn.Module):
    """Each member's stochastic depth, on the corrections of one residual block; nothing in evaluation.

    Args:
        tricks: one for each member.
        axes: of a correction after its rows: 1 for features, 3 for maps.
        device: where the doses live.

    Attributes:
        share: of the dose that acts in this block.
    """

    slot: ClassVar[str] = "stochastic_depth"

    def __init__(self, tricks: Sequence[Trick], axes: int, device: torch.device) -> None:
        super().__init__()
        self.parts = segments(tricks, axes=1, device=device)
        self.acts = any(not isinstance(trick, Off) for trick in tricks)
        self.axes = axes
        self.share = 1.0
        self.streams: Streams | None = None
        self.ledger: Ledger | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Leaves corrections out while training."""
        return by_segment(self.parts, x, self._act) if self.training and self.acts else x

    def _act(self, part: Segment[Trick], x: Tensor) -> Tensor:
        kind = part.kind
        if not issubclass(kind, StochasticDepth):
            return x
        rows = x.shape[: -self.axes]
        if self.streams is None:
            noise = torch.randint(0, 256, rows, dtype=torch.uint8, device=x.device)
        else:
            noise = self.streams.bytes(self.slot, rows[-1:], part.start, part.stop).view(rows)
        factor = kind.factor(noise, self.share, **part.values)
        if self.ledger is not None and self.ledger.probing:
            left_out = (factor == 0).view(len(part), -1).sum(1)
            self.ledger.add("regularize.stochastic_depth", part.start, part.stop, left_out, float(rows[-1]))
        return x * factor.view(*rows, *[1] * self.axes)


@dataclass(frozen=True)
class Members:
    """The recipes of a network's members, and of all members whose tensors must have the same shapes (`kin`)."""

    recipes: Sequence[Recipe]
    kin: Sequence[Recipe]
    device: torch.device

    def normalize(self, width: int) -> Normalize:
        """A normalisation layer for these members."""
        return Normalize(_slot(self.recipes, "normalize"), width, _slot(self.kin, "normalize"), self.device)

    def reweigh(self, width: int, inputs: int) -> Reweigh | None:
        """What these members make of the weights of a convolution of so many units and inputs; None where nobody does."""
        for trick in _slot(self.kin, "weights"):
            if isinstance(trick, WeightsTrick) and inputs >= FEWEST:
                return Reweigh(_slot(self.recipes, "weights"), width, _slot(self.kin, "weights"), self.device)
        return None

    def activate(self, width: int) -> Activate:
        """An activation layer for these members."""
        return Activate(_slot(self.recipes, "activation"), width, _slot(self.kin, "activation"), self.device)

    def drop(self) -> Drop:
        """A dropout layer for these members."""
        return Drop(_slot(self.recipes, "dropout"), self.device)

    def skip(self, axes: int) -> Skip:
        """Stochastic depth for these members, on corrections of so many axes after their rows."""
        return Skip([recipe.regularize.stochastic_depth for recipe in self.recipes], axes, self.device)


def attach(network: nn.Module, streams: Streams | None, ledger: Ledger | None) -> None:
    """Hands the members' random streams and ledger to the layers that use them."""
    for module in network.modules():
        if isinstance(module, Drop | Skip):
            module.streams = streams
        if isinstance(module, Drop | Skip | Normalize):
            module.ledger = ledger


def _slot(recipes: Sequence[Recipe], name: str) -> list[Trick]:
    return [getattr(recipe, name) for recipe in recipes]
