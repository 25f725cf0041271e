"""Blocks that are computed again: the same training in less memory, for every network that has blocks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.doctor.test_attach_recipe import QUICK, data
from torch import Tensor, nn

from titrant.clock import Clock
from titrant.data.learnable import Learnable
from titrant.doctor.attach_recipe import observed
from titrant.errors import TitrantError
from titrant.models.blocks import Blocks, in_blocks, recompute, recomputed
from titrant.models.own import OwnBody
from titrant.recipe import Recipe
from titrant.train.cohort import Cohort, kept_for_gradient
from titrant.train.hardware import prepare
from titrant.train.kinds import problem_of
from titrant.train.member import Member
from titrant.train.metrics import metric_for
from titrant.tricks.acting import Ledger, Streams
from titrant.tricks.hardware import Hardware
from titrant.wanted import with_factory

CPU = torch.device("cpu")
HOUR = Clock.of(3600.0)
Factory = Callable[..., nn.Module]

BLOCKS: dict[tuple[str, str], dict[str, Any]] = {
    ("table", "mlp"): {"width": 8, "depth": 4},
    ("table", "residual"): {"width": 8, "depth": 3},
    ("table", "ensemble"): {"width": 8, "depth": 3, "views": 2},
    ("image", "cnn"): {"width": 4, "depth": 2},
    ("image", "resnet"): {"width": 4, "depth": 2},
    ("image", "convnext"): {"width": 4, "depth": 1},
    ("image", "vit"): {"width": 8, "depth": 2},
    ("series", "fcn"): {"width": 4},
    ("series", "inception"): {"width": 4, "depth": 2},
    ("series", "tcn"): {"width": 4, "depth": 3},
    ("series", "transformer"): {"width": 8, "depth": 2},
    ("series", "rnn"): {"width": 4, "depth": 2},
    ("series", "gru"): {"width": 4, "depth": 3},
    ("series", "lstm"): {"width": 4, "depth": 2, "direction": "both"},
    ("text", "mlp"): {"width": 8, "depth": 3},
    ("text", "gru"): {"width": 4, "depth": 2},
}  # fmt: skip
"""Networks, each with more than one block."""


def cohort(dataset: Learnable, recipes: list[Recipe], factory: Factory | None = None) -> Cohort:
    split = dataset.split
    problem = problem_of(dataset, torch.cat([split.train, split.validation]).sort().values, CPU)
    members = [Member(place, recipe, place, "test", split.train, split.validation) for place, recipe in enumerate(recipes)]
    return Cohort(problem, members, metric_for(dataset.schema.task), HOUR, factory)


def trained(
    reads: str, recipe: Recipe, *, again: bool, members: int = 1, factory: Factory | None = None, steps: int = 6
) -> tuple[Cohort, int]:
    """A cohort after some steps, and the bytes that the first of them kept for its gradient."""
    recipe = recipe.replace("hardware.checkpoint", again)
    if not isinstance(recipe.dropout, type(Recipe().dropout)):
        recipes = [recipe.replace("dropout.p", 0.1 * (place + 1)) for place in range(members)]
    else:
        recipes = [recipe] * members
    found = cohort(data(reads), recipes, factory)
    kept = kept_for_gradient(lambda: found.train(1, HOUR))
    found.train(steps, HOUR)
    found.evaluate()
    return found, kept


def assert_same(one: Cohort, other: Cohort) -> None:
    """The same weights and running statistics, the same receipts, and random streams that have come equally far."""
    assert torch.equal(one.flat, other.flat)
    for name, buffer in one.weights.buffers.items():
        assert torch.equal(buffer, other.weights.buffers[name]), name
    assert one.ledger.read() == other.ledger.read()
    for slot, states in one.streams.state().items():
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(states, other.streams.state()[slot], strict=True)), slot


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(("reads", "kind"), BLOCKS, ids=[f"{reads}-{kind}" for reads, kind in BLOCKS])
def test_training_is_the_same_bit_for_bit_and_keeps_less(reads: str, kind: str, members: int) -> None:
    recipe = QUICK.replace("model", {"kind": kind, **BLOCKS[reads, kind]}).replace("batch", {"kind": "fixed", "size": 32})
    recipe = recipe.replace("normalize", "batch").replace("dropout", "bernoulli").replace("activation", "prelu")
    recipe = recipe.replace("regularize.stochastic_depth", {"kind": "stochastic_depth", "p": 0.4})
    (plain, kept), (again, less) = (trained(reads, recipe, again=value, members=members) for value in (False, True))
    assert_same(plain, again)
    assert recomputed(again.network) > 0
    assert less < kept


@pytest.mark.parametrize("dropout", ["variational", "zoneout"])
def test_units_that_recurrent_layers_drop_are_dropped_again(dropout: str) -> None:
    recipe = QUICK.replace("model", {"kind": "gru", "width": 4, "depth": 3}).replace("dropout", dropout)
    assert_same(*(trained("series", recipe, again=value, members=2)[0] for value in (False, True)))


def test_batches_in_parts_and_members_of_different_tricks() -> None:
    base = QUICK.replace("model", {"kind": "mlp", "width": 8, "depth": 4}).replace("batch.accumulate", 3)
    found = []
    for again in (False, True):
        mixed = [
            base.replace("normalize", normalize).replace("dropout", dropout).replace("hardware.checkpoint", again)
            for normalize, dropout in (("batch", "off"), ("layer", "bernoulli"), ("batch", "alpha"))
        ]
        found.append(cohort(data("table"), mixed))
        found[-1].train(6, HOUR)
    assert_same(*found)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_the_same_too(precision: str) -> None:
    recipe = QUICK.replace("model", {"kind": "residual", "width": 8, "depth": 3}).replace("normalize", "layer")
    recipe = recipe.replace("hardware.precision", precision)
    assert_same(*(trained("table", recipe, again=value, members=2)[0] for value in (False, True)))


def test_after_some_have_left_the_others_go_on_alike() -> None:
    recipe = QUICK.replace("model", {"kind": "mlp", "width": 8, "depth": 3}).replace("dropout", "bernoulli")
    found = []
    for again in (False, True):
        made, _ = trained("table", recipe, again=again, members=3)
        made.keep([0, 2])
        made.train(12, HOUR)
        found.append(made)
    assert_same(*found)


def test_the_doctor_sees_the_same() -> None:
    recipe = QUICK.replace("model", {"kind": "mlp", "width": 8, "depth": 3}).replace("dropout", "bernoulli")
    recipe = recipe.replace("normalize", "batch").replace("stop.epochs", 2.0)
    plain, again = (
        observed(cohort(data("table"), [recipe.replace("hardware.checkpoint", value)]), HOUR) for value in (False, True)
    )
    assert plain.losses == again.losses
    assert [(layer.name, layer.samples) for layer in plain.layers] == [(layer.name, layer.samples) for layer in again.layers]


def test_the_model_that_is_kept_has_the_usual_names() -> None:
    recipe = QUICK.replace("model", {"kind": "mlp", "width": 8, "depth": 3}).replace("stop.epochs", 2.0)
    plain, again = (
        cohort(data("table"), [recipe.replace("hardware.checkpoint", value)]) for value in (False, True)
    )  # fmt: skip
    for found in (plain, again):
        found.advance(found.steps, HOUR)
    one, other = plain.trained(0).network.state_dict(), again.trained(0).network.state_dict()
    assert list(one) == list(other)
    assert "body.hidden.0.weight" in one
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_nothing_is_computed_again_without_a_gradient() -> None:
    calls: list[int] = []
    layers = Blocks(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
    layers[0].register_forward_hook(lambda *_: calls.append(1))
    recompute(layers, Streams([0], CPU), Ledger(1, CPU))
    x = torch.randn(4, 2)
    with torch.no_grad():
        layers(x)
    layers.eval()
    layers(x).sum().backward()
    assert len(calls) == 2
    layers.train()
    layers(x).sum().backward()
    assert len(calls) == 4


# ------------------------------------------------------------------------------------------------ networks of a person's own


class Inside(nn.Module):
    """A sequence of blocks beside other layers."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, 8)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU()) for _ in range(3)))
        self.head = nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.enter(x)))  # type: ignore[no-any-return]


