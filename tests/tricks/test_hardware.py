"""The hardware slot: plain values with checked choices."""

import pytest
from pydantic import ValidationError

from titrant.errors import RecipeError
from titrant.recipe import Recipe, slots
from titrant.tricks.hardware import Hardware


def test_auto_is_the_default_everywhere() -> None:
    hardware = Hardware()
    assert (hardware.device, hardware.threads, hardware.precision, hardware.compile, hardware.layout) == (
        "auto", 0, "auto", False, "auto",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [("threads", -1), ("threads", 2000), ("precision", "fp8"), ("layout", "rows"), ("compile", "maybe"), ("cores", 2)],
)
def test_what_it_does_not_know_is_refused_with_its_path(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Hardware.model_validate({field: value})
    with pytest.raises(RecipeError, match=f"hardware.{field}"):
        Recipe.of({"hardware": {field: value}})


def test_it_is_part_of_a_recipe_and_no_trick() -> None:
    assert not [path for path in slots() if path.startswith("hardware")]
    recipe = Recipe.of({"hardware": {"threads": 2, "precision": "bf16", "device": "cuda:1"}})
    assert Recipe.of(recipe.plain()) == recipe
    assert recipe.hardware == Hardware(threads=2, precision="bf16", device="cuda:1")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.hardware.threads = 4
