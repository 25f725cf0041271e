"""The model slot: which network, how wide and how deep. The networks themselves stand in `titrant.models`."""

from typing import Annotated, ClassVar, Literal

from titrant.space import Range
from titrant.tricks.base import DataKind, Options, Trick

_Width = Annotated[int, Range(1, 4096, log=True, search=(64, 256), unit="units", shared=True, raising="more capacity, slower")]
_Depth = Annotated[int, Range(1, 32, search=(2, 4), unit="layers", shared=True, raising="more capacity, harder to train")]

_Channels = Annotated[
    int, Range(1, 512, log=True, search=(12, 32), unit="channels", shared=True, raising="more capacity, slower")
]
_Convolutions = Annotated[int, Range(1, 8, search=(1, 2), unit="layers", shared=True, raising="more capacity, slower")]


class ModelTrick(Trick):
    """A network family."""

    unit: ClassVar[str] = "parameters"


class Linear(ModelTrick):
    """A linear output and nothing else: logistic or least-squares regression, trained as networks are.

    Of series it reads the features of `data.features`, or the series itself, laid out as one row; of texts the same features,
    or the mean of the tokens.

    Doses: none.

    Shape: features [..., b, d] to outputs [..., b, c].

    Example:
        >>> Linear().kind
        'linear'

    Source: Cox 1958 for classes; on random convolutions as in MiniRocket (arXiv 2012.08791).

    Interactions: `initialize: ridge` starts it from the closed-form solution; slots that act on hidden layers do nothing, but
    for `dropout`, which acts on the features.
    """

    searched: ClassVar[bool] = False
    reads: ClassVar[tuple[DataKind, ...]] = ("table", "series", "text")
    kind: Literal["linear"] = "linear"


class Mlp(ModelTrick):
    """A multilayer perceptron: `depth` times (linear, normalise, activate, drop), then a linear output.

    Of texts its first layer sums learned vectors of tokens, or of the runs of `data.features: ngrams`: an embedding bag.

    Doses:
        width: units of each hidden layer, 1 to 4096, log. Raising it adds capacity and time.
        depth: hidden layers, 1 to 32. Raising it adds capacity; beyond a few layers use `residual`.

    Shape: features [..., b, d] to outputs [..., b, c].

    Example:
        >>> Mlp(width=64, depth=2)
        Mlp(kind='mlp', width=64, depth=2)

    Source: Rumelhart, Hinton and Williams 1986; on texts the deep averaging network of Iyyer et al. 2015, and fastText of
    Joulin et al. 2017 (arXiv 1607.01759).
    """

    reads: ClassVar[tuple[DataKind, ...]] = ("table", "series", "text")
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

    reads: ClassVar[tuple[DataKind, ...]] = ("table",)
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

    reads: ClassVar[tuple[DataKind, ...]] = ("table",)
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

    reads: ClassVar[tuple[DataKind, ...]] = ("image",)
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

    reads: ClassVar[tuple[DataKind, ...]] = ("image",)
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
    reads: ClassVar[tuple[DataKind, ...]] = ("image",)
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
    reads: ClassVar[tuple[DataKind, ...]] = ("image",)
    kind: Literal["vit"] = "vit"
    width: Annotated[
        int, Range(1, 1024, log=True, search=(48, 128), unit="numbers", shared=True, raising="more capacity, slower")
    ] = 64
    depth: Annotated[int, Range(1, 16, search=(3, 6), unit="blocks", shared=True, raising="more capacity, slower")] = 4
    heads: Annotated[int, Range(1, 16, log=True, search=(2, 8), unit="heads", shared=True, raising="more to attend to")] = 4


class SequenceTrick(ModelTrick):
    """A network that reads the steps of a series, or the tokens of a text."""

    reads: ClassVar[tuple[DataKind, ...]] = ("series",)