def sequence(inputs: int, outputs: int) -> nn.Module:
    hidden = [layer for _ in range(3) for layer in (nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.2))]
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), *hidden, nn.Linear(8, outputs))


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("factory", [sequence, Inside])
def test_networks_of_ones_own(factory: Factory, members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = with_factory(QUICK, factory)
    # Members side by side draw other numbers than one after another.
    monkeypatch.setattr("titrant.models.own.vmap", lambda *_, **__: pytest.fail("members are computed in turn"))
    monkeypatch.setattr("titrant.models.own._CONVOLUTIONS", (nn.Linear,))
    (plain, kept), (again, less) = (
        trained("table", recipe, again=value, members=members, factory=factory) for value in (False, True)
    )
    assert_same(plain, again)
    assert less < kept
    counted = [buffer for name, buffer in again.weights.buffers.items() if name.endswith("num_batches_tracked")]
    assert len(counted) == 3
    assert all(bool((buffer == again.step).all()) for buffer in counted)


def test_networks_of_ones_own_side_by_side_learn_the_same() -> None:
    recipe = with_factory(QUICK, Inside).replace("optimizer", "sgd")  # which makes no steps out of rounding errors
    plain, again = (trained("table", recipe, again=value, members=2, factory=Inside)[0] for value in (False, True))
    torch.testing.assert_close(plain.flat, again.flat, rtol=1e-4, atol=1e-5)


def test_ones_own_without_blocks_is_refused() -> None:
    recipe = with_factory(QUICK, nn.Linear).replace("hardware.checkpoint", True)
    with pytest.raises(TitrantError, match=r"hardware\.checkpoint = true: the network of .*Linear has no nn\.Sequential"):
        OwnBody(nn.Linear, recipe, 3, 2)


def test_a_block_that_changes_its_input_is_refused() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.relu_())  # type: ignore[no-any-return]

    def factory(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, 8), InPlace(), nn.Linear(8, outputs))

    with pytest.raises(TitrantError, match=r"layer 1 of the network changes its input in place.*inplace=False"):
        trained("table", with_factory(QUICK, factory), again=True, factory=factory)


