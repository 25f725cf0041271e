"""Gradients through 500 steps: where they vanish or explode, what the doctor says, and what cures it."""

from typing import Any

import pytest
import torch
from torch import nn

import titrant
from titrant.models.series import SeriesShape
from titrant.recipe import Recipe
from titrant.train.build import start

STEPS = 500
READER = {"kind": "rnn", "direction": "forward", "pool": "last", "width": 32, "start": "drawn"}


def gradients(values: dict[str, Any]) -> torch.Tensor:
    """How strongly the output of a fresh network hangs on each step of its series [t]."""
    x = 0.1 * torch.randn(8, 1, STEPS, generator=torch.Generator().manual_seed(0))
    ends = torch.full((8,), STEPS)
    network = start(Recipe.of(values), SeriesShape(1, STEPS, False, 2), 0, (x, ends))
    x.requires_grad_()
    (found,) = torch.autograd.grad(network(x, ends).sum(), x)
    return found.norm(dim=(0, 1))


def test_a_plain_network_forgets_and_one_of_large_weights_explodes() -> None:
    vanished = gradients({"model": READER, "activation": "tanh"})
    assert vanished[-1] > 0.1
    assert vanished[0] < 1e-30
    exploded = gradients({"model": READER, "activation": "tanh", "initialize": {"kind": "xavier_normal", "scale": 3.0}})
    assert not exploded[:250].isfinite().all() or exploded[0] > 1e10


@pytest.mark.parametrize(
    "cure",
    [
        {"model": READER | {"start": "identity"}, "activation": "relu"},
        {"model": READER | {"kind": "lstm", "start": "orthogonal"}, "normalize": "layer"},
        {"model": READER | {"kind": "gru", "start": "orthogonal", "pool": "attention"}},
    ],
    ids=["identity", "lstm with layer norm", "attention"],
)
def test_gradients_reach_the_first_step_of_a_cured_network(cure: dict[str, Any]) -> None:
    found = gradients(cure)
    assert found.isfinite().all()
    assert found[0] > 1e-4 * found[-1]


def test_orthogonal_weights_carry_gradients_much_further() -> None:
    found = gradients({"model": READER | {"start": "orthogonal"}, "activation": "tanh"})
    assert 1e-20 < found[0] < found[-1]


def test_the_doctor_sees_that_a_plain_network_over_500_steps_does_not_learn_from_the_first() -> None:
    torch.manual_seed(0)
    reader, head = nn.RNN(1, 24, batch_first=True), nn.Linear(24, 2)
    for name, parameter in reader.named_parameters():
        nn.init.normal_(parameter, std=0.5 / 24**0.5) if "weight_hh" in name else None
    model = nn.ModuleList([reader, head])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with titrant.watch(model, optimizer) as doctor:
        for _ in range(12):
            y = torch.randint(2, (32,))
            x = torch.zeros(32, STEPS, 1)
            x[:, 0, 0] = 2.0 * y - 1
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(reader(x)[0][:, -1]), y).backward()
            optimizer.step()
    found = {finding.rule: finding for finding in doctor.findings}
    assert found["vanishing_gradient"].where == "0.weight_ih_l0"
    assert found["vanishing_gradient"].level == "problem"
