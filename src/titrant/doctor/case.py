"""The case: everything that was recorded about one training run, as plain data without torch, bounded in size.

Probes write it while the run goes on, rules read it afterwards (or in between). It is written as JSON, so that a run can be
observed in one process and judged in another. Losses and samples are thinned as they grow: a case of a million steps is no
larger than one of a few thousand.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import ConfigDict, Field

from titrant.record import Point, Record

Family = Literal[
    "linear", "convolution", "embedding", "recurrent", "attention", "normalisation", "dropout",
    "relu", "sigmoid", "tanh", "softmax", "activation", "other",
]  # fmt: skip
WEIGHTED: frozenset[Family] = frozenset({"linear", "convolution"})
NONLINEAR: frozenset[Family] = frozenset({"relu", "sigmoid", "tanh", "softmax", "activation"})


class Observation(Record):
    """A record in which not-a-number and infinity survive being written: they are what a doctor looks for."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class LayerSample(Observation):
    """What one layer put out at one sampled step."""

    step: int
    mean: float
    std: float
    largest: float = Field(description="absolute")
    zeros: float = Field(description="share of values that are exactly 0")
    saturated: float = Field(description="share of values at the flat ends of a sigmoid or tanh")
    silent: float = Field(description="share of units that were 0 for every row of the last samples")
    constant: float = Field(description="share of units that had one value for all rows")
    finite: bool


class Layer(Observation):
    """One layer, or one activation that was called as a function."""

    name: str
    kind: str = Field(description="class or function, e.g. Linear or relu")
    family: Family
    order: int = Field(description="position in the first forward pass, from 0")
    units: int = 0
    rate: float | None = Field(default=None, description="dropout: share of units that it switches off")
    samples: list[LayerSample] = Field(default=[])


class ParameterSample(Observation):
    """One weight tensor at one sampled step; sizes are root mean squares over its entries."""

    step: int
    gradient: float | None = Field(description="None: the backward pass did not reach it")
    weight: float
    update: float | None = Field(default=None, description="of the change by this step; None if no step was seen")


class Parameter(Observation):
    """One weight tensor."""

    name: str
    layer: str
    order: int = Field(description="position of its layer in the first forward pass")
    shape: list[int]
    fan_in: int = Field(default=1, description="inputs of a unit")
    trainable: bool = True
    held: bool | None = Field(default=None, description="an optimiser holds it; None if unknown")
    embedding: bool = False
    start_mean: float = 0.0
    start_std: float = 0.0
    moved: float | None = Field(default=None, description="change since the start, relative to the size at the start")
    samples: list[ParameterSample] = Field(default=[])

    @property
    def matrix(self) -> bool:
        """True for weights proper: not a bias, not the scale of a normalisation, not an embedding."""
        return len(self.shape) >= 2 and not self.embedding


class Inputs(Observation):
    """What went into the model, over the batches that were looked at."""

    name: str = "input"
    shape: list[int] = Field(description="of one row")
    integer: bool = False
    rows: int = 0
    mean: float = 0.0
    mean_abs: float = 0.0
    low: float = 0.0
    high: float = 0.0
    not_finite: float = Field(default=0.0, description="share of values")
    feature_std: list[float] = Field(default=[], description="per feature, where a row has at most 512 of them and one axis")
    feature_mean: list[float] = Field(default=[])


class Targets(Observation):
    """What the loss compared the outputs with, over the batches that were looked at."""

    shape: list[int] = Field(description="of one row; [] for a plain number")
    integer: bool = False
    rows: int = 0
    mean: float = 0.0
    std: float = 0.0
    low: float = 0.0
    high: float = 0.0
    mean_deviation: float = Field(default=0.0, description="mean absolute distance from the median")
    whole: bool = Field(default=False, description="every value is a whole number")
    one_hot: bool = False
    classes: dict[str, int] = Field(default={}, description="rows of each class, where the targets are classes")
    not_finite: float = 0.0


class BatchLabels(Observation):
    """The targets in one training batch."""

    step: int
    rows: int
    classes: int = Field(default=0, description="different classes; 0 where the targets are numbers")
    commonest: float = Field(default=0.0, description="share of the commonest class")
    spread: float | None = Field(default=None, description="standard deviation, where the targets are numbers")


class Agreement(Observation):
    """How far the gradients of two batches that followed one another agree."""

    step: int = Field(description="of the second")
    share: float = Field(
        description="their product over the mean of their squares: 1 if alike, 0 if they have nothing in common"
    )


class Neighbours(Observation):
    """How well a row's nearest neighbour tells its target, against what chance alone would give."""

    rows: int
    agreement: float = Field(description="share with the same class, or correlation of numbers")
    chance: float
    classes: bool = True


class Loader(Observation):
    """The training data's order and size, where it is known."""

    rows: int | None = None
    batch: int | None = None
    shuffled: bool | None = None
    overlap: float | None = Field(default=None, description="share of evaluation rows that stand among the training rows")
    repeats: float | None = Field(default=None, description="share of training rows that stand there more than once")
    class_shift: float | None = Field(default=None, description="distance of class shares, training and evaluation, 0 to 1")


