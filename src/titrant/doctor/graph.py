"""What autograd's graph tells about a program: the function before the loss, and layers with nothing nonlinear in between.

Reading the graph needs no cooperation of the program and misses no function, however it was called.
"""

import re
from collections.abc import Iterator, Mapping
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
_MOST_NODES = 20_000


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
    node = tensor.grad_fn
    logarithm = False
    for _ in range(50):
        if node is None:
            return "unknown"
        kind = _kind(node)
        if kind in _ACTIVATIONS:
            return f"log_{_ACTIVATIONS[kind]}" if logarithm else _ACTIVATIONS[kind]
        if kind in _LINEAR or kind in ("Bmm", "Baddbmm"):
            return "linear"
        if kind == "Add" and any(_parameter(child) is not None for child in _children(node)):
            return "linear"  # a matrix product and a bias, written out
        if kind not in _PASSING and kind not in ("Clamp", "ClampMin", "Log"):
            return "unknown"
        logarithm |= kind == "Log"
        node = next(_children(node), None)
    return "unknown"


def linear_pairs(loss: Tensor, names: Mapping[int, str]) -> tuple[list[tuple[str, str]], int]:
    """Pairs of weighted layers (earlier, later) with nothing nonlinear in between, and the number of weighted layers.

    Args:
        loss: with its graph.
        names: a layer's name by the id of its parameters.
    """
    pairs: list[tuple[str, str]] = []
    weighted: set[str] = set()
    seen: set[Any] = set()
    queue = [loss.grad_fn]
    while queue and len(seen) < _MOST_NODES:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        children = list(_children(node))
        queue += children
        later = _layer(node, names)
        if later is not None:
            weighted.add(later)
            earlier = _weighted_below(children, names)
            if earlier is not None and earlier != later and (earlier, later) not in pairs:
                pairs.append((earlier, later))
    return pairs, len(weighted)


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
