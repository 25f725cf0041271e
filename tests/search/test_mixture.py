"""The mixture: each proposer gets its turn, everything stays in the region, and what is told is learned."""

from collections import Counter
from collections.abc import Sequence

import optuna
import pytest
from optuna.trial import TrialState

from titrant.recipe import Recipe
from titrant.search.mixture import PARENTS, Mixture, Proposal, learn, learned
from titrant.search.portfolio import portfolio, start
from titrant.search.proposers import sampler
from titrant.search.region import Region
from titrant.train.build import cohort_key

ROWS = 300
KNOWN = portfolio(ROWS)


@pytest.fixture(scope="module")
def region() -> Region:
    return Region(start(ROWS))


def study_of(seed: int = 0) -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=sampler("mixed", seed))


def origins(proposals: list[Proposal]) -> Counter[str]:
    return Counter(origin for _, origin, _ in proposals)


def test_the_first_are_mutations_of_what_is_known_and_an_even_cover(region: Region) -> None:
    found = Mixture(region, study_of(), 0).first(16, KNOWN)
    assert origins(found) == {"mutation": 8, "quasi-random": 8}
    assert all(region.point(recipe) is not None for recipe, _, _ in found)
    shapes = {cohort_key(recipe) for recipe in KNOWN}
    assert sum(cohort_key(recipe) in shapes for recipe, _, _ in found) >= 12


def test_nothing_is_mutated_where_a_person_searches_few_paths() -> None:
    region = Region(Recipe(), {"dropout.p": {"low": 0.0, "high": 0.5}}, only=True)
    assert origins(Mixture(region, study_of(), 0).first(6, [])) == {"quasi-random": 6}
    assert Mixture(region, study_of(), 0).first(-3, []) == []


def told(study: optuna.Study, region: Region, recipes: Sequence[Recipe]) -> None:
    """Tells a study that recipes with dropout are worse the more of it they have."""
    for recipe in recipes:
        learn(study, None, learned(region, recipe, -getattr(recipe.dropout, "p", 0.0), 2, TrialState.COMPLETE, {}))


def test_later_most_is_the_forests_in_few_shapes(region: Region) -> None:
    study = study_of()
    mixture = Mixture(region, study, 0)
    told(study, region, [recipe for recipe, _, _ in mixture.first(24, KNOWN)])
    found = mixture.later(16, KNOWN)
    assert origins(found) == {"forest": 10, "mutation": 4, "quasi-random": 2}
    shapes = {cohort_key(recipe) for recipe in KNOWN[:PARENTS]}
    assert sum(cohort_key(recipe) not in shapes for recipe, _, _ in found) <= 12
    assert len({cohort_key(recipe) for recipe, _, _ in found}) <= len(shapes) + 4


def test_one_at_a_time_all_get_their_turn(region: Region) -> None:
    study = study_of()
    mixture = Mixture(region, study, 0)
    told(study, region, [recipe for recipe, _, _ in mixture.first(24, KNOWN)])
    assert origins([proposal for _ in range(16) for proposal in mixture.later(1, KNOWN)]) == {
        "forest": 10, "mutation": 4, "quasi-random": 2,
    }  # fmt: skip


def test_before_the_forest_knows_enough_the_cover_has_its_turn(region: Region) -> None:
    assert origins(Mixture(region, study_of(), 0).later(8, KNOWN)) == {"mutation": 2, "quasi-random": 6}


def test_where_no_shape_is_known_four_recipes_share_one(region: Region) -> None:
    found = [cohort_key(recipe) for recipe, _, _ in Mixture(region, study_of(), 0).first(24, [])]
    assert all(len(set(found[place : place + 4])) == 1 for place in range(0, 24, 4))
    assert len(set(found)) > 3


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_one_proposer_may_be_named(search: str, region: Region) -> None:
    found = Mixture(region, study_of(), 0, search=search).later(3, KNOWN)
    assert origins(found) == {search: 3}
    assert all((trial is not None) == (search == "tpe") for _, _, trial in found)


def test_what_would_cost_too_much_gives_way_to_a_given_shape(region: Region) -> None:
    def shapes(*, bearable: bool) -> set[object]:
        mixture = Mixture(region, study_of(), 0, bearable=lambda recipe, shape: bearable)
        covering = [recipe for recipe, origin, _ in mixture.first(24, KNOWN[:1]) if origin == "quasi-random"]
        return {cohort_key(recipe) for recipe in covering}

    assert shapes(bearable=False) == {cohort_key(KNOWN[0])}
    assert len(shapes(bearable=True)) > 1


def test_another_turn_of_a_seed_draws_others(region: Region) -> None:
    def drawn(*turn: str | int) -> list[Recipe]:
        return [recipe for recipe, _, _ in Mixture(region, study_of(), 0, turn).first(8, KNOWN)]

    assert drawn() == drawn()
    assert set(drawn()).isdisjoint(drawn("command", 1))


def test_what_is_told_is_learned(region: Region) -> None:
    study = study_of()
    (recipe, _, trial), *_ = Mixture(region, study, 0, search="tpe").later(1, KNOWN)
    assert trial is not None
    learn(study, trial, learned(region, recipe, 0.5, 1, TrialState.PRUNED, {"member": 7}))
    learn(study, None, learned(region, KNOWN[0], 0.7, 2, TrialState.COMPLETE, {}))
    learn(study, None, learned(region, KNOWN[0].replace("activation", "relu"), float("nan"), 0, TrialState.FAIL, {}))
    asked, told, failed = study.trials
    assert (asked.state, asked.intermediate_values, asked.user_attrs) == (TrialState.PRUNED, {1: 0.5}, {"member": 7})
    assert (told.state, told.value) == (TrialState.COMPLETE, 0.7)
    assert told.params["activation"] == KNOWN[0].activation.kind
    assert (failed.state, failed.intermediate_values) == (TrialState.FAIL, {})