class Objective(Observation):
    """The loss and what goes into it."""

    loss: str = Field(default="unknown", description="cross_entropy, nll, bce, bce_logits, mse, mae, kl, hinge, ... or unknown")
    called: str = Field(default="", description="the name in the program")
    activation: str = Field(default="unknown", description="last function before the loss: linear, softmax, sigmoid, relu, ...")
    over_rows: bool = Field(default=False, description="whether that is a softmax over the rows of the batch")
    output_shape: list[int] = Field(default=[], description="of a batch")
    target_shape: list[int] = Field(default=[])
    metrics: list[str] = Field(default=[])
    ignored: int | None = Field(default=None, description="a class that the loss passes over")
    weighted: bool = Field(default=False, description="whether classes count differently")
    several: bool = Field(default=False, description="whether the loss has other parts beside this one")
    linear_pairs: list[tuple[str, str]] = Field(default=[], description="weighted layers with nothing nonlinear in between")
    weighted_layers: int = 0


class Wiring(Observation):
    """Facts about the loop; counts are of the events that were looked at."""

    steps: int = 0
    backwards: int = 0
    uncleared: int = Field(default=0, description="backward passes after a step that added to old gradients")
    cleared: int = Field(default=0, description="backward passes after a step that began from zero")
    discarded: int = Field(
        default=0, description="backward passes that found the gradients of the one before thrown away unused"
    )
    wasted: int = Field(default=0, description="steps that found the gradients of the backward pass before them cleared")
    idle_steps: int = Field(default=0, description="optimiser steps without a gradient, of those looked at")
    steps_looked_at: int = 0
    frozen_forwards: int = Field(
        default=0, description="training passes with dropout or batch normalisation in evaluation mode"
    )
    training_forwards: int = Field(default=0, description="passes that a backward pass followed")
    live_evaluations: int = Field(default=0, description="evaluations with dropout or batch normalisation in training mode")
    evaluations: int = 0
    single_row_batches: int = 0
    steps_by_hand: int = Field(default=0, description="changes of the weights between backward passes, without an optimiser")
    foreign: int = Field(default=0, description="parameters in an optimiser that no backward pass reached and no model holds")
    unregistered: list[str] = Field(
        default=[], description="shapes of parameters that the loss depends on, of no model and in no optimiser"
    )
    mixed_rows: str | None = Field(
        default=None, description="a layer that takes the rows of a batch for the steps of a sequence"
    )
    schedulers: list[str] = Field(default=[])
    scheduler_steps: int = 0
    optimizers: int = 0
    broadcast: str | None = Field(default=None, description="shapes of output and target that were stretched to fit")


class Monitor(Observation):
    """A score that a callback waits for."""

    by: str = Field(description="class of the callback")
    name: str
    mode: Literal["min", "max"] = Field(description="which values it takes for better ones")


class Crash(Observation):
    """How the program ended, where it ended by an error."""

    error: str = Field(description="class")
    message: str
    place: str = Field(description="file and line of the program")
    layer: str | None = Field(default=None, description="the module whose forward pass was under way")


class Evaluation(Observation):
    """One evaluation on other rows, or the end of an epoch with its metrics."""

    step: int
    loss: float | None = None
    training_loss: float | None = None
    metrics: dict[str, float] = Field(default={}, description="by name; those on validation rows begin with val_")


def evaluations_of(curve: Sequence[Point], metric: str) -> list[Evaluation]:
    """The evaluations of a member that titrant trained, from its curve; `metric` names the score on validation rows."""
    return [
        Evaluation(
            step=point.step,
            loss=point.loss_validation,
            training_loss=point.loss_train,
            metrics={} if point.score_validation is None else {f"val_{metric}": point.score_validation},
        )
        for point in curve
    ]


class Case(Observation):
    """One observed run."""

    framework: Literal["torch", "lightning", "keras", "titrant"] = "torch"
    optimizer: str | None = None
    loss_steps: list[int] = Field(default=[])
    losses: list[float] = Field(default=[])
    rate_steps: list[int] = Field(default=[])
    rates: list[float] = Field(default=[], description="learning rate")
    weight_decay: float = Field(default=0.0, description="of the optimiser")
    evaluations: list[Evaluation] = Field(default=[])
    layers: list[Layer] = Field(default=[])
    parameters: list[Parameter] = Field(default=[])
    inputs: list[Inputs] = Field(default=[])
    targets: Targets | None = None
    batches: list[BatchLabels] = Field(default=[])
    agreements: list[Agreement] = Field(default=[], description="of gradients; none where they are not seen step after step")
    neighbours: Neighbours | None = None
    loader: Loader = Loader(rows=None)
    objective: Objective = Objective()
    wiring: Wiring = Wiring()
    clipping: list[float] = Field(
        default=[], description="norm of the gradient over the limit that it is cut to, at steps that were looked at"
    )
    epochs_planned: int | None = None
    patience: int | None = Field(default=None, description="early stopping, in epochs")
    monitors: list[Monitor] = Field(default=[])
    cut_short: bool = Field(default=False, description="the observer ended the run, not the program")
    crash: Crash | None = None
    memorised: tuple[float, float] | None = Field(default=None, description="loss before and after training on one batch alone")
