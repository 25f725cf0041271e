"""Surgery on networks of somebody else's: what is exchanged, what is refused, and that the network still computes."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from titrant.errors import RecipeError
from titrant.recipe import slots
from titrant.surgery import Operation, operate


class Block(nn.Module):
    """A residual block in the usual style: batch norm behind bias-free convolutions, its last scale at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(x + self.bn2(self.conv2(y)))
        return out


def convolutional() -> nn.Sequential:
    """Three channels to two classes."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), Block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 2),
    )  # fmt: skip


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3), nn.Softmax(1))


class Coded(nn.Module):
    """Uses functions where modules could stand."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(functional.dropout(torch.relu(self.first(x)), 0.5, self.training))
        return out


PICTURES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))


def kinds(network: nn.Module, kind: type[nn.Module]) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, kind)]


def test_activations_are_exchanged_in_all_their_places_and_say_so() -> None:
    network = convolutional()
    operation = operate(network, activation="gelu", sample=(PICTURES,))
    assert not kinds(network, nn.ReLU)
    assert kinds(network, nn.GELU) == ["2", "3.relu"]
    assert [change.where for change in operation.changes] == ["2", "3.relu"]
    assert str(operation) == "activation: 2: ReLU → GELU\nactivation: 3.relu: ReLU → GELU"
    assert operation.network is network
    assert network(PICTURES).shape == (6, 2)


@pytest.mark.parametrize("kind", [kind.name() for kind in slots()["activation"]])
def test_every_activation_stands_in_a_foreign_network_as_it_does_in_ours(kind: str) -> None:
    from titrant.models.layers import Activate
    from titrant.recipe import Recipe

    network = operate(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)), activation=kind).network
    assert isinstance(network, nn.Sequential)
    ours = Activate([Recipe.of({"activation": kind}).activation], 4, [Recipe.of({"activation": kind}).activation], ROWS.device)
    assert torch.allclose(network[1](ROWS), ours(ROWS), atol=1e-6)


def test_scales_that_start_at_zero_move_over() -> None:
    network = convolutional()
    operate(network, normalize="group", sample=(PICTURES,))
    block = network[3]
    assert isinstance(block, Block)
    assert isinstance(block.bn2, nn.GroupNorm)
    assert not block.bn2.weight.any()
    assert block.bn1.weight.all()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("layer", nn.GroupNorm), ("instance", nn.GroupNorm), ("off", nn.Identity), ("batch", nn.BatchNorm2d)],
)
def test_normalisation_of_channels_in_front(kind: str, expected: type[nn.Module]) -> None:
    network = convolutional()
    assert not operate(network, normalize=kind, sample=(PICTURES,)).refusals
    assert isinstance(network[1], expected)
    assert network(PICTURES).isfinite().all()


@pytest.mark.parametrize("kind", ["standardized", "scaled"])
def test_convolutions_standardise_their_weights(kind: str) -> None:
    network = convolutional()
    reference = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    operation = operate(network, weights=kind)
    assert [change.where for change in operation.changes] == ["0", "3.conv1", "3.conv2"]
    conv = network[3].conv1
    for name, tensor in reference.items():
        assert torch.equal(network.state_dict()[name], tensor)
    rows = conv.weight.detach().double().flatten(1)
    rows = rows - rows.mean(1, keepdim=True)
    rows = rows / rows.square().sum(1, keepdim=True).add(1e-4).sqrt() * (2**0.5 if kind == "scaled" else 1)
    x = torch.randn(2, 8, 5, 5)
    expected = functional.conv2d(x.double(), rows.view_as(conv.weight), padding=1)
    torch.testing.assert_close(conv(x).double(), expected, rtol=1e-4, atol=1e-5)
    learned = {name for name, _ in network.named_parameters()} - reference.keys()
    assert learned == ({"0.gain", "3.conv1.gain", "3.conv2.gain"} if kind == "scaled" else set())


