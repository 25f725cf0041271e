"""Activation: the non-linearity after each hidden layer, and the weight gain that keeps the signal's size through it."""

import math
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from titrant.space import Range
from titrant.tricks.base import Off, Options, Trick, Value


class ActivationTrick(Trick):
    """A kind of activation: acts on every unit of every row, in training and in evaluation alike."""

    unit: ClassVar[str] = "units"

    apply: ClassVar[Callable[..., Tensor]]
    """`apply(x, **doses)`: the activations, shaped like `x`.

    Args:
        x: pre-activations [b, f], or [k, b, f] for a stack, whose doses are then tensors [k, 1, 1].
        doses: the kind's own; a parameter named in `learned` comes in their place as a tensor [f] or [k, 1, f].
    """

    learned: ClassVar[dict[str, float]] = {}
    """Parameters that training learns, one for each unit, with the value that they start from."""

    gain: ClassVar[Callable[..., float]]
    """`gain(**doses)`: the factor on the weights' standard deviation that keeps the mean square of the signal.

    It is E[f(z)²]^(-1/2) for z ~ N(0, 1), for every kind. `torch.nn.init.calculate_gain` gives the same for the ReLU family and
    other, empirical numbers for tanh (5/3), sigmoid (1) and SELU (3/4).
    """


class ReLU(ActivationTrick):
    """Passes positive values and silences negative ones.

    y = max(x, 0).

    Shape: any; the output is shaped like the input.

    Example:
        >>> import torch
        >>> ReLU.apply(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])

    Source: Nair and Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".

    Interactions: gain √2, with `initialize: he_normal`. A large learning rate can silence a unit for good, because no gradient
    passes below zero; `leaky_relu`, `gelu` and `silu` cannot die in this way.
    """

    kind: Literal["relu"] = "relu"

    @staticmethod
    def apply(x: Tensor) -> Tensor:
        """Rectifies; see the class."""
        return x.relu()

    @staticmethod
    def gain() -> float:
        """√2: half of the mean square is silenced."""
        return math.sqrt(2.0)


class LeakyReLU(ActivationTrick):
    """Passes positive values and weakens negative ones, so that every unit keeps a gradient.

    y = max(x, 0) + slope · min(x, 0).

    Doses:
        slope: the factor on negative values, 0 to 0.5. Raising it makes the unit more linear; 0 is `relu`.

    Shape: any; the output is shaped like the input.

    Example:
        >>> import torch
        >>> LeakyReLU.apply(torch.tensor([-1.0, 2.0]), slope=0.25)
        tensor([-0.2500,  2.0000])

    Source: Maas et al. 2013, "Rectifier nonlinearities improve neural network acoustic models".

    Interactions: gain (2 / (1 + slope²))^(1/2), with `initialize: he_normal`.
    """

    searched: ClassVar[bool] = False
    kind: Literal["leaky_relu"] = "leaky_relu"
    slope: Annotated[float, Range(0.0, 0.5, search=(0.0, 0.3), unit="factor", raising="units become more linear")] = 0.01

    @staticmethod
    def apply(x: Tensor, *, slope: Value) -> Tensor:
        """Weakens the negative part; see the class."""
        return _weakened(x, slope) if isinstance(slope, Tensor) else functional.leaky_relu(x, slope)

    @staticmethod
    def gain(*, slope: float) -> float:
        """(2 / (1 + slope²))^(1/2)."""
        return math.sqrt(2.0 / (1.0 + slope**2))


class PReLU(ActivationTrick):
    """A leaky ReLU that learns its slope, one for each unit.

    y = max(x, 0) + slope · min(x, 0), with slope learned from 0.25 on.

    Shape: x [b, f] with slope [f], or [k, b, f] with [k, 1, f]; the output is shaped like x.

    Example:
        >>> import torch
        >>> PReLU.apply(torch.tensor([[-1.0, -1.0, 2.0]]), slope=torch.tensor([0.25, 0.5, 0.25]))
        tensor([[-0.2500, -0.5000,  2.0000]])

    Source: He et al. 2015, "Delving deep into rectifiers". As there, weight decay should leave the slopes alone: it would pull
    them to zero, which is `relu`.

    Interactions: the gain is that of the starting slope, with `initialize: he_normal`.
    """

    searched: ClassVar[bool] = False
    learned: ClassVar[dict[str, float]] = {"slope": 0.25}
    kind: Literal["prelu"] = "prelu"

    @staticmethod
    def apply(x: Tensor, *, slope: Tensor) -> Tensor:
        """Weakens the negative part by the learned slope; see the class."""
        return _weakened(x, slope)

    @staticmethod
    def gain() -> float:
        """That of a leaky ReLU at the starting slope."""
        return LeakyReLU.gain(slope=PReLU.learned["slope"])


