"""Optimizers: how a gradient becomes a step.

Every kind acts on rows [k, P] of k members in place (see `titrant.tricks.layout`), with a learning rate and doses of its own
for each member, and expects to be called under `torch.no_grad`. The gradient is left as it is.

Axes in names: k member, p parameter.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from titrant.space import Range
from titrant.tricks.base import Options, Trick, Value
from titrant.tricks.layout import Layout, add_scaled

# Pinned in the default search: it decides only where gradients are tiny, and other doses are worth the trials more.
Epsilon = Annotated[
    float, Range(1e-12, 1e-2, log=True, search=(1e-8, 1e-8), raising="smaller steps where gradients are tiny, nearer to SGD")
]
DecoupledDecay = Annotated[
    float,
    Range(1e-6, 1.0, off=0.0, log=True, search=(1e-4, 0.3), unit="per unit of learning rate", raising="smaller weights"),
]


class OptimizerTrick(Trick):
    """A kind of optimizer.

    Class attributes:
        typical_rate: a good peak learning rate for small networks, around which the search looks.
        slots: the names of the state rows, each [k, P] and zero at first; `start` may add others, [k, P] or [k, 1].
        elementwise: True if numbers of a row do not influence one another, so that rows may be cut into chunks of members.
        evaluates_elsewhere: True if evaluation uses other weights than those at which the gradient is taken.
    """

    unit: ClassVar[str] = "steps"
    typical_rate: ClassVar[float]
    slots: ClassVar[tuple[str, ...]] = ()
    elementwise: ClassVar[bool] = True
    evaluates_elsewhere: ClassVar[bool] = False

    update: ClassVar[Callable[..., None]]
    """`update(flat, grad, state, rate, step, layout, **doses)`: one step, in place.

    Args:
        flat: the learned numbers [k, P].
        grad: their gradient [k, P].
        state: what `start` made, changed in place.
        rate: the learning rate, a number or [k, 1].
        step: the number of this step, from 1.
        layout: where the matrices are.
    """

    @property
    def is_off(self) -> bool:
        """False: training always has an optimizer; the off value of one of its doses switches off that part alone."""
        return False

    @classmethod
    def start(cls, flat: Tensor) -> dict[str, Tensor]:
        """The state before the first step, for the rows `flat` [k, P]."""
        return {slot: torch.zeros_like(flat) for slot in cls.slots}

    @staticmethod
    def evaluation(flat: Tensor, state: dict[str, Tensor], **doses: Value) -> Tensor:
        """The weights [k, P] that evaluation and the finished model use: `flat` itself unless `evaluates_elsewhere`."""
        return flat


class Sgd(OptimizerTrick):
    """Goes down the gradient, with momentum: a decaying sum of past gradients.

    m ← μ·m + g, w ← w - η·m.

    Doses:
        momentum: μ, 0 to 0.999; 0 is plain gradient descent. Raising it smooths noise and speeds up shallow valleys, and
            makes steps longer: the stationary step is η / (1 - μ) times the gradient.

    Shape: rows [k, P]; state `first` [k, P].

    Example:
        >>> from titrant.tricks import optimizer
        >>> optimizer.Sgd(momentum=0.8)
        Sgd(kind='sgd', momentum=0.8)

    Source: Polyak 1964; the form of `torch.optim.SGD` (momentum not damped, learning rate outside the sum).

    Interactions: needs a peak learning rate 10 to 100 times that of Adam, and more often warm-up or clipping.
    """

    searched: ClassVar[bool] = False
    typical_rate: ClassVar[float] = 0.05
    slots: ClassVar[tuple[str, ...]] = ("first",)
    kind: Literal["sgd"] = "sgd"
    momentum: Annotated[float, Range(0.0, 0.999, search=(0.8, 0.98), raising="past gradients count for longer")] = 0.9

    @staticmethod
    def update(
        flat: Tensor, grad: Tensor, state: dict[str, Tensor], rate: Value, step: int, layout: Layout, *, momentum: Value
    ) -> None:
        """One step; see the class."""
        add_scaled(flat, state["first"].mul_(momentum).add_(grad), -rate)


class Nesterov(OptimizerTrick):
    """Gradient descent with momentum that looks ahead: the step goes where the momentum is about to lead.

    m ← μ·m + g, w ← w - η·(g + μ·m).

    Doses:
        momentum: μ, 0 to 0.999; 0 is plain gradient descent. Raising it smooths noise and lengthens steps, as in `Sgd`.

    Shape: rows [k, P]; state `first` [k, P].

    Example:
        >>> from titrant.tricks import optimizer
        >>> optimizer.Nesterov().momentum
        0.9

    Source: Nesterov 1983; Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning"; the
    form of `torch.optim.SGD(nesterov=True)`.

    Interactions: as for `Sgd`.
    """

    typical_rate: ClassVar[float] = 0.05
    slots: ClassVar[tuple[str, ...]] = ("first",)
    kind: Literal["nesterov"] = "nesterov"
    momentum: Annotated[float, Range(0.0, 0.999, search=(0.8, 0.98), raising="past gradients count for longer")] = 0.9

    @staticmethod
    def update(
        flat: Tensor, grad: Tensor, state: dict[str, Tensor], rate: Value, step: int, layout: Layout, *, momentum: Value
    ) -> None:
        """One step; see the class."""
        ahead = state["first"].mul_(momentum).add_(grad) * momentum
        add_scaled(flat, ahead.add_(grad), -rate)


class RMSprop(OptimizerTrick):
    """Divides each gradient by a running root mean square of its own past, then applies momentum.

    v ← α·v + (1 - α)·g², m ← μ·m + g / (√v + ε), w ← w - η·m.

    Doses:
        alpha: α, 0.5 to 0.9999. Raising it makes the mean square remember longer.
        momentum: μ, 0 to 0.99; 0 is none. Raising it smooths noise and lengthens steps.
        epsilon: ε, 1e-12 to 1e-2. Raising it makes steps smaller where gradients are tiny.

    Shape: rows [k, P]; state `first` and `second` [k, P].

    Example:
        >>> from titrant.tricks import optimizer
        >>> optimizer.RMSprop(alpha=0.95).momentum
        0.0

    Source: Tieleman & Hinton 2012, Coursera lecture 6.5; the form of `torch.optim.RMSprop` (not centred).

    Interactions: without bias correction the first steps are long, 1 / √(1 - α) times the learning rate: use warm-up.
    """

    searched: ClassVar[bool] = False
    typical_rate: ClassVar[float] = 1e-3
    slots: ClassVar[tuple[str, ...]] = ("first", "second")
    kind: Literal["rmsprop"] = "rmsprop"
    alpha: Annotated[float, Range(0.5, 0.9999, search=(0.9, 0.999), raising="the mean square remembers longer")] = 0.99
    momentum: Annotated[float, Range(0.0, 0.99, search=(0.0, 0.9), raising="past steps count for longer")] = 0.0
    epsilon: Epsilon = 1e-8

    @staticmethod
    def update(
        flat: Tensor,
        grad: Tensor,
        state: dict[str, Tensor],
        rate: Value,
        step: int,
        layout: Layout,
        *,
        alpha: Value,
        momentum: Value,
        epsilon: Value,
    ) -> None:
        """One step; see the class."""
        root = _updated_root(grad, state["second"], alpha).add_(epsilon)
        add_scaled(flat, state["first"].mul_(momentum).addcdiv_(grad, root), -rate)


class Adam(OptimizerTrick):
    """Divides a running mean of gradients by a running root mean square, both corrected for their start at zero.

    m ← β₁·m + (1 - β₁)·g, v ← β₂·v + (1 - β₂)·g², w ← w - η · m/(1 - β₁ᵗ) / (√(v/(1 - β₂ᵗ)) + ε) at step t.

    Doses:
        beta1: β₁, 0 to 0.999. Raising it smooths the direction more.
        beta2: β₂, 0.5 to 0.99999. Raising it makes the mean square remember longer: steadier, slower to adapt.
        epsilon: ε, 1e-12 to 1e-2. Raising it makes steps smaller where gradients are tiny.

    Shape: rows [k, P]; state `first` and `second` [k, P].

    Example:
        >>> from titrant.tricks import optimizer
        >>> optimizer.Adam(beta2=0.99).beta1
        0.9

    Source: Kingma & Ba 2015, "Adam: a method for stochastic optimization"; the form of `torch.optim.Adam`.

    Interactions: `regularize.l2` passes through the division and acts unevenly here; prefer `adamw`, or `regularize.decay`.
    """

    searched: ClassVar[bool] = False
    typical_rate: ClassVar[float] = 2e-3
    slots: ClassVar[tuple[str, ...]] = ("first", "second")
    kind: Literal["adam"] = "adam"
    beta1: Annotated[float, Range(0.0, 0.999, search=(0.8, 0.95), raising="a smoother direction")] = 0.9
    beta2: Annotated[float, Range(0.5, 0.99999, search=(0.95, 0.999), raising="the mean square remembers longer")] = 0.999
    epsilon: Epsilon = 1e-8

    @staticmethod
    def update(
        flat: Tensor,
        grad: Tensor,
        state: dict[str, Tensor],
        rate: Value,
        step: int,
        layout: Layout,
        *,
        beta1: Value,
        beta2: Value,
        epsilon: Value,
    ) -> None:
        """One step; see the class."""
        first = state["first"].lerp_(grad, 1 - beta1)
        root = _updated_root(grad, state["second"], beta2)
        # m / (√v/c + ε) = c·m / (√v + c·ε): the correction c moves into the learning rate and saves a pass over memory.
        correction = (1 - beta2**step) ** 0.5
        direction = torch.div(first, root.add_(epsilon * correction), out=root)
        add_scaled(flat, direction, -rate * correction / (1 - beta1**step))


class AdamW(OptimizerTrick):
    """Adam, with weight decay that acts on the weights themselves rather than through the gradient.

    w ← w · (1 - η·λ), then a step of `Adam`.

    Doses:
        beta1: β₁ of Adam, 0 to 0.999. Raising it smooths the direction more.
        beta2: β₂ of Adam, 0.5 to 0.99999. Raising it makes the mean square remember longer.
        epsilon: ε of Adam, 1e-12 to 1e-2. Raising it makes steps smaller where gradients are tiny.
        decay: λ, 1e-6 to 1, off at 0. Raising it keeps weights smaller and ends in underfitting.

    Shape: rows [k, P]; state `first` and `second` [k, P].

    Example:
        >>> from titrant.tricks import optimizer
        >>> optimizer.AdamW(decay=0.05).decay
        0.05

    Source: Loshchilov & Hutter 2019, "Decoupled weight decay regularization"; the form of `torch.optim.AdamW`. Departure: only
    the weights of linear and convolutional layers decay; biases, norms and adapters do not.

    Interactions: `regularize.decay` adds to `decay`; use one of them.
    """

    typical_rate: ClassVar[float] = 2e-3
    slots: ClassVar[tuple[str, ...]] = ("first", "second")
    kind: Literal["adamw"] = "adamw"
    beta1: Annotated[float, Range(0.0, 0.999, search=(0.8, 0.95), raising="a smoother direction")] = 0.9
    beta2: Annotated[float, Range(0.5, 0.99999, search=(0.95, 0.999), raising="the mean square remembers longer")] = 0.999
    epsilon: Epsilon = 1e-8
    decay: DecoupledDecay = 0.01

    @staticmethod
    def update(
        flat: Tensor,
        grad: Tensor,
        state: dict[str, Tensor],
        rate: Value,
        step: int,
        layout: Layout,
        *,
        beta1: Value,
        beta2: Value,
        epsilon: Value,
        decay: Value,
    ) -> None:
        """One step; see the class."""
        layout.matrix_columns(flat).mul_(1 - rate * decay)
        Adam.update(flat, grad, state, rate, step, layout, beta1=beta1, beta2=beta2, epsilon=epsilon)


class NAdam(OptimizerTrick):
    """Adam with Nesterov's look ahead, and a momentum that rises to β₁ over the first steps.

    μₜ = β₁·(1 - 0.96^(t/250)/2), Mₜ = μ₁·…·μₜ; m and v as in Adam;
    w ← w - η · ((1 - μₜ)/(1 - Mₜ)·g + μₜ₊₁/(1 - Mₜ₊₁)·m) / (√(v/(1 - β₂ᵗ)) + ε).

    Doses:
        beta1: β₁, 0 to 0.999. Raising it smooths the direction more.
        beta2: β₂, 0.5 to 0.99999. Raising it makes the mean square remember longer: steadier, slower to adapt.
        epsilon: ε, 1e-12 to 1e-2. Raising it makes steps smaller where gradients are tiny.

    Shape: rows [k, P]; state `first` and `second` [k, P], and `product` [k, 1], the Mₜ.

    Example:
        >>> from titrant.tricks import optimizer
        >>> optimizer.NAdam().beta1
        0.9

    Source: Dozat 2016, "Incorporating Nesterov momentum into Adam"; the form of `torch.optim.NAdam`.

    Interactions: decays weights through `regularize.decay`, as all kinds but `adamw` and `schedule_free` do.
    """

    typical_rate: ClassVar[float] = 2e-3
    slots: ClassVar[tuple[str, ...]] = ("first", "second")
    kind: Literal["nadam"] = "nadam"
    beta1: Annotated[float, Range(0.0, 0.999, search=(0.8, 0.95), raising="a smoother direction")] = 0.9
    beta2: Annotated[float, Range(0.5, 0.99999, search=(0.95, 0.999), raising="the mean square remembers longer")] = 0.999
    epsilon: Epsilon = 1e-8

    @classmethod
    def start(cls, flat: Tensor) -> dict[str, Tensor]:
        """Zero moments, and an empty product, which is one."""
        return {**super().start(flat), "product": flat.new_ones(len(flat), 1)}

    @staticmethod
    def update(
        flat: Tensor,
        grad: Tensor,
        state: dict[str, Tensor],
        rate: Value,
        step: int,
        layout: Layout,
        *,
        beta1: Value,
        beta2: Value,
        epsilon: Value,
    ) -> None:
        """One step; see the class."""
        momentum, next_momentum = (beta1 * (1 - 0.5 * 0.96 ** (t / 250)) for t in (step, step + 1))
        product = state["product"].mul_(momentum)
        first = state["first"].lerp_(grad, 1 - beta1)
        root = _updated_root(grad, state["second"], beta2)
        correction = (1 - beta2**step) ** 0.5  # moved into the learning rate, as in Adam
        direction = grad * ((1 - momentum) / (1 - product))
        direction.addcmul_(first, next_momentum / (1 - product * next_momentum))
        add_scaled(flat, direction.div_(root.add_(epsilon * correction)), -rate * correction)


class Lion(OptimizerTrick):
    """Steps by the sign of a momentum, so that every number moves equally far.

    u = sign(β₁·m + (1 - β₁)·g), m ← β₂·m + (1 - β₂)·g, w ← w - η·u.

    Doses:
        beta1: β₁, 0 to 0.999. Raising it makes the newest gradient count less in the direction.
        beta2: β₂, 0.5 to 0.9999. Raising it makes the momentum remember longer.

    Shape: rows [k, P]; state `first` [k, P].

    Example:
        >>> from titrant.tricks import optimizer
        >>> optimizer.Lion().beta2
        0.99

    Source: Chen et al. 2023, "Symbolic discovery of optimization algorithms". Departure: weight decay is left to
    `regularize.decay`, which acts on matrices only.

    Interactions: wants a learning rate 3 to 10 times lower than AdamW's, a decay as much higher, and large batches; the rate
    must fall towards the end, because steps do not shrink with the gradient.
    """

    searched: ClassVar[bool] = False
    typical_rate: ClassVar[float] = 3e-4
    slots: ClassVar[tuple[str, ...]] = ("first",)
    kind: Literal["lion"] = "lion"
    beta1: Annotated[float, Range(0.0, 0.999, search=(0.85, 0.95), raising="the newest gradient counts less")] = 0.9
    beta2: Annotated[float, Range(0.5, 0.9999, search=(0.95, 0.995), raising="the momentum remembers longer")] = 0.99

    @staticmethod
    def update(
        flat: Tensor,
        grad: Tensor,
        state: dict[str, Tensor],
        rate: Value,
        step: int,
        layout: Layout,
        *,
        beta1: Value,
        beta2: Value,
    ) -> None:
        """One step; see the class."""
        add_scaled(flat, state["first"].lerp(grad, 1 - beta1).sign_(), -rate)
        state["first"].lerp_(grad, 1 - beta2)


class Muon(OptimizerTrick):
    """Steps every matrix by its momentum made orthogonal, so that all directions in it are learned equally fast.

    m ← μ·m + (1 - μ)·g, u = (1 - μ)·g + μ·m (Nesterov) or m, W ← W - η · √max(1, out/in) · NS₅(u), where NS₅ is five
    Newton-Schulz steps X ← a·X + (b·XXᵀ + c·(XXᵀ)²)·X from X = u/‖u‖ with a, b, c = 3.4445, -4.7750, 2.0315. Everything that is
    not a matrix takes a step of Adam (β = 0.9, 0.95) with learning rate η·`other_rate`.

    Doses:
        momentum: μ, 0 to 0.999. Raising it smooths the direction more.
        nesterov: True looks ahead.
        other_rate: learning rate of biases, norms and adapters, relative to that of matrices, 0.001 to 10. Raising it lets them
            move faster.

    Shape: rows [k, P]; matrices [k, out, in], filters of convolutions flattened to [k, out, in·height·width]; state `first` and
    `second` [k, P].

    Example:
        >>> from titrant.tricks import optimizer
        >>> optimizer.Muon(momentum=0.9).nesterov
        True

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". Departures: Newton-Schulz runs in the
    precision of the weights, not in bfloat16, which is slow on CPUs; the first and the last layer are treated like the
    hidden ones, because in small networks they hold most of the weights.

    Interactions: needs more time per step than Adam, the more the wider the layers; the size of a step does not depend on the
    gradient, so `clip` acts only on the balance between batches in the momentum.
    """

    typical_rate: ClassVar[float] = 0.01
    slots: ClassVar[tuple[str, ...]] = ("first", "second")
    elementwise: ClassVar[bool] = False
    kind: Literal["muon"] = "muon"
    momentum: Annotated[float, Range(0.0, 0.999, search=(0.9, 0.98), raising="a smoother direction")] = 0.95
    nesterov: bool = True
    other_rate: Annotated[
        float,
        Range(1e-3, 10.0, log=True, search=(0.03, 0.3), unit="of the learning rate", raising="biases and norms move faster"),
    ] = 0.1

    @staticmethod
    def update(
        flat: Tensor,
        grad: Tensor,
        state: dict[str, Tensor],
        rate: Value,
        step: int,
        layout: Layout,
        *,
        momentum: Value,
        nesterov: bool,
        other_rate: Value,
    ) -> None:
        """One step; see the class."""
        towards = layout.matrix_columns(grad)
        first = layout.matrix_columns(state["first"]).lerp_(towards, 1 - momentum)
        direction = towards.lerp(first, momentum) if nesterov else first.clone()
        for matrix in layout.matrices(direction):
            orthogonal = _orthogonalised(matrix.flatten(2))
            matrix.copy_(orthogonal.mul_(max(1.0, orthogonal.shape[1] / orthogonal.shape[2]) ** 0.5).view_as(matrix))
        add_scaled(layout.matrix_columns(flat), direction, -rate)

        end = layout.matrices_end
        others = {name: rows[:, end:] for name, rows in state.items()}
        Adam.update(flat[:, end:], grad[:, end:], others, rate * other_rate, step, layout, beta1=0.9, beta2=0.95, epsilon=1e-8)


class ScheduleFree(OptimizerTrick):
    """AdamW whose weights are averaged as it goes, so that it needs no schedule that knows when training ends.

    y = (1 - β₁)·z + β₁·x; g is taken at y; v as in Adam; z ← z - η·(g / (√(v/(1 - β₂ᵗ)) + ε) + λ·y); x ← (1 - c)·x + c·z with
    c = η² / Σ η². Training holds y, evaluation uses x.

    Doses:
        beta1: β₁, 0.5 to 0.99. Raising it takes gradients nearer to the average.
        beta2: β₂ of Adam, 0.5 to 0.99999. Raising it makes the mean square remember longer.
        epsilon: ε of Adam, 1e-12 to 1e-2. Raising it makes steps smaller where gradients are tiny.
        decay: λ, 1e-6 to 1, off at 0, on matrices only. Raising it keeps weights smaller and ends in underfitting.

    Shape: rows [k, P]; state `z` and `second` [k, P], and `weights` [k, 1], the Σ η². x is not stored: it is
    (y - (1 - β₁)·z) / β₁, so that what other tricks do to y (decay, max-norm) reaches x too.

    Example:
        >>> from titrant.tricks import optimizer
        >>> optimizer.ScheduleFree.evaluates_elsewhere
        True

    Source: Defazio et al. 2024, "The road less scheduled", and the form of its reference implementation. Departure: only
    matrices decay.

    Interactions: use it with `learning_rate.schedule: off`, some warm-up, and `average: off`. Batch norm gathers its running
    statistics at y while evaluation uses x; where they matter, they must be gathered again at x.
    """

    typical_rate: ClassVar[float] = 5e-3
    slots: ClassVar[tuple[str, ...]] = ("z", "second")
    evaluates_elsewhere: ClassVar[bool] = True
    kind: Literal["schedule_free"] = "schedule_free"
    beta1: Annotated[float, Range(0.5, 0.99, search=(0.8, 0.98), raising="gradients are taken nearer to the average")] = 0.9
    beta2: Annotated[float, Range(0.5, 0.99999, search=(0.95, 0.999), raising="the mean square remembers longer")] = 0.999
    epsilon: Epsilon = 1e-8
    decay: DecoupledDecay = 0.01

    @classmethod
    def start(cls, flat: Tensor) -> dict[str, Tensor]:
        """x = y = z: a copy of the first weights."""
        return {"z": flat.clone(), "second": torch.zeros_like(flat), "weights": flat.new_zeros(len(flat), 1)}

    @staticmethod
    def update(
        flat: Tensor,
        grad: Tensor,
        state: dict[str, Tensor],
        rate: Value,
        step: int,
        layout: Layout,
        *,
        beta1: Value,
        beta2: Value,
        epsilon: Value,
        decay: Value,
    ) -> None:
        """One step; see the class."""
        root = _updated_root(grad, state["second"], beta2).mul_((1 - beta2**step) ** -0.5).add_(epsilon)
        direction = torch.div(grad, root, out=root)
        add_scaled(layout.matrix_columns(direction), layout.matrix_columns(flat), decay)
        weights = state["weights"].add_(rate * rate)
        # The sum is zero as long as the learning rate was: then nothing moves, and the share must not become NaN.
        share = rate * rate / weights.clamp(min=torch.finfo(weights.dtype).tiny)
        flat.lerp_(state["z"], share)
        add_scaled(flat, direction, rate * (beta1 * (1 - share) - 1))
        add_scaled(state["z"], direction, -rate)

    @staticmethod
    def evaluation(flat: Tensor, state: dict[str, Tensor], **doses: Value) -> Tensor:
        """The average x [k, P], as a new tensor."""
        return flat.lerp(state["z"], 1 - 1 / doses["beta1"])


Optimizer = Annotated[
    Sgd | Nesterov | RMSprop | Adam | AdamW | NAdam | Lion | Muon | ScheduleFree,
    Options(),
]
"""The optimizer slot: after the gradient is clipped."""


def _updated_root(grad: Tensor, second: Tensor, beta: Value) -> Tensor:
    """Moves the mean square `second` towards grad² in place; returns its root, a new tensor."""
    squares = grad * grad
    second.lerp_(squares, 1 - beta)
    return torch.sqrt(second, out=squares)


def _orthogonalised(matrices: Tensor) -> Tensor:
    """Five Newton-Schulz steps on each matrix of [k, out, in]: about the nearest orthogonal one, singular values 0.7 to 1.2."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT
