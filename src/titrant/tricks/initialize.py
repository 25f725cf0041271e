"""Initialisation: random weights to start training from, sized so that signals neither fade nor grow through the layers."""

import math
from typing import Annotated, ClassVar, Literal

import torch
from torch import Generator, Tensor

from titrant.space import Range
from titrant.tricks.base import DataKind, Options, Trick

Scale = Annotated[
    float,
    Range(0.1, 3.0, log=True, search=(1.0, 1.0), unit="factor", raising="weights start larger"),
]
"""Multiplies the drawn weights. The default search leaves it alone."""


class InitializeTrick(Trick):
    """A kind of initialisation: acts once, before the first step."""

    unit: ClassVar[str] = "weights"

    data_driven: ClassVar[bool] = False
    """True if the trainer rescales each drawn layer by `unit_variance_scale` of its output on a batch, first layer first."""

    def draw(self, shape: tuple[int, ...], gain: float, generator: Generator) -> Tensor:
        """One weight tensor of one member, float32 on the CPU.

        Args:
            shape: (fan_out, fan_in), or (out, in, *kernel) of a convolution, whose kernel multiplies both fans.
            gain: the factor that makes up for the activation before the layer, from `activation.gain_of`.
            generator: where the random numbers come from, on the CPU.
        """
        raise NotImplementedError


class Default(InitializeTrick):
    """PyTorch's own initialisation of linear layers and convolutions.

    w ~ U(-a, a), a = scale · fan_in^(-1/2); the gain is ignored.

    Doses:
        scale: multiplies the weights, 0.1 to 3. Raising it lets the network start further from a constant.

    Shape: (fan_out, fan_in) or (out, in, *kernel).

    Example:
        >>> Default().draw((8, 4), 1.0, torch.Generator()).shape
        torch.Size([8, 4])

    Source: `torch.nn.Linear`; LeCun et al. 1998, "Efficient backprop".

    Interactions: the signal's variance shrinks to a third in each layer, more with ReLU, so deep networks without `normalize`
    start slowly.
    """

    kind: Literal["default"] = "default"
    scale: Scale = 1.0

    def draw(self, shape: tuple[int, ...], gain: float, generator: Generator) -> Tensor:
        """Draws uniformly; see the class."""
        return _uniform(shape, self.scale / math.sqrt(_fans(shape)[0]), generator)


class XavierUniform(InitializeTrick):
    """Uniform weights whose variance is a compromise between keeping the signal forwards and the gradient backwards.

    w ~ U(-a, a), a = scale · gain · (6 / (fan_in + fan_out))^(1/2).

    Doses:
        scale: multiplies the weights, 0.1 to 3. Raising it lets the network start further from a constant.

    Shape: (fan_out, fan_in) or (out, in, *kernel).

    Example:
        >>> bool(XavierUniform().draw((8, 4), 1.0, torch.Generator()).abs().max() <= 0.5**0.5)
        True

    Source: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks".

    Interactions: made for `activation: tanh` and `sigmoid`.
    """

    kind: Literal["xavier_uniform"] = "xavier_uniform"
    scale: Scale = 1.0

    def draw(self, shape: tuple[int, ...], gain: float, generator: Generator) -> Tensor:
        """Draws uniformly; see the class."""
        return _uniform(shape, self.scale * gain * math.sqrt(6.0 / sum(_fans(shape))), generator)


class XavierNormal(InitializeTrick):
    """Normal weights with the variance of `xavier_uniform`.

    w ~ N(0, s²), s = scale · gain · (2 / (fan_in + fan_out))^(1/2).

    Doses:
        scale: multiplies the weights, 0.1 to 3. Raising it lets the network start further from a constant.

    Shape: (fan_out, fan_in) or (out, in, *kernel).

    Example:
        >>> XavierNormal().draw((8, 4), 1.0, torch.Generator()).dtype
        torch.float32

    Source: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks".

    Interactions: made for `activation: tanh` and `sigmoid`.
    """

    kind: Literal["xavier_normal"] = "xavier_normal"
    scale: Scale = 1.0

    def draw(self, shape: tuple[int, ...], gain: float, generator: Generator) -> Tensor:
        """Draws normally; see the class."""
        return _normal(shape, self.scale * gain * math.sqrt(2.0 / sum(_fans(shape))), generator)


