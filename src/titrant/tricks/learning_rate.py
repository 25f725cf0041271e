"""The learning rate: its peak, its warm-up, and its course after that.

A schedule is a function of progress, the share of the run that is done, so the same recipe serves runs of any length. The whole
course of a member is one table that is computed before training starts; only `Plateau` waits for what evaluations say.

Axes in names: t step.
"""

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from titrant.space import Range
from titrant.tricks.base import Off, Options, Trick

# Tensor such as 0.3 / 0.1 fall just short of a whole number; no run has so many steps that this would move an edge.
_ROUNDING = 1e-9


class ScheduleTrick(Trick):
    """A course of the learning rate after warm-up."""

    unit: ClassVar[str] = "steps"

    def multiplier(self, progress: Tensor) -> Tensor:
        """What the peak is multiplied with.

        Args:
            progress: the share of the steps after warm-up that is done, float64 [t], each in [0, 1).

        Returns:
            Multipliers, float64 [t].
        """
        raise NotImplementedError


class Step(ScheduleTrick):
    """Multiplies the learning rate with `factor` after each `every` share of the run.

    multiplier = factor^⌊progress / every⌋.

    Doses:
        every: share of the run between two drops, 0.01 to 1. Raising it makes fewer drops.
        factor: 0.01 to 1, off at 1. Raising it makes smaller drops.

    Shape: progress [t] to multipliers [t].

    Example:
        >>> progress = torch.tensor([0.0, 0.4, 0.5], dtype=torch.float64)
        >>> Step(every=0.5, factor=0.1).multiplier(progress).tolist()
        [1.0, 1.0, 0.1]

    Source: the form of `torch.optim.lr_scheduler.StepLR`, with `every` as a share instead of a number of epochs.

    Interactions: `average: swa` and large batches smooth what the drops are for; then prefer `cosine` or `polynomial`.
    """

    searched: ClassVar[bool] = False
    kind: Literal["step"] = "step"
    every: Annotated[float, Range(0.01, 1.0, search=(0.1, 0.5), unit="share of the run", raising="fewer drops")] = 0.3
    factor: Annotated[float, Range(0.01, 1.0, off=1.0, log=True, search=(0.1, 0.7), raising="smaller drops")] = 0.3

    def multiplier(self, progress: Tensor) -> Tensor:
        """A staircase; see the class."""
        return torch.pow(self.factor, (progress / self.every + _ROUNDING).floor())


class Exponential(ScheduleTrick):
    """Lowers the learning rate by equal ratios, to `final` times the peak at the end.

    multiplier = final^progress.

    Doses:
        final: 0.0001 to 1, off at 1. Raising it keeps the learning rate higher.

    Shape: progress [t] to multipliers [t].

    Example:
        >>> progress = torch.tensor([0.0, 0.5], dtype=torch.float64)
        >>> Exponential(final=0.01).multiplier(progress).tolist()
        [1.0, 0.1]

    Source: the form of `torch.optim.lr_scheduler.ExponentialLR` with γ = final^(1/steps).

    Interactions: spends few steps at high rates; raise the peak compared with `cosine`.
    """

    searched: ClassVar[bool] = False
    kind: Literal["exponential"] = "exponential"
    final: Annotated[
        float,
        Range(1e-4, 1.0, off=1.0, log=True, search=(1e-3, 0.1), unit="of the peak", raising="a higher rate at the end"),
    ] = 0.01

    def multiplier(self, progress: Tensor) -> Tensor:
        """A decaying exponential; see the class."""
        return torch.pow(self.final, progress)


