"""What autograd's graph tells about a program: the function before the loss, and layers with nothing nonlinear in between.

Reading the graph needs no cooperation of the program and misses no function, however it was called.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

_PASSING = {
    "View", "UnsafeView", "ReshapeAlias", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "T", "Permute", "Alias", "Expand",
    "Slice", "Select", "Clone", "ToCopy", "Flatten", "Unflatten", "AsStrided", "Contiguous", "Identity", "Copy", "Index",
}  # fmt: skip
_LINEAR = {"Addmm", "Mm", "Convolution", "MkldnnConvolution", "CudnnConvolution", "ThnnConv2D", "Linear", "Mv", "Addmv", "Dot"}
_HARMLESS = {
    "NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "NativeLayerNorm", "NativeGroupNorm", "NativeDropout",
    "FusedDropout", "AvgPool2D", "AdaptiveAvgPool2D", "MkldnnAdaptiveAvgPool2D", "AvgPool3D", "ConstantPadNd", "Div",
}  # fmt: skip
_ACTIVATIONS = {
    "Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid", "LogSigmoid": "log_sigmoid", "Relu": "relu",
    "Tanh": "tanh", "LeakyRelu": "leaky_relu", "Elu": "elu", "Gelu": "gelu", "Silu": "silu", "Softplus": "softplus",
    "Hardtanh": "hardtanh", "Exp": "exp", "Hardsigmoid": "sigmoid", "Prelu": "prelu", "Threshold": "relu",
}  # fmt: skip
_LOSSES = {
    "NllLoss": "nll", "NllLossNd": "nll", "NllLoss2D": "nll", "BinaryCrossEntropy": "bce", "MseLoss": "mse", "L1Loss": "mae",
    "BinaryCrossEntropyWithLogits": "bce_logits", "SmoothL1Loss": "huber", "HuberLoss": "huber", "KlDiv": "kl",
}  # fmt: skip
_MOST_NODES = 20_000


@dataclass(frozen=True)
class Compared:
    """What a loss compares: its kind, the function before it, the shapes, and the targets if the graph holds them."""

    loss: str
    activation: str
    output_shape: list[int]
    target: Tensor | None
    broadcast: bool


def _kind(node: Any) -> str:
    return re.sub(r"Backward\d*$", "", node.name().rpartition("::")[2])


def last_function(tensor: Tensor) -> str:
    """The function whose values the tensor holds, but for reshaping: softmax, sigmoid, linear, ...; unknown if none of these.

    Example:
        >>> import torch
        >>> weight = torch.ones(3, 4, requires_grad=True)
        >>> last_function(torch.softmax(torch.ones(2, 3) @ weight, 1).view(-1))
        'softmax'
    """
    return _last_function(tensor.grad_fn)


def over_rows(tensor: Tensor) -> bool:
    """Whether a tensor holds a softmax that was taken over its first axis, the rows of the batch.

    Example:
        >>> import torch
        >>> weight = torch.ones(3, 4, requires_grad=True)
        >>> [over_rows(torch.softmax(torch.ones(2, 3) @ weight, axis).log()) for axis in (0, 1)]
        [True, False]
    """
    *above, node = _down(tensor.grad_fn) if tensor.grad_fn is not None else (None,)
    moved = any(_kind(one) in ("Transpose", "T", "Permute", "Select", "Index") for one in above)  # it was another axis then
    if node is None or moved or _kind(node) not in ("Softmax", "LogSoftmax"):
        return False
    axis, axes = node._saved_dim, len(_shape(node))
    axis -= 2**64 if axis >= 2**63 else 0  # negative ones come without their sign
    return axes > 1 and axis % axes == 0


def _down(node: Any) -> Iterator[Any]:
    """A node and those below it, as long as what they do leaves the kind of values alone: shapes, logarithms, numbers added."""
    for _ in range(50):
        if node is None:
            return
        yield node
        kind = _kind(node)
        passes = kind in _PASSING or kind in ("Clamp", "ClampMin", "Log") or (kind == "Add" and len(list(_children(node))) == 1)
        node = next(_children(node), None) if passes else None


def _last_function(node: Any) -> str:
    logarithm = False
    for one in _down(node):
        kind = _kind(one)
        if kind in _ACTIVATIONS:
            return f"log_{_ACTIVATIONS[kind]}" if logarithm else _ACTIVATIONS[kind]
        if kind in _LINEAR or kind in ("Bmm", "Baddbmm"):
            return "linear"
        if kind == "Add" and any(_parameter(child) is not None for child in _children(one)):
            return "linear"  # a matrix product and a bias, written out
        logarithm |= kind == "Log"
    return "unknown"


def compared(loss: Tensor) -> Compared | None:
    """The comparison of outputs with targets in a loss that is still attached to its graph; None where there is none known.

    Example:
        >>> import torch
        >>> output = torch.ones(4, 3) @ torch.ones(3, 2, requires_grad=True)
        >>> found = compared(torch.nn.functional.cross_entropy(output, torch.tensor([0, 1, 1, 0])))
        >>> found.loss, found.activation, found.target
        ('cross_entropy', 'linear', tensor([0, 1, 1, 0]))
    """
    queue = [loss.grad_fn]
    for node in queue:
        if node is None or len(queue) > 50:
            return None
        kind = _LOSSES.get(_kind(node))
        children = list(_children(node))
        if kind is not None and children:
            below = children[0]
            if kind == "nll" and _kind(below) == "LogSoftmax":
                kind, below = "cross_entropy", next(_children(below), None)
            output, target = getattr(node, "_saved_self", None), getattr(node, "_saved_target", None)
            stretched = any(_stretched(tensor) for tensor in (output, target) if tensor is not None)
            shape = [] if output is None else list(output.shape)
            return Compared(kind, _last_function(below), shape, target, stretched)
        if _kind(node) == "Pow" and children and _kind(children[0]) == "Sub":
            return _difference(children[0])
        queue += children
    return None


def _difference(node: Any) -> Compared | None:
    """A squared error that is written out: (output - target) ** 2."""
    below = next(_children(node), None)
    if below is None:
        return None
    shape, inner = _shape(node), _shape(below)
    return Compared("mse", _last_function(below), inner, None, math.prod(shape) > math.prod(inner) > 1)


def _shape(node: Any) -> list[int]:
    return list(node._input_metadata[0].shape)


def _stretched(tensor: Tensor) -> bool:
    return any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def linear_pairs(loss: Tensor, names: Mapping[int, str]) -> tuple[list[tuple[str, str]], int]:
    """Pairs of weighted layers (earlier, later) with nothing nonlinear in between, and the number of weighted layers.

    Args:
        loss: with its graph.
        names: a layer's name by the id of its parameters.
    """
    pairs: list[tuple[str, str]] = []
    weighted: set[str] = set()
    for node in _nodes(loss):
        later = _layer(node, names)
        if later is not None:
            weighted.add(later)
            earlier = _weighted_below(list(_children(node)), names)
            if earlier is not None and earlier != later and (earlier, later) not in pairs:
                pairs.append((earlier, later))
    return pairs, len(weighted)


def leaves(loss: Tensor) -> Iterator[Tensor]:
    """The tensors that a loss depends on and that collect gradients.

    Example:
        >>> import torch
        >>> weight = torch.ones(2, requires_grad=True)
        >>> [leaf is weight for leaf in leaves((3 * weight).sum())]
        [True]
    """
    return (node.variable for node in _nodes(loss) if _kind(node) == "AccumulateGrad")


def number_of(tensor: Tensor) -> int:
    """The number of a tensor's function in its thread, by which it is known without keeping its graph; -1 without one."""
    return -1 if tensor.grad_fn is None else int(tensor.grad_fn._sequence_nr())


