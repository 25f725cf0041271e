"""Networks for series: a frozen encoder, one of several bodies that read steps, and a linear output.

    raw [n, c, t] with NaN → scale channels → each series by itself → differences → 0 for what is missing, a mask → features

A network that reads steps takes what stands before the features; one that reads rows (`linear`, `mlp`) takes the features, or
the steps laid out as one row. Convolutions treat a series as a picture of height 1: layers of pictures serve series too.

Series of unequal length are padded at their end; `ends` says how many steps are real. Pooling looks at no other.

Axes: k member (absent in a plain network), b series, c channel, t step, d direction, f feature, g gate number, o output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from titrant.models import kernels
from titrant.models.blocks import Blocks
from titrant.models.image import Builder, Conv, ImageShape, OnMaps, Places
from titrant.models.layers import Linear, Members
from titrant.models.network import Factory, Mixer, Net, Shape
from titrant.models.own import OwnBody
from titrant.models.recurrent import Recurrent
from titrant.models.table import TableNet, TableShape
from titrant.recipe import Recipe
from titrant.tricks.base import Off
from titrant.tricks.data import Data, ScaleTrick
from titrant.tricks.data_series import FirstAlone, GapMask, InstanceTrick, Instead, OwnStandard
from titrant.tricks.model import Custom, Fcn, Inception, RecurrentTrick, SequenceTrick, Tcn, TextCnn, Transformer
from titrant.tricks.runtimes import exporting

_ROWS = 1024  # series whose features are computed at a time
_SCALE, _KERNELS = "scale_", "kernels."
_SEED = 0  # of the kernels: the same for all members, so that features are computed once


@dataclass(frozen=True)
class SeriesShape:
    """What a network must know of series.

    Args:
        channels: after encoding.
        steps: of the longest series.
        ragged: whether shorter ones are padded.
        outputs: classes, or 1 for regression.
    """

    channels: int
    steps: int
    ragged: bool
    outputs: int

    def network(
        self,
        recipes: Sequence[Recipe],
        kin: Sequence[Recipe] | None = None,
        factory: Factory | None = None,
        device: torch.device | None = None,
    ) -> Net:
        """See `titrant.models.network.Shape`."""
        if isinstance(recipes[0].model, SequenceTrick | Custom):
            return SeriesNet(recipes, self, kin=kin, factory=factory, device=device)
        return FlatNet(recipes, self, kin=kin, device=device)


# ------------------------------------------------------------------ encoder


class SeriesEncoder(nn.Module):
    """Raw series [n, c, t] with NaN to scaled ones [n, c', t] without, and their ends int64 [n]; or to features [n, f].

    Args:
        data: the recipe's data slot.
        tensors: by name, what `fit` finds: constants of the scaler with the prefix `scale_`, `lacking` (channels with missing
            values), those of the kernels with the prefix `kernels.`, and the centre and spread of the features; of forecasts
            `target`, the centre and width of the first channel, by which predictions are scaled.

    Of forecasts it also returns anchors [n, 2]: the level and spread of each series' first channel, in scaled units, as
    `data.instance` measures them (0 and 1 without). What a network puts out counts from there; see `Anchored`.
    """

    lacking: Tensor
    target: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, data: Data, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.data = data
        self.constants = [name.removeprefix(_SCALE) for name in tensors if name.startswith(_SCALE)]
        own = {name.removeprefix(_KERNELS): tensor for name, tensor in tensors.items() if name.startswith(_KERNELS)}
        for name, tensor in tensors.items():
            if not name.startswith(_KERNELS):
                self.register_buffer(name, tensor)
        self.kernels = kernels.restored(data.features, own)

    @classmethod
    @torch.no_grad()
    def fit(cls, data: Data, values: Tensor, target: tuple[float, float] | None = None) -> "SeriesEncoder":
        """An encoder for series.

        Args:
            data: the recipe's data slot.
            values: float32 [n, c, t], the series that will be encoded.
            target: of forecasts, the centre and width of what is predicted.
        """
        values = values[:, :1] if isinstance(data.channels, FirstAlone) else values
        flat = values.movedim(1, -1).flatten(0, 1)
        tensors: dict[str, Tensor] = {"lacking": _inner_gaps(values)}
        if isinstance(data.scale, ScaleTrick):
            tensors |= {f"{_SCALE}{name}": value for name, value in data.scale.fit(flat, **data.scale.values()).items()}
        if target is not None:
            tensors["target"] = torch.tensor(target, device=values.device)
        plain = cls(data.model_copy(update={"features": Off()}), tensors)
        if isinstance(data.features, Off):
            return plain
        x, _ = plain.series(values[: 4 * _ROWS])
        made = kernels.fitted(data.features, x, len(values), _SEED)
        tensors |= {f"{_KERNELS}{name}": tensor for name, tensor in made.state_dict().items()}
        encoder = cls(data, tensors)
        found = encoder.features(x)
        encoder.register_buffer("centre", found.mean(0))
        deviation = found.std(0, correction=0)
        encoder.register_buffer("spread", torch.where(deviation > 1e-8, deviation, 1.0))
        return encoder

    @property
    def channels(self) -> int:
        """Of an encoded series."""
        own = len(self.lacking)
        return own * (1 if isinstance(self.data.differences, Off | Instead) else 2) + self.masked

    @property
    def masked(self) -> int:
        """Channels that say what is missing."""
        return int(self.lacking.sum()) if isinstance(self.data.gaps, GapMask) else 0

    @property
    def count(self) -> int:
        """Features; 0 where there are none."""
        return 0 if self.kernels is None else len(self.centre)

    def forward(self, values: Tensor) -> tuple[Tensor, ...]:
        """Encodes any series: (steps, ends), or (features, no codes); of forecasts with anchors."""
        x, ends = self.series(values)
        found: tuple[Tensor, ...] = (x, ends)
        if self.kernels is not None:
            features = (self.features(x) - self.centre) / self.spread
            found = features, torch.zeros(x.shape[0], 0, dtype=torch.int32, device=x.device)
        return (*found, self.anchors(values)) if self.anchored else found

    @property
    def anchored(self) -> bool:
        """Whether predictions count from each series' own level."""
        return hasattr(self, "target")

    def anchors(self, values: Tensor) -> Tensor:
        """Level and spread of each series' first channel [n, 2], in scaled units."""
        if not isinstance(self.data.instance, InstanceTrick):
            return torch.tensor([0.0, 1.0], device=values.device).expand(values.shape[0], 2)
        level, spread = (found.flatten() for found in self.data.instance.measure(values[:, :1]))
        return torch.stack([(level - self.target[0]) / self.target[1], spread / self.target[1]], 1)

    def series(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Everything but the features; steps stand before channels in memory, as convolutions like them."""
        ends = ends_of(values)
        values = values[:, :1] if isinstance(self.data.channels, FirstAlone) else values
        x = values
        if isinstance(self.data.scale, ScaleTrick):
            constants = {name: getattr(self, f"{_SCALE}{name}") for name in self.constants}
            flat = x.movedim(1, -1)
            x = self.data.scale.apply(flat.flatten(0, 1), **constants).view(flat.shape).movedim(-1, 1)
        if isinstance(self.data.instance, InstanceTrick):
            level, spread = self.data.instance.measure(x)
            x = (x - level) / spread
        parts = [x]
        if not isinstance(self.data.differences, Off):
            change = torch.cat([torch.zeros_like(x[..., :1]), x.diff(dim=-1)], -1)
            parts = [change] if isinstance(self.data.differences, Instead) else [x, change]
        parts = [part.nan_to_num(0.0, 0.0, 0.0) for part in parts]
        if self.masked:
            parts.append(values[:, self.lacking.bool()].isnan().to(x.dtype))
        found = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        return found.transpose(1, 2).contiguous().transpose(1, 2), ends

    def features(self, x: Tensor) -> Tensor:
        """Features of encoded series [n, f], not yet standardised."""
        assert self.kernels is not None
        if exporting():
            return self.kernels(x)  # type: ignore[no-any-return]  # a module call is untyped
        return torch.cat([self.kernels(some.contiguous()) for some in torch.split(x, _ROWS)])


def ends_of(values: Tensor) -> Tensor:
    """How many steps each series [n, c, t] has before nothing but missing values follows, int64 [n]; 1 at least."""
    there = values.isnan().logical_not().any(1)
    steps = torch.arange(1, values.shape[-1] + 1, device=values.device)
    return (there * steps).amax(-1).clamp(min=1)


def unrest(values: Tensor) -> Tensor:
    """The standard deviation of each series' first channel [n, 1]: the unit in which bands around forecasts are kept."""
    return OwnStandard.measure(values[:, :1])[1].flatten(1)


def around(values: Tensor, predicted: Tensor, band: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The edges [n, h] of a band around forecasts.

    Args:
        values: windows [n, c, t] as they came.
        predicted: [n, h].
        band: [2, h] in units of each window's unrest.
    """
    edges = predicted.double() + band.double().unsqueeze(1) * unrest(values).double()
    return edges[0].numpy(), edges[1].numpy()


def _inner_gaps(values: Tensor) -> Tensor:
    """Channels that lack values before the end of some series, uint8 [c]."""
    inside = torch.arange(values.shape[-1], device=values.device) < ends_of(values).unsqueeze(-1)
    return (values.isnan() & inside.unsqueeze(1)).any(-1).any(0).to(torch.uint8)


# ------------------------------------------------------------------ pooling


class Summary(nn.Module):
    """Mean and maximum over the real steps of maps [..., b, c, 1, t], side by side: [..., b, 2c]."""

    def __init__(self, ragged: bool) -> None:
        super().__init__()
        self.ragged = ragged

    def forward(self, x: Tensor, ends: Tensor) -> Tensor:
        """Over the steps."""
        x = x.squeeze(-2)
        if not self.ragged:
            return torch.cat([x.mean(-1), x.amax(-1)], -1)
        inside = (torch.arange(x.shape[-1], device=x.device) < ends.unsqueeze(-1)).unsqueeze(-2)
        mean = (x * inside).sum(-1) / ends.unsqueeze(-1)
        return torch.cat([mean, x.masked_fill(~inside, -torch.inf).amax(-1)], -1)


# ------------------------------------------------------------- convolutions


class SeriesBuilder(Builder):
    """Makes the layers of a body that convolves over steps; see `titrant.models.image.Builder`."""

    def __init__(self, members: Members, shape: SeriesShape) -> None:
        super().__init__(members, ImageShape(shape.channels, 1, shape.steps, shape.outputs))

    def along(self, channels: int, kernel: int, dilation: int = 1, inputs: int | None = None) -> Conv:
        """A convolution over `kernel` steps, to both sides alike."""
        kernel = odd(kernel)
        inputs = self.channels if inputs is None else inputs
        layer = Conv(inputs, channels, (1, kernel), padding=(0, kernel // 2 * dilation), dilation=(1, dilation))
        self.products += layer.weight.numel() * self.width
        self.widest = max(self.widest, channels * self.width)
        return layer

    def settled(self, channels: int) -> nn.Sequential:
        """Normalisation and activation of maps that have now so many channels."""
        self.channels = channels
        return nn.Sequential(OnMaps(self.normalize()), OnMaps(self.members.activate(channels)))

    def stage(self, channels: int, kernel: int, dilation: int = 1) -> nn.Sequential:
        """Convolution, normalisation, activation."""
        return nn.Sequential(self.along(channels, kernel, dilation), *self.settled(channels))

    def patches(self, channels: int, most: int) -> Conv:
        """Patches of equal length as the places of a shorter map, at most so many."""
        by = -(-self.width // most)
        pad = -(-(-self.width % by) // 2)
        layer = Conv(self.channels, channels, (1, by), stride=(1, by), padding=(0, pad))
        self.width = (self.width + 2 * pad) // by
        self.products += layer.weight.numel() * self.width
        self.channels = channels
        self.widest = max(self.widest, channels * self.width)
        return layer


class Branches(nn.Module):
    """Convolutions of several lengths beside one another, and the greatest of each three steps; channels side by side."""

    def __init__(self, builder: SeriesBuilder, width: int, kernels: Sequence[int]) -> None:
        super().__init__()
        given = builder.channels
        self.narrow: nn.Module = builder.along(width, 1) if given > width else nn.Identity()
        inputs = width if given > width else given
        self.branches = nn.ModuleList([builder.along(width, kernel, inputs=inputs) for kernel in kernels])
        self.greatest = builder.along(width, 1)
        builder.widest = max(builder.widest, (len(kernels) + 1) * width * builder.width)

    def forward(self, x: Tensor) -> Tensor:
        """All branches."""
        narrow = self.narrow(x)
        flat = x.flatten(0, -4) if x.dim() == 5 else x
        most = nn.functional.max_pool2d(flat, (1, 3), stride=1, padding=(0, 1)).view(x.shape)
        return torch.cat([*(branch(narrow) for branch in self.branches), self.greatest(most)], -3)


class SideBySide(nn.Module):
    """Convolutions of several lengths beside one another; channels side by side."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """All branches."""
        return torch.cat([branch(x) for branch in self.branches], -3)


class Shortcut(nn.Module):
    """Blocks of maps beside one convolution of a single step, both added and activated."""

    def __init__(self, blocks: nn.Module, direct: nn.Module, activate: nn.Module) -> None:
        super().__init__()
        self.blocks = blocks
        self.direct = direct
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        return self.activate(self.blocks(x) + self.direct(x))  # type: ignore[no-any-return]  # a module call is untyped


def fcn(builder: SeriesBuilder, model: Fcn) -> Blocks:
    """See `titrant.tricks.model.Fcn`."""
    kernels = [2 * model.kernel, model.kernel, max(1, model.kernel // 2)]
    layers = []
    for place in range(model.depth):
        inner = 0 < place < model.depth - 1
        layers.append(builder.stage(model.width * (2 if inner else 1), kernels[min(place, 2)]))
    return Blocks(*layers)


def inception(builder: SeriesBuilder, model: Inception) -> nn.Sequential:
    """See `titrant.tricks.model.Inception`."""
    longest = min(model.kernel, odd(max(1, builder.width // 2)))
    kernels = [max(1, longest >> halved) for halved in range(3)]
    width = 4 * model.width
    spans: list[nn.Module] = []
    for _ in range(2):
        direct = nn.Sequential(builder.along(width, 1), OnMaps(builder.members.normalize(width)))
        blocks: list[nn.Module] = []
        for _ in range(model.depth):
            blocks += [Branches(builder, model.width, kernels), builder.settled(width)]
        spans.append(Shortcut(Blocks(*blocks), direct, OnMaps(builder.members.activate(width))))
    return nn.Sequential(*spans)


def tcn(builder: SeriesBuilder, model: Tcn) -> Blocks:
    """See `titrant.tricks.model.Tcn`."""
    layers: list[nn.Module] = [builder.along(model.width, 1)]
    builder.channels = model.width
    for block in range(model.depth):
        dilation = 1 << block
        if block and dilation * (odd(model.kernel) - 1) >= builder.width:
            break
        stages = [builder.stage(model.width, model.kernel, dilation) for _ in range(2)]
        layers.append(builder.around(nn.Sequential(*stages)))
    return Blocks(*layers)


def text_cnn(builder: SeriesBuilder, model: TextCnn) -> nn.Sequential:
    """See `titrant.tricks.model.TextCnn`."""
    side_by_side = SideBySide([builder.along(model.width, 2 * place + 1) for place in range(model.kernels)])
    builder.widest = max(builder.widest, model.kernels * model.width * builder.width)
    return nn.Sequential(side_by_side, *builder.settled(model.kernels * model.width))


def transformer(builder: SeriesBuilder, model: Transformer) -> Blocks:
    """See `titrant.tricks.model.Transformer`."""
    width = -(-model.width // model.heads) * model.heads
    layers: list[nn.Module] = [builder.patches(width, model.patches), Places(width, 1, builder.width)]
    layers += [builder.attended(model.heads) for _ in range(model.depth)]
    return Blocks(*layers, OnMaps(builder.normalize()))


def odd(kernel: int) -> int:
    """The kernel's own length, or the next odd one.

    Example:
        >>> odd(4), odd(5)
        (5, 5)
    """
    return kernel | 1


# ----------------------------------------------------------------- networks


def shape_of(encoder: SeriesEncoder, steps: int, ragged: bool, outputs: int) -> Shape:
    """What a network must know of encoded series.

    Args:
        encoder: of the series.
        steps: of the longest one.
        ragged: whether shorter ones are padded.
        outputs: classes, values, or steps of a forecast.
    """
    plain: Shape = SeriesShape(encoder.channels, steps, ragged, outputs)
    if encoder.kernels is not None:
        plain = TableShape(encoder.count, 0, (), outputs)
    return ForecastShape(plain) if encoder.anchored else plain


@dataclass(frozen=True)
class ForecastShape:
    """What a network must know where predictions count from each series' own level; `inner` as for other targets."""

    inner: Shape

    def network(
        self,
        recipes: Sequence[Recipe],
        kin: Sequence[Recipe] | None = None,
        factory: Factory | None = None,
        device: torch.device | None = None,
    ) -> "Anchored":
        """See `titrant.models.network.Shape`."""
        return Anchored(self.inner.network(recipes, kin, factory, device))


class Anchored(Net):
    """A network whose outputs are multiplied by the spread of each series and counted from its level.

    Source: the second half of reversible instance normalisation (Kim et al. 2022).

    Shape: what the inner network takes and anchors [k, b, 2], to outputs [k, v·b, h].
    """

    def __init__(self, inner: Net) -> None:
        super().__init__()
        self.inner = inner
        self.products, self.widest = inner.products, inner.widest

    @property
    def views(self) -> int:  # type: ignore[override]  # known only when asked
        """Of the inner network."""
        return self.inner.views

    def forward(self, first: Tensor, second: Tensor, anchors: Tensor, mix: Mixer | None = None) -> Tensor:
        """The inner network's outputs at their place."""
        anchors = torch.cat([anchors] * self.views, -2)
        return self.inner(first, second, mix) * anchors[..., 1:] + anchors[..., :1]  # type: ignore[no-any-return]  # a module call is untyped


class SeriesNet(Net):
    """The learned part of a model that reads the steps of series, for one recipe or for many of equal shapes.

    Args:
        recipes, kin, factory, device: as for `titrant.models.network.Shape.network`.
        shape: of the series.

    Shape: series [k, b, c, t] and their ends [k, b] to outputs [k, b, o], all without k for a plain network.
    """

    views = 1

    def __init__(
        self,
        recipes: Sequence[Recipe],
        shape: SeriesShape,
        *,
        kin: Sequence[Recipe] | None = None,
        factory: Factory | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        members = Members(recipes, kin or recipes, device or torch.device("cpu"))
        model = recipes[0].model
        builder = SeriesBuilder(members, shape)
        self.body: nn.Module = nn.Identity()
        self.pool: nn.Module = Summary(shape.ragged)
        own = isinstance(model, Custom)
        match model:
            case Fcn():
                self.body = fcn(builder, model)
            case Inception():
                self.body = inception(builder, model)
            case Tcn():
                self.body = tcn(builder, model)
            case TextCnn():
                self.body = text_cnn(builder, model)
            case Transformer():
                self.body = transformer(builder, model)
            case RecurrentTrick():
                self.pool = Recurrent(members, model, shape.channels, shape.ragged)
                builder.products = self.pool.products * shape.steps
                builder.widest = 4 * self.pool.width * shape.steps
            case Custom():
                self.body = OwnBody(factory, recipes[0], shape.channels, shape.outputs, (shape.steps,))
                builder.products = sum(p.numel() for p in self.body.parameters()) * shape.steps
            case _:
                raise ValueError(f"model: {model.kind} is not for series")
        features = self.pool.width if isinstance(self.pool, Recurrent) else 2 * builder.channels
        self.own = own
        self.drop = nn.Identity() if own else members.drop()
        self.head = nn.Identity() if own else Linear(features, shape.outputs)
        self.products = builder.products
        self.widest = builder.widest

    def forward(self, x: Tensor, ends: Tensor, mix: Mixer | None = None) -> Tensor:
        """Mixes series where `mix` is given (training), and computes the outputs."""
        if mix is not None:
            steps = x.transpose(-1, -2)
            x = mix(steps.flatten(-2)).view(steps.shape).transpose(-1, -2)
        if self.own:
            return self.body(x)  # type: ignore[no-any-return]  # a module call is untyped
        maps = x if isinstance(self.pool, Recurrent) else self.body(x.unsqueeze(-2))
        return self.head(self.drop(self.pool(maps, ends)))  # type: ignore[no-any-return]  # a module call is untyped


class FlatNet(Net):
    """A network for rows, on series that are laid out as one row each: channel after channel, step after step.

    Arguments as of `SeriesNet`; a series' end does not count, what lies behind it is 0.
    """

    def __init__(
        self,
        recipes: Sequence[Recipe],
        shape: SeriesShape,
        *,
        kin: Sequence[Recipe] | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        row = TableShape(shape.channels * shape.steps, 0, (), shape.outputs)
        self.rows = TableNet(recipes, row, kin=kin, device=device)
        self.views, self.products, self.widest = self.rows.views, self.rows.products, self.rows.widest

    def forward(self, x: Tensor, ends: Tensor, mix: Mixer | None = None) -> Tensor:
        """Lays series out, and computes the outputs."""
        flat = x.flatten(-2)
        return self.rows(flat, flat.new_zeros(*flat.shape[:-1], 0, dtype=torch.int32), mix)  # type: ignore[no-any-return]  # a module call is untyped
