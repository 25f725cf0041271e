"""Networks for pictures: standardised pixels, one of several bodies of feature maps, and a linear output.

Maps stand channels last in memory, whatever their shape says: that is how convolutions are fastest on a CPU, and the maps of a
batch are then rows of channels, on which normalisation and activation of tables act as they are. A recipe may have convolutions
read channels first (`hardware.layout`), at the price of a copy before each.

Axes: k member (absent in a plain network), b row, c channel, h height, w width, f feature, o output.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from titrant.models.blocks import Blocks
from titrant.models.layers import Linear, Members, Normalize, Reweigh, Skip
from titrant.models.network import Factory, Mixer, Net
from titrant.models.own import OwnBody
from titrant.recipe import Recipe
from titrant.tricks.base import Off
from titrant.tricks.data_pictures import Patches
from titrant.tricks.model import Cnn, ConvNeXt, Custom, ResNet, ViT
from titrant.tricks.runtimes import exporting

_PATCHES = 1 << 17  # of training pictures, about, from which filters take their measure
_SMALL = 8  # pixels of a side to which stages bring maps


@dataclass(frozen=True)
class ImageShape:
    """What a network must know of pictures.

    Args:
        channels: 1 grey, 3 colours.
        height, width: in pixels.
        outputs: classes, or 1 for regression.
    """

    channels: int
    height: int
    width: int
    outputs: int

    def network(
        self,
        recipes: Sequence[Recipe],
        kin: Sequence[Recipe] | None = None,
        factory: Factory | None = None,
        device: torch.device | None = None,
    ) -> "ImageNet":
        """See `titrant.models.network.Shape`."""
        return ImageNet(recipes, self, kin=kin, factory=factory, device=device)


def last(x: Tensor) -> Tensor:
    """Maps [..., c, h, w] as [..., h, w, c]."""
    return x.movedim(-3, -1)


def first(x: Tensor) -> Tensor:
    """Maps [..., h, w, c] as [..., c, h, w]; their places in memory stay."""
    return x.movedim(-1, -3)


class Pixels(nn.Module):
    """The encoder of pictures: uint8 [..., c, h, w] to float32 in [0, 1]. It learns nothing and is fitted on nothing."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Divides by 255; the result stands channels last in memory."""
        return (first(last(pixels).to(torch.float32, memory_format=torch.contiguous_format).div_(255)),)

    def into(self, out: Tensor, pixels: Tensor) -> None:
        """The same, written to float32 [..., h, w, c] that augmentation has at hand; exports follow `forward` alone."""
        out.copy_(last(pixels)).div_(255)


class Standardize(nn.Module):
    """Pixels minus their mean over the training rows, by their standard deviation, channel by channel."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    def fit(self, sample: Tensor) -> None:
        """Finds mean and deviation of pixels [n, c, h, w]."""
        rows = last(sample).flatten(0, -2).double()
        self.mean.copy_(rows.mean(0))
        spread = rows.std(0, correction=0)
        self.deviation.copy_(torch.where(spread > 0, spread, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Standardises."""
        shape = (*self.mean.shape[:-1], *[1] * (x.dim() - self.mean.dim()), self.mean.shape[-1])
        return first((last(x) - self.mean.view(shape)) / self.deviation.view(shape))


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int) -> Tensor:
    """Maps [b, c, h, w] convolved with filters [c', c, h, w]; or [k, b, c, h, w] with [k, c', c, h, w], in one call."""
    if weight.dim() == 4:
        # Torch cannot tell how a single channel stands, and would go on with channels first.
        if x.shape[1] == 1 and not exporting():
            x = x.as_strided(x.shape, (x.stride(0), 1, x.stride(2), x.stride(3)))
        return functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
    members, rows = x.shape[:2]
    side_by_side = x.transpose(0, 1).flatten(1, 2)
    bias = None if bias is None else bias.flatten()
    out = functional.conv2d(side_by_side, weight.flatten(0, 1), bias, stride, padding, dilation, members * groups)
    return out.view(rows, members, -1, *out.shape[-2:]).transpose(0, 1)