def parts_of(loss: Tensor, numbers: Sequence[int]) -> list[int]:
    """The places of the tensors from which a loss was made, of several with these numbers.

    Example:
        >>> import torch
        >>> weight = torch.ones(3, requires_grad=True)
        >>> one, other = weight.sum(), weight.prod()
        >>> parts_of(2 * one, [number_of(one), number_of(other)])
        [0]
    """
    there = {int(node._sequence_nr()) for node in _nodes(loss)}
    return [place for place, number in enumerate(numbers) if number in there]


def _nodes(loss: Tensor) -> Iterator[Any]:
    """The nodes of a loss's graph, each once, no more than a step may spend time on."""
    seen: set[Any] = set()
    queue: list[Any] = [loss.grad_fn]
    while queue and len(seen) < _MOST_NODES:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        queue += _children(node)
        yield node


def _children(node: Any) -> Iterator[Any]:
    return (child for child, _ in node.next_functions if child is not None)


def _parameter(node: Any) -> Any:
    """The leaf tensor behind a node, through a transposition."""
    while _kind(node) in _PASSING:
        node = next(_children(node), None)
        if node is None:
            return None
    return getattr(node, "variable", None)


def _layer(node: Any, names: Mapping[int, str]) -> str | None:
    if _kind(node) not in _LINEAR:
        return None
    leaves = (_parameter(child) for child in _children(node))
    return next((names[id(leaf)] for leaf in leaves if leaf is not None and leaf.ndim > 1 and id(leaf) in names), None)


def _weighted_below(nodes: list[Any], names: Mapping[int, str]) -> str | None:
    """The weighted layer that one reaches from `nodes` through nothing but linear functions."""
    for node in nodes:
        for _ in range(20):
            if node is None or _kind(node) == "AccumulateGrad":
                break
            layer = _layer(node, names)
            if layer is not None:
                return layer
            kind, children = _kind(node), list(_children(node))
            inner = [child for child in children if _parameter(child) is None]
            if kind in _PASSING or kind in _HARMLESS:
                node = inner[0] if inner else None
            elif kind == "Mul" and len(children) == 1:
                node = children[0]  # times numbers without gradient: the mask of a dropout
            elif kind == "Add" and len(inner) == 1:
                node = inner[0]  # a bias
            else:
                break
    return None
