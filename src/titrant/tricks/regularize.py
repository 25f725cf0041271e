"""Regularization through the loss and the weights: penalties, decay, norms, and what counts as a good answer.

The penalties and constraints act on rows [k, P] of k members in place, under `torch.no_grad`, and on matrices only (see
`titrant.tricks.layout`). Label smoothing, focal loss and class weights meet in one function, `cross_entropy`.

Axes in names: k member, b row of a batch, c class, p parameter.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from titrant.space import Range
from titrant.tricks.base import DataKind, Off, Options, Trick, Value
from titrant.tricks.layout import Layout, add_scaled

_LEVELS = 256


class PenaltyTrick(Trick):
    """A penalty on the size of weights, added to the loss by way of its gradient."""

    unit: ClassVar[str] = "steps"

    add: ClassVar[Callable[..., None]]
    """`add(grad, flat, layout, **doses)`: adds the penalty's gradient to `grad` [k, P], in place; `flat` [k, P] stays."""


class L1(PenaltyTrick):
    """Adds the sum of absolute weights to the loss, which drives weights that are hardly needed to zero.

    loss + λ·Σ|w|, so g ← g + λ·sign(w).

    Doses:
        strength: λ, 0.00000001 to 1, off at 0. Raising it empties more weights and ends in underfitting.

    Shape: rows [k, P].

    Example:
        >>> from titrant.tricks import regularize
        >>> regularize.L1(strength=1e-4)
        L1(kind='l1', strength=0.0001)

    Source: Tibshirani 1996, "Regression shrinkage and selection via the lasso". Departures: matrices only; weights
    hover around zero instead of standing at it, as with every subgradient.

    Interactions: in optimizers that divide by the gradient's size it acts unevenly, and `lion` and `muon` all but ignore it.
    """

    searched: ClassVar[bool] = False
    kind: Literal["l1"] = "l1"
    strength: Annotated[
        float, Range(1e-8, 1.0, off=0.0, log=True, search=(1e-6, 1e-3), unit="loss per weight", raising="more empty weights")
    ] = 1e-5

    @staticmethod
    def add(grad: Tensor, flat: Tensor, layout: Layout, *, strength: Value) -> None:
        """Adds λ·sign(w); see the class."""
        add_scaled(layout.matrix_columns(grad), layout.matrix_columns(flat).sign(), strength)


class L2(PenaltyTrick):
    """Adds half the sum of squared weights to the loss, which keeps weights small.

    loss + λ/2·Σw², so g ← g + λ·w.

    Doses:
        strength: λ, 0.00000001 to 1, off at 0. Raising it keeps weights smaller and ends in underfitting.

    Shape: rows [k, P].

    Example:
        >>> from titrant.tricks import regularize
        >>> regularize.L2().strength
        0.0001

    Source: Krogh & Hertz 1991, "A simple weight decay can improve generalization"; the `weight_decay` of `torch.optim.SGD`.
    Departure: matrices only.

    Interactions: with Adam and its kin prefer `decay`, which does not pass through their division.
    """

    searched: ClassVar[bool] = False
    kind: Literal["l2"] = "l2"
    strength: Annotated[
        float, Range(1e-8, 1.0, off=0.0, log=True, search=(1e-6, 1e-2), unit="loss per w²/2", raising="smaller weights")
    ] = 1e-4

    @staticmethod
    def add(grad: Tensor, flat: Tensor, layout: Layout, *, strength: Value) -> None:
        """Adds λ·w; see the class."""
        add_scaled(layout.matrix_columns(grad), layout.matrix_columns(flat), strength)


