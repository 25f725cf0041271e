"""Weight standardisation: the weights of each unit of a convolution get mean 0 and a fixed length whenever they are used.

What is learned are the raw weights; the convolution sees standardised ones, which follow from them alone. So evaluation and
training do the same, nothing depends on the batch, and an exported model holds the standardised weights as they are.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

from torch import Tensor

from titrant.tricks.base import DataKind, Off, Options, Trick

FEWEST = 8
"""Units of fewer weights keep theirs: without mean and length next to nothing is left of so few."""

_EPSILON = 1e-4  # added to the squared length, for units whose weights are all but equal


class WeightsTrick(Trick):
    """A way to standardise the weights of convolutions."""

    unit: ClassVar[str] = "weights"
    reads: ClassVar[tuple[DataKind, ...]] = ("image",)

    learns: ClassVar[bool] = False
    """True if each unit learns a gain, which starts at the gain of the activation in use."""

    apply: ClassVar[Callable[..., Tensor]]
    """`apply(weight, gain)`: standardised weights.

    Args:
        weight: a row for each unit [f, d], or [k, f, d] for a stack.
        gain: [f] or [k, f]; None for a kind that learns none.
    """


class Standardized(WeightsTrick):
    """Gives the weights of each unit of a convolution mean 0 and length 1, beside a normalisation of what comes out.

    w' = (w - mean(w)) / (|w - mean(w)|² + 0.0001)^(1/2), over the d = channels · kernel weights of a unit.

    Doses: none.

    Shape: weights [f, d] or [k, f, d]; the output has the same shape.

    Example:
        >>> import torch
        >>> Standardized.apply(torch.tensor([[1.0, 3.0, 1.0, 3.0]]), None).round(decimals=3)
        tensor([[-0.5000,  0.5000, -0.5000,  0.5000]])

    Source: Qiao et al. 2019, "Micro-batch training with batch-channel normalization and weight standardization" (arXiv
    1903.10520). Departures: length 1 instead of variance 1, which keeps the size of the signal and is the same to the
    normalisation that follows; units of fewer than eight weights, such as those of a 1 × 1 convolution of colours, keep theirs.

    Measured: beside batch norm, short trainings on Fashion-MNIST and CIFAR-10 were better with one seed and worse with another.

    Interactions: made for `normalize: group`; with `normalize: off` the signal fades from layer to layer, and `scaled` is the
    kind to take. Lengths of weights have no effect of their own any more: `initialize.scale`, `regularize.max_norm`,
    `unit_norm` and decay act only through the size of steps beside that of weights, and `initialize: lsuv` does nothing.
    """

    kind: Literal["standardized"] = "standardized"

    @staticmethod
    def apply(weight: Tensor, gain: Tensor | None) -> Tensor:
        """Standardises each row; see the class."""
        centred = weight - weight.mean(-1, keepdim=True)
        return centred * (centred.square().sum(-1, keepdim=True) + _EPSILON).rsqrt()


class Scaled(WeightsTrick):
    """Standardised weights with a learned gain for each unit, in place of a normalisation of what comes out.

    w' = g · (w - mean(w)) / (|w - mean(w)|² + 0.0001)^(1/2), over the d = channels · kernel weights of a unit; g starts at the
    gain of the activation, so that the signal keeps its size from layer to layer.

    Doses: none.

    Shape: weights [f, d] or [k, f, d] and gains [f] or [k, f]; the output has the shape of the weights.

    Example:
        >>> import torch
        >>> Scaled.apply(torch.tensor([[1.0, 3.0, 1.0, 3.0]]), torch.tensor([2.0])).round(decimals=3)
        tensor([[-1.,  1., -1.,  1.]])

    Source: Brock, De and Smith 2021, "Characterizing signal propagation to close the performance gap in unnormalized ResNets"
    (arXiv 2101.08692), and their NF-nets (arXiv 2102.06171). Departures: the gain of the activation is where the learned gain
    starts, and no fixed factor beside it; residual blocks are not scaled down; units of fewer than eight weights keep theirs.

    Interactions: for `normalize: off`; wants `clip: adaptive`, as in NF-nets. `initialize.scale`, norms and decay act as with
    `standardized`; the gains are exempt from decay.
    """

    learns: ClassVar[bool] = True
    kind: Literal["scaled"] = "scaled"

    @staticmethod
    def apply(weight: Tensor, gain: Tensor | None) -> Tensor:
        """Standardises each row, and multiplies it by its gain; see the class."""
        assert gain is not None
        return gain.unsqueeze(-1) * Standardized.apply(weight, None)


Weights = Annotated[Off | Standardized | Scaled, Options()]
"""The weights slot: what convolutions make of their weights before they use them."""
