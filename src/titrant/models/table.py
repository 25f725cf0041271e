"""Networks for tables: an input part that embeds, and one of several bodies.

Axes: k member (absent in a plain network), b row, f number column, c code column, d feature after embedding, w hidden unit,
v view, o output.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from titrant.data.schema import UNSEEN
from titrant.models.blocks import Blocks
from titrant.models.layers import Linear, Members
from titrant.models.network import Factory, Mixer, Net
from titrant.models.own import OwnBody
from titrant.recipe import Recipe
from titrant.tricks.data import Data, Embed, Periodic, PiecewiseLinear
from titrant.tricks.layout import pieces
from titrant.tricks.model import Custom, Ensemble, Mlp, Residual
from titrant.tricks.model import Linear as LinearTrick
from titrant.tricks.runtimes import exporting


@dataclass(frozen=True)
class TableShape:
    """What a network must know of the data.

    Args:
        numbers: number columns that may be embedded.
        indicators: further number columns that say what was missing; passed through.
        cardinalities: codes of each code column, the reserved 0 (unseen) and 1 (missing) included.
        outputs: classes, or 1 for regression.
    """

    numbers: int
    indicators: int
    cardinalities: tuple[int, ...]
    outputs: int

    def network(
        self,
        recipes: Sequence[Recipe],
        kin: Sequence[Recipe] | None = None,
        factory: Factory | None = None,
        device: torch.device | None = None,
    ) -> "TableNet":
        """See `titrant.models.network.Shape`."""
        return TableNet(recipes, self, kin=kin, factory=factory, device=device)


class Embedding(nn.Module):
    """Codes [..., b, c] as learned vectors, one table for all columns [sum of cardinalities, size]."""

    offsets: Tensor

    def __init__(self, cardinalities: Sequence[int], size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(sum(cardinalities), size))
        self.register_buffer("offsets", torch.tensor([0, *cardinalities[:-1]]).cumsum(0), persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Looks the vectors up and lays them side by side: [..., b, c · size]."""
        rows, size = self.table.shape[-2:]
        places = codes + self.offsets
        if self.table.dim() == 3:
            places = places + rows * torch.arange(len(self.table), device=codes.device).view(-1, 1, 1)
        return functional.embedding(places, self.table.reshape(-1, size)).flatten(-2)