class Decay(Trick):
    """Shrinks weights by a share at every step, whatever their gradient.

    w ← w · (1 - η·rate), with the learning rate η of the step.

    Doses:
        rate: 0.000001 to 1, off at 0. Raising it keeps weights smaller and ends in underfitting.

    Shape: rows [k, P].

    Example:
        >>> from titrant.tricks import regularize
        >>> regularize.Decay(rate=0.1).rate
        0.1

    Source: Loshchilov & Hutter 2019, "Decoupled weight decay regularization". Departure: matrices only.

    Interactions: adds to the `decay` of `adamw` and `schedule_free`; before a norm layer it acts by raising the effective
    learning rate.
    """

    unit: ClassVar[str] = "steps"
    kind: Literal["decay"] = "decay"
    rate: Annotated[
        float,
        Range(1e-6, 1.0, off=0.0, log=True, search=(1e-4, 0.3), unit="per unit of learning rate", raising="smaller weights"),
    ] = 0.01

    @staticmethod
    def decay(flat: Tensor, learning_rate: Value, layout: Layout, *, rate: Value) -> None:
        """Shrinks the matrices of `flat` [k, P] in place; `learning_rate` is a number or [k, 1]."""
        layout.matrix_columns(flat).mul_(1 - learning_rate * rate)


class NormTrick(Trick):
    """A condition on the length of the weights into each unit, restored after each step."""

    unit: ClassVar[str] = "units"
    searched: ClassVar[bool] = False

    constrain: ClassVar[Callable[..., Tensor]]
    """`constrain(flat, layout, **doses)`: rescales in place; returns the share of units that broke the condition [k]."""


class MaxNorm(NormTrick):
    """Shortens the weights into a unit where they are longer than a limit.

    w ← w · min(1, limit / ‖w‖₂) for each unit's incoming weights w.

    Doses:
        limit: 0.01 to 100. Raising it constrains less.

    Shape: rows [k, P]; matrices [k, out, in, ...] with one condition for each `out`; shares [k].

    Example:
        >>> from titrant.tricks import regularize
        >>> regularize.MaxNorm(limit=4).limit
        4.0

    Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".

    Interactions: lets high learning rates and dropout be used together; before a norm layer it changes only the effective
    learning rate.
    """

    kind: Literal["max_norm"] = "max_norm"
    limit: Annotated[float, Range(0.01, 100.0, log=True, search=(0.5, 5.0), raising="less constraint")] = 3.0

    @staticmethod
    def constrain(flat: Tensor, layout: Layout, *, limit: Value) -> Tensor:
        """Shortens long units; see the class."""

        def scale(norm: Tensor) -> tuple[Tensor, Tensor]:
            return (limit / norm).clamp_(max=1.0), norm > limit

        return _rescale_units(flat, layout, scale)


class UnitNorm(NormTrick):
    """Scales the weights into every unit to length one.

    w ← w / ‖w‖₂ for each unit's incoming weights w; a unit without weights stays as it is.

    Doses: none.

    Shape: rows [k, P]; matrices [k, out, in, ...] with one condition for each `out`; shares [k].

    Example:
        >>> from titrant.tricks import regularize
        >>> regularize.UnitNorm().is_off
        False

    Source: the constraint `UnitNorm` of Keras; compare Salimans & Kingma 2016, "Weight normalization".

    Interactions: the output layer is bound too, so logits stay small unless something after it can scale them; makes decay,
    L2 and max-norm pointless.
    """

    kind: Literal["unit_norm"] = "unit_norm"

    @staticmethod
    def constrain(flat: Tensor, layout: Layout) -> Tensor:
        """Scales all units; see the class."""

        def scale(norm: Tensor) -> tuple[Tensor, Tensor]:
            return torch.where(norm > 0, 1 / norm, 1.0), (norm - 1).abs() > 1e-6

        return _rescale_units(flat, layout, scale)


class LabelSmoothing(Trick):
    """Asks for a little less than certainty: a share of each target is spread evenly over all classes.

    q = (1 - ε)·onehot(y) + ε/C, loss = -Σ q·log p.

    Doses:
        epsilon: ε, 0 to 0.9, off at 0. Raising it makes the model less certain.

    Shape: see `cross_entropy`.

    Example:
        >>> from titrant.tricks import regularize
        >>> regularize.LabelSmoothing(epsilon=0.05).epsilon
        0.05

    Source: Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision"; the form of
    `torch.nn.functional.cross_entropy(label_smoothing=...)`.

    Interactions: `mix` softens targets too; lower one of them. Probabilities come out too near to even. Does nothing in
    regression.
    """

    unit: ClassVar[str] = "rows"
    kind: Literal["label_smoothing"] = "label_smoothing"
    epsilon: Annotated[
        float, Range(0.0, 0.9, off=0.0, search=(0.0, 0.2), unit="share of the target", raising="less certain answers")
    ] = 0.1


