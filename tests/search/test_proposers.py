"""Proposers: always inside the region, the same for the same seed; even, near the best, or learning, as each promises."""

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from titrant.recipe import Recipe
from titrant.search.portfolio import portfolio, start
from titrant.search.proposers import (
    MODELS,
    Bayesian,
    Grid,
    Mutation,
    QuasiRandom,
    Random,
    chooser_of,
    distribution,
    keeping_shapes,
    sampler,
)
from titrant.search.region import Axis, Region
from titrant.space import Range
from titrant.train.build import cohort_key

ROWS = 300
SHAPES = portfolio(ROWS)


@pytest.fixture(scope="module")
def region() -> Region:
    return Region(start(ROWS), {"batch": "fixed", "batch.size": [16, 32, 64]})


def study_of(seed: int = 0) -> optuna.Study:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))


def points(region: Region, recipes: list[Recipe]) -> list[dict[Axis, Any]]:
    found = [region.point(recipe) for recipe in recipes]
    assert None not in found
    return [point for point in found if point is not None]


# -------------------------------------------------------------- quasi-random


def test_the_same_seed_gives_the_same_sequence(region: Region) -> None:
    def sequence(seed: int) -> list[Recipe]:
        proposer = QuasiRandom(region, seed)
        return [proposer.propose(SHAPES[turn % 6] if turn % 2 else None) for turn in range(12)]

    assert sequence(1) == sequence(1)
    assert set(sequence(1)).isdisjoint(sequence(2))


def promised_share(axis: Axis, kind: str) -> float:
    others = [name for name in axis.mark if name != "off"]
    if len(others) == 1 or "off" not in axis.mark:
        return 1 / len(axis.mark)
    return 0.5 if kind == "off" else 0.5 / len(others)


def test_kinds_are_covered_evenly_and_off_gets_half(region: Region) -> None:
    """A scrambled Sobol sequence of 2^m points misses an interval's share by at most m points: far less than chance does."""
    proposer = QuasiRandom(region, seed=3)
    found = points(region, [proposer.propose() for _ in range(256)])
    for axis in {axis for point in found for axis in point if isinstance(axis.mark, tuple)}:
        counts = Counter(point[axis] for point in found if axis in point)
        assert set(counts) == set(axis.mark)
        if counts.total() == 256:
            for kind in axis.mark:
                assert abs(counts[kind] - 256 * promised_share(axis, kind)) <= 8, axis.name


def test_ranges_are_covered_evenly_on_their_scale(region: Region) -> None:
    proposer = QuasiRandom(Region(Recipe(), {"learning_rate.peak": {"low": 1e-4, "high": 1e-2}}, only=True), seed=0)
    peaks = sorted(proposer.propose().learning_rate.peak for _ in range(128))
    assert len(set(peaks)) == 128
    assert abs(sum(peak < 1e-3 for peak in peaks) - 64) <= 1
    assert abs(sum(peak < 10**-3.5 for peak in peaks) - 32) <= 1


def test_an_axis_keeps_its_dimension_whatever_else_is_asked(region: Region) -> None:
    """Dropout's doses are the same in two searches of one seed, though the second searches more."""
    limits: dict[str, Any] = {"dropout": ["bernoulli"], "dropout.p": {"low": 0.0, "high": 0.5}}
    few = QuasiRandom(Region(Recipe(), limits, only=True), seed=5)
    more = QuasiRandom(Region(Recipe(), {**limits, "clip": ["off", "norm"], "activation": ["relu", "tanh"]}, only=True), seed=5)
    for _ in range(20):
        assert few.propose().dropout == more.propose().dropout


@pytest.mark.parametrize("shape", SHAPES, ids=lambda recipe: recipe.model.kind)
def test_asked_for_a_shape_every_proposer_keeps_it(region: Region, shape: Recipe) -> None:
    quasi_random, bayesian, mutation = QuasiRandom(region, 0), Bayesian(region, study_of()), Mutation(region, 0)
    for _ in range(10):
        for child in (quasi_random.propose(shape), bayesian.propose(shape)[0], mutation.propose(shape)):
            assert cohort_key(child) == cohort_key(shape)
            assert region.point(child) is not None


def test_shapes_outside_the_region_are_not_taken_over(region: Region) -> None:
    shape = SHAPES[0].replace("model.width", 8)
    choose = keeping_shapes(lambda axis: axis.mark[-1] if isinstance(axis.mark, tuple) else axis.ends[0], shape)
    child = region.make(choose)
    assert child.model.kind == shape.model.kind
    assert child.at("model").model_dump()["width"] == 64
    assert region.point(child) is not None


