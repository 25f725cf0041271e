"""What autograd's graph tells, for functions called in every way."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from titrant.doctor.graph import compared, last_function, linear_pairs


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: x, "linear"),
        (lambda x: torch.softmax(x, 1), "softmax"),
        (lambda x: torch.log_softmax(x, 1), "log_softmax"),
        (lambda x: torch.log(torch.softmax(x, 1)), "log_softmax"),
        (lambda x: x.sigmoid().squeeze(-1).view(-1), "sigmoid"),
        (lambda x: functional.relu(x), "relu"),
        (lambda x: x.clamp(0, 1), "linear"),
        (lambda x: x * 3, "unknown"),
    ],
)
def test_the_function_before_the_loss(function: Callable[[Tensor], Tensor], name: str) -> None:
    assert last_function(function(nn.Linear(3, 4)(torch.randn(5, 3)))) == name


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        (lambda o, t: functional.cross_entropy(o, t), "cross_entropy"),
        (lambda o, t: functional.nll_loss(o, t), "nll"),
        (lambda o, t: functional.mse_loss(o, functional.one_hot(t, 4).float()), "mse"),
        (lambda o, t: functional.binary_cross_entropy_with_logits(o, functional.one_hot(t, 4).float()), "bce_logits"),
        (lambda o, t: functional.binary_cross_entropy(o.sigmoid(), functional.one_hot(t, 4).float()), "bce"),
        (lambda o, t: 0.5 * functional.cross_entropy(o, t) + 0.01 * o.square().mean(), "cross_entropy"),
        (lambda o, t: ((o - functional.one_hot(t, 4)) ** 2).mean(), "mse"),
        (lambda o, t: o.exp().mean(), None),
    ],
)
def test_the_loss_is_recognised(loss: Callable[[Tensor, Tensor], Tensor], kind: str | None) -> None:
    found = compared(loss(nn.Linear(3, 4)(torch.randn(5, 3)), torch.tensor([0, 1, 2, 3, 0])))
    assert (None if found is None else found.loss) == kind


def pairs(*layers: nn.Module) -> list[tuple[str, str]]:
    model = nn.Sequential(*layers)
    names = {id(parameter): name.split(".")[0] for name, parameter in model.named_parameters()}
    shape = (4, 1, 8, 8) if isinstance(layers[0], nn.Conv2d) else (4, 3)
    return linear_pairs(model(torch.randn(shape)).sum(), names)[0]


def test_layers_with_nothing_nonlinear_in_between() -> None:
    assert pairs(nn.Linear(3, 4), nn.Dropout(0.5), nn.LayerNorm(4), nn.Linear(4, 2)) == [("0", "3")]
    assert pairs(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)) == []
    assert pairs(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 2)) == [("0", "4")]
    assert pairs(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 2)) == []