class Focal(Trick):
    """Counts rows that are already answered well for less.

    loss ← (1 - p_y)^γ · loss, with p_y the probability given to the true class.

    Doses:
        gamma: γ, 0 to 10, off at 0. Raising it leaves more of the loss to hard rows.

    Shape: see `cross_entropy`.

    Example:
        >>> from titrant.tricks import regularize
        >>> regularize.Focal().gamma
        2.0

    Source: Lin et al. 2017, "Focal loss for dense object detection"; their α is `class_weights`.

    Interactions: hard rows may be mislabelled ones; do not use it on noisy labels. Does nothing in regression.
    """

    unit: ClassVar[str] = "rows"
    searched: ClassVar[bool] = False
    kind: Literal["focal"] = "focal"
    gamma: Annotated[float, Range(0.0, 10.0, off=0.0, search=(0.0, 3.0), raising="hard rows count for more")] = 2.0


class ClassWeights(Trick):
    """Counts rows of rare classes for more.

    weight of class c ∝ frequency_c^(-power), scaled so that the mean weight over rows is 1.

    Doses:
        power: 0 to 1, off at 0. Raising it evens out classes; at 1 each class counts the same in total.

    Shape: counts [c] to weights [c], or [k, c] for powers [k, 1].

    Example:
        >>> from titrant.tricks import regularize
        >>> regularize.ClassWeights.weights(torch.tensor([30, 10]), power=1.0).tolist()
        [0.6666666865348816, 2.0]

    Source: the `class_weight="balanced"` of scikit-learn is power 1; the softer powers after Mikolov et al. 2013, "Distributed
    representations of words and phrases and their compositionality".

    Interactions: helps balanced metrics and hurts accuracy and calibrated probabilities. Does nothing in regression.
    """

    unit: ClassVar[str] = "rows"
    searched: ClassVar[bool] = False
    kind: Literal["class_weights"] = "class_weights"
    power: Annotated[float, Range(0.0, 1.0, off=0.0, raising="rare classes count for more")] = 0.5

    @staticmethod
    def weights(counts: Tensor, *, power: Value) -> Tensor:
        """The weights of classes, float32; a class without rows weighs nothing."""
        rows = counts.float()
        raw = torch.where(rows > 0, rows**-power, 0.0)
        return raw * rows.sum() / (raw * rows).sum(-1, keepdim=True)


class StochasticDepth(Trick):
    """Leaves the correction of a residual block out, picture by picture, so that no block can rely on all others.

    x ← x + correction(x) · m / (1 - p_l), m ~ Bernoulli(1 - p_l), with p_l = p·l/L in the l-th of L blocks.

    Doses:
        p: the share of pictures for which the last block is left out, 0 to 0.9, off at 0. Raising it regularises deep networks
            more, and ends in underfitting.

    Shape: bytes [..., b] to factors [..., b].

    Example:
        >>> from titrant.tricks import regularize
        >>> regularize.StochasticDepth(p=0.5).factor(torch.tensor([100, 200], dtype=torch.uint8), 1.0, p=0.5)
        tensor([0., 2.])

    Source: Huang et al. 2016, "Deep networks with stochastic depth" (arXiv 1603.09382). Departures: corrections that stay are
    scaled up in training instead of down in evaluation; pictures are drawn one by one, as timm and torchvision do, not a batch
    at a time; p_l is a multiple of 1/256, as in `dropout.bernoulli`.

    Interactions: acts in `model: resnet`, `convnext` and `vit`; other networks have no blocks to leave out.
    """

    unit: ClassVar[str] = "corrections"
    searched: ClassVar[bool] = False
    reads: ClassVar[tuple[DataKind, ...]] = ("image", "series", "text")
    kind: Literal["stochastic_depth"] = "stochastic_depth"
    p: Annotated[float, Range(0.0, 0.9, off=0.0, search=(0.0, 0.3), unit="share", raising="more blocks rest in each step")] = (
        0.1
    )

    @staticmethod
    def factor(noise: Tensor, share: float, *, p: Value) -> Tensor:
        """What corrections are multiplied by [..., b]: 0, or above 1.

        Args:
            noise: uniform random bytes (uint8) [..., b].
            share: of the dose that acts in this block.
            p: the dose, a number or [k, 1].
        """
        threshold = (p * share * _LEVELS).round() if isinstance(p, Tensor) else float(round(p * share * _LEVELS))
        return (noise >= threshold).float() * (_LEVELS / (_LEVELS - threshold))


