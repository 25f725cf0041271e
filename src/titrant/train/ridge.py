"""Ridge regression in closed form, with its strength chosen by leave-one-out errors: where `initialize: ridge` begins.

For n rows of f features everything happens in the n × n matrix of their products, whose eigenvectors give the solution and the
leave-one-out errors of every strength at once (Golub, Heath and Wahba 1979).
"""

import torch
from torch import Tensor
from torch.nn import functional

ROWS = 2500
"""Rows that are solved for at most: eigenvectors take time with the cube of them."""

_STRENGTHS = torch.logspace(-3, 3, 10, dtype=torch.float64)
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
    values, vectors = torch.linalg.eigh(x @ x.T)
    turned = vectors.T @ y
    best, chosen, left_out = torch.inf, torch.zeros_like(y), y
    for strength in _STRENGTHS.tolist():
        shrunk = 1 / (values.clamp(min=0) + strength)
        dual = vectors @ (shrunk.unsqueeze(1) * turned)
        # One eigenvector is constant, as features are centred: the bias, which no strength shrinks.
        own = (vectors.square() * shrunk).sum(1, keepdim=True) - 1 / (len(x) * strength)
        errors = dual / own
        error = float(errors.square().mean())
        if error < best:
            best, chosen, left_out = error, dual, y - errors
    weight = (x.T @ chosen).T
    bias = level - weight @ centre
    if classes > 1:
        outputs = left_out + level
        losses = torch.stack([functional.cross_entropy(factor * outputs, target) for factor in _FACTORS])
        factor = _FACTORS[losses.argmin()]
        weight, bias = factor * weight, factor * bias
    return weight.float(), bias.float()
