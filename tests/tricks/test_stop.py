"""The end of training: how long it is, and which doses mean never to stop early."""

import pytest
from pydantic import TypeAdapter, ValidationError

from titrant.recipe import Recipe
from titrant.train.build import cohort_key
from titrant.tricks.stop import Early, Last, Stop

STOP: TypeAdapter[Last | Early] = TypeAdapter(Stop)


def test_both_kinds_say_how_long() -> None:
    assert Last(epochs=3).epochs == Early(epochs=3).epochs == 3.0
    assert STOP.validate_python("early") == Early()


@pytest.mark.parametrize("word", ["off", None, False])
def test_training_must_end_somehow(word: object) -> None:
    with pytest.raises(ValidationError, match="last, early"):
        STOP.validate_python(word)


@pytest.mark.parametrize("doses", [{"epochs": 0}, {"epochs": 1e5}, {"epochs": 5, "patience": 0}, {"epochs": 5, "patience": 2}])
def test_doses_outside_are_refused(doses: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="outside"):
        Early(**doses)


def test_patience_of_the_whole_training_is_off() -> None:
    assert Early(patience=1.0).is_off
    assert not Early(patience=0.99).is_off
    assert not Last().is_off


def test_impatient_and_patient_members_share_a_stack() -> None:
    recipes = [Recipe.of({"stop": stop}) for stop in ("last", "early", {"kind": "early", "patience": 0.05})]
    assert len({cohort_key(recipe) for recipe in recipes}) == 1
