"""From recipes to networks: who may share a stack, first weights, and independence of random streams."""

from collections.abc import Callable, Hashable

import pytest
import torch
from torch import Tensor, nn

from titrant.models.layers import Linear
from titrant.models.table import TableNet
from titrant.recipe import Recipe
from titrant.train.build import cohort_key, layout_of, start
from titrant.train.tables import TableProblem
from titrant.tricks.data import Data

Problems = Callable[..., TableProblem]
SMALL = Recipe.of({"model": {"kind": "mlp", "width": 6}})


def first(problem: TableProblem, recipe: Recipe, seed: int = 0, **options: object) -> TableNet:
    encoded = problem.encoded(recipe.data, problem.rows)
    shape = problem.shape(encoded.encoder)
    return start(recipe, shape, seed, tuple(source[:64] for source in encoded.inputs), **options)  # type: ignore[arg-type]


def keys(path: str, *found: object) -> set[Hashable]:
    return {cohort_key(SMALL.replace(path, value)) for value in found}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("data.scale", ["off", "quantile"]),
        ("data.numbers", [{"kind": "periodic", "sigma": s} for s in (0.1, 1.0)]),
        ("normalize", ["off", "batch", "layer"]),
        ("activation", ["relu", "prelu"]),
        ("optimizer", ["sgd", "muon"]),
        ("learning_rate.peak", [0.1, 0.2]),
        ("stop", [{"kind": "last", "epochs": 5}, {"kind": "early", "epochs": 5}]),
        ("average", ["off", "ema"]),
    ],
)
def test_what_leaves_shapes_alone_may_share_a_stack(path: str, found: list[object]) -> None:
    assert len(keys(path, *found)) == 1


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("model", [{"kind": "mlp", "width": 6}, {"kind": "mlp", "width": 7}, "residual"]),
        ("data.categories", ["one_hot", "embed", {"kind": "embed", "size": 2}]),
        ("data.numbers", ["off", "periodic", {"kind": "periodic", "size": 4}, "piecewise_linear"]),
        ("batch", ["fixed", {"kind": "fixed", "size": 64}, "growing"]),
        ("stop", [{"kind": "last", "epochs": 5}, {"kind": "last", "epochs": 6}]),
    ],
)
def test_what_changes_shapes_or_steps_may_not(path: str, found: list[object]) -> None:
    assert len(keys(path, *found)) == len(found)


def test_matrices_are_the_weights_of_layers(make_problem: Problems) -> None:
    network = first(make_problem(), SMALL.replace("normalize", "batch").replace("activation", "prelu"))
    layout = layout_of(network)
    matrices = {entry.name for entry in layout.entries if entry.matrix}
    assert matrices == {f"{name}.weight" for name, m in network.named_modules() if isinstance(m, Linear)}
    assert layout.size == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("kind", ["default", "orthogonal", "lsuv", "he_normal"])
@pytest.mark.parametrize("model", ["mlp", "residual", "ensemble"])
def test_first_weights_follow_the_seed_alone(kind: str, model: str, make_problem: Problems) -> None:
    problem = make_problem()
    recipe = SMALL.replace("initialize", kind).replace("model", {"kind": model, "width": 6})
    recipe = recipe.replace("data.numbers", "periodic").replace("data.categories", {"kind": "embed", "size": 3})
    one = first(problem, recipe, 1)
    drawn = torch.random.get_rng_state()
    again = first(problem, recipe, 1)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    other = first(problem, recipe, 2)
    for (name, a), b, c in zip(one.named_parameters(), again.parameters(), other.parameters(), strict=True):
        assert a.isfinite().all()
        assert torch.equal(a, b)
        assert torch.equal(a, c) == (name.endswith("bias") and "body.bias" not in name and kind != "default"), name