class ELU(ActivationTrick):
    """Passes positive values and lets negative ones saturate smoothly, which brings the mean activation nearer to zero.

    y = x for x > 0, else alpha · (eˣ - 1).

    Doses:
        alpha: minus the value that large negative inputs saturate to, 0.1 to 3. Raising it lets negative values count for more;
            the curve has a kink at zero unless it is 1.

    Shape: any; the output is shaped like the input.

    Example:
        >>> import torch
        >>> ELU.apply(torch.tensor([-1.0, 2.0]), alpha=1.0)
        tensor([-0.6321,  2.0000])

    Source: Clevert et al. 2016, "Fast and accurate deep network learning by exponential linear units".

    Interactions: made for networks without batch norm.
    """

    searched: ClassVar[bool] = False
    kind: Literal["elu"] = "elu"
    alpha: Annotated[float, Range(0.1, 3.0, log=True, search=(0.5, 2.0), raising="negative values count for more")] = 1.0

    @staticmethod
    def apply(x: Tensor, *, alpha: Value) -> Tensor:
        """Saturates the negative part; see the class."""
        return _weakened(functional.elu(x), alpha) if isinstance(alpha, Tensor) else functional.elu(x, alpha)

    @staticmethod
    def gain(*, alpha: float) -> float:
        """From the moments of the log-normal: E[(eᶻ - 1)²; z < 0] = e²Φ(-2) - 2·e^(1/2)·Φ(-1) + 1/2."""
        below_two, below_one = (0.5 * math.erfc(cut / math.sqrt(2.0)) for cut in (2.0, 1.0))
        saturating = math.exp(2.0) * below_two - 2.0 * math.exp(0.5) * below_one + 0.5
        return 1.0 / math.sqrt(0.5 + alpha**2 * saturating)


class SELU(ActivationTrick):
    """An ELU whose two constants pull the activations of deep plain networks to mean 0 and variance 1 by themselves.

    y = λ·x for x > 0, else λ·α·(eˣ - 1), with λ = 1.0507 and α = 1.6733.

    Shape: any; the output is shaped like the input.

    Example:
        >>> import torch
        >>> SELU.apply(torch.tensor([-1.0, 2.0]))
        tensor([-1.1113,  2.1014])

    Source: Klambauer et al. 2017, "Self-normalizing neural networks".

    Interactions: wants `initialize: lecun_normal`, `normalize: off` and `dropout: alpha`; anything else breaks the fixed point.
    """

    kind: Literal["selu"] = "selu"

    @staticmethod
    def apply(x: Tensor) -> Tensor:
        """Scales and saturates; see the class."""
        return functional.selu(x)

    @staticmethod
    def gain() -> float:
        """1 by construction."""
        return 1.0


class GELU(ActivationTrick):
    """Weighs each value by the chance that a standard normal number lies below it: a smooth ReLU.

    y = x · Φ(x), with Φ the standard normal distribution function (the exact one, not the tanh approximation).

    Shape: any; the output is shaped like the input.

    Example:
        >>> import torch
        >>> GELU.apply(torch.tensor([-1.0, 2.0]))
        tensor([-0.1587,  1.9545])

    Source: Hendrycks and Gimpel 2016, "Gaussian error linear units".

    Interactions: the usual choice of residual networks and transformers with `normalize: layer`.
    """

    kind: Literal["gelu"] = "gelu"

    @staticmethod
    def apply(x: Tensor) -> Tensor:
        """Weighs by Φ; see the class."""
        return functional.gelu(x)

    @staticmethod
    def gain() -> float:
        """E[f(z)²]^(-1/2)."""
        return 1.5335304411955353


