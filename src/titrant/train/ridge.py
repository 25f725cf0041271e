"""Ridge regression in closed form, with its strength chosen by leave-one-out errors: where `initialize: ridge` begins.

Eigenvectors of the products of rows, or of features where these are fewer, give the solution and the leave-one-out errors of
every strength at once (Golub, Heath and Wahba 1979).
"""

import torch
from torch import Tensor
from torch.nn import functional

ROWS = 2000
"""Rows that are solved for at most where features are more: eigenvectors take time with the cube of the smaller number."""

MOST = 20_000
"""Rows that are solved for at most where features are fewer."""

_STRENGTHS = torch.logspace(-3, 5, 13, dtype=torch.float64)
_FACTORS = torch.logspace(-1, 1.5, 26, dtype=torch.float64)  # by which outputs may be multiplied to make logits


def solved(x: Tensor, target: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weights [o, f] and bias [o] of the linear function that fits best.

    Args:
        x: features [n, f].
        target: int64 [n] classes, float [n] values, or float [n, o] several values.
        classes: how many; 1 for values.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> weight, bias = solved(x, 2 * x.squeeze(1) + 1, 1)
        >>> round(float(weight), 2), round(float(bias), 2)
        (2.0, 1.0)
    """
    x = x.double()
    wide = classes if classes > 1 else 1
    y = 2.0 * functional.one_hot(target, wide).double() - 1 if classes > 1 else target.double().view(len(x), -1)
    centre, level = x.mean(0), y.mean(0)
    x, y = x - centre, y - level
    weight, left_out = (_by_rows if len(x) <= x.shape[1] else _by_features)(x, y)
    bias = level - weight @ centre
    if classes > 1:
        outputs = left_out + level
        losses = torch.stack([functional.cross_entropy(factor * outputs, target) for factor in _FACTORS])
        factor = _FACTORS[losses.argmin()]
        weight, bias = factor * weight, factor * bias
    return weight.float(), bias.float()


def _by_rows(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [o, f] for centred features and targets, and what each row is predicted without itself [n, o]."""
    values, vectors = torch.linalg.eigh(x @ x.T)
    turned = vectors.T @ y
    found = []
    for strength in _STRENGTHS.tolist():
        shrunk = 1 / (values.clamp(min=0) + strength)
        dual = vectors @ (shrunk.unsqueeze(1) * turned)
        # One eigenvector is constant, as features are centred: the bias, which no strength shrinks.
        own = (vectors.square() * shrunk).sum(1, keepdim=True) - 1 / (len(x) * strength)
        errors = dual / own
        found.append((float(errors.square().mean()), dual, y - errors))
    _, dual, left_out = min(found, key=lambda one: one[0])
    return (x.T @ dual).T, left_out


def _by_features(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The same, of fewer features than rows."""
    values, vectors = torch.linalg.eigh(x.T @ x)
    turned = x @ vectors
    towards = turned.T @ y
    found = []
    for strength in _STRENGTHS.tolist():
        shrunk = 1 / (values.clamp(min=0) + strength)
        coordinates = shrunk.unsqueeze(1) * towards
        own = 1 - (turned.square() * shrunk).sum(1, keepdim=True) - 1 / len(x)
        errors = (y - turned @ coordinates) / own.clamp(min=1e-9)
        found.append((float(errors.square().mean()), coordinates, y - errors))
    _, coordinates, left_out = min(found, key=lambda one: one[0])
    return (vectors @ coordinates).T, left_out