class Regularize(BaseModel):
    """The regularize slot: any of its parts may act together.

    Fields:
        l1, l2: penalties, added to the gradient.
        decay: shrinks weights before the optimizer's step.
        max_norm, unit_norm: conditions restored after the step.
        label_smoothing, focal, class_weights: parts of the loss of a classifier.
        stochastic_depth: leaves blocks of residual networks out.

    Example:
        >>> Regularize(l2={"strength": 1e-3}, label_smoothing="label_smoothing").label_smoothing.epsilon
        0.1
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    l1: Annotated[Off | L1, Options()] = Off()
    l2: Annotated[Off | L2, Options()] = Off()
    decay: Annotated[Off | Decay, Options()] = Off()
    max_norm: Annotated[Off | MaxNorm, Options()] = Off()
    unit_norm: Annotated[Off | UnitNorm, Options()] = Off()
    label_smoothing: Annotated[Off | LabelSmoothing, Options()] = Off()
    focal: Annotated[Off | Focal, Options()] = Off()
    class_weights: Annotated[Off | ClassWeights, Options()] = Off()
    stochastic_depth: Annotated[Off | StochasticDepth, Options()] = Off()


def cross_entropy(
    log_p: Tensor,
    target: Tensor,
    *,
    epsilon: Value = 0.0,
    gamma: Value | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """The loss of a classifier for each row, with label smoothing, focal loss and class weights.

    loss = -(1 - ε)·w_y·(1 - p_y)^γ·log p_y - ε/C·Σ_c w_c·log p_c. The focal factor leaves the smoothing part alone, which is
    there to act on rows that are answered well.

    Args:
        log_p: log-probabilities [..., b, c].
        target: classes from 0, int64 [..., b].
        epsilon: of `LabelSmoothing`, a number or [k, 1].
        gamma: of `Focal`, a number or [k, 1]; None is the loss without the factor.
        weights: of `ClassWeights`, [c] or [..., c].

    Returns:
        Losses [..., b].

    Example:
        >>> even = torch.full((1, 4), 0.25).log()
        >>> round(cross_entropy(even, torch.tensor([2])).item(), 4)
        1.3863
    """
    log_p_target = log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    loss = -log_p_target
    if gamma is not None:
        # Below a millionth the doubt counts as a millionth, a constant: its power has no finite slope at 0 for γ < 1.
        loss = loss * (-torch.expm1(log_p_target)).clamp(min=1e-6) ** gamma
    if weights is not None:
        loss = loss * weights.expand(*target.shape[:-1], -1).gather(-1, target)
    if isinstance(epsilon, float) and epsilon == 0:
        return loss
    spread = log_p if weights is None else log_p * weights.unsqueeze(-2)
    return (1 - epsilon) * loss - epsilon * spread.mean(-1)


def _rescale_units(flat: Tensor, layout: Layout, scale: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    """Multiplies the weights into each unit, by what `scale` makes of their lengths [k, out]: factors, and who is counted."""
    matrices = [matrix.flatten(2) for matrix in layout.matrices(flat)]
    counted = torch.zeros(len(flat), dtype=flat.dtype, device=flat.device)
    for matrix in matrices:
        factor, constrained = scale(torch.linalg.vector_norm(matrix, dim=2))
        matrix.mul_(factor.unsqueeze(2))
        counted += constrained.sum(1)
    return counted / max(1, sum(matrix.shape[1] for matrix in matrices))