def test_convolutions_of_few_weights_and_of_a_kind_of_their_own_keep_them() -> None:
    class Own(nn.Conv2d):
        pass

    operation = operate(nn.Sequential(nn.Conv2d(3, 8, 1), Own(8, 8, 3)), weights="standardized")
    assert [str(refusal) for refusal in operation.refusals] == [
        "weights: 0 is left as it is: its units have fewer than 8 weights",
        "weights: 1 is left as it is: it is no convolution of torch's own, but Own",
    ]
    assert not operation.changes
    (refusal,) = operate(perceptron(), weights="scaled").refusals
    assert "no convolution" in str(refusal)
    assert not operate(convolutional(), weights=False).changes


def test_layer_norm_over_channels_equals_torchs() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    operate(network, normalize="layer")
    assert torch.allclose(network(ROWS), functional.layer_norm(network[0](ROWS), (6,)), atol=1e-5)


def test_instance_norm_of_rows_is_refused() -> None:
    network = perceptron()
    operation = operate(network, normalize="instance", sample=(ROWS,))
    assert isinstance(network[1], nn.BatchNorm1d)
    assert "leaves nothing of rows" in str(operation)


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


@pytest.mark.parametrize("trick", ["off", "rms"])
def test_a_transformer_without_layer_norm_is_evaluated_as_it_is_trained(trick: str) -> None:
    """Torch's shortcut in evaluation reads the weights of a layer norm."""
    network, x = transformer(), torch.randn(2, 5, 8)
    operate(network, normalize=trick, dropout="off", sample=(x,))
    expected = network.train()(x)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), expected)


def test_a_transformer_gets_another_activation_dropout_and_norm() -> None:
    network, x = transformer(), torch.randn(2, 5, 8)
    operation = operate(network, activation="silu", dropout={"kind": "bernoulli", "p": 0.1}, normalize="rms", sample=(x,))
    assert not operation.refusals
    layers = [module for module in network.modules() if isinstance(module, nn.TransformerEncoderLayer)]
    assert all(isinstance(layer.activation, nn.SiLU) and layer.self_attn.dropout == 0.1 for layer in layers)
    assert all(module.p == 0.1 for module in network.modules() if isinstance(module, nn.Dropout))
    assert len(kinds(network, nn.RMSNorm)) == 4
    network.eval()
    with torch.no_grad():  # torch's shortcut, which knows ReLU and GELU alone, must not take over
        fast = network(x)
    assert torch.allclose(fast, network(x), atol=1e-6)
    assert "only layer, rms and off" in str(operate(transformer(), normalize="batch"))


def test_existing_dropouts_take_the_dose_and_others_are_put_in() -> None:
    network = perceptron()
    operate(network, dropout={"kind": "bernoulli", "p": 0.125})
    assert isinstance(network[3], nn.Dropout)
    assert network[3].p == 0.125
    plain = convolutional()
    operation = operate(plain, dropout={"kind": "bernoulli", "p": 0.25}, sample=(PICTURES,))
    assert kinds(plain, nn.Dropout) == ["2.1", "3.relu.1"]
    assert "dropout: 2: nothing → Dropout(p=0.25)" in str(operation)
    assert not kinds(operate(convolutional(), dropout="off").network, nn.Dropout)


def test_what_is_called_in_code_is_named_and_left() -> None:
    operation = operate(Coded(), activation="gelu", dropout=False, sample=(ROWS,))
    assert not operation.changes
    assert {
        (refusal.slot, "make it a module" in refusal.why) for refusal in operation.refusals if "forward" in refusal.why
    } == {
        ("activation", True),
        ("dropout", True),
    }
    assert "calls relu" in str(operation)


def test_outputs_and_gates_are_left() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Tanh())
    operation = operate(network, activation="relu", sample=(ROWS,))
    assert [type(module) for module in network] == [nn.Linear, nn.Sigmoid, nn.Linear, nn.Tanh]
    assert [(refusal.where, "output" in refusal.why) for refusal in operation.refusals] == [("1", True), ("3", True)]
    assert "may be a gate" in str(operation)


