"""Where searches start: rules of thumb that stay in their bounds, and recipes that can really be tried."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titrant.recipe import Recipe
from titrant.search.portfolio import baseline, portfolio, start, suited_batch, suited_epochs
from titrant.tricks.batch import Fixed

counts = st.integers(1, 10**9)


@given(counts)
def test_a_suited_batch_is_a_power_of_two_that_grows_as_the_square_root(rows: int) -> None:
    size = suited_batch(rows)
    assert math.log2(size) == int(math.log2(size))
    assert 32 <= size <= 1024
    if 32 < size < 1024:
        assert math.sqrt(rows) < size <= 4 * math.sqrt(rows)


@given(counts, counts)
def test_more_rows_mean_no_smaller_batches_and_no_more_epochs(one: int, other: int) -> None:
    few, many = sorted([one, other])
    assert suited_batch(few) <= suited_batch(many)
    assert suited_epochs(few) >= suited_epochs(many)
    assert 12 <= suited_epochs(many) <= suited_epochs(few) <= 400


@pytest.mark.parametrize("rows", [8, 300, 30_000, 10_000_000])
def test_the_portfolio_follows_the_data_and_holds_no_recipe_twice(rows: int) -> None:
    recipes = portfolio(rows)
    assert len(recipes) >= 3
    assert len(set(recipes)) == len(recipes)
    assert start(rows) in recipes
    for recipe in recipes:
        assert isinstance(recipe.batch, Fixed)
        assert (recipe.batch.size, recipe.stop.epochs) == (suited_batch(rows), suited_epochs(rows))


@given(counts)
def test_the_baseline_is_plain_and_not_longer_than_need_be(rows: int) -> None:
    recipe = baseline(rows)
    assert set(recipe.diff(Recipe())) <= {"stop.epochs"}
    assert 12 <= recipe.stop.epochs <= Recipe().stop.epochs
