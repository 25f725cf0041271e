"""Recipes under observation: the same numbers as without, and a case that the rules can judge."""

from typing import Any

import numpy as np
import pytest
import torch

from titrant.clock import Clock
from titrant.data.learnable import Learnable, read_data
from titrant.doctor.attach_recipe import observed
from titrant.doctor.case import Case
from titrant.doctor.rules import diagnose
from titrant.recipe import Recipe, slots
from titrant.train.cohort import Cohort
from titrant.train.kinds import problem_of
from titrant.train.member import Member
from titrant.train.metrics import metric_for

QUICK = Recipe().replace("stop", {"kind": "last", "epochs": 6.0}).replace("batch", {"kind": "fixed", "size": 32})


def data(kind: str) -> Learnable:
    """A small problem of a kind: two classes that numbers, pictures or series tell apart."""
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 160)
    if kind in ("image", "grey"):
        shape = (160, 8, 8, 3 if kind == "image" else 1)
        x: Any = (random.integers(0, 60, shape) + 100 * y[:, None, None, None]).astype(np.uint8)
    elif kind == "series":
        x = random.normal(size=(160, 2, 24)) + y[:, None, None]
    elif kind == "text":
        words = [["good", "fine"], ["bad", "poor"]]
        said = [" ".join(random.choice([*words[one], "the", "it", "was"], 8)) for one in y]
        return read_data({"text": said, "y": ["yes" if one else "no" for one in y]}, "y", text="text", notes=[])
    else:
        columns = random.normal(size=(160, 4)) + y[:, None]
        table = {f"x{place}": columns[:, place].tolist() for place in range(4)} | {"c": ["a", "b"] * 80}
        return read_data(table | {"y": ["yes" if one else "no" for one in y]}, "y", notes=[])
    return read_data({"x": x, "y": y}, None, notes=[])


def cohort(dataset: Learnable, recipe: Recipe) -> Cohort:
    rows = torch.cat([dataset.split.train, dataset.split.validation]).sort().values
    problem = problem_of(dataset, rows, torch.device("cpu"))
    member = Member(0, recipe, 3, "test", dataset.split.train, dataset.split.validation)
    return Cohort(problem, [member], metric_for(dataset.schema.task), Clock.of(60.0))


def seen(dataset: Learnable, recipe: Recipe) -> Case:
    return observed(cohort(dataset, recipe), Clock.of(60.0))


MODELS = [
    (reads, kind)
    for reads in ("table", "image", "series", "text")
    for kind in slots()["model"]
    if reads in kind.reads and kind.name() != "custom"
]


@pytest.mark.parametrize(("reads", "kind"), MODELS, ids=[f"{reads}-{kind.name()}" for reads, kind in MODELS])
def test_every_network_can_be_observed_and_learns_the_same(reads: str, kind: Any) -> None:
    dataset, recipe = data(reads), QUICK.replace("model", kind.name()).replace("stop.epochs", 2.0)
    plain, watched = cohort(dataset, recipe), cohort(dataset, recipe)
    assert plain.advance(plain.steps, Clock.of(60.0))
    case = observed(watched, Clock.of(60.0))
    assert torch.equal(plain.flat, watched.flat)
    assert case.wiring.steps == watched.steps == len(case.losses)
    assert case.layers
    assert all(sample.finite for layer in case.layers for sample in layer.samples)
    assert all(parameter.samples for parameter in case.parameters)
    assert sum(np.prod(parameter.shape) for parameter in case.parameters) == watched.parameters
    assert [entry.step for entry in case.evaluations] == [point.step for point in watched.histories[0].curve]
    assert case.targets is not None
    assert sorted(case.targets.classes) == ["0", "1"]
    assert Case.model_validate_json(case.model_dump_json()) == case


def test_gradients_and_steps_are_those_of_the_update() -> None:
    dataset = data("table")
    small = QUICK.replace("model", {"kind": "mlp", "width": 16, "depth": 2})  # every entry is followed
    recipe = small.replace("optimizer", {"kind": "sgd", "momentum": 0.0}).replace("learning_rate", {"peak": 0.1})
    case = seen(dataset, recipe.replace("learning_rate.schedule", "off"))
    for parameter in case.parameters:
        if parameter.matrix:
            for sample in parameter.samples:
                assert sample.update is not None
                assert sample.gradient is not None
                assert sample.update == pytest.approx(0.1 * sample.gradient, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"learning_rate.peak": 1.0}, "learning_rate_too_high"),
        ({"learning_rate.peak": 1e-6}, "learning_rate_too_low"),
        ({"activation": "off", "model.depth": 3}, "missing_activation"),
        ({"activation": "sigmoid", "model.depth": 8}, "vanishing_gradient"),
        ({"dropout": {"kind": "bernoulli", "p": 0.9}}, "strong_dropout"),
        ({"stop.epochs": 2.0, "learning_rate.peak": 0.0005}, "too_few_epochs"),
        (
            {"regularize.decay": {"kind": "decay", "rate": 1.0}, "learning_rate.peak": 0.1, "stop.epochs": 100.0},
            "strong_weight_decay",
        ),
        (
            {"optimizer": "sgd", "learning_rate.peak": 0.1, "clip": {"kind": "norm", "max_norm": 0.001}},
            "constant_clipping",
        ),
    ],
)
def test_sick_recipes_are_found_out(changes: dict[str, Any], rule: str) -> None:
    recipe = QUICK.replace("stop.epochs", 30.0)
    for path, value in changes.items():
        recipe = recipe.replace(path, value)
    assert rule in {found.rule for found in diagnose(seen(data("table"), recipe))}


def test_a_healthy_recipe_has_no_problem() -> None:
    found = diagnose(seen(data("table"), QUICK.replace("stop.epochs", 20.0)))
    assert not [one for one in found if one.level == "problem"]


def test_a_clock_that_rings_leaves_a_case_that_is_cut_short() -> None:
    case = observed(cohort(data("table"), QUICK), Clock.of(1e-9))
    assert case.cut_short
    assert case.wiring.steps == 0