class Polynomial(ScheduleTrick):
    """Lowers the learning rate to zero along a power of what is left of the run; power 1 is a straight line.

    multiplier = (1 - progress)^power.

    Doses:
        power: 0.25 to 4. Raising it lowers the rate sooner.

    Shape: progress [t] to multipliers [t].

    Example:
        >>> progress = torch.tensor([0.0, 0.5], dtype=torch.float64)
        >>> Polynomial(power=2).multiplier(progress).tolist()
        [1.0, 0.25]

    Source: the form of `torch.optim.lr_scheduler.PolynomialLR`; for the straight line to zero, Defazio et al. 2023, "When,
    why and how much? Adaptive learning rate scheduling by refinement".

    Interactions: with warm-up this is the usual trapezoid of language models.
    """

    kind: Literal["polynomial"] = "polynomial"
    power: Annotated[float, Range(0.25, 4.0, search=(0.5, 2.0), log=True, raising="the rate falls sooner")] = 1.0

    def multiplier(self, progress: Tensor) -> Tensor:
        """A power of what is left; see the class."""
        return (1 - progress).pow(self.power)


class Cosine(ScheduleTrick):
    """Lowers the learning rate along half a cosine, to `final` times the peak at the end.

    multiplier = final + (1 - final)·(1 + cos(π·progress))/2.

    Doses:
        final: 0 to 1, off at 1. Raising it keeps the learning rate higher at the end.

    Shape: progress [t] to multipliers [t].

    Example:
        >>> progress = torch.tensor([0.0, 0.5], dtype=torch.float64)
        >>> Cosine().multiplier(progress).round(decimals=3).tolist()
        [1.0, 0.5]

    Source: Loshchilov & Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", without restarts; the form of
    `torch.optim.lr_scheduler.CosineAnnealingLR`.

    Interactions: a run that stops early never sees the low rates that this schedule ends with.
    """

    kind: Literal["cosine"] = "cosine"
    final: Annotated[
        float, Range(0.0, 1.0, off=1.0, search=(0.0, 0.1), unit="of the peak", raising="a higher rate at the end")
    ] = 0.0

    def multiplier(self, progress: Tensor) -> Tensor:
        """Half a cosine; see the class."""
        return self.final + (1 - self.final) * _fall(progress)


class WarmRestarts(ScheduleTrick):
    """Lowers the learning rate to zero along half a cosine several times, each time from the peak again.

    Cycle i takes growthⁱ times as long as the first one; multiplier = (1 + cos(π·share of the cycle done))/2.

    Doses:
        cycles: 1 to 20. Raising it restarts more often.
        growth: 1 to 4. Raising it makes later cycles longer than earlier ones.

    Shape: progress [t] to multipliers [t].

    Example:
        >>> progress = torch.tensor([0.0, 0.25, 0.5], dtype=torch.float64)
        >>> WarmRestarts(cycles=2, growth=1).multiplier(progress).round(decimals=3).tolist()
        [1.0, 0.5, 1.0]

    Source: Loshchilov & Hutter 2017, "SGDR: stochastic gradient descent with warm restarts". Departure: the number of cycles is
    given rather than the length of the first, so that the run ends at a low rate.

    Interactions: the score falls back after each restart; patience of early stopping must outlast a cycle.
    """

    searched: ClassVar[bool] = False
    kind: Literal["warm_restarts"] = "warm_restarts"
    cycles: Annotated[int, Range(1, 20, search=(1, 5), raising="more restarts")] = 3
    growth: Annotated[float, Range(1.0, 4.0, search=(1.0, 2.0), raising="later cycles take longer")] = 2.0

    def multiplier(self, progress: Tensor) -> Tensor:
        """Several halves of a cosine; see the class."""
        lengths = torch.pow(self.growth, torch.arange(self.cycles, dtype=progress.dtype))
        edges = torch.cat([torch.zeros_like(lengths[:1]), lengths.cumsum(0)]) / lengths.sum()
        cycle = torch.searchsorted(edges[1:-1], progress + _ROUNDING, right=True)
        begun, ends = edges[:-1][cycle], edges[1:][cycle]
        return _fall((progress - begun) / (ends - begun))


