"""References come from the tricks that are in use, and every trick has one."""

import pytest

from titrant.recipe import Recipe, slots
from titrant.report.references import of_methods, of_recipe, of_study, source
from titrant.tricks.base import Off

TRICKS = [(path, kind) for path, kinds in slots().items() for kind in kinds if kind is not Off]


@pytest.mark.parametrize(("path", "kind"), TRICKS, ids=[f"{path}.{kind.name()}" for path, kind in TRICKS])
def test_every_trick_names_its_source_and_nothing_else_there(path: str, kind: type) -> None:
    found = source(kind)
    assert found, path
    assert "Departure" not in found
    assert "Interactions" not in found


def test_a_recipe_has_the_sources_of_what_is_on_each_once() -> None:
    plain = of_recipe(Recipe().plain())
    assert not any("Glorot" in text for text in plain)
    recipe = Recipe().replace("initialize", "xavier_normal").replace("normalize", "batch")
    found = of_recipe(recipe.plain())
    assert any(text.endswith("(initialize: xavier_normal)") and "Glorot" in text for text in found)
    assert any(text.startswith("Ioffe and Szegedy 2015") for text in found)
    assert len(set(found)) == len(found)
    twice = of_recipe(Recipe().replace("regularize.max_norm", "max_norm").replace("dropout", "bernoulli").plain())
    assert next(text for text in twice if "Srivastava" in text).endswith("(dropout: bernoulli, regularize.max_norm: max_norm)")


def test_a_recipe_that_cannot_be_read_has_no_sources() -> None:
    assert of_recipe({"dropout": {"kind": "of a newer version"}}) == []


def test_a_study_names_the_sources_of_what_it_did(made) -> None:
    study = made.ablation(shares=[], looks=[8])
    assert not any("Shapley" in text or "Lan and DeMets" in text or "Nadeau" in text for text in of_methods(study))
    whole = of_methods(made.ablation(shared=False))
    assert all(any(name in text for text in whole) for name in ("Shapley", "Lan and DeMets", "Nadeau", "Holm", "Schuirmann"))
    effect = study.effects[0].model_copy(update={"trick": "mix", "kind": "mixup"})
    assert any("Zhang et al. 2018" in text for text in of_study(study.model_copy(update={"effects": [effect]})))