class HeUniform(InitializeTrick):
    """Uniform weights that keep the mean square of the signal through the activation.

    w ~ U(-a, a), a = scale · gain · (3 / fan_in)^(1/2).

    Doses:
        scale: multiplies the weights, 0.1 to 3. Raising it lets the network start further from a constant.

    Shape: (fan_out, fan_in) or (out, in, *kernel).

    Example:
        >>> bool(HeUniform().draw((8, 3), 2.0, torch.Generator()).abs().max() <= 2.0)
        True

    Source: He et al. 2015, "Delving deep into rectifiers". Departure: the paper's √2 belongs to ReLU; here the gain is
    that of the activation in use.

    Interactions: matters most in deep networks without `normalize`, which otherwise restores the signal's size.
    """

    kind: Literal["he_uniform"] = "he_uniform"
    scale: Scale = 1.0

    def draw(self, shape: tuple[int, ...], gain: float, generator: Generator) -> Tensor:
        """Draws uniformly; see the class."""
        return _uniform(shape, self.scale * gain * math.sqrt(3.0 / _fans(shape)[0]), generator)


class HeNormal(InitializeTrick):
    """Normal weights that keep the mean square of the signal through the activation.

    w ~ N(0, s²), s = scale · gain · fan_in^(-1/2).

    Doses:
        scale: multiplies the weights, 0.1 to 3. Raising it lets the network start further from a constant.

    Shape: (fan_out, fan_in) or (out, in, *kernel).

    Example:
        >>> HeNormal(scale=0.5).draw((8, 4), 2.0**0.5, torch.Generator()).shape
        torch.Size([8, 4])

    Source: He et al. 2015, "Delving deep into rectifiers". Departure: the paper's √2 belongs to ReLU; here the gain is
    that of the activation in use.

    Interactions: matters most in deep networks without `normalize`, which otherwise restores the signal's size.
    """

    kind: Literal["he_normal"] = "he_normal"
    scale: Scale = 1.0

    def draw(self, shape: tuple[int, ...], gain: float, generator: Generator) -> Tensor:
        """Draws normally; see the class."""
        return _normal(shape, self.scale * gain / math.sqrt(_fans(shape)[0]), generator)


class LeCunNormal(InitializeTrick):
    """Normal weights that keep the variance of the signal through the layer itself.

    w ~ N(0, s²), s = scale · fan_in^(-1/2); the gain is ignored.

    Doses:
        scale: multiplies the weights, 0.1 to 3. Raising it lets the network start further from a constant.

    Shape: (fan_out, fan_in) or (out, in, *kernel).

    Example:
        >>> LeCunNormal().draw((8, 4, 3, 3), 1.0, torch.Generator()).shape
        torch.Size([8, 4, 3, 3])

    Source: LeCun et al. 1998, "Efficient backprop". Departure: not truncated, unlike the Keras initialiser of this name.

    Interactions: made for `activation: selu`, whose gain is 1; with that one it equals `he_normal`.
    """

    kind: Literal["lecun_normal"] = "lecun_normal"
    scale: Scale = 1.0

    def draw(self, shape: tuple[int, ...], gain: float, generator: Generator) -> Tensor:
        """Draws normally; see the class."""
        return _normal(shape, self.scale / math.sqrt(_fans(shape)[0]), generator)


class Orthogonal(InitializeTrick):
    """A random rotation, so that no direction of the signal is stretched or lost.

    w = scale · gain · Q, with orthonormal columns where fan_out ≥ fan_in, else orthonormal rows.

    Doses:
        scale: multiplies the weights, 0.1 to 3. Raising it lets the network start further from a constant.

    Shape: (fan_out, fan_in) or (out, in, *kernel), which is flattened to (out, in · kernel).

    Example:
        >>> w = Orthogonal().draw((8, 4), 1.0, torch.Generator())
        >>> torch.allclose(w.T @ w, torch.eye(4), atol=1e-6)
        True

    Source: Saxe et al. 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks".

    Interactions: helps most in deep plain networks; costs a QR decomposition for each layer.
    """

    kind: Literal["orthogonal"] = "orthogonal"
    scale: Scale = 1.0

    def draw(self, shape: tuple[int, ...], gain: float, generator: Generator) -> Tensor:
        """Draws a rotation; see the class."""
        return _rotation(shape, self.scale * gain, generator)


class LSUV(InitializeTrick):
    """Layer-sequential unit variance: a random rotation, rescaled so that the layer's output on real data has variance 1.

    w = Q / std(Q·x), with Q as in `orthogonal` and the standard deviation over the rows of a batch and the units of the layer;
    one layer after another from the input upwards. `draw` gives Q, and the trainer divides (see `unit_variance_scale`).

    Doses: none; the data set the scale, and the gain is ignored.

    Shape: (fan_out, fan_in) or (out, in, *kernel), which is flattened to (out, in · kernel).

    Example:
        >>> LSUV().draw((4, 8), 1.0, torch.Generator()).shape, LSUV.data_driven
        (torch.Size([4, 8]), True)

    Source: Mishkin and Matas 2016, "All you need is a good init". Departure: one division instead of a loop to a tolerance; the
    output is linear in the weights, so that the first division is exact.

    Interactions: does nothing useful together with `normalize`, which does the same in every step.
    """

    data_driven: ClassVar[bool] = True
    kind: Literal["lsuv"] = "lsuv"

    def draw(self, shape: tuple[int, ...], gain: float, generator: Generator) -> Tensor:
        """Draws a rotation; see the class."""
        return _rotation(shape, 1.0, generator)


