"""Layers for one member or for many: a stack gives what its members give."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from titrant.models.layers import Activate, Drop, Linear, Normalize, Skip, attach
from titrant.tricks.acting import Ledger, Streams
from titrant.tricks.activation import GELU, PReLU, ReLU, Tanh
from titrant.tricks.base import Off, Trick
from titrant.tricks.dropout import Bernoulli
from titrant.tricks.normalize import RMS, Batch, Group, Layer
from titrant.tricks.regularize import StochasticDepth

CPU = torch.device("cpu")
MEMBERS, ROWS, INPUTS, UNITS = 3, 7, 5, 4


def test_linear_equals_one_product_for_each_member() -> None:
    layer = Linear(INPUTS, UNITS)
    x, w, b = torch.randn(MEMBERS, ROWS, INPUTS), torch.randn(MEMBERS, UNITS, INPUTS), torch.randn(MEMBERS, UNITS)
    y = functional_call(layer, {"weight": w, "bias": b}, (x,))
    assert y.shape == (MEMBERS, ROWS, UNITS)
    for k in range(MEMBERS):
        expected = x[k].double() @ w[k].double().T + b[k].double()
        torch.testing.assert_close(y[k].double(), expected, rtol=1e-5, atol=1e-5)


def test_a_plain_linear_layer_is_torchs() -> None:
    layer, x = Linear(INPUTS, UNITS), torch.randn(2, ROWS, INPUTS)
    assert torch.equal(layer(x), functional.linear(x, layer.weight, layer.bias))


NORMALS: list[Trick] = [Off(), Batch(), Layer(), Group(groups=2), RMS(), Batch(momentum=0.5)]


def tensors_of(layer: nn.Module, members: int) -> dict[str, Tensor]:
    """Different gains, biases and statistics for each member."""
    named = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    return {name: torch.rand(members, *tensor.shape) + 0.5 for name, tensor in named.items()}


@pytest.mark.parametrize("training", [True, False])
def test_normalize_acts_on_each_member_by_its_own_kind(training: bool) -> None:
    stack = Normalize(NORMALS, UNITS, NORMALS, CPU).train(training)
    tensors = tensors_of(stack, len(NORMALS))
    x = torch.randn(len(NORMALS), ROWS, UNITS)
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    y = functional_call(stack, tensors, (x,))
    for k, trick in enumerate(NORMALS):
        alone = Normalize([trick], UNITS, NORMALS, CPU).train(training)
        own = {name: tensor[k].clone() for name, tensor in kept.items()}
        expected = functional_call(alone, own, (x[k],))
        torch.testing.assert_close(y[k], expected, rtol=1e-5, atol=1e-5)
        for name in ("mean", "variance"):
            torch.testing.assert_close(tensors[name][k], own[name], rtol=1e-5, atol=1e-5)
            assert torch.equal(tensors[name][k], kept[name][k]) == (not training or not isinstance(trick, Batch))


def test_batch_norm_equals_torchs() -> None:
    ours, theirs = Normalize([Batch()], UNITS, [Batch()], CPU), nn.BatchNorm1d(UNITS)
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        x = 3 + 2 * torch.randn(ROWS, UNITS)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.mean, theirs.running_mean)
        torch.testing.assert_close(ours.variance, theirs.running_var)


def test_nobody_normalizes_nothing_is_learned() -> None:
    layer = Normalize([Off(), Off()], UNITS, [Off(), Off()], CPU)
    x = torch.randn(2, ROWS, UNITS)
    assert layer(x) is x
    assert list(layer.parameters()) == list(layer.buffers()) == []
    assert len(list(Normalize([Off()], UNITS, [Off(), Layer()], CPU).parameters())) == 2


def test_activate_gives_each_member_its_own_function() -> None:
    tricks: list[Trick] = [ReLU(), Tanh(), PReLU(), GELU(), PReLU()]
    layer = Activate(tricks, UNITS, tricks, CPU)
    (name,) = dict(layer.named_parameters())
    slope = torch.rand(len(tricks), UNITS)
    x = torch.randn(len(tricks), ROWS, UNITS)
    y = functional_call(layer, {name: slope}, (x,))
    expected = [
        functional.relu(x[0]),
        torch.tanh(x[1]),
        functional.prelu(x[2], slope[2]),
        functional.gelu(x[3]),
        functional.prelu(x[4], slope[4]),
    ]
    torch.testing.assert_close(y, torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_only_learned_slopes_are_parameters() -> None:
    assert not list(Activate([ReLU()], UNITS, [ReLU()], CPU).parameters())
    (slope,) = Activate([ReLU()], UNITS, [ReLU(), PReLU()], CPU).parameters()
    assert torch.equal(slope, torch.full((UNITS,), 0.25))


def test_drop_acts_in_training_only_and_on_its_own_members_only() -> None:
    layer = Drop([Off(), Bernoulli(p=0.5), Bernoulli(p=0.0)], CPU)
    x = torch.ones(3, 50, 40)
    streams, ledger = Streams([1, 2, 3], CPU), Ledger(3, CPU)
    attach(layer, streams, ledger)
    y = layer(x)
    assert torch.equal(y[0], x[0])
    assert torch.equal(y[2], x[2])
    assert set(y[1].unique().tolist()) == {0.0, 2.0}
    acted, seen = ledger.read()["dropout"]
    assert acted == [0.0, float((y[1] == 0).sum()), 0.0]
    assert seen == [0.0, 2000.0, 2000.0]
    layer.eval()
    assert layer(x) is x


def test_drop_follows_the_members_streams() -> None:
    x = torch.ones(2, 9, 8)
    stacked, alone = Drop([Bernoulli(p=0.5), Bernoulli(p=0.5)], CPU), Drop([Bernoulli(p=0.5)], CPU)
    attach(stacked, Streams([4, 5], CPU), None)
    attach(alone, Streams([5], CPU), None)
    for _ in range(2):
        assert torch.equal(stacked(x)[1], alone(x[:1])[0])


def test_drop_without_streams_uses_the_global_one() -> None:
    layer, x = Drop([Bernoulli(p=0.5)], CPU), torch.ones(50, 40)
    share = (layer(x) == 0).double().mean().item()
    assert share == pytest.approx(0.5, abs=0.1)


def test_attach_reaches_nested_layers_and_can_be_undone() -> None:
    network = nn.Sequential(nn.Sequential(Drop([Bernoulli()], CPU)), Normalize([Batch()], UNITS, [Batch()], CPU))
    streams, ledger = Streams([0], CPU), Ledger(1, CPU)
    attach(network, streams, ledger)
    assert network[0][0].streams is streams
    assert network[0][0].ledger is network[1].ledger is ledger
    attach(network, None, None)
    assert network[0][0].streams is network[1].ledger is None


def test_stochastic_depth_leaves_whole_rows_out_and_keeps_the_mean() -> None:
    tricks = [Off(), StochasticDepth(p=0.5), StochasticDepth(p=0.25)]
    skip = Skip(tricks, axes=3, device=CPU)
    ledger = Ledger(MEMBERS, CPU)
    ledger.probing = True
    attach(skip, Streams([1, 2, 3], CPU), ledger)
    found = skip(torch.ones(MEMBERS, 4000, 2, 1, 3))
    assert (found == found[:, :, :1, :, :1]).all()
    rows = found[:, :, 0, 0, 0]
    assert (rows[0] == 1).all()
    assert set(rows[1].tolist()) == {0.0, 2.0}
    assert rows.mean(1).tolist() == pytest.approx([1, 1, 1], abs=0.05)
    acted, seen = ledger.read()["regularize.stochastic_depth"]
    assert seen == [0, 4000, 4000]
    assert acted == (rows == 0).sum(1).tolist()
    skip.eval()
    x = torch.randn(MEMBERS, ROWS, 2, 1, 3)
    assert torch.equal(skip(x), x)


def test_stochastic_depth_of_a_member_is_the_same_in_a_stack_and_alone() -> None:
    x = torch.randn(2, ROWS, UNITS)
    stack, alone = Skip([StochasticDepth(p=0.3), StochasticDepth(p=0.6)], 1, CPU), Skip([StochasticDepth(p=0.6)], 1, CPU)
    attach(stack, Streams([5, 6], CPU), None)
    attach(alone, Streams([6], CPU), None)
    assert torch.equal(stack(x)[1], alone(x[1]))
