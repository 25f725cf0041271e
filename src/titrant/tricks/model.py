"""The model slot: which network, how wide and how deep. The networks themselves stand in `titrant.models`."""

from typing import Annotated, ClassVar, Literal

from titrant.space import Range
from titrant.tricks.base import Options, Trick

_Width = Annotated[int, Range(1, 4096, log=True, search=(64, 256), unit="units", shared=True, raising="more capacity, slower")]
_Depth = Annotated[int, Range(1, 32, search=(2, 4), unit="layers", shared=True, raising="more capacity, harder to train")]

_Channels = Annotated[
    int, Range(1, 512, log=True, search=(12, 32), unit="channels", shared=True, raising="more capacity, slower")
]
_Convolutions = Annotated[int, Range(1, 8, search=(1, 2), unit="layers", shared=True, raising="more capacity, slower")]


class ModelTrick(Trick):
    """A network family."""

    unit: ClassVar[str] = "parameters"


class Mlp(ModelTrick):
    """A multilayer perceptron: `depth` times (linear, normalise, activate, drop), then a linear output.

    Doses:
        width: units of each hidden layer, 1 to 4096, log. Raising it adds capacity and time.
        depth: hidden layers, 1 to 32. Raising it adds capacity; beyond a few layers use `residual`.

    Shape: features [..., b, d] to outputs [..., b, c].

    Example:
        >>> Mlp(width=64, depth=2)
        Mlp(kind='mlp', width=64, depth=2)

    Source: Rumelhart, Hinton and Williams 1986.
    """

    reads: ClassVar[Literal["any", "table", "image"]] = "table"
    kind: Literal["mlp"] = "mlp"
    width: _Width = 128
    depth: _Depth = 2


class Residual(ModelTrick):
    """A residual MLP: each of `depth` blocks adds a two-layer correction to a stream of `width` numbers.

    x ← x + drop(W₂ · drop(act(W₁ · norm(x)))), then norm, act and a linear output.

    Doses:
        width: numbers in the stream, 1 to 4096, log.
        depth: blocks, 1 to 32.
        expansion: hidden units of a block for each number of the stream, 0.25 to 8.

    Shape: features [..., b, d] to outputs [..., b, c].

    Example:
        >>> Residual(depth=3).expansion
        2.0

    Source: the ResNet of Gorishniy et al. 2021, "Revisiting deep learning models for tabular data" (arXiv 2106.11959).
    """

    reads: ClassVar[Literal["any", "table", "image"]] = "table"
    kind: Literal["residual"] = "residual"
    width: _Width = 128
    depth: _Depth = 2
    expansion: Annotated[float, Range(0.25, 8.0, log=True, search=(2.0, 2.0), shared=True, raising="wider blocks")] = 2.0


class Ensemble(ModelTrick):
    """`views` networks that share nearly all weights: each sees the features through signs of its own and has its own output.

    view v: MLP(r_v ⊙ x), then W_v; the prediction is the mean over the views, each view is trained on its own loss.

    Doses:
        width, depth: of the shared MLP, as in `mlp`.
        views: how many, 2 to 64, log. Raising it steadies the prediction and costs time in proportion.

    Shape: features [..., b, d] to outputs [..., views·b, c], view by view.

    Example:
        >>> Ensemble(views=8).views
        8

    Source: TabM-mini of Gorishniy, Kotelnikov and Babenko 2024 (arXiv 2410.24210): one adapter before the first layer,
    drawn as random signs, and one output head for each view.
    """

    reads: ClassVar[Literal["any", "table", "image"]] = "table"
    kind: Literal["ensemble"] = "ensemble"
    width: _Width = 128
    depth: _Depth = 2
    views: Annotated[int, Range(2, 64, log=True, search=(4, 16), shared=True, raising="steadier, slower")] = 8


class Cnn(ModelTrick):
    """A plain convolutional network: stages of `depth` 3 × 3 convolutions, with maximum pooling between.

    Each convolution is followed by normalise and activate. Stages follow until maps have eight pixels a side; channels double
    twice. Then the maximum over the places of each map, dropout, and a linear output.

    Doses:
        width: channels of the first stage, 1 to 512, log. Raising it adds capacity, and time with its square.
        depth: convolutions of a stage, 1 to 8.

    Shape: pixels [..., b, c, h, w] to outputs [..., b, o].

    Example:
        >>> Cnn(width=16)
        Cnn(kind='cnn', width=16, depth=1)

    Source: Simonyan and Zisserman 2015, "Very deep convolutional networks" (VGG). Departure: global maximum pooling in place of
    hidden linear layers.
    """

    reads: ClassVar[Literal["any", "table", "image"]] = "image"
    kind: Literal["cnn"] = "cnn"
    width: _Channels = 24
    depth: _Convolutions = 1


