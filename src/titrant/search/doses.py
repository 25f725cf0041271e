"""Single doses of a recipe: what they are, and how far they may go."""

import math
from collections.abc import Sequence
from typing import Any

from titrant.recipe import Recipe
from titrant.space import Range, doses, rounded_into
from titrant.tricks.learning_rate import LearningRate


def value_of(recipe: Recipe, path: str) -> float | None:
    """The value of a dose; None where the recipe has no such dose, or it is off."""
    slot, _, name = path.rpartition(".")
    trick = recipe.learning_rate if slot == "learning_rate" else recipe.at(slot)
    value = getattr(trick, name, None)
    if value is None or isinstance(value, str | bool):
        return None
    off = mark_of(recipe, path).off
    return None if off is not None and value == off else float(value)


def doses_at(recipe: Recipe, paths: Sequence[str]) -> dict[str, float]:
    """The values of those doses that the recipe has."""
    return {path: value for path in paths if (value := value_of(recipe, path)) is not None}


def mark_of(recipe: Recipe, path: str) -> Range:
    """The range of a numeric dose that a recipe has."""
    slot, _, name = path.rpartition(".")
    holder: Any = LearningRate if slot == "learning_rate" else type(recipe.at(slot))
    mark = next(dose.mark for dose in doses(holder) if dose.name == name)
    assert isinstance(mark, Range)
    return mark


def within(mark: Range, value: float) -> float:
    """A value moved into a dose's range, and rounded as values of recipes are."""
    assert math.isfinite(value)
    return rounded_into(value, mark.low, mark.high)