class OneCycle(ScheduleTrick):
    """Raises the learning rate from a low start to the peak, then lowers it to almost nothing, both along half a cosine.

    From `start` to 1 while progress < rise, then from 1 to `final`.

    Doses:
        rise: share of the run, 0.01 to 0.9. Raising it reaches the peak later.
        start: rate at the start relative to the peak, 0.001 to 1. Raising it starts higher.
        final: rate at the end relative to the peak, 0.000001 to 1. Raising it ends higher.

    Shape: progress [t] to multipliers [t].

    Example:
        >>> progress = torch.tensor([0.0, 0.5, 0.75], dtype=torch.float64)
        >>> OneCycle(rise=0.5, start=0.1, final=0.001).multiplier(progress).round(decimals=4).tolist()
        [0.1, 1.0, 0.5005]

    Source: Smith & Topin 2018, "Super-convergence: very fast training of neural networks using large learning rates"; the form
    of `torch.optim.lr_scheduler.OneCycleLR` with two phases. Departure: momentum is not cycled.

    Interactions: contains its own warm-up; leave `warmup` at 0.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    rise: Annotated[float, Range(0.01, 0.9, search=(0.1, 0.4), unit="share of the run", raising="a later peak")] = 0.3
    start: Annotated[
        float, Range(1e-3, 1.0, log=True, search=(0.02, 0.2), unit="of the peak", raising="a higher rate at the start")
    ] = 0.04
    final: Annotated[
        float, Range(1e-6, 1.0, log=True, search=(1e-5, 0.01), unit="of the peak", raising="a higher rate at the end")
    ] = 1e-4

    def multiplier(self, progress: Tensor) -> Tensor:
        """A rise and a fall; see the class."""
        rising = self.start + (1 - self.start) * (1 - _fall(progress / self.rise))
        falling = self.final + (1 - self.final) * _fall((progress - self.rise) / (1 - self.rise))
        return torch.where(progress < self.rise, rising, falling)


class WarmupStableDecay(ScheduleTrick):
    """Keeps the learning rate at its peak, and lowers it to zero in the last part of the run.

    multiplier = 1, then 1 - √(share of the decay done).

    Doses:
        decay: share of the run, 0.01 to 1. Raising it starts the decay earlier.

    Shape: progress [t] to multipliers [t].

    Example:
        >>> progress = torch.tensor([0.0, 0.79, 0.85], dtype=torch.float64)
        >>> WarmupStableDecay(decay=0.2).multiplier(progress).round(decimals=3).tolist()
        [1.0, 1.0, 0.5]

    Source: Hu et al. 2024, "MiniCPM"; the square root from Hägele et al. 2024, "Scaling laws and compute-optimal training
    beyond fixed training durations".

    Interactions: the first part is `warmup`; without a decay to the end of the run the score stays behind that of `cosine`.
    """

    kind: Literal["warmup_stable_decay"] = "warmup_stable_decay"
    decay: Annotated[float, Range(0.01, 1.0, search=(0.1, 0.5), unit="share of the run", raising="an earlier decay")] = 0.2

    def multiplier(self, progress: Tensor) -> Tensor:
        """A plateau and a decay; see the class."""
        done = ((progress - (1 - self.decay)) / self.decay).clamp(0.0, 1.0)
        return 1 - done.sqrt()


class Plateau(ScheduleTrick):
    """Multiplies the learning rate with `factor` whenever evaluations have brought nothing better for too long.

    Doses:
        patience: evaluations without a new best that are borne, 0 to 100. Raising it waits longer.
        factor: 0.01 to 1, off at 1. Raising it makes smaller drops.

    Shape: its multiplier [t] is one everywhere; `lowered` says what evaluations add to that.

    Example:
        >>> lowered([0.9, 0.7, 0.8, 0.75], patience=1, factor=0.5)
        0.5

    Source: the form of `torch.optim.lr_scheduler.ReduceLROnPlateau` with threshold 0 and no cooldown.

    Interactions: patience of early stopping must be longer, or no drop can ever help.
    """

    searched: ClassVar[bool] = False
    kind: Literal["plateau"] = "plateau"
    patience: Annotated[int, Range(0, 100, search=(2, 10), unit="evaluations", raising="later drops")] = 4
    factor: Annotated[float, Range(0.01, 1.0, off=1.0, log=True, search=(0.1, 0.7), raising="smaller drops")] = 0.3

    def multiplier(self, progress: Tensor) -> Tensor:
        """Ones: nothing falls ahead of the evaluations."""
        return torch.ones_like(progress)


Schedule = Annotated[
    Off | Step | Exponential | Polynomial | Cosine | WarmRestarts | OneCycle | WarmupStableDecay | Plateau,
    Options(),
]
"""The course of the learning rate after warm-up; off is constant."""


class LearningRate(BaseModel):
    """The learning rate slot: how long the steps are, and how that changes over a run.

    rate = peak · min(1, (t + 1)/(w + 1)) · multiplier, where w = ⌊warmup · steps⌋ steps of warm-up come first, and the
    schedule begins after them.

    Doses:
        peak: 0.000001 to 10. Raising it learns faster, then unsteadily, then not at all. Good values differ between
            optimizers by orders of magnitude: see `typical_rate` of each.
        warmup: share of all steps, 0 to 0.5, off at 0. Raising it starts more carefully.
        schedule: what happens after warm-up.

    Example:
        >>> LearningRate(peak=0.01, warmup=0.05, schedule="cosine").schedule.final
        0.0

    Source: linear warm-up after Goyal et al. 2017, "Accurate, large minibatch SGD"; the rate is never 0, so no step is lost.

    Interactions: the best peak rises with the batch size, and falls with more momentum.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    peak: Annotated[float, Range(1e-6, 10.0, log=True, search=(1e-4, 0.1), raising="faster and less steady learning")] = 1e-3
    warmup: Annotated[
        float, Range(0.0, 0.5, off=0.0, search=(0.0, 0.2), unit="share of all steps", raising="a more careful start")
    ] = 0.0
    schedule: Schedule = Off()