def test_of_nested_sequences_the_one_with_the_most_blocks_is_taken() -> None:
    def block() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    deep = nn.Sequential(nn.Sequential(*(block() for _ in range(5))), nn.Linear(4, 2))
    assert in_blocks(deep)
    assert [name for name, module in deep.named_modules() if isinstance(module, Blocks)] == ["0"]
    stages = nn.Sequential(*(nn.Sequential(block(), block()) for _ in range(2)))
    assert in_blocks(stages)
    assert [name for name, module in stages.named_modules() if isinstance(module, Blocks)] == ["0", "1"]


def test_it_does_not_go_with_compiling() -> None:
    with pytest.raises(TitrantError, match=r"hardware\.checkpoint = true and hardware\.compile = true.*one of them to false"):
        prepare(Hardware(compile=True, checkpoint=True), CPU)


# ------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize(
    ("reads", "model", "factor"),
    [("table", {"kind": "mlp", "width": 64, "depth": 16}, 2.0), ("image", {"kind": "resnet", "width": 8, "depth": 8}, 2.0)],
)
def test_what_deep_networks_keep_falls(reads: str, model: dict[str, Any], factor: float) -> None:
    recipe = QUICK.replace("model", model).replace("normalize", "batch").replace("dropout", "bernoulli")
    recipe = recipe.replace("batch", {"kind": "fixed", "size": 64})
    (plain, kept), (again, less) = (trained(reads, recipe, again=value, steps=1) for value in (False, True))
    weights = plain.weights.flat.nbytes
    assert weights == again.weights.flat.nbytes
    assert (kept - weights) / (less - weights) > factor