class Waves(nn.Module):
    """Periodic embedding of numbers; see `titrant.tricks.data.Periodic`. [..., b, f] to [..., b, f · (size + 1)]."""

    def __init__(self, features: int, frequencies: int, size: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.empty(features, frequencies, 1))
        self.phase = nn.Parameter(torch.empty(features, frequencies, 1))
        self.mix = nn.Parameter(torch.empty(features, size, frequencies))
        self.shift = nn.Parameter(torch.empty(features, size, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Waves of each column, mixed, beside the column."""
        column = x.mT.unsqueeze(-2).reshape(-1, 1, x.shape[-2])
        turns = 2 * math.pi * torch.stack([self.frequency, self.phase])
        constants = [tensor.flatten(0, -3) for tensor in (turns[0], turns[1], self.mix, self.shift)]
        if exporting():
            frequency, phase, mix, shift = constants
            out = torch.cat([column, torch.baddbmm(shift, mix, (column * frequency + phase).cos())], 1)
        else:
            out = _MixedWaves.apply(column, *constants)  # type: ignore[no-untyped-call]  # torch
        return out.view(*x.shape[:-2], -1, x.shape[-2]).mT


class _MixedWaves(torch.autograd.Function):
    """Columns c [n, 1, b] to [c, mix · cos(c · frequency + phase) + shift], [n, 1 + s, b], some columns at a time.

    The waves are many numbers per row: written out for all columns at once, each pass over them leaves the cache, and a step
    took a third longer. Rows stand last, because products of few outputs over many rows were five times as long the other way.

    Shape: frequency and phase [n, w, 1], mix [n, s, w], shift [n, s, 1]; there is no gradient for the columns.
    """

    @staticmethod
    def forward(ctx: Any, column: Tensor, frequency: Tensor, phase: Tensor, mix: Tensor, shift: Tensor) -> Tensor:
        """Chunk by chunk; see the class."""
        n, outputs, rows = len(column), mix.shape[1], column.shape[2]
        waves = column.new_empty(n, mix.shape[2], rows)
        out = column.new_empty(n, 1 + outputs, rows)
        out[:, :1] = column
        for part in pieces(waves):
            torch.mul(column[part], frequency[part], out=waves[part]).add_(phase[part]).cos_()
            out[part, 1:] = torch.baddbmm(shift[part], mix[part], waves[part])
        ctx.save_for_backward(column, frequency, phase, mix, waves)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Gradients of the constants."""
        column, frequency, phase, mix, waves = ctx.saved_tensors
        grads = [torch.empty_like(constant) for constant in (frequency, phase, mix)]
        for part in pieces(waves):
            own = grad[part, 1:]
            torch.bmm(own, waves[part].mT, out=grads[2][part])
            slopes = torch.bmm(mix[part].mT, own).mul_((column[part] * frequency[part]).add_(phase[part]).sin_())
            torch.sum(slopes, -1, keepdim=True, out=grads[1][part])
            torch.sum(slopes.mul_(column[part]), -1, keepdim=True, out=grads[0][part])
        return None, grads[0].neg_(), grads[1].neg_(), grads[2], grad[:, 1:].sum(-1, keepdim=True)


class Thermometer(nn.Module):
    """Piecewise linear embedding; see `titrant.tricks.data.PiecewiseLinear`. [..., b, f] to [..., b, f · bins]."""

    edges: Tensor

    def __init__(self, features: int, bins: int) -> None:
        super().__init__()
        self.register_buffer("edges", torch.zeros(features, bins + 1))

    def forward(self, x: Tensor) -> Tensor:
        """How far each number lies into each bin."""
        low, high = self.edges[..., :-1], self.edges[..., 1:]
        if x.dim() == 3:
            low, high = low.unsqueeze(1), high.unsqueeze(1)
        width = torch.where(high > low, high - low, 1.0)
        return ((x.unsqueeze(-1) - low) / width).clamp(0, 1).flatten(-2)


class Expand(nn.Module):
    """Scaled numbers [..., b, f + m] and codes [..., b, c] to features [..., b, d]: embeddings, one-hot columns, indicators."""

    hot_start: Tensor

    def __init__(self, data: Data, shape: TableShape) -> None:
        super().__init__()
        few = data.categories.few + 2 if isinstance(data.categories, Embed) else max(shape.cardinalities, default=0)
        self.hot = [column for column, size in enumerate(shape.cardinalities) if size <= few]
        self.cold = [column for column, size in enumerate(shape.cardinalities) if size > few]
        self.numbers = shape.numbers
        hot_sizes = [shape.cardinalities[column] - 1 for column in self.hot]
        self.hot_width = sum(hot_sizes)
        self.register_buffer("hot_start", torch.tensor([0, *hot_sizes[:-1]]).cumsum(0), persistent=False)
        self.embedding: Embedding | None = None
        if self.cold and isinstance(data.categories, Embed):
            self.embedding = Embedding([shape.cardinalities[column] for column in self.cold], data.categories.size)
        self.waves: Waves | Thermometer | None = None
        features = shape.numbers
        if isinstance(data.numbers, Periodic) and shape.numbers:
            self.waves = Waves(shape.numbers, data.numbers.frequencies, data.numbers.size)
            features = shape.numbers * (data.numbers.size + 1)
        elif isinstance(data.numbers, PiecewiseLinear) and shape.numbers:
            self.waves = Thermometer(shape.numbers, data.numbers.bins)
            features = shape.numbers * data.numbers.bins
        embedded = len(self.cold) * data.categories.size if isinstance(data.categories, Embed) else 0
        self.width = features + shape.indicators + self.hot_width + embedded

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """All features side by side."""
        pieces = [numbers]
        if self.waves is not None:
            pieces = [self.waves(numbers[..., : self.numbers]), numbers[..., self.numbers :]]
        if self.hot:
            chosen = codes if not self.cold else codes[..., self.hot]
            seen = chosen != UNSEEN
            places = (chosen.long() - 1).clamp(min=0) + self.hot_start
            blank = numbers.new_zeros(*codes.shape[:-1], self.hot_width)
            pieces.append(blank.scatter_(-1, places, seen.to(numbers.dtype)))
        if self.embedding is not None:
            pieces.append(self.embedding(codes if not self.hot else codes[..., self.cold]))
        return torch.cat(pieces, dim=-1) if len(pieces) > 1 else pieces[0]


class MlpBody(nn.Module):
    """Features [..., b, d] to outputs [..., b, o]; see `titrant.tricks.model.Mlp`."""

    def __init__(self, members: Members, model: Mlp | Ensemble, inputs: int, outputs: int) -> None:
        super().__init__()
        self.hidden = hidden_layers(members, inputs, model.width, model.depth)
        self.head = Linear(model.width, outputs)

    def forward(self, z: Tensor) -> Tensor:
        """Hidden layers, then the output."""
        return self.head(self.hidden(z))  # type: ignore[no-any-return]  # a module call is untyped


class LinearBody(nn.Module):
    """Features [..., b, d] to outputs [..., b, o]; see `titrant.tricks.model.Linear`."""

    def __init__(self, members: Members, inputs: int, outputs: int) -> None:
        super().__init__()
        self.drop = members.drop()
        self.head = Linear(inputs, outputs)

    def forward(self, z: Tensor) -> Tensor:
        """The output of what is not dropped."""
        return self.head(self.drop(z))  # type: ignore[no-any-return]  # a module call is untyped


class ResidualBlock(nn.Module):
    """One correction to the stream; see `titrant.tricks.model.Residual`."""

    def __init__(self, members: Members, width: int, hidden: int) -> None:
        super().__init__()
        self.normalize = members.normalize(width)
        self.up = Linear(width, hidden)
        self.activate = members.activate(hidden)
        self.drop_hidden = members.drop()
        self.down = Linear(hidden, width)
        self.drop = members.drop()

    def forward(self, x: Tensor) -> Tensor:
        """The stream plus its correction."""
        hidden = self.drop_hidden(self.activate(self.up(self.normalize(x))))
        return x + self.drop(self.down(hidden))  # type: ignore[no-any-return]  # a module call is untyped


class ResidualBody(nn.Module):
    """Features [..., b, d] to outputs [..., b, o]; see `titrant.tricks.model.Residual`."""

    def __init__(self, members: Members, model: Residual, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = max(1, round(model.width * model.expansion))
        self.enter = Linear(inputs, model.width)
        self.blocks = Blocks(*(ResidualBlock(members, model.width, hidden) for _ in range(model.depth)))
        self.normalize = members.normalize(model.width)
        self.activate = members.activate(model.width)
        self.head = Linear(model.width, outputs)

    def forward(self, z: Tensor) -> Tensor:
        """Into the stream, along the blocks, out."""
        stream = self.blocks(self.enter(z))
        return self.head(self.activate(self.normalize(stream)))  # type: ignore[no-any-return]  # a module call is untyped


class Seen(Linear):
    """A linear layer that each view meets through signs of its own: [..., b, d] to [..., v·b, w], view by view.

    A view scales the inputs by its adapter [d]; here it scales the columns of the weight instead, which is the same product on
    v times fewer numbers.
    """

    def __init__(self, views: int, inputs: int, width: int) -> None:
        super().__init__(inputs, width)
        self.adapter = nn.Parameter(torch.empty(views, inputs))

    def forward(self, z: Tensor) -> Tensor:
        """All views in one product."""
        weight = (self.weight.unsqueeze(-3) * self.adapter.unsqueeze(-2)).flatten(-3, -2)
        out = (z @ weight.mT).view(*z.shape[:-1], -1, self.weight.shape[-2])
        return (out.transpose(-3, -2) + self.bias.unsqueeze(-2).unsqueeze(-2)).flatten(-3, -2)


class EnsembleBody(nn.Module):
    """Features [..., b, d] to outputs [..., v·b, o], view by view; see `titrant.tricks.model.Ensemble`."""

    def __init__(self, members: Members, model: Ensemble, inputs: int, outputs: int) -> None:
        super().__init__()
        self.views = model.views
        self.hidden = hidden_layers(members, inputs, model.width, model.depth)
        self.hidden[0] = Seen(model.views, inputs, model.width)
        self.heads = nn.Parameter(torch.empty(model.views, outputs, model.width))
        self.bias = nn.Parameter(torch.empty(model.views, outputs))

    def forward(self, z: Tensor) -> Tensor:
        """All views as rows of one batch, then each view's own output."""
        hidden: Tensor = self.hidden(z)
        by_view = hidden.view(*z.shape[:-2], self.views, z.shape[-2], hidden.shape[-1])
        return (by_view @ self.heads.mT + self.bias.unsqueeze(-2)).flatten(-3, -2)


def hidden_layers(members: Members, inputs: int, width: int, depth: int) -> Blocks:
    """`depth` times linear, normalise, activate, drop."""
    layers: list[nn.Module] = []
    for layer in range(depth):
        layers += [Linear(inputs if layer == 0 else width, width), members.normalize(width), members.activate(width)]
        layers += [members.drop()]
    return Blocks(*layers)


class TableNet(Net):
    """The learned part of a model for tables, for one recipe or for many of equal shapes.

    Args:
        recipes: the members' recipes; one makes a plain network.
        shape: of the data.
        kin: all recipes whose tensors must have equal shapes and names; by default the members' own.
        factory: the network of `model: custom`.
        device: where the doses live; parameters are made where torch's default device says.

    Shape: numbers [k, b, f + m] and codes [k, b, c] to outputs [k, v·b, o], all without k for a plain network.
    """

    def __init__(
        self,
        recipes: Sequence[Recipe],
        shape: TableShape,
        *,
        kin: Sequence[Recipe] | None = None,
        factory: Factory | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        members = Members(recipes, kin or recipes, device or torch.device("cpu"))
        model = recipes[0].model
        self.shape = shape
        self.expand = Expand(recipes[0].data, shape)
        inputs = self.expand.width
        self.body: nn.Module
        match model:
            case LinearTrick():
                self.body = LinearBody(members, inputs, shape.outputs)
            case Mlp():
                self.body = MlpBody(members, model, inputs, shape.outputs)
            case Residual():
                self.body = ResidualBody(members, model, inputs, shape.outputs)
            case Ensemble():
                self.body = EnsembleBody(members, model, inputs, shape.outputs)
            case Custom():
                self.body = OwnBody(factory, recipes[0], inputs, shape.outputs)
        self.views = model.views if isinstance(model, Ensemble) else 1
        matrices = [m.weight for m in self.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)]
        self.products = self.views * sum(p.numel() for p in self.parameters())
        self.widest = max(self.expand.width, *(len(weight) for weight in matrices), 1)

    def forward(self, numbers: Tensor, codes: Tensor, mix: Mixer | None = None) -> Tensor:
        """Embeds, mixes features where `mix` is given (training), and computes the outputs."""
        features = self.expand(numbers, codes)
        if mix is not None:
            features = mix(features)
        return self.body(features)  # type: ignore[no-any-return]  # a module call is untyped
