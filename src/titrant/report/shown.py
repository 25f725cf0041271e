"""Rows of any data as the report shows them: which ones, and under what label."""

import torch
from torch import Tensor

from titrant.data.learnable import Learnable


def spread(dataset: Learnable, count: int) -> Tensor:
    """A few training rows, evenly spaced over the targets."""
    train = dataset.split.train
    order = train[dataset.target[train].argsort(stable=True)]
    return order[torch.linspace(0, len(order) - 1, min(count, len(order))).long()]


def label_of(dataset: Learnable, row: int) -> str:
    """A row's class or value; nothing where it has several values."""
    if dataset.values is not None:
        return "" if dataset.values.ndim > 1 else f"{dataset.values[row]:.4g}"
    return str(dataset.schema.classes[int(dataset.target[row])])