# ----------------------------------------------------------- grid and chance


def everything(grid: Grid) -> list[Recipe]:
    found = []
    while (recipe := grid.propose()) is not None:
        found.append(recipe)
    assert grid.propose() is None
    return found


def test_a_grid_holds_every_combination_once() -> None:
    limits: dict[str, Any] = {
        "activation": ["relu", "tanh"],
        "learning_rate.peak": {"low": 1e-4, "high": 1e-2},
        "batch.size": {"low": 32, "high": 64},
        "stop.epochs": 3,
    }
    found = everything(Grid(Region(Recipe(), limits, only=True)))
    seen = {(recipe.activation.kind, recipe.learning_rate.peak, recipe.batch.size) for recipe in found}
    assert len(found) == len(seen) == 2 * 3 * 3
    assert {peak for _, peak, _ in seen} == {1e-4, 1e-3, 1e-2}
    assert {size for _, _, size in seen} == {32, 64, round(32 * 2**0.5)}
    assert {recipe.stop.epochs for recipe in found} == {3}


def test_a_grid_crosses_doses_only_under_the_kind_that_has_them() -> None:
    limits: dict[str, Any] = {"dropout": ["off", "bernoulli"], "dropout.p": [0.1, 0.2, 0.3], "clip": ["off", "norm"]}
    found = everything(Grid(Region(Recipe(), limits, only=True)))
    assert len(found) == len(set(found)) == (1 + 3) * 2
    assert sum(recipe.dropout.kind == "off" for recipe in found) == 2


def test_a_grid_of_nothing_is_one_recipe() -> None:
    assert everything(Grid(Region(Recipe(), {"stop.epochs": 3}, only=True))) == [Recipe().replace("stop.epochs", 3)]


def test_chance_stays_inside_the_region_and_follows_its_seed(region: Region) -> None:
    def sequence(seed: int) -> list[Recipe]:
        proposer = Random(region, seed)
        return [proposer.propose(SHAPES[turn % 6] if turn % 2 else None) for turn in range(12)]

    assert sequence(1) == sequence(1)
    assert set(sequence(1)).isdisjoint(sequence(2))
    points(region, sequence(1))


@pytest.mark.parametrize("name", MODELS)
def test_samplers_of_optuna_learn_where_it_is_good(name: str) -> None:
    """A bowl over two doses: after some thirty trials the best proposals lie nearer to its middle than chance puts them."""
    limits: dict[str, Any] = {
        "dropout": ["bernoulli"],
        "dropout.p": {"low": 0.0, "high": 0.8},
        "learning_rate.peak": {"low": 1e-5, "high": 1e-1},
    }
    region = Region(Recipe(), limits, only=True)
    study = optuna.create_study(sampler=sampler(name, 0))
    proposer = Bayesian(region, study)

    def height(recipe: Recipe) -> float:
        return (recipe.at("dropout").p - 0.3) ** 2 + (math.log10(recipe.learning_rate.peak) + 3) ** 2 / 25  # type: ignore[attr-defined]

    heights = []
    for _ in range(36):
        recipe, trial = proposer.propose()
        assert region.point(recipe) is not None
        heights.append(height(recipe))
        study.tell(trial, heights[-1])
    chance = Random(region, 0)
    assert sum(heights[-8:]) / 8 < 0.6 * sum(height(chance.propose()) for _ in range(200)) / 200


# ------------------------------------------------------------------ mutation


def changes(region: Region, parent: Recipe, child: Recipe) -> tuple[int, int]:
    """How many of the parent's answers, apart from shapes, the child has changed, and of how many."""
    before, after = points(region, [parent, child])
    free = {axis: value for axis, value in before.items() if not axis.shapes}
    return sum(after.get(axis) != value for axis, value in free.items()), len(free)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda recipe: recipe.model.kind)
def test_mutation_changes_few_answers(region: Region, shape: Recipe) -> None:
    proposer = Mutation(region, seed=0)
    parent = QuasiRandom(region, seed=1).propose(shape)
    found = [changes(region, parent, proposer.propose(parent)) for _ in range(60)]
    share = sum(changed for changed, _ in found) / sum(free for _, free in found)
    assert 0.1 < share < 0.35
    assert sum(changed == 0 for changed, _ in found) < 6
    none, all_but_ties = proposer.propose(parent, changed=0.0), changes(region, parent, proposer.propose(parent, changed=1.0))
    assert none == parent
    assert all_but_ties[0] > all_but_ties[1] / 3