class SiLU(ActivationTrick):
    """Weighs each value by its own sigmoid: a smooth ReLU, also called swish.

    y = x · σ(x).

    Shape: any; the output is shaped like the input.

    Example:
        >>> import torch
        >>> SiLU.apply(torch.tensor([-1.0, 2.0]))
        tensor([-0.2689,  1.7616])

    Source: Elfwing et al. 2018, "Sigmoid-weighted linear units"; Ramachandran et al. 2017, "Searching for activation
    functions", whose β stays at 1 here.

    Interactions: like `gelu`, and cheaper to compute.
    """

    kind: Literal["silu"] = "silu"

    @staticmethod
    def apply(x: Tensor) -> Tensor:
        """Weighs by the sigmoid; see the class."""
        return functional.silu(x)

    @staticmethod
    def gain() -> float:
        """E[f(z)²]^(-1/2)."""
        return 1.6765324703310909


class Mish(ActivationTrick):
    """Weighs each value by a tanh of its softplus: a smooth ReLU that is a little steeper than SiLU.

    y = x · tanh(log(1 + eˣ)).

    Shape: any; the output is shaped like the input.

    Example:
        >>> import torch
        >>> Mish.apply(torch.tensor([-1.0, 2.0]))
        tensor([-0.3034,  1.9440])

    Source: Misra 2020, "Mish: a self regularized non-monotonic activation function".

    Interactions: like `silu`, and dearer to compute.
    """

    kind: Literal["mish"] = "mish"

    @staticmethod
    def apply(x: Tensor) -> Tensor:
        """Weighs by tanh of softplus; see the class."""
        return functional.mish(x)

    @staticmethod
    def gain() -> float:
        """E[f(z)²]^(-1/2)."""
        return 1.486847581273208


class Sigmoid(ActivationTrick):
    """Squeezes every value between 0 and 1.

    y = 1 / (1 + e⁻ˣ).

    Shape: any; the output is shaped like the input.

    Example:
        >>> import torch
        >>> Sigmoid.apply(torch.tensor([-1.0, 2.0]))
        tensor([0.2689, 0.8808])

    Source: Rumelhart et al. 1986, "Learning representations by back-propagating errors".

    Interactions: its slope is 1/4 at most and its mean 1/2, so gradients vanish in deep networks; kept for comparison.
    `normalize` and `initialize: xavier_uniform` help.
    """

    searched: ClassVar[bool] = False
    kind: Literal["sigmoid"] = "sigmoid"

    @staticmethod
    def apply(x: Tensor) -> Tensor:
        """Squeezes; see the class."""
        return x.sigmoid()

    @staticmethod
    def gain() -> float:
        """E[f(z)²]^(-1/2)."""
        return 1.8462285453386054


class Tanh(ActivationTrick):
    """Squeezes every value between -1 and 1.

    y = (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ).

    Shape: any; the output is shaped like the input.

    Example:
        >>> import torch
        >>> Tanh.apply(torch.tensor([-1.0, 2.0]))
        tensor([-0.7616,  0.9640])

    Source: LeCun et al. 1998, "Efficient backprop", without its factors 1.7159 and 2/3.

    Interactions: saturates for large inputs; `initialize: xavier_uniform` was made for it.
    """

    searched: ClassVar[bool] = False
    kind: Literal["tanh"] = "tanh"

    @staticmethod
    def apply(x: Tensor) -> Tensor:
        """Squeezes; see the class."""
        return x.tanh()

    @staticmethod
    def gain() -> float:
        """E[f(z)²]^(-1/2)."""
        return 1.5925374197228312


Activation = Annotated[
    Off | ReLU | LeakyReLU | PReLU | ELU | SELU | GELU | SiLU | Mish | Sigmoid | Tanh,
    Options(),
]
"""The activation slot: after each hidden layer and its normalisation."""


def gain_of(trick: Trick) -> float:
    """The weight gain that fits a trick of the activation slot; 1 where there is no activation.

    Example:
        >>> gain_of(Off()), round(gain_of(ReLU()), 4)
        (1.0, 1.4142)
    """
    if not isinstance(trick, ActivationTrick):
        return 1.0
    return trick.gain(**trick.values())


def _weakened(x: Tensor, slope: Tensor) -> Tensor:
    """The negative part of `x` times `slope`, twice as fast as `torch.where`; the slope counts at zero, as in `leaky_relu`."""
    return torch.addcmul(x.relu(), x.clamp(max=0.0), slope.to(x.dtype))