def test_weights_are_drawn_with_the_gain_of_the_new_activation() -> None:
    network = nn.Sequential(nn.Linear(400, 400), nn.Tanh(), nn.Linear(400, 300))
    operate(network, activation="relu", initialize="he_normal", seed=3)
    assert isinstance(network[0], nn.Linear)
    assert network[0].weight.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    assert network[2].weight.std().item() == pytest.approx(math.sqrt(1 / 400), rel=0.02)
    assert not network[0].bias.any()
    again = operate(nn.Sequential(nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 300)), initialize="he_normal", seed=3).network
    assert torch.equal(again.get_parameter("0.weight"), network[0].weight)


def test_weights_that_start_at_zero_stay() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    nn.init.zeros_(network.get_parameter("1.weight"))
    operation = operate(network, initialize="orthogonal")
    assert not network.get_parameter("1.weight").any()
    assert "start at zero" in str(operation)


@pytest.mark.parametrize("layer", [nn.GRU, nn.LSTM, nn.RNN])
def test_recurrent_matrices_are_drawn_gate_by_gate(layer: type[nn.RNNBase]) -> None:
    network: Any = nn.Sequential(layer(8, 8, num_layers=2, dropout=0.5))
    operation = operate(network, initialize="orthogonal", dropout={"kind": "bernoulli", "p": 0.25}, activation="relu")
    for name, weight in network.named_parameters():
        if "weight" in name:
            for gate in weight.split(8):
                assert torch.allclose(gate @ gate.T, torch.eye(8), atol=1e-5)
    assert network[0].dropout == 0.25
    assert "have their own" in str(operation)


def test_lsuv_needs_a_sample_and_gives_unit_variance() -> None:
    network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
    with pytest.raises(RecipeError, match="give a sample"):
        operate(network, initialize="lsuv")
    operate(network, initialize="lsuv", sample=(ROWS,))
    assert network[:1](ROWS).std(correction=0).item() == pytest.approx(1, abs=1e-4)
    assert network(ROWS).std(correction=0).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("slot", ["dropout", "initialize"])
def test_tricks_of_our_own_networks_are_refused(slot: str) -> None:
    given: dict[str, Any] = {slot: {"dropout": "zoneout", "initialize": "ridge"}[slot]}
    with pytest.raises(RecipeError, match="a foreign one cannot have it"):
        operate(perceptron(), **given)
    with pytest.raises(RecipeError, match="did you mean"):
        operate(perceptron(), activation="gellu")


def test_compiled_modules_are_left() -> None:
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        scripted = torch.jit.trace(perceptron().eval(), ROWS)
    assert "compiled by torch.jit" in str(operate(scripted, activation="relu"))


def test_modes_and_types_stay() -> None:
    network = convolutional().double().eval()
    operate(
        network, activation="prelu", normalize="group", dropout={"kind": "bernoulli", "p": 0.5}, sample=(PICTURES.double(),)
    )
    assert all(not module.training for module in network.modules())
    assert all(parameter.dtype == torch.float64 for parameter in network.parameters())
    assert network(PICTURES.double()).shape == (6, 2)


@settings(max_examples=40, deadline=None)
@given(
    activation=st.sampled_from(["relu", "gelu", "prelu", "off", None]),
    normalize=st.sampled_from(["off", "batch", "layer", "group", "instance", "rms", None]),
    p=st.sampled_from([0.0, 0.1, 0.9, None]),
    initialize=st.sampled_from(["default", "he_normal", "orthogonal", "lsuv", "dirac", None]),
    make=st.sampled_from([(convolutional, PICTURES), (perceptron, ROWS), (transformer, torch.randn(2, 5, 8)), (Coded, ROWS)]),
)
def test_whatever_is_asked_the_network_still_trains(
    activation: str | None, normalize: str | None, p: float | None, initialize: str | None, make: Any
) -> None:
    network, x = make[0](), make[1]
    dropout = None if p is None else {"kind": "bernoulli", "p": p}
    operation: Operation = operate(
        network, activation=activation, normalize=normalize, dropout=dropout, initialize=initialize, sample=(x,)
    )
    operation.network.train()
    loss = operation.network(x).square().mean()
    loss.backward()
    assert loss.isfinite()
    assert {name for name, _ in operation.network.named_modules()} >= {change.where for change in operation.changes}
