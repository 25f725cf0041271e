"""Networks for tables: embeddings, families, and stacks of them."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from titrant.models.table import Embedding, Expand, TableNet, TableShape, Thermometer, Waves
from titrant.recipe import Recipe
from titrant.train.build import start
from titrant.tricks.data import Data

SHAPE = TableShape(numbers=3, indicators=2, cardinalities=(4, 20), outputs=3)
ROWS = 6


def rows(shape: TableShape = SHAPE, *lead: int) -> tuple[Tensor, Tensor]:
    numbers = torch.randn(*lead, ROWS, shape.numbers + shape.indicators)
    codes = [torch.randint(0, size, (*lead, ROWS)) for size in shape.cardinalities]
    return numbers, (torch.stack(codes, -1) if codes else torch.zeros(*lead, ROWS, 0)).int()


def recipe(**slots: Any) -> Recipe:
    return Recipe.of({"model": {"kind": "mlp", "width": 6}, **slots})


def network(*recipes: Recipe, shape: TableShape = SHAPE) -> TableNet:
    return TableNet(recipes, shape)


def stacked(recipes: list[Recipe], numbers: Tensor, codes: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Outputs of a stack, and of each member's own network with the same weights."""
    plain = [start(one, SHAPE, seed, (numbers[seed], codes[seed]), kin=recipes).eval() for seed, one in enumerate(recipes)]
    states = [dict(one.state_dict(keep_vars=False)) for one in plain]
    tensors = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    together = network(*recipes).eval()
    return functional_call(together, tensors, (numbers, codes)), [
        one(n, c) for one, n, c in zip(plain, numbers, codes, strict=True)
    ]


@pytest.mark.parametrize("model", [{"kind": "mlp", "depth": 3}, "residual", {"kind": "ensemble", "views": 4}])
@pytest.mark.parametrize("numbers", ["off", "periodic", "piecewise_linear"])
@pytest.mark.parametrize("categories", ["one_hot", {"kind": "embed", "size": 5}])
def test_a_stack_equals_its_members(model: Any, numbers: str, categories: Any) -> None:
    data = {"numbers": numbers, "categories": categories}
    model = {"width": 6, **({"kind": model} if isinstance(model, str) else model)}
    recipes = [
        recipe(model=model, data=data),
        recipe(model=model, data=data, activation="prelu", normalize="layer"),
        recipe(model=model, data=data, activation="tanh", normalize="batch", dropout="bernoulli"),
    ]
    together, alone = stacked(recipes, *rows(SHAPE, 3))
    views = 4 if model["kind"] == "ensemble" else 1
    assert together.shape == (3, views * ROWS, 3)
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-5, atol=1e-5)


def test_a_stack_passes_each_member_its_own_gradient_only() -> None:
    numbers, codes = rows(SHAPE, 2)
    recipes = [recipe(data={"categories": "embed"}), recipe(data={"categories": "embed"}, normalize="batch")]
    net = network(*recipes)
    tensors = {name: torch.randn(2, *p.shape, requires_grad=True) for name, p in net.named_parameters()}
    buffers = {name: b.expand(2, *b.shape).clone() for name, b in net.named_buffers() if "mean" in name or "variance" in name}
    out = functional_call(net, {**tensors, **buffers}, (numbers, codes))
    out[0].sum().backward()
    for tensor in tensors.values():
        assert tensor.grad is None or not tensor.grad[1].any()


# ------------------------------------------------------------------------------------------------------------------ embeddings


def test_embedding_looks_each_column_up_in_its_own_part() -> None:
    layer = Embedding([4, 3], 2)
    tables = torch.randn(2, 7, 2)
    codes = torch.tensor([[[0, 0], [3, 2]], [[1, 1], [2, 0]]])
    found = functional_call(layer, {"table": tables}, (codes,))
    for k in range(2):
        for row in range(2):
            first, second = codes[k, row].tolist()
            assert torch.equal(found[k, row], torch.cat([tables[k, first], tables[k, 4 + second]]))


