"""Weight averaging: evaluation uses a mean of the weights of many steps, which lies nearer to the middle of a good region.

Every kind keeps rows `average` [k, P] beside the learned numbers `flat` [k, P] of k members, starting as a copy, each row by
itself. The engine calls the same `update` on the running statistics of batch norm, so that they fit the averaged weights.

Axes in names: k member, p parameter.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

from torch import Tensor

from titrant.space import Range
from titrant.tricks.base import Off, Options, Trick, Value


class AverageTrick(Trick):
    """A kind of averaging: acts after each step of the optimizer."""

    unit: ClassVar[str] = "steps"

    update: ClassVar[Callable[..., None]]
    """`update(average, flat, step, progress, **doses)`: takes one more step into the average, in place.

    Args:
        average: the averaged numbers [k, P], at first a copy of `flat`.
        flat: the numbers after this step [k, P].
        step: the number of this step, from 1.
        progress: the share of all steps that is done, this one included: a number, or [k, 1].
    """

    acted: ClassVar[Callable[..., bool | Tensor]]
    """`acted(step, progress, **doses)`: whether `update` averages at this step: one answer, or bool [k, 1]."""


class Ema(AverageTrick):
    """Keeps an exponential moving average of the weights.

    average ← d·average + (1 - d)·weights, d = min(decay, (1 + step)/(10 + step)).

    Doses:
        decay: 0.5 to 0.99999. Raising it averages over more steps: about 1/(1 - decay) of them.

    Shape: rows [k, P].

    Example:
        >>> from titrant.tricks import average
        >>> average.Ema(decay=0.99)
        Ema(kind='ema', decay=0.99)

    Source: Polyak & Juditsky 1992; the lower decay of the first steps, which forgets the initial weights, is that of
    TensorFlow's `ExponentialMovingAverage(num_updates=...)`.

    Interactions: does part of what a falling learning rate does; with long averages lower the rate less.
    """

    kind: Literal["ema"] = "ema"
    decay: Annotated[float, Range(0.5, 0.99999, search=(0.9, 0.9999), raising="an average over more steps")] = 0.999

    @staticmethod
    def update(average: Tensor, flat: Tensor, step: int, progress: Value, *, decay: Value) -> None:
        """Moves the average; see the class."""
        limit = (1 + step) / (10 + step)
        average.lerp_(flat, 1 - (decay.clamp(max=limit) if isinstance(decay, Tensor) else min(decay, limit)))

    @staticmethod
    def acted(step: int, progress: Value, *, decay: Value) -> bool:
        """True: every step is averaged."""
        return True


class Swa(AverageTrick):
    """Keeps the plain mean of the weights of all steps after a given share of the run.

    average ← average + (weights - average)/n at the n-th step after the start; before that, average = weights.

    Doses:
        start: share of the run, 0 to 0.99. Raising it averages fewer and later weights.

    Shape: rows [k, P].

    Example:
        >>> from titrant.tricks import average
        >>> average.Swa().start
        0.75

    Source: Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization". Departures: every step
    counts, not one in an epoch; the learning rate is left to `learning_rate`; statistics of batch norm are averaged, not
    gathered anew.

    Interactions: wants a learning rate that is still high after `start`: `learning_rate.schedule: off` or a late decay.
    """

    kind: Literal["swa"] = "swa"
    start: Annotated[float, Range(0.0, 0.99, search=(0.5, 0.9), unit="share of the run", raising="fewer, later weights")] = 0.75

    @staticmethod
    def update(average: Tensor, flat: Tensor, step: int, progress: Value, *, start: Value) -> None:
        """Adds one step to the mean; see the class."""
        count = _steps_since(start, step, progress)
        average.lerp_(flat, 1 / (count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1.0)))

    @staticmethod
    def acted(step: int, progress: Value, *, start: Value) -> bool | Tensor:
        """True after the start."""
        return _steps_since(start, step, progress) > 0


Average = Annotated[Off | Ema | Swa, Options()]
"""The average slot: after each step of the optimizer; evaluation uses the average."""


def _steps_since(start: Value, step: int, progress: Value) -> Value:
    """The number of steps after the share `start` of the run, this one included; not positive before.

    Fractions of a step up to 0.505 are rounded down: no share in whole hundredths of a run comes so near to that limit that
    numbers and float32 tensors would differ.
    """
    first = start * (step / progress) + 0.495
    return step - (first.floor() if isinstance(first, Tensor) else float(first // 1))
