"""The doctor's part in a search: who is sick, and what is tried in their place."""

from typing import Any

import pytest

from titrant.doctor.table import finding
from titrant.recipe import Recipe
from titrant.record import DataSummary, MemberRecord, Point
from titrant.search.remedies import Clinic, remedied, remedies

DATA = DataSummary(
    source="made", target="y", task="binary", rows_train=640, rows_validation=160, rows_test=0, classes=["a", "b"],
    class_counts=[400, 400], split="", columns=[],
)  # fmt: skip


def record(recipe: Recipe, trained: list[float], judged: list[float], **others: Any) -> MemberRecord:
    """A member with such losses."""
    curve = [
        Point(
            step=10 * place, epoch=place, seconds=place, loss_train=one, loss_validation=other, score_validation=1 - other,
            learning_rate=0.001,
        )
        for place, (one, other) in enumerate(zip(trained, judged, strict=True), 1)
    ]  # fmt: skip
    return MemberRecord.model_validate(
        {
            "number": 0, "origin": "test", "recipe": recipe.plain(), "parameters": 1, "seed": 0, "state": "finished", "rung": 0,
            "steps": 10 * len(curve), "epochs": len(curve), "seconds": 1.0, "score_validation": 1 - min(judged), "curve": curve,
            "receipts": [], **others,
        }
    )  # fmt: skip


def well(recipe: Recipe) -> MemberRecord:
    losses = [0.1 + 0.6 * 0.8**place for place in range(40)]
    return record(recipe, losses, [loss + 0.02 for loss in losses])


def overfitted(recipe: Recipe) -> MemberRecord:
    return record(recipe, [0.6 * 0.8**place for place in range(40)], [0.5, 0.3] + [0.3 + 0.02 * place for place in range(38)])


def diverged(recipe: Recipe) -> MemberRecord:
    return record(recipe, [0.69] + [3.0 * 1.5**place for place in range(39)], [0.69] + [4.0] * 39)


def test_a_clinic_tells_the_sick_from_the_well() -> None:
    clinic = Clinic("accuracy", DATA, "table")
    assert not clinic.is_sick(well(Recipe()))
    assert clinic.is_sick(diverged(Recipe()))
    assert list(clinic.successors([well(Recipe())], 4)) == []


def test_successors_have_the_remedy_once_and_the_length_that_the_search_has_given() -> None:
    clinic, recipe = Clinic("accuracy", DATA, "table"), Recipe().replace("stop.epochs", 7.0)
    found = list(clinic.successors([overfitted(recipe)], 4))
    assert [(one.dropout.kind, one.stop.epochs) for one in found] == [("bernoulli", 7.0)]
    assert list(clinic.successors([overfitted(recipe)], 4)) == []
    rates = [recipe.replace("learning_rate.peak", rate) for rate in (0.1, 0.2, 0.3)]
    assert len(list(clinic.successors([diverged(one) for one in rates], 2))) == 2
    assert all(one.learning_rate.peak < 0.3 for one in clinic.successors([diverged(one) for one in rates], 2))


def test_remedies_of_a_finding_are_its_change_in_all_strengths_and_then_the_other() -> None:
    recipe = Recipe().replace("dropout", {"kind": "bernoulli", "p": 0.5})
    found = remedies(recipe, finding("underfitting", "warning", "loss", "It stays."), "table")
    assert [(one.dropout.kind, round(one.learning_rate.peak / recipe.learning_rate.peak)) for one in found] == [
        ("off", 1), ("bernoulli", 10), ("bernoulli", 100), ("bernoulli", 1000),
    ]  # fmt: skip
    plain = Recipe()
    assert [round(one.learning_rate.peak / plain.learning_rate.peak) for one in remedies(
        plain, finding("underfitting", "warning", "loss", "It stays."), "table"
    )] == [10, 100, 1000]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "p", "expected"),
    [("bernoulli", 0.5, [0.65, 0.755, 0.8285]), ("zoneout", 0.5, [0.65, 0.755, 0.8285]), ("bernoulli", 0.89, [0.9])],
)
def test_a_dropout_that_is_strong_already_is_raised(kind: str, p: float, expected: list[float]) -> None:
    recipe = Recipe().replace("dropout", {"kind": kind, "p": p})
    found = list(remedied(recipe, {"dropout": "keep * 0.7"}, "series"))
    assert [(one.dropout.kind, one.dropout.p) for one in found] == [(kind, p) for p in expected]  # type: ignore[union-attr]


@pytest.mark.parametrize("change", [{}, {"activation": {"kind": "relu"}}, {"augment.flip": {"kind": "flip"}}])
def test_a_remedy_that_changes_nothing_or_does_not_suit_the_data_is_none(change: dict[str, Any]) -> None:
    assert list(remedied(Recipe(), change, "table")) == []
