"""The forest: silent while little is known, then inside the region, new, the same for a seed, and where scores are good."""

import math
from collections.abc import Callable, Hashable
from statistics import median

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from titrant.recipe import Recipe
from titrant.search.forest import FEWEST, Forest, _Pool
from titrant.search.mixture import learn, learned
from titrant.search.portfolio import portfolio, start
from titrant.search.proposers import QuasiRandom
from titrant.search.region import Region
from titrant.train.build import cohort_key

ROWS = 300
KNOWN = portfolio(ROWS)


@pytest.fixture(scope="module")
def region() -> Region:
    return Region(start(ROWS))


@pytest.fixture(scope="module")
def narrow() -> Region:
    limits = {"learning_rate.peak": {"low": 1e-4, "high": 1e-1}, "dropout": ["off", "bernoulli"]}
    return Region(Recipe(), limits, only=True)


def told(
    region: Region, score: Callable[[Recipe], float], count: int = 24, direction: str = "maximize"
) -> tuple[optuna.Study, list[Recipe]]:
    """A study that knows an even cover; every third was dropped early, with half its score."""
    study, cover = optuna.create_study(direction=direction), QuasiRandom(region, 0)
    recipes = [cover.propose() for _ in range(count)]
    for place, recipe in enumerate(recipes):
        state = TrialState.PRUNED if place % 3 == 0 else TrialState.COMPLETE
        found = score(recipe) * (0.5 if place % 3 == 0 else 1.0)
        learn(study, None, learned(region, recipe, found, 0 if place % 3 == 0 else 2, state, {}))
    return study, recipes


def peak_score(recipe: Recipe) -> float:
    """Best at 0.01, between 0 and 1."""
    return math.exp(-abs(math.log10(recipe.learning_rate.peak) + 2))


def test_nothing_is_proposed_while_little_is_known(region: Region) -> None:
    study, _ = told(region, peak_score, FEWEST - 1)
    assert Forest(region, study, 0).propose(KNOWN) is None


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_proposals_move_to_where_the_scores_are_good(narrow: Region, direction: str) -> None:
    sign = 1 if direction == "maximize" else -1
    study, recipes = told(narrow, lambda recipe: sign * peak_score(recipe), direction=direction)
    forest = Forest(narrow, study, 0)
    best = sorted(recipes, key=peak_score)[-4:]
    found = [recipe for _ in range(12) if (recipe := forest.propose(best)) is not None]
    assert median(map(peak_score, found)) > 0.7 > median(map(peak_score, recipes))


def test_proposals_of_one_bracket_do_not_ask_the_same_thing_twice() -> None:
    """Two groups of three candidates; of those of one group every tree says the same, and the first group's mean is higher."""
    random = np.random.default_rng(0)
    one, other = random.normal(size=(2, 32))
    said = np.stack([one - one.mean()] * 3 + [other - other.mean() - 0.1] * 3, axis=1)

    def groups(curiosity: float) -> list[int]:
        pool = _Pool([{"candidate": place} for place in range(6)], said)
        tried: set[Hashable] = set()
        found = []
        for _ in range(2):
            answers = pool.best(curiosity, tried)
            tried.add(frozenset(answers.items()))
            found.append(answers["candidate"] // 3)
        return found

    assert sorted(groups(1.0)) == [0, 1]
    assert groups(0.0) == [0, 0]


def test_where_members_failed_little_more_is_tried(narrow: Region) -> None:
    """All that learn at more than 0.01, a third of the region, diverge; the others are alike."""
    study, cover = optuna.create_study(direction="maximize"), QuasiRandom(narrow, 0)
    for _ in range(32):
        recipe = cover.propose()
        failed = recipe.learning_rate.peak > 0.01
        score, state = (math.nan, TrialState.FAIL) if failed else (0.5, TrialState.COMPLETE)
        learn(study, None, learned(narrow, recipe, score, 0, state, {}))
    forest = Forest(narrow, study, 0)
    found = [recipe for _ in range(24) if (recipe := forest.propose([])) is not None]
    assert len(found) == 24
    assert sum(recipe.learning_rate.peak > 0.01 for recipe in found) <= 2


def test_proposals_lie_inside_are_new_and_the_same_for_the_same_seed(region: Region) -> None:
    def found(seed: int) -> list[Recipe]:
        study, _ = told(region, peak_score)
        forest = Forest(region, study, seed)
        return [recipe for _ in range(16) if (recipe := forest.propose(KNOWN[:4])) is not None]

    assert found(1) == found(1) != found(2)
    assert len(set(found(1))) == 16
    assert all(region.point(recipe) is not None for recipe in found(1))


def test_shapes_of_parents_are_kept_where_wanted(region: Region) -> None:
    study, _ = told(region, peak_score)
    forest = Forest(region, study, 0)
    shapes = {cohort_key(parent) for parent in KNOWN[:2]}
    kept = [recipe for _ in range(8) if (recipe := forest.propose(KNOWN[:2], anywhere=False)) is not None]
    assert {cohort_key(recipe) for recipe in kept} <= shapes
    free = [recipe for _ in range(8) if (recipe := forest.propose(KNOWN[:2])) is not None]
    assert not {cohort_key(recipe) for recipe in free} <= shapes


def test_a_small_region_is_no_dead_end() -> None:
    region = Region(Recipe(), {"activation": ["relu", "tanh"]}, only=True)
    study, recipes = told(region, lambda recipe: float(recipe.activation.kind == "tanh"), 12)
    forest = Forest(region, study, 0)
    assert {recipe.activation.kind for _ in range(4) if (recipe := forest.propose(recipes[:1])) is not None} <= {"relu", "tanh"}
    assert forest.propose([]) is not None