def test_mutation_takes_steps_on_the_scale_of_the_dose() -> None:
    region = Region(Recipe(), {"learning_rate.peak": {"low": 1e-5, "high": 1e-1}}, only=True)
    proposer = Mutation(region, seed=0)
    peaks = [proposer.propose(Recipe(), changed=1.0).learning_rate.peak for _ in range(200)]
    assert all(1e-5 <= peak <= 1e-1 for peak in peaks)
    higher = sum(peak > 1e-3 for peak in peaks)
    assert 70 < higher < 130
    assert sum(1e-4 < peak < 1e-2 for peak in peaks) > 150


@given(
    st.sampled_from(
        [
            {"average": "ema", "average.decay": {"low": 0.9, "high": 0.99999}},
            {"dropout": "bernoulli", "dropout.p": {"low": 0.1234567, "high": 0.1234568}},
            {"stop": "last", "stop.epochs": {"low": 0.033333333, "high": 9999.99999}},
            {"model": "mlp", "model.width": {"low": 1, "high": 2}, "model.depth": {"low": 1, "high": 32}},
        ]
    ),
    st.integers(0, 2**31),
)
def test_mutations_stay_inside_to_the_last_digit(limits: dict[str, Any], seed: int) -> None:
    region = Region(Recipe(), limits, only=True)
    recipe = QuasiRandom(region, seed).propose()
    proposer = Mutation(region, seed)
    for _ in range(5):
        recipe = proposer.propose(recipe, changed=1.0)
        assert region.point(recipe) is not None


def test_a_parent_outside_the_region_has_children_inside(region: Region) -> None:
    child = Mutation(region, seed=0).propose(Recipe().replace("optimizer", "sgd").replace("model.width", 7))
    assert region.point(child) is not None


def test_the_same_seed_gives_the_same_children(region: Region) -> None:
    def children(seed: int) -> list[Recipe]:
        proposer = Mutation(region, seed)
        return [proposer.propose(shape) for shape in SHAPES]

    assert children(1) == children(1) != children(2)


# ------------------------------------------------------------------ Bayesian


def test_the_trial_holds_the_choices_of_its_recipe(region: Region) -> None:
    proposer = Bayesian(region, study_of())
    for _ in range(10):
        recipe, trial = proposer.propose()
        (point,) = points(region, [recipe])
        assert trial.params == {axis.name: value for axis, value in point.items()}
        assert trial.distributions == {axis.name: distribution(axis) for axis in point}


def test_what_a_shape_decides_is_not_asked_of_the_trial(region: Region) -> None:
    recipe, trial = Bayesian(region, study_of()).propose(SHAPES[0])
    (point,) = points(region, [recipe])
    assert trial.params == {axis.name: value for axis, value in point.items() if not axis.shapes}


def test_proposals_move_to_where_the_scores_are_good() -> None:
    region = Region(Recipe(), {"dropout": ["off", "bernoulli"], "dropout.p": {"low": 0.0, "high": 0.6}}, only=True)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=8))
    proposer = Bayesian(region, study)
    misses = []
    for _ in range(40):
        recipe, trial = proposer.propose()
        p = recipe.dropout.model_dump().get("p")
        misses.append(1.0 if p is None else abs(p - 0.3))
        study.tell(trial, misses[-1])
    assert sum(misses[-10:]) / 10 < 0.5 * sum(misses[:8]) / 8


class Fake:
    """Stands in for a trial and notes what is suggested."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, method: str) -> Callable[..., None]:
        return lambda *arguments, **options: self.asked.append((method, *arguments, *options.values()))


def test_axes_are_asked_for_by_type_and_scale() -> None:
    trial = Fake()
    choose = chooser_of(trial)
    for axis in (
        Axis("kind", ("a", "b")),
        Axis("share", Range(0.0, 1.0, search=(0.1, 0.5))),
        Axis("rate", Range(1e-5, 1.0, log=True)),
        Axis("width", Range(1, 4096, log=True, search=(64, 384)), integer=True),
    ):
        choose(axis)
    assert trial.asked == [
        ("suggest_categorical", "kind", ("a", "b")),
        ("suggest_float", "share", 0.1, 0.5, False),
        ("suggest_float", "rate", 1e-5, 1.0, True),
        ("suggest_int", "width", 64, 384, True),
    ]


def test_distributions_hold_every_answer(region: Region) -> None:
    proposer = QuasiRandom(region, seed=random.Random(0).randrange(100))
    for point in points(region, [proposer.propose() for _ in range(40)]):
        for axis, value in point.items():
            stored = distribution(axis)
            assert stored._contains(stored.to_internal_repr(value)), axis.name
