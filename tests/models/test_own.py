"""A person's own network: the doses that its factory declares, several members at once, and what is said of one that fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import titrant
from titrant.errors import TitrantError
from titrant.models.own import OwnBody, declared
from titrant.recipe import Recipe
from titrant.record import read_members
from titrant.report.terminal import QuietView
from titrant.search.region import unit_chooser
from titrant.space import Range
from titrant.wanted import region_for, with_factory

TABLE = {"x": [i / 60 for i in range(60)], "y": ["low"] * 30 + ["high"] * 30}


def plain(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, outputs))


def dosed(
    inputs: int,
    outputs: int,
    width: Annotated[int, Range(4, 64, log=True)] = 8,
    squash: Literal["tanh", "relu"] = "tanh",
    wide: bool = False,
    note: str = "no dose",
) -> nn.Module:
    hidden = width * (2 if wide else 1)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh() if squash == "tanh" else nn.ReLU(), nn.Linear(hidden, outputs))


class Branching(nn.Module):
    """Looks at the values of its inputs, which `vmap` cannot lift."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out if bool((x > 0).all()) else -out


def body(factory: Callable[..., nn.Module], **model: Any) -> OwnBody:
    recipe = Recipe.of(
        {"model": {"kind": "custom", **model}, "activation": "gelu", "dropout": {"kind": "bernoulli", "p": 0.25}}
    )
    return OwnBody(factory, recipe, 3, 2)


def stacked(bodies: list[OwnBody]) -> dict[str, Tensor]:
    return {name: torch.stack([one.state_dict()[name] for one in bodies]) for name in bodies[0].state_dict()}


def test_declared_doses_are_arguments_with_a_mark() -> None:
    found = {dose.name: dose for dose in declared(dosed)}
    assert list(found) == ["width", "squash", "wide"]
    assert (found["width"].integer, found["width"].default) == (True, 8)
    assert (found["squash"].mark, found["wide"].mark) == (("tanh", "relu"), (False, True))
    assert declared(plain) == []
    assert declared(Branching) == []


def test_a_dose_needs_a_default_that_it_allows() -> None:
    def wrong(inputs: int, outputs: int, width: Annotated[int, Range(4, 8)] = 9) -> nn.Module:
        return plain(inputs, outputs)

    def missing(inputs: int, outputs: int, width: Annotated[int, Range(4, 8)]) -> nn.Module:
        return plain(inputs, outputs)

    with pytest.raises(TitrantError, match="'width' is a dose and needs a default within 4 to 8; it has 9"):
        declared(wrong)
    with pytest.raises(TitrantError, match="it has none"):
        declared(missing)


@pytest.mark.parametrize("factory", [plain, Branching])
def test_members_together_equal_each_alone(factory: Callable[..., nn.Module]) -> None:
    bodies = [body(factory) for _ in range(3)]
    z = torch.randn(3, 5, 3)
    together = functional_call(bodies[0], stacked(bodies), (z,))
    assert bool(bodies[0].in_turn) == (factory is Branching)
    for one, rows, out in zip(bodies, z, together, strict=True):
        assert torch.allclose(out, one(rows), atol=1e-6)


@pytest.mark.parametrize("turn", ["", "for this test"])
def test_running_statistics_of_each_member_are_its_own(turn: str) -> None:
    bodies, z = [body(plain) for _ in range(2)], torch.randn(2, 16, 3)
    tensors = stacked(bodies)
    bodies[0].in_turn = turn
    functional_call(bodies[0], tensors, (z,))
    expected = stacked([one for one, rows in zip(bodies, z, strict=True) if one.inner(rows) is not None])
    for name in ("inner.1.running_mean", "inner.1.running_var"):
        assert torch.allclose(tensors[name], expected[name], atol=1e-6)


def test_surgery_reaches_into_it_and_nothing_else_does() -> None:
    assert [type(module) for module in body(plain).inner][2] is nn.ReLU
    changed = body(plain, surgery=["activation", "dropout"]).inner
    assert repr(changed[2]) == repr(nn.Sequential(nn.GELU(), nn.Dropout(0.25)))


def test_slots_that_do_not_act_stand_in_no_recipe() -> None:
    recipe = with_factory(Recipe.of({"activation": "gelu", "dropout": "bernoulli", "normalize": "batch"}), plain, ["dropout"])
    assert (recipe.activation.kind, recipe.dropout.kind, recipe.normalize.kind) == ("relu", "bernoulli", "off")
    with pytest.raises(TitrantError, match="choose of weights, normalize, activation"):
        with_factory(Recipe(), plain, ["optimizer"])