def table(rate: LearningRate, steps: int) -> Tensor:
    """The learning rate of every step of a run.

    Args:
        rate: what the recipe says.
        steps: the number of steps in the run, at least 1.

    Returns:
        Rates, float32 [steps].

    Example:
        >>> table(LearningRate(peak=1.0, warmup=0.25, schedule="polynomial"), 4).tolist()
        [0.5, 1.0, 0.6666666865348816, 0.3333333432674408]
    """
    warm = int(rate.warmup * steps + _ROUNDING)
    step = torch.arange(steps, dtype=torch.float64)
    ramp = ((step + 1) / (warm + 1)).clamp(max=1.0)
    progress = (step - warm).clamp(min=0) / (steps - warm)
    course = ramp if isinstance(rate.schedule, Off) else ramp * rate.schedule.multiplier(progress)
    return (rate.peak * course).float()


def lowered(scores: Sequence[float], patience: int, factor: float) -> float:
    """What the learning rate is multiplied with after these evaluations, under `Plateau`.

    Args:
        scores: all scores so far, lower is better; NaN is never a new best.
        patience: evaluations without a new best that are borne before each drop.
        factor: what a drop multiplies with.

    Returns:
        factor to the power of the number of drops.

    Example:
        >>> lowered([1.0, 0.9, 0.8], patience=0, factor=0.1), lowered([1.0, 1.0, 1.0], patience=0, factor=0.1)
        (1.0, 0.010000000000000002)
    """
    best, waited, drops = float("inf"), 0, 0
    for score in scores:
        waited = 0 if score < best else waited + 1
        best = score if score < best else best
        if waited > patience:
            waited, drops = 0, drops + 1
    return factor**drops


def _fall(share: Tensor) -> Tensor:
    """Half a cosine, from 1 at share 0 to 0 at share 1."""
    return (1 + (math.pi * share).cos()) / 2
