"""Operations that other runtimes lack, in forms that they have.

While a model is written for another runtime (`torch.export`), rows have no number yet, so nothing may be cut into pieces by it,
and operations that ONNX does not know are spelled out.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def exporting() -> bool:
    """Whether a model is being written for another runtime now."""
    return torch.compiler.is_exporting()


def in_turn(step: Callable[..., tuple[Tensor, ...]], start: tuple[Tensor, ...], *inputs: Tensor) -> Tensor:
    """Calls a function step after step, and returns the first of what each call returned [t, ...].

    Args:
        step: takes what the step before has returned, and its own part of each input; returns as many tensors as `start` has.
        start: what the first step takes.
        inputs: [t, ...] each.

    A graph for another runtime gets a loop instead of a copy for each step.

    Example:
        >>> in_turn(lambda before, x: (before[0] + x,), (torch.tensor(0),), torch.arange(4)).tolist()
        [0, 1, 3, 6]
    """
    if exporting():
        from torch._higher_order_ops.scan import scan  # PyTorch has no public name for it yet

        def body(before: tuple[Tensor, ...], parts: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
            after = step(before, *parts)
            return after, after[0].clone()

        firsts: Tensor = scan(body, start, inputs)[1]
        return firsts
    found = []
    for parts in zip(*inputs, strict=True):
        start = step(start, *parts)
        found.append(start[0])
    return torch.stack(found)


def at_most(ordered: Tensor, x: Tensor) -> Tensor:
    """How many of ordered numbers are at most x.

    Args:
        ordered: [f, q], or [q] for all of x alike.
        x: [f, n], or of any shape.

    Example:
        >>> at_most(torch.tensor([1.0, 2.0, 2.0, 5.0]), torch.tensor([0.0, 2.0, 9.0])).tolist()
        [0, 3, 4]
    """
    if not exporting():
        return torch.searchsorted(ordered, x, right=True)
    count = ordered.shape[-1]
    found = torch.zeros_like(x, dtype=torch.int64)
    step = 1 << max(0, count.bit_length() - 1)
    while step:
        further = found + step
        place = further.clamp(max=count) - 1
        there = ordered.gather(-1, place) if ordered.dim() == 2 else ordered[place]
        found = torch.where((further <= count) & (there <= x), further, found)
        step >>= 1
    return found


def erfinv(x: Tensor) -> Tensor:
    """The inverse of the error function, of numbers between -1 and 1.

    Example:
        >>> round(erfinv(torch.tensor(0.5)).item(), 5)
        0.47694

    Source: in other runtimes the approximation of Giles 2012, "Approximating the erfinv function", to six digits.
    """
    if not exporting():
        return torch.erfinv(x)
    w = -((1 - x) * (1 + x)).log()
    near, far = w - 2.5, w.clamp(min=5.0).sqrt() - 3
    middle, tail = torch.zeros_like(x), torch.zeros_like(x)
    for inner, outer in zip(_MIDDLE, _TAIL, strict=True):
        middle, tail = middle * near + inner, tail * far + outer
    return x * torch.where(w < 5, middle, tail)


_MIDDLE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164, 0.246640727,
    1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047, 1.00167406,
    2.83297682,
)  # fmt: skip


def quantile(x: Tensor, level: float) -> Tensor:
    """A quantile of the numbers that are there, along the last axis, which stays; NaN where there are none.

    Example:
        >>> quantile(torch.tensor([4.0, torch.nan, 1.0, 3.0]), 0.75).tolist()
        [3.5]
    """
    there = x.isnan().logical_not().sum(-1, keepdim=True)
    ordered = torch.where(x.isnan(), torch.inf, x).sort(-1).values
    spot = (there - 1).clamp(min=0) * level
    low = spot.floor().long()
    high = torch.minimum(low + 1, (there - 1).clamp(min=0))
    found = torch.lerp(ordered.gather(-1, low), ordered.gather(-1, high), (spot - low).to(x.dtype))
    return torch.where(there > 0, found, torch.nan)