class Fcn(SequenceTrick):
    """A plain convolutional network for series: `depth` convolutions, each normalised and activated.

    The first kernel is twice, the second once and further ones half as long as `kernel`; the middle convolutions have twice the
    channels. Then mean and maximum over the steps, dropout, and a linear output.

    Doses:
        width: channels, 1 to 512, log. Raising it adds capacity, and time with its square.
        depth: convolutions, 1 to 8.
        kernel: steps that a middle convolution sees, 1 to 63; an even number counts as the next odd one.

    Shape: series [..., b, c, t] to outputs [..., b, o].

    Example:
        >>> Fcn(width=32).depth
        3

    Source: the FCN of Wang, Yan and Oates 2017 (arXiv 1611.06455): kernels 8, 5, 3. Departures: odd kernels; the maximum over
    the steps beside the mean.
    """

    kind: Literal["fcn"] = "fcn"
    width: Annotated[
        int, Range(1, 512, log=True, search=(32, 128), unit="channels", shared=True, raising="more capacity, slower")
    ] = 64
    depth: Annotated[int, Range(1, 8, search=(3, 3), unit="layers", shared=True, raising="more capacity, slower")] = 3
    kernel: Annotated[
        int, Range(1, 63, log=True, search=(3, 9), unit="steps", shared=True, raising="sees longer stretches")
    ] = 5


class Inception(SequenceTrick):
    """A convolutional network that looks at short, middle and long stretches at once.

    A block brings its input to `width` channels, convolves them with kernels of `kernel`, a half and a quarter of it, adds the
    greatest of each three steps, lays all four side by side, normalises and activates. A shortcut spans each `depth` blocks,
    twice. Then mean and maximum over the steps, dropout, and a linear output.

    Doses:
        width: channels of each of the four parts, 1 to 256, log. Raising it adds capacity, and time with its square.
        depth: blocks that a shortcut spans, 1 to 6.
        kernel: the longest stretch, 4 to 127, log.

    Shape: series [..., b, c, t] to outputs [..., b, o].

    Example:
        >>> Inception(width=16).kernel
        39

    Source: InceptionTime of Ismail Fawaz et al. 2020 (arXiv 1909.04939). Departures: odd kernels; shorter ones where series are
    short; the maximum over the steps beside the mean.
    """

    kind: Literal["inception"] = "inception"
    width: Annotated[
        int, Range(1, 256, log=True, search=(12, 32), unit="channels", shared=True, raising="more capacity, slower")
    ] = 16
    depth: Annotated[int, Range(1, 6, search=(1, 3), unit="blocks", shared=True, raising="more capacity, slower")] = 2
    kernel: Annotated[int, Range(4, 127, log=True, search=(19, 39), unit="steps", shared=True, raising="longer stretches")] = 39


class Tcn(SequenceTrick):
    """A temporal convolutional network: residual blocks whose kernels reach twice as far from block to block.

    x ← x + norm-act(conv(norm-act(conv(x)))), with dilations 1, 2, 4, ... until a series is covered or `depth` is reached; then
    mean and maximum over the steps, dropout, and a linear output.

    Doses:
        width: channels, 1 to 512, log. Raising it adds capacity, and time with its square.
        depth: blocks at most, 1 to 12.
        kernel: steps that a convolution sees, 1 to 15; an even number counts as the next odd one.

    Shape: series [..., b, c, t] to outputs [..., b, o].

    Example:
        >>> Tcn().width
        32

    Source: Bai, Kolter and Koltun 2018 (arXiv 1803.01271). Departure: kernels look to both sides, because the whole series is
    there when it is judged.
    """

    kind: Literal["tcn"] = "tcn"
    width: Annotated[
        int, Range(1, 512, log=True, search=(16, 64), unit="channels", shared=True, raising="more capacity, slower")
    ] = 32
    depth: Annotated[int, Range(1, 12, search=(3, 6), unit="blocks", shared=True, raising="reaches further, slower")] = 4
    kernel: Annotated[int, Range(1, 15, search=(3, 7), unit="steps", shared=True, raising="more capacity, slower")] = 3