def test_waves_follow_the_formula() -> None:
    layer = Waves(2, frequencies=3, size=2)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(ROWS, 2)
    found = layer(x).detach().numpy().reshape(ROWS, 2, 3)
    c, phase, w, b = (p.detach().double().numpy() for p in (layer.frequency, layer.phase, layer.mix, layer.shift))
    for f in range(2):
        column = x[:, f].double().numpy()
        waves = np.cos(2 * math.pi * (np.outer(column, c[f]) + phase[f, :, 0]))
        np.testing.assert_allclose(found[:, f, 0], column, rtol=1e-6)
        np.testing.assert_allclose(found[:, f, 1:], waves @ w[f].T + b[f, :, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cached", [1, 20, 1 << 16])
@pytest.mark.parametrize("members", [None, 3])
def test_the_slopes_of_waves_are_those_of_the_formula(
    members: int | None, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titrant.tricks.layout._CACHED", cached)
    layer = Waves(2, frequencies=3, size=2).double()
    lead = [] if members is None else [members]
    own = {n: torch.randn(*lead, *p.shape, dtype=torch.float64, requires_grad=True) for n, p in layer.named_parameters()}
    x = torch.randn(*lead, ROWS, 2, dtype=torch.float64)
    column = x.mT.unsqueeze(-2)
    mixed = own["mix"] @ torch.cos(2 * math.pi * (column * own["frequency"] + own["phase"])) + own["shift"]
    expected = torch.cat([column, mixed], dim=-2).flatten(-3, -2).mT
    found = functional_call(layer, own, (x,))
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    slopes = [torch.autograd.grad((out * weights).sum(), list(own.values())) for out in (found, expected)]
    torch.testing.assert_close(*slopes)


def test_thermometer_says_how_far_each_bin_is_filled() -> None:
    layer = Thermometer(1, 3)
    layer.edges.copy_(torch.tensor([[0.0, 1.0, 3.0, 4.0]]))
    x = torch.tensor([[-1.0], [0.5], [2.0], [3.25], [9.0]])
    expected = [[0, 0, 0], [0.5, 0, 0], [1, 0.5, 0], [1, 1, 0.25], [1, 1, 1]]
    assert layer(x).tolist() == expected


def test_thermometer_survives_edges_that_fall_together() -> None:
    layer = Thermometer(1, 3)
    layer.edges.copy_(torch.tensor([[1.0, 1.0, 1.0, 2.0]]))
    assert layer(torch.tensor([[0.0], [1.0], [1.5], [2.0]])).isfinite().all()


def test_one_hot_columns_leave_unseen_blank_and_keep_missing() -> None:
    expand = Expand(Data(), TableShape(numbers=1, indicators=0, cardinalities=(4, 3), outputs=1))
    assert expand.width == 1 + 3 + 2
    codes = torch.tensor([[0, 0], [1, 1], [2, 2], [3, 0]], dtype=torch.int32)
    numbers = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    expected = [
        [1, 0, 0, 0, 0, 0],
        [2, 1, 0, 0, 1, 0],
        [3, 0, 1, 0, 0, 1],
        [4, 0, 0, 1, 0, 0],
    ]
    assert expand(numbers, codes).tolist() == expected


@pytest.mark.parametrize("few", [0, 2, 18, 100])
def test_columns_with_few_categories_stay_one_hot(few: int) -> None:
    """Of 4 and 20 codes two are reserved: 2 and 18 categories."""
    expand = Expand(Data(categories={"kind": "embed", "size": 5, "few": few}), SHAPE)
    hot = [size for size in (4, 20) if size - 2 <= few]
    assert expand.width == 3 + 2 + sum(size - 1 for size in hot) + 5 * (2 - len(hot))
    if expand.embedding is not None:
        nn.init.normal_(expand.embedding.table)
    assert expand(*rows()).shape == (ROWS, expand.width)


@pytest.mark.parametrize("shape", [TableShape(0, 0, (4, 20), 2), TableShape(3, 1, (), 1), TableShape(0, 0, (5,), 2)])
@pytest.mark.parametrize("numbers", ["off", "periodic", "piecewise_linear"])
@pytest.mark.parametrize("categories", ["one_hot", "embed"])
def test_widths_are_what_comes_out(shape: TableShape, numbers: str, categories: str) -> None:
    net = network(recipe(data={"numbers": numbers, "categories": categories}), shape=shape)
    n, c = rows(shape)
    assert net.expand(n, c).shape == (ROWS, net.expand.width)
    assert net(n, c).shape == (ROWS, shape.outputs)


def test_indicators_are_passed_through() -> None:
    net = network(recipe(data={"numbers": "periodic"}))
    numbers, codes = rows()
    features = net.expand(numbers, codes)
    assert torch.equal(features[:, 3 * 4 : 3 * 4 + 2], numbers[:, 3:])


# -------------------------------------------------------------------------------------------------------------------- families


def fill(net: nn.Module) -> dict[str, Tensor]:
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return {name: p.detach() for name, p in net.named_parameters()}


def test_mlp_follows_the_formula() -> None:
    net = network(recipe())
    p = fill(net)
    z = net.expand(*rows())
    hidden = z
    for layer in ("0", "4"):
        hidden = functional.relu(hidden @ p[f"body.hidden.{layer}.weight"].T + p[f"body.hidden.{layer}.bias"])
    expected = hidden @ p["body.head.weight"].T + p["body.head.bias"]
    torch.testing.assert_close(net.body(z), expected, rtol=1e-4, atol=1e-4)


def test_residual_follows_the_formula() -> None:
    net = network(recipe(model={"kind": "residual", "width": 6, "depth": 2, "expansion": 1.5}, activation="tanh"))
    p = fill(net)
    z = net.expand(*rows())
    x = z @ p["body.enter.weight"].T + p["body.enter.bias"]
    for block in ("body.blocks.0", "body.blocks.1"):
        assert p[f"{block}.up.weight"].shape == (9, 6)
        up = torch.tanh(x @ p[f"{block}.up.weight"].T + p[f"{block}.up.bias"])
        x = x + up @ p[f"{block}.down.weight"].T + p[f"{block}.down.bias"]
    expected = torch.tanh(x) @ p["body.head.weight"].T + p["body.head.bias"]
    torch.testing.assert_close(net.body(z), expected, rtol=1e-4, atol=1e-4)


def test_views_of_an_ensemble_follow_the_formula_one_after_another() -> None:
    net = network(recipe(model={"kind": "ensemble", "width": 6, "depth": 1, "views": 3}))
    p = fill(net)
    assert net.views == 3
    z = net.expand(*rows())
    out = net.body(z)
    for view in range(3):
        hidden = functional.relu((z * p["body.hidden.0.adapter"][view]) @ p["body.hidden.0.weight"].T + p["body.hidden.0.bias"])
        expected = hidden @ p["body.heads"][view].T + p["body.bias"][view]
        torch.testing.assert_close(out[view * ROWS : (view + 1) * ROWS], expected, rtol=1e-4, atol=1e-4)


def test_features_are_mixed_where_asked() -> None:
    net = network(recipe())
    fill(net)
    numbers, codes = rows()
    seen: list[Tensor] = []

    def mix(z: Tensor) -> Tensor:
        seen.append(z)
        return 0 * z

    blank = net(numbers, codes, mix)
    assert torch.equal(seen[0], net.expand(numbers, codes))
    torch.testing.assert_close(blank, blank[:1].expand_as(blank))


def test_a_lifted_custom_network_equals_its_members() -> None:
    def factory(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, outputs))

    custom = recipe(model="custom")
    numbers, codes = rows(SHAPE, 3)
    plain = [start(custom, SHAPE, seed, (numbers[0], codes[0]), factory=factory) for seed in range(3)]
    states = [one.state_dict() for one in plain]
    tensors = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    stack = TableNet([custom] * 3, SHAPE, factory=factory)
    for training in (True, False):
        stack.train(training)
        out = functional_call(stack, tensors, (numbers, codes))
        for k, one in enumerate(plain):
            one.train(training)
            torch.testing.assert_close(out[k], one(numbers[k], codes[k]), rtol=1e-4, atol=1e-5)
    for k, one in enumerate(plain):
        for name, tensor in one.state_dict().items():
            torch.testing.assert_close(tensors[name][k], tensor, rtol=1e-5, atol=1e-6)