class ResNet(ModelTrick):
    """A small residual network: a convolution, then stages of pooling, convolution, and `depth` residual convolutions.

    Each convolution (3 × 3) is followed by normalise and activate; x ← x + act(norm(conv(x))). Stages, channels and the output
    are as in `cnn`.

    Doses:
        width: channels of the first convolution, 1 to 512, log. Raising it adds capacity, and time with its square.
        depth: residual convolutions of a stage, 1 to 8.

    Shape: pixels [..., b, c, h, w] to outputs [..., b, o].

    Example:
        >>> ResNet().width
        16

    Source: the ResNet-9 of David Page 2018, "How to train your ResNet", after He et al. 2016 (arXiv 1512.03385). Departures:
    one convolution in a residual branch; pooling comes before the convolution that doubles the channels, at a quarter of the
    cost.
    """

    reads: ClassVar[Literal["any", "table", "image"]] = "image"
    kind: Literal["resnet"] = "resnet"
    width: _Channels = 16
    depth: _Convolutions = 1


class ConvNeXt(ModelTrick):
    """A convolutional network with a transformer's manners: patches, then blocks of x ← x + perceptron(norm(conv(x))).

    Patches bring maps to about sixteen pixels a side; `depth` blocks follow, patches of 2 × 2 with twice the channels, and
    `depth` blocks again; then the normalised mean over the places of each map, dropout, and a linear output. A block convolves
    each channel by itself over 7 × 7 places, normalises, and expands channels fourfold and back.

    Doses:
        width: channels of the first half, 1 to 512, log. Raising it adds capacity, and time with its square.
        depth: blocks of each half, 1 to 8.

    Shape: pixels [..., b, c, h, w] to outputs [..., b, o].

    Example:
        >>> ConvNeXt(depth=2).width
        32

    Source: Liu et al. 2022, "A ConvNet for the 2020s" (arXiv 2201.03545). Departures: two stages, no layer scale; the
    normalisation is that of the recipe's slot (`layer` in the paper), stochastic depth that of `regularize`.
    """

    searched: ClassVar[bool] = False
    reads: ClassVar[Literal["any", "table", "image"]] = "image"
    kind: Literal["convnext"] = "convnext"
    width: _Channels = 32
    depth: _Convolutions = 2


class ViT(ModelTrick):
    """A small vision transformer: patches as tokens with learned places, `depth` blocks of attention and perceptron.

    At most 8 × 8 patches; x ← x + attention(norm(x)), x ← x + perceptron(norm(x)) with four times the width inside; then the
    normalised mean of all tokens, dropout, and a linear output.

    Doses:
        width: numbers of a token, 1 to 1024, log; brought up to a multiple of `heads`.
        depth: blocks, 1 to 16.
        heads: of the attention, 1 to 16.

    Shape: pixels [..., b, c, h, w] to outputs [..., b, o].

    Example:
        >>> ViT().heads
        4

    Source: Dosovitskiy et al. 2021 (arXiv 2010.11929), in the plain form of Beyer et al. 2022 (arXiv 2205.01580): the mean of
    all tokens instead of one for the class. Departure: places are learned; the normalisation is that of the recipe's slot.

    Interactions: wants `normalize: layer`, AdamW, warm-up, and more data or time than a convolutional network.
    """

    searched: ClassVar[bool] = False
    reads: ClassVar[Literal["any", "table", "image"]] = "image"
    kind: Literal["vit"] = "vit"
    width: Annotated[
        int, Range(1, 1024, log=True, search=(48, 128), unit="numbers", shared=True, raising="more capacity, slower")
    ] = 64
    depth: Annotated[int, Range(1, 16, search=(3, 6), unit="blocks", shared=True, raising="more capacity, slower")] = 4
    heads: Annotated[int, Range(1, 16, log=True, search=(2, 8), unit="heads", shared=True, raising="more to attend to")] = 4


class Custom(ModelTrick):
    """A network of the person's own, made by a factory that is given in Python: `titrant.fit(data, ..., model=make_model)`.

    The factory is called as `make_model(inputs, outputs)` and returns an `nn.Module` from [b, inputs] to [b, outputs]; for
    pictures `inputs` are channels, and the module takes standardised pixels [b, inputs, h, w].
    Slots that build the network (normalize, activation, dropout, initialize) do not reach into it.

    Doses:
        factory: where the factory stands, `module:function`, for the record. It is never imported from a recipe file.

    Example:
        >>> Custom(factory="my_package.nets:make_model").factory
        'my_package.nets:make_model'

    Source: `torch.nn.Module`; lifted over the members by `torch.vmap`, so it must not branch on the values of its inputs.
    """

    searched: ClassVar[bool] = False
    kind: Literal["custom"] = "custom"
    factory: str = ""


Model = Annotated[Mlp | Residual | Ensemble | Cnn | ResNet | ConvNeXt | ViT | Custom, Options()]
"""The model slot."""