def test_declared_doses_are_searched(tmp_path: Any) -> None:
    run = titrant.fit(TABLE, "y", model=dosed, surgery=["activation"], budget="3m", members=5, out=tmp_path / "run",
                      space={"model.doses.width": [4, 16]})  # fmt: skip
    tried = [record.recipe for record in read_members(tmp_path / "run" / "members.jsonl")]
    assert {recipe["model"]["doses"]["width"] for recipe in tried} <= {4, 16}
    assert {recipe["dropout"]["kind"] for recipe in tried} == {"off"}
    again = titrant.load(tmp_path / "run", dosed)
    assert again.predict(TABLE).tolist() == run.predict(TABLE).tolist()
    receipts = {receipt.trick: receipt for receipt in read_members(tmp_path / "run" / "members.jsonl")[0].receipts}
    assert receipts["activation"].acted == receipts["activation"].seen > 0
    assert "dropout" not in receipts


def test_points_and_recipes_of_own_doses_agree(tmp_path: Any) -> None:
    from titrant.data.learnable import read_data

    region = region_for(read_data(TABLE, "y", notes=[]), None, {"model.doses.squash": "relu"}, dosed)
    assert region is not None
    made = region.make(unit_chooser(lambda name: 0.9999))
    assert made.plain()["model"]["doses"] == {"width": 64, "squash": "relu", "wide": True}
    point = region.point(made)
    assert point is not None
    assert {axis.name: value for axis, value in point.items() if "custom" in axis.name} == {
        "model.custom.width": 64,
        "model.custom.wide": True,
    }
    with pytest.raises(TitrantError, match="outside 4 to 64"):
        region_for(read_data(TABLE, "y", notes=[]), None, {"model.doses.width": 100}, dosed)
    with pytest.raises(TitrantError, match=r"Did you mean model\.doses\.width"):
        region_for(read_data(TABLE, "y", notes=[]), None, {"model.doses.widht": 8}, dosed)


def failing(inputs: int, outputs: int) -> nn.Module:
    raise ValueError("no such layer")


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (failing, r"factory .*failing fails: ValueError: no such layer"),
        (lambda inputs, outputs: nn.Linear(inputs + 1, outputs), r"fails on inputs of shape \(4, \d+\): RuntimeError: mat1"),
        (lambda inputs, outputs: nn.Linear(inputs, outputs + 1), r"gives \(4, 3\) for inputs of shape \(4, \d+\).*\(4, 2\)"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_with_its_shapes(factory: Callable[..., nn.Module], message: str) -> None:
    with pytest.raises(TitrantError, match=message):
        titrant.fit(TABLE, "y", model=factory, budget="1m", members=1)


class Noting(QuietView):
    """Remembers notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_network_that_cannot_be_lifted_is_trained_in_turn_and_this_is_said() -> None:
    watcher = Noting()
    titrant.fit(TABLE, "y", model=Branching, surgery=["activation"], budget="1m", members=2, view=watcher)
    assert any("one after another" in note and "torch.vmap cannot lift it" in note for note in watcher.notes)
    assert any("it has no module that is an activation" in note for note in watcher.notes)


def test_parameters_that_need_no_gradient_stay_as_they_are() -> None:
    def frozen(inputs: int, outputs: int) -> nn.Module:
        first = nn.Linear(inputs, 8)
        nn.init.constant_(first.weight, 0.5)
        return nn.Sequential(first.requires_grad_(False), nn.ReLU(), nn.Linear(8, outputs))

    run = titrant.fit(TABLE, "y", model=frozen, budget="1m", members=2)
    for network in run.predictor.networks:
        body = next(module for module in network.modules() if isinstance(module, OwnBody))
        assert bool((body.inner[0].weight == 0.5).all())  # type: ignore[index,union-attr]


class Tied(nn.Module):
    """Two layers that share their weights, as the two ends of a language model do."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.enter, self.first, self.second = nn.Linear(inputs, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.leave = nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.leave(self.second(self.first(self.enter(x).relu()).relu()).relu())
        return out


@pytest.mark.parametrize("turn", ["", "for this test"])
def test_tied_weights_stay_tied(turn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnBody, "in_turn", property(lambda _: turn, lambda *_: None), raising=False)
    run = titrant.fit(TABLE, "y", model=Tied, budget="1m", members=2, out=tmp_path / "run")
    for network in run.predictor.networks:
        body = next(module for module in network.modules() if isinstance(module, OwnBody))
        assert body.inner.first.weight is body.inner.second.weight  # type: ignore[union-attr]
        start = Tied(body.inner.enter.in_features, 2)  # type: ignore[union-attr,arg-type]
        assert not torch.equal(start.first.weight, body.inner.first.weight)  # type: ignore[union-attr]
    again = titrant.Run.load(tmp_path / "run", Tied)
    frame = {"x": TABLE["x"]}
    np.testing.assert_allclose(again.predict_proba(frame), run.predict_proba(frame), atol=1e-6)
    assert (run.predict(frame) == np.array(TABLE["y"])).mean() > 0.9