def test_kin_add_parameters_and_change_none(make_problem: Problems) -> None:
    problem = make_problem()
    kin = [SMALL, SMALL.replace("activation", "prelu"), SMALL.replace("normalize", "batch")]
    alone, among = dict(first(problem, SMALL).named_parameters()), dict(first(problem, SMALL, kin=kin).named_parameters())
    assert alone.keys() < among.keys()
    for name, tensor in alone.items():
        assert torch.equal(tensor, among[name])


def outputs_of_layers(network: TableNet, numbers: Tensor, codes: Tensor) -> list[Tensor]:
    found: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, Linear):
            module.register_forward_hook(lambda module, _, output: found.append((output - module.bias).detach()))
    network.eval()
    network(numbers, codes)
    return found


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_lsuv_gives_each_layer_unit_variance(activation: str, make_problem: Problems) -> None:
    problem = make_problem("multiclass")
    recipe = SMALL.replace("initialize", "lsuv").replace("activation", activation).replace("model.depth", 4)
    encoded = problem.encoded(recipe.data, problem.rows)
    found = outputs_of_layers(first(problem, recipe), encoded.inputs[0][:64], encoded.inputs[1][:64])
    assert len(found) == 5
    for output in found:
        assert output.double().var(correction=0).item() == pytest.approx(1.0, rel=1e-4)


def test_piecewise_linear_edges_are_quantiles_of_training_rows(make_problem: Problems) -> None:
    problem = make_problem()
    recipe = SMALL.replace("data.numbers", {"kind": "piecewise_linear", "bins": 5})
    encoded = problem.encoded(recipe.data, problem.rows)
    network = first(problem, recipe)
    expected = torch.quantile(encoded.inputs[0][:64, :4].double(), torch.linspace(0, 1, 6).double(), dim=0).T
    torch.testing.assert_close(network.expand.waves.edges.double(), expected, rtol=1e-5, atol=1e-6)


def test_a_factory_is_called_with_sizes_under_the_members_seed(make_problem: Problems) -> None:
    problem = make_problem("multiclass")
    asked = []

    def factory(inputs: int, outputs: int) -> nn.Module:
        asked.append((inputs, outputs))
        return nn.Linear(inputs, outputs)

    custom = SMALL.replace("model", "custom")
    drawn = torch.random.get_rng_state()
    one, again, other = (first(problem, custom, seed, factory=factory) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert set(asked) == {(one.expand.width, 3)}
    assert torch.equal(one.body.inner.weight, again.body.inner.weight)
    assert not torch.equal(one.body.inner.weight, other.body.inner.weight)


def test_a_custom_model_without_a_factory_is_refused(make_problem: Problems) -> None:
    with pytest.raises(ValueError, match="factory"):
        first(make_problem(), SMALL.replace("model", "custom"))


def test_the_output_layer_has_no_gain(make_problem: Problems) -> None:
    """He's gain is made for what passes a rectifier; nothing follows the output."""
    problem = make_problem("multiclass", rows=96)
    wide = SMALL.replace("initialize", "orthogonal").replace("model.width", 64)
    network = first(problem, wide)
    rows = network.body.head.weight.double()
    torch.testing.assert_close(rows @ rows.T, torch.eye(3).double(), rtol=1e-5, atol=1e-5)
    hidden = network.body.hidden[4].weight.double()
    torch.testing.assert_close(hidden @ hidden.T, 2 * torch.eye(64).double(), rtol=1e-4, atol=1e-4)


def test_data_without_numbers_and_without_categories_build(make_problem: Problems) -> None:
    for columns, coded in ((0, 2), (3, 0)):
        problem = make_problem(columns=columns, coded=coded)
        for numbers in ("off", "periodic", "piecewise_linear"):
            recipe = SMALL.replace("data.numbers", numbers).replace("initialize", "lsuv")
            encoded = problem.encoded(Data(), problem.rows)
            assert first(problem, recipe)(encoded.inputs[0], encoded.inputs[1]).shape == (96, 2)
