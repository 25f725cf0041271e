"""Gradient clipping: a gradient that is far too long is shortened, so that one odd batch cannot throw a member off.

Every kind acts on the gradient rows [k, P] of k members in place (see `titrant.tricks.layout`), each row by itself. A row that
is not finite stays not finite and leaves its neighbours alone; what happens to that member is the engine's decision.

Axes in names: k member, p parameter.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from titrant.space import Range
from titrant.tricks.base import Off, Options, Trick, Value
from titrant.tricks.layout import Layout

# Shorter gradients count as this long: 1/length stays finite.
_TINY = 1e-6


class ClipTrick(Trick):
    """A kind of clipping: acts on the gradient before the optimizer does."""

    unit: ClassVar[str] = "batches"

    apply: ClassVar[Callable[..., Tensor]]
    """`apply(grad, flat, layout, **doses)`: clips in place, and returns which members it clipped, bool [k].

    Args:
        grad: the gradient [k, P].
        flat: the learned numbers [k, P].
        layout: where the matrices are.
    """


class ByNorm(ClipTrick):
    """Shortens a member's whole gradient to a given length where it is longer, and keeps its direction.

    g ← g · min(1, max_norm / ‖g‖₂).

    Doses:
        max_norm: 0.0001 to 1000. Raising it clips less.

    Shape: gradient [k, P]; clipped or not [k].

    Example:
        >>> from titrant.tricks import clip
        >>> clip.ByNorm(max_norm=0.5)
        ByNorm(kind='norm', max_norm=0.5)

    Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks"; the form of
    `torch.nn.utils.clip_grad_norm_`.

    Interactions: Adam and its kin divide by the gradient's own size, so here it evens out batches rather than limits steps.
    """

    kind: Literal["norm"] = "norm"
    max_norm: Annotated[float, Range(1e-4, 1e3, log=True, search=(0.1, 10.0), raising="less clipping")] = 1.0

    @staticmethod
    def apply(grad: Tensor, flat: Tensor, layout: Layout, *, max_norm: Value) -> Tensor:
        """Shortens rows; see the class."""
        norm: Tensor = torch.linalg.vector_norm(grad, dim=1, keepdim=True)
        grad.mul_((max_norm / (norm + _TINY)).clamp_(max=1.0))
        return (norm > max_norm).squeeze(1)


class ByValue(ClipTrick):
    """Cuts each number of the gradient off at a limit.

    g ← min(max(g, -limit), limit).

    Doses:
        limit: 0.000001 to 1000. Raising it clips less.

    Shape: gradient [k, P]; clipped or not [k].

    Example:
        >>> from titrant.tricks import clip
        >>> clip.ByValue().limit
        0.5

    Source: Mikolov 2012, "Statistical language models based on neural networks"; the form of
    `torch.nn.utils.clip_grad_value_`.

    Interactions: bends the gradient's direction; prefer `norm` unless single numbers are known to explode.
    """

    searched: ClassVar[bool] = False
    kind: Literal["value"] = "value"
    limit: Annotated[float, Range(1e-6, 1e3, log=True, search=(1e-3, 1.0), raising="less clipping")] = 0.5

    @staticmethod
    def apply(grad: Tensor, flat: Tensor, layout: Layout, *, limit: Value) -> Tensor:
        """Cuts numbers off; see the class."""
        bound = grad.new_ones(1, 1) * limit
        largest: Tensor = torch.linalg.vector_norm(grad, ord=float("inf"), dim=1, keepdim=True)
        grad.clamp_(-bound, bound)
        return (largest > bound).squeeze(1)


class Adaptive(ClipTrick):
    """Limits the gradient of each unit in proportion to the unit's weights, so that no step changes a unit beyond recognition.

    For each row w of a matrix (the weights into one unit) with gradient g:
    g ← g · min(1, ratio · max(‖w‖, 0.001) / ‖g‖).

    Doses:
        ratio: 0.0001 to 10. Raising it clips less.

    Shape: gradient [k, P], matrices [k, out, in, ...] with one limit for each `out`; clipped or not [k].

    Example:
        >>> from titrant.tricks import clip
        >>> clip.Adaptive(ratio=0.02).ratio
        0.02

    Source: Brock et al. 2021, "High-performance large-scale image recognition without normalization". Departures: biases, norms
    and adapters are not clipped; the last layer is clipped like the others.

    Interactions: made for networks without normalisation and for large batches; `initialize` sets the scale of ‖w‖.
    """

    kind: Literal["adaptive"] = "adaptive"
    ratio: Annotated[float, Range(1e-4, 10.0, log=True, search=(0.005, 0.5), raising="less clipping")] = 0.05

    @staticmethod
    def apply(grad: Tensor, flat: Tensor, layout: Layout, *, ratio: Value) -> Tensor:
        """Shortens the gradients of units; see the class."""
        clipped = torch.zeros(len(grad), dtype=torch.bool, device=grad.device)
        for slopes, weights in zip(layout.matrices(grad), layout.matrices(flat), strict=True):
            limit = ratio * _unit_norms(weights).clamp_(min=1e-3)
            norm = _unit_norms(slopes)
            slopes.flatten(2).mul_((limit / norm.clamp(min=_TINY)).clamp_(max=1.0).unsqueeze(2))
            clipped |= (norm > limit).any(1)
        return clipped


Clip = Annotated[Off | ByNorm | ByValue | Adaptive, Options()]
"""The clip slot: between the gradient and the optimizer."""


def _unit_norms(matrices: Tensor) -> Tensor:
    """The length of the weights into each unit: [k, out, in, ...] to [k, out]."""
    norms: Tensor = torch.linalg.vector_norm(matrices.flatten(2), dim=2)
    return norms