class Whiten(Standardize):
    """Standardised pixels through fixed filters, which take correlations between neighbours away.

    Args:
        channels: of the pictures.
        side: of a filter.
    """

    filters: Tensor

    def __init__(self, channels: int, side: int) -> None:
        super().__init__(channels)
        self.register_buffer("filters", torch.zeros(2 * channels * side**2, channels, side, side))

    def whiten(self, sample: Tensor, trick: Patches) -> None:
        """Finds mean, deviation and filters from pixels [n, c, h, w]."""
        self.fit(sample)
        pixels, side = Standardize.forward(self, sample), trick.side
        low = [max(0, side - length) for length in pixels.shape[-2:]]  # pictures may be smaller than a patch
        pixels = functional.pad(pixels, (0, low[1], 0, low[0]))
        apart = math.ceil((pixels[:, 0].numel() / _PATCHES) ** 0.5)
        patches = functional.unfold(pixels, side, stride=apart).transpose(1, 2).flatten(0, 1)
        self.filters.copy_(trick.filters(patches, epsilon=trick.epsilon).view(self.filters.shape))

    def forward(self, x: Tensor) -> Tensor:
        """Standardises and filters; maps keep their sides."""
        height, width = x.shape[-2:]
        found = convolved(super().forward(x), self.filters, None, 1, self.filters.shape[-1] // 2, 1, 1)
        return found[..., -height:, -width:]


class Conv(nn.Conv2d):
    """`nn.Conv2d` whose weight [c', c, h, w] and bias [c'] may carry a member axis, for maps [k, b, c, h, w].

    Args:
        shape, how: as for `nn.Conv2d`.
        members: those whose slots `weights` and `hardware` act here; None for none.
    """

    def __init__(self, *shape: Any, members: Members | None = None, **how: Any) -> None:
        super().__init__(*shape, **how)
        self.reweigh = None if members is None else members.reweigh(self.out_channels, self.weight[0].numel())
        self.planes = members is not None and members.recipes[0].hardware.layout == "contiguous"

    def forward(self, x: Tensor) -> Tensor:
        """One convolution; of a stack, one with a group of channels for each member."""
        weight = self.reweigh(self.weight) if isinstance(self.reweigh, Reweigh) else self.weight
        x = x.contiguous() if self.planes else x
        return convolved(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    @torch.no_grad()
    def settle(self) -> None:
        """Puts the weights that are used in the place of those that were learned: an end to training."""
        if self.reweigh is not None:
            self.weight.copy_(self.reweigh(self.weight))
            self.reweigh = None


class OnMaps(nn.Module):
    """A layer of rows [..., b, f], acting on maps [..., b, c, h, w]: every place of every map is a row of channels.

    The layer is told how many places a map has, that is how many rows belong together.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Lays maps out as rows, acts, and puts them back."""
        maps = last(x)
        rows = maps.reshape(*maps.shape[:-4], -1, maps.shape[-1])
        return first(self.layer(rows, maps.shape[-3] * maps.shape[-2]).reshape(maps.shape))


class Chain(nn.ModuleList):
    """Layers of rows [..., b, f], one after another, all of which are told how many rows belong together."""

    def forward(self, x: Tensor, places: int) -> Tensor:
        """Layer after layer."""
        for layer in self:
            x = layer(x, places)
        return x


class Pool(nn.Module):
    """The greatest of each 2 × 2 places; maps [..., c, h, w] of odd sides keep their last places."""

    def forward(self, x: Tensor) -> Tensor:
        """Halves the sides."""
        flat = x.flatten(0, -4) if x.dim() == 5 else x
        return functional.max_pool2d(flat, 2, ceil_mode=True).view(*x.shape[:-2], -(-x.shape[-2] // 2), -(-x.shape[-1] // 2))


class Around(nn.Module):
    """Maps plus a correction to them, which stochastic depth leaves out now and then."""

    def __init__(self, correction: nn.Module, skip: Skip) -> None:
        super().__init__()
        self.correction = correction
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """The stream plus its correction."""
        return x + self.skip(self.correction(x))  # type: ignore[no-any-return]  # a module call is untyped


class Most(nn.Module):
    """The greatest of each map's places: maps [..., b, c, h, w] to features [..., b, c]."""

    def forward(self, x: Tensor) -> Tensor:
        """Over both sides."""
        return x.amax((-2, -1))


class Mean(nn.Module):
    """The mean of each map's places, normalised: maps [..., b, c, h, w] to features [..., b, c]."""

    def __init__(self, members: Members, channels: int) -> None:
        super().__init__()
        self.normalize = members.normalize(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Over both sides."""
        return self.normalize(x.mean((-2, -1)))  # type: ignore[no-any-return]  # a module call is untyped


class Perceptron(nn.Module):
    """Rows [..., b, f] through a hidden layer that is `expansion` times as wide, and back."""

    def __init__(self, members: Members, width: int, expansion: int) -> None:
        super().__init__()
        self.up = Linear(width, expansion * width)
        self.activate = members.activate(expansion * width)
        self.down = Linear(expansion * width, width)

    def forward(self, x: Tensor, places: int) -> Tensor:
        """Up and down, each row by itself."""
        return self.down(self.activate(self.up(x)))  # type: ignore[no-any-return]  # a module call is untyped


class Attention(nn.Module):
    """Self-attention among the n places of a map, which stand as rows [..., b·n, f].

    Args:
        width: f.
        heads: divides f.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ask = Linear(width, 3 * width)
        self.answer = Linear(width, width)

    def forward(self, x: Tensor, places: int) -> Tensor:
        """Each place asks all places of its picture."""
        asked = self.ask(x).view(-1, places, 3, self.heads, x.shape[-1] // self.heads)
        query, key, value = asked.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(query, key, value)
        return self.answer(found.transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]  # a module call is untyped


class Places(nn.Module):
    """Adds to each place of maps [..., b, c, h, w] what is learned of that place; for maps of other sides, what lies there."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(height, width, channels))

    def forward(self, x: Tensor) -> Tensor:
        """The same for all pictures."""
        table = first(self.table)
        if x.shape[-2:] != table.shape[-2:]:
            stack = table.view(-1, *table.shape[-3:])
            smaller = functional.interpolate(stack, x.shape[-2:], mode="bilinear", antialias=True)
            table = smaller.view(*table.shape[:-2], *x.shape[-2:])
        return x + table.unsqueeze(-4)


class Builder:
    """Makes the layers of a body one after another, and keeps count of sides, costs and sizes.

    Args:
        members: whose layers they are.
        shape: of the pictures.
    """

    def __init__(self, members: Members, shape: ImageShape) -> None:
        self.members = members
        self.channels, self.height, self.width = shape.channels, shape.height, shape.width
        self.skips: list[Skip] = []
        self.products = 0
        self.widest = shape.channels * shape.height * shape.width

    def whitened(self, side: int) -> Whiten:
        """Fixed filters of pixels."""
        layer = Whiten(self.channels, side)
        self.products += layer.filters.numel() * self.height * self.width
        self.channels = len(layer.filters)
        self.widest = max(self.widest, self.channels * self.height * self.width)
        return layer

    def conv(self, channels: int, kernel: int = 3) -> nn.Sequential:
        """Convolution, normalisation, activation."""
        layer = Conv(self.channels, channels, kernel, padding=kernel // 2, members=self.members)
        self.products += layer.weight.numel() * self.height * self.width
        self.channels = channels
        self.widest = max(self.widest, channels * self.height * self.width)
        return nn.Sequential(layer, OnMaps(self.normalize()), OnMaps(self.members.activate(channels)))

    def cut(self, channels: int, by: int) -> Conv:
        """Patches of `by` × `by` pixels as the places of a smaller map; edges are padded where that is needed."""
        pads = tuple(-(-(-side % by) // 2) for side in (self.height, self.width))
        layer = Conv(self.channels, channels, by, stride=by, padding=(pads[0], pads[1]), members=self.members)
        self.height, self.width = ((side + 2 * pad) // by for side, pad in zip((self.height, self.width), pads, strict=True))
        self.products += layer.weight.numel() * self.height * self.width
        self.channels = channels
        self.widest = max(self.widest, channels * self.height * self.width)
        return layer

    def mixed(self) -> nn.Sequential:
        """A convolution of each channel by itself over 7 × 7 places, then a perceptron of all channels at each place."""
        layer = Conv(self.channels, self.channels, 7, padding=3, groups=self.channels, members=self.members)
        perceptron = Perceptron(self.members, self.channels, 4)
        self.products += (layer.weight.numel() + 8 * self.channels**2) * self.height * self.width
        self.widest = max(self.widest, 4 * self.channels * self.height * self.width)
        return nn.Sequential(layer, OnMaps(Chain([self.normalize(), perceptron])))

    def attended(self, heads: int) -> nn.Sequential:
        """Attention among all places, then a perceptron at each; both correct the stream."""
        places = self.height * self.width
        attention = Attention(self.channels, heads)
        self.products += (12 * self.channels**2 + 2 * self.channels * places) * places
        self.widest = max(self.widest, 4 * self.channels * places)
        return nn.Sequential(
            self.around(OnMaps(Chain([self.normalize(), attention]))),
            self.around(OnMaps(Chain([self.normalize(), Perceptron(self.members, self.channels, 4)]))),
        )

    def normalize(self) -> Normalize:
        """Normalisation of maps of so many channels as now."""
        return self.members.normalize(self.channels)

    def around(self, correction: nn.Module) -> Around:
        """A block of the stream; those behind are left out the more often the further back they stand."""
        skip = self.members.skip(axes=3)
        self.skips.append(skip)
        for place, found in enumerate(self.skips, 1):
            found.share = place / len(self.skips)
        return Around(correction, skip)

    def pool(self) -> Pool:
        """Halves the sides."""
        self.height, self.width = -(-self.height // 2), -(-self.width // 2)
        return Pool()


def stages(shape: ImageShape) -> int:
    """How often the sides are halved: until they are eight pixels at most, once at least."""
    return max(1, math.ceil(math.log2(max(shape.height, shape.width) / _SMALL)))


def cnn(builder: Builder, model: Cnn, shape: ImageShape) -> Blocks:
    """See `titrant.tricks.model.Cnn`."""
    layers: list[nn.Module] = []
    for stage in range(stages(shape) + 1):
        layers += [] if stage == 0 else [builder.pool()]
        layers += [builder.conv(model.width << min(stage, 2)) for _ in range(model.depth)]
    return Blocks(*layers, Most())


def resnet(builder: Builder, model: ResNet, shape: ImageShape) -> Blocks:
    """See `titrant.tricks.model.ResNet`."""
    layers: list[nn.Module] = [builder.conv(model.width)]
    for stage in range(1, stages(shape) + 1):
        width = model.width << min(stage, 2)
        layers += [builder.pool(), builder.conv(width)]
        layers += [builder.around(builder.conv(width)) for _ in range(model.depth)]
    return Blocks(*layers, Most())


def convnext(builder: Builder, model: ConvNeXt, shape: ImageShape) -> Blocks:
    """See `titrant.tricks.model.ConvNeXt`."""
    layers: list[nn.Module] = [builder.cut(model.width, 1 << (stages(shape) - 1))]
    layers += [builder.around(builder.mixed()) for _ in range(model.depth)]
    layers += [OnMaps(builder.normalize()), builder.cut(2 * model.width, 2)]
    layers += [builder.around(builder.mixed()) for _ in range(model.depth)]
    return Blocks(*layers, Mean(builder.members, builder.channels))


def vit(builder: Builder, model: ViT, shape: ImageShape) -> Blocks:
    """See `titrant.tricks.model.ViT`."""
    width = -(-model.width // model.heads) * model.heads
    layers: list[nn.Module] = [builder.cut(width, max(1, -(-max(shape.height, shape.width) // _SMALL)))]
    layers += [Places(width, builder.height, builder.width)]
    layers += [builder.attended(model.heads) for _ in range(model.depth)]
    return Blocks(*layers, Mean(builder.members, width))


class ImageNet(Net):
    """The learned part of a model for pictures, for one recipe or for many of equal shapes.

    Args:
        recipes, kin, factory, device: as for `titrant.models.network.Shape.network`.
        shape: of the pictures.

    Shape: pixels [k, b, c, h, w] in [0, 1] to outputs [k, v·b, o], all without k for a plain network. In evaluation a recipe
    may look at each picture's mirror image too: v = 2.
    """

    def __init__(
        self,
        recipes: Sequence[Recipe],
        shape: ImageShape,
        *,
        kin: Sequence[Recipe] | None = None,
        factory: Factory | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        members = Members(recipes, kin or recipes, device or torch.device("cpu"))
        builder = Builder(members, shape)
        model = recipes[0].model
        self.enter = Standardize(shape.channels)
        self.rectify: nn.Module = nn.Identity()
        if isinstance(recipes[0].data.whiten, Patches) and not isinstance(model, Custom):
            self.enter = builder.whitened(recipes[0].data.whiten.side)
            self.rectify = OnMaps(members.activate(builder.channels))
        match model:
            case Cnn():
                self.body: nn.Module = cnn(builder, model, shape)
            case ResNet():
                self.body = resnet(builder, model, shape)
            case ConvNeXt():
                self.body = convnext(builder, model, shape)
            case ViT():
                self.body = vit(builder, model, shape)
            case Custom():
                self.body = OwnBody(factory, recipes[0], shape.channels, shape.outputs, (shape.height, shape.width))
                builder.products = sum(p.numel() for p in self.body.parameters()) * shape.height
            case _:
                raise ValueError(f"model: {model.kind} is for tables")
        own = isinstance(model, Custom)
        self.drop = nn.Identity() if own else members.drop()
        self.head = nn.Identity() if own else Linear(builder.channels, shape.outputs)
        self.products = builder.products
        self.widest = builder.widest
        self.mirrors = not isinstance(recipes[0].augment.views, Off)

    @property
    def views(self) -> int:  # type: ignore[override]  # known only when asked
        """Two in evaluation where mirror images are looked at too."""
        return 2 if self.mirrors and not self.training else 1

    def forward(self, pixels: Tensor, mix: Mixer | None = None) -> Tensor:
        """Standardises, mixes pixels where `mix` is given (training), and computes the outputs."""
        if self.views == 2:
            pixels = torch.cat([pixels, pixels.flip(-1)], dim=-4)
        x = self.enter(pixels)
        if mix is not None:
            places = last(x)
            x = first(mix(places.flatten(-3)).view(places.shape))
        return self.head(self.drop(self.body(self.rectify(x))))  # type: ignore[no-any-return]  # a module call is untyped