class TextCnn(SequenceTrick):
    """A convolutional network for texts: convolutions of several lengths side by side, and what each finds anywhere.

    Convolutions over 1, 3 and 5 tokens (`kernels` of them: 1, 2 or 3), normalised and activated; then mean and maximum over the
    tokens, dropout, and a linear output.

    Doses:
        width: channels of each convolution, 1 to 512, log. Raising it adds capacity, and time in proportion.
        kernels: how many lengths, 1 to 5: 1, 3, 5, 7 and 9 tokens.

    Shape: vectors [..., b, c, t] to outputs [..., b, o].

    Example:
        >>> TextCnn(width=100).kernels
        3

    Source: Kim 2014, "Convolutional neural networks for sentence classification" (arXiv 1408.5882): 3, 4 and 5 tokens, 100
    channels. Departures: odd lengths; the mean over the tokens beside the maximum; vectors are learned from the data alone.
    """

    reads: ClassVar[tuple[DataKind, ...]] = ("text",)
    kind: Literal["text_cnn"] = "text_cnn"
    width: Annotated[
        int, Range(1, 512, log=True, search=(32, 128), unit="channels", shared=True, raising="more capacity, slower")
    ] = 64
    kernels: Annotated[int, Range(1, 5, search=(2, 3), unit="lengths", shared=True, raising="sees longer phrases")] = 3


_Cells = Annotated[int, Range(1, 1024, log=True, search=(32, 128), unit="units", shared=True, raising="more capacity, slower")]
_Layers = Annotated[int, Range(1, 4, search=(1, 2), unit="layers", shared=True, raising="more capacity, harder to train")]


class RecurrentTrick(SequenceTrick):
    """A recurrent network."""

    reads: ClassVar[tuple[DataKind, ...]] = ("series", "text")
    searched: ClassVar[bool] = False
    gates: ClassVar[int]
    width: _Cells = 64
    depth: _Layers = 1
    direction: Literal["both", "forward"] = "both"
    pool: Literal["attention", "mean", "last"] = "attention"
    start: Literal["orthogonal", "identity", "drawn"] = "orthogonal"


class Gru(RecurrentTrick):
    """A gated recurrent network: reads a series step by step, and keeps what its gates let through.

    r, z = σ(W·[x, h] + b), n = tanh(W·x + r · (U·h) + b), h ← (1 - z) · n + z · h.

    Doses:
        width: units of each direction, 1 to 1024, log. Raising it adds capacity, and time.
        depth: layers, 1 to 4.
        direction: "both" reads from the end as well.
        pool: what is handed on: what attention finds worth it, the mean of all steps, or the last state of each direction.
        start: recurrent weights: "orthogonal", "identity" of a scaled unit matrix, or "drawn" as `initialize` says.

    Shape: series [..., b, c, t] to outputs [..., b, o].

    Example:
        >>> Gru(width=32).pool
        'attention'

    Source: Cho et al. 2014 (arXiv 1406.1078) as cuDNN computes it; orthogonal weights: Saxe et al. 2014; identity: Le, Jaitly
    and Hinton 2015 (arXiv 1504.00941); attention pooling: Bahdanau et al. 2015 in its simplest form, one learned question.

    Interactions: wants `clip: norm`. `normalize: layer` stands inside the cell, on what comes from the input and from the state
    (Ba et al. 2016, arXiv 1607.06450); other kinds stand on what comes from the input alone. `dropout: variational` hides the
    same units at all steps. Slow where series are long: each step waits for the one before.
    """

    gates: ClassVar[int] = 3
    kind: Literal["gru"] = "gru"


class Lstm(RecurrentTrick):
    """A long short-term memory: a recurrent network with a cell that only its gates can change.

    i, f, o = σ(W·[x, h] + b), g = tanh(W·[x, h] + b), c ← f · c + i · g, h ← o · tanh(c); forget gates start at bias 1.

    Doses:
        width, depth, direction, pool, start: as of `gru`.

    Shape: series [..., b, c, t] to outputs [..., b, o].

    Example:
        >>> Lstm().width
        64

    Source: Hochreiter and Schmidhuber 1997; forget bias 1: Jozefowicz, Zaremba and Sutskever 2015. Departure: no peepholes.

    Interactions: as `gru`.
    """

    gates: ClassVar[int] = 4
    kind: Literal["lstm"] = "lstm"


class Rnn(RecurrentTrick):
    """A plain recurrent network: h ← act(W·x + U·h + b), with the recipe's own activation.

    Doses:
        width, depth, direction, pool, start: as of `gru`.

    Shape: series [..., b, c, t] to outputs [..., b, o].

    Example:
        >>> Rnn(start="identity").start
        'identity'

    Source: Elman 1990; with `activation: relu` and `start: identity` the IRNN of Le, Jaitly and Hinton 2015 (arXiv 1504.00941).

    Interactions: its gradients vanish or explode over many steps; orthogonal weights, `clip` and `normalize: layer` help.
    """

    gates: ClassVar[int] = 1
    kind: Literal["rnn"] = "rnn"


