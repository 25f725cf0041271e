"""Dropout: units are switched off at random while training, so that no unit can rely on a single other one."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from titrant.space import Range
from titrant.tricks.base import DataKind, Off, Options, Trick, Value

LEVELS = 256
"""Values of a random byte."""


class DropoutTrick(Trick):
    """A kind of dropout: acts on activations while training, does nothing in evaluation."""

    unit: ClassVar[str] = "units"
    nuisances: ClassVar[tuple[str, ...]] = ("regularize.decay.rate",)

    apply: ClassVar[Callable[..., tuple[Tensor, Tensor]]]
    """`apply(x, noise, **doses)`: the thinned activations, and a mask (uint8) that is 1 where a unit was kept, else 0.

    Args:
        x: activations [..., b, f].
        noise: uniform random bytes (uint8), shaped like `x`.
    """


class Bernoulli(DropoutTrick):
    """Sets each unit to zero with probability `p` and scales the others up, so that the expected activation stays.

    y = x · m / (1 - p), m ~ Bernoulli(1 - p) for each unit of each row.

    Doses:
        p: the share of units dropped, 0 to 0.9, off at 0. Raising it regularises more, slows training,
            and ends in underfitting.

    Shape: any; the output is shaped like the input.

    Example:
        >>> from titrant.tricks import dropout
        >>> dropout.Bernoulli(p=0.3)
        Bernoulli(kind='bernoulli', p=0.3)

    Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting". Departure: a unit is
    dropped where a random byte lies below 256·p, so that the effective p is a multiple of 1/256 (0.2 acts as 0.1992); the scale
    uses the effective p and the expectation is exact. Drawing bytes instead of floats is what makes dropout cheap on a CPU.

    Interactions: with batch norm the variance seen in training and evaluation differs (place it after, as done here); lower it
    when augmentation, weight decay or label smoothing is strong.
    """

    kind: Literal["bernoulli"] = "bernoulli"
    p: Annotated[float, Range(0.0, 0.9, off=0.0, search=(0.0, 0.6), unit="share", raising="more units rest in each step")] = 0.2

    @staticmethod
    def apply(x: Tensor, noise: Tensor, *, p: Value) -> tuple[Tensor, Tensor]:
        """Drops and rescales; see the class."""
        threshold = level_of(p)
        kept = _kept(noise, threshold)
        return x * kept.to(x.dtype).mul_(LEVELS / (LEVELS - threshold)), kept


class Alpha(DropoutTrick):
    """Sets units to SELU's negative saturation value and corrects mean and variance, which keeps self-normalisation alive.

    y = a · (x·m + α'·(1 - m)) + b with α' = -λα = -1.7581, a = ((1-p)(1 + p·α'²))^(-1/2), b = -a·p·α'.

    Doses:
        p: the share of units dropped, 0 to 0.9, off at 0. Raising it regularises more; above 0.2 SELU networks usually suffer.

    Shape: any; the output is shaped like the input.

    Example:
        >>> from titrant.tricks import dropout
        >>> dropout.Alpha(p=0.05).p
        0.05

    Source: Klambauer et al. 2017, "Self-normalizing neural networks". Departure: p is a multiple of 1/256, as in `Bernoulli`.

    Interactions: made for `activation: selu` with `initialize: lecun_normal` and without batch norm; with other activations
    prefer `bernoulli`.
    """

    searched: ClassVar[bool] = False
    kind: Literal["alpha"] = "alpha"
    p: Annotated[float, Range(0.0, 0.9, off=0.0, search=(0.0, 0.2), unit="share", raising="more units rest in each step")] = 0.1

    @staticmethod
    def apply(x: Tensor, noise: Tensor, *, p: Value) -> tuple[Tensor, Tensor]:
        """Drops to the saturation value and corrects the moments; see the class."""
        threshold = level_of(p)
        kept = _kept(noise, threshold)
        q = threshold / LEVELS
        saturated = -1.7580993408473766
        a = ((1 - q) * (1 + q * saturated**2)) ** -0.5
        b = -a * q * saturated
        return torch.where(kept.bool(), x, saturated) * a + b, kept


class Variational(DropoutTrick):
    """Drops the same units at all steps of a series: of recurrent states, and of the input of layers after the first.

    x'_t = x_t · m / (1 - p), h'_t = h_t · m' / (1 - p), one m and one m' for a series. In other networks, and before the
    output, it drops features, which have no steps.

    Doses:
        p: the share of units dropped, 0 to 0.9, off at 0. Raising it regularises more, and ends in underfitting.

    Shape: any; the output is shaped like the input.

    Example:
        >>> Variational(p=0.1).p
        0.1

    Source: Gal and Ghahramani 2016, "A theoretically grounded application of dropout in recurrent neural networks"
    (arXiv 1512.05287). Departure: one p for inputs and states; p is a multiple of 1/256, as in `bernoulli`.

    Interactions: in recurrent networks `bernoulli` hides other units at each step, of the inputs alone.
    """

    reads: ClassVar[tuple[DataKind, ...]] = ("series", "text")
    kind: Literal["variational"] = "variational"
    p: Annotated[float, Range(0.0, 0.9, off=0.0, search=(0.0, 0.5), unit="share", raising="more units rest in each step")] = 0.2

    @staticmethod
    def apply(x: Tensor, noise: Tensor, *, p: Value) -> tuple[Tensor, Tensor]:
        """Drops and rescales, as `bernoulli`."""
        return Bernoulli.apply(x, noise, p=p)


class Zoneout(DropoutTrick):
    """Lets units of a recurrent state keep their value of the step before, at random.

    h_t ← m_t · h_{t-1} + (1 - m_t) · h_t, m_t ~ Bernoulli(p) for each unit of each step; in evaluation p in place of m_t.
    Outside recurrent layers it does nothing.

    Doses:
        p: the share of units that stay, 0 to 0.9, off at 0. Raising it makes states change more slowly.

    Shape: states [..., b, f].

    Example:
        >>> Zoneout(p=0.1).p
        0.1

    Source: Krueger et al. 2017 (arXiv 1606.01305). Departure: of an LSTM the output state alone; p is a multiple of 1/256.
    """

    reads: ClassVar[tuple[DataKind, ...]] = ("series", "text")
    searched: ClassVar[bool] = False
    kind: Literal["zoneout"] = "zoneout"
    p: Annotated[float, Range(0.0, 0.9, off=0.0, search=(0.0, 0.3), unit="share", raising="states change more slowly")] = 0.1

    @staticmethod
    def apply(x: Tensor, noise: Tensor, *, p: Value) -> tuple[Tensor, Tensor]:
        """Leaves features alone; states ask `changed`."""
        return x, torch.ones_like(noise)

    @staticmethod
    def changed(noise: Tensor, *, p: Value) -> Tensor:
        """A mask (uint8) that is 1 where a unit of a state changes, else 0; arguments as for `apply`."""
        return _kept(noise, level_of(p))


Dropout = Annotated[Off | Bernoulli | Alpha | Variational | Zoneout, Options()]
"""The dropout slot: after each hidden activation; in recurrent layers as the kinds say."""


def level_of(p: Value) -> Value:
    """The byte below which a unit is dropped."""
    return (p * LEVELS).round() if isinstance(p, Tensor) else float(round(p * LEVELS))


def _kept(noise: Tensor, threshold: Value) -> Tensor:
    """1 where a byte reaches the threshold, else 0: the byte, pressed between the last dropped value and the threshold.

    In bytes alone: a comparison makes truth values, whose conversion to numbers took 15 times as long as all of this. Bytes
    wrap around, which makes a threshold of 0 right as well: 0 - 255 = 1, all are kept.
    """
    if isinstance(threshold, Tensor):
        limit = threshold.to(torch.uint8)
        dropped = limit - 1
        return torch.minimum(torch.maximum(noise, dropped), limit).sub_(dropped)
    last = (int(threshold) - 1) % LEVELS
    return noise.clamp(last, int(threshold)).sub_(last)