class Dirac(InitializeTrick):
    """Lets the first channels of a convolution pass their map on as it is; the others are drawn as by `he_normal`.

    w[c, c, middle] = scale and 0 elsewhere, for the first min(out, in) channels c of the output. Layers without a kernel are
    drawn as by `he_normal` altogether.

    Doses:
        scale: multiplies the weights, 0.1 to 3. Raising it lets the network start further from a constant.

    Shape: (fan_out, fan_in) or (out, in, *kernel).

    Example:
        >>> Dirac().draw((2, 1, 1, 3), 1.0, torch.Generator())[0].tolist()
        [[[0.0, 1.0, 0.0]]]

    Source: Zagoruyko and Komodakis 2017, "DiracNets" (arXiv 1706.00388), as a starting point only, which is how the speed
    records on CIFAR-10 use it (K. Jordan 2024, arXiv 2404.00498).

    Interactions: for networks whose `normalize` restores the size of the signal; the drawn channels take the gain of the
    activation, those that pass a map on do not.
    """

    reads: ClassVar[tuple[DataKind, ...]] = ("image", "series")
    kind: Literal["dirac"] = "dirac"
    scale: Scale = 1.0

    def draw(self, shape: tuple[int, ...], gain: float, generator: Generator) -> Tensor:
        """Draws, and writes the first channels; see the class."""
        weights = _normal(shape, self.scale * gain / math.sqrt(_fans(shape)[0]), generator)
        if len(shape) > 2:
            passed = min(shape[:2])
            weights[:passed] = self.scale * torch.nn.init.dirac_(torch.empty(shape))[:passed]
        return weights


class Ridge(InitializeTrick):
    """Starts a linear network from the closed-form solution of ridge regression on its training rows.

    W = Xᵀ(XXᵀ + α·I)⁻¹Y of centred features, targets +1 for a row's class and -1 for the others; α, from 0.001 to 100,000,
    has the least leave-one-out error. Of classes, W is then multiplied by the factor that gives the least leave-one-out log
    loss, which makes probabilities of it.

    Doses:
        scale: multiplies the solution, 0.1 to 3. Raising it makes first predictions surer.

    Shape: (fan_out, fan_in).

    Example:
        >>> Ridge().kind
        'ridge'

    Source: Hoerl and Kennard 1970; leave-one-out errors as in scikit-learn's `RidgeClassifierCV`, the usual output of
    MiniRocket and Hydra. Departure: of more than 2,000 rows a random part is solved for, and training goes on from there.

    Interactions: for `model: linear`; other layers are drawn as by `default`. Wants a small learning rate.
    """

    reads: ClassVar[tuple[DataKind, ...]] = ("table", "series")
    searched: ClassVar[bool] = False
    kind: Literal["ridge"] = "ridge"
    scale: Scale = 1.0

    def draw(self, shape: tuple[int, ...], gain: float, generator: Generator) -> Tensor:
        """As `default`; the solution takes its place in a linear network."""
        return Default().draw(shape, gain, generator)


Initialize = Annotated[
    Default | XavierUniform | XavierNormal | HeUniform | HeNormal | LeCunNormal | Orthogonal | LSUV | Dirac | Ridge,
    Options(),
]
"""The initialisation slot: the weights of every linear layer; `default` is its baseline, because some weights there must be."""


def unit_variance_scale(output: Tensor) -> Tensor:
    """What a layer's weights are multiplied by to give its output variance 1.

    Args:
        output: what the layer gives without its bias, [b, f] or [k, b, f] for a stack.

    Returns:
        A scalar tensor, or [k, 1, 1]: one factor for each member. It is 1 where the output is constant or not finite.

    Example:
        >>> unit_variance_scale(torch.tensor([[-4.0], [4.0]]))
        tensor(0.2500)
    """
    spread = output.std(dim=(-2, -1), correction=0, keepdim=output.dim() == 3)
    usable = spread.isfinite() & (spread > torch.finfo(spread.dtype).tiny)
    return torch.where(usable, spread.reciprocal(), 1.0)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out)."""
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def _uniform(shape: tuple[int, ...], bound: float, generator: Generator) -> Tensor:
    return torch.empty(shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator)


def _normal(shape: tuple[int, ...], std: float, generator: Generator) -> Tensor:
    return torch.empty(shape, dtype=torch.float32).normal_(0.0, std, generator=generator)


def _rotation(shape: tuple[int, ...], gain: float, generator: Generator) -> Tensor:
    return torch.nn.init.orthogonal_(torch.empty(shape, dtype=torch.float32), gain, generator)