class Transformer(SequenceTrick):
    """A small transformer over patches of steps, with learned places.

    At most `patches` patches, each a token; x ← x + attention(norm(x)), x ← x + perceptron(norm(x)) with four times the width
    inside; then the normalised mean of all tokens, dropout, and a linear output.

    Doses:
        width: numbers of a token, 1 to 1024, log; brought up to a multiple of `heads`.
        depth: blocks, 1 to 12.
        heads: of the attention, 1 to 16.
        patches: tokens at most, 1 to 512.

    Shape: series [..., b, c, t] to outputs [..., b, o].

    Example:
        >>> Transformer().patches
        64

    Source: Vaswani et al. 2017 (arXiv 1706.03762); patches as in PatchTST, Nie et al. 2023 (arXiv 2211.14730), of all channels
    together. Departure: the normalisation is that of the recipe's slot, before each part.

    Interactions: wants `normalize: layer`, AdamW, warm-up, and more data than convolutions.
    """

    reads: ClassVar[tuple[DataKind, ...]] = ("series", "text")
    searched: ClassVar[bool] = False
    kind: Literal["transformer"] = "transformer"
    width: Annotated[
        int, Range(1, 1024, log=True, search=(32, 128), unit="numbers", shared=True, raising="more capacity, slower")
    ] = 64
    depth: Annotated[int, Range(1, 12, search=(2, 4), unit="blocks", shared=True, raising="more capacity, slower")] = 2
    heads: Annotated[int, Range(1, 16, log=True, search=(2, 8), unit="heads", shared=True, raising="more to attend to")] = 4
    patches: Annotated[
        int, Range(1, 512, log=True, search=(32, 64), unit="tokens", shared=True, raising="finer, slower with the square")
    ] = 64


Reaching = Literal["weights", "normalize", "activation", "dropout", "initialize"]
"""Slots that can reach into a network of a person's own, in the order in which they act."""


class Custom(ModelTrick):
    """A network of the person's own, made by a factory that is given in Python: `titrant.fit(data, ..., model=make_model)`.

    The factory is called as `make_model(inputs, outputs)` and returns an `nn.Module` from [b, inputs] to [b, outputs]; for
    pictures `inputs` are channels, and the module takes standardised pixels [b, inputs, h, w]; for series channels as well, and
    the module takes scaled series [b, inputs, t]; for texts the same of learned vectors, 0 behind a text's end. Further
    arguments whose annotation says what they may be, such as `width: Annotated[int, Range(16, 256, log=True)] = 64`, are doses.

    Doses:
        factory: where the factory stands, `module:function`, for the record. It is never imported from a recipe file.
        doses: the factory's own, by name.
        surgery: the slots that reach into the network: weights, normalize, activation, dropout, initialize. The others
            leave it as its factory made it; see `titrant.surgery`.

    Example:
        >>> Custom(factory="my_package.nets:make_model", surgery=["activation"]).surgery
        ('activation',)

    Source: `torch.nn.Module`; lifted over the members by `torch.vmap`, or computed in turn where it branches on the values of
    its inputs, or has convolutions.
    """

    searched: ClassVar[bool] = False
    kind: Literal["custom"] = "custom"
    factory: str = ""
    doses: dict[str, int | float | str | bool] = {}  # noqa: RUF012  # pydantic copies it
    surgery: tuple[Reaching, ...] = ()

    def __hash__(self) -> int:
        """Of all fields; a mapping has none of its own."""
        return hash((self.factory, tuple(sorted(self.doses.items())), self.surgery))


Model = Annotated[
    Linear
    | Mlp
    | Residual
    | Ensemble
    | Cnn
    | ResNet
    | ConvNeXt
    | ViT
    | Fcn
    | Inception
    | Tcn
    | TextCnn
    | Rnn
    | Gru
    | Lstm
    | Transformer
    | Custom,
    Options(),
]
"""The model slot."""
